import RealModule

/// How far confidence is from accuracy, smoothed by a kernel in place of bins.
///
///     smECE_σ = ∫₀¹ |1/n Σᵢ (aᵢ − cᵢ) K_σ(t, cᵢ)| dt,    smECE = smECE_σ for the σ with smECE_σ = σ
///
/// `aᵢ` is one where the most probable class of a row is its label and `cᵢ` its confidence; `K_σ` is the Gaussian
/// kernel of standard deviation σ reflected at zero and one as often as needed, whose cosine series this sums:
///
///     K_σ(t, c) = 1 + 2 Σₖ exp(−k²π²σ²/2) cos(kπt) cos(kπc)
///
/// Residuals are kept at 4097 points of the unit interval, each shared by the two next to it, which moves the value
/// by about `1/(8 · 4096² σ²)` of itself.
///
/// relplot 1.0.3 and the kernel `reflected` of Torch-Uncertainty 0.13 compute the same to about 0.001, their
/// tolerance, but where confidences are exactly one: such rows have about half their weight there.
/// Torch-Uncertainty's other kernel, `logit`, is not offered: its value depends on the number of points it is
/// computed at (0.128 at 200 and 0.187 at 5000 on the twelve rows of the tests).
///
/// - Range: `0...1`.
/// - Source: Błasiok and Nakkiran 2023, arXiv:2309.12236, definitions 1 to 3.
public struct SmoothCalibrationError: Metric, Equatable {
  private static let cellCount = 4096

  private var residuals = [Double](repeating: 0, count: SmoothCalibrationError.cellCount + 1)
  private var rowCount = 0

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    var residuals: [Double] = []
    swap(&residuals, &self.residuals)
    for (row, confidence) in batch.probabilities.confidences.enumerated() {
      let residual = (batch.isCorrect(row) ? 1 : 0) - confidence
      let position = confidence * Double(Self.cellCount)
      let cell = min(Int(position), Self.cellCount - 1)
      let share = position - Double(cell)
      residuals[cell] += (1 - share) * residual
      residuals[cell + 1] += share * residual
    }
    swap(&residuals, &self.residuals)
    rowCount += batch.rowCount
  }

  public mutating func merge(_ other: SmoothCalibrationError) {
    for index in residuals.indices { residuals[index] += other.residuals[index] }
    rowCount += other.rowCount
  }

  /// The error, which is also the σ of its kernel.
  ///
  /// - Cost: some milliseconds.
  public var value: Double {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("calibration error") }
      // Smoothing more makes it no larger, so that there is one such σ.
      var (low, high) = (0.0, 1.0)
      var series = Series(of: self)
      while high - low > 1e-6 {
        let middle = (low + high) / 2
        if series.error(middle) < middle { high = middle } else { low = middle }
        // What is that well calibrated is as good as zero, and no row shows it.
        if high < 1e-3 { break }
      }
      return high < 1e-3 ? series.error(1e-3) : (low + high) / 2
    }
  }

  /// The error with a kernel of a given standard deviation.
  ///
  /// - Precondition: the deviation is at least 0.001, below which residuals are kept at too few points.
  public func value(standardDeviation: Double) throws(EvaluationError) -> Double {
    precondition(
      standardDeviation >= 1e-3, "The standard deviation of a kernel is at least 0.001; got \(standardDeviation).")
    guard rowCount > 0 else { throw .noRows("calibration error") }
    var series = Series(of: self)
    return series.error(standardDeviation)
  }

  /// The cosine series of the residuals, with as many terms as have been needed.
  private struct Series {
    private static let pointCount = 2048

    private let cells: [(position: Double, residual: Double)]
    private var coefficients: [Double] = []
    /// `cos(kπx)` of each cell for the last two terms.
    private var cosines: [Double]
    private var previous: [Double]

    init(of metric: SmoothCalibrationError) {
      let rows = Double(metric.rowCount)
      cells = metric.residuals.indices.lazy.filter { metric.residuals[$0] != 0 }
        .map { (Double.cos(Double.pi * Double($0) / Double(cellCount)), metric.residuals[$0] / rows) }
      cosines = cells.map(\.position)
      previous = cells.map { _ in 1 }
    }

    mutating func error(_ deviation: Double) -> Double {
      // Terms beyond are below 1e-8 of the first.
      let termCount = Int(6.1 / (Double.pi * deviation)) + 1
      while coefficients.count <= termCount { appendCoefficient() }
      let width = Double.pi * deviation
      let terms = (0...termCount).map { k in
        (k == 0 ? 1 : 2) * coefficients[k] * Double.exp(-Double(k * k) * width * width / 2)
      }
      var sum = 0.0
      for point in 0..<Self.pointCount {
        // Clenshaw's sum of the series at the middle of each part.
        let cosine = Double.cos(Double.pi * (Double(point) + 0.5) / Double(Self.pointCount))
        var (next, afterNext) = (0.0, 0.0)
        var k = termCount
        while k > 0 {
          let current = terms[k] + 2 * cosine * next - afterNext
          afterNext = next
          next = current
          k -= 1
        }
        sum += abs(terms[0] + cosine * next - afterNext)
      }
      return sum / Double(Self.pointCount)
    }

    private mutating func appendCoefficient() {
      let k = coefficients.count
      var sum = 0.0
      for index in cells.indices {
        let cosine = k == 0 ? 1 : cosines[index]
        sum += cells[index].residual * cosine
        guard k > 0 else { continue }
        let next = 2 * cells[index].position * cosine - previous[index]
        previous[index] = cosine
        cosines[index] = next
      }
      coefficients.append(sum)
    }
  }
}
