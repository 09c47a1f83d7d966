import Bayesify
import Foundation

/// The validation rows of one checkpoint.
struct ValidationRows {
  /// Those that temperature and calibrators are fitted to.
  var tuning: any ExitRecordSource
  /// Those that thresholds of prediction sets are taken from; `nil` without such sets.
  var conformal: (any ExitRecordSource)?
}

extension Evaluate {
  /// The validation rows that a checkpoint's models need; `nil` where they need none.
  func validationRows(
    _ held: RowInput?, of group: Lineup.Group, like description: RecordsDescription, _ session: Session,
    _ ignored: inout [String: IgnoredLabels]
  ) async throws -> ValidationRows? {
    guard let held, let validation, calibration.conformal != nil || group.hasPlainNetwork else { return nil }
    var counts = ignored
    func labelled(_ input: RowInput, _ role: String) async throws -> any ExitRecordSource {
      let all = try await records(input, validation, group, "validation", session)
      let records: any ExitRecordSource
      (records, counts[role]) = try await session.answered(all)
      try description.requireSameExits(as: records.description)
      guard records.hasLabels else { throw held.missingLabels("validation", option: "--validation-labels") }
      return records
    }
    var rows: ValidationRows
    if calibration.conformalRows == nil {
      rows = ValidationRows(tuning: try await labelled(held, "validation"))
      if calibration.conformal != nil {
        // Temperature and thresholds take a pass each; the network goes once, but where posteriors need rows.
        if !group.needsRows { rows.tuning = try await spooled(rows.tuning) }
        rows.conformal = rows.tuning
      }
    } else {
      let range = validationRows?.range ?? 0..<held.rowCount
      let parts = try calibration.parts(of: range, in: held.file)
      func part(_ rows: Range<Int>) throws(FileError) -> RowInput {
        try RowInput(
          validation, labels: validationLabels, labelColumn: options.labelColumn, rows: rows,
          likelihood: options.likelihood)
      }
      rows = ValidationRows(tuning: try await labelled(try part(parts.tuning), "validation"))
      rows.conformal = try await labelled(try part(parts.conformal), "conformal")
    }
    // Every calibrator sees all rows several times; their logits are enough.
    if calibration.calibrators != nil { rows.tuning = try await InMemoryExitRecords(logitsOf: rows.tuning) }
    ignored = counts
    return rows
  }

  /// The network with each of the calibrators asked for.
  ///
  /// - Parameters:
  ///   - name: that of the network as it is.
  ///   - evaluation: makes a row of the report, from its name, its kind and what was fitted for an exit.
  func calibrated(
    _ name: String, on rows: any ExitRecordSource, _ progress: ProgressPrinter, _ warnings: inout [String],
    _ evaluation: (String, ModelKind, (Int) -> [String: Double]) -> ModelEvaluation
  ) async throws -> [Contestant] {
    guard let methods = calibration.calibrators?.methods, let kept = rows as? InMemoryExitRecords else { return [] }
    let description = kept.description
    let validation = CalibrationCrossValidation(key: RandomKey(seed: execution.seed).child(2))
    var contestants: [Contestant] = []
    for (place, method) in methods.enumerated() {
      var chosen: [ChosenCalibration] = []
      for (index, exit) in description.exits.enumerated() {
        try Task.checkCancellation()
        progress.report(
          StageProgress(
            stage: "calibrators", completed: place * description.exits.count + index,
            total: methods.count * description.exits.count))
        let logits = kept.records.exits[index].logits
        let prediction = Prediction(
          logits: logits.reshaped(to: logits.shape.batched(1)), likelihood: exit.likelihood, exit: index)
        try namingExit(index, description) {
          chosen.append(try method.fit(prediction, labels: kept.records.labels ?? [], by: validation))
        }
        warnings += chosen[index].warnings(of: method, for: name).map { "Exit \(index) ('\(exit.name)'): \($0)" }
      }
      contestants.append(
        Contestant(
          predictor: .calibrated(chosen.map(\.calibration)),
          evaluation: evaluation("\(name) + \(method.title)", ModelKind(method.rawValue)) {
            chosen[$0].reportedSettings
          }))
    }
    return contestants
  }
}

extension ChosenCalibration {
  /// What was chosen and what rows say of it, by name.
  fileprivate var reportedSettings: [String: Double] {
    var settings = settings
    if let summary { settings["validationNLL"] = summary.nllAfter }
    if let heldOut { settings["crossValidatedNLL"] = heldOut.nll }
    return settings
  }

  /// What the user should know, in sentences.
  fileprivate func warnings(of method: CalibrationMethod, for name: String) -> [String] {
    if let reason = summary?.reason { return ["\(method.title) leaves '\(name)' as it is. \(reason)"] }
    var warnings: [String] = []
    if let affine = calibration as? AffineCalibration, !affine.isConverged {
      warnings.append(
        "the search of \(method.title) for '\(name)' did not end; it has no end where validation rows are told apart "
          + "without an error.")
    }
    if let heldOut, heldOut.nll > heldOut.untouchedNLL {
      warnings.append(
        "\(method.title) may do '\(name)' harm: the negative log-likelihood of validation rows that were held out in "
          + "turn is " + (heldOut.nll == .infinity ? "infinite" : heldOut.nll.significantDigits())
          + " with it, \(heldOut.untouchedNLL.significantDigits()) without.")
    }
    return warnings
  }
}
