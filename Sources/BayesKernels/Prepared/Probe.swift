import BayesNetwork
import BayesTensor

/// A row of made-up numbers that tells whether plans of a graph round alike.
///
/// Sums taken in another order show in almost any row of numbers, so one run of each plan tells.
struct Probe: Sendable {
  private let shapes: [Shape]

  /// - Parameter shapes: of a row of each input.
  init(_ shapes: [Shape]) { self.shapes = shapes }

  /// The outputs of a slice of the largest plan, each of whose rows is the probe.
  func outputs(of plan: SlicePlan, _ graph: FusedGraph) throws(NumericalError) -> [AlignedBuffer] {
    let rows = shapes.enumerated().map { index, shape in
      // From zero to one, so that numbers that count something do.
      let row = RandomKey(seed: 0).child(index).uniforms(shape.elementCount).map { Float($0) }
      let values = repeatElement(row, count: plan.rowCount).joined()
      return RowBatch(Tensor(shape: shape.batched(plan.rowCount), values))
    }
    let results = graph.outputs.map {
      AlignedBuffer(byteCount: plan.rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
    }
    try plan.run(
      rows, through: shapes.map { InputLoader($0, map: nil) }, from: 0, count: plan.rowCount, into: results)
    return results
  }

  /// Whether a plan gives a row, wherever in a slice it is, the bits that another gave its first row.
  func agrees(_ plan: SlicePlan, with expected: [AlignedBuffer], _ graph: FusedGraph) throws(NumericalError) -> Bool {
    let actual = try outputs(of: plan, graph)
    return graph.outputs.indices.allSatisfy { index in
      let rowByteCount = graph.outputs[index].shape.elementCount * MemoryLayout<Float>.stride
      let row = unsafe UnsafeRawBufferPointer(start: expected[index].pointer, count: rowByteCount)
      return (0..<plan.rowCount).allSatisfy { position in
        let other = unsafe UnsafeRawBufferPointer(
          start: actual[index].pointer + position * rowByteCount, count: rowByteCount)
        return unsafe row.elementsEqual(other)
      }
    }
  }
}
