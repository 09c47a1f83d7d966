/// A file could not be read or written, or does not hold what it should.
///
/// Its description is one sentence that names the file, the object in it, and what to change.
public struct FileError: Error, CustomStringConvertible {
  /// What went wrong; an open set.
  public struct Code: Hashable, Sendable {
    /// The name, as scripts may match it.
    public let name: String
    /// The file cannot be opened or read by the system.
    public static let cannotOpen = Code(name: "cannotOpen")
    /// The file cannot be written.
    public static let cannotWrite = Code(name: "cannotWrite")
    /// The file is damaged or of another format.
    public static let malformed = Code(name: "malformed")
    /// An object that must be there is not.
    public static let missing = Code(name: "missing")
    /// A shape does not fit.
    public static let shape = Code(name: "shape")
    /// A value is out of range or not finite.
    public static let value = Code(name: "value")
    /// The file asks for something that this version does not do.
    public static let unsupported = Code(name: "unsupported")
  }

  public let code: Code
  /// The file, as the user named it.
  public let file: String
  /// The object in the file (an HDF5 path, a layer), where there is one.
  public let object: String?
  /// What is wrong and what to change.
  public let message: String

  public init(_ code: Code, file: String, object: String? = nil, _ message: String) {
    self.code = code
    self.file = file
    self.object = object
    self.message = message
  }

  public var description: String { file + (object.map { ", \($0)" } ?? "") + ": " + message }
}
