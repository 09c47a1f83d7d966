/// The operations worth a call into a native library.
///
/// All are pure functions of plain tensors.  `ReferenceBackend` is their definition; others are
/// tested against it.  `Float` is what networks run in, `Double` what curvature and factorisations
/// need; a backend may be fast for one and plain for the other, never different in meaning.
public protocol Backend: Sendable {
  /// A name for provenance.
  var name: String { get }

  /// The product of two matrices.
  ///
  /// - Shapes: `[rows, inner]` by `[inner, columns]` after the transpositions asked for.
  func product<Scalar: TensorScalar>(
    _ a: Tensor<Scalar>, _ b: Tensor<Scalar>, transposing: Transposition
  ) -> Tensor<Scalar>

  /// The cross-correlation of images with kernels, plus a bias a channel.
  ///
  /// - Shapes: input `[batch, height, width, in]`, weight `[height, width, in / groups, out]`,
  ///   bias `[out]`, result `[batch, height', width', out]`.
  func convolution<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, weight: Tensor<Scalar>, bias: Tensor<Scalar>?, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar>

  /// The maximum or the mean of each window; padded positions count in neither.
  ///
  /// - Shapes: `[batch, height, width, channels]` to `[batch, height', width', channels]`.
  func pooling<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar>

  /// The gradient of `Σ cotangent · convolution(input, …)` with respect to the input.
  ///
  /// - Shapes: cotangent `[batch, height', width', out]`, result `inputShape`
  ///   `[batch, height, width, in]`.
  func convolutionInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, weight: Tensor<Scalar>, inputShape: Shape, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar>

  /// The gradient of `Σ cotangent · convolution(input, …)` with respect to the weight.
  ///
  /// That of the bias is the sum of the cotangent over batch and pixels.
  ///
  /// - Shapes: cotangent `[batch, height', width', out]`, input `[batch, height, width, in]`, result
  ///   `[window height, window width, in / groups, out]`.
  func convolutionWeightGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar>

  /// The gradient of `Σ cotangent · pooling(input, …)` with respect to the input.
  ///
  /// Of equal maxima in a window the first in row-major order takes all.
  ///
  /// - Shapes: cotangent `[batch, height', width', channels]`, input and result
  ///   `[batch, height, width, channels]`.
  func poolingInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar>

  /// The lower triangular `L` with `L Lᵀ = A`; above the diagonal it is zero.
  ///
  /// - Throws: `NumericalError.Code.notPositiveDefinite`, naming the leading minor that fails.
  func cholesky(_ matrix: Tensor<Double>) throws(NumericalError) -> Tensor<Double>

  /// The eigenvalues of a symmetric matrix in ascending order, and its eigenvectors as columns.
  ///
  /// Only the lower triangle is read.
  ///
  /// - Throws: `NumericalError.Code.notConverged`, `.notFinite`.
  func symmetricEigen(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen

  /// The solution `X` of `L X = B` (or `Lᵀ X = B`) for a lower triangular `L`.
  ///
  /// - Shapes: `[n, n]` and `[n, columns]` to `[n, columns]`.
  func triangularSolution(_ lower: Tensor<Double>, transposed: Bool, _ b: Tensor<Double>) -> Tensor<Double>
}

/// The spectral decomposition `A = V diag(values) Vᵀ` of a symmetric matrix.
public struct SymmetricEigen: Sendable, Equatable {
  /// Eigenvalues in ascending order, `[n]`.
  public var values: Tensor<Double>
  /// Eigenvectors as columns, `[n, n]`.
  public var vectors: Tensor<Double>

  public init(values: Tensor<Double>, vectors: Tensor<Double>) {
    self.values = values
    self.vectors = vectors
  }
}

extension Backend {
  /// `A B`.
  public func product<Scalar: TensorScalar>(_ a: Tensor<Scalar>, _ b: Tensor<Scalar>) -> Tensor<Scalar> {
    product(a, b, transposing: .neither)
  }
}
