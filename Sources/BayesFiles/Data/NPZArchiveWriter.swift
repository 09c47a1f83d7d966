public import BayesTensor
import CZip
import Foundation
import Synchronization

/// Writes named arrays as a NumPy zip; `/exits/0/logits` becomes the member `exits/0/logits.npy`.
///
/// Arrays grow in temporary files of the system's temporary folder and are packed, stored, at the end.
/// Attributes have no place in this format and are left out.
///
/// - Determinism: equal content gives equal bytes; members carry a fixed date.
public final class NPZArchiveWriter: ArrayArchiveWriter {
  /// One array while it grows.
  private struct Member {
    let path: String
    let type: String
    let row: [Int]
    var rowCount: Int?
    let handle: FileHandle
    let url: URL
  }

  private struct State {
    var members: [Member] = []
    var isFinished = false
  }

  public let file: String
  private let replacing: Bool
  private let folder: URL
  private let state = Mutex(State())

  /// Bytes kept free at the start of each array for its header, a multiple of 64 as NumPy wants.
  private static let headerByteCount = 256

  /// - Throws: `FileError.Code.cannotWrite`.
  public init(_ file: String, replacing: Bool = false) throws(FileError) {
    if !replacing { try AtomicFile.requireAbsent(file) }
    self.file = file
    self.replacing = replacing
    folder = FileManager.default.temporaryDirectory.appending(path: "bayesify-\(UUID().uuidString)")
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    } catch {
      throw FileError(.cannotWrite, file: folder.path, "No temporary folder can be made; make room.")
    }
  }

  deinit { discard() }

  public func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, at path: String) throws(FileError) {
    try add(tensor.elements, type: Self.type(of: Scalar.self), shape: tensor.shape.dimensions, to: path, grows: false)
  }

  public func write(_ integers: [Int], at path: String) throws(FileError) {
    try add(ContiguousArray(integers), type: "<i8", shape: [integers.count], to: path, grows: false)
  }

  public func append<Scalar: TensorScalar>(_ rows: Tensor<Scalar>, to path: String) throws(FileError) {
    try add(rows.elements, type: Self.type(of: Scalar.self), shape: rows.shape.dimensions, to: path, grows: true)
  }

  public func append(_ integers: [Int], shape: Shape, to path: String) throws(FileError) {
    try add(ContiguousArray(integers), type: "<i8", shape: shape.dimensions, to: path, grows: true)
  }

  public func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) throws(FileError) {}

  private static func type<Scalar>(of scalar: Scalar.Type) -> String {
    MemoryLayout<Scalar>.size == 4 ? "<f4" : "<f8"
  }

  private func add<Element: BitwiseCopyable>(
    _ elements: ContiguousArray<Element>, type: String, shape: [Int], to path: String, grows: Bool
  ) throws(FileError) {
    let outcome: Result<Void, FileError> = state.withLock { state in
      do throws(FileError) {
        var index = state.members.firstIndex { $0.path == path }
        if index == nil {
          state.members.append(
            try newMember(path, type, row: grows ? Array(shape.dropFirst()) : shape, grows: grows, state.members.count))
          index = state.members.count - 1
        }
        guard let index, state.members[index].type == type,
          !grows || state.members[index].row == Array(shape.dropFirst())
        else {
          throw FileError(.shape, file: file, object: path, "Rows of another shape or type were written before.")
        }
        if grows { state.members[index].rowCount = (state.members[index].rowCount ?? 0) + (shape.first ?? 0) }
        let data = unsafe elements.withUnsafeBytes { unsafe Data($0) }
        do {
          try state.members[index].handle.write(contentsOf: data)
        } catch {
          throw FileError(
            .cannotWrite, file: file, object: path, "The disk refuses it (\(error.localizedDescription)); make room.")
        }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
  }

  private func newMember(_ path: String, _ type: String, row: [Int], grows: Bool, _ number: Int) throws(FileError)
    -> Member
  {
    let url = folder.appending(path: "\(number).npy")
    do {
      try Data(count: Self.headerByteCount).write(to: url)
      let handle = try FileHandle(forUpdating: url)
      try handle.seekToEnd()
      return Member(path: path, type: type, row: row, rowCount: grows ? 0 : nil, handle: handle, url: url)
    } catch {
      throw FileError(
        .cannotWrite, file: file, object: path, "The disk refuses it (\(error.localizedDescription)); make room.")
    }
  }

  public func finish() throws(FileError) {
    let members = state.withLock { state in
      state.isFinished = true
      return state.members
    }
    defer { removeFolder() }
    for member in members {
      do {
        try member.handle.seek(toOffset: 0)
        try member.handle.write(contentsOf: Self.header(member))
        try member.handle.close()
      } catch {
        throw FileError(
          .cannotWrite, file: file, object: member.path,
          "The disk refuses it (\(error.localizedDescription)); make room.")
      }
    }
    let pending = try PendingFile(for: file, replacing: replacing)
    try pack(members, to: pending.temporaryPath)
    try pending.publish()
  }

  private static func header(_ member: Member) -> Data {
    let shape = (member.rowCount.map { [$0] } ?? []) + member.row
    let tuple = "(" + shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? ",)" : ")")
    var text = "{'descr': '\(member.type)', 'fortran_order': False, 'shape': \(tuple), }"
    text += String(repeating: " ", count: headerByteCount - 10 - text.utf8.count - 1) + "\n"
    let count = headerByteCount - 10
    return Data([0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 0xFF), UInt8(count >> 8)] + Array(text.utf8))
  }

  private func pack(_ members: [Member], to path: String) throws(FileError) {
    let failure = FileError(.cannotWrite, file: file, "The zip archive cannot be written; make room.")
    guard let archive = unsafe zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, nil) else { throw failure }
    for member in members {
      let name = member.path.drop { $0 == "/" } + ".npy"
      guard let source = unsafe zip_source_file(archive, member.url.path, 0, -1) else {
        unsafe zip_discard(archive)
        throw failure
      }
      let index = unsafe zip_file_add(archive, String(name), source, zip_flags_t(ZIP_FL_ENC_UTF_8))
      // 1980-01-01, the earliest date a zip can hold.
      guard index >= 0, unsafe zip_set_file_compression(archive, UInt64(index), ZIP_CM_STORE, 0) == 0,
        unsafe zip_file_set_mtime(archive, UInt64(index), 315_532_800, 0) == 0
      else {
        unsafe zip_discard(archive)
        throw failure
      }
    }
    guard unsafe zip_close(archive) == 0 else {
      unsafe zip_discard(archive)
      throw failure
    }
  }

  public func discard() {
    let wasFinished = state.withLock { state in
      defer { state.isFinished = true }
      return state.isFinished
    }
    if !wasFinished { removeFolder() }
  }

  private func removeFolder() {
    // Nobody is there to tell, and the system clears its temporary folder.
    do { try FileManager.default.removeItem(at: folder) } catch {}
  }
}
