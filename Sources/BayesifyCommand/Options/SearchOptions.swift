public import ArgumentParser
import Bayesify

/// What placements are searched among, how, and what they are judged by.
struct SearchOptions: ParsableArguments {
  enum Posteriors: String, CaseIterable, ExpressibleByArgument {
    case layers
    case singlePath = "single-path"
  }

  @Option(
    parsing: .unconditional,
    help: "What layers are turned into, with commas between: laplace, vi, latent, spike-slab, dropout:RATE. (default: laplace,dropout:0.1)",
    transform: optionValue)
  var kinds = KindList(kinds: [.laplace, .dropout(0.1)])

  @Option(help: "What is turned together: layers, or blocks (as residual blocks).")
  var sites = PlacementSites.layers

  @Option(help: "Convolution and dense layers by name, with commas between. (default: all on the way)")
  var layers: String?

  @Option(
    parsing: .unconditional, help: "Draws that placements may have, with commas between. (default: 8)", transform: optionValue)
  var draws = DrawCountList(counts: [8])

  @Option(
    parsing: .unconditional, help: "The exit that placements are judged at, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(
    help: """
      evolution (NSGA-II), greedy, random or exhaustive. (default: exhaustive where no more placements than --evaluations \
      are possible, else evolution)
      """)
  var strategy: PlacementStrategy?

  @Option(parsing: .unconditional, help: "Of evolution: placements a generation. (default: 16)", transform: wholeNumber(2...10_000))
  var population = 16

  @Option(parsing: .unconditional, help: "Of evolution: generations. (default: 8)", transform: wholeNumber(1...10_000))
  var generations = 8

  @Option(
    parsing: .unconditional, help: "Of random and greedy: placements at the most. (default: population times generations)",
    transform: wholeNumber(1...1_000_000))
  var evaluations: Int?

  @Option(
    parsing: .unconditional, help: "The seed of the search alone; --seed is that of distributions and draws. (default: 0)",
    transform: wholeNumber(0 ... .max))
  var searchSeed: UInt64 = 0

  @Option(help: "Where vi comes from: layers, each trained by itself; or single-path, all trained at once.")
  var posteriors = Posteriors.layers

  @Option(parsing: .unconditional, help: "Epochs of kinds that are trained. (default: 2)", transform: wholeNumber(1...10_000))
  var epochs = 2

  @Option(parsing: .unconditional, help: "Rows a step of these. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(
    parsing: .unconditional, help: "Training rows that curvatures are gathered from. (default: 1000)",
    transform: wholeNumber(1...1_000_000))
  var curvatureRows = 1000

  @Option(parsing: .unconditional, help: "Validation rows of the search. (default: 500)", transform: wholeNumber(2...1_000_000))
  var searchRows = 500

  @Option(
    parsing: .unconditional, help: "Foreign rows of the search, of all sets together. (default: 500)",
    transform: wholeNumber(2...1_000_000))
  var foreignRows = 500

  @Option(
    parsing: .unconditional,
    help: """
      Foreign rows that are made of validation rows, with commas between: noise, patches, mixup, corrupted; or none. \
      (default: noise,patches,mixup)
      """,
    transform: optionValue)
  var made = MadeSetList(sets: [.noise, .patches, .mixup])

  @Option(
    parsing: .unconditional,
    help: "Labels of classes that the network was not trained on, with commas between; their validation rows are foreign.",
    transform: optionValue)
  var heldOut: LabelList?

  @Option(
    parsing: .unconditional,
    help: "Latencies above this many times the checkpoint's are not looked at, as 2x.", transform: optionValue)
  var latencyBudget: LatencyBudget?

  @Option(
    parsing: .unconditional, help: "How far accuracy may lie below the checkpoint's, as 0.005 or 0.5%. (default: 0.005)",
    transform: share)
  var accuracyLoss: Double?

  @Option(parsing: .unconditional, help: "w_e of F. (default: 1)", transform: number("a number from 0 on") { $0 >= 0 })
  var calibrationWeight = 1.0

  @Option(parsing: .unconditional, help: "w_o of F. (default: 0.5)", transform: number("a number from 0 on") { $0 >= 0 })
  var foreignWeight = 0.5

  @Option(parsing: .unconditional, help: "w_t of F. (default: 0.1)", transform: number("a number from 0 on") { $0 >= 0 })
  var latencyWeight = 0.1

  @Option(parsing: .unconditional, help: "Rows of a batch that is timed. (default: 32)", transform: wholeNumber(1...4096))
  var timedRows = 32

  func validate() throws {
    if posteriors == .singlePath, !kinds.kinds.contains(.variational) {
      throw ValidationError("--posteriors single-path is for vi, which is not among --kinds; add it, or leave this out.")
    }
    if let layers, layers.split(separator: ",", omittingEmptySubsequences: false).contains(where: \.isEmpty) {
      throw ValidationError("--layers '\(layers)' has an empty name; give names with commas between.")
    }
  }

  var layerNames: [String]? { layers?.split(separator: ",").map(String.init) }

  var study: PlacementStudy {
    var study = PlacementStudy()
    study.inference.exitIndex = exit
    study.inference.epochCount = epochs
    study.inference.batchRowCount = batchRows
    study.inference.curvatureRowCount = curvatureRows
    study.inference.tuningRowCount = searchRows
    study.inference.sampleCount = draws.counts.max() ?? 1
    study.search.populationCount = population
    study.search.generationCount = generations
    study.search.evaluationCount = evaluations ?? population * generations
    study.searchSeed = searchSeed
    study.trainsSinglePaths = posteriors == .singlePath
    study.timedRowCount = timedRows
    return study
  }

  /// What the search depends on, by the names of options.
  var settings: [String: String] {
    [
      "--kinds": kinds.kinds.map(\.description).joined(separator: ","), "--sites": sites.rawValue, "--layers": layers ?? "all",
      "--draws": draws.counts.map(String.init).joined(separator: ","), "--exit": exit.map { "\($0)" } ?? "last",
      "--strategy": strategy?.rawValue ?? "rule", "--population": "\(population)", "--generations": "\(generations)",
      "--evaluations": evaluations.map { "\($0)" } ?? "rule", "--search-seed": "\(searchSeed)", "--posteriors": posteriors.rawValue, "--epochs": "\(epochs)",
      "--batch-rows": "\(batchRows)", "--curvature-rows": "\(curvatureRows)", "--search-rows": "\(searchRows)",
      "--foreign-rows": "\(foreignRows)", "--made": made.sets.map(\.rawValue).joined(separator: ","),
      "--held-out": heldOut?.labels.map(String.init).joined(separator: ",") ?? "none",
      "--latency-budget": latencyBudget.map { "\($0.factor)" } ?? "none", "--accuracy-loss": "\(accuracyLoss ?? 0.005)",
      "weights": "\(calibrationWeight), \(foreignWeight), \(latencyWeight)", "--timed-rows": "\(timedRows)",
    ]
  }
}

/// Kinds of distributions, each once.
struct KindList: OptionValue {
  static let validValues = "different kinds with commas between: laplace, vi, latent, spike-slab, dropout:RATE with a rate above 0 and below 1"
  var kinds: [PlacementKind]

  init(kinds: [PlacementKind]) { self.kinds = kinds }

  init?(argument: String) {
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    kinds = words.compactMap { PlacementKind(String($0)) }
    guard Set(kinds).count == words.count else { return nil }
  }
}

/// Numbers of draws, rising.
struct DrawCountList: OptionValue {
  static let validValues = "different whole numbers from 1 to 1000 with commas between, as 2,4,8"
  var counts: [Int]

  init(counts: [Int]) { self.counts = counts }

  init?(argument: String) {
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    counts = words.compactMap { Int($0) }.filter { (1...1000).contains($0) }.sorted()
    guard Set(counts).count == words.count else { return nil }
  }
}

/// Foreign sets that are made.
struct MadeSetList: OptionValue {
  static let validValues =
    "'none' or names with commas between: " + MadeForeignSet.allCases.map(\.rawValue).joined(separator: ", ")
  var sets: [MadeForeignSet]

  init(sets: [MadeForeignSet]) { self.sets = sets }

  init?(argument: String) {
    guard argument != "none" else {
      sets = []
      return
    }
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    sets = words.compactMap { MadeForeignSet(rawValue: String($0)) }
    guard Set(sets).count == words.count else { return nil }
  }
}

/// Labels, each once.
struct LabelList: OptionValue {
  static let validValues = "different whole numbers from 0 on with commas between, as 8,9"
  var labels: [Int]

  init?(argument: String) {
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    labels = words.compactMap { Int($0) }.filter { $0 >= 0 }.sorted()
    guard Set(labels).count == words.count else { return nil }
  }
}

/// A multiple of the checkpoint's latency.
struct LatencyBudget: OptionValue {
  static let validValues = "how many times the checkpoint's latency is allowed, from 1 on, as 2x"
  var factor: Double

  init?(argument: String) {
    guard let factor = Double(argument.hasSuffix("x") ? String(argument.dropLast()) : argument), factor >= 1, factor.isFinite
    else { return nil }
    self.factor = factor
  }
}

extension PlacementSites: ExpressibleByArgument {}
extension PlacementStrategy: ExpressibleByArgument {}
