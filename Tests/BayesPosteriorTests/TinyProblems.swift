import BayesPrediction
import BayesTensor
import RealModule

/// The network of the golden numbers: `Linear(2→3)`, tanh, `Linear(3→3)`, filled by a formula.
enum TinyNetwork {
  /// `a · sin(b + c·k)` for `k` from zero.
  static func sequence(_ shape: Shape, _ a: Double, _ b: Double, _ c: Double) -> Tensor<Double> {
    Tensor(shape: shape, (0..<shape.elementCount).map { a * Double.sin(b + c * Double($0)) })
  }

  /// `[classes, features]`, as PyTorch keeps it.
  static let weight = sequence([3, 3], 1.2, 0.5, 1.3)
  static let bias = sequence([3], 0.2, 3, 1)
  static let labels = [0, 1, 2, 0, 1, 2, 0, 1]
  static let trainingFeatures = features(sequence([8, 2], 1.5, 0.3, 0.7))
  static let testFeatures = features(Tensor(shape: [2, 2], [0.5, -0.25, 3, 2]))

  /// The squared norm of the head's weights and biases.
  static var squaredNorm: Double {
    (weight.elements + bias.elements).reduce(0) { $0 + $1 * $1 }
  }

  static func features(_ inputs: Tensor<Double>) -> Tensor<Double> {
    affine(inputs, sequence([3, 2], 0.8, 1, 2), sequence([3], 0.1, 2, 1)).map { Double.tanh($0) }
  }

  static func logits(_ features: Tensor<Double>) -> Tensor<Double> { affine(features, weight, bias) }

  private static func affine(_ x: Tensor<Double>, _ weight: Tensor<Double>, _ bias: Tensor<Double>)
    -> Tensor<Double>
  {
    var result = ReferenceBackend().product(x, weight, transposing: .second)
    for row in 0..<result.rowCount { for k in 0..<bias.count { result[row, k] += bias[k] } }
    return result
  }
}

/// Rows with normal features and labels drawn from a softmax head, at one or several exits.
struct ToyProblem {
  var rowCount = 300
  var featureCount = 5
  var classCount = 3
  var exitCount = 1
  var likelihood = Likelihood.categorical
  var hasBias = true
  /// Larger makes the network surer.
  var scale = 1.0
  var seed: UInt64 = 7

  /// The same heads for every set of rows.
  var description: RecordsDescription {
    RecordsDescription(
      file: "toy.records",
      exits: (0..<exitCount).map { exit in
        ExitDescription(
          name: "exit\(exit)", likelihood: likelihood, logitCount: logitCount, featureCount: featureCount,
          multiplyAdds: 100 * (exit + 1), head: head(exit))
      }, classNames: (0..<classCount).map { "class \($0)" }, checkpointDigest: "abc", dataDigest: "def",
      preprocessing: Preprocessing(scale: 255, mean: [0.1], standardDeviation: [0.3]))
  }

  var logitCount: Int { likelihood == .binary ? 1 : classCount }

  func head(_ exit: Int) -> ExitHead {
    let key = RandomKey(seed: 99).child(exit)
    let weight: Tensor<Double> = key.child(0).normals([featureCount, logitCount])
    let bias: Tensor<Double> = key.child(1).normals([logitCount])
    return ExitHead(
      weight: weight.map { $0 * scale }.converted(to: Float.self),
      bias: hasBias ? bias.converted(to: Float.self) : Tensor(zeros: [logitCount]), hasBias: hasBias)
  }

  func records() -> InMemoryExitRecords {
    let key = RandomKey(seed: seed)
    var exits: [ExitRecords.Exit] = []
    var labels: [Int] = []
    for exit in 0..<exitCount {
      let features = key.child(exit).normals([rowCount, featureCount], as: Float.self)
      let head = head(exit)
      var logits = ReferenceBackend().product(features, head.weight)
      for row in 0..<rowCount { for k in 0..<logitCount { logits[row, k] += head.bias[k] } }
      exits.append(ExitRecords.Exit(features: features, logits: logits))
      if exit == 0 {
        for (row, uniform) in key.child(1000).uniforms(rowCount).enumerated() {
          // Labels are those of a network half as sure, so that a temperature is needed.
          let scores = logits.rows(row..<row + 1).elements.map { $0 / 2 }
          let logProbabilities = logProbabilities(ofLogits: scores, likelihood)
          var rest = uniform
          var label = 0
          while label < logProbabilities.count - 1, rest > Double.exp(logProbabilities[label]) {
            rest -= Double.exp(logProbabilities[label])
            label += 1
          }
          labels.append(label)
        }
      }
    }
    return InMemoryExitRecords(
      ExitRecords(firstRow: 0, exits: exits, labels: labels), description: description)
  }
}

/// The same rows in chunks of another size or order.
struct RechunkedRecords: ExitRecordSource {
  let base: InMemoryExitRecords
  let chunkRowCount: Int

  var description: RecordsDescription { base.description }
  var rowCount: Int { base.rowCount }
  var hasLabels: Bool { base.hasLabels }
  var hasTargets: Bool { base.hasTargets }

  func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    for first in stride(from: 0, to: rowCount, by: chunkRowCount) {
      try await body(base.records.rows(Array(first..<min(first + chunkRowCount, rowCount))))
    }
  }
}

extension ExitRecords {
  func rows(_ indices: [Int]) -> ExitRecords {
    ExitRecords(
      firstRow: firstRow + (indices.first ?? 0),
      exits: exits.map { Exit(features: $0.features?.rows(indices), logits: $0.logits.rows(indices)) },
      labels: labels.map { labels in indices.map { labels[$0] } }, targets: targets?.rows(indices),
      noise: noise.map { noise in indices.map { noise[$0] } })
  }
}

extension ExecutionContext {
  static func test(width: Int = 1) -> ExecutionContext {
    ExecutionContext(key: RandomKey(seed: 5), width: width)
  }
}
