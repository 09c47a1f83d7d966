import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Networks that answer at every pixel of an image or every step of a sequence.
struct SegmentationTests {
  /// Keras computes in single precision, in another order.
  private let singlePrecision = 1e-5

  private static func file(_ name: String) -> String { golden("Segmentation/\(name).h5") }

  private static func keras(_ name: String) throws -> GoldenValue {
    try GoldenValue(contentsOf: "Segmentation/\(name).json")
  }

  /// Writes images, and labels where there are any, under the names that data files use.
  private func write(
    _ images: Tensor<Float>, labels: [Int]? = nil, shape: Shape = [], to name: String, in folder: TestFolder
  ) throws {
    let writer = try HDF5ArchiveWriter(folder.path(name))
    try writer.write(images, at: "/x")
    if let labels { try writer.append(labels, shape: shape, to: "/y") }
    try writer.finish()
  }

  /// The images and labels of the plain network as training, validation and test sets.
  private func writeSets(in folder: TestFolder) throws {
    let keras = try Self.keras("plain")
    let images = keras["input"].tensor(as: Float.self)
    let labels = keras["labels"].tensor().elements.map { Int($0) }
    for (name, rows) in [("train.h5", 0..<4), ("validation.h5", 4..<5), ("test.h5", 4..<6)] {
      try write(
        images.rows(rows), labels: Array(labels[rows.lowerBound * 48..<rows.upperBound * 48]), shape: [rows.count, 8, 6],
        to: name, in: folder)
    }
  }

  // MARK: - Keras

  @Test(arguments: [
    ("plain", [8, 6]), ("reshaped", [48]), ("dense", [8, 6]), ("sequence", [7]), ("enlarged-before", [8, 6]),
    ("enlarged-after", [8, 6]), ("one-pixel", []),
  ])
  func recordsAndPredictionsAreThoseOfKeras(name: String, positions: [Int]) async throws {
    let exit = try Self.keras(name)["exits"].list[0]
    let inputs = try Self.keras(name)["input"].tensor(as: Float.self)
    let folder = try TestFolder()
    try write(inputs, to: "data.h5", in: folder)
    try await folder.succeed("extract", Self.file(name), "--data", "data.h5", "-o", "records.h5")
    let archive = try HDF5Archive(folder.path("records.h5"))
    let records = try ArchivedExitRecords(archive)
    let rowCount = inputs.rowCount * positions.reduce(1, *)
    #expect(records.description.positions == positions)
    #expect(records.inputRowCount == inputs.rowCount && records.rowCount == rowCount)
    #expect(try records.rowDigests()?.count == inputs.rowCount)
    let logits = exit["logits"].tensor(as: Float.self)
    expectClose(
      try archive.read("/exits/0/logits"), logits.reshaped(to: [rowCount, logits.count / rowCount]),
      tolerance: singlePrecision)
    let isHeadLast = name != "enlarged-after"
    #expect((records.description.exits[0].head != nil) == isHeadLast)
    if isHeadLast {
      let features = exit["features"].tensor(as: Float.self)
      expectClose(
        try archive.read("/exits/0/features"), features.reshaped(to: [rowCount, features.count / rowCount]),
        tolerance: singlePrecision)
    }

    try await folder.succeed("predict", Self.file(name), "--data", "data.h5", "-o", "predictions.h5")
    let predictions = try HDF5Archive(folder.path("predictions.h5"))
    let probabilities = try predictions.read("/exits/0/probabilities", as: Float.self)
    let output = exit["output"].tensor(as: Float.self)
    let isBinary = name == "dense"
    #expect(probabilities.shape == Shape([inputs.rowCount] + positions + [isBinary ? 2 : 4]))
    expectClose(
      isBinary
        ? Tensor(shape: output.shape, (0..<output.count).map { probabilities[2 * $0 + 1] })
        : probabilities.reshaped(to: output.shape), output, tolerance: singlePrecision)
    #expect(predictions.entry("/exits/0/total")?.shape == Shape([inputs.rowCount] + positions))
  }

  @Test func ensemblesAreAveragedAtEveryPixel() async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    let members = ["plain", "enlarged-before"]
    var ofMembers: [Tensor<Float>] = []
    for name in members {
      try await folder.succeed("predict", Self.file(name), "--data", "test.h5:x", "-o", name + ".h5")
      ofMembers.append(try HDF5Archive(folder.path(name + ".h5")).read("/exits/0/probabilities"))
    }
    try await folder.succeed(["fit", "ensemble"] + members.map(Self.file) + ["-o", "ensemble.h5"])
    try await folder.succeed("predict", "ensemble.h5", "--data", "test.h5:x", "-o", "predictions.h5")
    let predictions = try HDF5Archive(folder.path("predictions.h5"))
    let mean = Tensor(
      shape: [2, 8, 6, 4], zip(ofMembers[0].elements, ofMembers[1].elements).map { ($0 + $1) / 2 })
    expectClose(try predictions.read("/exits/0/probabilities"), mean, tolerance: 1e-6)
    #expect(predictions.entry("/exits/0/epistemic")?.shape == [2, 8, 6])

    let run = try await folder.run(["fit", "ensemble", Self.file("plain"), Self.file("dense"), "-o", "refused.h5"])
    #expect(run.exitCode == 65 && run.errors.contains("dense.h5"), "\(run.testDescription)")
    #expect(try !folder.names.contains("refused.h5"))
  }

  @Test func inspectTellsThePositions() async throws {
    let folder = try TestFolder()
    let plain = try await folder.succeed("inspect", Self.file("plain")).output
    #expect(plain.firstMatch(of: /head +categorical +laplace +5 +4 at \[8, 6\]/) != nil, "\(plain)")
    let enlarged = try await folder.succeed("inspect", Self.file("enlarged-after")).output
    #expect(enlarged.firstMatch(of: /softmax +categorical +none +none +4 at \[8, 6\]/) != nil, "\(enlarged)")
  }

  // MARK: - laplace-torch

  /// The images through our own network, so features and logits are rounded to single precision.
  @Test(arguments: [("full", LaplaceStructure.full), ("kron", .kronecker), ("diag", .diagonal)])
  func posteriorsAreThoseOfLaplaceTorch(key: String, structure: LaplaceStructure) async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    let torch = try GoldenValue(contentsOf: "Laplace/torch-pixels.json")
    let model = try CheckpointModel(Self.file("plain"))
    let backend = try NativeBackend()
    let records = try NetworkRecords(
      model.frozen, over: openDataset(folder.path("train.h5")),
      description: model.frozen.recordsDescription(file: "train.h5", ignoredLabel: 255), stage: "test", on: backend,
      width: 2)
    let recipe = LastLayerLaplace(
      structure: structure, priorPrecision: .fixed(torch["priorPrecision"].number), temperature: .fixed(1))
    let posterior = try await recipe.fit(
      training: records, validation: nil, in: ExecutionContext(backend: backend, key: RandomKey(seed: 1), width: 2))
    let exit = posterior.exits[0]
    #expect(exit.rowCount == torch["features"]["shape"].numbers.map { Int($0) }[0])
    for (actual, name) in [(exit.logLikelihood, "logLikelihood"), (exit.logMarginalLikelihood, "logMarginalLikelihood")] {
      let expected = torch[key][name].number
      #expect(abs(try #require(actual) - expected) <= singlePrecision * abs(expected), "\(name)")
    }
    let features: Tensor<Double> = torch["test"]["features"].tensor()
    let covariance: Tensor<Double> = torch[key]["covariance"].tensor()
    for row in 0..<features.rowCount {
      expectClose(
        exit.logitCovariance(features: features.rows(row..<row + 1).reshaped(to: [5]), on: backend),
        covariance.rows(row..<row + 1).reshaped(to: [4, 4]), tolerance: singlePrecision, "pixel \(row)")
    }
  }

  // MARK: - The command

  private struct Fitted: Decodable {
    struct Ignored: Decodable {
      var label: Int
      var ignored: Int
      var total: Int
    }
    var ignored: [String: Ignored]?
  }

  private func models(_ file: String, in folder: TestFolder) throws -> Data {
    let report = try #require(try JSONSerialization.jsonObject(with: folder.bytes(file)) as? [String: Any])
    return try JSONSerialization.data(withJSONObject: try #require(report["models"]), options: .sortedKeys)
  }

  @Test func checkpointAndRecordsGiveTheSameNumbers() async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    let network = Self.file("plain")
    for set in ["train", "validation", "test"] {
      let run = try await folder.succeed(
        "extract", network, "--data", set + ".h5", "--ignore-label", "255", "-o", set + "-records.h5", "--json")
      #expect(run.output.contains("\"positions\""))
    }
    let run = try await folder.succeed(
      "fit", "laplace", network, "--data", "train.h5", "--validation", "validation.h5", "--ignore-label", "255", "-o",
      "posterior.h5", "--json")
    let void = try Self.keras("plain")["labels"].tensor().elements[..<192].count { $0 == 255 }
    let ignored = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8)).ignored?["training"]
    #expect(ignored?.label == 255 && ignored?.ignored == void && ignored?.total == 192 && void > 0)
    // The records know which label was ignored.
    let text = try await folder.succeed(
      "fit", "laplace", "train-records.h5", "--validation", "validation-records.h5", "-o", "posterior-of-records.h5"
    ).output
    #expect(text.contains("ignored training labels: \(void) of 192 (label 255)"), "\(text)")
    let posteriors = try ["posterior.h5", "posterior-of-records.h5"].map {
      try LastLayerLaplacePosterior(from: HDF5Archive(folder.path($0)))
    }
    #expect(posteriors[0].exits == posteriors[1].exits)
    #expect(posteriors[0].source.positions == [8, 6] && posteriors[0].exits[0].rowCount == 192 - void)

    let sets = ["--conformal", "0.2", "--calibrators", "vector,isotonic"]
    try await folder.succeed(
      [
        "evaluate", network, "posterior.h5", "--data", "test.h5", "--validation", "validation.h5", "--ignore-label",
        "255", "--json", "report.json",
      ] + sets)
    try await folder.succeed(
      [
        "evaluate", network, "posterior.h5", "--data", "test-records.h5", "--validation", "validation-records.h5",
        "--json", "report-of-records.json",
      ] + sets)
    #expect(try models("report.json", in: folder) == models("report-of-records.json", in: folder))
    let report = String(decoding: try folder.bytes("report.json"), as: UTF8.self)
    #expect(report.contains("ignored test labels"))
    let exits = try Report(json: folder.bytes("report.json"), file: "report.json").models.map { $0.exits[0] }
    #expect(exits.count == 5 && exits.allSatisfy { $0.conformal?.first?.rowCount == $0.rowCount })

    try await folder.succeed(
      "predict", "posterior.h5", "--data", "test.h5", "--ignore-label", "255", "-o", "predictions.h5")
    try await folder.succeed("predict", "posterior.h5", "--data", "test-records.h5", "-o", "predictions-of-records.h5")
    let predictions = try ["predictions.h5", "predictions-of-records.h5"].map { try HDF5Archive(folder.path($0)) }
    for (path, shape) in [
      ("probabilities", [2, 8, 6, 4] as Shape), ("logits", [2, 8, 6, 4]), ("epistemic", [2, 8, 6]),
    ] {
      let arrays = try predictions.map { try $0.read("/exits/0/" + path, as: Double.self) }
      #expect(arrays[0] == arrays[1] && arrays[0].shape == shape)
    }
    // Every pixel is predicted, and keeps its label.
    #expect(predictions[0].entry("/labels")?.shape == [2, 8, 6])
    let labels = try Self.keras("plain")["labels"].tensor().elements[192...].map { Int($0) }
    #expect(try predictions[0].readIntegers("/labels", rows: nil) == labels)
    // Rows of records are rows of the network.
    try await folder.succeed("predict", "posterior.h5", "--data", "test-records.h5", "--rows", "1:2", "-o", "second.npz")
    let second = try openDataset(
      folder.path("second.npz"), options: DatasetOptions(inputs: "exits/0/probabilities"))
    let all = try predictions[0].read("/exits/0/probabilities", as: Float.self)
    #expect(second.rowShape == [8, 6, 4])
    expectClose(try second.inputs(0..<1).tensor, all.rows(1..<2), tolerance: 1e-7)
  }

  /// Chunks of records end inside images, and images inside chunks.
  @Test func imagesOfAnySizeMakeWholeChunks() async throws {
    let folder = try TestFolder()
    let images: Tensor<Float> = RandomKey(seed: 3).normals([50, 8, 6, 3], as: Float.self)
    try write(images, to: "data.h5", in: folder)
    try await folder.succeed("extract", Self.file("plain"), "--data", "data.h5", "-o", "records.h5")
    let records = try ArchivedExitRecords(HDF5Archive(folder.path("records.h5")))
    var counts: [Int] = []
    try await records.forEachChunk { counts.append($0.rowCount) }
    #expect(counts == [1024, 1024, 352])
    try await folder.succeed("predict", Self.file("plain"), "--data", "records.h5", "-o", "predictions.h5")
    let model = try CheckpointModel(Self.file("plain"))
    let network = model.frozen.network
    let logits = network.outputs(
      of: [network.exits[0].logits], for: images, parameters: model.frozen.parameters, on: ReferenceBackend())[0]
    expectClose(
      try HDF5Archive(folder.path("predictions.h5")).read("/exits/0/logits"), logits, tolerance: singlePrecision)
  }

  // MARK: - Refusals

  @Test func labelsOfAnotherShapeAreRefused() async throws {
    let folder = try TestFolder()
    let images = try Self.keras("plain")["input"].tensor(as: Float.self)
    for (name, shape) in [("flat.h5", [6, 48] as Shape), ("rows.h5", [6]), ("turned.h5", [6, 6, 8])] {
      try write(images, labels: [Int](repeating: 0, count: shape.elementCount), shape: shape, to: name, in: folder)
      try await folder.refuse(
        "extract", Self.file("plain"), "--data", name, "-o", "out.h5", code: 65, naming: name, "y", "\(shape)",
        "[rows, 8, 6]")
    }
    // And pixels where a row has one answer.
    try write(images, labels: [Int](repeating: 0, count: 288), shape: [6, 8, 6], to: "pixels.h5", in: folder)
    try await folder.refuse(
      "extract", Self.file("one-pixel"), "--data", "pixels.h5", "-o", "out.h5", code: 65, naming: "pixels.h5", "[6, 8, 6]",
      "indices [rows]")
    // A last axis of one, and one-hot pixels, are read.
    try write(images, labels: [Int](repeating: 1, count: 288), shape: [6, 8, 6, 1], to: "deep.h5", in: folder)
    try await folder.succeed("extract", Self.file("plain"), "--data", "deep.h5", "-o", "deep-records.h5")
    try write(images, labels: (0..<1152).map { $0 % 4 == 1 ? 1 : 0 }, shape: [6, 8, 6, 4], to: "hot.h5", in: folder)
    try await folder.succeed("extract", Self.file("plain"), "--data", "hot.h5", "-o", "hot-records.h5")
    #expect(
      try HDF5Archive(folder.path("hot-records.h5")).readIntegers("/labels", rows: nil)
        == [Int](repeating: 1, count: 288))
  }

  @Test func labelsThatAreNoClassAreNamedWithTheirPixel() async throws {
    let folder = try TestFolder()
    let images = try Self.keras("plain")["input"].tensor(as: Float.self)
    var labels = [Int](repeating: 2, count: 288)
    labels[48 + 3 * 6 + 5] = 255
    try write(images, labels: labels, shape: [6, 8, 6], to: "void.h5", in: folder)
    try await folder.refuse(
      "extract", Self.file("plain"), "--data", "void.h5", "-o", "out.h5", code: 65, naming: "void.h5",
      "Row 1 at pixel (3, 5) has label 255", "0 to 3", "--ignore-label 255")
    try await folder.refuse(
      "evaluate", Self.file("plain"), "--data", "void.h5", "--rows", "1:3", "--json", "out.json", code: 65,
      naming: "Row 1 at pixel (3, 5) has label 255")
    // Predictions pass labels on, and those that are no class only where the user says that they are none.
    try await folder.refuse(
      "predict", Self.file("plain"), "--data", "void.h5", "-o", "out.h5", code: 65, naming: "void.h5",
      "Row 1 at pixel (3, 5) has label 255", "--ignore-label 255")
    try await folder.succeed(
      "predict", Self.file("plain"), "--data", "void.h5", "--ignore-label", "255", "-o", "predictions.h5")
    #expect(try HDF5Archive(folder.path("predictions.h5")).readIntegers("/labels", rows: nil) == labels)
    try FileManager.default.removeItem(atPath: folder.path("predictions.h5"))
    labels[48 + 3 * 6 + 5] = -1
    try write(images, labels: labels, shape: [6, 8, 6], to: "negative.h5", in: folder)
    try await folder.refuse(
      "extract", Self.file("plain"), "--data", "negative.h5", "-o", "out.h5", code: 65, naming: "negative.h5",
      "Row 1 at pixel (3, 5)", "-1", "--ignore-label -1")
    try await folder.succeed(
      "extract", Self.file("plain"), "--data", "negative.h5", "--ignore-label", "-1", "-o", "records.h5")
    // Another label is ignored now, so that one counts again.
    try await folder.refuse(
      "evaluate", Self.file("plain"), "--data", "records.h5", "--ignore-label", "0", "--json", "out.json", code: 65,
      naming: "records.h5", "Row 1 at pixel (3, 5) has label -1")
    try await folder.refuse(
      "fit", "laplace", "records.h5", "--ignore-label", "7", "--prior-precision", "1", "--temperature", "1", "-o", "out.h5",
      code: 65, naming: "records.h5", "Row 1 at pixel (3, 5)", "label -1")
    try await folder.refuse(
      "evaluate", Self.file("plain"), "--data", "void.h5", "--rows", "0:1", "--ignore-label", "2", "--json", "out.json",
      code: 65, naming: "void.h5", "All 48 labels are 2")
  }

  @Test func imagesAreNotRotatedAwayFromTheirLabels() async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    let arguments = [
      "evaluate", Self.file("plain"), "--data", "test.h5", "--ignore-label", "255", "--pixel-range", "-10:10", "--json",
      "report.json", "--quiet",
    ]
    let refused = try await folder.run(arguments + ["--shift", "blur,rotation"])
    #expect(refused.exitCode == 65 && refused.errors.contains("rotated labels"), "\(refused.testDescription)")
    try await folder.succeed(arguments + ["--shift", "all"])
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.shift?.corruptions.map(\.name) == ["noise", "blur", "contrast", "brightness", "jpeg"])
    #expect(report.warnings.contains { $0.contains("were not rotated") })
  }

  @Test func exitsAtDifferentPositionsAreRefused() async throws {
    let folder = try TestFolder()
    try write(try Self.keras("two-sizes")["input"].tensor(as: Float.self), to: "data.h5", in: folder)
    try await folder.refuse(
      "extract", Self.file("two-sizes"), "--data", "data.h5", "-o", "out.h5", code: 65, naming: "two-sizes", "exit 1 ('fine')",
      "[8, 6, 4]", "[4, 3, 4]", "same positions")
  }

  /// Nothing to fit behind an enlargement of the logits; everything else works.
  @Test func enlargedLogitsHaveNoHead() async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    try await folder.refuse(
      "fit", "laplace", Self.file("enlarged-after"), "--data", "train.h5", "--ignore-label", "255", "--prior-precision",
      "1", "--temperature", "1", "-o", "out.h5", code: 65, naming: "exit 0 ('softmax')", "1x1 convolution",
      "before the head")
    try await folder.succeed(
      "evaluate", Self.file("enlarged-after"), "--data", "test.h5", "--ignore-label", "255", "--json", "report.json")
  }

  @Test func severalLayersAreForOneAnswerARow() async throws {
    let folder = try TestFolder()
    try writeSets(in: folder)
    try await folder.refuse(
      "fit", "laplace", Self.file("plain"), "--layers", "last:2", "--data", "train.h5", "--prior-precision", "1",
      "--temperature", "1", "--ignore-label", "255", "-o", "out.h5", code: 64, naming: "--ignore-label", "--layers")
    let images = try Self.keras("plain")["input"].tensor(as: Float.self)
    try write(images, labels: [Int](repeating: 1, count: 288), shape: [6, 8, 6], to: "full.h5", in: folder)
    try await folder.refuse(
      "fit", "laplace", Self.file("plain"), "--layers", "last:2", "--data", "full.h5", "--prior-precision", "1",
      "--temperature", "1", "-o", "out.h5", code: 65, naming: "'head'", "[8, 6, 4] a row", "last layer")
  }

  /// A label of no class among rows with one answer each.
  @Test func rowsMayHaveNoAnswerToo() async throws {
    let folder = try TestFolder()
    let images = try Self.keras("one-pixel")["input"].tensor(as: Float.self)
    try write(.stacking([images, images]), labels: [0, 9, 2, 3], shape: [4], to: "data.h5", in: folder)
    let options = ["--data", "data.h5", "--ignore-label", "9", "--prior-precision", "1", "--temperature", "1"]
    let run = try await folder.run(["fit", "laplace", Self.file("one-pixel")] + options + ["-o", "posterior.h5"])
    #expect(run.exitCode == 0 && run.output.contains("ignored training labels: 1 of 4 (label 9)"), "\(run.testDescription)")
    let layers = try await folder.run(
      ["fit", "laplace", Self.file("one-pixel")] + options[..<2] + ["--rows", "2:4"] + options[4...]
        + ["--layers", "last:2", "-o", "layers.h5"])
    try #require(layers.exitCode == 0, "\(layers.testDescription)")
    try await folder.succeed(
      "evaluate", Self.file("one-pixel"), "posterior.h5", "--data", "data.h5", "--ignore-label", "9", "--json", "report.json")
    func models(_ name: String) throws -> [ModelResult] { try Report(json: folder.bytes(name), file: name).models }
    // A posterior that needs the rows themselves passes over the same ones.
    try await folder.succeed(
      "evaluate", Self.file("one-pixel"), "layers.h5", "--data", "data.h5", "--ignore-label", "9", "--json", "other.json")
    let (own, other) = (try models("report.json"), try models("other.json"))
    #expect(own[0].exits == other[0].exits && other[1].exits[0].rowCount == 3)
    try await folder.succeed("predict", "layers.h5", "--data", "data.h5", "--ignore-label", "9", "-o", "predictions.h5")
  }

  @Test func recordsThatEndInsideAnImageAreRefused() async throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("records.h5"))
    try writer.write(Tensor<Float>(zeros: [7, 3]), at: "/exits/0/logits")
    try writer.setAttribute("positions", .integers([2, 2]), of: "/")
    try writer.finish()
    try await folder.refuse(
      "predict", Self.file("plain"), "--data", "records.h5", "-o", "out.h5", code: 65, naming: "records.h5", "7 rows",
      "[2, 2] positions")
    let other = try HDF5ArchiveWriter(folder.path("negative.h5"))
    try other.write(Tensor<Float>(zeros: [7, 3]), at: "/exits/0/logits")
    try other.setAttribute("positions", .integers([2, -2]), of: "/")
    try other.finish()
    try await folder.refuse(
      "predict", Self.file("plain"), "--data", "negative.h5", "-o", "out.h5", code: 65, naming: "negative.h5", "[2, -2]")
  }
}
