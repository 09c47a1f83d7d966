@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Stages of residual networks whose first convolutions look at every second pixel alone.
@Suite struct SubsamplingTests {
  private static func convolution(
    _ filters: Int, window: Int = 1, strides: (Int, Int) = (1, 1), dilation: Int = 1, padding: PaddingRule = .same
  ) -> Convolution {
    Convolution(
      filters: filters, window: Extent2D(height: window, width: window),
      strides: Extent2D(height: strides.0, width: strides.1),
      dilation: Extent2D(height: dilation, width: dilation), padding: padding)
  }

  /// A bottleneck that keeps its input's size, then the two strided convolutions of the next stage.
  private static func stages(
    _ size: Shape, channels: Int = 8, dilation: Int = 1, padding: PaddingRule = .same, strides: (Int, Int) = (2, 2)
  ) throws -> (frozen: FrozenNetwork, sum: Int) {
    var builder = NetworkBuilder(input: size)
    let stem = builder.add(convolution(channels, window: 3, padding: padding == .same ? .same : .valid))
    builder.add(Activation(.plainReLU))
    builder.add(convolution(channels / 2), after: stem)
    builder.add(convolution(channels, window: 3, dilation: dilation, padding: .same))
    builder.add(Activation(.plainReLU))
    let inner = builder.add(convolution(channels))
    let sum = builder.add(ElementwiseMerge(.add), after: inner, stem)
    let active = builder.add(Activation(.plainReLU), after: sum)
    let shortcut = builder.add(convolution(channels * 2, strides: strides), after: active)
    builder.add(convolution(channels, strides: strides), after: active)
    builder.add(Activation(.plainReLU))
    let last = builder.add(convolution(channels * 2, window: 3))
    builder.add(ElementwiseMerge(.add), after: last, shortcut)
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 4))
    return (try builder.frozen(), active)
  }

  private static func strides(_ frozen: FrozenNetwork, _ outputs: [Int]) -> [Int] {
    strides(of: FusedGraph(frozen, inputs: [0], outputs: outputs).withoutUnreadPixels())
  }

  private static func strides(of graph: FusedGraph) -> [Int] {
    graph.operations.compactMap {
      guard case .convolution(let geometry, _, _, _) = $0.kind else { return nil }
      return geometry.strides.height
    }
  }

  @Test func whatNothingReadsIsNotComputed() async throws {
    for size: Shape in [[7, 8, 3], [6, 5, 3], [9, 9, 1]] {
      for (dilation, padding) in [(1, PaddingRule.same), (2, .same), (1, .valid)] {
        for strides in [(2, 2), (3, 3), (2, 1)] {
          let (frozen, _) = try Self.stages(size, dilation: dilation, padding: padding, strides: strides)
          try await PreparedNetworkTests.expectAgreement(
            frozen, "\(size), dilation \(dilation), \(padding), strides \(strides)")
          try await TrainingPlanTests.expectAgreement(
            frozen, "\(size), dilation \(dilation), \(padding), strides \(strides)")
        }
      }
    }
    let (wide, _) = try Self.stages([8, 7, 3], channels: 64)
    try await PreparedNetworkTests.expectAgreement(wide, "in blocks of channels")
    try await TrainingPlanTests.expectAgreement(wide, "in blocks of channels")
    // In the middle of the first bottleneck, which the stem's own size leaves alone.
    let (frozen, _) = try Self.stages([7, 8, 3])
    let outputs = frozen.network.exits.map(\.logits)
    #expect(Self.strides(frozen, outputs) == [1, 1, 2, 1, 1, 1, 1])
    let training = TrainingGraph(frozen, inputs: [0], outputs: outputs, training: [], includingInputs: true).forward
    #expect(Self.strides(of: training) == [1, 1, 2, 1, 1, 1, 1])
  }

  /// A convolution of every second pixel of what a reshape has made of an image.
  @Test func whatIsReadInAnotherShapeIsWhole() async throws {
    var builder = NetworkBuilder(input: [6, 6, 3])
    builder.add(Self.convolution(8))
    builder.add(Reshape(target: [3, 12, 8]))
    builder.add(Self.convolution(4, strides: (2, 2)))
    try await PreparedNetworkTests.expectAgreement(builder.frozen())
    try await TrainingPlanTests.expectAgreement(builder.frozen())
  }

  @Test func whatIsAskedForIsWhole() async throws {
    let (frozen, sum) = try Self.stages([7, 8, 3])
    let outputs = frozen.network.exits.map(\.logits) + [sum]
    #expect(Self.strides(frozen, outputs) == [1, 1, 1, 1, 2, 2, 1])
    try await PreparedNetworkTests.expectAgreement(frozen, outputs: outputs)
  }
}
