import BayesNetwork
import BayesTensor

extension ArrayArchiveWriter {
  /// Writes statistics of batch normalisations: `/statistics/0/values` with the attribute `path`, and so on; their number belongs to the posterior.
  func write(_ statistics: [NetworkStatistics]) throws(FileError) {
    for (index, statistics) in statistics.enumerated() {
      try setAttribute("path", .text(statistics.path.description), of: "/statistics/\(index)")
      try write(statistics.values, at: "/statistics/\(index)/values")
    }
  }
}

extension PosteriorReader {
  /// Reads statistics of batch normalisations and checks them.
  func statistics(count: Int, networkCount: Int) throws(FileError) -> [NetworkStatistics] {
    var statistics: [NetworkStatistics] = []
    for index in 0..<count {
      let own = "/statistics/\(index)"
      let values: Tensor<Double> = try array("\(own)/values", rank: 2)
      let name = ParameterPath(try archive.text("path", of: own))
      let isVariance = name.description.hasSuffix("/variance")
      guard values.rowCount == networkCount, !isVariance || values.elements.allSatisfy({ $0 >= 0 }) else {
        throw failure(
          .value, "\(own)/values", "These are no statistics of \(networkCount) networks; the file is damaged.")
      }
      statistics.append(NetworkStatistics(path: name, values: values))
    }
    return statistics
  }
}

extension Parameters {
  /// The same with the statistics of one of some networks.
  func replacing(_ statistics: [NetworkStatistics], ofNetwork index: Int) -> Parameters {
    var parameters = self
    for statistics in statistics {
      parameters[statistics.path] = statistics.values.rows(index..<index + 1)
        .reshaped(to: [statistics.values.shape[1]]).converted(to: Float.self)
    }
    return parameters
  }
}

extension Network {
  /// - Throws: `NetworkError` where it has no such statistics.
  func requireStatistics(_ statistics: [NetworkStatistics]) throws(NetworkError) {
    let shapes = Dictionary(parameterSpecs.map { ($0.path, $0.shape) }) { first, _ in first }
    for statistics in statistics where shapes[statistics.path] != [statistics.values.shape[1]] {
      throw NetworkError("The network has no statistics '\(statistics.path)' of this shape.")
    }
  }
}
