package import BayesNetwork
package import BayesPrediction
package import BayesTensor

/// What latent inference minimises, and its gradient, at some rows and a draw of the latents.
///
/// What lies before the layers is computed without gradients, once for all epochs where 1 GiB has room for it; the
/// layers' own weights have no gradients.
package struct LatentObjective: Sendable {
  /// The objective's parts, and its gradient.
  package struct Value: Sendable {
    /// The mean over the answers of members' rows of the negative log-likelihood, nats.
    package var dataTerm: Double
    /// The mean over layers of `mean (â − a)² + w · KL`.
    package var latentTerm: Double
    /// Of the vectors and biases, in the order of `LatentPosterior.Layer.vectors`.
    package var vectors: [Tensor<Double>]
    /// Of the autoencoders' weights, layer by layer.
    package var autoencoders: [Tensor<Double>]
  }

  /// The negative log-likelihood of some rows, summed over their answers, and its derivative, from the logits
  /// `[answers, logits]`.
  package typealias Loss = @Sendable (_ logits: Tensor<Float>, _ rows: [Int]) throws -> LossValue<Float>

  private let recipe: LatentInference
  private let scaled: ScaledNetwork
  private let plan: any TrainingPlan
  private let prefix: FrozenPrefix
  private let loss: Loss
  private let answerCount: @Sendable (_ rows: [Int]) throws -> Int
  private let width: Int

  /// - Parameters:
  ///   - layers: in the order of their nodes.
  ///   - rowCount: all rows of training.
  ///   - inputs: stored rows at some positions.
  ///   - answerCount: the number of answers of some rows, over which the data term is a mean.
  package init(
    _ recipe: LatentInference, _ layers: [MemberLayer], of frozen: FrozenNetwork, exit: Exit, preprocessing: Preprocessing,
    rowCount: Int, inputs: @escaping @Sendable ([Int]) throws -> RowBatch, loss: @escaping Loss,
    answerCount: @escaping @Sendable (_ rows: [Int]) throws -> Int = { $0.count }, on backend: any NetworkBackend, width: Int
  ) async throws {
    self.recipe = recipe
    scaled = try ScaledNetwork(layers, of: frozen, outputs: [exit.logits])
    let paths = scaled.trainedPaths
    let boundary = try scaled.frozen.network.frozenBoundary(of: scaled.outputs, training: paths)
    plan = try backend.prepareTraining(
      scaled.frozen, preprocessing: preprocessing, inputs: boundary, outputs: scaled.outputs, of: paths,
      includingInputs: false)
    prefix = try await FrozenPrefix(
      to: boundary, of: scaled.frozen, preprocessing, rowCount: rowCount, inputs: inputs, on: backend, width: width)
    self.loss = loss
    self.answerCount = answerCount
    self.width = width
  }

  /// The rows of a batch that each member learns from.
  package static func portions(of rows: [Int], among members: Int, _ batch: LatentInference.MemberBatch) -> [[Int]] {
    switch batch {
    case .replicated: return Array(repeating: rows, count: members)
    case .split:
      return (0..<members).map { Array(rows[rows.count * $0 / members..<rows.count * ($0 + 1) / members]) }
    }
  }

  /// - Determinism: follows from the rows, the layers and the key, at any width.
  /// - Throws: `NumericalError.Code.notFinite` where the loss is not finite; what reading throws; `CancellationError`.
  package func callAsFunction(
    _ layers: [LatentPosterior.Layer], at rows: [Int], key: RandomKey
  ) async throws -> Value {
    try await self(
      layers, at: rows,
      noise: layers.enumerated().map { index, layer in
        key.child(index).normals([layer.outputs.rowCount, layer.autoencoder?.latentCount ?? 0])
      })
  }

  /// The objective with random numbers that are given, `[members, latents]` of each layer.
  func callAsFunction(
    _ layers: [LatentPosterior.Layer], at rows: [Int], noise: [Tensor<Double>]
  ) async throws -> Value {
    let members = layers[0].outputs.rowCount
    let passes = zip(layers, noise).map { layer, noise in layer.autoencoder.map { $0(layer.inputs, noise: noise) } }
    let inputs = zip(layers, passes).map { $1?.reconstructions ?? $0.inputs }
    let portions = Self.portions(of: rows, among: members, recipe.memberBatch)
    let share = 1 / Double(try portions.reduce(0) { try $0 + answerCount($1) })
    // Where all learn from the same rows, these are gathered once.
    let batches = recipe.memberBatch == .replicated ? [try await prefix(rows, width: width)] : []
    let threads = threads(forMembers: members)
    let gradients = try await inOrder(Array(0..<members), width: threads.members) { member in
      let own = zip(layers, inputs).map { layer, inputs in
        MemberLayer.Version(
          inputs: row(member, of: inputs), outputs: row(member, of: layer.outputs), bias: row(member, of: layer.biases))
      }
      // The last batch may have fewer rows than there are members.
      guard !portions[member].isEmpty else {
        return (loss: 0.0, versions: own.map { $0.map { Tensor(zeros: $0.shape) } })
      }
      let batch: [RowBatch]
      if let shared = batches.first { batch = shared } else { batch = try await prefix(portions[member], width: threads.each) }
      let gradients = try await gradientsOfParameters(scaled.parameters(own), at: portions[member], batch, width: threads.each)
      return (gradients.loss, scaled.gradients(gradients.parameters))
    }
    let (loss, versions) = (gradients.reduce(0) { $0 + $1.loss }, gradients.map(\.versions))
    guard loss.isFinite,
      versions.allSatisfy({
        $0.allSatisfy { version in
          [version.inputs, version.outputs, version.bias].allSatisfy { $0.firstNonFinite == nil }
        }
      })
    else { throw Self.divergence }
    func stacked(_ layer: Int, _ part: (MemberLayer.Version) -> Tensor<Double>) -> Tensor<Double> {
      .stacking(
        versions.map { member in
          let vector = part(member[layer])
          return vector.map { share * $0 }.reshaped(to: [1, vector.count])
        })
    }
    var value = Value(dataTerm: loss * share, latentTerm: 0, vectors: [], autoencoders: [])
    let layerShare = 1 / Double(layers.count)
    for index in layers.indices {
      value.vectors += [stacked(index, \.outputs), stacked(index, \.bias)]
      let cotangent = stacked(index, \.inputs)
      guard let pass = passes[index], let autoencoder = layers[index].autoencoder else {
        value.vectors.append(cotangent)
        continue
      }
      let weight = recipe.divergenceWeight(inputCount: autoencoder.channelCount)
      value.latentTerm += layerShare * (pass.reconstructionError + weight * pass.divergence)
      value.autoencoders += autoencoder.gradient(
        at: pass, cotangent: cotangent, reconstructionWeight: layerShare, divergenceWeight: layerShare * weight)
    }
    return value
  }

  /// The members whose gradients are computed at once, and the threads of each: side by side nobody waits for the end of
  /// another's rows.
  private func threads(forMembers members: Int) -> (members: Int, each: Int) {
    if members.isMultiple(of: width) { return (width, 1) }
    return width.isMultiple(of: members) ? (members, width / members) : (1, width)
  }

  private func gradientsOfParameters(
    _ parameters: Parameters, at rows: [Int], _ inputs: [RowBatch], width: Int
  ) async throws -> TrainingGradients {
    do {
      return try await plan.gradients(at: inputs, parameters: parameters, width: width) { outputs, slice in
        let logits = outputs[0]
        let width = logits.shape.dimensions.last ?? 1
        let matrix = logits.reshaped(to: [logits.count / width, width])
        let value = try loss(matrix, Array(rows[slice]))
        return LossGradient(value: value.value, cotangents: [value.cotangent.reshaped(to: logits.shape)])
      }
    } catch let error as LossError where error.code == .output {
      throw Self.divergence
    }
  }

  static let divergence = NumericalError(
    .notFinite,
    "The loss or its gradient is infinite or not a number at this step; lower the learning rate, the initial deviation, the scale of "
      + "the latents' noise or the weight of their divergence.")
}

private func row(_ index: Int, of matrix: Tensor<Double>) -> Tensor<Double> {
  matrix.rows(index..<index + 1).reshaped(to: [matrix.shape[1]])
}

extension LatentPosterior.Layer {
  /// What is trained beside the autoencoder: outputs, biases and, where they do not pass through one, inputs.
  package var vectors: [Tensor<Double>] {
    get { autoencoder == nil ? [outputs, biases, inputs] : [outputs, biases] }
    set {
      (outputs, biases) = (newValue[0], newValue[1])
      if autoencoder == nil { inputs = newValue[2] }
    }
  }
}
