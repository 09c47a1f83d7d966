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
  let file: String

  func check(_ report: Report) throws(FileError) {
    try require(!report.models.isEmpty, "models", "There is no model; a report has at least one.")
    let names = report.models.map(\.name)
    try require(
      Set(names).count == names.count, "models", "Two models have one name; names must differ.")
    for (position, model) in report.models.enumerated() {
      try check(model, at: "models[\(position)]")
    }
    for (position, comparison) in report.comparisons.enumerated() {
      for name in [comparison.model, comparison.reference] {
        try require(
          names.contains(name), "comparisons[\(position)]", "There is no model named '\(name)'.")
      }
    }
    try check(report.shift)
  }

  private func check(_ model: ModelResult, at path: String) throws(FileError) {
    try require(!model.exits.isEmpty, "\(path).exits", "A model has at least one exit.")
    for (position, exit) in model.exits.enumerated() {
      try check(exit, at: "\(path).exits[\(position)]")
    }
    try require(
      Set(model.exits.map(\.index)).count == model.exits.count, "\(path).exits",
      "Two exits have one index.")
  }

  private func check(_ exit: ExitResult, at path: String) throws(FileError) {
    try require(exit.index >= 0, "\(path).index", "An exit's index is not negative; got \(exit.index).")
    try requireProportion(exit.accuracy, "\(path).accuracy")
    try requireProportion(exit.ece.value, "\(path).ece.value")
    try requireCount(exit.rowCount, "\(path).rowCount")
    try require(
      exit.reliability.count == exit.ece.bins, "\(path).reliability",
      "There are \(exit.reliability.count) bins; ece.bins says \(exit.ece.bins).")
    for (position, bin) in exit.reliability.enumerated() {
      let place = "\(path).reliability[\(position)]"
      for value in [bin.lower, bin.upper, bin.confidence, bin.accuracy] {
        try requireProportion(value, place)
      }
      try requireCount(bin.count, place)
    }
    try requireCounts(exit.confidenceHistogram, "\(path).confidenceHistogram")
    for counts in exit.classes {
      try requireCounts([counts.rows, counts.correct, counts.predicted], "\(path).classes")
    }
    if let selection = exit.details?.selection {
      for point in selection.curve + selection.risks + selection.coverages {
        for value in [point.coverage, point.risk] { try requireProportion(value, "\(path).details.selection") }
      }
      try require(!selection.curve.isEmpty, "\(path).details.selection.curve", "A curve has at least one point.")
    }
    if let overlap = exit.details?.overlap { try requireProportion(overlap.mean, "\(path).details.overlap.mean") }
    try requireCounts((exit.details?.confusions ?? []).map(\.rows), "\(path).details.confusions")
    for detector in exit.detectors ?? [] {
      for (name, score) in detector.sets {
        for value in [score.auroc, score.fpr95] {
          try requireProportion(value, "\(path).detectors.\(detector.name).\(name)")
        }
      }
    }
    try check(exit.conformal ?? [], at: "\(path).conformal")
    if let trust = exit.trust { try check(trust, at: "\(path).trust") }
    if let examples = exit.examples {
      for example in examples.mostUncertain + examples.mostConfidentlyWrong {
        try requireProportion(example.confidence, "\(path).examples")
      }
    }
    for (position, set) in exit.ood.enumerated() {
      let place = "\(path).ood[\(position)]"
      try requireCounts(set.confidenceHistogram, "\(place).confidenceHistogram")
      for name in set.scores.keys.sorted() {
        guard let score = set.scores[name] else { continue }
        for value in [score.auroc, score.auprOut, score.auprIn, score.fpr95] {
          try requireProportion(value, "\(place).scores.\(name)")
        }
      }
    }
  }

  private func check(_ trust: TrustResult, at path: String) throws(FileError) {
    for value in [trust.maximumRisk, trust.delta] { try requireProportion(value, path) }
    for counts in [trust.test] + trust.foreign.map(\.counts) {
      let ascending = [0, counts.wrongCount, counts.labelledCount, counts.trustedCount, counts.rowCount]
      try require(
        ascending == ascending.sorted(), path,
        "Of the rows some are trusted, of these some labelled, and of these some wrong; got \(ascending.dropFirst()).")
    }
  }

  private func check(_ results: [ConformalResult], at path: String) throws(FileError) {
    for (position, result) in results.enumerated() {
      let place = "\(path)[\(position)]"
      for value in [result.alpha, result.coverage, result.emptyShare, result.singletonShare] {
        try requireProportion(value, place)
      }
      let classes = result.classes
      try requireCounts(
        classes.calibrationRowCounts + classes.rowCounts + [result.rowCount, result.calibrationRowCount], place)
      for value in classes.coverages { try requireProportion(value ?? 0, "\(place).classes.coverages") }
      let counts = [
        classes.calibrationRowCounts.count, classes.coverages.count, classes.meanSizes.count,
        classes.bands?.count ?? classes.rowCounts.count,
      ]
      try require(
        counts.allSatisfy { $0 == classes.rowCounts.count }, "\(place).classes",
        "There must be one entry a class everywhere.")
    }
  }

  private func check(_ shift: ShiftStudy?) throws(FileError) {
    for (position, corruption) in (shift?.corruptions ?? []).enumerated() {
      let path = "shift.corruptions[\(position)]"
      try require(!corruption.severities.isEmpty, "\(path).severities", "A corruption has at least one severity.")
      for severity in corruption.severities {
        try require(
          (1...5).contains(severity.severity), "\(path).severities", "Severities are 1 to 5; got \(severity.severity).")
        for exit in severity.models.flatMap(\.exits) {
          for value in [exit.accuracy, exit.ece] { try requireProportion(value, "\(path).severities") }
        }
      }
    }
  }

  private func requireProportion(_ value: Double, _ object: String) throws(FileError) {
    try require(
      (0...1).contains(value), object, "A proportion is a number from 0 to 1; got \(value).")
  }

  private func requireCount(_ value: Int, _ object: String) throws(FileError) {
    // Sums of counts are taken later; 2^53 is also where other languages' numbers end.
    try require(
      (0...(1 << 53)).contains(value), object, "A count is a whole number up to 2^53; got \(value).")
  }

  private func requireCounts(_ values: [Int], _ object: String) throws(FileError) {
    for value in values { try requireCount(value, object) }
  }

  private func require(
    _ condition: Bool, _ object: String, _ message: @autoclosure () -> String
  ) throws(FileError) {
    guard condition else { throw FileError(.value, file: file, object: object, message()) }
  }
}
