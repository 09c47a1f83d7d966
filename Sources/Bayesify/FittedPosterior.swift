public import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// A posterior that a fit wrote.
public enum FittedPosterior: Sendable {
  case lastLayer(LastLayerLaplacePosterior)
  case weights(WeightLaplacePosterior)
  case sampled(SampledNetworkPosterior)

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing or wrong.
  public init(from archive: any ArrayArchive) throws(FileError) {
    switch try archive.attribute("method", of: "/") {
    case .text(WeightLaplacePosterior.methodName): self = .weights(try WeightLaplacePosterior(from: archive))
    case .text(let name) where SampledNetworkPosterior.methodNames.contains(name):
      self = .sampled(try SampledNetworkPosterior(from: archive))
    default: self = .lastLayer(try LastLayerLaplacePosterior(from: archive))
    }
  }

  /// What it was fitted to: exits, names, digests and preprocessing.
  public var source: RecordsDescription {
    switch self {
    case .lastLayer(let posterior): posterior.source
    case .weights(let posterior): posterior.source
    case .sampled(let posterior): posterior.source
    }
  }

  /// What the user should know of the fit.
  public var warnings: [String] {
    switch self {
    case .lastLayer(let posterior): posterior.warnings
    case .weights(let posterior): posterior.warnings
    case .sampled(let posterior): posterior.warnings
    }
  }

  /// The method, as reports name it.
  public var method: String {
    switch self {
    case .lastLayer(let posterior): "laplace \(posterior.structure.rawValue)"
    case .weights(let posterior): "laplace \(posterior.structure.rawValue), layers \(posterior.scope.text)"
    case .sampled(let posterior):
      switch posterior.kind {
      case .dropout(let draws, _, _): "dropout, \(draws) draws"
      case .ensemble(let members): "ensemble of \(members.count)"
      case .firstLayer(let draws, _, let layer): layer.method(draws: draws)
      case .latent(let networks, _, let latent): latent.method(networks: networks)
      case .weightSamples(let samples): samples.method
      case .placement(let draws, _, let placement): placement.method(draws: draws)
      }
    }
  }

  /// The exits with what predictions cost where several networks run; `nil` where that is what the network costs.
  public var costs: [ExitDescription]? {
    if case .sampled(let posterior) = self { posterior.source.exits } else { nil }
  }

  /// Whether predictions need rows, and not only what left the network's exits.
  public var needsRows: Bool {
    if case .lastLayer = self { false } else { true }
  }

  /// What was chosen for an exit, by name; of several prior precisions the first.
  public func settings(ofExit index: Int) -> [String: Double] {
    switch self {
    case .lastLayer(let posterior):
      ["temperature": posterior.exits[index].temperature, "priorPrecision": posterior.exits[index].priorPrecision]
    case .weights(let posterior):
      [
        "temperature": posterior.exits[index].temperature,
        "priorPrecision": posterior.exits[index].priorPrecisions[0],
        "parameters": Double(posterior.exits[index].parameterCount),
      ]
    case .sampled(let posterior):
      ["temperature": posterior.exits[index].temperature, "networks": Double(posterior.sampleCount)]
    }
  }
}
