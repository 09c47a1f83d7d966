import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Files and options that must be refused: by code, in one sentence, and without a trace.
struct BadInputTests {
  @Test(arguments: [
    ("not-hdf5.h5", ["not an HDF5 file", "download"]),
    ("empty.h5", ["0 bytes"]),
    ("truncated.h5", ["truncated", "copy or download it again"]),
    ("missing-weight.h5", ["head/weight", "[48, 4]"]),
    ("wrong-shape.h5", ["head/kernel", "[4, 48]", "[48, 4]"]),
    ("unknown-layer.h5", ["mystery", "MysteryLayer", "lambda_scale", "Lambda"]),
    ("nan-weight.h5", ["conv/kernel", "finite"]),
    ("negative-variance.h5", ["moving_variance", "Element 1 is -1.0"]),
  ])
  func brokenCheckpointsAreRefusedByEveryVerb(_ name: String, _ needles: [String]) async throws {
    let file = golden("BrokenCheckpoints/" + name)
    let folder = try TestFolder()
    let runs = try await [
      folder.refuse("inspect", file, code: 65, naming: file),
      folder.refuse("extract", file, "--data", Digits.test, "-o", "out.h5", code: 65, naming: file),
      folder.refuse(
        "fit", "laplace", file, "--data", Digits.training, "--validation", Digits.validation, "-o", "out.h5",
        code: 65, naming: file),
      folder.refuse("predict", file, "--data", Digits.test, "-o", "out.npz", code: 65, naming: file),
      folder.refuse(
        "evaluate", file, "--data", Digits.test, "--json", "out.json", "--html", "out.html", code: 65,
        naming: file),
    ]
    for run in runs {
      for needle in needles {
        #expect(run.errors.contains(needle), "'\(needle)' in \(run.testDescription)")
      }
      #expect(run.errors == runs[0].errors)
    }
  }

  /// Names are a stranger's: they neither break a message's line nor steer the terminal.
  @Test func controlCharactersInNamesAreWrittenOut() async throws {
    let folder = try TestFolder()
    let run = try await folder.refuse("inspect", "a\nb\u{1B}[2J.h5", code: 74, naming: #"a\nb\u{1B}[2J.h5"#)
    #expect(!run.errors.contains("\u{1B}"))
  }

  /// Its tensors can be listed; nothing else can be done with it.
  @Test func weightsAloneNeedAnArchitecture() async throws {
    let file = golden("BrokenCheckpoints/no-config.h5")
    let folder = try TestFolder()
    let listing = try await folder.succeed("inspect", file).output
    #expect(listing.contains("8 tensors, 265 numbers") && listing.contains("--architecture"))
    try await folder.refuse(
      "extract", file, "--data", Digits.test, "-o", "out.h5", code: 65, naming: file, "no description of the network",
      "--architecture FILE", "model.to_json()")
    try await folder.refuse(
      "predict", file, "--data", Digits.test, "-o", "out.npz", code: 65, naming: file, "--architecture FILE")
    // The description is that of the whole model beside it, which needs none itself.
    let whole = golden("BrokenCheckpoints/valid.h5")
    try await folder.succeed("inspect", file, "--architecture", whole)
    try await folder.refuse("inspect", whole, "--architecture", whole, code: 65, naming: whole, "leave --architecture out")
  }

  @Test func soundCheckpointBesideThemIsAccepted() async throws {
    try await TestFolder().succeed("inspect", golden("BrokenCheckpoints/valid.h5"))
  }

  /// What the processor does not have is said at once, by every verb that runs networks.
  @Test(
    .enabled(if: !InferencePrecision.bfloat16.isSupported),
    arguments: [["extract", "-o", "out.h5"], ["predict", "-o", "out.npz"], ["evaluate", "--json", "out.json"]])
  func precisionsThatTheProcessorLacksAreRefused(_ verb: [String]) async throws {
    let folder = try TestFolder()
    let arguments = [verb[0], Digits.checkpoint, "--data", Digits.test] + verb[1...] + ["--quiet", "--precision"]
    let refused = try await folder.run(arguments + ["bfloat16"])
    #expect(refused.exitCode == 64 && refused.errorLines.count == 1, "\(refused.testDescription)")
    #expect(refused.errors.contains("bfloat16 needs a processor with AMX"), "\(refused.testDescription)")
    #expect(refused.errors.contains("use float32"), "\(refused.testDescription)")
    let unknown = try await folder.run(arguments + ["float16"])
    #expect(unknown.exitCode == 64 && unknown.errors.contains("float16"), "\(unknown.testDescription)")
    #expect(try folder.names.isEmpty)
    let sound = try await folder.run(arguments + ["float32"])
    #expect(sound.exitCode == 0, "\(sound.testDescription)")
  }

  @Test func absentInputsAreNamed() async throws {
    let folder = try TestFolder()
    try await folder.refuse("inspect", "absent.h5", code: 74, naming: "absent.h5", "check the path")
    try await folder.refuse("inspect", ".", code: 74, naming: "folder")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "absent.h5", "-o", "out.h5", code: 74, naming: "absent.h5")
    try await folder.refuse(
      "extract", "absent.h5", "--data", Digits.test, "-o", "out.h5", code: 74, naming: "absent.h5")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "--labels", "absent.npy", "-o", "out.h5",
      code: 74, naming: "absent.npy")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", Digits.test, "--class-names", "absent.txt", "-o", "out.h5",
      code: 74, naming: "absent.txt")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--ood", "letters=absent.h5", "--json", "out.json",
      code: 74, naming: "absent.h5")
    try await folder.refuse("report", "absent.json", "-o", "out.html", code: 74, naming: "absent.json")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test + ":pixels", "-o", "out.h5", code: 65,
      naming: Digits.test, "/pixels", "x uint8 [1000, 8, 8, 1]")
  }

  @Test func unfitRowsAreNamed() async throws {
    let folder = try TestFolder()
    let pixels = [Float](repeating: 1, count: 6 * 64)
    func refuse(
      _ data: String, naming needles: [String], labels: String? = nil,
      sourceLocation: Testing.SourceLocation = #_sourceLocation
    ) async throws {
      let outputs = [["extract", "-o", "out.h5"], ["predict", "-o", "out.npz"], ["evaluate", "--json", "out.json"]]
      for output in outputs {
        let arguments = [output[0], Digits.checkpoint, "--data", data] + output[1...]
          + (labels.map { ["--labels", $0] } ?? []) + ["--quiet"]
        let before = try folder.names
        let run = try await folder.run(arguments)
        #expect(
          run.exitCode == 65 && run.errorLines.count == 1 && needles.allSatisfy { run.errors.contains($0) },
          "\(run.testDescription)", sourceLocation: sourceLocation)
        #expect(try folder.names == before, sourceLocation: sourceLocation)
      }
    }

    var values = pixels
    values[3 * 64 + 7] = .nan
    try folder.write(values, shape: [6, 8, 8, 1], to: "nan.npy")
    try folder.write([0, 1, 2, 3, 4, 5] as [UInt8], shape: [6], to: "labels.npy")
    try await refuse("nan.npy", naming: ["nan.npy", "Row 3", "nan"], labels: "labels.npy")
    values[3 * 64 + 7] = -.infinity
    try folder.write(values, shape: [6, 8, 8], to: "infinite.npy")
    try await refuse("infinite.npy", naming: ["infinite.npy", "Row 3", "-inf"], labels: "labels.npy")
    for pixel in 0..<64 { values[3 * 64 + pixel] = 3e38 }
    try folder.write(values, shape: [6, 8, 8, 1], to: "huge.npy")
    try await refuse("huge.npy", naming: ["huge.npy", "Row 3", "exit_"], labels: "labels.npy")

    try folder.write(pixels, shape: [6, 8, 8, 1], to: "pixels.npy")
    try folder.write([0, 1, 2, 10, 4, 5] as [UInt8], shape: [6], to: "beyond.npy")
    try await refuse("pixels.npy", naming: ["beyond.npy", "Row 3", "label", "10", "0 to 9"], labels: "beyond.npy")
    // A row's number is that of the file, whatever range of rows is used.
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "pixels.npy", "--labels", "beyond.npy", "--rows", "2:6", "-o",
      "out.h5", code: 65, naming: "Row 3")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "huge.npy", "--rows", "2:6", "-o", "out.h5", code: 65,
      naming: "Row 3")
    try folder.write([0, 1, -1, 2, 4, 5] as [Float], shape: [6], to: "negative.npy")
    try await refuse("pixels.npy", naming: ["negative.npy", "Row 2", "-1"], labels: "negative.npy")
    try folder.write([0, 1, 1.5, 2, 4, 5] as [Float], shape: [6], to: "broken.npy")
    try await refuse("pixels.npy", naming: ["broken.npy", "Row 2", "1.5"], labels: "broken.npy")
    try folder.write([0, 1, 2] as [UInt8], shape: [3], to: "few.npy")
    try await refuse("pixels.npy", naming: ["few.npy", "3 labels", "6 rows"], labels: "few.npy")

    try folder.write(pixels, shape: [6, 4, 16, 1], to: "wide.npy")
    try await refuse("wide.npy", naming: ["wide.npy", "[4, 16, 1]", "[8, 8, 1]"], labels: "labels.npy")
    try folder.write(pixels, shape: [6, 64], to: "flat.npy")
    try await refuse("flat.npy", naming: ["flat.npy", "[64]", "[8, 8, 1]"], labels: "labels.npy")
    try folder.write([UInt8](), shape: [0, 8, 8, 1], to: "none.npy")
    try await refuse("none.npy", naming: ["none.npy", "no rows"])
    try folder.write("", to: "empty.npy")
    try await refuse("empty.npy", naming: ["empty.npy", "empty"])
    try folder.write("pixel,pixel\n1,2\n", to: "text.npy")
    try await refuse("text.npy", naming: ["text.npy", "HDF5, .npz, .npy, IDX, .csv"])
  }

  @Test func rowRangesOutOfBoundsAreRefused() async throws {
    let folder = try TestFolder()
    for range in ["990:1010", "1000:1001"] {
      try await folder.refuse(
        "extract", Digits.checkpoint, "--data", Digits.test, "--rows", range, "-o", "out.h5", code: 65,
        naming: Digits.test, range, "1000")
    }
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.test, "--rows", "990:1000", "-o", "records.h5")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", "records.h5", "--rows", "0:11", "-o", "out.h5", code: 65,
      naming: "records.h5", "0:11", "10")
    for range in ["5:5", "7:3", "-1:3", "3", ":", "a:b", "0:99999999999999999999"] {
      try await folder.refuse(
        "extract", Digits.checkpoint, "--data", Digits.test, "--rows=" + range, "-o", "out.h5", code: 64,
        naming: "--rows")
    }
  }

  @Test func outputsThatCannotBeWrittenAreRefused() async throws {
    let folder = try TestFolder()
    try folder.write("a file", to: "file")
    try await folder.succeed("evaluate", Digits.checkpoint, "--data", Digits.test, "--json", "report.json")
    // Permissions do not bind the superuser; a folder that is a file, and /proc, bind all.
    for output in ["absent/out", "file/out", "/proc/self/out", "/proc/out", "/dev/null", "file", "."] {
      try await folder.refuse(
        "extract", Digits.checkpoint, "--data", Digits.test, "-o", output, code: 74, naming: output)
      try await folder.refuse(
        "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1",
        "--temperature", "1", "-o", output, code: 74, naming: output)
      try await folder.refuse(
        "predict", Digits.checkpoint, "--data", Digits.test, "-o", output, code: 74, naming: output)
      try await folder.refuse(
        "evaluate", Digits.checkpoint, "--data", Digits.test, "--json", output, code: 74, naming: output)
      try await folder.refuse(
        "evaluate", Digits.checkpoint, "--data", Digits.test, "--json", "out.json", "--html", output,
        code: 74, naming: output)
      try await folder.refuse("report", "report.json", "-o", output, code: 74, naming: output)
    }
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", Digits.test, "-o", "/proc/out.npz", code: 74, naming: "/proc/out.npz")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "-o", "/dev/full", "--force", code: 74,
      naming: "/dev/full", "device")
    #expect(try folder.bytes("file") == Data("a file".utf8))
  }

  @Test func inputsAreNeverReplacedEvenByForce() async throws {
    let folder = try TestFolder()
    try FileManager.default.copyItem(atPath: Digits.checkpoint, toPath: folder.path("model.h5"))
    try FileManager.default.copyItem(atPath: Digits.test, toPath: folder.path("test.h5"))
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("link.h5"), withDestinationPath: folder.path("test.h5"))
    for output in ["./model.h5", "test.h5", "link.h5"] {
      try await folder.refuse(
        "extract", "model.h5", "--data", "test.h5:x,y", "-o", output, "--force", code: 74, naming: output)
      try await folder.refuse(
        "fit", "laplace", "model.h5", "--data", "test.h5", "--prior-precision", "1", "--temperature", "1",
        "-o", output, "--force", code: 74, naming: output)
      try await folder.refuse(
        "predict", "model.h5", "--data", "link.h5", "-o", output, "--force", code: 74, naming: output)
      try await folder.refuse(
        "evaluate", "model.h5", "--data", "test.h5", "--html", output, "--force", code: 74, naming: output)
    }
    #expect(try folder.bytes("model.h5") == Data(contentsOf: URL(filePath: Digits.checkpoint)))
    #expect(try folder.bytes("test.h5") == Data(contentsOf: URL(filePath: Digits.test)))
  }

  @Test func recordsAndPosteriorsOfAnotherCheckpointAreRefused() async throws {
    let folder = try TestFolder()
    let other = golden("BrokenCheckpoints/valid.h5")
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5")
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "1", "--temperature", "1", "-o", "posterior.h5")
    try await folder.refuse(
      "predict", other, "--data", "records.h5", "-o", "out.h5", code: 65, naming: "records.h5", "checkpoint",
      "extract")
    try await folder.refuse(
      "evaluate", other, "--data", "records.h5", "--json", "out.json", code: 65, naming: "records.h5",
      "checkpoint")
    try await folder.refuse(
      "fit", "laplace", other, "--data", "records.h5", "--prior-precision", "1", "--temperature", "1", "-o",
      "out.h5", code: 65, naming: "records.h5", "checkpoint")
    try await folder.refuse(
      "predict", "posterior.h5", "--checkpoint", other, "--data", Digits.test, "-o", "out.h5", code: 65,
      naming: "posterior.h5", other, "--checkpoint")
    try await folder.refuse(
      "fit", "laplace", "records.h5", "--validation", Digits.validation, "-o", "out.h5", code: 65,
      naming: Digits.validation, "records.h5")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", "records.h5", "-o", "out.h5", code: 65, naming: "records.h5")
    try await folder.refuse(
      "extract", "posterior.h5", "--data", Digits.test, "-o", "out.h5", code: 65, naming: "posterior.h5")
    try await folder.refuse(
      "evaluate", "records.h5", "--data", "records.h5", "--json", "out.json", code: 65, naming: "records.h5",
      "--data")
    try folder.write([UInt8](repeating: 1, count: 297), shape: [297], to: "labels.npy")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "records.h5", "--labels", "labels.npy", "--json", "out.json",
      code: 65, naming: "labels.npy", "records.h5")
  }

  @Test func otherPreprocessingThanTheStoredIsRefused() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.training, "--scale", "2", "-o", "records.h5")
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1",
      "--temperature", "1", "--scale", "2", "-o", "posterior.h5")
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", "records.h5", "--scale", "3", "-o", "out.h5", code: 65,
      naming: "records.h5", "--scale 2")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", Digits.test, "--mean", "1", "-o", "out.h5", code: 65,
      naming: "--scale 2")
    try await folder.refuse(
      "evaluate", "posterior.h5", "--data", Digits.test, "--scale", "1", "--json", "out.json", code: 65,
      naming: "--scale 2")
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.training, "-o", "unscaled.h5")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", "unscaled.h5", "-o", "out.h5", code: 65, naming: "unscaled.h5",
      "preprocessing")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "--mean", "1,2,3", "-o", "out.h5", code: 65,
      naming: Digits.test, "3 mean(s)", "1 channel(s)")
    // The same again, or nothing, is fine.
    try await folder.succeed("predict", "posterior.h5", "--data", Digits.test, "--rows", "0:50", "--scale", "2",
      "-o", "1.h5")
    try await folder.succeed("predict", "posterior.h5", "--data", Digits.test, "--rows", "0:50", "-o", "2.h5")
    #expect(try folder.bytes("1.h5") == folder.bytes("2.h5"))
  }

  @Test func openLikelihoodsNameTheOption() async throws {
    let folder = try TestFolder()
    let open = golden("KerasLayers/permute-flatten-dense.h5")
    let shape = try await inputShape(of: open, folder)
    let count = 3 * shape.reduce(1, *)
    try folder.write([Float](repeating: 0.5, count: count), shape: [3] + shape, to: "rows.npy")
    try await folder.refuse(
      "extract", open, "--data", "rows.npy", "-o", "out.h5", code: 65, naming: open, "--likelihood",
      "categorical", "gaussian")
    try await folder.succeed(
      "extract", open, "--data", "rows.npy", "--likelihood", "categorical", "-o", "records.h5")
    try await folder.refuse(
      "predict", open, "--data", "rows.npy", "--likelihood", "gaussian", "-o", "out.h5", code: 65,
      naming: "gaussian")
    try await folder.refuse(
      "predict", open, "--data", "rows.npy", "--likelihood", "unclear", "-o", "out.h5", code: 64,
      naming: "--likelihood", "unclear")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "--likelihood", "gaussian", "-o", "out.h5",
      code: 65, naming: "exit_1", "categorical", "--likelihood", "gaussian")
  }

  @Test func wrongNumberOfClassNamesIsRefused() async throws {
    let folder = try TestFolder()
    try folder.write((1...9).map { "class \($0)" }.joined(separator: "\n"), to: "names.txt")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "--class-names", "names.txt", "-o", "out.h5",
      code: 65, naming: "9 class names", "10 classes")
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "records.h5")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "records.h5", "--class-names", "names.txt", "--json",
      "out.json", code: 65, naming: "9 class names", "10 classes")
    try Data([0xFF, 0xFE, 0x00]).write(to: URL(filePath: folder.path("binary.txt")))
    try await folder.refuse(
      "extract", Digits.checkpoint, "--data", Digits.test, "--class-names", "binary.txt", "-o", "out.h5",
      code: 65, naming: "binary.txt", "UTF-8")
    let report = try await folder.report(
      Digits.checkpoint, "--data", "records.h5", "--class-names", Digits.classNames)
    #expect(report.classNames == (0...9).map(String.init))
  }

  @Test func missingLabelsNameTheOption() async throws {
    let folder = try TestFolder()
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.letters, "--json", "out.json", code: 65,
      naming: Digits.letters, "--labels")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--validation", Digits.noise, "--json", "out.json",
      code: 65, naming: Digits.noise, "--validation-labels")
    try await folder.refuse(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.noise, "-o",
      "out.h5", code: 65, naming: Digits.noise, "--validation-labels")
    try await folder.refuse(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.letters, "--prior-precision",
      "marginal-likelihood", "--temperature", "1", "-o", "out.h5", code: 65, naming: Digits.letters, "label")
  }

  @Test func malformedReportsAreRefused() async throws {
    let folder = try TestFolder()
    try await folder.succeed("evaluate", Digits.checkpoint, "--data", Digits.test, "--json", "report.json")
    let report = String(decoding: try folder.bytes("report.json"), as: UTF8.self)
    func refuse(
      _ text: String, naming needles: String..., sourceLocation: Testing.SourceLocation = #_sourceLocation
    ) async throws {
      #expect(text != report, sourceLocation: sourceLocation)
      try folder.write(text, to: "bad.json")
      let run = try await folder.refuse(
        "report", "bad.json", "-o", "out.html", code: 65, naming: "bad.json", sourceLocation: sourceLocation)
      for needle in needles {
        #expect(run.errors.contains(needle), "\(run.testDescription)", sourceLocation: sourceLocation)
      }
    }
    try await refuse("", naming: "JSON")
    try await refuse("{", naming: "JSON")
    try await refuse("[]", naming: "object")
    try await refuse("{}", naming: "schema")
    try await refuse(String(report.dropLast(report.count / 2)), naming: "JSON")
    try await refuse(report.replacing("\"schema\" : 1", with: "\"schema\" : 2"), naming: "schema", "2")
    try await refuse(report.replacing("\"title\"", with: "\"titel\""), naming: "title", "missing")
    try await refuse(
      report.replacing(/"accuracy" : 0\.856,/, with: "\"accuracy\" : 1.5,"), naming: "models[0].exits[0]", "1.5")
    try await refuse(
      report.replacing(/"rowCount" : 1000/, with: "\"rowCount\" : \"many\""), naming: "rowCount", "whole number")
  }

  @Test(arguments: [
    ["inspect"],
    ["inspect", "a.h5", "b.h5"],
    ["unknown"],
    ["fit", "magic", "a.h5"],
    ["extract", "a.h5", "--data", "b.h5"],
    ["extract", "a.h5", "-o", "c.h5"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--threads", "0"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--batch", "0"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--batch", "70000"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--seed", "-1"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--scale", "0"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--scale", "nan"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--std", "1,0"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--mean", "1,,2"],
    ["extract", "a.h5", "--data", "b.h5", "-o", "c.h5", "--unknown"],
    ["fit", "laplace", "a.h5", "--data", "b.h5", "-o", "c.h5"],
    ["fit", "laplace", "a.h5", "--data", "b.h5", "--validation", "b.h5", "-o", "c.h5", "--form", "round"],
    ["fit", "laplace", "a.h5", "--data", "b.h5", "--validation", "b.h5", "-o", "c.h5", "--draws", "1"],
    ["fit", "laplace", "a.h5", "--data", "b.h5", "--validation", "b.h5", "-o", "c.h5", "--temperature", "0"],
    ["fit", "laplace", "a.h5", "--data", "b.h5", "--validation", "b.h5", "-o", "c.h5", "--prior-precision", "inf"],
    ["evaluate", "a.h5"],
    ["evaluate", "a.h5", "--data", "b.h5", "--ood", "nameless.h5"],
    ["evaluate", "a.h5", "--data", "b.h5", "--ood", "a=c.h5", "--ood", "a=d.h5"],
    ["evaluate", "a.h5", "--data", "b.h5", "--bins", "0"],
    ["evaluate", "a.h5", "--data", "b.h5", "--json", "c", "--html", "./c"],
    ["report", "a.json"],
  ])
  func usageErrorsPointToHelp(_ arguments: [String]) async throws {
    let folder = try TestFolder()
    let run = try await folder.run(arguments)
    #expect(run.exitCode == 64, "\(run.testDescription)")
    #expect(run.errorLines.count == 1 && run.errors.hasPrefix("bayesify: "), "\(run.testDescription)")
    #expect(run.errors.contains("--help'."), "\(run.testDescription)")
    #expect(try run.output.isEmpty && folder.names.isEmpty)
  }

  @Test func trainingRowsMustBeGiven() async throws {
    try await TestFolder().refuse(
      "fit", "laplace", Digits.checkpoint, "--validation", Digits.validation, "-o", "out.h5", code: 64,
      naming: "--data")
  }

  private func inputShape(of checkpoint: String, _ folder: TestFolder) async throws -> [Int] {
    struct Shape: Decodable { var inputShape: [Int] }
    let run = try await folder.succeed("inspect", checkpoint, "--json")
    return try JSONDecoder().decode(Shape.self, from: Data(run.output.utf8)).inputShape
  }
}
