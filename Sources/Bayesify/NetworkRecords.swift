public import BayesNetwork
public import BayesPrediction
public import BayesTensor
import Synchronization

/// Exit records made on the fly by running a frozen network over a data set.
///
/// A network that answers at every pixel of an image, or every step of a sequence, gives a row of records for each.
///
/// - Determinism: a row's bits depend neither on the number of tasks nor on the rows beside it.
/// - Cost: one pass through the network each time the records are asked for; memory for the inputs of two runs of the
///   network and the outputs of one, twice: of 1024 rows or, with answers at several positions, of as many rows as have
///   64 MiB of outputs, and one at least.
public struct NetworkRecords: ExitRecordSource {
  public let description: RecordsDescription
  public private(set) var dataset: any Dataset
  private let frozen: FrozenNetwork
  private let prepared: PreparedWhenNeeded
  private let reading: LabelReading
  /// The number of outputs that rows have targets for; `nil` where they have labels.
  private let targetCount: Int?
  private let width: Int
  private var stage: String
  private var report: @Sendable (StageProgress) -> Void

  /// Prepares a pass over a data set.
  ///
  /// - Parameters:
  ///   - description: what is known of the exits; made by `FrozenNetwork.recordsDescription`.  Where it names no
  ///     classes, the data set may.
  ///   - stage: what the pass is for, as shown with its progress.
  ///   - width: tasks at once.
  /// - Throws: `FileError` when rows or classes do not fit the network, `NetworkError` when the
  ///   preprocessing does not.
  public init(
    _ frozen: FrozenNetwork, over dataset: any Dataset, description: RecordsDescription, stage: String,
    on backend: any NetworkBackend, width: Int, report: @escaping @Sendable (StageProgress) -> Void = { _ in }
  ) throws {
    let expected = frozen.network.inputShape.dimensions
    let stored = dataset.rowShape.dimensions
    guard stored == expected || stored + [1] == expected || stored == expected + [1] else {
      throw FileError(
        .shape, file: dataset.file,
        "Rows are \(dataset.rowShape), but the network takes \(frozen.network.inputShape). "
          + "Give data of that shape (channels last).")
    }
    let channels = expected.last ?? 1
    let preprocessing = description.preprocessing ?? .identity
    guard preprocessing.affine(channels: channels) != nil else {
      throw FileError(
        .shape, file: dataset.file,
        "\(preprocessing.mean.count) mean(s) and \(preprocessing.standardDeviation.count) standard deviation(s) "
          + "do not fit rows of \(channels) channel(s); give one number, or one a channel.")
    }
    guard dataset.rowCount > 0 else {
      throw FileError(.value, file: dataset.file, "There are no rows.")
    }
    reading = LabelReading(positions: description.positions, ignored: description.ignoredLabel)
    targetCount = Self.targetCount(description, dataset)
    // A shape that does not fit is told before anything is computed.
    if let targetCount {
      _ = try dataset.targets(0..<0, outputs: targetCount, positions: description.positions)
    } else if dataset.hasLabels { _ = try dataset.labels(0..<0, as: reading) }
    let classCount = description.exits.map(\.classCount).max() ?? 0
    guard dataset.classNames.isEmpty || dataset.classNames.count == classCount else {
      throw FileError(
        .shape, file: dataset.file,
        "There are \(dataset.classNames.count) sub-folders, but the network knows \(classCount) classes; labels count "
          + "the sub-folders by name, so make one for each class, empty where it has no images, or, if these rows "
          + "are foreign, name the images alone, as in FOLDER:x.")
    }
    self.frozen = frozen
    self.dataset = try dataset.labelled(byNames: description.classNames)
    var described = description
    if described.classNames.isEmpty { described.classNames = dataset.classNames }
    self.description = described
    self.stage = stage
    self.width = width
    self.report = report
    let outputs = frozen.network.exits.flatMap { exit in (exit.features.map { [$0] } ?? []) + [exit.logits] }
    prepared = PreparedWhenNeeded { try backend.prepare(frozen, preprocessing: preprocessing, outputs: outputs) }
  }

  /// The same network over the same rows in another state, with their labels.
  ///
  /// - Precondition: there are as many rows, of the same shape.
  public func over(_ dataset: any Dataset, stage: String) -> NetworkRecords {
    precondition(
      dataset.rowShape == self.dataset.rowShape && dataset.rowCount == self.dataset.rowCount, "These are other rows.")
    var records = self
    records.dataset = dataset
    records.stage = stage
    return records
  }

  /// The same network over other labelled rows, however many, which are computed without a word of progress.
  ///
  /// - Precondition: rows have as many values.
  public func silently(over dataset: any Dataset) -> NetworkRecords {
    precondition(dataset.rowShape.elementCount == self.dataset.rowShape.elementCount, "These are other rows.")
    var records = self
    records.dataset = dataset
    records.report = { _ in }
    return records
  }

  public var rowCount: Int { dataset.rowCount * description.positionCount }
  /// The number of rows of the network.
  public var inputRowCount: Int { dataset.rowCount }
  public var hasLabels: Bool { dataset.hasLabels && targetCount == nil }
  public var hasTargets: Bool { targetCount != nil }

  /// What the labels of a data set are for exits without classes: real numbers, or, where their shape allows, several
  /// labels a row.
  private static func targetCount(_ description: RecordsDescription, _ dataset: any Dataset) -> Int? {
    guard dataset.hasLabels, let exit = description.exits.first,
      description.exits.allSatisfy({ $0.likelihood == exit.likelihood && $0.logitCount == exit.logitCount })
    else { return nil }
    switch exit.likelihood {
    case .gaussian: return exit.logitCount
    case .multilabel:
      return dataset.holdsTargets(outputs: exit.logitCount, positions: description.positions) ? exit.logitCount : nil
    case .categorical, .binary: return nil
    }
  }

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    var chunks = RecordChunks()
    try await forEachRun { records, _ in try await chunks.append(records, body) }
    try await chunks.finish(body)
  }

  /// Calls `body` with the stored rows of every run of the network, `runRowCount` at a time, and all their records.
  ///
  /// - Parameter isRun: whether the network is run at all; without it records have no exits.
  public func forEachRun(
    isRun: Bool = true, _ body: (ExitRecords, RowBatch) async throws -> Void
  ) async throws {
    let runs = stride(from: 0, to: inputRowCount, by: runRowCount).map { $0..<min($0 + runRowCount, inputRowCount) }
    report(StageProgress(stage: stage, completed: 0, total: inputRowCount))
    var current = try read(runs[0])
    for (index, rows) in runs.enumerated() {
      try Task.checkCancellation()
      // The next rows are read while these are computed.
      let following = index + 1 < runs.count ? runs[index + 1] : nil
      async let next = try following.map { try read($0) }
      var records =
        isRun
        ? try records(
          try await prepared.network(current.inputs, width: width), labels: current.labels, firstRow: rows.lowerBound)
        : ExitRecords(
          firstRow: rows.lowerBound * description.positionCount, rowCount: rows.count * description.positionCount, exits: [],
          labels: current.labels)
      records.targets = current.targets
      try await body(records, current.inputs)
      report(StageProgress(stage: stage, completed: rows.upperBound, total: inputRowCount))
      if let next = try await next { current = next }
    }
  }

  /// Calls `body` with the stored rows themselves, so many at once, the index of the first, and their labels.
  ///
  /// - Precondition: the network answers at no several positions.
  public func forEachInputs(of count: Int, _ body: (RowBatch, Int, [Int]?) async throws -> Void) async throws {
    precondition(description.positions.isEmpty, "Pixels are not rows.")
    report(StageProgress(stage: stage, completed: 0, total: inputRowCount))
    for first in stride(from: 0, to: inputRowCount, by: count) {
      try Task.checkCancellation()
      let rows = first..<min(first + count, inputRowCount)
      let read = try read(rows)
      try await body(read.inputs, first, read.labels)
      report(StageProgress(stage: stage, completed: rows.upperBound, total: inputRowCount))
    }
  }

  public func forEachLabels(_ body: ([Int]) throws -> Void) async throws {
    guard hasLabels else { return }
    let count = max(1, (1 << 16) / description.positionCount)
    for first in stride(from: 0, to: inputRowCount, by: count) {
      try body(try dataset.labels(first..<min(first + count, inputRowCount), as: reading))
    }
  }

  /// The rows that the network runs on at once.
  public var runRowCount: Int {
    guard description.positionCount > 1 else { return ExitRecords.chunkRowCount }
    let outputs = description.positionCount * description.exits.reduce(0) { $0 + $1.logitCount + ($1.featureCount ?? 0) }
    return max(1, min(ExitRecords.chunkRowCount, (1 << 24) / max(outputs, dataset.rowShape.elementCount)))
  }

  /// The network's outputs for some stored rows.
  func run(_ inputs: RowBatch) async throws -> [Tensor<Float>] { try await prepared.network(inputs, width: width) }

  /// Memory that the prepared network holds on to.
  var residentByteCount: Int {
    get throws { try prepared.network.residentByteCount(width: width) + frozen.parameters.count * 4 }
  }

  private func read(_ rows: Range<Int>) throws(FileError)
    -> (inputs: RowBatch, labels: [Int]?, targets: Tensor<Double>?)
  {
    if let targetCount {
      let targets = try dataset.targets(rows, outputs: targetCount, positions: description.positions)
      return (try dataset.inputs(rows), nil, targets)
    }
    let labels = dataset.hasLabels ? try dataset.labels(rows, as: reading) : nil
    if let labels {
      try description.requireClasses(labels, labelsFile: dataset.labelsFile) {
        answerPlace(
          rows.lowerBound * description.positionCount + $0, positions: description.positions, firstRow: dataset.firstRow)
      }
    }
    return (try dataset.inputs(rows), labels, nil)
  }

  private func records(_ outputs: [Tensor<Float>], labels: [Int]?, firstRow: Int) throws -> ExitRecords {
    var remaining = outputs[...]
    var exits: [ExitRecords.Exit] = []
    let positionCount = description.positionCount
    for (index, exit) in frozen.network.exits.enumerated() {
      // A row for each position.
      func rows(_ output: Tensor<Float>, width: Int?) -> Tensor<Float> {
        width.map { output.reshaped(to: [output.rowCount * positionCount, $0]) } ?? output
      }
      let features = exit.features == nil ? nil : rows(remaining.removeFirst(), width: description.exits[index].featureCount)
      let logits = rows(remaining.removeFirst(), width: description.exits[index].logitCount)
      if let position = logits.firstNonFinite {
        throw FileError(
          .value, file: dataset.file,
          answerPlace(
            firstRow * positionCount + position / max(1, logits.shape[1]), positions: description.positions,
            firstRow: dataset.firstRow)
            + " gives a logit of \(logits[position]) at exit \(index) ('\(exit.name)'); check its values and the "
            + "preprocessing.")
      }
      exits.append(ExitRecords.Exit(features: features, logits: logits))
    }
    return ExitRecords(firstRow: firstRow * positionCount, exits: exits, labels: labels)
  }
}

/// A network that is compiled when it runs for the first time: of a posterior of drawn networks it perhaps never does.
private final class PreparedWhenNeeded: Sendable {
  private let prepare: @Sendable () throws -> any PreparedNetwork
  private let known = Mutex<(any PreparedNetwork)?>(nil)

  init(_ prepare: @escaping @Sendable () throws -> any PreparedNetwork) { self.prepare = prepare }

  var network: any PreparedNetwork {
    get throws {
      try known.withLock { known in
        let network = try known ?? prepare()
        known = network
        return network
      }
    }
  }
}

extension FrozenNetwork {
  /// What is known of this network's exits, for records made with it.
  ///
  /// An exit gives one vector of logits a row, or one at each position of an image or a sequence, the classes along the
  /// last axis; one position alone counts as none.
  ///
  /// - Parameters:
  ///   - likelihood: stands at exits whose last activation leaves it open.
  ///   - ignoredLabel: the label of rows and positions that have no answer.
  /// - Throws: `FileError` naming the exit and the option when the likelihood stays open, or the exits when they
  ///   answer at different positions.
  public func recordsDescription(
    file: String, likelihood fallback: Likelihood? = nil, classNames: [String] = [],
    checkpointDigest: String? = nil, dataDigest: String? = nil, preprocessing: Preprocessing? = nil,
    ignoredLabel: Int? = nil
  ) throws(FileError) -> RecordsDescription {
    // An option that no exit needs is a misunderstanding; with several exits it may be meant for one.
    let isOpen = network.exits.contains { $0.likelihood == nil }
    var exits: [ExitDescription] = []
    let positions = network.positions(of: network.exits[0])
    for (index, exit) in network.exits.enumerated() {
      let ownPositions = network.positions(of: exit)
      guard ownPositions == positions else {
        throw FileError(
          .unsupported, file: file, object: "exit \(index) ('\(exit.name)')",
          "It gives \(network.shapes[exit.logits]) a row, but exit 0 ('\(network.exits[0].name)') gives "
            + "\(network.shapes[network.exits[0].logits]); exits must answer at the same positions, so save a model of "
            + "those outputs alone that do.")
      }
      let logitCount = network.shapes[exit.logits].dimensions.last ?? 1
      guard let likelihood = exit.likelihood ?? fallback else {
        throw FileError(
          .missing, file: file, object: "exit \(index) ('\(exit.name)')",
          "Its last layer has no activation, so the meaning of its \(logitCount) output(s) is open; say which "
            + "with --likelihood categorical, binary, multilabel or gaussian.")
      }
      guard likelihood != .categorical || logitCount > 1 else {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          exit.likelihood == nil
            ? "A softmax over one logit always says 1; if the output means yes or no, use --likelihood binary."
            : "It ends in a softmax over one logit, which always says 1, so there is nothing to measure; give a "
              + "network with a sigmoid or with a logit a class.")
      }
      if let fallback, let known = exit.likelihood, known != fallback, !isOpen {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          "Its last activation says \(known.rawValue), but --likelihood says \(fallback.rawValue); leave the "
            + "option out.")
      }
      guard likelihood != .binary || logitCount == 1 else {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          "A binary output has one logit, and this one has \(logitCount); use --likelihood categorical or multilabel.")
      }
      var description = ExitDescription(
        name: exit.name, likelihood: likelihood, logitCount: logitCount,
        multiplyAdds: network.multiplyAdds(toExit: index))
      if let features = exit.features {
        description.featureCount = network.shapes[features].elementCount / positions.reduce(1, *)
        description.head = head(of: exit)
      }
      exits.append(description)
    }
    let description = RecordsDescription(
      file: file, exits: exits, classNames: classNames, checkpointDigest: checkpointDigest,
      dataDigest: dataDigest, preprocessing: preprocessing, positions: positions, ignoredLabel: ignoredLabel)
    try description.requireOneNameAClass()
    return description
  }

  private func head(of exit: Exit) -> ExitHead? {
    guard let node = network.head(of: exit) else { return nil }
    let specs = network.parameterSpecs(of: node)
    guard let weight = parameters[specs[0].path], let logitCount = weight.shape.dimensions.last else { return nil }
    let bias = specs.count > 1 ? parameters[specs[1].path] : nil
    // The window of a 1x1 convolution has one element.
    return ExitHead(
      weight: weight.reshaped(to: [weight.count / logitCount, logitCount]), bias: bias ?? Tensor(zeros: [logitCount]),
      hasBias: bias != nil)
  }
}

extension Network {
  /// The extents at whose positions an exit has logits; none where a row has one vector of them.
  fileprivate func positions(of exit: Exit) -> [Int] {
    let extents = Array(shapes[exit.logits].dimensions.dropLast())
    return extents.allSatisfy { $0 == 1 } ? [] : extents
  }
}

extension Dataset {
  /// The rows with labels that count `names`, where those of this data set count its own names.
  ///
  /// - Throws: `FileError` when the names are not the same, for labels would then mean other classes.
  fileprivate func labelled(byNames names: [String]) throws(FileError) -> any Dataset {
    guard !names.isEmpty, !classNames.isEmpty, names != classNames else { return self }
    guard Set(names) == Set(classNames), Set(names).count == names.count else {
      let stranger = classNames.first { !names.contains($0) } ?? ""
      throw FileError(
        .value, file: file,
        "The sub-folder '\(stranger)' has the name of no class; the classes are \(names.joined(separator: ", ")). "
          + "Rename the sub-folders, or name the images alone, as in FOLDER:x, and give --labels.")
    }
    return RelabelledDataset(self, indices: classNames.map { names.firstIndex(of: $0) ?? 0 }, classNames: names)
  }
}

/// A data set whose classes are counted in another order.
private struct RelabelledDataset: Dataset {
  private let dataset: any Dataset
  /// For each class as the data set counts them, its index here.
  private let indices: [Int]
  let classNames: [String]

  init(_ dataset: any Dataset, indices: [Int], classNames: [String]) {
    self.dataset = dataset
    self.indices = indices
    self.classNames = classNames
  }

  var file: String { dataset.file }
  var labelsFile: String { dataset.labelsFile }
  var rowCount: Int { dataset.rowCount }
  var rowShape: Shape { dataset.rowShape }
  var hasLabels: Bool { dataset.hasLabels }
  var firstRow: Int { dataset.firstRow }

  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { try dataset.inputs(rows) }
  func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { try dataset.labels(rows).map { indices[$0] } }
  func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    try dataset.targets(rows, outputs: outputs, positions: positions)
  }
}
