import BayesNetwork
import BayesTensor
import Foundation

/// A file of JSON that belongs to a Keras model: its description, or the index of its divided weights.
enum KerasJSONFile {
  /// Reading JSON takes some thirty times its size in memory; descriptions of thousands of layers have less.
  static let sizeLimit = 6 << 20

  /// - Throws: `FileError.Code.malformed` where the file is too long or is no JSON that can be read.
  static func open(_ reader: FileReader) throws(FileError) -> any Checkpoint {
    let data = try data(of: reader, object: nil)
    guard let index = try ShardIndex(of: data, file: reader.file) else {
      return DescriptionCheckpoint(file: reader.file, description: data)
    }
    let folder = URL(filePath: reader.file).deletingLastPathComponent()
    return try ShardedCheckpoint(file: reader.file, index: index) { (name) throws(FileError) in
      let part = try FileReader(folder.appending(path: name).path(percentEncoded: false))
      return try FileKind(of: part) == .safetensors ? SafetensorsFile(part) : HDF5Checkpoint(HDF5File(part))
    }
  }

  /// All bytes of a source, unless they are too many.
  static func data(of source: some ByteSource, object: String?) throws(FileError) -> Data {
    guard source.size <= sizeLimit else {
      throw FileError(
        .malformed, file: source.file, object: object,
        "The JSON has \(source.size) bytes, and none of a model has more than \(sizeLimit); name another file.")
    }
    return Data(try source.bytes(at: 0, count: source.size))
  }
}

/// The description of a network without weights.
private struct DescriptionCheckpoint: Checkpoint {
  let file: String
  let description: Data

  var format: String { "Keras description, JSON" }
  var architecture: Data? { description }
  var entries: [CheckpointEntry] { [] }
  var layers: [CheckpointLayer] { [] }

  func digest() throws(FileError) -> String { try FileDigest.sha256(ofFile: file) }

  func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    throw FileError(.missing, file: file, object: name, "The file describes a network and holds no weights.")
  }
}
