/// Whose rule puts a confidence into a bin of a calibration error.
///
/// Rules differ in the side on which bins are closed, in how edges are rounded, and in what becomes of exactly zero and
/// exactly one; where confidences lie on edges, as those of few draws or of rounded files do, values of two tools
/// differ by more than what is measured.
///
/// | | bins | edges | 0 | 1 |
/// |---|---|---|---|---|
/// | `standard` | `(a, b]` | `k/n` in double precision | first bin | last bin |
/// | `guo` | `(a, b]` | steps in single precision | dropped | last bin |
/// | `netcal` | `[a, b)` | steps in double precision | first bin | last bin |
/// | `torchmetrics` | `[a, b)` | steps in single precision | first bin | a bin of its own |
///
/// - Source: Guo et al. 2017, arXiv:1706.04599, and the code that came with it; netcal 1.4; torchmetrics 1.9, which
///   Torch-Uncertainty uses too.
public enum BinConvention: String, Sendable, Hashable, Codable, CaseIterable {
  case standard
  case guo
  case netcal
  case torchmetrics

  /// Whether a value on an edge belongs to the bin below it.
  var isClosedAbove: Bool { self == .standard || self == .guo }

  /// The confidence as the tool sees it.
  func reading(_ confidence: Double) -> Double {
    switch self {
    case .standard: confidence
    // Keeps logarithms finite there.
    case .netcal: min(max(confidence, Double.ulpOfOne), 1 - Double.ulpOfOne)
    case .guo, .torchmetrics: Double(Float(confidence))
    }
  }

  /// The edges of `count` bins over `0...1`.
  func edges(_ count: Int) -> [Double] {
    switch self {
    case .standard: (0...count).map { Double($0) / Double(count) }
    case .netcal:
      (0..<count).map { Double($0) * (1 / Double(count)) } + [1]
    case .guo, .torchmetrics:
      // PyTorch steps from both ends towards the middle.
      (0...count).map { index in
        let step = Float(1) / Float(count)
        return Double(
          index < (count + 1) / 2
            ? step * Float(index) : Float(1).addingProduct(-step, Float(count - index)))
      }
    }
  }

  /// The rule in words, for reports.
  public var definition: String {
    switch self {
    case .standard: "bins (a, b], 0 in the first, edges k/n"
    case .guo: "bins (a, b], 0 dropped, edges stepped in single precision (as in the code of Guo et al.)"
    case .netcal: "bins [a, b), 1 in the last, edges stepped in double precision (as in netcal)"
    case .torchmetrics: "bins [a, b), 1 in a bin of its own, edges stepped in single precision (as in torchmetrics)"
    }
  }
}
