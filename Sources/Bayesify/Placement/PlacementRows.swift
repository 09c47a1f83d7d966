public import BayesNetwork

/// The rows that a search scores placements on, in memory.
public struct PlacementRows: Sendable {
  /// Some foreign rows.
  public struct Foreign: Sendable {
    public var name: String
    public var rows: RowBatch

    public init(name: String, rows: RowBatch) {
      self.name = name
      self.rows = rows
    }
  }

  /// Labelled rows that the network was not trained on.
  public var validation: RowBatch
  public var labels: [Int]
  public var foreign: [Foreign]

  /// - Precondition: there is a label a row, and a foreign set at least.
  public init(validation: RowBatch, labels: [Int], foreign: [Foreign]) {
    precondition(validation.count == labels.count && !foreign.isEmpty, "Rows have labels, and there are foreign ones.")
    (self.validation, self.labels, self.foreign) = (validation, labels, foreign)
  }

  /// All rows in blocks, validation rows first, sets one behind the other.
  func blocks(of count: Int) -> [RowBatch] {
    ([validation] + foreign.map(\.rows)).flatMap { rows in
      stride(from: 0, to: rows.count, by: count).map { rows.rows(Array($0..<min(rows.count, $0 + count))) }
    }
  }
}
