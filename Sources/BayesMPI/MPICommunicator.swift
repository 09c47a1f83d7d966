#if MPI
  public import BayesTensor
  import CMPI
  import Glibc
  import Synchronization

  /// The ranks of an MPI job, as `mpirun` started them.
  ///
  /// Needs the package trait `MPI`; without it this module is empty.  A program that `mpirun` did not
  /// start is one rank.  The first instance starts MPI and has it ended when the process ends, so the
  /// program itself must do neither; make it on the main thread, which is the one to end MPI.
  ///
  /// ```swift
  /// let communicator = try MPICommunicator()
  /// let context = ExecutionContext(backend: backend, key: RandomKey(seed: 0), communicator: communicator)
  /// let posterior = try await LastLayerLaplace().fit(training: ownRows, validation: ownOtherRows, in: context)
  /// ```
  ///
  /// - Note: Each rank reads its own rows; nothing here deals them out.  The command `bayesify` does not
  ///   use this type: under `mpirun` every rank would do all the work.
  /// - Determinism: sums are taken in rank order, so the same number of ranks gives the same bits.
  ///   `MPI_Allreduce` is not used: MPI leaves its order open, and Open MPI's changes along a buffer.
  /// - Cost: a thread waits in each call until all ranks have made it.  In `allReduce` a rank sends and
  ///   receives about two buffers, whatever the number of ranks, and needs 32 MiB beside its own at
  ///   most; in `gather` it receives one from each rank.
  /// - Precondition: ranks call with the same number of elements.
  /// - Errors: MPI's default handler stays, so communication that fails ends all ranks with Open MPI's
  ///   message: none could go on without the others.  A rank that exits with a code other than zero
  ///   ends them too.
  public struct MPICommunicator: Communicator {
    public let rank: Int
    public let size: Int
    /// The most elements in one message.  MPI counts elements in 32 bits, so longer buffers go in
    /// pieces; shorter pieces also bound what `allReduce` needs beside the buffer.
    private let longestMessage: Int

    /// All ranks of the job.
    ///
    /// - Throws: `NumericalError.Code.nativeFailure` when this MPI must be called from one thread only.
    public init() throws(NumericalError) { try self.init(longestMessage: 1 << 22) }

    /// Sends at most `longestMessage` elements at once, so that tests need no long buffers.
    package init(longestMessage: Int) throws(NumericalError) {
      precondition(
        (1...1 << 28).contains(longestMessage), "A message of \(longestMessage) elements cannot be sent.")
      guard Self.threadSupport >= Int32(MPI_THREAD_SERIALIZED) else {
        throw NumericalError(
          .nativeFailure,
          "This build of MPI may be called from one thread only, but tasks move between threads. Use one "
            + "that supports threads.")
      }
      var (rank, size): (Int32, Int32) = (0, 0)
      unsafe MPI_Comm_rank(bayesify_mpi_world(), &rank)
      unsafe MPI_Comm_size(bayesify_mpi_world(), &size)
      (self.rank, self.size) = (Int(rank), Int(size))
      self.longestMessage = longestMessage
    }

    public func allReduce(_ values: inout Tensor<Double>) {
      unsafe communicate(&values) { unsafe sum($0) }
    }

    public func gather(_ value: Tensor<Double>) -> [Tensor<Double>] {
      (0..<size).map { root in
        var copy = value
        broadcast(&copy, from: root)
        return copy
      }
    }

    public func broadcast(_ values: inout Tensor<Double>, from root: Int) {
      precondition((0..<size).contains(root), "There is no rank \(root) among \(size).")
      unsafe communicate(&values) { message in
        unsafe MPI_Bcast(
          message.baseAddress, Int32(message.count), bayesify_mpi_double(), Int32(root), bayesify_mpi_world())
      }
    }

    /// MPI's promise about threads, after MPI was started.
    private static let threadSupport: Int32 = {
      var support: Int32 = 0
      unsafe MPI_Init_thread(nil, nil, Int32(MPI_THREAD_SERIALIZED), &support)
      // Ending MPI waits for the other ranks, and they would wait for what a failed rank owes them.
      unsafe on_exit(
        { status, _ in
          if status == 0 {
            MPI_Finalize()
          } else {
            unsafe MPI_Abort(bayesify_mpi_world(), status)
          }
        }, nil)
      return support
    }()

    /// Held by the one thread that may be inside MPI.
    private static let turn = Mutex(())

    /// Hands `body` the elements in pieces that fit a message.
    private func communicate(
      _ values: inout Tensor<Double>, _ body: (UnsafeMutableBufferPointer<Double>) -> Void
    ) {
      guard size > 1 else { return }
      Self.turn.withLock { _ in
        requireSameCount(values.count)
        values.withMutableSpan { span in
          unsafe span.withUnsafeMutableBufferPointer { buffer in
            for start in stride(from: 0, to: buffer.count, by: longestMessage) {
              let end = min(start + longestMessage, buffer.count)
              unsafe body(UnsafeMutableBufferPointer(rebasing: buffer[start..<end]))
            }
          }
        }
      }
    }

    /// Traps where ranks disagree; MPI would take some of the elements for others, or wait for ever.
    private func requireSameCount(_ count: Int) {
      var counts = [Int64](repeating: 0, count: size)
      counts[rank] = Int64(count)
      unsafe MPI_Allgather(
        bayesify_mpi_in_place(), 0, bayesify_mpi_int64(), &counts, 1, bayesify_mpi_int64(), bayesify_mpi_world())
      precondition(
        counts.allSatisfy { $0 == counts[0] }, "Ranks hold different numbers of elements: \(counts).")
    }

    /// Each rank adds up one part of the message, in rank order, and hands the sums to the others.
    private func sum(_ message: UnsafeMutableBufferPointer<Double>) {
      let bounds = (0...size).map { $0 * message.count / size }
      let counts = (0..<size).map { Int32(bounds[$0 + 1] - bounds[$0]) }
      let starts = (0..<size).map { Int32(bounds[$0]) }
      let own = bounds[rank]..<bounds[rank + 1]
      // This rank's part as the others hold it, rank after rank.
      var parts = [Double](repeating: 0, count: own.count * size)
      unsafe MPI_Alltoallv(
        message.baseAddress, counts, starts, bayesify_mpi_double(), &parts,
        [Int32](repeating: counts[rank], count: size), (0..<size).map { Int32($0 * own.count) },
        bayesify_mpi_double(), bayesify_mpi_world())
      for (offset, position) in own.enumerated() {
        var sum = parts[offset]
        for other in 1..<size { sum += parts[other * own.count + offset] }
        unsafe message[position] = sum
      }
      unsafe MPI_Allgatherv(
        bayesify_mpi_in_place(), 0, bayesify_mpi_double(), message.baseAddress, counts, starts,
        bayesify_mpi_double(), bayesify_mpi_world())
    }
  }
#endif
