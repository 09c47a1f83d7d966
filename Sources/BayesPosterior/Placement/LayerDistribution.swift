public import BayesNetwork
public import BayesTensor

/// The weights of one layer as draws that go together with those of any other layer.
public struct LayerDistribution: Sendable, Equatable {
  /// Where draws come from.
  public enum Form: Sendable, Equatable {
    /// Independent Gaussians, of each parameter.
    case factorized(means: [Tensor<Double>], deviations: [Tensor<Double>])
    /// Of the weight `W` `[inputs, outputs]`: `W + A (Z ∘ D) Bᵀ` with normal numbers `Z`; of the bias `b + B (z ∘ d)`.
    case kronecker(Kronecker)
    /// Inputs times 0 with a probability, else times one over the rest.
    case dropout(rate: Double)
    /// Draw `d` is the `d mod count`-th of these, `[count] + shape` of each parameter.
    case samples([Tensor<Float>])
  }

  /// A Gaussian along the eigenvectors of Kronecker factors.
  public struct Kronecker: Sendable, Equatable {
    /// `A`, `[inputs, inputs]`
    public var inputVectors: Tensor<Double>
    /// `B`, `[outputs, outputs]`
    public var outputVectors: Tensor<Double>
    /// `D`, `[inputs, outputs]`
    public var deviations: Tensor<Double>
    /// `d`, `[outputs]`; `nil` without a bias.
    public var biasDeviations: Tensor<Double>?
  }

  public let layerName: String
  public let kind: PlacementKind
  /// The parameters that are drawn: the weight, and the bias, which the layer need not have had.
  public let paths: [ParameterPath]
  public let form: Form

  /// Whether all draws are the trained weights.
  var isPoint: Bool {
    switch form {
    case .factorized(_, let deviations): deviations.allSatisfy { $0.elements.allSatisfy { $0 == 0 } }
    case .samples(let samples): samples.allSatisfy { $0.rowCount < 2 }
    case .kronecker, .dropout: false
    }
  }

  /// The parameters of one draw.
  ///
  /// - Parameter key: of the layer; the draw's own follows from it and the index.
  /// - Determinism: follows from the index and the key.
  func parameters(draw: Int, key: RandomKey, in frozen: FrozenNetwork, on backend: any Backend) -> Parameters {
    let key = key.child(draw)
    var result = Parameters()
    func trained(_ index: Int) -> Tensor<Float> {
      guard let found = frozen.parameters[paths[index]] else { preconditionFailure("The parameter \(paths[index]) is missing.") }
      return found
    }
    switch form {
    case .factorized(let means, let deviations):
      for (index, path) in paths.enumerated() {
        let noise: Tensor<Double> = key.child(index).normals(means[index].shape)
        result[path] = Tensor<Float>(
          shape: means[index].shape,
          (0..<noise.count).map { Float(means[index][$0] + deviations[index][$0] * noise[$0]) })
      }
    case .kronecker(let gaussian):
      let noise: Tensor<Double> = key.child(0).normals(gaussian.deviations.shape)
      let scaled = Tensor<Double>(
        shape: noise.shape, zip(noise.elements, gaussian.deviations.elements).map { $0 * $1 })
      let turned = backend.product(
        backend.product(gaussian.inputVectors, scaled), gaussian.outputVectors, transposing: .second)
      let weight = trained(0)
      result[paths[0]] = Tensor<Float>(
        shape: weight.shape, (0..<weight.count).map { Float(Double(weight[$0]) + turned[$0]) })
      if let deviations = gaussian.biasDeviations {
        let noise: Tensor<Double> = key.child(1).normals([deviations.count, 1])
        let scaled = Tensor<Double>(
          shape: noise.shape, zip(noise.elements, deviations.elements).map { $0 * $1 })
        let (turned, bias) = (backend.product(gaussian.outputVectors, scaled), trained(1))
        result[paths[1]] = Tensor<Float>(shape: bias.shape, (0..<bias.count).map { Float(Double(bias[$0]) + turned[$0]) })
      }
    case .dropout(let rate):
      let weight = trained(0)
      let dimensions = weight.shape.dimensions
      let (inputs, outputs) = (dimensions[dimensions.count - 2], dimensions[dimensions.count - 1])
      let kept = Float(1 / (1 - rate))
      let factors = key.child(0).uniforms(inputs).map { $0 < rate ? 0 : kept }
      result[paths[0]] = Tensor<Float>(
        shape: weight.shape, (0..<weight.count).map { weight[$0] * factors[$0 / outputs % inputs] })
    case .samples(let samples):
      for (path, values) in zip(paths, samples) {
        let index = draw % values.rowCount
        result[path] = values.rows(index..<index + 1).reshaped(to: values.shape.row)
      }
    }
    return result
  }
}
