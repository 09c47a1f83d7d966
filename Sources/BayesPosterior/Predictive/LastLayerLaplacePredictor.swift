public import BayesPrediction
public import BayesTensor
import RealModule

/// A posterior made ready to predict: draws, and what of the curvature can be computed once.
///
/// - Determinism: no randomness but the posterior's key; a row's prediction depends neither on the
///   other rows nor on how they are cut, as far as the backend's products do not.  Those of a library may differ in the
///   last bits with the number of rows, so that passes over data cut rows into blocks of one size.
/// - Cost: a row and exit, Kronecker structures O(features² + features · logits), `diagonal` O(features · logits),
///   `full` O(features · logits · parameters), `low-rank` O(features · logits · rank), and O(samples · logits²)
///   for draws.
public struct LastLayerLaplacePredictor: Sendable {
  private struct Exit: Sendable {
    let check: ExitCheck
    let posterior: LastLayerLaplacePosterior.Exit
    /// `[samples, logits]`; `nil` for a predictive without shared draws.
    let draws: Tensor<Double>?
    /// Draws of all weights, where they are few enough to keep.
    let weightDraws: [Tensor<Double>]?
    /// Its weight in the ensembles it is part of.
    let ensembleWeight: Double
  }

  /// How probabilities are made.
  public let predictive: LaplacePredictive
  private let exits: [Exit]
  /// Whether an exit's prediction is the mean of its own and all earlier ones.
  public let isEnsemble: Bool
  private let sampleCount: Int
  private let key: RandomKey
  private let backend: any Backend
  private let width: Int

  /// The most numbers of weight draws that are kept, 256 MiB; more are drawn again for every block of rows.
  private static let keptWeightLimit = 1 << 25

  init(_ posterior: LastLayerLaplacePosterior, for rows: RecordsDescription, in context: ExecutionContext) throws {
    let backend = context.backend
    predictive = posterior.predictive
    sampleCount = posterior.sampleCount
    key = posterior.drawsKey
    isEnsemble = posterior.isEnsemble
    self.backend = backend
    width = context.width
    var exits: [Exit] = []
    for (index, exit) in posterior.exits.enumerated() {
      let curvature = exit.curvature.value
      let keepsWeights = predictive == .weights && exit.description.likelihood != .gaussian
        && sampleCount * curvature.parameterCount <= Self.keptWeightLimit
      exits.append(
        Exit(
          check: try ExitCheck(
            exit.description, exit: index, file: rows.file, positions: rows.positions, ignoredLabel: rows.ignoredLabel),
          posterior: exit,
          draws: try predictive.sharedDraws(
            count: posterior.sampleCount, logitCount: curvature.logitCount, key: posterior.drawsKey, on: backend),
          weightDraws: keepsWeights
            ? (0..<sampleCount).map { weightDraw($0, of: exit, exit: index, key: posterior.drawsKey, on: backend) } : nil,
          ensembleWeight: Double(exit.description.multiplyAdds ?? 1)))
    }
    self.exits = exits
  }

  /// Products compute this many rows alike, at most, and what is left over at the end otherwise, in other bits: OpenBLAS
  /// takes 24 with AVX-512, and a part of them elsewhere.
  private static let tileRowCount = 24

  /// The most rows to predict at once so that the working memory of one exit stays near 64 MiB.
  ///
  /// Draws of logits take `samples · rows · logits` numbers, four bytes each in the prediction and
  /// sixteen more while it is made; `blocks(of:)` cuts rows accordingly.  Blocks are small, so that several tasks find
  /// work and little is lost where one is filled up, and larger where a product has much to read before its first row.
  /// They are whole tiles, wherever memory allows.
  public var blockRowCount: Int {
    let width = exits.map { $0.posterior.description.featureCount ?? 0 }.max() ?? 0
    let numbers = exits.map { exit in
      let logitCount = exit.posterior.description.logitCount
      return (predictive.usesDraws ? sampleCount * (isEnsemble ? exits.count : 1) : 1) * logitCount
        + exit.posterior.curvature.numbersPerRow(isWhole: predictive.needsCovariance)
    }
    let wanted = max(1, min(max(72, min(240, width / 4)), (64 << 20) / (20 * (numbers.max() ?? 1))))
    return wanted < Self.tileRowCount ? wanted : wanted - wanted % Self.tileRowCount
  }

  /// The rows cut into blocks of at most `blockRowCount`, in order.
  public func blocks(of records: ExitRecords) -> [ExitRecords] {
    guard records.rowCount > blockRowCount else { return [records] }
    return stride(from: 0, to: records.rowCount, by: blockRowCount).map { first in
      records.rows(first..<min(first + blockRowCount, records.rowCount))
    }
  }

  /// The predictions of all exits, block by block, as many at once as the context allowed; blocks come in order.
  ///
  /// - Throws: as `predict(_:)`; `CancellationError`.
  public func predictions(for records: ExitRecords, _ body: (ExitRecords, [Prediction]) throws -> Void) async throws {
    try await inWindows(of: blocks(of: records), { try filled($0, predict) }, body)
  }

  /// Hands over a value of each block, in order; as many at once as the context allowed.
  private func inWindows<Value: Sendable>(
    of blocks: [ExitRecords], _ value: @escaping @Sendable (ExitRecords) throws -> Value,
    _ body: (ExitRecords, Value) throws -> Void
  ) async throws {
    for first in stride(from: 0, to: blocks.count, by: width) {
      try Task.checkCancellation()
      let window = Array(blocks[first..<min(first + width, blocks.count)])
      for (block, value) in zip(window, try await inOrder(window, value)) { try body(block, value) }
    }
  }

  /// Predictions for fewer rows than a block, by way of a whole one.
  private func filled(_ block: ExitRecords, _ predict: (ExitRecords) throws -> [Prediction]) rethrows -> [Prediction] {
    let (count, whole) = (block.rowCount, blockRowCount)
    guard count < whole, count > 0 else { return try predict(block) }
    let rows = Array(0..<count)
    let padded = block.rows(rows + Array(repeating: count - 1, count: whole - count))
    return try predict(padded).map { $0.rows(rows) }
  }

  /// An exit's own prediction, whatever the posterior makes of several, for rows that others of their set have left.
  ///
  /// - Parameters:
  ///   - records: what the exit gave for the rows that are left.
  ///   - index: the exit.
  ///   - rows: each row's index in its set; rows' own draws go by it.
  ///   - fillsBlocks: whether bits are to be those of a pass over the whole set.  A few rows are faster without.
  /// - Throws: as `predict(_:)`.
  public func ownPrediction(
    of records: ExitRecords.Exit, exit index: Int, rows: [Int], fillsBlocks: Bool
  ) async throws -> Prediction {
    let all = ExitRecords(
      firstRow: 0, exits: Array(repeating: records, count: index + 1), labels: nil, sourceRows: rows)
    let predict = { @Sendable (block: ExitRecords) in
      [try ownPrediction(block, exit: index, keys: block.sourceRows)]
    }
    var own: [Prediction] = []
    try await inWindows(of: blocks(of: all), { try fillsBlocks ? filled($0, predict) : predict($0) }) { own += $1 }
    return .joining(own)
  }

  /// What the posterior makes of the own predictions of some exits, from the first on, for the last of them.
  public func combined(_ own: [Prediction]) -> Prediction { isEnsemble ? ensemble(own) : own[own.count - 1] }

  /// The predictions of all exits for some rows.
  ///
  /// - Throws: `FileError` naming the exit and the first row that is not finite or does not belong to
  ///   the head that was fitted; `NumericalError` where a covariance has no root.
  public func predict(_ records: ExitRecords) throws -> [Prediction] {
    let own = try exits.indices.map { try ownPrediction(records, exit: $0) }
    return exits.indices.map { combined(Array(own[...$0])) }
  }

  /// The prediction of one exit for some rows; of later exits' records nothing is read, and of earlier ones only
  /// where the posterior is an ensemble.
  ///
  /// - Throws: as `predict(_:)`.
  public func predict(_ records: ExitRecords, exit index: Int) throws -> Prediction {
    guard isEnsemble else { return try ownPrediction(records, exit: index) }
    return ensemble(try (0...index).map { try ownPrediction(records, exit: $0) })
  }

  /// The weighted mean of the predictions of some exits, as one of the last of them.
  private func ensemble(_ predictions: [Prediction]) -> Prediction {
    mixture(of: predictions, weights: exits[..<predictions.count].map(\.ensembleWeight))
  }

  /// - Parameter keys: the index of each row, by which it gets draws of its own; those from the first row on for `nil`.
  private func ownPrediction(_ records: ExitRecords, exit index: Int, keys: [Int]? = nil) throws -> Prediction {
    let exit = exits[index]
    let likelihood = exit.check.likelihood
    let rows = try exit.check.rows(of: records, on: backend)
    if likelihood == .gaussian { return try gaussianPrediction(rows, exit: index) }
    let rowCount = rows.logits.rowCount
    let temperature = exit.posterior.temperature

    if predictive == .plain || predictive == .weights {
      let isPlain = predictive == .plain
      return Prediction(
        logitSamples: isPlain ? rows.logits : try weightSamples(rows.features, means: rows.logits, exit: index),
        count: isPlain ? 1 : sampleCount, temperature: temperature, likelihood: likelihood, exit: index)
    }
    let curvature = exit.posterior.curvature.value
    let projection = curvature.projection(of: rows.features, on: backend)
    let priorPrecision = exit.posterior.priorPrecision
    let needsCovariance = predictive.usesDraws || (predictive.needsCovariance && likelihood == .categorical)
    return try GaussianLogits(
      means: rows.logits,
      covariance: needsCovariance
        ? curvature.covariance(projection, priorPrecision: priorPrecision, on: backend)
        : .diagonal(curvature.variances(projection, priorPrecision: priorPrecision, on: backend)),
      temperature: temperature, likelihood: likelihood, exit: index
    ).prediction(
      predictive,
      draws: predictive.drawTable(
        shared: exit.draws, count: sampleCount, logitCount: curvature.logitCount,
        rows: keys ?? Array(records.firstRow..<records.firstRow + rowCount), key: key.child(index)),
      on: backend)
  }

  /// Mean, epistemic and noise variance of Gaussian targets.
  private func gaussianPrediction(_ rows: HeadRows, exit index: Int) throws -> Prediction {
    let exit = exits[index]
    let square = exit.posterior.noise * exit.posterior.noise
    var noiseVariance = Tensor<Double>(repeating: square, shape: rows.logits.shape)
    try exit.check.requireNoise(of: rows, asInTraining: exit.posterior.hasRowNoise)
    if let noise = rows.noise { noiseVariance = scalingRows(of: noiseVariance, by: noise.map { $0 * $0 }) }
    var epistemic = Tensor<Double>(zeros: rows.logits.shape)
    if predictive != .plain {
      let curvature = exit.posterior.curvature.value
      epistemic = curvature.variances(
        curvature.projection(of: rows.features, on: backend), priorPrecision: exit.posterior.unitPriorPrecision,
        on: backend
      ).map { $0 * square }
    }
    let means = ContiguousArray(rows.logits.elements.lazy.map { Float($0) })
    return Prediction(
      logits: Tensor(shape: rows.logits.shape.batched(1), elements: means), likelihood: .gaussian, exit: index,
      regression: Prediction.Regression(mean: rows.logits, epistemicVariance: epistemic, noiseVariance: noiseVariance))
  }

  /// Draws of the logits from draws of the weights, before any temperature.
  private func weightSamples(_ features: Tensor<Double>, means: Tensor<Double>, exit index: Int) throws
    -> Tensor<Double>
  {
    let exit = exits[index]
    let inputs = exit.posterior.curvature.value.hasBias ? appending(1, to: features) : features
    var samples: [Tensor<Double>] = []
    for sample in 0..<sampleCount {
      let draw =
        exit.weightDraws?[sample]
        ?? weightDraw(sample, of: exit.posterior, exit: index, key: key, on: backend)
      samples.append(backend.product(inputs, draw))
    }
    var result = Tensor.stacking(samples)
    addRows(means, to: &result)
    return result
  }
}

/// Draw number `sample` of an exit's weights.
private func weightDraw(
  _ sample: Int, of exit: LastLayerLaplacePosterior.Exit, exit index: Int, key: RandomKey, on backend: any Backend
) -> Tensor<Double> {
  exit.curvature.value.weightDraw(
    key: key.child(index).child(sample), priorPrecision: exit.priorPrecision, on: backend)
}

extension LaplacePredictive {
  /// Whether variances alone are not enough.
  var needsCovariance: Bool { self != .probit && self != .plain }
}

extension ExitCurvature {
  /// About how many numbers a row takes on the way to its variances or, for `isWhole`, its covariance.
  func numbersPerRow(isWhole: Bool) -> Int {
    let logitCount = value.logitCount
    switch self {
    case .kronecker, .diagonal: return value.featureCount
    case .full: return logitCount * value.parameterCount + (isWhole ? logitCount * logitCount : 0)
    case .lowRank(let lowRank):
      return logitCount * lowRank.rank + (isWhole ? logitCount * logitCount : 0)
    }
  }
}

/// The weighted mean of several exits' predictions of the same rows, as one of the last of them.
func mixture(of predictions: [Prediction], weights: [Double]) -> Prediction {
  guard let last = predictions.last, predictions.count > 1 else { return predictions[0] }
  let total = weights.reduce(0, +)
  let shares = weights.map { $0 / total }
  var closedForm: Prediction.ClosedForm?
  if last.closedForm != nil {
    var probabilities = Tensor<Double>(zeros: [last.rowCount, last.classCount])
    var aleatoric: Tensor<Double>? = Tensor(zeros: [last.rowCount])
    for (share, prediction) in zip(shares, predictions) {
      guard let part = prediction.closedForm else { continue }
      for position in 0..<probabilities.count { probabilities[position] += share * part.probabilities[position] }
      if let own = part.aleatoric, aleatoric != nil {
        for row in 0..<last.rowCount { aleatoric?[row] += share * own[row] }
      } else {
        aleatoric = nil
      }
    }
    closedForm = Prediction.ClosedForm(
      probabilities: probabilities, total: totalEntropy(probabilities, last.likelihood), aleatoric: aleatoric)
  }
  return Prediction(
    logits: .stacking(predictions.map(\.logits)), likelihood: last.likelihood, exit: last.exit, scale: last.scale,
    sampleWeights: zip(shares, predictions).flatMap { share, prediction in
      [Double](repeating: share / Double(prediction.sampleCount), count: prediction.sampleCount)
    }, closedForm: closedForm)
}

/// The entropy of each row's mean probabilities; of labels, the sum of their entropies.
func totalEntropy(_ probabilities: Tensor<Double>, _ likelihood: Likelihood) -> Tensor<Double> {
  let width = probabilities.shape[1]
  return Tensor(
    shape: [probabilities.rowCount],
    (0..<probabilities.rowCount).map { row in
      let own = probabilities.elements[row * width..<(row + 1) * width]
      guard likelihood == .multilabel else { return entropy(own) }
      return own.reduce(0) { $0 + entropy([$1, 1 - $1]) }
    })
}

/// What a closed form says of some rows.
struct ClosedFormAnswer {
  /// Logits that give the probabilities, `[rows, logits]`.
  var logits: Tensor<Double>
  var closedForm: Prediction.ClosedForm

  /// - Parameter covariance: variances alone suffice where logits are yes or no.
  init(
    _ predictive: LaplacePredictive, means: Tensor<Double>, covariance: LogitCovariance, _ likelihood: Likelihood,
    on backend: any Backend
  ) {
    let isBridge = predictive == .bridge || predictive == .normalizedBridge
    guard likelihood == .categorical else {
      let variances = covariance.variances(on: backend)
      let logits = closedFormSigmoidLogits(predictive, means: means, variances: variances)
      let positive = logits.map { $0 >= 0 ? 1 / (1 + Double.exp(-$0)) : Double.exp($0) / (1 + Double.exp($0)) }
      var probabilities = positive
      if likelihood == .binary {
        probabilities = Tensor(shape: [logits.rowCount, 2], logits.elements.flatMap { z -> [Double] in
          let decay = Double.exp(-abs(z))
          let (large, small) = (1 / (1 + decay), decay / (1 + decay))
          return z >= 0 ? [small, large] : [large, small]
        })
      }
      self.logits = logits
      var aleatoric: Tensor<Double>?
      if isBridge {
        let width = logits.shape[1]
        aleatoric = Tensor(
          shape: [logits.rowCount],
          (0..<logits.rowCount).map { row in
            var sum = 0.0
            for k in 0..<width {
              // With two classes α is (1 + e^±z) over four times the variance of one logit of the pair.
              let scale = predictive == .bridge ? Double.log(variances[row, k]) : Double.log(4)
              sum += expectedEntropy(logParameters: [
                softplus(logits[row, k]) - scale, softplus(-logits[row, k]) - scale,
              ])
            }
            return sum
          })
      }
      closedForm = Prediction.ClosedForm(
        probabilities: probabilities, total: totalEntropy(probabilities, likelihood), aleatoric: aleatoric)
      return
    }
    var logits = closedFormLogits(predictive, means: means, covariance: covariance, on: backend)
    if predictive.scale(likelihood) == .logProbabilities {
      for row in 0..<logits.rowCount {
        let normalizer = logSumExp((0..<logits.shape[1]).map { logits[row, $0] })
        for k in 0..<logits.shape[1] { logits[row, k] -= normalizer }
      }
    }
    self.logits = logits
    let probabilities = softmax(logits)
    let width = logits.shape[1]
    closedForm = Prediction.ClosedForm(
      probabilities: probabilities, total: totalEntropy(probabilities, likelihood),
      aleatoric: isBridge
        ? Tensor(
          shape: [logits.rowCount],
          (0..<logits.rowCount).map { row in
            expectedEntropy(logParameters: (0..<width).map { logits[row, $0] })
          }) : nil)
  }
}

extension LastLayerLaplacePosterior {
  /// Prepares predictions for rows that a description describes.
  ///
  /// - Throws: `FileError` where the rows come from another network than the posterior was fitted to:
  ///   another checkpoint, other exits, other heads; `NumericalError` if the draws cannot be whitened.
  public func predictor(
    for description: RecordsDescription, in context: ExecutionContext
  ) throws -> LastLayerLaplacePredictor {
    try source.requireSameNetwork(as: description)
    return try LastLayerLaplacePredictor(self, for: description, in: context)
  }
}

extension LastLayerLaplacePredictor {
  /// What the posterior adds to the multiply-adds of a row that leaves at an exit, those of earlier exits included.
  ///
  /// With `d` inputs of a head, `C` logits, `S` draws and rank `r`: `d² + dC` for the variances of a Kronecker structure,
  /// `dC` of a diagonal, `(d + 1) C r` of a low rank, where `r = dC` for a full one; `C²` more where covariances are
  /// whole, and `S C²` for draws (`S C` from a diagonal, `S d C` of all weights).  Exponentials are not counted.
  public func multiplyAdds(toExit index: Int) -> Int {
    guard predictive != .plain else { return 0 }
    return exits[...index].reduce(0) { sum, exit in
      let curvature = exit.posterior.curvature.value
      let (inputs, logits) = (curvature.inputCount, curvature.logitCount)
      var variances = inputs * logits
      var isDiagonal = false
      switch exit.posterior.curvature {
      case .kronecker: variances += inputs * inputs
      case .diagonal: isDiagonal = true
      case .full: variances = (inputs + 1) * logits * curvature.parameterCount
      case .lowRank(let lowRank): variances = (inputs + 1) * logits * lowRank.rank
      }
      switch predictive {
      case .weights: return sum + sampleCount * inputs * logits
      case .whitened, .antithetic, .functionSpace:
        return sum + variances + sampleCount * logits * (isDiagonal ? 1 : logits)
      case .probit, .plain: return sum + variances
      case .centredProbit, .meanField, .bridge, .normalizedBridge: return sum + variances + logits * logits
      }
    }
  }
}
