public import BayesTensor

/// Writes the predictions of every exit to an archive, block by block.
///
/// `/exits/<k>/` holds `logits` (the mean over draws) `[rows, logits]`, `probabilities`
/// `[rows, classes]`, and `total`, `aleatoric`, `epistemic` `[rows]` in nats; for Gaussian targets `mean`,
/// `epistemicVariance` and `noiseVariance`, `[rows, outputs]`, in the targets' units; `/labels` where known.
/// `bayesify predict --joint-covariance` adds `jointCovariance` `[rows, outputs, rows, outputs]`.
/// Where a row has an answer at each of several positions, their extents stand behind the rows, as in
/// `[rows, height, width, classes]`.
///
/// - Cost: memory for the predictions of one row of the network at most, beside what is appended.
public struct PredictionsWriter: Sendable {
  static let format = "bayesify-predictions"

  private let description: RecordsDescription
  private let archive: any ArrayArchiveWriter
  private var rowCount = 0
  private var singles: WholeRows<Float>
  private var doubles: WholeRows<Double>
  private var labels: WholeRows<Double>

  /// Begins a file with what is known apart from the rows.
  public init(_ description: RecordsDescription, to archive: any ArrayArchiveWriter) throws(FileError) {
    self.description = description
    self.archive = archive
    singles = WholeRows(positions: description.positions)
    doubles = WholeRows(positions: description.positions)
    labels = WholeRows(positions: description.positions)
    var heads = description
    for index in heads.exits.indices { heads.exits[index].head = nil }
    try archive.setAttribute("format", .text(Self.format), of: "/")
    try archive.setAttribute("version", .integer(1), of: "/")
    try archive.write(heads)
  }

  /// Appends the predictions of all exits for some rows.
  ///
  /// - Throws: `FileError` naming the exit and the row of a prediction that is not finite.
  public mutating func append(_ predictions: [Prediction], labels: [Int]?) throws(FileError) {
    for prediction in predictions {
      let path = "/exits/\(prediction.exit)"
      try requireFinite(prediction)
      if let regression = prediction.regression {
        try append(regression.mean, to: path + "/mean")
        try append(regression.epistemicVariance, to: path + "/epistemicVariance")
        try append(regression.noiseVariance, to: path + "/noiseVariance")
        continue
      }
      let split = prediction.uncertaintySplit()
      if let logits = singles.adding(prediction.meanLogits, to: path + "/logits") {
        try archive.append(logits, to: path + "/logits")
      }
      try append(split.probabilities, to: path + "/probabilities")
      try append(split.total, to: path + "/total")
      try append(split.aleatoric, to: path + "/aleatoric")
      try append(split.epistemic, to: path + "/epistemic")
    }
    rowCount += predictions.first?.rowCount ?? 0
    if let labels {
      // Whole numbers that stand for classes are exact in double precision.
      let rows = Tensor(shape: [labels.count], labels.map(Double.init))
      if let whole = self.labels.adding(rows, to: "/labels") {
        try archive.append(whole.elements.map { Int($0) }, shape: whole.shape, to: "/labels")
      }
    }
  }

  /// Appends which rows that were appended before are trusted at an exit, by a score: `/exits/<k>/trusted`, 1 or 0, and
  /// `/exits/<k>/trustScore`.
  public mutating func append(trusted: [Bool], scores: [Double], exit: Int) throws(FileError) {
    try append(Tensor(shape: [scores.count], scores), to: "/exits/\(exit)/trustScore")
    let path = "/exits/\(exit)/trusted"
    if let whole = doubles.adding(Tensor(shape: [trusted.count], trusted.map { $0 ? 1 : 0 }), to: path) {
      try archive.append(whole.elements.map { Int($0) }, shape: whole.shape, to: path)
    }
  }

  private func requireFinite(_ prediction: Prediction) throws(FileError) {
    let numbers = [
      prediction.logits.firstNonFinite.map { $0 / prediction.logitCount % prediction.rowCount },
      prediction.regression?.epistemicVariance.firstNonFinite.map { $0 / prediction.logitCount },
      prediction.regression?.noiseVariance.firstNonFinite.map { $0 / prediction.logitCount },
      prediction.closedForm?.probabilities.firstNonFinite.map { $0 / prediction.classCount },
    ]
    guard let row = numbers.compactMap({ $0 }).first else { return }
    throw FileError(
      .value, file: description.file,
      object: "exit \(prediction.exit) ('\(description.exits[prediction.exit].name)')",
      "The prediction for row \(rowCount + row), counted from 0, is infinite or not a number; fit the posterior again "
        + "with a prior precision and a temperature that are nearer to one.")
  }

  private mutating func append(_ rows: Tensor<Double>, to path: String) throws(FileError) {
    if let whole = doubles.adding(rows, to: path) { try archive.append(whole, to: path) }
  }

  /// Publishes the file.
  public func finish() throws(FileError) { try archive.finish() }

  /// Removes what was written.
  public func discard() { archive.discard() }
}

/// Answers that wait until all positions of their row of the network are there.
private struct WholeRows<Scalar: TensorScalar>: Sendable {
  private let positions: [Int]
  private let positionCount: Int
  private var waiting: [String: [Tensor<Scalar>]] = [:]

  init(positions: [Int]) {
    self.positions = positions
    positionCount = positions.reduce(1, *)
  }

  /// Adds answers to those of an array, and takes out the rows that are whole now.
  ///
  /// - Shapes: `[answers, …]` to `[rows] + positions + […]`.
  mutating func adding(_ answers: Tensor<Scalar>, to path: String) -> Tensor<Scalar>? {
    guard positionCount > 1 else { return answers }
    let parts = waiting[path, default: []] + [answers]
    let count = parts.reduce(0) { $0 + $1.rowCount }
    let wholeCount = count / positionCount * positionCount
    guard wholeCount > 0 else {
      waiting[path] = parts
      return nil
    }
    let all = parts.count == 1 ? parts[0] : .stacking(parts)
    waiting[path] = wholeCount < count ? [all.rows(wholeCount..<count)] : []
    let whole = wholeCount < count ? all.rows(0..<wholeCount) : all
    return whole.reshaped(to: Shape([wholeCount / positionCount] + positions + answers.shape.row.dimensions))
  }
}

extension Prediction {
  /// The mean of the logits over draws, `[batch, logits]`.
  public var meanLogits: Tensor<Float> {
    guard sampleCount > 1 else { return logits.reshaped(to: [rowCount, logitCount]) }
    let width = rowCount * logitCount
    var mean = Tensor<Float>(zeros: [rowCount, logitCount])
    for position in 0..<width {
      var sum = 0.0
      for sample in 0..<sampleCount {
        sum += (sampleWeights?[sample] ?? 1 / Double(sampleCount)) * Double(logits[sample * width + position])
      }
      mean[position] = Float(sum)
    }
    return mean
  }
}

extension ArrayArchive {
  /// Whether the file holds predictions that `PredictionsWriter` wrote.
  public var holdsPredictions: Bool { entry("/exits/0/probabilities") != nil || entry("/exits/0/mean") != nil }
}
