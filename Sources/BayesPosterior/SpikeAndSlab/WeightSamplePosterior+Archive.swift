import BayesNetwork
import BayesTensor

extension ArrayArchiveWriter {
  /// Writes networks of chains and how they were found: of `/chains` attributes, of `/layers/0` and so on attributes and
  /// `responsibilities`, of `/samples/0` and so on `values`, `[networks] + shape`, with the attribute `path`.
  func write(_ posterior: WeightSamplePosterior) throws(FileError) {
    let path = "/chains"
    try setAttribute("sampler", .text(posterior.sampler.rawValue), of: path)
    try setAttribute("centre", .text(posterior.centre.rawValue), of: path)
    for (name, value) in [
      ("temperatureShare", posterior.temperatureShare), ("effectiveTemperatureShare", posterior.effectiveTemperatureShare),
      ("learningRate", posterior.learningRate), ("inclusion", posterior.inclusion), ("loss", posterior.loss),
    ] { try setAttribute(name, .number(value), of: path) }
    for (name, value) in [
      ("chainCount", posterior.chainCount), ("cycleCount", posterior.cycleCount), ("epochCount", posterior.epochCount),
      ("rowCount", posterior.rowCount), ("layerCount", posterior.layers.count), ("parameterCount", posterior.samples.count),
      ("statisticsCount", posterior.statistics.count),
    ] { try setAttribute(name, .integer(value), of: path) }
    if let exitIndex = posterior.exitIndex { try setAttribute("exitIndex", .integer(exitIndex), of: path) }
    try setAttribute("rescuedLayers", .texts(posterior.rescuedLayers), of: path)
    if let agreement = posterior.agreement {
      try setAttribute("agreementRowCount", .integer(agreement.rowCount), of: path)
      try setAttribute("medianScaleReduction", .number(agreement.medianScaleReduction), of: path)
      try setAttribute("disagreeingShare", .number(agreement.disagreeingShare), of: path)
      if let count = agreement.medianSampleCount { try setAttribute("medianSampleCount", .number(count), of: path) }
    }
    for (index, layer) in posterior.layers.enumerated() {
      let own = "/layers/\(index)"
      try setAttribute("name", .text(layer.name), of: own)
      try setAttribute("weightCount", .integer(layer.weightCount), of: own)
      try setAttribute("removedCount", .integer(layer.removedCount), of: own)
      try setAttribute("slab", .number(layer.slab), of: own)
      guard let spike = layer.spike else { continue }
      try setAttribute("spike", .number(spike), of: own)
      try write(Tensor<Double>(shape: [layer.responsibilities.count], layer.responsibilities), at: own + "/responsibilities")
    }
    for (index, samples) in posterior.samples.enumerated() {
      try setAttribute("path", .text(samples.path.description), of: "/samples/\(index)")
      try write(samples.values, at: "/samples/\(index)/values")
    }
    try write(posterior.statistics)
  }
}

extension PosteriorReader {
  /// Reads networks of chains and checks them.
  func weightSamples(networkCount: Int) throws(FileError) -> WeightSamplePosterior {
    let path = "/chains"
    func number(_ name: String, _ path: String) throws(FileError) -> Double {
      guard let value = try optionalNumber(name, of: path), value >= 0 else {
        throw failure(.value, path, "The attribute '\(name)' is no number from 0 on; the file is damaged, fit again.")
      }
      return value
    }
    func count(_ name: String, _ path: String, within range: ClosedRange<Int>) throws(FileError) -> Int {
      let value = try integer(name, of: path)
      guard range.contains(value) else {
        throw failure(.value, path, "The attribute '\(name)' is \(value); the file is damaged, fit again.")
      }
      return value
    }
    var layers: [WeightSamplePosterior.Layer] = []
    for index in 0..<(try count("layerCount", path, within: 1...100_000)) {
      let own = "/layers/\(index)"
      let weightCount = try count("weightCount", own, within: 1 ... .max)
      let spike = try optionalNumber("spike", of: own)
      let responsibilities: Tensor<Double>? = if spike == nil { nil } else { try array(own + "/responsibilities", rank: 1) }
      layers.append(
        WeightSamplePosterior.Layer(
          name: try archive.text("name", of: own), weightCount: weightCount,
          removedCount: try count("removedCount", own, within: 0...weightCount), slab: try number("slab", own), spike: spike,
          responsibilities: responsibilities.map { Array($0.elements) } ?? []))
    }
    var samples: [WeightSamplePosterior.Samples] = []
    for index in 0..<(try count("parameterCount", path, within: 1...200_000)) {
      let own = "/samples/\(index)"
      guard let shape = archive.entry(own + "/values")?.shape, shape.rank > 1, shape[0] == networkCount else {
        throw failure(
          .shape, own + "/values", "These are no weights of \(networkCount) networks; the file is damaged, fit again.")
      }
      samples.append(
        WeightSamplePosterior.Samples(
          path: ParameterPath(try archive.text("path", of: own)), values: try array(own + "/values", shape: shape)))
    }
    var agreement: ChainAgreement?
    if let rowCount = try optionalInteger("agreementRowCount", of: path) {
      agreement = ChainAgreement(
        rowCount: rowCount, medianScaleReduction: try number("medianScaleReduction", path),
        disagreeingShare: try number("disagreeingShare", path), medianSampleCount: try optionalNumber("medianSampleCount", of: path))
    }
    return WeightSamplePosterior(
      sampler: try choice("sampler", of: path), temperatureShare: try number("temperatureShare", path),
      effectiveTemperatureShare: try number("effectiveTemperatureShare", path),
      learningRate: try number("learningRate", path), centre: try choice("centre", of: path),
      chainCount: try count("chainCount", path, within: 1...10_000), cycleCount: try integer("cycleCount", of: path),
      epochCount: try integer("epochCount", of: path), rowCount: try integer("rowCount", of: path),
      exitIndex: try optionalInteger("exitIndex", of: path), inclusion: try number("inclusion", path),
      loss: try number("loss", path), layers: layers, rescuedLayers: try texts("rescuedLayers", of: path), samples: samples,
      statistics: try statistics(
        count: try count("statisticsCount", path, within: 0...100_000), networkCount: networkCount),
      agreement: agreement)
  }
}
