import BayesNetwork
import BayesTensor
import Testing

/// Some rows of a data set in the place of all.
struct ChosenRowsTests {
  private struct Rows: Dataset {
    let file = "rows"
    var rowCount: Int { 5 }
    var rowShape: Shape { [2] }
    var hasLabels: Bool { true }
    func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch {
      RowBatch(Tensor<Float>(shape: [rows.count, 2], rows.flatMap { [Float($0), Float(10 * $0)] }))
    }
    func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { rows.map { 7 * $0 } }
  }

  @Test func rowsComeInTheOrderGiven() throws {
    let chosen = ChosenRows([3, 0, 3], of: Rows())
    #expect(chosen.rowCount == 3 && chosen.rowShape == [2])
    #expect(try chosen.inputs(0..<3).tensor == Tensor(shape: [3, 2], [3, 30, 0, 0, 3, 30]))
    #expect(try chosen.inputs(1..<2).tensor == Tensor(shape: [1, 2], [0, 0]))
    #expect(try chosen.labels(0..<3) == [21, 0, 21])
    #expect(try chosen.inputs(2..<2).count == 0)
    #expect(chosen.hasLabels && !ChosenRows([1], of: Rows(), keepsLabels: false).hasLabels)
  }
}
