import ArgumentParser
import Bayesify
import Dispatch
import Foundation

/// Parses the command line, runs the verb, and turns what goes wrong into one sentence and a code.
@main
enum Entry {
  static func main() async {
    let work = Task { try await run() }
    signal(SIGPIPE, SIG_IGN)
    // Ctrl-C, and a terminal that goes away, cancel the work, which then removes what it had begun to write.
    let sources = [SIGINT, SIGTERM, SIGHUP].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      // Sendable, for it runs on the queue above and not on the main actor as this function does.
      source.setEventHandler { @Sendable in work.cancel() }
      source.resume()
      return source
    }
    let outcome = await work.result
    for source in sources { source.cancel() }
    if case .failure(let error) = outcome { end(with: error) }
  }

  private static func run() async throws {
    var command = try BayesifyCommand.parseAsRoot()
    if var asynchronous = command as? any AsyncParsableCommand {
      try await asynchronous.run()
    } else {
      try command.run()
    }
  }

  private static func end(with error: any Error) -> Never {
    let (code, sentence): (Int32, String)
    switch error {
    case let error as FailedCondition: (code, sentence) = (1, error.message)
    case is CancellationError: (code, sentence) = (130, "Interrupted; nothing was written.")
    case let error as Interruption: (code, sentence) = (130, error.message)
    case let error as FileError:
      let isSystem = error.code == .cannotOpen || error.code == .cannotWrite
      (code, sentence) = (isSystem ? 74 : 65, error.description)
    case let error as NumericalError: (code, sentence) = (70, error.description)
    case let error as NetworkError: (code, sentence) = (65, error.description)
    case let error as EvaluationError: (code, sentence) = (65, error.description)
    default:
      switch BayesifyCommand.exitCode(for: error) {
      case .success: BayesifyCommand.exit(withError: error)  // help and version
      case .validationFailure: (code, sentence) = (64, usage(error))
      default: (code, sentence) = (70, "This should not happen, please report it: \(error).")
      }
    }
    printMessage("bayesify: \(sentence.withoutControls)\n")
    Foundation.exit(code)
  }

  /// What is wrong with the command line, and where its help is, in one line.
  private static func usage(_ error: any Error) -> String {
    // Long lists of valid values come a line each.
    let lines = BayesifyCommand.message(for: error).split(whereSeparator: \.isNewline)
      .map { $0.trimmingCharacters(in: .whitespaces) }
    let values = lines.filter { $0.hasPrefix("- ") }.map { $0.dropFirst(2) }
    let message = (lines.filter { !$0.hasPrefix("- ") } + (values.isEmpty ? [] : [values.joined(separator: ", ")]))
      .joined(separator: " ")
    let stop = message.last.map { ".?!".contains($0) } ?? true ? "" : "."
    return "\(message)\(stop) See '\(verb) --help'."
  }

  /// The verb that the command line begins with; what is thrown once it runs does not know it.
  private static var verb: String {
    var (command, words): (any ParsableCommand.Type, [String]) = (BayesifyCommand.self, ["bayesify"])
    for argument in CommandLine.arguments.dropFirst() {
      guard let next = command.configuration.subcommands.first(where: { $0._commandName == argument }) else { break }
      command = next
      words.append(argument)
    }
    return words.joined(separator: " ")
  }
}

struct BayesifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bayesify",
    abstract: "Gives trained networks honest uncertainty without training them again.",
    discussion: """
      bayesify inspect model.h5
      bayesify fit laplace model.h5 --data train.h5 --validation validation.h5 -o posterior.h5
      bayesify evaluate model.h5 posterior.h5 --data test.h5 --validation validation.h5 \\
        --ood letters=letters.h5 --html report.html

      DATA is a file: HDF5 (x, y, or file.h5:images,labels), .npz, .npy and IDX (labels by --labels), .csv \
      (--label-column), exit records that 'extract' wrote, or a folder of .png and .jpg images: its sub-folders, \
      by name, are the classes. Exit codes: 0 done, 1 a --fail-if holds, 64 usage, 65 bad content, 70 numerical, 74 a file that \
      cannot be opened or written, 130 interrupted.
      """,
    version: bayesifyVersion,
    subcommands: [
      Inspect.self, Extract.self, Heads.self, Fit.self, Predict.self, Evaluate.self, Exits.self, Trust.self,
      Search.self, Study.self, Compact.self, Export.self, RenderReport.self,
    ])
}
