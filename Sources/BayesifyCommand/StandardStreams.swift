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
