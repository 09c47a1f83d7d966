public import BayesPrediction
public import BayesTensor

/// The linear map of an exit in double precision: `logits = features weight + bias`.
///
/// The head of one yes-or-no logit `z` gives the pair `(−z/2, z/2)`.
public struct DetectorHead: Sendable, Equatable {
  /// `[features, classes]`
  public var weight: Tensor<Double>
  /// `[classes]`
  public var bias: Tensor<Double>

  /// - Precondition: there is one bias a class.
  public init(weight: Tensor<Double>, bias: Tensor<Double>) {
    precondition(
      weight.shape.rank == 2 && bias.shape == [weight.shape[1]],
      "A head is [features, classes] with a bias a class; got \(weight.shape) and \(bias.shape).")
    self.weight = weight
    self.bias = bias
  }

  /// The logits of features, `[rows, features]` to `[rows, classes]`.
  func logits(of features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    var logits = backend.product(features, weight)
    let classCount = bias.count
    logits.withMutableSpan { logits in
      for position in logits.indices { logits[position] += bias[position % classCount] }
    }
    return logits
  }
}

/// Some rows of one exit, found fit for use.
public struct DetectorRows: Sendable, Equatable {
  /// The index of the first row in the set these rows come from.
  public var firstRow: Int
  /// `[rows, features]`
  public var features: Tensor<Double>
  /// `[rows, classes]`
  public var logits: Tensor<Double>
  /// One class index a row, where known.
  public var labels: [Int]?

  public init(firstRow: Int, features: Tensor<Double>, logits: Tensor<Double>, labels: [Int]?) {
    self.firstRow = firstRow
    self.features = features
    self.logits = logits
    self.labels = labels
  }

  /// The number of rows.
  public var rowCount: Int { features.rowCount }
}

/// Rows of one exit, delivered in order and some at a time, as often as asked.
public protocol DetectorRowSource: Sendable {
  /// Where the rows come from; for messages.
  var file: String { get }

  /// The number of rows.
  var rowCount: Int { get }

  /// Whether the rows carry labels.
  var hasLabels: Bool { get }

  /// Calls `body` with all rows in order.
  ///
  /// - Throws: `EvaluationError.Code.feature` and `.score`, naming the first row that has a feature or a logit that is
  ///   not finite; what the source and `body` throw.
  func forEachRows(_ body: (DetectorRows) throws -> Void) async throws
}

/// What detectors of one exit are fitted to.
public struct DetectorInputs: Sendable {
  /// The index of the exit, from zero for the earliest.
  public let exit: Int
  public let likelihood: Likelihood
  public let featureCount: Int
  public let classCount: Int
  /// The head of the exit, where it is known.
  public let head: DetectorHead?
  public let training: (any DetectorRowSource)?
  public let validation: (any DetectorRowSource)?
  /// Where the exit is described; for messages.
  private let file: String

  /// The inputs of one exit of a network; rows whose label is the ignored one are left out.
  ///
  /// - Parameters:
  ///   - network: the exits, with features and, for detectors that need them, heads.
  ///   - training: rows that the network was trained on.
  ///   - validation: rows of the same kind that it was not trained on.
  /// - Throws: `EvaluationError.Code.unsupported` for an exit without features or classes; `.shape` where there is no
  ///   such exit; `FileError` for records of another network.
  public init(
    exit: Int, of network: RecordsDescription, training: (any ExitRecordSource)? = nil,
    validation: (any ExitRecordSource)? = nil
  ) async throws {
    let form = try DetectorExit(exit, of: network)
    if let training { try network.requireSameExits(as: training.description) }
    if let validation { try network.requireSameExits(as: validation.description) }
    self.exit = exit
    likelihood = form.likelihood
    featureCount = form.featureCount
    classCount = form.classCount
    head = try form.head(of: network)
    self.training = try await form.rows(of: training)
    self.validation = try await form.rows(of: validation)
    file = network.file
  }

  /// Inputs in double precision.
  package init(
    head: DetectorHead?, featureCount: Int, classCount: Int, training: (any DetectorRowSource)?,
    validation: (any DetectorRowSource)?
  ) {
    exit = 0
    likelihood = .categorical
    self.featureCount = featureCount
    self.classCount = classCount
    self.head = head
    self.training = training
    self.validation = validation
    file = "memory"
  }

  /// The head.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where there is none.
  public func requiredHead(for detector: String) throws(EvaluationError) -> DetectorHead {
    guard let head else {
      throw EvaluationError(
        .unsupported,
        "The detector '\(detector)' needs the weights of the linear head of exit \(exit), and \(file) has none; "
          + "extract the records from a network whose exit ends in a dense layer.")
    }
    return head
  }

  /// The training rows.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where none were given; `.empty` where there are none.
  public func requiredTraining(for detector: String) throws(EvaluationError) -> any DetectorRowSource {
    try required(training, "training", for: detector)
  }

  /// The validation rows.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where none were given; `.empty` where there are none.
  public func requiredValidation(for detector: String) throws(EvaluationError) -> any DetectorRowSource {
    try required(validation, "validation", for: detector)
  }

  private func required(
    _ rows: (any DetectorRowSource)?, _ kind: String, for detector: String
  ) throws(EvaluationError) -> any DetectorRowSource {
    guard let rows else {
      throw EvaluationError(
        .unsupported, "The detector '\(detector)' is fitted to \(kind) rows, and none were given; name a file of them.")
    }
    guard rows.rowCount > 0 else {
      throw EvaluationError(.empty, "The detector '\(detector)' is fitted to \(kind) rows, and \(rows.file) has none.")
    }
    return rows
  }
}

extension DetectorRowSource {
  /// Calls `body` with all rows in order, and reports how far they have come.
  func forEachRows(
    fitting detector: String, in context: ExecutionContext, _ body: (DetectorRows) throws -> Void
  ) async throws {
    try await forEachRows { rows in
      try Task.checkCancellation()
      try body(rows)
      context.report(
        StageProgress(
          stage: "Fitting the detector '\(detector)'", completed: rows.firstRow + rows.rowCount, total: rowCount))
    }
  }

  /// As `forEachRows(fitting:in:_:)`, with the labels of the rows.
  ///
  /// - Throws: `EvaluationError.Code.label`, naming the first row whose label is no class; `.shape`.
  func forEachLabelledRows(
    fitting detector: String, classCount: Int, in context: ExecutionContext,
    _ body: (DetectorRows, _ labels: [Int]) throws -> Void
  ) async throws {
    try await forEachRows(fitting: detector, in: context) { rows in
      let labels = rows.labels ?? []
      do throws(EvaluationError) {
        try checkLabels(labels, rowCount: rows.rowCount, classCount: classCount, firstRow: rows.firstRow)
      } catch {
        throw EvaluationError(error.code, row: error.row, "\(file): \(error.message)")
      }
      try body(rows, labels)
    }
  }
}
