public import BayesNetwork
public import BayesPrediction
import BayesTensor

extension WeightSamplePosterior {
  /// The networks.
  ///
  /// - Throws: `NetworkError` where the network has other layers than the posterior.
  public func networks(of frozen: FrozenNetwork) throws(NetworkError) -> [FrozenNetwork] {
    let draws = try WeightSampleDraws(self, of: frozen)
    var networks: [FrozenNetwork] = []
    for index in 0..<networkCount { networks.append(try draws.network(index)) }
    return networks
  }

  /// The same posterior of the network without channels that can be left out.
  ///
  /// - Parameters:
  ///   - network: the graph that the posterior is of.
  ///   - names: what nodes are called in the smaller network, by their names.
  public func removing(
    _ removal: ChannelRemoval, of network: Network, parameters: Parameters, names: [String: String]
  ) -> WeightSamplePosterior {
    var result = self
    // Version by version, as parameters of a network.
    var versions = [Parameters](repeating: parameters, count: networkCount)
    for index in versions.indices {
      for sample in samples {
        versions[index][sample.path] = sample.values.rows(index..<index + 1).reshaped(to: sample.values.shape.row)
      }
      for statistic in statistics {
        versions[index][statistic.path] = statistic.values.rows(index..<index + 1)
          .reshaped(to: [statistic.values.shape[1]]).converted(to: Float.self)
      }
      versions[index] = network.removing(removal, from: versions[index])
    }
    func stacked(_ path: ParameterPath) -> Tensor<Float> {
      let own = versions.compactMap { $0[path] }
      return Tensor.stacking(own.map { $0.reshaped(to: $0.shape.batched(1)) })
    }
    var paths: [ParameterPath: ParameterPath] = [:]
    for node in network.nodes.indices {
      let name = network.nodes[node].name
      for (path, _) in network.parameterSpecs(of: node) {
        let parameter = String(path.description.dropFirst(name.count + 1))
        paths[path] = ParameterPath(node: names[name] ?? name, parameter: parameter)
      }
    }
    result.samples = samples.map { Samples(path: paths[$0.path] ?? $0.path, values: stacked($0.path)) }
    result.statistics = statistics.map {
      NetworkStatistics(path: paths[$0.path] ?? $0.path, values: stacked($0.path).converted(to: Double.self))
    }
    for index in result.layers.indices { result.layers[index].name = names[result.layers[index].name] ?? result.layers[index].name }
    return result
  }
}

extension SampledNetworkPosterior {
  /// The posterior of chains over weights for a smaller network, with the temperatures that were found.
  ///
  /// - Parameter source: what is known of the smaller network's exits.
  /// - Throws: as `init(weightSamples:of:source:)`.
  public func replacing(
    _ samples: WeightSamplePosterior, of frozen: FrozenNetwork, source: RecordsDescription
  ) throws -> SampledNetworkPosterior {
    var result = try SampledNetworkPosterior(weightSamples: samples, of: frozen, source: source)
    result.exits = exits
    return result
  }
}
