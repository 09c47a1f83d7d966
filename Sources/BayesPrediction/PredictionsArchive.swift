public import BayesTensor

/// Writes the predictions of every exit to an archive, block by block.
///
/// `/exits/<k>/` holds `logits` (the mean over draws) `[rows, logits]`, `probabilities`
/// `[rows, classes]`, and `total`, `aleatoric`, `epistemic` `[rows]` in nats; for Gaussian targets `mean`,
/// `epistemicVariance` and `noiseVariance`, `[rows, outputs]`, in the targets' units; `/labels` where known.
public struct PredictionsWriter: Sendable {
  static let format = "bayesify-predictions"

  private let archive: any ArrayArchiveWriter

  /// Begins a file with what is known apart from the rows.
  public init(_ description: RecordsDescription, to archive: any ArrayArchiveWriter) throws(FileError) {
    self.archive = archive
    var heads = description
    for index in heads.exits.indices { heads.exits[index].head = nil }
    try archive.setAttribute("format", .text(Self.format), of: "/")
    try archive.setAttribute("version", .integer(1), of: "/")
    try archive.write(heads)
  }

  /// Appends the predictions of all exits for some rows.
  public func append(_ predictions: [Prediction], labels: [Int]?) throws(FileError) {
    for prediction in predictions {
      let path = "/exits/\(prediction.exit)"
      if let regression = prediction.regression {
        try archive.append(regression.mean, to: path + "/mean")
        try archive.append(regression.epistemicVariance, to: path + "/epistemicVariance")
        try archive.append(regression.noiseVariance, to: path + "/noiseVariance")
        continue
      }
      let split = prediction.uncertaintySplit()
      try archive.append(prediction.meanLogits, to: path + "/logits")
      try archive.append(split.probabilities, to: path + "/probabilities")
      try archive.append(split.total, to: path + "/total")
      try archive.append(split.aleatoric, to: path + "/aleatoric")
      try archive.append(split.epistemic, to: path + "/epistemic")
    }
    if let labels { try archive.append(labels, to: "/labels") }
  }

  /// Publishes the file.
  public func finish() throws(FileError) { try archive.finish() }

  /// Removes what was written.
  public func discard() { archive.discard() }
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
