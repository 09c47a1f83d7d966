import BayesNetwork
import BayesTensor

/// What a pass over a data set will take, measured on its first rows.
public struct Estimate: Sendable, CustomStringConvertible {
  public var rowCount: Int
  public var multiplyAddsPerRow: Int
  /// Seconds for all rows.
  public var seconds: Double
  /// Peak memory of the pass in bytes, beside the program itself.
  public var byteCount: Int

  public var description: String {
    let millions = Double(multiplyAddsPerRow) / 1e6
    return "\(rowCount) rows of \(Self.rounded(millions)) million multiply-adds: about "
      + "\(Self.rounded(seconds)) s and \(Self.rounded(Double(byteCount) / 1e6)) MB beside the program itself"
  }

  private static func rounded(_ value: Double) -> String {
    value >= 10 ? String(Int(value.rounded())) : String((value * 10).rounded() / 10)
  }
}

extension NetworkRecords {
  /// Estimates the whole pass from a short one over the first rows.
  ///
  /// - Cost: two runs over at most 128 rows.
  public func estimate() async throws -> Estimate {
    let rows = 0..<min(inputRowCount, runRowCount, 128)
    let inputs = try dataset.inputs(rows)
    _ = try await run(inputs)  // the first run allocates
    let clock = ContinuousClock()
    let elapsed = try await clock.measure { _ = try await run(inputs) }
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    let exits = description.exits
    let outputs = exits.reduce(0) { $0 + $1.logitCount + ($1.featureCount ?? 0) }
    let storedBytes = { if case .bytes = inputs.values { 1 } else { 4 } }() * dataset.rowShape.elementCount
    return Estimate(
      rowCount: inputRowCount, multiplyAddsPerRow: exits.compactMap(\.multiplyAdds).max() ?? 0,
      seconds: seconds * Double(inputRowCount) / Double(rows.count),
      byteCount: try residentByteCount
        + min(inputRowCount, runRowCount) * (2 * storedBytes + 8 * outputs * description.positionCount))
  }
}
