import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Cuts small files and flips their bits: they may be refused or read, but nothing may crash.
struct DamagedFilesTests {
  // More by the environment, for a longer search.
  private let trialCount =
    ProcessInfo.processInfo.environment["BAYESIFY_DAMAGED_FILES"].flatMap { Int($0) } ?? 250

  @Test(arguments: [
    "Data/chunked.h5", "HDF5Forms/weights.h5", "HDF5Forms/latest-format.h5", "Data/stored.npz",
    "Data/deflated.npz", "Data/float64.npy", "Data/images-idx3-ubyte", "Data/images-idx3-ubyte.gz",
  ])
  func damageIsRefusedOrReadButNeverCrashes(_ name: String) throws {
    let folder = try TemporaryFolder()
    let whole = try [UInt8](Data(contentsOf: URL(filePath: golden(name))))
    let key = RandomKey(seed: 7)
    for trial in 0..<trialCount {
      let numbers = key.child(trial).uniforms(18)
      var bytes = whole
      if trial % 4 == 0 {
        bytes.removeLast(Int(numbers[0] * Double(bytes.count)))
      } else {
        for flip in 0..<1 << Int(numbers[1] * 5) {
          let bit = Int(numbers[2 + flip] * Double(bytes.count * 8))
          bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        }
      }
      let path = try folder.write(bytes, to: "damaged-\(trial)")
      exercise(path)
      try FileManager.default.removeItem(atPath: path)
    }
  }

  // HDF5 1.10.8 divides by the extents of a chunk; this byte is one of them.
  @Test func filesThatCrashTheLibraryAreRefused() throws {
    let folder = try TemporaryFolder()
    var bytes = try [UInt8](Data(contentsOf: URL(filePath: golden("Data/chunked.h5"))))
    try #require(bytes[7266] == 2)
    bytes[7266] = 0
    let path = try folder.write(bytes, to: "damaged.h5")
    let error = try #require(throws: FileError.self) { try HDF5Archive(path) }
    #expect(error.code == .malformed)
    #expect(
      error.message
        == "The file is damaged so that the HDF5 library cannot read it; copy or download it again.")
  }

  /// An attribute whose type claims more bytes than its header has is decoded from whatever lies behind that header:
  /// reading it crashed or not, as memory lay.
  @Test func attributesBeyondTheirHeaderAreRefused() throws {
    let folder = try TemporaryFolder()
    var bytes = try [UInt8](Data(contentsOf: URL(filePath: golden("HDF5Forms/weights.h5"))))
    let name = Array("weight_names".utf8) + [0]
    let place = try #require(bytes.indices.dropLast(name.count).first { Array(bytes[$0..<$0 + name.count]) == name })
    // Before the name: version, reserved, and the sizes of name, type and space, of two bytes each.
    try #require(Array(bytes[place - 8..<place - 4]) == [1, 0, UInt8(name.count), 0])
    (bytes[place - 4], bytes[place - 3]) = (0xF0, 0x7F)
    let path = try folder.write(bytes, to: "damaged.h5")
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(path) }
    #expect(
      error.message
        == "The file is damaged so that the HDF5 library cannot read it; copy or download it again.")
  }

  /// The header is large enough for the value, but the message ends before it: the library took lengths of texts from
  /// whatever memory followed, and gigabytes for them.
  @Test(arguments: [UInt8(0x19), 0x7F])
  func attributesBeyondTheirMessageAreRefused(_ spaceSize: UInt8) throws {
    let folder = try TemporaryFolder()
    var bytes = try [UInt8](Data(contentsOf: URL(filePath: golden("HDF5Forms/model-vlen-utf8.h5"))))
    let name = Array("layer_names".utf8) + [0]
    let place = try #require(bytes.indices.dropLast(name.count).first { Array(bytes[$0..<$0 + name.count]) == name })
    // Before the name: version, reserved, and the sizes of name, type and space, of two bytes each.
    try #require(Array(bytes[place - 8..<place]) == [1, 0, UInt8(name.count), 0, 0x14, 0, 0x18, 0])
    bytes[place - 2] = spaceSize
    let path = try folder.write(bytes, to: "damaged.h5")
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(path) }
    #expect(
      error.message
        == "The file is damaged so that the HDF5 library cannot read it; copy or download it again.")
  }

  /// The library takes the number of a string for a place in a list whose length it does not look at, and copies as
  /// many bytes as the string has wherever fewer are said to be: reading crashed or not, as memory lay.
  @Test(arguments: [(byte: 0, value: UInt8(1)), (12, 0xFE), (15, 0x80)])
  func stringsThatAreNotThereAreRefused(_ change: (byte: Int, value: UInt8)) throws {
    let folder = try TemporaryFolder()
    var bytes = try [UInt8](Data(contentsOf: URL(filePath: golden("HDF5Forms/model-vlen-utf8.h5"))))
    let name = Array("layer_names".utf8) + [0]
    let place = try #require(bytes.indices.dropLast(name.count).first { Array(bytes[$0..<$0 + name.count]) == name })
    // Name, type and space fill multiples of eight bytes; then, for each string, length, address and number.
    let first = place + 16 + 24 + 24
    try #require(bytes[first] > 1 && Array(bytes[first + 1..<first + 4]) == [0, 0, 0])
    try #require(Array(bytes[first + 13..<first + 16]) == [0, 0, 0])
    bytes[first + change.byte] = change.value
    let path = try folder.write(bytes, to: "damaged.h5")
    let error = try #require(throws: FileError.self) { try HDF5Checkpoint(path) }
    #expect(
      error.message
        == "The file is damaged so that the HDF5 library cannot read it; copy or download it again.")
  }

  /// Reads all that the file claims to have.
  private func exercise(_ path: String) {
    expectRefusalOrSuccess(path) { () throws(FileError) in
      let checkpoint = try HDF5Checkpoint(path)
      for entry in checkpoint.entries {
        expectRefusalOrSuccess(path) { () throws(FileError) in _ = try checkpoint.tensor(named: entry.name) }
      }
      let archive = try HDF5Archive(path)
      for entry in archive.entries {
        expectRefusalOrSuccess(path) { () throws(FileError) in _ = try archive.attributes(of: entry.path) }
      }
    }
    expectRefusalOrSuccess(path) { () throws(FileError) in
      let data = try openDataset(path)
      for start in stride(from: 0, to: min(data.rowCount, 1 << 16), by: 2) {
        let rows = start..<min(start + 2, data.rowCount)
        _ = try data.inputs(rows)
        if data.hasLabels { _ = try data.labels(rows) }
      }
    }
  }

  private func expectRefusalOrSuccess(_ path: String, _ body: () throws(FileError) -> Void) {
    do {
      try body()
    } catch {
      #expect(error.message.hasSuffix(".") && error.file == path)
    }
  }
}
