import BayesKernels
import BayesTensor
import Testing
import _BayesTestSupport

/// Native linear algebra against the reference.
@Suite struct LinearAlgebraTests {
  let native: NativeBackend
  let reference = ReferenceBackend()

  init() throws { native = try NativeBackend() }

  @Test(arguments: [Transposition.neither, .first, .second])
  func products(transposing: Transposition) {
    let first: Shape = transposing == .first ? [5, 4] : [4, 5]
    let second: Shape = transposing == .second ? [3, 5] : [5, 3]
    let a = RandomKey(seed: 1).normals(first)
    let b = RandomKey(seed: 2).normals(second)
    // Five products are summed.
    expectClose(
      native.product(a, b, transposing: transposing), reference.product(a, b, transposing: transposing),
      tolerance: 1e-14)
    expectClose(
      native.product(a.converted(to: Float.self), b.converted(to: Float.self), transposing: transposing),
      reference.product(a, b, transposing: transposing).converted(to: Float.self), tolerance: 1e-6)
  }

  /// `G Gᵀ + I` for a random `G`.
  private func positiveDefinite(_ order: Int) -> Tensor<Double> {
    let root = RandomKey(seed: 3).normals([order, order])
    var matrix = reference.product(root, root, transposing: .second)
    for index in 0..<order { matrix[index, index] += 1 }
    return matrix
  }

  @Test(arguments: [1, 2, 7, 20])
  func choleskyAndTriangularSolutions(order: Int) throws {
    let matrix = positiveDefinite(order)
    let lower = try native.cholesky(matrix)
    expectClose(lower, try reference.cholesky(matrix), tolerance: 1e-12)
    expectClose(reference.product(lower, lower, transposing: .second), matrix, tolerance: 1e-12)
    let b = RandomKey(seed: 5).normals([order, 3])
    for transposed in [false, true] {
      let x = native.triangularSolution(lower, transposed: transposed, b)
      expectClose(x, reference.triangularSolution(lower, transposed: transposed, b), tolerance: 1e-11)
      expectClose(
        reference.product(lower, x, transposing: transposed ? .first : .neither), b, tolerance: 1e-11)
    }
  }

  @Test(arguments: [1, 2, 7, 20])
  func eigenvectorsRebuildTheMatrix(order: Int) throws {
    let matrix = positiveDefinite(order)
    for backend in [native, reference] as [any Backend] {
      let eigen = try backend.symmetricEigen(matrix)
      var scaled = eigen.vectors
      for row in 0..<order {
        for column in 0..<order { scaled[row, column] *= eigen.values[column] }
      }
      expectClose(
        reference.product(scaled, eigen.vectors, transposing: .second), matrix, tolerance: 1e-12,
        backend.name)
      #expect(eigen.values.elements.sorted() == Array(eigen.values.elements), "\(backend.name)")
    }
  }

  @Test func indefiniteMatricesAreRefusedWithTheirMinor() throws {
    let matrix = Tensor<Double>(shape: [3, 3], [1, 0, 0, 0, -1, 0, 0, 0, 1])
    for backend in [native, reference] as [any Backend] {
      let error = #expect(throws: NumericalError.self) { try backend.cholesky(matrix) }
      #expect(error?.code == .notPositiveDefinite)
      #expect(error?.message.contains("leading minor 2") == true)
    }
  }

  @Test func matricesThatAreNotFiniteAreRefused() throws {
    let matrix = Tensor<Double>(shape: [2, 2], [1, .nan, .nan, 1])
    for backend in [native, reference] as [any Backend] {
      let error = #expect(throws: NumericalError.self) { try backend.symmetricEigen(matrix) }
      #expect(error?.code == .notFinite)
    }
  }
}
