import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Optimizers, schedules and clipping against twenty steps of PyTorch's, in double precision.
@Suite struct OptimizerTests {
  private func optimizer<Scalar: TensorScalar>(_ name: String, as type: Scalar.Type) throws -> any Optimizer<Scalar> {
    switch name {
    case "sgd": StochasticGradientDescent<Scalar>()
    case "sgd-momentum": StochasticGradientDescent<Scalar>(momentum: .classical(0.9), weightDecay: .l2(0.05))
    case "sgd-nesterov": StochasticGradientDescent<Scalar>(momentum: .nesterov(0.8))
    case "adam": Adam<Scalar>()
    case "adam-l2": Adam<Scalar>(meanDecay: 0.8, squareDecay: 0.95, epsilon: 1e-3, weightDecay: .l2(0.1))
    case "adam-decoupled": Adam<Scalar>(weightDecay: .decoupled(0.2))
    default: try #require(nil, "There is no case \(name).")
    }
  }

  private func schedule(_ name: String) throws -> LearningRateSchedule {
    switch name {
    case "sgd", "adam-decoupled": .constant(0.1)
    case "sgd-momentum", "adam-l2": .staircase(initial: 0.1, factor: 0.3, period: 6)
    default: .cosine(peak: 0.1, final: 0.002, warmUpStepCount: 4, stepCount: 20)
    }
  }

  static let names = ["sgd", "sgd-momentum", "sgd-nesterov", "adam", "adam-l2", "adam-decoupled"]

  @Test(arguments: names) func stepsAreThoseOfPyTorch(name: String) throws {
    // PyTorch adds 1e-6 to the norm that it divides by, which we do not; the rest is rounding.
    let isClipped = try GoldenValue(contentsOf: "Gradients/optimizers.json")["cases"][name].table["clip"] != nil
    try compare(name, as: Double.self, tolerance: isClipped ? 1e-6 : 1e-14)
    try compare(name, as: Float.self, tolerance: 2e-6)
  }

  private func compare<Scalar: TensorScalar>(_ name: String, as type: Scalar.Type, tolerance: Double) throws {
    let golden = try GoldenValue(contentsOf: "Gradients/optimizers.json")
    let expected = golden["cases"][name]
    let all = golden["gradients"].list.map { $0.tensor(as: Scalar.self) }
    let after = expected["after"].list.map { $0.tensor(as: Scalar.self) }
    var parameters = golden["initial"].list.map { $0.tensor(as: Scalar.self) }
    var optimizer = try optimizer(name, as: type)
    let schedule = try schedule(name)
    for (step, rate) in expected["rates"].numbers.enumerated() {
      expectClose(schedule.rate(at: step), rate, tolerance: 1e-15)
      var gradients = zip(all, parameters).map { all, parameter in
        all.rows(step..<step + 1).reshaped(to: parameter.shape)
      }
      if let clip = expected.table["clip"] {
        let norm = try clipGlobalNorm(of: &gradients, to: clip.number)
        // The norm of ten numbers, in the precision that they have.
        expectClose(norm, expected["norms"].numbers[step], tolerance: min(tolerance, 1e-6))
      }
      optimizer.update(&parameters, gradients: gradients, learningRate: schedule.rate(at: step))
      for (parameter, after) in zip(parameters, after) {
        let expected = after.rows(step..<step + 1).reshaped(to: parameter.shape)
        expectClose(parameter, expected, tolerance: tolerance, "step \(step)")
      }
    }
  }

  @Test func decoupledDecayShrinksWeightsApartFromTheGradient() {
    var parameters = [Tensor<Float>(shape: [2], [8, -4])]
    var descent = StochasticGradientDescent<Float>(momentum: .classical(0.5), weightDecay: .decoupled(0.5))
    let gradients = [Tensor<Float>(shape: [2], [1, 0])]
    descent.update(&parameters, gradients: gradients, learningRate: 0.5)
    #expect(parameters == [Tensor(shape: [2], [5.5, -3])])
    // The velocity is 1.5; decay has left no trace in it.
    descent.update(&parameters, gradients: gradients, learningRate: 0.5)
    #expect(parameters == [Tensor(shape: [2], [3.375, -2.25])])
  }

  @Test(arguments: names) func memoryIsAllThatTheNextStepsNeed(name: String) throws {
    var (one, other) = (try optimizer(name, as: Double.self), try optimizer(name, as: Double.self))
    var parameters = [Tensor<Double>(shape: [2], [8, -4]), Tensor<Double>(shape: [1], [1])]
    func step(_ optimizer: inout any Optimizer<Double>, _ parameters: inout [Tensor<Double>], _ index: Int) {
      let gradients = parameters.map { $0.map { $0 * Double(index + 1) + 0.5 } }
      optimizer.update(&parameters, gradients: gradients, learningRate: 0.01)
    }
    for index in 0..<3 { step(&one, &parameters, index) }
    other.memory = one.memory
    var copies = parameters
    for index in 3..<6 {
      step(&one, &parameters, index)
      step(&other, &copies, index)
    }
    #expect(copies == parameters && one.memory == other.memory)
  }

  /// A factor of a tensor's rate is that rate, and leaves the others alone.
  @Test func tensorsMayLearnAtRatesOfTheirOwn() {
    let (start, gradient) = (Tensor<Double>(shape: [2], [1, -2]), Tensor<Double>(shape: [2], [0.5, 3]))
    var (both, slow, fast) = ([start, start], [start], [start])
    var optimizers = (Adam<Double>(), Adam<Double>(), Adam<Double>())
    for _ in 0..<3 {
      optimizers.0.update(&both, gradients: [gradient, gradient], learningRate: 0.1, factors: [0.25, 1])
      optimizers.1.update(&slow, gradients: [gradient], learningRate: 0.025)
      optimizers.2.update(&fast, gradients: [gradient], learningRate: 0.1)
    }
    #expect(both == slow + fast && slow != fast)
  }

  @Test func copiesGoOnAlone() {
    var parameters = [Tensor<Float>(shape: [1], [1])]
    var adam = Adam<Float>()
    let gradients = [Tensor<Float>(shape: [1], [0.5])]
    adam.update(&parameters, gradients: gradients, learningRate: 0.1)
    var (copy, copiedParameters) = (adam, parameters)
    copy.update(&copiedParameters, gradients: [Tensor(shape: [1], [-3])], learningRate: 0.1)
    #expect(adam.stepCount == 1 && copy.stepCount == 2)
    var (other, otherParameters) = (adam, parameters)
    adam.update(&parameters, gradients: gradients, learningRate: 0.1)
    other.update(&otherParameters, gradients: gradients, learningRate: 0.1)
    #expect(parameters == otherParameters)
    #expect(parameters != copiedParameters)
  }

  @Test func schedulesEndWhereTheySay() {
    let cosine = LearningRateSchedule.cosine(peak: 1, final: 0.25, warmUpStepCount: 2, stepCount: 6)
    #expect([0, 1, 2].map(cosine.rate) == [0.5, 1, 1])
    expectClose(cosine.rate(at: 4), 0.625, tolerance: 1e-15)
    #expect([6, 1000].map(cosine.rate) == [0.25, 0.25])
    #expect(LearningRateSchedule.cosine(peak: 1, stepCount: 0).rate(at: 0) == 0)
    let staircase = LearningRateSchedule.staircase(initial: 8, factor: 0.5, period: 3)
    #expect([0, 2, 3, 5, 6].map(staircase.rate) == [8, 8, 4, 4, 2])
  }

  @Test func clippingKeepsTheDirection() throws {
    var gradients = [Tensor<Float>(shape: [1], [3]), Tensor<Float>(shape: [2, 1], [0, 4])]
    let before = gradients
    #expect(try clipGlobalNorm(of: &gradients, to: 5) == 5)
    #expect(gradients == before)
    #expect(try clipGlobalNorm(of: &gradients, to: 2.5) == 5)
    #expect(gradients == [Tensor(shape: [1], [1.5]), Tensor(shape: [2, 1], [0, 2])])
  }

  @Test(arguments: [Float.nan, .infinity]) func gradientsThatAreNotFiniteAreRefused(wrong: Float) {
    var gradients = [Tensor<Float>(shape: [2], [3, wrong])]
    let error = #expect(throws: NumericalError.self) { try clipGlobalNorm(of: &gradients, to: 1) }
    #expect(error?.code == .notFinite)
    #expect(error?.message.hasPrefix("The gradients' norm is \(wrong);") == true)
    #expect(gradients[0][0] == 3)
  }

  @Test func gradientsOfAnotherShapeTrap() async {
    await #expect(processExitsWith: .failure) {
      var parameters = [Tensor<Float>(zeros: [2])]
      var adam = Adam<Float>()
      adam.update(&parameters, gradients: [Tensor(zeros: [3])], learningRate: 0.1)
    }
    await #expect(processExitsWith: .failure) {
      var parameters = [Tensor<Float>(zeros: [2])]
      var descent = StochasticGradientDescent<Float>(momentum: .classical(0.9))
      descent.update(&parameters, gradients: parameters, learningRate: 0.1)
      parameters = [Tensor(zeros: [3])]
      descent.update(&parameters, gradients: parameters, learningRate: 0.1)
    }
  }
}

/// The search that asks for values, on functions whose minimum is known.
struct LimitedMemoryBFGSTests {
  /// `Σ aᵢ (xᵢ − i)⁴/4 + bᵢ (xᵢ − i)²/2`, whose minimum is at `xᵢ = i`.
  private func run(_ search: inout LimitedMemoryBFGS, curvatures: [Double], quartic: Double) {
    while search.outcome == nil {
      let offsets = search.point.enumerated().map { $0.element - Double($0.offset) }
      let value = zip(offsets, curvatures).reduce(0) {
        $0 + quartic * $1.0 * $1.0 * $1.0 * $1.0 / 4 + $1.1 * $1.0 * $1.0 / 2
      }
      search.record(
        value: value, gradient: zip(offsets, curvatures).map { quartic * $0 * $0 * $0 + $1 * $0 })
    }
  }

  @Test(arguments: [0, 1, 100.0])
  func minimumIsFound(quartic: Double) {
    let curvatures = [1, 1e-2, 30, 1e3, 0.5, 7]
    var search = LimitedMemoryBFGS(from: [5, -3, 0, 9, 4, -40], tolerance: 1e-10)
    run(&search, curvatures: curvatures, quartic: quartic)
    #expect(search.outcome == .converged && search.gradientSize <= 1e-10)
    for (index, x) in search.point.enumerated() {
      expectClose(x, Double(index), tolerance: 1e-10 / curvatures[index] * 1.01)
    }
  }

  @Test func startAtTheMinimumEndsAtOnce() {
    var search = LimitedMemoryBFGS(from: [0, 1, 2], tolerance: 1e-12)
    run(&search, curvatures: [1, 1, 1], quartic: 0)
    #expect(search.outcome == .converged && search.evaluationCount == 1 && search.point == [0, 1, 2])
  }

  @Test func valuesThatAreNoNumbersAreSteppedBackFrom() {
    // −log x + x, not a number left of zero: the first full step would go there.
    var search = LimitedMemoryBFGS(from: [10], tolerance: 1e-9)
    var wrongCount = 0
    while search.outcome == nil {
      let x = search.point[0]
      if x <= 0 { wrongCount += 1 }
      search.record(value: x > 0 ? 100 * (x - Double.log(x)) : .nan, gradient: [100 * (1 - 1 / x)])
    }
    #expect(search.outcome == .converged && wrongCount > 0)
    expectClose(search.point[0], 1, tolerance: 1e-9)
  }

  @Test func searchesThatCannotGoOnSaySo() {
    var exhausted = LimitedMemoryBFGS(from: [5, 5], tolerance: 1e-30, evaluationLimit: 3)
    run(&exhausted, curvatures: [1, 1e4], quartic: 1)
    #expect(exhausted.outcome == .exhausted && exhausted.evaluationCount == 3)
    // A gradient that has nothing to do with the value.
    var stalled = LimitedMemoryBFGS(from: [1], tolerance: 1e-9)
    while stalled.outcome == nil { stalled.record(value: stalled.point[0] == 1 ? 0 : 1, gradient: [1]) }
    #expect(stalled.outcome == .stalled && stalled.point == [1])
  }
}
