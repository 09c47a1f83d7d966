/// The weights around which the prior of last-layer Laplace lies.
///
/// It changes the marginal likelihood only; the posterior's mean is the trained head either way.
public enum PriorMean: String, Sendable, Codable, CaseIterable {
  case zero
  /// The trained weights themselves.  The marginal likelihood then rises with the prior precision without end, so
  /// it cannot choose one.
  case checkpoint
}

/// Which weights share a prior precision when the marginal likelihood chooses it.
public enum PriorScope: String, Sendable, Codable, CaseIterable {
  /// One for all exits.
  case shared
  /// One an exit.
  case exit
  /// One for the weights and one for the bias of every exit.
  case group
  /// One a layer, where a posterior is over several; last layers have one an exit.
  case layer
}

/// Where the standard deviation of Gaussian targets comes from.
public enum NoiseChoice: Hashable, Sendable {
  /// What chooses the prior precision also chooses the noise: the marginal likelihood or validation.  With a fixed
  /// prior precision it is the marginal likelihood.
  case learned
  /// One value for all exits, in the targets' units; where rows have noise of their own, a factor on it.
  case fixed(Double)
}
