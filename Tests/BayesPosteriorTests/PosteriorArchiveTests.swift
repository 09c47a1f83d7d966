import BayesPosterior
import BayesPrediction
import BayesTensor
import Synchronization
import Testing
import _BayesTestSupport

struct PosteriorArchiveTests {
  static func posterior(
    form: KroneckerForm = .kronecker, likelihood: Likelihood = .categorical, hasBias: Bool = true
  )
    async throws -> KroneckerLaplacePosterior
  {
    func rows(_ seed: UInt64) -> InMemoryExitRecords {
      ToyProblem(
        rowCount: 80, classCount: likelihood == .binary ? 2 : 3, exitCount: 2, likelihood: likelihood,
        hasBias: hasBias, seed: seed
      ).records()
    }
    return try await LastLayerLaplace(form: form, sampleCount: 8, priorPrecision: .fixed(1)).fit(
      training: rows(7), validation: rows(8), in: .test())
  }

  static func archive(_ posterior: KroneckerLaplacePosterior) throws -> MemoryArchive {
    let archive = MemoryArchive()
    try posterior.write(to: archive)
    return archive
  }

  @Test(arguments: KroneckerForm.allCases, [Likelihood.categorical, .binary])
  func roundTripKeepsEveryBit(form: KroneckerForm, likelihood: Likelihood) async throws {
    for hasBias in [true, false] {
      let posterior = try await Self.posterior(form: form, likelihood: likelihood, hasBias: hasBias)
      let archive = try Self.archive(posterior)
      let read = try KroneckerLaplacePosterior(from: archive)
      #expect(read.exits == posterior.exits)
      #expect(read.form == form)
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

  @Test func untunedPosteriorHasNoTrail() async throws {
    let posterior = try await LastLayerLaplace(priorPrecision: .fixed(2), temperature: .fixed(1)).fit(
      training: ToyProblem().records(), validation: nil, in: .test())
    let read = try KroneckerLaplacePosterior(from: Self.archive(posterior))
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
      ("version", { $0.set("version", .integer(2), of: "/") }, .unsupported, "format version 2"),
      ("method", { $0.set("method", .text("swag"), of: "/") }, .unsupported, "'swag'"),
      ("form", { $0.set("form", .text("diagonal"), of: "/") }, .unsupported, "'diagonal'"),
      ("draws", { $0.set("draws", .integer(0), of: "/") }, .value, "draws is 0"),
      ("key", { $0.set("drawsKey", .text("{}"), of: "/") }, .malformed, "'drawsKey' is '{}'"),
      ("no exits", { $0.set("exitCount", .integer(0), of: "/") }, .value, "exits is 0"),
      ("exits", { $0.set("exitCount", .integer(3), of: "/") }, .missing, "/exits/2"),
      ("prior", { $0.set("priorPrecision", .number(-1), of: "/exits/1") }, .value, "-1.0"),
      ("temperature", { $0.set("temperature", .number(.nan), of: "/exits/1") }, .value, "nan"),
      ("minute", { $0.set("temperature", .number(1e-210), of: "/exits/1") }, .value, "'temperature' is 1e-210"),
      ("likelihood", { $0.set("likelihood", .text("gaussian"), of: "/exits/0") }, .unsupported, "gaussian"),
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
      ("trail", { $0.put(Tensor(zeros: [2, 4]), at: "/exits/0/trail") }, .value, "/exits/0/trail"),
    ]

  @Test(arguments: damages.indices)
  func damagedFileIsRefusedByName(index: Int) async throws {
    let damage = Self.damages[index]
    let archive = try Self.archive(try await Self.posterior())
    damage.damage(archive)
    let error = #expect(throws: FileError.self, "\(damage.name)") {
      try KroneckerLaplacePosterior(from: archive)
    }
    #expect(error?.code == damage.code, "\(damage.name)")
    #expect("\(error.map(String.init(describing:)) ?? "")".contains(damage.words), "\(damage.name)")
  }
}

/// An archive in memory, open for both.
final class MemoryArchive: ArrayArchive, ArrayArchiveWriter {
  private struct Contents {
    var arrays: [String: (tensor: Tensor<Double>, type: String)] = [:]
    var attributes: [String: [String: ArchiveAttribute]] = [:]
  }

  let file = "memory.posterior"
  private let contents = Mutex(Contents())

  var entries: [ArchiveEntry] {
    contents.withLock { contents in
      contents.arrays.map {
        ArchiveEntry(path: $0.key, shape: $0.value.tensor.shape, scalarType: $0.value.type)
      }
      .sorted { $0.path < $1.path }
    }
  }

  func attributes(of path: String) throws(FileError) -> [String: ArchiveAttribute] {
    contents.withLock { $0.attributes[path] ?? [:] }
  }

  func read<Scalar: TensorScalar>(_ path: String, rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> Tensor<Scalar>
  {
    guard let tensor = contents.withLock({ $0.arrays[path]?.tensor }) else {
      throw FileError(.missing, file: file, object: path, "There is no such array.")
    }
    return (rows.map { tensor.rows($0) } ?? tensor).converted(to: type)
  }

  func readIntegers(_ path: String, rows: Range<Int>?) throws(FileError) -> [Int] {
    try read(path, rows: rows, as: Double.self).elements.map { Int($0) }
  }

  func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, at path: String) {
    put(tensor.converted(to: Double.self), at: path, type: Scalar.self == Float.self ? "float32" : "float64")
  }

  func write(_ integers: [Int], at path: String) {
    put(Tensor(shape: [integers.count], integers.map(Double.init)), at: path, type: "int64")
  }

  func append<Scalar: TensorScalar>(_ rows: Tensor<Scalar>, to path: String) { write(rows, at: path) }

  func append(_ integers: [Int], to path: String) { write(integers, at: path) }

  func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) { set(name, value, of: path) }

  func finish() {}

  func discard() {}

  func set(_ name: String, _ value: ArchiveAttribute, of path: String) {
    contents.withLock { $0.attributes[path, default: [:]][name] = value }
  }

  func put(_ tensor: Tensor<Double>, at path: String, type: String = "float64") {
    contents.withLock { $0.arrays[path] = (tensor, type) }
  }

  func remove(_ path: String) { contents.withLock { $0.arrays[path] = nil } }
}
