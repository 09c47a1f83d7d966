import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Testing

@Suite struct InternalEnsembleTests {
  private func exits(_ count: Int, likelihood: Likelihood = .categorical) -> [Prediction] {
    (0..<count).map { exit in
      let logits = RandomKey(seed: 9).child(exit).normals([3, 6, likelihood == .binary ? 1 : 4], as: Float.self)
      return Prediction(logits: logits, likelihood: likelihood, exit: exit)
    }
  }

  private let costs = [1.8, 3.8, 6.9, 10]

  @Test(arguments: InternalEnsemble.allCases) func theFirstExitIsItself(ensemble: InternalEnsemble) {
    let first = exits(1)
    #expect(ensemble(first, costs: [1.8]) == first[0])
  }

  @Test(arguments: InternalEnsemble.allCases) func rowsSumToOne(ensemble: InternalEnsemble) {
    for count in 2...4 {
      let joint = ensemble(exits(count), costs: Array(costs[..<count]))
      let probabilities = joint.probabilities()
      for row in 0..<6 { #expect(abs((0..<4).reduce(0) { $0 + probabilities[row, $1] } - 1) < 1e-12) }
      #expect(joint.exit == count - 1)
    }
  }

  @Test func weightsAreCosts() {
    let own = exits(3)
    let joint = InternalEnsemble.costWeighted(own, costs: Array(costs[..<3]))
    let (mean, parts) = (joint.probabilities(), own.map { $0.probabilities() })
    for position in 0..<24 {
      let expected = zip(costs, parts).reduce(0) { $0 + $1.0 * $1.1[position] } / 12.5
      #expect(abs(mean[position] - expected) < 1e-12)
    }
    // Exits that agree change nothing.
    let same = InternalEnsemble.costWeighted([own[0], own[0], own[0]], costs: Array(costs[..<3])).probabilities()
    for position in 0..<24 { #expect(abs(same[position] - parts[0][position]) < 1e-12) }
  }

  @Test(arguments: [Likelihood.categorical, .binary]) func productsMultiply(likelihood: Likelihood) {
    let own = exits(3, likelihood: likelihood)
    let joint = InternalEnsemble.productOfExperts(own, costs: Array(costs[..<3]))
    let (product, parts) = (joint.probabilities(), own.map { $0.probabilities() })
    let classCount = product.shape[1]
    for row in 0..<6 {
      let raw = (0..<classCount).map { k in
        zip(costs, parts).reduce(1) { $0 * Double.pow($1.1[row, k], $1.0 / 6.9) }
      }
      for k in 0..<classCount { #expect(abs(product[row, k] - raw[k] / raw.reduce(0, +)) < 1e-12) }
    }
    // Its logits say the same to those who read them.
    let plain = Prediction(logits: joint.logits, likelihood: likelihood, exit: 2).probabilities()
    for position in 0..<plain.count { #expect(abs(plain[position] - product[position]) < 1e-6) }
  }

  /// A class that an exit rules out, and rows that no class survives, stay numbers.
  @Test func ruledOutClassesStayNumbers() {
    let sure = Prediction(
      logits: Tensor(shape: [1, 1, 2], [0, 1e4]), likelihood: .categorical, exit: 0)
    let other = Prediction(
      logits: Tensor(shape: [1, 1, 2], [1e4, 0]), likelihood: .categorical, exit: 1)
    let product = InternalEnsemble.productOfExperts([sure, other], costs: [1, 1]).probabilities()
    #expect(product.elements.allSatisfy { $0.isFinite } && abs(product[0] - 0.5) < 1e-12)
  }
}
