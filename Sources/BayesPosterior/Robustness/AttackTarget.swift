public import BayesNetwork
import BayesPrediction
public import BayesTensor

/// A network, or a distribution over networks, that gives what attacks need: logits and gradients with respect to
/// inputs.
///
/// Draws of one layer's weights share one training plan, so that fresh draws at every step compile nothing.
public struct AttackTarget: Sendable {
  /// A network of an ensemble, or the one there is.
  private struct Member: Sendable {
    let frozen: FrozenNetwork
    let plan: any TrainingPlan
  }

  /// Which weights are others than those of the members.
  private enum Weights: Sendable {
    /// None.
    case trained
    /// Those of one layer, drawn or put in place.
    case layer(FirstLayerPosterior)
    /// Those of an exit's linear head, drawn; its index, the weight and the bias where there is one.
    case head(LastLayerLaplacePosterior.Exit, index: Int, [(path: ParameterPath, shape: Shape)])

    /// Whether every draw has its own.
    var areDrawn: Bool {
      switch self {
      case .trained: false
      case .layer(let posterior): posterior.form == .variational
      case .head: true
      }
    }

    var paths: Set<ParameterPath> {
      switch self {
      case .trained: []
      case .layer(let posterior): Set(posterior.weights.map(\.path))
      case .head(_, _, let specs): Set(specs.map(\.path))
      }
    }
  }

  private let members: [Member]
  private let weights: Weights
  private let exit: Int
  private let temperature: Double
  private let preprocessing: Preprocessing
  private let backend: any NetworkBackend
  /// Derivatives of what goes into the network by stored values, one a channel.
  private let factors: [Float]

  /// Whether draws differ.
  public var isRandom: Bool { weights.areDrawn || members.count > 1 }
  /// The shape of a row.
  public var inputShape: Shape { members[0].frozen.network.inputShape }
  /// The number of classes of the exit.
  public var classCount: Int {
    let network = members[0].frozen.network
    return network.shapes[network.exits[exit].logits].elementCount
  }

  /// Makes a target of one network, or of several that share their input and exits.
  ///
  /// - Parameters:
  ///   - exit: the exit whose answer is attacked; its logits are those of classes.
  ///   - temperature: what logits are divided by.
  /// - Throws: `NetworkError` for a layer without a derivative, and for networks that differ in input or classes;
  ///   as `NetworkBackend.prepareTraining`.
  /// - Precondition: there is a network, and it has the exit; the temperature is positive.
  public init(
    _ networks: [FrozenNetwork], exit: Int, temperature: Double = 1, preprocessing: Preprocessing = .identity,
    on backend: any NetworkBackend
  ) throws {
    try self.init(
      networks, with: .trained, exit: exit, temperature: temperature, preprocessing: preprocessing, on: backend)
  }

  /// Makes a target of a network with a distribution over one layer's weights, or with other weights in it.
  ///
  /// - Throws: also `NetworkError` where the network has no such layer.
  public init(
    _ posterior: FirstLayerPosterior, of frozen: FrozenNetwork, exit: Int, temperature: Double = 1,
    preprocessing: Preprocessing = .identity, on backend: any NetworkBackend
  ) throws {
    // Refuses weights that are not the network's.
    _ = try LayerDraws(posterior, of: frozen)
    try self.init(
      [frozen], with: .layer(posterior), exit: exit, temperature: temperature, preprocessing: preprocessing,
      on: backend)
  }

  /// Makes a target of a posterior whose draws are networks.
  ///
  /// - Parameters:
  ///   - networks: the checkpoints' networks: of an ensemble all, else one.
  ///   - draws: of dropout, which are made once and then attacked as an ensemble; not those of the predictions.
  ///   - key: of these draws.
  /// - Throws: also `NetworkError` where the network is not that of the posterior.
  /// - Precondition: there is a draw at least.
  public init(
    _ posterior: SampledNetworkPosterior, of networks: [FrozenNetwork], exit: Int, draws: Int, key: RandomKey,
    preprocessing: Preprocessing = .identity, on backend: any NetworkBackend
  ) throws {
    precondition(draws > 0, "There is a draw at least; got \(draws).")
    let temperature = posterior.exits[exit].temperature
    switch posterior.kind {
    case .ensemble:
      try self.init(networks, exit: exit, temperature: temperature, preprocessing: preprocessing, on: backend)
    case .dropout:
      let thinned = try ThinnedNetworks(networks[0])
      try self.init(
        (0..<draws).map { try thinned.network(draw: $0, key: key) }, exit: exit, temperature: temperature,
        preprocessing: preprocessing, on: backend)
    case .firstLayer(_, _, let layer):
      try self.init(
        layer, of: networks[0], exit: exit, temperature: temperature, preprocessing: preprocessing, on: backend)
    case .latent(let count, let key, let latent):
      let drawn = try LatentDraws(latent, of: networks[0], networks: count)
      try self.init(
        (0..<count).map { try drawn.network(draw: $0, key: key) }, exit: exit, temperature: temperature,
        preprocessing: preprocessing, on: backend)
    case .placement(let count, let key, let placement):
      let drawn = try PlacementDraws(placement.layers, statistics: placement.statistics, of: networks[0], on: backend)
      try self.init(
        (0..<count).map { try drawn.network(draw: $0, key: key) }, exit: exit, temperature: temperature,
        preprocessing: preprocessing, on: backend)
    case .weightSamples(let samples):
      let drawn = try WeightSampleDraws(samples, of: networks[0])
      try self.init(
        (0..<samples.networkCount).map { try drawn.network($0) }, exit: exit, temperature: temperature,
        preprocessing: preprocessing, on: backend)
    }
  }

  /// Makes a target of a network with a distribution over the weights of an exit's linear head.
  ///
  /// Draws are those of the weights, whatever closed form or draws of logits the posterior predicts by; of one that
  /// predicts by its mean there is nothing to draw.
  ///
  /// - Throws: also `NetworkError` for a posterior that predicts by means over exits, and where the network has no such
  ///   head.
  public init(
    _ posterior: LastLayerLaplacePosterior, of frozen: FrozenNetwork, exit: Int,
    preprocessing: Preprocessing = .identity, on backend: any NetworkBackend
  ) throws {
    guard !posterior.isEnsemble else {
      throw NetworkError("Its predictions are means over exits, whose gradients are not followed.")
    }
    let own = posterior.exits[exit]
    let network = frozen.network
    guard let head = own.description.head, let node = network.head(of: network.exits[exit]) else {
      throw NetworkError("Exit \(exit) has no linear head.")
    }
    let specs = network.parameterSpecs(of: node)
    guard specs[0].shape.elementCount == head.weight.count, (specs.count > 1) == head.hasBias else {
      throw NetworkError("The head of exit \(exit) is another than that of the posterior.")
    }
    try self.init(
      [frozen], with: posterior.predictive == .plain ? .trained : .head(own, index: exit, specs), exit: exit,
      temperature: own.temperature, preprocessing: preprocessing, on: backend)
  }

  private init(
    _ networks: [FrozenNetwork], with weights: Weights, exit: Int, temperature: Double, preprocessing: Preprocessing,
    on backend: any NetworkBackend
  ) throws {
    precondition(!networks.isEmpty && temperature > 0, "A target has a network and a positive temperature.")
    let first = networks[0].network
    let logits = first.shapes[first.exits[exit].logits]
    for other in networks.map(\.network) {
      guard other.inputShape == first.inputShape, other.exits.indices.contains(exit),
        other.shapes[other.exits[exit].logits] == logits
      else {
        throw NetworkError("The networks differ in their input or in the logits of exit \(exit); give networks alike.")
      }
    }
    guard logits.rank == 1, logits.elementCount > 1 else {
      throw NetworkError(
        "Exit \(exit) has logits of shape \(logits); attacks need one row of two classes or more an input.")
    }
    members = try networks.map { frozen in
      Member(
        frozen: frozen,
        plan: try backend.prepareTraining(
          frozen, preprocessing: preprocessing, inputs: [0], outputs: [frozen.network.exits[exit].logits],
          of: weights.paths, includingInputs: true))
    }
    factors = try InputMap(preprocessing, for: first.inputShape).factors
    self.weights = weights
    self.exit = exit
    self.temperature = temperature
    self.preprocessing = preprocessing
    self.backend = backend
  }

  /// The gradients, by stored values, of `Σ cotangent · logits / temperature` at one draw.
  ///
  /// - Parameters:
  ///   - draw: with the key it makes the draw; of an ensemble it names the member.
  ///   - cotangents: takes the tempered logits of some rows, `[rows, classes]`, and which rows they are; called from
  ///     several tasks.
  /// - Shapes: `inputs` and the result `[rows] + inputShape`.
  func gradient(
    at inputs: Tensor<Float>, draw: Int, key: RandomKey, width: Int,
    cotangents: @escaping @Sendable (Tensor<Double>, Range<Int>) throws -> Tensor<Double>
  ) async throws -> Tensor<Float> {
    let (member, parameters) = drawn(draw, key)
    let (temperature, classCount) = (temperature, classCount)
    let gradients = try await member.plan.gradients(at: [RowBatch(inputs)], parameters: parameters, width: width) {
      outputs, rows in
      let logits = outputs[0].converted(to: Double.self).map { $0 / temperature }
      let cotangent = try cotangents(logits.reshaped(to: [rows.count, classCount]), rows)
      return LossGradient(
        value: 0,
        cotangents: [cotangent.map { $0 / temperature }.converted(to: Float.self).reshaped(to: outputs[0].shape)])
    }
    var gradient = gradients.inputs[0]
    let factors = factors
    gradient.withMutableSpan { span in
      for position in 0..<span.count { span[position] *= factors[position % factors.count] }
    }
    return gradient
  }

  /// A target's draws made ready to answer.
  public struct Answers: Sendable {
    fileprivate let networks: [any PreparedNetwork]
    fileprivate let temperature: Double
    fileprivate let classCount: Int

    /// The logarithms of the mean over draws of class probabilities, by log-sum-exp of each draw's.
    ///
    /// - Shapes: `inputs` `[rows] + inputShape`; the result `[rows, classes]`.
    /// - Throws: `NumericalError.Code.notFinite` for a logit that is no number.
    public func callAsFunction(_ inputs: Tensor<Float>, width: Int) async throws -> Tensor<Double> {
      var mean = LogMeanProbability(rowCount: inputs.rowCount, classCount: classCount)
      for network in networks {
        try Task.checkCancellation()
        let logits = try await network(RowBatch(inputs), width: width)[0].converted(to: Double.self)
        mean.add(
          try logProbabilities(
            of: logits.map { $0 / temperature }.reshaped(to: [inputs.rowCount, classCount])))
      }
      return mean.value
    }
  }

  /// Draws networks that answer, apart from those that any attack has seen where the key is another.
  ///
  /// - Parameter draws: how many, where there is a distribution.
  /// - Cost: holds all drawn networks.
  public func answers(draws: Int, key: RandomKey) throws -> Answers {
    let count = weights.areDrawn ? draws : members.count
    let networks = try (0..<count).map { draw in
      let (member, parameters) = drawn(draw, key)
      let frozen = try FrozenNetwork(
        member.frozen.network, parameters: member.frozen.parameters.replacing(parameters))
      return try backend.prepare(
        frozen, preprocessing: preprocessing, outputs: [frozen.network.exits[exit].logits])
    }
    return Answers(networks: networks, temperature: temperature, classCount: classCount)
  }

  /// How many draws an expectation takes: all of an ensemble, one where nothing is drawn.
  func drawCount(of loss: AdversarialAttack.Loss) -> Int {
    if loss == .singleDraw { return 1 }
    return weights.areDrawn ? loss.drawCount : members.count
  }

  private func drawn(_ draw: Int, _ key: RandomKey) -> (member: Member, parameters: Parameters) {
    var parameters = Parameters()
    switch weights {
    case .trained: return (members[draw % members.count], parameters)
    case .layer(let posterior):
      let key = key.child(draw)
      for (index, weights) in posterior.weights.enumerated() {
        var values = weights.means
        if posterior.form == .variational {
          let noise: Tensor<Double> = key.child(index).normals(values.shape)
          for position in 0..<values.count { values[position] += weights.deviations[position] * noise[position] }
        }
        parameters[weights.path] = values.converted(to: Float.self)
      }
    case .head(let exit, let index, let specs):
      // Of the features' weights first, the bias in the last row.
      var values = exit.curvature.value.weightDraw(
        key: key.child(index).child(draw), priorPrecision: exit.priorPrecision, on: backend
      ).elements
      let trained = specs.flatMap { members[0].frozen.parameters[$0.path]?.elements ?? [] }
      for (position, weight) in trained.enumerated() { values[position] += Double(weight) }
      var first = 0
      for spec in specs {
        let end = first + spec.shape.elementCount
        parameters[spec.path] = Tensor(shape: spec.shape, values[first..<end].map { Float($0) })
        first = end
      }
    }
    return (members[0], parameters)
  }
}

/// Row by row, `logits − logsumexp(logits)`.
///
/// - Throws: `NumericalError.Code.notFinite` for a logit that is infinite or no number.
func logProbabilities(of logits: Tensor<Double>) throws(NumericalError) -> Tensor<Double> {
  guard logits.firstNonFinite == nil else {
    throw NumericalError(
      .notFinite, "A logit is infinite or not a number at an attacked input; check the inputs and the preprocessing.")
  }
  var result = logits
  let classCount = logits.shape[1]
  for row in 0..<logits.rowCount {
    let total = logSumExp((0..<classCount).map { logits[row, $0] })
    for k in 0..<classCount { result[row, k] -= total }
  }
  return result
}
