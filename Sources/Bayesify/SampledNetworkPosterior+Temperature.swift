import BayesEvaluation
public import BayesPosterior
import BayesTensor

extension SampledNetworkPosterior {
  /// This posterior with the temperature of each exit that makes the labels of some rows most likely.
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
      try await Predictor.sampled(predictor).predictions(for: rows) { block, predictions in
        for prediction in predictions {
          try searches[prediction.exit].update(prediction, labels: block.labels ?? [])
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
