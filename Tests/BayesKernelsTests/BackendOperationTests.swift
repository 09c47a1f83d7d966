import BayesKernels
import BayesTensor
import Testing
import _BayesTestSupport

/// Single operations over images, and their adjoints, against the reference.
@Suite struct BackendOperationTests {
  let native: NativeBackend
  let reference = ReferenceBackend()

  init() throws { native = try NativeBackend() }

  /// Odd sizes, windows below and above their strides, one-sided padding.
  static let geometries: [WindowGeometry] = [1, 2, 3].flatMap { window in
    [1, 2, 3].flatMap { stride in
      [(0, 0, 1), (1, 0, 1), (1, 1, 2)].filter { $0.0 < window || $0.0 == 0 }.map { before, after, dilation in
        WindowGeometry(
          window: Extent2D(height: window, width: 2), strides: Extent2D(height: stride, width: 1),
          dilation: Extent2D(height: stride == 1 ? dilation : 1, width: 1),
          padding: SpatialPadding(top: before, bottom: after, left: 0, right: before))
      }
    }
  }

  private func normals(_ shape: Shape, _ seed: UInt64) -> Tensor<Float> {
    RandomKey(seed: seed).normals(shape, as: Float.self)
  }

  private func outputShape(_ input: Shape, _ channels: Int, _ geometry: WindowGeometry) -> Shape {
    let extent = geometry.outputExtent(of: Extent2D(height: input[1], width: input[2]))
    return [input[0], extent.height, extent.width, channels]
  }

  @Test(arguments: geometries) func convolutionsAndTheirAdjoints(geometry: WindowGeometry) {
    for (rows, channels, filters, groups) in [(1, 3, 4, 1), (2, 4, 6, 2), (3, 8, 8, 8), (2, 16, 8, 1)] {
      let input = normals([rows, 7, 6, channels], 1)
      let weight = normals([geometry.window.height, geometry.window.width, channels / groups, filters], 2)
      let bias = normals([filters], 3)
      let cotangent = normals(outputShape(input.shape, filters, geometry), 4)
      // Some hundred terms of size one are summed at most.
      expectClose(
        native.convolution(input, weight: weight, bias: bias, groups: groups, geometry),
        reference.convolution(input, weight: weight, bias: bias, groups: groups, geometry), tolerance: 2e-5)
      expectClose(
        native.convolutionInputGradient(
          cotangent, weight: weight, inputShape: input.shape, groups: groups, geometry),
        reference.convolutionInputGradient(
          cotangent, weight: weight, inputShape: input.shape, groups: groups, geometry), tolerance: 2e-5)
      expectClose(
        native.convolutionWeightGradient(cotangent, input: input, groups: groups, geometry),
        reference.convolutionWeightGradient(cotangent, input: input, groups: groups, geometry), tolerance: 2e-5)
    }
  }

  @Test(arguments: geometries, [PoolingKind.maximum, .average])
  func poolingAndItsAdjoint(geometry: WindowGeometry, kind: PoolingKind) {
    var geometry = geometry
    geometry.dilation = Extent2D(height: 1, width: 1)
    for (rows, channels) in [(1, 1), (3, 5), (2, 16)] {
      // Few different numbers, so that windows have several largest ones.
      let input = normals([rows, 7, 6, channels], 1).map { ($0 * 2).rounded() }
      let cotangent = normals(outputShape(input.shape, channels, geometry), 4)
      expectClose(
        native.pooling(input, kind, geometry), reference.pooling(input, kind, geometry), tolerance: 1e-6)
      expectClose(
        native.poolingInputGradient(cotangent, input: input, kind, geometry),
        reference.poolingInputGradient(cotangent, input: input, kind, geometry), tolerance: 1e-5)
    }
  }

  /// Double precision is the reference's own work, to the bit.
  @Test func doublePrecisionIsTheReference() {
    let geometry = Self.geometries[4]
    let input = RandomKey(seed: 1).normals([2, 7, 6, 4])
    let weight = RandomKey(seed: 2).normals([geometry.window.height, 2, 4, 3])
    let cotangent = RandomKey(seed: 3).normals(outputShape(input.shape, 3, geometry))
    #expect(
      native.convolutionInputGradient(cotangent, weight: weight, inputShape: input.shape, groups: 1, geometry)
        == reference.convolutionInputGradient(
          cotangent, weight: weight, inputShape: input.shape, groups: 1, geometry))
    #expect(
      native.convolutionWeightGradient(cotangent, input: input, groups: 1, geometry)
        == reference.convolutionWeightGradient(cotangent, input: input, groups: 1, geometry))
  }
}
