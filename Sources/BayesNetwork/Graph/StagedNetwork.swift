public import BayesTensor

/// The part of a network that leads from one exit to the next.
public struct NetworkStage: Sendable, Equatable {
  /// The nodes whose outputs go in.
  public var inputs: [Int]
  /// The nodes whose outputs the exit gives: its features, where it has any, and its logits.
  public var answers: [Int]
  /// The nodes whose outputs later stages read; they are computed in this stage or were its inputs.
  public var carried: [Int]
}

extension Network {
  /// The network cut behind each exit, so that nothing is computed twice.
  public var stages: [NetworkStage] {
    let answers = exits.map { exit in (exit.features.map { [$0] } ?? []) + [exit.logits] }
    var stages: [NetworkStage] = []
    var known: Set<Int> = [0]
    for index in exits.indices {
      let inputs = stages.last?.carried ?? [0]
      let computed = isNeeded(for: answers[index], given: inputs)
      known.formUnion(nodes.indices.filter { computed[$0] })
      // What later exits need that is known already, where something unknown reads it.
      let later = Array(answers[(index + 1)...].joined())
      let needed = isNeeded(for: later, given: Array(known))
      var carried = Set(later).intersection(known)
      for node in nodes.indices where needed[node] && !known.contains(node) {
        carried.formUnion(nodes[node].inputs.filter(known.contains))
      }
      stages.append(NetworkStage(inputs: inputs, answers: answers[index], carried: carried.sorted()))
    }
    return stages
  }
}

/// A network prepared in stages, between which rows may leave.
public struct StagedNetwork: Sendable {
  private let stages: [NetworkStage]
  private let prepared: [any PreparedNetwork]
  private let hasFeatures: [Bool]

  /// Compiles each stage of a network.
  ///
  /// - Throws: as `NetworkBackend.prepare`.
  public init(_ frozen: FrozenNetwork, preprocessing: Preprocessing, on backend: any NetworkBackend) throws {
    stages = frozen.network.stages
    hasFeatures = frozen.network.exits.map { $0.features != nil }
    prepared = try stages.map { stage in
      try backend.prepare(
        frozen, preprocessing: preprocessing, inputs: stage.inputs, outputs: stage.answers + stage.carried)
    }
  }

  /// The number of exits.
  public var exitCount: Int { stages.count }

  /// Starts a run of some rows.
  public func run(_ rows: RowBatch, width: Int) -> StagedRun { StagedRun(self, rows, width: width) }

  /// What one exit says of the rows that reach it.
  public struct Answer: Sendable, Equatable {
    /// The exit's index, from zero.
    public var exit: Int
    /// `[rows, …]`, where the exit has features.
    public var features: Tensor<Float>?
    /// `[rows, classes]`
    public var logits: Tensor<Float>
  }

  fileprivate func advance(
    _ stage: Int, _ inputs: [RowBatch], width: Int
  ) async throws -> (answer: Answer, carried: [RowBatch]) {
    let outputs = try await prepared[stage](inputs, width: width)
    let answerCount = stages[stage].answers.count
    let answer = Answer(
      exit: stage, features: hasFeatures[stage] ? outputs[0] : nil, logits: outputs[answerCount - 1])
    return (answer, outputs[answerCount...].map { RowBatch($0) })
  }
}

/// Some rows on their way through a staged network.
///
/// Each call of `next` computes one stage for the rows that are left; rows that are not kept cost nothing more.
///
/// - Determinism: a row's answers are those of the whole network, whatever rows leave.
public struct StagedRun: ~Copyable {
  private let network: StagedNetwork
  private let width: Int
  private var stage = 0
  private var carried: [RowBatch]
  /// The indices, among the rows that started, of those that are left.
  public private(set) var rows: [Int]

  fileprivate init(_ network: StagedNetwork, _ rows: RowBatch, width: Int) {
    self.network = network
    self.width = width
    carried = [rows]
    self.rows = Array(0..<rows.count)
  }

  /// The answer of the next exit for the rows that are left; `nil` after the last exit.
  ///
  /// - Throws: as `PreparedNetwork`.
  public mutating func next() async throws -> StagedNetwork.Answer? {
    guard stage < network.exitCount else { return nil }
    let (answer, carried) = try await network.advance(stage, carried, width: width)
    self.carried = carried
    stage += 1
    return answer
  }

  /// Keeps some of the rows that are left; the others never return.
  ///
  /// - Parameter positions: ascending positions in `rows`.
  public mutating func keep(_ positions: [Int]) {
    precondition(
      zip(positions, positions.dropFirst()).allSatisfy(<) && positions.allSatisfy(rows.indices.contains),
      "Rows to keep are ascending positions below \(rows.count); got \(positions.prefix(8)).")
    guard positions.count < rows.count else { return }
    rows = positions.map { rows[$0] }
    carried = carried.map { $0.rows(positions) }
  }
}
