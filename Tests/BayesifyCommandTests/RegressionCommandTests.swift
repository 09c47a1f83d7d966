import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Networks of real targets, through `evaluate`: numbers of uncertainty-toolbox, SciPy, scikit-learn and NumPy, see
/// `Tests/Golden/generate/make_regression.py`.
@Suite struct RegressionCommandTests {
  private static let network = golden("Regression/network.h5")
  private static let test = golden("Regression/test.h5")
  private static let validation = golden("Regression/validation.h5")
  /// The rows of the report, and what their numbers are called in the golden file.
  private static let kinds = [
    ("network + constant deviation", "constant"), ("network + constant deviation + isotonic quantiles", "constantIsotonic"),
    ("posterior", "posterior"), ("posterior + deviation scaling", "scaled"),
    ("posterior + isotonic quantiles", "posteriorIsotonic"),
  ]

  private func fit(_ folder: TestFolder) async throws {
    try await folder.succeed(
      "fit", "laplace", Self.network, "--data", golden("Regression/train.h5"), "--likelihood", "gaussian", "--structure",
      "full", "--prior-precision", "2", "--noise", "0.4", "-o", "posterior.h5", "--quiet")
  }

  private func report(_ folder: TestFolder, _ name: String = "report.json") throws -> RegressionReport {
    try RegressionReport(json: folder.bytes(name), file: name)
  }

  /// The numbers that do not depend on where they come from.
  private func numbers(_ report: RegressionReport) -> [[RegressionExitResult]] { report.models.map(\.exits) }

  /// Ends of intervals from sets drawn by two programs differ by luck; see `ResamplingTests`.
  private func expectSame(
    _ interval: Interval?, _ value: Double, _ golden: [Double], tolerance: Double, _ name: String
  ) throws {
    let interval = try #require(interval, "\(name)")
    #expect(interval.contains(value), "\(name)")
    expectClose(value, golden[0], tolerance: tolerance, name)
    #expect(abs(interval.low - golden[1]) < 0.5 * golden[3] + tolerance, "\(name): \(interval), \(golden)")
    #expect(abs(interval.high - golden[2]) < 0.5 * golden[3] + tolerance, "\(name): \(interval), \(golden)")
  }

  @Test func numbersAreThoseOfOtherPrograms() async throws {
    let folder = try TestFolder()
    try await fit(folder)
    let run = try await folder.succeed(
      "evaluate", Self.network, "posterior.h5", "--likelihood", "gaussian", "--data", Self.test, "--validation",
      Self.validation, "--calibrators", "all", "--conformal", "0.1", "--json", "report.json", "--html", "report.html",
      "--markdown", "report.md", "--quiet")
    let report = try report(folder)
    #expect(report.models.map(\.name) == ["network"] + Self.kinds.map(\.0))
    #expect(report.baseline == "network + constant deviation")
    #expect(report.provenance.likelihood == "gaussian" && report.provenance.inputs.count == 4)
    let golden = try GoldenValue(contentsOf: "Regression/expected.json")["exits"].list
    for (index, expected) in golden.enumerated() {
      let means = report.models[0].exits[index]
      #expect(Set(means.measures.keys) == ["rmse", "mae"] && means.rowCount == 411 && means.outputCount == 2)
      for (output, deviation) in expected["constant"].numbers.enumerated() {
        let constant = report.models[1].exits[index].outputs[output].settings["deviation"]
        expectClose(try #require(constant), deviation, tolerance: 1e-5)
        let factor = report.models[4].exits[index].outputs[output].settings["factor"]
        expectClose(try #require(factor), expected["factor"].numbers[output], tolerance: 1e-5)
      }
      #expect(report.models[3].exits[index].settings["noise"] == 0.4)
      expectClose(
        try #require(report.models[3].exits[index][.epistemicDeviation]).value, expected["epistemic"].number, tolerance: 1e-5)
      expectClose(try #require(report.models[3].exits[index][.noiseDeviation]).value, 0.4, tolerance: 1e-6)
      for (position, (name, kind)) in Self.kinds.enumerated() {
        let (values, result) = (expected["kinds"][kind], report.models[position + 1].exits[index])
        // Single precision moves a target in or out of an interval at most once or twice.
        func tolerance(_ measure: String) -> Double {
          RegressionMeasure(rawValue: measure)?.isShare == true ? 2.5 / 411 : 2e-5
        }
        func compare(_ own: [String: MeasuredNumber], _ theirs: [String: GoldenValue], _ place: String) throws {
          #expect(Set(own.keys).subtracting(["epistemic", "noise"]) == Set(theirs.keys), "\(place)")
          for (measure, value) in theirs {
            expectClose(
              try #require(own[measure]).value, value.number, tolerance: tolerance(measure), "\(place), \(measure)")
          }
        }
        let place = "\(name), exit \(index)"
        try compare(result.measures, values["numbers"].table, place)
        for (output, own) in result.outputs.enumerated() {
          try compare(own.measures, values["outputs"].list[output].table, "\(place), output \(output)")
        }
        for (measure, interval) in values["bootstrap"].table {
          let number = try #require(result.measures[measure])
          try expectSame(
            number.interval, number.value, interval.numbers, tolerance: tolerance(measure), "\(place), \(measure)")
        }
        for (measure, interval) in kind == "constant" ? [:] : values["difference"].table {
          guard let comparison = report.comparison(of: name, exit: index)?.measures[measure] else {
            // What the baseline has and a recalibration lacks is not compared.
            Issue.record("\(place): no difference of \(measure)")
            continue
          }
          try expectSame(
            comparison.interval, comparison.value, interval.numbers, tolerance: 2 * tolerance(measure),
            "\(place), difference of \(measure)")
        }
        let conformal = try #require(result.conformal)
        #expect(conformal.count == (name.contains("isotonic") || name.contains("scaling") ? 1 : 3), "\(place)")
        for intervals in conformal {
          for (output, own) in intervals.outputs.enumerated() {
            let theirs = values["conformal"][intervals.method.rawValue].list[output]
            let place = "\(place), \(intervals.method), output \(output)"
            expectClose(own.threshold, theirs["threshold"].number, tolerance: 1e-4, place)
            expectClose(own.coverage, theirs["coverage"].number, tolerance: 2.5 / 411, place)
            expectClose(own.meanWidth, theirs["meanWidth"].number, tolerance: 2e-4, place)
            expectClose(own.band.low, theirs["band"].numbers[0], tolerance: 1e-12, place)
            expectClose(own.band.high, theirs["band"].numbers[1], tolerance: 1e-12, place)
          }
        }
      }
      #expect(means.conformal?.map(\.method) == [.absolute])
    }
    // What is written is what is said.
    #expect(run.output.contains("network + constant deviation (baseline)") && run.output.contains(report.verdict))
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    for part in ["Nominal against observed coverage", "Intervals with a promise", "How to reproduce", "<title id=", "<desc id="] {
      #expect(page.contains(part), "\(part)")
    }
    #expect(!page.contains("<script") && !page.contains("http-equiv"))
    #expect(String(decoding: try folder.bytes("report.md"), as: UTF8.self).contains("| exit | model | RMSE | MAE | NLL |"))
    try await folder.succeed("report", "report.json", "-o", "again.html", "--quiet")
    #expect(try folder.bytes("again.html") == folder.bytes("report.html"))
  }

  /// Records, threads and slices change no digit; another seed moves intervals alone.
  @Test func recordsThreadsAndSeeds() async throws {
    let folder = try TestFolder()
    try await fit(folder)
    for name in ["test", "validation"] {
      try await folder.succeed(
        "extract", Self.network, "--data", golden("Regression/\(name).h5"), "--likelihood", "gaussian", "-o", name + ".h5",
        "--quiet")
    }
    let options = ["--calibrators", "all", "--conformal", "0.1,0.2", "--quiet"]
    let data = ["--data", Self.test, "--validation", Self.validation, "--likelihood", "gaussian"]
    for (name, arguments) in [
      ("one", data + ["--threads", "1"]), ("two", data + ["--threads", "2", "--batch", "7"]),
      ("records", ["--data", "test.h5", "--validation", "validation.h5"]), ("seed", data + ["--seed", "5"]),
    ] {
      try await folder.succeed(
        ["evaluate", Self.network, "posterior.h5"] + arguments + options + ["--json", name + ".json"])
    }
    let one = try report(folder, "one.json")
    for name in ["two", "records"] {
      let other = try report(folder, name + ".json")
      #expect(numbers(other) == numbers(one) && other.comparisons == one.comparisons, "\(name)")
    }
    let other = try report(folder, "seed.json")
    #expect(other.models[1].exits[1][.negativeLogLikelihood]?.value == one.models[1].exits[1][.negativeLogLikelihood]?.value)
    #expect(other.models[1].exits[1][.negativeLogLikelihood] != one.models[1].exits[1][.negativeLogLikelihood])
    // A posterior alone brings the untouched network along.
    try await folder.succeed(
      "evaluate", "posterior.h5", "--data", "test.h5", "--validation", "validation.h5", "--json", "alone.json", "--quiet")
    #expect(
      try report(folder, "alone.json").models.map(\.name)
        == ["untouched network", "untouched network + constant deviation", "posterior"])
  }

  @Test func withoutValidationThereIsNoBaseline() async throws {
    let folder = try TestFolder()
    try await fit(folder)
    let run = try await folder.succeed(
      "evaluate", Self.network, "posterior.h5", "--likelihood", "gaussian", "--data", Self.test, "--json", "report.json",
      "--quiet")
    let report = try report(folder)
    #expect(report.models.map(\.name) == ["network", "posterior"] && report.baseline == "posterior")
    #expect(report.comparisons.allSatisfy { Set($0.measures.keys) == ["rmse", "mae"] })
    #expect(run.errors.contains("Without --validation there is no constant deviation"))
  }

  @Test func rowsForThresholdsAreKeptApart() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "evaluate", Self.network, "--likelihood", "gaussian", "--data", Self.test, "--validation", Self.validation,
      "--conformal", "0.1", "--conformal-rows", "100:157", "--json", "report.json", "--quiet")
    let report = try report(folder)
    for model in report.models {
      for result in model.exits.flatMap({ $0.conformal ?? [] }) {
        #expect(result.calibrationRowCount == 57 && result.isTunedOnCalibrationRows == false)
      }
    }
    // Of the first hundred rows alone.
    let logits = try await folder.succeed(
      "extract", Self.network, "--data", Self.validation, "--rows", "0:100", "--likelihood", "gaussian", "-o", "some.h5",
      "--quiet")
    #expect(logits.exitCode == 0)
    let archive = try HDF5Archive(folder.path("some.h5"))
    let (means, targets) = (
      try archive.read("/exits/1/logits", as: Double.self), try archive.read("/targets", as: Double.self)
    )
    let square = (0..<100).reduce(0) { $0 + (targets[$1, 0] - means[$1, 0]) * (targets[$1, 0] - means[$1, 0]) } / 100
    expectClose(
      try #require(report.models[1].exits[1].outputs[0].settings["deviation"]), square.squareRoot(), tolerance: 1e-6)
  }

  /// Means and deviations of any program: records without a model, whose noise is the deviation of each row.
  @Test func predictionsOfAnotherProgram() async throws {
    let folder = try TestFolder()
    let key = RandomKey(seed: 9)
    func write(_ name: String, rows: Int, key: RandomKey, noise: (Int) -> Double?) throws {
      let (means, errors): (Tensor<Double>, Tensor<Double>) = (key.child(0).normals([rows, 1]), key.child(1).normals([rows, 1]))
      let deviations = key.child(2).uniforms(rows).map { 0.2 + $0 }
      let writer = try HDF5ArchiveWriter(folder.path(name), replacing: true)
      try writer.write(means.converted(to: Float.self), at: "/exits/0/logits")
      try writer.setAttribute("likelihood", .text("gaussian"), of: "/exits/0")
      let single = means.converted(to: Float.self)
      try writer.write(
        Tensor(shape: [rows], (0..<rows).map { Double(single[$0]) + deviations[$0] * errors[$0] }), at: "/targets")
      if noise(0) != nil {
        try writer.write(Tensor(shape: [rows], deviations.indices.map { noise($0) ?? 0 }.enumerated().map {
          $1 > 0 && $1.isFinite ? $1 * deviations[$0] : $1
        }), at: "/noise")
      }
      try writer.finish()
    }
    try write("test.h5", rows: 600, key: key.child(0)) { _ in 0.5 }
    try write("validation.h5", rows: 400, key: key.child(1)) { _ in 0.5 }
    try await folder.succeed(
      "evaluate", "--data", "test.h5", "--validation", "validation.h5", "--calibrators", "all", "--json", "report.json",
      "--quiet")
    let report = try report(folder)
    #expect(
      report.models.map(\.name) == [
        "test", "test + deviation scaling", "test + isotonic quantiles", "test + constant deviation",
        "test + constant deviation + isotonic quantiles",
      ])
    #expect(report.models[0].kind == .predictions)
    // Half the true deviations: the factor finds two, and the scaled ones beat a constant.
    #expect(abs(try #require(report.models[1].exits[0].settings["factor"]) - 2) < 0.2)
    let gain = try #require(report.comparison(of: "test + deviation scaling", exit: 0)?[.negativeLogLikelihood])
    #expect(gain.value < 0 && !gain.isWithinNoise)
    let covered = try #require(report.models[1].exits[0][.coverage95])
    #expect(try #require(covered.interval).contains(0.95))
    for (bad, word) in [(0.0, "0.0"), (-1, "-1.0"), (.nan, "nan")] {
      try write("bad.h5", rows: 30, key: key.child(2)) { $0 == 7 ? bad : 1 }
      try await folder.refuse("evaluate", "--data", "bad.h5", code: 65, naming: "bad.h5", "exit 0", "Row 7", word)
    }
    try write("quiet.h5", rows: 30, key: key.child(2)) { _ in nil }
    try await folder.refuse(
      "evaluate", "--data", "test.h5", "--validation", "quiet.h5", code: 65, naming: "quiet.h5", "/noise")
  }

  @Test func conditionsAreChecked() async throws {
    let folder = try TestFolder()
    let arguments = [
      "evaluate", Self.network, "--likelihood", "gaussian", "--data", Self.test, "--validation", Self.validation, "--quiet",
    ]
    let fails = try await folder.run(
      arguments + ["--fail-if", "rmse>0.01", "--fail-if", "network + constant deviation/nll<100", "--json", "report.json"])
    #expect(fails.exitCode == 1 && fails.errors.contains("rmse of network") && fails.errors.contains("nll<100"))
    #expect(try !report(folder).models.isEmpty)
    try await folder.succeed(arguments + ["--fail-if", "network + constant deviation/coverage<0.5"])
    for (condition, code) in [("nll>1", 65), ("ece>0.1", 64), ("nobody/rmse>1", 65)] {
      let run = try await folder.run(arguments + ["--fail-if", condition, "--json", "other.json"])
      #expect(run.exitCode == Int32(code) && run.errorLines.count == 1, "\(run.testDescription)")
      #expect(try !folder.names.contains("other.json"))
    }
    let classes = try await folder.run([
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--fail-if", "crps>1", "--quiet",
    ])
    #expect(classes.exitCode == 64 && classes.errors.contains("crps>1"), "\(classes.testDescription)")
  }

  @Test func whatMakesNoSenseIsRefused() async throws {
    let folder = try TestFolder()
    try await fit(folder)
    try await folder.succeed(
      "extract", Self.network, "--data", Self.test, "--likelihood", "gaussian", "-o", "test.h5", "--quiet")
    for option in [
      ["--ood", "other=" + Self.test], ["--shift", "all"], ["--bins", "10"], ["--ignore-label", "3"],
      ["--ood", "other=" + Self.test, "--detectors", "all"], ["--calibrators", "vector", "--validation", Self.validation],
    ] {
      let run = try await folder.run(
        ["evaluate", Self.network, "--likelihood", "gaussian", "--data", Self.test, "--quiet"] + option)
      #expect(run.exitCode == 64 && run.errorLines.count == 1 && run.errors.contains(option[0]), "\(run.testDescription)")
      #expect(run.errors.contains("the outputs here are real numbers"), "\(run.testDescription)")
    }
    // Records and posteriors say so themselves.
    try await folder.refuse(
      "evaluate", "posterior.h5", "--data", "test.h5", "--bins", "10", code: 64, naming: "--bins", "real numbers")
    try await folder.refuse(
      "evaluate", Self.network, "--likelihood", "gaussian", "--data", Self.test, "--validation", Self.validation,
      "--calibrators", "deviation-scaling", code: 64, naming: "deviation-scaling", "name a posterior")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--validation", Digits.validation, "--calibrators",
      "deviation-scaling", code: 64, naming: "deviation-scaling is for regressions", "are classes")
    try await folder.refuse(
      "evaluate", Self.network, "--likelihood", "gaussian", "--data", Self.test, "--conformal", "0.1", code: 64,
      naming: "--conformal", "--validation")
  }

  @Test func targetsThatDoNotFitAreNamed() async throws {
    let folder = try TestFolder()
    let archive = try HDF5Archive(Self.test)
    let (inputs, targets) = (try archive.read("/x", as: Float.self), try archive.read("/y", as: Double.self))
    func write(_ name: String, _ targets: Tensor<Double>?) throws {
      let writer = try HDF5ArchiveWriter(folder.path(name))
      try writer.write(inputs, at: "x")
      if let targets { try writer.write(targets, at: "y") }
      try writer.finish()
    }
    var bad = targets
    bad[5, 1] = .nan
    try write("bad.h5", bad)
    try write("bare.h5", nil)
    try write("narrow.h5", Tensor(zeros: [targets.rowCount, 3]))
    let start = ["evaluate", Self.network, "--likelihood", "gaussian", "--quiet"]
    for (name, words) in [("bad.h5", ["Row 5", "nan"]), ("bare.h5", ["no targets", "--labels"]), ("narrow.h5", ["[411, 3]"])] {
      let run = try await folder.run(start + ["--data", name, "--json", "no.json"])
      #expect(run.exitCode == 65 && run.errorLines.count == 1, "\(run.testDescription)")
      for word in words + [name] { #expect(run.errors.contains(word), "\(word) in \(run.testDescription)") }
      #expect(try !folder.names.contains("no.json"))
    }
    let run = try await folder.run(start + ["--data", Self.test, "--validation", "bare.h5"])
    #expect(run.exitCode == 65 && run.errors.contains("--validation-labels"), "\(run.testDescription)")
    // Validation rows that the network meets exactly leave no deviation to fit.
    try await folder.succeed(
      "extract", Self.network, "--data", "bare.h5", "--likelihood", "gaussian", "-o", "exact.h5", "--quiet")
    let means = try HDF5Archive(folder.path("exact.h5")).read("/exits/0/logits", as: Float.self)
    let writer = try HDF5ArchiveWriter(folder.path("met.h5"))
    try writer.write(means, at: "/exits/0/logits")
    try writer.setAttribute("likelihood", .text("gaussian"), of: "/exits/0")
    try writer.write(means.converted(to: Double.self), at: "/targets")
    try writer.finish()
    try await folder.refuse(
      "evaluate", "--data", "met.h5", "--validation", "met.h5", code: 65, naming: "met.h5", "output 0", "no deviation")
  }
}
