public import BayesPrediction
public import BayesTensor

/// Approximates the posterior of every exit's linear head by a Gaussian around the trained weights.
///
/// With features `φ` and MAP logits `μ`, the precision of a head is the Kronecker-factored
/// generalised Gauss–Newton matrix of the training rows plus a prior,
///
///     P = B ⊗ A + δ I,    B = Σₙ (diag pₙ − pₙ pₙᵀ),    A = mean φ φᵀ
///
/// (see `KroneckerForm` for the variants).  Logits are linear in the weights, so their distribution
/// is Gaussian in closed form, and no weight is ever drawn.  The trained weights stay the mean.
///
/// ```swift
/// let posterior = try await LastLayerLaplace().fit(training: training, validation: validation, in: context)
/// let predictor = try posterior.predictor(for: test.description, in: context)
/// try await test.forEachChunk { chunk in
///   for block in predictor.blocks(of: chunk) { let predictions = try predictor.predict(block) }
/// }
/// ```
///
/// - Note: Exits are fitted independently; correlations between them are not modelled, and no
///   uncertainty of the layers before a head is.
/// - Source: Daxberger et al. 2021, arXiv:2106.14806; Meronen et al. 2024, arXiv:2302.06359.
public struct LastLayerLaplace: Hashable, Sendable {
  /// What prior precisions and temperatures may be: squares and reciprocals of them stay finite.
  public static let allowedRange = 1e-100...1e100

  /// Where each exit's prior precision comes from.
  public enum PriorPrecisionChoice: Hashable, Sendable {
    /// The lowest negative log-likelihood of the validation labels.
    case validation
    /// The highest marginal likelihood of the training labels.
    case marginalLikelihood
    /// One value for all exits, in `allowedRange`.
    case fixed(Double)
  }

  /// Where each exit's temperature comes from.
  public enum TemperatureChoice: Hashable, Sendable {
    /// The lowest negative log-likelihood of the validation labels.
    case validation
    /// One value for all exits, in `allowedRange`.
    case fixed(Double)
  }

  /// Where bias and prior enter.
  public var form: KroneckerForm
  /// How probabilities are made, in predictions and while tuning.
  public var predictive: LaplacePredictive
  /// The number of draws of `LaplacePredictive.whitened`: at least two, and best at least twice the
  /// number of classes; with no more draws than classes they come in pairs instead of whitened.
  public var sampleCount: Int
  public var priorPrecision: PriorPrecisionChoice
  public var temperature: TemperatureChoice

  /// - Precondition: there are at least two draws; fixed values are positive and finite.
  public init(
    form: KroneckerForm = .kronecker, predictive: LaplacePredictive = .whitened, sampleCount: Int = 50,
    priorPrecision: PriorPrecisionChoice = .validation, temperature: TemperatureChoice = .validation
  ) {
    precondition(sampleCount >= 2, "Two draws are the fewest; got \(sampleCount).")
    if case .fixed(let value) = priorPrecision {
      precondition(value > 0 && value.isFinite, "A prior precision is positive and finite; got \(value).")
    }
    if case .fixed(let value) = temperature {
      precondition(value > 0 && value.isFinite, "A temperature is positive and finite; got \(value).")
    }
    self.form = form
    self.predictive = predictive
    self.sampleCount = sampleCount
    self.priorPrecision = priorPrecision
    self.temperature = temperature
  }

  /// Whether `fit` needs validation rows.
  public var needsValidation: Bool { priorPrecision == .validation || temperature == .validation }

  /// Fits the posterior of every exit.
  ///
  /// Training rows are read once, validation rows some twenty times, so hand over records in memory or
  /// in a file, not a network.  With `LaplacePredictive.plain` no prior precision matters, and one is
  /// taken where validation should choose it.
  ///
  /// - Parameters:
  ///   - training: Rows that the network was trained on, with features and linear heads at every exit.
  ///     Labels are needed for the marginal likelihood only.
  ///   - validation: Labelled rows that the network was not trained on; may be `nil` unless
  ///     `needsValidation`.  If given, the trail and the accuracy are recorded even where all is fixed.
  ///   - context: Its key gives the draws; its communicator's other processes add their rows.
  /// - Determinism: same key, same bits at any `context.width`.
  /// - Cost: O(rows · (features² + classes²)) for the curvature, O(features³ + classes³) for its
  ///   factors; for tuning, the likelihood of at most a thousand validation rows at 275 points and of
  ///   all of them at 50 to 100 points, each O(draws · classes) exponentials a row.
  /// - Precondition: validation rows are given if `needsValidation`.
  /// - Throws: `FileError` naming exit and row where rows are unfit; `NumericalError` where a
  ///   factorisation fails or the marginal likelihood has no maximum; `CancellationError`.
  public func fit(
    training: any ExitRecordSource, validation: (any ExitRecordSource)?, in context: ExecutionContext
  ) async throws -> KroneckerLaplacePosterior {
    precondition(
      validation != nil || !needsValidation, "Choosing by validation needs validation rows; none were given.")
    if priorPrecision == .marginalLikelihood, !training.hasLabels {
      throw FileError(
        .missing, file: training.description.file,
        "The training rows have no labels, and the marginal likelihood needs them. Add labels, choose the "
          + "prior precision by validation, or give one.")
    }
    if let validation { try training.description.requireSameNetwork(as: validation.description) }

    var posterior = try await posteriorBeforeTuning(training, in: context)
    if priorPrecision == .marginalLikelihood { try chooseByMarginalLikelihood(&posterior) }
    if let validation {
      let tuning = try validationTuning(of: posterior, file: validation.description.file, in: context)
      for (exit, result) in try await tuning.run(on: validation, in: context).enumerated() {
        posterior.exits[exit].tuning = result
        if let chosen = result.chosen {
          posterior.exits[exit].priorPrecision = chosen.priorPrecision
          posterior.exits[exit].temperature = chosen.temperature
        }
        posterior.warnings += warnings(
          posterior.exits[exit], exit: exit, tuning.priorAxes[exit], tuning.temperatureAxis)
      }
    }
    return posterior
  }

  private func posteriorBeforeTuning(_ training: any ExitRecordSource, in context: ExecutionContext)
    async throws -> KroneckerLaplacePosterior
  {
    let factors = try await KroneckerFactors.gather(from: training, in: context)
    var fixedPriorPrecision = 1.0
    if case .fixed(let value) = priorPrecision { fixedPriorPrecision = value }
    var fixedTemperature = 1.0
    if case .fixed(let value) = temperature { fixedTemperature = value }
    var exits: [KroneckerLaplacePosterior.Exit] = []
    for (description, factors) in zip(training.description.exits, factors) {
      try Task.checkCancellation()
      exits.append(
        KroneckerLaplacePosterior.Exit(
          description: description,
          spectrum: try factors.spectrum(
            form: form, hasBias: description.head?.hasBias ?? false, on: context.backend),
          priorPrecision: fixedPriorPrecision, temperature: fixedTemperature, rowCount: factors.rowCount,
          logLikelihood: factors.logLikelihood, trainingAccuracy: factors.accuracy,
          tuning: LaplaceTuning()))
    }
    return KroneckerLaplacePosterior(
      exits: exits, form: form, predictive: predictive, sampleCount: sampleCount,
      drawsKey: context.key, source: training.description, warnings: [])
  }

  private func chooseByMarginalLikelihood(_ posterior: inout KroneckerLaplacePosterior) throws {
    for (index, exit) in posterior.exits.enumerated() {
      guard let maximum = try exit.marginalLikelihood?.maximum() else { continue }
      posterior.exits[index].priorPrecision = maximum.priorPrecision
      if maximum.isLowest {
        posterior.warnings.append(
          "Exit \(index) ('\(exit.description.name)'): the marginal likelihood still rises at the lowest "
            + "prior precision tried, \(maximum.priorPrecision.significantDigits()): the training rows hardly bend the "
            + "likelihood. Choose the prior precision by validation.")
      }
    }
  }

  private func validationTuning(
    of posterior: KroneckerLaplacePosterior, file: String, in context: ExecutionContext
  ) throws -> ValidationTuning {
    var exits: [ValidationLikelihood.Exit] = []
    var priorAxes: [LatticeAxis] = []
    for (index, exit) in posterior.exits.enumerated() {
      exits.append(
        ValidationLikelihood.Exit(
          check: try ExitCheck(exit.description, exit: index, file: file), spectrum: exit.spectrum,
          draws: try posterior.draws(logitCount: exit.spectrum.logitCount, on: context.backend)))
      priorAxes.append(
        priorPrecision == .validation && predictive != .plain
          ? ValidationTuning.priorAxis(meanSquaredNorm: exit.meanSquaredNorm) : .fixed(exit.priorPrecision))
    }
    let temperatureAxis: LatticeAxis =
      switch temperature {
      case .validation: ValidationTuning.freeTemperatureAxis
      case .fixed(let value): .fixed(value)
      }
    return ValidationTuning(
      likelihood: ValidationLikelihood(exits: exits, predictive: predictive), priorAxes: priorAxes,
      temperatureAxis: temperatureAxis)
  }

  private func warnings(
    _ exit: KroneckerLaplacePosterior.Exit, exit index: Int, _ priorAxis: LatticeAxis,
    _ temperatureAxis: LatticeAxis
  ) -> [String] {
    let name = "Exit \(index) ('\(exit.description.name)')"
    var warnings: [String] = []
    if temperatureAxis.bounds.count > 1 {
      let bounds = temperatureAxis.bounds
      let edges = [bounds.lowerBound, bounds.upperBound].map(temperatureAxis.value(at:))
      if edges.contains(exit.temperature) {
        warnings.append(
          "\(name): the temperature \(exit.temperature.significantDigits()) is at the edge of what is tried, \(edges[0]) to "
            + "\(edges[1]). Look at the validation rows: are they like the training rows, and are their "
            + "labels right?")
      }
    }
    if priorAxis.bounds.count > 1, exit.priorPrecision == priorAxis.value(at: priorAxis.bounds.lowerBound) {
      warnings.append(
        "\(name): the prior precision \(exit.priorPrecision.significantDigits()) is the lowest that is tried; the validation "
          + "rows ask for a wider posterior than the training rows allow.")
    }
    if predictive != .plain, priorPrecision == .validation, let chosen = exit.tuning.chosen, let plain = exit.tuning.withoutVariance {
      let gain = plain.negativeLogLikelihood - chosen.negativeLogLikelihood
      if gain < ValidationTuning.tolerance {
        warnings.append(
          "\(name): the spread of the posterior does not lower the negative log-likelihood of the validation "
            + "rows (\(plain.negativeLogLikelihood.significantDigits()) nats a row with it and without); the "
            + "temperature alone does as well.")
      }
    }
    if let warning = memorisationWarning(exit) { warnings.append("\(name): \(warning)") }
    return warnings
  }

  /// What to say where the network seems to have been trained on the validation rows.
  private func memorisationWarning(_ exit: KroneckerLaplacePosterior.Exit) -> String? {
    guard let accuracy = exit.tuning.validationAccuracy, accuracy > 0.99 else { return nil }
    let isSharpened = (exit.tuning.withoutVariance?.temperature ?? 1) < 1
    // Held-out rows nearly always do a little worse than the rows of training.
    let looksTrainedOn = exit.trainingAccuracy.map { accuracy >= $0 - 0.002 } ?? isSharpened
    guard looksTrainedOn else { return nil }
    return "the network is right on \((accuracy * 10_000).rounded() / 100) % of the validation rows, as on "
      + "those it was trained on" + (isSharpened ? ", and they ask for a temperature below one" : "")
      + ". If it was trained on the validation rows, prior precision and temperature come out "
      + "overconfident: use rows it was not trained on."
  }
}

extension KroneckerLaplacePosterior.Exit {
  /// The mean of `‖a‖²` over the training rows, in the units of the form.
  var meanSquaredNorm: Double {
    let trace = spectrum.input.values.elements.reduce(0, +)
    return spectrum.form == .factored ? trace / Double(rowCount).squareRoot() : trace
  }
}
