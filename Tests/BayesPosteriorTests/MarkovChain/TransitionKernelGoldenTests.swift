import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Kernels step by step, by NumPy from the formulas as published, given the same gradients and noise.
struct TransitionKernelGoldenTests {
  private func check<Kernel: TransitionKernel>(_ kernel: Kernel, _ name: String, _ golden: GoldenValue) {
    func floats(_ name: String) -> [Float] { golden[name].tensor(as: Float.self).elements.map { $0 } }
    let (start, first, strengths, centres) = (floats("start"), floats("first"), floats("strengths"), floats("centres"))
    let (gradients, noise) = (floats("gradients"), floats("noise"))
    let expected = golden["kernels"][name]
    let positions = expected["positions"].tensor(as: Float.self)
    let count = start.count
    let constants = kernel.constants(stepSize: golden["stepSize"].number)
    var weights = start.indices.map { kernel.initialWeight(at: start[$0], noise: (first[$0], first[count + $0])) }
    for step in 0..<positions.shape[0] {
      for index in weights.indices {
        kernel.move(
          &weights[index], gradient: gradients[step * count + index], penalty: (strengths[index], centres[index]),
          noise: noise[step * count + index], constants)
        expectClose(Double(weights[index].position), Double(positions[step, index]), tolerance: 3e-5)
      }
    }
    for (key, value) in [("momentum", weights.map(\.momentum)), ("scale", weights.map(\.scale))]
    where expected.table[key] != nil {
      expectClose(Tensor(shape: [count], value), expected[key].tensor(as: Float.self), tolerance: 3e-5)
    }
  }

  @Test func stepsAreThoseOfNumPy() throws {
    let golden = try GoldenValue(contentsOf: "MarkovChain/kernels.json")
    let rows = Int(golden["rowCount"].number)
    let cold = 0.7 / Double(rows)
    check(LangevinDynamics(temperature: cold), "langevin", golden)
    check(
      PreconditionedLangevinDynamics(temperature: cold, decay: 0.9, floor: 1e-2), "preconditioned-langevin", golden)
    check(HamiltonianDynamics(temperature: cold, friction: 0.2, gradientNoise: 0.05), "hamiltonian", golden)
    check(
      ScaleAdaptedHamiltonianDynamics(temperature: 1 / Double(rows), friction: 0.2, decay: 0.9, floor: 1e-2),
      "scale-adapted", golden)
    check(
      AdaptiveVariationalDynamics(mode: .asReleased(noiseLevel: Double(rows).squareRoot() / Double(rows)), rowCount: rows),
      "as-released", golden)
    check(
      AdaptiveVariationalDynamics(mode: .asReleased(noiseLevel: 1 / Double(rows)), rowCount: rows), "as-released-cold", golden)
    check(
      AdaptiveVariationalDynamics(mode: .tempered(temperature: cold), rowCount: rows, momentum: 0.3), "tempered", golden)
  }
}
