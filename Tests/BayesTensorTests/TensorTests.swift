import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct TensorTests {
  let matrix = Tensor<Float>(shape: [2, 3], [1, 2, 3, 4, 5, 6])

  @Test func copiesAreIndependent() {
    var copy = matrix
    copy[0] = 9
    copy.withMutableSpan { $0[5] = 7 }
    #expect(matrix.elements == [1, 2, 3, 4, 5, 6])
    #expect(copy.elements == [9, 2, 3, 4, 5, 7])
  }

  @Test func rowsAreTakenInOrder() {
    #expect(matrix.rows(1..<2) == Tensor(shape: [1, 3], [4, 5, 6]))
    #expect(matrix.rows([1, 0, 1]) == Tensor(shape: [3, 3], [4, 5, 6, 1, 2, 3, 4, 5, 6]))
    #expect(Tensor.stacking([matrix.rows(0..<1), matrix.rows(1..<2)]) == matrix)
    #expect(matrix.rows(1..<1).shape == [0, 3])
  }

  @Test func transposingTwiceChangesNothing() {
    #expect(matrix.transposed() == Tensor(shape: [3, 2], [1, 4, 2, 5, 3, 6]))
    #expect(matrix.transposed().transposed() == matrix)
  }

  @Test func conversionKeepsValuesThatFit() {
    #expect(matrix.converted(to: Double.self).converted(to: Float.self) == matrix)
  }

  @Test func theFirstValueThatIsNotFiniteIsFound() {
    #expect(matrix.firstNonFinite == nil)
    #expect(Tensor<Double>(shape: [3], [1, .infinity, .nan]).firstNonFinite == 1)
  }

  @Test func aWrongNumberOfElementsTraps() async {
    await #expect(processExitsWith: .failure) { _ = Tensor<Float>(shape: [2, 2], [1, 2, 3]) }
  }

  @Test func shapesWhoseSizeOverflowsTrap() async {
    await #expect(processExitsWith: .failure) { _ = Shape([Int.max, 2]) }
  }
}

@Suite struct ReferenceBackendTests {
  let backend = ReferenceBackend()

  /// Worked out by hand: a 2 by 2 kernel of ones sums each window.
  @Test func convolutionSumsItsWindow() {
    let image = Tensor<Double>(shape: [1, 3, 3, 1], (1...9).map(Double.init))
    let kernel = Tensor<Double>(repeating: 1, shape: [2, 2, 1, 1])
    let plain = WindowGeometry(window: Extent2D(height: 2, width: 2))
    #expect(
      backend.convolution(image, weight: kernel, bias: nil, groups: 1, plain)
        == Tensor(shape: [1, 2, 2, 1], [12, 16, 24, 28]))
    let padded = WindowGeometry(
      window: Extent2D(height: 2, width: 2), strides: Extent2D(height: 2, width: 2),
      padding: SpatialPadding(top: 0, bottom: 1, left: 0, right: 1))
    #expect(
      backend.convolution(image, weight: kernel, bias: Tensor(shape: [1], [100]), groups: 1, padded)
        == Tensor(shape: [1, 2, 2, 1], [112, 109, 115, 109]))
    let dilated = WindowGeometry(
      window: Extent2D(height: 2, width: 2), dilation: Extent2D(height: 2, width: 2))
    #expect(
      backend.convolution(image, weight: kernel, bias: nil, groups: 1, dilated)
        == Tensor(shape: [1, 1, 1, 1], [20]))
  }

  /// Each of two groups sees its own channel.
  @Test func groupsDoNotMix() {
    let image = Tensor<Double>(shape: [1, 1, 1, 2], [3, 5])
    let kernel = Tensor<Double>(shape: [1, 1, 1, 4], [1, 2, 10, 20])
    let geometry = WindowGeometry(window: Extent2D(height: 1, width: 1))
    #expect(
      backend.convolution(image, weight: kernel, bias: nil, groups: 2, geometry).elements == [3, 6, 50, 100])
  }

  @Test func paddingDoesNotCountInPooling() {
    let image = Tensor<Double>(shape: [1, 2, 2, 1], [-1, -2, -3, -4])
    let geometry = WindowGeometry(
      window: Extent2D(height: 2, width: 2), strides: Extent2D(height: 2, width: 2),
      padding: SpatialPadding(top: 1, bottom: 1, left: 1, right: 1))
    #expect(backend.pooling(image, .maximum, geometry).elements == [-1, -2, -3, -4])
    #expect(backend.pooling(image, .average, geometry).elements == [-1, -2, -3, -4])
  }

  @Test func productsOfKnownMatrices() {
    let a = Tensor<Double>(shape: [2, 3], [1, 2, 3, 4, 5, 6])
    let b = Tensor<Double>(shape: [3, 1], [1, 0, -1])
    #expect(backend.product(a, b) == Tensor(shape: [2, 1], [-2, -2]))
    #expect(backend.product(a, a, transposing: .second) == Tensor(shape: [2, 2], [14, 32, 32, 77]))
    #expect(
      backend.product(a, a, transposing: .first)
        == Tensor(shape: [3, 3], [17, 22, 27, 22, 29, 36, 27, 36, 45]))
  }
}

@Suite struct DrawTests {
  /// Chance of a false alarm below 10⁻⁸ for a right generator, by the normal approximation; fixed key.
  @Test func normalsHaveTheMomentsOfTheNormalDistribution() {
    let count = 100_000
    let draws = RandomKey(seed: 5).normals([count], as: Double.self).elements
    let mean = draws.reduce(0, +) / Double(count)
    let variance = draws.reduce(0) { $0 + $1 * $1 } / Double(count)
    let fourth = draws.reduce(0) { $0 + $1 * $1 * $1 * $1 } / Double(count)
    let unit: Double = 6 / Double(count).squareRoot()
    #expect(abs(mean) < unit)
    #expect(abs(variance - 1) < unit * 2.0.squareRoot())
    #expect(abs(fourth - 3) < unit * 96.0.squareRoot())
  }

  @Test func uniformsLieStrictlyBetweenZeroAndOne() {
    let draws = RandomKey(seed: 6).uniforms(100_000)
    #expect(draws.allSatisfy { $0 > 0 && $0 < 1 })
    let mean: Double = draws.reduce(0, +) / 100_000
    let standardError: Double = (1.0 / 12 / 100_000).squareRoot()
    #expect(abs(mean - 0.5) < 6 * standardError)
  }

  @Test func permutationsHoldEveryIndexOnce() {
    for count in [0, 1, 2, 17, 1000] {
      #expect(RandomKey(seed: 8).permutation(count).sorted() == Array(0..<count))
    }
    #expect(RandomKey(seed: 8).permutation(1000) != Array(0..<1000))
  }
}
