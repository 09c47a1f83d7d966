import BayesTensor

/// Latent inference under way: all that its next step depends on besides the data and the key.
///
/// - Determinism: a training that goes on from one written before gives the same bits as one that was never
///   interrupted.
public struct LatentTraining: Sendable, Equatable {
  /// What became of one pass over the training rows.
  public struct Epoch: Sendable, Equatable {
    /// The mean over members' rows of the negative log-likelihood at the draws of its steps, nats.
    public var dataTerm: Double
    /// The mean over layers of the reconstruction error and the weighted divergence.
    public var latentTerm: Double
  }

  public internal(set) var layers: [LatentPosterior.Layer]
  var vectorMemory = OptimizerMemory<Double>()
  var autoencoderMemory = OptimizerMemory<Double>()
  /// Steps made in all, those of the warm-up not counted.
  public internal(set) var stepCount = 0
  /// Sums over the steps of the epoch under way, weighted by their rows.
  var sums = Epoch(dataTerm: 0, latentTerm: 0)
  /// Epochs that are over.
  public internal(set) var epochs: [Epoch] = []

  init(_ layers: [LatentPosterior.Layer]) { self.layers = layers }

  /// The vectors and biases of all layers.
  var vectors: [Tensor<Double>] {
    get { layers.flatMap(\.vectors) }
    set {
      var rest = newValue[...]
      for index in layers.indices {
        let count = layers[index].vectors.count
        layers[index].vectors = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
      }
    }
  }

  /// The weights of all autoencoders.
  var autoencoders: [Tensor<Double>] {
    get { layers.flatMap { $0.autoencoder?.parameters ?? [] } }
    set {
      var rest = newValue[...]
      for index in layers.indices {
        guard let count = layers[index].autoencoder?.parameters.count else { continue }
        layers[index].autoencoder?.parameters = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
      }
    }
  }
}
