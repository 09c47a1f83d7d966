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

/// A sample of rows that queries are compared with.
struct FeatureBank: Sendable {
  /// So many rows of the bank meet so many queries at once.
  private static let blockRowCount = (bank: 4096, queries: 256)

  /// `[rows, features]` each, one under the other.
  private let blocks: [Tensor<Double>]

  /// Gathers rows, each mapped on its own.
  ///
  /// - Parameters:
  ///   - wantedCount: the size of the bank; all rows where it is not below their number.
  ///   - limit: the most numbers that the bank holds; fewer rows are taken where it would hold more.
  init(
    _ wantedCount: Int, of source: any DetectorRowSource, featureCount: Int, limit: Int, fitting detector: String,
    in context: ExecutionContext, _ map: (DetectorRows) -> Tensor<Double>
  ) async throws {
    let count = min(wantedCount, limit / max(1, featureCount))
    var lottery = RowLottery(count, of: source.rowCount, key: context.key)
    var blocks: [Tensor<Double>] = []
    var waiting: [Tensor<Double>] = []
    var waitingCount = 0
    try await source.forEachRows(fitting: detector, in: context) { portion in
      let taken = lottery.next(portion.rowCount)
      guard !taken.isEmpty else { return }
      waiting.append(map(portion).rows(taken))
      waitingCount += taken.count
      if waitingCount >= Self.blockRowCount.bank {
        blocks.append(.stacking(waiting))
        waiting.removeAll()
        waitingCount = 0
      }
    }
    if !waiting.isEmpty { blocks.append(.stacking(waiting)) }
    self.blocks = blocks
  }

  /// The number of rows.
  var rowCount: Int { blocks.reduce(0) { $0 + $1.rowCount } }

  /// The squared norm of each row.
  var norms: [Double] { blocks.flatMap { squaredNorms($0) } }

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
      let some = queries.rows(queryRange)
      var first = 0
      for block in blocks {
        let products = backend.product(some, block, transposing: .second)
        best.withMutableSpan { best in
          products.withSpan { products in
            for query in 0..<queryRange.count {
              let root = (firstQuery + query) * count
              for row in 0..<block.rowCount {
                let value = offsets[first + row] + factor * products[query * block.rowCount + row]
                if value < best[root] { replaceLargest(of: &best, at: root, count: count, by: value) }
              }
            }
          }
        }
        first += block.rowCount
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
