import Bayesify
import Foundation
import Testing

/// Arrays of an uncompressed `.npz`, read as the formats' descriptions say, apart from our own reader.
struct StoredZip {
  /// The content of each member by its name.
  private(set) var members: [String: [UInt8]] = [:]

  init(_ data: Data) throws {
    let bytes = [UInt8](data)
    func number(_ position: Int, _ count: Int) -> Int {
      bytes[position..<position + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    // The end of the central directory, without a comment, tells where the directory is.
    let end = bytes.count - 22
    try #require(end >= 0 && number(end, 4) == 0x0605_4b50)
    var entry = number(end + 16, 4)
    for _ in 0..<number(end + 10, 2) {
      try #require(number(entry, 4) == 0x0201_4b50)
      try #require(number(entry + 10, 2) == 0, "The member is compressed.")
      let nameLength = number(entry + 28, 2)
      let name = String(decoding: bytes[entry + 46..<entry + 46 + nameLength], as: UTF8.self)
      let local = number(entry + 42, 4)
      let start = local + 30 + number(local + 26, 2) + number(local + 28, 2)
      members[name] = Array(bytes[start..<start + number(entry + 20, 4)])
      entry += 46 + nameLength + number(entry + 30, 2) + number(entry + 32, 2)
    }
  }

  /// A member that is a little-endian `.npy` of floating-point numbers in row-major order.
  func tensor(_ name: String) throws -> Tensor<Double> {
    let bytes = try #require(members[name])
    try #require(bytes.starts(with: [0x93] + Array("NUMPY".utf8) + [1, 0]))
    let start = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
    try #require(start % 64 == 0)
    let header = String(decoding: bytes[10..<start], as: UTF8.self)
    let tuple = try #require(header.firstMatch(of: /'fortran_order': False, 'shape': \(([0-9, ]+)\)/)).1
    let shape = tuple.split(whereSeparator: { ", ".contains($0) }).compactMap { Int($0) }
    let width = try #require(header.firstMatch(of: /'descr': '<f([48])'/).flatMap { Int($0.1) })
    let values = stride(from: start, to: bytes.count, by: width).map { position in
      let bits = bytes[position..<position + width].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      return width == 4 ? Double(Float(bitPattern: UInt32(bits))) : Double(bitPattern: bits)
    }
    return Tensor(shape: Shape(shape), values)
  }
}
