public import BayesPrediction
import RealModule

/// A map from the probability of one class to a better calibrated one.
public protocol ProbabilityMap: Sendable, Codable, Equatable {
  /// The calibrated probability.
  ///
  /// - Parameters:
  ///   - probability: that of the class.
  ///   - rest: that of all others, one less `probability` but more precise where it is small.
  func callAsFunction(_ probability: Double, rest: Double) -> Double
}

/// A map for each class against the rest, the results divided by their sum.
///
/// Two classes share one map, that of the second.  Where all maps give zero, classes are equally likely.
public struct OneAgainstRestCalibration<Map: ProbabilityMap>: SummarizedCalibration, Codable, Equatable {
  /// One a class; one for two classes.
  public var maps: [Map]
  public var summary: CalibrationSummary

  public init(maps: [Map], summary: CalibrationSummary) {
    precondition(!maps.isEmpty && maps.count != 2, "There is one map for two classes, or one a class.")
    self.maps = maps
    self.summary = summary
  }

  /// The number of classes.
  public var classCount: Int { max(2, maps.count) }

  /// The calibrated log-probabilities.
  ///
  /// - Precondition: there are as many classes as were fitted to, one sample and no closed form.
  public func callAsFunction(_ prediction: Prediction) -> Prediction {
    prediction.mappingRows(scale: .logProbabilities, classCount: classCount, of: summary) {
      Self.logProbabilities(of: $0, by: maps)
    }
  }

  fileprivate static func logProbabilities(of logits: ArraySlice<Double>, by maps: [Map]) -> [Double] {
    let chances = ClassChance.all(ofLogits: logits)
    guard maps.count > 1 else {
      let probability = min(1, max(0, maps[0](chances[1].probability, rest: chances[1].rest)))
      return [Double.log(onePlus: -probability), Double.log(probability)]
    }
    let values = zip(maps, chances).map { max(0, $0($1.probability, rest: $1.rest)) }
    let sum = values.reduce(0, +)
    guard sum > 0 else { return values.map { _ in -Double.log(Double(values.count)) } }
    return values.map { Double.log($0 / sum) }
  }
}

/// The probability of a class and that of all others.
struct ClassChance {
  var probability: Double
  var rest: Double

  /// Those of all classes of a row.
  static func all(ofLogits logits: ArraySlice<Double>) -> [ClassChance] {
    let normalizer = logSumExp(logits)
    let probabilities = logits.map { Double.exp($0 - normalizer) }
    return probabilities.indices.map { index in
      let probability = probabilities[index]
      guard probability > 0.5 else { return ClassChance(probability: probability, rest: 1 - probability) }
      var rest = 0.0
      for other in probabilities.indices where other != index { rest += probabilities[other] }
      return ClassChance(probability: probability, rest: rest)
    }
  }
}

extension CalibrationRows {
  /// Fits a map for each class.
  ///
  /// - Parameter fit: from the chances of a class in all rows, and whether each row is of that class.
  func oneAgainstRest<Map>(_ fit: ([ClassChance], [Bool]) -> Map) -> OneAgainstRestCalibration<Map> {
    let classes = classCount == 2 ? [1] : Array(0..<classCount)
    var columns = classes.map { _ in [ClassChance]() }
    for index in 0..<rowCount {
      let chances = ClassChance.all(ofLogits: row(index))
      for (place, column) in classes.enumerated() { columns[place].append(chances[column]) }
    }
    let maps = zip(classes, columns).map { label, chances in fit(chances, labels.map { $0 == label }) }
    return OneAgainstRestCalibration(
      maps: maps, summary: summary { OneAgainstRestCalibration<Map>.logProbabilities(of: $0, by: maps) })
  }
}
