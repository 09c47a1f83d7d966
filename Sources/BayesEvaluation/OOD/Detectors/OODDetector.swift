public import BayesTensor

/// What a detector needs in order to be fitted and to score rows.
public struct DetectorNeeds: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// The weight and bias of the exit's linear head.
  public static let headWeights = DetectorNeeds(rawValue: 1)
  /// Features and logits of training rows.
  public static let trainingFeatures = DetectorNeeds(rawValue: 2)
  /// The true labels of the training rows.
  public static let trainingLabels = DetectorNeeds(rawValue: 4)
  /// Features of validation rows, which the network was not trained on.
  public static let validationFeatures = DetectorNeeds(rawValue: 8)
  /// Features that are not negative, as after a ReLU; others are refused.
  public static let nonNegativeFeatures = DetectorNeeds(rawValue: 16)
}

/// A recipe that learns, from features and logits of one exit, to score how far rows are from the training data.
///
/// Fitting streams over records, some detectors more than once, and keeps sums or a bank of bounded size.
///
/// - Determinism: randomness, where there is any, comes from the key of the context and the position of a row; the
///   sizes of the chunks that rows come in matter to rounding only.
public protocol OODDetector: Sendable {
  /// The key under which reports list the detector.
  var name: String { get }

  /// What `fit` asks for.
  var needs: DetectorNeeds { get }

  /// The hyper-parameters by name.
  var settings: [String: Double] { get }

  /// Learns what scoring needs; `fit` calls this with inputs that hold what `needs` names.
  func scoring(fittedTo inputs: DetectorInputs, in context: ExecutionContext) async throws -> any DetectorScoring
}

/// What a detector has learnt.
public protocol DetectorScoring: Sendable {
  /// Quantities that the fit found, by name.
  var findings: [String: Double] { get }

  /// The scores of some rows; larger is further from the training data.
  ///
  /// - Shapes: `[rows, features]` and `[rows, classes]` to `[rows]`.
  /// - Precondition: all numbers are finite and, where the detector asks for it, no feature is negative.
  func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double]
}

extension DetectorScoring {
  public var findings: [String: Double] { [:] }
}

extension OODDetector {
  public var settings: [String: Double] { [:] }

  /// Learns from the rows of one exit.
  ///
  /// Rows are not shared out over processes: each must have all of them.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where something that the detector needs is missing or does not
  ///   suit it; `.empty` without rows; `.label` and `.feature`, naming the row; `NumericalError`; what records throw.
  public func fit(_ inputs: DetectorInputs, in context: ExecutionContext) async throws -> FittedDetector {
    if needs.contains(.headWeights) { _ = try inputs.requiredHead(for: name) }
    if needs.contains(.trainingFeatures) || needs.contains(.trainingLabels) {
      let training = try inputs.requiredTraining(for: name)
      guard !needs.contains(.trainingLabels) || training.hasLabels else {
        throw EvaluationError(
          .label, "The detector '\(name)' needs the labels of training rows, and \(training.file) has none.")
      }
    }
    if needs.contains(.validationFeatures) { _ = try inputs.requiredValidation(for: name) }
    return FittedDetector(
      name: name, exit: inputs.exit, likelihood: inputs.likelihood, featureCount: inputs.featureCount,
      classCount: inputs.classCount, needsNonNegativeFeatures: needs.contains(.nonNegativeFeatures),
      settings: settings, scoring: try await scoring(fittedTo: inputs, in: context))
  }
}

/// One detector of every kind, with the settings that its source recommends.
public let allOODDetectors: [any OODDetector] = [
  MahalanobisDetector(), RelativeMahalanobisDetector(), NearestNeighbourDetector(), ViMDetector(),
  ResidualDetector(), ReActDetector(), ActivationShapingDetector(), ActivationScalingDetector(), SHEDetector(),
  GradNormDetector(), DICEDetector(), NNGuideDetector(), FDBDDetector(),
]
