import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Detectors of foreign rows on features, through `evaluate`.
@Suite struct DetectorCommandTests {
  private let arguments = [
    "evaluate", Digits.checkpoint, "--data", Digits.test, "--ood", "letters=" + Digits.letters, "--quiet",
  ]

  /// The AUROC of the k-th nearest neighbour, from records, by its definition.
  private func nearestNeighbourAUROC(_ folder: TestFolder, exit: Int, k: Int) throws -> Double {
    func features(_ name: String) throws -> [[Double]] {
      let tensor = try HDF5Archive(folder.path(name)).read("/exits/\(exit)/features", as: Double.self)
      return (0..<tensor.rowCount).map { row in
        let values = (0..<tensor.shape[1]).map { tensor[row, $0] }
        let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return values.map { norm > 0 ? $0 / norm : 0 }
      }
    }
    let bank = try features("training.h5")
    func distances(_ name: String) throws -> [Double] {
      try features(name).map { row in
        bank.map { zip($0, row).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }.sorted()[k - 1]
      }
    }
    let (known, foreign) = (try distances("test.h5"), try distances("letters.h5"))
    let wins = foreign.reduce(0.0) { sum, one in
      sum + known.reduce(0.0) { $0 + (one > $1 ? 1 : one == $1 ? 0.5 : 0) }
    }
    return wins / Double(known.count * foreign.count)
  }

  @Test func detectorsAreMeasuredAtEveryExit() async throws {
    let folder = try TestFolder()
    let all = [
      "--reference", Digits.training, "--validation", Digits.validation, "--detectors", "all", "--json", "report.json",
      "--html", "report.html",
    ]
    try await folder.succeed(arguments + all)
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models.dropFirst().allSatisfy { $0.exits.allSatisfy { $0.detectors == nil } })
    for exit in report.models[0].exits {
      let detectors = try #require(exit.detectors)
      // What the first exit's features span leaves nothing for ViM there, which is said.
      let missing = allOODDetectors.map(\.name).filter { name in !detectors.contains { $0.name == name } }
      #expect(missing.allSatisfy { name in report.warnings.contains { $0.contains(name) } })
      #expect(detectors.count >= allOODDetectors.count - 2 && detectors.allSatisfy { $0.sets.keys.sorted() == ["letters"] })
    }
    for (data, name) in [
      (Digits.training, "training.h5"), (Digits.test, "test.h5"), (Digits.letters, "letters.h5"),
    ] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name)
    }
    let own = report.models[0].exits[2].detectors?.first { $0.name == "knn" }?.sets["letters"]?.auroc ?? .nan
    // Scores are kept in single precision, which may tie single pairs of a quarter of a million.
    expectClose(own, try nearestNeighbourAUROC(folder, exit: 2, k: 50), tolerance: 1e-5)
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    for needle in ["Detectors on features", "relative mahalanobis", "Which answers can be kept?", "AUGRC", "netcal"] {
      #expect(page.contains(needle), "\(needle)")
    }
    // Records give the same as the network.
    try await folder.succeed([
      "evaluate", Digits.checkpoint, "--data", "test.h5", "--ood", "letters=letters.h5", "--reference", "training.h5",
      "--detectors", "mahalanobis,fdbd", "--timing", "--json", "records.json", "--html", "timed.html", "--quiet",
    ])
    let records = try Report(json: folder.bytes("records.json"), file: "records.json")
    for detector in records.models[0].exits[2].detectors ?? [] {
      let other = try #require(report.models[0].exits[2].detectors?.first { $0.name == detector.name })
      expectClose(
        detector.sets["letters"]?.auroc ?? .nan, other.sets["letters"]?.auroc ?? 0, tolerance: 1e-5, detector.name)
    }
    #expect(records.models[0].exits[2].detectors?.count == 2)
    // Times only where they are asked for: a report is the same in each run.
    for detector in records.models[0].exits[2].detectors ?? [] {
      let seconds = try #require(detector.seconds)
      #expect(seconds.fit > 0 && seconds.scoringPerRow > 0 && seconds.scoringPerRow < 1)
    }
    #expect(report.models[0].exits[2].detectors?.contains { $0.seconds != nil } == false)
    #expect(!page.contains("µs a row"))
    #expect(String(decoding: try folder.bytes("timed.html"), as: UTF8.self).contains("µs a row"))
  }

  @Test func detectorsWithoutWhatTheyNeedAreRefused() async throws {
    let folder = try TestFolder()
    func refuse(_ options: [String], _ code: Int32, _ words: String) async throws {
      let run = try await folder.run(arguments + options + ["--json", "new.json"])
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(!(try folder.names.contains("new.json")))
    }
    try await refuse(["--detectors", "knn"], 65, "is fitted to training rows, and none were given")
    try await refuse(["--detectors", "react", "--reference", Digits.training], 65, "fitted to validation rows")
    try await refuse(["--detectors", "luck"], 64, "give 'all' or names")
    try await refuse(["--detectors", "knn,knn"], 64, "give 'all' or names")
    let alone = try await folder.run([
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--detectors", "all", "--json", "new.json",
    ])
    #expect(alone.exitCode == 64 && alone.errors.contains("give some with --ood"))
    // Of all, those that need no rows remain, and the others are named.
    try await folder.succeed(arguments + ["--detectors", "all", "--json", "few.json"])
    let report = try Report(json: folder.bytes("few.json"), file: "few.json")
    #expect(report.models[0].exits[2].detectors?.map(\.name) == ["ashS", "scale", "gradNorm"])
    #expect(report.warnings.contains { $0.contains("not measured for want of rows") && $0.contains("mahalanobis") })
  }
}
