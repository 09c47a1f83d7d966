import BayesNetwork
import BayesTensor

/// Brings stored rows into a worker's memory, mapped as the network wants them.
struct InputLoader: Sendable {
  /// The shape of a row.
  let shape: Shape
  /// Elements a row.
  private let width: Int
  // One factor and offset an element of a row lets the loops below run on whole vectors.
  private let factors: ContiguousArray<Float>
  private let offsets: ContiguousArray<Float>

  /// - Parameter map: `nil` where values go in as they are.
  init(_ shape: Shape, map: InputMap?) {
    self.shape = shape
    width = shape.elementCount
    guard let map else {
      (factors, offsets) = ([], [])
      return
    }
    let channels = map.factors.count
    factors = ContiguousArray((0..<width).map { map.factors[$0 % channels] })
    offsets = ContiguousArray((0..<width).map { map.offsets[$0 % channels] })
  }

  /// Writes `count` rows from row `start` on, and zeros up to `capacity` rows.
  @unsafe func load(
    _ rows: RowBatch, from start: Int, count: Int, into target: UnsafeMutablePointer<Float>, capacity: Int
  ) {
    switch rows.values {
    case .bytes(let bytes):
      let span = bytes.span
      for row in 0..<count {
        let source = (start + row) * width
        let line = unsafe target + row * width
        if factors.isEmpty {
          for position in 0..<width { unsafe line[position] = Float(span[unchecked: source + position]) }
        } else {
          for position in 0..<width {
            unsafe line[position] =
              Float(span[unchecked: source + position]) * factors[position] + offsets[position]
          }
        }
      }
    case .floats(let floats):
      if factors.isEmpty {
        unsafe floats.withUnsafeBufferPointer { buffer in
          unsafe target.update(from: buffer.baseAddress.unsafelyUnwrapped + start * width, count: count * width)
        }
      } else {
        let span = floats.span
        for row in 0..<count {
          let source = (start + row) * width
          let line = unsafe target + row * width
          for position in 0..<width {
            unsafe line[position] = span[unchecked: source + position] * factors[position] + offsets[position]
          }
        }
      }
    }
    unsafe (target + count * width).update(repeating: 0, count: (capacity - count) * width)
  }
}
