import Foundation
import Testing
import _BayesTestSupport

/// One finished run of the built `bayesify`.
struct CommandRun: Sendable {
  let arguments: [String]
  /// All of standard output.
  let output: String
  /// All of standard error.
  let errors: String
  /// The exit code; 128 and the number of the signal where a signal ended the process, as in a shell.
  let exitCode: Int32
  let wasEndedBySignal: Bool

  /// The lines of standard error.
  var errorLines: [Substring] { errors.split(separator: "\n") }
}

extension CommandRun: CustomTestStringConvertible {
  var testDescription: String {
    "bayesify \(arguments.joined(separator: " ")) ended with \(exitCode): \(errors.prefix(2000))"
  }
}

/// A run that is still going on.
///
/// Output goes to files, so no pipe can fill up, and progress can be watched.
final class RunningCommand: Sendable {
  private let process: Process
  private let arguments: [String]
  private let outputFile: URL
  private let errorsFile: URL
  private let ended: AsyncStream<Void>

  /// - Parameter isSlow: whether it is the command without optimisation, which can be watched at work.
  init(
    _ arguments: [String], in folder: TestFolder, redirected: String? = nil, environment: [String: String] = [:],
    isSlow: Bool = false
  ) throws {
    let number = UUID().uuidString
    outputFile = folder.streams.appending(path: number + ".out")
    errorsFile = folder.streams.appending(path: number + ".err")
    self.arguments = arguments
    for file in [outputFile, errorsFile] { try Data().write(to: file) }
    let process = Process()
    if let redirected {
      process.executableURL = URL(filePath: "/bin/sh")
      let program = try Self.executable(isSlow: isSlow).path(percentEncoded: false)
      process.arguments = ["-c", "exec \"$0\" \"$@\" \(redirected)", program] + arguments
    } else {
      process.executableURL = try Self.executable(isSlow: isSlow)
      process.arguments = arguments
    }
    process.currentDirectoryURL = folder.files
    process.environment = ProcessInfo.processInfo.environment
      .merging(["TMPDIR": folder.temporary.path(percentEncoded: false)]) { $1 }
      .merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: outputFile)
    process.standardError = try FileHandle(forWritingTo: errorsFile)
    let (ended, continuation) = AsyncStream.makeStream(of: Void.self)
    process.terminationHandler = { _ in continuation.finish() }
    self.process = process
    self.ended = ended
    try process.run()
  }

  /// What stands on standard error so far.
  var errors: String {
    get throws { String(decoding: try Data(contentsOf: errorsFile), as: UTF8.self) }
  }

  var isRunning: Bool { process.isRunning }

  func signal(_ number: Int32) { kill(process.processIdentifier, number) }

  /// Waits for the end, and brings it about where it does not come by itself.
  func finish(within limit: Duration = .seconds(300)) async throws -> CommandRun {
    let watch = Task {
      try await Task.sleep(for: limit)
      guard process.isRunning else { return }
      Issue.record("bayesify \(arguments.joined(separator: " ")) ran for more than \(limit).")
      signal(SIGKILL)
    }
    for await _ in ended {}
    watch.cancel()
    process.waitUntilExit()
    let wasEndedBySignal = process.terminationReason == .uncaughtSignal
    return CommandRun(
      arguments: arguments, output: String(decoding: try Data(contentsOf: outputFile), as: UTF8.self),
      errors: try errors, exitCode: process.terminationStatus + (wasEndedBySignal ? 128 : 0),
      wasEndedBySignal: wasEndedBySignal)
  }

  /// The command that `BAYESIFY_COMMAND` names, or the one that was built with these tests: it lies beside the test
  /// bundle.
  private static func executable(isSlow: Bool) throws -> URL {
    if !isSlow, let named = ProcessInfo.processInfo.environment["BAYESIFY_COMMAND"] {
      try #require(FileManager.default.isExecutableFile(atPath: named), "BAYESIFY_COMMAND: no program \(named)")
      return URL(filePath: named)
    }
    let bundles = Bundle.allBundles.map(\.bundleURL).filter { $0.pathExtension == "xctest" }
    let programs = [Bundle.main.executableURL, CommandLine.arguments.first.map { URL(filePath: $0) }]
    let candidates = (bundles + programs.compactMap { $0 }).map {
      $0.deletingLastPathComponent().appending(path: "bayesify")
    }
    return try #require(
      candidates.first { FileManager.default.isExecutableFile(atPath: $0.path(percentEncoded: false)) },
      "No bayesify beside the tests: \(candidates)")
  }
}

/// Keeps tests from running more commands at once than there are cores.
private actor Slots {
  static let shared = Slots(ProcessInfo.processInfo.activeProcessorCount)

  private var freeCount: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(_ count: Int) { freeCount = count }

  func withSlot<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
    if freeCount > 0 { freeCount -= 1 } else { await withCheckedContinuation { waiting.append($0) } }
    defer {
      // The slot goes to the next in line, if there is one.
      if waiting.isEmpty { freeCount += 1 } else { waiting.removeFirst().resume() }
    }
    return try await body()
  }
}

/// Folders of a test's own, removed with it.
final class TestFolder: Sendable {
  private let root = FileManager.default.temporaryDirectory.appending(
    path: "bayesify-command-tests-\(UUID().uuidString)")
  /// Where commands run and write.
  let files: URL
  /// What commands are told to keep temporary files in.
  let temporary: URL
  /// Where their output is caught.
  let streams: URL

  init() throws {
    files = root.appending(path: "files")
    temporary = root.appending(path: "temporary")
    streams = root.appending(path: "streams")
    for folder in [files, temporary, streams] {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }
  }

  deinit {
    do {
      try FileManager.default.removeItem(at: root)
    } catch {
      print("A test's folder remains: \(error)")
    }
  }

  /// The path of a file in the folder.
  func path(_ name: String) -> String { files.appending(path: name).path(percentEncoded: false) }

  func bytes(_ name: String) throws -> Data { try Data(contentsOf: files.appending(path: name)) }

  /// Every file and folder that commands left here or among their temporary files, hidden ones too.
  var names: Set<String> {
    get throws {
      Set(try FileManager.default.contentsOfDirectory(atPath: files.path(percentEncoded: false)))
        .union(
          try FileManager.default.contentsOfDirectory(atPath: temporary.path(percentEncoded: false))
            .map { "temporary/" + $0 })
    }
  }

  /// Starts the command here.
  func start(_ arguments: String...) throws -> RunningCommand {
    try RunningCommand(arguments, in: self, isSlow: true)
  }

  /// Runs the command here to its end.
  func run(_ arguments: [String]) async throws -> CommandRun {
    try await Slots.shared.withSlot { try await RunningCommand(arguments, in: self).finish() }
  }

  /// Runs the command here through a shell, with redirections behind its arguments.
  func run(_ arguments: [String], redirected: String) async throws -> CommandRun {
    try await Slots.shared.withSlot {
      try await RunningCommand(arguments, in: self, redirected: redirected).finish()
    }
  }

  /// Runs the command here and expects it to succeed.
  @discardableResult
  func succeed(
    _ arguments: String..., sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws -> CommandRun {
    try await succeed(arguments, sourceLocation: sourceLocation)
  }

  @discardableResult
  func succeed(
    _ arguments: [String], sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws -> CommandRun {
    let run = try await run(arguments)
    try #require(run.exitCode == 0, "\(run.testDescription)", sourceLocation: sourceLocation)
    return run
  }

  /// Runs the command here and expects it to refuse with one sentence that names `needles`, leaving nothing.
  @discardableResult
  func refuse(
    _ arguments: String..., code: Int32, naming needles: String...,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws -> CommandRun {
    let before = try names
    let run = try await run(arguments + ["--quiet"])
    #expect(run.exitCode == code, "\(run.testDescription)", sourceLocation: sourceLocation)
    #expect(run.errorLines.count == 1, "\(run.testDescription)", sourceLocation: sourceLocation)
    for needle in needles {
      #expect(run.errors.contains(needle), "'\(needle)' in \(run.testDescription)", sourceLocation: sourceLocation)
    }
    #expect(run.errors.hasSuffix(".\n"), "\(run.testDescription)", sourceLocation: sourceLocation)
    #expect(run.output.isEmpty, "\(run.output)", sourceLocation: sourceLocation)
    #expect(try names == before, sourceLocation: sourceLocation)
    return run
  }
}

/// The embedded model and its data.
enum Digits {
  static let checkpoint = path("digits.h5")
  static let training = path("train.h5")
  static let validation = path("validation.h5")
  static let test = path("test.h5")
  static let letters = path("ood-letters.h5")
  static let noise = path("ood-noise.h5")
  static let classNames = path("class-names.txt")

  static func path(_ name: String) -> String {
    TestFiles.package.appending(path: "Models/digits-early-exit/\(name)").path(percentEncoded: false)
  }

  /// The JSON of one of the model's files.
  static func decode<Value: Decodable>(_ type: Value.Type, from name: String) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(contentsOf: URL(filePath: path(name))))
  }
}

/// The path of a file below `Tests/Golden`.
func golden(_ path: String) -> String { TestFiles.golden.appending(path: path).path(percentEncoded: false) }

extension RunningCommand {
  /// Sends a signal some seconds after a file has appeared, or once the command has ended.
  ///
  /// The watch has a thread of its own, since a task would wait for other tests' work.
  func signal(_ signal: Int32, after file: String, delay: Double = 0) async {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        while self.isRunning, !FileManager.default.fileExists(atPath: file) { Thread.sleep(forTimeInterval: 0.005) }
        Thread.sleep(forTimeInterval: delay)
        self.signal(signal)
        continuation.resume()
      }
    }
  }
}
