/// 95 % intervals, from sets of rows drawn anew, of what has none in closed form; see `Resampling`.
///
/// Calibration errors are biased upwards where a model is well calibrated: their intervals say how far chance moves the
/// value, not that the true error is above zero.
public struct ResampledIntervals: Sendable, Hashable, Codable {
  /// The number of sets drawn.
  public var resamplings: Int
  public var ece: Interval?
  /// As in `CalibrationDetails`.
  public var maximum: Interval?
  public var rootMeanSquare: Interval?
  /// Normal, from the scatter of 200 blocks of rows; `nil` above 100 classes.
  public var classwise: Interval?
  /// As `classwise`; absent from reports of earlier versions.
  public var brier: BrierIntervals?
  public var equalMass: Interval?
  /// Normal, of the infinitesimal jackknife; absent from reports of earlier versions.
  public var smooth: Interval?
  /// By name of the convention.
  public var conventions: [String: Interval]
  /// As in `SelectionResult`.
  public var aurc: Interval?
  public var excessAURC: Interval?
  public var augrc: Interval?
  /// One for each of `SelectionResult.risks`.
  public var risks: [Interval]
  /// One for each of `SelectionResult.coverages`; absent from reports of earlier versions.
  public var coverages: [Interval]?
}
