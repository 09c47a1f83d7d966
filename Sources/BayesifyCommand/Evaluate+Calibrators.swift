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
    // Every method at every exit is a fit of its own.
    let exitCount = description.exits.count
    let fits = methods.flatMap { method in (0..<exitCount).map { (method: method, exit: $0) } }
    var results = [Result<ChosenCalibration, any Error>?](repeating: nil, count: fits.count)
    try await withThrowingTaskGroup(of: (Int, Result<ChosenCalibration, any Error>).self) { group in
      func begin(_ place: Int) {
        let (method, exit) = fits[place]
        let logits = kept.records.exits[exit].logits
        let prediction = Prediction(
          logits: logits.reshaped(to: logits.shape.batched(1)), likelihood: description.exits[exit].likelihood, exit: exit)
        let labels = kept.records.labels ?? []
        group.addTask {
          (place, Result { try method.fit(prediction, labels: labels, by: validation) })
        }
      }
      let width = min(execution.width, fits.count)
      for place in 0..<width { begin(place) }
      var completed = 0
      while let (place, result) = try await group.next() {
        try Task.checkCancellation()
        results[place] = result
        completed += 1
        progress.report(
          StageProgress(stage: "calibrators", completed: completed, total: fits.count, unit: "fits"))
        if completed + width <= fits.count { begin(completed + width - 1) }
      }
    }
    var contestants: [Contestant] = []
    for (place, method) in methods.enumerated() {
      var chosen: [ChosenCalibration] = []
      for exit in 0..<exitCount {
        try namingExit(exit, description) {
          if let result = results[place * exitCount + exit] { chosen.append(try result.get()) }
        }
      }
      warnings += method.warnings(of: chosen, for: name, at: description.exits.map(\.name))
      contestants.append(
        Contestant(
          predictor: .calibrated(chosen.map(\.applied)),
          evaluation: evaluation("\(name) + \(method.title)", ModelKind(method.rawValue)) {
            chosen[$0].reportedSettings
          }))
    }
    return contestants
  }
}

extension ChosenCalibration {
  /// What was chosen and the negative log-likelihood of fitted and of held-out rows, by name.
  fileprivate var reportedSettings: [String: Double] {
    var settings = settings
    if isHarmful || isUnchecked || summary?.isIdentity == true { settings[ExitResult.leftAsItIs] = 1 }
    if let summary { settings["fittedLoss"] = summary.nllAfter }
    if let heldOut { settings["heldOutLoss"] = heldOut.nll }
    return settings
  }
}

extension CalibrationMethod {
  /// What the user should know of the calibrations of all exits, in sentences.
  fileprivate func warnings(of chosen: [ChosenCalibration], for name: String, at exits: [String]) -> [String] {
    func places(_ indices: [Int], _ words: (Int) -> String) -> String {
      indices.map { "exit \($0) ('\(exits[$0])')\(words($0))" }.joined(separator: ", ")
    }
    func figure(_ nll: Double) -> String { nll == .infinity ? "infinite" : nll.significantDigits() }
    let beginning = title.prefix(1).uppercased() + title.dropFirst()
    var warnings: [String] = []
    let left = chosen.indices.filter { chosen[$0].summary?.isIdentity == true }
    if !left.isEmpty {
      warnings.append(
        "\(beginning) leaves '\(name)' as it is at \(places(left) { _ in "" }): the negative log-likelihood of the "
          + "validation rows would rise.")
    }
    let endless = chosen.indices.filter { (chosen[$0].calibration as? AffineCalibration)?.isConverged == false }
    if !endless.isEmpty {
      warnings.append(
        "The search of \(title) for '\(name)' did not end at \(places(endless) { _ in "" }); it has no end where "
          + "validation rows are told apart without an error.")
    }
    let unchecked = chosen.indices.filter { chosen[$0].isUnchecked && !left.contains($0) }
    if !unchecked.isEmpty {
      warnings.append(
        "\(beginning) leaves '\(name)' as it is, since there are too few validation rows to hold any out, at "
          + "\(places(unchecked) { _ in "" }); give some hundreds.")
    }
    let harmful = chosen.indices.filter { chosen[$0].isHarmful && !left.contains($0) }
    if !harmful.isEmpty {
      let numbers = places(harmful) { index in
        chosen[index].heldOut.map { ", \(figure($0.nll)) with it and \(figure($0.untouchedNLL)) without" } ?? ""
      }
      warnings.append(
        "\(beginning) leaves '\(name)' as it is, since validation rows that were held out in turn would become less likely, by "
          + "their negative log-likelihood, at \(numbers).")
    }
    return warnings
  }
}
