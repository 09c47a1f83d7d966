import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Operations and parameters by convention, against sums by hand.
struct OperationCountTests {
  private static let two = Extent2D(height: 2, width: 2)
  private static let three = Extent2D(height: 3, width: 3)

  @Test func everyRuleOfTheMultiScaleConvention() throws {
    var builder = NetworkBuilder(input: [4, 4, 2])
    var expected: [(operations: Int, parameters: Int)] = [(0, 0)]
    func add(_ layer: any Layer, _ operations: Int, _ parameters: Int = 0) {
      builder.add(layer)
      expected.append((operations, parameters))
    }
    add(Border(SpatialPadding(top: 1, bottom: 1, left: 1, right: 1)), 0)
    add(Convolution(filters: 4, window: Self.three, groups: 2), 16 * 4 * 9 * 1, 9 * 1 * 4 + 4)
    add(BatchNormalization(epsilon: 1e-5), 0, 8)
    add(Activation(.relu(ceiling: 6, negativeSlope: 0, threshold: 0)), 64)
    add(Pooling(.maximum, window: Self.two, strides: Self.two, padding: .valid), 4 * 4 * 4)
    add(Activation(.tanh), 0)
    add(Dense(units: 3), 4 * (4 * 3 + 3), 15)
    add(GlobalPooling(.average), 4 * 3)
    add(Dense(units: 5, usesBias: false), 15, 15)
    add(Activation(.softmax), 0)
    let network = try Network(
      nodes: builder.nodes, exits: [BayesNetwork.Exit(name: "exit", logits: 9, likelihood: .categorical)])
    for (node, expected) in expected.enumerated() {
      let name = "\(node): \(network.nodes[node].layer)"
      #expect(network.operations(of: node, counting: .msdnet) == expected.operations, "\(name)")
      #expect(network.parameterCount(of: node, counting: .msdnet) == expected.parameters, "\(name)")
      #expect(network.operations(of: node, counting: .multiplyAdds) == network.multiplyAdds(of: node))
      #expect(network.parameterCount(of: node, counting: .multiplyAdds) == network.parameterCount(of: node))
    }
    #expect(network.operations(toExit: 0, counting: .msdnet) == expected.reduce(0) { $0 + $1.operations })
    #expect(network.parameterCount(toExit: 0, counting: .msdnet) == expected.reduce(0) { $0 + $1.parameters })
    #expect(network.parameterCount(toExit: 0, counting: .multiplyAdds) == 40 + 16 + 15 + 15)
  }

  /// Two rows of three columns; the second exit needs all, the first only the lower row's first column.
  @Test func whatIsLaidOutBeforeAnExitCountsThoughItIsNotNeeded() throws {
    var builder = NetworkBuilder(input: [3])
    let upper = builder.add(Dense(units: 4), after: 0)
    let lower = builder.add(Dense(units: 5), after: 0)
    // First column. The first exit does not need its upper map.
    let upperNew = builder.add(Dense(units: 2, usesBias: false), after: upper)
    let upperMap = builder.add(Concatenation(axis: 0), after: upper, upperNew)
    let lowerNew = builder.add(Dense(units: 7, usesBias: false), after: upper)
    let lowerMap = builder.add(Concatenation(axis: 0), after: lower, lowerNew)
    let first = builder.add(Dense(units: 2), after: lowerMap)
    // Second column: its dense layers depend on no more than the first column, and still come later.
    let next = builder.add(Dense(units: 3, usesBias: false), after: upperMap)
    let last = builder.add(Concatenation(axis: 0), after: lowerMap, next)
    let second = builder.add(Dense(units: 2), after: last)
    // No exit needs it.
    builder.add(Dense(units: 100), after: upper)
    let network = try builder.frozen(exits: [second, first]).network
    #expect(network.exits.map(\.logits) == [first, second])

    let stem = (3 * 4 + 4) + (3 * 5 + 5)
    let needed = stem + 4 * 7 + (12 * 2 + 2)
    #expect(network.parameterCount(toExit: 0, counting: .multiplyAdds) == needed)
    #expect(network.multiplyAdds(toExit: 0) == 3 * 4 + 3 * 5 + 4 * 7 + 12 * 2)
    #expect(network.operations(toExit: 0, counting: .multiplyAdds) == network.multiplyAdds(toExit: 0))
    #expect(network.operations(toExit: 0, counting: .msdnet) == needed + 4 * 2)
    #expect(network.parameterCount(toExit: 0, counting: .msdnet) == needed + 4 * 2)
    let whole = needed + 4 * 2 + 6 * 3 + (15 * 2 + 2)
    #expect(network.operations(toExit: 1, counting: .msdnet) == whole)
    #expect(network.parameterCount(toExit: 1, counting: .multiplyAdds) == whole)
  }

  @Test func hugeWindowsDoNotOverflow() throws {
    let huge = Extent2D(height: 1 << 24, width: 1 << 24)
    let side = 1 << 23
    let border = SpatialPadding(top: side, bottom: side, left: side, right: side)
    var builder = NetworkBuilder(input: [128, 128, 4])
    builder.add(
      Pooling(.average, window: huge, strides: Extent2D(height: 1, width: 1), padding: .explicit(border)))
    let network = try Network(
      nodes: builder.nodes, exits: [BayesNetwork.Exit(name: "exit", logits: 1, likelihood: nil)])
    #expect(network.operations(toExit: 0, counting: .msdnet) == .max)
  }
}
