import BayesFiles
public import BayesNetwork
public import BayesTensor

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

extension PlacementRows {
  /// What the rows of a search are made of.
  public struct Source: Sendable {
    /// Labelled rows that the network was not trained on.
    public var validation: any Dataset
    /// Labels of classes that the network does not know; their rows are foreign.
    public var heldOutLabels: Set<Int>
    public var made: [MadeForeignSet]
    public var foreign: [(name: String, rows: any Dataset)]

    public init(
      validation: any Dataset, heldOutLabels: Set<Int>, made: [MadeForeignSet], foreign: [(name: String, rows: any Dataset)]
    ) {
      (self.validation, self.heldOutLabels, self.made, self.foreign) = (validation, heldOutLabels, made, foreign)
    }

    /// The validation rows of classes that the network knows.
    ///
    /// - Throws: `FileError` where there is none.
    public func knownRows() throws(FileError) -> any Dataset {
      guard !heldOutLabels.isEmpty else { return validation }
      let known = try split().known
      guard !known.isEmpty else {
        throw FileError(
          .value, file: validation.labelsFile, object: "labels", "All rows have labels that are held out; name fewer.")
      }
      return ChosenRows(known, of: validation)
    }

    /// The rows of classes that the network knows, and those of others.
    func split() throws(FileError) -> (known: [Int], heldOut: [Int]) {
      var (known, heldOut) = ([Int](), [Int]())
      for start in stride(from: 0, to: validation.rowCount, by: 1024) {
        let range = start..<min(validation.rowCount, start + 1024)
        for (row, label) in zip(range, try validation.labels(range)) {
          if heldOutLabels.contains(label) { heldOut.append(row) } else { known.append(row) }
        }
      }
      return (known, heldOut)
    }
  }

  /// Reads some rows, spread evenly, and makes foreign ones.
  ///
  /// - Parameters:
  ///   - count: of the validation rows; all for `nil`.
  ///   - foreignCount: of all foreign sets together, in equal shares; as many as validation rows for `nil`.
  ///   - classCount: labels lie below it.
  ///   - inputShape: of the network; rows may be stored without an axis of one.
  ///   - key: of what is made.
  /// - Throws: `FileError` where rows are missing, a label is no class, or nothing foreign is left.
  public init(
    _ source: Source, count: Int?, foreignCount: Int?, classCount: Int, inputShape: Shape, key: RandomKey
  ) throws {
    func shaped(_ rows: RowBatch) -> RowBatch { RowBatch(shape: inputShape.batched(rows.count), values: rows.values) }
    let (known, heldOut) = try source.split()
    func spread(_ rows: [Int], _ count: Int) -> [Int] {
      let count = min(count, rows.count)
      return (0..<count).map { rows[$0 * rows.count / count] }
    }
    let chosen = spread(known, count ?? known.count)
    guard chosen.count > 1 else {
      throw FileError(
        .value, file: source.validation.file, "Two validation rows of classes that the network knows are the fewest; give more.")
    }
    let rows = ChosenRows(chosen, of: source.validation)
    let labels = try rows.labels(0..<rows.rowCount)
    if let index = labels.firstIndex(where: { !(0..<classCount).contains($0) }) {
      throw FileError(
        .value, file: source.validation.labelsFile, object: "labels",
        "Row \(source.validation.firstRow + chosen[index]) has label \(labels[index]), but the network knows classes 0 to "
          + "\(classCount - 1). Correct the labels, or name it with --held-out.")
    }
    let validation = shaped(try rows.inputs(0..<rows.rowCount))
    let setCount = source.made.count + source.foreign.count + (source.heldOutLabels.isEmpty ? 0 : 1)
    guard setCount > 0 else {
      throw FileError(
        .missing, file: source.validation.file, "There are no foreign rows to search with; let some be made, or name some.")
    }
    let share = max(2, (foreignCount ?? chosen.count) / setCount)
    var foreign: [Foreign] = []
    for (index, kind) in source.made.enumerated() {
      let own = Array(0..<min(share, validation.count))
      // Spread over all, as each made row is of its own place.
      let places = own.map { $0 * validation.count / own.count }
      let part = validation.rows(places)
      let partLabels = places.map { labels[$0] }
      let key = key.child(index)
      if kind == .corrupted {
        foreign.append(Foreign(name: kind.rawValue, rows: shaped(try Self.corrupted(ChosenRows(places, of: rows), key))))
      } else {
        let made = try MadeForeignRows(kind, of: part, labels: partLabels, file: source.validation.file, key: key)
        foreign.append(Foreign(name: kind.rawValue, rows: made.inputs(0..<made.rowCount)))
      }
    }
    if !source.heldOutLabels.isEmpty {
      guard heldOut.count > 1 else {
        throw FileError(
          .value, file: source.validation.labelsFile, object: "labels",
          "Fewer than two rows have a label that is held out; name other labels.")
      }
      let rows = ChosenRows(spread(heldOut, share), of: source.validation, keepsLabels: false)
      foreign.append(Foreign(name: "held-out classes", rows: shaped(try rows.inputs(0..<rows.rowCount))))
    }
    for (name, dataset) in source.foreign {
      guard dataset.rowShape.elementCount == inputShape.elementCount else {
        throw FileError(
          .shape, file: dataset.file,
          "Rows are \(dataset.rowShape), but the network takes \(inputShape). Give data of that shape (channels last).")
      }
      let rows = ChosenRows(spread(Array(0..<dataset.rowCount), share), of: dataset, keepsLabels: false)
      guard rows.rowCount > 1 else {
        throw FileError(.value, file: dataset.file, "Two foreign rows are the fewest; give more.")
      }
      foreign.append(Foreign(name: name, rows: shaped(try rows.inputs(0..<rows.rowCount))))
    }
    self.init(validation: validation, labels: labels, foreign: foreign)
  }

  /// Images each by one of the corruptions, in turns, at the greatest severity.
  private static func corrupted(_ rows: ChosenRows, _ key: RandomKey) throws -> RowBatch {
    let range = try PixelRange(of: rows)
    let corruptions = Corruption.allCases
    var tensors: [Tensor<Float>] = []
    guard let severity = Severity(5) else { preconditionFailure("Five is the greatest severity.") }
    for row in 0..<rows.rowCount {
      let dataset = try CorruptedDataset(rows, corruptions[row % corruptions.count], severity, range: range, key: key)
      tensors.append(try dataset.inputs(row..<row + 1).tensor)
    }
    return RowBatch(.stacking(tensors))
  }
}
