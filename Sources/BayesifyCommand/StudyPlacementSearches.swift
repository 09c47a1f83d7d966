import ArgumentParser
import Bayesify
import Foundation

struct StudyPlacementSearches: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "placement-searches",
    abstract: "How near evolution, greedy and random searches come to the best of all placements.",
    discussion: """
      PLACEMENTS is what 'search --strategy exhaustive' wrote: the scores of all placements. Every other strategy is run over \
      these scores, so that nothing is computed anew. Reported are, for each strategy and seed, the placements that were asked for, \
      the regret (F of the best of all less that of the best that was found), and after how many placements one of the best 5 % was \
      found.

      Example: bayesify study placement-searches all.json --json searches.json
      """)

  @Argument(help: "What an exhaustive search wrote.")
  var placements: String

  @Option(parsing: .unconditional, help: "Seeds of each strategy. (default: 5)", transform: wholeNumber(1...10_000))
  var seeds = 5

  @Option(parsing: .unconditional, help: "Placements a generation. (default: 16)", transform: wholeNumber(2...10_000))
  var population = 16

  @Option(
    parsing: .unconditional, help: "Placements that a search may ask for. (default: 128)", transform: wholeNumber(2...1_000_000))
  var evaluations = 128

  @OptionGroup var outputs: StudyOutputs

  @Flag(help: "Replace outputs that exist.")
  var force = false

  func run() async throws {
    try requireOutputs([outputs.json, outputs.markdown], apartFrom: [placements], replacing: force)
    let file = try PlacementFile(json: FileContents.of(placements), file: placements)
    guard file.search.strategy == .exhaustive, file.objective.latencyBudget == nil, file.trail.count == file.space.count else {
      throw FileError(
        .value, file: placements,
        "It holds \(file.trail.count) of \(file.space.count.map { "\($0)" } ?? "countless") placements; give what 'search "
          + "--strategy exhaustive' wrote, without a --latency-budget.")
    }
    var study = PlacementSearchesStudy()
    study.seeds = 0..<UInt64(seeds)
    study.populationCount = population
    study.evaluationCount = evaluations
    let rows = try await study(file)
    let header = ["strategy", "seed", "placements asked for", "regret", "until the best 5 %"]
    let table = rows.map { row in
      [
        row.strategy.rawValue, "\(row.seed)", "\(row.evaluations)", decimals(row.regret, 4),
        row.evaluationsToTop.map { "\($0)" } ?? "never",
      ]
    }
    var files: [(String, Data)] = []
    if let json = outputs.json { files.append((json, Data((try jsonText(rows) + "\n").utf8))) }
    let part = StudyPart.table(
      title: "Searches among \(file.trail.count) placements, the best of which has F \(decimals(file.trail.map(\.scalar).max() ?? 0, 4)):",
      header: header, rows: table, leading: 1)
    if let markdown = outputs.markdown { files.append((markdown, Data((part.markdown + "\n").utf8))) }
    try AtomicFile.write(files, replacing: force)
    try printAnswer(([part.text] + files.map { "wrote \($0.0)" }).joined(separator: "\n"))
  }
}
