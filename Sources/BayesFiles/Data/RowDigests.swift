public import BayesNetwork
public import BayesTensor
import Crypto

/// The digests of a data set's rows, by which rows that recur in another data set are found.
///
/// Rows are equal when they hold equal numbers, whatever the stored types and however the numbers are
/// arranged in axes: bytes 0 to 255 equal floats 0 to 255, but not floats 0 to 1.  Digests are the
/// first 128 bits of a SHA-256, so two different rows among a billion are taken for equal with a
/// probability below 10⁻²⁰.
///
/// - Cost: 16 bytes a row; the rows themselves are read a few at a time.
public struct RowDigests: Sendable {
  private let sorted: ContiguousArray<UInt128>

  // Enough rows to read a chunk at once, few enough to stay small.
  private static let batchSize = 256

  /// Reads all rows of a data set.
  ///
  /// - Throws: what reading throws.
  public init(of dataset: any Dataset) throws(FileError) {
    var digests = ContiguousArray<UInt128>()
    digests.reserveCapacity(dataset.rowCount)
    try Self.forEachDigest(of: dataset) { digests.append($0) }
    digests.sort()
    sorted = digests
  }

  /// How many rows of a data set occur among those that were read here.
  ///
  /// - Throws: what reading throws.
  public func recurringRowCount(in dataset: any Dataset) throws(FileError) -> Int {
    var count = 0
    try Self.forEachDigest(of: dataset) { if contains($0) { count += 1 } }
    return count
  }

  private func contains(_ digest: UInt128) -> Bool {
    var range = sorted.startIndex..<sorted.endIndex
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      if sorted[middle] == digest { return true }
      range = sorted[middle] < digest ? middle + 1..<range.upperBound : range.lowerBound..<middle
    }
    return false
  }

  private static func forEachDigest(of dataset: any Dataset, _ body: (UInt128) -> Void) throws(FileError) {
    let width = dataset.rowShape.elementCount
    for start in stride(from: 0, to: dataset.rowCount, by: batchSize) {
      let rows = start..<min(start + batchSize, dataset.rowCount)
      // Adding zero makes the negative zero, which equals it, the positive one.
      let values = ContiguousArray(try dataset.inputs(rows).tensor.elements.map { ($0 + 0).bitPattern.littleEndian })
      unsafe values.withUnsafeBytes { buffer in
        let size = width * MemoryLayout<UInt32>.size
        for row in 0..<rows.count {
          let digest = unsafe SHA256.hash(data: UnsafeRawBufferPointer(rebasing: buffer[row * size..<(row + 1) * size]))
          body(digest.prefix(16).reduce(0) { $0 << 8 | UInt128($1) })
        }
      }
    }
  }
}
