/// What a layer can be turned into.
public enum PlacementKind: Hashable, Sendable, CustomStringConvertible {
  /// A Gaussian around the trained weights, from the curvature of the loss (`WeightLaplace`, Kronecker factors), whose weights
  /// are drawn.
  case laplace
  /// A mean-field Gaussian by variational inference (`FirstLayerInference` on that layer).
  case variational
  /// Members that scale the layer (`LatentInference`).
  case latent
  /// Snapshots of a chain over the layer's weights (`SpikeAndSlabInference`, nothing removed).
  case snapshots
  /// Inputs of the layer, of a convolution its channels, are dropped with this probability, for all rows of a draw alike.
  case dropout(Double)

  /// Reads a name: `laplace`, `vi`, `latent`, `spike-slab`, or `dropout:` with a rate above 0 and below 1.
  public init?(_ description: String) {
    switch description {
    case "laplace": self = .laplace
    case "vi": self = .variational
    case "latent": self = .latent
    case "spike-slab": self = .snapshots
    default:
      guard description.hasPrefix("dropout:"), let rate = Double(description.dropFirst("dropout:".count)), rate > 0, rate < 1
      else { return nil }
      self = .dropout(rate)
    }
  }

  public var description: String {
    switch self {
    case .laplace: "laplace"
    case .variational: "vi"
    case .latent: "latent"
    case .snapshots: "spike-slab"
    case .dropout(let rate): "dropout:\(rate)"
    }
  }
}
