import BayesTensor
import COpenBLAS

/// The lower Cholesky factor of a symmetric matrix.
func lapackCholesky(_ matrix: Tensor<Double>) throws(NumericalError) -> Tensor<Double> {
  let order = matrix.shape[0]
  guard matrix.firstNonFinite == nil else { throw .notFinite("A matrix to be factorised") }
  guard order > 0 else { return matrix }
  var lower = matrix
  let info = lower.withMutableSpan { span in
    unsafe span.withUnsafeMutableBufferPointer { buffer in
      unsafe LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 76 /* L */, Int32(order), buffer.baseAddress, Int32(order))
    }
  }
  guard info == 0 else {
    throw .notPositiveDefinite(
      order: order, minor: Int(info), cause: LAPACKFailure(routine: "dpotrf", info: info))
  }
  for row in 0..<order {
    for column in (row + 1)..<max(order, row + 1) { lower[row, column] = 0 }
  }
  return lower
}

/// Eigenvalues and eigenvectors of a symmetric matrix.
func lapackSymmetricEigen(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen {
  let order = matrix.shape[0]
  guard matrix.firstNonFinite == nil else { throw .notFinite("A matrix to be decomposed") }
  var vectors = matrix
  var values = Tensor<Double>(zeros: [order])
  guard order > 0 else { return SymmetricEigen(values: values, vectors: vectors) }
  let info = vectors.withMutableSpan { matrix in
    unsafe matrix.withUnsafeMutableBufferPointer { matrix in
      values.withMutableSpan { values in
        unsafe values.withUnsafeMutableBufferPointer { values in
          unsafe LAPACKE_dsyevd(
            LAPACK_ROW_MAJOR, 86 /* V */, 76 /* L */, Int32(order), matrix.baseAddress, Int32(order),
            values.baseAddress)
        }
      }
    }
  }
  guard info == 0 else {
    throw NumericalError(
      .notConverged, "The eigenvalues of a \(order)-by-\(order) matrix could not be found.",
      cause: LAPACKFailure(routine: "dsyevd", info: info))
  }
  return SymmetricEigen(values: values, vectors: vectors)
}
