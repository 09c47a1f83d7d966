import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Weights of one file and the description of another, through every verb.
struct ArchitectureTests {
  private let weights = golden("KerasLayouts/keras-3.15.1/frozen.weights.h5")
  private let description = golden("KerasLayouts/keras-3.15.1/frozen.json")

  /// Rows for the network, with labels of its two classes.
  private func writeRows(_ folder: TestFolder) throws {
    let writer = try HDF5ArchiveWriter(folder.path("rows.h5"))
    let values = RandomKey(seed: 3).uniforms(60 * 4).map { Float($0) * 2 - 1 }
    try writer.write(Tensor(shape: [60, 4], values), at: "/x")
    try writer.write((0..<60).map { $0 % 2 }, at: "/y")
    try writer.finish()
  }

  @Test func everyVerbTakesADescription() async throws {
    let folder = try TestFolder()
    try writeRows(folder)
    let inspection = try await folder.succeed("inspect", weights, "--architecture", description).output
    #expect(inspection.contains("Keras weights by objects, HDF5") && inspection.contains("categorical"))
    try await folder.succeed(
      "extract", weights, "--architecture", description, "--data", "rows.h5", "-o", "records.h5")
    try await folder.succeed(
      "fit", "laplace", weights, "--architecture", description, "--data", "rows.h5", "--prior-precision", "2",
      "--temperature", "1", "-o", "posterior.h5")
    // The posterior remembers where the description was.
    try await folder.succeed("predict", "posterior.h5", "--data", "rows.h5", "-o", "posterior-predictions.h5")
    try await folder.succeed(
      "predict", weights, "--architecture", description, "--data", "rows.h5", "-o", "predictions.h5")
    try await folder.succeed(
      "evaluate", weights, "posterior.h5", "--architecture", description, "--data", "rows.h5", "--json", "report.json")
    let report = try String(decoding: folder.bytes("report.json"), as: UTF8.self)
    #expect(report.contains("\"architecture\""))

    let records = try HDF5Archive(folder.path("records.h5"))
    let logits = try records.read("/exits/0/logits", rows: nil, as: Float.self)
    let predicted = try HDF5Archive(folder.path("predictions.h5")).read("/exits/0/logits", rows: nil, as: Float.self)
    #expect(logits == predicted)
  }

  /// Records of the same weights under another description are another network's.
  @Test func anotherDescriptionIsAnotherCheckpoint() async throws {
    let folder = try TestFolder()
    try writeRows(folder)
    let text = try String(contentsOfFile: description, encoding: .utf8)
    try folder.write(text.replacing("\"tanh\"", with: "\"relu\""), to: "other.json")
    try await folder.succeed(
      "fit", "laplace", weights, "--architecture", description, "--data", "rows.h5", "--prior-precision", "2",
      "--temperature", "1", "-o", "posterior.h5")
    try await folder.refuse(
      "predict", "posterior.h5", "--architecture", "other.json", "--data", "rows.h5", "-o", "out.h5", code: 65,
      naming: "posterior.h5", "another checkpoint")
  }

  @Test func descriptionsThatAreNotNeededAreRefused() async throws {
    let folder = try TestFolder()
    try await folder.refuse(
      "inspect", Digits.checkpoint, "--architecture", description, code: 65, naming: description,
      "describes its network itself")
    try await folder.refuse(
      "extract", Digits.checkpoint, "--architecture", description, "--data", Digits.test, "-o", "out.h5", code: 65,
      naming: description, "leave --architecture out")
  }

  @Test func descriptionsThatAreNoneAreRefused() async throws {
    let folder = try TestFolder()
    try folder.write("{\"layers\": 3}", to: "senseless.json")
    try await folder.refuse(
      "inspect", weights, "--architecture", "senseless.json", code: 65, naming: "senseless.json", "class_name")
    try await folder.refuse("inspect", weights, "--architecture", "absent.json", code: 74, naming: "absent.json")
    try await folder.refuse(
      "inspect", weights, "--architecture", weights, code: 65, naming: weights, "--architecture FILE")
    // Another network's description does not fit.
    try await folder.refuse(
      "inspect", weights, "--architecture", golden("HostileLayouts/sound.json"), code: 65, naming: weights,
      "where the architecture needs")
  }

  @Test func tensorsOfWeightsAloneAreListed() async throws {
    struct Listing: Decodable {
      struct Entry: Decodable { var name: String; var shape: [Int]; var type: String }
      var format: String
      var parameters: Int
      var tensors: [Entry]
    }
    let text = try await TestFolder().succeed("inspect", weights, "--json").output
    let listing = try JSONDecoder().decode(Listing.self, from: Data(text.utf8))
    #expect(listing.format == "Keras weights by objects, HDF5")
    #expect(listing.tensors.contains { $0.name == "/layers/dense_10/vars/0" && $0.shape == [4, 4] && $0.type == "float32" })
    #expect(listing.parameters == listing.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) })
  }

  @Test func convolutionsOfKeras1TakeTheirBackend() async throws {
    let folder = try TestFolder()
    let file = golden("KerasLayouts/keras-1.2.2-theano/cnn.model.h5")
    try await folder.refuse("inspect", file, code: 65, naming: file, "--keras-backend theano")
    try await folder.succeed("inspect", file, "--keras-backend", "theano")
    #expect(try await folder.run(["inspect", file, "--keras-backend", "abacus"]).exitCode == 64)
  }
}
