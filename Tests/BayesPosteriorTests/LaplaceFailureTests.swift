import BayesPosterior
import BayesPrediction
import BayesTensor
import Synchronization
import Testing
import _BayesTestSupport

struct LaplaceFailureTests {
  static let recipe = LastLayerLaplace(priorPrecision: .fixed(1), temperature: .fixed(1))

  /// The error of a fit to rows, or to an altered description of them.
  func failure(
    _ recipe: LastLayerLaplace = recipe, description: RecordsDescription? = nil,
    validation: InMemoryExitRecords? = nil, width: Int = 1, chunkRowCount: Int = 1024,
    altering alter: (inout ExitRecords) -> Void = { _ in }
  ) async -> String {
    let problem = ToyProblem(rowCount: 50, exitCount: 2)
    var records = problem.records().records
    alter(&records)
    let base = InMemoryExitRecords(records, description: description ?? problem.description)
    do {
      _ = try await recipe.fit(
        training: RechunkedRecords(base: base, chunkRowCount: chunkRowCount), validation: validation,
        in: .test(width: width))
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: [1, 4])
  func rowThatIsNotFiniteIsNamed(width: Int) async {
    // Two bad rows: the first of them is named at any width.
    let message = await failure(width: width, chunkRowCount: 8) { records in
      records.exits[1].features?[31, 2] = .nan
      records.exits[1].features?[45, 0] = .nan
    }
    #expect(
      message.contains("toy.records, exit 1 ('exit1'): Row 31, counted from 0, has a feature (number 2)"))
    let logit = await failure { $0.exits[0].logits[7, 1] = .infinity }
    #expect(logit.contains("Row 7, counted from 0, has a logit (number 1)"))
  }

  @Test func labelThatIsNoClassIsNamed() async {
    #expect(
      await failure { $0.labels?[4] = 3 }.contains("Row 4, counted from 0, has label 3; there are 3 classes"))
    #expect(await failure { $0.labels?[9] = -1 }.contains("Row 9, counted from 0, has label -1"))
  }

  @Test func rowsOfAnotherHeadAreRefused() async {
    let message = await failure { $0.exits[1].logits[13, 0] += 1 }
    #expect(message.contains("exit 1 ('exit1'): Row 13"))
    #expect(message.contains("are of different networks"))
  }

  @Test func missingPartsAreNamed() async {
    var description = ToyProblem(exitCount: 2).description
    description.exits[1].head = nil
    #expect(
      await failure(description: description).contains(
        "exit 1 ('exit1'): Last-layer Laplace needs the linear head"))
    #expect(await failure { $0.exits[0].features = nil }.contains("hold no features of this exit"))
    #expect(await failure { $0 = $0.rows([]) }.contains("There are no training rows"))
  }

  @Test func softmaxOverOneLogitIsRefusedWithAdvice() async {
    var description = ToyProblem(classCount: 2, exitCount: 2, likelihood: .binary).description
    description.exits[0].likelihood = .categorical
    let message = await failure(description: description)
    #expect(message.contains("always says 1") && message.contains("--likelihood binary"))
  }

  @Test(arguments: [Likelihood.multilabel, .gaussian])
  func targetsAreNeededAndNamed(likelihood: Likelihood) async {
    var description = ToyProblem(exitCount: 2).description
    for exit in 0..<2 { description.exits[exit].likelihood = likelihood }
    let recipe = LastLayerLaplace(priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    #expect(await failure(recipe, description: description).contains("The training rows have no targets"))
    let message = await failure(recipe, description: description) {
      var targets = Tensor<Double>(zeros: [50, 3])
      targets[7, 1] = likelihood == .gaussian ? .nan : 0.5
      $0.targets = targets
    }
    #expect(message.contains("Row 7, counted from 0, has the target"))
    let noise = await failure(recipe, description: description) {
      $0.targets = Tensor(zeros: [50, 3])
      $0.noise = [Double](repeating: 1, count: 49) + [0]
    }
    #expect(likelihood == .multilabel || noise.contains("Row 49, counted from 0, has the noise 0.0"))
  }

  @Test func largeHeadsAreRefusedFullCurvature() async {
    let problem = ToyProblem(rowCount: 4, featureCount: 600, classCount: 7)
    await #expect {
      try await LastLayerLaplace(structure: .full, priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
        training: problem.records(), validation: nil, in: .test())
    } throws: {
      "\($0)".contains("4207 parameters") && "\($0)".contains("--structure kronecker or low-rank")
    }
  }

  @Test func marginalLikelihoodNeedsLabels() async {
    let recipe = LastLayerLaplace(priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    #expect(await failure(recipe) { $0.labels = nil }.contains("the marginal likelihood needs them"))
  }

  @Test func validationNeedsLabelsRowsAndTheSameHeads() async {
    let recipe = LastLayerLaplace(sampleCount: 8)
    let good = ToyProblem(rowCount: 30, exitCount: 2, seed: 8).records()
    var records = good.records
    records.labels = nil
    let unlabelled = InMemoryExitRecords(records, description: good.description)
    #expect(await failure(recipe, validation: unlabelled).contains("The validation rows have no labels"))
    let empty = InMemoryExitRecords(good.records.rows([]), description: good.description)
    #expect(await failure(recipe, validation: empty).contains("There are no validation rows"))
    var description = good.description
    description.exits[1].head?.bias[0] += 1
    let other = InMemoryExitRecords(good.records, description: description)
    #expect(await failure(recipe, validation: other).contains("weights of the exit's head are not those of"))
  }

  @Test func predictionsForAnotherNetworkAreRefused() async throws {
    let records = ToyProblem(exitCount: 2).records()
    let posterior = try await Self.recipe.fit(training: records, validation: nil, in: .test())
    func message(_ alter: (inout RecordsDescription) -> Void) -> String {
      var description = records.description
      alter(&description)
      do {
        _ = try posterior.predictor(for: description, in: .test())
        return "no error"
      } catch {
        return "\(error)"
      }
    }
    let accepted = [message { _ in }, message { $0.exits[0].head = nil }]
    #expect(accepted == ["no error", "no error"])
    let refusals: [(message: String, words: String)] = [
      (message { $0.exits.removeLast() }, "There are 1 exit(s)"),
      (message { $0.exits[0].head?.weight[0] += 0.5 }, "weights of the exit's head"),
      (message { $0.exits[1].logitCount = 4 }, "4 categorical logit"),
      (message { $0.checkpointDigest = "123" }, "SHA-256 123"),
    ]
    for refusal in refusals { #expect(refusal.message.contains(refusal.words)) }
    var bad = records.records
    bad.exits[1].features?[3, 0] = .nan
    let predictor = try posterior.predictor(for: records.description, in: .test())
    #expect { try predictor.predict(bad) } throws: { "\($0)".contains("Row 3") }
  }

  @Test(arguments: [true, false])
  func cancellationStopsAFit(inTraining: Bool) async {
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
    let training = ToyProblem(rowCount: 40).records()
    let stalling = StallingRecords(base: training, reached: continuation)
    let task = Task {
      try await LastLayerLaplace(sampleCount: 8).fit(
        training: inTraining ? stalling : training, validation: inTraining ? training : stalling, in: .test())
    }
    for await _ in signals { break }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func progressCountsRows() async throws {
    let reports = Mutex<[StageProgress]>([])
    let context = ExecutionContext(key: RandomKey(seed: 5)) { progress in
      reports.withLock { $0.append(progress) }
    }
    let records = RechunkedRecords(base: ToyProblem(rowCount: 50).records(), chunkRowCount: 20)
    _ = try await Self.recipe.fit(training: records, validation: nil, in: context)
    #expect(reports.withLock { $0.map(\.completed) } == [20, 40, 50])
    #expect(reports.withLock { $0.allSatisfy { $0.stage == "Gathering curvature" && $0.total == 50 } })
  }
}

/// Rows of which the second half comes only when the task has been cancelled.
struct StallingRecords: ExitRecordSource {
  let base: InMemoryExitRecords
  let reached: AsyncStream<Void>.Continuation

  var description: RecordsDescription { base.description }
  var rowCount: Int { base.rowCount }
  var hasLabels: Bool { base.hasLabels }

  func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    let half = rowCount / 2
    try await body(base.records.rows(Array(0..<half)))
    reached.yield()
    while !Task.isCancelled { await Task.yield() }
    try await body(base.records.rows(Array(half..<rowCount)))
    Issue.record("A cancelled fit took further rows.")
  }
}
