/// One model's exits while they are fed with forecasts.
public struct RegressionModelEvaluation: Sendable {
  /// The name in tables; no two models of a study share one.
  public var name: String
  public var kind: ModelKind
  public var exits: [RegressionEvaluation]
  /// Intervals with a promise, one entry an exit, where they are measured.
  public var conformal: [RegressionConformalEvaluation]

  public init(
    name: String, kind: ModelKind, exits: [RegressionEvaluation], conformal: [RegressionConformalEvaluation] = []
  ) {
    self.name = name
    self.kind = kind
    self.exits = exits
    self.conformal = conformal
  }
}

extension ModelKind {
  /// The network as it was trained with one deviation an output, fitted to held-out rows.
  public static let constantDeviation = ModelKind("constant-deviation")
}

/// One model's numbers, exit by exit.
public struct RegressionModelResult: Sendable, Hashable, Codable {
  public var name: String
  public var kind: ModelKind
  public var exits: [RegressionExitResult]

  public init(name: String, kind: ModelKind, exits: [RegressionExitResult]) {
    self.name = name
    self.kind = kind
    self.exits = exits
  }
}

/// One exit of a model against the same exit of the baseline, on the same sets of rows drawn anew.
public struct RegressionComparison: Sendable, Hashable, Codable {
  public var model: String
  public var reference: String
  /// The exit's index.
  public var exit: Int
  /// By name of the `RegressionMeasure`; those that both have.
  public var measures: [String: Difference]
  /// Of each output, where there are several.
  public var outputs: [[String: Difference]]

  public init(
    model: String, reference: String, exit: Int, measures: [String: Difference], outputs: [[String: Difference]]
  ) {
    self.model = model
    self.reference = reference
    self.exit = exit
    self.measures = measures
    self.outputs = outputs
  }

  public subscript(measure: RegressionMeasure) -> Difference? { measures[measure.rawValue] }
}

/// The numbers of all models that forecast real targets, and what each gains on the baseline.
///
/// - Cost: 130 bytes a set of rows drawn anew for every exit and output.
/// - Determinism: no dependence on threads; sets of rows follow from the key of the first exit's resampling.
public struct RegressionStudy: Sendable, Hashable, Codable {
  public var models: [RegressionModelResult]
  /// The name of the model that gains are measured against: the first constant deviation, else the first model with
  /// deviations, else the first.
  public var baseline: String
  /// Every other model against the baseline.
  public var comparisons: [RegressionComparison]

  /// Sums up what was fed.
  ///
  /// - Throws: `EvaluationError.Code.empty` for an exit without rows and where there is no model; `.shape` where two
  ///   models have seen different numbers of rows.
  public init(of evaluations: [RegressionModelEvaluation]) throws(EvaluationError) {
    guard let first = evaluations.first?.exits.first else { throw .noRows("quality of forecasts") }
    let weights = first.resampling.blockWeights()
    var models: [RegressionModelResult] = []
    var draws: [[(pooled: ForecastDraws, outputs: [ForecastDraws])]] = []
    for model in evaluations {
      var (exits, own) = ([RegressionExitResult](), [(pooled: ForecastDraws, outputs: [ForecastDraws])]())
      for (position, exit) in model.exits.enumerated() {
        guard exit.rowCount == first.rowCount || exit.rowCount == 0 else {
          throw EvaluationError(
            .shape,
            "'\(model.name)' was evaluated on \(exit.rowCount) rows and '\(evaluations[0].name)' on \(first.rowCount); "
              + "models are compared on the same rows.")
        }
        own.append(try exit.draws(weights))
        var result = exit.result(own[position])
        if model.conformal.indices.contains(position) { result.conformal = model.conformal[position].results }
        exits.append(result)
      }
      models.append(RegressionModelResult(name: model.name, kind: model.kind, exits: exits))
      draws.append(own)
    }
    let baseline =
      evaluations.firstIndex { $0.kind == .constantDeviation }
      ?? models.firstIndex { $0.exits.contains { $0[.sharpness] != nil } } ?? 0
    var comparisons: [RegressionComparison] = []
    for model in models.indices where model != baseline {
      for (position, exit) in models[model].exits.enumerated() {
        guard let other = models[baseline].exits.firstIndex(where: { $0.index == exit.index }) else { continue }
        let (own, reference) = (draws[model][position], draws[baseline][other])
        comparisons.append(
          RegressionComparison(
            model: models[model].name, reference: models[baseline].name, exit: exit.index,
            measures: own.pooled.differences(from: reference.pooled),
            outputs: zip(own.outputs, reference.outputs).map { $0.differences(from: $1) }))
      }
    }
    self.models = models
    self.baseline = models[baseline].name
    self.comparisons = comparisons
  }
}
