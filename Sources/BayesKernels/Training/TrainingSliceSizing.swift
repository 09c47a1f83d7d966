/// How many rows of a batch go through at once on one thread, and into how many sums their gradients go.
///
/// Both follow from the network and the batch, never from the number of threads, on which no bit may depend.
struct TrainingSliceSizing: Sendable {
  /// The number of sums that slices are dealt to, a power of two: as many tasks as there can be.
  ///
  /// Each sum is as large as the trained weights, and all together take 256 MiB at most: weights of more than half of
  /// that are trained by one task.
  let sumCount: Int
  private let fixed: Int?
  /// The rows of a slice of a large batch.
  let largestRowCount: Int
  private let bytesPerRow: Int
  private let weightByteCount: Int

  /// - Parameters:
  ///   - bytesPerRow: that a row's values and their cotangents take.
  ///   - weightByteCount: that the trained weights take.
  ///   - fixed: the rows of a slice, where the caller says so.
  init(bytesPerRow: Int, weightByteCount: Int, rowCount fixed: Int? = nil) {
    let (bytesPerRow, weightByteCount) = (max(1, bytesPerRow), max(1, weightByteCount))
    self.fixed = fixed
    self.bytesPerRow = bytesPerRow
    self.weightByteCount = weightByteCount
    let affordable = 268_435_456 / weightByteCount
    sumCount = (0...4).map { 1 << $0 }.last { $0 <= affordable } ?? 1
    // As many rows as the caches that cores share have room for; a few rows too large for them where gradients of
    // weights, which every slice adds, are large as well.
    let fitting = 33_554_432 / bytesPerRow
    let worthwhile = min(4, 4 * weightByteCount / bytesPerRow)
    largestRowCount = fixed ?? (0...4).map { 1 << $0 }.last { $0 <= max(fitting, worthwhile) } ?? 1
  }

  /// The rows of a slice: a power of two with which the sums that get most have least to do.
  func rowCount(ofBatch batch: Int) -> Int {
    if let fixed { return fixed }
    let limit = min(largestRowCount, max(1, batch / sumCount))
    let sizes = (0...4).map { 1 << $0 }.filter { $0 <= limit }
    return sizes.min { cost(of: batch, inSlicesOf: $0) < cost(of: batch, inSlicesOf: $1) } ?? 1
  }

  /// How long the sum that gets most slices of a batch takes, in no unit.
  ///
  /// A row's values are computed, a slice's gradients only added: on ResNet-50 the latter takes a twelfth of the time
  /// of the former, at nearly twice the bytes.  Long slices keep weights in caches, which is worth an eighth of a row.
  private func cost(of batch: Int, inSlicesOf rows: Int) -> Int {
    let sliceCount = (batch + rows - 1) / rows
    return (sliceCount + sumCount - 1) / sumCount * ((16 * rows + 2) * bytesPerRow + weightByteCount)
  }
}
