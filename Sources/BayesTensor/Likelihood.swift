/// How an exit's outputs are read as a distribution over targets.
public enum Likelihood: String, Hashable, Sendable, Codable, CaseIterable {
  /// One class of several: softmax of `classes` logits.
  case categorical
  /// Yes or no: sigmoid of one logit.
  case binary
  /// Several labels at once: sigmoid of each logit.
  case multilabel
  /// A real-valued target: the output is its mean.
  case gaussian
}
