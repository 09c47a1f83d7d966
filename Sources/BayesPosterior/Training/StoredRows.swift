import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule

/// Rows of a data set with their labels or real targets, in any order, without those that have no answer.
struct StoredRows: Sendable {
  let rowCount: Int
  /// The number of answers that a row has, some of which may be ignored.
  let positionCount: Int
  private let dataset: any Dataset
  private let reading: LabelReading
  /// The indices in the data set, where rows were left out.
  private let indices: [Int]?
  /// All rows, where there is room for them.
  private let kept: RowBatch?
  /// The labels of all rows, where there is room for them.
  private let keptLabels: [Int]?
  /// The real targets of a row; `nil` where rows have labels.
  private let targetCount: Int?
  /// The targets of all rows, where there is room for them.
  private let keptTargets: Tensor<Double>?

  private static let keptByteCount = 1 << 30
  private static let chunkRowCount = 1024

  /// - Throws: `FileError` where there are no rows or labels, or a label is no class, or a target not finite.
  init(_ dataset: any Dataset, _ description: RecordsDescription) throws(FileError) {
    guard dataset.rowCount > 0 else { throw FileError(.value, file: dataset.file, "There are no rows.") }
    guard dataset.hasLabels else {
      throw FileError(.missing, file: dataset.file, "The rows have no labels, and the data term needs them.")
    }
    self.dataset = dataset
    guard !description.isRegression else {
      let count = description.exits[0].logitCount
      (positionCount, reading, indices, keptLabels, targetCount) = (1, LabelReading(), nil, nil, count)
      rowCount = dataset.rowCount
      keptTargets = try Self.targets(of: dataset, outputs: count)
      kept = try Self.inputs(of: dataset, answered: nil)
      return
    }
    (targetCount, keptTargets) = (nil, nil)
    let positionCount = description.positionCount
    let reading = LabelReading(positions: description.positions, ignored: description.ignoredLabel)
    let keepsLabels = dataset.rowCount <= Self.keptByteCount / 4 / (8 * positionCount)
    let chunkRowCount = max(1, Self.chunkRowCount / positionCount)
    var (answered, labels) = ([Int](), [Int]())
    for start in stride(from: 0, to: dataset.rowCount, by: chunkRowCount) {
      let rows = start..<min(dataset.rowCount, start + chunkRowCount)
      let own = try dataset.labels(rows, as: reading)
      try description.requireClasses(own, labelsFile: dataset.labelsFile) {
        answerPlace(start * positionCount + $0, positions: description.positions, firstRow: dataset.firstRow)
      }
      for row in rows {
        let answers = own[(row - start) * positionCount..<(row - start + 1) * positionCount]
        guard answers.contains(where: { $0 != reading.ignored }) else { continue }
        answered.append(row)
        if keepsLabels { labels += answers }
      }
    }
    guard !answered.isEmpty else {
      throw FileError(
        .value, file: dataset.labelsFile, object: "labels",
        "All labels are \(reading.ignored ?? 0), which is ignored, so nothing is left; give rows with other labels.")
    }
    self.reading = reading
    self.positionCount = positionCount
    rowCount = answered.count
    indices = answered.count < dataset.rowCount ? answered : nil
    keptLabels = keepsLabels ? labels : nil
    kept = try Self.inputs(of: dataset, answered: indices)
  }

  /// All rows, or those that have an answer, where there is room for them.
  private static func inputs(of dataset: any Dataset, answered: [Int]?) throws(FileError) -> RowBatch? {
    guard 4 * dataset.rowShape.elementCount <= keptByteCount / (answered?.count ?? dataset.rowCount) else { return nil }
    var chunks: [RowBatch] = []
    for start in stride(from: 0, to: dataset.rowCount, by: chunkRowCount) {
      chunks.append(try dataset.inputs(start..<min(dataset.rowCount, start + chunkRowCount)))
    }
    let all = RowBatch(joining: chunks)
    return answered.map { all.rows($0) } ?? all
  }

  /// The targets of all rows, which are read and checked, where there is room for them.
  private static func targets(of dataset: any Dataset, outputs: Int) throws(FileError) -> Tensor<Double>? {
    var chunks: [Tensor<Double>] = []
    let isKept = 8 * outputs <= keptByteCount / 4 / dataset.rowCount
    for start in stride(from: 0, to: dataset.rowCount, by: chunkRowCount) {
      let rows = start..<min(dataset.rowCount, start + chunkRowCount)
      let own = try dataset.targets(rows, outputs: outputs, positions: [])
      if isKept { chunks.append(own) }
    }
    return isKept ? .stacking(chunks) : nil
  }

  @Sendable func inputs(_ positions: [Int]) throws -> RowBatch {
    if let kept { return kept.rows(positions) }
    return RowBatch(joining: try positions.map { try dataset.inputs(range($0)) })
  }

  /// The real targets of some rows, `[rows, outputs]`.
  ///
  /// - Precondition: rows have targets.
  private func targets(_ positions: [Int]) throws(FileError) -> Tensor<Double> {
    guard let targetCount else { preconditionFailure("These rows have labels.") }
    if let keptTargets { return keptTargets.rows(positions) }
    var rows: [Tensor<Double>] = []
    for row in positions { rows.append(try dataset.targets(range(row), outputs: targetCount, positions: [])) }
    return .stacking(rows)
  }

  /// The loss of some rows, summed, and its derivative.
  ///
  /// - Parameter outputs: of the network, for those rows.
  @Sendable func loss(_ outputs: Tensor<Float>, of positions: [Int], _ term: DataTerm) throws -> LossValue<Float> {
    if let targetCount {
      return try term(outputs.reshaped(to: [positions.count, targetCount]), targets: targets(positions))
    }
    let labels = try labels(positions)
    return try term(outputs.reshaped(to: [labels.count, outputs.count / labels.count]), labels)
  }

  /// The root mean square of what a network's output is off the targets.
  ///
  /// - Precondition: rows have targets.
  /// - Cost: a pass over the rows.
  func residualDeviation(
    _ network: FrozenNetwork, output: Int, _ preprocessing: Preprocessing, on backend: any NetworkBackend, width: Int
  ) async throws -> Double {
    let prepared = try backend.prepare(network, preprocessing: preprocessing, outputs: [output])
    var (sum, count) = (0.0, 0)
    for start in stride(from: 0, to: rowCount, by: Self.chunkRowCount) {
      try Task.checkCancellation()
      let rows = Array(start..<min(rowCount, start + Self.chunkRowCount))
      let (means, targets) = (try await prepared(try inputs(rows), width: width)[0], try targets(rows))
      for position in 0..<targets.count {
        let difference = Double(means.elements[position]) - targets.elements[position]
        sum += difference * difference
      }
      count += targets.count
    }
    return (sum / Double(count)).squareRoot()
  }

  /// The labels of some rows, all positions of a row one after another.
  @Sendable func labels(_ positions: [Int]) throws(FileError) -> [Int] {
    var labels: [Int] = []
    labels.reserveCapacity(positions.count * positionCount)
    for row in positions {
      if let keptLabels {
        labels += keptLabels[row * positionCount..<(row + 1) * positionCount]
      } else {
        labels += try dataset.labels(range(row), as: reading)
      }
    }
    return labels
  }

  /// The number of answers of some rows that are not ignored.
  @Sendable func answerCount(_ positions: [Int]) throws(FileError) -> Int {
    guard let ignored = reading.ignored else { return positions.count * positionCount }
    return try labels(positions).reduce(0) { $0 + ($1 == ignored ? 0 : 1) }
  }

  /// A row in the data set.
  private func range(_ row: Int) -> Range<Int> {
    let index = indices?[row] ?? row
    return index..<index + 1
  }

  /// The mean negative log-likelihood of the first rows' labels under the mean of some networks' probabilities, nats.
  func meanLoss(
    _ networks: [FrozenNetwork], first count: Int, output: Int, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, _ loss: DataTerm
  ) async throws -> Double {
    // The logarithm of each answer's summed probability.
    var sums: [Double] = []
    for network in networks {
      let values = try await logProbabilities(
        network, first: count, output: output, preprocessing, on: backend, width: width, loss)
      sums =
        sums.isEmpty
        ? values
        : zip(sums, values).map { sum, value in
          let larger = max(sum, value)
          return larger + Double.log(Double.exp(sum - larger) + Double.exp(value - larger))
        }
    }
    return Double.log(Double(networks.count)) - sums.reduce(0, +) / Double(sums.count)
  }

  /// The logarithms of the probabilities that a network gives to the labels of the first rows, nats, but for labels that are
  /// ignored; of targets those of densities.
  func logProbabilities(
    _ network: FrozenNetwork, first count: Int, output: Int, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, _ loss: DataTerm
  ) async throws -> [Double] {
    let prepared = try backend.prepare(network, preprocessing: preprocessing, outputs: [output])
    let chunkRowCount = max(1, Self.chunkRowCount / positionCount)
    var values: [Double] = []
    for start in stride(from: 0, to: count, by: chunkRowCount) {
      try Task.checkCancellation()
      let rows = Array(start..<min(count, start + chunkRowCount))
      let logits = try await prepared(try inputs(rows), width: width)[0]
      if let targetCount {
        let (means, targets) = (logits.reshaped(to: [rows.count, targetCount]), try targets(rows))
        for row in 0..<rows.count {
          values.append(-(try loss(means.rows(row..<row + 1), targets: targets.rows(row..<row + 1)).value))
        }
        continue
      }
      let classCount = logits.count / (rows.count * positionCount)
      let answers = logits.reshaped(to: [rows.count * positionCount, classCount])
      for (index, label) in try labels(rows).enumerated() where label != reading.ignored {
        do {
          values.append(-(try loss(answers.rows(index..<index + 1), [label]).value))
        } catch {
          throw FileError(
            .value, file: dataset.file,
            answerPlace(
              range(rows[0] + index / positionCount).lowerBound * positionCount + index % positionCount,
              positions: reading.positions, firstRow: dataset.firstRow) + ": " + error.message)
        }
      }
    }
    return values
  }
}

extension RowBatch {
  /// Rows one under the other.
  ///
  /// - Precondition: there is one batch at least, and all row shapes are equal.
  fileprivate init(joining batches: [RowBatch]) {
    let shape = batches[0].shape.row.batched(batches.reduce(0) { $0 + $1.count })
    var bytes = ContiguousArray<UInt8>()
    for batch in batches {
      guard case .bytes(let own) = batch.values else {
        self.init(Tensor.stacking(batches.map(\.tensor)))
        return
      }
      if bytes.isEmpty { bytes.reserveCapacity(shape.elementCount) }
      bytes += own
    }
    self.init(shape: shape, values: .bytes(bytes))
  }
}
