import BayesPrediction
import BayesTensor
import RealModule

extension RandomKey {
  /// Keys of draws like those of predictions, and independent of them; other children are numbered by exit.
  ///
  /// What suits the draws of tuning by chance looks like a gain with these draws alone.  So what is chosen is scored with
  /// others, as many at a time as predictions take: fewer or more would do worse or better than predictions do.
  var ofOtherDraws: [RandomKey] { (1...4).map { child(-$0) } }
}

extension LastLayerLaplacePosterior {
  /// The mean negative log-likelihood of each exit's own predictions with draws that tuning has not seen, in nats a row;
  /// `nil` for Gaussian exits.
  ///
  /// Where predictions draw for each row or for all weights, tuning has not seen theirs.
  func negativeLogLikelihoodsOfOtherDraws(
    of source: any ExitRecordSource, in context: ExecutionContext
  ) async throws -> [Double?] {
    guard predictive == .whitened || predictive == .antithetic else {
      return try await negativeLogLikelihoods(of: source, in: context)
    }
    let keys = drawsKey.ofOtherDraws
    var means = exits.map { $0.description.likelihood == .gaussian ? nil : 0.0 }
    for key in keys {
      var other = self
      other.drawsKey = key
      for (exit, value) in try await other.negativeLogLikelihoods(of: source, in: context).enumerated() {
        if let value { means[exit]? += value / Double(keys.count) }
      }
    }
    return means
  }

  /// The mean negative log-likelihood of each exit's own predictions, in nats a row; `nil` for Gaussian exits.
  func negativeLogLikelihoods(
    of source: any ExitRecordSource, in context: ExecutionContext
  ) async throws -> [Double?] {
    let predictor = try LastLayerLaplacePredictor(self, for: source.description, in: context)
    let isClassified = exits.map { $0.description.likelihood != .gaussian }
    var sums = [Double](repeating: 0, count: exits.count)
    var rowCount = 0.0
    try await source.reduceChunks("Predicting the validation rows", in: context) { chunk in
      var sums = [Double](repeating: 0, count: isClassified.count)
      for block in predictor.blocks(of: chunk) {
        try Task.checkCancellation()
        for (exit, prediction) in try predictor.predict(block).enumerated() where isClassified[exit] {
          sums[exit] += prediction.negativeLogLikelihood(of: block)
        }
      }
      return (sums, Double(chunk.rowCount))
    } combine: { chunkSums, chunkRowCount in
      for exit in sums.indices { sums[exit] += chunkSums[exit] }
      rowCount += chunkRowCount
    }
    var values = Tensor(shape: [sums.count + 1], sums + [rowCount])
    context.communicator.allReduce(&values)
    return isClassified.indices.map { isClassified[$0] ? values[$0] / values[sums.count] : nil }
  }
}

extension Prediction {
  /// `−Σ log p` of the answers of all rows, in nats.
  fileprivate func negativeLogLikelihood(of records: ExitRecords) -> Double {
    let probabilities = probabilities()
    // One row whose probability underflows must not hide what all others say.
    func loss(_ probability: Double) -> Double { -Double.log(max(probability, .leastNormalMagnitude)) }
    var sum = 0.0
    if let labels = records.labels, likelihood != .multilabel {
      for (row, label) in labels.enumerated() { sum += loss(probabilities[row, label]) }
    } else if let targets = records.targets {
      for position in 0..<targets.count {
        sum += loss(targets[position] == 1 ? probabilities[position] : 1 - probabilities[position])
      }
    }
    return sum
  }
}
