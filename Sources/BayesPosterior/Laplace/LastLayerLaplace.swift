public import BayesPrediction
public import BayesTensor
import RealModule

/// Approximates the posterior of every exit's linear head by a Gaussian around the trained weights.
///
/// With features `φ`, `a = [φ; 1]` and the second derivatives `Λ` of the negative log-likelihood in the logits, the
/// precision of a head is what a structure keeps of the generalised Gauss–Newton matrix of the training rows, plus a
/// prior,
///
///     P = Σₙ Λₙ ⊗ aₙ aₙᵀ + δ I
///
/// (see `LaplaceStructure`; `Λ = diag p − p pᵀ` for classes, `diag p (1 − p)` for labels, `I / σ²` for Gaussian
/// targets).  Logits are linear in the weights, so their distribution is Gaussian in closed form, and no weight need be
/// drawn.  The trained weights stay the mean.
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

  /// The numbers of draws that can be asked for.
  public static let allowedSampleCounts = 2...1_000_000

  /// Where each exit's prior precision comes from.
  public enum PriorPrecisionChoice: Hashable, Sendable {
    /// The lowest negative log-likelihood of the validation labels.
    case validation
    /// The highest marginal likelihood of the training labels.
    case marginalLikelihood
    /// One value for all exits, in `allowedRange`.
    case fixed(Double)
  }

  /// Where each exit's temperature comes from; Gaussian exits have none.
  public enum TemperatureChoice: Hashable, Sendable {
    /// The lowest negative log-likelihood of the validation labels.
    case validation
    /// One value for all exits, in `allowedRange`.
    case fixed(Double)
  }

  /// What is kept of the curvature.
  public var structure: LaplaceStructure
  /// How probabilities are made, in predictions and while tuning.
  public var predictive: LaplacePredictive
  /// The number of draws of predictives that draw: at least two, and for `whitened` best at least twice the
  /// number of classes; with no more draws than classes they come in pairs instead of whitened.
  public var sampleCount: Int
  public var priorPrecision: PriorPrecisionChoice
  public var temperature: TemperatureChoice
  public var priorMean = PriorMean.zero
  /// Which weights share a prior precision that the marginal likelihood chooses; validation chooses one an exit.
  public var priorScope = PriorScope.exit
  /// The noise of Gaussian targets.
  public var noise = NoiseChoice.learned
  /// For `lowRank`: the least share of the curvature's trace to keep.
  public var explained = 0.95
  /// For `lowRank`: the most eigenvectors to keep.
  public var rankLimit = 100
  /// Whether exits are tuned greedily, and predict, as the mean of their own and all earlier probabilities, weighted by
  /// the multiply-adds up to each.
  ///
  /// - Source: Meronen et al. 2024, arXiv:2302.06359 (model-internal ensembling).
  public var ensembles = false

  /// - Precondition: there are at least two draws; fixed values are positive and finite.
  public init(
    structure: LaplaceStructure = .kronecker, predictive: LaplacePredictive = .whitened, sampleCount: Int = 50,
    priorPrecision: PriorPrecisionChoice = .validation, temperature: TemperatureChoice = .validation
  ) {
    precondition(sampleCount >= 2, "Two draws are the fewest; got \(sampleCount).")
    if case .fixed(let value) = priorPrecision {
      precondition(value > 0 && value.isFinite, "A prior precision is positive and finite; got \(value).")
    }
    if case .fixed(let value) = temperature {
      precondition(value > 0 && value.isFinite, "A temperature is positive and finite; got \(value).")
    }
    self.structure = structure
    self.predictive = predictive
    self.sampleCount = sampleCount
    self.priorPrecision = priorPrecision
    self.temperature = temperature
  }

  /// Whether `fit` needs validation rows for exits with these likelihoods.
  public func needsValidation(_ likelihoods: [Likelihood] = [.categorical]) -> Bool {
    priorPrecision == .validation || (temperature == .validation && likelihoods.contains { $0 != .gaussian })
  }

  /// Fits the posterior of every exit.
  ///
  /// Training rows are read once (five times for `lowRank`), validation rows some twenty times, so hand over records in
  /// memory or in a file, not a network.  With `LaplacePredictive.plain` no prior precision matters, and one is
  /// taken where validation should choose it.
  ///
  /// - Parameters:
  ///   - training: Rows that the network was trained on, with features and linear heads at every exit.
  ///     Labels or targets are needed for the marginal likelihood and for noise that is learned.  Where a network
  ///     answers at several positions, every position is a row; those with the ignored label take no part.
  ///   - validation: Labelled rows that the network was not trained on; may be `nil` unless
  ///     `needsValidation`.  If given, the trail and the accuracy are recorded even where all is fixed.
  ///   - earlier: A posterior of the same network and structure whose sums the training rows are added to, so that the
  ///     result is that of a fit to all rows at once.
  ///   - context: Its key gives the draws; its communicator's other processes add their rows.
  /// - Determinism: same key, same bits at any `context.width`.
  /// - Cost: O(rows · (features² + classes²)) for the curvature, O(features³ + classes³) for its
  ///   factors; for tuning, the likelihood of at most a thousand validation rows at 275 points and of
  ///   all of them at 50 to 100 points, each O(draws · classes) exponentials a row.
  /// - Precondition: validation rows are given if `needsValidation`.
  /// - Throws: `FileError` naming exit and row where rows are unfit, and the exit where sums over them are not finite or
  ///   the marginal likelihood has no maximum; `NumericalError` where a factorisation does not converge;
  ///   `CancellationError`.
  public func fit(
    training: any ExitRecordSource, validation: (any ExitRecordSource)?,
    continuing earlier: LastLayerLaplacePosterior? = nil, in context: ExecutionContext
  ) async throws -> LastLayerLaplacePosterior {
    let training = try await training.answered
    let validation = try await validation?.answered
    let likelihoods = training.description.exits.map(\.likelihood)
    precondition(
      validation != nil || !needsValidation(likelihoods),
      "Choosing by validation needs validation rows; none were given.")
    try requireAnswers(training, continuing: earlier)
    if ensembles { try requireEnsemble(training.description) }
    if let validation { try training.description.requireSameNetwork(as: validation.description) }

    var posterior = try await posteriorBeforeTuning(training, earlier, in: context)
    try chooseByMarginalLikelihood(&posterior, file: training.description.file, on: context.backend)
    if let validation {
      let tuning = try validationTuning(of: posterior, rows: validation.description, in: context)
      let results = try await tuning.run(on: validation, in: context)
      for (exit, result) in results.enumerated() {
        let isGaussian = posterior.exits[exit].description.likelihood == .gaussian
        posterior.exits[exit].tuning = isGaussian ? result.inUnitsOfTargets : result
        if let chosen = posterior.exits[exit].tuning.chosen {
          posterior.exits[exit].priorPrecision = chosen.priorPrecision
          if isGaussian {
            posterior.exits[exit].noise = chosen.temperature
          } else {
            posterior.exits[exit].temperature = chosen.temperature
          }
        }
      }
      if predictive.usesDraws {
        let values = try await posterior.negativeLogLikelihoodsOfOtherDraws(of: validation, in: context)
        for (exit, value) in values.enumerated() {
          if let value { posterior.exits[exit].tuning.chosen?.negativeLogLikelihood = value }
        }
      }
      for (exit, result) in results.enumerated() {
        posterior.warnings += warnings(
          posterior.exits[exit], exit: exit, tuned: result.chosen, tuning.priorAxes[exit],
          tuning.temperatureAxes[exit])
      }
    }
    return posterior
  }

  private func requireAnswers(
    _ training: any ExitRecordSource, continuing earlier: LastLayerLaplacePosterior?
  ) throws(FileError) {
    for (index, exit) in training.description.exits.enumerated() {
      let learnsNoise = exit.likelihood == .gaussian && noise == .learned
      if let earlier, index < earlier.exits.count, !earlier.exits[index].hasAnswers,
        priorPrecision == .marginalLikelihood || learnsNoise
      {
        throw FileError(
          .missing, file: earlier.source.file, object: earlier.source.place(ofExit: index),
          "The posterior was fitted to rows without answers, so that the answers of all its rows tell neither a marginal "
            + "likelihood nor a noise; fit all rows again with their answers, or give the prior precision and the noise.")
      }
      let isClassified = exit.likelihood == .categorical || exit.likelihood == .binary
      let has = isClassified ? training.hasLabels : training.hasTargets
      let name = isClassified ? "labels" : "targets"
      if priorPrecision == .marginalLikelihood, !has {
        throw FileError(
          .missing, file: training.description.file,
          "The training rows have no \(name), and the marginal likelihood needs them. Add \(name), choose the "
            + "prior precision by validation, or give one.")
      }
      if exit.likelihood == .gaussian, noise == .learned, !has {
        throw FileError(
          .missing, file: training.description.file, object: "exit \(index) ('\(exit.name)')",
          "The training rows have no targets to learn the noise from; give them (as the labels of data, as /targets of "
            + "records), or give the noise.")
      }
    }
  }

  private func requireEnsemble(_ description: RecordsDescription) throws(FileError) {
    for (index, exit) in description.exits.enumerated() {
      let object = "exit \(index) ('\(exit.name)')"
      guard exit.likelihood != .gaussian else {
        throw FileError(
          .unsupported, file: description.file, object: object,
          "Ensembles of exits average probabilities, and this exit gives real numbers; fit without the ensemble.")
      }
      let first = description.exits[0]
      guard exit.likelihood == first.likelihood, exit.logitCount == first.logitCount else {
        throw FileError(
          .shape, file: description.file, object: object,
          "Its classes are not those of the first exit, so the two cannot be averaged; fit without the ensemble.")
      }
      guard let multiplyAdds = exit.multiplyAdds, multiplyAdds > 0 else {
        throw FileError(
          .missing, file: description.file, object: object,
          "Ensembles weight exits by their multiply-adds, and the records do not say them; extract the records from "
            + "the network, or fit without the ensemble.")
      }
    }
  }

  private func posteriorBeforeTuning(
    _ training: any ExitRecordSource, _ earlier: LastLayerLaplacePosterior?, in context: ExecutionContext
  ) async throws -> LastLayerLaplacePosterior {
    var source = training.description
    if let earlier {
      try requireContinuation(of: earlier, with: training.description)
      source = earlier.source
      source.dataDigest = nil
    }
    let checks = try ExitCheck.all(of: training.description)
    var sums = try await Curvature.gather(structure, from: training, checks, in: context)
    if let earlier {
      for exit in sums.indices {
        var all = earlier.exits[exit].sums
        all.add(sums[exit])
        sums[exit] = all
      }
    }
    var lowRanks: [LowRankCurvature] = []
    if structure == .lowRank {
      lowRanks = try await LowRankSketch(explained: explained, rankLimit: rankLimit).curvatures(
        checks, sums, of: training, in: context)
    }
    var fixedPriorPrecision = 1.0
    if case .fixed(let value) = priorPrecision { fixedPriorPrecision = value }
    var fixedTemperature = 1.0
    if case .fixed(let value) = temperature { fixedTemperature = value }
    var exits: [LastLayerLaplacePosterior.Exit] = []
    for (index, check) in checks.enumerated() {
      try Task.checkCancellation()
      let description = source.exits[index]
      let isClassified = check.likelihood == .categorical || check.likelihood == .binary
      let curvature: ExitCurvature =
        structure == .lowRank
        ? .lowRank(lowRanks[index])
        : try naming(index, source, training.description.file) {
          try sums[index].exitCurvature(
            structure, likelihood: check.likelihood, hasBias: check.head.hasBias,
            logitCount: check.head.weight.shape[1], on: context.backend)
        }
      exits.append(
        LastLayerLaplacePosterior.Exit(
          description: description, curvature: curvature, sums: sums[index],
          hasAnswers: (isClassified ? training.hasLabels : training.hasTargets)
            && (earlier?.exits[index].hasAnswers ?? true),
          priorPrecision: fixedPriorPrecision,
          temperature: check.likelihood == .gaussian ? 1 : fixedTemperature, noise: 1, priorMean: priorMean,
          tuning: LaplaceTuning()))
    }
    var posterior = LastLayerLaplacePosterior(
      exits: exits, structure: structure, predictive: predictive, sampleCount: sampleCount,
      drawsKey: context.key, isEnsemble: ensembles, source: source, warnings: [])
    for (index, lowRank) in lowRanks.enumerated() where lowRank.explainedShare < explained {
      posterior.warnings.append(
        "Exit \(index) ('\(checks[index].name)'): \(lowRank.rank) eigenvectors hold "
          + "\((lowRank.explainedShare * 1000).rounded() / 10) % of the curvature, less than the "
          + "\((explained * 1000).rounded() / 10) % asked for; raise the rank, or use the structure kronecker.")
    }
    return posterior
  }

  /// Refuses posteriors that rows of a network cannot be added to, as `fit` does.
  public func requireContinuation(
    of earlier: LastLayerLaplacePosterior, with description: RecordsDescription
  ) throws(FileError) {
    guard earlier.structure == structure else {
      throw FileError(
        .value, file: earlier.source.file,
        "The posterior keeps the sums of the structure '\(earlier.structure.rawValue)', and '\(structure.rawValue)' is "
          + "asked for; continue with its own structure, or fit all rows again.")
    }
    guard structure != .lowRank else {
      throw FileError(
        .unsupported, file: earlier.source.file,
        "A low rank is no sum over rows, so rows cannot be added to it; fit all rows at once, or use another "
          + "structure.")
    }
    try earlier.source.requireSameNetwork(as: description)
  }

  private func chooseByMarginalLikelihood(
    _ posterior: inout LastLayerLaplacePosterior, file: String, on backend: any Backend
  ) throws {
    let source = posterior.source
    for (index, exit) in posterior.exits.enumerated() where exit.description.likelihood == .gaussian {
      switch (noise, priorPrecision) {
      case (.fixed(let value), _): posterior.exits[index].noise = value
      case (.learned, .fixed(let prior)):
        posterior.exits[index].noise = exit.marginalLikelihood?.bestNoise(priorPrecision: prior) ?? 1
      case (.learned, .marginalLikelihood):
        if let maximum = try naming(index, source, file, { try exit.marginalLikelihood?.maximumWithNoise() }) {
          posterior.exits[index].noise = maximum.noise
        }
      case (.learned, .validation):
        // Where the search begins.
        let residuals = GaussianResiduals(exit.sums, outputCount: exit.description.logitCount)
        guard residuals.squaredError > 0 else {
          throw FileError(
            .value, file: file, object: source.place(ofExit: index), MarginalLikelihood.noResiduals)
        }
        posterior.exits[index].noise = (residuals.squaredError / residuals.count).squareRoot()
      }
    }
    guard priorPrecision == .marginalLikelihood else { return }
    if priorScope == .shared {
      let maximum = try naming(nil, source, file) {
        try MarginalLikelihood.maximum(
          ofSum: posterior.exits.compactMap(\.marginalLikelihood), noises: posterior.exits.map(\.noise))
      }
      for index in posterior.exits.indices { posterior.exits[index].priorPrecision = maximum.priorPrecision }
      if maximum.isLowest { posterior.warnings.append("All exits: " + maximum.lowestWarning) }
      return
    }
    for index in posterior.exits.indices {
      let name = "Exit \(index) ('\(posterior.exits[index].description.name)')"
      func named<Result>(_ body: () throws -> Result) throws -> Result { try naming(index, source, file, body) }
      if priorScope == .group, posterior.exits[index].description.head?.hasBias == true {
        // The prior precision of the bias in units of that of the weights.
        let exit = posterior.exits[index]
        let (logRatio, isLowest) = try named {
          try MarginalLikelihood.highestPoint(
            below: Self.groupBound, decades: 12, pointsPerDecade: 2
          ) { ratio throws in
            var scaled = exit
            scaled.curvature = try exit.curvature.scalingBias(by: Double.exp(-ratio / 2), on: backend)
            guard let (curve, maximum) = try evidenceMaximum(scaled) else { return -.infinity }
            return curve(priorPrecision: maximum.priorPrecision, noise: maximum.noise)
          }
        }
        posterior.exits[index].curvature = try exit.curvature.scalingBias(by: Double.exp(-logRatio / 2), on: backend)
        if isLowest || logRatio > Self.groupBound - 1e-3 {
          posterior.warnings.append(
            "\(name): the ratio of the bias's prior precision to the weights', "
              + "\(Double.exp(logRatio).significantDigits()), is at the edge of what is tried; the training rows do "
              + "not tell the two apart.")
        }
      }
      guard let (_, maximum) = try named({ try evidenceMaximum(posterior.exits[index]) }) else { continue }
      posterior.exits[index].priorPrecision = maximum.priorPrecision
      posterior.exits[index].noise = maximum.noise
      if maximum.isLowest { posterior.warnings.append("\(name): " + maximum.lowestWarning) }
    }
  }

  /// The logarithm of the highest ratio of the bias's prior precision to the weights' that is tried; its reciprocal is
  /// the lowest.
  private static let groupBound = Double.log(1e6)

  /// The highest point of an exit's marginal likelihood, with its noise where that is learned.
  private func evidenceMaximum(_ exit: LastLayerLaplacePosterior.Exit) throws -> (
    MarginalLikelihood, MarginalLikelihood.Maximum
  )? {
    guard let curve = exit.marginalLikelihood else { return nil }
    return (curve, noise == .learned ? try curve.maximumWithNoise() : try curve.maximum(noise: exit.noise))
  }

  private func validationTuning(
    of posterior: LastLayerLaplacePosterior, rows: RecordsDescription, in context: ExecutionContext
  ) throws -> ValidationTuning {
    var exits: [ValidationLikelihood.Exit] = []
    var (priorAxes, temperatureAxes, plainAxes): ([LatticeAxis], [LatticeAxis], [LatticeAxis]) = ([], [], [])
    for (index, exit) in posterior.exits.enumerated() {
      exits.append(
        ValidationLikelihood.Exit(
          check: try ExitCheck(exit.description, exit: index, file: rows.file, positions: rows.positions),
          hasRowNoise: exit.hasRowNoise, curvature: exit.curvature,
          draws: try predictive.tuningDraws(
            count: sampleCount, logitCount: exit.curvature.value.logitCount, key: posterior.drawsKey,
            on: context.backend)))
      priorAxes.append(
        priorPrecision == .validation && predictive != .plain
          ? ValidationTuning.priorAxis(meanSquaredNorm: exit.meanSquaredNorm) : .fixed(exit.unitPriorPrecision))
      if exit.description.likelihood == .gaussian {
        plainAxes.append(ValidationTuning.noiseAxis(around: exit.noise))
        temperatureAxes.append(
          noise == .learned && priorPrecision == .validation ? plainAxes[index] : .fixed(exit.noise))
      } else {
        plainAxes.append(ValidationTuning.freeTemperatureAxis)
        switch temperature {
        case .validation: temperatureAxes.append(ValidationTuning.freeTemperatureAxis)
        case .fixed(let value): temperatureAxes.append(.fixed(value))
        }
      }
    }
    return ValidationTuning(
      likelihood: ValidationLikelihood(exits: exits, predictive: predictive), priorAxes: priorAxes,
      temperatureAxes: temperatureAxes, plainAxes: plainAxes,
      ensembleWeights: ensembles ? posterior.exits.map { Double($0.description.multiplyAdds ?? 1) } : nil)
  }

  private func warnings(
    _ exit: LastLayerLaplacePosterior.Exit, exit index: Int, tuned chosen: LaplaceTuning.Point?, _ priorAxis: LatticeAxis,
    _ temperatureAxis: LatticeAxis
  ) -> [String] {
    let name = "Exit \(index) ('\(exit.description.name)')"
    let parameter = exit.description.likelihood == .gaussian ? "noise" : "temperature"
    var warnings: [String] = []
    if let warning = chosen?.edgeWarning(parameter, temperatureAxis) { warnings.append("\(name): " + warning) }
    if let chosen, priorAxis.bounds.count > 1,
      chosen.priorPrecision == priorAxis.value(at: priorAxis.bounds.lowerBound)
    {
      warnings.append(
        "\(name): the prior precision \(exit.priorPrecision.significantDigits()) is the lowest that is tried; "
          + "the validation rows ask for a wider posterior than the training rows allow.")
    }
    let draws = predictive.usesDraws && exit.description.likelihood != .gaussian
      ? LaplaceTuning.Draws(count: sampleCount, tunedValue: chosen?.negativeLogLikelihood) : nil
    if predictive != .plain,
      let warning = exit.tuning.spreadWarning(parameter, draws, isEnsemble: ensembles && index > 0)
    {
      warnings.append("\(name): \(warning)")
    }
    if let warning = memorisationWarning(exit) { warnings.append("\(name): \(warning)") }
    return warnings
  }

  /// What to say where the network seems to have been trained on the validation rows.
  private func memorisationWarning(_ exit: LastLayerLaplacePosterior.Exit) -> String? {
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

extension LastLayerLaplacePosterior.Exit {
  /// The mean of `‖a‖²` over the training rows: no structure has a unit variance above it over `δ`.
  var meanSquaredNorm: Double {
    if case .kronecker(let spectrum) = curvature {
      return spectrum.form == .factored ? spectrum.inputTrace / Double(rowCount).squareRoot() : spectrum.inputTrace
    }
    return sums[.squaredNorm] / sums[.weight]
  }
}

extension LaplaceTuning.Point {
  /// What the user should know where the temperature, or the noise, is at the end of a free axis.
  func edgeWarning(_ parameter: String, _ axis: LatticeAxis) -> String? {
    let edges = [axis.bounds.lowerBound, axis.bounds.upperBound].map(axis.value(at:))
    guard axis.bounds.count > 1, edges.contains(temperature) else { return nil }
    return "the \(parameter) \(temperature.significantDigits()) is at the edge of what is tried, \(edges[0]) to "
      + "\(edges[1]). Look at the validation rows: are they like the training rows, and are their labels right?"
  }
}

extension LaplaceTuning {
  /// What the user should know where the posterior does not pay on the validation rows.
  ///
  /// - Parameters:
  ///   - parameter: what is tuned beside it: the temperature, or the noise.
  ///   - draws: those that it was tuned with; `nil` for a predictive without any.
  ///   - isEnsemble: whether the posterior predicts as the mean of several exits.
  func spreadWarning(_ parameter: String, _ draws: Draws? = nil, isEnsemble: Bool = false) -> String? {
    guard let chosen, let withoutVariance else { return nil }
    let (with, without) = (chosen.negativeLogLikelihood, withoutVariance.negativeLogLikelihood)
    guard without - with < ValidationTuning.tolerance else { return nil }
    let comparison =
      isEnsemble
      ? "the mean of the exits up to this one does not lower the negative log-likelihood of the validation rows "
        + "(\(with.significantDigits()) nats a row, this exit alone \(without.significantDigits()))"
      : "the spread of the posterior does not lower the negative log-likelihood of the validation rows "
        + "(\(with.significantDigits()) nats a row with it, \(without.significantDigits()) without)"
    var warning = comparison + "; the \(parameter) \(withoutVariance.temperature.significantDigits()) alone "
      + (with - without < ValidationTuning.tolerance ? "does as well." : "does better.")
    if let draws, let tuned = draws.tunedValue, without - tuned >= ValidationTuning.tolerance {
      warning += " With the \(draws.count) draws that it was tuned with it gave \(tuned.significantDigits()), which other "
        + "draws do not keep: ask for more of them, or for the predictive plain."
    }
    return warning
  }

  /// The draws that a posterior was tuned with.
  struct Draws {
    var count: Int
    /// The mean negative log-likelihood that they give, in nats a row.
    var tunedValue: Double?
  }

  /// The chosen pair with the draws of tuning.
  package var chosenInTrail: Point? {
    trail.last {
      $0.priorPrecision == chosen?.priorPrecision && $0.temperature == chosen?.temperature
        && $0.rowCount == chosen?.rowCount
    }
  }

  /// For Gaussian targets, whose search has prior precisions in units of the noise.
  var inUnitsOfTargets: LaplaceTuning {
    func converted(_ point: Point) -> Point {
      var point = point
      point.priorPrecision /= point.temperature * point.temperature
      return point
    }
    var result = self
    result.trail = trail.map(converted)
    result.chosen = chosen.map(converted)
    result.withoutVariance = withoutVariance.map(converted)
    return result
  }
}

/// Says at which exit of which file numbers went wrong that come from its rows; what the libraries are to blame for stays.
///
/// - Parameter exit: `nil` for all.
func naming<Result>(
  _ exit: Int?, _ source: RecordsDescription, _ file: String, _ body: () throws -> Result
) throws -> Result {
  do {
    return try body()
  } catch let error as NumericalError
    where [.notFinite, .notPositiveDefinite, .outOfRange].contains(error.code)
  {
    throw FileError(
      .value, file: file, object: exit.map { source.place(ofExit: $0) },
      error.message)
  }
}

extension RecordsDescription {
  /// An exit in words, for messages.
  func place(ofExit index: Int) -> String { "exit \(index) ('\(exits[index].name)')" }
}
