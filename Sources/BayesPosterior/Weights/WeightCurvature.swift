import BayesPrediction
package import BayesTensor

/// What a posterior over weights keeps of their generalised Gauss–Newton matrix `H = Σₙ Jₙᵀ Λₙ Jₙ`.
public enum WeightStructure: String, Sendable, Codable, CaseIterable {
  /// All of `H`, for few weights: memory grows with their square.
  case full
  /// For each layer `B ⊗ A`, the bias a block of its own and layers independent, with `A` the mean of
  /// `a aᵀ` over rows and positions and `B = Σ g gᵀ` over rows, positions and logits.
  ///
  /// - Source: Martens and Grosse 2015, arXiv:1503.05671; Eschenhagen et al. 2023, arXiv:2311.00636 ("expand").
  case kronecker
  /// The diagonal of `H`.
  case diagonal

  /// The most weights that `full` is made for.
  public static let fullParameterLimit = 4096
}

/// The curvature of one layer that is independent of the others.
package enum LayerCurvature: SpectralDeterminantRatio, Equatable {
  /// One number a parameter.
  case diagonal(Tensor<Double>)
  /// Of the weights, `output ⊗ input`; of the bias, its own.
  case kronecker(output: SymmetricEigen, input: SymmetricEigen, bias: SymmetricEigen?)

  /// All eigenvalues, in the order of the parameters in the eigenbasis.
  package var eigenvalues: Tensor<Double> {
    switch self {
    case .diagonal(let values): return values
    case .kronecker(let output, let input, let bias):
      let weights = input.values.elements.flatMap { m in output.values.elements.map { $0 * m } }
      let all = weights + (bias.map { Array($0.values.elements) } ?? [])
      return Tensor(shape: [all.count], all)
    }
  }

  package var parameterCount: Int {
    switch self {
    case .diagonal(let values): values.count
    case .kronecker(let output, let input, let bias):
      output.values.count * input.values.count + (bias?.values.count ?? 0)
    }
  }

  /// Derivatives with respect to the layer's parameters, as derivatives along the eigenvectors.
  ///
  /// - Shapes: `[rows, parameters]` to the same.
  func rotated(_ jacobian: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    guard case .kronecker(let output, let input, let bias) = self else { return jacobian }
    var result = jacobian
    let (inputs, outputs) = (input.values.count, output.values.count)
    let width = parameterCount
    for row in 0..<jacobian.rowCount {
      let own = Array(jacobian.elements[row * width..<(row + 1) * width])
      let weights = Tensor(shape: [inputs, outputs], Array(own[..<(inputs * outputs)]))
      let rotated = backend.product(backend.product(input.vectors, weights, transposing: .first), output.vectors)
      for position in 0..<inputs * outputs { result[row, position] = rotated[position] }
      guard let bias else { continue }
      let rotatedBias = backend.product(
        Tensor(shape: [1, outputs], Array(own[(inputs * outputs)...])), bias.vectors)
      for position in 0..<outputs { result[row, inputs * outputs + position] = rotatedBias[position] }
    }
    return result
  }

  /// `(λ + δ)^−½` of each eigenvalue.
  func deviations(priorPrecision: Double) -> [Double] {
    eigenvalues.elements.map { 1 / ($0 + priorPrecision).squareRoot() }
  }
}

/// The curvature of all chosen weights.
package enum WeightCurvature: Sendable, Equatable {
  /// Eigenvalues, none negative, and eigenvectors of the whole matrix.
  case full(SymmetricEigen)
  /// Layers that are independent of each other.
  case layers([LayerCurvature])

  /// The parts that are independent of each other: what each may have a prior precision of its own for.
  package var parts: [any DeterminantRatio] {
    switch self {
    case .full(let eigen): [LayerCurvature.diagonal(eigen.values)]
    case .layers(let layers): layers
    }
  }

  /// The standard deviations along the eigenvectors.
  ///
  /// - Parameter priorPrecisions: one a part.
  func deviations(priorPrecisions: [Double]) -> [Double] {
    switch self {
    case .full(let eigen): eigen.values.elements.map { 1 / ($0 + priorPrecisions[0]).squareRoot() }
    case .layers(let layers): zip(layers, priorPrecisions).flatMap { $0.deviations(priorPrecision: $1) }
    }
  }
}

/// The sums over training rows that a structure is made of.
package struct WeightCurvatureSums: Sendable, Equatable {
  /// `full`: `H`.  `diagonal`: its diagonal, `[parameters]`.  `kronecker`: `Σ a aᵀ` (of a row, the mean over its
  /// positions) and `Σ g gᵀ` of each layer.
  package private(set) var parts: [Tensor<Double>]
  package private(set) var rowCount = 0
  /// Of labels, in nats; `nil` where rows have none.
  package private(set) var logLikelihood: Double?

  /// The sums over no rows.
  init(_ structure: WeightStructure, _ layers: [BayesianLayer], selection: [Int]?) {
    let width = selection?.count ?? layers.reduce(0) { $0 + $1.parameterCount }
    switch structure {
    case .full: parts = [Tensor(zeros: [width, width])]
    case .diagonal: parts = [Tensor(zeros: [width])]
    case .kronecker:
      parts = layers.flatMap {
        [Tensor<Double>(zeros: [$0.inputCount, $0.inputCount]), Tensor<Double>(zeros: [$0.outputCount, $0.outputCount])]
      }
    }
  }

  /// The sums over some rows.
  ///
  /// - Parameter selection: parameters that alone are kept, in rising order; all for `nil`.
  init<Scalar: TensorScalar>(
    of jacobian: WeightJacobian<Scalar>, labels: [Int]?, _ likelihood: Likelihood, _ structure: WeightStructure,
    _ layers: [BayesianLayer], selection: [Int]?, on backend: any Backend
  ) {
    self.init(structure, layers, selection: selection)
    let logits = jacobian.logits.converted(to: Double.self)
    rowCount = logits.rowCount
    logLikelihood = labels.map { labels in
      labels.indices.reduce(0) {
        $0 + ClassScores(logits: logits, row: $1, likelihood).logProbability(of: labels[$1])
      }
    }
    let roots = curvatureRoots(logits, likelihood)
    guard structure == .kronecker else {
      let whole = jacobian.matrix(roots)
      let chosen = selection.map { selected($0, of: whole) } ?? whole
      if structure == .full {
        parts = [gram(chosen, on: backend)]
      } else {
        let width = parts[0].count
        for position in 0..<chosen.count { parts[0][position % width] += chosen[position] * chosen[position] }
      }
      return
    }
    for (index, patches) in jacobian.patches.enumerated() {
      let positions = Double(patches.rowCount / max(1, rowCount))
      parts[2 * index] = gram(patches, on: backend).map { $0 / positions }
    }
    for root in roots {
      for (index, gradient) in jacobian.pullback(root).enumerated() {
        accumulate(gram(gradient, on: backend), into: &parts[2 * index + 1])
      }
    }
  }

  mutating func add(_ other: WeightCurvatureSums) {
    for index in parts.indices { accumulate(other.parts[index], into: &parts[index]) }
    rowCount += other.rowCount
    if let theirs = other.logLikelihood { logLikelihood = (logLikelihood ?? 0) + theirs }
  }

  /// The curvature of all rows.
  ///
  /// - Throws: `NumericalError.Code.notConverged`, `.notFinite`.
  func curvature(_ structure: WeightStructure, _ layers: [BayesianLayer], on backend: any Backend)
    throws(NumericalError) -> WeightCurvature
  {
    func nonnegative(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen {
      var eigen = try backend.symmetricEigen(matrix)
      eigen.values = eigen.values.map { max(0, $0) }
      return eigen
    }
    switch structure {
    case .full: return .full(try nonnegative(parts[0]))
    case .diagonal:
      guard parts[0].count == layers.reduce(0, { $0 + $1.parameterCount }) else { return .layers([.diagonal(parts[0])]) }
      var offset = 0
      return .layers(
        layers.map { layer in
          defer { offset += layer.parameterCount }
          return .diagonal(
            Tensor(shape: [layer.parameterCount], Array(parts[0].elements[offset..<offset + layer.parameterCount])))
        })
    case .kronecker:
      var result: [LayerCurvature] = []
      for (index, layer) in layers.enumerated() {
        let output = try nonnegative(parts[2 * index + 1])
        result.append(
          .kronecker(
            output: output, input: try nonnegative(parts[2 * index].map { $0 / Double(max(1, rowCount)) }),
            bias: layer.hasBias ? output : nil))
      }
      return .layers(result)
    }
  }
}

/// Some columns of a matrix, in the order given.
func selected(_ indices: [Int], of matrix: Tensor<Double>) -> Tensor<Double> {
  let width = matrix.shape[1]
  return Tensor(shape: [matrix.rowCount, indices.count]) { result in
    matrix.withSpan { matrix in
      for start in stride(from: 0, to: matrix.count, by: max(1, width)) {
        for index in indices { result.append(matrix[start + index]) }
      }
    }
  }
}

/// Matrices of equally many rows, side by side.
func sideBySide(_ parts: [Tensor<Double>]) -> Tensor<Double> {
  guard parts.count != 1 else { return parts[0] }
  let rowCount = parts.first?.rowCount ?? 0
  return Tensor(shape: [rowCount, parts.reduce(0) { $0 + $1.shape[1] }]) { result in
    for row in 0..<rowCount {
      for part in parts {
        let width = part.shape[1]
        for column in 0..<width { result.append(part[row * width + column]) }
      }
    }
  }
}
