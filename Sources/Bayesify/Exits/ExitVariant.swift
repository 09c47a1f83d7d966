public import BayesPosterior

/// The eight kinds of predictions that Meronen et al. compare: with and without Laplace at every exit, ensembles of exits,
/// and tuning.
///
/// - Source: Meronen et al. 2024, arXiv:2302.06359.
public enum ExitVariant: CaseIterable, Sendable {
  case vanilla, vanillaTuned, laplace, laplaceTuned, ensemble, ensembleTuned, laplaceEnsemble, laplaceEnsembleTuned

  /// As reports name it.
  public var name: String {
    switch self {
    case .vanilla: "vanilla"
    case .vanillaTuned: "vanilla + temperature"
    case .laplace: "Laplace, untuned"
    case .laplaceTuned: "Laplace, tuned"
    case .ensemble: "exit ensemble"
    case .ensembleTuned: "exit ensemble + temperature"
    case .laplaceEnsemble: "Laplace + exit ensemble, untuned"
    case .laplaceEnsembleTuned: "Laplace + exit ensemble, tuned"
    }
  }

  public var usesLaplace: Bool {
    switch self {
    case .laplace, .laplaceTuned, .laplaceEnsemble, .laplaceEnsembleTuned: true
    case .vanilla, .vanillaTuned, .ensemble, .ensembleTuned: false
    }
  }

  public var isTuned: Bool {
    switch self {
    case .vanillaTuned, .laplaceTuned, .ensembleTuned, .laplaceEnsembleTuned: true
    case .vanilla, .laplace, .ensemble, .laplaceEnsemble: false
    }
  }

  public var isEnsemble: Bool {
    switch self {
    case .ensemble, .ensembleTuned, .laplaceEnsemble, .laplaceEnsembleTuned: true
    case .vanilla, .vanillaTuned, .laplace, .laplaceTuned: false
    }
  }

  /// How it is fitted: untuned with the paper's prior variance 2 and temperature 1, else on validation rows, greedily
  /// where exits are joined.
  ///
  /// Without Laplace no variance counts, and any rows do for the curvature.
  public func recipe(_ structure: LaplaceStructure, sampleCount: Int) -> LastLayerLaplace {
    var recipe = LastLayerLaplace(
      structure: structure, predictive: usesLaplace ? .whitened : .plain, sampleCount: sampleCount,
      priorPrecision: isTuned && usesLaplace ? .validation : .fixed(0.5), temperature: isTuned ? .validation : .fixed(1))
    recipe.ensembles = isEnsemble
    return recipe
  }
}
