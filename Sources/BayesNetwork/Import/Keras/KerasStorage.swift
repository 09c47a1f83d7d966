import BayesTensor

/// What is known of how a file's tensors lie: their shapes, and who wrote them.
struct KerasStorage: Sendable {
  let shapes: [String: Shape]
  let version: Int?
  let backend: String?

  init(_ checkpoint: some Checkpoint) {
    shapes = Dictionary(checkpoint.entries.map { ($0.name, $0.shape) }) { first, _ in first }
    version = checkpoint.kerasVersion
    backend = checkpoint.kerasBackend
  }

  /// How a weight lies in its entry.
  ///
  /// Theano turns the windows of its convolutions round, and its files may have the axes `[out, in, window…]`.
  func source(_ request: KerasWeightRequest, _ entry: String) -> KerasWeightAnswer {
    let due = request.storedShape
    guard request.weight.isWindowed, let found = shapes[entry] else {
      return .found(ParameterSource(entry: entry, storedShape: due))
    }
    let isTurned = backend == "theano"
    let windowAxes = Array(0..<max(0, due.rank - 2))
    // Keras 1 keeps windows along one axis as images of width one.
    let image = due.rank == 3 ? Shape([due[0], 1, due[1], due[2]]) : due
    if found == due || version == 1 && found == image {
      return .found(
        ParameterSource(entries: [entry], storedShape: found, reversedAxes: isTurned ? windowAxes : []))
    }
    if image.rank == 4, found == Shape([image[3], image[2], image[0], image[1]]), isTurned || version == 1 {
      guard isTurned else {
        return .refused(
          KerasRefusal(
            "its kernel lies as Theano's do, and the file does not say whether Theano also turned it round; load "
              + "the weights into the Keras that wrote them, with its backend, and save them with channels last"))
      }
      return .found(
        ParameterSource(entries: [entry], storedShape: found, axes: [2, 3, 1, 0], reversedAxes: [2, 3]))
    }
    return .found(ParameterSource(entry: entry, storedShape: due))
  }

  /// A weight whose gates are entries of their own.
  func source(_ request: KerasWeightRequest, gates entries: [String]) -> KerasWeightAnswer {
    var extents = request.storedShape.dimensions
    extents[extents.count - 1] /= entries.count
    return .found(ParameterSource(entries: entries, storedShape: Shape(extents)))
  }
}
