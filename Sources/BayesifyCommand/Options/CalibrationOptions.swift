import ArgumentParser
import Bayesify

/// Which calibrators are fitted beside the temperature, or beside a constant deviation.
struct CalibratorsOption: OptionValue {
  static let validValues =
    "'all' or names with commas between: " + CalibrationMethod.allCases.map(\.rawValue).joined(separator: ", ")
    + " (a temperature is fitted without being named); for regressions " + RegressionCalibrator.allCases.map(\.rawValue).joined(separator: ", ")
  /// Those for classes.
  var methods: [CalibrationMethod]
  /// Those for real targets.
  var regressionCalibrators: [RegressionCalibrator]
  /// As they were named; empty for all.
  let names: [String]

  init?(argument: String) {
    guard argument != "all" else {
      (methods, regressionCalibrators, names) = (CalibrationMethod.allCases, RegressionCalibrator.allCases, [])
      return
    }
    names = argument.split(separator: ",", omittingEmptySubsequences: false).map { $0.lowercased() }
    methods = names.compactMap { CalibrationMethod(rawValue: $0) }
    regressionCalibrators = names.compactMap { RegressionCalibrator(rawValue: $0) }
    let known = Set(methods.map(\.rawValue) + regressionCalibrators.map(\.rawValue))
    guard Set(names).count == names.count, names.allSatisfy(known.contains) else { return nil }
  }

  /// The first that is not for classes.
  var firstForRegressionAlone: String? { names.first { CalibrationMethod(rawValue: $0) == nil } }
  /// The first that is not for real targets.
  var firstForClassesAlone: String? { names.first { RegressionCalibrator(rawValue: $0) == nil } }
}

/// Shares of rows that prediction sets may miss.
struct AlphaList: OptionValue {
  static let validValues = "different shares between 0 and 1 with commas between, as 0.1, 10% or 0.05,0.1"
  var alphas: [Double]

  init?(argument: String) {
    alphas = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let alpha = possibleShare(word), !alphas.contains(alpha) else { return nil }
      alphas.append(alpha)
    }
  }
}

/// What validation rows are used for beside the temperature.
struct CalibrationOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: """
      Fit calibrators beside the temperature, each a row of its own: 'all' or names with commas between, of vector, \
      matrix, dirichlet, histogram, isotonic, beta and venn-abers. Penalties are chosen by five-fold cross-validation \
      among the validation rows, whose logits are kept meanwhile. For regressions: deviation-scaling and isotonic.
      """,
    transform: optionValue)
  var calibrators: CalibratorsOption?

  @Option(
    parsing: .unconditional,
    help: """
      Measure prediction sets that may miss the true class in this share of rows, as 0.1 or 0.05,0.1: LAC, LAC with a \
      threshold a class, APS and RAPS, the last two with and without randomness (from --seed). Thresholds are from the \
      validation rows. For regressions intervals: split, absolute and normalised, and CQR.
      """,
    transform: optionValue)
  var conformal: AlphaList?

  @Option(
    parsing: .unconditional,
    help: """
      With --conformal: rows of the validation data, first:end, from which thresholds are taken and on which nothing \
      is tuned; they begin or end the validation rows. (default: all, also those of the temperature)
      """,
    transform: optionValue)
  var conformalRows: RowRange?

  /// Refuses options without what they need.
  func requireValidation(_ validation: String?) throws {
    if conformalRows != nil, conformal == nil {
      throw ValidationError("--conformal-rows are for prediction sets; ask for some with --conformal, or leave it out.")
    }
    guard validation == nil, let name = calibrators != nil ? "--calibrators" : conformal != nil ? "--conformal" : nil
    else { return }
    throw ValidationError("\(name) needs labelled rows that the network was not trained on; give --validation DATA.")
  }

  /// Refuses calibrators that are for regressions alone.
  ///
  /// - Parameter file: where the rows come from, whose outputs are classes.
  func requireForClasses(_ file: String) throws {
    guard let name = calibrators?.firstForRegressionAlone else { return }
    throw ValidationError(
      "--calibrators \(name) is for regressions, and the outputs of \(file) are classes; give 'all' or some of "
        + CalibrationMethod.allCases.map(\.rawValue).joined(separator: ", ") + ".")
  }

  /// The rows that are tuned on, and those that thresholds are taken from.
  ///
  /// - Parameter rows: the validation rows, as they stand in their file.
  /// - Throws: `FileError` for rows to keep apart that do not begin or end these, or are all of them.
  func parts(of rows: Range<Int>, in file: String) throws(FileError) -> (tuning: Range<Int>, conformal: Range<Int>) {
    guard let apart = conformalRows?.range else { return (rows, rows) }
    guard rows.lowerBound <= apart.lowerBound, apart.upperBound <= rows.upperBound, apart != rows,
      apart.lowerBound == rows.lowerBound || apart.upperBound == rows.upperBound
    else {
      throw FileError(
        .value, file: file,
        "The rows that --conformal-rows keeps apart, \(apart.lowerBound):\(apart.upperBound), must be some and not "
          + "all of the validation rows, \(rows.lowerBound):\(rows.upperBound), and begin or end them.")
    }
    let tuning =
      apart.lowerBound == rows.lowerBound ? apart.upperBound..<rows.upperBound : rows.lowerBound..<apart.lowerBound
    return (tuning, apart)
  }
}
