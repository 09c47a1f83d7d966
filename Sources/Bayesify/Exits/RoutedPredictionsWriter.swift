import BayesNetwork
public import BayesTensor

/// Writes what rows got at the exits they took.
///
/// `/probabilities` `[rows, classes]`; `/total`, `/aleatoric`, `/epistemic` `[rows]`, nats; `/exit` `[rows]`, from 0;
/// `/cost` `[rows]`, in the unit of the policy, an attribute of the file; `/labels` where known.
public struct RoutedPredictionsWriter: Sendable {
  public static let format = "bayesify-routed-predictions"

  private let costs: ExitCosts
  private let archive: any ArrayArchiveWriter

  /// Begins a file.
  public init(_ policy: ExitPolicyFile, to archive: any ArrayArchiveWriter) throws(FileError) {
    costs = policy.policy.costs
    self.archive = archive
    try archive.setAttribute("format", .text(Self.format), of: "/")
    try archive.setAttribute("version", .integer(1), of: "/")
    try archive.setAttribute("exits", .texts(policy.exits), of: "/")
    try archive.setAttribute("costUnit", .text(costs.unit.rawValue), of: "/")
    try archive.setAttribute("costs", .numbers(costs.toExit), of: "/")
    if let digest = policy.checkpoint.digest { try archive.setAttribute("checkpointDigest", .text(digest), of: "/") }
  }

  /// Appends rows.
  public func append(_ rows: RoutedRows, labels: [Int]?) throws(FileError) {
    try archive.append(rows.probabilities, to: "/probabilities")
    try archive.append(rows.total, to: "/total")
    try archive.append(rows.aleatoric, to: "/aleatoric")
    try archive.append(rows.epistemic, to: "/epistemic")
    try archive.append(rows.exits, to: "/exit")
    try archive.append(Tensor(shape: [rows.exits.count], rows.exits.map { costs.toExit[$0] }), to: "/cost")
    if let labels { try archive.append(labels, to: "/labels") }
  }

  /// Publishes the file.
  public func finish() throws(FileError) { try archive.finish() }

  /// Removes what was written.
  public func discard() { archive.discard() }
}
