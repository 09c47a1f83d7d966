import BayesTensor

/// What a model is; an open set, encoded as its name.
public struct ModelKind: Sendable, Hashable, Codable {
  public let name: String

  public init(_ name: String) { self.name = name }

  /// The network as it was trained.
  public static let map = ModelKind("map")
  /// The trained network with its logits divided by a fitted temperature.
  public static let temperature = ModelKind("temperature")
  /// Predictions of another program.
  public static let predictions = ModelKind("predictions")

  public init(from decoder: any Decoder) throws {
    name = try decoder.singleValueContainer().decode(String.self)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(name)
  }
}

/// One model's exits while they are fed.
public struct ModelEvaluation: Sendable {
  /// The name in tables; no two models of an evaluation share one.
  public var name: String
  public var kind: ModelKind
  public var exits: [ExitEvaluation]

  public init(name: String, kind: ModelKind, exits: [ExitEvaluation]) {
    self.name = name
    self.kind = kind
    self.exits = exits
  }
}

/// One model's numbers, exit by exit.
public struct ModelResult: Sendable, Hashable, Codable {
  public var name: String
  public var kind: ModelKind
  public var exits: [ExitResult]

  public init(name: String, kind: ModelKind, exits: [ExitResult]) {
    self.name = name
    self.kind = kind
    self.exits = exits
  }
}

/// The numbers of all models, and what each gains on the others.
public struct Evaluation: Sendable, Hashable, Codable {
  /// The first is the baseline.
  public var models: [ModelResult]
  /// Every model against the first, then against the first one that is a temperature alone.
  public var comparisons: [Comparison]

  public init(models: [ModelResult], comparisons: [Comparison]) {
    self.models = models
    self.comparisons = comparisons
  }

  /// Sums up what was fed.
  ///
  /// Exits are matched by index; one that a reference lacks is not compared.
  ///
  /// - Throws: `EvaluationError.Code.empty` for an exit or a foreign set without rows; `.shape` where two
  ///   models have seen different numbers of rows.
  public init(of evaluations: [ModelEvaluation]) throws(EvaluationError) {
    var results: [[ExitResult]] = []
    for model in evaluations {
      var exits: [ExitResult] = []
      for exit in model.exits { exits.append(try exit.result) }
      results.append(exits)
    }
    let models = Self.models(evaluations, results)
    var comparisons: [Comparison] = []
    for pair in Self.pairs(of: evaluations) { comparisons.append(try Comparison(of: pair, evaluations, models)) }
    self.init(models: models, comparisons: comparisons)
  }

  /// Sums up what was fed, up to `width` numbers at once; the result is that of `init(of:)`, whatever the width.
  ///
  /// - Throws: as `init(of:)`; `CancellationError`.
  /// - Cost: ranks that are computed at once take up to 64 MB, or what those of one score do.
  public init(of evaluations: [ModelEvaluation], width: Int) async throws {
    let exits = evaluations.flatMap(\.exits)
    let jobs = exits.enumerated().flatMap { index, exit in exit.portions.map { (index: index, portion: $0) } }
    let most = Self.rankBytes / max(1, exits.map(\.portionBytes).max() ?? 1)
    let portions = try await inOrder(jobs, width: min(width, max(1, most))) { try exits[$0.index].result(of: $0.portion) }
    var byExit = [[ExitEvaluation.PortionResult]](repeating: [], count: exits.count)
    for (job, portion) in zip(jobs, portions) { byExit[job.index].append(portion) }
    var results: [[ExitResult]] = []
    for model in evaluations {
      let first = results.reduce(0) { $0 + $1.count }
      results.append(try model.exits.indices.map { try model.exits[$0].result(byExit[first + $0]) })
    }
    let models = Self.models(evaluations, results)
    let comparisons = try await inOrder(Self.pairs(of: evaluations), width: min(width, max(1, most))) {
      try Comparison(of: $0, evaluations, models)
    }
    self.init(models: models, comparisons: comparisons)
  }

  /// What ranks that are computed at once may take.
  private static let rankBytes = 64_000_000

  private static func models(_ evaluations: [ModelEvaluation], _ results: [[ExitResult]]) -> [ModelResult] {
    zip(evaluations, results).map { ModelResult(name: $0.name, kind: $0.kind, exits: $1) }
  }

  /// An exit of a model and the same of its reference, by their positions.
  fileprivate struct ExitPair: Sendable {
    let model: Int
    let exit: Int
    let reference: Int
    let other: Int
  }

  /// Every model against the first, then against the first one that is a temperature alone.
  private static func pairs(of evaluations: [ModelEvaluation]) -> [ExitPair] {
    let temperature = evaluations.indices.dropFirst().first { evaluations[$0].kind == .temperature }
    return evaluations.indices.dropFirst().flatMap { model in
      var references = [0]
      if let temperature, model != temperature { references.append(temperature) }
      return references.flatMap { reference in
        evaluations[model].exits.enumerated().compactMap { exit, evaluation in
          evaluations[reference].exits.firstIndex { $0.index == evaluation.index }
            .map { ExitPair(model: model, exit: exit, reference: reference, other: $0) }
        }
      }
    }
  }
}

extension Comparison {
  fileprivate init(
    of pair: Evaluation.ExitPair, _ evaluations: [ModelEvaluation], _ models: [ModelResult]
  ) throws(EvaluationError) {
    let (model, reference) = (pair.model, pair.reference)
    try self.init(
      of: evaluations[model].exits[pair.exit], models[model].exits[pair.exit], named: models[model].name,
      against: evaluations[reference].exits[pair.other], models[reference].exits[pair.other],
      named: models[reference].name)
  }
}
