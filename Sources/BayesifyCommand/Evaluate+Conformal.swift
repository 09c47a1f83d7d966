import Bayesify
import Foundation

extension Contestant {
  /// Whether the model was tuned on the rows that thresholds are taken from; `nil` where that is not known.
  ///
  /// - Parameter isApart: whether those rows were kept apart.
  fileprivate func isTuned(rowsAreApart isApart: Bool) -> Bool? {
    switch predictor {
    case .map: false
    case .temperature, .calibrated: !isApart
    case .laplace, .weights, .sampled: nil
    }
  }

  /// Puts what sets held into the report.
  mutating func finishSets() throws(EvaluationError) {
    for index in sets.indices { evaluation.exits[index].conformal = try sets[index].results }
    sets = []
  }
}

extension Evaluate {
  /// Takes the thresholds of every contestant's prediction sets from labelled rows.
  ///
  /// - Throws: `FileError` where a posterior needs rows and there are records alone.
  func calibrateSets(
    of contestants: inout [Contestant], on rows: ValidationRows?, file: String
  ) async throws {
    guard let alphas = calibration.conformal?.alphas, let source = rows?.conformal else { return }
    let description = source.description
    let key = RandomKey(seed: execution.seed).child(3)
    var fed = contestants
    for index in fed.indices {
      var sets = try ConformalEvaluation(alphas: alphas, key: key)
      sets.isTunedOnCalibrationRows = fed[index].isTuned(rowsAreApart: calibration.conformalRows != nil)
      fed[index].sets = description.exits.map { _ in sets }
    }
    try await naming(file) {
      try await Predictor.predictions(of: fed.map(\.predictor), for: source) { index, block, predictions in
        try Task.checkCancellation()
        guard let labels = block.labels else { return }
        try description.requireClasses(labels) { block.place(ofRow: $0, in: description.positions) }
        for prediction in predictions {
          try namingExit(prediction.exit, description) {
            try fed[index].sets[prediction.exit].calibrate(prediction, labels: labels)
          }
        }
      }
    }
    contestants = fed
  }

  /// Where there are too few rows for an alpha, the sentences that say so.
  func warningsOfUnboundedSets(_ evaluations: [ModelEvaluation], classNames: [String]) -> [String] {
    var warnings: [String] = []
    // The number of rows and of each class is the same for all models and exits.
    for result in evaluations.first?.exits.first?.conformal ?? [] {
      let classes = result.unboundedClasses
      guard !classes.isEmpty else { continue }
      let needed = ConformalThreshold.rowsNeeded(alpha: result.alpha)
      let sentence: String
      if result.isByClass {
        let names = classes.prefix(20).map { classNames.indices.contains($0) ? classNames[$0] : "\($0)" }
        let rest = classes.count > names.count ? " and \(classes.count - names.count) more" : ""
        sentence =
          "At alpha \(result.alpha) prediction sets with a threshold a class never leave out "
          + "\(names.joined(separator: ", "))\(rest): a class needs \(needed) calibration rows."
      } else {
        sentence =
          "At alpha \(result.alpha) prediction sets leave out no class: there are \(result.calibrationRowCount) "
          + "calibration rows, and \(needed) are needed."
      }
      if !warnings.contains(sentence) { warnings.append(sentence) }
    }
    return warnings
  }

  /// Coverage and size of the sets of LAC at the deepest exit, as text.
  func setsSummary(_ report: Report) -> String? {
    let rows = report.models.flatMap { model in
      (model.exits.last?.conformal ?? []).filter { $0.method == "lac" }.map { result in
        [
          "\(result.alpha)", model.name, fixed(result.coverage),
          result.band.map { "\(fixed($0.low)) to \(fixed($0.high))" } ?? "-", fixed(result.meanSize),
          fixed(result.singletonShare),
        ]
      }
    }
    guard !rows.isEmpty else { return nil }
    return "prediction sets by LAC at the deepest exit (others: --json, --html)\n"
      + textTable(["alpha", "model", "coverage", "95 % band", "mean size", "singletons"], rows, leading: 2)
  }
}
