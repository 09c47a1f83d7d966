package import BayesNetwork
package import BayesPrediction
package import BayesTensor

/// What first-layer inference minimises, and its gradient, at some rows and a draw of the noise.
///
/// What lies before the layer is computed without gradients, once for all epochs where 1 GiB has room for it; what
/// lies behind it gives gradients with respect to what goes in alone.
package struct FirstLayerObjective: Sendable {
  /// The objective and its parts.
  package struct Value: Sendable {
    /// The mean over the rows of the negative log-likelihood at the draw, nats.
    package var dataTerm: Double
    /// Nats; zero for weights that are no distribution.
    package var divergence: Double
    /// Of `dataTerm + weight / N · divergence`.
    package var gradient: FactorizedGaussian.Gradient
  }

  /// The negative log-likelihood of some rows, summed, and its derivative, from their logits `[rows, logits]`.
  package typealias Loss = @Sendable (_ logits: Tensor<Float>, _ rows: [Int]) throws -> LossValue<Float>

  private let noise: WeightNoise
  private let prior: FactorizedPrior
  /// `β / N`.
  private let divergenceFactor: Double
  private let plan: any TrainingPlan
  private let prefix: FrozenPrefix
  private let loss: Loss
  private let width: Int

  /// - Parameters:
  ///   - rowCount: all rows of training.
  ///   - inputs: stored rows at some positions.
  package init(
    _ recipe: FirstLayerInference, _ layer: VariationalLayer, of frozen: FrozenNetwork, exit: Exit,
    preprocessing: Preprocessing, rowCount: Int, inputs: @escaping @Sendable ([Int]) throws -> RowBatch,
    loss: @escaping Loss, on backend: any NetworkBackend, width: Int
  ) async throws {
    noise = try WeightNoise(recipe.noiseForm, of: layer, in: frozen, exit: exit)
    prior = try recipe.prior(of: layer.values(in: frozen))
    divergenceFactor = recipe.objective == .variational ? recipe.divergenceWeight / Double(rowCount) : 0
    plan = try backend.prepareTraining(
      noise.frozen, preprocessing: preprocessing, inputs: noise.inputs, outputs: [noise.output], of: noise.paths,
      includingInputs: false)
    prefix = try await FrozenPrefix(
      to: noise.boundary, of: frozen, preprocessing, rowCount: rowCount, inputs: inputs, on: backend, width: width)
    self.loss = loss
    self.width = width
  }

  /// - Determinism: follows from the rows, the distribution and the key, at any width.
  /// - Throws: `NumericalError.Code.notFinite` where the loss is not finite; what reading throws; `CancellationError`.
  package func callAsFunction(
    _ distribution: FactorizedGaussian, at rows: [Int], key: RandomKey
  ) async throws -> Value {
    try await self(distribution, at: rows, noise.numbers(rowCount: rows.count, key: key))
  }

  /// The objective with random numbers that are given.
  func callAsFunction(
    _ distribution: FactorizedGaussian, at rows: [Int], _ numbers: WeightNoise.Numbers
  ) async throws -> Value {
    let draw = noise.draw(distribution, numbers)
    let inputs = try await prefix(rows, width: width) + draw.inputs
    let gradients: TrainingGradients
    do {
      gradients = try await plan.gradients(at: inputs, parameters: draw.parameters, width: width) { outputs, slice in
        let logits = outputs[0]
        let matrix = logits.reshaped(to: [logits.rowCount, logits.count / max(1, logits.rowCount)])
        let value = try loss(matrix, Array(rows[slice]))
        return LossGradient(value: value.value, cotangents: [value.cotangent.reshaped(to: logits.shape)])
      }
    } catch let error as LossError where error.code == .output {
      throw Self.divergence
    }
    let rowShare = 1 / Double(rows.count)
    var gradient = noise.gradient(gradients.parameters, at: draw, of: distribution)
    guard gradients.loss.isFinite, gradient.means.allSatisfy({ $0.firstNonFinite == nil }),
      gradient.rawDeviations.allSatisfy({ $0.firstNonFinite == nil })
    else { throw Self.divergence }
    gradient.scale(by: rowShare)
    guard divergenceFactor > 0 || noise.form != .none else {
      return Value(dataTerm: gradients.loss * rowShare, divergence: 0, gradient: gradient)
    }
    let divergence = distribution.divergence(from: prior)
    gradient.add(divergence.gradient, times: divergenceFactor)
    return Value(dataTerm: gradients.loss * rowShare, divergence: divergence.value, gradient: gradient)
  }

  /// The divergence from the prior; zero for weights that are no distribution.
  func divergence(of distribution: FactorizedGaussian) -> Double {
    noise.form == .none ? 0 : distribution.divergence(from: prior).value
  }

  private static let divergence = NumericalError(
    .notFinite, "The loss is infinite or not a number at this step; lower the learning rates or the initial deviation.")
}

extension FactorizedGaussian.Gradient {
  fileprivate mutating func scale(by factor: Double) {
    for index in means.indices {
      means[index] = means[index].map { $0 * factor }
      rawDeviations[index] = rawDeviations[index].map { $0 * factor }
    }
  }

  fileprivate mutating func add(_ other: Self, times factor: Double) {
    for index in means.indices {
      for position in 0..<means[index].count {
        means[index][position] += factor * other.means[index][position]
        rawDeviations[index][position] += factor * other.rawDeviations[index][position]
      }
    }
  }
}
