public import BayesTensor
import Synchronization

/// An archive in memory, open for both.
public final class MemoryArchive: ArrayArchive, ArrayArchiveWriter {
  private struct Contents {
    var arrays: [String: (tensor: Tensor<Double>, type: String)] = [:]
    var attributes: [String: [String: ArchiveAttribute]] = [:]
  }

  public let file = "memory"

  public init() {}

  private let contents = Mutex(Contents())

  public var entries: [ArchiveEntry] {
    contents.withLock { contents in
      contents.arrays.map {
        ArchiveEntry(path: $0.key, shape: $0.value.tensor.shape, scalarType: $0.value.type)
      }
      .sorted { $0.path < $1.path }
    }
  }

  public func attributes(of path: String) throws(FileError) -> [String: ArchiveAttribute] {
    contents.withLock { $0.attributes[path] ?? [:] }
  }

  public func read<Scalar: TensorScalar>(_ path: String, rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> Tensor<Scalar>
  {
    guard let tensor = contents.withLock({ $0.arrays[path]?.tensor }) else {
      throw FileError(.missing, file: file, object: path, "There is no such array.")
    }
    return (rows.map { tensor.rows($0) } ?? tensor).converted(to: type)
  }

  public func readIntegers(_ path: String, rows: Range<Int>?) throws(FileError) -> [Int] {
    try read(path, rows: rows, as: Double.self).elements.map { Int($0) }
  }

  public func write<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, at path: String) {
    put(tensor.converted(to: Double.self), at: path, type: Scalar.self == Float.self ? "float32" : "float64")
  }

  public func write(_ integers: [Int], at path: String) {
    put(Tensor(shape: [integers.count], integers.map(Double.init)), at: path, type: "int64")
  }

  public func append<Scalar: TensorScalar>(_ rows: Tensor<Scalar>, to path: String) {
    let known = contents.withLock { $0.arrays[path]?.tensor }
    write(known.map { .stacking([$0.converted(to: Scalar.self), rows]) } ?? rows, at: path)
  }

  public func append(_ integers: [Int], shape: Shape, to path: String) {
    let known = contents.withLock { $0.arrays[path]?.tensor }
    let rows = Tensor(shape: shape, integers.map(Double.init))
    put(known.map { .stacking([$0, rows]) } ?? rows, at: path, type: "int64")
  }

  public func setAttribute(_ name: String, _ value: ArchiveAttribute, of path: String) { set(name, value, of: path) }

  public func finish() {}

  public func discard() {}

  public func set(_ name: String, _ value: ArchiveAttribute, of path: String) {
    contents.withLock { $0.attributes[path, default: [:]][name] = value }
  }

  public func put(_ tensor: Tensor<Double>, at path: String, type: String = "float64") {
    contents.withLock { $0.arrays[path] = (tensor, type) }
  }

  public func remove(_ path: String) { contents.withLock { $0.arrays[path] = nil } }
}
