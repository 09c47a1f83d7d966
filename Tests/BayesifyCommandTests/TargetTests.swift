import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Real numbers and several labels a row, from data and not from records.
struct TargetTests {
  /// A network of four outputs whose last layer has no activation.
  static let network = golden("KerasLayers/permute-flatten-dense.h5")
  static let rowCount = 300

  struct Fitted: Decodable {
    struct Exit: Decodable { var noise: Double? }
    var exits: [Exit]
  }

  /// Rows of random pixels in `rows.npy`, and the network's outputs for them.
  private func writeRows(in folder: TestFolder) async throws -> Tensor<Float> {
    let rows = RandomKey(seed: 4).normals([Self.rowCount, 7, 6, 3], as: Float.self)
    try folder.write(Array(rows.elements), shape: rows.shape.dimensions, to: "rows.npy")
    try await folder.succeed("extract", Self.network, "--data", "rows.npy", "--likelihood", "gaussian", "-o", "bare.h5")
    #expect(try HDF5Archive(folder.path("bare.h5")).entry("/targets") == nil)
    return try HDF5Archive(folder.path("bare.h5")).read("/exits/0/logits", as: Float.self)
  }

  private func write(_ targets: Tensor<Double>, named name: String, in folder: TestFolder) throws {
    let rows = try openDataset(folder.path("rows.npy"))
    let inputs = try rows.inputs(0..<targets.rowCount).tensor
    let writers: [any ArrayArchiveWriter] = [
      try NPZArchiveWriter(folder.path(name + ".npz")), try HDF5ArchiveWriter(folder.path(name + ".h5")),
    ]
    for writer in writers {
      try writer.write(inputs, at: "x")
      try writer.write(targets, at: "y")
      try writer.finish()
    }
  }

  /// What several layers cannot do is said before anything is asked of the validation rows.
  @Test func severalLayersAreForClassesAlone() async throws {
    let folder = try TestFolder()
    let logits = try await writeRows(in: folder)
    try write(logits.converted(to: Double.self).map { $0 > 0 ? 1 : 0 }, named: "data", in: folder)
    for likelihood in ["multilabel", "gaussian"] {
      try await folder.refuse(
        "fit", "laplace", Self.network, "--data", "data.h5", "--likelihood", likelihood, "--layers", "last:1",
        "--structure", "diagonal", "--validation", "data.npz", "-o", "no.h5", code: 65,
        naming: "data.h5", "categorical and binary exits alone")
    }
  }

  /// Records of another tool have no digest, so that shapes tell whose they are.
  @Test func recordsOfAnotherNetworkAreRefused() async throws {
    let folder = try TestFolder()
    _ = try await writeRows(in: folder)
    let archive = try HDF5Archive(folder.path("bare.h5"))
    let writer = try HDF5ArchiveWriter(folder.path("foreign.h5"))
    for name in ["features", "logits"] {
      try writer.write(archive.read("/exits/0/\(name)", as: Float.self), at: "/exits/0/\(name)")
    }
    try writer.finish()
    try await folder.refuse(
      "fit", "laplace", Digits.checkpoint, "--data", "foreign.h5", "--prior-precision", "1", "--temperature", "1", "-o",
      "no.h5", code: 65, naming: "foreign.h5", "There are 1 exit(s)")
  }

  @Test func realTargetsOfDataAreFitted() async throws {
    let folder = try TestFolder()
    let logits = try await writeRows(in: folder)
    let errors: Tensor<Double> = RandomKey(seed: 5).normals(logits.shape)
    let targets = Tensor(shape: logits.shape, zip(logits.elements, errors.elements).map { Double($0) + 0.3 * $1 })
    try write(targets, named: "data", in: folder)
    try folder.write(targets.elements.map { Float($0) }, shape: targets.shape.dimensions, to: "y.npy")

    // Under a prior as strong as this the weights have no freedom, and the noise is the root mean square of the errors.
    let options = ["--prior-precision", "1e9", "--json"]
    let expected = 0.3 * (errors.elements.reduce(0) { $0 + $1 * $1 } / Double(errors.count)).squareRoot()
    var posteriors: [LastLayerLaplacePosterior] = []
    try await folder.succeed(
      "extract", Self.network, "--data", "data.h5", "--likelihood", "gaussian", "-o", "records.h5")
    #expect(try HDF5Archive(folder.path("records.h5")).read("/targets", as: Double.self) == targets)
    for (index, source) in [
      [Self.network, "--data", "data.npz", "--likelihood", "gaussian"],
      [Self.network, "--data", "data.h5:x,y", "--likelihood", "gaussian"],
      [Self.network, "--data", "rows.npy", "--labels", "y.npy", "--likelihood", "gaussian"], ["records.h5"],
    ].enumerated() {
      let run = try await folder.run(["fit", "laplace"] + source + options + ["-o", "posterior-\(index).h5"])
      try #require(run.exitCode == 0, "\(run.testDescription)")
      let noise = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8)).exits[0].noise
      expectClose(try #require(noise), expected, tolerance: 1e-4)
      posteriors.append(try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior-\(index).h5"))))
    }
    for index in [0, 1] {
      #expect(posteriors[index].exits[0].noise == posteriors[3].exits[0].noise)
      #expect(posteriors[index].exits[0].logMarginalLikelihood == posteriors[3].exits[0].logMarginalLikelihood)
    }
    // Single precision rounds.
    expectClose(posteriors[2].exits[0].noise, posteriors[3].exits[0].noise, tolerance: 1e-5)
    // Validation reads them too, and predictions need none.
    try await folder.succeed(
      "fit", "laplace", Self.network, "--data", "data.h5", "--rows", "0:200", "--validation", "data.h5", "--validation-rows",
      "200:300", "--likelihood", "gaussian", "-o", "tuned.h5")
    for data in ["data.h5", "rows.npy"] {
      try await folder.succeed("predict", "tuned.h5", "--data", data, "-o", "predictions.h5", "--force")
    }
  }

  @Test func severalLabelsOfDataAreFitted() async throws {
    let folder = try TestFolder()
    let logits = try await writeRows(in: folder)
    let targets = Tensor<Double>(
      shape: logits.shape,
      zip(logits.elements, RandomKey(seed: 6).uniforms(logits.count)).map {
        $1 < 1 / (1 + exp(-Double($0))) ? 1 : 0
      })
    try write(targets, named: "data", in: folder)
    let run = try await folder.run([
      "fit", "laplace", Self.network, "--data", "data.h5", "--rows", "0:200", "--validation", "data.h5", "--validation-rows",
      "200:300", "--likelihood", "multilabel", "--structure", "diagonal", "-o", "posterior.h5",
    ])
    #expect(run.exitCode == 0, "\(run.testDescription)")
    let exit = try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior.h5"))).exits[0]
    var expected = 0.0
    for position in 0..<200 * 4 {
      let margin = Double(logits[position]) * (targets[position] == 1 ? 1 : -1)
      expected -= log(1 + exp(-margin))
    }
    expectClose(try #require(exit.logLikelihood), expected, tolerance: 1e-5)
  }

  @Test func targetsThatDoNotFitAreNamed() async throws {
    let folder = try TestFolder()
    let logits = try await writeRows(in: folder)
    var targets = logits.converted(to: Double.self)
    targets[5, 2] = .nan
    try write(targets, named: "bad", in: folder)
    try write(Tensor(zeros: [Self.rowCount, 3]), named: "narrow", in: folder)
    let fit = ["--likelihood", "gaussian", "--prior-precision", "1", "-o", "no.h5"]
    for (name, words) in [("bad.h5", ["Row 5", "nan"]), ("narrow.npz", ["[300, 3]", "4 output(s)", "[rows, 4]"])] {
      let run = try await folder.run(["fit", "laplace", Self.network, "--data", name] + fit)
      #expect(run.exitCode == 65 && run.errorLines.count == 1, "\(run.testDescription)")
      for word in words + [name] { #expect(run.errors.contains(word), "\(word) in \(run.testDescription)") }
    }
    try await folder.refuse(
      "fit", "laplace", Self.network, "--data", "rows.npy", "--likelihood", "gaussian", "--prior-precision", "1", "-o",
      "no.h5", code: 65, naming: "rows.npy", "exit 0", "no targets")
    try await folder.refuse(
      "fit", "laplace", Self.network, "--data", "narrow.h5:x", "--likelihood", "gaussian", "--prior-precision", "1", "--noise",
      "1", "--ignore-label", "3", "-o", "no.h5", code: 64, naming: "--ignore-label")
  }
}
