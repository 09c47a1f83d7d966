import BayesNetwork
import BayesTensor

/// A row of made-up numbers that tells whether plans of a graph round alike.
///
/// Sums taken in another order show in almost any row of numbers, so one run of each plan tells.
struct Probe: Sendable {
  private let shapes: [Shape]

  /// - Parameter shapes: of a row of each input.
  init(_ shapes: [Shape]) { self.shapes = shapes }

  /// The outputs of a plan's slice, each of whose rows is the probe.
  func outputs(of plan: any RowPlan, _ graph: FusedGraph) throws(NumericalError) -> [AlignedBuffer] {
    let results = buffers(for: plan, graph)
    try plan.run(
      batches(rowCount: plan.rowCount), through: loaders, from: 0, count: plan.rowCount, into: results)
    return results
  }

  private var loaders: [InputLoader] { shapes.map { InputLoader($0, map: nil) } }

  private func buffers(for plan: any RowPlan, _ graph: FusedGraph) -> [AlignedBuffer] {
    graph.outputs.map {
      AlignedBuffer(byteCount: plan.rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
    }
  }

  private func batches(rowCount: Int) -> [RowBatch] {
    shapes.enumerated().map { index, shape in
      // From zero to one, so that numbers that count something do.
      let row = RandomKey(seed: 0).child(index).uniforms(shape.elementCount).map { Float($0) }
      let values = repeatElement(row, count: rowCount).joined()
      return RowBatch(Tensor(shape: shape.batched(rowCount), values))
    }
  }

  /// Whether a plan gives a row, wherever in a slice it is, the bits that another gave its first row.
  func agrees(_ plan: any RowPlan, with expected: [AlignedBuffer], _ graph: FusedGraph) throws(NumericalError) -> Bool {
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
