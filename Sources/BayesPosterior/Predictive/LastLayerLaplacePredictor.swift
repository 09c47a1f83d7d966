public import BayesPrediction
public import BayesTensor
import RealModule

/// A posterior made ready to predict: draws, and variances in the eigenbasis, computed once.
///
/// - Determinism: no randomness but the posterior's key; a row's prediction depends neither on the
///   other rows nor on how they are cut, as far as the backend's products do not.
/// - Cost: O(features² + features · logits + samples · logits²) a row and exit.
public struct LastLayerLaplacePredictor: Sendable {
  private struct Exit: Sendable {
    let check: ExitCheck
    let spectrum: KroneckerSpectrum
    let table: VarianceTable
    let temperature: Double
    /// `[samples, logits]`; `nil` for a predictive without draws.
    let draws: Tensor<Double>?
  }

  /// How probabilities are made.
  public let predictive: LaplacePredictive
  private let exits: [Exit]
  private let backend: any Backend

  init(
    _ posterior: KroneckerLaplacePosterior, file: String, on backend: any Backend
  ) throws {
    predictive = posterior.predictive
    self.backend = backend
    var exits: [Exit] = []
    for (index, exit) in posterior.exits.enumerated() {
      exits.append(
        Exit(
          check: try ExitCheck(exit.description, exit: index, file: file), spectrum: exit.spectrum,
          table: exit.spectrum.varianceTable(priorPrecision: exit.priorPrecision),
          temperature: exit.temperature,
          draws: try posterior.draws(logitCount: exit.spectrum.logitCount, on: backend)))
    }
    self.exits = exits
  }

  /// The most rows to predict at once so that the working memory of one exit stays near 64 MiB.
  ///
  /// Draws of logits take `samples · rows · logits` numbers, four bytes each in the prediction and
  /// sixteen more while it is made; `blocks(of:)` cuts rows accordingly.
  public var blockRowCount: Int {
    let numbers = exits.map { ($0.draws?.rowCount ?? 1) * $0.spectrum.logitCount }.max() ?? 1
    return max(1, (64 << 20) / (20 * numbers))
  }

  /// The rows cut into blocks of at most `blockRowCount`, in order.
  public func blocks(of records: ExitRecords) -> [ExitRecords] {
    guard records.rowCount > blockRowCount else { return [records] }
    return stride(from: 0, to: records.rowCount, by: blockRowCount).map { first in
      let rows = first..<min(first + blockRowCount, records.rowCount)
      return ExitRecords(
        firstRow: records.firstRow + first,
        exits: records.exits.map {
          ExitRecords.Exit(features: $0.features?.rows(rows), logits: $0.logits.rows(rows))
        },
        labels: records.labels.map { Array($0[rows]) })
    }
  }

  /// The predictions of all exits for some rows.
  ///
  /// - Throws: `FileError` naming the exit and the first row that is not finite or does not belong to
  ///   the head that was fitted.
  public func predict(_ records: ExitRecords) throws(FileError) -> [Prediction] {
    var predictions: [Prediction] = []
    for exit in exits.indices { predictions.append(try predict(records, exit: exit)) }
    return predictions
  }

  /// The prediction of one exit for some rows; of the others' records nothing is read.
  ///
  /// - Throws: as `predict(_:)`.
  public func predict(_ records: ExitRecords, exit index: Int) throws(FileError) -> Prediction {
    let exit = exits[index]
    let likelihood = exit.check.likelihood
    let rows = try exit.check.rows(of: records, on: backend)
    let (rowCount, logitCount) = (rows.logits.rowCount, exit.spectrum.logitCount)
    let temperature = exit.temperature

    func prediction(_ logits: Tensor<Double>, samples: Int, closedForm: Prediction.ClosedForm? = nil)
      -> Prediction
    {
      let elements = ContiguousArray(logits.elements.lazy.map { Float($0) })
      return Prediction(
        logits: Tensor(shape: [samples, rowCount, logitCount], elements: elements),
        likelihood: likelihood, exit: index, closedForm: closedForm)
    }

    if predictive == .plain { return prediction(rows.logits.map { $0 / temperature }, samples: 1) }
    let spectralVariances = exit.table.spectralVariances(
      exit.spectrum.squaredProjections(of: rows.features, on: backend), on: backend)
    guard let draws = exit.draws else {
      let logits = probitLogits(
        means: rows.logits,
        variances: exit.spectrum.logitVariances(spectralVariances: spectralVariances, on: backend),
        temperature: temperature)
      return prediction(logits, samples: 1, closedForm: closedForm(logits, likelihood))
    }
    let logits = logitDraws(
      means: rows.logits, spectralVariances: spectralVariances, draws: draws,
      basis: exit.spectrum.output.vectors, on: backend)
    return prediction(logits.map { $0 / temperature }, samples: draws.rowCount)
  }

  private func closedForm(_ logits: Tensor<Double>, _ likelihood: Likelihood) -> Prediction.ClosedForm {
    let rowCount = logits.rowCount
    var probabilities = Tensor<Double>(zeros: [rowCount, 2])
    if likelihood == .binary {
      for row in 0..<rowCount {
        probabilities[row, 0] = 1 / (1 + Double.exp(logits[row]))
        probabilities[row, 1] = 1 / (1 + Double.exp(-logits[row]))
      }
    } else {
      probabilities = softmax(logits)
    }
    let classCount = probabilities.shape[1]
    let total = (0..<rowCount).map { row in
      entropy(probabilities.elements[row * classCount..<(row + 1) * classCount])
    }
    return Prediction.ClosedForm(
      probabilities: probabilities, total: Tensor(shape: [rowCount], total), aleatoric: nil)
  }
}

/// `μₖ / √(T² + π/8 · Sₖₖ)`: the logits of MacKay's approximation, mean and deviation divided by `T`.
///
/// - Shapes: `[rows, logits]` each.
package func probitLogits(
  means: Tensor<Double>, variances: Tensor<Double>, temperature: Double
) -> Tensor<Double> {
  var logits = means
  for position in 0..<logits.count {
    logits[position] /= (temperature * temperature + Double.pi / 8 * variances[position]).squareRoot()
  }
  return logits
}

extension KroneckerLaplacePosterior {
  /// Prepares predictions for rows that a description describes.
  ///
  /// - Throws: `FileError` where the rows come from another network than the posterior was fitted to:
  ///   another checkpoint, other exits, other heads; `NumericalError` if the draws cannot be whitened.
  public func predictor(
    for description: RecordsDescription, in context: ExecutionContext
  ) throws -> LastLayerLaplacePredictor {
    try source.requireSameNetwork(as: description)
    return try LastLayerLaplacePredictor(self, file: description.file, on: context.backend)
  }

  /// The draws for an exit; `nil` for a predictive without any.
  func draws(logitCount: Int, on backend: any Backend) throws(NumericalError) -> Tensor<Double>? {
    guard predictive == .whitened else { return nil }
    return try NormalDraws.whitened(
      count: sampleCount, dimension: logitCount, key: drawsKey, on: backend)
  }
}
