import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// What `fit laplace` says of options that it cannot use.
struct FitOptionTests {
  /// Records of random features with a linear head; `answers` adds labels, targets and attributes.
  static func write(
    _ likelihood: Likelihood?, outputs: Int = 2, rowCount: Int = 40, to path: String,
    answers: (any ArrayArchiveWriter, _ logits: Tensor<Float>) throws -> Void = { _, _ in }
  ) throws {
    let features = RandomKey(seed: 1).normals([rowCount, 3], as: Float.self)
    let weight = RandomKey(seed: 2).normals([3, outputs], as: Float.self)
    let logits = ReferenceBackend().product(features, weight)
    let writer = try HDF5ArchiveWriter(path)
    try writer.write(features, at: "/exits/0/features")
    try writer.write(logits, at: "/exits/0/logits")
    try writer.write(weight, at: "/exits/0/head/weight")
    try writer.write(Tensor<Float>(zeros: [outputs]), at: "/exits/0/head/bias")
    if let likelihood { try writer.setAttribute("likelihood", .text(likelihood.rawValue), of: "/exits/0") }
    try answers(writer, logits)
    try writer.finish()
  }

  static func writeLabels(_ writer: any ArrayArchiveWriter, _ logits: Tensor<Float>) throws {
    try writer.write((0..<logits.rowCount).map { $0 % 2 }, at: "/labels")
  }

  static func writeTargets(_ writer: any ArrayArchiveWriter, _ logits: Tensor<Float>) throws {
    let errors: Tensor<Double> = RandomKey(seed: 3).normals(logits.shape)
    try writer.write(
      Tensor(shape: logits.shape, zip(logits.elements, errors.elements).map { Double($0) + 0.3 * $1 }), at: "/targets")
  }

  @Test(
    arguments: [
      (["--rank", "5"], ["--rank", "low-rank", "kronecker"]),
      (["--explained", "0.5", "--structure", "diagonal"], ["--explained", "low-rank", "diagonal"]),
      (["--noise", "2"], ["--noise", "Gaussian", "classes.h5", "categorical"]),
      (["--prior-precision", "-1"], ["'-1'", "'validation', 'marginal-likelihood' or a number from 1e-100"]),
      (["--temperature", "-1"], ["'-1'", "'validation' or a number from"]),
      (["--noise", "-1"], ["'-1'", "'learned' or a number from"]),
      (["--draws", "-1"], ["'-1'", "a whole number from 2 to 1000000"]),
      (["--draws", "many"], ["'many'", "a whole number from 2 to 1000000"]),
      (["--rows", "-1"], ["'-1'", "0:5000"]), (["--rank", "-1"], ["'-1'", "a whole number from 1 on"]),
      (["--explained", "-0.5"], ["'-0.5'", "above 0 and at most 1"]),
      (["--subnetwork", "-1"], ["'-1'", "a whole number from 1 on"]), (["--seed", "-1"], ["'-1'", "from 0 on"]),
      (["--threads", "-1"], ["'-1'", "from 1 to 1024"]), (["--layers", "last:0"], ["'last:0'", "'last:N'"]),
      (["--scale", "-0"], ["'-0'", "a number but zero"]), (["--mean", "-"], ["'-'", "separated by commas"]),
      (["--structure", "-1"], ["'-1'", "kronecker-folded", "low-rank"]),
      (["--predictive", "round"], ["'round'", "one of the following: whitened, antithetic"]),
      (["--draws", "20", "--predictive", "probit"], ["--draws", "probit", "leave it out"]),
      (["--architecture", "network.json"], ["--architecture", "exit records need none"]),
      (["--keras-backend", "theano"], ["--keras-backend", "exit records need none"]),
      (["-o", "posterior.npz"], ["posterior.npz", ".h5 or .hdf5 (HDF5)"]),
      (["-o", "posterior.csv"], ["posterior.csv", ".h5 or .hdf5 (HDF5)"]),
    ] as [([String], [String])])
  func optionsAreRefusedWithWhatIsValid(options: [String], words: [String]) async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    let run = try await folder.run(
      ["fit", "laplace", "classes.h5", "--validation", "classes.h5", "-o", "posterior.h5"] + options)
    #expect(run.exitCode == 64 && run.errorLines.count == 1, "\(run.testDescription)")
    for word in words { #expect(run.errors.contains(word), "'\(word)' in \(run.testDescription)") }
    #expect(try folder.names == ["classes.h5"])
  }

  /// What would be passed over in silence is refused.
  @Test(
    arguments: [
      (["fit", "laplace", "classes.h5", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5"], "--validation-rows"),
      (["evaluate", "model.h5", "--data", "classes.h5"], "--validation-rows"),
      (["evaluate", "model.h5", "--data", "classes.h5"], "--validation-labels"),
    ] as [([String], String)])
  func validationOptionsNeedValidationRows(command: [String], option: String) async throws {
    let run = try await TestFolder().run(command + [option, "0:5"])
    #expect(run.exitCode == 64 && run.errorLines.count == 1, "\(run.testDescription)")
    for word in [option, "--validation DATA"] { #expect(run.errors.contains(word), "\(run.testDescription)") }
  }

  @Test func outputsAreNamedByTheirFormat() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    try await folder.refuse(
      "predict", "classes.h5", "--data", "classes.h5", "-o", "out.csv", code: 64, naming: "out.csv", ".npz (NumPy)",
      ".h5 or .hdf5 (HDF5)")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "-o", "out.npz", code: 64, naming: "out.npz", ".h5 or .hdf5 (HDF5)")
    // A name without a suffix is HDF5, as ever.
    try await folder.succeed(
      "fit", "laplace", "classes.h5", "--prior-precision", "1", "--temperature", "1", "-o", "posterior")
    #expect(try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior"))).exits.count == 1)
    // Nothing is random in arrays that are written out.
    try await folder.refuse(
      "export", "posterior", "-o", "serving.npz", "--seed", "3", code: 64, naming: "--seed", "bayesify export --help")
    // Neither records nor the posterior need a checkpoint.
    try await folder.refuse(
      "predict", "posterior", "--data", "classes.h5", "--architecture", "network.json", "-o", "out.h5", code: 64,
      naming: "--architecture", "need none")
    try await folder.refuse(
      "evaluate", "posterior", "--data", "classes.h5", "--architecture", "network.json", code: 64,
      naming: "--architecture", "need none")
  }

  @Test(arguments: [(Likelihood.gaussian, "probit", "makes no difference"), (.multilabel, "mean-field", "the same as probit")])
  func predictivesThatChangeNothingAreNamed(likelihood: Likelihood, predictive: String, words: String) async throws {
    let folder = try TestFolder()
    try Self.write(likelihood, to: folder.path("rows.h5")) { writer, logits in
      try writer.write(logits.map { $0 > 0 ? 1 : 0 }, at: "/targets")
    }
    let fit = ["fit", "laplace", "rows.h5", "--prior-precision", "1", "-o", "out.h5"]
      + (likelihood == .gaussian ? ["--noise", "1"] : ["--temperature", "1"])
    let run = try await folder.run(fit + ["--predictive", predictive])
    #expect(run.exitCode == 0 && run.errors.contains("--predictive \(predictive)") && run.errors.contains(words),
      "\(run.testDescription)")
    let other = try await folder.run(fit + ["--force"])
    #expect(other.exitCode == 0 && !other.errors.contains("--predictive"), "\(other.testDescription)")
  }

  /// What goes wrong once a verb runs names its help too.
  @Test func usageNamesTheVerb() async throws {
    try await TestFolder().refuse(
      "fit", "laplace", Digits.checkpoint, "-o", "out.h5", "--prior-precision", "1", "--temperature", "1", code: 64,
      naming: "--data DATA", "See 'bayesify fit laplace --help'.")
  }

  @Test func posteriorsOfEarlierLayersAreNotContinued() async throws {
    let folder = try TestFolder()
    let fit = ["fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1", "--temperature", "1"]
    let run = try await folder.run(
      fit + ["--rows", "0:4", "--layers", "last:1", "--structure", "diagonal", "-o", "weights.h5"])
    #expect(run.exitCode == 0, "\(run.testDescription)")
    let refused = try await folder.run(fit + ["--rows", "4:8", "--continue", "weights.h5", "-o", "out.h5"])
    #expect(refused.exitCode == 65, "\(refused.testDescription)")
    for words in ["weights.h5", "earlier layers", "fit all rows at once"] {
      #expect(refused.errors.contains(words), "\(refused.testDescription)")
    }
  }

  @Test func logitsThatAreNoNumbersAreNamedByExit() async throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("rows.h5"))
    for exit in 0..<3 {
      var logits = RandomKey(seed: 1).child(exit).normals([3, 10], as: Float.self)
      if exit == 1 { logits[2, 4] = .nan }
      try writer.write(logits, at: "/exits/\(exit)/logits")
    }
    try writer.write([0, 1, 0], at: "/labels")
    try writer.finish()
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "rows.h5", code: 65, naming: "rows.h5", "exit 1", "nan")
  }

  @Test func layersBeyondThoseOfTheNetworkAreRefused() async throws {
    try await TestFolder().refuse(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--rows", "0:12", "--layers", "last:99",
      "--prior-precision", "1", "--temperature", "1", "-o", "out.h5", code: 64, naming: "last:99", "give at most last:")
  }

  /// Numbers that may be below zero are taken.
  @Test func negativeValuesAreTaken() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.test, "--rows", "0:4", "--scale", "-2", "--mean", "-1", "-o",
      "records.h5")
    #expect(
      try HDF5Archive(folder.path("records.h5")).preprocessing()
        == Preprocessing(scale: -2, mean: [-1], standardDeviation: [1]))
  }

  @Test func defaultsStandInTheHelp() async throws {
    let run = try await TestFolder().run(["fit", "laplace", "--help"])
    let text = run.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    for words in [
      "classes. (default: 50)", "(default: 0.95)", "eigenvectors. (default: 100)", "every exit. (default: validation)",
      "random. (default: 0)",
    ] { #expect(text.contains(words), "\(words)") }
  }

  @Test func gaussianExitsTakeNoTemperature() async throws {
    let folder = try TestFolder()
    try Self.write(.gaussian, to: folder.path("numbers.h5"), answers: Self.writeTargets)
    try await folder.refuse(
      "fit", "laplace", "numbers.h5", "--prior-precision", "1", "--temperature", "2", "-o", "out.h5", code: 64,
      naming: "--temperature", "numbers.h5", "--noise")
    try await folder.succeed("fit", "laplace", "numbers.h5", "--prior-precision", "1", "--noise", "0.3", "-o", "out.h5")
  }

  @Test func subnetworksAreNoLargerThanTheLayers() async throws {
    let folder = try TestFolder()
    try await folder.refuse(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--rows", "0:12", "--layers", "last:1", "--structure",
      "diagonal", "--subnetwork", "331", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5", code: 64,
      naming: "--subnetwork 331", "330 weights")
  }

  /// Advice has to work: a softmax over one logit becomes binary where the user says so.
  @Test func oneLogitIsBinaryWhereTheUserSaysSo() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, outputs: 1, to: folder.path("one.h5"), answers: Self.writeLabels)
    let fit = ["fit", "laplace", "one.h5", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5"]
    let refused = try await folder.run(fit)
    #expect(refused.exitCode == 65 && refused.errors.contains("--likelihood binary"), "\(refused.testDescription)")
    let run = try await folder.run(fit + ["--likelihood", "binary"])
    #expect(run.exitCode == 0, "\(run.testDescription)")
    let posterior = try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("out.h5")))
    #expect(posterior.source.exits[0].likelihood == .binary)
    // Where the file is right the option is a misunderstanding.
    try Self.write(.multilabel, to: folder.path("labels.h5"))
    try await folder.refuse(
      "fit", "laplace", "labels.h5", "--prior-precision", "1", "--temperature", "1", "--likelihood", "categorical", "-o",
      "no.h5", code: 65, naming: "labels.h5", "/exits/0", "multilabel", "leave the option out")
  }

  @Test func recordsWithoutLabelsAreToldWhatWorks() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    try Self.write(.categorical, to: folder.path("bare.h5"))
    try await folder.refuse(
      "fit", "laplace", "classes.h5", "--validation", "bare.h5", "-o", "out.h5", code: 65, naming: "bare.h5",
      "validation records", "/labels", "extract the records again")
    try folder.write([UInt8](repeating: 0, count: 40), shape: [40], to: "labels.npy")
    try await folder.refuse(
      "fit", "laplace", "classes.h5", "--validation", "bare.h5", "--validation-labels", "labels.npy", "-o", "out.h5",
      code: 65, naming: "labels.npy", "bare.h5", "extract them again")
  }

  @Test func laterRecordsAreRefused() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("later.h5")) { writer, logits in
      try Self.writeLabels(writer, logits)
      try writer.setAttribute("format", .text("bayesify-records"), of: "/")
      try writer.setAttribute("version", .integer(2), of: "/")
    }
    try await folder.refuse(
      "fit", "laplace", "later.h5", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5", code: 65,
      naming: "later.h5", "version 2", "extract them again")
    // A version of some other tool's is nobody's business.
    try Self.write(.categorical, to: folder.path("other.h5")) { writer, logits in
      try Self.writeLabels(writer, logits)
      try writer.setAttribute("version", .integer(7), of: "/")
    }
    try await folder.succeed(
      "fit", "laplace", "other.h5", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5")
  }

  private static let fixed = ["--prior-precision", "1", "--temperature", "1"]

  private func fit(_ arguments: [String], in folder: TestFolder) async throws -> CommandRun {
    try await folder.run(["fit", "laplace"] + arguments + Self.fixed)
  }

  @Test func rowsThatWereFittedAreNotFittedAgain() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5")
    for source in [["records.h5"], [Digits.checkpoint, "--data", Digits.training]] {
      for name in ["first.h5", "second.h5", "twice.h5"] where try folder.names.contains(name) {
        try FileManager.default.removeItem(atPath: folder.path(name))
      }
      let first = try await fit(source + ["--rows", "0:100", "-o", "first.h5"], in: folder)
      #expect(first.exitCode == 0, "\(first.testDescription)")
      let second = try await fit(source + ["--rows", "100:200", "--continue", "first.h5", "-o", "second.h5"], in: folder)
      #expect(second.exitCode == 0, "\(second.testDescription)")
      let before = try folder.names
      for (earlier, rows, words) in [
        ("first.h5", "0:100", "Rows 0:100 are"), ("first.h5", "90:120", "Rows 90:100 are"),
        ("second.h5", "150:297", "Rows 150:200 are"), ("second.h5", "0:1", "Rows 0:1 are"),
      ] {
        let run = try await fit(source + ["--rows", rows, "--continue", earlier, "-o", "no.h5"], in: folder)
        #expect(run.exitCode == 65 && run.errorLines.count == 1, "\(run.testDescription)")
        for word in [words, earlier, source[source.count - 1], "--allow-repeated-rows"] {
          #expect(run.errors.contains(word), "\(word) in \(run.testDescription)")
        }
        #expect(try folder.names == before)
      }
      let twice = try await fit(
        source + ["--rows", "0:100", "--continue", "first.h5", "--allow-repeated-rows", "-o", "twice.h5"], in: folder)
      #expect(twice.exitCode == 0, "\(twice.testDescription)")
      #expect(try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("twice.h5"))).exits[0].rowCount == 200)
    }
    // Rows of data and their records are told apart by neither, so that both may be right.
    let other = try await fit(["records.h5", "--continue", "first.h5", "-o", "other.h5"], in: folder)
    #expect(other.exitCode == 0 && other.errors.contains("records.h5 holds rows of the data that first.h5"), "\(other.testDescription)")
    try await folder.refuse(
      "fit", "laplace", "records.h5", "--prior-precision", "1", "--temperature", "1", "--allow-repeated-rows", "-o", "no.h5",
      code: 64, naming: "--continue")
  }

  @Test func whatWasChosenIsKeptWhenRowsAreAdded() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    let first = try await fit(
      ["classes.h5", "--rows", "0:20", "--predictive", "antithetic", "--draws", "12", "--prior-mean", "checkpoint", "-o",
       "first.h5"], in: folder)
    #expect(first.exitCode == 0, "\(first.testDescription)")
    for (options, predictive) in [([], LaplacePredictive.antithetic), (["--predictive", "probit"], .probit)] {
      let name = predictive.rawValue + ".h5"
      let run = try await fit(
        ["classes.h5", "--rows", "20:40", "--continue", "first.h5", "-o", name] + options, in: folder)
      #expect(run.exitCode == 0, "\(run.testDescription)")
      let posterior = try LastLayerLaplacePosterior(from: HDF5Archive(folder.path(name)))
      #expect(posterior.predictive == predictive && posterior.sampleCount == 12)
      #expect(posterior.exits[0].priorMean == .checkpoint)
    }
  }

  @Test func exportsHaveTheSuffixOfTheirFormat() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    _ = try await fit(["classes.h5", "-o", "posterior.h5"], in: folder)
    for name in ["foo.csv", "foo"] {
      try await folder.refuse("export", "posterior.h5", "-o", name, code: 64, naming: name, ".npz", ".h5")
    }
    for name in ["foo.npz", "foo.hdf5"] { try await folder.succeed("export", "posterior.h5", "-o", name) }
    let help = try await folder.run(["export", "--help"]).output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    for word in ["Kronecker or the diagonal structure", "whitened, antithetic, probit or plain", "--greedy-ensemble"] {
      #expect(help.contains(word), "\(word)")
    }
  }

  @Test func exactTargetsAreNamed() async throws {
    let folder = try TestFolder()
    try Self.write(.gaussian, to: folder.path("exact.h5")) { writer, logits in
      try writer.write(logits.converted(to: Double.self), at: "/targets")
    }
    try await folder.refuse(
      "fit", "laplace", "exact.h5", "--prior-precision", "marginal-likelihood", "-o", "no.h5", code: 65, naming: "exact.h5",
      "exit 0", "--noise")
    try await folder.refuse(
      "fit", "laplace", "exact.h5", "--validation", "exact.h5", "-o", "no.h5", code: 65, naming: "exact.h5", "exit 0",
      "--noise")
    try Self.write(.gaussian, to: folder.path("tiny.h5")) { writer, logits in
      try Self.writeTargets(writer, logits)
      try writer.write(Tensor<Double>(repeating: 1e-200, shape: [40]), at: "/noise")
    }
    try await folder.refuse(
      "fit", "laplace", "tiny.h5", "--prior-precision", "1", "--noise", "1", "-o", "no.h5", code: 65, naming: "tiny.h5",
      "exit 0", "noise of rows that is nearly zero")
  }

  @Test func sourcesThatAreNoNetworksAreTold() async throws {
    let folder = try TestFolder()
    try Self.write(.categorical, to: folder.path("classes.h5"), answers: Self.writeLabels)
    _ = try await fit(["classes.h5", "-o", "posterior.h5"], in: folder)
    try await folder.succeed("predict", "posterior.h5", "--data", "classes.h5", "-o", "predictions.h5")
    try await folder.refuse(
      "fit", "laplace", "posterior.h5", "--data", "classes.h5", "--prior-precision", "1", "--temperature", "1", "-o", "no.h5",
      code: 65, naming: "posterior.h5", "This is a posterior", "--continue")
    try await folder.refuse(
      "extract", "posterior.h5", "--data", Digits.test, "-o", "no.h5", code: 65, naming: "posterior.h5", "the checkpoint")
    try await folder.refuse(
      "fit", "laplace", "predictions.h5", "--data", "classes.h5", "--prior-precision", "1", "--temperature", "1", "-o",
      "no.h5", code: 65, naming: "predictions.h5", "These are predictions")
  }

  @Test func largeFullStructuresAreToldWhatToDo() async throws {
    try await TestFolder().refuse(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--rows", "0:12", "--layers", "all", "--structure",
      "full", "--prior-precision", "1", "--temperature", "1", "-o", "no.h5", code: 65, naming: "digits.h5", "exit 'exit_",
      "at most 4096 weights", "--structure kronecker or diagonal", "--subnetwork 4096")
  }
}
