public import BayesTensor

/// Where a parameter's values are found in a checkpoint.
public struct ParameterSource: Hashable, Sendable {
  /// The checkpoint's entry.
  public var entry: String
  /// The shape that the entry must have; its elements are then read in the parameter's shape.
  public var storedShape: Shape

  public init(entry: String, storedShape: Shape) {
    self.entry = entry
    self.storedShape = storedShape
  }
}

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
    let shapes = Dictionary(checkpoint.entries.map { ($0.name, $0.shape) }) { first, _ in first }
    var missing: [String] = []
    var misshapen: [String] = []
    for spec in network.parameterSpecs {
      guard let source = sources[spec.path], let shape = shapes[source.entry] else {
        missing.append("\(spec.path) of shape \(spec.shape)")
        continue
      }
      if shape != source.storedShape || shape.elementCount != spec.shape.elementCount {
        misshapen.append("\(source.entry) has shape \(shape) where the architecture needs \(source.storedShape)")
      }
    }
    guard missing.isEmpty, misshapen.isEmpty else {
      let parts =
        (missing.isEmpty ? [] : ["these weights are missing: " + missing.joined(separator: "; ")])
        + (misshapen.isEmpty ? [] : ["these do not fit: " + misshapen.joined(separator: "; ")])
      throw FileError(
        missing.isEmpty ? .shape : .missing, file: checkpoint.file,
        parts.joined(separator: ", and ") + ". Save the model again with its weights.")
    }
    var parameters = Parameters()
    for (node, spec) in network.nodes.indices.flatMap({ node in network.parameterSpecs(of: node).map { (node, $0) } }) {
      guard let source = sources[spec.path] else { continue }
      let tensor = try checkpoint.tensor(named: source.entry)
      if let position = tensor.firstNonFinite {
        throw FileError(
          .value, file: checkpoint.file, object: source.entry,
          "Element \(position) is \(tensor[position]); every weight must be finite. Use a checkpoint from "
            + "before training diverged.")
      }
      if let layer = network.nodes[node].layer as? BatchNormalization,
        spec.path == ParameterPath(node: network.nodes[node].name, parameter: "variance"),
        let position = tensor.elements.firstIndex(where: { Double($0) + layer.epsilon <= 0 })
      {
        throw FileError(
          .value, file: checkpoint.file, object: source.entry,
          "Element \(position) is \(tensor[position]); a variance is not negative, and its root would be no number. "
            + "Use an undamaged checkpoint.")
      }
      parameters[spec.path] = tensor.reshaped(to: spec.shape)
    }
    self.network = network
    self.parameters = parameters
  }
}
