import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Every layer kind and option against the outputs that Keras itself computes.
@Suite struct KerasLayerTests {
  private static let folder = TestFiles.golden.appending(path: "KerasLayers")

  static let cases: [String] = {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))
        .filter { $0.hasSuffix(".h5") }.map { String($0.dropLast(3)) }.sorted()
    } catch {
      return []
    }
  }()

  /// Cases that Keras can do and we cannot, with what the message says.
  private static let refused = [
    "softmax-layer-axis": "softmax (Softmax): its axis is 1; only the last is supported",
  ]

  private static func checkpoint(_ name: String) throws -> HDF5Checkpoint {
    try HDF5Checkpoint(folder.appending(path: name + ".h5").path(percentEncoded: false))
  }

  @Test func noCaseIsLost() {
    // 179 cases by Keras 3 and 79 by Keras 2 at the time of writing.
    #expect(Self.cases.count >= 258)
    #expect(Self.cases.count { $0.hasPrefix("keras2-") } >= 79)
  }

  @Test(arguments: cases.filter { refused[$0] == nil })
  func outputsEqualThoseOfKeras(name: String) throws {
    let frozen = try FrozenNetwork(importing: try Self.checkpoint(name))
    let golden = try GoldenValue(contentsOf: "KerasLayers/\(name).json")
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

  @Test(arguments: refused.keys.sorted())
  func refusedCasesSayWhy(name: String) throws {
    let error = #expect(throws: FileError.self) {
      try FrozenNetwork(importing: try Self.checkpoint(name))
    }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains(Self.refused[name] ?? "?") == true, "\(error?.message ?? "")")
  }
}

/// Expects an output to equal that of Keras but for rounding.
///
/// Both compute in single precision and add in different orders, so each element may be off by some
/// units of the largest one's last place, of which 10⁻⁵ is about 170.
func expectEqualsKeras(
  _ actual: Tensor<Float>, _ expected: Tensor<Float>, _ name: String,
  sourceLocation: Testing.SourceLocation = #_sourceLocation
) {
  let largest = expected.elements.reduce(0) { max($0, abs($1)) }
  let scale = largest > 0 ? 1 / largest : 1
  expectClose(
    actual.map { $0 * scale }, expected.map { $0 * scale }, tolerance: 1e-5, "of exit '\(name)'",
    sourceLocation: sourceLocation)
}

extension Exit {
  /// What the network itself would have answered: the activation that was taken off, applied again.
  func answer(for logits: Tensor<Float>) -> Tensor<Float> {
    switch likelihood {
    case .categorical:
      Activation(.softmax).forward([logits], parameters: [], on: ReferenceBackend())
    case .binary, .multilabel:
      Activation(.sigmoid).forward([logits], parameters: [], on: ReferenceBackend())
    case .gaussian, nil: logits
    }
  }
}
