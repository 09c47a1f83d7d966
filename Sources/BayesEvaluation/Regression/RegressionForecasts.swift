public import BayesTensor

/// Forecasts of real targets for some rows, with the targets that came true, checked once.
public struct RegressionForecasts: Sendable {
  /// `[rows, outputs]`, in the targets' unit.
  public let means: Tensor<Double>
  /// `[rows, outputs]`, in the targets' unit squared; `nil` for forecasts of means alone.
  public let variances: Tensor<Double>?
  /// The variance of the means under a posterior, `[rows, outputs]`; `nil` where it is not known apart.
  public let epistemicVariances: Tensor<Double>?
  /// `[rows, outputs]`
  public let targets: Tensor<Double>

  /// Means alone, or with variances.
  ///
  /// - Parameters:
  ///   - noiseVariances: the variance of targets around their means, or the whole variance where no epistemic one is
  ///     given.
  ///   - place: where one of the rows stands, in words.
  /// - Throws: `EvaluationError.Code.shape` where shapes differ; `.score`, naming the row, for a mean or a target that
  ///   is not finite and a variance that is not positive.
  public init(
    means: Tensor<Double>, epistemicVariances: Tensor<Double>? = nil, noiseVariances: Tensor<Double>? = nil,
    targets: Tensor<Double>, place: (Int) -> String = { "Row \($0)" }
  ) throws(EvaluationError) {
    guard means.shape.rank == 2, targets.shape == means.shape,
      [epistemicVariances, noiseVariances].allSatisfy({ $0.map { $0.shape == means.shape } ?? true })
    else {
      throw EvaluationError(
        .shape,
        "The targets have shape \(targets.shape) where the means have \(means.shape); give one target an output.")
    }
    let outputCount = means.shape[1]
    for (noun, numbers) in [("mean", means), ("target", targets)] {
      guard let position = numbers.firstNonFinite else { continue }
      let row = position / max(1, outputCount)
      throw EvaluationError(
        .score, row: row,
        "\(place(row)), counted from 0, has the \(noun) \(numbers[position]) for output \(position % outputCount); it must "
          + "be finite.")
    }
    var variances: Tensor<Double>?
    switch (epistemicVariances, noiseVariances) {
    case (let epistemic?, let noise?):
      var sum = noise
      for position in 0..<sum.count { sum[position] += epistemic[position] }
      variances = sum
    default: variances = noiseVariances ?? epistemicVariances
    }
    if let variances,
      let position = variances.elements.firstIndex(where: { !($0 > 0 && $0.isFinite) })
        ?? epistemicVariances?.elements.firstIndex(where: { !($0 >= 0) })
    {
      let row = position / max(1, outputCount)
      throw EvaluationError(
        .score, row: row,
        "\(place(row)), counted from 0, has the forecast variance \(variances[position]) for output "
          + "\(position % outputCount); it must be positive.")
    }
    self.means = means
    self.variances = variances
    self.epistemicVariances = noiseVariances == nil ? nil : epistemicVariances
    self.targets = targets
  }

  public var rowCount: Int { means.rowCount }
  public var outputCount: Int { means.shape[1] }

  /// What is known of targets beside their means.
  var contents: ForecastContents {
    variances == nil ? .means : epistemicVariances == nil ? .deviations : .parts
  }
}

/// What forecasts say beside means.
public enum ForecastContents: Sendable, Hashable, Comparable {
  case means
  case deviations
  /// Deviations, and how much of them is the posterior's.
  case parts
}
