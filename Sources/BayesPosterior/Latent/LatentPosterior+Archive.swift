import BayesNetwork
import BayesTensor

extension ArrayArchiveWriter {
  /// Writes an ensemble of scaled layers and how it was found.
  func write(_ latent: LatentPosterior) throws(FileError) {
    let path = "/layers"
    try setAttribute("form", .text(latent.form.rawValue), of: path)
    try setAttribute("layerCount", .integer(latent.layers.count), of: path)
    try setAttribute("statisticsCount", .integer(latent.statistics.count), of: path)
    try setAttribute("divergenceWeights", .numbers(latent.divergenceWeights), of: path)
    try setAttribute("rowCount", .integer(latent.rowCount), of: path)
    try setAttribute("epochCount", .integer(latent.epochCount), of: path)
    try setAttribute("exitIndex", .integer(latent.exitIndex), of: path)
    try setAttribute("dataTerm", .number(latent.dataTerm), of: path)
    for (index, layer) in latent.layers.enumerated() { try write(layer, at: "\(path)/\(index)") }
    try write(latent.statistics)
  }

  /// Writes the members' versions of a layer.
  func write(_ layer: LatentPosterior.Layer, at path: String) throws(FileError) {
    try setAttribute("name", .text(layer.name), of: path)
    try write(layer.inputs, at: "\(path)/inputs")
    try write(layer.outputs, at: "\(path)/outputs")
    try write(layer.biases, at: "\(path)/biases")
    guard let autoencoder = layer.autoencoder else { return }
    try setAttribute("decode", .text(autoencoder.decode.rawValue), of: "\(path)/autoencoder")
    try setAttribute("noiseScale", .number(autoencoder.noiseScale), of: "\(path)/autoencoder")
    for weight in LatentAutoencoder.Weight.allCases {
      try write(autoencoder[weight], at: "\(path)/autoencoder/\(weight)")
    }
  }
}

extension PosteriorReader {
  /// Reads an ensemble of scaled layers and checks it.
  func latentPosterior() throws(FileError) -> LatentPosterior {
    let path = "/layers"
    let form: LatentPosterior.Form = try choice("form", of: path)
    let layerCount = try integer("layerCount", of: path)
    let statisticsCount = try integer("statisticsCount", of: path)
    guard (1...100_000).contains(layerCount), (0...100_000).contains(statisticsCount) else {
      throw failure(
        .value, path, "There are \(layerCount) layers and \(statisticsCount) statistics; the file is damaged.")
    }
    guard case .numbers(let weights)? = try archive.attribute("divergenceWeights", of: path),
      weights.count == layerCount, weights.allSatisfy({ $0 >= 0 && $0.isFinite })
    else {
      throw failure(.value, path, "The attribute 'divergenceWeights' is not a number a layer; the file is damaged.")
    }
    var layers: [LatentPosterior.Layer] = []
    for index in 0..<layerCount { layers.append(try memberLayer(at: "\(path)/\(index)", decode: form.decode)) }
    let memberCount = layers[0].outputs.rowCount
    guard memberCount > 0, layers.allSatisfy({ $0.outputs.rowCount == memberCount }) else {
      throw failure(.shape, path, "The layers have other numbers of members; the file is damaged.")
    }
    let statistics = try statistics(count: statisticsCount, networkCount: memberCount)
    guard let dataTerm = try optionalNumber("dataTerm", of: path) else {
      throw failure(.missing, path, "The attribute 'dataTerm' is missing; the file is damaged.")
    }
    return LatentPosterior(
      form: form, layers: layers, statistics: statistics, divergenceWeights: weights,
      rowCount: try integer("rowCount", of: path), epochCount: try integer("epochCount", of: path),
      exitIndex: try integer("exitIndex", of: path), dataTerm: dataTerm)
  }

  /// Reads the members' versions of a layer.
  ///
  /// - Parameter decode: `nil` where there is to be no autoencoder.
  func memberLayer(at path: String, decode: LatentAutoencoder.Decode?) throws(FileError) -> LatentPosterior.Layer {
    let inputs: Tensor<Double> = try array("\(path)/inputs", rank: 2)
    let outputs: Tensor<Double> = try array("\(path)/outputs", rank: 2)
    guard inputs.rowCount == outputs.rowCount else {
      throw failure(
        .shape, path, "There are inputs of \(inputs.rowCount) members and outputs of \(outputs.rowCount); the file is damaged.")
    }
    var layer = LatentPosterior.Layer(
      name: try archive.text("name", of: path), inputs: inputs, outputs: outputs,
      biases: try array("\(path)/biases", shape: outputs.shape))
    guard let decode else { return layer }
    let own = "\(path)/autoencoder"
    let stored: LatentAutoencoder.Decode = try choice("decode", of: own)
    guard stored == decode, let noiseScale = try optionalNumber("noiseScale", of: own), noiseScale >= 0,
      let latentCount = archive.entry("\(own)/encoder")?.shape.dimensions.first
    else {
      throw failure(.value, own, "The autoencoder is not one of this form; the file is damaged.")
    }
    let shapes = LatentAutoencoder.shapes(channelCount: inputs.shape[1], latentCount: latentCount)
    var parameters: [Tensor<Double>] = []
    for (weight, shape) in zip(LatentAutoencoder.Weight.allCases, shapes) {
      parameters.append(try array("\(own)/\(weight)", shape: shape))
    }
    layer.autoencoder = LatentAutoencoder(decode: decode, noiseScale: noiseScale, parameters: parameters)
    return layer
  }
}
