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
    func require(_ condition: Bool, _ object: String, _ message: String) throws(FileError) {
      guard condition else { throw FileError(.value, file: file, object: object, message) }
    }
    func requireShare(_ value: Double, _ object: String) throws(FileError) {
      try require((0...1).contains(value), object, "A proportion is a number from 0 to 1; got \(value).")
    }
    func requireShares(_ points: [CoverageInterval], _ object: String) throws(FileError) {
      for point in points {
        try requireShare(point.nominal, object)
        try requireShare(point.observed, object)
      }
    }
    let names = models.map(\.name)
    try require(!models.isEmpty, "models", "There is no model; a report has at least one.")
    try require(Set(names).count == names.count, "models", "Two models have one name; names must differ.")
    try require(names.contains(baseline), "baseline", "There is no model named '\(baseline)'.")
    for (position, comparison) in comparisons.enumerated() {
      for name in [comparison.model, comparison.reference] {
        try require(names.contains(name), "comparisons[\(position)]", "There is no model named '\(name)'.")
      }
    }
    for (position, model) in models.enumerated() {
      let path = "models[\(position)].exits"
      try require(!model.exits.isEmpty, path, "A model has at least one exit.")
      try require(Set(model.exits.map(\.index)).count == model.exits.count, path, "Two exits have one index.")
      for exit in model.exits {
        let path = "\(path)[\(exit.index)]"
        for count in [exit.index, exit.rowCount, exit.outputCount] {
          try require((0...(1 << 53)).contains(count), path, "A count is a whole number up to 2^53; got \(count).")
        }
        try requireShares(exit.calibration, "\(path).calibration")
        for output in exit.outputs { try requireShares(output.calibration, "\(path).outputs") }
        for result in exit.conformal ?? [] {
          try requireShare(result.alpha, "\(path).conformal")
          for count in [result.rowCount, result.calibrationRowCount] {
            try require((0...(1 << 53)).contains(count), path, "A count is a whole number up to 2^53; got \(count).")
          }
          for output in result.outputs { try requireShare(output.coverage, "\(path).conformal") }
        }
      }
    }
  }
}
