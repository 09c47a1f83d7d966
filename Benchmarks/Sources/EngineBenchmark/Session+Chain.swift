import Bayesify

/// Seconds of steps of a chain, and of one of subnormal numbers.
private struct ChainTimes: Encodable {
  var normal = Timings()
  var subnormal = Timings()
}

extension Session {
  mutating func timeChain(_ arguments: inout Arguments) async throws -> some Encodable {
    let name = try arguments.text("sampler")
    let count = try arguments.count("number of weights")
    let repeats = try arguments.count("number of repeats")
    let temperature = 5e-5
    switch name {
    case "langevin": return try await times(LangevinDynamics(temperature: temperature), count, repeats)
    case "preconditioned-langevin":
      return try await times(PreconditionedLangevinDynamics(temperature: temperature), count, repeats)
    case "hamiltonian": return try await times(HamiltonianDynamics(temperature: temperature), count, repeats)
    case "scale-adapted": return try await times(ScaleAdaptedHamiltonianDynamics(temperature: temperature), count, repeats)
    case "tempered":
      return try await times(
        AdaptiveVariationalDynamics(mode: .tempered(temperature: temperature), rowCount: 20_000), count, repeats)
    case "as-released":
      return try await times(
        AdaptiveVariationalDynamics(mode: .asReleased(noiseLevel: temperature), rowCount: 20_000), count, repeats)
    case "descent": return try await times(HamiltonianDynamics(temperature: 0), count, repeats)
    default: throw CommandError("'\(name)' is no sampler.")
    }
  }

  private func times<Kernel: TransitionKernel>(
    _ kernel: Kernel, _ count: Int, _ repeats: Int
  ) async throws -> ChainTimes {
    let key = RandomKey(seed: 1)
    let numbers = key.normals([count], as: Float.self)
    func chain(_ scale: Float) -> (MarkovChain, [Float], MarkovChain.Penalty) {
      let values = numbers.elements.map { scale * $0 }
      return (
        MarkovChain(at: ContiguousArray(values), for: kernel, key: key.child(1)), values,
        MarkovChain.Penalty(strengths: ContiguousArray(repeating: 1e-3, count: count))
      )
    }
    var (usual, small) = (chain(0.1), chain(1e-40))
    var found = ChainTimes()
    for step in 0..<repeats {
      await found.normal.measure {
        usual.0.step(
          by: kernel, gradient: usual.1.span, penalty: usual.2, stepSize: 1e-3, key: key.child(2).child(step))
      }
      await found.subnormal.measure {
        small.0.step(
          by: kernel, gradient: small.1.span, penalty: small.2, stepSize: 1e-3, key: key.child(2).child(step))
      }
    }
    return found
  }
}
