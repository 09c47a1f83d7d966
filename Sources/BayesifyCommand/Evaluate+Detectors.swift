import ArgumentParser
import Bayesify
import Foundation

/// Which detectors on features are measured: all that the rows given allow, or some by name.
enum DetectorsOption: OptionValue {
  case all
  case some([any OODDetector])

  static let validValues = "'all' or names with commas between: " + allOODDetectors.map(\.name).joined(separator: ", ")

  init?(argument: String) {
    func plain(_ name: some StringProtocol) -> String { name.lowercased().filter { $0 != "-" } }
    if argument == "all" {
      self = .all
      return
    }
    var detectors: [any OODDetector] = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let detector = allOODDetectors.first(where: { plain($0.name) == plain(word) }),
        !detectors.contains(where: { $0.name == detector.name })
      else { return nil }
      detectors.append(detector)
    }
    self = .some(detectors)
  }

  /// The detectors, without those that lack something where all were asked for.
  fileprivate func detectors(lacking: (any OODDetector) -> Bool) -> [any OODDetector] {
    switch self {
    case .all: allOODDetectors.filter { !lacking($0) }
    case .some(let detectors): detectors
    }
  }
}

/// The rows that detectors on features are fitted to and measured on.
struct DetectorRowSets {
  /// `nil` where none were named.
  var training: (any ExitRecordSource)?
  /// `nil` where none were named.
  var validation: (any ExitRecordSource)?
  var test: any ExitRecordSource
  var foreign: [(name: String, rows: any ExitRecordSource)]
}

extension ModelEvaluation {
  /// Measures detectors at every exit that has features.
  ///
  /// - Returns: what was left out, in sentences.
  mutating func measure(
    _ option: DetectorsOption, on sets: DetectorRowSets, isTimed: Bool, in context: ExecutionContext
  ) async throws -> [String] {
    let description = sets.test.description
    var notes: [String] = []
    for index in exits.indices {
      guard description.exits[index].featureCount != nil else {
        notes.append("Exit \(index) ('\(description.exits[index].name)') has no features for detectors.")
        continue
      }
      let inputs = try await DetectorInputs(
        exit: index, of: description, training: sets.training, validation: sets.validation)
      let detectors = option.detectors { detector in
        (detector.needs.contains(.headWeights) && inputs.head == nil)
          || (!detector.needs.isDisjoint(with: [.trainingFeatures, .trainingLabels]) && inputs.training == nil)
          || (detector.needs.contains(.trainingLabels) && inputs.training?.hasLabels == false)
          || (detector.needs.contains(.validationFeatures) && inputs.validation == nil)
      }
      if case .all = option, detectors.count < allOODDetectors.count {
        let missing = allOODDetectors.map(\.name).filter { name in !detectors.contains { $0.name == name } }
        notes.append(
          "Exit \(index) ('\(description.exits[index].name)'): not measured for want of rows, labels or a head: "
            + missing.joined(separator: ", ") + ".")
      }
      for detector in detectors {
        do {
          exits[index].detectors.append(
            try await DetectorResult(
              of: detector, fittedTo: inputs, test: sets.test, foreign: sets.foreign, in: context, isTimed: isTimed))
        } catch let error as EvaluationError {
          guard case .all = option else { throw FileError(.value, file: description.file, error.message) }
          notes.append("Exit \(index) ('\(description.exits[index].name)'): \(detector.name): \(error.message)")
        }
      }
    }
    return notes
  }
}
