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
        for block in predictor.blocks(of: rows) {
          for prediction in try predictor.predict(block) { _ = prediction.probabilities }
        }
      }
    }
    return timings
  }
}
