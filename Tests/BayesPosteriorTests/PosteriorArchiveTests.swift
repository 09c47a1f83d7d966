import BayesPosterior
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

struct PosteriorArchiveTests {
  static func posterior(
    structure: LaplaceStructure = .kronecker, likelihood: Likelihood = .categorical, hasBias: Bool = true
  )
    async throws -> LastLayerLaplacePosterior
  {
    func rows(_ seed: UInt64) -> InMemoryExitRecords {
      ToyProblem(
        rowCount: 80, classCount: likelihood == .binary ? 2 : 3, exitCount: 2, likelihood: likelihood,
        hasBias: hasBias, seed: seed
      ).records()
    }
    return try await LastLayerLaplace(structure: structure, sampleCount: 8, priorPrecision: .fixed(1)).fit(
      training: rows(7), validation: rows(8), in: .test())
  }

  static func archive(_ posterior: LastLayerLaplacePosterior) throws -> MemoryArchive {
    let archive = MemoryArchive()
    try posterior.write(to: archive)
    return archive
  }

  @Test(arguments: LaplaceStructure.allCases, [Likelihood.categorical, .binary])
  func roundTripKeepsEveryBit(structure: LaplaceStructure, likelihood: Likelihood) async throws {
    for hasBias in [true, false] {
      let posterior = try await Self.posterior(structure: structure, likelihood: likelihood, hasBias: hasBias)
      let archive = try Self.archive(posterior)
      let read = try LastLayerLaplacePosterior(from: archive)
      #expect(read.exits == posterior.exits)
      #expect(read.structure == structure)
      #expect(read.predictive == posterior.predictive)
      #expect(read.sampleCount == posterior.sampleCount)
      #expect(read.drawsKey == posterior.drawsKey)
      #expect(read.warnings == posterior.warnings)
      // Only the file's name is another.
      var source = posterior.source
      source.file = archive.file
      #expect(read.source == source)

      let test = ToyProblem(
        rowCount: 9, classCount: likelihood == .binary ? 2 : 3, exitCount: 2, likelihood: likelihood,
        hasBias: hasBias, seed: 9
      ).records()
      #expect(
        try read.predictor(for: test.description, in: .test()).predict(test.records)
          == posterior.predictor(for: test.description, in: .test()).predict(test.records))
    }
  }

  /// Sums of every structure and likelihood are those of rows when nobody has changed them.
  @Test(arguments: LaplaceStructure.allCases, [Likelihood.categorical, .binary, .multilabel, .gaussian])
  func soundSumsAreRead(structure: LaplaceStructure, likelihood: Likelihood) async throws {
    let problem = ToyProblem(rowCount: 80, classCount: likelihood == .binary ? 2 : 3, likelihood: likelihood)
    var records = ToyProblem(rowCount: 80, classCount: likelihood == .binary ? 2 : 3, likelihood: likelihood == .binary ? .binary : .categorical)
      .records().records
    if likelihood == .gaussian || likelihood == .multilabel {
      records.targets = records.exits[0].logits.converted(to: Double.self).map { likelihood == .gaussian ? $0 + 1 : $0 > 0 ? 1 : 0 }
      records.labels = nil
      if likelihood == .gaussian { records.noise = (0..<80).map { 0.5 + Double($0 % 7) } }
    }
    var posterior = try await LastLayerLaplace(structure: structure, priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
      training: InMemoryExitRecords(records, description: problem.description), validation: nil, in: .test())
    posterior.fittedRows = [FittedRows(data: "abc:x y", rows: 3..<80), FittedRows(data: "def", rows: 0..<1)]
    let archive = try Self.archive(posterior)
    #expect(try LastLayerLaplacePosterior(from: archive).fittedRows == posterior.fittedRows)
    guard structure != .lowRank else { return }
    archive.alter("/exits/0/sums/0") { $0[$0.count - 1] *= -1 }
    #expect(throws: FileError.self) { try LastLayerLaplacePosterior(from: archive) }
  }

  @Test func untunedPosteriorHasNoTrail() async throws {
    let posterior = try await LastLayerLaplace(priorPrecision: .fixed(2), temperature: .fixed(1)).fit(
      training: ToyProblem().records(), validation: nil, in: .test())
    let read = try LastLayerLaplacePosterior(from: Self.archive(posterior))
    #expect(read.exits == posterior.exits)
  }

  @Test func noRowsAreKept() async throws {
    let archive = try Self.archive(try await Self.posterior())
    #expect(archive.entries.allSatisfy { $0.shape.rank == 0 || $0.shape[0] != 80 })
  }

  /// What is done to a good file, and what must be said of it.
  static let damages:
    [(name: String, damage: @Sendable (MemoryArchive) -> Void, code: FileError.Code, words: String)] = [
      ("format", { $0.set("format", .text("other"), of: "/") }, .malformed, "not a posterior"),
      ("version", { $0.set("version", .integer(1), of: "/") }, .unsupported, "format version 1"),
      ("method", { $0.set("method", .text("swag"), of: "/") }, .unsupported, "'swag'"),
      ("structure", { $0.set("structure", .text("round"), of: "/") }, .unsupported, "'round'"),
      ("draws", { $0.set("draws", .integer(0), of: "/") }, .value, "draws is 0"),
      ("key", { $0.set("drawsKey", .text("{}"), of: "/") }, .malformed, "'drawsKey' is '{}'"),
      ("no exits", { $0.set("exitCount", .integer(0), of: "/") }, .value, "exits is 0"),
      ("exits", { $0.set("exitCount", .integer(3), of: "/") }, .missing, "/exits/2"),
      ("prior", { $0.set("priorPrecision", .number(-1), of: "/exits/1") }, .value, "-1.0"),
      ("temperature", { $0.set("temperature", .number(.nan), of: "/exits/1") }, .value, "nan"),
      ("minute", { $0.set("temperature", .number(1e-210), of: "/exits/1") }, .value, "'temperature' is 1e-210"),
      ("likelihood", { $0.set("likelihood", .text("cauchy"), of: "/exits/0") }, .unsupported, "cauchy"),
      ("no weight", { $0.remove("/exits/0/weight") }, .missing, "/exits/0/weight"),
      (
        "shape", { $0.put(Tensor(zeros: [4, 4]), at: "/exits/0/inputVectors") }, .shape,
        "/exits/0/inputVectors"
      ),
      (
        "not finite", { $0.put(Tensor(repeating: .nan, shape: [3]), at: "/exits/0/bias") }, .value,
        "/exits/0/bias"
      ),
      (
        "negative", { $0.put(Tensor(repeating: -1, shape: [3]), at: "/exits/0/outputValues") }, .value,
        "eigenvalue"
      ),
      ("sums", { $0.put(Tensor(zeros: [2, 3]), at: "/exits/0/sums/0") }, .shape, "/exits/0/sums/0"),
      ("row count", { $0.put(Tensor(zeros: [9]), at: "/exits/1/sums/totals") }, .value, "/exits/1/sums/totals"),
      (
        "negative sum", { $0.alter("/exits/0/sums/1") { $0[2, 2] *= -1 } }, .value,
        "/exits/0/sums/1: Element [2, 2] on the diagonal is -"
      ),
      ("not symmetric", { $0.alter("/exits/1/sums/0") { $0[0, 1] += 3 } }, .value, "/exits/1/sums/0: Elements [1, 0]"),
      ("no number", { $0.alter("/exits/0/sums/0") { $0[1, 1] = .nan } }, .value, "/exits/0/sums/0"),
      ("too large beside", { $0.alter("/exits/0/sums/1") { for (i, j) in [(0, 1), (1, 0)] { $0[i, j] = 1e6 } } }, .value, "/exits/0/sums/1"),
      (
        "doubled", { $0.alter("/exits/0/sums/1") { for i in 0..<36 { $0[i] *= 2 } } }, .value,
        "/exits/0/sums/1: It counts 160 rows, and /totals say 80"
      ),
      ("halved", { $0.alter("/exits/0/sums/0") { for i in 0..<9 { $0[i] /= 2 } } }, .value, "It counts 40 rows"),
      ("half a row", { $0.alter("/exits/0/sums/totals") { $0[0] = 79.5 } }, .value, "The number of rows is 79.5"),
      ("other weight", { $0.alter("/exits/0/sums/totals") { $0[3] = 81 } }, .value, "The weight of 80 rows is 81"),
      ("fitted rows", { $0.set("fittedRows", .texts(["abc 5:5"]), of: "/") }, .malformed, "'abc 5:5'"),
      ("trail", { $0.put(Tensor(zeros: [2, 4]), at: "/exits/0/trail") }, .value, "/exits/0/trail"),
    ]

  @Test(arguments: damages.indices)
  func damagedFileIsRefusedByName(index: Int) async throws {
    let damage = Self.damages[index]
    let archive = try Self.archive(try await Self.posterior())
    damage.damage(archive)
    let error = #expect(throws: FileError.self, "\(damage.name)") {
      try LastLayerLaplacePosterior(from: archive)
    }
    #expect(error?.code == damage.code, "\(damage.name)")
    #expect("\(error.map(String.init(describing:)) ?? "")".contains(damage.words), "\(damage.name)")
  }
}

extension MemoryArchive {
  /// Changes the numbers of an array.
  func alter(_ path: String, _ change: (inout Tensor<Double>) -> Void) {
    do {
      var tensor = try read(path, rows: nil, as: Double.self)
      change(&tensor)
      put(tensor, at: path)
    } catch {
      Issue.record("\(error)")
    }
  }
}
