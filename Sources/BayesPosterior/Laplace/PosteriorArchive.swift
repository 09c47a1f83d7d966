import BayesPrediction
import BayesTensor
import Foundation

/// The version of the layout of posterior files.
private let posteriorFormatVersion = 2

extension ArrayArchiveWriter {
  /// Writes what the files of all posteriors have.
  func writePosteriorHeader(
    method: String, predictive: LaplacePredictive? = nil, sampleCount: Int, drawsKey: RandomKey, source: RecordsDescription,
    warnings: [String]
  ) throws(FileError) {
    try setAttribute("format", .text(LastLayerLaplacePosterior.formatName), of: "/")
    try setAttribute("version", .integer(posteriorFormatVersion), of: "/")
    try setAttribute("method", .text(method), of: "/")
    if let predictive { try setAttribute("predictive", .text(predictive.rawValue), of: "/") }
    try setAttribute("draws", .integer(sampleCount), of: "/")
    try setAttribute("drawsKey", .text(try posteriorJSON(drawsKey, file: file)), of: "/")
    try setAttribute("exitCount", .integer(source.exits.count), of: "/")
    if !source.classNames.isEmpty { try setAttribute("classNames", .texts(source.classNames), of: "/") }
    if let digest = source.checkpointDigest { try setAttribute("checkpointDigest", .text(digest), of: "/") }
    if let digest = source.dataDigest { try setAttribute("dataDigest", .text(digest), of: "/") }
    if let preprocessing = source.preprocessing {
      try setAttribute("preprocessing", .text(try posteriorJSON(preprocessing, file: file)), of: "/")
    }
    if !source.positions.isEmpty { try setAttribute("positions", .integers(source.positions), of: "/") }
    if !warnings.isEmpty { try setAttribute("warnings", .texts(warnings), of: "/") }
  }

  /// Writes how an exit was tuned.
  func write(_ tuning: LaplaceTuning, at path: String) throws(FileError) {
    if let accuracy = tuning.validationAccuracy {
      try setAttribute("validationAccuracy", .number(accuracy), of: path)
    }
    // The chosen point and the one without variance come first, where there are any.
    if let chosen = tuning.chosen, let withoutVariance = tuning.withoutVariance {
      let points = [chosen, withoutVariance] + tuning.trail
      try write(
        Tensor<Double>(
          shape: [points.count, 4],
          points.flatMap {
            [$0.priorPrecision, $0.temperature, $0.negativeLogLikelihood, Double($0.rowCount)]
          }), at: path + "/trail")
    }
  }
}

/// The JSON text of a value, with sorted keys so that equal values give equal bytes.
func posteriorJSON(_ value: some Encodable, file: String) throws(FileError) -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = .sortedKeys
  do {
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  } catch {
    throw FileError(.value, file: file, "A value has no JSON form: \(error).")
  }
}

/// Typed and checked reading of a posterior's attributes and arrays.
struct PosteriorReader {
  let archive: any ArrayArchive

  func failure(_ code: FileError.Code, _ path: String, _ message: String) -> FileError {
    FileError(code, file: archive.file, object: path, message)
  }

  /// Refuses files of other kinds, versions and methods.
  func requireMethod(_ name: String) throws(FileError) {
    guard try optionalText("format", of: "/") == LastLayerLaplacePosterior.formatName else {
      throw FileError(
        .malformed, file: archive.file,
        "This is not a posterior: the attribute 'format' is not '\(LastLayerLaplacePosterior.formatName)'. Make one with "
          + "a fit.")
    }
    let version = try integer("version", of: "/")
    guard version == posteriorFormatVersion else {
      throw FileError(
        .unsupported, file: archive.file,
        "The posterior has format version \(version); this program reads version \(posteriorFormatVersion). "
          + "Fit again, or use the program that wrote it.")
    }
    let method = try archive.text("method")
    guard method == name else {
      throw FileError(
        .unsupported, file: archive.file,
        "The posterior was made by '\(method)'; only '\(name)' is read here.")
    }
  }

  func predictiveSettings() throws(FileError) -> (LaplacePredictive, sampleCount: Int, RandomKey, warnings: [String]) {
    return (
      try choice("predictive", of: "/"), try sampleCount(within: LastLayerLaplace.allowedSampleCounts),
      try json("drawsKey", of: "/"), try texts("warnings", of: "/")
    )
  }

  /// The number of draws.
  func sampleCount(within allowed: ClosedRange<Int>) throws(FileError) -> Int {
    let sampleCount = try integer("draws", of: "/")
    guard allowed.contains(sampleCount) else {
      throw FileError(
        .value, file: archive.file,
        "The number of draws is \(sampleCount); from \(allowed.lowerBound) to \(allowed.upperBound) can be used.")
    }
    return sampleCount
  }

  func exitCount() throws(FileError) -> Int {
    let exitCount = try integer("exitCount", of: "/")
    guard (1...10_000).contains(exitCount) else {
      throw FileError(
        .value, file: archive.file, "The number of exits is \(exitCount); from 1 to 10000 are read.")
    }
    return exitCount
  }

  func source(exits: [ExitDescription]) throws(FileError) -> RecordsDescription {
    let hasPreprocessing = try optionalText("preprocessing", of: "/") != nil
    return RecordsDescription(
      file: archive.file, exits: exits, classNames: try texts("classNames", of: "/"),
      checkpointDigest: try optionalText("checkpointDigest", of: "/"),
      dataDigest: try optionalText("dataDigest", of: "/"),
      preprocessing: hasPreprocessing ? try json("preprocessing", of: "/") : nil, positions: try archive.positions())
  }

  func tuning(at path: String) throws(FileError) -> LaplaceTuning {
    var tuning = LaplaceTuning()
    tuning.validationAccuracy = try optionalNumber("validationAccuracy", of: path)
    if let points = try trail(path + "/trail") {
      tuning.chosen = points[0]
      tuning.withoutVariance = points[1]
      tuning.trail = Array(points[2...])
    }
    return tuning
  }

  func optionalText(_ name: String, of path: String) throws(FileError) -> String? {
    guard case .text(let text)? = try archive.attribute(name, of: path) else { return nil }
    return text
  }

  func texts(_ name: String, of path: String) throws(FileError) -> [String] {
    guard case .texts(let texts)? = try archive.attribute(name, of: path) else { return [] }
    return texts
  }

  func optionalInteger(_ name: String, of path: String) throws(FileError) -> Int? {
    guard case .integer(let value)? = try archive.attribute(name, of: path) else { return nil }
    return value
  }

  func integer(_ name: String, of path: String) throws(FileError) -> Int {
    guard let value = try optionalInteger(name, of: path) else {
      throw failure(.missing, path, "The whole-number attribute '\(name)' is missing; the file is damaged.")
    }
    return value
  }

  func optionalNumber(_ name: String, of path: String) throws(FileError) -> Double? {
    guard case .number(let value)? = try archive.attribute(name, of: path) else { return nil }
    guard value.isFinite else {
      throw failure(.value, path, "The attribute '\(name)' is \(value); it must be finite.")
    }
    return value
  }

  func positiveNumber(_ name: String, of path: String) throws(FileError) -> Double {
    guard let value = try optionalNumber(name, of: path) else {
      throw failure(.missing, path, "The attribute '\(name)' is missing; the file is damaged.")
    }
    let allowed = LastLayerLaplace.allowedRange
    guard allowed.contains(value) else {
      throw failure(
        .value, path,
        "The attribute '\(name)' is \(value); it must be from \(allowed.lowerBound) to \(allowed.upperBound). Fit again.")
    }
    return value
  }

  /// A value of an enumeration by its name.
  func choice<Choice: RawRepresentable & CaseIterable>(_ name: String, of path: String) throws(FileError)
    -> Choice where Choice.RawValue == String
  {
    let text = try archive.text(name, of: path)
    guard let choice = Choice(rawValue: text) else {
      let known = Choice.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
      throw failure(.unsupported, path, "The attribute '\(name)' is '\(text)'; known are \(known).")
    }
    return choice
  }

  func json<Value: Decodable>(_ name: String, of path: String) throws(FileError) -> Value {
    let text = try archive.text(name, of: path)
    do {
      return try JSONDecoder().decode(Value.self, from: Data(text.utf8))
    } catch {
      throw failure(
        .malformed, path, "The attribute '\(name)' is '\(text.prefix(80))', which is not what is written there; fit again.")
    }
  }

  /// An array whose shape and values are as they must be; nothing is read of one whose shape is not.
  func array<Scalar: TensorScalar>(_ path: String, shape: Shape) throws(FileError) -> Tensor<Scalar> {
    guard try entry(path).shape == shape else {
      throw failure(.shape, path, "The array has shape \(try entry(path).shape); \(shape) is needed.")
    }
    return try finite(path)
  }

  func array<Scalar: TensorScalar>(_ path: String, rank: Int) throws(FileError) -> Tensor<Scalar> {
    guard try entry(path).shape.rank == rank else {
      throw failure(.shape, path, "The array has shape \(try entry(path).shape); \(rank) axes are needed.")
    }
    return try finite(path)
  }

  func eigenvalues(_ path: String, shape: Shape) throws(FileError) -> Tensor<Double> {
    let values: Tensor<Double> = try array(path, shape: shape)
    if let negative = values.elements.first(where: { $0 < 0 }) {
      throw failure(.value, path, "An eigenvalue is \(negative); none may be negative.")
    }
    return values
  }

  /// The tuning trail: prior precision, temperature, negative log-likelihood and row count a row.
  private func trail(_ path: String) throws(FileError) -> [LaplaceTuning.Point]? {
    guard let shape = archive.entry(path)?.shape else { return nil }
    guard shape.rank == 2, shape[0] >= 2, shape[1] == 4 else {
      throw failure(
        .shape, path, "The array has shape \(shape); [points, 4] with two points or more is needed.")
    }
    let values = try archive.read(path, as: Double.self)
    return try (0..<shape[0]).map { row throws(FileError) in
      guard let rowCount = Int(exactly: values[row, 3]), rowCount > 0, values[row, 0] > 0,
        values[row, 1] > 0, values[row, 1].isFinite, !values[row, 2].isNaN
      else {
        throw failure(.value, path, "Row \(row) is not a prior precision, a temperature, a loss and a count.")
      }
      return LaplaceTuning.Point(
        priorPrecision: values[row, 0], temperature: values[row, 1], negativeLogLikelihood: values[row, 2],
        rowCount: rowCount)
    }
  }

  private func entry(_ path: String) throws(FileError) -> ArchiveEntry {
    guard let entry = archive.entry(path) else {
      throw failure(.missing, path, "The array is missing; the file is damaged.")
    }
    return entry
  }

  private func finite<Scalar: TensorScalar>(_ path: String) throws(FileError) -> Tensor<Scalar> {
    let tensor = try archive.read(path, as: Scalar.self)
    guard tensor.firstNonFinite == nil else {
      throw failure(.value, path, "The array holds a value that is infinite or not a number.")
    }
    return tensor
  }
}
