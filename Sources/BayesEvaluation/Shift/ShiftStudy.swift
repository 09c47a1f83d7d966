/// How much the measures of one exit differ between two ways of measuring the same rows.
///
/// Accuracy, NLL and Brier score are compared row by row, the calibration error as if the rows were others, as in
/// `Comparison`.
public struct MeasureDifferences: Sendable, Hashable, Codable {
  public var accuracy: Difference
  public var nll: Difference
  public var brier: Difference
  public var ece: Difference

  public init(accuracy: Difference, nll: Difference, brier: Difference, ece: Difference) {
    self.accuracy = accuracy
    self.nll = nll
    self.brier = brier
    self.ece = ece
  }

  init(_ comparison: Comparison) {
    self.init(
      accuracy: comparison.accuracy, nll: comparison.nll, brier: comparison.brier, ece: comparison.ece)
  }
}

/// The numbers of one exit of one model on rows that were corrupted.
public struct ShiftedExit: Sendable, Hashable, Codable {
  /// The exit's index, from zero for the earliest.
  public var index: Int
  public var name: String
  public var accuracy: Double
  /// Infinite where a label has probability zero.
  public var nll: Double
  /// The number of rows whose label has probability zero.
  public var infiniteNLLCount: Int
  public var brier: Double
  /// The calibration error, in the bins of the untouched rows' one.
  public var ece: Double
  /// Its 95 % interval; absent below two rows and from reports of earlier versions.
  public var eceInterval: Interval?
  public var intervals: ExitIntervals
  /// Mean uncertainty, in nats.
  public var uncertainty: MeanUncertainty
  /// This minus the same exit of the same model on the untouched rows.
  public var change: MeasureDifferences
  /// This minus the same exit of the first model on the same corrupted rows; absent for the first model, and where that
  /// has no such exit.
  public var againstBaseline: MeasureDifferences?

  public init(
    index: Int, name: String, accuracy: Double, nll: Double, infiniteNLLCount: Int, brier: Double, ece: Double,
    intervals: ExitIntervals, uncertainty: MeanUncertainty, change: MeasureDifferences,
    againstBaseline: MeasureDifferences?
  ) {
    self.index = index
    self.name = name
    self.accuracy = accuracy
    self.nll = nll
    self.infiniteNLLCount = infiniteNLLCount
    self.brier = brier
    self.ece = ece
    self.intervals = intervals
    self.uncertainty = uncertainty
    self.change = change
    self.againstBaseline = againstBaseline
  }
}

/// One model's numbers on rows that were corrupted, exit by exit.
public struct ShiftedModel: Sendable, Hashable, Codable {
  public var name: String
  public var exits: [ShiftedExit]

  public init(name: String, exits: [ShiftedExit]) {
    self.name = name
    self.exits = exits
  }
}

/// All models under one corruption of one severity.
public struct ShiftedSeverity: Sendable, Hashable, Codable {
  /// From 1 to 5.
  public var severity: Int
  /// How much of the corruption that is, as `ShiftedCorruption.strengthName` measures it.
  public var strength: Double
  /// In the order of the report.
  public var models: [ShiftedModel]

  public init(severity: Int, strength: Double, models: [ShiftedModel]) {
    self.severity = severity
    self.strength = strength
    self.models = models
  }
}

/// All models under one corruption.
public struct ShiftedCorruption: Sendable, Hashable, Codable {
  /// As the command names it.
  public var name: String
  /// As a reader knows it.
  public var title: String
  /// What measures its strength, in words.
  public var strengthName: String
  /// The weakest first.
  public var severities: [ShiftedSeverity]

  public init(name: String, title: String, strengthName: String, severities: [ShiftedSeverity]) {
    self.name = name
    self.title = title
    self.strengthName = strengthName
    self.severities = severities
  }
}

/// What becomes of models when their test rows are corrupted.
public struct ShiftStudy: Sendable, Hashable, Codable {
  /// The value of a black pixel, as stored.
  public var pixelLow: Double
  /// The value of a full pixel, as stored.
  public var pixelHigh: Double
  public var corruptions: [ShiftedCorruption]

  public init(pixelLow: Double, pixelHigh: Double, corruptions: [ShiftedCorruption]) {
    self.pixelLow = pixelLow
    self.pixelHigh = pixelHigh
    self.corruptions = corruptions
  }
}

/// What models make of untouched rows, against which the same rows corrupted are set.
public struct ShiftReference: Sendable {
  private let untouched: [ModelEvaluation]
  private let results: [[ExitResult]]

  /// - Parameter untouched: all models of a report, the baseline first.
  /// - Throws: `EvaluationError.Code.empty` for an exit without rows.
  public init(_ untouched: [ModelEvaluation]) throws(EvaluationError) {
    self.untouched = untouched
    var results: [[ExitResult]] = []
    for model in untouched {
      var exits: [ExitResult] = []
      for exit in model.exits { exits.append(try exit.resultWithoutDetails) }
      results.append(exits)
    }
    self.results = results
  }

  /// The numbers of the same models on the same rows, corrupted in one way.
  ///
  /// - Throws: `EvaluationError.Code.shape` where a model has seen another number of rows; `.empty` where it has seen
  ///   none.
  /// - Precondition: the models and their exits are those of the untouched rows, in the same order.
  public func results(of shifted: [ModelEvaluation]) throws(EvaluationError) -> [ShiftedModel] {
    precondition(shifted.map(\.name) == untouched.map(\.name), "These are other models.")
    var own: [[ExitResult]] = []
    for model in shifted {
      var exits: [ExitResult] = []
      for exit in model.exits { exits.append(try exit.resultWithoutDetails) }
      own.append(exits)
    }
    var models: [ShiftedModel] = []
    for (position, model) in shifted.enumerated() {
      var exits: [ShiftedExit] = []
      for (place, result) in own[position].enumerated() {
        let change = try Comparison(
          of: model.exits[place], result, named: model.name,
          against: untouched[position].exits[place], results[position][place], named: "untouched rows")
        var against: MeasureDifferences?
        if position > 0, let other = shifted[0].exits.firstIndex(where: { $0.index == result.index }) {
          against = MeasureDifferences(
            try Comparison(
              of: model.exits[place], result, named: model.name,
              against: shifted[0].exits[other], own[0][other], named: shifted[0].name))
        }
        var exit = ShiftedExit(
          index: result.index, name: result.name, accuracy: result.accuracy, nll: result.nll,
          infiniteNLLCount: result.infiniteNLLCount, brier: result.brier, ece: result.ece.value,
          intervals: result.intervals, uncertainty: result.uncertainty, change: MeasureDifferences(change),
          againstBaseline: against)
        exit.eceInterval = try model.exits[place].calibrationErrorInterval
        exits.append(exit)
      }
      models.append(ShiftedModel(name: model.name, exits: exits))
    }
    return models
  }
}
