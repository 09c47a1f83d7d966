import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Fits of layers to rows of which some have no answer.
@Suite struct IgnoredLabelFitTests {
  private static let rowCount = 60

  /// Images of noise, and a label for each; every seventh row has none, or is not there.
  private func rows(for fit: [String], leavingOut: Bool, in folder: TestFolder) throws {
    let (image, classCount) = fit[0] == "ensemble" ? ([6, 6, 2], 3) : ([8, 8, 1], 10)
    let size = image.reduce(1, *)
    for (name, seed) in [("training", 1), ("validation", 2)] as [(String, UInt64)] {
      let pixels = RandomKey(seed: seed).uniforms(Self.rowCount * size).map { UInt8($0 * 17) }
      let kept = (0..<Self.rowCount).filter { !leavingOut || $0 % 7 != 0 }
      try folder.write(
        kept.flatMap { pixels[$0 * size..<($0 + 1) * size] }, shape: [kept.count] + image, to: name + ".npy")
      let labels = kept.map { $0 % 7 == 0 ? 255 : UInt8($0 % classCount) }
      try folder.write(labels, shape: [kept.count], to: name + "-labels.npy")
    }
  }

  private static let validation = ["--validation", "validation.npy", "--validation-labels", "validation-labels.npy"]
  private static let training = ["--data", "training.npy", "--labels", "training-labels.npy"]

  private static let fits: [[String]] = [
    ["latent", Digits.checkpoint, "--layers", "exit_3", "--warm-up-steps", "20", "--epochs", "2", "--batch-rows", "16"]
      + training + validation,
    ["first-layer", Digits.checkpoint, "--epochs", "2", "--patience", "1", "--batch-rows", "16", "--draws", "4"] + training
      + validation,
    ["ensemble", golden("SampledNetworks/one.h5"), golden("SampledNetworks/two.keras")] + validation,
  ]

  /// What a fit says of itself, but how long it took and whose file it is.
  private func summary(_ arguments: [String], _ folder: TestFolder) async throws -> String {
    let run = try await folder.succeed(["fit"] + arguments + ["--json", "-o", "out.h5"])
    if arguments.contains("--ignore-label") {
      for role in arguments[0] == "ensemble" ? ["validation"] : ["training", "validation"] {
        #expect(run.errors.contains("ignored \(role) labels: 9 of 60 (label 255)"), "\(run.testDescription)")
      }
    }
    return run.output.split(separator: "\n").filter { !$0.contains("\"seconds\"") }.joined(separator: "\n")
  }

  @Test(arguments: fits) func rowsWithoutAnAnswerChangeNothing(_ fit: [String]) async throws {
    let (marked, without) = (try TestFolder(), try TestFolder())
    try rows(for: fit, leavingOut: false, in: marked)
    try rows(for: fit, leavingOut: true, in: without)
    let summary = try await summary(fit + ["--ignore-label", "255"], marked)
    #expect(try await summary == self.summary(fit, without))
    #expect(summary.contains("validationNLL"))
    // The ensemble asks for labels of validation rows alone.
    let file = fit[0] == "ensemble" ? "validation-labels.npy" : "training-labels.npy"
    try await expectRefusal(of: fit, marked, file, "label 255", "--ignore-label 255")
    let labels = [UInt8](repeating: 255, count: Self.rowCount)
    try marked.write(labels, shape: [labels.count], to: "validation-labels.npy")
    try await expectRefusal(of: fit + ["--ignore-label", "255"], marked, "validation", "labels are 255")
  }

  private func expectRefusal(of fit: [String], _ folder: TestFolder, _ words: String...) async throws {
    let run = try await folder.run(["fit"] + fit + ["-o", "x.h5", "--quiet"])
    #expect(run.exitCode == 65 && run.errorLines.count == 1, "\(run.testDescription)")
    for word in words { #expect(run.errors.contains(word), "'\(word)' in \(run.testDescription)") }
    #expect(!(try folder.names).contains("x.h5"))
  }
}
