import ArgumentParser
import Bayesify
import Foundation

/// What every verb takes.
struct ExecutionOptions: ParsableArguments {
  @Option(help: "The seed of everything random.")
  var seed: UInt64 = 0

  @Option(help: "Threads; results do not depend on it. (default: one a core)")
  var threads: Int?

  @Option(help: "Rows a thread takes at once. (default: what fits the cache)")
  var batch: Int?

  @Option(help: "The arithmetic of networks: float32, or bfloat16 on processors with AMX.")
  var precision = InferencePrecision.float32

  @Flag(name: .shortAndLong, help: "No progress, no estimates; warnings and errors stay.")
  var quiet = false

  @Flag(help: "Replace outputs that exist.")
  var force = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) {
      throw ValidationError("--threads must be between 1 and 1024.")
    }
    do {
      try precision.requireSupport()
    } catch {
      throw ValidationError(error.message)
    }
    // Rows are read and written in chunks of this size, so a larger slice would never be full.
    if let batch, !(1...ExitRecords.chunkRowCount).contains(batch) {
      throw ValidationError("--batch must be between 1 and \(ExitRecords.chunkRowCount).")
    }
  }

  var width: Int { threads ?? ProcessInfo.processInfo.activeProcessorCount }

  func backend() throws -> NativeBackend { try NativeBackend(sliceRowCount: batch, precision: precision) }

  /// The context in which fits and predictions run.
  func context(_ backend: NativeBackend, _ progress: ProgressPrinter) -> ExecutionContext {
    ExecutionContext(
      backend: backend, key: RandomKey(seed: seed), width: width, report: progress.report)
  }

  func progress() -> ProgressPrinter { ProgressPrinter(isQuiet: quiet) }

  /// Refuses an output that exists, before any work is done, and one that is an input or lies in a folder that is,
  /// even by force.
  ///
  /// - Parameter inputs: files, or data as `FILE:INPUTS,LABELS`.
  func requireWritable(_ outputs: String?..., apartFrom inputs: [String?]) throws {
    func location(_ file: String) -> URL { URL(filePath: file).standardizedFileURL.resolvingSymlinksInPath() }
    for case let output? in outputs {
      for case let input? in inputs {
        let (read, written) = (location(try DatasetOptions.parse(input).file), location(output))
        guard read != written else {
          throw FileError(.cannotWrite, file: output, "This file is also read; choose another name for the output.")
        }
        guard !written.pathComponents.starts(with: read.pathComponents) else {
          throw FileError(
            .cannotWrite, file: output, "It would lie in \(input), which is also read; choose another folder.")
        }
      }
    }
    for case let output? in outputs { try AtomicFile.requireWritable(output, replacing: force) }
  }
}
