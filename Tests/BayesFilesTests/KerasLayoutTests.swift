import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Every layout that versions of Keras from 1.2 on have written, against the outputs that the same version computed.
@Suite struct KerasLayoutTests {
  private static let folder = TestFiles.golden.appending(path: "KerasLayouts")

  /// The files, below the folder, that come with golden values.
  static let files: [String] = {
    do {
      return try FileManager.default.subpathsOfDirectory(atPath: folder.path(percentEncoded: false))
        .filter { $0.hasSuffix(".golden.json") }.map { String($0.dropLast(".golden.json".count)) }.sorted()
    } catch {
      return []
    }
  }()

  private static let refused = ["keras-1.2.2-tensorflow/th-cnn.model.h5"]

  private func open(_ name: String) throws -> any Checkpoint {
    try openCheckpoint(Self.folder.appending(path: name).path(percentEncoded: false))
  }

  /// Imports a file, with the description of another session where it holds weights alone.
  private func frozen(_ name: String, _ golden: GoldenValue, backend: KerasBackend?) throws -> FrozenNetwork {
    let checkpoint = try open(name)
    guard case .text(let description) = golden["description"] else {
      return try FrozenNetwork(importing: checkpoint, backend: backend)
    }
    #expect(checkpoint.architecture == nil)
    let folder = name.split(separator: "/")[0]
    return try importing(checkpoint, describedBy: open("\(folder)/\(description)"), backend)
  }

  private func importing(
    _ checkpoint: some Checkpoint, describedBy other: some Checkpoint, _ backend: KerasBackend?
  ) throws(FileError) -> FrozenNetwork {
    try FrozenNetwork(importing: checkpoint, describedBy: other, backend: backend)
  }

  private func backend(_ golden: GoldenValue) -> KerasBackend? {
    if case .text(let name) = golden["backend"] { KerasBackend(rawValue: name) } else { nil }
  }

  @Test func noFileIsLost() {
    #expect(Self.files.count == 35)
    #expect(Set(Self.files.map { $0.split(separator: "/")[0] }).count == 11)
  }

  @Test(arguments: files.filter { !refused.contains($0) })
  func outputsEqualThoseOfTheWriter(name: String) throws {
    let golden = try GoldenValue(contentsOf: "KerasLayouts/\(name).golden.json")
    let frozen = try frozen(name, golden, backend: backend(golden))
    let expected = golden["outputs"].list
    #expect(frozen.network.exits.count == expected.count)
    let results = frozen.network.outputs(
      of: frozen.network.exits.map(\.logits), for: golden["input"].tensor(as: Float.self),
      parameters: frozen.parameters, on: ReferenceBackend())
    for (exit, logits) in zip(frozen.network.exits, results) {
      let output = try #require(expected.first { $0["name"].text == exit.name })
      expectEqualsKeras(exit.answer(for: logits), output.tensor(as: Float.self), exit.name)
    }
  }

  @Test func channelsFirstAreRefusedByName() throws {
    let checkpoint = try open(Self.refused[0])
    let error = #expect(throws: FileError.self) {
      try FrozenNetwork(importing: checkpoint, backend: .tensorflow)
    }
    #expect(error?.message.contains("(Convolution2D): it works on channels first") == true, "\(error?.message ?? "")")
  }

  /// Files of Keras 1 do not say who computed, and Theano turns kernels round.
  @Test func convolutionsOfKeras1NeedTheirBackend() throws {
    let name = "keras-1.2.2-theano/cnn.model.h5"
    let error = #expect(throws: FileError.self) { try FrozenNetwork(importing: try self.open(name)) }
    #expect(error?.message.contains("say so with --keras-backend theano") == true, "\(error?.message ?? "")")
    let golden = try GoldenValue(contentsOf: "KerasLayouts/\(name).golden.json")
    let wrong = try frozen(name, golden, backend: .tensorflow)
    let exit = wrong.network.exits[0]
    let logits = wrong.network.outputs(
      of: [exit.logits], for: golden["input"].tensor(as: Float.self), parameters: wrong.parameters,
      on: ReferenceBackend())
    let answer = exit.answer(for: logits[0])
    let expected = golden["outputs"].list[0].tensor(as: Float.self)
    #expect(zip(answer.elements, expected.elements).contains { abs($0 - $1) > 1e-3 })
  }

  @Test(arguments: [
    ("tf-2.12/shared-hdf5.keras", "Keras 2.12.0 model, HDF5"),
    ("tf-2.12/nested.keras", "Keras 2.12.0 archive"),
    ("tf-2.15/nested.weights.h5", "Keras weights by objects, HDF5"),
    ("keras-3.15.1/shared.keras", "Keras 3.15.1 archive"),
    ("keras-3.15.1/sequence-parts.weights.json", "Keras weights by objects, HDF5 in 3 parts"),
    ("keras-1.2.2-theano/cnn-numbers.h5", "Keras 1 weights, HDF5"),
    ("keras-2.2.4/nested.names.h5", "Keras 2.2.4 weights, HDF5"),
    ("keras-2.2.4/nested.json", "Keras description, JSON"),
  ])
  func layoutsAreToldByContent(_ name: String, _ format: String) throws {
    let checkpoint = try open(name)
    #expect(checkpoint.format == format)
    #expect(try checkpoint.digest().count == 64)
  }

  /// The upper half of a Float, kept as two opaque bytes.
  @Test(arguments: [
    ("tf-2.12/bfloat16.names.h5", "/conv2d/conv2d/kernel:0"),
    ("keras-3.15.1/bfloat16.weights.h5", "/layers/conv2d/vars/0"),
  ])
  func brainFloatsAreWidenedExactly(_ name: String, _ entry: String) throws {
    let checkpoint = try open(name)
    #expect(checkpoint.entries.first { $0.name == entry }?.scalarType == "bfloat16")
    let tensor = try checkpoint.tensor(named: entry)
    #expect(tensor.elements.allSatisfy { $0.bitPattern & 0xFFFF == 0 })
    #expect(tensor.elements.contains { $0 != 0 })
  }
}
