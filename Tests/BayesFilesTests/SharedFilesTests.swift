import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Real files that others wrote, where this machine has them.
@Suite(.enabled(if: TestFiles.shared != nil))
struct SharedFilesTests {
  private func path(_ name: String) -> String {
    (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
  }

  @Test(arguments: [
    ("mlperf-tiny-resnet8-cifar10.h5", "Keras 2.4.0 model, HDF5"),
    ("resnet20-cifar10.h5", "Keras 2.19.0 model, HDF5"),
    ("mini-xception-fer2013.hdf5", "Keras 2.0.5 model, HDF5"),
    ("fashion-cnn.h5", "Keras 3.10.0 model, HDF5"),
    ("outlier-exposure-mnist-baseline.h5", "Keras 2.19.0 model, HDF5"),
    ("mtcnn-48net-weights-only.h5", "Keras 2.0.4 weights, HDF5"),
    ("mtcnn-48net-full.h5", "Keras 2.19.0 model, HDF5"),
    ("msdnet-small-cifar10.h5", "Keras 3.15.1 model, HDF5"),
    ("digits-recognizer.weights.h5", "Keras weights by objects, HDF5"),
  ])
  func opensCheckpoints(_ name: String, _ format: String) throws {
    let checkpoint = try HDF5Checkpoint(path("checkpoints/" + name))
    #expect(checkpoint.format == format)
    #expect((checkpoint.architecture != nil) == format.contains("model"))
    #expect(checkpoint.layers.isEmpty == format.contains("objects"))
    #expect(checkpoint.objects.isEmpty == !format.contains("objects"))
    #expect(try checkpoint.digest().count == 64)
    let names = Set(checkpoint.entries.map(\.name))
    for entryName in checkpoint.layers.flatMap(\.entryNames) {
      #expect(names.contains(entryName))
      #expect(try checkpoint.tensor(named: entryName).firstNonFinite == nil)
    }
  }

  @Test(arguments: ["fashion-tfsm-layer.keras", "cifar10-cnn-keras3.keras", "resnet20-cifar10-state-dict.pt"])
  func refusesOtherFormats(_ name: String) throws {
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(path("checkpoints/" + name)) }
    #expect(error.message.contains(name.hasSuffix(".keras") ? "as .keras files do" : "Python pickle"))
  }

  @Test(
    arguments: [
      ("cifar10-test.h5", nil, 10_000, [32, 32, 3] as Shape, 10),
      ("mnist-train.npz", nil, 60_000, [28, 28], 10),
      ("mnist-t10k-images-idx3-ubyte.gz", "mnist-t10k-labels-idx1-ubyte.gz", 10_000, [28, 28], 10),
      ("kmnist-test-images.npy", nil, 4_000, [28, 28], 0),
    ] as [(String, String?, Int, Shape, Int)])
  func opensData(_ name: String, _ labels: String?, _ count: Int, _ rowShape: Shape, _ classes: Int) throws {
    let data = try openDataset(
      path("data/" + name), options: DatasetOptions(labelsFile: labels.map { path("data/" + $0) }))
    #expect(data.rowCount == count)
    #expect(data.rowShape == rowShape)
    #expect(data.hasLabels == (classes > 0))
    if classes > 0 { #expect(try Set(data.labels(0..<count)).count == classes) }
    for first in stride(from: 0, to: count, by: 1024) {
      let batch = try data.inputs(first..<min(first + 1024, count))
      guard case .bytes(let bytes) = batch.values else {
        Issue.record("bytes became floats")
        return
      }
      #expect(bytes.contains { $0 != 0 })
    }
  }
}
