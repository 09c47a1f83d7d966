import ArgumentParser
import Bayesify
import Foundation

/// Where the standard deviations of a model's forecasts come from.
enum ForecastDeviations {
  /// There are none.
  case none
  /// One an exit and output, times a row's own noise where rows have one.
  case constant([[Double]])
  /// The noise of each row, of predictions of another program.
  case rows
  /// A posterior's.
  case posterior

  var contents: ForecastContents {
    switch self {
    case .none: .means
    case .constant, .rows: .deviations
    case .posterior: .parts
    }
  }
}

/// A way of making forecasts, and the rows of the report that are measured on them: as they are, and calibrated.
struct Forecaster {
  let name: String
  let kind: ModelKind
  let predictor: Predictor
  var deviations: ForecastDeviations
  /// Whether a row's own noise is no part of its deviation.
  var ignoresNoise = false
  /// What was chosen for an exit, by name.
  var settings: (Int) -> [String: Double] = { _ in [:] }
  /// What constant deviations and calibrators are taken from, one an exit.
  var fits: [RegressionCalibrationFit] = []
  var variants: [RegressionModelEvaluation] = []

  /// The forecasts of one exit for the rows of a block.
  ///
  /// - Throws: `EvaluationError` for numbers that are no forecasts; `FileError` where noise is in some rows alone.
  func forecasts(
    _ prediction: Prediction, _ block: ExitRecords, _ description: RecordsDescription, hasNoise: Bool
  ) throws -> RegressionForecasts {
    guard let targets = block.targets else {
      preconditionFailure("Rows without targets are refused before they are measured.")
    }
    guard (block.noise != nil) == hasNoise else {
      throw FileError(
        .missing, file: description.file,
        hasNoise
          ? "The test rows have a noise of each row's own, and these have none; give /noise in all records or in none."
          : "These rows have a noise of each row's own, and the test rows have none; give /noise in all or in none.")
    }
    func place(_ row: Int) -> String { block.place(ofRow: row, in: description.positions) }
    if let noise = block.noise, let row = noise.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
      throw EvaluationError(
        .score, row: row,
        "\(place(row)), counted from 0, has the noise \(noise[row]); a standard deviation is positive and finite.")
    }
    let means = prediction.regression?.mean ?? prediction.logits.converted(to: Double.self).reshaped(to: [
      prediction.rowCount, prediction.logitCount,
    ])
    var (epistemic, noise): (Tensor<Double>?, Tensor<Double>?)
    switch deviations {
    case .none: break
    case .posterior: (epistemic, noise) = (prediction.regression?.epistemicVariance, prediction.regression?.noiseVariance)
    case .constant, .rows:
      var variances = Tensor<Double>(repeating: 1, shape: means.shape)
      let outputCount = max(1, prediction.logitCount)
      for position in 0..<variances.count {
        var deviation = block.noise?[position / outputCount] ?? 1
        if case .constant(let all) = deviations {
          deviation = all[prediction.exit][position % outputCount] * (ignoresNoise ? 1 : deviation)
        }
        variances[position] = deviation * deviation
      }
      noise = variances
    }
    return try RegressionForecasts(
      means: means, epistemicVariances: epistemic, noiseVariances: noise,
      targets: targets, place: place)
  }
}

extension Evaluate {
  /// Refuses options that have no meaning for networks of real targets.
  func requireRegressionOptions() throws {
    let given: [(String, Bool)] = [
      ("--ood", !ood.isEmpty), ("--detectors", detectors != nil), ("--policy", policy != nil),
      ("--shift", shift != nil), ("--pixel-range", pixelRange != nil), ("--bins", bins != ExpectedCalibrationError.defaultBinCount),
      ("--ignore-label", options.ignoreLabel != nil),
    ]
    if let name = given.first(where: \.1)?.0 {
      throw ValidationError(
        "\(name) is for networks with classes, and the outputs here are real numbers; leave it out.")
    }
    if let condition = failIf.first(where: { !$0.isOfRealTargets }) {
      throw ValidationError(
        "--fail-if '\(condition.text)' is of classes, and the outputs here are real numbers; give one of "
          + RegressionMeasure.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
    if let name = calibration.calibrators?.firstForClassesAlone {
      throw ValidationError(
        "--calibrators \(name) is for networks with classes, and the outputs here are real numbers; give 'all' or some "
          + "of "
          + RegressionCalibrator.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
  }

  /// Measures networks of real targets, and writes the reports.
  func evaluateRegression(
    _ lineup: Lineup, test: RowInput, validation held: RowInput?, warnings: [String], _ session: Session,
    clock: ContinuousClock, since start: ContinuousClock.Instant
  ) async throws {
    try requireRegressionOptions()
    var warnings = warnings
    var evaluations: [RegressionModelEvaluation] = []
    var description: RecordsDescription?
    for group in lineup.groups {
      let source = try await records(test, data, group, "test", session)
      guard source.description.isRegression else {
        throw FileError(
          .unsupported, file: source.description.file,
          "Its outputs are \(source.description.exits.first?.likelihood.rawValue ?? "none"), and those of the models "
            + "before are real numbers; evaluate them apart.")
      }
      guard source.hasTargets else { throw missingTargets(test, "test", option: "--labels") }
      for case .checkpoint(let model)? in group.entries.map(\.model) {
        try session.requireExits(of: model, in: source.description)
      }
      description = description ?? source.description
      let rows = try await regressionRows(held, of: group, like: source.description, session)
      var forecasters = try self.forecasters(of: group, source.description, test, session, &warnings)
      let hasNoise = if case .records(let archived) = test { archived.hasNoise } else { false }
      try await fit(&forecasters, on: rows, source.description, hasNoise: hasNoise, &warnings)
      try await takeThresholds(of: &forecasters, on: rows, hasNoise: hasNoise)
      try await eachForecast(of: &forecasters, for: source, hasNoise: hasNoise) { forecaster, exit, forecasts, firstRow in
        for index in forecaster.variants.indices {
          var shard = forecaster.variants[index].exits[exit].shard(firstRow: firstRow)
          try shard.update(forecasts)
          forecaster.variants[index].exits[exit].merge(shard)
          if !forecaster.variants[index].conformal.isEmpty {
            forecaster.variants[index].conformal[exit].update(forecasts)
          }
        }
      }
      evaluations += forecasters.flatMap(\.variants)
    }
    session.progress.finishLine()
    try Task.checkCancellation()
    guard let description else { preconditionFailure("There is at least one model.") }
    if held == nil, !evaluations.contains(where: { $0.kind == .constantDeviation }) {
      warnings.append(
        "Without --validation there is no constant deviation, the baseline that deviations are worth something "
          + "against.")
    }
    let study = try RegressionStudy(of: evaluations)
    warnings += warningsOfInfiniteIntervals(study)
    let report = RegressionReport(
      title: title ?? "Can \(URL(filePath: models.first ?? data).lastPathComponent) be trusted?",
      study: study, warnings: warnings, outputNames: description.classNames,
      provenance: try provenance(lineup, description, test, held, [], [:], session),
      timing: timing ? ["evaluate": seconds(clock.now - start)] : nil)
    try finish(report, of: lineup, session)
  }

  /// Writes reports, answers, and fails where a condition holds.
  private func finish(_ report: RegressionReport, of lineup: Lineup, _ session: Session) throws {
    for warning in report.warnings { session.progress.warn(warning) }
    var outputs: [(String, Data)] = []
    if let json { outputs.append((json, Data(try JSONRenderer().render(report).utf8))) }
    if let html { outputs.append((html, Data(HTMLRenderer().render(report).utf8))) }
    if let markdown { outputs.append((markdown, Data(MarkdownRenderer().render(report).utf8))) }
    // A condition on what is not there is a mistake, after which nothing is written.
    let subject = lineup.names.last ?? report.models[0].name
    let violations = try failIf.compactMap { try $0.violation(in: report, of: subject) }
    try AtomicFile.write(outputs, replacing: execution.force)
    let parts = [regressionSummary(report), report.verdict] + report.conformalSummary
    try printAnswer(parts.joined(separator: "\n\n"))
    if !violations.isEmpty { throw FailedCondition(message: violations.joined(separator: " ")) }
  }

  private func missingTargets(_ input: RowInput, _ role: String, option: String) -> FileError {
    switch input {
    case .dataset:
      FileError(
        .missing, file: input.file,
        "The \(role) rows have no targets; give them as y of the data, or with \(option).")
    case .records: input.missingLabels(role, option: option)
    }
  }

  /// The validation rows of a checkpoint, those for thresholds apart where that was asked for.
  private func regressionRows(
    _ held: RowInput?, of group: Lineup.Group, like description: RecordsDescription, _ session: Session
  ) async throws -> ValidationRows? {
    guard let held, let validation else { return nil }
    func rows(_ input: RowInput) async throws -> any ExitRecordSource {
      let rows = try await records(input, validation, group, "validation", session)
      try description.requireSameExits(as: rows.description)
      guard rows.hasTargets else { throw missingTargets(held, "validation", option: "--validation-labels") }
      return rows
    }
    guard calibration.conformalRows == nil else {
      let parts = try calibration.parts(of: validationRows?.range ?? 0..<held.rowCount, in: held.file)
      func part(_ rows: Range<Int>) throws(FileError) -> RowInput {
        try RowInput(
          validation, labels: validationLabels, labelColumn: options.labelColumn, rows: rows,
          likelihood: options.likelihood)
      }
      return ValidationRows(
        tuning: try await rows(try part(parts.tuning)), conformal: try await rows(try part(parts.conformal)))
    }
    let all = try await rows(held)
    guard calibration.conformal != nil else { return ValidationRows(tuning: all) }
    // Calibrators and thresholds take a pass each; the network goes once.
    let kept = try await spooled(all)
    return ValidationRows(tuning: kept, conformal: kept)
  }

  /// The ways of forecasting that one checkpoint's records serve; deviations are fitted later.
  private func forecasters(
    of group: Lineup.Group, _ description: RecordsDescription, _ test: RowInput, _ session: Session,
    _ warnings: inout [String]
  ) throws -> [Forecaster] {
    var forecasters: [Forecaster] = []
    for entry in group.entries {
      switch entry.model {
      case .checkpoint, nil:
        let isPredictions = models.isEmpty
        var hasDeviations = false
        if isPredictions, case .records(let archived) = test { hasDeviations = archived.hasNoise }
        forecasters.append(
          Forecaster(
            name: entry.name, kind: isPredictions ? .predictions : .map, predictor: .map,
            deviations: hasDeviations ? .rows : .none))
        if validation != nil {
          forecasters.append(
            Forecaster(
              name: entry.name + " + constant deviation", kind: .constantDeviation, predictor: .map,
              deviations: .constant(description.exits.map { Array(repeating: 1, count: $0.logitCount) }),
              ignoresNoise: isPredictions))
        }
      case .posterior(let posterior, _, _)?:
        guard let model = entry.model else { continue }
        warnings += posterior.warnings.map { "\(entry.name): \($0)" }
        forecasters.append(
          Forecaster(
            name: entry.name, kind: ModelKind(posterior.method),
            predictor: try session.predictor(model, for: description, checkpoint: group.network),
            deviations: .posterior,
            settings: { exit in
              var settings = posterior.settings(ofExit: exit)
              settings["temperature"] = nil
              if case .lastLayer(let posterior) = posterior { settings["noise"] = posterior.exits[exit].noise }
              return settings
            }))
      }
    }
    return forecasters
  }

  /// Calls `body` with every forecast, chunk by chunk, with the index of its first row.
  private func eachForecast(
    of forecasters: inout [Forecaster], for source: any ExitRecordSource, hasNoise: Bool,
    _ body: (inout Forecaster, Int, RegressionForecasts, Int) throws -> Void
  ) async throws {
    // Moved, not copied: their sums would be copied with them.
    var fed: [Forecaster] = []
    swap(&fed, &forecasters)
    defer { swap(&fed, &forecasters) }
    let description = source.description
    try await Predictor.predictions(of: fed.map(\.predictor), for: source) { index, block, predictions in
      try Task.checkCancellation()
      for prediction in predictions {
        try namingExit(prediction.exit, description) {
          let forecasts = try fed[index].forecasts(prediction, block, description, hasNoise: hasNoise)
          try body(&fed[index], prediction.exit, forecasts, block.firstRow)
        }
      }
    }
  }

  /// Fits constant deviations and calibrators, and makes the rows of the report.
  private func fit(
    _ forecasters: inout [Forecaster], on rows: ValidationRows?, _ description: RecordsDescription, hasNoise: Bool,
    _ warnings: inout [String]
  ) async throws {
    let calibrators = calibration.calibrators?.regressionCalibrators ?? []
    if let names = calibration.calibrators?.names, names.contains(RegressionCalibrator.deviationScaling.rawValue),
      !forecasters.contains(where: { $0.isCalibrated(by: .deviationScaling) })
    {
      throw ValidationError(
        "--calibrators deviation-scaling is for deviations of posteriors or records, and a constant one is fitted "
          + "already; name a posterior, or leave it out.")
    }
    for index in forecasters.indices {
      forecasters[index].fits = description.exits.map { exit in
        RegressionCalibrationFit(
          outputCount: exit.logitCount,
          keepsResiduals: calibrators.contains(.isotonic) && forecasters[index].isCalibrated(by: .isotonic))
      }
    }
    if let rows {
      try await eachForecast(of: &forecasters, for: rows.tuning, hasNoise: hasNoise) { forecaster, exit, forecasts, _ in
        forecaster.fits[exit].update(forecasts)
      }
      for index in forecasters.indices where forecasters[index].kind == .constantDeviation {
        try forecasters[index].takeConstants(rows.tuning.description)
      }
    }
    for index in forecasters.indices {
      var made = [(calibrator: RegressionCalibrator?.none, pieces: [[FittedForecastCalibration]]())]
      for calibrator in calibrators where forecasters[index].isCalibrated(by: calibrator) {
        let pieces = try forecasters[index].calibrations(by: calibrator)
        warnings += calibrator.warnings(of: pieces, for: forecasters[index].name, description)
        made.append((calibrator, pieces))
      }
      for (calibrator, pieces) in made {
        forecasters[index].variants.append(
          try variant(of: forecasters[index], calibrator, pieces, description))
      }
      forecasters[index].fits = []
    }
  }

  /// A row of the report: forecasts as they are, or calibrated.
  private func variant(
    of forecaster: Forecaster, _ calibrator: RegressionCalibrator?, _ pieces: [[FittedForecastCalibration]],
    _ description: RecordsDescription
  ) throws -> RegressionModelEvaluation {
    var model = RegressionModelEvaluation(
      name: forecaster.name + (calibrator.map { " + " + $0.title } ?? ""),
      kind: calibrator.map { ModelKind($0.rawValue) } ?? forecaster.kind, exits: [])
    for (index, exit) in description.exits.enumerated() {
      let applied: ForecastCalibration =
        switch calibrator {
        case nil: .none
        case .deviationScaling: .scaled(pieces[index].map(\.factor))
        case .isotonic: .recalibrated(pieces[index].map(\.distribution), scaledBy: pieces[index].map(\.factor))
        }
      var settings = calibrator == nil ? forecaster.settings(index) : [:]
      var outputSettings = (0..<exit.logitCount).map { output -> [String: Double] in
        if let calibrator { return calibrator.settings(of: pieces[index][output]) }
        guard case .constant(let deviations) = forecaster.deviations else { return [:] }
        return ["deviation": deviations[index][output]]
      }
      if exit.logitCount == 1 {
        settings.merge(outputSettings[0]) { $1 }
        outputSettings = []
      }
      model.exits.append(
        RegressionEvaluation(
          index: index, name: exit.name, multiplyAdds: exit.multiplyAdds, outputCount: exit.logitCount,
          contents: forecaster.deviations.contents, calibration: applied, settings: settings,
          outputSettings: outputSettings, resampling: Resampling(key: RandomKey(seed: execution.seed))))
      guard let alphas = calibration.conformal?.alphas else { continue }
      var intervals = try RegressionConformalEvaluation(
        alphas: alphas, contents: forecaster.deviations.contents, calibration: applied, outputCount: exit.logitCount)
      let isApart = calibration.conformalRows != nil
      switch forecaster.deviations {
      case .none, .rows: intervals.isTunedOnCalibrationRows = calibrator == nil ? false : !isApart
      case .constant: intervals.isTunedOnCalibrationRows = !isApart
      case .posterior: intervals.isTunedOnCalibrationRows = calibrator == nil || isApart ? nil : true
      }
      model.conformal.append(intervals)
    }
    return model
  }

  /// Takes the thresholds of intervals with a promise.
  private func takeThresholds(
    of forecasters: inout [Forecaster], on rows: ValidationRows?, hasNoise: Bool
  ) async throws {
    guard calibration.conformal != nil, let source = rows?.conformal else { return }
    try await eachForecast(of: &forecasters, for: source, hasNoise: hasNoise) { forecaster, exit, forecasts, _ in
      for index in forecaster.variants.indices { forecaster.variants[index].conformal[exit].calibrate(forecasts) }
    }
    for index in forecasters.indices {
      for variant in forecasters[index].variants.indices {
        for exit in forecasters[index].variants[variant].conformal.indices {
          try forecasters[index].variants[variant].conformal[exit].takeThresholds()
        }
      }
    }
  }

  /// Where there are too few rows for an alpha, the sentences that say so.
  private func warningsOfInfiniteIntervals(_ study: RegressionStudy) -> [String] {
    var alphas: [Double] = []
    // The number of rows is the same for all models and exits.
    for result in study.models.first?.exits.first?.conformal ?? [] where !alphas.contains(result.alpha) {
      if result.outputs.contains(where: { $0.threshold == .infinity }) { alphas.append(result.alpha) }
    }
    let count = study.models.first?.exits.first?.conformal?.first?.calibrationRowCount ?? 0
    return alphas.map {
      "At alpha \($0) intervals have no end: there are \(count) calibration rows, and "
        + "\(ConformalThreshold.rowsNeeded(alpha: $0)) are needed."
    }
  }

  /// The numbers a reader wants first, as text.
  private func regressionSummary(_ report: RegressionReport) -> String {
    let measures: [RegressionMeasure] = [
      .rootMeanSquaredError, .meanAbsoluteError, .negativeLogLikelihood, .continuousRankedProbabilityScore,
      .intervalScore, .sharpness, .miscalibrationArea, .coverage95,
    ]
    let rows = report.models.flatMap { model in
      model.exits.map { exit -> [String] in
        ["\(exit.index)", model.name + (model.name == report.baseline ? " (baseline)" : "")]
          + measures.map { measure in
            exit[measure].map { measure.isShare ? fixed($0.value) : $0.value.significantDigits() } ?? "-"
          }
      }
    }
    return textTable(["exit", "model"] + measures.map(\.title), rows, leading: 2)
  }
}

extension Forecaster {
  /// Whether a calibrator is fitted to these forecasts: a constant deviation is scaled already.
  fileprivate func isCalibrated(by calibrator: RegressionCalibrator) -> Bool {
    switch deviations {
    case .none: false
    case .constant: calibrator != .deviationScaling
    case .rows, .posterior: true
    }
  }

  /// Takes one deviation an exit and output from fits to forecasts of deviation one.
  ///
  /// - Throws: `FileError` where a network meets every target, or none by any measure.
  fileprivate mutating func takeConstants(_ description: RecordsDescription) throws {
    var constants: [[Double]] = []
    for (index, fit) in fits.enumerated() {
      let exit = description.exits[index]
      var own: [Double] = []
      for output in 0..<exit.logitCount {
        let square = try fit.scale(output).meanSquare
        guard square > 0, square.isFinite else {
          throw FileError(
            .value, file: description.file, object: "exit \(index) ('\(exit.name)')",
            "The mean squared error of output \(output) on the validation rows is \(square), of which no deviation "
              + "can be made; give rows that the network was not trained on.")
        }
        own.append(square.squareRoot())
      }
      constants.append(own)
    }
    deviations = .constant(constants)
  }

  /// What a calibrator learns, `[exits][outputs]`.
  fileprivate func calibrations(by calibrator: RegressionCalibrator) throws -> [[FittedForecastCalibration]] {
    try fits.enumerated().map { index, fit in
      try (0..<fit.outputCount).map { output in
        switch calibrator {
        case .deviationScaling: return try fit.scale(output)
        case .isotonic:
          // The fits were to forecasts of deviation one.
          if case .constant(let deviations) = deviations {
            return try fit.recalibration(output, unit: deviations[index][output])
          }
          return try fit.recalibration(output)
        }
      }
    }
  }
}

extension RegressionCalibrator {
  /// What was fitted for an output, by name.
  fileprivate func settings(of piece: FittedForecastCalibration) -> [String: Double] {
    var settings: [String: Double]
    switch self {
    case .deviationScaling: settings = ["factor": piece.factor, "fittedLoss": piece.after]
    case .isotonic: settings = ["factor": piece.factor, "fittedArea": piece.after]
    }
    if let heldOut = piece.heldOutAfter { settings[self == .isotonic ? "heldOutArea" : "heldOutLoss"] = heldOut }
    return settings
  }

  /// What the user should know of the calibrations of all exits and outputs, in sentences.
  ///
  /// - Parameter pieces: `[exits][outputs]`
  fileprivate func warnings(
    of pieces: [[FittedForecastCalibration]], for name: String, _ description: RecordsDescription
  ) -> [String] {
    let measure = self == .isotonic ? "miscalibration area" : "negative log-likelihood"
    let beginning = title.prefix(1).uppercased() + title.dropFirst()
    func places(
      _ isMeant: (FittedForecastCalibration) -> Bool, _ words: (FittedForecastCalibration) -> String
    ) -> String? {
      let all = pieces.enumerated().flatMap { index, outputs in
        outputs.enumerated().filter { isMeant($0.element) }.map { output, piece in
          "exit \(index) "
            + "('\(description.exits[index].name)')\(outputs.count > 1 ? ", output \(output)" : "")\(words(piece))"
        }
      }
      guard !all.isEmpty else { return nil }
      return all.prefix(8).joined(separator: "; ") + (all.count > 8 ? " and \(all.count - 8) more" : "")
    }
    var warnings: [String] = []
    if let left = places({ $0.reason != nil }, { _ in "" }) {
      warnings.append(
        "\(beginning) leaves '\(name)' as it is at \(left): the \(measure) of the validation rows would not fall.")
    }
    let harmful = places(
      { piece in
        guard piece.reason == nil, let before = piece.heldOutBefore, let after = piece.heldOutAfter else { return false }
        return after > before
      },
      { " \($0.heldOutAfter?.significantDigits() ?? "") with it, \($0.heldOutBefore?.significantDigits() ?? "") without" })
    if let harmful {
      warnings.append(
        "\(beginning) may do '\(name)' harm; the \(measure) of validation rows that were held out in turn: \(harmful).")
    }
    return warnings
  }
}
