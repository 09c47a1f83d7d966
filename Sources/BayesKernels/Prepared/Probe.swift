import BayesNetwork
import BayesTensor

/// Rows of made-up numbers that tell whether plans of a graph round alike.
///
/// Sums taken in another order show in almost any row of numbers, but not where what they lead to is saturated: rows of
/// several sizes and signs leave few places for that.
struct Probe: Sendable {
  /// For each row, the values of each input.
  private let rows: [[Tensor<Float>]]
  private let loaders: [InputLoader]

  /// - Parameters:
  ///   - shapes: of a row of each input.
  ///   - areCounts: whether numbers may stand for indices, and are not negative.
  init(_ shapes: [Shape], areCounts: Bool) {
    loaders = shapes.map { InputLoader($0, map: nil) }
    let key = RandomKey(seed: 0)
    rows = [1.0, 0.25, 2].enumerated().map { position, scale in
      shapes.enumerated().map { index, shape in
        let key = key.child(position).child(index)
        guard position > 0, !areCounts else {
          // From zero to one, so that numbers that count something do.
          return Tensor(shape: shape, key.uniforms(shape.elementCount).map { Float($0 * min(1, scale)) })
        }
        return Tensor(shape: shape, key.normals(shape, as: Float.self).elements.map { $0 * Float(scale) })
      }
    }
  }

  /// For each row, the outputs of a plan's slice in which every row is that.
  func outputs(of plan: any RowPlan, _ graph: FusedGraph) throws(NumericalError) -> [[AlignedBuffer]] {
    var outputs: [[AlignedBuffer]] = []
    for row in rows {
      let results = graph.outputs.map {
        AlignedBuffer(byteCount: plan.rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
      }
      let batches = row.map { values in
        RowBatch(
          Tensor(
            shape: values.shape.batched(plan.rowCount),
            repeatElement(values.elements, count: plan.rowCount).joined()))
      }
      try plan.run(batches, through: loaders, from: 0, count: plan.rowCount, into: results)
      outputs.append(results)
    }
    return outputs
  }

  /// Whether a plan gives each row, wherever in a slice it is, the bits that another gave the slice's first.
  func agrees(
    _ plan: any RowPlan, with expected: [[AlignedBuffer]], _ graph: FusedGraph
  ) throws(NumericalError) -> Bool {
    let actual = try outputs(of: plan, graph)
    return zip(actual, expected).allSatisfy { actual, expected in
      graph.outputs.indices.allSatisfy { index in
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
}
