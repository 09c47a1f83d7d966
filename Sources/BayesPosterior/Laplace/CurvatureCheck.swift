import BayesPrediction
import BayesTensor

extension Curvature {
  /// What shows that sums are not those of any rows: which of `parts` (`nil` for `totals`), and why.
  ///
  /// Sums of products of features are symmetric, have no negative element on the diagonal and none beside it that the
  /// diagonal does not allow, and those of the one that stands for the bias count the rows.
  func fault(_ structure: LaplaceStructure, _ likelihood: Likelihood) -> (part: Int?, message: String)? {
    if let message = faultOfTotals(likelihood) { return (nil, message) }
    for (index, part) in parts.enumerated() {
      if structure == .diagonal {
        if let value = part.elements.first(where: { $0 < 0 }) { return (index, "A sum of squares is \(value).") }
        continue
      }
      let width = part.shape[1]
      // The blocks of labels lie one under the other.
      for first in stride(from: 0, to: part.rowCount, by: width) {
        if let message = Self.fault(part, first..<first + width) { return (index, message) }
      }
    }
    for (index, count, wanted) in counts(structure, likelihood) where abs(count - wanted) > Self.tolerance * wanted {
      return (index, "It counts \(count.significantDigits(9)) rows, and /totals say \(wanted.significantDigits(9)).")
    }
    return nil
  }

  /// Sums over rows in another order differ by rounding.
  private static let tolerance = 1e-6

  private func faultOfTotals(_ likelihood: Likelihood) -> String? {
    let rows = self[.rowCount]
    guard rows >= 1, rows < 1e15, rows == rows.rounded() else { return "The number of rows is \(rows)." }
    guard self[.weight] > 0, likelihood == .gaussian || self[.weight] == rows else {
      return "The weight of \(Int(rows)) rows is \(self[.weight])."
    }
    guard self[.correctCount] >= 0, self[.correctCount] <= rows else {
      return "\(self[.correctCount]) of \(Int(rows)) rows are right."
    }
    guard self[.squaredError] >= 0, self[.squaredNorm] >= 0, self[.biasTrace] >= 0, self[.trace] >= 0 else {
      return "A sum of squares is negative."
    }
    return nil
  }

  private static func fault(_ part: Tensor<Double>, _ rows: Range<Int>) -> String? {
    let width = rows.count
    return part.withSpan { part in
      let start = rows.lowerBound * width
      for row in 0..<width {
        let diagonal = part[start + row * width + row]
        guard diagonal >= 0 else { return "Element [\(rows.lowerBound + row), \(row)] on the diagonal is \(diagonal)." }
      }
      for row in 0..<width {
        for column in 0..<row {
          let (value, mirrored) = (part[start + row * width + column], part[start + column * width + row])
          let bound = (part[start + row * width + row] * part[start + column * width + column]).squareRoot()
          guard abs(value - mirrored) <= Self.tolerance * bound, abs(value) <= (1 + Self.tolerance) * bound else {
            return "Elements [\(rows.lowerBound + row), \(column)] and [\(rows.lowerBound + column), \(row)] are \(value) and "
              + "\(mirrored), beside \(bound) as the mean of those on the diagonal."
          }
        }
      }
      return nil
    }
  }

  /// Parts from which the number of rows, or their weight, can be read off: the part, what it says, and what is wanted.
  private func counts(_ structure: LaplaceStructure, _ likelihood: Likelihood) -> [(Int, Double, Double)] {
    guard let last = parts.last, let width = last.shape.dimensions.last, structure != .diagonal else { return [] }
    let corner = last[last.rowCount - 1, width - 1]
    switch structure {
    case .kronecker, .folded, .factored:
      // Probabilities of a row add up to one, and so do their products.
      let output = likelihood == .categorical ? [(0, parts[0].elements.reduce(0, +), self[.rowCount])] : []
      return output + [(1, corner, self[.weight])]
    case .full: return likelihood == .gaussian ? [(0, corner, self[.weight])] : []
    case .diagonal, .lowRank: return []
    }
  }
}
