import BayesNetwork
import BayesTensor

extension FusedGraph {
  /// The graph without the pixels that nothing reads.
  ///
  /// The first convolutions of a ResNet's stage look at every second line and column alone.  Where all readers of an
  /// image do so, the convolution that makes it, and then the ones before that, move by two pixels themselves.
  func withoutUnreadPixels() -> FusedGraph {
    var operations = operations
    var elementCounts = elementCounts
    for index in operations.indices.reversed() {
      // What is inserted lies behind those that are still to come.
      guard case .convolution(var geometry, let groups, let weight, let bias) = operations[index].kind,
        operations[index].outputShape.rank == 3,
        let strides = strides(
          ofAllReadersOf: operations[index].output, of: operations[index].outputShape, among: operations)
      else { continue }
      geometry.strides = Extent2D(
        height: geometry.strides.height * strides.height, width: geometry.strides.width * strides.width)
      let value = operations[index].output
      let whole = operations[index].outputShape
      let shape = whole.subsampled(by: strides)
      operations[index].kind = .convolution(geometry, groups: groups, weight: weight, bias: bias)
      operations[index].outputShape = shape
      elementCounts[value] = shape.elementCount
      for reader in operations.indices where operations[reader].inputs[0].value == value {
        guard case .convolution(var geometry, let groups, let weight, let bias) = operations[reader].kind else {
          continue
        }
        geometry.strides = Extent2D(height: 1, width: 1)
        operations[reader].kind = .convolution(geometry, groups: groups, weight: weight, bias: bias)
        operations[reader].inputs[0].shape = shape
      }
      guard let residual = operations[index].residual else { continue }
      elementCounts.append(shape.elementCount)
      operations[index].residual = elementCounts.count - 1
      operations.insert(
        FusedOperation(
          kind: .pooling(
            .maximum, WindowGeometry(window: Extent2D(height: 1, width: 1), strides: strides)),
          node: operations[index].node, inputs: [(residual, whole)], output: elementCounts.count - 1,
          outputShape: shape),
        at: index)
    }
    return replacing(operations, elementCounts: elementCounts, outputs: outputs)
  }

  /// By how many pixels all that read an image move, if they look at single ones and leave some out.
  private func strides(
    ofAllReadersOf value: Int, of shape: Shape, among operations: [FusedOperation]
  ) -> Extent2D? {
    guard !outputs.contains(where: { $0.value == value }) else { return nil }
    var strides: Extent2D?
    for operation in operations where operation.reads.contains(value) {
      // Behind a reshape, single ones are others.
      guard case .convolution(let geometry, _, _, _) = operation.kind, operation.residual != value,
        operation.inputs[0].shape == shape,
        geometry == WindowGeometry(window: Extent2D(height: 1, width: 1), strides: geometry.strides),
        strides == nil || strides == geometry.strides
      else { return nil }
      strides = geometry.strides
    }
    return strides == Extent2D(height: 1, width: 1) ? nil : strides
  }
}

extension Shape {
  /// The shape of an image of the pixels that strides visit.
  fileprivate func subsampled(by strides: Extent2D) -> Shape {
    [(self[0] - 1) / strides.height + 1, (self[1] - 1) / strides.width + 1, self[2]]
  }
}
