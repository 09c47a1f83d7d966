import BayesTensor
import CZip
import Foundation
import Synchronization

/// A zip file open for reading.
final class ZipArchive: Sendable {
  /// A file in the archive.
  struct Member {
    let name: String
    let index: UInt64
    /// Unpacked, in bytes.
    let size: Int
    let packedSize: Int
    let isStored: Bool
    let isEncrypted: Bool
  }

  /// The file, as the user named it.
  let file: String
  let members: [Member]
  private let state: Mutex<ZipState>

  var memberNames: [String] { members.map(\.name) }

  /// Deflate shrinks at most 1032-fold; what claims more is damaged.
  private static let greatestCompression = 1100.0

  /// Opens an archive and lists what is in it.
  ///
  /// - Throws: `FileError.Code.malformed`, or `.unsupported` for encrypted members.
  init(_ file: String) throws(FileError) {
    let fileSize = try FileReader(file).size
    var code: Int32 = 0
    guard let archive = unsafe zip_open(file, ZIP_RDONLY, &code) else {
      throw FileError(
        .malformed, file: file,
        "The zip archive cannot be opened; it is truncated or damaged, so copy or download it again.")
    }
    let state = unsafe ZipState(archive)
    var members: [Member] = []
    for index in 0..<state.memberCount {
      guard let member = state.member(index) else {
        throw FileError(
          .malformed, file: file, "The zip archive's list of files is damaged; copy or download it again.")
      }
      guard !member.isEncrypted else {
        throw FileError(
          .unsupported, file: file, object: member.name,
          "The member is encrypted; save it without a password.")
      }
      let most = Double(member.packedSize) * (member.isStored ? 1 : Self.greatestCompression) + 1024
      guard member.packedSize <= fileSize, Double(member.size) <= most else {
        throw FileError(
          .malformed, file: file, object: member.name,
          "The member claims \(member.size) bytes, \(member.packedSize) packed, of a file of \(fileSize); the "
            + "archive is damaged, so copy or download it again.")
      }
      members.append(member)
    }
    self.file = file
    self.members = members
    self.state = Mutex(state)
  }

  /// A member's bytes, to be read at any offset.
  ///
  /// What is stored is read in place; what is compressed is unpacked once into a temporary file without
  /// a name.
  func source(_ member: Member) throws(FileError) -> any ByteSource {
    if member.isStored { return StoredMember(archive: self, member: member) }
    var offset = 0
    let source = try SpooledFile.reader(of: file, size: member.size) { (count) throws(FileError) in
      defer { offset += count }
      return try self.bytes(of: member, at: offset, count: count)
    }
    guard state.withLock({ $0.finish(member.index) }) else { throw damage(member) }
    return source
  }

  /// Reads a member through to its end.
  ///
  /// - Throws: `FileError.Code.malformed` where its checksum is wrong.
  func verify(_ member: Member) throws(FileError) {
    var offset = 0
    while offset < member.size {
      let count = min(1 << 20, member.size - offset)
      // From the start on, as a member is unpacked: only then is its checksum compared.
      let read = state.withLock { $0.bytes(of: member.index, at: offset, count: count, seeks: false) != nil }
      guard read else { throw damage(member) }
      offset += count
    }
    guard state.withLock({ $0.finish(member.index) }) else { throw damage(member) }
  }

  /// The first bytes of a member, enough for a header.
  func start(of member: Member) throws(FileError) -> any ByteSource {
    MemberStart(file: file, bytes: try bytes(of: member, at: 0, count: min(member.size, 1 << 16)))
  }

  /// Some bytes of a member; of a compressed one, in order from the start.
  private func bytes(of member: Member, at offset: Int, count: Int) throws(FileError)
    -> ContiguousArray<UInt8>
  {
    let bytes = state.withLock {
      $0.bytes(of: member.index, at: offset, count: count, seeks: member.isStored)
    }
    guard let bytes else { throw damage(member) }
    return bytes
  }

  private func damage(_ member: Member) -> FileError {
    FileError(
      .malformed, file: file, object: member.name,
      "The member cannot be unpacked; the archive is truncated or damaged, so copy or download it again.")
  }

  private struct MemberStart: ByteSource {
    let file: String
    let bytes: ContiguousArray<UInt8>

    var size: Int { bytes.count }

    func bytes(at offset: Int, count: Int) -> ContiguousArray<UInt8> {
      ContiguousArray(bytes[offset..<offset + count])
    }
  }

  private struct StoredMember: ByteSource {
    let archive: ZipArchive
    let member: Member

    var file: String { archive.file }
    var size: Int { member.size }

    func bytes(at offset: Int, count: Int) throws(FileError) -> ContiguousArray<UInt8> {
      guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
        throw FileError(
          .malformed, file: file, object: member.name,
          "The member ends after \(size) bytes where more are due; copy or download the archive again.")
      }
      return try archive.bytes(of: member, at: offset, count: count)
    }
  }
}

/// The C library's archive and the members open in it.
@safe private struct ZipState: ~Copyable {
  private let archive: OpaquePointer
  private var open: [UInt64: OpaquePointer] = unsafe [:]

  init(_ archive: OpaquePointer) { unsafe self.archive = archive }

  deinit {
    for unsafe (_, member) in unsafe open { unsafe zip_fclose(member) }
    unsafe zip_discard(archive)
  }

  var memberCount: UInt64 { UInt64(max(0, unsafe zip_get_num_entries(archive, 0))) }

  /// What the archive says of a member, where it says all that is needed.
  func member(_ index: UInt64) -> ZipArchive.Member? {
    var status = unsafe zip_stat()
    unsafe zip_stat_init(&status)
    let needed = UInt64(ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD)
    guard unsafe zip_stat_index(archive, index, 0, &status) == 0, unsafe status.valid & needed == needed,
      let name = unsafe status.name, let size = unsafe Int(exactly: status.size),
      let packedSize = unsafe Int(exactly: status.comp_size)
    else { return nil }
    return unsafe ZipArchive.Member(
      name: String(cString: name), index: index, size: size, packedSize: packedSize,
      isStored: status.comp_method == ZIP_CM_STORE, isEncrypted: status.encryption_method != ZIP_EM_NONE)
  }

  mutating func bytes(of index: UInt64, at offset: Int, count: Int, seeks: Bool) -> ContiguousArray<UInt8>? {
    // libzip crashes when it seeks in a member without bytes.
    if count == 0 { return [] }
    if !seeks, offset == 0 { close(index) }
    if unsafe open[index] == nil {
      guard let member = unsafe zip_fopen_index(archive, index, 0) else { return nil }
      unsafe open[index] = member
    }
    guard let member = unsafe open[index] else { return nil }
    if seeks, unsafe zip_fseek(member, Int64(offset), SEEK_SET) != 0 { return nil }
    var bytes = ContiguousArray<UInt8>(repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let step = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe zip_fread(member, buffer.baseAddress! + filled, UInt64(count - filled))
      }
      guard step > 0 else { return nil }
      filled += Int(step)
    }
    return bytes
  }

  /// Checks that a compressed member ends here and that its checksum is right.
  mutating func finish(_ index: UInt64) -> Bool {
    guard let member = unsafe open[index] else { return true }
    var byte: UInt8 = 0
    let ends = unsafe zip_fread(member, &byte, 1) == 0
    close(index)
    return ends
  }

  private mutating func close(_ index: UInt64) {
    if let member = unsafe open.removeValue(forKey: index) { unsafe zip_fclose(member) }
  }
}
