import BayesTensor

/// The mean of each class and the covariances within classes and of all training rows.
struct ClassGaussians: Sendable {
  /// Classes that have rows, in order.
  private(set) var classes: [Int] = []
  /// `[classes with rows, features]`
  private(set) var means: Tensor<Double>
  /// `[features]`
  private(set) var mean: Tensor<Double>
  /// `1/N Σₙ (fₙ − μ_yₙ)(fₙ − μ_yₙ)ᵀ`
  private(set) var within: Tensor<Double>
  /// `1/N Σₙ (fₙ − μ₀)(fₙ − μ₀)ᵀ`
  private(set) var total: Tensor<Double>

  /// Two passes: means, then squares about them, which loses no digits to a difference of large sums.
  ///
  /// - Cost: memory for `(classes + 2 · features) · features` numbers.
  /// - Throws: `EvaluationError`, what the records throw.
  init(
    of source: any DetectorRowSource, _ inputs: DetectorInputs, fitting detector: String,
    in context: ExecutionContext
  ) async throws {
    let (width, classCount) = (inputs.featureCount, inputs.classCount)
    var counts = [Int](repeating: 0, count: classCount)
    var sums = Tensor<Double>(zeros: [classCount, width])
    try await source.forEachLabelledRows(fitting: detector, classCount: classCount, in: context) { rows, labels in
      for (row, label) in labels.enumerated() {
        counts[label] += 1
        for column in 0..<width { sums[label, column] += rows.features[row, column] }
      }
    }
    let rowCount = Double(counts.reduce(0, +))
    let classMeans = scalingRows(sums, by: counts.map { 1 / Double(max(1, $0)) })
    var centre = Tensor<Double>(zeros: [width])
    accumulateRows(sums, into: &centre)
    mean = centre.map { $0 / rowCount }
    var scatter = Tensor<Double>(zeros: [width, width])
    try await source.forEachLabelledRows(fitting: detector, classCount: classCount, in: context) { rows, labels in
      var centred = rows.features
      for (row, label) in labels.enumerated() {
        for column in 0..<width { centred[row, column] -= classMeans[label, column] }
      }
      accumulate(context.backend.product(centred, centred, transposing: .first), into: &scatter)
    }
    classes = counts.indices.filter { counts[$0] > 0 }
    means = classMeans.rows(classes)
    within = scatter.map { $0 / rowCount }
    let between = scalingRows(
      subtracting(mean, from: means), by: classes.map { (Double(counts[$0]) / rowCount).squareRoot() })
    total = within
    accumulate(context.backend.product(between, between, transposing: .first), into: &total)
  }
}

/// Squared distances to some centres in the metric of a pseudo-inverse covariance.
struct SquaredDistances: Sendable {
  /// What features are taken relative to, so that few digits are lost, `[features]`.
  private let origin: Tensor<Double>
  /// `W` with `W Wᵀ = Σ⁺`, `[features, rank]`.
  private let root: Tensor<Double>
  /// `(μ − origin) W`, `[centres, rank]`.
  private let centres: Tensor<Double>
  private let centreNorms: [Double]

  init(
    centres: Tensor<Double>, covariance: Tensor<Double>, origin: Tensor<Double>, on backend: any Backend
  ) throws(NumericalError) {
    self.origin = origin
    root = try pseudoInverseRoot(covariance, on: backend)
    self.centres = backend.product(subtracting(origin, from: centres), root)
    centreNorms = squaredNorms(self.centres)
  }

  /// The number of directions that the covariance spreads in.
  var rank: Int { root.shape[1] }

  /// The squared distance of each row to the nearest centre.
  func nearest(_ features: Tensor<Double>, on backend: any Backend) -> [Double] {
    let points = backend.product(subtracting(origin, from: features), root)
    let norms = squaredNorms(points)
    let products = backend.product(points, centres, transposing: .second)
    return norms.indices.map { row in
      var best = Double.infinity
      for (centre, norm) in centreNorms.enumerated() {
        best = min(best, norms[row] + norm - 2 * products[row, centre])
      }
      return max(0, best)
    }
  }
}

/// Refuses training rows that spread in no direction.
func checkSpread(_ distances: SquaredDistances, of file: String, detector: String) throws(EvaluationError) {
  guard distances.rank > 0 else {
    throw EvaluationError(
      .unsupported,
      "The detector '\(detector)' needs training rows that differ from the mean of their class, and those of \(file) "
        + "do not; give more rows a class.")
  }
}
