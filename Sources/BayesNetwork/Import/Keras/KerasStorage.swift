import BayesTensor

/// The library that computed for Keras; others turn kernels as TensorFlow does.
public enum KerasBackend: String, CaseIterable, Sendable {
  case tensorflow
  case theano
  case cntk
  case jax
  case torch
  case numpy
}

/// What is known of how a file's tensors lie: their shapes, and who wrote them.
struct KerasStorage: Sendable {
  let shapes: [String: Shape]
  let version: Int?
  let backend: KerasBackend?

  /// - Parameter backend: the library that computed for Keras, where the file does not say so.
  init(_ checkpoint: some Checkpoint, backend: KerasBackend?) {
    shapes = Dictionary(checkpoint.entries.map { ($0.name, $0.shape) }) { first, _ in first }
    version = checkpoint.kerasVersion
    self.backend = checkpoint.kerasBackend.flatMap(KerasBackend.init) ?? backend
  }

  /// How a weight lies in its entry.
  ///
  /// Theano turns the windows of its convolutions round, and its files may have the axes `[out, in, window…]`.
  func source(_ request: KerasWeightRequest, _ entry: String) -> KerasWeightAnswer {
    let due = request.storedShape
    guard request.weight.isWindowed, let found = shapes[entry] else {
      return .found(ParameterSource(entry: entry, storedShape: due))
    }
    let isTurned = backend == .theano
    let windowAxes = Array(0..<max(0, due.rank - 2))
    // Keras 1 keeps windows along one axis as images of width one.
    let image = due.rank == 3 ? Shape([due[0], 1, due[1], due[2]]) : due
    if found == due || version == 1 && found == image {
      // Versions before 2 do not say who computed, and one point is the same either way.
      if version == 1, backend == nil, !windowAxes.allSatisfy({ due[$0] == 1 }) { return .refused(Self.unknownBackend) }
      return .found(
        ParameterSource(entries: [entry], storedShape: found, reversedAxes: isTurned ? windowAxes : []))
    }
    if image.rank == 4, found == Shape([image[3], image[2], image[0], image[1]]), isTurned || version == 1 {
      guard backend != nil else { return .refused(Self.unknownBackend) }
      return .found(
        ParameterSource(
          entries: [entry], storedShape: found, axes: [2, 3, 1, 0], reversedAxes: isTurned ? [2, 3] : []))
    }
    return .found(ParameterSource(entry: entry, storedShape: due))
  }

  private static let unknownBackend = KerasRefusal(
    "its kernel is of Keras 1, whose files do not say whether Theano computed, which turns kernels round; say so with "
      + "--keras-backend theano, or else --keras-backend tensorflow")

  /// A weight whose gates are entries of their own.
  func source(_ request: KerasWeightRequest, gates entries: [String]) -> KerasWeightAnswer {
    var extents = request.storedShape.dimensions
    extents[extents.count - 1] /= entries.count
    return .found(ParameterSource(entries: entries, storedShape: Shape(extents)))
  }
}
