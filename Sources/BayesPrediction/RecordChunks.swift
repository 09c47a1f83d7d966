import BayesTensor

/// Cuts rows that come in portions of any size into chunks of `ExitRecords.chunkRowCount`, numbered on.
///
/// Less than a chunk is kept between two portions.
package struct RecordChunks {
  private var waiting: [ExitRecords] = []
  private var waitingCount = 0
  private var deliveredCount = 0

  package init() {}

  /// Adds a portion, and hands over the chunks that are full.
  package mutating func append(
    _ portion: ExitRecords, _ body: (ExitRecords) async throws -> Void
  ) async throws {
    var start = 0
    while portion.rowCount - start >= ExitRecords.chunkRowCount - waitingCount {
      let end = start + ExitRecords.chunkRowCount - waitingCount
      keep(portion, start..<end)
      try await deliver(body)
      start = end
    }
    if start < portion.rowCount { keep(portion, start..<portion.rowCount) }
  }

  /// Hands over what is left.
  package mutating func finish(_ body: (ExitRecords) async throws -> Void) async throws {
    if waitingCount > 0 { try await deliver(body) }
  }

  private mutating func keep(_ portion: ExitRecords, _ rows: Range<Int>) {
    waiting.append(rows.count == portion.rowCount ? portion : portion.rows(rows))
    waitingCount += rows.count
  }

  private mutating func deliver(_ body: (ExitRecords) async throws -> Void) async throws {
    var chunk = waiting.count == 1 ? waiting[0] : .joining(waiting)
    chunk.firstRow = deliveredCount
    deliveredCount += waitingCount
    waiting.removeAll()
    waitingCount = 0
    try await body(chunk)
  }
}

extension ExitRecords {
  /// Portions of one source, one after the other.
  ///
  /// - Precondition: there is at least one, and all hold the same of their rows.
  fileprivate static func joining(_ portions: [ExitRecords]) -> ExitRecords {
    func joined<Element>(_ part: (ExitRecords) -> [Element]?) -> [Element]? {
      part(portions[0]).map { _ in portions.flatMap { part($0) ?? [] } }
    }
    return ExitRecords(
      firstRow: portions[0].firstRow, rowCount: portions.reduce(0) { $0 + $1.rowCount },
      exits: portions[0].exits.indices.map { exit in
        let parts = portions.map { $0.exits[exit] }
        return Exit(
          features: parts[0].features.map { _ in .stacking(parts.compactMap(\.features)) },
          logits: .stacking(parts.map(\.logits)))
      },
      labels: joined(\.labels),
      targets: portions[0].targets.map { _ in .stacking(portions.compactMap(\.targets)) },
      noise: joined(\.noise), sourceRows: joined(\.sourceRows))
  }

  /// The rows at some positions, in the order given.
  package func rows(_ indices: [Int]) -> ExitRecords {
    ExitRecords(
      firstRow: firstRow, rowCount: indices.count,
      exits: exits.map { Exit(features: $0.features?.rows(indices), logits: $0.logits.rows(indices)) },
      labels: labels.map { labels in indices.map { labels[$0] } }, targets: targets?.rows(indices),
      noise: noise.map { noise in indices.map { noise[$0] } },
      sourceRows: indices.map { sourceRows?[$0] ?? firstRow + $0 })
  }
}

/// Records without the rows whose label says that they have no answer.
///
/// What is fitted to them, tuned or measured on them, is what it would be without those rows.
///
/// - Cost: the labels are read once before; memory for two chunks.
public struct AnsweredExitRecords: ExitRecordSource {
  package let source: any ExitRecordSource
  private let ignoredLabels: Set<Int>
  public let rowCount: Int
  /// The number of rows left out.
  public let ignoredCount: Int

  /// Counts the rows that have an answer.
  ///
  /// - Throws: `FileError.Code.value` when there are none; what the source throws.
  public init(_ source: any ExitRecordSource, ignoring labels: [Int]) async throws {
    self.source = source
    ignoredLabels = Set(labels)
    let ignored = ignoredLabels
    var ignoredCount = 0
    try await source.forEachLabels { labels in
      try Task.checkCancellation()
      for label in labels where ignored.contains(label) { ignoredCount += 1 }
    }
    self.ignoredCount = ignoredCount
    rowCount = source.rowCount - ignoredCount
    guard rowCount > 0 else {
      throw FileError(
        .value, file: source.description.file, object: "labels",
        "All \(ignoredCount) labels are \(labels.map(String.init).joined(separator: " or ")), which is ignored, so nothing is left; "
          + "give rows with other labels.")
    }
  }

  /// That of the source, without the labels that are ignored: none that is left is one.
  public var description: RecordsDescription {
    var description = source.description
    for path in [\RecordsDescription.ignoredLabel, \.anomalyLabel] {
      if let label = description[keyPath: path], ignoredLabels.contains(label) { description[keyPath: path] = nil }
    }
    return description
  }

  public var hasLabels: Bool { source.hasLabels }
  public var hasTargets: Bool { source.hasTargets }

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    var chunks = RecordChunks()
    try await source.forEachChunk { chunk in
      let answered = answered(in: chunk)
      if !answered.isEmpty { try await chunks.append(chunk.rows(answered), body) }
    }
    try await chunks.finish(body)
  }

  /// Those of some rows of the source that have an answer.
  package func answered(in records: ExitRecords) -> [Int] {
    guard let labels = records.labels else { return Array(0..<records.rowCount) }
    return labels.indices.filter { !ignoredLabels.contains(labels[$0]) }
  }
}

extension ExitRecordSource {
  /// These records without the rows whose label is the ignored one; these where none is.
  package var answered: any ExitRecordSource {
    get async throws {
      guard let label = description.ignoredLabel, hasLabels else { return self }
      return try await AnsweredExitRecords(self, ignoring: [label])
    }
  }
}
