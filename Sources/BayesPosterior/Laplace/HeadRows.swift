package import BayesTensor

/// The rows of one exit, found fit for use, in `Double`.
package struct HeadRows: Sendable {
  /// `[rows, features]`
  package var features: Tensor<Double>
  /// `[rows, logits]`
  package var logits: Tensor<Double>
  /// One class a row, for categorical and binary exits.
  package var labels: [Int]?
  /// `[rows, logits]`: zeros and ones for multilabel exits, real numbers for Gaussian ones.
  package var targets: Tensor<Double>?
  /// The standard deviation of each row's targets in units of the common one, where rows differ.
  package var noise: [Double]?

  package init(
    features: Tensor<Double>, logits: Tensor<Double>, labels: [Int]? = nil, targets: Tensor<Double>? = nil,
    noise: [Double]? = nil
  ) {
    self.features = features
    self.logits = logits
    self.labels = labels
    self.targets = targets
    self.noise = noise
  }

  /// What the likelihood of a row is measured by is there.
  var hasAnswers: Bool { labels != nil || targets != nil }
}
