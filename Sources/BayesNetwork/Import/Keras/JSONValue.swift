import Foundation

/// A JSON value of any kind.
enum JSONValue: Sendable, Equatable {
  case null
  case boolean(Bool)
  case number(Double)
  case text(String)
  case list([JSONValue])
  case table([String: JSONValue])

  /// Parses a document; nesting beyond a few hundred levels is refused.
  init(parsing data: Data) throws(JSONFailure) {
    self = try JSONReader.value(of: data)
  }

  /// The entry of a table; `nil` where there is none, where it is null, or where this is no table.
  subscript(key: String) -> JSONValue? {
    guard case .table(let table) = self, let value = table[key], value != .null else { return nil }
    return value
  }

  var boolean: Bool? {
    if case .boolean(let boolean) = self { boolean } else { nil }
  }

  var number: Double? {
    if case .number(let number) = self { number } else { nil }
  }

  /// The number where it is whole and exactly an `Int`.
  var integer: Int? { number.flatMap { Int(exactly: $0) } }

  var text: String? {
    if case .text(let text) = self { text } else { nil }
  }

  var list: [JSONValue]? {
    if case .list(let list) = self { list } else { nil }
  }

  var table: [String: JSONValue]? {
    if case .table(let table) = self { table } else { nil }
  }
}

extension JSONValue: CustomStringConvertible {
  /// The value as a message quotes it: short whatever it holds.
  var description: String {
    switch self {
    case .null: "null"
    case .boolean(let boolean): String(boolean)
    case .number(let number): integer.map(String.init) ?? String(number)
    case .text(let text): text.count > 60 ? "'\(text.prefix(60))…'" : "'\(text)'"
    case .list(let list):
      list.count <= 4 && list.allSatisfy { $0.list == nil && $0.table == nil }
        ? "[" + list.map(\.description).joined(separator: ", ") + "]" : "a list of \(list.count)"
    case .table: "a table"
    }
  }
}
