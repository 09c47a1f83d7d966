import BayesPrediction
import BayesTensor

extension RecordsDescription {
  /// Refuses rows that did not leave the exits of the network described here.
  ///
  /// Heads and digests are compared where both sides have them.
  func requireSameNetwork(as other: RecordsDescription) throws(FileError) {
    try requireSameExits(as: other)
    if let own = checkpointDigest, let theirs = other.checkpointDigest, own != theirs {
      throw FileError(
        .value, file: other.file,
        "The rows come from the checkpoint with SHA-256 \(theirs), those of \(file) from \(own). Use rows of one "
          + "checkpoint, or fit again.")
    }
  }
}
