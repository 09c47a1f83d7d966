import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule

/// Fixture E of the metric definitions: twelve rows of three classes.
let probabilitiesE = Tensor<Double>(
  shape: [12, 3],
  [
    1, 0, 0, 0.9, 0.05, 0.05, 0.8, 0.15, 0.05, 0.1, 0.85, 0.05, 0.3, 0.6, 0.1, 0.2, 0.3, 0.5, 0.4, 0.35,
    0.25, 0.05, 0.05, 0.9, 0.7, 0.2, 0.1, 0.1, 0.2, 0.7, 0.02, 0.95, 0.03, 0.34, 0.33, 0.33,
  ])
let labelsE = [1, 0, 0, 1, 0, 2, 1, 2, 0, 1, 1, 2]

/// Fixture O: scores of known and foreign rows, with ties.
let knownO = [0.1, 0.2, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.15, 0.05]
let foreignO = [0.3, 0.45, 0.55, 0.7, 0.9, 0.25, 0.5]

/// Fixture T: `Z(i, c) = 2 sin(1 + 3i + c) + 3 [c = i mod 4]` and labels that are wrong every fifth row.
let logitsT = Tensor<Float>(
  shape: [1, 12, 4],
  (0..<48).map { position in
    let (i, c) = (position / 4, position % 4)
    return Float(2 * Double.sin(Double(1 + 3 * i + c)) + (c == i % 4 ? 3 : 0))
  })
let labelsT = (0..<12).map { ($0 % 5 == 0 ? $0 + 1 : $0) % 4 }

/// Rows of pseudo-random logits, fixed for ever.
func randomLogits(
  samples: Int = 1, rows: Int, classes: Int, seed: UInt64, spread: Double = 3
) -> Tensor<Float> {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
  return Tensor(
    shape: [samples, rows, classes],
    (0..<samples * rows * classes).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Float((Double(state >> 11) / Double(1 << 53) - 0.5) * 2 * spread)
    })
}

func sample(_ scores: [Double]) throws -> ScoreSample {
  var sample = ScoreSample()
  try sample.update(scores, named: "test")
  return sample
}

func separation(known: [Double], foreign: [Double]) throws -> ScoreSeparation {
  try ScoreSeparation(inDistribution: sample(known), outOfDistribution: sample(foreign))
}
