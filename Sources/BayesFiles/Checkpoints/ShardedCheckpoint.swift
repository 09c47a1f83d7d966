import BayesNetwork
import BayesTensor
import Foundation

/// The index of weights that Keras or Hugging Face divided among several files.
struct ShardIndex: Decodable {
  private enum CodingKeys: String, CodingKey {
    case weightMap = "weight_map"
  }

  /// One file, or several.
  private struct Files: Decodable {
    let names: [String]

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      do {
        names = [try container.decode(String.self)]
      } catch DecodingError.typeMismatch {
        names = try container.decode([String].self)
      }
    }
  }

  /// For each object or tensor, the files that hold it.
  private let weightMap: [String: Files]

  /// - Returns: `nil` for JSON that is something else.
  /// - Throws: `FileError.Code.malformed` where the index makes no sense.
  init?(of data: Data, file: String, object: String? = nil) throws(FileError) {
    do {
      self = try JSONDecoder().decode(ShardIndex.self, from: data)
    } catch DecodingError.keyNotFound(CodingKeys.weightMap, _) {
      return nil
    } catch DecodingError.dataCorrupted {
      // Descriptions may hold words that only Python writes.
      return nil
    } catch {
      throw FileError(
        .malformed, file: file, object: object ?? "weight_map",
        "The index of divided weights names no files; copy or download it again.")
    }
  }

  /// The files, each once.
  var fileNames: [String] { Set(weightMap.values.flatMap(\.names)).sorted() }
}

/// Weights divided among several files, with an index in JSON.
struct ShardedCheckpoint: Checkpoint {
  let file: String
  let entries: [CheckpointEntry]
  let objects: [CheckpointObject]
  private let shards: [any Checkpoint]
  /// The shard of each entry.
  private let places: [String: Int]

  /// Opens all files.
  ///
  /// - Parameters:
  ///   - file: the index, as the user named it.
  ///   - open: opens a file by its name in the index.
  /// - Throws: `FileError` where a file cannot be opened or its name leads elsewhere.
  init(
    file: String, index: ShardIndex, open: (String) throws(FileError) -> any Checkpoint
  ) throws(FileError) {
    var shards: [any Checkpoint] = []
    var places: [String: Int] = [:]
    for name in index.fileNames {
      guard !name.isEmpty, !name.contains("/"), !name.contains("\\"), name != ".." else {
        throw FileError(
          .malformed, file: file, object: "weight_map",
          "It names '\(name)', which is no file beside it; keep the parts together and name them alone.")
      }
      let shard: any Checkpoint
      do {
        shard = try open(name)
      } catch {
        guard error.code == .cannotOpen else { throw error }
        throw FileError(
          .cannotOpen, file: file, object: "weight_map",
          "It names the part '\(name)', which cannot be opened beside it; put all parts into the folder of the index.")
      }
      for entry in shard.entries where places.updateValue(shards.count, forKey: entry.name) != nil {
        throw FileError(
          .malformed, file: file, object: entry.name, "Two parts hold this array; copy or download them again.")
      }
      shards.append(shard)
    }
    self.file = file
    self.shards = shards
    self.places = places
    entries = shards.flatMap(\.entries)
    objects = KerasObjectList(of: entries.map(\.name)).objects
  }

  var format: String { "\(shards.first?.format ?? "no weights") in \(shards.count) parts" }
  var flattening: ImageFlattening { shards.first?.flattening ?? .channelsFirst }
  var architecture: Data? { nil }
  var layers: [CheckpointLayer] { [] }

  func digest() throws(FileError) -> String {
    var files = [file]
    for shard in shards { files.append(shard.file) }
    return try FileDigest.sha256(ofFiles: files)
  }

  func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    guard let place = places[name] else {
      throw FileError(.missing, file: file, object: name, "No part has such an array.")
    }
    return try shards[place].tensor(named: name)
  }
}
