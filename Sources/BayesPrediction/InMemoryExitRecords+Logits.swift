import BayesTensor

extension InMemoryExitRecords {
  /// The logits and labels of all rows of a source, without features.
  ///
  /// - Cost: one pass; 4 bytes a logit of every exit.
  public init(logitsOf source: some ExitRecordSource) async throws {
    var logits = source.description.exits.map { _ in ContiguousArray<Float>() }
    var labels: [Int] = []
    try await source.forEachChunk { chunk in
      for (exit, records) in chunk.exits.enumerated() { logits[exit] += records.logits.elements }
      labels += chunk.labels ?? []
    }
    let exits = zip(source.description.exits, logits).map { exit, elements in
      ExitRecords.Exit(
        features: nil,
        logits: Tensor(shape: [elements.count / max(1, exit.logitCount), exit.logitCount], elements: elements))
    }
    self.init(
      ExitRecords(firstRow: 0, exits: exits, labels: source.hasLabels ? labels : nil), description: source.description)
  }
}
