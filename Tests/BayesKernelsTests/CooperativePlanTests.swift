@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// One row that several threads share, band by band.
@Suite struct CooperativePlanTests {
  private static let window = Extent2D(height: 3, width: 3)

  /// A network with every operation that is cut into bands, large enough to be.
  static func network(
    strides: Int, dilation: Int, padding: PaddingRule, kind: PoolingKind, height: Int
  ) throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [height, 30, 3])
    let stem = builder.add(
      Convolution(
        filters: 16, window: window, strides: Extent2D(height: strides, width: 1),
        dilation: Extent2D(height: dilation, width: 1), padding: padding))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let start = builder.add(Activation(.plainReLU))
    builder.add(Border(SpatialPadding(top: 1, bottom: 2, left: 1, right: 1)), after: start)
    let branch = builder.add(Convolution(filters: 16, window: Extent2D(height: 4, width: 3)))
    let sum = builder.add(ElementwiseMerge(.add), after: branch, stem)
    let scaled = builder.add(BatchNormalization(epsilon: 1e-3), after: sum)
    let depthwise = builder.add(Convolution(filters: 16, window: window, padding: .same, groups: 16), after: scaled)
    let product = builder.add(ElementwiseMerge(.multiply), after: depthwise, scaled)
    builder.add(Concatenation(axis: 2), after: product, start)
    builder.add(Pooling(kind, window: window, strides: Extent2D(height: 2, width: 2), padding: padding))
    builder.add(Activation(.tanh))
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 5))
    return try builder.frozen()
  }

  @Test(
    arguments: [(1, 1, PaddingRule.same), (2, 1, .same), (2, 1, .valid), (1, 2, .same), (1, 3, .valid)],
    [PoolingKind.maximum, .average])
  func sharedRowsHaveTheSameBits(_ movement: (strides: Int, dilation: Int, padding: PaddingRule), kind: PoolingKind)
    async throws
  {
    for height in [31, 44] {
      let frozen = try Self.network(
        strides: movement.strides, dilation: movement.dilation, padding: movement.padding, kind: kind, height: height)
      let outputs = frozen.network.exits.map(\.logits)
      let engine = try Engine()
      let graph = FusedGraph(frozen, inputs: [0], outputs: outputs)
      for width in [2, 3, 5] {
        let plan = try CooperativePlan(graph, width: width, PackedWeights(engine), engine)
        #expect(plan.sharedPart > 0.5)
      }
      let prepared = try NativeBackend().prepare(frozen, preprocessing: .identity, outputs: outputs)
      let rows = RandomKey(seed: 5).normals([3, height, 30, 3], as: Float.self)
      let expected = frozen.network.outputs(
        of: outputs, for: rows, parameters: frozen.parameters, on: ReferenceBackend())
      for row in 0..<3 {
        let input = RowBatch(rows.rows(row..<row + 1))
        let alone = try await prepared(input, width: 1)
        PreparedNetworkTests.expectAgreement(alone[0], expected[0].rows(row..<row + 1))
        for width in [2, 3, 5] {
          let shared = try await prepared(input, width: width)
          #expect(shared == alone, "row \(row), \(width) threads, height \(height)")
        }
      }
    }
  }

  /// Many rows at once, each shared, on fewer threads than all of them ask for.
  @Test func manySharedRowsAtOnceFinish() async throws {
    let frozen = try Self.network(strides: 1, dilation: 1, padding: .same, kind: .maximum, height: 31)
    let prepared = try NativeBackend().prepare(
      frozen, preprocessing: .identity, outputs: frozen.network.exits.map(\.logits))
    let rows = RandomKey(seed: 6).normals([24, 31, 30, 3], as: Float.self)
    let expected = try await prepared(RowBatch(rows), width: 1)
    let results = try await withThrowingTaskGroup(of: (Int, Tensor<Float>).self) { group in
      for row in 0..<24 {
        group.addTask { (row, try await prepared(RowBatch(rows.rows(row..<row + 1)), width: 4)[0]) }
      }
      return try await group.reduce(into: [Int: Tensor<Float>]()) { $0[$1.0] = $1.1 }
    }
    for row in 0..<24 { #expect(results[row] == expected[0].rows(row..<row + 1)) }
  }

  @Test func bordersOfZerosBecomePadding() throws {
    var builder = NetworkBuilder(input: [8, 8, 4])
    let border = builder.add(Border(SpatialPadding(top: 1, bottom: 0, left: 1, right: 2)))
    builder.add(Convolution(filters: 4, window: Self.window))
    let frozen = try builder.frozen()
    func borderCount(_ outputs: [Int]) -> Int {
      FusedGraph(frozen, inputs: [0], outputs: outputs).operations.count {
        if case .border = $0.kind { true } else { false }
      }
    }
    #expect(borderCount(frozen.network.exits.map(\.logits)) == 0)
    // Who asks for the bordered image gets it.
    #expect(borderCount([border]) == 1)
  }
}
