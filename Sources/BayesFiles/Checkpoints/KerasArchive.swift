import BayesNetwork
import BayesTensor
import Foundation
import Synchronization

/// A `.keras` file: a zip archive of a description and weights by objects.
///
/// Members are found by their exact names and nothing is ever written under one.  Weights that are stored as they
/// are, as Keras does, are read in place; their checksum is compared before the first tensor is read.  Others are
/// unpacked into a temporary file that has no name, so that it goes away with this value, however the program ends.
struct KerasArchive: Checkpoint {
  let file: String
  let format: String
  let architecture: Data?
  private let weights: any Checkpoint
  private let checksums: Checksums

  private struct Metadata: Decodable {
    private enum CodingKeys: String, CodingKey {
      case kerasVersion = "keras_version"
    }

    var kerasVersion: String
  }

  /// - Throws: `FileError` where the archive lacks a part, or one cannot be read.
  init(_ archive: ZipArchive) throws(FileError) {
    file = archive.file
    let description = try archive.checkpointSource("config.json")
    guard let description else {
      throw FileError(
        .missing, file: archive.file, object: "config.json",
        "The archive holds no description of a network; save the model again.")
    }
    architecture = try KerasJSONFile.data(of: description, object: "config.json")
    checksums = Checksums(archive)
    weights = try Self.weights(in: archive, checksums)
    format = "Keras \(try Self.version(in: archive)) archive"
  }

  private static func version(in archive: ZipArchive) throws(FileError) -> String {
    guard let source = try archive.checkpointSource("metadata.json") else { return "3" }
    let data = try KerasJSONFile.data(of: source, object: "metadata.json")
    do {
      return try JSONDecoder().decode(Metadata.self, from: data).kerasVersion
    } catch {
      throw FileError(
        .malformed, file: archive.file, object: "metadata.json", "It names no version of Keras; save the model again.")
    }
  }

  private static func weights(
    in archive: ZipArchive, _ checksums: Checksums
  ) throws(FileError) -> any Checkpoint {
    if let checkpoint = try checkpoint("model.weights.h5", in: archive, checksums) { return checkpoint }
    if let source = try archive.checkpointSource("model.weights.json") {
      let data = try KerasJSONFile.data(of: source, object: "model.weights.json")
      guard let index = try ShardIndex(of: data, file: archive.file, object: "model.weights.json") else {
        throw FileError(
          .malformed, file: archive.file, object: "model.weights.json",
          "It is no index of divided weights; save the model again.")
      }
      return try ShardedCheckpoint(file: archive.file, index: index) { (name) throws(FileError) in
        guard let shard = try checkpoint(name, in: archive, checksums) else {
          throw FileError(
            .missing, file: archive.file, object: name,
            "The archive lacks this part of its weights; copy or download it again.")
        }
        return shard
      }
    }
    if archive.memberNames.contains("model.weights.npz") {
      throw FileError(
        .unsupported, file: archive.file, object: "model.weights.npz",
        "The weights are in NumPy's format, which Keras fills with Python pickles, and those are never run; load the "
          + "model in the version of Keras that saved it, and save it again with model.save, which writes HDF5.")
    }
    throw FileError(
      .missing, file: archive.file, object: "model.weights.h5", "The archive holds no weights; save the model again.")
  }

  private static func checkpoint(
    _ name: String, in archive: ZipArchive, _ checksums: Checksums
  ) throws(FileError) -> HDF5Checkpoint? {
    if let member = try archive.checkpointMember(name) {
      let file = try FileReader(archive.file)
      if let range = try StoredRange(of: member, in: file) {
        checksums.postpone(member)
        return try HDF5Checkpoint(HDF5File(FileReader(range, of: file)))
      }
    }
    guard let source = try archive.checkpointSource(name) else { return nil }
    return try HDF5Checkpoint(HDF5File(SpooledFile.reader(copying: source)))
  }

  var entries: [CheckpointEntry] { weights.entries }
  var layers: [CheckpointLayer] { weights.layers }
  var objects: [CheckpointObject] { weights.objects }
  var kerasVersion: Int? { weights.kerasVersion }
  var kerasBackend: String? { weights.kerasBackend }

  func digest() throws(FileError) -> String { try FileDigest.sha256(ofFile: file) }

  func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    try checksums.compare()
    return try weights.tensor(named: name)
  }
}

/// The checksums of members that are read in place, each compared once.
private final class Checksums: Sendable {
  private let archive: ZipArchive
  private let pending = Mutex<[ZipArchive.Member]>([])

  init(_ archive: ZipArchive) { self.archive = archive }

  func postpone(_ member: ZipArchive.Member) { pending.withLock { $0.append(member) } }

  /// - Throws: `FileError.Code.malformed` for a member that is damaged.
  func compare() throws(FileError) {
    // While one thread compares, others wait rather than read what may be damaged.
    try pending.withLock { (members) throws(FileError) in
      while let member = members.last {
        try archive.verify(member)
        members.removeLast()
      }
    }
  }
}

extension ZipArchive {
  /// No member may unpack to more than this many times its size, small ones apart.
  private static let greatestCheckpointCompression = 200
  private static let small = 1 << 20

  /// The bytes of a member of a checkpoint; `nil` where there is none of that name.
  ///
  /// - Throws: `FileError.Code.malformed` where there are two, or where one unpacks to too much.
  fileprivate func checkpointSource(_ name: String) throws(FileError) -> (any ByteSource)? {
    try checkpointMember(name).map { (member) throws(FileError) in try source(member) }
  }

  /// A member of a checkpoint; `nil` where there is none of that name.
  fileprivate func checkpointMember(_ name: String) throws(FileError) -> Member? {
    let named = members.filter { $0.name == name }
    guard let member = named.first else { return nil }
    guard named.count == 1 else {
      throw FileError(
        .malformed, file: file, object: name, "The archive holds it \(named.count) times; save the model again.")
    }
    guard member.size <= Self.small || member.size / Self.greatestCheckpointCompression <= member.packedSize else {
      throw FileError(
        .malformed, file: file, object: name,
        "Its \(member.packedSize) bytes claim to unpack to \(member.size), more than "
          + "\(Self.greatestCheckpointCompression)-fold; save the model again.")
    }
    return member
  }
}
