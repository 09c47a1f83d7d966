import BayesTensor
import COneDNN
import COpenBLAS

/// `op(A) op(B)` in `Double`, by OpenBLAS.
func blasProduct(_ a: Tensor<Double>, _ b: Tensor<Double>, transposing: Transposition) -> Tensor<Double> {
  let extents = ProductExtents(a.shape, b.shape, transposing)
  var result = Tensor<Double>(zeros: [extents.rows, extents.columns])
  guard extents.rows > 0, extents.columns > 0, extents.inner > 0 else { return result }
  result.withMutableSpan { c in
    unsafe c.withUnsafeMutableBufferPointer { c in
      a.withSpan { a in
        b.withSpan { b in
          unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
              unsafe cblas_dgemm(
                CblasRowMajor, transposing == .first ? CblasTrans : CblasNoTrans,
                transposing == .second ? CblasTrans : CblasNoTrans, Int32(extents.rows),
                Int32(extents.columns), Int32(extents.inner), 1, a.baseAddress,
                Int32(extents.firstStride), b.baseAddress, Int32(extents.secondStride), 0, c.baseAddress,
                Int32(extents.columns))
            }
          }
        }
      }
    }
  }
  return result
}

/// `op(A) op(B)` in `Float`, by oneDNN, which knows this generation of processors better.
func oneDNNProduct(_ a: Tensor<Float>, _ b: Tensor<Float>, transposing: Transposition) -> Tensor<Float> {
  let extents = ProductExtents(a.shape, b.shape, transposing)
  var result = Tensor<Float>(zeros: [extents.rows, extents.columns])
  guard extents.rows > 0, extents.columns > 0, extents.inner > 0 else { return result }
  let (transposed, plain) = (CChar(UInt8(ascii: "T")), CChar(UInt8(ascii: "N")))
  let status = result.withMutableSpan { c in
    unsafe c.withUnsafeMutableBufferPointer { c in
      a.withSpan { a in
        b.withSpan { b in
          unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
              unsafe dnnl_sgemm(
                transposing == .first ? transposed : plain, transposing == .second ? transposed : plain,
                Int64(extents.rows), Int64(extents.columns), Int64(extents.inner), 1, a.baseAddress,
                Int64(extents.firstStride), b.baseAddress, Int64(extents.secondStride), 0, c.baseAddress,
                Int64(extents.columns))
            }
          }
        }
      }
    }
  }
  precondition(status == dnnl_success, "A product of \(a.shape) and \(b.shape) failed in oneDNN.")
  return result
}

/// The extents of a product after the transposition asked for.
private struct ProductExtents {
  var rows, inner, columns, firstStride, secondStride: Int

  init(_ a: Shape, _ b: Shape, _ transposing: Transposition) {
    precondition(a.rank == 2 && b.rank == 2, "Only matrices can be multiplied; got \(a) and \(b).")
    (rows, inner) = transposing == .first ? (a[1], a[0]) : (a[0], a[1])
    columns = transposing == .second ? b[0] : b[1]
    precondition(
      inner == (transposing == .second ? b[1] : b[0]), "Cannot multiply \(a) by \(b) (\(transposing)).")
    (firstStride, secondStride) = (a[1], b[1])
  }
}

/// The solution of a triangular system, in `Double`, by OpenBLAS.
func blasTriangularSolution(_ lower: Tensor<Double>, transposed: Bool, _ b: Tensor<Double>) -> Tensor<Double> {
  var x = b
  guard b.count > 0 else { return x }
  x.withMutableSpan { x in
    unsafe x.withUnsafeMutableBufferPointer { x in
      lower.withSpan { lower in
        unsafe lower.withUnsafeBufferPointer { lower in
          unsafe cblas_dtrsm(
            CblasRowMajor, CblasLeft, CblasLower, transposed ? CblasTrans : CblasNoTrans, CblasNonUnit,
            Int32(b.shape[0]), Int32(b.shape[1]), 1, lower.baseAddress, Int32(b.shape[0]), x.baseAddress,
            Int32(b.shape[1]))
        }
      }
    }
  }
  return x
}
