import BayesPrediction
public import BayesTensor

/// A posterior over the weights of several layers in a file: the curvature, but none of the trained weights, which
/// predictions read from the checkpoint.
///
/// - `/` has the attributes of every posterior (see `LastLayerLaplacePosterior`), `method`, `scope` and `structure`.
/// - `/exits/0` and so on have attributes of the exit and the arrays `priorPrecisions`, `squaredNorms` and, where there
///   are any, `selection` and `trail`; of `full`, `values` and `vectors`.
/// - `/exits/0/layers/0` and so on have attributes of the layer and, of `diagonal`, `values`, of `kronecker`,
///   `outputValues`, `outputVectors`, `inputValues` and `inputVectors`.  A diagonal over a selection lies in `values`
///   of the exit.
extension WeightLaplacePosterior {
  /// The value of the attribute `method` in a posterior's file.
  public static let methodName = "weight-laplace"

  /// Writes the posterior; the caller finishes the archive.
  ///
  /// - Throws: `FileError` where the file cannot be written.
  public func write(to archive: any ArrayArchiveWriter) throws(FileError) {
    try archive.writePosteriorHeader(
      method: Self.methodName, predictive: predictive, sampleCount: sampleCount, drawsKey: drawsKey, source: source,
      warnings: warnings)
    try archive.setAttribute("scope", .text(scope.text), of: "/")
    try archive.setAttribute("structure", .text(structure.rawValue), of: "/")
    for (index, exit) in exits.enumerated() {
      try exit.write(to: archive, source.exits[index], at: "/exits/\(index)")
    }
  }

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing, misshapen, not finite, out of range or
  ///   of a later version.
  public init(from archive: any ArrayArchive) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireMethod(Self.methodName)
    let scopeText = try archive.text("scope")
    guard let scope = LayerScope(scopeText) else {
      throw reader.failure(.value, "/", "The attribute 'scope' is '\(scopeText)', which names no layers; fit again.")
    }
    self.scope = scope
    let structure: WeightStructure = try reader.choice("structure", of: "/")
    self.structure = structure
    (predictive, sampleCount, drawsKey, warnings) = try reader.predictiveSettings()
    var exits: [Exit] = []
    var descriptions: [ExitDescription] = []
    for index in 0..<(try reader.exitCount()) {
      let path = "/exits/\(index)"
      let likelihood: Likelihood = try reader.choice("likelihood", of: path)
      let logitCount = try reader.integer("logitCount", of: path)
      guard likelihood == .categorical && logitCount > 1 || likelihood == .binary && logitCount == 1 else {
        throw reader.failure(
          .value, path, "\(logitCount) logit(s) do not go with the likelihood '\(likelihood.rawValue)'; fit again.")
      }
      descriptions.append(
        ExitDescription(
          name: try archive.text("name", of: path), likelihood: likelihood, logitCount: logitCount,
          multiplyAdds: try reader.optionalInteger("multiplyAdds", of: path)))
      exits.append(try Exit(from: reader, at: path, structure))
    }
    self.exits = exits
    source = try reader.source(exits: descriptions)
  }
}

extension WeightLaplacePosterior.Exit {
  fileprivate func write(to archive: any ArrayArchiveWriter, _ description: ExitDescription, at path: String)
    throws(FileError)
  {
    try archive.setAttribute("name", .text(description.name), of: path)
    try archive.setAttribute("likelihood", .text(description.likelihood.rawValue), of: path)
    try archive.setAttribute("logitCount", .integer(description.logitCount), of: path)
    if let multiplyAdds = description.multiplyAdds {
      try archive.setAttribute("multiplyAdds", .integer(multiplyAdds), of: path)
    }
    try archive.setAttribute("temperature", .number(temperature), of: path)
    try archive.setAttribute("rowCount", .integer(rowCount), of: path)
    if let logLikelihood { try archive.setAttribute("logLikelihood", .number(logLikelihood), of: path) }
    try archive.setAttribute("layerCount", .integer(layers.count), of: path)
    try archive.write(Tensor<Double>(shape: [priorPrecisions.count], priorPrecisions), at: path + "/priorPrecisions")
    try archive.write(Tensor<Double>(shape: [squaredNorms.count], squaredNorms), at: path + "/squaredNorms")
    if let selection {
      try archive.write(Tensor<Double>(shape: [selection.count], selection.map(Double.init)), at: path + "/selection")
    }
    try archive.write(tuning, at: path)
    for (index, layer) in layers.enumerated() {
      let path = "\(path)/layers/\(index)"
      try archive.setAttribute("name", .text(layer.name), of: path)
      try archive.setAttribute("node", .integer(layer.node), of: path)
      try archive.setAttribute("inputCount", .integer(layer.inputCount), of: path)
      try archive.setAttribute("outputCount", .integer(layer.outputCount), of: path)
      try archive.setAttribute("hasBias", .integer(layer.hasBias ? 1 : 0), of: path)
    }
    switch curvature {
    case .full(let eigen):
      try archive.write(eigen.values, at: path + "/values")
      try archive.write(eigen.vectors, at: path + "/vectors")
    case .layers(let curvatures):
      for (index, curvature) in curvatures.enumerated() {
        // Of a selection there is one diagonal for all layers.
        let path = selection == nil ? "\(path)/layers/\(index)" : path
        switch curvature {
        case .diagonal(let values): try archive.write(values, at: path + "/values")
        case .kronecker(let output, let input, _):
          try archive.write(output.values, at: path + "/outputValues")
          try archive.write(output.vectors, at: path + "/outputVectors")
          try archive.write(input.values, at: path + "/inputValues")
          try archive.write(input.vectors, at: path + "/inputVectors")
        }
      }
    }
  }

  fileprivate init(from reader: PosteriorReader, at path: String, _ structure: WeightStructure) throws(FileError) {
    let layerCount = try reader.integer("layerCount", of: path)
    // With so many layers of the largest matrices the number of parameters still fits an integer.
    guard (1...10_000).contains(layerCount) else {
      throw reader.failure(.value, path, "The number of layers is \(layerCount); it must be from 1 to 10000.")
    }
    var layers: [BayesianLayer] = []
    for index in 0..<layerCount {
      let path = "\(path)/layers/\(index)"
      let (inputCount, outputCount) = (
        try reader.integer("inputCount", of: path), try reader.integer("outputCount", of: path)
      )
      guard (1...1 << 24).contains(inputCount), (1...1 << 24).contains(outputCount) else {
        throw reader.failure(.value, path, "The matrix is \(inputCount) by \(outputCount); the file is damaged.")
      }
      layers.append(
        BayesianLayer(
          node: try reader.integer("node", of: path), name: try reader.archive.text("name", of: path),
          inputCount: inputCount, outputCount: outputCount, hasBias: try reader.integer("hasBias", of: path) != 0))
    }
    let parameterCount = layers.reduce(0) { $0 + $1.parameterCount }
    let selection = try reader.selection(path + "/selection", parameterCount: parameterCount)
    let curvature = try reader.curvature(structure, layers, at: path, selectionCount: selection?.count)
    let partCount = curvature.parts.count
    let priorPrecisions: Tensor<Double> = try reader.array(path + "/priorPrecisions", shape: [partCount])
    if let wrong = priorPrecisions.elements.first(where: { !LastLayerLaplace.allowedRange.contains($0) }) {
      throw reader.failure(.value, path + "/priorPrecisions", "A prior precision is \(wrong); fit again.")
    }
    let squaredNorms: Tensor<Double> = try reader.array(path + "/squaredNorms", shape: [partCount])
    let rowCount = try reader.integer("rowCount", of: path)
    guard rowCount > 0 else {
      throw reader.failure(.value, path, "The number of rows is \(rowCount); the file is damaged.")
    }
    self.init(
      layers: layers, selection: selection, curvature: curvature, rowCount: rowCount,
      logLikelihood: try reader.optionalNumber("logLikelihood", of: path), squaredNorms: Array(squaredNorms.elements),
      priorPrecisions: Array(priorPrecisions.elements), temperature: try reader.positiveNumber("temperature", of: path),
      tuning: try reader.tuning(at: path))
  }
}

extension PosteriorReader {
  /// Indices of parameters, rising; `nil` where there are none.
  fileprivate func selection(_ path: String, parameterCount: Int) throws(FileError) -> [Int]? {
    guard archive.entry(path) != nil else { return nil }
    let values: Tensor<Double> = try array(path, rank: 1)
    let indices = values.elements.compactMap { Int(exactly: $0) }
    let isRising = zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 }
    guard indices.count == values.count, isRising, let first = indices.first, let last = indices.last, first >= 0,
      last < parameterCount
    else {
      throw failure(.value, path, "These are not parameters of the layers, each once and in order; fit again.")
    }
    return indices
  }

  fileprivate func curvature(
    _ structure: WeightStructure, _ layers: [BayesianLayer], at path: String, selectionCount: Int?
  ) throws(FileError) -> WeightCurvature {
    switch structure {
    case .full:
      let count = selectionCount ?? layers.reduce(0) { $0 + $1.parameterCount }
      return .full(
        SymmetricEigen(
          values: try eigenvalues(path + "/values", shape: [count]),
          vectors: try array(path + "/vectors", shape: [count, count])))
    case .diagonal:
      if let selectionCount {
        return .layers([.diagonal(try eigenvalues(path + "/values", shape: [selectionCount]))])
      }
      var curvatures: [LayerCurvature] = []
      for (index, layer) in layers.enumerated() {
        curvatures.append(
          .diagonal(try eigenvalues("\(path)/layers/\(index)/values", shape: [layer.parameterCount])))
      }
      return .layers(curvatures)
    case .kronecker:
      guard selectionCount == nil else {
        throw failure(.value, path, "Chosen weights are no Kronecker product; fit again.")
      }
      var curvatures: [LayerCurvature] = []
      for (index, layer) in layers.enumerated() {
        let path = "\(path)/layers/\(index)"
        let output = SymmetricEigen(
          values: try eigenvalues(path + "/outputValues", shape: [layer.outputCount]),
          vectors: try array(path + "/outputVectors", shape: [layer.outputCount, layer.outputCount]))
        let input = SymmetricEigen(
          values: try eigenvalues(path + "/inputValues", shape: [layer.inputCount]),
          vectors: try array(path + "/inputVectors", shape: [layer.inputCount, layer.inputCount]))
        curvatures.append(.kronecker(output: output, input: input, bias: layer.hasBias ? output : nil))
      }
      return .layers(curvatures)
    }
  }
}
