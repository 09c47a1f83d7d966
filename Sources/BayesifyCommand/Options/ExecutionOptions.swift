import ArgumentParser
import Bayesify
import Foundation

/// What every verb takes.
struct ExecutionOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: "The seed of everything random. (default: 0)", transform: wholeNumber(0 ... .max))
  var seed: UInt64 = 0

  @Option(
    parsing: .unconditional, help: "Threads; results do not depend on it. (default: one a core)",
    transform: wholeNumber(1...1024))
  var threads: Int?

  // Rows are read and written in chunks of this size, so a larger slice would never be full.
  @Option(
    parsing: .unconditional, help: "Rows a thread takes at once. (default: what fits the cache)",
    transform: wholeNumber(1...ExitRecords.chunkRowCount))
  var batch: Int?

  @Option(parsing: .unconditional, help: "The arithmetic of networks: float32, or bfloat16 on processors with AMX.")
  var precision = InferencePrecision.float32

  @Flag(name: .shortAndLong, help: "No progress, no estimates; warnings and errors stay.")
  var quiet = false

  @Flag(help: "Replace outputs that exist.")
  var force = false

  func validate() throws {
    do {
      try precision.requireSupport()
    } catch {
      throw ValidationError(error.message)
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

  /// Refuses outputs that must not be written, before any work is done.
  func requireWritable(_ outputs: String?..., apartFrom inputs: [String?]) throws {
    try requireOutputs(outputs, apartFrom: inputs, replacing: force)
  }
}

/// Refuses an output that exists, before any work is done, and one that is an input or lies in a folder that is, even by
/// force.
///
/// - Parameter inputs: files, or data as `FILE:INPUTS,LABELS`.
func requireOutputs(_ outputs: [String?], apartFrom inputs: [String?], replacing: Bool) throws {
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
  for case let output? in outputs { try AtomicFile.requireWritable(output, replacing: replacing) }
}
