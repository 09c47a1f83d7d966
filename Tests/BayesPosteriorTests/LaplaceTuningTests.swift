@testable import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

struct LaplaceTuningTests {
  static let rowCount = 120

  /// Validation rows of which every sixth lies far out and has a label that says nothing, so that a
  /// variance that grows with the features helps.
  static func validation(likelihood: Likelihood = .categorical, exitCount: Int = 1) -> InMemoryExitRecords {
    let problem = ToyProblem(rowCount: rowCount, exitCount: exitCount, likelihood: likelihood, seed: 8)
    var records = problem.records().records
    var labels = records.labels ?? []
    for row in stride(from: 0, to: rowCount, by: 6) {
      labels[row] = row / 6 % (likelihood == .binary ? 2 : 3)
      for exit in 0..<exitCount {
        let head = problem.head(exit)
        var features = records.exits[exit].features ?? Tensor(zeros: [rowCount, 5])
        for k in 0..<5 { features[row, k] *= 4 }
        var logits = ReferenceBackend().product(features, head.weight)
        for row in 0..<rowCount { for k in 0..<problem.logitCount { logits[row, k] += head.bias[k] } }
        records.exits[exit] = ExitRecords.Exit(features: features, logits: logits)
      }
    }
    records.labels = labels
    return InMemoryExitRecords(records, description: problem.description)
  }

  /// Few training rows leave the posterior wide.
  static func training(likelihood: Likelihood = .categorical) -> InMemoryExitRecords {
    ToyProblem(rowCount: 12, likelihood: likelihood).records()
  }

  @Test(arguments: KroneckerForm.allCases, [Likelihood.categorical, .binary])
  func validationFindsALowPointThatUsesVariance(form: KroneckerForm, likelihood: Likelihood) async throws {
    let training = Self.training(likelihood: likelihood)
    let validation = Self.validation(likelihood: likelihood)
    let posterior = try await LastLayerLaplace(structure: LaplaceStructure(form), sampleCount: 10).fit(
      training: training, validation: validation, in: .test())
    let tuned = posterior.exits[0]
    let chosen = try #require(tuned.tuning.chosen)
    let plain = try #require(tuned.tuning.withoutVariance)
    #expect(chosen.priorPrecision == tuned.priorPrecision)
    #expect(chosen.temperature == tuned.temperature)
    #expect(chosen.rowCount == Self.rowCount)
    #expect(plain.priorPrecision == .infinity)
    #expect(chosen.negativeLogLikelihood < plain.negativeLogLikelihood - 0.01)
    // The binary rows ask for more variance than is tried, and the fit says so.
    let isLowest = likelihood == .binary
    #expect(posterior.warnings.contains { $0.contains("is the lowest that is tried") } == isLowest)
    // No neighbour is lower by more than the search's tolerance allows, with the draws of tuning.
    let found = try #require(tuned.tuning.chosenInTrail).negativeLogLikelihood
    let factors = [(1.1, 1), (1, 1.05), (1, 0.95), (1.1, 1.05)] + (isLowest ? [] : [(0.9, 1), (0.9, 0.95)])
    for (priorFactor, temperatureFactor) in factors {
      let neighbour = try await LastLayerLaplace(
        structure: LaplaceStructure(form), sampleCount: 10, priorPrecision: .fixed(tuned.priorPrecision * priorFactor),
        temperature: .fixed(tuned.temperature * temperatureFactor)
      ).fit(training: training, validation: validation, in: .test()).exits[0]
      let value = try #require(neighbour.tuning.chosenInTrail).negativeLogLikelihood
      #expect(value >= found - 2e-5)
    }
  }

  /// The search against every point of a fine grid, each a fit of its own: along a line with the temperature fixed, and in
  /// both.
  @Test(arguments: [LaplacePredictive.whitened, .probit, .meanField], [true, false])
  func searchIsAsLowAsAFineGrid(predictive: LaplacePredictive, isLine: Bool) async throws {
    let (training, validation) = (Self.training(), Self.validation())
    func fit(
      _ prior: LastLayerLaplace.PriorPrecisionChoice, _ temperature: LastLayerLaplace.TemperatureChoice
    ) async throws -> LaplaceTuning.Point {
      let recipe = LastLayerLaplace(
        predictive: predictive, sampleCount: 10, priorPrecision: prior, temperature: temperature)
      return try #require(
        try await recipe.fit(training: training, validation: validation, in: .test()).exits[0].tuning.chosenInTrail)
    }
    let found = try await fit(.validation, isLine ? .fixed(1) : .validation)
    #expect(!isLine || found.temperature == 1)
    var lowest = Double.infinity
    // Twelve decades from end to end, and half an octave around the temperature found.
    for step in 0...(isLine ? 96 : 36) {
      let prior = Double.pow(10, -5 + 12 * Double(step) / (isLine ? 96 : 36))
      for shift in isLine ? [0] : [-0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5] {
        let point = try await fit(.fixed(prior), .fixed(isLine ? 1 : found.temperature * Double.exp2(shift)))
        lowest = min(lowest, point.negativeLogLikelihood)
      }
    }
    #expect(found.negativeLogLikelihood <= lowest + 1e-5)
    // The grid is fine enough to come near.
    #expect(found.negativeLogLikelihood >= lowest - (isLine ? 1e-3 : 1e-2))
  }

  // Tuning of draws of each row's own and of weights uses shared draws.
  @Test(
    arguments: LaplacePredictive.allCases.filter { $0 != .functionSpace && $0 != .weights },
    [Likelihood.categorical, .binary])
  func reportedLikelihoodIsThatOfThePredictions(predictive: LaplacePredictive, likelihood: Likelihood)
    async throws
  {
    let validation = Self.validation(likelihood: likelihood)
    let posterior = try await LastLayerLaplace(predictive: predictive, sampleCount: 10).fit(
      training: Self.training(likelihood: likelihood), validation: validation, in: .test())
    let probabilities = try posterior.predictor(for: validation.description, in: .test())
      .predict(validation.records)[0].probabilities()
    var sum = 0.0
    for (row, label) in (validation.records.labels ?? []).enumerated() {
      sum -= Double.log(probabilities[row, label])
    }
    // Predictions are kept in single precision.
    expectClose(
      sum / Double(Self.rowCount), try #require(posterior.exits[0].tuning.chosenInTrail).negativeLogLikelihood,
      tolerance: 1e-6)
  }

  @Test func varianceThatDoesNotHelpIsNotWorseAndIsReported() async throws {
    let problem = ToyProblem(rowCount: 400)
    let validation = ToyProblem(rowCount: 400, seed: 8).records()
    let posterior = try await LastLayerLaplace(sampleCount: 10).fit(
      training: problem.records(), validation: validation, in: .test())
    let tuning = posterior.exits[0].tuning
    let chosen = try #require(tuning.chosen).negativeLogLikelihood
    let plain = try #require(tuning.withoutVariance).negativeLogLikelihood
    #expect(chosen <= plain + 1e-6)
    // The labels are those of a network half as sure.
    expectClose(posterior.exits[0].temperature, 2, tolerance: 0.15)
    #expect(plain - chosen >= 1e-5 || posterior.warnings.contains { $0.contains("does not lower") })
  }

  /// A closed form of several classes can do worse than the temperature that it was tuned with.
  @Test func whatASpreadCostsIsSaid() {
    func warning(with: Double, without: Double) -> String? {
      func point(_ value: Double) -> LaplaceTuning.Point {
        LaplaceTuning.Point(priorPrecision: 1, temperature: 1, negativeLogLikelihood: value, rowCount: 10)
      }
      return LaplaceTuning(chosen: point(with), withoutVariance: point(without)).spreadWarning("temperature")
    }
    #expect(warning(with: 0.25, without: 0.5) == nil)
    #expect(
      warning(with: 1.5, without: 0.5)
        == "the spread of the posterior does not lower the negative log-likelihood of the validation rows "
        + "(1.5 nats a row with it, 0.5 without); the temperature 1 alone does better.")
    #expect(warning(with: 0.5, without: 0.5)?.hasSuffix("(0.5 nats a row with it, 0.5 without); the temperature 1 alone does as well.") == true)
  }

  /// The likelihood that is reported is that of predictions with draws that tuning has not seen.
  @Test(arguments: [LaplacePredictive.whitened, .antithetic])
  func reportedLikelihoodIsThatOfOtherDraws(predictive: LaplacePredictive) async throws {
    let validation = Self.validation()
    var posterior = try await LastLayerLaplace(predictive: predictive, sampleCount: 8).fit(
      training: Self.training(), validation: validation, in: .test())
    let key = posterior.drawsKey
    var mean = 0.0
    for index in 1...4 {
      posterior.drawsKey = key.child(-index)
      let probabilities = try posterior.predictor(for: validation.description, in: .test())
        .predict(validation.records)[0].probabilities()
      for (row, label) in (validation.records.labels ?? []).enumerated() {
        mean -= Double.log(probabilities[row, label]) / Double(4 * Self.rowCount)
      }
    }
    let tuning = posterior.exits[0].tuning
    expectClose(mean, try #require(tuning.chosen).negativeLogLikelihood, tolerance: 1e-12)
    #expect(try abs(mean - #require(tuning.chosenInTrail).negativeLogLikelihood) > 1e-5)
  }

  /// What suits the draws of tuning by chance is no gain where others are drawn, and the fit says so.
  @Test func gainsOfTheDrawsAloneAreNoGains() async throws {
    let posterior = try await LastLayerLaplace(predictive: .antithetic, sampleCount: 4).fit(
      training: ToyProblem(rowCount: 30).records(), validation: ToyProblem(rowCount: 100, seed: 8).records(),
      in: ExecutionContext(backend: ReferenceBackend(), key: RandomKey(seed: 0), width: 1))
    let tuning = posterior.exits[0].tuning
    let tuned = try #require(tuning.chosenInTrail).negativeLogLikelihood
    let reported = try #require(tuning.chosen).negativeLogLikelihood
    let alone = try #require(tuning.withoutVariance).negativeLogLikelihood
    #expect(tuned < alone - 0.01 && reported > alone + 0.005)
    let words = "(\(reported.significantDigits()) nats a row with it, \(alone.significantDigits()) without); the temperature "
      + "\(try #require(tuning.withoutVariance).temperature.significantDigits()) alone does better. With the 4 draws that it "
      + "was tuned with it gave \(tuned.significantDigits()), which other draws do not keep"
    #expect(
      posterior.warnings.contains { $0.hasPrefix("Exit 0 ('exit0'): ") && $0.contains(words) }, "\(posterior.warnings)")
  }

  /// However the posterior was chosen, it is compared with a temperature that was tuned.
  /// Draws of a row's own or of all weights are not those that tuning looks at.
  @Test(arguments: [LaplacePredictive.functionSpace, .weights, .whitened], [Likelihood.categorical, .multilabel])
  func likelihoodsAreThoseOfThePredictions(predictive: LaplacePredictive, likelihood: Likelihood) async throws {
    let training = LaplaceStructureTests.records(likelihood, rowCount: 40)
    let validation = LaplaceStructureTests.records(likelihood, rowCount: 30, seed: 11)
    let posterior = try await LastLayerLaplace(predictive: predictive, sampleCount: 8).fit(
      training: training, validation: validation, in: .test())
    let prediction = try posterior.predictor(for: validation.description, in: .test()).predict(validation.records)[0]
    let probabilities = prediction.probabilities()
    var sum = 0.0
    for row in 0..<30 {
      if let label = validation.records.labels?[row] {
        sum -= Double.log(probabilities[row, label])
      } else if let targets = validation.records.targets {
        for k in 0..<3 { sum -= Double.log(targets[row, k] == 1 ? probabilities[row, k] : 1 - probabilities[row, k]) }
      }
    }
    let tuning = posterior.exits[0].tuning
    let chosen = try #require(predictive == .whitened ? tuning.chosenInTrail : tuning.chosen)
    expectClose(chosen.negativeLogLikelihood, sum / 30, tolerance: 1e-6)
  }

  @Test func everyChoiceIsComparedWithATemperature() async throws {
    // As many rows as a head needs to be sure of itself, from a network twice as sure as it should be.
    let training = ToyProblem(rowCount: 400).records()
    let validation = ToyProblem(rowCount: 400, seed: 8).records()
    let plain = try #require(
      try await LastLayerLaplace(predictive: .plain).fit(training: training, validation: validation, in: .test())
        .exits[0].tuning.chosen)
    for choice in [LastLayerLaplace.PriorPrecisionChoice.marginalLikelihood, .fixed(1000)] {
      let posterior = try await LastLayerLaplace(sampleCount: 10, priorPrecision: choice, temperature: .fixed(1)).fit(
        training: training, validation: validation, in: .test())
      let tuning = posterior.exits[0].tuning
      let chosen = try #require(tuning.chosen)
      #expect(chosen.temperature == 1 && posterior.exits[0].temperature == 1)
      let alone = try #require(tuning.withoutVariance)
      expectClose(alone.temperature, plain.temperature, tolerance: 1e-3)
      expectClose(alone.negativeLogLikelihood, plain.negativeLogLikelihood, tolerance: 1e-5)
      let numbers = "(\(chosen.negativeLogLikelihood.significantDigits()) nats a row with it, "
        + "\(alone.negativeLogLikelihood.significantDigits()) without); the temperature "
        + "\(alone.temperature.significantDigits()) alone does better."
      #expect(posterior.warnings.contains { $0.contains(numbers) }, "\(posterior.warnings)")
    }
  }

  /// An ensemble may do better than its last exit's spread, and still worse than that exit with a temperature.
  @Test func ensemblesAreComparedExitByExit() async throws {
    let training = ToyProblem(rowCount: 400, exitCount: 2).records()
    func validation(labelsOf exit: Int) -> InMemoryExitRecords {
      let problem = ToyProblem(rowCount: 400, exitCount: 2, seed: 8)
      var records = problem.records().records
      records.labels = (0..<400).map { row in
        let logits = records.exits[exit].logits.rows(row..<row + 1).elements
        return (logits.firstIndex(of: logits.max() ?? 0) ?? 0) % 3
      }
      return InMemoryExitRecords(records, description: problem.description)
    }
    var recipe = LastLayerLaplace(sampleCount: 10)
    // The last exit knows the labels, and the first, whose probabilities are averaged in, knows nothing of them.
    let rows = validation(labelsOf: 1)
    let alone = try await recipe.fit(training: training, validation: rows, in: .test())
    recipe.ensembles = true
    let both = try await recipe.fit(training: training, validation: rows, in: .test())
    for exit in 0..<2 {
      #expect(both.exits[exit].tuning.withoutVariance == alone.exits[exit].tuning.withoutVariance)
    }
    let own = try #require(both.exits[1].tuning.withoutVariance).negativeLogLikelihood
    let mean = try #require(both.exits[1].tuning.chosen).negativeLogLikelihood
    #expect(mean > own + 0.05)
    let numbers = "(\(mean.significantDigits()) nats a row, this exit alone \(own.significantDigits())); the temperature"
    #expect(both.warnings.contains { $0.hasPrefix("Exit 1") && $0.contains(numbers) }, "\(both.warnings)")
  }

  @Test func eachOfTheTwoCanBeFixed() async throws {
    let (training, validation) = (Self.training(), Self.validation())
    func fit(_ recipe: LastLayerLaplace) async throws -> LastLayerLaplacePosterior.Exit {
      try await recipe.fit(training: training, validation: validation, in: .test()).exits[0]
    }
    let fixedTemperature = try await fit(LastLayerLaplace(sampleCount: 10, temperature: .fixed(1)))
    #expect(fixedTemperature.temperature == 1)
    #expect(fixedTemperature.tuning.trail.allSatisfy { $0.temperature == 1 || $0.priorPrecision == .infinity })
    let fixedPrior = try await fit(LastLayerLaplace(sampleCount: 10, priorPrecision: .fixed(3)))
    #expect(fixedPrior.priorPrecision == 3)
    #expect(fixedPrior.temperature != 1)
    let evidence = try await fit(LastLayerLaplace(sampleCount: 10, priorPrecision: .marginalLikelihood))
    let maximum = try #require(try evidence.marginalLikelihood?.maximum()).priorPrecision
    #expect(evidence.priorPrecision == maximum)
  }

  @Test func marginalLikelihoodNeedsNoValidation() async throws {
    let recipe = LastLayerLaplace(priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    #expect(!recipe.needsValidation())
    let posterior = try await recipe.fit(training: Self.training(), validation: nil, in: .test())
    #expect(posterior.exits[0].priorPrecision > 0)
    #expect(posterior.exits[0].tuning.trail.isEmpty)
    #expect(posterior.exits[0].tuning.chosen == nil)
  }

  @Test func exitsAreTunedEachByThemselves() async throws {
    let training = ToyProblem(rowCount: 12, exitCount: 2).records()
    let both = try await LastLayerLaplace(sampleCount: 10).fit(
      training: training, validation: Self.validation(exitCount: 2), in: .test())
    let first = try await LastLayerLaplace(sampleCount: 10).fit(
      training: Self.training(), validation: Self.validation(), in: .test())
    #expect(both.exits[0].tuning.chosen == first.exits[0].tuning.chosen)
    #expect(both.exits[0].tuning.chosen != both.exits[1].tuning.chosen)
  }

  @Test func validationRowsThatWereTrainedOnAreSuspected() async throws {
    // A network that is always right on its training rows, and validated on the same.
    let base = ToyProblem(scale: 20)
    var records = base.records().records
    records.labels = (0..<base.rowCount).map { row in
      let logits = records.exits[0].logits.rows(row..<row + 1).elements
      return logits.firstIndex(of: logits.max() ?? 0) ?? 0
    }
    let source = InMemoryExitRecords(records, description: base.description)
    let posterior = try await LastLayerLaplace(sampleCount: 10).fit(
      training: source, validation: source, in: .test())
    #expect(posterior.warnings.contains { $0.contains("use rows it was not trained on") })
    #expect(posterior.warnings.contains { $0.contains("temperature 0.25 is at the edge") })
    #expect(posterior.exits[0].tuning.validationAccuracy == 1)
  }

  @Test func hopelessRowsKeepAFiniteLikelihood() {
    // Every draw gives the label a probability that underflows.
    let logits = Tensor<Double>(shape: [2, 2], [900, 0, 1000, 0])
    let sum = negativeLogLikelihoodSums(ofLogits: logits, labels: [1], .categorical, temperatures: [1])[0]
    // log ½ (e⁻⁹⁰⁰ + e⁻¹⁰⁰⁰)
    expectClose(sum, 900 + Double.log(2), tolerance: 1e-12)
  }

  @Test func latticeSearchFindsTheLowestPointOfAValley() {
    // A narrow valley along the diagonal, lowest at (100, −37).
    func value(_ point: LatticePoint) -> Double {
      let (x, y) = (Double(point.prior - 100), Double(point.temperature + 37))
      return (x + y) * (x + y) + 0.01 * (x - y) * (x - y)
    }
    var search = LatticeSearch(
      prior: -768...768, temperature: -256...384, from: [LatticePoint(prior: -640, temperature: 320)],
      step: 32, tolerance: 1e-5)
    var evaluations = 0
    while true {
      let points = search.candidates()
      if points.isEmpty { break }
      evaluations += points.count
      for point in points { search.record(point, value(point)) }
    }
    #expect(search.best?.point == LatticePoint(prior: 100, temperature: -37))
    #expect(evaluations < 400)
  }

  @Test func latticeSearchStaysWithinItsBounds() {
    var search = LatticeSearch(
      prior: 0...0, temperature: -10...10, from: [LatticePoint(prior: 0, temperature: 0)], step: 8,
      tolerance: 1e-5)
    while true {
      let points = search.candidates()
      if points.isEmpty { break }
      for point in points {
        #expect(point.prior == 0 && abs(point.temperature) <= 10)
        search.record(point, -Double(point.temperature))
      }
    }
    #expect(search.best?.point.temperature == 10)
  }
}
