/// The other processes that share the work, each holding a shard of the rows.
///
/// Curvature, gradients and metric counts are sums over shards, so the same code serves one rank
/// and many.  Every rank makes the same calls in the same order, one at a time, with tensors of one
/// shape; a call returns when all ranks have made it.
///
/// - Determinism: the same tensors on the same number of ranks give the same bits, on every rank.
public protocol Communicator: Sendable {
  /// This process's index, from zero.
  var rank: Int { get }
  /// The number of processes.
  var size: Int { get }
  /// Replaces `values` on every rank by the sum over ranks, each element added in rank order.
  func allReduce(_ values: inout Tensor<Double>)
  /// One value a rank, in rank order, on every rank.
  func gather(_ value: Tensor<Double>) -> [Tensor<Double>]
  /// Replaces `values` on every rank by those of `root`.
  func broadcast(_ values: inout Tensor<Double>, from root: Int)
}

/// One process alone.
public struct SerialCommunicator: Communicator {
  public init() {}
  public var rank: Int { 0 }
  public var size: Int { 1 }
  public func allReduce(_ values: inout Tensor<Double>) {}
  public func gather(_ value: Tensor<Double>) -> [Tensor<Double>] { [value] }
  public func broadcast(_ values: inout Tensor<Double>, from root: Int) {}
}
