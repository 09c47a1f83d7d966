import BayesEvaluation
public import BayesNetwork
public import BayesPosterior
import BayesPrediction
import BayesReport
public import BayesTensor
import RealModule

/// Re-trains one layer of a network alone from several starts, and asks whether the same optimum is found.
///
/// Everything else stays as trained, batch normalisation in evaluation form, so that units keep their places: no
/// permutation of them gives the same network, and none is sought before optima are compared.
///
/// - Source: the observation of Lei et al. 2021, arXiv:2112.06281, of which the abstract alone was followed.
public struct FirstLayerOptimaStudy: Sendable {
  /// Where a training begins.
  public enum Start: String, Sendable, Hashable, Codable {
    /// Nowhere: the trained weights as they are.
    case trained
    /// The trained weights; rows come in an order of the start's own.
    case checkpoint
    /// Uniform weights within `±√(6 / (inputs + outputs))`, biases of zero.
    case random
  }

  /// The training; its objective is that of fine-tuning, and validation rows are not looked at.
  public var recipe: FirstLayerInference
  /// Trainings that begin at the trained weights.
  public var checkpointStartCount = 2
  /// Trainings that begin at random weights.
  public var randomStartCount = 3

  public init(_ recipe: FirstLayerInference) {
    self.recipe = recipe
    self.recipe.objective = .fineTuning
    self.recipe.patience = nil
  }

  /// The data terms of two ends may differ by this much, nats a row, before one is said not to be trained to its end.
  private static let dataTermMargin = 0.05

  /// Weights of a layer, and what a network with them answers.
  private struct Optimum {
    var start: Start
    var index: Int
    var weights: [Tensor<Double>]
    var dataTerm: Double?
    var answers: Answers

    var name: String { start == .trained ? "trained" : "\(start.rawValue) \(index + 1)" }
  }

  private struct Answers {
    var classes: [Int] = []
    var correctCount = 0
    var loss = RowMean()
  }

  /// Trains one layer from all starts, and compares what was found with each other and with the trained weights.
  ///
  /// - Parameters:
  ///   - training: labelled rows, and what is known of the exits.
  ///   - held: labelled rows that the network was not trained on; those that the numbers are of.
  ///   - context: its key gives orders and random weights.
  /// - Determinism: same key, same bits at any `context.width`.
  /// - Cost: a training for each start, a pass over the held-out rows for each optimum and each pair; memory for one
  ///   class a row and optimum beside what a training takes.
  /// - Throws: `NetworkError` where there is no such layer; as `FirstLayerInference.fit`.
  /// - Precondition: there are two starts at least.
  public func callAsFunction(
    _ frozen: FrozenNetwork, training: NetworkRecords, held: NetworkRecords, on backend: any NetworkBackend,
    in context: ExecutionContext
  ) async throws -> FirstLayerOptimaReport.Layer {
    precondition(checkpointStartCount + randomStartCount > 1, "There are two starts at least.")
    let exit = recipe.exitIndex ?? frozen.network.exits.count - 1
    try recipe.require(training.description)
    let layer = try VariationalLayer(recipe.layerName, of: frozen, exit: frozen.network.exits[exit])
    let trained = layer.paths.compactMap { frozen.parameters[$0]?.converted(to: Double.self) }
    func network(_ weights: [Tensor<Double>]) throws -> FrozenNetwork {
      let own = zip(layer.paths, weights.map { $0.converted(to: Float.self) })
      return try FrozenNetwork(
        frozen.network, parameters: frozen.parameters.replacing(Parameters(Dictionary(uniqueKeysWithValues: own))))
    }
    func answers(_ weights: [Tensor<Double>], _ name: String) async throws -> Answers {
      try await self.answers(try network(weights), exit, held, "held-out rows, \(name)", on: backend, in: context)
    }
    var optima = [
      Optimum(start: .trained, index: 0, weights: trained, answers: try await answers(trained, "trained weights"))
    ]
    let starts =
      (0..<checkpointStartCount).map { (Start.checkpoint, $0) } + (0..<randomStartCount).map { (Start.random, $0) }
    for (position, (start, index)) in starts.enumerated() {
      var own = context
      own.key = context.key.child(position)
      let name = "\(layer.name), start \(position + 1) of \(starts.count)"
      own.report = { context.report($0.named(name + ": " + $0.stage)) }
      let begin = start == .random ? Self.randomWeights(like: trained, key: own.key.child(9)) : trained
      let (posterior, _) = try await recipe.fit(
        try network(begin), training.description, training: training.dataset, validation: nil, on: backend, in: own)
      guard case .firstLayer(_, _, let found) = posterior.kind else {
        preconditionFailure("This is of one layer's weights.")
      }
      let weights = found.weights.map(\.means)
      optima.append(
        Optimum(
          start: start, index: index, weights: weights, dataTerm: found.dataTerm,
          answers: try await answers(weights, name)))
    }
    var pairs: [FirstLayerOptimaReport.Pair] = []
    for first in optima.indices {
      for second in optima.indices.dropFirst(first + 1) {
        let (a, b) = (optima[first], optima[second])
        let middle = zip(a.weights, b.weights).map { weights in
          Tensor<Double>(shape: weights.0.shape, zip(weights.0.elements, weights.1.elements).map { ($0 + $1) / 2 })
        }
        let between = try await answers(middle, "between \(a.name) and \(b.name)")
        pairs.append(Self.pair(a, b, between, trained: trained))
      }
    }
    return FirstLayerOptimaReport.Layer(
      name: layer.name, weightCount: trained.reduce(0) { $0 + $1.count },
      trainedNorm: Self.norm(trained.flatMap(\.elements)), optima: optima.map { Self.optimum($0) }, pairs: pairs,
      warnings: Self.warnings(of: optima, layer.name))
  }

  /// - Source: Glorot and Bengio 2010, the initialisation of Keras.
  private static func randomWeights(like trained: [Tensor<Double>], key: RandomKey) -> [Tensor<Double>] {
    trained.enumerated().map { index, tensor in
      guard tensor.shape.rank > 1 else { return Tensor(zeros: tensor.shape) }
      let window = tensor.shape.dimensions.dropLast(2).reduce(1, *)
      let units = tensor.shape.dimensions.suffix(2).reduce(0, +) * window
      let limit = (6 / Double(units)).squareRoot()
      return Tensor(shape: tensor.shape, key.child(index).uniforms(tensor.count).map { limit * (2 * $0 - 1) })
    }
  }

  private func answers(
    _ frozen: FrozenNetwork, _ exit: Int, _ held: NetworkRecords, _ stage: String, on backend: any NetworkBackend,
    in context: ExecutionContext
  ) async throws -> Answers {
    let records = try NetworkRecords(
      frozen, over: held.dataset, description: held.description, stage: stage, on: backend, width: context.width,
      report: context.report)
    var answers = Answers()
    try await Predictor.map.predictions(for: records) { block, predictions in
      try Task.checkCancellation()
      let values = predictions[exit].logMeanProbabilities()
      for (row, label) in (block.labels ?? []).enumerated() {
        let best = values.indexOfLargest(inRow: row)
        answers.classes.append(best)
        if best == label { answers.correctCount += 1 }
        answers.loss.add(-values[row, label])
      }
    }
    return answers
  }

  private static func norm(_ values: some Sequence<Double>) -> Double {
    values.reduce(0) { $0 + $1 * $1 }.squareRoot()
  }

  private static func pair(
    _ a: Optimum, _ b: Optimum, _ between: Answers, trained: [Tensor<Double>]
  ) -> FirstLayerOptimaReport.Pair {
    let (first, second) = (a.weights.flatMap(\.elements), b.weights.flatMap(\.elements))
    let distance = norm(zip(first, second).map { $0 - $1 })
    let scale = norm(trained.flatMap(\.elements))
    let lengths = norm(first) * norm(second)
    let differing = zip(a.answers.classes, b.answers.classes).count { $0 != $1 }
    return FirstLayerOptimaReport.Pair(
      first: a.name, second: b.name, distance: distance, relativeDistance: scale > 0 ? distance / scale : nil,
      cosine: lengths > 0 ? zip(first, second).reduce(0) { $0 + $1.0 * $1.1 } / lengths : nil,
      disagreement: Double(differing) / Double(a.answers.classes.count),
      disagreementInterval: .wilson(successes: differing, of: a.answers.classes.count),
      nllBetween: between.loss.mean, rise: between.loss.mean - (a.answers.loss.mean + b.answers.loss.mean) / 2)
  }

  private static func optimum(_ optimum: Optimum) -> FirstLayerOptimaReport.Optimum {
    let answers = optimum.answers
    return FirstLayerOptimaReport.Optimum(
      name: optimum.name, start: optimum.start, dataTerm: optimum.dataTerm,
      accuracy: Double(answers.correctCount) / Double(answers.classes.count),
      accuracyInterval: .wilson(successes: answers.correctCount, of: answers.classes.count), nll: answers.loss.mean,
      nllInterval: answers.loss.interval)
  }

  private static func warnings(of optima: [Optimum], _ layer: String) -> [String] {
    let least = optima.compactMap(\.dataTerm).min() ?? 0
    return optima.compactMap { optimum in
      guard let dataTerm = optimum.dataTerm, dataTerm > least + dataTermMargin else { return nil }
      return "\(layer), \(optimum.name): training ended at a data term of \(dataTerm.significantDigits()) nats a row, "
        + "and another at \(least.significantDigits()); give more --epochs or another --learning-rate before its end "
        + "is called an optimum."
    }
  }
}

extension StageProgress {
  fileprivate func named(_ stage: String) -> StageProgress {
    var progress = self
    progress.stage = stage
    return progress
  }
}
