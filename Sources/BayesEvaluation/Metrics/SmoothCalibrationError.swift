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
  private var squares = [Double](repeating: 0, count: SmoothCalibrationError.cellCount + 1)
  private var rowCount = 0

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    var (residuals, squares): ([Double], [Double]) = ([], [])
    swap(&residuals, &self.residuals)
    swap(&squares, &self.squares)
    for (row, confidence) in batch.probabilities.confidences.enumerated() {
      let residual = (batch.isCorrect(row) ? 1 : 0) - confidence
      let position = confidence * Double(Self.cellCount)
      let cell = min(Int(position), Self.cellCount - 1)
      let share = position - Double(cell)
      residuals[cell] += (1 - share) * residual
      residuals[cell + 1] += share * residual
      squares[cell] += (1 - share) * residual * residual
      squares[cell + 1] += share * residual * residual
    }
    swap(&residuals, &self.residuals)
    swap(&squares, &self.squares)
    rowCount += batch.rowCount
  }

  public mutating func merge(_ other: SmoothCalibrationError) {
    for index in residuals.indices {
      residuals[index] += other.residuals[index]
      squares[index] += other.squares[index]
    }
    rowCount += other.rowCount
  }

  /// The error, which is also the σ of its kernel.
  ///
  /// - Cost: some milliseconds.
  public var value: Double {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("calibration error") }
      // Smoothing more makes it no larger, so that there is one such σ.
      var series = Series(of: self)
      var (low, high) = (1.0, 1.0)
      var (excess, lack) = (series.error(1) - 1, 0.0)
      while excess < 0 {
        (high, lack) = (low, excess)
        // What is that well calibrated is as good as zero, and no row shows it.
        guard low > 1e-3 else { return series.error(1e-3) }
        low = max(low / 2, 1e-3)
        excess = series.error(low) - low
      }
      // False position; the value of an end that stays twice is halved (Dowell and Jarratt 1971, doi:10.1007/BF01934364).
      var wasLow: Bool?
      while high - low > 1e-6 {
        let middle = (low * lack - high * excess) / (lack - excess)
        let value = series.error(middle) - middle
        if abs(value) < 1e-7 { return middle }
        let isLow = value > 0
        if isLow { (low, excess) = (middle, value) } else { (high, lack) = (middle, value) }
        if isLow == wasLow { if isLow { lack /= 2 } else { excess /= 2 } }
        wasLow = isLow
      }
      return (low + high) / 2
    }
  }

  /// The 95 % interval around `value`, cut to `0...1`; `nil` below two rows.
  ///
  /// Its standard error is that of the infinitesimal jackknife: how the error moves where one row counts a little more,
  /// squared and summed over rows.  No gap counts as changing its sign, so that the interval is a little wide where gaps
  /// are luck alone.
  ///
  /// - Cost: some milliseconds.
  /// - Source: Efron 1982, doi:10.1137/1.9781611970319, chapter 6.
  public func interval(around value: Double) -> Interval? {
    guard rowCount > 1 else { return nil }
    var series = Series(of: self)
    let deviation = max(value, 1e-3)
    let influences = series.influences(deviation)
    let rows = Double(rowCount)
    let sum = zip(squares, influences).reduce(0) { $0 + $1.0 * $1.1 * $1.1 }
    var standardError = max(0, sum - rows * value * value).squareRoot() / rows
    if value > 1e-3 {
      // The deviation follows the error: their common value moves less than the error of one kernel.
      let step = 0.02 * deviation
      let slope = (series.error(deviation + step) - series.error(deviation - step)) / (2 * step)
      standardError /= 1 - min(0, slope)
    }
    let interval = Interval.normal(center: value, standardError: standardError)
    return Interval(low: max(0, interval.low), high: min(1, interval.high))
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
      self.init(
        cells: metric.residuals.indices.lazy.filter { metric.residuals[$0] != 0 }
          .map { (Double.cos(Double.pi * Double($0) / Double(cellCount)), metric.residuals[$0] / rows) })
    }

    init(cells: [(position: Double, residual: Double)]) {
      self.cells = cells
      cosines = cells.map(\.position)
      previous = cells.map { _ in 1 }
    }

    mutating func error(_ deviation: Double) -> Double {
      gaps(deviation).reduce(0) { $0 + abs($1) } / Double(Self.pointCount)
    }

    /// The integral over `t` of the sign of the smoothed residuals times `K(t, c)`, for the `c` of each place where
    /// residuals are kept: by how much a residual there moves the error.
    mutating func influences(_ deviation: Double) -> [Double] {
      let gaps = gaps(deviation)
      let signs = gaps.indices.lazy.filter { gaps[$0] != 0 }.map { point in
        (
          position: Self.cosine(point),
          residual: (gaps[point] > 0 ? 1 : -1) / Double(Self.pointCount)
        )
      }
      var series = Series(cells: Array(signs))
      let terms = series.terms(deviation)
      return (0...cellCount).map {
        Self.sum(of: terms, at: Double.cos(Double.pi * Double($0) / Double(cellCount)))
      }
    }

    /// The smoothed residuals at the middle of each of 2048 parts of the unit interval.
    private mutating func gaps(_ deviation: Double) -> [Double] {
      let terms = terms(deviation)
      return (0..<Self.pointCount).map { Self.sum(of: terms, at: Self.cosine($0)) }
    }

    private mutating func terms(_ deviation: Double) -> [Double] {
      // Terms beyond are below 1e-8 of the first.
      let termCount = Int(6.1 / (Double.pi * deviation)) + 1
      while coefficients.count <= termCount { appendCoefficient() }
      let width = Double.pi * deviation
      return (0...termCount).map { k in
        (k == 0 ? 1 : 2) * coefficients[k] * Double.exp(-Double(k * k) * width * width / 2)
      }
    }

    private static func cosine(_ point: Int) -> Double {
      Double.cos(Double.pi * (Double(point) + 0.5) / Double(pointCount))
    }

    /// Clenshaw's sum of a cosine series.
    private static func sum(of terms: [Double], at cosine: Double) -> Double {
      var (next, afterNext) = (0.0, 0.0)
      for k in (1..<terms.count).reversed() {
        let current = terms[k] + 2 * cosine * next - afterNext
        afterNext = next
        next = current
      }
      return terms[0] + cosine * next - afterNext
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
