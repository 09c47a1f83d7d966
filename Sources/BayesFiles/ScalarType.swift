/// The type of an array's elements as stored.
enum ScalarType: Hashable {
  case boolean
  case unsignedInteger(bits: Int)
  case signedInteger(bits: Int)
  case float(bits: Int)
  /// What is not a number: `string`, `compound`, ….
  case other(String)

  /// As NumPy writes it: `float32`, `uint8`, `bool`.
  var name: String {
    switch self {
    case .boolean: "bool"
    case .unsignedInteger(let bits): "uint\(bits)"
    case .signedInteger(let bits): "int\(bits)"
    case .float(let bits): "float\(bits)"
    case .other(let name): name
    }
  }

  var isInteger: Bool {
    switch self {
    case .boolean, .unsignedInteger, .signedInteger: true
    case .float, .other: false
    }
  }

  var isNumeric: Bool {
    if case .other = self { false } else { true }
  }
}
