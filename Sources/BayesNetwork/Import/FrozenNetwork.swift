public import BayesTensor

/// A network together with trained weights that nobody will change.
public struct FrozenNetwork: Sendable {
  public let network: Network
  public let parameters: Parameters

  /// Joins a network and its weights.
  ///
  /// - Throws: `NetworkError` listing every parameter that is missing or has another shape.
  public init(_ network: Network, parameters: Parameters) throws(NetworkError) {
    let problems = network.parameterSpecs.compactMap { spec -> String? in
      guard let tensor = parameters[spec.path] else { return "\(spec.path) is missing" }
      guard tensor.shape == spec.shape else {
        return "\(spec.path) has shape \(tensor.shape), not \(spec.shape)"
      }
      return nil
    }
    guard problems.isEmpty else { throw NetworkError(problems.joined(separator: "; ") + ".") }
    self.network = network
    self.parameters = parameters
  }

  /// Loads the weights of a network from a checkpoint.
  ///
  /// All names and shapes are compared before any tensor is read.
  ///
  /// - Throws: `FileError`, one for all tensors that are missing or misshapen; another when a weight
  ///   is not finite.
  public init(
    _ network: Network, loading checkpoint: some Checkpoint, from sources: [ParameterPath: ParameterSource]
  ) throws(FileError) {
    try network.requireWeights(in: checkpoint, from: sources)
    var parameters = Parameters()
    // Uses of a shared layer share its tensors' memory.
    var loaded: [ParameterSource: Tensor<Float>] = [:]
    for (node, spec) in network.nodes.indices.flatMap({ node in network.parameterSpecs(of: node).map { (node, $0) } }) {
      guard let source = sources[spec.path] else { continue }
      let tensor: Tensor<Float>
      if let known = loaded[source] {
        tensor = known
      } else {
        tensor = try source.tensor(of: checkpoint)
        loaded[source] = tensor
      }
      if let position = tensor.firstNonFinite {
        throw FileError(
          .value, file: checkpoint.file, object: source.name,
          "Element \(position) is \(tensor[position]); every weight must be finite. Use a checkpoint from "
            + "before training diverged.")
      }
      if let layer = network.nodes[node].layer as? BatchNormalization,
        spec.path == ParameterPath(node: network.nodes[node].name, parameter: "variance"),
        let position = tensor.elements.firstIndex(where: { Double($0) + layer.epsilon <= 0 })
      {
        throw FileError(
          .value, file: checkpoint.file, object: source.name,
          "Element \(position) is \(tensor[position]); a variance is not negative, and its root would be no number. "
            + "Use an undamaged checkpoint.")
      }
      parameters[spec.path] = tensor.reshaped(to: spec.shape)
    }
    self.network = network
    self.parameters = parameters
  }
}

extension Network {
  /// Compares the names and shapes of all weights with those of a checkpoint; no tensor is read.
  ///
  /// - Throws: `FileError`, one for all tensors that are missing or misshapen.
  public func requireWeights(
    in checkpoint: some Checkpoint, from sources: [ParameterPath: ParameterSource]
  ) throws(FileError) {
    let shapes = Dictionary(checkpoint.entries.map { ($0.name, $0.shape) }) { first, _ in first }
    var missing: [String] = []
    var misshapen: [String] = []
    for spec in parameterSpecs {
      guard let source = sources[spec.path], source.entries.allSatisfy({ shapes[$0] != nil }) else {
        missing.append("\(spec.path) of shape \(spec.shape)")
        continue
      }
      for entry in source.entries {
        guard let shape = shapes[entry],
          shape != source.storedShape || shape.elementCount * source.entries.count != spec.shape.elementCount
        else { continue }
        misshapen.append("\(entry) has shape \(shape) where the architecture needs \(source.storedShape)")
      }
    }
    guard missing.isEmpty || !checkpoint.entries.isEmpty else {
      throw FileError(
        .missing, file: checkpoint.file,
        "The file describes a network but holds no weights; name the file of its weights, and give this one with "
          + "--architecture.")
    }
    guard missing.isEmpty, misshapen.isEmpty else {
      let parts =
        (missing.isEmpty ? [] : ["these weights are missing: " + Self.listed(missing)])
        + (misshapen.isEmpty ? [] : ["these do not fit: " + Self.listed(misshapen)])
      throw FileError(
        missing.isEmpty ? .shape : .missing, file: checkpoint.file,
        parts.joined(separator: ", and ") + ". Name the architecture that these weights belong to, or save the model "
          + "again with its weights.")
    }
  }

  /// The first few, and how many there are beside them.
  private static func listed(_ problems: [String]) -> String {
    let shown = 5
    return problems.prefix(shown).joined(separator: "; ")
      + (problems.count > shown ? " and \(problems.count - shown) more" : "")
  }
}
