import BayesPrediction
import BayesTensor

/// What the rows of one exit must satisfy before a last-layer method may use them.
struct ExitCheck: Sendable {
  /// The rows of one exit of a chunk, found fit for use, in `Double`.
  struct Rows {
    /// `[rows, features]`
    var features: Tensor<Double>
    /// `[rows, logits]`
    var logits: Tensor<Double>
    /// `[rows]`
    var labels: [Int]?
  }

  /// How far logits may lie from `features · weight + bias`, relative to one plus the row's largest
  /// logit: wide enough for features kept in half precision, far below what another head would give.
  static let headTolerance = 1e-2

  let file: String
  let exit: Int
  let name: String
  let likelihood: Likelihood
  let head: ExitHead
  private let weight: Tensor<Double>

  /// - Throws: `FileError` when the likelihood has no closed form here or the head is missing or
  ///   misshapen.
  init(_ description: ExitDescription, exit: Int, file: String) throws(FileError) {
    self.file = file
    self.exit = exit
    self.name = description.name
    self.likelihood = description.likelihood
    func failure(_ code: FileError.Code, _ message: String) -> FileError {
      FileError(code, file: file, object: "exit \(exit) ('\(description.name)')", message)
    }
    switch description.likelihood {
    case .categorical, .binary: break
    case .multilabel, .gaussian:
      throw failure(
        .unsupported,
        "Last-layer Laplace works for categorical and binary exits; this one is "
          + "\(description.likelihood.rawValue).")
    }
    guard let head = description.head else {
      throw failure(
        .missing,
        "Last-layer Laplace needs the linear head of the exit, its weight and bias, and there is none. "
          + "Extract the records from a network whose exit ends in a linear layer, or fit that checkpoint with these "
          + "records as its data.")
    }
    guard head.weight.shape.rank == 2, head.weight.shape[1] == description.logitCount,
      head.bias.shape == [description.logitCount], head.weight.shape[0] > 0
    else {
      throw failure(
        .shape,
        "The head's weight is \(head.weight.shape) and its bias \(head.bias.shape); "
          + "\(description.logitCount) logits need [features, \(description.logitCount)] and "
          + "[\(description.logitCount)].")
    }
    guard description.likelihood != .binary || description.logitCount == 1 else {
      throw failure(.shape, "A binary exit has one logit a row; this one has \(description.logitCount).")
    }
    guard head.weight.firstNonFinite == nil, head.bias.firstNonFinite == nil else {
      throw failure(.value, "The head holds a weight that is infinite or not a number.")
    }
    self.head = head
    self.weight = doublePrecision(head.weight)
  }

  /// The checks of all exits.
  static func all(of description: RecordsDescription) throws(FileError) -> [ExitCheck] {
    guard !description.exits.isEmpty else {
      throw FileError(.missing, file: description.file, "There are no exits.")
    }
    var checks: [ExitCheck] = []
    for (exit, exitDescription) in description.exits.enumerated() {
      checks.append(try ExitCheck(exitDescription, exit: exit, file: description.file))
    }
    return checks
  }

  /// This exit's rows of a chunk.
  ///
  /// - Throws: `FileError` naming the exit and the first row that is not finite, has a label that is
  ///   no class, or does not belong to the head.
  func rows(of chunk: ExitRecords, on backend: any Backend) throws(FileError) -> Rows {
    guard exit < chunk.exits.count else {
      throw failure(.shape, "The rows have \(chunk.exits.count) exits only.")
    }
    guard let features = chunk.exits[exit].features else {
      throw failure(
        .missing,
        "The rows hold no features of this exit. Extract the records again, features included.")
    }
    let rows = Rows(
      features: doublePrecision(features), logits: doublePrecision(chunk.exits[exit].logits),
      labels: chunk.labels)
    try check(rows, firstRow: chunk.firstRow, on: backend)
    return rows
  }

  private func check(_ rows: Rows, firstRow: Int, on backend: any Backend) throws(FileError) {
    let (featureCount, logitCount) = (head.weight.shape[0], head.weight.shape[1])
    let rowCount = rows.logits.rowCount
    guard rows.features.shape == [rowCount, featureCount], rows.logits.shape == [rowCount, logitCount]
    else {
      throw failure(
        .shape,
        "Features of shape \(rows.features.shape) and logits of shape \(rows.logits.shape) do not fit a "
          + "head of \(featureCount) features and \(logitCount) logits.")
    }
    if let position = rows.features.firstNonFinite {
      throw failure(
        .value,
        "Row \(firstRow + position / featureCount), counted from 0, has a feature (number "
          + "\(position % featureCount)) that is infinite or not a number. Remove the row, or find out "
          + "where the network overflows.")
    }
    if let position = rows.logits.firstNonFinite {
      throw failure(
        .value,
        "Row \(firstRow + position / logitCount), counted from 0, has a logit (number "
          + "\(position % logitCount)) that is infinite or not a number. Remove the row, or find out "
          + "where the network overflows.")
    }
    let classCount = likelihood == .binary ? 2 : logitCount
    if let labels = rows.labels, let row = labels.firstIndex(where: { !(0..<classCount).contains($0) }) {
      throw failure(
        .value,
        "Row \(firstRow + row), counted from 0, has label \(labels[row]); there are \(classCount) "
          + "classes, counted from 0.")
    }
    let products = backend.product(rows.features, weight)
    for row in 0..<rowCount {
      var scale = 1.0
      for column in 0..<logitCount { scale = max(scale, 1 + abs(rows.logits[row, column])) }
      for column in 0..<logitCount {
        let expected = products[row, column] + Double(head.bias[column])
        guard abs(rows.logits[row, column] - expected) <= Self.headTolerance * scale else {
          throw failure(
            .value,
            "Row \(firstRow + row), counted from 0, has logit \(rows.logits[row, column]) for class "
              + "\(column), but its features and the head give \(expected). The rows and the head are "
              + "of different networks; extract the records again.")
        }
      }
    }
  }

  private func failure(_ code: FileError.Code, _ message: String) -> FileError {
    FileError(code, file: file, object: "exit \(exit) ('\(name)')", message)
  }
}

/// The elements in `Double`, exactly.
func doublePrecision(_ tensor: Tensor<Float>) -> Tensor<Double> {
  Tensor(shape: tensor.shape, elements: ContiguousArray(tensor.elements.lazy.map(Double.init)))
}
