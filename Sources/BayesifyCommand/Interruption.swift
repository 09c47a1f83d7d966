/// The end of work that was cancelled and can be taken up again.
struct Interruption: Error {
  /// What remains, and how to go on.
  let message: String
}
