import BayesPrediction
public import BayesTensor
import Foundation

/// A posterior in a file: everything needed to predict from records or from a checkpoint, and nothing
/// of the rows it was fitted to but their number and sums over them.
///
/// - `/` has the attributes `format`, `version`, `method`, `form`, `predictive`, `draws`, `drawsKey`,
///   `exitCount`, and where known `classNames`, `checkpointDigest`, `dataDigest`, `preprocessing`
///   (JSON) and `warnings`.
/// - `/exits/0` and so on have attributes of the exit and the arrays `weight`, `bias`,
///   `outputValues`, `outputVectors`, `inputValues`, `inputVectors` and `trail`.
extension KroneckerLaplacePosterior {
  /// The value of the attribute `format` in a posterior's file.
  public static let formatName = "bayesify-posterior"
  static let formatVersion = 1
  static let methodName = "last-layer-laplace"

  /// Writes the posterior; the caller finishes the archive.
  ///
  /// - Throws: `FileError` where the file cannot be written.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    try archive.setAttribute("format", .text(Self.formatName), of: "/")
    try archive.setAttribute("version", .integer(Self.formatVersion), of: "/")
    try archive.setAttribute("method", .text(Self.methodName), of: "/")
    try archive.setAttribute("form", .text(form.rawValue), of: "/")
    try archive.setAttribute("predictive", .text(predictive.rawValue), of: "/")
    try archive.setAttribute("draws", .integer(sampleCount), of: "/")
    try archive.setAttribute("drawsKey", .text(try json(drawsKey, file: archive.file)), of: "/")
    try archive.setAttribute("exitCount", .integer(exits.count), of: "/")
    if !source.classNames.isEmpty {
      try archive.setAttribute("classNames", .texts(source.classNames), of: "/")
    }
    if let digest = source.checkpointDigest {
      try archive.setAttribute("checkpointDigest", .text(digest), of: "/")
    }
    if let digest = source.dataDigest { try archive.setAttribute("dataDigest", .text(digest), of: "/") }
    if let preprocessing = source.preprocessing {
      try archive.setAttribute(
        "preprocessing", .text(try json(preprocessing, file: archive.file)), of: "/")
    }
    if !warnings.isEmpty { try archive.setAttribute("warnings", .texts(warnings), of: "/") }
    for (index, exit) in exits.enumerated() { try exit.write(to: archive, at: "/exits/\(index)") }
  }

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing, misshapen, not finite, out of range or
  ///   of a later version.
  public init(from archive: any ArrayArchive) throws(FileError) {
    let reader = ArchiveReader(archive: archive)
    guard try reader.optionalText("format", of: "/") == Self.formatName else {
      throw FileError(
        .malformed, file: archive.file,
        "This is not a posterior: the attribute 'format' is not '\(Self.formatName)'. Make one with a fit.")
    }
    let version = try reader.integer("version", of: "/")
    guard version == Self.formatVersion else {
      throw FileError(
        .unsupported, file: archive.file,
        "The posterior has format version \(version); this program reads version \(Self.formatVersion). "
          + "Fit again, or use the program that wrote it.")
    }
    let method = try archive.text("method")
    guard method == Self.methodName else {
      throw FileError(
        .unsupported, file: archive.file,
        "The posterior was made by '\(method)'; only '\(Self.methodName)' is read here.")
    }
    form = try reader.choice("form", of: "/")
    predictive = try reader.choice("predictive", of: "/")
    sampleCount = try reader.integer("draws", of: "/")
    guard (2...1_000_000).contains(sampleCount) else {
      throw FileError(
        .value, file: archive.file, "The number of draws is \(sampleCount); at least 2 are needed.")
    }
    drawsKey = try reader.json("drawsKey", of: "/")
    warnings = try reader.texts("warnings", of: "/")
    let exitCount = try reader.integer("exitCount", of: "/")
    guard (1...10_000).contains(exitCount) else {
      throw FileError(
        .value, file: archive.file, "The number of exits is \(exitCount); at least 1 is needed.")
    }
    var exits: [Exit] = []
    for index in 0..<exitCount {
      exits.append(try Exit(from: reader, at: "/exits/\(index)", index: index, form: form))
    }
    self.exits = exits
    let hasPreprocessing = try reader.optionalText("preprocessing", of: "/") != nil
    source = RecordsDescription(
      file: archive.file, exits: exits.map(\.description),
      classNames: try reader.texts("classNames", of: "/"),
      checkpointDigest: try reader.optionalText("checkpointDigest", of: "/"),
      dataDigest: try reader.optionalText("dataDigest", of: "/"),
      preprocessing: hasPreprocessing ? try reader.json("preprocessing", of: "/") : nil)
  }
}

extension KroneckerLaplacePosterior.Exit {
  fileprivate func write(to archive: any ArrayArchiveWriter, at path: String) throws(FileError) {
    guard let head = description.head else {
      throw FileError(.missing, file: archive.file, object: path, "The exit has no head to write.")
    }
    func set(_ name: String, _ value: Double?) throws(FileError) {
      if let value { try archive.setAttribute(name, .number(value), of: path) }
    }
    try archive.setAttribute("name", .text(description.name), of: path)
    try archive.setAttribute("likelihood", .text(description.likelihood.rawValue), of: path)
    try archive.setAttribute("hasBias", .integer(head.hasBias ? 1 : 0), of: path)
    if let multiplyAdds = description.multiplyAdds {
      try archive.setAttribute("multiplyAdds", .integer(multiplyAdds), of: path)
    }
    try archive.setAttribute("rowCount", .integer(rowCount), of: path)
    try set("priorPrecision", priorPrecision)
    try set("temperature", temperature)
    try set("trainingLogLikelihood", logLikelihood)
    try set("trainingAccuracy", trainingAccuracy)
    try set("validationAccuracy", tuning.validationAccuracy)
    try archive.write(head.weight, at: path + "/weight")
    try archive.write(head.bias, at: path + "/bias")
    try archive.write(spectrum.output.values, at: path + "/outputValues")
    try archive.write(spectrum.output.vectors, at: path + "/outputVectors")
    try archive.write(spectrum.input.values, at: path + "/inputValues")
    try archive.write(spectrum.input.vectors, at: path + "/inputVectors")
    // The chosen point and the one without variance come first, where there are any.
    if let chosen = tuning.chosen, let withoutVariance = tuning.withoutVariance {
      let points = [chosen, withoutVariance] + tuning.trail
      try archive.write(
        Tensor<Double>(
          shape: [points.count, 4],
          points.flatMap {
            [$0.priorPrecision, $0.temperature, $0.negativeLogLikelihood, Double($0.rowCount)]
          }), at: path + "/trail")
    }
  }

  fileprivate init(from reader: ArchiveReader, at path: String, index: Int, form: KroneckerForm)
    throws(FileError)
  {
    let hasBias = try reader.integer("hasBias", of: path) != 0
    let weight: Tensor<Float> = try reader.array(path + "/weight", rank: 2)
    let (featureCount, logitCount) = (weight.shape[0], weight.shape[1])
    let bias: Tensor<Float> = try reader.array(path + "/bias", shape: [logitCount])
    description = ExitDescription(
      name: try reader.archive.text("name", of: path), likelihood: try reader.choice("likelihood", of: path),
      logitCount: logitCount, featureCount: featureCount,
      multiplyAdds: try reader.optionalInteger("multiplyAdds", of: path),
      head: ExitHead(weight: weight, bias: bias, hasBias: hasBias))
    // The same conditions as when the posterior was fitted.
    _ = try ExitCheck(description, exit: index, file: reader.archive.file)

    let inputCount = featureCount + (hasBias && form != .kronecker ? 1 : 0)
    let output = SymmetricEigen(
      values: try reader.eigenvalues(path + "/outputValues", count: logitCount),
      vectors: try reader.array(path + "/outputVectors", shape: [logitCount, logitCount]))
    let input = SymmetricEigen(
      values: try reader.eigenvalues(path + "/inputValues", count: inputCount),
      vectors: try reader.array(path + "/inputVectors", shape: [inputCount, inputCount]))
    spectrum = KroneckerSpectrum(form: form, hasBias: hasBias, output: output, input: input)

    priorPrecision = try reader.positiveNumber("priorPrecision", of: path)
    temperature = try reader.positiveNumber("temperature", of: path)
    rowCount = try reader.integer("rowCount", of: path)
    logLikelihood = try reader.optionalNumber("trainingLogLikelihood", of: path)
    trainingAccuracy = try reader.optionalNumber("trainingAccuracy", of: path)
    tuning = LaplaceTuning()
    tuning.validationAccuracy = try reader.optionalNumber("validationAccuracy", of: path)
    if let points = try reader.trail(path + "/trail") {
      tuning.chosen = points[0]
      tuning.withoutVariance = points[1]
      tuning.trail = Array(points[2...])
    }
  }
}

/// The JSON text of a value, with sorted keys so that equal values give equal bytes.
private func json(_ value: some Encodable, file: String) throws(FileError) -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = .sortedKeys
  do {
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  } catch {
    throw FileError(.value, file: file, "A value has no JSON form: \(error).")
  }
}

/// Typed and checked reading of a posterior's attributes and arrays.
private struct ArchiveReader {
  let archive: any ArrayArchive

  func failure(_ code: FileError.Code, _ path: String, _ message: String) -> FileError {
    FileError(code, file: archive.file, object: path, message)
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

  func eigenvalues(_ path: String, count: Int) throws(FileError) -> Tensor<Double> {
    let values: Tensor<Double> = try array(path, shape: [count])
    if let negative = values.elements.first(where: { $0 < 0 }) {
      throw failure(.value, path, "An eigenvalue is \(negative); none may be negative.")
    }
    return values
  }

  /// The tuning trail: prior precision, temperature, negative log-likelihood and row count a row.
  func trail(_ path: String) throws(FileError) -> [LaplaceTuning.Point]? {
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
