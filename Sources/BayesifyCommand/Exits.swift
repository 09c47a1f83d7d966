public import ArgumentParser
import Bayesify
import Foundation

struct Exits: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lets rows leave a network of several exits as soon as it is sure enough.",
    discussion: """
      'tune' chooses thresholds for a budget, an accuracy or a risk and writes a policy; 'run' predicts with it, computing \
      for each row no further than it asks; 'curve' measures accuracy against cost for policies and kinds of predictions.

      Scores, by which a row is ready to leave (larger is readier; ties go by the class's log-odds):
        maximum-probability  of the most probable class
        entropy              little total uncertainty
        margin               the probability of the most probable class above that of the second
        mutual-information   little epistemic uncertainty: draws agree
        logit-variance       logits vary little over draws
        combined:W           little total uncertainty, or W times the epistemic part is little: what is left is aleatoric, \
      and more compute cannot help; without :W the weight that makes both as large on average on the validation rows
        patience             as many exits in a row name one class as the threshold says
      Those of the epistemic part need a posterior.

      Example: bayesify exits tune model.h5 --validation validation.h5 --budget 50% -o policy.json
      Example: bayesify exits run model.h5 --policy policy.json --data new.h5 -o routed.h5
      """,
    subcommands: [ExitsTune.self, ExitsRun.self, ExitsCurve.self])
}

/// What rows are routed through: a checkpoint, a posterior, or the records of a network.
struct ExitsSubject {
  let file: String
  /// `nil` for records, which hold a network's own predictions.
  let model: ModelInput?

  init(_ file: String, _ options: ModelOptions) throws {
    self.file = file
    if try HDF5Archive.recognizes(file), try HDF5Archive(file).holdsExitRecords {
      model = nil
      return
    }
    let model = try ModelInput(file, reading: options.checkpoint.reading)
    if case .checkpoint(let checkpoint) = model { try options.checkpoint.requireUse(by: [checkpoint]) }
    self.model = model
  }

  var isPosterior: Bool { if case .posterior? = model { true } else { false } }

  /// The digest of the posterior's file.
  func posteriorDigest() throws(FileError) -> String? { try model?.posteriorDigest() }

  /// The checkpoint behind it.
  func checkpoint(named: String?, _ options: ModelOptions) throws(FileError) -> CheckpointModel {
    guard let model else {
      throw FileError(
        .unsupported, file: file,
        "These are exit records, and the network that made them is needed here; give its checkpoint, or a posterior.")
    }
    return try model.checkpoint(named: named, reading: options.checkpoint.reading)
  }

  /// Records of some rows, made by the network where they are not there.
  func records(
    _ input: RowInput, _ specification: String, checkpoint named: String?, stage: String, _ session: Session,
    madeBefore other: (file: String, preprocessing: Preprocessing?)? = nil
  ) async throws -> any ExitRecordSource {
    let parts = [(file, model?.preprocessing), (input.file, input.preprocessing)]
    let records = try await session.records(
      input, specification: specification, checkpoint: { try checkpoint(named: named, session.model) },
      digest: model?.checkpointDigest,
      stored: session.agreedPreprocessing(parts + (other.map { [($0.file, $0.preprocessing)] } ?? [])),
      likelihood: model?.likelihood, classNames: model?.classNames, stage: stage)
    if case .checkpoint(let checkpoint)? = model { try session.requireExits(of: checkpoint, in: records.description) }
    return records
  }

  /// The way from records to predictions.
  func predictor(
    for description: RecordsDescription, checkpoint named: String?, _ session: Session
  ) throws -> Predictor {
    guard let model else {
      try session.require([.categorical, .binary], in: description)
      return .map
    }
    return try session.predictor(model, for: description) { try checkpoint(named: named, session.model) }
  }
}

/// A budget: a cost, or a share of the last exit's.
struct BudgetOption: OptionValue {
  static let validValues = "a cost as 20e6 or 20M, or a share of the last exit's as 50%"
  private let value: Double
  private let isShare: Bool

  init?(argument: String) {
    let factors: [Character: Double] = ["k": 1e3, "M": 1e6, "G": 1e9, "%": 0.01]
    let factor = argument.last.flatMap { factors[$0] }
    guard let number = Double(factor == nil ? argument : String(argument.dropLast())), number > 0, number.isFinite else {
      return nil
    }
    value = number * (factor ?? 1)
    isShare = argument.last == "%"
  }

  func cost(_ costs: ExitCosts) -> Double { isShare ? value * (costs.toExit.last ?? 0) : value }
}

/// What costs are counted in.
struct CostOption: OptionValue, CustomStringConvertible {
  static let validValues = "'multiply-adds', 'milliseconds', or a .json file of costs"
  enum Model { case multiplyAdds, milliseconds, file(String) }
  let model: Model

  init?(argument: String) {
    switch argument {
    case "multiply-adds": model = .multiplyAdds
    case "milliseconds": model = .milliseconds
    default:
      guard argument.lowercased().hasSuffix(".json") else { return nil }
      model = .file(argument)
    }
  }

  var file: String? { if case .file(let file) = model { file } else { nil } }

  var description: String {
    switch model {
    case .multiplyAdds: "multiply-adds"
    case .milliseconds: "milliseconds"
    case .file(let file): file
    }
  }
}

/// A score of readiness.
enum ScoreOption: OptionValue {
  static let validValues =
    "maximum-probability, entropy, margin, mutual-information, logit-variance, combined, combined:W with a weight W above 0, or "
    + "patience"

  case known(ExitScore)
  /// `combined` with the weight that balances its parts on the validation rows.
  case balanced

  init?(argument: String) {
    if argument == "combined" {
      self = .balanced
    } else {
      guard let score = ExitScore(argument) else { return nil }
      self = .known(score)
    }
  }
}

extension ExitwisePredictor {
  /// `combined` with the weight that balances its parts for some rows, over all exits.
  func balancedScore(for source: any ExitRecordSource) async throws -> ExitScore {
    guard let weight = try await balance(for: source).weight else {
      throw FileError(
        .unsupported, file: source.description.file,
        "None of the uncertainty of these rows is epistemic, so that no weight of the score 'combined' balances it; give a "
          + "posterior that draws, a weight as combined:2, or another score.")
    }
    return .combined(epistemicWeight: weight)
  }
}

extension InternalEnsemble: ExpressibleByArgument {}

extension ExitScore {
  /// That next to nothing of the uncertainty is epistemic, where it is less than a part in ten thousand; which share is
  /// next to nothing is our choice.
  static func warning(ofWeight weight: Double, in predictions: String) -> String? {
    guard weight > 1e4 else { return nil }
    return "The epistemic part of \(predictions) is 1/\(weight.significantDigits(3)) of the total uncertainty, so that scores tell "
      + "little that is epistemic; look at the posterior's prior precision."
  }
}

extension ExitCosts {
  /// What exits cost by a table of the user's.
  init(table file: String, exitCount: Int) throws {
    let data = try FileContents.of(file)
    let advice = "give {\"unit\": \"millijoules\", \"toExit\": [1.2, 2.4]}, one cost an exit, everything before included"
    do {
      self = try JSONDecoder().decode(ExitCosts.self, from: data)
    } catch let error as EvaluationError {
      throw FileError(.value, file: file, error.message)
    } catch {
      throw FileError(.malformed, file: file, "It is no table of costs; \(advice).")
    }
    guard toExit.count == exitCount else {
      throw FileError(.shape, file: file, "It has \(toExit.count) cost(s) for \(exitCount) exit(s); \(advice).")
    }
  }

  /// What exits cost in multiply-adds, with what a posterior adds.
  init(multiplyAddsOf predictor: ExitwisePredictor) throws {
    let description = predictor.description
    var (toExit, overhead): ([Double], [Double]) = ([], [])
    for (index, exit) in description.exits.enumerated() {
      guard let multiplyAdds = exit.multiplyAdds else {
        throw FileError(
          .missing, file: description.file, object: "exit \(index) ('\(exit.name)')",
          "The records do not say its multiply-adds; extract them from the network, or give a table of costs with --cost "
            + "FILE.json.")
      }
      overhead.append(Double(predictor.multiplyAdds(toExit: index)))
      toExit.append(Double(multiplyAdds) + overhead[index])
    }
    do {
      try self.init(toExit, overheadToExit: overhead, unit: .multiplyAdds)
    } catch {
      throw FileError(.value, file: description.file, error.message)
    }
  }

  /// A cost with its unit, for readers: `5.9 M multiply-adds`.
  func words(_ cost: Double) -> String { figure(cost) + " " + unit.rawValue }

  /// A cost without its unit.
  func figure(_ cost: Double) -> String {
    guard cost != 0 else { return "0" }
    let sizes = [(1e9, " G"), (1e6, " M"), (1e3, " k")]
    guard unit == .multiplyAdds, let (size, prefix) = sizes.first(where: { cost >= $0.0 }) else {
      return cost.significantDigits()
    }
    return (cost / size).significantDigits() + prefix
  }
}

extension RecordsDescription {
  /// Refuses a network that rows cannot leave early.
  func requireSeveralExits(of model: String) throws(FileError) {
    guard exits.count < 2 else { return }
    throw FileError(
      .unsupported, file: model,
      "The network has one exit, so that no row can leave early; give a network with several, or add exits to this one with "
        + "'heads'.")
  }
}

/// Says which rows an evaluation refuses: those of a file.
func naming<Result>(_ file: String, _ body: () async throws -> Result) async throws -> Result {
  do {
    return try await body()
  } catch let error as EvaluationError {
    throw FileError(.value, file: file, error.message)
  }
}
