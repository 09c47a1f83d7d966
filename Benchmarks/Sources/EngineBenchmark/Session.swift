import Bayesify

/// What lasts from one command to the next.
struct Session {
  /// The network that was loaded last.
  var forward: ForwardPlan?
  /// The rows that were read last.
  var inputs: Tensor<Float>?
  /// The network that was prepared in stages last.
  var staged: StagedBench?
  /// What was prepared for training last, and the rows that it starts from.
  var training: TrainingBench?
  var trainingRows: [RowBatch] = []
  /// What whole epochs train.
  var epochs: EpochBench?
  /// What was fitted last.
  var laplace: LaplaceBench?
  /// What is done to stored rows before `adaptive` and `epochs` see them.
  var preprocessing = Preprocessing.identity
  /// The policy that was tuned last, and its network.
  var adaptive: AdaptiveBench?

  /// Carries out one line.
  mutating func answer(_ words: [String]) async throws -> any Encodable {
    guard let command = Command(rawValue: words[0]) else {
      let names = Command.allCases.map(\.rawValue).joined(separator: ", ")
      throw CommandError("'\(words[0])' is no command; there are \(names).")
    }
    var arguments = Arguments(of: command, words.dropFirst())
    return switch command {
    case .load: try load(&arguments)
    case .inputs: try readInputs(&arguments)
    case .forward: try await timeForward(&arguments)
    case .outputs: try await writeOutputs(&arguments)
    case .repeat: try await repeatForward(&arguments)
    case .stages: try await prepareStages(&arguments)
    case .stage: try await timeStage(&arguments)
    case .leave: try await timeLeaving(&arguments)
    case .train: try await prepareTraining(&arguments)
    case .gradients: try await writeGradients(&arguments)
    case .step: try await timeSteps(&arguments)
    case .epochs: try prepareEpochs(&arguments)
    case .epoch: try await timeEpoch()
    case .chain: try await timeChain(&arguments)
    case .fit: try await fitLaplace(&arguments)
    case .ready: try await prepareLaplacePredictions(&arguments)
    case .predict: try await timeLaplacePredictions(&arguments)
    case .overhead: try await timeOverhead(&arguments)
    case .ensemble: try await timeEnsemble(&arguments)
    case .product: try await timeProduct(&arguments)
    case .preprocessing: try readPreprocessing(&arguments)
    case .policy: try await tunePolicy(&arguments)
    case .batches: try readBatches(&arguments)
    case .rounds: try await timeRounds(&arguments)
    case .single: try await timeSingleRows(&arguments)
    }
  }
}

/// Wall-clock seconds of each repetition.
struct Timings: Encodable {
  private(set) var seconds: [Double] = []

  /// Times `body` once more.
  mutating func measure(_ body: () async throws -> Void) async rethrows {
    add(try await ContinuousClock().measure(body))
  }

  /// Notes a repetition that was measured elsewhere.
  mutating func add(_ elapsed: Duration) { seconds.append(elapsed / .seconds(1)) }
}
