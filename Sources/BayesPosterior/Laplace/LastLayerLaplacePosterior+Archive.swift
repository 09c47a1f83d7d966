import BayesPrediction
public import BayesTensor
import Foundation

/// A posterior in a file: everything needed to predict from records or from a checkpoint, and nothing
/// of the rows it was fitted to but their number and sums over them.
///
/// - `/` has the attributes `format`, `version`, `method`, `structure`, `predictive`, `draws`, `drawsKey`,
///   `isEnsemble`, `exitCount`, and where known `classNames`, `checkpointDigest`, `dataDigest`, `preprocessing`
///   (JSON) and `warnings`.
/// - `/exits/0` and so on have attributes of the exit and the arrays `weight`, `bias`, `trail`, those of the structure
///   (`outputValues`, `outputVectors`, `inputValues`, `inputVectors` of Kronecker ones; `curvature` of `diagonal`;
///   `values` and `vectors` of `full` and `low-rank`), and the sums that further rows can be added to, `sums/totals`
///   and `sums/0` and so on.
extension LastLayerLaplacePosterior {
  /// The value of the attribute `format` in a posterior's file.
  public static let formatName = "bayesify-posterior"
  static let formatVersion = 2
  static let methodName = "last-layer-laplace"

  /// Writes the posterior; the caller finishes the archive.
  ///
  /// - Throws: `FileError` where the file cannot be written.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    try archive.setAttribute("format", .text(Self.formatName), of: "/")
    try archive.setAttribute("version", .integer(Self.formatVersion), of: "/")
    try archive.setAttribute("method", .text(Self.methodName), of: "/")
    try archive.setAttribute("structure", .text(structure.rawValue), of: "/")
    try archive.setAttribute("isEnsemble", .integer(isEnsemble ? 1 : 0), of: "/")
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
    structure = try reader.choice("structure", of: "/")
    isEnsemble = try reader.integer("isEnsemble", of: "/") != 0
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
      exits.append(try Exit(from: reader, at: "/exits/\(index)", index: index, structure: structure))
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

extension LastLayerLaplacePosterior.Exit {
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
    try archive.setAttribute("hasAnswers", .integer(hasAnswers ? 1 : 0), of: path)
    try archive.setAttribute("priorMean", .text(priorMean.rawValue), of: path)
    try set("priorPrecision", priorPrecision)
    try set("temperature", temperature)
    try set("noise", noise)
    try set("biasScale", curvature.value.biasScale)
    try set("validationAccuracy", tuning.validationAccuracy)
    try archive.write(head.weight, at: path + "/weight")
    try archive.write(head.bias, at: path + "/bias")
    switch curvature {
    case .kronecker(let spectrum):
      try archive.write(spectrum.output.values, at: path + "/outputValues")
      try archive.write(spectrum.output.vectors, at: path + "/outputVectors")
      try archive.write(spectrum.input.values, at: path + "/inputValues")
      try archive.write(spectrum.input.vectors, at: path + "/inputVectors")
    case .diagonal(let diagonal): try archive.write(diagonal.values, at: path + "/curvature")
    case .full(let full):
      try archive.write(full.values, at: path + "/values")
      try archive.write(full.vectors, at: path + "/vectors")
    case .lowRank(let lowRank):
      try archive.write(lowRank.values, at: path + "/values")
      try archive.write(lowRank.vectors, at: path + "/vectors")
      try set("explainedShare", lowRank.explainedShare)
    }
    try archive.write(sums.totals, at: path + "/sums/totals")
    for (index, part) in sums.parts.enumerated() { try archive.write(part, at: path + "/sums/\(index)") }
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

  fileprivate init(from reader: ArchiveReader, at path: String, index: Int, structure: LaplaceStructure)
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

    curvature = try reader.curvature(
      structure, at: path, featureCount: featureCount, logitCount: logitCount, hasBias: hasBias)
    let shapes = Curvature.shapes(
      structure, featureCount: featureCount, logitCount: logitCount, likelihood: description.likelihood)
    var parts: [Tensor<Double>] = []
    for (index, shape) in shapes.enumerated() {
      parts.append(try reader.array(path + "/sums/\(index)", shape: shape))
    }
    sums = Curvature(
      parts: parts, totals: try reader.array(path + "/sums/totals", shape: [Curvature.Total.allCases.count]))
    guard sums[.rowCount] >= 1, sums[.rowCount] < 1e15, sums[.weight] > 0 else {
      throw reader.failure(
        .value, path + "/sums/totals", "The number of rows is \(sums[.rowCount]); the file is damaged.")
    }

    hasAnswers = try reader.integer("hasAnswers", of: path) != 0
    priorMean = try reader.choice("priorMean", of: path)
    priorPrecision = try reader.positiveNumber("priorPrecision", of: path)
    temperature = try reader.positiveNumber("temperature", of: path)
    noise = try reader.positiveNumber("noise", of: path)
    tuning = LaplaceTuning()
    tuning.validationAccuracy = try reader.optionalNumber("validationAccuracy", of: path)
    if let points = try reader.trail(path + "/trail") {
      tuning.chosen = points[0]
      tuning.withoutVariance = points[1]
      tuning.trail = Array(points[2...])
    }
  }
}

extension ArchiveReader {
  /// The curvature of an exit, whose arrays have the shapes that the head asks for.
  fileprivate func curvature(
    _ structure: LaplaceStructure, at path: String, featureCount: Int, logitCount: Int, hasBias: Bool
  ) throws(FileError) -> ExitCurvature {
    let biasScale = try positiveNumber("biasScale", of: path)
    let foldsBias = hasBias && structure != .kronecker
    let inputCount = featureCount + (foldsBias ? 1 : 0)
    switch structure {
    case .kronecker, .folded, .factored:
      let output = SymmetricEigen(
        values: try eigenvalues(path + "/outputValues", shape: [logitCount]),
        vectors: try array(path + "/outputVectors", shape: [logitCount, logitCount]))
      let input = SymmetricEigen(
        values: try eigenvalues(path + "/inputValues", shape: [inputCount]),
        vectors: try array(path + "/inputVectors", shape: [inputCount, inputCount]))
      return .kronecker(
        KroneckerSpectrum(
          form: structure.kroneckerForm ?? .kronecker, hasBias: hasBias, output: output, input: input,
          biasScale: biasScale))
    case .diagonal:
      return .diagonal(
        DiagonalCurvature(
          values: try eigenvalues(path + "/curvature", shape: [logitCount, inputCount]), hasBias: hasBias,
          biasScale: biasScale))
    case .full:
      let order = logitCount * inputCount
      return .full(
        FullCurvature(
          values: try eigenvalues(path + "/values", shape: [order]),
          vectors: try array(path + "/vectors", shape: [inputCount, logitCount * order]), logitCount: logitCount,
          hasBias: hasBias, biasScale: biasScale))
    case .lowRank:
      let vectors: Tensor<Double> = try array(path + "/vectors", rank: 2)
      guard vectors.shape[1] == inputCount, vectors.rowCount % logitCount == 0 else {
        throw failure(
          .shape, path + "/vectors",
          "The array has shape \(vectors.shape); [rank · \(logitCount), \(inputCount)] is needed.")
      }
      return .lowRank(
        LowRankCurvature(
          values: try eigenvalues(path + "/values", shape: [vectors.rowCount / logitCount]), vectors: vectors,
          explainedShare: try positiveNumber("explainedShare", of: path), logitCount: logitCount, hasBias: hasBias,
          biasScale: biasScale))
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
        "The attribute '\(name)' is \(value); it must be from \(allowed.lowerBound) to \(allowed.upperBound). "
          + "Fit again.")
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
        .malformed, path,
        "The attribute '\(name)' is '\(text.prefix(80))', which is not what is written there; fit again.")
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
