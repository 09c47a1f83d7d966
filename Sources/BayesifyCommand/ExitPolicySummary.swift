import Bayesify
import Foundation

extension PolicyFile {
  /// Reads a policy; `nil` for a file that is none of this kind.
  init?(recognizing file: String) throws(FileError) {
    // Policies are JSON and small; what is larger, or does not name the format, is something else.
    guard file.lowercased().hasSuffix(".json"), let data = FileManager.default.contents(atPath: file),
      data.count < 1 << 20, String(decoding: data, as: UTF8.self).contains("\"\(Self.formatName)\"")
    else { return nil }
    try self.init(json: data, file: file)
  }

  /// Reads the policy that an option names.
  init(option file: String) throws(FileError) {
    try self.init(json: try FileContents.of(file), file: file)
  }
}

extension ExitPolicyFile {
  /// What was chosen, exit by exit.
  var summary: String {
    let costs = policy.costs
    let choice = policy.choice
    let table = textTable(
      ["exit", "name", "cost", "of it predictions", "rows that leave", "where \(policy.score) is"],
      exits.indices.map { exit in
        [
          "\(exit)", exits[exit], costs.figure(costs.toExit[exit]), costs.figure(costs.overheadToExit[exit]),
          "\((choice.shares[exit] * 100).significantDigits(3)) %",
          exit == exits.count - 1
            ? "all that are left"
            : choice.thresholds[exit].map { threshold(policy.score, $0.score) } ?? "none leaves",
        ]
      }, leading: 2)
    let full = costs.toExit[costs.toExit.count - 1]
    return table + "\nmean cost \(costs.words(choice.meanCost)) of \(costs.figure(full)) "
      + "(\((choice.meanCost / full * 100).significantDigits(3)) %), accuracy \(choice.accuracy.significantDigits()) on "
      + "\(policy.rowCount) rows"
  }

  /// A threshold as readers know the score.
  private func threshold(_ score: ExitScore, _ value: Double) -> String {
    switch score {
    case .maximumProbability: "at least \((1 / (1 + exp(-value))).significantDigits(6))"
    case .margin: "at least \((1 - exp(-value)).significantDigits(6))"
    case .patience: "at least \(value.significantDigits())"
    case .entropy, .mutualInformation, .logitVariance, .combined: "at most \((-value).significantDigits())"
    }
  }
}
