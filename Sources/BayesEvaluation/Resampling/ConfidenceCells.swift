import BayesTensor
import RealModule

/// Rows from the most to the least confident in cells of neighbours, from which sets of rows are drawn anew.
///
/// Up to 256 rows each is a cell of its own, and more rows make up about as many cells, further cut where a bin of
/// confidence ends.  As many right and wrong rows of a cell are drawn as Poisson numbers of their counts say, which
/// is what drawing each row by itself comes to; within a cell rows count as equally confident, and wrong ones as
/// spread evenly.
///
/// - Cost: does not grow with the number of rows, but for making the cells.
struct ConfidenceCells: Sendable {
  private static let count = 256

  /// `[cells]`, the most confident first.
  private var right: [Int] = []
  private var wrong: [Int] = []
  private var confidences: [Double] = []
  /// Cells that all conventions put into the same bins follow one another: their ranges.
  private var runs: [Range<Int>] = []
  /// The bin of each run by each convention, `[runs][conventions]`; `nil` where the convention drops it.
  private var bins: [[Int?]] = []
  private let conventions: [UnitIntervalBins]
  private let equalMassBinCount: Int
  private let coverages: [Double]
  private let risks: [Double]

  /// - Parameters:
  ///   - order: of the uncertainties.
  ///   - conventions: the bins of calibration errors; the first have the maximum and the root mean square too.
  ///   - coverages: where the risk is of interest.
  ///   - risks: where the largest coverage is of interest.
  init(
    uncertainties: [Float], isCorrect: [Bool], order: FloatOrder, conventions: [UnitIntervalBins],
    coverages: [Double] = [], risks: [Double] = []
  ) {
    self.conventions = conventions
    self.coverages = coverages
    self.risks = risks
    equalMassBinCount = conventions[0].count
    let most = max(1, (order.places.count + Self.count - 1) / Self.count)
    var current = [Int?](repeating: nil, count: conventions.count)
    var (rightCount, wrongCount, sum) = (0, 0, 0.0)
    func close(_ cells: inout ConfidenceCells) {
      guard rightCount + wrongCount > 0 else { return }
      cells.right.append(rightCount)
      cells.wrong.append(wrongCount)
      cells.confidences.append(sum / Double(rightCount + wrongCount))
      (rightCount, wrongCount, sum) = (0, 0, 0)
    }
    func closeRun(_ cells: inout ConfidenceCells) {
      let first = cells.runs.last?.upperBound ?? 0
      guard first < cells.right.count else { return }
      cells.runs.append(first..<cells.right.count)
      cells.bins.append(current)
    }
    var previous: Float?
    for place in order.places {
      let uncertainty = uncertainties[Int(place)]
      let confidence = 1 - Double(uncertainty)
      if uncertainty != previous {
        previous = uncertainty
        var isSame = true
        for (index, bins) in conventions.enumerated() {
          let bin = bins.index(of: bins.convention.reading(confidence))
          if bin != current[index] { isSame = false }
        }
        if !isSame {
          close(&self)
          closeRun(&self)
          for (index, bins) in conventions.enumerated() {
            current[index] = bins.index(of: bins.convention.reading(confidence))
          }
        }
      }
      if rightCount + wrongCount >= most { close(&self) }
      if isCorrect[Int(place)] { rightCount += 1 } else { wrongCount += 1 }
      sum += confidence
    }
    close(&self)
    closeRun(&self)
  }

  /// Quantities of a set of rows.
  private struct Values {
    /// One a convention.
    var errors: [Double]
    var maximum = Double.nan
    var rootMeanSquare = Double.nan
    var equalMass = Double.nan
    var aurc = Double.nan
    var excessAURC = Double.nan
    var augrc = Double.nan
    var risks: [Double]
    /// The largest coverage at each risk; zero where no coverage has it.
    var coverages: [Double]
  }

  /// The intervals around the values of a result.
  func intervals(of details: ExitDetails, ece: Double, _ resampling: Resampling) -> ResampledIntervals {
    let drawn = drawnValues(resampling)
    func interval(_ value: Double, _ limit: Double = 1, _ number: (Values) -> Double) -> Interval? {
      resampling.interval(of: drawn.map(number), at: value, within: 0...limit)
    }
    let (calibration, selection) = (details.calibration, details.selection)
    var named: [String: Interval] = [:]
    for (index, bins) in conventions.enumerated().dropFirst() {
      guard let value = calibration.conventions[bins.convention.rawValue] else { continue }
      named[bins.convention.rawValue] = interval(value) { $0.errors[index] }
    }
    return ResampledIntervals(
      resamplings: resampling.count, ece: interval(ece) { $0.errors[0] },
      maximum: interval(calibration.maximum) { $0.maximum },
      rootMeanSquare: interval(calibration.rootMeanSquare) { $0.rootMeanSquare }, classwise: nil,
      equalMass: calibration.equalMass.flatMap { interval($0) { $0.equalMass } }, conventions: named,
      aurc: interval(selection.aurc) { $0.aurc }, excessAURC: interval(selection.excessAURC) { $0.excessAURC },
      augrc: interval(selection.augrc) { $0.augrc },
      risks: selection.risks.enumerated().compactMap { index, point in interval(point.risk) { $0.risks[index] } },
      coverages: selection.coverages.enumerated().compactMap { index, point in
        interval(point.coverage) { $0.coverages[index] }
      })
  }

  /// The interval of the calibration error of the first convention.
  func calibrationErrorInterval(at value: Double, _ resampling: Resampling) -> Interval? {
    resampling.interval(of: drawnValues(resampling).map { $0.errors[0] }, at: value, within: 0...1)
  }

  /// The quantities of each set drawn.
  private func drawnValues(_ resampling: Resampling) -> [Values] {
    var tables = PoissonTables()
    let rightTables = right.map { $0 > 0 ? tables.index(ofMean: $0) : nil }
    let wrongTables = wrong.map { $0 > 0 ? tables.index(ofMean: $0) : nil }
    var (drawnRight, drawnWrong) = (right, wrong)
    var drawn: [Values] = []
    for index in 0..<resampling.count {
      let uniforms = resampling.key.child(index).coarseUniforms(2 * right.count)
      for cell in right.indices {
        drawnRight[cell] = rightTables[cell].map { tables.number($0, uniforms[2 * cell]) } ?? 0
        drawnWrong[cell] = wrongTables[cell].map { tables.number($0, uniforms[2 * cell + 1]) } ?? 0
      }
      drawn.append(values(drawnRight, drawnWrong))
    }
    return drawn
  }

  /// The quantities where so many right and wrong rows of each cell are there.
  private func values(_ right: [Int], _ wrong: [Int]) -> Values {
    var values = Values(
      errors: Array(repeating: .nan, count: conventions.count), risks: Array(repeating: .nan, count: coverages.count),
      coverages: Array(repeating: 0, count: risks.count))
    let wrongCount = wrong.reduce(0, +)
    let rowCount = right.reduce(0, +) + wrongCount
    guard rowCount > 0 else { return values }
    let total = Double(rowCount)
    let sums = runs.map { cells in
      var (count, gap) = (0, 0.0)
      for cell in cells {
        count += right[cell] + wrong[cell]
        gap += Double(right[cell]) - Double(right[cell] + wrong[cell]) * confidences[cell]
      }
      return (count: count, gap: gap)
    }
    for (index, convention) in conventions.enumerated() {
      var gaps = [Double](repeating: 0, count: convention.totalCount)
      var counts = [Int](repeating: 0, count: convention.totalCount)
      for (run, sum) in sums.enumerated() {
        guard let bin = bins[run][index] else { continue }
        gaps[bin] += sum.gap
        counts[bin] += sum.count
      }
      values.errors[index] = gaps.reduce(0) { $0 + abs($1) } / total
      guard index == 0 else { continue }
      let filled = counts.indices.filter { counts[$0] > 0 }
      values.maximum = filled.map { abs(gaps[$0]) / Double(counts[$0]) }.max() ?? .nan
      values.rootMeanSquare = (filled.reduce(0) { $0 + gaps[$1] * gaps[$1] / Double(counts[$1]) } / total).squareRoot()
    }
    values.equalMass = equalMassError(right, wrong, rowCount)

    let ends = coverages.map { min(rowCount, max(1, Int(($0 * total).rounded(.up)))) }
    var (accepted, failed) = (0, 0)
    var (area, generalized) = (0.0, 0.0)
    for cell in right.indices {
      let count = right[cell] + wrong[cell]
      guard count > 0 else { continue }
      // Σⱼ (failed + slope j) / (accepted + j) over the cell's rows.
      let slope = Double(wrong[cell]) / Double(count)
      area += Double(wrong[cell])
        + (Double(failed) - slope * Double(accepted)) * Self.harmonic(from: accepted, to: accepted + count)
      generalized += Double(count) * Double(failed) + slope * Double(count) * Double(count + 1) / 2
      for (index, end) in ends.enumerated() where accepted < end && end <= accepted + count {
        values.risks[index] = (Double(failed) + slope * Double(end - accepted)) / Double(end)
      }
      for (index, risk) in risks.enumerated() {
        // Up to which of the cell's rows no more than the risk have failed.
        let room = risk * Double(accepted) - Double(failed)
        let reach = slope <= risk ? (room + (risk - slope) * Double(count) < 0 ? 0 : Double(count)) : room / (slope - risk)
        if reach > 0 { values.coverages[index] = (Double(accepted) + min(reach, Double(count))) / total }
      }
      accepted += count
      failed += wrong[cell]
    }
    let rightCount = rowCount - wrongCount
    let oracle = Double(wrongCount) - Double(rightCount) * Self.harmonic(from: rightCount, to: rowCount)
    values.aurc = area / total
    values.excessAURC = (area - oracle) / total
    values.augrc = generalized / total / total
    return values
  }

  /// The calibration error of bins of equally many rows; a cell that a bin's end cuts counts on both sides by its
  /// share.
  private func equalMassError(_ right: [Int], _ wrong: [Int], _ rowCount: Int) -> Double {
    guard rowCount >= equalMassBinCount else { return .nan }
    let width = Double(rowCount) / Double(equalMassBinCount)
    var (sum, gap, room) = (0.0, 0.0, width)
    for cell in right.indices.reversed() {
      var count = Double(right[cell] + wrong[cell])
      guard count > 0 else { continue }
      let mean = Double(right[cell]) / count - confidences[cell]
      while count >= room {
        sum += abs(gap + room * mean)
        count -= room
        (gap, room) = (0, width)
      }
      gap += count * mean
      room -= count
    }
    return (sum + abs(gap)) / Double(rowCount)
  }

  /// `1/(first + 1) + … + 1/last`, to better than 1e-5.
  private static func harmonic(from first: Int, to last: Int) -> Double {
    var (sum, number) = (0.0, first)
    while number < last && (number < 64 || last - number <= 4) {
      number += 1
      sum += 1 / Double(number)
    }
    return number == last ? sum : sum + Double.log((Double(last) + 0.5) / (Double(number) + 0.5))
  }
}
