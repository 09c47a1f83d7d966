import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Rows that leave a real network early, where this machine has its checkpoint.
@Suite(.enabled(if: TestFiles.shared != nil))
struct MSDNetExitTests {
  private static let preprocessing = [
    "--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616",
  ]

  private func shared(_ name: String) -> String {
    (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
  }

  private var checkpoint: String { shared("checkpoints/msdnet-small-cifar10.h5") }

  /// Validation rows meet the budget by construction; other rows within what chance allows; and each gets what the whole
  /// network predicts at the exit it takes.
  @Test func budgetsAreMetAndRoutesAreExact() async throws {
    let folder = try TestFolder()
    for (data, rows, name) in [
      ("data/cifar10-validation-5k.h5", "0:2000", "validation.h5"), ("data/cifar10-test.h5", "0:2000", "test.h5"),
    ] {
      try await folder.succeed(
        ["extract", checkpoint, "--data", shared(data), "--rows", rows, "-o", name, "--quiet"] + Self.preprocessing)
    }
    struct Cost: Decodable { var promised, realised, standardErrors, full: Double }
    struct Summary: Decodable { var cost: Cost }
    for (score, percent) in [
      ("maximum-probability", 20), ("maximum-probability", 70), ("entropy", 35), ("margin", 50), ("patience", 40),
    ] {
      try await folder.succeed([
        "exits", "tune", "validation.h5", "--score", score, "--budget", "\(percent)%", "-o", "policy.json", "--force",
      ])
      let run = try await folder.succeed([
        "exits", "run", "test.h5", "--policy", "policy.json", "-o", "routed.h5", "--json", "--force",
      ])
      let cost = try JSONDecoder().decode(Summary.self, from: Data(run.output.utf8)).cost
      let budget = Double(percent) / 100 * cost.full
      #expect(cost.promised <= budget && cost.promised > 0.995 * budget, "\(score) \(percent)")
      #expect(abs(cost.standardErrors) < 3.5, "\(score) \(percent)")
    }

    // The last policy, through the network.
    let rows = ["--data", shared("data/cifar10-test.h5"), "--rows", "0:300"] + Self.preprocessing
    try await folder.succeed(["predict", checkpoint, "-o", "predictions.h5"] + rows)
    try await folder.succeed([
      "exits", "tune", checkpoint, "--validation", shared("data/cifar10-validation-5k.h5"), "--validation-rows", "0:300",
      "--budget", "50%", "-o", "policy.json", "--force",
    ] + Self.preprocessing)
    try await folder.succeed(["exits", "run", checkpoint, "--policy", "policy.json", "-o", "routed.h5", "--force"] + rows)
    let routed = try RoutedRows(folder.path("routed.h5"))
    #expect(Set(routed.exits).count > 2)
    #expect(try routed.difference(from: folder.path("predictions.h5")) == 0)
  }
}
