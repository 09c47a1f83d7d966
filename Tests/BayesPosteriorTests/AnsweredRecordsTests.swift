import BayesPosterior
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Rows whose label is ignored.
struct AnsweredRecordsTests {
  static let ignored = 255

  let problem = ToyProblem(rowCount: 3000)

  /// Records whose every third and a few hundred neighbouring labels are ignored, and what is left of them.
  func records() -> (whole: InMemoryExitRecords, rest: InMemoryExitRecords) {
    var records = problem.records().records
    var description = problem.description
    description.ignoredLabel = Self.ignored
    let isIgnored = { (row: Int) in row % 3 == 0 || (1000..<1400).contains(row) }
    let kept = (0..<problem.rowCount).filter { !isIgnored($0) }
    let rest = ExitRecords(
      firstRow: 0,
      exits: records.exits.map { .init(features: $0.features?.rows(kept), logits: $0.logits.rows(kept)) },
      labels: records.labels.map { labels in kept.map { labels[$0] } })
    for row in 0..<problem.rowCount where isIgnored(row) { records.labels?[row] = Self.ignored }
    return (
      InMemoryExitRecords(records, description: description), InMemoryExitRecords(rest, description: problem.description)
    )
  }

  @Test(arguments: [LaplaceStructure.kronecker, .full, .diagonal, .lowRank])
  func ignoringRowsIsLeavingThemOut(structure: LaplaceStructure) async throws {
    let (whole, rest) = records()
    let recipe = LastLayerLaplace(structure: structure)
    let ignoring = try await recipe.fit(training: whole, validation: whole, in: .test(width: 2))
    let without = try await recipe.fit(training: rest, validation: rest, in: .test(width: 2))
    #expect(ignoring.exits == without.exits)
    #expect(ignoring.exits[0].rowCount == rest.rowCount)
  }

  @Test func rowsAreCountedAndKeepTheirOrder() async throws {
    let (whole, rest) = records()
    let answered = try await AnsweredExitRecords(whole, ignoring: [Self.ignored])
    #expect(answered.rowCount == rest.rowCount && answered.ignoredCount == whole.rowCount - rest.rowCount)
    var labels: [Int] = []
    var rows: [Int] = []
    var counts: [Int] = []
    try await answered.forEachChunk { chunk in
      #expect(chunk.firstRow == labels.count)
      labels += chunk.labels ?? []
      rows += chunk.sourceRows ?? []
      counts.append(chunk.rowCount)
    }
    #expect(labels == rest.records.labels)
    #expect(rows == (whole.records.labels ?? []).indices.filter { whole.records.labels?[$0] != Self.ignored })
    #expect(counts == [1024, rest.rowCount - 1024])
  }

  /// Rows are named as they are counted in their file.
  @Test func rowsBehindIgnoredOnesKeepTheirNames() async throws {
    var (whole, _) = records()
    var altered = whole.records
    altered.exits[0].features?[2000, 1] = .nan
    var description = whole.description
    for (positions, name) in [([], "Row 2000,"), ([5, 4], "Row 100 at pixel (0, 0),"), ([7, 3], "Row 95 at pixel (1, 2),")] {
      description.positions = positions
      whole = InMemoryExitRecords(altered, description: description)
      let error = await #expect(throws: FileError.self) {
        _ = try await LastLayerLaplace(priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
          training: whole, validation: nil, in: .test())
      }
      #expect(error?.message.contains(name) == true, "\(error?.message ?? "")")
    }
  }

  @Test func nothingButIgnoredRowsIsRefused() async throws {
    var records = problem.records().records
    records.labels = records.labels?.map { _ in Self.ignored }
    let source = InMemoryExitRecords(records, description: problem.description)
    let error = await #expect(throws: FileError.self) {
      try await AnsweredExitRecords(source, ignoring: [Self.ignored])
    }
    #expect(error?.message.contains("All 3000 labels are 255") == true)
  }

  /// Rows to predict may lack an answer.
  @Test func ignoredRowsArePredicted() async throws {
    let (whole, _) = records()
    let posterior = try await LastLayerLaplace(priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
      training: whole, validation: nil, in: .test())
    let predictor = try posterior.predictor(for: whole.description, in: .test())
    #expect(try predictor.predict(whole.records)[0].rowCount == problem.rowCount)
  }
}
