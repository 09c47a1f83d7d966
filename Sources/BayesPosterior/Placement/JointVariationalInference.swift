import BayesPrediction
package import BayesTensor
import RealModule

/// Mean-field Gaussians over the weights of several layers, trained together; all else stays as trained.
///
/// Minimised over means `μ` and deviations `σ = softplus(ρ)` is, a path `c` a step,
///
///     J = E_c E_q [ mean over rows of −log p(y | x, w_c) ] + 1/N · Σ_layers KL(q ‖ N(trained, s²)),
///
/// where `w_c` has one draw of the layers of the path and the trained weights of all others. With `drawsPaths` every layer is
/// on a path with probability one half, and one is at least, so that each layer learns beside others that are drawn and others
/// that are not: the single-path supernet of which placements are searched. Without, all layers are on it: what a placement is
/// fitted again by.
///
/// - Source: Guo et al. 2020, arXiv:1904.00420 (single path, uniform sampling); Blundell et al. 2015, arXiv:1505.05424; prior
///   around trained weights: Krishnan et al. 2020, arXiv:1906.05323.
package struct JointVariationalInference: Hashable, Sendable {
  package var drawsPaths = false
  package var epochCount = 2
  package var batchRowCount = 128
  /// Of the means.
  package var learningRate = 1e-3
  /// Of the raw deviations.
  package var deviationLearningRate = 1e-2
  /// `s`, as a share of the root mean square of a layer's trained weights.
  package var priorShare = 1.0
  /// Deviations to begin with, as a share of the same.
  package var initialShare = 0.1

  package init() {}

  /// Trains the distributions of some layers.
  ///
  /// - Parameters:
  ///   - objective: the mean loss of rows, as a function of all weights of these layers.
  ///   - layers: where each layer's weights lie.
  ///   - origin: the trained weights.
  ///   - earlier: a training of these layers with this recipe and key that was interrupted.
  ///   - key: gives the order of rows, paths and draws.
  ///   - observe: called after every epoch with what the next one depends on.
  /// - Returns: means and deviations of each layer's weights.
  /// - Determinism: same key, same bits, whatever runs the objective.
  /// - Cost: a pass forwards and back for each row of each epoch, from the first of the layers on.
  /// - Throws: what the objective and `observe` throw; `NumericalError.Code.notFinite` where training diverges.
  package func fit(
    layers: [Range<Int>], origin: ContiguousArray<Float>, rowCount: Int, from earlier: JointVariationalTraining? = nil,
    key: RandomKey, report: (StageProgress) -> Void = { _ in }, observe: (JointVariationalTraining) throws -> Void = { _ in },
    objective: (ContiguousArray<Float>, [Int]) async throws -> (loss: Double, gradient: ContiguousArray<Float>)
  ) async throws -> [FactorizedGaussian] {
    let trained = layers.map { Tensor<Double>(shape: [$0.count], origin[$0].map { Double($0) }) }
    let scales = trained.map { max(1e-6, ($0.elements.reduce(0) { $0 + $1 * $1 } / Double(max(1, $0.count))).squareRoot()) }
    let priors = zip(trained, scales).map { FactorizedPrior(means: [$0], deviation: priorShare * $1) }
    var training =
      earlier
      ?? JointVariationalTraining(
        zip(trained, scales).map {
          FactorizedGaussian(means: [$0], deviations: [Tensor(repeating: initialShare * $1, shape: $0.shape)])
        })
    // Layers that are not on a path make no step.
    var optimizers = layers.indices.map { layer in
      var pair = (means: Adam<Double>(), deviations: Adam<Double>())
      pair.means.memory = training.meanMemories[layer]
      pair.deviations.memory = training.deviationMemories[layer]
      return pair
    }
    let stepsAnEpoch = (rowCount + batchRowCount - 1) / batchRowCount
    let schedules = (
      means: LearningRateSchedule.cosine(peak: learningRate, stepCount: stepsAnEpoch * epochCount),
      deviations: LearningRateSchedule.cosine(peak: deviationLearningRate, stepCount: stepsAnEpoch * epochCount)
    )
    for epoch in training.epochCount..<max(training.epochCount, epochCount) {
      let order = key.child(0).child(epoch).permutation(rowCount)
      for step in 0..<stepsAnEpoch {
        try Task.checkCancellation()
        let index = epoch * stepsAnEpoch + step
        let rows = Array(order[step * batchRowCount..<min(rowCount, (step + 1) * batchRowCount)])
        let path = self.path(of: layers.count, key: key.child(1).child(index))
        var weights = origin
        var noises: [Int: Tensor<Double>] = [:]
        for layer in path {
          let (mean, deviation) = (training.distributions[layer].means[0], training.distributions[layer].deviations[0])
          let noise: Tensor<Double> = key.child(2).child(index).child(layer).normals(mean.shape)
          for (offset, position) in layers[layer].enumerated() {
            weights[position] = Float(mean[offset] + deviation[offset] * noise[offset])
          }
          noises[layer] = noise
        }
        let (loss, gradient) = try await objective(weights, rows)
        guard loss.isFinite else {
          throw NumericalError(.notFinite, "The loss is no longer finite while layers are trained together; lower the learning rate.")
        }
        for layer in path {
          guard let noise = noises[layer] else { continue }
          let divergence = training.distributions[layer].divergence(from: priors[layer]).gradient
          let raw = training.distributions[layer].rawDeviations[0]
          let own = Tensor<Double>(shape: noise.shape, gradient[layers[layer]].map { Double($0) })
          let share = 1 / Double(rowCount)
          let means = Tensor<Double>(
            shape: noise.shape, (0..<noise.count).map { own[$0] + share * divergence.means[0][$0] })
          let deviations = Tensor<Double>(
            shape: noise.shape,
            (0..<noise.count).map {
              own[$0] * noise[$0] * sigmoid(raw[$0]) + share * divergence.rawDeviations[0][$0]
            })
          optimizers[layer].means.update(
            &training.distributions[layer].means, gradients: [means], learningRate: schedules.means.rate(at: index))
          optimizers[layer].deviations.update(
            &training.distributions[layer].rawDeviations, gradients: [deviations],
            learningRate: schedules.deviations.rate(at: index))
        }
        report(
          StageProgress(
            stage: "Epoch \(epoch + 1) of \(epochCount)", completed: min(rowCount, (step + 1) * batchRowCount), total: rowCount))
      }
      training.epochCount = epoch + 1
      training.meanMemories = optimizers.map(\.means.memory)
      training.deviationMemories = optimizers.map(\.deviations.memory)
      try observe(training)
    }
    return training.distributions
  }

  /// The layers of a step's path.
  package func path(of layerCount: Int, key: RandomKey) -> [Int] {
    guard drawsPaths else { return Array(0..<layerCount) }
    let numbers = key.uniforms(layerCount + 1)
    let chosen = (0..<layerCount).filter { numbers[$0] < 0.5 }
    return chosen.isEmpty ? [min(layerCount - 1, Int(numbers[layerCount] * Double(layerCount)))] : chosen
  }
}

/// Gaussians of several layers under way: all that the next epoch depends on besides the data and the key.
package struct JointVariationalTraining: Sendable, Equatable {
  package internal(set) var distributions: [FactorizedGaussian]
  var meanMemories: [OptimizerMemory<Double>]
  var deviationMemories: [OptimizerMemory<Double>]
  /// Epochs that are over.
  package internal(set) var epochCount = 0

  init(_ distributions: [FactorizedGaussian]) {
    self.distributions = distributions
    meanMemories = distributions.map { _ in OptimizerMemory() }
    deviationMemories = meanMemories
  }
}

extension ArrayArchiveWriter {
  /// Writes Gaussians under way: `means`, `rawDeviations` and `memory` of each layer.
  func write(_ training: JointVariationalTraining, at path: String) throws(FileError) {
    try setAttribute("layerCount", .integer(training.distributions.count), of: path)
    try setAttribute("epochCount", .integer(training.epochCount), of: path)
    for (index, distribution) in training.distributions.enumerated() {
      try write(distribution.means[0], at: "\(path)/\(index)/means")
      try write(distribution.rawDeviations[0], at: "\(path)/\(index)/rawDeviations")
      try write(training.meanMemories[index], at: "\(path)/\(index)/memory/means")
      try write(training.deviationMemories[index], at: "\(path)/\(index)/memory/rawDeviations")
    }
  }
}

extension PosteriorReader {
  /// Reads Gaussians under way.
  func jointTraining(at path: String) throws(FileError) -> JointVariationalTraining {
    let count = try integer("layerCount", of: path)
    guard (1...100_000).contains(count) else {
      throw failure(.value, path, "There are \(count) layers; the file is damaged, begin anew with --force.")
    }
    var distributions: [FactorizedGaussian] = []
    var memories: (means: [OptimizerMemory<Double>], deviations: [OptimizerMemory<Double>]) = ([], [])
    for index in 0..<count {
      let own = "\(path)/\(index)"
      let means: Tensor<Double> = try array("\(own)/means", rank: 1)
      let raw: Tensor<Double> = try array("\(own)/rawDeviations", shape: means.shape)
      distributions.append(FactorizedGaussian(means: [means], rawDeviations: [raw]))
      memories.means.append(try memory(at: "\(own)/memory/means", like: [means]))
      memories.deviations.append(try memory(at: "\(own)/memory/rawDeviations", like: [means]))
    }
    var training = JointVariationalTraining(distributions)
    (training.meanMemories, training.deviationMemories) = memories
    training.epochCount = try integer("epochCount", of: path)
    guard training.epochCount >= 0 else {
      throw failure(.value, path, "The number of epochs is below zero; the file is damaged, begin anew with --force.")
    }
    return training
  }
}
