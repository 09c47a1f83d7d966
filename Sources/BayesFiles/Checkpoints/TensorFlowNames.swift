import BayesNetwork
import BayesTensor

/// The weights that TensorFlow's files list, as a state dictionary of PyTorch would keep them.
///
/// `resnet/encoder/conv/kernel:0` of `[height, width, in, out]` is `resnet.encoder.conv.weight` of
/// `[out, in, height, width]`.
enum TensorFlowNames {
  /// What each array is, by its path.
  static func states(of layers: [CheckpointLayer], shapes: [String: Shape]) -> [String: StateTensor] {
    var states: [String: StateTensor] = [:]
    for layer in layers {
      for (name, entry) in zip(layer.weightNames, layer.entryNames) {
        states[entry] = shapes[entry].flatMap { state(name, $0) }
      }
    }
    return states
  }

  private static let leaves = [
    "kernel": "weight", "depthwise_kernel": "weight", "embeddings": "weight", "gamma": "weight", "weight": "weight",
    "bias": "bias", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
  ]

  private static func state(_ name: String, _ shape: Shape) -> StateTensor? {
    let parts = name.split(separator: "/")
    guard let last = parts.last?.prefix(while: { $0 != ":" }), let leaf = leaves[String(last)] else { return nil }
    let path = (parts.dropLast().map(String.init) + [leaf]).joined(separator: ".")
    let axes = Array(0..<shape.rank)
    switch (last, shape.rank) {
    case ("kernel", 2...):
      // `[window…, in, out]`, transposed convolutions `[window…, out, in]`, to the last two reversed and the window.
      return StateTensor(name: path, extents: shape, axes: axes.suffix(2).reversed() + axes.dropLast(2))
    case ("depthwise_kernel", 4):
      let folded = Shape([shape[0], shape[1], 1, shape[2] * shape[3]])
      return StateTensor(name: path, extents: folded, axes: [3, 2, 0, 1])
    case ("kernel", _), ("depthwise_kernel", _): return nil
    default: return StateTensor(name: path, extents: shape, axes: axes)
    }
  }
}
