import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Smaller networks without the channels that removed weights leave without effect.
struct CompactCommandTests {
  private func sparse(in folder: TestFolder) async throws {
    try await folder.succeed(
      "fit", "spike-slab", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation, "--sampler",
      "descent", "--select", "magnitude", "--sparsity", "40%", "--cycles", "2", "--cycle-epochs", "2", "--snapshots", "2", "-o",
      "sparse.h5", "--quiet")
  }

  @Test func smallerNetworksAnswerTheSame() async throws {
    let folder = try TestFolder()
    try await sparse(in: folder)
    let run = try await folder.succeed(
      "compact", "sparse.h5", "-o", "small.h5", "--posterior", "small-posterior.h5", "--json", "--quiet")
    let summary = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    let (before, after) = (
      try #require(summary["before"] as? [String: Any]), try #require(summary["after"] as? [String: Any])
    )
    for name in ["multiplyAdds", "parameters", "bytes"] {
      #expect(try #require(after[name] as? Int) < (try #require(before[name] as? Int)), "\(name)")
    }
    #expect(try #require(summary["difference"] as? Double) < 1e-5)
    // The posterior of the smaller network, temperatures included, and its own samples.
    for (model, output) in [("sparse.h5", "a.h5"), ("small-posterior.h5", "b.h5"), ("small.h5", "c.h5")] {
      try await folder.succeed("predict", model, "--data", Digits.test, "-o", output, "--quiet")
    }
    for exit in 0..<3 {
      func probabilities(_ file: String) throws -> Tensor<Double> {
        try HDF5Archive(folder.path(file)).read("/exits/\(exit)/probabilities", rows: 0..<100, as: Double.self)
      }
      let (whole, small) = (try probabilities("a.h5"), try probabilities("b.h5"))
      for index in 0..<whole.count { expectClose(small.elements[index], whole.elements[index], tolerance: 1e-5) }
      // The checkpoint alone is one of its networks: it has no mean over them, but the same classes.
      #expect(try probabilities("c.h5").shape == whole.shape)
    }
    let inspected = try await folder.succeed("inspect", "small.h5")
    #expect(inspected.output.contains("Keras") && inspected.output.contains("exit_3"))
    let report = try await folder.succeed(
      "evaluate", "small.h5", "small-posterior.h5", "--data", Digits.test, "--json", "report.json", "--quiet")
    #expect(report.errors.isEmpty)
  }

  @Test func whatCannotBeCompactedIsRefused() async throws {
    let folder = try TestFolder()
    func refuse(_ options: String..., code: Int32, _ words: String) async throws {
      let before = try folder.names
      let run = try await folder.run(["compact"] + options)
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names == before)
    }
    try await refuse(Digits.checkpoint, "-o", "small.h5", code: 65, "No channel is without effect")
    try await refuse(Digits.checkpoint, "-o", "small.h5", "--posterior", "p.h5", code: 65, "leave --posterior out")
    try await refuse(Digits.checkpoint, "-o", "small.h5", "--posterior", "./small.h5", code: 64, "name one file")
    try await refuse(Digits.checkpoint, "-o", "small.txt", code: 64, ".h5")
    try await refuse("missing.h5", "-o", "small.h5", code: 74, "missing.h5")
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation, "-o", "laplace.h5", "--quiet")
    try await refuse("laplace.h5", "-o", "small.h5", code: 65, "No weights were removed by this posterior")
    try await sparse(in: folder)
    try Data("mine".utf8).write(to: URL(filePath: folder.path("small.h5")))
    try await refuse("sparse.h5", "-o", "small.h5", code: 74, "--force")
    #expect(try folder.bytes("small.h5") == Data("mine".utf8))
  }
}
