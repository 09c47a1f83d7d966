import BayesPrediction
import BayesTensor

/// What weights are trained by at an exit: the negative log-likelihood of classes, summed over rows and positions, or that of
/// real targets around the outputs.
///
/// Answers whose label is the ignored one add nothing, and have no derivative.
struct DataTerm: Sendable {
  private let isBinary: Bool
  private let ignoredLabel: Int?
  private let ofTargets: GaussianNegativeLogLikelihood

  /// - Parameter noise: the deviation of real targets around their means.
  /// - Precondition: the description was found fit by `requireDataTerm(ofExit:)`; the noise is positive and finite.
  init(_ description: RecordsDescription, exit: Int, noise: Double = 1) {
    isBinary = description.exits[exit].likelihood == .binary
    ignoredLabel = description.ignoredLabel
    ofTargets = GaussianNegativeLogLikelihood(variance: noise * noise)
  }

  /// - Shapes: means and targets `[rows, outputs]`.
  func callAsFunction(_ means: Tensor<Float>, targets: Tensor<Double>) throws(LossError) -> LossValue<Float> {
    try ofTargets(means, targets: targets)
  }

  /// - Shapes: logits `[answers, logits]`, one label an answer.
  func callAsFunction(_ logits: Tensor<Float>, _ labels: [Int]) throws(LossError) -> LossValue<Float> {
    guard let ignoredLabel, labels.contains(ignoredLabel) else { return try loss(logits, labels) }
    let answered = labels.indices.filter { labels[$0] != ignoredLabel }
    let value = try loss(logits.rows(answered), answered.map { labels[$0] })
    let width = logits.shape[1]
    var cotangent = Tensor<Float>(zeros: logits.shape)
    cotangent.withMutableSpan { span in
      value.cotangent.withSpan { own in
        for (position, row) in answered.enumerated() {
          for index in 0..<width { span[row * width + index] = own[position * width + index] }
        }
      }
    }
    return LossValue(value: value.value, cotangent: cotangent)
  }

  private func loss(_ logits: Tensor<Float>, _ labels: [Int]) throws(LossError) -> LossValue<Float> {
    try isBinary ? SigmoidCrossEntropy()(logits, labels: labels) : SoftmaxCrossEntropy()(logits, labels: labels)
  }
}

extension RecordsDescription {
  /// Refuses exits whose labels are no data term that weights of layers are trained by.
  ///
  /// - Parameters:
  ///   - exitIndex: the last for `nil`.
  ///   - acceptsTargets: whether exits may be of real targets, all of them.
  /// - Throws: `FileError` naming the exit.
  func requireDataTerm(ofExit exitIndex: Int?, acceptsTargets: Bool = false) throws(FileError) {
    let index = exitIndex ?? exits.count - 1
    guard exits.indices.contains(index) else {
      throw FileError(
        .value, file: file,
        "There is no exit \(index); exits are 0 to \(exits.count - 1).")
    }
    if acceptsTargets, isRegression, positions.isEmpty { return }
    for (index, exit) in exits.enumerated()
    where exit.likelihood != .categorical && exit.likelihood != .binary {
      throw FileError(
        .unsupported, file: file, object: "exit \(index) ('\(exit.name)')",
        "The weights of a layer are fitted to classes, and its likelihood is \(exit.likelihood.rawValue); 'fit laplace' takes "
          + "it.")
    }
  }
}
