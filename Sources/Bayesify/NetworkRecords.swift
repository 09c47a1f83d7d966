public import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// Exit records made on the fly by running a frozen network over a data set.
///
/// - Determinism: a row's bits depend neither on the number of tasks nor on the rows beside it.
/// - Cost: one pass through the network each time the records are asked for; memory for two chunks.
public struct NetworkRecords: ExitRecordSource {
  public let description: RecordsDescription
  public let dataset: any Dataset
  private let frozen: FrozenNetwork
  private let prepared: any PreparedNetwork
  private let width: Int
  private let stage: String
  private let report: @Sendable (StageProgress) -> Void

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
    prepared = try backend.prepare(
      frozen, preprocessing: preprocessing,
      outputs: frozen.network.exits.flatMap { exit in (exit.features.map { [$0] } ?? []) + [exit.logits] })
  }

  public var rowCount: Int { dataset.rowCount }
  public var hasLabels: Bool { dataset.hasLabels }

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    try await forEachChunkWithInputs { records, _ in try await body(records) }
  }

  /// Calls `body` with every chunk of records and the stored rows they come from.
  public func forEachChunkWithInputs(_ body: (ExitRecords, RowBatch) async throws -> Void) async throws {
    let chunks = stride(from: 0, to: rowCount, by: ExitRecords.chunkRowCount).map {
      $0..<min($0 + ExitRecords.chunkRowCount, rowCount)
    }
    report(StageProgress(stage: stage, completed: 0, total: rowCount))
    var current = try read(chunks[0])
    for (index, rows) in chunks.enumerated() {
      try Task.checkCancellation()
      // The next rows are read while these are computed.
      let following = index + 1 < chunks.count ? chunks[index + 1] : nil
      async let next = try following.map { try read($0) }
      let outputs = try await prepared(current.inputs, width: width)
      try await body(try records(outputs, labels: current.labels, firstRow: rows.lowerBound), current.inputs)
      report(StageProgress(stage: stage, completed: rows.upperBound, total: rowCount))
      if let next = try await next { current = next }
    }
  }

  /// The network's outputs for some stored rows.
  func run(_ inputs: RowBatch) async throws -> [Tensor<Float>] { try await prepared(inputs, width: width) }

  /// Memory that the prepared network holds on to.
  var residentByteCount: Int { prepared.residentByteCount(width: width) + frozen.parameters.count * 4 }

  private func read(_ rows: Range<Int>) throws(FileError) -> (inputs: RowBatch, labels: [Int]?) {
    let labels = dataset.hasLabels ? try dataset.labels(rows) : nil
    if let labels, let classCount = description.exits.map(\.classCount).max(),
      let index = labels.firstIndex(where: { $0 >= classCount })
    {
      throw FileError(
        .value, file: dataset.labelsFile, object: "labels",
        "Row \(dataset.firstRow + rows.lowerBound + index) has label \(labels[index]), but the network knows classes 0 to "
          + "\(classCount - 1). Correct the labels or, if these rows are foreign, name the inputs alone, as in "
          + "FILE:x.")
    }
    return (try dataset.inputs(rows), labels)
  }

  private func records(_ outputs: [Tensor<Float>], labels: [Int]?, firstRow: Int) throws -> ExitRecords {
    var remaining = outputs[...]
    var exits: [ExitRecords.Exit] = []
    for (index, exit) in frozen.network.exits.enumerated() {
      let features = exit.features == nil ? nil : remaining.removeFirst()
      let logits = remaining.removeFirst()
      if let position = logits.firstNonFinite {
        throw FileError(
          .value, file: dataset.file,
          "Row \(dataset.firstRow + firstRow + position / max(1, logits.shape.row.elementCount)) gives a logit of "
            + "\(logits[position]) at exit \(index) ('\(exit.name)'); check its values and the preprocessing.")
      }
      exits.append(ExitRecords.Exit(features: features, logits: logits))
    }
    return ExitRecords(firstRow: firstRow, exits: exits, labels: labels)
  }
}

extension FrozenNetwork {
  /// What is known of this network's exits, for records made with it.
  ///
  /// - Parameter likelihood: stands at exits whose last activation leaves it open.
  /// - Throws: `FileError` naming the exit and the option when the likelihood stays open, or when an
  ///   exit gives something other than one vector a row.
  public func recordsDescription(
    file: String, likelihood fallback: Likelihood? = nil, classNames: [String] = [],
    checkpointDigest: String? = nil, dataDigest: String? = nil, preprocessing: Preprocessing? = nil
  ) throws(FileError) -> RecordsDescription {
    // An option that no exit needs is a misunderstanding; with several exits it may be meant for one.
    let isOpen = network.exits.contains { $0.likelihood == nil }
    var exits: [ExitDescription] = []
    for (index, exit) in network.exits.enumerated() {
      let shape = network.shapes[exit.logits]
      guard shape.rank == 1 else {
        throw FileError(
          .unsupported, file: file, object: "exit \(index) ('\(exit.name)')",
          "It gives \(shape) a row; exits must give one vector of logits a row.")
      }
      guard let likelihood = exit.likelihood ?? fallback else {
        throw FileError(
          .missing, file: file, object: "exit \(index) ('\(exit.name)')",
          "Its last layer has no activation, so the meaning of its \(shape[0]) output(s) is open; say which "
            + "with --likelihood categorical, binary, multilabel or gaussian.")
      }
      if let fallback, let known = exit.likelihood, known != fallback, !isOpen {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          "Its last activation says \(known.rawValue), but --likelihood says \(fallback.rawValue); leave the "
            + "option out.")
      }
      guard likelihood != .binary || shape[0] == 1 else {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          "A binary output has one logit; this one has \(shape[0]).")
      }
      guard likelihood != .categorical || shape[0] > 1 else {
        throw FileError(
          .value, file: file, object: "exit \(index) ('\(exit.name)')",
          exit.likelihood == nil
            ? "A softmax over one logit always says 1; if the output means yes or no, use --likelihood binary."
            : "It ends in a softmax over one logit, which always says 1, so there is nothing to measure; give a "
              + "network with a sigmoid or with a logit a class.")
      }
      var description = ExitDescription(
        name: exit.name, likelihood: likelihood, logitCount: shape[0],
        multiplyAdds: network.multiplyAdds(toExit: index))
      if let features = exit.features, network.shapes[features].rank == 1 {
        description.featureCount = network.shapes[features].elementCount
        description.head = head(of: exit)
      }
      exits.append(description)
    }
    let description = RecordsDescription(
      file: file, exits: exits, classNames: classNames, checkpointDigest: checkpointDigest,
      dataDigest: dataDigest, preprocessing: preprocessing)
    try description.requireOneNameAClass()
    return description
  }

  private func head(of exit: Exit) -> ExitHead? {
    guard let dense = network.nodes[exit.logits].layer as? Dense else { return nil }
    let specs = network.parameterSpecs(of: exit.logits)
    guard let weight = parameters[specs[0].path] else { return nil }
    let bias = dense.usesBias ? parameters[specs[1].path] : nil
    return ExitHead(
      weight: weight, bias: bias ?? Tensor(zeros: [dense.units]), hasBias: dense.usesBias)
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
}
