import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

struct HDF5CheckpointTests {
  private let kernel = Tensor<Float>(shape: [2, 3], [0, 1, 2, 3, 4, 5])

  @Test(arguments: [
    ("fixed", "2.2.4"), ("space-padded", "2.2.4"), ("vlen-ascii", "2.9.0"), ("vlen-utf8", "2.9.0"),
  ])
  func everyFormOfTextIsRead(_ form: String, _ version: String) throws {
    let checkpoint = try HDF5Checkpoint(golden("HDF5Forms/model-\(form).h5"))
    #expect(checkpoint.format == "Keras \(version) model, HDF5")
    #expect(
      checkpoint.layers == [
        CheckpointLayer(
          name: "dense", weightNames: ["dense/kernel:0", "dense/bias:0"],
          entryNames: ["/model_weights/dense/dense/kernel:0", "/model_weights/dense/dense/bias:0"]),
        CheckpointLayer(name: "flatten", weightNames: [], entryNames: []),
      ])
    #expect(
      checkpoint.entries == [
        CheckpointEntry(
          name: "/model_weights/dense/dense/bias:0", shape: [3], scalarType: "float32",
          state: StateTensor(name: "dense.bias", extents: [3], axes: [0])),
        CheckpointEntry(
          name: "/model_weights/dense/dense/kernel:0", shape: [2, 3], scalarType: "float32",
          state: StateTensor(name: "dense.weight", extents: [2, 3], axes: [1, 0])),
      ])
    let architecture = try #require(checkpoint.architecture)
    #expect(
      String(decoding: architecture, as: UTF8.self)
        == #"{"class_name": "Sequential", "config": {"name": "é", "layers": []}}"#)
    #expect(try checkpoint.tensor(named: "/model_weights/dense/dense/kernel:0") == kernel)
    #expect(
      try checkpoint.tensor(named: "/model_weights/dense/dense/bias:0")
        == Tensor(shape: [3], [0.5, 1.5, 2.5]))
  }

  @Test func weightsWithoutAModelAreListed() throws {
    let checkpoint = try HDF5Checkpoint(golden("HDF5Forms/weights.h5"))
    #expect(checkpoint.format == "Keras 2.0.4 weights, HDF5")
    #expect(checkpoint.architecture == nil)
    #expect(checkpoint.layers.map(\.name) == ["dense", "flatten", "top_level_model_weights"])
    #expect(checkpoint.layers[0].entryNames == ["/dense/dense/kernel:0", "/dense/dense/bias:0"])
    #expect(checkpoint.layers[2].entryNames == ["/top_level_model_weights/scale:0"])
    #expect(try checkpoint.tensor(named: "/top_level_model_weights/scale:0") == Tensor(shape: [], [3]))
    #expect(try HDF5Checkpoint(golden("HDF5Forms/weights-keras1.h5")).format == "Keras 1 weights, HDF5")
  }

  @Test func longListsOfNamesAreReadInParts() throws {
    let checkpoint = try HDF5Checkpoint(golden("HDF5Forms/weights-chunked-names.h5"))
    #expect(checkpoint.layers.map(\.name) == (0..<7).map { "layer_\($0)" })
    for (index, layer) in checkpoint.layers.enumerated() {
      #expect(layer.entryNames == ["/\(layer.name)/\(layer.name)/a", "/\(layer.name)/\(layer.name)/b"])
      #expect(try checkpoint.tensor(named: layer.entryNames[1]) == Tensor(shape: [1], [-Float(index)]))
    }
  }

  @Test func shardsListWeightsInsteadOfLayers() throws {
    let checkpoint = try HDF5Checkpoint(golden("HDF5Forms/weights-shard.h5"))
    #expect(
      checkpoint.layers == [
        CheckpointLayer(
          name: "model/encoder/kernel:0", weightNames: ["model/encoder/kernel:0"],
          entryNames: ["/model/encoder/kernel:0"])
      ])
  }

  @Test func everyNumericTypeBecomesFloat() throws {
    let checkpoint = try HDF5Checkpoint(golden("HDF5Forms/weights-types.h5"))
    #expect(try checkpoint.tensor(named: "/dense/dense/kernel:0") == kernel)  // float16
    #expect(try checkpoint.tensor(named: "/dense/dense/bias:0") == Tensor(shape: [3], [0.5, 1.5, 2.5]))  // float64
    #expect(try checkpoint.tensor(named: "/dense/bytes") == kernel.map { $0 - 3 })  // int8
  }

  @Test func otherFilesAreArraysWithoutLayers() throws {
    let checkpoint = try HDF5Checkpoint(golden("Data/contiguous.h5"))
    #expect(checkpoint.format == "HDF5")
    #expect(checkpoint.architecture == nil)
    #expect(checkpoint.layers.isEmpty)
    #expect(checkpoint.entries.map(\.name) == ["/x", "/y"])
  }

  @Test func weightsOfKeras3AreReadAsListed() throws {
    let checkpoint = try HDF5Checkpoint(golden("BrokenCheckpoints/valid.h5"))
    #expect(checkpoint.format == "Keras 3.15.1 model, HDF5")
    #expect(checkpoint.layers.map(\.name) == ["conv", "norm", "relu", "flatten", "head"])
    #expect(
      checkpoint.layers[1].weightNames == [
        "small/norm/gamma", "small/norm/beta", "small/norm/moving_mean", "small/norm/moving_variance",
      ])
    #expect(checkpoint.layers[4].entryNames[0] == "/model_weights/head/small/head/kernel")
    #expect(try checkpoint.tensor(named: "/model_weights/head/small/head/kernel").shape == [48, 4])
  }

  @Test func everyLayerFixtureIsRead() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: golden("KerasLayers"))
      .filter { $0.hasSuffix(".h5") }
    #expect(!names.isEmpty)
    for name in names {
      let checkpoint = try HDF5Checkpoint(golden("KerasLayers/" + name))
      #expect(checkpoint.architecture != nil)
      let entries = Dictionary(uniqueKeysWithValues: checkpoint.entries.map { ($0.name, $0.shape) })
      for entryName in checkpoint.layers.flatMap(\.entryNames) {
        #expect(try checkpoint.tensor(named: entryName).shape == entries[entryName])
      }
    }
  }

  // MARK: - Refusals

  @Test(arguments: [
    (
      "BrokenCheckpoints/not-hdf5.h5", "malformed",
      "This is not an HDF5 file; it starts with the text '<!DOCTYPE html>', as a web page does; download the "
        + "file itself."
    ),
    (
      "BrokenCheckpoints/empty.h5", "malformed",
      "This is not an HDF5 file; it starts with nothing: it has 0 bytes; copy or download it again."
    ),
    ("BrokenCheckpoints/truncated.h5", "malformed", "The file is truncated; copy or download it again"),
    ("BrokenCheckpoints/absent.h5", "cannotOpen", "There is no such file; check the path."),
    ("BrokenCheckpoints", "cannotOpen", "This is a folder; name a file in it."),
    (
      "Data/stored.npz", "malformed",
      "it starts with a zip archive of NumPy arrays (.npz); write its arrays as HDF5"
    ),
    ("Data/int64.npy", "malformed", "it starts with a NumPy array (.npy); write it as HDF5"),
    ("Data/images-idx3-ubyte.gz", "malformed", "it starts with a gzip stream; unpack it with gunzip first."),
    ("Data/images-idx3-ubyte", "malformed", "it starts with an IDX header"),
    (
      "HDF5Forms/weights-missing-layer.h5", "missing",
      "The file lists a layer 'absent' but holds nothing of that name"
    ),
  ])
  func filesThatAreNoCheckpointsAreRefused(_ name: String, _ code: String, _ message: String) throws {
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(golden(name)) }
    #expect(error.code.name == code)
    #expect(error.file == golden(name))
    #expect(error.message.contains(message), "\(error)")
  }

  @Test(
    arguments: [
      ([0x80, 0x04, 0x95, 0x10], "a Python pickle, as PyTorch files do"),
      (Array("GIF89a\u{1}".utf8), "the bytes 47 49 46 38 39 61 01; name an HDF5 file."),
      (Array("version https://git-lfs.github.com/spec/v1\n".utf8), "a Git LFS pointer"),
      ([0x50, 0x4B, 0x03, 0x04, 0], "The zip archive cannot be opened; it is truncated or damaged"),
      ([0x7F], "the bytes 7f"),
      ([0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A], "The file is damaged or still being written"),
    ] as [([UInt8], String)])
  func otherStartsAreRecognised(_ bytes: [UInt8], _ message: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.write(bytes, to: "checkpoint.h5")
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(path) }
    #expect(error.message.contains(message), "\(error)")
  }

  @Test func aMissingWeightIsListedAndRefusedWhenRead() throws {
    let checkpoint = try HDF5Checkpoint(golden("BrokenCheckpoints/missing-weight.h5"))
    let name = try #require(checkpoint.layers.last?.entryNames.first)
    #expect(!checkpoint.entries.contains { $0.name == name })
    let error = try #require(throws: FileError.self) { try checkpoint.tensor(named: name) }
    #expect(error.code == .missing)
    #expect(error.object == "/model_weights/head/small/head/kernel")
  }

  @Test func theDigestIsThatOfTheBytes() throws {
    let folder = try TemporaryFolder()
    // FIPS 180-4's own example.
    let path = try folder.write("abc".utf8, to: "abc")
    #expect(
      try FileDigest.sha256(ofFile: path)
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    let checkpoint = golden("BrokenCheckpoints/valid.h5")
    #expect(try HDF5Checkpoint(checkpoint).digest() == FileDigest.sha256(ofFile: checkpoint))
    #expect(throws: FileError.self) { try FileDigest.sha256(ofFile: folder.path("absent")) }
  }
}
