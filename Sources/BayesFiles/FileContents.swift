public import BayesTensor
public import Foundation

/// Whole files that are small: policies, reports, names of classes.
public enum FileContents {
  /// All bytes of a file or a pipe.
  ///
  /// - Throws: `FileError.Code.cannotOpen`, with the reason.
  public static func of(_ file: String) throws(FileError) -> Data {
    if let data = FileManager.default.contents(atPath: file) { return data }
    // Foundation does not say why.
    _ = try FileReader(file)
    throw FileError(.cannotOpen, file: file, "The file cannot be read; copy or download it again.")
  }
}
