import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Networks written as graphs and read back.
struct GraphFileTests {
  /// The sound checkpoints of a folder of golden files.
  private static func files(_ folder: String, _ suffix: String) throws -> [URL] {
    try FileManager.default.contentsOfDirectory(
      at: TestFiles.golden.appending(path: folder), includingPropertiesForKeys: nil
    ).filter { $0.pathExtension == suffix }.sorted { $0.path < $1.path }
  }

  @Test func everyLayerThatHasAFormComesBackAsItWas() throws {
    let folder = try TemporaryFolder()
    var (written, refused) = (0, 0)
    for file in try Self.files("KerasLayers", "h5") + Self.files("TorchModules", "h5")
    // A softmax that no network of ours computes.
    where file.lastPathComponent != "softmax-layer-axis.h5" {
      let checkpoint = try openCheckpoint(file.path)
      guard checkpoint.architecture != nil else { continue }
      let frozen = try FrozenNetwork(importing: checkpoint)
      let output = folder.path("\(written + refused).h5")
      let writer = try HDF5ArchiveWriter(output)
      do {
        try frozen.write(to: writer)
        try writer.finish()
      } catch {
        writer.discard()
        #expect(error.code == .unsupported && error.description.contains("has no form"), "\(error)")
        refused += 1
        continue
      }
      written += 1
      let again = try FrozenNetwork(importing: openCheckpoint(output))
      #expect(again.parameters == frozen.parameters, "\(file.lastPathComponent)")
      #expect(again.network.nodes.map(\.name) == frozen.network.nodes.map(\.name))
      #expect(again.network.nodes.map(\.inputs) == frozen.network.nodes.map(\.inputs))
      #expect(
        again.network.nodes.map { "\($0.layer)" } == frozen.network.nodes.map { "\($0.layer)" },
        "\(file.lastPathComponent)")
      #expect(again.network.exits.map(\.name) == frozen.network.exits.map(\.name))
      #expect(again.network.exits.map(\.logits) == frozen.network.exits.map(\.logits))
      #expect(again.network.exits.map(\.likelihood) == frozen.network.exits.map(\.likelihood))
      #expect(again.network.exits.map { $0.features == nil } == frozen.network.exits.map { $0.features == nil })
    }
    // Recurrent layers, attention and products alone have none.
    #expect(written > 200 && refused > 0 && refused < 60, "\(written) \(refused)")
  }
}
