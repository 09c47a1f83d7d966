public import BayesTensor

/// The part of features that the training rows hardly use.
///
///     r(f) = ‖Nᵀ (f − u)‖,   u = −(Wᵀ)⁺ b,   N = eigenvectors of 1/N Σₙ (fₙ − u)(fₙ − u)ᵀ after the leading `dimension`
struct FeatureResidual: Sendable {
  private let origin: Tensor<Double>
  /// `N`, `[features, features − dimension]`
  private let directions: Tensor<Double>
  /// The mean of the largest logit of the training rows.
  let meanLargestLogit: Double

  init(
    _ inputs: DetectorInputs, dimension: Int, fitting detector: String, in context: ExecutionContext
  ) async throws {
    let width = inputs.featureCount
    guard dimension < width else {
      throw EvaluationError(
        .unsupported,
        "The detector '\(detector)' keeps \(dimension) leading dimensions, and exit \(inputs.exit) has \(width) "
          + "features; keep fewer, or leave this detector out.")
    }
    let (backend, head) = (context.backend, try inputs.requiredHead(for: detector))
    // u solves Wᵀ u = −b with the least norm: u = −W (Wᵀ W)⁺ b for W [features, classes].
    let root = try pseudoInverseRoot(backend.product(head.weight, head.weight, transposing: .first), on: backend)
    let coefficients = backend.product(root, backend.product(root, column(head.bias), transposing: .first))
    let origin = backend.product(head.weight, coefficients).map { -$0 }.reshaped(to: [width])
    var scatter = Tensor<Double>(zeros: [width, width])
    var (sum, rowCount) = (0.0, 0)
    try await inputs.requiredTraining(for: detector).forEachRows(fitting: detector, in: context) { rows in
      let centred = subtracting(origin, from: rows.features)
      accumulate(backend.product(centred, centred, transposing: .first), into: &scatter)
      for (row, best) in largestColumns(rows.logits).enumerated() { sum += rows.logits[row, best] }
      rowCount += rows.rowCount
    }
    let eigen = try backend.symmetricEigen(scatter)
    directions = columns(0..<width - dimension, of: eigen.vectors)
    meanLargestLogit = sum / Double(rowCount)
    self.origin = origin
  }

  /// `r` of each row.
  func norms(_ features: Tensor<Double>, on backend: any Backend) -> [Double] {
    squaredNorms(backend.product(subtracting(origin, from: features), directions)).map { $0.squareRoot() }
  }

  /// The dimensions that are kept where none are asked for: half the features, 256 at most.
  static func defaultDimension(featureCount: Int) -> Int { min(256, featureCount / 2) }
}

private func column(_ values: Tensor<Double>) -> Tensor<Double> { values.reshaped(to: [values.count, 1]) }

/// The norm of the part of a row that the leading dimensions of the training features leave over.
///
///     ‖Nᵀ (f − u)‖,   u = −(Wᵀ)⁺ b
///
/// `N` holds the eigenvectors of the second moments about `u` after the leading `dimension`.
///
/// - Cost: one pass; `2 · features²` numbers; features³ once.
/// - Source: Wang et al. 2022, arXiv:2203.10807.
public struct ResidualDetector: OODDetector {
  /// The leading dimensions, which are not looked at; `nil` for half the features, 256 at most.
  public let dimension: Int?

  /// - Precondition: the dimension is not negative.
  public init(dimension: Int? = nil) {
    precondition(dimension ?? 0 >= 0, "A number of dimensions is not negative; got \(dimension ?? 0).")
    self.dimension = dimension
  }

  public var name: String { "residual" }
  public var needs: DetectorNeeds { [.headWeights, .trainingFeatures] }
  public var settings: [String: Double] { dimension.map { ["dimension": Double($0)] } ?? [:] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let dimension = dimension ?? FeatureResidual.defaultDimension(featureCount: inputs.featureCount)
    return Scoring(
      dimension: dimension,
      residual: try await FeatureResidual(inputs, dimension: dimension, fitting: name, in: context))
  }

  private struct Scoring: DetectorScoring {
    let dimension: Int
    let residual: FeatureResidual

    var findings: [String: Double] { ["dimension": Double(dimension)] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      residual.norms(features, on: backend)
    }
  }
}

/// The residual of `ResidualDetector`, scaled to the size of logits, less the log-sum-exp of the logits (ViM).
///
///     α ‖Nᵀ (f − u)‖ − log Σₖ exp zₖ,   α = mean maxₖ zₙₖ / mean ‖Nᵀ (fₙ − u)‖
///
/// - Cost: two passes; `2 · features²` numbers; features³ once.
/// - Source: Wang et al. 2022, arXiv:2203.10807.
public struct ViMDetector: OODDetector {
  /// The leading dimensions, which the residual leaves out; `nil` for half the features, 256 at most.
  public let dimension: Int?

  /// - Precondition: the dimension is not negative.
  public init(dimension: Int? = nil) {
    precondition(dimension ?? 0 >= 0, "A number of dimensions is not negative; got \(dimension ?? 0).")
    self.dimension = dimension
  }

  public var name: String { "vim" }
  public var needs: DetectorNeeds { [.headWeights, .trainingFeatures] }
  public var settings: [String: Double] { dimension.map { ["dimension": Double($0)] } ?? [:] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let dimension = dimension ?? FeatureResidual.defaultDimension(featureCount: inputs.featureCount)
    let residual = try await FeatureResidual(inputs, dimension: dimension, fitting: name, in: context)
    let training = try inputs.requiredTraining(for: name)
    var (norms, lengths) = (0.0, 0.0)
    var rowCount = 0
    try await training.forEachRows(fitting: name, in: context) { rows in
      norms += residual.norms(rows.features, on: context.backend).reduce(0, +)
      for squared in squaredNorms(rows.features) { lengths += squared.squareRoot() }
      rowCount += rows.rowCount
    }
    // What rounding leaves of a residual that is none must not be blown up to the size of logits.
    guard norms > relativeZero.squareRoot() * lengths else {
      throw EvaluationError(
        .unsupported,
        "The detector 'vim' compares rows with what \(dimension) dimensions leave of the training features, and they "
          + "leave nothing of those of \(training.file); keep fewer dimensions, or leave this detector out.")
    }
    return Scoring(
      dimension: dimension, scale: residual.meanLargestLogit / (norms / Double(rowCount)), residual: residual)
  }

  private struct Scoring: DetectorScoring {
    let dimension: Int
    let scale: Double
    let residual: FeatureResidual

    var findings: [String: Double] { ["dimension": Double(dimension), "alpha": scale] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      zip(residual.norms(features, on: backend), energies(logits)).map { scale * $0 + $1 }
    }
  }
}
