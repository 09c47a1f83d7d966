package import BayesNetwork
import BayesPrediction
package import BayesTensor
import RealModule

/// How the logits of some rows depend on the weights of chosen layers.
package struct WeightJacobian<Scalar: TensorScalar> {
  /// `[rows, logits]`
  package let logits: Tensor<Scalar>
  private let linearization: Linearization<Scalar>
  private let layers: [BayesianLayer]
  /// What each layer's matrix is multiplied by, `[rows · positions, inputs]`.
  package let patches: [Tensor<Double>]
  private let backend: any Backend

  /// - Shapes: inputs `[rows] + inputShape`, preprocessed.
  /// - Throws: `NetworkError` where no gradient passes on the way to a layer.
  package init(
    _ frozen: FrozenNetwork, exit: Exit, layers: [BayesianLayer], at inputs: Tensor<Scalar>, on backend: any Backend
  ) throws(NetworkError) {
    linearization = try Linearization(
      frozen.network, of: [exit.logits], at: inputs, parameters: frozen.parameters, to: layers.map(\.node), on: backend)
    let output = linearization.outputs[0]
    logits = output.reshaped(to: [inputs.rowCount, output.count / max(1, inputs.rowCount)])
    self.layers = layers
    self.backend = backend
    patches = layers.map { [linearization] layer in
      guard let matrix = frozen.network.nodes[layer.node].layer as? any MatrixLayer else {
        preconditionFailure("'\(layer.name)' multiplies by no matrix.")
      }
      return matrix.patches(of: linearization.input(of: layer.node)).converted(to: Double.self)
    }
  }

  /// About how many numbers a row takes: the inputs of each layer's matrix at every position and, where `isWhole`, the
  /// derivatives of each logit.
  static func numbersPerRow(_ frozen: FrozenNetwork, _ exit: Exit, _ layers: [BayesianLayer], isWhole: Bool) -> Int {
    let patches = layers.reduce(0) { sum, layer in
      sum + frozen.network.shapes[layer.node].elementCount / layer.outputCount * layer.inputCount
    }
    guard isWhole else { return patches }
    let parameterCount = layers.reduce(0) { $0 + $1.parameterCount }
    return patches + 2 * parameterCount * frozen.network.shapes[exit.logits].elementCount
  }

  /// `Σ c ∂logit / ∂output` at every position of what each layer gives.
  ///
  /// - Shapes: cotangent `[rows, logits]`; results `[rows · positions, outputs]`.
  package func pullback(_ cotangent: Tensor<Double>) -> [Tensor<Double>] {
    let cotangent = cotangent.converted(to: Scalar.self).reshaped(to: linearization.outputs[0].shape)
    return zip(layers, linearization.pullback([cotangent])).map { layer, gradient in
      gradient.converted(to: Double.self).reshaped(to: [gradient.count / layer.outputCount, layer.outputCount])
    }
  }

  /// The derivatives of each row's combinations of logits with respect to all weights.
  ///
  /// Parameters lie layer by layer, a layer's weights `[inputs, outputs]` before its bias.
  ///
  /// - Parameter cotangents: the combinations, `[rows, logits]` each.
  /// - Shapes: `[rows · combinations, parameters]`, a row's combinations together.
  package func matrix(_ cotangents: [Tensor<Double>]) -> Tensor<Double> {
    let rowCount = logits.rowCount
    let gradients = cotangents.map(pullback)
    let width = layers.reduce(0) { $0 + $1.parameterCount }
    var result = Tensor<Double>(zeros: [rowCount * cotangents.count, width])
    var offset = 0
    for (index, layer) in layers.enumerated() {
      let positions = patches[index].rowCount / max(1, rowCount)
      let (inputs, outputs) = (layer.inputCount, layer.outputCount)
      for row in 0..<rowCount {
        let own = row * positions..<(row + 1) * positions
        let patches = patches[index].rows(own)
        for (seed, gradients) in gradients.enumerated() {
          let gradient = gradients[index].rows(own)
          let product = backend.product(patches, gradient, transposing: .first)
          result.withMutableSpan { result in
            let start = (row * cotangents.count + seed) * width + offset
            product.withSpan { product in
              for position in 0..<inputs * outputs { result[start + position] = product[position] }
            }
            guard layer.hasBias else { return }
            gradient.withSpan { gradient in
              for position in 0..<gradient.count {
                result[start + inputs * outputs + position % outputs] += gradient[position]
              }
            }
          }
        }
      }
      offset += layer.parameterCount
    }
    return result
  }

  /// The derivatives of each logit.
  ///
  /// - Shapes: `[rows · logits, parameters]`, the logit running faster.
  package func matrix() -> Tensor<Double> {
    let (rowCount, logitCount) = (logits.rowCount, logits.shape[1])
    return matrix(
      (0..<logitCount).map { logit in
        var cotangent = Tensor<Double>(zeros: [rowCount, logitCount])
        for row in 0..<rowCount { cotangent[row, logit] = 1 }
        return cotangent
      })
  }
}

/// Cotangents `cₛ` of some rows' logits with `Σₛ cₛ cₛᵀ = Λ`, the second derivative of the negative log-likelihood.
///
///     categorical  cₛ = √pₛ (eₛ − p),    binary, multilabel  cₛ = √(pₛ (1 − pₛ)) eₛ,    gaussian of noise one  cₛ = eₛ
///
/// - Shapes: logits `[rows, logits]` to as many of the same shape as there are logits.
package func curvatureRoots(_ logits: Tensor<Double>, _ likelihood: Likelihood) -> [Tensor<Double>] {
  let (rowCount, logitCount) = (logits.rowCount, logits.shape[1])
  let probabilities = likelihood == .categorical ? softmax(logits) : logits
  return (0..<logitCount).map { seed in
    var root = Tensor<Double>(zeros: [rowCount, logitCount])
    for row in 0..<rowCount {
      switch likelihood {
      case .categorical:
        let scale = probabilities[row, seed].squareRoot()
        for logit in 0..<logitCount {
          root[row, logit] = scale * ((logit == seed ? 1 : 0) - probabilities[row, logit])
        }
      case .binary, .multilabel:
        // √(p (1 − p)) without overflow.
        let decay = Double.exp(-abs(logits[row, seed]) / 2)
        root[row, seed] = decay / (1 + decay * decay)
      case .gaussian: root[row, seed] = 1
      }
    }
    return root
  }
}
