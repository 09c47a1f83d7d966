public import BayesTensor

/// A loss of some rows and its derivative with respect to each output.
public struct LossGradient: Sendable {
  /// The loss, summed over the rows.
  public var value: Double
  /// One tensor an output, in its shape.
  public var cotangents: [Tensor<Float>]

  public init(value: Double, cotangents: [Tensor<Float>]) {
    self.value = value
    self.cotangents = cotangents
  }
}

/// The gradients of a loss at a batch of rows.
public struct TrainingGradients: Sendable {
  /// The loss, summed over the rows.
  public var loss: Double
  /// One tensor a chosen parameter, in the parameter's shape.
  public var parameters: Parameters
  /// One tensor an input, `[rows] + shape of the node`, after any preprocessing; empty where they were not
  /// asked for.
  public var inputs: [Tensor<Float>]

  public init(loss: Double, parameters: Parameters, inputs: [Tensor<Float>]) {
    self.loss = loss
    self.parameters = parameters
    self.inputs = inputs
  }
}

/// A network, or the part of one between given nodes and others, compiled to give the gradients of chosen
/// parameters: nothing is computed for the others, and nothing before the first of them on the way back.
///
/// Batch normalisation is in evaluation form: an affine map with stored statistics.
public protocol TrainingPlan: Sendable {
  /// The gradients of a sum over rows of losses.
  ///
  /// - Parameters:
  ///   - inputs: one batch a given node, of equally many rows.
  ///   - parameters: current values of the chosen parameters; where one is missing, the frozen value stands.
  ///   - width: tasks at once.
  ///   - loss: called once for each of the slices that the rows are cut into, from several tasks: takes the
  ///     outputs of a slice, `[rows of the slice] + shape of the node` each, and which of the batch's rows
  ///     they are.
  /// - Determinism: the same bits at every `width`.
  /// - Throws: `NumericalError` when the native library fails, or as `IndexRequirement`; `CancellationError`; what
  ///   `loss` throws.
  /// - Precondition: parameters fit in shape; cotangents have the shapes of the outputs.
  func gradients(
    at inputs: [RowBatch], parameters: Parameters, width: Int,
    of loss: @escaping @Sendable (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) async throws -> TrainingGradients
}
