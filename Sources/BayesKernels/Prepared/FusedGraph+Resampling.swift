import BayesTensor

extension FusedGraph {
  /// The graph with convolutions of one pixel moved before the bilinear enlargement that alone feeds them.
  ///
  /// Both are linear, one over channels and one over pixels, and the interpolation's weights sum to one, so the order
  /// changes rounding only; on the small image there is less to do.
  func mixingChannelsBeforeEnlarging() -> FusedGraph {
    var operations = operations
    var elementCounts = elementCounts
    for second in operations.indices {
      guard case .convolution(let geometry, 1, let weight, _) = operations[second].kind,
        geometry == WindowGeometry(window: Extent2D(height: 1, width: 1)), weight.shape[3] <= weight.shape[2],
        operations[second].residual == nil, operations[second].activation == nil,
        let first = operations.firstIndex(where: { $0.output == operations[second].inputs[0].value }),
        case .resampling = operations[first].kind,
        operations[first].outputShape == operations[second].inputs[0].shape,
        operations[first].outputShape.elementCount > operations[first].inputs[0].shape.elementCount,
        isReadOnce(operations[first].output)
      else { continue }
      let small = operations[first].inputs[0]
      let mixed: Shape = [small.shape[0], small.shape[1], weight.shape[3]]
      let output = operations[second].output
      let between = operations[first].output
      elementCounts[between] = mixed.elementCount
      var enlargement = operations[first]
      operations[first] = operations[second]
      operations[first].inputs = [small]
      operations[first].output = between
      operations[first].outputShape = mixed
      enlargement.inputs = [(between, mixed)]
      enlargement.outputShape = operations[second].outputShape
      enlargement.output = output
      operations[second] = enlargement
    }
    return replacing(operations, elementCounts: elementCounts, outputs: outputs)
  }

  private func isReadOnce(_ value: Int) -> Bool {
    let readers = operations.reduce(0) { count, operation in
      count + operation.inputs.count { $0.value == value } + (operation.residual == value ? 1 : 0)
    }
    return readers == 1 && !outputs.contains { $0.value == value }
  }
}
