import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// One network of PyTorch in the layouts of other libraries, with its answers.
struct OtherLayoutTests {
  private static func file(_ name: String) -> String { golden("OtherLayouts/" + name) }

  private static let files = [
    "VGG.safetensors", "model.safetensors.index.json", "VGG.caffemodel.h5", "VGG-old.caffemodel.h5", "VGG-plain.h5",
    "VGG-fields.mat", "VGG-names.mat", "tf_model.h5", "tf_model.h5.index.json",
  ]

  /// The dense layer behind the flattened image has its columns in each library's own order.
  @Test(arguments: files + ["VGG-half.safetensors"], ["VGG.h5", "VGG-keras.json"])
  func answersAreThoseOfPyTorch(name: String, architecture: String) throws {
    let reading = CheckpointReading(architecture: golden("TorchModules/" + architecture))
    let model = try CheckpointModel(Self.file(name), reading: reading)
    let test = try #require(try NumericSelfTest(of: openCheckpoint(golden("TorchModules/VGG.h5"))))
    let expected = try #require(test.outputs["exit1"])
    let network = model.frozen.network
    // The graph takes channels first, as PyTorch does, and the test's rows; the description takes the same rows.
    let actual = network.outputs(
      of: network.exits.map(\.logits), for: test.inputs, parameters: model.frozen.parameters, on: ReferenceBackend())
    // Half precision keeps eleven bits of each weight.
    expectClose(actual[0], expected, tolerance: name.contains("half") ? 4e-3 : 1e-5)
  }

  @Test(arguments: [
    ("VGG.safetensors", "safetensors", "features.0.weight", [6, 3, 3, 3]),
    ("model.safetensors.index.json", "safetensors in 2 parts", "classifier.0.bias", [9]),
    ("VGG.caffemodel.h5", "Caffe weights, HDF5", "/data/features.1/2", [1]),
    ("VGG-fields.mat", "MATLAB 7.3 arrays, HDF5", "/features_0/Weights", [6, 3, 3, 3]),
    ("tf_model.h5.index.json", "TensorFlow weights, HDF5 in 2 parts", "/vgg/features_._0/kernel:0", [3, 3, 3, 6]),
  ])
  func tensorsAreListed(name: String, format: String, tensor: String, shape: [Int]) async throws {
    let listing = try await TestFolder().succeed("inspect", Self.file(name)).output
    #expect(listing.contains(": \(format), without a description"))
    #expect(
      listing.split(separator: "\n").contains {
        $0.hasPrefix(tensor + " ") && $0.contains(Shape(shape).description)
      })
  }

  /// What people hand over by mistake, and what only running code would read.
  @Test(arguments: [
    ("VGG.solverstate.h5", "the state of a solver of Caffe", "name the .caffemodel.h5 file"),
    ("cells.mat", "network objects and cells are not read", "save each array under a name"),
    ("weights-npz.keras", "Python pickles, and those are never run", "save it again with model.save"),
  ])
  func filesWithoutReadableWeightsAreRefused(name: String, reason: String, advice: String) async throws {
    try await TestFolder().refuse(
      "inspect", Self.file(name), "--architecture", golden("TorchModules/VGG.h5"), code: 65, naming: name, reason, advice)
  }

  @Test(arguments: files.filter { $0.hasPrefix("VGG") })
  func weightsOfAnotherNetworkAreRefused(name: String) async throws {
    try await TestFolder().refuse(
      "inspect", Self.file(name), "--architecture", golden("TorchModules/TwoExits.h5"), code: 65, naming: name,
      "are not there: ")
    try await TestFolder().refuse(
      "inspect", Self.file(name), "--architecture", golden("HostileLayouts/sound.json"), code: 65, naming: name,
      "these weights are missing: dense/")
  }

  @Test func layersWhoseNamesAreAlikeAreRefused() throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("two.caffemodel.h5"), replacing: true)
    for network in ["a", "b"] {
      try writer.write(Tensor<Float>(shape: [2, 2], [1, 2, 3, 4]), at: "/data/\(network)/features.0/0")
    }
    try writer.finish()
    let error = #expect(throws: FileError.self) {
      try CheckpointModel(
        folder.path("two.caffemodel.h5"), reading: CheckpointReading(architecture: golden("TorchModules/VGG.h5")))
    }
    #expect(
      error?.message.contains(
        "The weight features.0.weight could be '/data/a/features.0/0' or '/data/b/features.0/0'") == true,
      "\(String(describing: error))")
  }

  @Test func everyTypeOfSafetensorsBecomesFloat() throws {
    let checkpoint = try openCheckpoint(Self.file("types.safetensors"))
    let numbers: [Float] = [-3, 0, 1, 2.5, 100]
    for entry in checkpoint.entries where entry.name != "float8" {
      let expected: [Float] =
        switch entry.scalarType {
        case "bool": numbers.map { $0 == 0 ? 0 : 1 }
        case "uint8": numbers.map { abs($0).rounded(.towardZero) }
        case "int8", "int16", "int32", "int64": numbers.map { $0.rounded(.towardZero) }
        default: numbers
        }
      #expect(try checkpoint.tensor(named: entry.name) == Tensor(shape: [5], expected), "\(entry.name)")
      #expect(entry.scalarType == entry.name)
    }
    #expect(checkpoint.entries.count == 11)
    let error = #expect(throws: FileError.self) { try checkpoint.tensor(named: "float8") }
    #expect(error?.message.contains("of the type F8_E4M3, which is not read; save it as F32") == true)
  }
}

/// Headers of safetensors that do not fit their file.
struct DamagedSafetensorsTests {
  /// A file with some header before eight numbers.
  private func refusal(_ header: String, length: UInt64? = nil, bytes: Int = 32) throws -> FileError {
    let folder = try TestFolder()
    let file = folder.path("damaged.safetensors")
    var data = Data()
    let claimed = length ?? UInt64(header.utf8.count)
    data.append(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: claimed >> (8 * $0)) })
    data.append(contentsOf: header.utf8)
    data.append(Data(count: bytes))
    try data.write(to: URL(filePath: file))
    return try #require(throws: FileError.self) { try openCheckpoint(file) }
  }

  private func tensor(_ shape: String, _ offsets: String, type: String = "F32") -> String {
    #"{"dtype": "\#(type)", "shape": \#(shape), "data_offsets": \#(offsets)}"#
  }

  @Test func tensorsOutsideTheFileAreRefused() throws {
    for offsets in ["[0, 36]", "[-4, 28]", "[32, 0]", "[0]", "[0, 9223372036854775807]"] {
      let error = try refusal(#"{"a": \#(tensor("[8]", offsets))}"#)
      #expect(error.object == "a" && error.message.contains("The tensor claims the bytes"), "\(error)")
    }
  }

  @Test func tensorsThatOverlapOrLeaveGapsAreRefused() throws {
    let overlap = try refusal(#"{"a": \#(tensor("[4]", "[0, 16]")), "b": \#(tensor("[5]", "[12, 32]"))}"#)
    #expect(overlap.object == "b" && overlap.message.contains("overlaps the one before"), "\(overlap)")
    let gap = try refusal(#"{"a": \#(tensor("[4]", "[0, 16]")), "b": \#(tensor("[3]", "[20, 32]"))}"#)
    #expect(gap.object == "b" && gap.message.contains("leaves a gap before it"), "\(gap)")
    let tail = try refusal(#"{"a": \#(tensor("[4]", "[0, 16]"))}"#)
    #expect(tail.message.contains("The tensors end after"), "\(tail)")
    let nothing = try refusal("{}")
    #expect(nothing.message.contains("The tensors end after"), "\(nothing)")
  }

  /// Nothing is read, or allocated, for what a header claims beyond its file.
  @Test func shapesThatDoNotFitAreRefused() throws {
    for shape in ["[9]", "[4611686018427387904, 4]", "[-8]", "[4294967296, 4294967296]"] {
      let error = try refusal(#"{"a": \#(tensor(shape, "[0, 32]"))}"#)
      #expect(error.object == "a" && error.message.hasPrefix("The tensor "), "\(error)")
    }
  }

  @Test func headersThatAreNoneAreRefused() throws {
    for header in ["{\"a\": 3}", "{\"a\": ", "{\"a\": [\(String(repeating: "[", count: 5000))"] {
      #expect(try refusal(header).message.contains("is not the JSON of the format safetensors"))
    }
    // A length beyond the file is no sign of this format at all.
    #expect(try refusal("{}", length: 1 << 40).message.contains("This is not an HDF5 file"))
    let long = "{\"a\": \"" + String(repeating: " ", count: 2 << 20) + "\"}"
    #expect(try refusal(long).message.contains("none of a model has more than"))
  }

  @Test func dataFilesAreNotTheirPlace() async throws {
    try await TestFolder().refuse(
      "extract", Digits.checkpoint, "--data", golden("OtherLayouts/VGG.safetensors"), "-o", "records.h5", code: 65,
      naming: "VGG.safetensors", "a header of safetensors")
  }
}
