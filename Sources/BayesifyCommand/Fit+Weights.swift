import ArgumentParser
import Bayesify

extension FitLaplace {
  /// Refuses options that do not go with the layers asked for.
  func validateLayers() throws {
    guard layers.scope != nil else {
      if subnetwork != nil { throw ValidationError("--subnetwork chooses among the weights of --layers; give those too.") }
      if priorScope == .layer {
        throw ValidationError("--prior-scope layer is for --layers; last layers have one prior precision an exit.")
      }
      return
    }
    let structure = structure ?? .kronecker
    guard let kept = WeightStructure(rawValue: structure.rawValue) else {
      throw ValidationError(
        "With --layers the structure is kronecker, full or diagonal; \(structure.rawValue) is for last layers alone.")
    }
    if subnetwork != nil {
      if kept == .kronecker {
        throw ValidationError("Chosen weights are no Kronecker product; give --structure full or diagonal.")
      }
    }
    if predictive == .weights {
      throw ValidationError("With --layers logits are drawn, not weights; give --predictive function-space.")
    }
    if priorMean != nil || greedyEnsemble || earlier != nil {
      throw ValidationError("--prior-mean, --greedy-ensemble and --continue are for last layers, not for --layers.")
    }
    if noise != nil {
      throw ValidationError("--noise is for Gaussian exits, and --layers fits softmax and sigmoid ones; leave it out.")
    }
    if model.ignoreLabel != nil {
      throw ValidationError("--ignore-label is for last layers, not for --layers; leave those rows out of the data.")
    }
    if priorScope == .shared || priorScope == .group {
      throw ValidationError("With --layers prior precisions are shared by exit or by layer.")
    }
  }

  private func weightRecipe(_ scope: LayerScope) -> WeightLaplace {
    let priorPrecision: WeightLaplace.PriorPrecisionChoice =
      switch priorPrecision.choice {
      case .validation: .validation
      case .marginalLikelihood: priorScope == .layer ? .marginalLikelihoodOfLayers : .marginalLikelihood
      case .fixed(let value): .fixed(value)
      }
    return WeightLaplace(
      scope: scope, structure: WeightStructure(rawValue: structure?.rawValue ?? "") ?? .kronecker,
      subnetworkCount: subnetwork, priorPrecision: priorPrecision, temperature: temperature?.choice ?? .validation,
      predictive: predictive ?? .whitened, sampleCount: draws ?? 50)
  }

  /// Fits the weights of several layers.
  func fitWeights(of scope: LayerScope, _ session: Session) async throws {
    let recipe = weightRecipe(scope)
    let input = try TrainingInput(self, session)
    var warnings: [String] = []
    func network(_ rows: RowInput, _ specification: String, _ role: String) async throws -> NetworkRecords {
      guard let records = try await input.records(rows, specification, role, session) as? NetworkRecords else {
        throw FileError(
          .unsupported, file: rows.file,
          "These are exit records, and earlier layers need the rows that they were extracted from; give the data.")
      }
      return records
    }
    let training = try await network(input.training, input.trainingSpecification, "training")
    do {
      try recipe.requireLikelihoods(of: training.description)
    } catch {
      throw FileError(.unsupported, file: training.description.file, error.description)
    }
    guard validation != nil || !recipe.needsValidation else { throw Self.missingValidation }
    var held: NetworkRecords?
    if let validation = input.validation, let specification = self.validation {
      if let warning = try session.warningOfRecurrence(
        of: validation, named: "validation", in: input.training, named: "training")
      {
        warnings.append(warning)
      }
      held = try await network(validation, specification, "validation")
      guard held?.hasLabels == true else {
        throw validation.missingLabels("validation", option: "--validation-labels")
      }
    }
    guard let checkpoint = input.checkpoint else { preconditionFailure("Rows that are no records have a network.") }
    let posterior: WeightLaplacePosterior
    if case .last(let count) = scope, let most = LayerScope.candidateCounts(of: checkpoint.frozen).max(), count > most {
      throw ValidationError(
        "--layers last:\(count) asks for more layers than the \(most) that multiply by a matrix on the way to an exit of "
          + "\(checkpoint.file); give at most last:\(most), or all.")
    }
    do {
      if let subnetwork {
        let frozen = checkpoint.frozen
        for (exit, count) in zip(frozen.network.exits, try recipe.weightCounts(of: frozen)) where subnetwork > count {
          throw ValidationError(
            "--subnetwork \(subnetwork) is more than the \(count) weights of --layers \(scope.text) at exit "
              + "'\(exit.name)'; give at most \(count), or leave it out for all.")
        }
      }
      posterior = try await recipe.fit(
        checkpoint.frozen, training.description, training: training.dataset, validation: held?.dataset,
        in: execution.context(try execution.backend(), session.progress))
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.description)
    }
    session.progress.finishLine()
    try Task.checkCancellation()
    try write(posterior.write, input, validationDigest: held?.description.dataDigest)
    warnings += posterior.warnings
    for warning in warnings { session.progress.warn(warning) }
    let summary = FitSummary(posterior, output: output, warnings: warnings)
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }
}
