public import BayesTensor
import CHDF5
import Synchronization

/// An HDF5 file of named arrays that is being written.
///
/// The content goes to a hidden file in the same folder, `.NAME.….part`, which `finish()` brings to
/// the disk and renames; `discard()`, or the end of the writer's life, removes it.  Groups are
/// created as paths need them.  Appended arrays are stored in chunks of about 64 KiB, others as one
/// piece; nothing is compressed.
///
/// - Determinism: no times are stored, so equal calls write equal bytes.
/// - Cost: memory does not grow with what is written, but for a cache of 1 MiB an appended array.
public final class HDF5ArchiveWriter: ArrayArchiveWriter {
  public let file: String
  private let output: Mutex<HDF5Output?>

  /// Starts a file.
  ///
  /// - Parameter replacing: Whether a file of that name may be replaced.
  /// - Throws: `FileError.Code.cannotWrite`.
  public init(_ file: String, replacing: Bool = false) throws(FileError) {
    self.file = file
    output = Mutex(try HDF5Output(file, replacing: replacing))
  }

  public func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, at path: String) throws(FileError) {
    let elements = HDF5Output.Elements(tensor)
    try change { (output) throws(FileError) in try output.write(elements, at: path) }
  }

  public func write(_ integers: [Int], at path: String) throws(FileError) {
    try change { (output) throws(FileError) in try output.write(.integers(integers, [integers.count]), at: path) }
  }

  /// Appends rows to an array, which the first call creates.
  ///
  /// - Shapes: `[rows, …]`, with the same row shape in each call.
  /// - Throws: `FileError.Code.shape` for rows of another shape or precision than the first.
  public func append<Scalar: TensorScalar>(_ rows: Tensor<Scalar>, to path: String) throws(FileError) {
    let elements = HDF5Output.Elements(rows)
    try change { (output) throws(FileError) in try output.append(elements, to: path) }
  }

  public func append(_ integers: [Int], shape: Shape, to path: String) throws(FileError) {
    try change { (output) throws(FileError) in try output.append(.integers(integers, shape), to: path) }
  }

  /// Attaches a value to a group or an array, creating the group where nothing is there yet.
  ///
  /// A text may have any length; lists are limited to 64 KiB.
  public func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) throws(FileError) {
    try change { (output) throws(FileError) in try output.setAttribute(name, value, of: path) }
  }

  public func finish() throws(FileError) {
    try change { (output) throws(FileError) in try output.finish() }
    discard()
  }

  public func discard() {
    output.withLock { $0 = nil }
  }

  private func change(_ body: (HDF5Output) throws(FileError) -> Void) throws(FileError) {
    try output.withLock { (output: inout HDF5Output?) throws(FileError) in
      guard let output else {
        throw FileError(.cannotWrite, file: file, "The file was finished or discarded before.")
      }
      try body(output)
    }
  }
}
