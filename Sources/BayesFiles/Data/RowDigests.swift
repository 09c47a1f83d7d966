public import BayesNetwork
import BayesTensor

/// The digests of a data set's rows, by which rows that recur in another data set are found.
///
/// Rows are equal when they hold equal numbers, whatever the stored types and however the numbers are
/// arranged in axes: bytes 0 to 255 equal floats 0 to 255, but not floats 0 to 1.  Digests are the
/// first 64 bits of a SHA-256, so two different rows among ten million are taken for equal with a
/// probability below 10⁻⁵.
///
/// - Cost: 8 bytes a row; the rows themselves are read a few at a time.
public struct RowDigests: Sendable {
  private let sorted: ContiguousArray<Int>

  // Enough rows to read a chunk at once, few enough to stay small even where a row is a photograph.
  private static let batchSize = 1024
  private static let batchElementLimit = 1 << 24

  /// Takes digests that were computed before.
  public init(_ digests: some Sequence<Int>) { sorted = ContiguousArray(digests.sorted()) }

  /// Reads all rows of a data set.
  ///
  /// - Throws: what reading throws; `CancellationError`.
  public init(of dataset: any Dataset) throws {
    var digests: [Int] = []
    digests.reserveCapacity(dataset.rowCount)
    let batchSize = min(Self.batchSize, max(1, Self.batchElementLimit / max(1, dataset.rowShape.elementCount)))
    for start in stride(from: 0, to: dataset.rowCount, by: batchSize) {
      try Task.checkCancellation()
      digests += Self.digests(of: try dataset.inputs(start..<min(start + batchSize, dataset.rowCount)))
    }
    self.init(digests)
  }

  /// How many rows of another data set occur among these.
  public func recurringRowCount(in other: RowDigests) -> Int {
    var position = sorted.startIndex
    var count = 0
    for digest in other.sorted {
      while position < sorted.endIndex, sorted[position] < digest { position += 1 }
      if position < sorted.endIndex, sorted[position] == digest { count += 1 }
    }
    return count
  }

  /// The digest of each of some rows, in order.
  public static func digests(of rows: RowBatch) -> [Int] {
    // Adding zero makes the negative zero, which equals it, the positive one.
    let values = ContiguousArray(rows.tensor.elements.map { ($0 + 0).bitPattern.littleEndian })
    let size = rows.shape.row.elementCount * MemoryLayout<UInt32>.size
    var hash = SHA256()
    return unsafe values.withUnsafeBytes { buffer in
      (0..<rows.count).map { row in
        unsafe hash.update(UnsafeRawBufferPointer(rebasing: buffer[row * size..<(row + 1) * size]))
        return Int(bitPattern: hash.finish().prefix(8).reduce(UInt(0)) { $0 << 8 | UInt($1) })
      }
    }
  }
}
