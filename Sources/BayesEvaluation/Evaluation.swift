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
    var models: [ModelResult] = []
    for model in evaluations {
      var exits: [ExitResult] = []
      for exit in model.exits { exits.append(try exit.result) }
      models.append(ModelResult(name: model.name, kind: model.kind, exits: exits))
    }
    let temperature = evaluations.indices.dropFirst().first { evaluations[$0].kind == .temperature }
    var comparisons: [Comparison] = []
    for model in evaluations.indices.dropFirst() {
      var references = [0]
      if let temperature, model != temperature { references.append(temperature) }
      for reference in references {
        for (exit, evaluation) in evaluations[model].exits.enumerated() {
          guard
            let other = evaluations[reference].exits.firstIndex(where: { $0.index == evaluation.index })
          else { continue }
          comparisons.append(
            try Comparison(
              of: evaluation, models[model].exits[exit], named: models[model].name,
              against: evaluations[reference].exits[other], models[reference].exits[other],
              named: models[reference].name))
        }
      }
    }
    self.init(models: models, comparisons: comparisons)
  }
}
