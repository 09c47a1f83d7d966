import Bayesify

/// A checkpoint prepared for the logits of all its exits.
struct ForwardPlan {
  let frozen: FrozenNetwork
  /// The rows that one thread runs at once; the engine's own choice for `nil`.
  let sliceRowCount: Int?
  let prepared: any PreparedNetwork

  init(_ file: String, sliceRowCount: Int?, precision: InferencePrecision) throws {
    let backend = try NativeBackend(sliceRowCount: sliceRowCount, precision: precision)
    frozen = try CheckpointModel(file).frozen
    self.sliceRowCount = sliceRowCount
    prepared = try backend.prepare(
      frozen, preprocessing: .identity, outputs: frozen.network.exits.map(\.logits))
  }

  var network: Network { frozen.network }
}

/// What is known of a network once it is loaded.
private struct NetworkFacts: Encodable {
  var inputShape: [Int]
  var exits: [String]
  var parameters: Int
  /// Of one row, to reach the last exit when all earlier ones are computed too.
  var multiplyAdds: Int
  /// What the engine says that it holds for two tasks.
  var residentBytes: Int
}

/// The bytes of what one pass hands over, exit by exit.
private struct ResultSizes: Encodable {
  var bytes: [Int]
}

struct Written: Encodable {
  var file: String
}

private struct RowCount: Encodable {
  var rows: Int
}

extension Session {
  mutating func load(_ arguments: inout Arguments) throws -> some Encodable {
    let file = try arguments.text("file")
    let precision = arguments.precision() ?? .float32
    let slice = arguments.isEmpty ? nil : try arguments.count("rows of a slice")
    forward = nil  // the last network's memory is free before the next one needs its own
    let plan = try ForwardPlan(file, sliceRowCount: slice, precision: precision)
    forward = plan
    let network = plan.network
    return NetworkFacts(
      inputShape: network.inputShape.dimensions, exits: network.exits.map(\.name),
      parameters: network.parameterSpecs.reduce(0) { $0 + $1.shape.elementCount },
      multiplyAdds: network.multiplyAdds(toExit: network.exits.count - 1),
      residentBytes: plan.prepared.residentByteCount(width: 2))
  }

  mutating func readInputs(_ arguments: inout Arguments) throws -> some Encodable {
    let tensor = try HDF5Archive(try arguments.text("file")).read("/x", as: Float.self)
    inputs = tensor
    return RowCount(rows: tensor.rowCount)
  }

  func timeForward(_ arguments: inout Arguments) async throws -> Timings {
    let rows = try arguments.count("rows")
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    let plan = try loaded()
    let batch = try self.batch(rows)
    var timings = Timings()
    for _ in 0..<repeats {
      try await timings.measure { _ = try await plan.prepared(batch, width: width) }
    }
    return timings
  }

  func repeatForward(_ arguments: inout Arguments) async throws -> some Encodable {
    let rows = try arguments.count("rows")
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    let plan = try loaded()
    let batch = try self.batch(rows)
    for _ in 0..<repeats { _ = try await plan.prepared(batch, width: width) }
    return ResultSizes(
      bytes: plan.network.exits.map {
        rows * plan.network.shapes[$0.logits].elementCount * MemoryLayout<Float>.stride
      })
  }

  func writeOutputs(_ arguments: inout Arguments) async throws -> some Encodable {
    let rows = try arguments.count("rows")
    let width = try arguments.count("width")
    let file = try arguments.text("file")
    let outputs = try await loaded().prepared(batch(rows), width: width)
    let writer = try HDF5ArchiveWriter(file, replacing: true)
    do {
      for (exit, logits) in outputs.enumerated() { try writer.write(logits, at: "/outputs/\(exit)") }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    return Written(file: file)
  }

  func loaded() throws(CommandError) -> ForwardPlan {
    guard let forward else { throw CommandError("No network is loaded; 'load' one first.") }
    return forward
  }

  /// The first rows of what was read.
  func batch(_ rows: Int) throws(CommandError) -> RowBatch {
    guard let inputs, inputs.rowCount >= rows else {
      throw CommandError("There are \(inputs?.rowCount ?? 0) rows of input; \(rows) are asked for.")
    }
    return RowBatch(inputs.rows(0..<rows))
  }
}
