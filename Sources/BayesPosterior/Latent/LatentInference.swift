package import BayesTensor
import RealModule

/// Makes some layers of a trained network Bayesian by an ensemble whose members scale their inputs by what an autoencoder
/// a layer makes of drawn latents; the layers' weights, and all else, stay as trained.
///
/// Trained are the vectors `g` and biases of all members and the autoencoders; the vectors `a` are a fixed code book:
///
///     L = mean over members' rows of −log p(y | x) + 1/layers · Σ_layers ( mean (â − a)² + w · KL )
///
/// with `w = 2 s² / (members · inputs)`, `s` being the deviation of the reconstruction that is accepted: the mean of a
/// square weighs against a sum of nats, and with `w = 1` encoding members never pays.
///
/// - Source: Franchi et al. 2020, arXiv:2012.02818; the weight `w` is our own, after Kingma and Welling 2014,
///   arXiv:1312.6114, for a Gaussian reconstruction of deviation `s`.
public struct LatentInference: Hashable, Sendable {
  /// Which rows of a batch a member learns from.
  public enum MemberBatch: String, CaseIterable, Sendable {
    /// A share of its own.
    case split
    /// All of them.
    case replicated
  }

  public var form = LatentPosterior.Form.latentSample
  /// Convolution or dense layers by name; for `nil` as many of the last as members can scale at random before they lose
  /// half a nat.
  public var layerNames: [String]?
  /// The exit whose likelihood is the data term; the last for `nil`.
  public var exitIndex: Int?
  public var memberCount = 4
  public var latentCount = 32
  /// `c`
  public var noiseScale = 1.0
  public var memberBatch = MemberBatch.split
  /// The deviation of `a` and `g` from one to begin with.
  public var initialDeviation = 0.25
  /// `s`, as a share of the initial deviation.
  public var reconstructionShare = 0.3
  /// `w`; the rule above for `nil`.
  public var divergenceWeight: Double?
  /// Steps of the autoencoders by their own loss, before the network's.
  public var warmUpStepCount = 1500
  public var learningRate = 1e-3
  public var epochCount = 10
  /// Rows a step.
  public var batchRowCount = 128
  /// Rows from which statistics of batch normalisation are estimated for each member; none for zero.
  public var statisticsRowCount = 4096
  /// Draws of each member that predictions use.
  public var drawCount = 4

  public init() {}

  /// What autoencoders are pulled towards zero by.
  static let decay = WeightDecay.l2(1e-4)
  /// The largest norm of a step's gradient.
  static let largestNorm = 5.0

  /// `w` of a layer.
  package func divergenceWeight(inputCount: Int) -> Double {
    guard form != .batchEnsemble else { return 0 }
    let deviation = reconstructionShare * initialDeviation
    return divergenceWeight ?? 2 * deviation * deviation / Double(memberCount * inputCount)
  }

  /// Members as training finds them: vectors near one, biases as trained, autoencoders drawn.
  ///
  /// - Determinism: follows from the key.
  package func initialMembers(of layer: MemberLayer, bias: Tensor<Double>, key: RandomKey) -> LatentPosterior.Layer {
    func vectors(_ count: Int, _ key: RandomKey) -> Tensor<Double> {
      key.normals([memberCount, count]).map { 1 + initialDeviation * $0 }
    }
    return LatentPosterior.Layer(
      name: layer.name, inputs: vectors(layer.inputCount, key.child(0)), outputs: vectors(layer.outputCount, key.child(1)),
      biases: .stacking((0..<memberCount).map { _ in bias.reshaped(to: [1, bias.count]) }),
      autoencoder: form.decode.map {
        LatentAutoencoder(
          channelCount: layer.inputCount, latentCount: latentCount, decode: $0, noiseScale: noiseScale, key: key.child(2))
      })
  }

  /// An autoencoder after steps by its own loss alone.
  ///
  /// - Determinism: follows from the key.
  package func warmedUp(
    _ layer: LatentPosterior.Layer, stepCount: Int, learningRate: Double = 1e-3, key: RandomKey
  ) -> LatentPosterior.Layer {
    guard var autoencoder = layer.autoencoder else { return layer }
    var optimizer = Adam<Double>()
    let weight = divergenceWeight(inputCount: layer.inputs.shape[1])
    let none = Tensor<Double>(zeros: layer.inputs.shape)
    for step in 0..<stepCount {
      let pass = autoencoder(layer.inputs, noise: key.child(step).normals([memberCount, latentCount]))
      let gradient = autoencoder.gradient(at: pass, cotangent: none, reconstructionWeight: 1, divergenceWeight: weight)
      optimizer.update(
        &autoencoder.parameters, gradients: gradient, learningRate: learningRate, factors: autoencoder.rateFactors)
    }
    var result = layer
    result.autoencoder = autoencoder
    return result
  }
}
