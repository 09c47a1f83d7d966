import Foundation

/// Reads one command a line from standard input and answers each with one line of JSON.
///
/// The driver, `engine_against_peers.py`, alternates these calls with those of its peers; nothing here
/// runs between two commands, so an idle engine costs its peers nothing.
@main
enum Entry {
  static func main() async throws {
    var session = Session()
    while let line = readLine() {
      let words = line.split(separator: " ").map(String.init)
      guard !words.isEmpty else { continue }
      let answer: any Encodable
      do {
        answer = try await session.answer(words)
      } catch {
        answer = Failure(error: "\(error)")
      }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      try FileHandle.standardOutput.write(contentsOf: encoder.encode(answer) + Data("\n".utf8))
    }
  }
}

/// The answer to a command that could not be carried out.
private struct Failure: Encodable {
  var error: String
}
