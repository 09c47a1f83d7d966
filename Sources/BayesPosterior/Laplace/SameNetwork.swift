import BayesPrediction
import BayesTensor

extension RecordsDescription {
  /// Refuses rows that did not leave the exits of the network described here.
  ///
  /// Heads and digests are compared where both sides have them.
  func requireSameNetwork(as other: RecordsDescription) throws(FileError) {
    guard other.exits.count == exits.count else {
      throw FileError(
        .shape, file: other.file,
        "The number of exits is \(other.exits.count); the posterior was fitted to \(exits.count).")
    }
    for (index, (own, theirs)) in zip(exits, other.exits).enumerated() {
      let object = "exit \(index) ('\(theirs.name)')"
      guard own.likelihood == theirs.likelihood, own.logitCount == theirs.logitCount else {
        throw FileError(
          .shape, file: other.file, object: object,
          "The exit has \(theirs.logitCount) \(theirs.likelihood.rawValue) logits; the posterior was "
            + "fitted to \(own.logitCount) \(own.likelihood.rawValue) logits.")
      }
      if let head = theirs.head, let known = own.head, head != known {
        throw FileError(
          .value, file: other.file, object: object,
          "The weights of the exit's head are not those the posterior was fitted to. Fit again, or use "
            + "rows of the same network.")
      }
    }
    if let own = checkpointDigest, let theirs = other.checkpointDigest, own != theirs {
      throw FileError(
        .value, file: other.file,
        "The rows come from the checkpoint with SHA-256 \(theirs), the posterior from \(own). Fit again, "
          + "or use rows of the same checkpoint.")
    }
  }
}
