public import BayesNetwork
public import BayesTensor
import RealModule

/// A mean-field Gaussian over the weights of one layer, or one point where there are no deviations.
public struct FirstLayerPosterior: Sendable, Equatable {
  /// What the weights are.
  public enum Form: String, CaseIterable, Sendable {
    /// Draws from the distribution.
    case variational
    /// The means of the distribution alone: a control.
    case mean
    /// Weights trained without any distribution, as long: a control.
    case fineTuned = "fine-tuned"
  }

  /// One parameter of the layer.
  public struct Weights: Sendable, Equatable {
    public var path: ParameterPath
    public var means: Tensor<Double>
    /// Zeros unless the form is variational.
    public var deviations: Tensor<Double>
  }

  public let form: Form
  public let layerName: String
  /// The weight, and the bias where the layer has one.
  public let weights: [Weights]
  /// What the divergence was multiplied by; 1 for the evidence lower bound.
  public let divergenceWeight: Double
  /// The number of training rows.
  public let rowCount: Int
  /// The epochs that led to these weights.
  public let epochCount: Int
  /// The exit whose likelihood was the data term.
  public let exitIndex: Int
  /// The mean negative log-likelihood of training labels over the last of these epochs, nats.
  public let dataTerm: Double
  /// That at the trained weights.
  public let initialDataTerm: Double
  /// From the prior, nats.
  public let divergence: Double

  /// The number of weights in all.
  public var parameterCount: Int { weights.reduce(0) { $0 + $1.means.count } }

  /// The method, as reports name it.
  public func method(draws: Int) -> String {
    switch form {
    case .variational:
      "first-layer VI ('\(layerName)'), \(draws) draws"
        + (divergenceWeight == 1 ? "" : ", tempered: KL × \(divergenceWeight.significantDigits())")
    case .mean: "first-layer VI ('\(layerName)'), mean alone"
    case .fineTuned: "fine-tuned layer '\(layerName)'"
    }
  }

  /// The means alone, as a posterior of their own.
  public var meanAlone: FirstLayerPosterior {
    FirstLayerPosterior(
      form: .mean, layerName: layerName,
      weights: weights.map {
        Weights(path: $0.path, means: $0.means, deviations: Tensor(zeros: $0.deviations.shape))
      }, divergenceWeight: divergenceWeight, rowCount: rowCount, epochCount: epochCount, exitIndex: exitIndex,
      dataTerm: dataTerm, initialDataTerm: initialDataTerm, divergence: divergence)
  }

  /// Below this data term, nats a row, rows count as memorised.
  static let memorisedDataTerm = 0.05

  /// What the user should know.
  ///
  /// - Parameter classCount: of the exit whose likelihood was the data term.
  func warnings(classCount: Int) -> [String] {
    let value = initialDataTerm.significantDigits()
    if initialDataTerm > Double.log(Double(classCount)) {
      return [
        "The data term at the trained weights is \(value) nats a row, more than that of a guess among \(classCount) classes; "
          + "the preprocessing or the labels are perhaps not those that the network was trained with."
      ]
    }
    guard form == .variational, initialDataTerm < Self.memorisedDataTerm else { return [] }
    return [
      "The data term at the trained weights is \(value) nats a row: the network has memorised these rows, so the likelihood "
        + "resists no move of the weights that keeps them right. The posterior is then as wide as the prior and its margin on "
        + "memorised rows allow, and tells little of rows that the network has not seen. Fit to rows that it was not trained "
        + "on, or judge it on other rows beside a temperature."
    ]
  }
}

/// Networks that differ in the weights of one layer.
struct LayerDraws: NetworkDraws {
  let graph: Network
  let boundary: [Int]
  let affectsExit: [Bool]
  private let frozen: FrozenNetwork
  private let layer: VariationalLayer
  private let means: [Tensor<Double>]
  private let deviations: [Tensor<Double>]

  init(_ layer: VariationalLayer, of frozen: FrozenNetwork, _ means: [Tensor<Double>], _ deviations: [Tensor<Double>]) {
    graph = frozen.network
    self.frozen = frozen
    self.layer = layer
    self.means = means
    self.deviations = deviations
    let changes = graph.changes { $0 == layer.node }
    affectsExit = graph.exits.map { changes[$0.logits] }
    boundary = graph.boundary(of: changes)
  }

  /// The layers of a network that a posterior's weights belong to.
  ///
  /// - Throws: `NetworkError` where there is no such layer, or its parameters are others.
  init(_ posterior: FirstLayerPosterior, of frozen: FrozenNetwork) throws(NetworkError) {
    let node = frozen.network.nodes.firstIndex { $0.name == posterior.layerName }
    let specs = node.map { frozen.network.parameterSpecs(of: $0) } ?? []
    guard frozen.network.exits.indices.contains(posterior.exitIndex),
      specs.map(\.path) == posterior.weights.map(\.path), specs.map(\.shape) == posterior.weights.map(\.means.shape)
    else {
      throw NetworkError("The network has no layer '\(posterior.layerName)' with weights of these shapes.")
    }
    self.init(
      try VariationalLayer(posterior.layerName, of: frozen, exit: frozen.network.exits[posterior.exitIndex]),
      of: frozen,
      posterior.weights.map(\.means), posterior.weights.map(\.deviations))
  }

  func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork {
    let key = key.child(draw)
    let weights = zip(means, deviations).enumerated().map { index, values in
      let noise: Tensor<Double> = key.child(index).normals(values.0.shape)
      return Tensor<Double>(
        shape: values.0.shape, (0..<noise.count).map { values.0[$0] + values.1[$0] * noise[$0] })
    }
    return try FrozenNetwork(graph, parameters: frozen.parameters.replacing(layer.parameters(weights)))
  }
}
