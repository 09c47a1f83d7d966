/// Numbers went wrong: a matrix that is not positive definite, a value that is not finite.
public struct NumericalError: Error, CustomStringConvertible {
  /// What went wrong; an open set.
  public struct Code: Hashable, Sendable {
    let name: String
    public static let notPositiveDefinite = Code(name: "notPositiveDefinite")
    public static let notConverged = Code(name: "notConverged")
    public static let notFinite = Code(name: "notFinite")
    public static let outOfRange = Code(name: "outOfRange")
    public static let nativeFailure = Code(name: "nativeFailure")
    /// This processor, or this backend, does not compute what is asked for.
    public static let unsupported = Code(name: "unsupported")
  }

  public let code: Code
  /// What happened, to which quantity, and what the caller can change.
  public let message: String
  /// The native library's own words, where there are any.
  public let cause: (any Error)?

  public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// The failure of a Cholesky factorisation at a leading minor.
  public static func notPositiveDefinite(order: Int, minor: Int, cause: (any Error)? = nil) -> Self {
    NumericalError(
      .notPositiveDefinite,
      "The \(order)-by-\(order) matrix stops being positive definite at its leading minor \(minor). "
        + "Raise the prior precision.", cause: cause)
  }

  /// A quantity that holds an infinity or a NaN.
  public static func notFinite(_ quantity: String) -> Self {
    NumericalError(.notFinite, "\(quantity) holds a value that is infinite or not a number.")
  }

  public var description: String { message + (cause.map { " (\($0))" } ?? "") }
}
