import Bayesify
import Foundation

/// Writes an answer to standard output.
///
/// - Throws: `FileError.Code.cannotWrite` when nobody takes it, so that a script never trusts half an answer.
func printAnswer(_ text: String) throws(FileError) {
  do {
    try FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
  } catch {
    throw FileError(.cannotWrite, file: "standard output", "The answer cannot be written; give it somewhere to go.")
  }
}

/// Writes a message to standard error.
func printMessage(_ text: String) {
  // Where standard error is gone there is nobody left to tell.
  do { try FileHandle.standardError.write(contentsOf: Data(text.utf8)) } catch {}
}

extension String {
  /// The text with what would break its line or steer a terminal written out: names in files are a stranger's.
  var withoutControls: String {
    guard unicodeScalars.contains(where: \.isControl) else { return self }
    return unicodeScalars.map { $0.isControl ? $0.escaped(asASCII: true) : String($0) }.joined()
  }
}

extension Unicode.Scalar {
  fileprivate var isControl: Bool {
    switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
