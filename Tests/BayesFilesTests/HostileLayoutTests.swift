import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Files that look like those of Keras and must be refused in one sentence, with nothing run and little memory taken.
@Suite struct HostileLayoutTests {
  private func frozen(_ name: String) throws -> FrozenNetwork {
    try FrozenNetwork(importing: try openCheckpoint(golden("HostileLayouts/" + name)))
  }

  @Test(arguments: ["sound.keras", "deflated.keras"])
  func soundFilesBesideThemAreAccepted(_ name: String) throws {
    #expect(try frozen(name).network.inputShape == [5])
  }

  /// A group that holds itself is listed once and hides nothing.
  @Test func groupsThatHoldThemselvesEnd() throws {
    #expect(try frozen("cyclic-groups.keras").parameters.count == 39)
  }

  @Test(
    arguments: [
      ("bomb.keras", "model.weights.h5", "more than 200-fold"),
      ("bomb-config.keras", "config.json", "more than 200-fold"),
      ("encrypted.keras", "metadata.json", "is encrypted"),
      ("twice.keras", "config.json", "holds it 2 times"),
      ("elsewhere.keras", "model.weights.h5", "The archive holds no weights"),
      ("without-weights.keras", "model.weights.h5", "The archive holds no weights"),
      ("numpy-weights.keras", "model.weights.npz", "Python pickles, and those are never run"),
      ("chunk-bomb.keras", nil, "damaged so that the HDF5 library cannot read it"),
      ("not-hdf5.keras", nil, "a Python pickle, as PyTorch files do, which is never run"),
      ("truncated.keras", nil, "truncated or damaged"),
      ("lambda.keras", "model_config", "code (Lambda): it carries code, which is never run"),
      ("saved-model.keras", "model_config", "served (TFSMLayer): it stands for a TensorFlow SavedModel"),
      ("own-class.keras", "model_config", "own (Dense): it is a class of its author's own, 'evil>Dense'"),
      ("deep.keras", "model_config", "no JSON that can be read"),
      ("unfolding.keras", "model_config", "unfolds to more than 20000 layers"),
      ("huge-layer.keras", "model_config", "[16000000, 16000000]"),
      ("compressed.keras", "/layers/dense/vars/0", "more than 200-fold"),
      ("never-written.keras", "/layers/dense/vars/0", "which a file of 10128 bytes cannot hold"),
      ("gap.keras", nil, "these weights are missing: dense/bias of shape [4]"),
      ("external-link.keras", "/layers/dense/vars", "a link to another file, which is not followed"),
      ("soft-link.keras", "/layers/dense/vars/0", "a soft link, which is not followed"),
      ("soft-link.h5", "/model_weights/dense/dense/kernel:0", "a soft link, which is not followed"),
      ("external-storage.keras", "/layers/dense/vars/0", "lie in other files, which are not followed"),
      ("outside.weights.json", "weight_map", "'../sound.weights.h5', which is no file beside it"),
      ("absolute.weights.json", "weight_map", "'/etc/passwd', which is no file beside it"),
      ("absent.weights.json", "weight_map", "which cannot be opened beside it"),
      ("senseless.weights.json", "weight_map", "names no files"),
      ("sound.json", nil, "describes a network but holds no weights"),
      ("sound.weights.h5", nil, "give one with --architecture FILE"),
    ] as [(String, String?, String)])
  func hostileFilesAreRefused(_ name: String, _ object: String?, _ message: String) throws {
    let error = try #require(throws: FileError.self) { try frozen(name) }
    #expect(error.message.contains(message), "\(error)")
    #expect(error.object == object, "\(error)")
    #expect(error.message.hasSuffix(".") && !error.message.hasSuffix(".."), "\(error)")
  }

  /// What is unpacked lies in files without names.
  @Test func nothingIsLeftInTheFolderOfTemporaryFiles() throws {
    let folder = FileManager.default.temporaryDirectory.path(percentEncoded: false)
    func names() throws -> Set<String> {
      Set(
        try FileManager.default.contentsOfDirectory(atPath: folder).filter {
          $0.hasPrefix("bayesify-") && !$0.hasPrefix("bayesify-tests")
        })
    }
    let before = try names()
    let checkpoint = try openCheckpoint(golden("HostileLayouts/deflated.keras"))
    #expect(try names().subtracting(before).isEmpty)
    #expect(try checkpoint.tensor(named: "/layers/dense/vars/0").shape == [5, 4])
  }

  /// The weights of one file fit the description of any other kind of file.
  @Test(arguments: ["sound.json", "sound.keras", "deflated.keras"])
  func weightsAloneTakeAnyDescription(_ name: String) throws {
    func importing(_ checkpoint: some Checkpoint, _ other: some Checkpoint) throws -> FrozenNetwork {
      try FrozenNetwork(importing: checkpoint, describedBy: other)
    }
    let frozen = try importing(
      openCheckpoint(golden("HostileLayouts/sound.weights.h5")), openCheckpoint(golden("HostileLayouts/" + name)))
    let whole = try self.frozen("sound.keras")
    for path in ["dense/weight", "dense_1/bias"] {
      #expect(frozen.parameters[ParameterPath(path)] == whole.parameters[ParameterPath(path)])
    }
  }
}

/// Archives whose weights are read where they lie.
@Suite struct KerasArchiveTests {
  /// One wrong bit among the weights is found by their checksum before any is used.
  @Test func damagedWeightsAreFound() throws {
    var bytes = Array(try Data(contentsOf: URL(filePath: golden("HostileLayouts/sound.keras"))))
    let whole = try openCheckpoint(golden("HostileLayouts/sound.keras"))
    let weight = try whole.tensor(named: "/layers/dense/vars/0")[7]
    let pattern = (0..<4).map { UInt8(truncatingIfNeeded: weight.bitPattern >> (8 * $0)) }
    let place = try #require(bytes.indices.dropLast(3).first { Array(bytes[$0..<$0 + 4]) == pattern })
    bytes[place] ^= 1
    let folder = try TemporaryFolder()
    let damaged = try openCheckpoint(folder.write(bytes, to: "damaged.keras"))
    #expect(damaged.entries == whole.entries)
    for _ in 0..<2 {
      let error = try #require(throws: FileError.self) { try damaged.tensor(named: "/layers/dense/vars/0") }
      #expect(error.object == "model.weights.h5" && error.message.contains("cannot be unpacked"), "\(error)")
    }
  }

  /// Whether packed or in place, the same tensors come out, again and again.
  @Test func packedAndStoredWeightsAreTheSame() throws {
    let stored = try openCheckpoint(golden("HostileLayouts/sound.keras"))
    let packed = try openCheckpoint(golden("HostileLayouts/deflated.keras"))
    #expect(stored.entries == packed.entries)
    for _ in 0..<2 {
      for entry in stored.entries {
        #expect(try stored.tensor(named: entry.name) == packed.tensor(named: entry.name))
      }
    }
  }
}
