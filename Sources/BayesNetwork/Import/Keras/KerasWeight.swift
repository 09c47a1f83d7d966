import BayesTensor

/// A parameter of a step, and what checkpoints call it.
struct KerasWeight: Sendable {
  /// The parameter's name within our layer.
  var parameter: String
  /// The last part of its name in a checkpoint.
  ///
  /// One that starts with an underscore is an ending: Keras 1 puts the layer's name before it.
  var names: [String]
  /// The shape in the file, where it is not the parameter's own.
  var storedShape: Shape?
  /// What may stand between the layer's name and the weight's, the first that is found: `query` in
  /// `attention/query/kernel`.
  ///
  /// A part that ends with an underscore is a beginning; an empty one stands for any name.
  var parts: [[String]] = []
  /// The attribute of the layer that owns it, by versions; empty where that is the layer itself.
  var owners: [String] = [""]
  /// The tensors of which Keras 1 made it, in the order in which they are joined; none where it was one.
  var gates: [KerasGate] = []
  /// Whether training never changes it, as the statistics of a batch normalisation.
  var isState = false
  /// Whether it is the kernel of a convolution, `[window…, in, out]`.
  var isWindowed = false

  static let kernel = KerasWeight(parameter: "weight", names: ["kernel", "_W"])
  static let bias = KerasWeight(parameter: "bias", names: ["bias", "_b"])

  /// The kernel of a convolution.
  static let window = KerasWeight(parameter: "weight", names: ["kernel", "_W"], isWindowed: true)
}

/// One of the tensors that Keras 1 kept for each gate of a recurrent layer.
struct KerasGate: Sendable {
  /// How its name ends: `_W_i`.
  var ending: String
  /// Its position among the layer's tensors.
  var position: Int
}
