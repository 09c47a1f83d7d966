public import BayesTensor

/// Names in a file of exit records.
private enum RecordsLayout {
  static let format = "bayesify-records"
  static let version = 1
  static let labels = "/labels"
  static let targets = "/targets"
  static let noise = "/noise"
  static let rowDigests = "/rowDigests"
  static let positions = "positions"
  static let ignoredLabel = "ignoredLabel"
  static func exit(_ index: Int) -> String { "/exits/\(index)" }
  static func features(_ index: Int) -> String { exit(index) + "/features" }
  static func logits(_ index: Int) -> String { exit(index) + "/logits" }
  static func weight(_ index: Int) -> String { exit(index) + "/head/weight" }
  static func bias(_ index: Int) -> String { exit(index) + "/head/bias" }
}

/// Writes exit records to an archive, chunk by chunk.
public struct ExitRecordsWriter: Sendable {
  private let archive: any ArrayArchiveWriter

  /// Begins a file with what is known apart from the rows.
  public init(_ description: RecordsDescription, to archive: any ArrayArchiveWriter) throws(FileError) {
    self.archive = archive
    try archive.setAttribute("format", .text(RecordsLayout.format), of: "/")
    try archive.setAttribute("version", .integer(RecordsLayout.version), of: "/")
    try archive.write(description)
  }

  /// Appends a chunk.
  public func append(_ records: ExitRecords) throws(FileError) {
    for (index, exit) in records.exits.enumerated() {
      if let features = exit.features { try archive.append(features, to: RecordsLayout.features(index)) }
      try archive.append(exit.logits, to: RecordsLayout.logits(index))
    }
    if let labels = records.labels { try archive.append(labels, to: RecordsLayout.labels) }
    if let targets = records.targets { try archive.append(targets, to: RecordsLayout.targets) }
    if let noise = records.noise {
      try archive.append(Tensor(shape: [noise.count], noise), to: RecordsLayout.noise)
    }
  }

  /// Appends one number a row of the network, by which rows that recur elsewhere are found.
  public func append(rowDigests: [Int]) throws(FileError) {
    try archive.append(rowDigests, to: RecordsLayout.rowDigests)
  }

  /// Publishes the file.
  public func finish() throws(FileError) { try archive.finish() }

  /// Removes what was written.
  public func discard() { archive.discard() }
}

extension ArrayArchiveWriter {
  /// Writes what is known of a network's exits and its data apart from any row.
  public func write(_ description: RecordsDescription) throws(FileError) {
    if let digest = description.checkpointDigest {
      try setAttribute("checkpointDigest", .text(digest), of: "/")
    }
    if let digest = description.dataDigest { try setAttribute("dataDigest", .text(digest), of: "/") }
    if !description.classNames.isEmpty {
      try setAttribute("classNames", .texts(description.classNames), of: "/")
    }
    if !description.positions.isEmpty {
      try setAttribute(RecordsLayout.positions, .integers(description.positions), of: "/")
    }
    if let label = description.ignoredLabel {
      try setAttribute(RecordsLayout.ignoredLabel, .integer(label), of: "/")
    }
    if let preprocessing = description.preprocessing {
      try setAttribute("scale", .number(preprocessing.scale), of: "/preprocessing")
      try setAttribute("mean", .numbers(preprocessing.mean), of: "/preprocessing")
      try setAttribute(
        "standardDeviation", .numbers(preprocessing.standardDeviation), of: "/preprocessing")
    }
    for (index, exit) in description.exits.enumerated() {
      let path = RecordsLayout.exit(index)
      try setAttribute("name", .text(exit.name), of: path)
      try setAttribute("likelihood", .text(exit.likelihood.rawValue), of: path)
      if let multiplyAdds = exit.multiplyAdds {
        try setAttribute("multiplyAdds", .integer(multiplyAdds), of: path)
      }
      if let head = exit.head {
        try write(head.weight, at: RecordsLayout.weight(index))
        try write(head.bias, at: RecordsLayout.bias(index))
        try setAttribute("hasBias", .integer(head.hasBias ? 1 : 0), of: path)
      }
    }
  }
}

extension ArrayArchive {
  /// Whether the file holds logits of exits, ours or another tool's.
  public var holdsExitRecords: Bool {
    // Those that count exits from one are told so when they are read.
    (0...1).contains { entry(RecordsLayout.logits($0)) != nil && entry(RecordsLayout.exit($0) + "/probabilities") == nil }
  }

  /// What the file says of preprocessing, where it says anything.
  public func preprocessing() throws(FileError) -> Preprocessing? {
    let attributes = try attributes(of: "/preprocessing")
    guard case .number(let scale)? = attributes["scale"], let mean = attributes["mean"]?.numbers,
      let deviation = attributes["standardDeviation"]?.numbers
    else { return nil }
    return Preprocessing(scale: scale, mean: mean, standardDeviation: deviation)
  }

  /// The extents at whose positions a row of the network has an answer each; none where the file names none.
  ///
  /// - Throws: `FileError.Code.value` for extents that are not positive, or are more than there can be.
  public func positions() throws(FileError) -> [Int] {
    let extents: [Int]
    switch try attribute(RecordsLayout.positions) {
    case .integer(let extent): extents = [extent]
    case .integers(let values): extents = values
    default: return []
    }
    var count = 1
    for extent in extents {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard extent > 0, !overflow else {
        throw FileError(
          .value, file: file, object: RecordsLayout.positions,
          "The positions \(extents) are no extents of an image or a sequence; make the file anew.")
      }
      count = product
    }
    return extents
  }

  /// The label of rows that have no answer, where the file names one.
  public func ignoredLabel() throws(FileError) -> Int? {
    guard case .integer(let label)? = try attribute(RecordsLayout.ignoredLabel) else { return nil }
    return label
  }

  /// The text attribute of that name, where there is one.
  public func optionalText(_ name: String, of path: String = "/") throws(FileError) -> String? {
    guard case .text(let text)? = try attribute(name, of: path) else { return nil }
    return text
  }

  /// Refuses records of a later layout than is known here.
  private func requireKnownVersion() throws(FileError) {
    guard try optionalText("format") == RecordsLayout.format, case .integer(let version)? = try attribute("version"),
      version > RecordsLayout.version
    else { return }
    throw FileError(
      .unsupported, file: file,
      "These exit records have format version \(version), and this program reads up to version "
        + "\(RecordsLayout.version); extract them again, or use the program that wrote them.")
  }

  /// What the file says of its exits and its data apart from any row.
  ///
  /// - Parameter likelihood: stands where the file, being another tool's, names none, and where it calls one logit
  ///   categorical.
  /// - Throws: `FileError` where shapes contradict one another, the likelihood is open or is said to be another than it
  ///   is, or the file is of a later version.
  public func recordsDescription(likelihood fallback: Likelihood? = nil) throws(FileError)
    -> RecordsDescription
  {
    try requireKnownVersion()
    if entry(RecordsLayout.logits(0)) == nil, let first = entry(RecordsLayout.logits(1)) {
      throw FileError(
        .missing, file: file, object: RecordsLayout.logits(0),
        "The exits are counted from \(first.path); count them from 0.")
    }
    var exits: [ExitDescription] = []
    // An option that no exit needs is a misunderstanding; with several exits it may be meant for one.
    var (isOpen, contradiction): (Bool, FileError?) = (false, nil)
    while let logits = entry(RecordsLayout.logits(exits.count)) {
      let index = exits.count
      guard logits.shape.rank == 2, logits.shape[1] > 0 else {
        throw FileError(
          .shape, file: file, object: logits.path, "Logits are [rows, classes]; these are \(logits.shape).")
      }
      let features = entry(RecordsLayout.features(index))
      if let features, features.shape.rank < 2 {
        throw FileError(
          .shape, file: file, object: features.path, "Features are [rows, width]; these are \(features.shape).")
      }
      let attributes = try attributes(of: RecordsLayout.exit(index))
      var likelihood = fallback
      if case .text(let text)? = attributes["likelihood"] {
        guard let stored = Likelihood(rawValue: text) else {
          throw FileError(
            .value, file: file, object: RecordsLayout.exit(index),
            "The likelihood '\(text)' is not one of "
              + Likelihood.allCases.map(\.rawValue).joined(separator: ", ") + ".")
        }
        // A softmax over one logit is a slip of the tool that wrote the file, and only the user can mend it.
        let isMended = stored == .categorical && logits.shape[1] == 1 && fallback == .binary
        if !isMended { likelihood = stored }
        isOpen = isOpen || isMended
        if let fallback, likelihood != fallback {
          contradiction = contradiction
            ?? FileError(
              .value, file: file, object: RecordsLayout.exit(index),
              "The records say \(stored.rawValue), but --likelihood says \(fallback.rawValue); leave the option out.")
        }
      } else {
        isOpen = true
      }
      if likelihood == nil, logits.shape[1] > 1 { likelihood = .categorical }
      guard let likelihood else {
        throw FileError(
          .missing, file: file, object: RecordsLayout.exit(index),
          "One logit a row can be read in several ways; say which with --likelihood.")
      }
      guard likelihood != .categorical || logits.shape[1] > 1 else {
        throw FileError(
          .value, file: file, object: RecordsLayout.exit(index),
          "A softmax over one logit always says 1; if the output means yes or no, use --likelihood binary.")
      }
      var description = ExitDescription(
        name: "exit \(index)", likelihood: likelihood, logitCount: logits.shape[1],
        featureCount: features.map { $0.shape.row.elementCount })
      if case .text(let name)? = attributes["name"] { description.name = name }
      if case .integer(let count)? = attributes["multiplyAdds"] { description.multiplyAdds = count }
      description.head = try head(index, attributes, features: features, logits: logits)
      exits.append(description)
    }
    if let contradiction, !isOpen { throw contradiction }
    guard !exits.isEmpty else {
      throw FileError(
        .missing, file: file, object: RecordsLayout.logits(0),
        "No exit records are here; make them with 'bayesify extract'.")
    }
    var description = RecordsDescription(file: file, exits: exits)
    description.checkpointDigest = try optionalText("checkpointDigest")
    description.dataDigest = try optionalText("dataDigest")
    description.preprocessing = try preprocessing()
    description.positions = try positions()
    description.ignoredLabel = try ignoredLabel()
    if case .texts(let names)? = try attribute("classNames") { description.classNames = names }
    if !description.isRegression { try description.requireOneNameAClass() }
    return description
  }

  private func head(
    _ index: Int, _ attributes: [String: ArchiveAttribute], features: ArchiveEntry?, logits: ArchiveEntry
  ) throws(FileError) -> ExitHead? {
    guard let features, entry(RecordsLayout.weight(index)) != nil else { return nil }
    let weight = try read(RecordsLayout.weight(index), as: Float.self)
    let expected: Shape = [features.shape.row.elementCount, logits.shape[1]]
    guard weight.shape == expected else {
      throw FileError(
        .shape, file: file, object: RecordsLayout.weight(index),
        "The head's weight is \(weight.shape), but features and logits ask for \(expected).")
    }
    let hasBias = attributes["hasBias"] != .integer(0) && entry(RecordsLayout.bias(index)) != nil
    let bias =
      entry(RecordsLayout.bias(index)) == nil
      ? Tensor(zeros: [expected[1]]) : try read(RecordsLayout.bias(index), as: Float.self)
    guard bias.shape == [expected[1]] else {
      throw FileError(
        .shape, file: file, object: RecordsLayout.bias(index),
        "The head's bias is \(bias.shape), but there are \(expected[1]) logits.")
    }
    return ExitHead(weight: weight, bias: bias, hasBias: hasBias)
  }
}

extension ArchiveAttribute {
  /// The attribute as a list of numbers, where it is one.
  var numbers: [Double]? {
    switch self {
    case .number(let value): [value]
    case .numbers(let values): values
    case .integer(let value): [Double(value)]
    case .integers(let values): values.map(Double.init)
    case .text, .texts: nil
    }
  }
}

/// Exit records in a file, read a chunk at a time.
public struct ArchivedExitRecords: ExitRecordSource {
  public private(set) var description: RecordsDescription
  public let rowCount: Int
  public let hasLabels: Bool
  public let hasTargets: Bool
  /// Whether rows have a noise of their own.
  public let hasNoise: Bool
  private let archive: any ArrayArchive
  /// The rows of the file that are used.
  public let rows: Range<Int>
  private let inputRows: Range<Int>

  /// Opens the records of an archive.
  ///
  /// - Parameter rows: the rows of the network whose records to deliver; all for `nil`.
  /// - Throws: `FileError` where arrays are missing, differ in length, or `rows` reaches beyond them.
  public init(_ archive: any ArrayArchive, rows: Range<Int>? = nil, likelihood: Likelihood? = nil)
    throws(FileError)
  {
    self.archive = archive
    description = try archive.recordsDescription(likelihood: likelihood)
    let count = archive.entry(RecordsLayout.logits(0))?.shape[0] ?? 0
    for index in description.exits.indices {
      for path in [RecordsLayout.logits(index), RecordsLayout.features(index)] {
        if let entry = archive.entry(path), entry.shape[0] != count {
          throw FileError(
            .shape, file: archive.file, object: path,
            "There are \(entry.shape[0]) rows here and \(count) at the first exit; make the records anew.")
        }
      }
    }
    let labels = archive.entry(RecordsLayout.labels)
    hasLabels = labels != nil
    if let labels, labels.shape.elementCount != count {
      throw FileError(
        .shape, file: archive.file, object: RecordsLayout.labels,
        "There are \(labels.shape.elementCount) labels for \(count) rows; make the records anew.")
    }
    let targets = archive.entry(RecordsLayout.targets)
    hasTargets = targets != nil
    if let targets, ![1, 2].contains(targets.shape.rank) || targets.shape[0] != count {
      throw FileError(
        .shape, file: archive.file, object: RecordsLayout.targets,
        "Targets are [rows, outputs]; these are \(targets.shape) for \(count) rows.")
    }
    let noise = archive.entry(RecordsLayout.noise)
    hasNoise = noise != nil
    if let noise, noise.shape.elementCount != count {
      throw FileError(
        .shape, file: archive.file, object: RecordsLayout.noise,
        "There are \(noise.shape.elementCount) standard deviations for \(count) rows; give one a row.")
    }
    guard count > 0 else {
      throw FileError(.value, file: archive.file, object: RecordsLayout.logits(0), "There are no rows.")
    }
    let positionCount = description.positionCount
    guard count % positionCount == 0 else {
      throw FileError(
        .shape, file: archive.file, object: RecordsLayout.logits(0),
        "There are \(count) rows, which \(Shape(description.positions)) positions a row of the network do not divide; "
          + "make the records anew.")
    }
    inputRows = rows ?? 0..<count / positionCount
    guard inputRows.lowerBound >= 0, inputRows.upperBound <= count / positionCount, !inputRows.isEmpty else {
      throw FileError(
        .value, file: archive.file,
        "Rows \(inputRows.lowerBound):\(inputRows.upperBound) were asked for; the file has \(count / positionCount).")
    }
    self.rows = inputRows.lowerBound * positionCount..<inputRows.upperBound * positionCount
    rowCount = self.rows.count
  }

  /// The number of rows of the network; each has records for all its positions.
  public var inputRowCount: Int { inputRows.count }

  /// The same records with other names for the classes.
  ///
  /// - Throws: `FileError` when there is not one name a class.
  public func naming(classes names: [String]) throws(FileError) -> ArchivedExitRecords {
    var records = self
    records.description.classNames = names
    try records.description.requireOneNameAClass()
    return records
  }

  /// The same records with other labels, where some are given, for rows that have no answer and for anomalous ones.
  public func reading(ignoredLabel: Int?, anomalyLabel: Int? = nil) -> ArchivedExitRecords {
    var records = self
    if let ignoredLabel { records.description.ignoredLabel = ignoredLabel }
    if let anomalyLabel { records.description.anomalyLabel = anomalyLabel }
    return records
  }

  /// The same records with the heads of another description, at exits whose own the file does not hold.
  ///
  /// For records from elsewhere, whose rows went through a network that is at hand.  An exit with other numbers of
  /// features or logits keeps none.
  public func withHeads(of other: RecordsDescription) -> ArchivedExitRecords {
    var records = self
    guard description.exits.count == other.exits.count else { return self }
    for (index, exit) in other.exits.enumerated() {
      let own = description.exits[index]
      guard own.head == nil, own.featureCount == exit.featureCount, own.logitCount == exit.logitCount else { continue }
      records.description.exits[index].head = exit.head
    }
    return records
  }

  /// Whether the first rows' logits are such as probabilities are: from 0 to 1, with the sum 1 in every row.
  ///
  /// - Cost: reads 1000 rows.
  public var looksLikeProbabilities: Bool {
    get throws(FileError) {
      guard description.exits[0].likelihood == .categorical else { return false }
      let logits = try firstLogits(1000)
      return (0..<logits.rowCount).allSatisfy { row in
        let values = (0..<logits.shape[1]).map { logits[row, $0] }
        return values.allSatisfy { (0...1).contains($0) } && abs(values.reduce(0, +) - 1) < 1e-3
      }
    }
  }

  /// The logits of the first exit for the first rows of the file, whichever rows are delivered.
  public func firstLogits(_ count: Int) throws(FileError) -> Tensor<Float> {
    let path = RecordsLayout.logits(0)
    return try archive.read(path, rows: 0..<min(count, archive.entry(path)?.shape[0] ?? 0), as: Float.self)
  }

  /// One number a row of the network by which rows that recur elsewhere are found, where the file has them.
  public func rowDigests() throws(FileError) -> [Int]? {
    guard archive.entry(RecordsLayout.rowDigests) != nil else { return nil }
    return try archive.readIntegers(RecordsLayout.rowDigests, rows: inputRows)
  }

  public func forEachLabels(_ body: ([Int]) throws -> Void) async throws {
    guard hasLabels else { return }
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.labelCount) {
      try body(
        try archive.readIntegers(RecordsLayout.labels, rows: first..<min(first + Self.labelCount, rows.upperBound)))
    }
  }

  /// Labels that are read at once: half a megabyte.
  private static let labelCount = 1 << 16

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    for first in stride(from: 0, to: rowCount, by: ExitRecords.chunkRowCount) {
      try Task.checkCancellation()
      let start = rows.lowerBound + first
      let chunk = start..<min(start + ExitRecords.chunkRowCount, rows.upperBound)
      var exits: [ExitRecords.Exit] = []
      for (index, exit) in description.exits.enumerated() {
        let features =
          exit.featureCount == nil
          ? nil : try archive.read(RecordsLayout.features(index), rows: chunk, as: Float.self)
        exits.append(
          ExitRecords.Exit(
            features: features.map { $0.reshaped(to: [chunk.count, $0.shape.row.elementCount]) },
            logits: try archive.read(RecordsLayout.logits(index), rows: chunk, as: Float.self)))
      }
      let labels = hasLabels ? try archive.readIntegers(RecordsLayout.labels, rows: chunk) : nil
      var records = ExitRecords(firstRow: first, exits: exits, labels: labels)
      if hasTargets {
        let targets = try archive.read(RecordsLayout.targets, rows: chunk, as: Double.self)
        records.targets = targets.reshaped(to: [chunk.count, targets.shape.row.elementCount])
      }
      if hasNoise { records.noise = Array(try archive.read(RecordsLayout.noise, rows: chunk, as: Double.self).elements) }
      try await body(records)
    }
  }
}
