#if MPI
  import BayesMPI
  import BayesPosterior
  import BayesPrediction
  import BayesTensor
  import Foundation
  import _BayesTestSupport

  /// What each rank runs under `mpirun`: `BayesMPITests RANKS [leave | disagree]`.
  ///
  /// Without a second argument all must end well; with one all must end badly, and soon.
  @main enum RankChecks {
    static func main() async throws {
      let communicator = try MPICommunicator()
      let (rank, size) = (communicator.rank, communicator.size)
      var faults: [String] = []
      let arguments = CommandLine.arguments.dropFirst()
      if arguments.first != String(size) {
        faults.append("There are \(size) ranks, not \(arguments.first ?? "given").")
      }
      var values = Tensor<Double>(zeros: [3])
      switch arguments.dropFirst().first {
      case "leave":
        // The other ranks wait for a sum that this one will never give.
        if rank == size - 1 { exit(70) }
        communicator.allReduce(&values)
      case "disagree":
        if rank == size - 1 { values = Tensor(zeros: [4]) }
        communicator.allReduce(&values)
      default:
        faults += communicatorFaults(communicator)
        // Pieces of a message: some shorter than others, some without elements.
        for longestMessage in [1, 2, 5, 64] {
          faults += communicatorFaults(try MPICommunicator(longestMessage: longestMessage)).map {
            "Messages of \(longestMessage): \($0)"
          }
        }
        faults += try await fitFaults(communicator)
      }
      for fault in faults { FileHandle.standardError.write(Data((fault + "\n").utf8)) }
      if !faults.isEmpty { exit(1) }
    }

    /// What is wrong with a posterior fitted by all ranks, each with its own rows.
    private static func fitFaults(_ communicator: MPICommunicator) async throws -> [String] {
      let (rank, size) = (communicator.rank, communicator.size)
      // Sums are taken chunk by chunk.  With one chunk a rank, one process takes the same sums.
      let count = ExitRecords.chunkRowCount
      let laplace = LastLayerLaplace(sampleCount: 4)
      let key = RandomKey(seed: 3)
      let shared = try await laplace.fit(
        training: rows(rank * count..<(rank + 1) * count), validation: rows(rank * 20..<(rank + 1) * 20),
        in: ExecutionContext(key: key, communicator: communicator))
      let alone = try await laplace.fit(
        training: rows(0..<size * count), validation: rows(0..<size * 20), in: ExecutionContext(key: key))

      var faults: [String] = []
      if shared.exits[0].curvature != alone.exits[0].curvature {
        faults.append("Rank \(rank) of \(size) fitted another curvature than one process with all rows.")
      }
      let chosen = Tensor(shape: [2], [shared.exits[0].priorPrecision, shared.exits[0].temperature])
      if communicator.gather(chosen).contains(where: { $0 != chosen }) {
        faults.append("Rank \(rank) of \(size) chose another prior precision or temperature: \(chosen.elements).")
      }
      return faults
    }

    /// Rows of a network with one exit, three features and two classes; a fourth number blurs the labels.
    private static func rows(_ indices: Range<Int>) -> InMemoryExitRecords {
      let numbers = indices.map { RandomKey(seed: 5).child($0).normals([4], as: Float.self) }
      let features = Tensor(shape: [indices.count, 3], numbers.flatMap { $0.elements[..<3] })
      let weight = RandomKey(seed: 4).normals([3, 2], as: Float.self)
      let logits = ReferenceBackend().product(features, weight)
      let exit = ExitDescription(
        name: "exit", likelihood: .categorical, logitCount: 2, featureCount: 3, multiplyAdds: 6,
        head: ExitHead(weight: weight, bias: Tensor(zeros: [2]), hasBias: true))
      return InMemoryExitRecords(
        ExitRecords(
          firstRow: indices.lowerBound, exits: [ExitRecords.Exit(features: features, logits: logits)],
          labels: numbers.enumerated().map { logits[$0, 1] + 3 * $1[3] > logits[$0, 0] ? 1 : 0 }),
        description: RecordsDescription(file: "ranks.records", exits: [exit]))
    }
  }
#else
  /// `swift build` compiles this program without the trait too.
  @main enum RankChecks {
    static func main() { print("Built without MPI; run: make mpi") }
  }
#endif
