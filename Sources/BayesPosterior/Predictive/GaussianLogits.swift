import BayesPrediction
import BayesTensor

/// Logits of some rows at one exit that a posterior makes Gaussian.
struct GaussianLogits {
  /// `[rows, logits]`, before any temperature.
  var means: Tensor<Double>
  /// Before any temperature; for closed forms that read variances alone these suffice.
  var covariance: LogitCovariance
  var temperature: Double
  var likelihood: Likelihood
  var exit: Int

  /// The prediction that averages over them.
  ///
  /// - Parameter draws: those of a predictive that draws.
  /// - Throws: `NumericalError` where a covariance has no root.
  func prediction(_ predictive: LaplacePredictive, draws: DrawTable?, on backend: any Backend) throws -> Prediction {
    if let draws {
      let samples: Tensor<Float> = try logitDraws(means: means, covariance: covariance, draws: draws, on: backend)
      return Prediction(
        logitSamples: samples, count: draws.sampleCount(rowCount: means.rowCount), temperature: temperature,
        likelihood: likelihood, exit: exit)
    }
    guard predictive != .plain else {
      return Prediction(
        logitSamples: means, count: 1, temperature: temperature, likelihood: likelihood, exit: exit)
    }
    let answer = ClosedFormAnswer(
      predictive, means: means.map { $0 / temperature },
      covariance: covariance.scaled(by: 1 / (temperature * temperature)), likelihood, on: backend)
    return Prediction(
      logitSamples: answer.logits, count: 1, temperature: 1, likelihood: likelihood, exit: exit,
      scale: predictive.scale(likelihood), closedForm: answer.closedForm)
  }
}

extension Prediction {
  /// A prediction from samples of logits, `[samples · rows, logits]`, all rows of the first sample first.
  init<Scalar: TensorScalar>(
    logitSamples: Tensor<Scalar>, count: Int, temperature: Double, likelihood: Likelihood, exit: Int,
    scale: Scale = .logits, closedForm: ClosedForm? = nil
  ) {
    // Samples are many, so that a pass over them that changes nothing is left out.
    let logits = temperature == 1 ? logitSamples : logitSamples.map { Scalar(Double($0) / temperature) }
    self.init(
      logits: logits.converted(to: Float.self)
        .reshaped(to: [count, logitSamples.rowCount / count, logitSamples.shape[1]]),
      likelihood: likelihood, exit: exit, scale: scale, closedForm: closedForm)
  }
}

extension LaplacePredictive {
  /// What its logits are: those of the mean field hold differences of the network's logits alone, so that no energy can
  /// be read off them.
  ///
  /// One logit of yes or no, or of a label, has nothing in common with others that could be lost.
  func scale(_ likelihood: Likelihood) -> Prediction.Scale {
    self == .meanField && likelihood == .categorical ? .logProbabilities : .logits
  }

  /// The draws for an exit that all rows share; `nil` for a predictive without any.
  func sharedDraws(count: Int, logitCount: Int, key: RandomKey, on backend: any Backend) throws(NumericalError)
    -> Tensor<Double>?
  {
    switch self {
    case .whitened: return try NormalDraws.whitened(count: count, dimension: logitCount, key: key, on: backend)
    case .antithetic: return NormalDraws.antithetic(count: count, dimension: logitCount, key: key)
    default: return nil
    }
  }

  /// The draws that tuning scores with: those of predictions or, where each row has its own or weights are drawn,
  /// whitened ones, which have the same distribution for each row.
  func tuningDraws(count: Int, logitCount: Int, key: RandomKey, on backend: any Backend) throws(NumericalError)
    -> Tensor<Double>?
  {
    let isShared = self != .functionSpace && self != .weights
    return try (isShared ? self : .whitened).sharedDraws(count: count, logitCount: logitCount, key: key, on: backend)
  }

  /// The draws for some rows; `nil` for a predictive that draws no logits.
  ///
  /// - Parameters:
  ///   - rows: their indices, by which they get draws of their own.
  ///   - key: of rows' own draws.
  func drawTable(shared: Tensor<Double>?, count: Int, logitCount: Int, rows: [Int], key: RandomKey) -> DrawTable? {
    if let shared { return .shared(shared) }
    guard self == .functionSpace else { return nil }
    return .own(sampleCount: count, logitCount: logitCount, rows: rows, key: key)
  }
}
