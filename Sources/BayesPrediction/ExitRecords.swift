public import BayesTensor

/// The linear map at the end of an exit: `logits = featuresᵀ weight + bias`.
public struct ExitHead: Sendable, Equatable {
  /// `[width, classes]`
  public var weight: Tensor<Float>
  /// `[classes]`; zeros where the layer has none.
  public var bias: Tensor<Float>
  /// Whether the bias is a parameter; a head without one has no bias to be uncertain about.
  public var hasBias: Bool

  public init(weight: Tensor<Float>, bias: Tensor<Float>, hasBias: Bool = true) {
    self.weight = weight
    self.bias = bias
    self.hasBias = hasBias
  }
}

/// What is known of one exit, apart from any row.
public struct ExitDescription: Sendable, Equatable {
  public var name: String
  public var likelihood: Likelihood
  /// The number of logits a row.
  public var logitCount: Int
  /// The number of features a row, where the exit ends in a linear head.
  public var featureCount: Int?
  /// Multiply-adds a row to reach this exit, all earlier exits included.
  public var multiplyAdds: Int?
  /// The linear head; absent in records of other tools and where the exit has none.
  public var head: ExitHead?

  public init(
    name: String, likelihood: Likelihood, logitCount: Int, featureCount: Int? = nil,
    multiplyAdds: Int? = nil, head: ExitHead? = nil
  ) {
    self.name = name
    self.likelihood = likelihood
    self.logitCount = logitCount
    self.featureCount = featureCount
    self.multiplyAdds = multiplyAdds
    self.head = head
  }

  /// The number of classes that predictions name: two where one logit says yes or no.
  public var classCount: Int { likelihood == .binary ? 2 : logitCount }
}

/// What is known of a set of records, apart from any row.
public struct RecordsDescription: Sendable, Equatable {
  /// Where the rows come from, as the user named it; for messages.
  public var file: String
  public var exits: [ExitDescription]
  /// Names of the classes; empty where unknown.
  public var classNames: [String]
  /// The SHA-256 of the checkpoint that made the records, where one did.
  public var checkpointDigest: String?
  /// The SHA-256 of the data file that was run, where known.
  public var dataDigest: String?
  public var preprocessing: Preprocessing?
  /// The extents at whose positions a row of the network has an answer each, as `[height, width]` for pixels; none where
  /// a row has one.
  ///
  /// Every position is a row of the records, the positions of a row of the network one after another, row-major.
  public var positions: [Int]
  /// The label of rows that have no answer; it may lie outside the classes.
  public var ignoredLabel: Int?
  /// The label of anomalous rows, which are of no class and to be told from the others; none for `nil`.
  public var anomalyLabel: Int?

  public init(
    file: String, exits: [ExitDescription], classNames: [String] = [], checkpointDigest: String? = nil,
    dataDigest: String? = nil, preprocessing: Preprocessing? = nil, positions: [Int] = [], ignoredLabel: Int? = nil
  ) {
    self.file = file
    self.exits = exits
    self.classNames = classNames
    self.checkpointDigest = checkpointDigest
    self.dataDigest = dataDigest
    self.preprocessing = preprocessing
    self.positions = positions
    self.ignoredLabel = ignoredLabel
  }

  /// The number of answers that a row of the network has.
  public var positionCount: Int { positions.reduce(1, *) }

  /// Whether all exits forecast real targets.
  public var isRegression: Bool { !exits.isEmpty && exits.allSatisfy { $0.likelihood == .gaussian } }

  /// Refuses labels that are neither a class of every exit nor the ignored one.
  ///
  /// - Parameters:
  ///   - labels: the labels of some rows of the records.
  ///   - labelsFile: where the labels come from; `file` for `nil`.
  ///   - place: where one of them stands, in words.
  /// - Throws: `FileError.Code.value` naming the row, and the pixel where a row has several answers.
  package func requireClasses(
    _ labels: [Int], labelsFile: String? = nil, _ place: (Int) -> String
  ) throws(FileError) {
    guard let classCount = exits.map(\.classCount).max(),
      let index = labels.firstIndex(where: {
        !(0..<classCount).contains($0) && $0 != ignoredLabel && $0 != anomalyLabel
      })
    else { return }
    let label = labels[index]
    if label == classCount {
      throw FileError(
        .value, file: labelsFile ?? file, object: "labels",
        place(index)
          + " has label \(label), but the network knows classes 0 to \(classCount - 1). If labels are counted from 1, take one "
          + "from each; if \(label) means no class, pass over it with --ignore-label \(label).")
    }
    throw FileError(
      .value, file: labelsFile ?? file, object: "labels",
      place(index)
        + " has label \(label), but the network knows classes 0 to \(classCount - 1). Correct the labels, pass over "
        + "those that mean no class with --ignore-label \(label) or, if these rows are foreign, name the inputs "
        + "alone, as in FILE:x.")
  }

  /// Refuses rows that cannot have left the exits described here.
  ///
  /// Likelihoods, numbers of logits and, where both sides have them, heads are compared.  At how many positions a row
  /// has answers does not matter: a head treats all alike.
  ///
  /// - Throws: `FileError` naming the other file.
  public func requireSameExits(as other: RecordsDescription) throws(FileError) {
    guard other.exits.count == exits.count else {
      throw FileError(
        .shape, file: other.file,
        "There are \(other.exits.count) exit(s), but the network of \(file) has \(exits.count); give rows of one network.")
    }
    for (index, (own, theirs)) in zip(exits, other.exits).enumerated() {
      let object = "exit \(index) ('\(theirs.name)')"
      guard own.likelihood == theirs.likelihood, own.logitCount == theirs.logitCount else {
        throw FileError(
          .shape, file: other.file, object: object,
          "It gives \(theirs.logitCount) \(theirs.likelihood.rawValue) logit(s), that of \(file) "
            + "\(own.logitCount) \(own.likelihood.rawValue) one(s); give rows of one network.")
      }
      if let head = own.head, let theirHead = theirs.head, head != theirHead {
        throw FileError(
          .value, file: other.file, object: object,
          "The weights of the exit's head are not those of \(file); give rows of one network.")
      }
    }
  }

  /// Refuses class names that are not as many as the classes, unless there are none.
  public func requireOneNameAClass() throws(FileError) {
    let classCount = exits.map(\.classCount).max() ?? 0
    guard classNames.isEmpty || classNames.count == classCount else {
      throw FileError(
        .shape, file: file,
        "\(classNames.count) class names were given for \(classCount) classes; give one name a class.")
    }
  }
}

/// A run of rows as they left a network's exits: all that last-layer methods, calibrators,
/// detectors and exit policies need.
public struct ExitRecords: Sendable, Equatable {
  /// One exit's share of the rows.
  public struct Exit: Sendable, Equatable {
    /// `[rows, features]`, where the exit has a linear head.
    public var features: Tensor<Float>?
    /// `[rows, logits]`
    public var logits: Tensor<Float>

    public init(features: Tensor<Float>?, logits: Tensor<Float>) {
      self.features = features
      self.logits = logits
    }
  }

  /// The index of the first row in the set these rows come from.
  public var firstRow: Int
  /// The number of rows.
  public let rowCount: Int
  /// None where rows did not go through the network that they are records of.
  public var exits: [Exit]
  /// One class index a row, where known.
  public var labels: [Int]?
  /// `[rows, outputs]`, where known: real numbers for Gaussian exits, zeros and ones for multilabel ones.
  public var targets: Tensor<Double>?
  /// The standard deviation of each row's targets, in units of a common one, where rows differ.
  public var noise: [Double]?
  /// Where rows were left out, what each row's index was before; else they follow `firstRow`.
  public var sourceRows: [Int]?

  /// - Parameter rowCount: needed where there are no exits.
  public init(
    firstRow: Int, rowCount: Int? = nil, exits: [Exit], labels: [Int]?, targets: Tensor<Double>? = nil,
    noise: [Double]? = nil, sourceRows: [Int]? = nil
  ) {
    self.firstRow = firstRow
    self.rowCount = rowCount ?? exits.first?.logits.rowCount ?? 0
    self.exits = exits
    self.labels = labels
    self.targets = targets
    self.noise = noise
    self.sourceRows = sourceRows
  }

  /// A range of these rows.
  public func rows(_ range: Range<Int>) -> ExitRecords {
    ExitRecords(
      firstRow: firstRow + range.lowerBound, rowCount: range.count,
      exits: exits.map { Exit(features: $0.features?.rows(range), logits: $0.logits.rows(range)) },
      labels: labels.map { Array($0[range]) }, targets: targets?.rows(range), noise: noise.map { Array($0[range]) },
      sourceRows: sourceRows.map { Array($0[range]) })
  }

  /// Where a row stands in the source it comes from, for messages: "Row 3", or "Row 3 at pixel (2, 5)".
  package func place(ofRow row: Int, in positions: [Int]) -> String {
    answerPlace(sourceRows?[row] ?? firstRow + row, positions: positions)
  }

  /// The number of rows in every chunk but the last.
  ///
  /// Sums over rows are taken chunk by chunk, so that one size everywhere makes results from a
  /// network and from a file of its records equal to the bit.
  public static let chunkRowCount = 1024
}

/// Rows of exit records, delivered in order and in chunks, as often as asked.
public protocol ExitRecordSource: Sendable {
  var description: RecordsDescription { get }

  /// The number of rows.
  var rowCount: Int { get }

  /// Whether the rows carry labels.
  var hasLabels: Bool { get }

  /// Whether the rows carry targets.
  var hasTargets: Bool { get }

  /// Calls `body` with every chunk in row order: `ExitRecords.chunkRowCount` rows each, fewer in the last.
  func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws

  /// Calls `body` with the labels alone of all rows, in order, some at a time; not at all where there are none.
  func forEachLabels(_ body: ([Int]) throws -> Void) async throws
}

extension ExitRecordSource {
  public var hasTargets: Bool { false }

  public func forEachLabels(_ body: ([Int]) throws -> Void) async throws {
    guard hasLabels else { return }
    try await forEachChunk { if let labels = $0.labels { try body(labels) } }
  }
}

/// Records held in memory.
public struct InMemoryExitRecords: ExitRecordSource {
  public let description: RecordsDescription
  /// All rows in one piece.
  public let records: ExitRecords

  public init(_ records: ExitRecords, description: RecordsDescription) {
    self.records = records
    self.description = description
  }

  public var rowCount: Int { records.rowCount }
  public var hasLabels: Bool { records.labels != nil }
  public var hasTargets: Bool { records.targets != nil }

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    for first in stride(from: 0, to: rowCount, by: ExitRecords.chunkRowCount) {
      try Task.checkCancellation()
      let rows = first..<min(first + ExitRecords.chunkRowCount, rowCount)
      try await body(records.rows(rows))
    }
  }
}
