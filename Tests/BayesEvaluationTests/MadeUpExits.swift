@testable import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule

/// Exits of made-up networks that get better from exit to exit.
enum MadeUpExits {
  /// Predictions of `exitCount` exits for rows with labels below five, from draws.
  static func predictions(_ rowCount: Int, exitCount: Int = 4, samples: Int = 4, seed: UInt64 = 3)
    -> (predictions: [Prediction], labels: [Int])
  {
    let key = RandomKey(seed: seed)
    let labels = (0..<rowCount).map { $0 * 7 % 5 }
    let difficulty = key.child(0).normals([rowCount], as: Double.self)
    let predictions = (0..<exitCount).map { exit in
      let own = key.child(1 + exit).normals([rowCount, 5], as: Double.self)
      let draws = key.child(101 + exit).normals([samples, rowCount, 5], as: Double.self)
      var logits = Tensor<Float>(zeros: [samples, rowCount, 5])
      for sample in 0..<samples {
        for row in 0..<rowCount {
          for column in 0..<5 {
            let signal = column == labels[row] ? (1.5 + Double(exit)) * Double.exp(-0.6 * difficulty[row]) : 0
            let spread = 0.4 * Double.exp(0.5 * difficulty[row])
            logits[(sample * rowCount + row) * 5 + column] = Float(
              signal + own[row, column] + spread * draws[(sample * rowCount + row) * 5 + column])
          }
        }
      }
      return Prediction(logits: logits, likelihood: .categorical, exit: exit)
    }
    return (predictions, labels)
  }

  static func table(_ rowCount: Int, score: ExitScore = .maximumProbability, seed: UInt64 = 3) throws -> ExitTable {
    let (predictions, labels) = predictions(rowCount, seed: seed)
    var tables = ExitTables(exitCount: 4, scores: [score])
    try tables.add(predictions, labels: labels)
    return tables[score]
  }

  static func costs() throws(EvaluationError) -> ExitCosts {
    try ExitCosts([6.86, 14.35, 26.13, 38.04], unit: .multiplyAdds)
  }
}
