import Bayesify

/// Rows of features behind one linear head, and what was fitted to them.
struct LaplaceBench {
  var training: ArchivedExitRecords
  var posterior: LastLayerLaplacePosterior
  var context: ExecutionContext
  var test: ExitRecords?
  var predictor: LastLayerLaplacePredictor?
}

/// What a fit to records has found.
struct LaplaceFacts: Encodable {
  var seconds: [Double]
  var logMarginalLikelihood: Double?
}

extension Session {
  /// Times a fit with prior precision and temperature one, the reading of the file included.
  mutating func fitLaplace(_ arguments: inout Arguments) async throws -> LaplaceFacts {
    let file = try arguments.text("file")
    let name = try arguments.text("structure")
    guard let structure = LaplaceStructure(rawValue: name) else { throw CommandError("There is no structure '\(name)'.") }
    let context = ExecutionContext(
      backend: try NativeBackend(), key: RandomKey(seed: 1), width: try arguments.count("width"))
    let recipe = LastLayerLaplace(structure: structure, priorPrecision: .fixed(1), temperature: .fixed(1))
    var timings = Timings()
    try await timings.measure {
      let training = try ArchivedExitRecords(HDF5Archive(file))
      laplace = LaplaceBench(
        training: training, posterior: try await recipe.fit(training: training, validation: nil, in: context),
        context: context)
    }
    return LaplaceFacts(
      seconds: timings.seconds, logMarginalLikelihood: laplace?.posterior.exits[0].logMarginalLikelihood)
  }

  /// Gets predictions of the first rows ready.
  mutating func prepareLaplacePredictions(_ arguments: inout Arguments) async throws -> LaplaceFacts {
    guard var bench = laplace else { throw CommandError("Nothing was fitted.") }
    let name = try arguments.text("predictive")
    guard let predictive = LaplacePredictive(rawValue: name) else { throw CommandError("There is no predictive '\(name)'.") }
    let rowCount = try arguments.count("rows")
    bench.posterior.predictive = predictive
    bench.posterior.sampleCount = try arguments.count("draws")
    var rows: ExitRecords?
    try await bench.training.forEachChunk { chunk in
      if rows == nil { rows = chunk.rows(0..<min(rowCount, chunk.rowCount)) }
    }
    bench.test = rows
    bench.predictor = try bench.posterior.predictor(for: bench.training.description, in: bench.context)
    laplace = bench
    return LaplaceFacts(seconds: [])
  }

  /// Times predictions of the rows that are ready, down to the mean probabilities.
  func timeLaplacePredictions(_ arguments: inout Arguments) async throws -> Timings {
    guard let predictor = laplace?.predictor, let rows = laplace?.test else { throw CommandError("Nothing is ready.") }
    var timings = Timings()
    for _ in 0..<(try arguments.count("repeats")) {
      try await timings.measure {
        try await predictor.predictions(for: rows) { _, predictions in
          for prediction in predictions { _ = prediction.probabilities() }
        }
      }
    }
    return timings
  }

  /// Times plain and Bayesian predictions of the first rows in turns, from stored rows to mean probabilities.
  ///
  /// The posterior is fitted to the rows themselves, as what it holds does not matter for its speed.
  func timeOverhead(_ arguments: inout Arguments) async throws -> Overhead {
    let name = try arguments.text("predictive")
    guard let predictive = LaplacePredictive(rawValue: name) else { throw CommandError("There is no predictive '\(name)'.") }
    let draws = try arguments.count("draws")
    let rows = try batch(try arguments.count("rows"))
    let width = try arguments.count("width")
    let repeats = try arguments.count("repeats")
    let plan = try loaded()
    let (frozen, backend) = (plan.frozen, try NativeBackend())
    let outputs = frozen.network.exits.flatMap { exit in (exit.features.map { [$0] } ?? []) + [exit.logits] }
    let prepared = try backend.prepare(frozen, preprocessing: .identity, outputs: outputs)
    func records() async throws -> ExitRecords {
      var values = try await prepared(rows, width: width)[...]
      return ExitRecords(
        firstRow: 0,
        exits: frozen.network.exits.map { exit in
          let features = exit.features == nil ? nil : values.removeFirst()
          return ExitRecords.Exit(features: features, logits: values.removeFirst())
        }, labels: nil)
    }
    let description = try frozen.recordsDescription(file: "benchmark")
    let context = ExecutionContext(backend: backend, key: RandomKey(seed: 1), width: width)
    let posterior = try await LastLayerLaplace(
      predictive: predictive, sampleCount: draws, priorPrecision: .fixed(1), temperature: .fixed(1)
    ).fit(
      training: InMemoryExitRecords(try await records(), description: description), validation: nil, in: context)
    let predictor = try posterior.predictor(for: description, in: context)
    let plain = {
      for (logits, exit) in zip(try await plan.prepared(rows, width: width), description.exits.indices) {
        _ = Prediction(
          logits: logits.reshaped(to: logits.shape.batched(1)), likelihood: description.exits[exit].likelihood,
          exit: exit
        ).probabilities()
      }
    }
    let bayesian = {
      try await predictor.predictions(for: try await records()) { _, predictions in
        for prediction in predictions { _ = prediction.probabilities() }
      }
    }
    try await plain()
    try await bayesian()
    var (plainTimings, bayesianTimings) = (Timings(), Timings())
    for repetition in 0..<repeats {
      // Neither always goes first.
      if repetition % 2 == 0 { try await plainTimings.measure(plain) }
      try await bayesianTimings.measure(bayesian)
      if repetition % 2 == 1 { try await plainTimings.measure(plain) }
    }
    return Overhead(plain: plainTimings.seconds, bayesian: bayesianTimings.seconds)
  }
}

/// Seconds of each repetition.
struct Overhead: Encodable {
  var plain: [Double]
  var bayesian: [Double]
}
