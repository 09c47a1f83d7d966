import BayesNetwork
import BayesPrediction
import BayesTensor

/// Chooses the layers that members scale, where none are named: as many of the last ones as members can scale at random
/// before they lose too much.
///
/// From the last convolution or dense layer backwards, each is scaled by the members' vectors together with those behind
/// it, and the mean over members of the negative log-likelihood of some training rows is measured.  The first layer that
/// carries it more than `allowedLoss` above the network's own ends the choice, as does one from which on more than half
/// of the network's multiply-adds would have to run for every member.  The last layer is always among them.
///
/// - Cost: a pass over the rows for each member and layer looked at.
struct LatentPlacement: Sendable {
  /// Nats an answer.
  static let allowedLoss = 0.5
  /// How many rows are looked at: fewer where each has many answers.
  static func rowCount(positionCount: Int) -> Int { min(256, max(16, (1 << 16) / positionCount)) }

  private let recipe: LatentInference
  private let frozen: FrozenNetwork
  private let exit: Exit
  private let key: RandomKey

  init(_ recipe: LatentInference, of frozen: FrozenNetwork, exit: Exit, key: RandomKey) {
    self.recipe = recipe
    self.frozen = frozen
    self.exit = exit
    self.key = key
  }

  /// - Parameters:
  ///   - candidates: nodes of convolutions and dense layers on the way to the exit, in order.
  ///   - meanLoss: the mean negative log-likelihood of the rows under a network, nats.
  func layers(
    among candidates: [Int], meanLoss: (FrozenNetwork) async throws -> Double
  ) async throws -> [MemberLayer] {
    let network = frozen.network
    let total = network.multiplyAdds(behind: 0, of: exit)
    let base = try await meanLoss(frozen)
    var chosen: [MemberLayer] = []
    for node in candidates.reversed() {
      let layers = [try MemberLayer(node, of: network)] + chosen
      if !chosen.isEmpty {
        guard 2 * network.multiplyAdds(behind: node, of: exit) <= total else { break }
        guard try await loss(of: layers, meanLoss) - base <= Self.allowedLoss else { break }
      }
      chosen = layers
    }
    return chosen
  }

  /// The mean over members whose layers are scaled at random.
  private func loss(of layers: [MemberLayer], _ meanLoss: (FrozenNetwork) async throws -> Double) async throws -> Double {
    var plain = recipe
    plain.form = .batchEnsemble
    let posterior = LatentPosterior(
      form: .batchEnsemble,
      // A layer has the same vectors whatever stands before it.
      layers: layers.map { plain.initialMembers(of: $0, bias: $0.bias(in: frozen), key: key.child($0.node)) },
      statistics: [], divergenceWeights: layers.map { _ in 0 }, rowCount: 0, epochCount: 0, exitIndex: 0, dataTerm: 0)
    let draws = try LatentDraws(posterior, of: frozen, networks: posterior.memberCount)
    var sum = 0.0
    for member in 0..<posterior.memberCount {
      do {
        sum += try await meanLoss(try draws.network(draw: member, key: key))
      } catch let error as FileError where error.code == .value {
        // The untouched network had a loss of the same rows: it is the scales that are too far from one.
        return .infinity
      }
    }
    return sum / Double(posterior.memberCount)
  }
}

extension Network {
  /// Multiply-adds of one row from a node on to an exit's logits.
  fileprivate func multiplyAdds(behind node: Int, of exit: Exit) -> Int {
    let changes = changes { $0 == node }
    let isNeeded = isNeeded(for: [exit.logits])
    return nodes.indices.reduce(0) { $0 + (changes[$1] && isNeeded[$1] ? multiplyAdds(of: $1) : 0) }
  }
}
