public import BayesNetwork
public import BayesTensor

/// Networks that chains over the weights of some layers came by, all of one structure.
public struct WeightSamplePosterior: Sendable, Equatable {
  /// One layer.
  public struct Layer: Sendable, Equatable {
    public var name: String
    /// The weights in groups, biases not among them.
    public var weightCount: Int
    public var removedCount: Int
    /// `ε₁`
    public var slab: Double
    /// `ε₀`; `nil` where no groups were selected.
    public var spike: Double?
    /// The probabilities of the groups to be in the slab; none where no groups were selected.
    public var responsibilities: [Double]
  }

  /// A parameter in each network, `[networks] + its shape`.
  public struct Samples: Sendable, Equatable {
    public var path: ParameterPath
    public var values: Tensor<Float>
  }

  public var sampler: SpikeAndSlabInference.Sampler
  /// `λ`
  public var temperatureShare: Double
  /// The share of the posterior's temperature at which the chains moved; see `effectiveTemperatureShare(rowCount:)`.
  public var effectiveTemperatureShare: Double
  /// The step size at the beginning of a cycle.
  public var learningRate: Double
  public var centre: SpikeAndSlabInference.Centre
  public var chainCount: Int
  public var cycleCount: Int
  public var epochCount: Int
  /// The number of training rows.
  public var rowCount: Int
  /// The exit whose likelihood was the data term; all for `nil`.
  public var exitIndex: Int?
  /// `θ` at the end.
  public var inclusion: Double
  /// The mean loss over the last epoch, nats.
  public var loss: Double
  public var layers: [Layer]
  /// The layers of which all would have been removed.
  public var rescuedLayers: [String]
  public var samples: [Samples]
  /// Those that were estimated anew.
  public var statistics: [NetworkStatistics] = []
  /// `nil` where there are too few networks to tell.
  public var agreement: ChainAgreement?

  public var networkCount: Int { samples[0].values.rowCount }

  /// The share of the layers' weights that were removed.
  public var sparsity: Double {
    Double(layers.reduce(0) { $0 + $1.removedCount }) / Double(layers.reduce(0) { $0 + $1.weightCount })
  }

  /// The method, as reports name it.
  public var method: String {
    let name =
      switch sampler {
      case .asReleased: "EM-MCMC as released"
      case .tempered: "EM-MCMC tempered"
      case .langevin: "SGLD"
      case .preconditionedLangevin: "pSGLD"
      case .hamiltonian: "SGHMC"
      case .scaleAdapted: "scale-adapted SGHMC"
      case .descent: "snapshots of descent"
      case .swagDiagonal: "SWAG-Diagonal"
      }
    let places = layers.count == 1 ? "'\(layers[0].name)'" : "\(layers.count) layers"
    let isTempered = ![.asReleased, .descent, .swagDiagonal].contains(sampler) && temperatureShare != 1
    return "\(name) (\(places)), \(networkCount) network\(networkCount == 1 ? "" : "s")"
      + (isTempered ? ", temperature \(temperatureShare)" : "")
      + (layers.contains { $0.removedCount > 0 } ? ", \(Int((100 * sparsity).rounded())) % removed" : "")
  }

  /// What the user should know.
  var warnings: [String] {
    var warnings: [String] = []
    if !rescuedLayers.isEmpty {
      warnings.append(
        "All groups of \(rescuedLayers.map { "'\($0)'" }.joined(separator: ", ")) would have been removed, and the largest was "
          + "left, as nothing passes through a layer without weights; ask for less sparsity, or lower the spike's penalty.")
    }
    if layers.contains(where: { $0.spike != nil }), sparsity == 0 {
      warnings.append(
        "No group was removed: all are rather in the slab; raise the spike's penalty, or ask for a --sparsity.")
    }
    if let agreement, agreement.disagreeingShare > 0.1 {
      warnings.append(
        "The networks do not agree as draws of one distribution do: R-hat is above \(ChainAgreement.largestScaleReduction) for "
          + "\(Int((100 * agreement.disagreeingShare).rounded())) % of \(agreement.rowCount) rows; more or longer cycles bring "
          + "chains closer.")
    }
    return warnings
  }
}

/// The networks of chains over weights.
struct WeightSampleDraws: NetworkDraws {
  let graph: Network
  let boundary: [Int]
  let affectsExit: [Bool]
  private let frozen: FrozenNetwork
  private let posterior: WeightSamplePosterior

  /// - Throws: `NetworkError` where the network has other layers than the posterior.
  init(_ posterior: WeightSamplePosterior, of frozen: FrozenNetwork) throws(NetworkError) {
    let network = frozen.network
    let shapes = Dictionary(network.parameterSpecs.map { ($0.path, $0.shape) }) { first, _ in first }
    for samples in posterior.samples where shapes[samples.path] != samples.values.shape.row {
      throw NetworkError("The network has no parameter '\(samples.path)' of \(samples.values.shape.row).")
    }
    for layer in posterior.layers where !network.nodes.contains(where: { $0.name == layer.name }) {
      throw NetworkError("The network has no layer '\(layer.name)'.")
    }
    try network.requireStatistics(posterior.statistics)
    let names = Set(posterior.layers.map(\.name))
    let changes = network.changes { names.contains(network.nodes[$0].name) }
    (graph, self.frozen, self.posterior) = (network, frozen, posterior)
    affectsExit = network.exits.map { changes[$0.logits] }
    boundary = network.boundary(of: changes)
  }

  /// Nothing is drawn anew, whatever the key.
  func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork { try network(draw) }

  func network(_ index: Int) throws(NetworkError) -> FrozenNetwork {
    var parameters = frozen.parameters
    for samples in posterior.samples {
      parameters[samples.path] = samples.values.rows(index..<index + 1).reshaped(to: samples.values.shape.row)
    }
    return try FrozenNetwork(graph, parameters: parameters.replacing(posterior.statistics, ofNetwork: index))
  }
}
