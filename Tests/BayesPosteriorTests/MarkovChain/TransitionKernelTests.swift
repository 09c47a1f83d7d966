import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Kernels on Gaussian targets, whose chains are linear recursions with a known law.
///
/// With the potential `½ (w − μ)ᵀ H (w − μ)` and gradients that carry normal noise of variance `σ²`, a kernel whose
/// preconditioner does not move makes of `z = (w, m)` the step `z′ = A z + noise of covariance Q`; the stationary covariance
/// solves the discrete Lyapunov equation `P = A P Aᵀ + Q`.
struct TransitionKernelTests {
  // MARK: - The exact law

  /// A step as matrices, row by row, over `(w, m)` of two weights, or over `w` alone.
  struct Recursion {
    var step: [[Double]]
    var noise: [[Double]]

    /// By doubling: `P ← P + A P Aᵀ`, `A ← A²`.
    var covariance: [[Double]] {
      var (power, sum) = (step, noise)
      for _ in 0..<40 {
        sum = sum + power * sum * power.transposed
        power = power * power
      }
      return sum
    }

    /// Of steps `w′ = w − R (H w + n) + D e`, with diagonal `R` and `D`.
    static func langevin(_ hessian: [[Double]], rates: [Double], deviations: [Double], gradientVariance: Double) -> Recursion {
      var recursion = Recursion(step: [[1, 0], [0, 1]], noise: [[0, 0], [0, 0]])
      for row in 0..<2 {
        for column in 0..<2 { recursion.step[row][column] -= rates[row] * hessian[row][column] }
        recursion.noise[row][row] = rates[row] * rates[row] * gradientVariance + deviations[row] * deviations[row]
      }
      return recursion
    }

    /// Of steps `m′ = b m − R (H w + n) + D e`, `w′ = w + τ m′`.
    static func hamiltonian(
      _ hessian: [[Double]], remaining b: Double, rates: [Double], deviations: [Double], scale: Double = 1,
      gradientVariance: Double
    ) -> Recursion {
      var recursion = Recursion(
        step: Array(repeating: Array(repeating: 0, count: 4), count: 4),
        noise: Array(repeating: Array(repeating: 0, count: 4), count: 4))
      for row in 0..<2 {
        let variance = rates[row] * rates[row] * gradientVariance + deviations[row] * deviations[row]
        for column in 0..<2 {
          recursion.step[2 + row][column] = -rates[row] * hessian[row][column]
          recursion.step[row][column] = (row == column ? 1 : 0) - scale * rates[row] * hessian[row][column]
        }
        recursion.step[2 + row][2 + row] = b
        recursion.step[row][2 + row] = scale * b
        recursion.noise[2 + row][2 + row] = variance
        recursion.noise[row][row] = scale * scale * variance
        recursion.noise[row][2 + row] = scale * variance
        recursion.noise[2 + row][row] = scale * variance
      }
      return recursion
    }
  }

  /// A kernel with a preconditioner that does not move, and its law.
  struct Setting: Sendable, CustomTestStringConvertible {
    enum Kind: String, CaseIterable, Sendable {
      case langevin, preconditionedLangevin, hamiltonian, noisyHamiltonian, scaleAdapted, asReleased, tempered
    }

    var kind: Kind
    var temperature: Double
    var testDescription: String { "\(kind.rawValue) at \(temperature)" }

    static let all = Kind.allCases.flatMap { kind in [0.02, 0.1, 1].map { Setting(kind: kind, temperature: $0) } }
  }

  static let hessian: [[Double]] = [[2, 0.6], [0.6, 1]]
  static let centre: [Double] = [0.5, -1]
  static let gradientVariance = 0.04
  /// What preconditioners hold: running means of squared gradients, of the two weights.
  static let squares: [Double] = [1.44, 0.49]
  static let floor = 1e-5
  static let chainCount = 6000

  /// Covariances of positions and means of many chains after so many steps.
  ///
  /// - Parameters:
  ///   - spread: the deviations around the centre at the beginning.
  ///   - gradientVariance: of the noise of gradients.
  private func run<Kernel: TransitionKernel>(
    _ kernel: Kernel, on hessian: [[Double]] = Self.hessian, stepSize: Double, stepCount: Int, scale: [Double]?,
    spread: [Double] = [0, 0], gradientVariance: Double = Self.gradientVariance, seed: UInt64
  ) -> (mean: [Double], covariance: [[Double]]) {
    let key = RandomKey(seed: seed)
    let count = 2 * Self.chainCount
    let begun = key.child(3).normals([count], as: Float.self)
    var chain = MarkovChain(
      at: ContiguousArray((0..<count).map { Float(Self.centre[$0 % 2]) + Float(spread[$0 % 2]) * begun[$0] }), for: kernel,
      key: key.child(0))
    if let scale { chain.scale = ContiguousArray((0..<count).map { Float(scale[$0 % 2]) }) }
    var (gradient, noise) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
    let deviation = Float(gradientVariance.squareRoot())
    let h = hessian.map { $0.map { Float($0) } }
    for step in 0..<stepCount {
      var span = noise.mutableSpan
      key.child(1).child(step).fillNormals(&span)
      for first in stride(from: 0, to: count, by: 2) {
        let (a, b) = (chain.position[first] - Float(Self.centre[0]), chain.position[first + 1] - Float(Self.centre[1]))
        gradient[first] = h[0][0] * a + h[0][1] * b + deviation * noise[first]
        gradient[first + 1] = h[1][0] * a + h[1][1] * b + deviation * noise[first + 1]
      }
      chain.step(
        by: kernel, gradient: gradient.span, penalty: MarkovChain.Penalty(strengths: [0]), stepSize: stepSize,
        key: key.child(2).child(step))
    }
    var mean = [0.0, 0.0]
    for (index, value) in chain.position.enumerated() { mean[index % 2] += Double(value) / Double(Self.chainCount) }
    var covariance = [[0.0, 0.0], [0.0, 0.0]]
    for first in stride(from: 0, to: count, by: 2) {
      let apart = (0..<2).map { Double(chain.position[first + $0]) - mean[$0] }
      for row in 0..<2 {
        for column in 0..<2 { covariance[row][column] += apart[row] * apart[column] / Double(Self.chainCount - 1) }
      }
    }
    return (mean, covariance)
  }

  /// The law of a setting at a step size.
  private func law(_ setting: Setting, stepSize h: Double, gradientVariance: Double = Self.gradientVariance) -> Recursion {
    let t = setting.temperature
    let scales = Self.squares.map { 1 / (Self.floor + $0.squareRoot()) }
    let (hessian, variance) = (Self.hessian, gradientVariance)
    switch setting.kind {
    case .langevin:
      return .langevin(
        hessian, rates: [h, h], deviations: Array(repeating: (2 * h * t).squareRoot(), count: 2), gradientVariance: variance)
    case .preconditionedLangevin:
      return .langevin(
        hessian, rates: scales.map { h * $0 }, deviations: scales.map { (2 * h * $0 * t).squareRoot() },
        gradientVariance: variance)
    case .hamiltonian:
      return .hamiltonian(
        hessian, remaining: 0.7, rates: [h, h], deviations: Array(repeating: (2 * 0.3 * h * t).squareRoot(), count: 2),
        gradientVariance: variance)
    case .noisyHamiltonian:
      return .hamiltonian(
        hessian, remaining: 0.7, rates: [h, h], deviations: Array(repeating: (2 * 0.2 * h * t).squareRoot(), count: 2),
        gradientVariance: variance)
    case .scaleAdapted:
      let deviations = zip(scales, Self.squares).map { scale, square in
        max(0, 2 * 0.3 * h * scale * t - h * h * scale * scale * square).squareRoot()
      }
      return .hamiltonian(
        hessian, remaining: 0.7, rates: scales.map { h * $0 }, deviations: deviations, gradientVariance: variance)
    case .asReleased:
      let c = h.squareRoot()
      return .hamiltonian(
        hessian, remaining: 0.1, rates: [h, h],
        deviations: Array(repeating: (2 + 2 * 0.01).squareRoot() * c * c.squareRoot() * t.squareRoot(), count: 2), scale: 0.5,
        gradientVariance: variance)
    case .tempered:
      return .hamiltonian(
        hessian, remaining: 0.6, rates: [h, h], deviations: Array(repeating: (2 * 0.4 * h * t / 0.5).squareRoot(), count: 2),
        scale: 0.5, gradientVariance: variance)
    }
  }

  @Test(arguments: Setting.all)
  func chainsKeepToTheirExactLaw(_ setting: Setting) {
    let (h, t, steps) = (0.2, setting.temperature, 90)
    let found: (mean: [Double], covariance: [[Double]])
    switch setting.kind {
    case .langevin:
      found = run(LangevinDynamics(temperature: t), stepSize: h, stepCount: steps, scale: nil, seed: 1)
    case .preconditionedLangevin:
      found = run(
        PreconditionedLangevinDynamics(temperature: t, decay: 1), stepSize: h, stepCount: steps, scale: Self.squares, seed: 2)
    case .hamiltonian:
      found = run(HamiltonianDynamics(temperature: t, friction: 0.3), stepSize: h, stepCount: steps, scale: nil, seed: 3)
    case .noisyHamiltonian:
      found = run(
        HamiltonianDynamics(temperature: t, friction: 0.3, gradientNoise: 0.1), stepSize: h, stepCount: steps, scale: nil,
        seed: 4)
    case .scaleAdapted:
      found = run(
        ScaleAdaptedHamiltonianDynamics(temperature: t, friction: 0.3, decay: 1), stepSize: h, stepCount: steps,
        scale: Self.squares, seed: 5)
    case .asReleased:
      // Without steps for the deviations they stay one half; the noise's level is a square root of what its law is written in.
      found = run(
        AdaptiveVariationalDynamics(mode: .asReleased(noiseLevel: t.squareRoot(), scaleRate: 0), rowCount: 100),
        stepSize: h, stepCount: steps, scale: nil, seed: 6)
    case .tempered:
      found = run(
        AdaptiveVariationalDynamics(mode: .tempered(temperature: t), rowCount: 100, momentum: 0.6), stepSize: h,
        stepCount: steps, scale: nil, seed: 7)
    }
    let exact = law(setting, stepSize: h).covariance
    // Four and a half standard errors of that many independent chains.
    let share = 4.5 / Double(Self.chainCount).squareRoot()
    for row in 0..<2 {
      expectClose(found.mean[row], Self.centre[row], tolerance: share * exact[row][row].squareRoot())
      for column in 0..<2 {
        let variance = exact[row][row] * exact[column][column] + exact[row][column] * exact[row][column]
        expectClose(found.covariance[row][column], exact[row][column], tolerance: share * variance.squareRoot())
      }
    }
  }
}

extension TransitionKernelTests {
  // MARK: - Small steps

  /// Chains without noise of gradients come as near to `T H⁻¹` as the step is small: half the step, half the gap.
  ///
  /// The law is exact, as the test above shows of the chains themselves.
  @Test(arguments: Setting.Kind.allCases.filter { $0 != .noisyHamiltonian && $0 != .asReleased })
  func gapsAreOfTheFirstOrder(_ kind: Setting.Kind) {
    let setting = Setting(kind: kind, temperature: 0.1)
    let determinant = Self.hessian[0][0] * Self.hessian[1][1] - Self.hessian[0][1] * Self.hessian[1][0]
    let target = [
      [0.1 * Self.hessian[1][1] / determinant, -0.1 * Self.hessian[0][1] / determinant],
      [-0.1 * Self.hessian[1][0] / determinant, 0.1 * Self.hessian[0][0] / determinant],
    ]
    func gap(_ stepSize: Double) -> Double {
      let found = law(setting, stepSize: stepSize, gradientVariance: 0).covariance
      return (0..<2).reduce(0) { sum, row in
        (0..<2).reduce(sum) { $0 + abs(found[row][$1] - target[row][$1]) }
      }
    }
    for stepSize in [0.02, 0.01, 0.005] {
      expectClose(gap(stepSize) / gap(stepSize / 2), 2, tolerance: 0.1, "\(stepSize)")
    }
    // What makes up for the noise of gradients, of which there is none here, leaves a wider gap.
    #expect(gap(0.005) < (kind == .scaleAdapted ? 0.2 : 0.02) * (target[0][0] + target[1][1]))
  }

  /// The temperature that the formula gives to what was released, by the law of small steps and by chains.
  @Test(arguments: [0.1, 0.5, 0.9])
  func releasedStepsHaveTheTemperatureOfTheFormula(momentum: Double) {
    func kernel(_ level: Double) -> AdaptiveVariationalDynamics {
      AdaptiveVariationalDynamics(
        mode: .asReleased(noiseLevel: level, scaleRate: 0), rowCount: 100, momentum: momentum)
    }
    // On ½ w² the variance is the temperature.
    let hessian: [[Double]] = [[1, 0], [0, 1]]
    func variance(stepSize: Double) -> Double {
      let root = stepSize.squareRoot()
      let deviation = (2 + 2 * momentum * momentum).squareRoot() * root * root.squareRoot()
      return Recursion.hamiltonian(
        hessian, remaining: momentum, rates: [stepSize, stepSize], deviations: [deviation, deviation], scale: 0.5,
        gradientVariance: 0
      ).covariance[0][0]
    }
    let formula = kernel(1).effectiveTemperature(stepSize: 1e-4)
    expectClose(formula, 0.5 * 0.01 * (1 + momentum * momentum) / (1 - momentum), tolerance: 1e-12)
    expectClose(variance(stepSize: 1e-4) / formula, 1, tolerance: 2e-3)
    let stepSize = 0.01
    let predicted = kernel(1).effectiveTemperature(stepSize: stepSize)
    let found = run(
      kernel(1), on: hessian, stepSize: stepSize, stepCount: 300, scale: nil,
      spread: [predicted.squareRoot(), predicted.squareRoot()], gradientVariance: 0, seed: 8)
    for row in 0..<2 { expectClose(found.covariance[row][row] / predicted, 1, tolerance: 0.1) }
  }

  // MARK: - Badly scaled targets

  /// Along a direction ten thousand times flatter than another, chains whose steps are divided by gradients' sizes get to their
  /// spread hundreds of times sooner; the deviations that EM-MCMC learns do nothing of the kind.
  @Test func preconditionersHelpWhereScalesDiffer() {
    let (t, steps) = (0.01, 400)
    let hessian: [[Double]] = [[100, 0], [0, 0.01]]
    // What gradients' squares are in the target's own spread.
    let squares = [hessian[0][0] * t, hessian[1][1] * t]
    let steepest = (hessian[0][0] / t).squareRoot()
    func share<Kernel: TransitionKernel>(_ kernel: Kernel, stepSize: Double, scale: [Double]?) -> [Double] {
      let found = run(
        kernel, on: hessian, stepSize: stepSize, stepCount: steps, scale: scale, gradientVariance: 0, seed: 9)
      return (0..<2).map { found.covariance[$0][$0] / (t / hessian[$0][$0]) }
    }
    // Each half a quarter of the way to where its steps grow without bounds.
    let plain = share(LangevinDynamics(temperature: t), stepSize: 0.25 / hessian[0][0], scale: nil)
    let scaled = share(
      PreconditionedLangevinDynamics(temperature: t, decay: 1), stepSize: 0.25 / steepest, scale: squares)
    let heavy = share(HamiltonianDynamics(temperature: t), stepSize: 0.025 / hessian[0][0], scale: nil)
    let heavyScaled = share(
      ScaleAdaptedHamiltonianDynamics(temperature: t, decay: 1), stepSize: 0.025 / steepest, scale: squares)
    #expect(plain[0] > 0.9 && heavy[0] > 0.9)
    #expect(plain[1] < 0.05 && heavy[1] < 0.05)
    #expect(scaled[1] > 0.8 && heavyScaled[1] > 0.8)
    // As released, with noise of 1 / rows: what the deviations are moved by is the same for both weights.
    var chain = MarkovChain(at: [0.5, 0.5], for: AdaptiveVariationalDynamics(
      mode: .asReleased(noiseLevel: 1e-4), rowCount: 10_000), key: RandomKey(seed: 10))
    for step in 0..<2000 {
      let gradient = [100 * chain.position[0], 0.01 * chain.position[1]]
      chain.step(
        by: AdaptiveVariationalDynamics(mode: .asReleased(noiseLevel: 1e-4), rowCount: 10_000), gradient: gradient.span,
        penalty: MarkovChain.Penalty(strengths: [0]), stepSize: 0.005, key: RandomKey(seed: 11).child(step))
    }
    expectClose(Double(chain.scale[0]), Double(chain.scale[1]), tolerance: 1e-3)
    #expect(chain.scale[0] > 0.02)
  }
}

extension [[Double]] {
  fileprivate static func * (a: [[Double]], b: [[Double]]) -> [[Double]] {
    a.map { row in b[0].indices.map { column in zip(row, b).reduce(0) { $0 + $1.0 * $1.1[column] } } }
  }

  fileprivate static func + (a: [[Double]], b: [[Double]]) -> [[Double]] { zip(a, b).map { zip($0, $1).map { $0 + $1 } } }

  fileprivate var transposed: [[Double]] { self[0].indices.map { column in map { $0[column] } } }
}
