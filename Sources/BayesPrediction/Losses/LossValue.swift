public import BayesTensor

/// A loss summed over rows, and its derivative with respect to the outputs that it was given.
public struct LossValue<Scalar: TensorScalar>: Sendable, Equatable {
  /// The sum over rows, in nats.
  public var value: Double
  /// The derivative of `value`, in the shape of the outputs.
  public var cotangent: Tensor<Scalar>

  public init(value: Double, cotangent: Tensor<Scalar>) {
    self.value = value
    self.cotangent = cotangent
  }
}

/// A weighted sum of the losses of several exits.
///
///     value = Σₑ wₑ · valueₑ,      cotangentₑ ← wₑ · cotangentₑ
///
/// For a mean over rows, divide the weights by the number of rows.
public struct WeightedLoss<Scalar: TensorScalar>: Sendable, Equatable {
  /// The weighted sum, in nats.
  public var value: Double
  /// The derivative of `value` with respect to the outputs of each exit, as `Network.gradients` takes them.
  public var cotangents: [Tensor<Scalar>]

  /// - Precondition: there is one weight a loss, each finite and not negative.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public init(_ losses: [LossValue<Scalar>], weights: [Double]) {
    precondition(
      losses.count == weights.count && weights.allSatisfy { $0 >= 0 && $0.isFinite },
      "\(losses.count) losses need as many weights, finite and not negative; got \(weights).")
    value = zip(losses, weights).reduce(0) { $0 + $1.0.value * $1.1 }
    cotangents = zip(losses, weights).map { loss, weight in
      weight == 1 ? loss.cotangent : loss.cotangent.map { Scalar(Double($0) * weight) }
    }
  }
}

/// Outputs and what they should have been cannot be compared.
///
/// Its description is one sentence that names the offending value and, where there is one, its row.
public struct LossError: Error, Hashable, CustomStringConvertible {
  /// What went wrong; an open set.
  public struct Code: Hashable, Sendable {
    /// The name, as scripts may match it.
    public let name: String
    /// Outputs and targets do not have one shape, or not the one that the loss takes.
    public static let shape = Code(name: "shape")
    /// A label names no class, or a target is out of range or not finite.
    public static let label = Code(name: "label")
    /// An output is infinite or not a number.
    public static let output = Code(name: "output")
  }

  public let code: Code
  /// The row within the batch, from zero, where one row is to blame.
  public let row: Int?
  /// What is wrong and what to change.
  public let message: String

  public init(_ code: Code, row: Int? = nil, _ message: String) {
    self.code = code
    self.row = row
    self.message = message
  }

  public var description: String { message }
}

/// Refuses outputs that are no matrix of finite numbers with `rowCount` rows.
func requireOutputs<Scalar: TensorScalar>(
  _ outputs: Tensor<Scalar>, rowCount: Int, of loss: String
) throws(LossError) {
  guard outputs.shape.rank == 2, outputs.shape[1] > 0 else {
    throw LossError(.shape, "\(loss) takes outputs of shape [rows, outputs]; it was given \(outputs.shape).")
  }
  guard outputs.rowCount == rowCount else {
    throw LossError(
      .shape, "The outputs have \(outputs.rowCount) rows and their labels \(rowCount); there must be as many.")
  }
  if let position = outputs.firstNonFinite {
    let row = position / outputs.shape[1]
    throw LossError(
      .output, row: row,
      "Output \(position % outputs.shape[1]) of row \(row) of the batch is \(outputs[position]); if training "
        + "diverged, lower the learning rate or clip the gradients.")
  }
}

/// Refuses targets that do not have the outputs' shape or are not finite numbers in `range`.
func requireTargets(
  _ targets: Tensor<Double>, shape: Shape, in range: ClosedRange<Double>, of loss: String
) throws(LossError) {
  guard targets.shape == shape else {
    throw LossError(.shape, "\(loss) takes targets of the outputs' shape \(shape); it was given \(targets.shape).")
  }
  for position in 0..<targets.count where !(range.contains(targets[position]) && targets[position].isFinite) {
    let row = position / shape[1]
    throw LossError(
      .label, row: row,
      "Target \(position % shape[1]) of row \(row) of the batch is \(targets[position]); \(loss) takes "
        + (range.upperBound.isFinite ? "numbers from \(range.lowerBound) to \(range.upperBound)." : "finite numbers."))
  }
}
