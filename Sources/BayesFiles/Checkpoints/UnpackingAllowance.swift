import BayesTensor
import Synchronization

/// How much a checkpoint may unpack to, so that a small file cannot fill the memory.
final class UnpackingAllowance: Sendable {
  private let limit: Int
  private let admitted = Mutex<(paths: Set<String>, bytes: Int)>(([], 0))

  /// No array may unpack to more than this many times its size in the file, small ones apart.
  private static let greatestCompression = 200
  private static let small = 1 << 20

  init(fileSize: Int) {
    limit = 3 * fileSize + 128 << 20
  }

  /// Counts an array that is about to be read.
  ///
  /// - Throws: `FileError.Code.malformed` where the array, or the array and those before, unpack to too much.
  func admit(_ array: HDF5Array) throws(FileError) {
    let (count, overflow) = array.shape.elementCount.multipliedReportingOverflow(by: MemoryLayout<Float>.size)
    guard !overflow, count <= Self.small || count / Self.greatestCompression <= array.packedSize else {
      throw FileError(
        .malformed, file: array.file, object: array.object,
        "The array's \(array.packedSize) bytes claim to unpack to \(array.shape) elements, more than "
          + "\(Self.greatestCompression)-fold; rewrite the file without compression, with h5repack -f NONE.")
    }
    let total = admitted.withLock { state in
      if state.paths.insert(array.object ?? "").inserted { state.bytes = state.bytes &+ count }
      return state.bytes
    }
    guard (0...limit).contains(total) else {
      throw FileError(
        .malformed, file: array.file, object: array.object,
        "The arrays up to this one unpack to \(total) bytes, far more than the file has; rewrite the file without "
          + "compression, with h5repack -f NONE.")
    }
  }
}
