import BayesPrediction
import BayesTensor

/// What the rows of one exit must satisfy before a last-layer method may use them.
struct ExitCheck: Sendable {
  /// How far logits may lie from `features · weight + bias`, relative to one plus the row's largest
  /// logit: wide enough for features kept in half precision, far below what another head would give.
  static let headTolerance = 1e-2

  let file: String
  let exit: Int
  let name: String
  let likelihood: Likelihood
  let head: ExitHead
  /// The positions that rows of the network have answers at, by which rows of records are named.
  let positions: [Int]
  /// A label that is let pass though it is no class.
  let ignoredLabel: Int?

  /// - Throws: `FileError` when the head is missing or misshapen, or its likelihood does not fit it.
  init(
    _ description: ExitDescription, exit: Int, file: String, positions: [Int] = [], ignoredLabel: Int? = nil
  ) throws(FileError) {
    self.file = file
    self.positions = positions
    self.ignoredLabel = ignoredLabel
    self.exit = exit
    self.name = description.name
    self.likelihood = description.likelihood
    func failure(_ code: FileError.Code, _ message: String) -> FileError {
      FileError(code, file: file, object: "exit \(exit) ('\(description.name)')", message)
    }
    guard let head = description.head else {
      throw failure(
        .missing,
        "Last-layer Laplace needs the linear head of the exit, its weight and bias, and there is none. "
          + "Extract the records from a network whose exit ends in a dense layer or a 1x1 convolution, with nothing but a "
          + "softmax or sigmoid behind it (enlarge images before the head), or fit that checkpoint with these records as "
          + "its data.")
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
    guard description.likelihood != .categorical || description.logitCount > 1 else {
      throw failure(
        .value,
        "A softmax over one logit always says 1, so there is nothing to be uncertain of; if the output means yes or "
          + "no, use --likelihood binary.")
    }
    guard head.weight.firstNonFinite == nil, head.bias.firstNonFinite == nil else {
      throw failure(.value, "The head holds a weight that is infinite or not a number.")
    }
    self.head = head
  }

  /// The number of inputs of the head, the one of the bias counted.
  var inputCount: Int { head.weight.shape[0] + (head.hasBias ? 1 : 0) }

  /// What rows of this exit are compared with.
  var answerName: String { likelihood == .categorical || likelihood == .binary ? "labels" : "targets" }

  /// Refuses a head that is too large for a structure.
  func requireSize(for structure: LaplaceStructure) throws(FileError) {
    let parameterCount = inputCount * head.weight.shape[1]
    guard structure != .full || parameterCount <= LaplaceStructure.fullParameterLimit else {
      throw failure(
        .unsupported,
        "The head has \(parameterCount) parameters, and the structure 'full' is for at most "
          + "\(LaplaceStructure.fullParameterLimit); use --structure kronecker or low-rank.")
    }
  }

  /// The checks of all exits.
  static func all(of description: RecordsDescription) throws(FileError) -> [ExitCheck] {
    guard !description.exits.isEmpty else {
      throw FileError(.missing, file: description.file, "There are no exits.")
    }
    var checks: [ExitCheck] = []
    for (exit, exitDescription) in description.exits.enumerated() {
      checks.append(try ExitCheck(exitDescription, exit: exit, file: description.file, positions: description.positions))
    }
    return checks
  }

  /// This exit's rows of a chunk.
  ///
  /// - Throws: `FileError` naming the exit and the first row that is not finite, has a label that is
  ///   no class, or does not belong to the head.
  func rows(of chunk: ExitRecords, on backend: any Backend) throws(FileError) -> HeadRows {
    guard exit < chunk.exits.count else {
      throw failure(.shape, "The rows have \(chunk.exits.count) exits only.")
    }
    guard let features = chunk.exits[exit].features else {
      throw failure(
        .missing,
        "The rows hold no features of this exit. Extract the records again, features included.")
    }
    let logits = chunk.exits[exit].logits
    let isClassified = likelihood == .categorical || likelihood == .binary
    let rows = HeadRows(
      features: doublePrecision(features), logits: doublePrecision(logits),
      labels: isClassified ? chunk.labels : nil, targets: isClassified ? nil : chunk.targets,
      noise: likelihood == .gaussian ? chunk.noise : nil)
    let place = { chunk.place(ofRow: $0, in: positions) }
    try check(rows, place)
    try checkAnswers(of: rows, place)
    try checkHead(features, logits, place, on: backend)
    return rows
  }

  /// Refuses rows with noise of their own where the training rows had none, and the other way: the one noise of an
  /// exit is a factor on that of rows, or takes its place.
  func requireNoise(of rows: HeadRows, asInTraining hasRowNoise: Bool) throws(FileError) {
    guard likelihood == .gaussian, hasRowNoise != (rows.noise != nil) else { return }
    throw failure(
      .missing,
      hasRowNoise
        ? "The training rows had noise of each row's own, and these rows have none; give /noise in their records."
        : "These rows have noise of each row's own, and the training rows had none; give /noise in the training "
          + "rows' records, or take it out of these.")
  }

  private func check(_ rows: HeadRows, _ place: (Int) -> String) throws(FileError) {
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
        "\(place(position / featureCount)), counted from 0, has a feature (number "
          + "\(position % featureCount)) that is infinite or not a number. Remove the row, or find out "
          + "where the network overflows.")
    }
    if let position = rows.logits.firstNonFinite {
      throw failure(
        .value,
        "\(place(position / logitCount)), counted from 0, has a logit (number "
          + "\(position % logitCount)) that is infinite or not a number. Remove the row, or find out "
          + "where the network overflows.")
    }
  }

  private func checkAnswers(of rows: HeadRows, _ place: (Int) -> String) throws(FileError) {
    let logitCount = head.weight.shape[1]
    let classCount = likelihood == .binary ? 2 : logitCount
    if let labels = rows.labels,
      let row = labels.firstIndex(where: { !(0..<classCount).contains($0) && $0 != ignoredLabel })
    {
      throw failure(
        .value,
        "\(place(row)), counted from 0, has label \(labels[row]); there are \(classCount) "
          + "classes, counted from 0.")
    }
    if let targets = rows.targets {
      guard targets.shape == rows.logits.shape else {
        throw failure(
          .shape,
          "The targets have shape \(targets.shape) where the outputs have \(rows.logits.shape); "
            + "give one target an output.")
      }
      let isAllowed: (Double) -> Bool = likelihood == .multilabel ? { $0 == 0 || $0 == 1 } : { $0.isFinite }
      if let position = targets.elements.firstIndex(where: { !isAllowed($0) }) {
        throw failure(
          .value,
          "\(place(position / logitCount)), counted from 0, has the target \(targets[position]) for output "
            + "\(position % logitCount); targets of this exit are "
            + (likelihood == .multilabel ? "zeros and ones." : "finite numbers."))
      }
    }
    if let noise = rows.noise, let row = noise.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
      throw failure(
        .value,
        "\(place(row)), counted from 0, has the noise \(noise[row]); a standard deviation is positive and finite.")
    }
  }

  /// Refuses rows whose logits are not the head's.
  ///
  /// Single precision does: the difference that is allowed is far larger than its rounding.
  private func checkHead(
    _ features: Tensor<Float>, _ logits: Tensor<Float>, _ place: (Int) -> String, on backend: any Backend
  ) throws(FileError) {
    let logitCount = head.weight.shape[1]
    let products = backend.product(features, head.weight)
    for row in 0..<logits.rowCount {
      let worst: (column: Int, expected: Float)? = logits.withSpan { logits in
        products.withSpan { products in
          head.bias.withSpan { bias in
            let start = row * logitCount
            var scale: Float = 1
            for column in 0..<logitCount { scale = max(scale, 1 + abs(logits[start + column])) }
            for column in 0..<logitCount {
              let expected = products[start + column] + bias[column]
              guard abs(logits[start + column] - expected) <= Float(Self.headTolerance) * scale else {
                return (column, expected)
              }
            }
            return nil
          }
        }
      }
      if let worst {
        throw failure(
          .value,
          "\(place(row)), counted from 0, has logit \(logits[row, worst.column]) for class "
            + "\(worst.column), but its features and the head give \(worst.expected). The rows and the head are "
            + "of different networks; extract the records again.")
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
