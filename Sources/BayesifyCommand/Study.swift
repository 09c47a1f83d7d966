import ArgumentParser
import Bayesify
import Foundation

struct Study: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Puts claims about models to the test: robustness, privacy, and where re-trained layers end.",
    discussion: """
      'robustness' attacks models and controls and draws accuracy over the size of the attack; 'privacy' tells rows of \
      the training set from others by what models answer; 'first-layer-optima' re-trains single layers from several \
      starts and compares where they end; 'placement-searches' puts ways to search placements beside all of them.

      Example: bayesify study robustness model.h5 posterior.h5 --data test.h5 --epsilon 2,4,8
      Example: bayesify study privacy model.h5 posterior.h5 --members train.h5 --nonmembers test.h5
      Example: bayesify study first-layer-optima model.h5 --data train.h5 --validation validation.h5
      """,
    subcommands: [StudyRobustness.self, StudyPrivacy.self, StudyFirstLayerOptima.self, StudyPlacementSearches.self])
}

/// Where a study's findings go beside standard output.
struct StudyOutputs: ParsableArguments {
  @Option(help: "Write what was found as JSON to this file.")
  var json: String?

  @Option(help: "Write what was found as Markdown to this file.")
  var markdown: String?

  func validate() throws {
    if let json, let markdown, URL(filePath: json).standardizedFileURL == URL(filePath: markdown).standardizedFileURL {
      throw ValidationError("--json and --markdown need names of their own.")
    }
  }

  /// Warns, writes the files and prints the answer.
  func finish(
    _ report: some Encodable, title: String, _ parts: [StudyPart], warnings: [String], _ provenance: Provenance,
    _ session: Session
  ) throws {
    session.progress.finishLine()
    try Task.checkCancellation()
    for warning in warnings { session.progress.warn(warning) }
    var files: [(String, Data)] = []
    if let json { files.append((json, Data((try jsonText(report) + "\n").utf8))) }
    if let markdown {
      let noted = warnings.map { "- **Warning:** \(MarkdownRenderer().plain($0))" }.joined(separator: "\n")
      let text =
        (["## \(MarkdownRenderer().plain(title))", noted] + parts.map(\.markdown)
        + ["<sub>bayesify \(MarkdownRenderer().plain(provenance.version)): \(MarkdownRenderer().plain(provenance.commandLine))</sub>"])
        .filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
      files.append((markdown, Data(text.utf8)))
    }
    try AtomicFile.write(files, replacing: session.execution.force)
    try printAnswer(
      (parts.map(\.text) + [[json, markdown].compactMap(\.self).map { "wrote \($0)" }.joined(separator: "\n")])
        .filter { !$0.isEmpty }.joined(separator: "\n\n"))
  }
}

/// A sentence, or a table under a title.
enum StudyPart {
  case sentence(String)
  /// All columns but the first `leading` hold numbers.
  case table(title: String, header: [String], rows: [[String]], leading: Int)

  var text: String {
    switch self {
    case .sentence(let sentence): sentence
    case .table(let title, let header, let rows, let leading): title + "\n" + textTable(header, rows, leading: leading)
    }
  }

  var markdown: String {
    switch self {
    case .sentence(let sentence): return MarkdownRenderer().plain(sentence)
    case .table(let title, let header, let rows, let leading):
      let rule = header.indices.map { $0 < leading ? "---" : "--:" }
      let lines = ([header.map(MarkdownRenderer().plain)] + [rule] + rows.map { $0.map(MarkdownRenderer().plain) })
        .map { "| \($0.joined(separator: " | ")) |" }
      return "\(MarkdownRenderer().plain(title))\n\n" + lines.joined(separator: "\n")
    }
  }
}

/// A number with so many decimals, whatever the locale.
func decimals(_ value: Double, _ count: Int) -> String {
  value.formatted(.number.precision(.fractionLength(count)).grouping(.never).locale(Locale(identifier: "en_US_POSIX")))
}

/// A share in percent with its interval.
func percent(_ value: Double, _ interval: Interval?) -> String {
  decimals(100 * value, 1)
    + (interval.map { " (\(decimals(100 * $0.low, 1)) to \(decimals(100 * $0.high, 1)))" } ?? "")
}

/// A number with its interval.
func number(_ value: Double, _ interval: Interval?, _ count: Int = 3) -> String {
  decimals(value, count) + (interval.map { " (\(decimals($0.low, count)) to \(decimals($0.high, count)))" } ?? "")
}

extension Lineup {
  /// The models of a study, with the preprocessing that all of a network's rows get.
  ///
  /// - Parameter rows: those that the models are to answer.
  init(
    _ models: [String], checkpoint: String?, over rows: [RowInput], _ session: Session
  ) throws {
    let options = session.model.checkpoint
    try self.init(
      try models.map { try ModelInput($0, reading: options.reading) }, checkpoint: checkpoint, reading: options.reading,
      records: rows[0])
    let checkpoints = inputs.compactMap { if case .checkpoint(let model) = $0 { model } else { nil } }
    if checkpoints.count == inputs.count { try options.requireUse(by: checkpoints) }
    for index in groups.indices {
      let group = groups[index]
      let own = rows.filter { $0.checkpointDigest.map { $0 == group.digest } ?? true }
      groups[index].preprocessing = try session.agreedPreprocessing(
        [(group.preprocessingFile ?? group.entries[0].name, group.preprocessing)]
          + own.map { ($0.file, $0.preprocessing) })
    }
  }
}

extension Lineup.Entry {
  /// How the model predicts, as reports name it.
  var method: String {
    if case .posterior(let posterior, _, _)? = model { posterior.method } else { ModelKind.map.name }
  }

  /// What the user should know of a posterior's fit.
  var warnings: [String] {
    guard case .posterior(let posterior, _, _)? = model else { return [] }
    return posterior.warnings.map { "\(name): \($0)" }
  }
}

extension Session {
  /// The exit that is studied.
  func exit(_ asked: Int?, of description: RecordsDescription) throws(FileError) -> Int {
    let exit = asked ?? description.exits.count - 1
    guard exit < description.exits.count else {
      throw FileError(
        .value, file: description.file,
        "There is no exit \(exit); exits are 0 to \(description.exits.count - 1).")
    }
    return exit
  }

  /// Where a study's numbers come from.
  func provenance(
    _ models: [ModelInput], _ description: RecordsDescription, data: [(role: String, specification: String)],
    details: [String: String]
  ) throws -> Provenance {
    var inputs = try models.map { model in
      let role = if case .checkpoint = model { "checkpoint" } else { "posterior" }
      return InputDigest(role: role, file: model.file, digest: try FileDigest.sha256(ofFile: model.file))
    }
    for (role, specification) in data {
      inputs.append(InputDigest(role: role, file: specification, digest: try digest(of: specification)))
    }
    var details = details
    if let preprocessing = description.preprocessing, preprocessing != .identity {
      details["preprocessing"] =
        "scale \(preprocessing.scale), mean \(NumberList(preprocessing.mean)), std "
        + "\(NumberList(preprocessing.standardDeviation))"
    }
    return Provenance(
      version: bayesifyVersion, command: ["bayesify"] + CommandLine.arguments.dropFirst(), seed: execution.seed,
      likelihood: description.exits[0].likelihood.rawValue, backend: try execution.backend().name, inputs: inputs,
      details: details)
  }
}
