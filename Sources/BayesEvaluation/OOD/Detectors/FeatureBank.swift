package import BayesTensor

/// Which rows of a stream go into a sample of fixed size, all equally likely.
///
/// - Determinism: depends on the key and the rows' positions, not on the sizes of portions.
/// - Source: selection sampling (Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2S).
package struct RowLottery {
  /// Numbers are drawn this many at a time.
  private static let blockCount = 1024

  private let key: RandomKey
  private let rowCount: Int
  private var position = 0
  private var wantedCount: Int
  private var numbers: [Double] = []

  /// - Parameters:
  ///   - wantedCount: the size of the sample; all rows where it is not below `rowCount`.
  ///   - rowCount: the number of rows of the stream.
  package init(_ wantedCount: Int, of rowCount: Int, key: RandomKey) {
    self.key = key
    self.rowCount = rowCount
    self.wantedCount = min(wantedCount, rowCount)
  }

  /// The rows to be taken of the next `count`, counted from the first of them.
  package mutating func next(_ count: Int) -> [Int] {
    var taken: [Int] = []
    for row in 0..<count {
      let place = position % Self.blockCount
      if place == 0 { numbers = key.child(position / Self.blockCount).uniforms(Self.blockCount) }
      if numbers[place] * Double(rowCount - position) < Double(wantedCount) {
        taken.append(row)
        wantedCount -= 1
      }
      position += 1
    }
    return taken
  }
}

/// Rows of numbers, and of each product with a query the smallest few of `offset + factor · product`.
struct FeatureBank: Sendable {
  /// A bank holds this many numbers unless told otherwise, 8 bytes each: 268 MB.
  static let defaultLimit = 1 << 25

  /// So many rows of the bank meet so many queries at once.
  private static let blockRowCount = (bank: 4096, queries: 256)

  /// `[rows, features]`
  let rows: Tensor<Double>

  /// Gathers rows, each mapped on its own.
  ///
  /// - Parameters:
  ///   - wantedCount: the size of the bank; all rows where it is not below their number.
  ///   - limit: the most numbers that the bank holds; fewer rows are taken where it would hold more.
  init(
    _ wantedCount: Int, of source: any DetectorRowSource, featureCount: Int, limit: Int, fitting detector: String,
    in context: ExecutionContext, _ map: (DetectorRows) -> Tensor<Double>
  ) async throws {
    let count = min(wantedCount, source.rowCount, max(1, limit / max(1, featureCount)))
    var lottery = RowLottery(count, of: source.rowCount, key: context.key)
    var elements = ContiguousArray<Double>()
    elements.reserveCapacity(count * featureCount)
    try await source.forEachRows(fitting: detector, in: context) { portion in
      let taken = lottery.next(portion.rowCount)
      if !taken.isEmpty { elements.append(contentsOf: map(portion).rows(taken).elements) }
    }
    rows = Tensor(shape: [elements.count / max(1, featureCount), featureCount], elements: elements)
  }

  /// For each query the `count` smallest values of `offset + factor · (query · row)`, the largest of them first and the
  /// others in no order.
  ///
  /// - Shapes: queries `[n, features]`; offsets one a row of the bank; the result `[n, count]`.
  /// - Precondition: the bank has `count` rows.
  func smallest(
    _ count: Int, queries: Tensor<Double>, factor: Double, offsets: [Double], on backend: any Backend
  ) -> Tensor<Double> {
    var best = Tensor<Double>(repeating: .infinity, shape: [queries.rowCount, count])
    for firstQuery in stride(from: 0, to: queries.rowCount, by: Self.blockRowCount.queries) {
      let queryRange = firstQuery..<min(firstQuery + Self.blockRowCount.queries, queries.rowCount)
      let block = queries.rows(queryRange)
      for first in stride(from: 0, to: rows.rowCount, by: Self.blockRowCount.bank) {
        let range = first..<min(first + Self.blockRowCount.bank, rows.rowCount)
        let products = backend.product(block, rows.rows(range), transposing: .second)
        best.withMutableSpan { best in
          products.withSpan { products in
            for query in 0..<queryRange.count {
              let root = (firstQuery + query) * count
              for row in 0..<range.count {
                let value = offsets[first + row] + factor * products[query * range.count + row]
                if value < best[root] { replaceLargest(of: &best, at: root, count: count, by: value) }
              }
            }
          }
        }
      }
    }
    return best
  }
}

/// Replaces the first and largest number of a heap.
private func replaceLargest(of heap: inout MutableSpan<Double>, at root: Int, count: Int, by value: Double) {
  var hole = 0
  while true {
    var child = 2 * hole + 1
    guard child < count else { break }
    if child + 1 < count, heap[root + child + 1] > heap[root + child] { child += 1 }
    guard heap[root + child] > value else { break }
    heap[root + hole] = heap[root + child]
    hole = child
  }
  heap[root + hole] = value
}
