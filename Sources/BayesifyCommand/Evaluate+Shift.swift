import ArgumentParser
import Bayesify
import Foundation

/// Which corruptions test images go through: all, or some by name.
enum ShiftOption: OptionValue {
  case all
  case some([Corruption])

  static let validValues =
    "'all' or names with commas between: " + Corruption.allCases.map(\.rawValue).joined(separator: ", ")

  init?(argument: String) {
    if argument == "all" {
      self = .all
      return
    }
    var corruptions: [Corruption] = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let corruption = Corruption(rawValue: word.lowercased()), !corruptions.contains(corruption) else {
        return nil
      }
      corruptions.append(corruption)
    }
    self = .some(corruptions)
  }
}

/// How strong corruptions are: `3` or `1,3,5`.
struct SeverityList: OptionValue {
  static let validValues = "different whole numbers from 1 to 5 with commas between, as 3 or 1,3,5"
  /// The weakest first.
  var severities: [Severity]

  init?(argument: String) {
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    severities = words.compactMap { Int($0).flatMap(Severity.init) }.sorted()
    guard Set(severities).count == words.count else { return nil }
  }
}

/// The values of a black and a full pixel: `0:255`.
struct PixelRangeOption: OptionValue {
  static let validValues = "LOW:HIGH, as 0:255 for bytes, the value of a black pixel below that of a full one"
  var range: PixelRange

  init?(argument: String) {
    let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let low = Double(parts[0]), let high = Double(parts[1]), let range = PixelRange(low, high)
    else { return nil }
    self.range = range
  }
}

/// What is done to the test images.
struct ShiftPlan {
  private(set) var corruptions: [Corruption]
  let severities: [Severity]
  let range: PixelRange
  let key: RandomKey
  /// What the reader must know, in sentences.
  private(set) var warnings: [String] = []
  private let isAll: Bool

  /// - Throws: `FileError` where the test rows are no images, or their range is not clear.
  init(
    _ option: ShiftOption, _ severities: SeverityList?, _ range: PixelRangeOption?, of test: RowInput, seed: UInt64
  ) throws {
    guard case .dataset(let dataset) = test else {
      throw FileError(
        .unsupported, file: test.file,
        "These are exit records, and --shift corrupts the images before the network sees them; give the images that "
          + "they were extracted from with --data.")
    }
    _ = try ImageSize(dataset.rowShape, file: dataset.file)
    switch option {
    case .all: (corruptions, isAll) = (Corruption.allCases, true)
    case .some(let chosen): (corruptions, isAll) = (chosen, false)
    }
    self.severities = severities?.severities ?? Severity.all
    key = RandomKey(seed: seed)
    if let range {
      self.range = range.range
    } else {
      self.range = try PixelRange(of: dataset)
      if ![.bytes, .unit].contains(self.range) {
        warnings.append(
          "No pixel of \(dataset.file) is above \(self.range.high.significantDigits()), so images were corrupted "
            + "within \(self.range); where a full pixel is another value, say so with --pixel-range.")
      }
    }
  }

  /// Leaves out, or refuses where it was named, what the labels of a network's rows do not allow.
  mutating func adapt(to description: RecordsDescription) throws(FileError) {
    guard !description.positions.isEmpty, corruptions.contains(.rotation) else { return }
    guard isAll else {
      throw FileError(
        .unsupported, file: description.file,
        "The network answers at every pixel, and rotated images would need rotated labels; leave rotation out of "
          + "--shift.")
    }
    corruptions.removeAll { $0 == .rotation }
    warnings.append("Test images were not rotated, for the labels of their pixels would have to turn with them.")
  }
}

/// The models that one network's records serve, measured on the untouched rows.
struct ShiftRun {
  var network: NetworkRecords
  var contestants: [Contestant]
}

extension Evaluate {
  /// Measures all models on the test rows in every corruption of a plan.
  ///
  /// - Cost: a pass for every corruption, severity and network, in the memory of one.
  func study(_ plan: ShiftPlan, of runs: [ShiftRun], _ session: Session) async throws -> ShiftStudy {
    let reference = try ShiftReference(runs.flatMap { $0.contestants.map(\.evaluation) })
    let passCount = plan.corruptions.count * plan.severities.count
    var corruptions: [ShiftedCorruption] = []
    for corruption in plan.corruptions {
      var severities: [ShiftedSeverity] = []
      for severity in plan.severities {
        let number = corruptions.count * plan.severities.count + severities.count + 1
        let stage = "\(corruption.title), severity \(severity.level) (shift \(number) of \(passCount))"
        var evaluations: [ModelEvaluation] = []
        for run in runs {
          try Task.checkCancellation()
          let corrupted = try CorruptedDataset(
            run.network.dataset, corruption, severity, range: plan.range, key: plan.key)
          let rows = try await session.answered(run.network.over(corrupted, stage: stage), withAnomalies: false).rows
          var contestants = run.contestants
          for index in contestants.indices { contestants[index].evaluation = fresh(contestants[index].evaluation) }
          try await measure(&contestants, rows, usesLabels: true) { exit, prediction, rows in
            try exit.update(prediction, labels: rows.labels ?? [])
          }
          evaluations += contestants.map(\.evaluation)
        }
        severities.append(
          ShiftedSeverity(
            severity: severity.level, strength: corruption.strength(severity),
            models: try reference.results(of: evaluations)))
      }
      corruptions.append(
        ShiftedCorruption(
          name: corruption.rawValue, title: corruption.title, strengthName: corruption.strengthName,
          severities: severities))
    }
    return ShiftStudy(pixelLow: plan.range.low, pixelHigh: plan.range.high, corruptions: corruptions)
  }

  /// The same model before its first row.
  private func fresh(_ model: ModelEvaluation) -> ModelEvaluation {
    ModelEvaluation(
      name: model.name, kind: model.kind,
      exits: model.exits.map { ExitEvaluation(index: $0.index, name: $0.name, binCount: bins) })
  }
}
