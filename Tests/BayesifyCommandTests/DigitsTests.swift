import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// What `inspect --json` says of a checkpoint.
private struct Inspection: Decodable {
  struct Node: Decodable {
    var name: String
    var kind: String
    var outputShape: [Int]
    var parameters: Int
    var multiplyAdds: Int
  }
  struct Exit: Decodable {
    var name: String
    var features: Int
    var classes: Int
    var multiplyAdds: Int
    var transforms: [String]
  }
  var format: String
  var inputShape: [Int]
  var parameters: Int
  var nodes: [Node]
  var exits: [Exit]
}

/// The main job on the embedded model, through the command.
struct DigitsTests {
  /// Keras computes in single precision, in another order.
  private let singlePrecision = 1e-4
  /// `measured.json` comes from Keras's probabilities, rounded to single precision, this from logits.
  private let roundedProbabilities = 1e-6
  /// Rounding may tie or part a few of a million pairs of scores.
  private let partedPairs = 1e-5
  /// Where the network is saturated, Keras's single-precision probabilities tie by the thousand pairs;
  /// its logits, taken on in double precision, do not.
  private let tiedPairs = 2e-3

  @Test func inspectTellsShapesCostAndExits() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed("inspect", Digits.checkpoint, "--json")
    #expect(run.errors.isEmpty)
    let told = try JSONDecoder().decode(Inspection.self, from: Data(run.output.utf8))
    #expect(told.format == "Keras 3.15.1 model, HDF5")
    #expect(told.inputShape == [8, 8, 1])
    #expect(told.exits.map(\.name) == ["exit_1", "exit_2", "exit_3"])
    #expect(told.exits.map(\.features) == [32, 32, 32])
    #expect(told.exits.map(\.classes) == [10, 10, 10])
    #expect(told.exits.allSatisfy { $0.transforms == ["laplace"] })
    let costs = told.exits.map(\.multiplyAdds)
    #expect(costs[0] > 0 && costs[0] < costs[1] && costs[1] < costs[2])
    // All nodes are before the last exit or belong to an exit.
    #expect(told.nodes.map(\.multiplyAdds).reduce(0, +) == costs[2])
    // README.md counts 30,390 parameters, in which Keras includes moving averages.
    #expect(told.nodes.map(\.parameters).reduce(0, +) == 30_390 && told.parameters == 30_390)
    let convolution = try #require(told.nodes.first { $0.kind == "Convolution" })
    #expect(convolution.outputShape == [8, 8, 24])
    #expect(convolution.parameters == 3 * 3 * 24)
    #expect(convolution.multiplyAdds == 8 * 8 * 24 * 3 * 3)

    let text = try await folder.succeed("inspect", Digits.checkpoint).output
    for needle in ["Keras 3.15.1 model, HDF5", "[8, 8, 1]", "exit_3", "laplace", "\(costs[2])"] {
      #expect(text.contains(needle))
    }
  }

  @Test func inspectTellsWhatRecordsPosteriorsAndPredictionsHold() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5")
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "30", "--temperature", "1.5", "-o", "posterior.h5")
    try await folder.succeed("predict", "posterior.h5", "--data", "records.h5", "-o", "predictions.h5")
    let records = try await folder.succeed("inspect", "records.h5").output
    #expect(records.contains("bayesify-records") && records.firstMatch(of: /exits\/2\/features +\[297, 32\] +float32/) != nil)
    let posterior = try await folder.succeed("inspect", "posterior.h5").output
    #expect(posterior.contains("kronecker") && posterior.contains("30") && posterior.contains("297"))
    let predictions = try await folder.succeed("inspect", "predictions.h5", "--json").output
    #expect(predictions.contains("bayesify-predictions") && predictions.contains("/exits/2/epistemic"))
  }

  @Test(arguments: ["kronecker", "kronecker-folded", "kronecker-factored"])
  func recordsGiveTheSameBitsAsTheNetwork(_ form: String) async throws {
    let folder = try TestFolder()
    for name in ["network", "records"] {
      try FileManager.default.createDirectory(atPath: folder.path(name), withIntermediateDirectories: true)
    }
    // More rows than one chunk has.
    try folder.writeNoise(rowCount: 1100, to: "noise.npy")
    for (name, file) in [
      ("train", Digits.training), ("validation", Digits.validation), ("test", Digits.test), ("noise", "noise.npy"),
    ] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", file, "-o", "\(name)-records.h5")
    }
    // Few rows and draws: the comparison is exact at any number.
    let tuning = ["--validation-rows", "50:130", "--draws", "22", "--form", form]
    let fits = try await [
      folder.run(
        ["fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation]
          + tuning + ["-o", "network/posterior.h5"]),
      folder.run(
        ["fit", "laplace", "train-records.h5", "--validation", "validation-records.h5"]
          + tuning + ["-o", "records/posterior.h5"]),
    ]
    for fit in fits { try #require(fit.exitCode == 0, "\(fit.testDescription)") }
    try expectEqualArchives(folder, "network/posterior.h5", "records/posterior.h5", but: ["checkpointFile", "fittedRows"])

    let network = try await folder.report(
      Digits.checkpoint, "network/posterior.h5", "--data", Digits.test, "--validation", Digits.validation,
      "--rows", "20:400", "--ood", "noise=noise.npy")
    let records = try await folder.report(
      Digits.checkpoint, "records/posterior.h5", "--data", "test-records.h5", "--validation",
      "validation-records.h5", "--rows", "20:400", "--ood", "noise=noise-records.h5")
    #expect(network.models.map(\.name) == ["digits", "digits + temperature", "posterior"])
    // Records hold no pictures of their rows.
    #expect(network.models.map(withoutPictures) == records.models)
    #expect(network.comparisons == records.comparisons)
    #expect(network.warnings == records.warnings)
  }

  private func withoutPictures(_ model: ModelResult) -> ModelResult {
    func bare(_ rows: [ExampleRow]) -> [ExampleRow] {
      rows.map { row in
        var row = row
        row.image = nil
        return row
      }
    }
    var model = model
    for exit in model.exits.indices {
      model.exits[exit].examples = model.exits[exit].examples.map {
        Examples(mostUncertain: bare($0.mostUncertain), mostConfidentlyWrong: bare($0.mostConfidentlyWrong))
      }
    }
    return model
  }

  @Test func equalInputsGiveEqualBytes() async throws {
    var written: [[Data]] = []
    for _ in 0..<2 {
      let folder = try TestFolder()
      try await folder.succeed(
        "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "30",
        "--temperature", "1.5", "--draws", "22", "-o", "posterior.h5")
      try await folder.succeed(
        "evaluate", Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--validation",
        Digits.validation, "--ood", "letters=" + Digits.letters, "--class-names", Digits.classNames,
        "--json", "report.json", "--html", "report.html")
      try await folder.succeed("predict", "posterior.h5", "--data", Digits.letters, "-o", "predictions.h5")
      try await folder.succeed("predict", "posterior.h5", "--data", Digits.letters, "-o", "predictions.npz")
      written.append(
        try ["posterior.h5", "report.json", "report.html", "predictions.h5", "predictions.npz"]
          .map(folder.bytes))
      try await folder.succeed("report", "report.json", "-o", "again.html")
      #expect(try folder.bytes("again.html") == folder.bytes("report.html"))
      let report = try Report(json: folder.bytes("report.json"), file: "report.json")
      #expect(report.classNames == (0...9).map(String.init) && report.timing == nil)
    }
    #expect(written[0] == written[1])
  }

  @Test func resultsDependNeitherOnThreadsNorOnBatches() async throws {
    let folder = try TestFolder()
    // Three chunks, the last not full.
    try folder.writeNoise(rowCount: 2300, to: "noise.npy")
    var models: [[ModelResult]] = []
    for (threads, batch) in [("1", "64"), ("2", "64"), ("4", "64"), ("4", "17")] {
      let options = ["--threads", threads, "--batch", batch]
      let name = "\(threads)-\(batch)"
      for arguments in [
        ["extract", Digits.checkpoint, "--data", "noise.npy", "-o", "records-\(name).h5"],
        [
          "fit", "laplace", Digits.checkpoint, "--data", "noise.npy", "--validation", Digits.validation,
          "--validation-rows", "0:40", "--draws", "22", "-o", "posterior.h5", "--force",
        ],
        ["predict", "posterior.h5", "--data", "noise.npy", "-o", "predictions-\(name).h5"],
      ] {
        let run = try await folder.run(arguments + options)
        try #require(run.exitCode == 0, "\(run.testDescription)")
      }
      try FileManager.default.copyItem(
        atPath: folder.path("posterior.h5"), toPath: folder.path("posterior-\(name).h5"))
      models.append(
        try await folder.report(
          Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--rows", "0:300", "--validation",
          Digits.validation, "--ood", "letters=" + Digits.letters, "--threads", threads, "--batch", batch
        ).models)
      for kind in ["records", "posterior", "predictions"] {
        #expect(try folder.bytes("\(kind)-\(name).h5") == folder.bytes("\(kind)-1-64.h5"), "\(kind) \(name)")
      }
      #expect(models.last == models.first, "\(name)")
    }
  }

  @Test func predictionsSplitTheirUncertainty() async throws {
    /// Ten probabilities, and sums of entropies, are rounded in double precision.
    let rounding = 1e-12
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "30",
      "--temperature", "1.5", "--draws", "22", "-o", "posterior.h5")
    for (model, isBayesian) in [("posterior.h5", true), (Digits.checkpoint, false)] {
      try await folder.succeed("predict", model, "--data", Digits.test, "-o", "predictions.h5", "--force")
      try await folder.succeed("predict", model, "--data", Digits.test, "-o", "predictions.npz", "--force")
      let report = try await folder.report(model, "--data", Digits.test)
      let archive = try HDF5Archive(folder.path("predictions.h5"))
      let zip = try StoredZip(folder.bytes("predictions.npz"))
      #expect(zip.members.keys.sorted() == archive.entries.map { $0.path.dropFirst() + ".npy" })
      let labels = try archive.readIntegers("/labels", rows: nil)
      let zipLabels = try openDataset(
        folder.path("predictions.npz"), options: DatasetOptions(inputs: "exits/0/logits", labels: "labels"))
      #expect(try zipLabels.labels(0..<1000) == labels)
      for exit in 0..<3 {
        func read(_ name: String) throws -> Tensor<Double> {
          let tensor = try archive.read("/exits/\(exit)/\(name)", as: Double.self)
          #expect(try zip.tensor("exits/\(exit)/\(name).npy") == tensor)
          return tensor
        }
        let probabilities = try read("probabilities")
        let (total, aleatoric, epistemic) = try (read("total"), read("aleatoric"), read("epistemic"))
        #expect(try read("logits").shape == [1000, 10])
        #expect(probabilities.shape == [1000, 10] && total.shape == [1000])
        var correct = 0
        for row in 0..<1000 {
          let values = (0..<10).map { probabilities[row, $0] }
          expectClose(values.reduce(0, +), 1, tolerance: rounding)
          expectClose(
            total[row], values.reduce(0) { $1 > 0 ? $0 - $1 * log($1) : $0 }, tolerance: rounding)
          expectClose(total[row], aleatoric[row] + epistemic[row], tolerance: rounding)
          #expect(epistemic[row] >= 0 && aleatoric[row] >= 0)
          if values.max() == values[labels[row]] { correct += 1 }
        }
        #expect(epistemic.elements.contains { $0 > 1e-3 } == isBayesian)
        // The same numbers as the report's.
        let result = try #require(report.models.last).exits[exit]
        #expect(result.accuracy == Double(correct) / 1000)
        expectClose(result.uncertainty.total, total.elements.reduce(0, +) / 1000, tolerance: rounding)
        expectClose(result.uncertainty.epistemic, epistemic.elements.reduce(0, +) / 1000, tolerance: rounding)
      }
      // Our own reader of zipped arrays agrees.
      let inputs = try openDataset(
        folder.path("predictions.npz"), options: DatasetOptions(inputs: "exits/2/probabilities")
      ).inputs(0..<1000)
      guard case .floats(let values) = inputs.values else {
        Issue.record("Probabilities are floating-point numbers.")
        return
      }
      let stored = try archive.read("/exits/2/probabilities", as: Float.self)
      #expect(values == stored.elements)
    }
  }

  @Test func baselineMeasuresWhatKerasMeasures() async throws {
    struct Numbers: Decodable {
      var accuracy: Double
      var nll: Double
      var ece15: Double
      var meanConfidence: Double
    }
    struct Measured: Decodable {
      var train: [String: Numbers]
      var validation: [String: Numbers]
      var test: [String: Numbers]
      var aurocAgainstTest: [String: [String: Double]]
    }
    let measured = try Digits.decode(Measured.self, from: "measured.json")
    let folder = try TestFolder()
    for (name, numbers) in [
      ("train", measured.train), ("validation", measured.validation), ("test", measured.test),
    ] {
      var arguments = [Digits.checkpoint, "--data", Digits.path(name + ".h5")]
      if name == "test" {
        for foreign in measured.aurocAgainstTest.keys.sorted() {
          arguments += ["--ood", "\(foreign)=\(Digits.path("ood-\(foreign).h5"))"]
        }
      }
      let report = try await folder.report(arguments)
      #expect(report.models.map(\.kind) == [.map])
      #expect(report.models[0].exits.map(\.name).sorted() == numbers.keys.sorted())
      for exit in report.models[0].exits {
        let expected = try #require(numbers[exit.name])
        #expect(exit.accuracy == expected.accuracy)
        expectClose(exit.nll, expected.nll, tolerance: roundedProbabilities, "\(name) \(exit.name)")
        expectClose(exit.ece.value, expected.ece15, tolerance: roundedProbabilities, "\(name) \(exit.name)")
        #expect(exit.ece.bins == 15)
        for foreign in exit.ood {
          let auroc = try #require(foreign.scores["maximumProbability"]?.auroc)
          expectClose(
            auroc, try #require(measured.aurocAgainstTest[foreign.name]?[exit.name]),
            tolerance: exit.name == "exit_1" ? partedPairs : tiedPairs, "\(foreign.name) \(exit.name)")
        }
      }
    }
  }

  @Test func logitsAreThoseOfKeras() async throws {
    struct Golden: Decodable {
      struct Exit: Decodable {
        var name: String
        var logits: [Double]
        var probabilities: [Double]
      }
      var labels: [Int]
      var exits: [Exit]
    }
    let golden = try Digits.decode(Golden.self, from: "golden.json")
    let folder = try TestFolder()
    try await folder.succeed(
      "predict", Digits.checkpoint, "--data", Digits.test, "--rows", "0:8", "-o", "predictions.h5")
    let archive = try HDF5Archive(folder.path("predictions.h5"))
    #expect(try archive.readIntegers("/labels", rows: nil) == golden.labels)
    for (index, exit) in golden.exits.enumerated() {
      #expect(try archive.text("name", of: "/exits/\(index)") == exit.name)
      expectClose(
        try archive.read("/exits/\(index)/logits", as: Double.self), Tensor(shape: [8, 10], exit.logits),
        tolerance: singlePrecision, exit.name)
      expectClose(
        try archive.read("/exits/\(index)/probabilities", as: Double.self),
        Tensor(shape: [8, 10], exit.probabilities), tolerance: singlePrecision, exit.name)
    }
  }

  @Test func posteriorFindsItsCheckpointWhereItWasAndBesideItself() async throws {
    let folder = try TestFolder()
    for name in ["there", "elsewhere"] {
      try FileManager.default.createDirectory(atPath: folder.path(name), withIntermediateDirectories: true)
    }
    try FileManager.default.copyItem(atPath: Digits.checkpoint, toPath: folder.path("there/model.h5"))
    try await folder.succeed(
      "fit", "laplace", "there/model.h5", "--data", Digits.training, "--prior-precision", "30",
      "--temperature", "1.5", "-o", "there/posterior.h5")
    try await folder.succeed("predict", "there/posterior.h5", "--data", Digits.test, "--rows", "0:50", "-o", "1.h5")
    for name in ["model.h5", "posterior.h5"] {
      try FileManager.default.moveItem(
        atPath: folder.path("there/" + name), toPath: folder.path("elsewhere/" + name))
    }
    try await folder.succeed("predict", "elsewhere/posterior.h5", "--data", Digits.test, "--rows", "0:50", "-o", "2.h5")
    try FileManager.default.moveItem(
      atPath: folder.path("elsewhere/model.h5"), toPath: folder.path("renamed.h5"))
    try await folder.refuse(
      "predict", "elsewhere/posterior.h5", "--data", Digits.test, "-o", "3.h5", code: 65,
      naming: "elsewhere/posterior.h5", "'there/model.h5'", "--checkpoint")
    try await folder.succeed(
      "predict", "elsewhere/posterior.h5", "--data", Digits.test, "--rows", "0:50", "--checkpoint",
      "renamed.h5", "-o", "3.h5")
    #expect(try folder.bytes("1.h5") == folder.bytes("2.h5"))
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5"))
  }

  @Test func existingOutputsAreReplacedOnlyByForce() async throws {
    let folder = try TestFolder()
    let arguments = ["extract", Digits.checkpoint, "--data", Digits.letters, "-o", "records.h5", "--json"]
    let run = try await folder.run(arguments + ["--quiet"])
    #expect(run.exitCode == 0 && run.errors.isEmpty)
    #expect(run.output.contains("\"rows\" : 520"))
    let whole = try folder.bytes("records.h5")
    try Data("mine".utf8).write(to: URL(filePath: folder.path("records.h5")))
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.letters, "-o", "records.h5", code: 74,
      naming: "records.h5", "--force")
    #expect(try folder.bytes("records.h5") == Data("mine".utf8))
    #expect(try await folder.run(arguments + ["--force"]).exitCode == 0)
    #expect(try folder.bytes("records.h5") == whole)
    #expect(try folder.names == ["records.h5"])
  }

  private func expectEqualArchives(
    _ folder: TestFolder, _ first: String, _ second: String, but exceptions: Set<String>
  ) throws {
    let archives = try [first, second].map { try HDF5Archive(folder.path($0)) }
    #expect(archives[0].entries == archives[1].entries)
    var objects: Set<String> = ["/"]
    for entry in archives[0].entries {
      #expect(
        try archives[0].read(entry.path, as: Double.self) == archives[1].read(entry.path, as: Double.self),
        "\(entry.path)")
      objects.formUnion([entry.path, String(entry.path[..<(entry.path.lastIndex(of: "/") ?? entry.path.endIndex)])])
    }
    for object in objects where !object.isEmpty {
      let attributes = try archives.map { try $0.attributes(of: object).filter { !exceptions.contains($0.key) } }
      #expect(attributes[0] == attributes[1], "\(object)")
    }
  }
}

extension TestFolder {
  /// What `evaluate` reports.
  func report(_ arguments: String...) async throws -> Report { try await report(arguments) }

  func report(_ arguments: [String]) async throws -> Report {
    let run = try await run(["evaluate"] + arguments + ["--json", "report.json", "--force"])
    try #require(run.exitCode == 0, "\(run.testDescription)")
    return try Report(json: bytes("report.json"), file: "report.json")
  }
}
