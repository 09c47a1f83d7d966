import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Calibrators and prediction sets, through `evaluate`.
@Suite struct CalibrationCommandTests {
  private let arguments = ["evaluate", Digits.checkpoint, "--data", Digits.test, "--quiet"]

  /// The logits and labels of one exit, from records.
  private func rows(_ folder: TestFolder, _ name: String, exit: Int) throws -> (prediction: Prediction, labels: [Int]) {
    let archive = try HDF5Archive(folder.path(name))
    let logits = try archive.read("/exits/\(exit)/logits", as: Float.self)
    let labels = try archive.read("/labels", as: Double.self)
    return (
      Prediction(
        logits: logits.reshaped(to: [1, logits.shape[0], logits.shape[1]]), likelihood: .categorical, exit: exit),
      labels.elements.map { Int($0) }
    )
  }

  /// Records of the test rows and of some validation rows.
  private func extract(_ folder: TestFolder, _ names: [(String, String)]) async throws {
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "test.h5", "--quiet")
    for (name, rows) in names {
      try await folder.succeed(
        "extract", Digits.checkpoint, "--data", Digits.validation, "--rows", rows, "-o", name, "--quiet")
    }
  }

  private func report(_ folder: TestFolder, _ name: String) throws -> Report {
    try Report(json: folder.bytes(name), file: name)
  }

  /// The mean negative log-likelihood and the accuracy, by their definitions.
  private func quality(_ prediction: Prediction, _ labels: [Int]) -> (nll: Double, accuracy: Double) {
    let p = prediction.probabilities()
    var (sum, hits) = (0.0, 0)
    for (row, label) in labels.enumerated() {
      sum -= Foundation.log(p[row, label])
      // The first of equals counts.
      if (0..<p.shape[1]).allSatisfy({ (p[row, $0], label) <= (p[row, label], $0) }) { hits += 1 }
    }
    return (sum / Double(labels.count), Double(hits) / Double(labels.count))
  }

  @Test func calibratorsAreRowsOfTheirOwn() async throws {
    let folder = try TestFolder()
    try await extract(folder, [("validation.h5", "0:120")])
    try await folder.succeed(
      arguments + [
        "--validation", Digits.validation, "--validation-rows", "0:120", "--calibrators", "all", "--ood",
        "letters=" + Digits.letters, "--json", "report.json", "--html", "report.html",
      ])
    let report = try report(folder, "report.json")
    let titles = [
      "vector scaling", "matrix scaling", "Dirichlet calibration", "histogram binning", "isotonic regression",
      "beta calibration", "Venn-Abers",
    ]
    #expect(
      report.models.map(\.name) == ["digits", "digits + temperature"] + titles.map { "digits + \($0)" })
    #expect(report.models.dropFirst(2).map(\.kind.name) == CalibrationMethod.allCases.map(\.rawValue))
    // Each is compared with the network as it is and with the temperature.
    #expect(report.comparisons.count == 3 * (1 + 7 * 2))
    for exit in 0..<3 {
      let (fitted, labels) = try rows(folder, "validation.h5", exit: exit)
      let (fresh, freshLabels) = try rows(folder, "test.h5", exit: exit)
      for (place, method) in CalibrationMethod.allCases.enumerated() {
        let result = report.models[place + 2].exits[exit]
        // What the report says was chosen, fitted to the same records.
        let candidate = try #require(
          method.candidates.first { $0.settings.allSatisfy { result.settings[$0.key] == $0.value } })
        let calibration = try candidate.calibrator.fit(fitted, labels: labels)
        let heldOut = try #require(result.settings["heldOutLoss"])
        let isHarmful = heldOut > quality(fitted, labels).nll
        let (nll, accuracy) = quality(isHarmful ? fresh : calibration(fresh), freshLabels)
        expectClose(result.accuracy, accuracy, tolerance: 1e-12, "\(method), \(exit)")
        if nll.isFinite { expectClose(result.nll, nll, tolerance: 1e-5, "\(method), \(exit)") }
        #expect(nll.isFinite == result.nll.isFinite && result.ood.first?.scores["maximumProbability"] != nil)
        let isLeft = (calibration as? any SummarizedCalibration)?.summary.isIdentity == true
        for (words, isSaid) in [("at", isLeft), (", since", isHarmful && !isLeft)] {
          let beginning = "\(method.title) leaves 'digits' as it is\(words == "at" ? " " : "")\(words)".lowercased()
          #expect(
            isSaid
              == report.warnings.contains {
                $0.lowercased().hasPrefix(beginning) && $0.contains("exit \(exit) ('exit_")
              }, "\(method), \(exit), \(words)")
        }
        if isLeft || isHarmful { #expect(result.nll == report.models[0].exits[exit].nll) }
      }
    }
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    let isLeft = report.models.dropFirst(2).flatMap(\.exits).map(\.isLeftAsItIs)
    #expect(page.contains("digits + Dirichlet calibration") && page.contains("left as it is") == isLeft.contains(true))
    #expect(page.contains("held out loss") == isLeft.contains(false))
    #expect(report.models.allSatisfy { $0.exits.allSatisfy { $0.conformal == nil } })
  }

  @Test func whatWouldHarmTheFittedRowsIsLeftOutAndSaid() async throws {
    let folder = try TestFolder()
    try await extract(folder, [("validation.h5", "0:500")])
    try await folder.succeed(
      arguments + ["--validation", Digits.validation, "--calibrators", "venn-abers", "--json", "report.json"])
    let report = try report(folder, "report.json")
    var left: [Int] = []
    for exit in 0..<3 {
      let (fitted, labels) = try rows(folder, "validation.h5", exit: exit)
      guard try VennAbersCalibrator().fit(fitted, labels: labels).summary.isIdentity else { continue }
      left.append(exit)
      #expect(report.models[2].exits[exit].nll == report.models[0].exits[exit].nll)
      #expect(report.models[2].exits[exit].ece == report.models[0].exits[exit].ece)
    }
    #expect(left == [1])
    #expect(
      report.warnings.contains {
        $0.hasPrefix("Venn-Abers leaves 'digits' as it is at exit 1 ('exit_2'): the negative log-likelihood")
      })
  }

  @Test func predictionSetsAreThoseOfTheRecords() async throws {
    let folder = try TestFolder()
    try await extract(folder, [("rest.h5", "0:300"), ("apart.h5", "300:500")])
    let options = [
      "--validation", Digits.validation, "--conformal-rows", "300:500", "--conformal", "5%,0.2", "--seed", "4",
    ]
    let run = try await folder.succeed(arguments + options + ["--json", "report.json", "--html", "report.html"])
    #expect(run.output.contains("prediction sets by LAC") && run.output.contains("95 % band"))
    let report = try report(folder, "report.json")
    #expect(report.models.count == 2)
    for exit in 0..<3 {
      let (rest, restLabels) = try rows(folder, "rest.h5", exit: exit)
      let (old, oldLabels) = try rows(folder, "apart.h5", exit: exit)
      let (new, newLabels) = try rows(folder, "test.h5", exit: exit)
      let temperature = try TemperatureScaling().fit(rest, labels: restLabels)
      let own = report.models[1].exits[exit]
      expectClose(own.settings["temperature"] ?? .nan, temperature.value, tolerance: 1e-5)
      for (model, (old, new)) in zip(report.models, [(old, new), (temperature(old), temperature(new))]) {
        let results = try #require(model.exits[exit].conformal)
        #expect(results.count == 12 && results.allSatisfy { $0.isTunedOnCalibrationRows == false })
        for alpha in [0.05, 0.2] {
          // By the definition of LAC, with thresholds for all classes and for each.
          let (p, q) = (old.probabilities(), new.probabilities())
          let scores = oldLabels.indices.map { 1 - p[$0, oldLabels[$0]] }
          func threshold(_ scores: [Double]) -> Double {
            let rank = Int((Double(scores.count + 1) * (1 - alpha) - 1e-9).rounded(.up))
            return rank > scores.count ? .infinity : scores.sorted()[rank - 1]
          }
          let all = threshold(scores)
          let byClass = (0..<10).map { label in
            threshold(oldLabels.indices.filter { oldLabels[$0] == label }.map { scores[$0] })
          }
          for (name, thresholds) in [("lac", Array(repeating: all, count: 10)), ("lacByClass", byClass)] {
            let sets = newLabels.indices.map { row in (0..<10).filter { 1 - q[row, $0] <= thresholds[$0] } }
            let hits = zip(sets, newLabels).count { $0.contains($1) }
            let result = try #require(results.first { $0.method == name && $0.alpha == alpha })
            // Kernels may round logits of other batches otherwise, which can move single rows.
            expectClose(result.coverage, Double(hits) / 1000, tolerance: 1.001e-3, name)
            expectClose(result.meanSize, Double(sets.reduce(0) { $0 + $1.count }) / 1000, tolerance: 3e-3, name)
            expectClose(
              result.singletonShare, Double(sets.count { $0.count == 1 }) / 1000, tolerance: 2e-3, name)
            #expect(result.calibrationRowCount == 200 && result.rowCount == 1000)
            #expect(
              zip(result.thresholds, name == "lac" ? [all] : byClass).allSatisfy { $0 == $1 || abs($0 - $1) < 1e-5 })
          }
          // Randomised sets are those of the library with a key from the seed.
          let fitted = try ConformalClassification(
            alpha: alpha, score: .adaptive, key: RandomKey(seed: 4).child(3)
          ).fit(old, labels: oldLabels)
          let result = try #require(results.first { $0.method == "apsRandomized" && $0.alpha == alpha })
          expectClose(result.thresholds[0], fitted.thresholds[0].value, tolerance: 1e-5)
          let sets = try fitted.sets(of: new)
          expectClose(result.meanSize, Double(sets.reduce(0) { $0 + $1.count }) / 1000, tolerance: 3e-3)
          #expect(result.isRandomized)
        }
      }
    }
    // A class of some twenty rows is enough for 0.2 and, below nineteen, not for 0.05; what is so is said.
    let classes = try #require(report.models[0].exits[0].conformal?.first { $0.method == "lacByClass" })
    let few = classes.classes.calibrationRowCounts.contains { $0 < 19 }
    #expect(few == !classes.unboundedClasses.isEmpty)
    #expect(few == report.warnings.contains { $0.contains("a class needs 19 calibration rows") })
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    for needle in ["Prediction sets", "APS, randomised", "95 % band", "sets by class", "are promised"] {
      #expect(page.contains(needle), "\(needle)")
    }
    #expect(!page.contains("very rows that the thresholds are from"))
    // Records give what the network gives.
    try await folder.succeed([
      "evaluate", Digits.checkpoint, "--data", "test.h5", "--validation", "apart.h5", "--conformal", "0.2", "--json",
      "records.json", "--html", "records.html", "--quiet", "--seed", "4",
    ])
    let other = try self.report(folder, "records.json")
    for exit in 0..<3 {
      let first = report.models[0].exits[exit].conformal?.filter { $0.alpha == 0.2 } ?? []
      let second = try #require(other.models[0].exits[exit].conformal)
      for (first, second) in zip(first, second) {
        expectClose(first.coverage, second.coverage, tolerance: 1.001e-3, first.method)
        expectClose(first.meanSize, second.meanSize, tolerance: 3e-3, first.method)
      }
      #expect(other.models[1].exits[exit].conformal?.allSatisfy { $0.isTunedOnCalibrationRows == true } == true)
      #expect(second.allSatisfy { $0.isTunedOnCalibrationRows == false })
    }
    #expect(String(decoding: try folder.bytes("records.html"), as: UTF8.self).contains("very rows that the thresholds"))
  }

  @Test func tooFewRowsAreSaidAndOlderReportsAreRead() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      arguments + [
        "--validation", Digits.validation, "--validation-rows", "0:60", "--conformal", "0.01", "--json", "report.json",
      ])
    let report = try report(folder, "report.json")
    #expect(report.warnings.contains { $0.contains("leave out no class") && $0.contains("60") && $0.contains("99") })
    #expect(report.warnings.contains { $0.contains("a class needs 99 calibration rows") })
    for model in report.models {
      for result in model.exits.flatMap({ $0.conformal ?? [] }) {
        #expect(result.coverage == 1 && result.meanSize == 10 && result.thresholds.allSatisfy { $0 == .infinity })
      }
    }
    // A report of an earlier version has no such field, and its page no such section.
    var tree = try #require(
      try JSONSerialization.jsonObject(with: folder.bytes("report.json")) as? [String: Any])
    tree["models"] = (tree["models"] as? [[String: Any]])?.map { model in
      var model = model
      model["exits"] = (model["exits"] as? [[String: Any]])?.map { $0.filter { $0.key != "conformal" } }
      return model
    }
    try JSONSerialization.data(withJSONObject: tree).write(to: folder.files.appending(path: "old.json"))
    try await folder.succeed("report", "old.json", "-o", "old.html")
    try await folder.succeed("report", "report.json", "-o", "new.html")
    func page(_ name: String) throws -> String { String(decoding: try folder.bytes(name), as: UTF8.self) }
    #expect(!(try page("old.html").contains("Prediction sets")))
    #expect(try page("new.html").contains("Prediction sets"))
  }

  @Test func optionsWithoutWhatTheyNeedAreRefused() async throws {
    let folder = try TestFolder()
    func refuse(_ options: [String], _ code: Int32, _ words: String) async throws {
      let run = try await folder.run(arguments + options + ["--json", "new.json"])
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(!(try folder.names.contains("new.json")))
    }
    let held = ["--validation", Digits.validation]
    try await refuse(["--calibrators", "all"], 64, "give --validation DATA")
    try await refuse(["--conformal", "0.1"], 64, "give --validation DATA")
    try await refuse(held + ["--conformal", "10%,0.1"], 64, "different shares")
    try await refuse(held + ["--conformal-rows", "0:100"], 64, "ask for some with --conformal")
    try await refuse(held + ["--calibrators", "luck"], 64, "give 'all' or names")
    try await refuse(held + ["--calibrators", "temperature,beta"], 64, "without being named")
    try await refuse(held + ["--calibrators", "beta,beta"], 64, "give 'all' or names")
    for alpha in ["0", "1", "-0.1", "0.1,0.1", "much", "0.1,"] {
      try await refuse(held + ["--conformal", alpha], 64, "give different shares between 0 and 1")
    }
    for rows in ["100:200", "0:500", "400:501"] {
      try await refuse(held + ["--conformal", "0.1", "--conformal-rows", rows], 65, "begin or end them")
    }
    try await refuse(
      ["--validation", Digits.letters, "--conformal", "0.1"], 65, "have no labels")
  }
}
