import BayesTensor
import RealModule

/// `log Σ exp`, without overflow; −∞ for nothing.
func logSumExp(_ values: [Double]) -> Double {
  guard let largest = values.max(), largest.isFinite else { return -.infinity }
  return largest + Double.log(values.reduce(0) { $0 + Double.exp($1 - largest) })
}

/// The logarithm of a mean of probabilities, from their logarithms, draw by draw.
struct LogMeanProbability {
  private var sums: Tensor<Double>
  private var count = 0

  init(rowCount: Int, classCount: Int) {
    sums = Tensor(repeating: -.infinity, shape: [rowCount, classCount])
  }

  mutating func add(_ logProbabilities: Tensor<Double>) {
    count += 1
    for position in 0..<sums.count {
      let (a, b) = (sums[position], logProbabilities[position])
      sums[position] = a == -.infinity ? b : max(a, b) + Double.log(onePlus: Double.exp(-abs(a - b)))
    }
  }

  /// `[rows, classes]`
  var value: Tensor<Double> {
    let logCount = Double.log(Double(max(1, count)))
    return sums.map { $0 - logCount }
  }
}
