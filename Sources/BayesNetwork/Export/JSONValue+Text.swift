import Foundation

extension JSONValue {
  /// The value as a document, tables in the order of their keys.
  var json: String {
    switch self {
    case .null: "null"
    case .boolean(let boolean): boolean ? "true" : "false"
    case .number(let number): integer.map(String.init) ?? "\(number)"
    case .text(let text): Self.quoted(text)
    case .list(let list): "[" + list.map(\.json).joined(separator: ", ") + "]"
    case .table(let table):
      "{" + table.sorted { $0.key < $1.key }.map { Self.quoted($0.key) + ": " + $0.value.json }.joined(separator: ", ") + "}"
    }
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20: result += "\\u" + String(format: "%04x", scalar.value)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
