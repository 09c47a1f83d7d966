import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Layers that work on sequences: what networks rely on, cases by hand, and what is refused.
@Suite struct SequenceLayerTests {
  static let cells: [Recurrence.Cell] = [
    .simple, .longShortTerm, .gated(resetsAfter: true), .gated(resetsAfter: false),
  ]

  @Test(arguments: cells) func recurrence(cell: Recurrence.Cell) throws {
    for usesBias in [false, true] {
      for returnsSequences in [false, true] {
        let layer = Recurrence(
          cell, units: 3, usesBias: usesBias, returnsSequences: returnsSequences, goesBackwards: usesBias)
        for shape in [[1, 1], [5, 2], [4, 7]] as [Shape] { try checkLayer(layer, inputs: [shape]) }
        for merge in [BidirectionalRecurrence.Merge.concatenate, .add, .multiply, .average] {
          var other = layer
          other.goesBackwards.toggle()
          if merge == .concatenate { other.units = 2 }
          try checkLayer(BidirectionalRecurrence(layer, other, merge: merge), inputs: [[4, 3]])
        }
      }
    }
  }

  /// With all weights one and all activations linear, the states can be counted up by hand.
  @Test func statesAddUp() throws {
    let ones = { (shape: Shape) in Tensor<Double>(repeating: 1, shape: shape) }
    let input = Tensor<Double>(shape: [1, 3, 1], [1, 10, 100])
    func states(_ cell: Recurrence.Cell, goesBackwards: Bool = false) -> Tensor<Double> {
      let layer = Recurrence(
        cell, units: 1, activation: .linear, recurrentActivation: .linear, usesBias: false, returnsSequences: true,
        goesBackwards: goesBackwards)
      return layer.forward(
        [input], parameters: layer.parameterSpecs(for: [[3, 1]]).map { ones($0.shape) }, on: ReferenceBackend())
    }
    #expect(states(.simple) == Tensor(shape: [1, 3, 1], [1, 11, 111]))
    #expect(states(.simple, goesBackwards: true) == Tensor(shape: [1, 3, 1], [100, 110, 111]))
    // z = r = x + h, h̃ = x + r h, h' = z h + (1 − z) h̃: with x = 1 and h = 0 that is (1 − 1) · 1; then, with
    // x = 10, (1 − 10) · 10; then, with x = 100 and h = −90, 10 · −90 + (1 − 10) (100 + 10 · −90).
    for resetsAfter in [false, true] {
      #expect(states(.gated(resetsAfter: resetsAfter)) == Tensor(shape: [1, 3, 1], [0, -90, 6300]))
    }
    // c' = f c + i c̃ and h' = o c' with all gates x + h: 1 and 1; 11 + 121 = 132 and 11 · 132 = 1452; with
    // gates of 1552, 1552 · 132 + 1552² = 2 613 568 and 1552 times that.
    #expect(states(.longShortTerm) == Tensor(shape: [1, 3, 1], [1, 1452, 2_613_568 * 1552]))
  }

  @Test func attention() throws {
    for usesBias in [false, true] {
      for layer in [
        MultiHeadAttention(heads: 1, keyWidth: 1, valueWidth: 1, usesBias: usesBias),
        MultiHeadAttention(heads: 2, keyWidth: 3, valueWidth: 5, usesBias: usesBias),
        MultiHeadAttention(heads: 3, keyWidth: 2, valueWidth: 1, outputWidth: 4, usesBias: usesBias),
      ] {
        try checkLayer(layer, inputs: [[3, 4], [3, 4]])
        try checkLayer(layer, inputs: [[1, 4], [5, 3]])
        try checkLayer(layer, inputs: [[3, 4], [2, 3], [2, 6]])
      }
    }
  }

  @Test func everyStepIsTreatedAlike() throws {
    try checkLayer(TimeDistributed(Dense(units: 3)), inputs: [[4, 5]])
    try checkLayer(
      TimeDistributed(Convolution(filters: 3, window: Extent2D(height: 2, width: 2))), inputs: [[2, 3, 4, 2]])
    try checkLayer(TimeDistributed(Reshape.flatten), inputs: [[2, 3, 4]])
    try checkLayer(TimeDistributed(ElementwiseMerge(.multiply)), inputs: [[2, 3], [2, 3]])
    try checkLayer(TimeDistributed(Recurrence(.simple, units: 2)), inputs: [[2, 3, 4]])
    #expect(TimeDistributed(Dense(units: 3)) as any Layer is any DifferentiableLayer)
    #expect(!(TimeDistributed(Recurrence(.simple, units: 2)) as any Layer is any DifferentiableLayer))
  }

  @Test func embedding() throws {
    try checkLayer(Embedding(vocabulary: 3, width: 2), inputs: [[4]])
    try checkLayer(Embedding(vocabulary: 5, width: 1), inputs: [[2, 3]])
    let output = Embedding(vocabulary: 3, width: 2).forward(
      [Tensor<Float>(shape: [1, 6], [0, 2, 1, 0.75, -4, 9])],
      parameters: [Tensor(shape: [3, 2], [1, 2, 3, 4, 5, 6])], on: ReferenceBackend())
    #expect(output == Tensor(shape: [1, 6, 2], [1, 2, 5, 6, 3, 4, 1, 2, 1, 2, 5, 6]))
    let nothing = Embedding(vocabulary: 3, width: 1).forward(
      [Tensor<Float>(shape: [1, 3], [.nan, .infinity, -.infinity])], parameters: [Tensor(shape: [3, 1], [7, 8, 9])],
      on: ReferenceBackend())
    #expect(nothing == Tensor(shape: [1, 3, 1], [7, 9, 7]))
  }

  @Test func repetitionAndProducts() throws {
    try checkLayer(Repetition(count: 3), inputs: [[4]])
    try checkLayer(Repetition(count: 2), inputs: [[2, 3]])
    try checkLayer(DotProduct(axes: [0, 0]), inputs: [[4], [4]])
    try checkLayer(DotProduct(axes: [1, 1]), inputs: [[2, 4], [3, 4]])
    try checkLayer(DotProduct(axes: [0, 1]), inputs: [[4, 2], [3, 4]])
    try checkLayer(DotProduct(axes: [1, 0]), inputs: [[2, 4, 3], [4]])
  }

  /// A layer, inputs that it does not take, and what the message says.
  struct Misfit: Sendable {
    let layer: any Layer
    let inputs: [Shape]
    let reason: String

    init(_ layer: any Layer, _ inputs: [Shape], _ reason: String) {
      self.layer = layer
      self.inputs = inputs
      self.reason = reason
    }
  }

  static let misfits: [Misfit] = [
    Misfit(Recurrence(.simple, units: 2), [[3]], "Recurrence takes rows of 2 axes"),
    Misfit(Recurrence(.simple, units: 0), [[3, 2]], "must be between 1 and"),
    Misfit(Recurrence(.simple, units: 2, activation: .softmax), [[3, 2]], "functions of single elements"),
    Misfit(
      BidirectionalRecurrence(Recurrence(.simple, units: 2), Recurrence(.simple, units: 3), merge: .add), [[3, 2]],
      "2 and 3 units cannot be combined by add"
    ),
    Misfit(
      BidirectionalRecurrence(
        Recurrence(.simple, units: 2), Recurrence(.simple, units: 3, returnsSequences: true), merge: .concatenate),
      [[3, 2]], "or neither"
    ),
    Misfit(
      MultiHeadAttention(heads: 2, keyWidth: 2, valueWidth: 2), [[3, 2]], "takes a query, a value and perhaps a key"),
    Misfit(
      MultiHeadAttention(heads: 2, keyWidth: 2, valueWidth: 2), [[3, 2], [3, 2], [4, 2]],
      "needs as many keys as values"
    ),
    Misfit(MultiHeadAttention(heads: 2, keyWidth: 2, valueWidth: 2), [[3, 2], [3]], "takes rows of 2 axes"),
    Misfit(TimeDistributed(Dense(units: 2)), [[]], "takes sequences of equal length"),
    Misfit(Embedding(vocabulary: 0, width: 2), [[3]], "must be between 1 and"),
    Misfit(Repetition(count: 0), [[3]], "must be between 1 and"),
    Misfit(DotProduct(axes: [0, 0]), [[3], [4]], "cannot sum over the axes [0, 0] of [3] and [4]"),
    Misfit(DotProduct(axes: [0]), [[3], [3]], "cannot sum over the axes [0]"),
    Misfit(LayerNormalization(axes: [1], epsilon: 0), [[3]], "works along the axes [1]"),
    Misfit(LayerNormalization(axes: [1, 0], epsilon: 0), [[3, 2]], "works along the axes [1, 0]"),
    Misfit(LayerNormalization(axes: [], epsilon: 0), [[3, 2]], "works along the axes []"),
    Misfit(UnitNormalization(axes: [2]), [[3, 2]], "works along the axes [2]"),
    Misfit(GroupNormalization(groups: 3, epsilon: 0), [[3, 2]], "cannot be split into 3 groups"),
    Misfit(Resizing(to: Extent2D(height: 0, width: 2), interpolation: .nearest), [[3, 2, 1]], "must be between 1 and"),
    Misfit(
      TransposedConvolution(
        filters: 1, window: Extent2D(height: 2, width: 2), outputPadding: Extent2D(height: 1, width: 0)),
      [[3, 3, 1]], "which no convolution takes back"
    ),
    Misfit(
      TransposedConvolution(
        filters: 1, window: Extent2D(height: 2, width: 2), outputPadding: Extent2D(height: -1, width: 0)),
      [[3, 3, 1]], "must not be negative"
    ),
    Misfit(
      TransposedConvolution(filters: 0, window: Extent2D(height: 2, width: 2)), [[3, 3, 1]], "must be between 1 and"),
  ]

  @Test(arguments: misfits)
  func whatDoesNotFitIsRefused(misfit: Misfit) {
    let error = #expect(throws: NetworkError.self) { try misfit.layer.outputShape(for: misfit.inputs) }
    #expect(error?.message.contains(misfit.reason) == true, "\(error?.message ?? "")")
  }

  // MARK: Indices

  private func embedded() throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [4])
    builder.add(Identity())
    builder.add(Reshape(target: [2, 2]))
    builder.add(Embedding(vocabulary: 5, width: 3))
    builder.add(Reshape.flatten)
    builder.add(Dense(units: 2))
    return try builder.frozen()
  }

  @Test(arguments: [(5, "5.0"), (-1, "-1.0"), (0.5, "0.5"), (Float.nan, "nan"), (.infinity, "inf")])
  func numbersThatAreNoIndexAreRefused(number: Float, text: String) async throws {
    let frozen = try embedded()
    let rows = RowBatch(Tensor(shape: [2, 4], [0, 1, 2, 3, 4, 0, number, 1]))
    let prepared = try ReferenceBackend().prepare(frozen, preprocessing: .identity, outputs: [5])
    let error = await #expect(throws: NumericalError.self) { _ = try await prepared(rows, width: 1) }
    #expect(error?.code == .outOfRange)
    #expect(
      error?.message.hasPrefix(
        "Element 2 of row 1 is \(text), but the embedding 'node3' needs a whole number from 0 to 4.") == true,
      "\(error?.message ?? "")")
    // Scaled by the preprocessing, the same numbers may be indices.
    let scaled = try ReferenceBackend().prepare(frozen, preprocessing: Preprocessing(scale: 0.5), outputs: [5])
    if number == 0.5 {
      _ = try await scaled(RowBatch(Tensor(shape: [1, 4], [0, 0.5, 1, 2])), width: 1)
    }
    // What no embedding is needed for may hold anything.
    let before = try ReferenceBackend().prepare(frozen, preprocessing: .identity, outputs: [2])
    _ = try await before(rows, width: 1)
  }

  @Test func indicesMustComeFromTheInput() throws {
    var builder = NetworkBuilder(input: [4])
    builder.add(Activation(.plainReLU))
    builder.add(Embedding(vocabulary: 5, width: 3))
    let error = #expect(throws: NetworkError.self) { _ = try builder.frozen() }
    #expect(error?.message.contains("'node2' is an embedding of what 'node1' computes") == true)
  }

  @Test func trainingThroughALayerWithoutPullbackIsRefusedByName() throws {
    let recurrence = Recurrence(.longShortTerm, units: 2)
    let layers: [(layer: any Layer, inputs: [Int])] = [
      (recurrence, [1]), (BidirectionalRecurrence(recurrence, recurrence, merge: .add), [1]),
      (MultiHeadAttention(heads: 1, keyWidth: 2, valueWidth: 2), [1, 1]),
    ]
    for (layer, inputs) in layers {
      var builder = NetworkBuilder(input: [4])
      builder.add(Embedding(vocabulary: 5, width: 3))
      builder.add(layer, after: inputs)
      builder.add(Dense(units: 2))
      let frozen = try builder.frozen()
      let error = #expect(throws: NetworkError.self) {
        _ = try ReferenceBackend().prepareTraining(frozen, outputs: [3], of: [ParameterPath("node1/weight")])
      }
      #expect(error?.message.contains("'node2' is of kind \(type(of: layer).kind), which has no pullback") == true)
      _ = try ReferenceBackend().prepareTraining(frozen, outputs: [3], of: [ParameterPath("node3/weight")])
    }
  }
}
