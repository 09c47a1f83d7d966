import BayesFiles
import BayesPrediction
import BayesReport
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Inputs that are fine alone and do not belong together.
@Suite struct MixedInputTests {
  private let rotated = Digits.path("ood-rotated.h5")

  /// Preprocessing that was used once is used again; other preprocessing beside it is refused.
  @Test func preprocessingOfRecordsHoldsForAllInputs() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "--scale", "2", "-o", "half.h5")
    try await folder.succeed("extract", Digits.checkpoint, "--data", rotated, "--scale", "2", "-o", "half-ood.h5")
    try await folder.succeed("extract", Digits.checkpoint, "--data", rotated, "-o", "whole-ood.h5")
    let records = try await folder.report(Digits.checkpoint, "--data", "half.h5", "--ood", "rotated=half-ood.h5")
    let raw = try await folder.report(Digits.checkpoint, "--data", "half.h5", "--ood", "rotated=\(rotated)")
    #expect(records.models == raw.models)
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "half.h5", "--ood", "rotated=whole-ood.h5", "--json", "no.json",
      code: 65, naming: "whole-ood.h5", "half.h5", "--scale 2.0")
    try await folder.refuse(
      "fit", "laplace", "half.h5", "--validation", "whole-ood.h5", "-o", "no.h5", code: 65, naming: "whole-ood.h5",
      "--scale 2.0")
  }

  @Test func recordsOfAnotherNetworkAreRefused() async throws {
    let folder = try TestFolder()
    try writeForeignRecords(to: folder.path("foreign.h5"))
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "foreign.h5", "--json", "no.json", code: 65, naming: "foreign.h5",
      "1 exit(s)")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--ood", "a=foreign.h5", "--json", "no.json", code: 65,
      naming: "foreign.h5", "1 exit(s)")
  }

  /// A single number stands where rows of features should be.
  @Test func featuresWithoutRowsAreRefused() async throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("scalar.h5"))
    try writer.write(Tensor<Float>(zeros: [4, 3]), at: "/exits/0/logits")
    try writer.write(Tensor<Float>(zeros: []), at: "/exits/0/features")
    try writer.finish()
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "scalar.h5", code: 65, naming: "scalar.h5", "/exits/0/features")
  }

  @Test func logitsOfNoClassesAreRefused() async throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("empty.h5"))
    try writer.write(Tensor<Float>(zeros: [4, 0]), at: "/exits/0/logits")
    try writer.finish()
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", "empty.h5", code: 65, naming: "empty.h5", "/exits/0/logits")
  }

  /// Features, logits and labels from elsewhere are enough where the checkpoint has the heads.
  @Test func recordsWithoutHeadsTakeThoseOfTheCheckpoint() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "own.h5")
    let own = try HDF5Archive(folder.path("own.h5"))
    for (name, shift) in [("bare.h5", Float(0)), ("other.h5", 1)] {
      let writer = try HDF5ArchiveWriter(folder.path(name))
      for exit in 0..<3 {
        try writer.write(own.read("/exits/\(exit)/features", as: Float.self), at: "/exits/\(exit)/features")
        let logits = try own.read("/exits/\(exit)/logits", as: Float.self).map { $0 + shift }
        try writer.write(logits, at: "/exits/\(exit)/logits")
      }
      try writer.write(own.readIntegers("/labels", rows: nil), at: "/labels")
      try writer.finish()
    }
    let common = ["--prior-precision", "30", "--temperature", "1", "--json"]
    let expected = try await folder.run(["fit", "laplace", "own.h5", "-o", "a.h5"] + common)
    let actual = try await folder.run(["fit", "laplace", Digits.checkpoint, "--data", "bare.h5", "-o", "b.h5"] + common)
    #expect(actual.exitCode == 0, "\(actual.testDescription)")
    let (a, b) = (try HDF5Archive(folder.path("a.h5")), try HDF5Archive(folder.path("b.h5")))
    for path in ["/exits/2/inputValues", "/exits/2/outputValues", "/exits/0/inputVectors"] {
      #expect(try a.read(path, as: Double.self) == b.read(path, as: Double.self), "\(path) \(expected.testDescription)")
    }
    try await folder.refuse(
      "fit", "laplace", "bare.h5", "--prior-precision", "30", "--temperature", "1", "-o", "no.h5", code: 65,
      naming: "bare.h5", "head")
    try await folder.refuse(
      "fit", "laplace", "bare.h5", "--validation", "own.h5", "-o", "no.h5", code: 65, naming: "bare.h5", "linear head")
    // Rows that went through another network are found out.
    try await folder.refuse(
      "fit", "laplace", Digits.checkpoint, "--data", "other.h5", "--prior-precision", "30", "--temperature", "1", "-o",
      "no.h5", code: 65, naming: "other.h5", "head")
  }

  @Test func inputsAreNeverOverwritten() async throws {
    let folder = try TestFolder()
    for name in ["digits.h5", "train.h5"] {
      try FileManager.default.copyItem(atPath: Digits.path(name), toPath: folder.path(name))
    }
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--reference", "train.h5", "--json", "train.h5", "--force",
      code: 74, naming: "train.h5", "also read")
    try await folder.succeed(
      "fit", "laplace", "digits.h5", "--data", "train.h5", "--prior-precision", "30", "--temperature", "1", "-o",
      "posterior.h5")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", Digits.test, "-o", "digits.h5", "--force", code: 74, naming: "digits.h5",
      "also read")
    #expect(try folder.bytes("digits.h5") == Data(contentsOf: URL(filePath: Digits.checkpoint)))
  }

  @Test func classNamesMayEndInAnyLineBreak() async throws {
    let folder = try TestFolder()
    try folder.write((0..<10).map { "digit \($0)\r\n" }.joined(), to: "names.txt")
    try await folder.succeed(
      "extract", Digits.checkpoint, "--data", Digits.test, "--rows", "0:9", "--class-names", "names.txt", "-o", "out.h5")
    let archive = try HDF5Archive(folder.path("out.h5"))
    #expect(try archive.attribute("classNames") == .texts((0..<10).map { "digit \($0)" }))
  }

  @Test func absurdNumbersOfThreadsAreRefused() async throws {
    let folder = try TestFolder()
    let run = try await folder.run([
      "extract", Digits.checkpoint, "--data", Digits.test, "--threads", "\(Int.max)", "-o", "out.h5",
    ])
    #expect(run.exitCode == 64)
    #expect(run.errors.contains("--threads"))
  }

  private func writeForeignRecords(to path: String) throws {
    let writer = try HDF5ArchiveWriter(path)
    try writer.write(Tensor<Float>(zeros: [4, 3]), at: "/exits/0/logits")
    try writer.write([0, 1, 2, 0], at: "/labels")
    try writer.finish()
  }
}
