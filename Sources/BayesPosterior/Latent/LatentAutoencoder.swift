package import BayesTensor
import RealModule

/// A variational autoencoder of the vectors by which an ensemble's members scale the inputs of one layer.
///
///     h = relu(W_e a + b_e),    μ = W_m h + b_m,    v = W_v h + b_v, cut to −10…4
///     z = μ + c · exp(v / 2) ∘ ε,    â = W_d z + b_d
///
/// Members share its weights; `a` are their vectors, `â` what scales the inputs.
///
/// - Source: Franchi et al. 2020, arXiv:2012.02818.
package struct LatentAutoencoder: Sendable, Equatable {
  /// What is decoded.
  package enum Decode: String, CaseIterable, Sendable {
    /// `z`, as the paper has it.
    case latentSample = "latent-sample"
    /// `h`, as the authors' convolutions do: neither means nor variances reach the output then.
    case hidden
  }

  /// The places of the weights in `parameters`.
  package enum Weight: Int, CaseIterable, Sendable {
    case encoder, encoderBias, mean, meanBias, logVariance, logVarianceBias, decoder, decoderBias
  }

  package let decode: Decode
  /// `c`
  package let noiseScale: Double
  /// One tensor a weight, in the order of `Weight`; matrices are `[outputs, inputs]`.
  package var parameters: [Tensor<Double>]

  /// The range of `v`.
  static let logVarianceRange = -10.0...4.0

  package subscript(weight: Weight) -> Tensor<Double> {
    get { parameters[weight.rawValue] }
    set { parameters[weight.rawValue] = newValue }
  }

  /// What learning rates of the weights are multiplied by, in their order.
  ///
  /// Vectors lie about one, so that a step of Adam that moves all weights of a hidden unit alike moves the unit by the rate times
  /// the channels; from some hundred channels on the first steps would put all units below zero, where nothing learns.
  var rateFactors: [Double] {
    Weight.allCases.map { $0 == .encoder ? min(1, 64 / Double(channelCount)) : 1 }
  }

  /// The numbers of a vector.
  package var channelCount: Int { self[.encoder].shape[1] }
  /// The numbers of a latent.
  package var latentCount: Int { self[.encoder].shape[0] }

  /// The shapes of the weights for vectors and latents of some length.
  package static func shapes(channelCount: Int, latentCount: Int) -> [Shape] {
    let (channels, latents) = (channelCount, latentCount)
    return [
      [latents, channels], [latents], [latents, latents], [latents], [latents, latents], [latents], [channels, latents],
      [channels],
    ]
  }

  /// - Precondition: the shapes are those of `shapes(channelCount:latentCount:)`.
  package init(decode: Decode, noiseScale: Double, parameters: [Tensor<Double>]) {
    precondition(
      parameters.count == Weight.allCases.count && parameters[0].shape.rank == 2
        && parameters.map(\.shape)
          == Self.shapes(channelCount: parameters[0].shape[1], latentCount: parameters[0].shape[0]),
      "The weights of an autoencoder have other shapes.")
    self.decode = decode
    self.noiseScale = noiseScale
    self.parameters = parameters
  }

  /// Weights as frameworks draw them, uniform within one over the root of the inputs, but for two: what is decoded is near
  /// one where nothing is known, and deviations of latents begin at `exp(−2)`.
  package init(channelCount: Int, latentCount: Int, decode: Decode, noiseScale: Double, key: RandomKey) {
    let shapes = Self.shapes(channelCount: channelCount, latentCount: latentCount)
    self.init(
      decode: decode, noiseScale: noiseScale,
      parameters: zip(Weight.allCases, shapes).map { weight, shape in
        switch weight {
        case .decoderBias: return Tensor(repeating: 1, shape: shape)
        case .logVarianceBias: return Tensor(repeating: -4, shape: shape)
        default:
          let inputs = weight == .encoder || weight == .encoderBias ? channelCount : latentCount
          let bound = 1 / Double(inputs).squareRoot()
          return Tensor(
            shape: shape,
            key.child(weight.rawValue).uniforms(shape.elementCount).map { bound * (2 * $0 - 1) })
        }
      })
  }

  /// What a pass over all members leaves, a row a member.
  package struct Pass: Sendable {
    package let vectors: Tensor<Double>
    package let noise: Tensor<Double>
    /// `h`, `[members, latents]`
    let hidden: Tensor<Double>
    /// `μ`
    package let means: Tensor<Double>
    /// `v` before the cut.
    let rawLogVariances: Tensor<Double>
    /// `z`, or `h` where that is decoded.
    let decoded: Tensor<Double>
    /// `â`, `[members, channels]`
    package let reconstructions: Tensor<Double>

    /// `v`
    package var logVariances: Tensor<Double> {
      rawLogVariances.map { min(max($0, logVarianceRange.lowerBound), logVarianceRange.upperBound) }
    }

    /// `1/(J C) Σ (â − a)²`
    package var reconstructionError: Double {
      zip(reconstructions.elements, vectors.elements).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        / Double(vectors.count)
    }

    /// `−½ Σ (1 + v − μ² − exp v)`, over members and latents, nats.
    package var divergence: Double {
      zip(means.elements, logVariances.elements).reduce(0) { $0 - (1 + $1.1 - $1.0 * $1.0 - Double.exp($1.1)) / 2 }
    }

    /// How far members lie from one another: the root mean square over channels of the deviation between members.
    package var spread: Double { betweenMembers(reconstructions) }
  }

  /// Passes vectors through.
  ///
  /// - Parameters:
  ///   - vectors: `[members, channels]`
  ///   - noise: `ε`, `[members, latents]`
  package func callAsFunction(_ vectors: Tensor<Double>, noise: Tensor<Double>) -> Pass {
    let hidden = affine(vectors, .encoder, .encoderBias).map { max($0, 0) }
    let means = affine(hidden, .mean, .meanBias)
    let logVariances = affine(hidden, .logVariance, .logVarianceBias)
    let decoded: Tensor<Double>
    switch decode {
    case .hidden: decoded = hidden
    case .latentSample:
      decoded = Tensor(
        shape: means.shape,
        (0..<means.count).map { index in
          let v = min(max(logVariances[index], Self.logVarianceRange.lowerBound), Self.logVarianceRange.upperBound)
          return means[index] + noiseScale * Double.exp(v / 2) * noise[index]
        })
    }
    return Pass(
      vectors: vectors, noise: noise, hidden: hidden, means: means, rawLogVariances: logVariances, decoded: decoded,
      reconstructions: affine(decoded, .decoder, .decoderBias))
  }

  /// The gradient of
  ///
  ///     L(â) + r · reconstruction error + d · divergence
  ///
  /// with respect to the weights.
  ///
  /// - Parameters:
  ///   - cotangent: `∂L/∂â`, `[members, channels]`
  ///   - reconstructionWeight: `r`
  ///   - divergenceWeight: `d`
  package func gradient(
    at pass: Pass, cotangent: Tensor<Double>, reconstructionWeight: Double, divergenceWeight: Double
  ) -> [Tensor<Double>] {
    let share = 2 * reconstructionWeight / Double(pass.vectors.count)
    let outer = Tensor<Double>(
      shape: cotangent.shape,
      (0..<cotangent.count).map { cotangent[$0] + share * (pass.reconstructions[$0] - pass.vectors[$0]) })
    // What reaches the code that was decoded.
    let code = product(outer, self[.decoder])
    var (means, logVariances) = (Tensor<Double>(zeros: code.shape), Tensor<Double>(zeros: code.shape))
    for index in 0..<code.count {
      let raw = pass.rawLogVariances[index]
      let isCut = !Self.logVarianceRange.contains(raw)
      let v = min(max(raw, Self.logVarianceRange.lowerBound), Self.logVarianceRange.upperBound)
      means[index] = divergenceWeight * pass.means[index]
      logVariances[index] = divergenceWeight * (Double.exp(v) - 1) / 2
      if decode == .latentSample {
        means[index] += code[index]
        logVariances[index] += code[index] * noiseScale * pass.noise[index] * Double.exp(v / 2) / 2
      }
      if isCut { logVariances[index] = 0 }
    }
    let (throughMeans, throughVariances) = (product(means, self[.mean]), product(logVariances, self[.logVariance]))
    let hidden = Tensor<Double>(
      shape: code.shape,
      (0..<code.count).map { index in
        guard pass.hidden[index] > 0 else { return 0 }
        return throughMeans[index] + throughVariances[index] + (decode == .hidden ? code[index] : 0)
      })
    return [
      outerProduct(hidden, pass.vectors), columnSums(hidden), outerProduct(means, pass.hidden), columnSums(means),
      outerProduct(logVariances, pass.hidden), columnSums(logVariances), outerProduct(outer, pass.decoded),
      columnSums(outer),
    ]
  }

  /// `x Wᵀ + b`, a row a member.
  private func affine(_ rows: Tensor<Double>, _ weight: Weight, _ bias: Weight) -> Tensor<Double> {
    let (matrix, offset) = (self[weight], self[bias])
    let (outputs, inputs) = (matrix.shape[0], matrix.shape[1])
    return Tensor(shape: [rows.rowCount, outputs]) { span in
      rows.withSpan { rows in
        matrix.withSpan { matrix in
          offset.withSpan { offset in
            for row in 0..<rows.count / inputs {
              for output in 0..<outputs {
                var sum = offset[output]
                for input in 0..<inputs { sum += matrix[output * inputs + input] * rows[row * inputs + input] }
                span.append(sum)
              }
            }
          }
        }
      }
    }
  }
}

/// The root mean square over columns of the deviation between rows.
package func betweenMembers(_ rows: Tensor<Double>) -> Double {
  let (rowCount, width) = (rows.rowCount, rows.shape[1])
  var sum = 0.0
  for column in 0..<width {
    let mean = (0..<rowCount).reduce(0) { $0 + rows[$1, column] } / Double(rowCount)
    sum += (0..<rowCount).reduce(0) { $0 + (rows[$1, column] - mean) * (rows[$1, column] - mean) } / Double(rowCount)
  }
  return (sum / Double(width)).squareRoot()
}

/// `x W`
private func product(_ rows: Tensor<Double>, _ matrix: Tensor<Double>) -> Tensor<Double> {
  let (inputs, outputs) = (matrix.shape[0], matrix.shape[1])
  var result = Tensor<Double>(zeros: [rows.rowCount, outputs])
  result.withMutableSpan { result in
    rows.withSpan { rows in
      matrix.withSpan { matrix in
        for row in 0..<rows.count / inputs {
          for input in 0..<inputs {
            let factor = rows[row * inputs + input]
            for output in 0..<outputs { result[row * outputs + output] += factor * matrix[input * outputs + output] }
          }
        }
      }
    }
  }
  return result
}

/// `Σ over rows of xᵀ y`
private func outerProduct(_ x: Tensor<Double>, _ y: Tensor<Double>) -> Tensor<Double> {
  let (height, width) = (x.shape[1], y.shape[1])
  var result = Tensor<Double>(zeros: [height, width])
  result.withMutableSpan { result in
    x.withSpan { x in
      y.withSpan { y in
        for row in 0..<x.count / height {
          for line in 0..<height {
            let factor = x[row * height + line]
            for column in 0..<width { result[line * width + column] += factor * y[row * width + column] }
          }
        }
      }
    }
  }
  return result
}

private func columnSums(_ rows: Tensor<Double>) -> Tensor<Double> {
  let width = rows.shape[1]
  return Tensor(
    shape: [width], (0..<width).map { column in (0..<rows.rowCount).reduce(0) { $0 + rows[$1, column] } })
}
