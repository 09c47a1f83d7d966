import BayesEvaluation
public import BayesPosterior
import BayesTensor

extension SampledNetworkPosterior {
  /// This posterior with the temperature of each exit that makes the labels of some rows most likely.
  ///
  /// Of rows with answers at several positions some 100,000 answers are looked at, spread over all.
  ///
  /// - Parameter predictor: this posterior's, at temperature one.
  /// - Cost: one pass of all networks over the rows.
  /// - Throws: `FileError` for exits without classes, rows without labels, and logits that no temperature mends; what the
  ///   pass throws.
  public func tempered(by predictor: SampledNetworkPredictor, on rows: NetworkRecords) async throws
    -> SampledNetworkPosterior
  {
    var searches = exits.map { _ in SampledTemperature() }
    var result = self
    do {
      let choice = AnswerChoice(of: rows)
      try await Predictor.sampled(predictor).predictions(for: try await rows.answered) { block, predictions in
        let chosen = choice(block)
        let labels = block.labels ?? []
        for prediction in predictions {
          try searches[prediction.exit].update(prediction.rows(chosen), labels: chosen.map { labels[$0] })
        }
      }
      for (index, search) in searches.enumerated() {
        let temperature = try search.temperature()
        result.exits[index] = Exit(
          temperature: temperature.value, validationNLL: temperature.nllAfter, untemperedNLL: temperature.nllBefore)
        if temperature.isAtSearchBound {
          result.warnings.append(
            "Exit \(index) ('\(source.exits[index].name)'): the temperature lies at the edge of the search, "
              + "\(temperature.value.significantDigits()); look at the validation rows.")
        }
      }
    } catch let error as EvaluationError {
      throw FileError(.value, file: rows.description.file, error.message)
    }
    return result
  }
}

/// Some of the answers of rows that have many each.
private struct AnswerChoice {
  private static let answerCount = 100_000
  /// One answer in so many.
  private let spacing: UInt64

  init(of rows: NetworkRecords) {
    spacing = rows.description.positions.isEmpty ? 1 : UInt64(max(1, rows.rowCount / Self.answerCount))
  }

  /// Those of a block, which follow from their places alone and not from how rows are cut.
  func callAsFunction(_ block: ExitRecords) -> [Int] {
    (0..<block.rowCount).filter {
      // Mixed, since every n-th pixel of an image may lie in one column.
      let place = UInt64(block.sourceRows?[$0] ?? block.firstRow + $0)
      return ((place &* 0x9E37_79B9_7F4A_7C15) >> 32) % spacing == 0
    }
  }
}
