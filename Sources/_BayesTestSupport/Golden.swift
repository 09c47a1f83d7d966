public import BayesTensor
public import Foundation

/// The folders that tests read from.
public enum TestFiles {
  /// The root of the package.
  public static let package = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// `Tests/Golden`: values made by programs that are not ours.
  public static let golden = package.appending(path: "Tests/Golden")

  /// The folder of real checkpoints and data, where this machine has one.
  ///
  /// Tests that need it are skipped elsewhere.
  public static let shared = ProcessInfo.processInfo.environment["BAYESIFY_SHARED"].flatMap {
    $0.isEmpty ? nil : URL(filePath: $0)
  }
}

/// A JSON value, for reading golden files.
public indirect enum GoldenValue: Sendable, Decodable {
  case number(Double)
  case text(String)
  case list([GoldenValue])
  case table([String: GoldenValue])
  case null

  /// Reads a JSON file below `Tests/Golden`.
  public init(contentsOf path: String) throws {
    let data = try Data(contentsOf: TestFiles.golden.appending(path: path))
    self = try JSONDecoder().decode(GoldenValue.self, from: data)
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let number = try? container.decode(Double.self) {
      self = .number(number)
    } else if let text = try? container.decode(String.self) {
      self = .text(text)
    } else if let list = try? container.decode([GoldenValue].self) {
      self = .list(list)
    } else {
      self = .table(try container.decode([String: GoldenValue].self))
    }
  }

  /// The entry of a table.
  public subscript(key: String) -> GoldenValue {
    guard case .table(let table) = self, let value = table[key] else {
      preconditionFailure("The golden file has no entry '\(key)'.")
    }
    return value
  }

  public var number: Double {
    guard case .number(let number) = self else { preconditionFailure("Not a number: \(self)") }
    return number
  }

  public var text: String {
    guard case .text(let text) = self else { preconditionFailure("Not a text: \(self)") }
    return text
  }

  public var list: [GoldenValue] {
    guard case .list(let list) = self else { preconditionFailure("Not a list: \(self)") }
    return list
  }

  public var table: [String: GoldenValue] {
    guard case .table(let table) = self else { preconditionFailure("Not a table: \(self)") }
    return table
  }

  /// All numbers, depth first.
  public var numbers: [Double] {
    switch self {
    case .number(let number): [number]
    case .list(let list): list.flatMap(\.numbers)
    default: preconditionFailure("Not numbers: \(self)")
    }
  }

  /// A tensor from `{"shape": …, "values": …}` or from nested lists.
  public func tensor<Scalar: TensorScalar>(as type: Scalar.Type = Double.self) -> Tensor<Scalar> {
    if case .table(let table) = self, let shape = table["shape"], let values = table["values"] {
      return Tensor(shape: Shape(shape.numbers.map { Int($0) }), values.numbers.map { Scalar($0) })
    }
    var dimensions: [Int] = []
    var level = self
    while case .list(let list) = level {
      dimensions.append(list.count)
      guard let first = list.first else { break }
      level = first
    }
    return Tensor(shape: Shape(dimensions), numbers.map { Scalar($0) })
  }
}
