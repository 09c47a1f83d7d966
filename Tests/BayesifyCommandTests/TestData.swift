import Bayesify
import Foundation

extension TestFolder {
  /// Writes a `.npy` file of single-precision numbers.
  func write(_ values: [Float], shape: [Int], to name: String) throws {
    let bytes = values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
    try write(bytes, type: "<f4", shape: shape, to: name)
  }

  /// Writes a `.npy` file of bytes.
  func write(_ bytes: [UInt8], shape: [Int], to name: String) throws {
    try write(bytes, type: "|u1", shape: shape, to: name)
  }

  /// Writes images in the digits' shape and range, each pixel drawn on its own.
  func writeNoise(rowCount: Int, to name: String) throws {
    let pixels = RandomKey(seed: 5).uniforms(rowCount * 64).map { UInt8($0 * 17) }
    try write(pixels, shape: [rowCount, 8, 8, 1], to: name)
  }

  private func write(_ bytes: [UInt8], type: String, shape: [Int], to name: String) throws {
    let tuple = shape.map { "\($0), " }.joined()
    var header = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(tuple)), }"
    header += String(repeating: " ", count: 128 - 10 - header.utf8.count - 1) + "\n"
    let start = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0] + Array(header.utf8)
    try Data(start + bytes).write(to: files.appending(path: name))
  }

  /// Writes some text.
  func write(_ text: String, to name: String) throws {
    try Data(text.utf8).write(to: files.appending(path: name))
  }
}
