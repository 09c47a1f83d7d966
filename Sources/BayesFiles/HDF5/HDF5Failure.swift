import CHDF5

/// A call of the HDF5 library failed; becomes part of a `FileError`.
struct HDF5Failure: Error {
  /// What the library says, the innermost reason first.
  let reasons: [String]

  /// Collects what the library noted about the call of this thread that failed last.
  init() {
    var reasons: [String] = []
    _ = unsafe withUnsafeMutablePointer(to: &reasons) { pointer in
      unsafe H5Ewalk2(
        bayesify_h5_error_stack(), H5E_WALK_UPWARD,
        { _, entry, context in
          if let text = unsafe entry?.pointee.desc, let context = unsafe context {
            unsafe context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: text))
          }
          return 0
        }, pointer)
    }
    self.reasons = reasons
  }

  /// The innermost reason, for the end of a sentence.
  var reason: String { systemMessage ?? "HDF5 says: \(reasons.first ?? "no reason given")" }

  // Where the system refused, the library quotes it amid times and addresses: … error message = 'X', ….
  private var systemMessage: String? {
    guard let start = reasons.first?.firstRange(of: "error message = '")?.upperBound else { return nil }
    return reasons.first.map { String($0[start...].prefix { $0 != "'" }) }
  }
}
