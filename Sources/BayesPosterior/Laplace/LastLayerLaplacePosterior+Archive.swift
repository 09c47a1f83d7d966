import BayesPrediction
public import BayesTensor

/// A posterior in a file: everything needed to predict from records or from a checkpoint, and nothing
/// of the rows it was fitted to but their number and sums over them.
///
/// - `/` has the attributes `format`, `version`, `method`, `structure`, `predictive`, `draws`, `drawsKey`,
///   `isEnsemble`, `exitCount`, and where known `fittedRows`, `classNames`, `checkpointDigest`, `dataDigest`,
///   `preprocessing` (JSON), `positions` and `warnings`.
/// - `/exits/0` and so on have attributes of the exit and the arrays `weight`, `bias`, `trail`, those of the structure
///   (`outputValues`, `outputVectors`, `inputValues`, `inputVectors` of Kronecker ones; `curvature` of `diagonal`;
///   `values` and `vectors` of `full` and `low-rank`), and the sums that further rows can be added to, `sums/totals`
///   and `sums/0` and so on.
extension LastLayerLaplacePosterior {
  /// The value of the attribute `format` in a posterior's file.
  public static let formatName = "bayesify-posterior"
  static let methodName = "last-layer-laplace"

  /// Writes the posterior; the caller finishes the archive.
  ///
  /// - Throws: `FileError` where the file cannot be written.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    try archive.writePosteriorHeader(
      method: Self.methodName, predictive: predictive, sampleCount: sampleCount, drawsKey: drawsKey, source: source,
      warnings: warnings)
    try archive.setAttribute("structure", .text(structure.rawValue), of: "/")
    try archive.setAttribute("isEnsemble", .integer(isEnsemble ? 1 : 0), of: "/")
    if !fittedRows.isEmpty { try archive.setAttribute("fittedRows", .texts(fittedRows.map(\.text)), of: "/") }
    for (index, exit) in exits.enumerated() { try exit.write(to: archive, at: "/exits/\(index)") }
  }

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing, misshapen, not finite, out of range or
  ///   of a later version.
  public init(from archive: any ArrayArchive) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireMethod(Self.methodName)
    structure = try reader.choice("structure", of: "/")
    isEnsemble = try reader.integer("isEnsemble", of: "/") != 0
    (predictive, sampleCount, drawsKey, warnings) = try reader.predictiveSettings()
    let exitCount = try reader.exitCount()
    var exits: [Exit] = []
    for index in 0..<exitCount {
      exits.append(try Exit(from: reader, at: "/exits/\(index)", index: index, structure: structure))
    }
    self.exits = exits
    source = try reader.source(exits: exits.map(\.description))
    for text in try reader.texts("fittedRows", of: "/") {
      guard let rows = FittedRows(text) else {
        throw reader.failure(.malformed, "/", "The attribute 'fittedRows' holds '\(text)', which names no rows; fit again.")
      }
      fittedRows.append(rows)
    }
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
    try archive.write(tuning, at: path)
  }

  fileprivate init(from reader: PosteriorReader, at path: String, index: Int, structure: LaplaceStructure)
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
    if let (part, message) = sums.fault(structure, description.likelihood) {
      throw reader.failure(
        .value, path + "/sums/" + (part.map { "\($0)" } ?? "totals"),
        message + " These are no sums over rows, the file was changed; fit again.")
    }

    hasAnswers = try reader.integer("hasAnswers", of: path) != 0
    priorMean = try reader.choice("priorMean", of: path)
    priorPrecision = try reader.positiveNumber("priorPrecision", of: path)
    temperature = try reader.positiveNumber("temperature", of: path)
    noise = try reader.positiveNumber("noise", of: path)
    tuning = try reader.tuning(at: path)
  }
}

extension PosteriorReader {
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
