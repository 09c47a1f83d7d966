/// A value attached to an object of an archive.
public enum ArchiveAttribute: Hashable, Sendable {
  case text(String)
  case texts([String])
  case integer(Int)
  case integers([Int])
  case number(Double)
  case numbers([Double])
}

/// One array of an archive, before anything of it is read.
public struct ArchiveEntry: Hashable, Sendable {
  /// Slash-separated, with a leading slash: `/exits/0/logits`.
  public var path: String
  public var shape: Shape
  /// The element type as stored: `float32`, `float64`, `uint8`, `int64`, ….
  public var scalarType: String

  public init(path: String, shape: Shape, scalarType: String) {
    self.path = path
    self.shape = shape
    self.scalarType = scalarType
  }
}

/// A file of named arrays with attributes, open for reading.
///
/// Records, predictions and posteriors are read through this protocol, so nothing but the adaptor
/// that conforms knows the file format.  Reads may come from several tasks at once.
public protocol ArrayArchive: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }

  /// All arrays, ordered by path.
  var entries: [ArchiveEntry] { get }

  /// The attributes of a group or an array; `/` is the file itself.  Empty where the object is absent.
  func attributes(of path: String) throws(FileError) -> [String: ArchiveAttribute]

  /// A range of rows (or all, for `nil`) of a numeric array, converted to `Scalar`.
  ///
  /// - Throws: `FileError` naming the file and the path when the array is absent or not numeric.
  func read<Scalar: TensorScalar>(_ path: String, rows: Range<Int>?, as type: Scalar.Type)
    throws(FileError) -> Tensor<Scalar>

  /// A range of rows (or all, for `nil`) of an array of whole numbers, flattened in row-major order.
  func readIntegers(_ path: String, rows: Range<Int>?) throws(FileError) -> [Int]
}

extension ArrayArchive {
  /// The entry at `path`, where there is one.
  public func entry(_ path: String) -> ArchiveEntry? { entries.first { $0.path == path } }

  /// A whole numeric array.
  public func read<Scalar: TensorScalar>(_ path: String, as type: Scalar.Type = Float.self)
    throws(FileError) -> Tensor<Scalar>
  {
    try read(path, rows: nil, as: type)
  }

  /// One attribute, where it is there.
  public func attribute(_ name: String, of path: String = "/") throws(FileError) -> ArchiveAttribute? {
    try attributes(of: path)[name]
  }

  /// One text attribute.
  ///
  /// - Throws: `FileError.Code.missing` when it is absent or of another type.
  public func text(_ name: String, of path: String = "/") throws(FileError) -> String {
    guard case .text(let value)? = try attribute(name, of: path) else {
      throw FileError(
        .missing, file: file, object: path, "The text attribute '\(name)' is missing; the file was not "
          + "written by this program or is damaged.")
    }
    return value
  }
}

/// A file of named arrays that is being written.
///
/// The file appears under its name whole, at `finish()`, or not at all.
public protocol ArrayArchiveWriter: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }

  /// Writes a whole array.
  func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, at path: String) throws(FileError)

  /// Writes whole numbers as a `[count]` array.
  func write(_ integers: [Int], at path: String) throws(FileError)

  /// Appends rows to an array, which the first call creates.
  func append<Scalar: TensorScalar>(_ rows: Tensor<Scalar>, to path: String) throws(FileError)

  /// Appends rows of whole numbers, row-major, to an array, which the first call creates.
  ///
  /// - Parameter shape: `[rows, …]`, as many elements as there are numbers.
  func append(_ integers: [Int], shape: Shape, to path: String) throws(FileError)

  /// Attaches a value to a group or an array, creating the group where nothing is there yet.
  func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) throws(FileError)

  /// Publishes the file under its name.
  func finish() throws(FileError)

  /// Removes what was written so far.
  func discard()
}

extension ArrayArchiveWriter {
  /// Appends whole numbers to a `[count]` array, which the first call creates.
  public func append(_ integers: [Int], to path: String) throws(FileError) {
    try append(integers, shape: [integers.count], to: path)
  }
}
