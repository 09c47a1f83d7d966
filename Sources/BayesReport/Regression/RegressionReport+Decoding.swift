import BayesEvaluation
public import BayesTensor
public import Foundation

extension RegressionReport {
  private struct Beginning: Decodable {
    var kind: String?
  }

  /// Whether JSON says that it is a report on forecasts of real targets.
  public static func recognizes(json: Data) -> Bool {
    // What cannot be read is refused by whoever reads it.
    do { return try JSONDecoder().decode(Beginning.self, from: json).kind == kind } catch { return false }
  }

  /// Reads a report that `JSONRenderer` or a user wrote, and checks that it can be shown.
  ///
  /// - Parameter file: the file, as the user named it; for messages.
  /// - Throws: `FileError.Code.malformed` for what is not JSON, `.missing` and `.value` for a field that
  ///   is absent or wrong, naming it, and `.unsupported` for another schema version.
  public init(json: Data, file: String) throws(FileError) {
    self = try JSONRenderer.report(RegressionReport.self, in: json, schema: Self.schema, file: file)
    try check(file)
  }

  /// Refuses what its types cannot state and renderers rely on.
  private func check(_ file: String) throws(FileError) {
    let ranges = ReportRanges(file: file)
    func check(_ points: [CoverageInterval], _ object: String) throws(FileError) {
      for point in points {
        try ranges.requireProportion(point.nominal, object)
        try ranges.requireProportion(point.observed, object)
        try ranges.requireInterval(point.interval, within: 0...1, object)
      }
    }
    func check(_ measures: [String: MeasuredNumber], _ object: String) throws(FileError) {
      for (name, number) in measures.sorted(by: { $0.key < $1.key }) {
        let place = "\(object).\(name)"
        // What a later version measures is shown as it is.
        let measure = RegressionMeasure(rawValue: name)
        if measure?.isShare == true {
          try ranges.requireProportion(number.value, place)
        } else if let measure, measure != .negativeLogLikelihood {
          try ranges.requireNotNegative(number.value, place)
        }
        try ranges.requireInterval(number.interval, place)
      }
    }
    let names = models.map(\.name)
    try ranges.require(!models.isEmpty, "models", "There is no model; a report has at least one.")
    try ranges.require(Set(names).count == names.count, "models", "Two models have one name; names must differ.")
    try ranges.require(names.contains(baseline), "baseline", "There is no model named '\(baseline)'.")
    for (position, comparison) in comparisons.enumerated() {
      for name in [comparison.model, comparison.reference] {
        try ranges.require(names.contains(name), "comparisons[\(position)]", "There is no model named '\(name)'.")
      }
    }
    for (position, model) in models.enumerated() {
      let path = "models[\(position)].exits"
      try ranges.require(!model.exits.isEmpty, path, "A model has at least one exit.")
      try ranges.require(Set(model.exits.map(\.index)).count == model.exits.count, path, "Two exits have one index.")
      for exit in model.exits {
        let path = "\(path)[\(exit.index)]"
        try ranges.requireCounts([exit.index, exit.rowCount, exit.outputCount], path)
        try check(exit.calibration, "\(path).calibration")
        try check(exit.measures, "\(path).measures")
        for output in exit.outputs {
          try check(output.calibration, "\(path).outputs")
          try check(output.measures, "\(path).outputs")
        }
        for result in exit.conformal ?? [] {
          try ranges.requireProportion(result.alpha, "\(path).conformal")
          try ranges.requireCounts([result.rowCount, result.calibrationRowCount], "\(path).conformal")
          for output in result.outputs {
            try ranges.requireProportion(output.coverage, "\(path).conformal")
            try ranges.requireInterval(output.interval, within: 0...1, "\(path).conformal")
            try ranges.requireInterval(output.band, within: 0...1, "\(path).conformal")
            try ranges.requireNotNegative(output.meanWidth, "\(path).conformal")
          }
        }
      }
    }
  }
}
