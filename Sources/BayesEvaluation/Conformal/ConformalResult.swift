/// What prediction sets of one method hold and how large they are.
///
/// Shares are fractions.
public struct ConformalResult: Sendable, Hashable, Codable {
  /// `lac`, `lacByClass`, `aps`, `apsRandomized`, `raps`, `rapsRandomized`.
  public var method: String
  /// The share of rows whose set may miss their class.
  public var alpha: Double
  public var isByClass: Bool
  public var isRandomized: Bool
  /// The penalty of RAPS: its `weight`, and `freeRank`, the number of classes without one.
  public var settings: [String: Double]
  public var calibrationRowCount: Int
  /// Whether the model was tuned on the calibration rows, so that the promise is not exact; absent where not known.
  public var isTunedOnCalibrationRows: Bool?
  /// One, or one a class; infinite where there are too few calibration rows for `alpha`.
  public var thresholds: [Double]
  /// The number of test rows.
  public var rowCount: Int
  /// The share of test rows whose set holds their class.
  public var coverage: Double
  /// Wilson's 95 % interval of `coverage`.
  public var interval: Interval
  /// Where `coverage` lies in 95 of 100 draws of calibration and test rows; absent for thresholds by class, which have
  /// bands by class.
  public var band: Interval?
  /// In classes.
  public var meanSize: Double
  /// The share of sets without any class.
  public var emptyShare: Double
  /// The share of sets with one class.
  public var singletonShare: Double
  public var classes: ConformalClasses

  public init(
    method: String, alpha: Double, isByClass: Bool, isRandomized: Bool, settings: [String: Double],
    calibrationRowCount: Int, isTunedOnCalibrationRows: Bool?, thresholds: [Double], rowCount: Int, coverage: Double,
    interval: Interval, band: Interval?, meanSize: Double, emptyShare: Double, singletonShare: Double,
    classes: ConformalClasses
  ) {
    self.method = method
    self.alpha = alpha
    self.isByClass = isByClass
    self.isRandomized = isRandomized
    self.settings = settings
    self.calibrationRowCount = calibrationRowCount
    self.isTunedOnCalibrationRows = isTunedOnCalibrationRows
    self.thresholds = thresholds
    self.rowCount = rowCount
    self.coverage = coverage
    self.interval = interval
    self.band = band
    self.meanSize = meanSize
    self.emptyShare = emptyShare
    self.singletonShare = singletonShare
    self.classes = classes
  }

  /// The classes that no set leaves out, since they have too few calibration rows for `alpha`.
  public var unboundedClasses: [Int] {
    guard isByClass else { return thresholds == [.infinity] ? Array(classes.rowCounts.indices) : [] }
    return thresholds.indices.filter { thresholds[$0] == .infinity }
  }
}

/// What sets hold of the rows of each class; one entry a class everywhere.
public struct ConformalClasses: Sendable, Hashable, Codable {
  public var calibrationRowCounts: [Int]
  /// Those of test rows.
  public var rowCounts: [Int]
  /// Null for classes without test rows.
  public var coverages: [Double?]
  /// In classes; null for classes without test rows.
  public var meanSizes: [Double?]
  /// Where each coverage lies in 95 of 100 draws, for thresholds by class; others promise nothing of a class.
  public var bands: [Interval?]?

  public init(
    calibrationRowCounts: [Int], rowCounts: [Int], coverages: [Double?], meanSizes: [Double?], bands: [Interval?]?
  ) {
    self.calibrationRowCounts = calibrationRowCounts
    self.rowCounts = rowCounts
    self.coverages = coverages
    self.meanSizes = meanSizes
    self.bands = bands
  }
}
