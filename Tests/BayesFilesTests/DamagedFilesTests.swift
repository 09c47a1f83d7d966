import BayesFiles
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Cuts small files and flips their bits: they may be refused or read, but nothing may crash.
struct DamagedFilesTests {
  // More by the environment, for a longer search.
  private let trialCount = ProcessInfo.processInfo.environment["BAYESIFY_DAMAGED_FILES"].flatMap { Int($0) } ?? 250

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
