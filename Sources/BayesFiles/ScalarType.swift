/// The type of an array's elements as stored.
enum ScalarType: Hashable {
  case boolean
  case unsignedInteger(bits: Int)
  case signedInteger(bits: Int)
  case float(bits: Int)
  /// What is not a number: `string`, `compound`, ….
  case other(String)

  /// The upper half of a `float32`, which HDF5 has no type for: Keras keeps its bits.
  static let brainFloat = ScalarType.other("bfloat16")

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

  /// The bytes of one element; `nil` where they are not known.
  var byteCount: Int? {
    switch self {
    case .boolean: 1
    case .unsignedInteger(let bits), .signedInteger(let bits), .float(let bits): bits / 8
    case .other: self == .brainFloat ? 2 : nil
    }
  }

  var isInteger: Bool {
    switch self {
    case .boolean, .unsignedInteger, .signedInteger: true
    case .float, .other: false
    }
  }

  var isNumeric: Bool {
    if case .other = self { self == .brainFloat } else { true }
  }
}
