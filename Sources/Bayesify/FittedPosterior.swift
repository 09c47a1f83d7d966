public import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// A posterior that a fit wrote.
public enum FittedPosterior: Sendable {
  case lastLayer(LastLayerLaplacePosterior)
  case weights(WeightLaplacePosterior)

  /// Reads a posterior and checks all of it.
  ///
  /// - Throws: `FileError` naming the object that is missing or wrong.
  public init(from archive: any ArrayArchive) throws(FileError) {
    if case .text(WeightLaplacePosterior.methodName)? = try archive.attribute("method", of: "/") {
      self = .weights(try WeightLaplacePosterior(from: archive))
    } else {
      self = .lastLayer(try LastLayerLaplacePosterior(from: archive))
    }
  }

  /// What it was fitted to: exits, names, digests and preprocessing.
  public var source: RecordsDescription {
    switch self {
    case .lastLayer(let posterior): posterior.source
    case .weights(let posterior): posterior.source
    }
  }

  /// What the user should know of the fit.
  public var warnings: [String] {
    switch self {
    case .lastLayer(let posterior): posterior.warnings
    case .weights(let posterior): posterior.warnings
    }
  }

  /// The method, as reports name it.
  public var method: String {
    switch self {
    case .lastLayer(let posterior): "laplace \(posterior.structure.rawValue)"
    case .weights(let posterior): "laplace \(posterior.structure.rawValue), layers \(posterior.scope.text)"
    }
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
    }
  }
}
