import ArgumentParser
import Bayesify
import Foundation

// Values of options that may begin with a minus are parsed `.unconditional`, so that what is refused is the value and
// not its absence; and what is refused is told what is valid.

/// A value of an option that is more than one number or one name.
protocol OptionValue: Sendable {
  /// What is valid, as the end of "give …".
  static var validValues: String { get }
  init?(argument: String)
}

/// Reads the value of an option.
func optionValue<Value: OptionValue>(_ argument: String) throws -> Value {
  guard let value = Value(argument: argument) else { throw ValidationError("give \(Value.validValues)") }
  return value
}

/// Reads a whole number of a range.
func wholeNumber<Number: FixedWidthInteger & Sendable>(
  _ range: ClosedRange<Number>
) -> @Sendable (String) throws -> Number {
  { argument in
    guard let number = Number(argument), range.contains(number) else {
      let bounds =
        switch (Number.isSigned && range.lowerBound == .min, range.upperBound == .max) {
        case (true, _): ""
        case (false, true): " from \(range.lowerBound) on"
        case (false, false): " from \(range.lowerBound) to \(range.upperBound)"
        }
      throw ValidationError("give a whole number" + bounds)
    }
    return number
  }
}

/// Reads a finite number that a condition holds for, which `words` describe.
func number(_ words: String, where isValid: @escaping @Sendable (Double) -> Bool) -> @Sendable (String) throws -> Double {
  { argument in
    guard let number = Double(argument), number.isFinite, isValid(number) else {
      throw ValidationError("give \(words)")
    }
    return number
  }
}

/// Reads a share of rows, which may be in percent.
@Sendable func share(_ argument: String) throws -> Double {
  guard let share = possibleShare(argument) else {
    throw ValidationError("give a share between 0 and 1, or in percent, as 90%")
  }
  return share
}

/// A number between 0 and 1, or as much in percent; `nil` for what is none.
func possibleShare(_ argument: some StringProtocol) -> Double? {
  let share = argument.hasSuffix("%") ? Double(argument.dropLast()).map { $0 / 100 } : Double(argument)
  return share.flatMap { $0 > 0 && $0 < 1 ? $0 : nil }
}

/// The numbers that prior precisions, temperatures and noises may be, in words.
private let positiveNumber =
  "a number from \(LastLayerLaplace.allowedRange.lowerBound) to \(LastLayerLaplace.allowedRange.upperBound)"

/// Such a number.
private func positiveNumber(_ argument: String) -> Double? {
  Double(argument).flatMap { LastLayerLaplace.allowedRange.contains($0) ? $0 : nil }
}

/// `validation`, `marginal-likelihood` or a number.
struct PriorChoice: OptionValue, CustomStringConvertible {
  static let validValues = "'validation', 'marginal-likelihood' or \(positiveNumber)"
  var choice: LastLayerLaplace.PriorPrecisionChoice

  init(choice: LastLayerLaplace.PriorPrecisionChoice) { self.choice = choice }

  init?(argument: String) {
    switch argument {
    case "validation": choice = .validation
    case "marginal-likelihood": choice = .marginalLikelihood
    default:
      guard let value = positiveNumber(argument) else { return nil }
      choice = .fixed(value)
    }
  }

  var description: String {
    switch choice {
    case .validation: "validation"
    case .marginalLikelihood: "marginal-likelihood"
    case .fixed(let value): "\(value)"
    }
  }
}

/// `last`, or a scope of more layers.
struct LayersOption: OptionValue, CustomStringConvertible {
  static let validValues = "'last', 'last:N' with N from 1 on, 'all', or names of layers separated by commas"
  /// `nil` for the last layer of every exit.
  var scope: LayerScope?

  init(scope: LayerScope?) { self.scope = scope }

  init?(argument: String) {
    guard argument != "last" else {
      scope = nil
      return
    }
    guard let scope = LayerScope(argument) else { return nil }
    self.scope = scope
  }

  var description: String { scope?.text ?? "last" }
}

/// `validation` or a number.
struct TemperatureOption: OptionValue {
  static let validValues = "'validation' or \(positiveNumber)"
  var choice: LastLayerLaplace.TemperatureChoice

  init?(argument: String) {
    if argument == "validation" {
      choice = .validation
    } else {
      guard let value = positiveNumber(argument) else { return nil }
      choice = .fixed(value)
    }
  }
}

/// `learned` or a number.
struct NoiseOption: OptionValue {
  static let validValues = "'learned' or \(positiveNumber)"
  var choice: NoiseChoice

  init?(argument: String) {
    if argument == "learned" {
      choice = .learned
    } else {
      guard let value = positiveNumber(argument) else { return nil }
      choice = .fixed(value)
    }
  }
}

/// Numbers separated by commas.
struct NumberList: OptionValue, CustomStringConvertible {
  static let validValues = "one number, or one a channel, separated by commas"
  var values: [Double]

  init(_ values: [Double]) { self.values = values }

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
      .map { Double($0.trimmingCharacters(in: .whitespaces)) }
    let numbers = parts.compactMap { $0 }
    guard numbers.count == parts.count, numbers.allSatisfy(\.isFinite), !numbers.isEmpty else { return nil }
    values = numbers
  }

  var description: String { values.map { String($0) }.joined(separator: ",") }
}

/// A half-open range of rows: `0:5000`.
struct RowRange: OptionValue {
  static let validValues = "FIRST:END, as 0:5000 for the first 5000 rows"
  var range: Range<Int>

  init?(argument: String) {
    let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let first = Int(parts[0]), let end = Int(parts[1]), first >= 0, end > first else {
      return nil
    }
    range = first..<end
  }
}

/// A named data set: `NAME=DATA`.
struct NamedData: OptionValue {
  static let validValues = "NAME=DATA, as letters=letters.h5, with a name of one line and at most 100 characters"
  var name: String
  var data: String

  init?(argument: String) {
    guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex,
      argument.index(after: equals) != argument.endIndex
    else { return nil }
    name = String(argument[..<equals])
    data = String(argument[argument.index(after: equals)...])
    // Names head columns and stand in sentences.
    guard name.count <= 100, name.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else { return nil }
  }
}

extension ReportCondition: OptionValue {
  static var validValues: String { form }
  init?(argument: String) { self.init(argument) }
}
