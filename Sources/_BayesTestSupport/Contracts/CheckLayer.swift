public import BayesNetwork
public import BayesTensor
import Foundation
public import Testing

/// Expects of a layer what networks rely on, for inputs of these shapes.
///
/// - The stated output shape is the real one, and the output is finite.
/// - Rows do not interact: each alone gives the same bits as in a batch.
/// - The layer survives encoding and decoding: the copy computes the same bits.
/// - Parameters have different names; the cost is not negative.
/// - Where it has a pullback, that is what `checkPullback` expects.
///
/// Parameters are normal, those called `variance` positive; inputs are normal.
public func checkLayer<Checked: Layer>(
  _ layer: Checked, inputs: [Shape], sourceLocation: Testing.SourceLocation = #_sourceLocation
) throws {
  let context: Comment = "\(layer) for rows of \(inputs)"
  let output = try layer.outputShape(for: inputs)
  let specs = layer.parameterSpecs(for: inputs)
  #expect(Set(specs.map(\.name)).count == specs.count, context, sourceLocation: sourceLocation)
  #expect(layer.multiplyAdds(for: inputs, output: output) >= 0, context, sourceLocation: sourceLocation)

  let rowCount = 3
  let key = RandomKey(seed: 20)
  let parameters = contractParameters(specs, key, as: Float.self)
  let batches = inputs.enumerated().map { index, shape in
    key.child(specs.count + index).normals(shape.batched(rowCount), as: Float.self)
  }
  let backend = ReferenceBackend()
  let result = layer.forward(batches, parameters: parameters, on: backend)
  #expect(result.shape == output.batched(rowCount), context, sourceLocation: sourceLocation)
  #expect(result.firstNonFinite == nil, context, sourceLocation: sourceLocation)
  guard result.shape == output.batched(rowCount) else { return }

  for row in 0..<rowCount {
    let alone = layer.forward(batches.map { $0.rows(row..<row + 1) }, parameters: parameters, on: backend)
    #expect(alone == result.rows(row..<row + 1), context, sourceLocation: sourceLocation)
  }

  let decoded = try JSONDecoder().decode(Checked.self, from: try JSONEncoder().encode(layer))
  #expect(decoded.parameterSpecs(for: inputs) == specs, context, sourceLocation: sourceLocation)
  #expect(
    decoded.forward(batches, parameters: parameters, on: backend) == result, context,
    sourceLocation: sourceLocation)

  if let differentiable = layer as? any DifferentiableLayer {
    for rowCount in [1, 3] {
      checkPullback(differentiable, inputs: inputs, rowCount: rowCount, sourceLocation: sourceLocation)
    }
  }
}

/// Normal parameters, those called `variance` positive.
func contractParameters<Scalar: TensorScalar>(
  _ specs: [ParameterSpec], _ key: RandomKey, as type: Scalar.Type
) -> [Tensor<Scalar>] {
  specs.enumerated().map { index, spec in
    let normals = key.child(index).normals(spec.shape, as: Scalar.self)
    return spec.name == "variance" ? normals.map { 0.5 + abs($0) } : normals
  }
}
