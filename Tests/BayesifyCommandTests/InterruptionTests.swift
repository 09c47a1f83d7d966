import Foundation
import Testing
import _BayesTestSupport

/// Ctrl-C in the middle of long work.
@Suite struct InterruptionTests {
  /// Rows for a minute of work, in debug.
  private let rowCount = 500_000

  @Test(arguments: [
    ["extract", "-o", "out.h5"],
    ["predict", "-o", "out.h5"],
    ["predict", "-o", "out.npz"],
    ["evaluate", "--json", "out.json", "--html", "out.html"],
    ["fit", "laplace", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5"],
  ])
  func interruptedPassesLeaveNothing(_ arguments: [String]) async throws {
    let folder = try TestFolder()
    try folder.write([UInt8](repeating: 7, count: rowCount * 64), shape: [rowCount, 8, 8, 1], to: "many.npy")
    try folder.write([UInt8](repeating: 1, count: rowCount), shape: [rowCount], to: "labels.npy")
    let running = try RunningCommand(
      arguments + [Digits.checkpoint, "--data", "many.npy", "--labels", "labels.npy"], in: folder, isSlow: true)
    // The estimate is the last thing said before the pass.
    try await signal(SIGINT, to: running) { try running.errors.contains("estimate") }
    try await expectInterruption(running, in: folder, leaving: ["many.npy", "labels.npy"])
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
  func interruptedWritingRemovesWhatWasWritten(_ number: Int32) async throws {
    let folder = try TestFolder()
    try folder.write([UInt8](repeating: 7, count: rowCount * 64), shape: [rowCount, 8, 8, 1], to: "many.npy")
    let running = try folder.start("extract", Digits.checkpoint, "--data", "many.npy", "-o", "records.h5")
    try await signal(number, to: running) { try folder.names.contains { $0.hasSuffix(".part") } }
    try await expectInterruption(running, in: folder, leaving: ["many.npy"])
  }

  @Test func interruptedTuningLeavesNothing() async throws {
    let folder = try TestFolder()
    let running = try folder.start(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation,
      "-o", "posterior.h5")
    // Tuning begins when the records of the validation rows lie among the temporary files.
    try await signal(SIGINT, to: running) {
      try folder.names.contains { $0.hasPrefix("temporary/bayesify-") && $0.hasSuffix(".h5") }
    }
    try await expectInterruption(running, in: folder, leaving: [])
  }

  @Test func interruptedShiftLeavesNothing() async throws {
    let folder = try TestFolder()
    let rowCount = 60_000
    try folder.write([UInt8](repeating: 7, count: rowCount * 64), shape: [rowCount, 8, 8, 1], to: "many.npy")
    try folder.write([UInt8](repeating: 1, count: rowCount), shape: [rowCount], to: "labels.npy")
    let running = try folder.start(
      "evaluate", Digits.checkpoint, "--data", "many.npy", "--labels", "labels.npy", "--shift", "noise", "--json",
      "out.json", "--html", "out.html")
    try await signal(SIGINT, to: running) { try running.errors.contains("(shift 1 of 5)") }
    try await expectInterruption(running, in: folder, leaving: ["many.npy", "labels.npy"])
  }

  private struct EndedTooEarly: Error {
    var errors: String
  }

  /// Sends a signal as soon as something is so, which must come about before the command ends.
  ///
  /// The watch has a thread of its own, since a task would wait for other tests' work while the command ends.
  private func signal(
    _ number: Int32, to running: RunningCommand, when condition: @escaping @Sendable () throws -> Bool
  ) async throws {
    let outcome: Result<Void, any Error> = await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(
          returning: Result {
            while try !condition() {
              guard running.isRunning else { throw EndedTooEarly(errors: try running.errors) }
              Thread.sleep(forTimeInterval: 0.01)
            }
            running.signal(number)
          })
      }
    }
    try outcome.get()
  }

  private func expectInterruption(
    _ running: RunningCommand, in folder: TestFolder, leaving names: Set<String>,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws {
    let run = try await running.finish(within: .seconds(120))
    #expect(run.exitCode == 130 && !run.wasEndedBySignal, "\(run.testDescription)", sourceLocation: sourceLocation)
    #expect(
      run.errorLines.last == "bayesify: Interrupted; nothing was written.", "\(run.testDescription)",
      sourceLocation: sourceLocation)
    #expect(run.output.isEmpty, sourceLocation: sourceLocation)
    #expect(try folder.names == names, sourceLocation: sourceLocation)
  }
}
