import BayesNetwork
import BayesTensor

/// - `/placement` has `layerCount`, `statisticsCount`, `rowCount` and `searchDigests`; `/placement/0` and so on the attributes
///   `name`, `kind`, `form` and `paths` of a layer, and its arrays: `means/0`, `deviations/0` and so on; `inputVectors`,
///   `outputVectors`, `deviations` and `biasDeviations`; or `samples/0` and so on.
extension ArrayArchiveWriter {
  /// Writes the distributions of layers.
  func write(_ placement: PlacementPosterior) throws(FileError) {
    let path = "/placement"
    try setAttribute("layerCount", .integer(placement.layers.count), of: path)
    try setAttribute("statisticsCount", .integer(placement.statistics.count), of: path)
    try setAttribute("rowCount", .integer(placement.rowCount), of: path)
    if !placement.searchDigests.isEmpty { try setAttribute("searchDigests", .texts(placement.searchDigests), of: path) }
    for (index, layer) in placement.layers.enumerated() { try write(layer, at: "\(path)/\(index)") }
    try write(placement.statistics)
  }

  /// Writes the distribution of a layer.
  func write(_ layer: LayerDistribution, at path: String) throws(FileError) {
    try setAttribute("name", .text(layer.layerName), of: path)
    try setAttribute("kind", .text(layer.kind.description), of: path)
    try setAttribute("paths", .texts(layer.paths.map(\.description)), of: path)
    switch layer.form {
    case .factorized(let means, let deviations):
      try setAttribute("form", .text("factorized"), of: path)
      for index in means.indices {
        try write(means[index], at: "\(path)/means/\(index)")
        try write(deviations[index], at: "\(path)/deviations/\(index)")
      }
    case .kronecker(let gaussian):
      try setAttribute("form", .text("kronecker"), of: path)
      try write(gaussian.inputVectors, at: "\(path)/inputVectors")
      try write(gaussian.outputVectors, at: "\(path)/outputVectors")
      try write(gaussian.deviations, at: "\(path)/deviations")
      if let deviations = gaussian.biasDeviations { try write(deviations, at: "\(path)/biasDeviations") }
    case .dropout(let rate):
      try setAttribute("form", .text("dropout"), of: path)
      try setAttribute("rate", .number(rate), of: path)
    case .samples(let samples):
      try setAttribute("form", .text("samples"), of: path)
      for (index, values) in samples.enumerated() { try write(values, at: "\(path)/samples/\(index)") }
    }
  }
}

extension PosteriorReader {
  /// Reads distributions of layers and checks them.
  func placement(drawCount: Int) throws(FileError) -> PlacementPosterior {
    let path = "/placement"
    let layerCount = try integer("layerCount", of: path)
    let statisticsCount = try integer("statisticsCount", of: path)
    guard (1...100_000).contains(layerCount), (0...100_000).contains(statisticsCount) else {
      throw failure(
        .value, path, "There are \(layerCount) layers and \(statisticsCount) statistics; the file is damaged, fit again.")
    }
    var layers: [LayerDistribution] = []
    for index in 0..<layerCount { layers.append(try layerDistribution(at: "\(path)/\(index)")) }
    return PlacementPosterior(
      layers: layers, statistics: try statistics(count: statisticsCount, networkCount: drawCount),
      rowCount: try integer("rowCount", of: path), searchDigests: try texts("searchDigests", of: path))
  }

  /// Reads the distribution of a layer.
  func layerDistribution(at path: String) throws(FileError) -> LayerDistribution {
    let name = try archive.text("name", of: path)
    let kindName = try archive.text("kind", of: path)
    let paths = try texts("paths", of: path).map { ParameterPath($0) }
    guard let kind = PlacementKind(kindName), !paths.isEmpty, paths.count <= 16 else {
      throw failure(.value, path, "The kind '\(kindName)' is unknown, or it has no parameters; the file is damaged, fit again.")
    }
    func shape(_ name: String) throws(FileError) -> Shape {
      guard let shape = archive.entry("\(path)/\(name)")?.shape else {
        throw failure(.missing, "\(path)/\(name)", "The array is missing; the file is damaged, fit again.")
      }
      return shape
    }
    func deviations(_ name: String, _ shape: Shape) throws(FileError) -> Tensor<Double> {
      let values: Tensor<Double> = try array("\(path)/\(name)", shape: shape)
      guard values.elements.allSatisfy({ $0 >= 0 }) else {
        throw failure(.value, "\(path)/\(name)", "A deviation is below zero; the file is damaged, fit again.")
      }
      return values
    }
    let form: LayerDistribution.Form
    switch try archive.text("form", of: path) {
    case "factorized":
      var (means, spreads): ([Tensor<Double>], [Tensor<Double>]) = ([], [])
      for index in paths.indices {
        let own = try shape("means/\(index)")
        means.append(try array("\(path)/means/\(index)", shape: own))
        spreads.append(try deviations("deviations/\(index)", own))
      }
      form = .factorized(means: means, deviations: spreads)
    case "kronecker":
      let inputVectors: Tensor<Double> = try array("\(path)/inputVectors", rank: 2)
      let outputVectors: Tensor<Double> = try array("\(path)/outputVectors", rank: 2)
      let (inputs, outputs) = (inputVectors.rowCount, outputVectors.rowCount)
      guard inputVectors.shape[1] == inputs, outputVectors.shape[1] == outputs else {
        throw failure(.shape, path, "The eigenvectors are no square matrices; the file is damaged, fit again.")
      }
      form = .kronecker(
        LayerDistribution.Kronecker(
          inputVectors: inputVectors, outputVectors: outputVectors, deviations: try deviations("deviations", [inputs, outputs]),
          biasDeviations: paths.count > 1 ? try deviations("biasDeviations", [outputs]) : nil))
    case "dropout":
      guard let rate = try optionalNumber("rate", of: path), rate > 0, rate < 1 else {
        throw failure(.value, path, "The attribute 'rate' is not between 0 and 1; the file is damaged, fit again.")
      }
      form = .dropout(rate: rate)
    case "samples":
      var samples: [Tensor<Float>] = []
      for index in paths.indices {
        let own = try shape("samples/\(index)")
        guard own.rank > 1, own[0] > 0, samples.first.map({ $0.rowCount == own[0] }) ?? true else {
          throw failure(.shape, "\(path)/samples/\(index)", "The array has shape \(own); the file is damaged, fit again.")
        }
        samples.append(try array("\(path)/samples/\(index)", shape: own))
      }
      form = .samples(samples)
    case let other:
      throw failure(.value, path, "The form '\(other)' is unknown; the file is damaged, fit again.")
    }
    return LayerDistribution(layerName: name, kind: kind, paths: paths, form: form)
  }
}
