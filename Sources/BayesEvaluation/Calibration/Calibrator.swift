public import BayesPrediction

/// A recipe that learns, from predictions and labels, how to mend the predictions' confidence.
public protocol Calibrator<Fitted>: Sendable {
  associatedtype Fitted: Calibration

  /// Learns from a batch that was not used for training.
  ///
  /// - Throws: `EvaluationError`.
  func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> Fitted
}

/// A map from predictions to better calibrated ones.
public protocol Calibration: Sendable {
  /// The calibrated prediction.
  func callAsFunction(_ prediction: Prediction) -> Prediction
}
