import BayesNetwork
import BayesTensor

extension ArrayArchiveWriter {
  /// Writes the weights of a layer and how they were found.
  func write(_ layer: FirstLayerPosterior) throws(FileError) {
    let path = "/layer"
    try setAttribute("name", .text(layer.layerName), of: path)
    try setAttribute("form", .text(layer.form.rawValue), of: path)
    try setAttribute("parameterCount", .integer(layer.weights.count), of: path)
    try setAttribute("divergenceWeight", .number(layer.divergenceWeight), of: path)
    try setAttribute("rowCount", .integer(layer.rowCount), of: path)
    try setAttribute("epochCount", .integer(layer.epochCount), of: path)
    try setAttribute("exitIndex", .integer(layer.exitIndex), of: path)
    try setAttribute("dataTerm", .number(layer.dataTerm), of: path)
    try setAttribute("initialDataTerm", .number(layer.initialDataTerm), of: path)
    try setAttribute("divergence", .number(layer.divergence), of: path)
    for (index, weights) in layer.weights.enumerated() {
      try setAttribute("path", .text(weights.path.description), of: "\(path)/\(index)")
      try write(weights.means, at: "\(path)/\(index)/means")
      try write(weights.deviations, at: "\(path)/\(index)/deviations")
    }
  }
}

extension PosteriorReader {
  /// Reads the weights of a layer and checks them.
  func firstLayer() throws(FileError) -> FirstLayerPosterior {
    let path = "/layer"
    let form: FirstLayerPosterior.Form = try choice("form", of: path)
    let parameterCount = try integer("parameterCount", of: path)
    guard (1...2).contains(parameterCount) else {
      throw failure(
        .value, path,
        "The number of parameters is \(parameterCount); a layer has a weight and perhaps a bias. Fit again.")
    }
    var weights: [FirstLayerPosterior.Weights] = []
    for index in 0..<parameterCount {
      let own = "\(path)/\(index)"
      guard let shape = archive.entry("\(own)/means")?.shape else {
        throw failure(.missing, "\(own)/means", "The array is missing; the file is damaged.")
      }
      let deviations: Tensor<Double> = try array("\(own)/deviations", shape: shape)
      if let wrong = deviations.elements.first(where: { form == .variational ? $0 < 0 : $0 != 0 }) {
        throw failure(.value, "\(own)/deviations", "A deviation is \(wrong); fit again.")
      }
      weights.append(
        FirstLayerPosterior.Weights(
          path: ParameterPath(try archive.text("path", of: own)), means: try array("\(own)/means", shape: shape),
          deviations: deviations))
    }
    func number(_ name: String) throws(FileError) -> Double {
      guard let value = try optionalNumber(name, of: path) else {
        throw failure(.missing, path, "The attribute '\(name)' is missing; the file is damaged.")
      }
      return value
    }
    return FirstLayerPosterior(
      form: form, layerName: try archive.text("name", of: path), weights: weights,
      divergenceWeight: try number("divergenceWeight"), rowCount: try integer("rowCount", of: path),
      epochCount: try integer("epochCount", of: path), exitIndex: try integer("exitIndex", of: path),
      dataTerm: try number("dataTerm"), initialDataTerm: try number("initialDataTerm"),
      divergence: try number("divergence"))
  }
}
