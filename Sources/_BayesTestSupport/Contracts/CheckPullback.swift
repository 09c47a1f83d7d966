public import BayesNetwork
public import BayesTensor
public import Testing

/// Expects of a layer's pullback what the training of networks relies on, for inputs of these shapes.
///
/// - In `Double`, each gradient agrees with central differences: the root mean square over random
///   directions `v` of `v · (gradient − difference quotient)`, which estimates the norm of the
///   gradient's error, is below 1e-6 of the gradient's norm.
/// - A request for one part gives the same bits as a request for all, and `nil` elsewhere; parameters
///   that are never trained have none.
/// - Rows do not interact: the input gradients of each row alone have the same bits as in a batch.
///
/// Inputs are evenly spaced numbers between −4 and 4 in random order.  No two of one input are equal
/// and none is a multiple of ¼, so that windows have no ties and the usual kinks are kept clear of.
///
/// - Returns: the largest relative error.
@discardableResult
public func checkPullback(
  _ layer: some DifferentiableLayer, inputs shapes: [Shape], rowCount: Int, directionCount: Int = 4,
  sourceLocation: Testing.SourceLocation = #_sourceLocation
) -> Double {
  let context: Comment = "\(layer) for \(rowCount) rows of \(shapes)"
  let specs = layer.parameterSpecs(for: shapes)
  let key = RandomKey(seed: 21)
  let parameters = contractParameters(specs, key, as: Double.self)
  let inputs = shapes.enumerated().map { index, shape in
    spacedNumbers(shape.batched(rowCount), position: index, key.child(specs.count + index))
  }
  let backend = ReferenceBackend()
  let output = layer.forward(inputs, parameters: parameters, on: backend)
  let cotangent = key.child(-1).normals(output.shape)
  func gradients(_ request: GradientRequest) -> LayerGradients<Double> {
    layer.pullback(
      of: cotangent, inputs: inputs, parameters: parameters, output: output, request: request, on: backend)
  }
  let all = gradients(GradientRequest(inputs: shapes.map { _ in true }, parameters: true))
  #expect(all.inputs.map { $0?.shape } == inputs.map(\.shape), context, sourceLocation: sourceLocation)
  #expect(
    all.parameters.map { $0?.shape } == specs.map { $0.isTrained ? $0.shape : nil }, context,
    sourceLocation: sourceLocation)
  guard all.inputs.count == inputs.count, all.parameters.count == specs.count else { return .infinity }

  var worst = 0.0
  for (argument, gradient) in (all.inputs + all.parameters).enumerated() {
    guard let gradient else { continue }
    let error = relativeError(
      of: gradient, along: (0..<directionCount).map { key.child(100 + argument).child($0) }
    ) { direction, step in
      var (moved, movedParameters) = (inputs, parameters)
      if argument < inputs.count {
        moved[argument].add(direction, times: step)
      } else {
        movedParameters[argument - inputs.count].add(direction, times: step)
      }
      return dot(cotangent, layer.forward(moved, parameters: movedParameters, on: backend))
    }
    // Central differences with a step of 1e-5 are themselves good to about 1e-9.
    #expect(error < 1e-6, "argument \(argument) of \(context)", sourceLocation: sourceLocation)
    worst = max(worst, error)
  }

  for part in -1...inputs.count {
    let request = GradientRequest(
      inputs: inputs.indices.map { $0 == part }, parameters: part == inputs.count)
    let some = gradients(request)
    #expect(
      some.inputs == all.inputs.enumerated().map { $0.offset == part ? $0.element : nil }, context,
      sourceLocation: sourceLocation)
    #expect(
      some.parameters == all.parameters.map { request.parameters ? $0 : nil }, context,
      sourceLocation: sourceLocation)
  }

  for row in 0..<rowCount where rowCount > 1 {
    let alone = layer.pullback(
      of: cotangent.rows(row..<row + 1), inputs: inputs.map { $0.rows(row..<row + 1) },
      parameters: parameters, output: output.rows(row..<row + 1),
      request: GradientRequest(inputs: shapes.map { _ in true }, parameters: false), on: backend)
    #expect(
      alone.inputs == all.inputs.map { $0?.rows(row..<row + 1) }, context, sourceLocation: sourceLocation)
  }
  return worst
}

/// The root mean square of `v · (gradient − difference quotient)` over normal directions `v`, divided by
/// the gradient's norm, which counts as at least 1e-3.
private func relativeError(
  of gradient: Tensor<Double>, along keys: [RandomKey],
  _ value: (_ direction: Tensor<Double>, _ step: Double) -> Double
) -> Double {
  let step = 1e-5
  var sum = 0.0
  for key in keys {
    let direction = key.normals(gradient.shape)
    let quotient = (value(direction, step) - value(direction, -step)) / (2 * step)
    let error = dot(direction, gradient) - quotient
    sum += error * error
  }
  return (sum / Double(keys.count)).squareRoot() / max(1e-3, dot(gradient, gradient).squareRoot())
}

/// Evenly spaced numbers between −4 and 4 in random order.
///
/// The offset within a step lies between multiples of 1/32, so a step's multiple is no multiple of ¼ for
/// any count; it differs by `position`, so that two inputs have no common values.
private func spacedNumbers(_ shape: Shape, position: Int, _ key: RandomKey) -> Tensor<Double> {
  let offset = 21.0 / 64 + Double(position % 8) * 2 / 32
  let spacing = 8 / Double(shape.elementCount)
  return Tensor(shape: shape, key.permutation(shape.elementCount).map { (Double($0) + offset) * spacing - 4 })
}

private func dot(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Double {
  zip(a.elements, b.elements).reduce(0) { $0 + $1.0 * $1.1 }
}

extension Tensor<Double> {
  fileprivate mutating func add(_ direction: Tensor<Double>, times step: Double) {
    for position in 0..<count { self[position] += step * direction[position] }
  }
}
