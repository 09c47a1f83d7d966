package import BayesNetwork
package import BayesPrediction
package import BayesTensor

/// The mean loss of some rows as a function of chosen parameters of a network, laid one behind the other.
///
/// What lies before the first of them is computed once for all steps where 1 GiB has room for it.
package struct FlatObjective: Sendable {
  /// The loss of some rows at an output, summed, and its derivative, from that output's `[rows] + shape of the node`.
  package typealias Loss = @Sendable (_ output: Int, _ values: Tensor<Float>, _ rows: [Int]) throws -> LossValue<Float>

  /// Where a parameter lies.
  package struct Place: Sendable, Equatable {
    package var path: ParameterPath
    package var shape: Shape
    package var range: Range<Int>
  }

  package let places: [Place]
  private let plan: any TrainingPlan
  private let prepare: @Sendable (FrozenNetwork) throws -> any TrainingPlan
  private let prefix: FrozenPrefix
  private let loss: Loss
  private let answerCount: @Sendable ([Int]) throws -> Int
  private let width: Int

  /// - Parameters:
  ///   - paths: in the order in which they are laid.
  ///   - outputs: the nodes whose losses are added up.
  ///   - inputs: stored rows at some positions.
  ///   - answerCount: over how many answers of some rows losses are averaged.
  package init(
    of paths: [ParameterPath], in frozen: FrozenNetwork, outputs: [Int], preprocessing: Preprocessing, rowCount: Int,
    inputs: @escaping @Sendable ([Int]) throws -> RowBatch, loss: @escaping Loss,
    answerCount: @escaping @Sendable ([Int]) throws -> Int = { $0.count }, on backend: any NetworkBackend, width: Int
  ) async throws {
    let shapes = Dictionary(frozen.network.parameterSpecs.map { ($0.path, $0.shape) }) { first, _ in first }
    var places: [Place] = []
    for path in paths {
      guard let shape = shapes[path] else { throw NetworkError("The network has no parameter '\(path)'.") }
      let start = places.last?.range.upperBound ?? 0
      places.append(Place(path: path, shape: shape, range: start..<start + shape.elementCount))
    }
    self.places = places
    let chosen = Set(paths)
    let boundary = try frozen.network.frozenBoundary(of: outputs, training: chosen)
    let prepare: @Sendable (FrozenNetwork) throws -> any TrainingPlan = {
      try backend.prepareTraining(
        $0, preprocessing: preprocessing, inputs: boundary, outputs: outputs, of: chosen, includingInputs: false)
    }
    (plan, self.prepare) = (try prepare(frozen), prepare)
    prefix = try await FrozenPrefix(
      to: boundary, of: frozen, preprocessing, rowCount: rowCount, inputs: inputs, on: backend, width: width)
    (self.loss, self.answerCount) = (loss, answerCount)
    self.width = width
  }

  private init(_ other: FlatObjective, _ plan: any TrainingPlan) {
    (places, self.plan, prepare, prefix) = (other.places, plan, other.prepare, other.prefix)
    (loss, answerCount, width) = (other.loss, other.answerCount, other.width)
  }

  /// The same of a network with other constants behind the first of the parameters.
  package func replacing(_ frozen: FrozenNetwork) throws -> FlatObjective { FlatObjective(self, try prepare(frozen)) }

  /// The parameters that a flat vector holds.
  package func parameters(_ weights: ContiguousArray<Float>) -> Parameters {
    var parameters = Parameters()
    for place in places {
      parameters[place.path] = Tensor(shape: place.shape, elements: ContiguousArray(weights[place.range]))
    }
    return parameters
  }

  /// The flat vector of parameters.
  ///
  /// - Precondition: all are there.
  package func weights(_ parameters: Parameters) -> ContiguousArray<Float> {
    var weights = ContiguousArray<Float>()
    weights.reserveCapacity(places.last?.range.upperBound ?? 0)
    for place in places {
      guard let tensor = parameters[place.path] else { preconditionFailure("There is no parameter \(place.path).") }
      tensor.withSpan { span in for position in 0..<span.count { weights.append(span[position]) } }
    }
    return weights
  }

  /// The mean loss over some rows, and its gradient.
  ///
  /// - Determinism: the same bits at any width.
  /// - Throws: `NumericalError.Code.notFinite` where loss or gradient is not finite; what reading throws;
  ///   `CancellationError`.
  package func callAsFunction(
    _ weights: ContiguousArray<Float>, at rows: [Int]
  ) async throws -> (loss: Double, gradient: ContiguousArray<Float>) {
    let inputs = try await prefix(rows, width: width)
    let divergence = NumericalError(
      .notFinite, "The loss or its gradient is no longer finite; take a smaller learning rate, or check the rows' values.")
    let found: TrainingGradients
    do {
      found = try await plan.gradients(at: inputs, parameters: parameters(weights), width: width) { outputs, slice in
        var (value, cotangents) = (0.0, [Tensor<Float>]())
        for (index, output) in outputs.enumerated() {
          let one = try loss(index, output, Array(rows[slice]))
          value += one.value
          cotangents.append(one.cotangent.reshaped(to: output.shape))
        }
        return LossGradient(value: value, cotangents: cotangents)
      }
    } catch let error as LossError where error.code == .output {
      throw divergence
    }
    var gradient = self.weights(found.parameters)
    let count = Double(try answerCount(rows))
    let share = Float(1 / count)
    var isFinite = found.loss.isFinite
    for position in gradient.indices {
      gradient[position] *= share
      isFinite = isFinite && gradient[position].isFinite
    }
    guard isFinite else { throw divergence }
    return (found.loss / count, gradient)
  }
}
