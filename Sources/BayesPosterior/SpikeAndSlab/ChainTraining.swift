/// A chain over a network's weights under way: all that its next step depends on besides the data and the key.
public struct ChainTraining: Sendable, Equatable {
  /// What became of one pass over the training rows.
  public struct Epoch: Sendable, Equatable {
    /// The mean loss over the steps, nats.
    public var loss: Double
    /// The share of the chosen layers' weights that were removed.
    public var sparsity: Double
  }

  public internal(set) var chain: MarkovChain
  /// One a layer that is selected in, in the order of their weights.
  public internal(set) var selections: [GroupSelection]
  /// `θ`
  public internal(set) var inclusion: Double
  /// The weights of networks that were kept.
  public internal(set) var snapshots: [ContiguousArray<Float>] = []
  /// The sum over the steps of the epoch under way, weighted by their rows.
  var lossSum = 0.0
  /// Epochs that are over.
  public internal(set) var epochs: [Epoch] = []

  init(_ chain: MarkovChain, selections: [GroupSelection], inclusion: Double) {
    (self.chain, self.selections, self.inclusion) = (chain, selections, inclusion)
  }
}
