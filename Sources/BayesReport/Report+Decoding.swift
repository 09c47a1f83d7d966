import BayesEvaluation
public import BayesTensor
public import Foundation

extension Report {
  /// Reads a report that `JSONRenderer` or a user wrote, and checks that it can be shown.
  ///
  /// - Parameter file: the file, as the user named it; for messages.
  /// - Throws: `FileError.Code.malformed` for what is not JSON, `.missing` and `.value` for a field that
  ///   is absent or wrong, naming it, and `.unsupported` for another schema version.
  public init(json: Data, file: String) throws(FileError) {
    self = try JSONRenderer.report(Report.self, in: json, schema: Self.schema, file: file)
    try ReportCheck(file: file).check(self)
  }
}

extension JSONRenderer {
  /// Whether data are JSON at all.
  private static func isJSON(_ data: Data) -> Bool {
    do { return try JSONSerialization.jsonObject(with: data) is [String: Any] } catch { return false }
  }

  private struct SchemaVersion: Decodable {
    var schema: Int
  }

  /// A report of any kind from its JSON, of this version.
  static func report<R: Decodable>(_ type: R.Type, in json: Data, schema: Int, file: String) throws(FileError) -> R {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: NonFinite.infinity, negativeInfinity: NonFinite.negativeInfinity,
      nan: NonFinite.notANumber)
    do {
      // The version first: what another version lacks is not the user's mistake.
      let version = try decoder.decode(SchemaVersion.self, from: json).schema
      guard version == schema else {
        throw FileError(
          .unsupported, file: file, object: "schema",
          "The report has schema \(version) and this program reads schema \(schema); use the "
            + "version that wrote it.")
      }
      return try decoder.decode(type, from: json)
    } catch let error as FileError {
      throw error
    } catch DecodingError.dataCorrupted(let context) where context.codingPath.isEmpty && isJSON(json) {
      // Numbers that do not fit their fields come without a place.
      throw FileError(
        .value, file: file,
        "A number is not of its field's kind, such as a count that is not whole or too large; write it as this program does.")
    } catch let error as DecodingError {
      throw FileError(error, file: file)
    } catch {
      throw FileError(.malformed, file: file, "The report cannot be read: \(error).")
    }
  }
}

extension FileError {
  /// A decoding failure as one sentence that names the field.
  fileprivate init(_ error: DecodingError, file: String) {
    switch error {
    case .keyNotFound(let key, let context):
      self.init(
        .missing, file: file, object: Self.path(context.codingPath + [key]),
        "This field is missing; the file is not a report or was edited.")
    case .valueNotFound(_, let context):
      self.init(
        .missing, file: file, object: Self.path(context.codingPath),
        "This field is null and must have a value.")
    case .typeMismatch(let type, let context):
      self.init(
        .value, file: file, object: Self.path(context.codingPath),
        "This field is of the wrong type; expected \(Self.name(of: type)).")
    case .dataCorrupted(let context):
      self.init(
        context.codingPath.isEmpty ? .malformed : .value, file: file,
        object: Self.path(context.codingPath),
        context.codingPath.isEmpty ? "The file is not valid JSON." : context.debugDescription)
    @unknown default:
      self.init(.malformed, file: file, "The report cannot be read: \(error).")
    }
  }

  /// `models[0].exits[2].nll`
  private static func path(_ keys: [any CodingKey]) -> String? {
    var path = ""
    for key in keys {
      if let index = key.intValue {
        path += "[\(index)]"
      } else {
        path += (path.isEmpty ? "" : ".") + key.stringValue
      }
    }
    return path.isEmpty ? nil : path
  }

  /// The JSON word for a Swift type.
  private static func name(of type: any Any.Type) -> String {
    switch type {
    case is Double.Type, is Float.Type: "a number"
    case is Int.Type, is UInt64.Type: "a whole number"
    case is String.Type: "a string"
    case is Bool.Type: "true or false"
    case is [Any].Type: "an array"
    default: "an object or array as this program writes it"
    }
  }
}

/// The conditions on a decoded report that its types cannot state and renderers rely on.
private struct ReportCheck {
  let ranges: ReportRanges

  init(file: String) {
    ranges = ReportRanges(file: file)
  }

  func check(_ report: Report) throws(FileError) {
    try ranges.require(!report.models.isEmpty, "models", "There is no model; a report has at least one.")
    let names = report.models.map(\.name)
    try ranges.require(
      Set(names).count == names.count, "models", "Two models have one name; names must differ.")
    for (position, model) in report.models.enumerated() {
      try check(model, at: "models[\(position)]")
    }
    for (position, comparison) in report.comparisons.enumerated() {
      for name in [comparison.model, comparison.reference] {
        try ranges.require(
          names.contains(name), "comparisons[\(position)]", "There is no model named '\(name)'.")
      }
      try ranges.require(
        report.models.contains { $0.name == comparison.model && $0.exits.contains { $0.index == comparison.exit } },
        "comparisons[\(position)].exit", "'\(comparison.model)' has no exit \(comparison.exit).")
    }
    let classCount = report.models[0].exits[0].classes.count
    try ranges.require(
      report.classNames.isEmpty || report.classNames.count == classCount, "classNames",
      "There are \(report.classNames.count) names for \(classCount) classes.")
    try check(report.shift)
    for (position, image) in (report.pixelMaps ?? []).enumerated() {
      let path = "pixelMaps[\(position)]"
      try ranges.requireCount(image.row, "\(path).row")
      try ranges.requireProportion(image.anomalousShare, "\(path).anomalousShare")
      for model in image.models {
        for value in [model.meanEntropy, model.meanMutualInformation ?? 0] {
          try ranges.requireNotNegative(value, "\(path).models")
        }
      }
    }
  }

  private func check(_ model: ModelResult, at path: String) throws(FileError) {
    try ranges.require(!model.exits.isEmpty, "\(path).exits", "A model has at least one exit.")
    for (position, exit) in model.exits.enumerated() {
      try check(exit, at: "\(path).exits[\(position)]")
    }
    try ranges.require(
      Set(model.exits.map(\.index)).count == model.exits.count, "\(path).exits",
      "Two exits have one index.")
  }

  private func check(_ exit: ExitResult, at path: String) throws(FileError) {
    try ranges.require(
      (0...1_000_000).contains(exit.index), "\(path).index", "An exit's index is a number from 0; got \(exit.index).")
    try ranges.require(
      exit.rowCount > 0 && !exit.confidenceHistogram.isEmpty, path, "An exit is of one row at least, and has its histogram.")
    try ranges.requireProportion(exit.accuracy, "\(path).accuracy")
    try ranges.requireProportion(exit.ece.value, "\(path).ece.value")
    try ranges.requireNotNegative(exit.nll, "\(path).nll")
    try ranges.requireNumber(exit.brier, in: 0...2, "\(path).brier")
    try ranges.requireCount(exit.infiniteNLLCount, "\(path).infiniteNLLCount")
    try ranges.requireInterval(exit.intervals.accuracy, within: 0...1, "\(path).intervals.accuracy")
    try ranges.requireInterval(exit.intervals.nll, "\(path).intervals.nll")
    try ranges.requireInterval(exit.intervals.brier, "\(path).intervals.brier")
    try check(exit.uncertainty, at: "\(path).uncertainty")
    try ranges.requireCount(exit.rowCount, "\(path).rowCount")
    try ranges.require(
      exit.reliability.count == exit.ece.bins, "\(path).reliability",
      "There are \(exit.reliability.count) bins; ece.bins says \(exit.ece.bins).")
    for (position, bin) in exit.reliability.enumerated() {
      let place = "\(path).reliability[\(position)]"
      for value in [bin.lower, bin.upper, bin.confidence, bin.accuracy] {
        try ranges.requireProportion(value, place)
      }
      try ranges.requireCount(bin.count, place)
    }
    try ranges.requireCounts(exit.confidenceHistogram, "\(path).confidenceHistogram")
    for counts in exit.classes {
      try ranges.requireCounts([counts.rows, counts.correct, counts.predicted], "\(path).classes")
      try ranges.require(
        counts.correct <= min(counts.rows, counts.predicted), "\(path).classes",
        "Of a class's rows some are right; got \(counts.correct) of \(counts.rows).")
    }
    if let details = exit.details { try check(details, at: "\(path).details") }
    for confusion in exit.details?.confusions ?? [] {
      for index in [confusion.label, confusion.predicted] {
        try ranges.require(
          exit.classes.indices.contains(index), "\(path).details.confusions", "There is no class \(index).")
      }
    }
    for detector in exit.detectors ?? [] {
      for (name, score) in detector.sets {
        try check(score, at: "\(path).detectors.\(detector.name).\(name)")
      }
    }
    try check(exit.conformal ?? [], at: "\(path).conformal")
    if let trust = exit.trust { try check(trust, at: "\(path).trust") }
    if let examples = exit.examples {
      for example in examples.mostUncertain + examples.mostConfidentlyWrong {
        try ranges.requireProportion(example.confidence, "\(path).examples")
      }
    }
    for (position, set) in exit.ood.enumerated() {
      let place = "\(path).ood[\(position)]"
      try ranges.requireCounts(set.confidenceHistogram, "\(place).confidenceHistogram")
      try ranges.requireCount(set.rowCount, "\(place).rowCount")
      try check(set.uncertainty, at: "\(place).uncertainty")
      for name in set.scores.keys.sorted() {
        guard let score = set.scores[name] else { continue }
        try check(score, at: "\(place).scores.\(name)")
      }
      for name in (set.perImage ?? [:]).keys.sorted() {
        guard let result = set.perImage?[name] else { continue }
        try check(result, at: "\(place).perImage.\(name)")
      }
    }
  }

  private func check(_ uncertainty: MeanUncertainty, at path: String) throws(FileError) {
    for value in [uncertainty.total, uncertainty.aleatoric, uncertainty.epistemic] {
      try ranges.requireNotNegative(value, path)
    }
    if let intervals = uncertainty.intervals {
      for interval in [intervals.total, intervals.aleatoric, intervals.epistemic] {
        try ranges.requireInterval(interval, path)
      }
    }
  }

  private func check(_ score: ScoreResult, at path: String) throws(FileError) {
    for value in [score.auroc, score.auprOut, score.auprIn, score.fpr95] { try ranges.requireProportion(value, path) }
    for interval in [score.aurocInterval, score.auprOutInterval, score.auprInInterval, score.fpr95Interval] {
      try ranges.requireInterval(interval, within: 0...1, path)
    }
  }

  private func check(_ result: ImageSeparationResult, at path: String) throws(FileError) {
    try ranges.requireCount(result.imageCount, path)
    for value in [result.auroc, result.auprOut, result.fpr95] { try ranges.requireProportion(value, path) }
    // Normal intervals of means may reach beyond.
    for interval in [result.intervals?.auroc, result.intervals?.auprOut, result.intervals?.fpr95] {
      try ranges.requireInterval(interval, path)
    }
  }

  private func check(_ details: ExitDetails, at path: String) throws(FileError) {
    let errors = details.calibration
    for value in [errors.maximum, errors.rootMeanSquare, errors.classwise, errors.equalMass ?? 0, errors.smooth ?? 0] {
      try ranges.requireProportion(value, "\(path).calibration")
    }
    for name in errors.conventions.keys.sorted() {
      try ranges.requireNumber(errors.conventions[name] ?? 0, in: 0...1, "\(path).calibration.conventions.\(name)")
    }
    for value in [details.brier.reliability, details.brier.resolution, details.brier.uncertainty] {
      try ranges.requireNumber(value, in: 0...2, "\(path).brier")
    }
    try ranges.requireNumber(details.brier.withinBins, in: -2...2, "\(path).brier.withinBins")
    let selection = details.selection
    for value in [selection.aurc, selection.excessAURC, selection.augrc] {
      try ranges.requireProportion(value, "\(path).selection")
    }
    for point in selection.curve + selection.risks + selection.coverages {
      for value in [point.coverage, point.risk] { try ranges.requireProportion(value, "\(path).selection") }
    }
    try ranges.require(!selection.curve.isEmpty, "\(path).selection.curve", "A curve has at least one point.")
    for top in details.topAccuracies {
      try ranges.require(
        (1...100_000).contains(top.k), "\(path).topAccuracies", "k counts classes, from 1; got \(top.k).")
      try ranges.requireProportion(top.value, "\(path).topAccuracies")
      try ranges.requireInterval(top.interval, within: 0...1, "\(path).topAccuracies")
    }
    if let disagreement = details.disagreement {
      for value in [disagreement.variationRatio, disagreement.disagreement] {
        try ranges.requireProportion(value, "\(path).disagreement")
      }
      for interval in [disagreement.variationRatioInterval, disagreement.disagreementInterval] {
        try ranges.requireInterval(interval, "\(path).disagreement")
      }
    }
    if let overlap = details.overlap {
      try ranges.requireProportion(overlap.mean, "\(path).overlap.mean")
      try ranges.requireInterval(overlap.interval, "\(path).overlap.interval")
    }
    try ranges.requireCounts((details.confusions ?? []).map(\.rows), "\(path).confusions")
    if let intervals = details.intervals { try check(intervals, at: "\(path).intervals") }
  }

  private func check(_ intervals: ResampledIntervals, at path: String) throws(FileError) {
    try ranges.requireCount(intervals.resamplings, "\(path).resamplings")
    let errors = [
      intervals.ece, intervals.maximum, intervals.rootMeanSquare, intervals.classwise, intervals.equalMass,
      intervals.smooth, intervals.aurc, intervals.excessAURC, intervals.augrc,
    ]
    for interval in errors + intervals.conventions.values.map(Optional.init) {
      try ranges.requireInterval(interval, within: 0...1, path)
    }
    if let brier = intervals.brier {
      for interval in [brier.reliability, brier.resolution, brier.uncertainty] {
        try ranges.requireInterval(interval, within: 0...2, "\(path).brier")
      }
      try ranges.requireInterval(brier.withinBins, within: -2...2, "\(path).brier")
    }
    for interval in intervals.risks + (intervals.coverages ?? []) {
      try ranges.requireInterval(interval, within: 0...1, path)
    }
  }

  private func check(_ trust: TrustResult, at path: String) throws(FileError) {
    for value in [trust.maximumRisk, trust.delta] { try ranges.requireProportion(value, path) }
    for counts in [trust.test] + trust.foreign.map(\.counts) {
      let ascending = [0, counts.wrongCount, counts.labelledCount, counts.trustedCount, counts.rowCount]
      try ranges.require(
        ascending == ascending.sorted(), path,
        "Of the rows some are trusted, of these some labelled, and of these some wrong; got \(ascending.dropFirst()).")
    }
  }

  private func check(_ results: [ConformalResult], at path: String) throws(FileError) {
    for (position, result) in results.enumerated() {
      let place = "\(path)[\(position)]"
      for value in [result.alpha, result.coverage, result.emptyShare, result.singletonShare] {
        try ranges.requireProportion(value, place)
      }
      try ranges.requireInterval(result.interval, within: 0...1, "\(place).interval")
      try ranges.requireInterval(result.band, within: 0...1, "\(place).band")
      let methods = ConformalMethod.standard.map(\.name)
      try ranges.require(
        methods.contains(result.method), "\(place).method",
        "There is no method '\(result.method)'; there are \(methods.joined(separator: ", ")).")
      let classes = result.classes
      try ranges.require(
        result.thresholds.count == (result.isByClass ? classes.rowCounts.count : 1), "\(place).thresholds",
        "There is one threshold, or one a class; got \(result.thresholds.count).")
      try ranges.requireNumber(result.meanSize, in: 0...classes.rowCounts.count, "\(place).meanSize")
      try ranges.requireCounts(
        classes.calibrationRowCounts + classes.rowCounts + [result.rowCount, result.calibrationRowCount], place)
      for value in classes.coverages { try ranges.requireProportion(value ?? 0, "\(place).classes.coverages") }
      let counts = [
        classes.calibrationRowCounts.count, classes.coverages.count, classes.meanSizes.count,
        classes.bands?.count ?? classes.rowCounts.count,
      ]
      try ranges.require(
        counts.allSatisfy { $0 == classes.rowCounts.count }, "\(place).classes",
        "There must be one entry a class everywhere.")
    }
  }

  private func check(_ shift: ShiftStudy?) throws(FileError) {
    for (position, corruption) in (shift?.corruptions ?? []).enumerated() {
      let path = "shift.corruptions[\(position)]"
      try ranges.require(!corruption.severities.isEmpty, "\(path).severities", "A corruption has at least one severity.")
      for severity in corruption.severities {
        try ranges.require(
          (1...5).contains(severity.severity), "\(path).severities", "Severities are 1 to 5; got \(severity.severity).")
        for exit in severity.models.flatMap(\.exits) {
          for value in [exit.accuracy, exit.ece] { try ranges.requireProportion(value, "\(path).severities") }
          try ranges.requireNotNegative(exit.nll, "\(path).severities")
          try ranges.requireNumber(exit.brier, in: 0...2, "\(path).severities")
          try ranges.requireInterval(exit.intervals.accuracy, within: 0...1, "\(path).severities")
          try ranges.requireInterval(exit.eceInterval, within: 0...1, "\(path).severities")
          try check(exit.uncertainty, at: "\(path).severities")
        }
      }
    }
  }
}
