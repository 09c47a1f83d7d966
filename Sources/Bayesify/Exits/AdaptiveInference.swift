public import BayesEvaluation
public import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// What rows got at the exits they took.
public struct RoutedRows: Sendable, Equatable {
  /// The exit that each row took.
  public internal(set) var exits: [Int]
  /// `[rows, classes]`
  public internal(set) var probabilities: Tensor<Double>
  /// `[rows]`, nats.
  public internal(set) var total: Tensor<Double>
  /// `[rows]`, nats.
  public internal(set) var aleatoric: Tensor<Double>
  /// `[rows]`, nats.
  public internal(set) var epistemic: Tensor<Double>

  init(rowCount: Int, classCount: Int) {
    exits = Array(repeating: 0, count: rowCount)
    probabilities = Tensor(zeros: [rowCount, classCount])
    total = Tensor(zeros: [rowCount])
    aleatoric = Tensor(zeros: [rowCount])
    epistemic = Tensor(zeros: [rowCount])
  }

  /// Notes what rows got that leave at an exit.
  ///
  /// - Parameters:
  ///   - positions: of the rows in `split`.
  ///   - rows: their indices here.
  mutating func note(_ split: UncertaintySplit, _ positions: [Int], rows: [Int], exit: Int) {
    let classCount = split.probabilities.shape[1]
    for (position, row) in zip(positions, rows) {
      exits[row] = exit
      for column in 0..<classCount { probabilities[row, column] = split.probabilities[position, column] }
      total[row] = split.total[position]
      aleatoric[row] = split.aleatoric[position]
      epistemic[row] = split.epistemic[position]
    }
  }
}

/// A network of several exits that computes, for each row, no further than a policy asks.
///
/// Stages run one after the other; rows that leave are taken out, the others are moved together and go on, and answers
/// come in the order of the rows.
///
/// ```swift
/// let inference = try AdaptiveInference(frozen, predictor, policy, preprocessing: preprocessing, in: context)
/// let routed = try await inference(rows)
/// ```
///
/// - Determinism: a row's answer and exit are those of the whole network's predictions, to the bit where rows come 64 or
///   more at once, and to rounding where fewer do.
/// - Cost: the stages up to the exits taken, and at each the posterior and the score.
public struct AdaptiveInference: Sendable {
  private let network: StagedNetwork
  private let predictor: ExitwisePredictor
  private let policy: ExitPolicy
  private let width: Int

  /// Compiles the stages of a network.
  ///
  /// - Precondition: predictor and policy are of this network's exits.
  /// - Throws: as `NetworkBackend.prepare`.
  public init(
    _ frozen: FrozenNetwork, _ predictor: ExitwisePredictor, _ policy: ExitPolicy, preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int
  ) throws {
    precondition(
      frozen.network.exits.count == policy.exitCount && predictor.exitCount == policy.exitCount,
      "A policy is of the network's exits.")
    network = try StagedNetwork(frozen, preprocessing: preprocessing, on: backend)
    self.predictor = predictor
    self.policy = policy
    self.width = width
  }

  /// Below this many rows at once, blocks of the posterior's products are not filled up.
  static let filledRowCount = 64

  /// The answers for some rows.
  ///
  /// - Parameter firstRow: the index of the first in the set they come from.
  /// - Throws: as `PreparedNetwork` and `ExitwisePredictor.Run.next`.
  public func callAsFunction(_ rows: RowBatch, firstRow: Int = 0) async throws -> RoutedRows {
    var run = network.run(rows, width: width)
    var routing = Routing(predictor, policy, rowCount: rows.count, firstRow: firstRow)
    while let answer = try await run.next() {
      let exit = ExitRecords.Exit(features: answer.features, logits: answer.logits)
      let staying = try await routing.take(exit, run.rows)
      if staying.isEmpty { break }
      run.keep(staying)
    }
    return routing.routed
  }

  /// The answers for rows whose records are there, so that no network runs.
  ///
  /// - Throws: as `ExitwisePredictor.Run.next`.
  public static func route(
    _ records: ExitRecords, _ predictor: ExitwisePredictor, _ policy: ExitPolicy
  ) async throws -> RoutedRows {
    var rows = Array(0..<records.rowCount)
    var routing = Routing(predictor, policy, rowCount: records.rowCount, firstRow: records.firstRow)
    for exit in records.exits {
      let own = ExitRecords.Exit(features: exit.features?.rows(rows), logits: exit.logits.rows(rows))
      let staying = try await routing.take(own, rows)
      if staying.isEmpty { break }
      rows = staying.map { rows[$0] }
    }
    return routing.routed
  }
}

/// The decisions of a policy for some rows, exit by exit.
private struct Routing {
  private let policy: ExitPolicy
  private let firstRow: Int
  private var run: ExitwisePredictor.Run
  private var states: ExitRowStates
  private var exit = 0
  private(set) var routed: RoutedRows

  init(_ predictor: ExitwisePredictor, _ policy: ExitPolicy, rowCount: Int, firstRow: Int) {
    self.policy = policy
    self.firstRow = firstRow
    run = predictor.run(fillsBlocks: rowCount >= AdaptiveInference.filledRowCount)
    states = ExitRowStates(rowCount: rowCount)
    routed = RoutedRows(rowCount: rowCount, classCount: predictor.description.exits[0].classCount)
  }

  /// Takes what an exit gave for the rows that are left; returns the positions of those that go on.
  mutating func take(_ records: ExitRecords.Exit, _ rows: [Int]) async throws -> [Int] {
    let prediction = try await run.next(records, rows: rows.map { firstRow + $0 })
    let split = prediction.uncertaintySplit()
    let readiness = try policy.score.readiness(of: prediction, split, &states)
    let (leaving, staying) = policy.leaving(readiness, exit: exit)
    routed.note(split, leaving, rows: leaving.map { rows[$0] }, exit: exit)
    run.keep(staying)
    states.keep(staying)
    exit += 1
    return staying
  }
}
