/// Predictions, labels or scores cannot be evaluated.
///
/// Its description is one sentence that names the offending value and, where there is one, its row.
public struct EvaluationError: Error, Hashable, CustomStringConvertible {
  /// What went wrong; an open set.
  public struct Code: Hashable, Sendable {
    /// The name, as scripts may match it.
    public let name: String
    /// There are no rows to evaluate.
    public static let empty = Code(name: "empty")
    /// A label names no class.
    public static let label = Code(name: "label")
    /// A probability is not a number, is out of range, or a row of them does not sum to one.
    public static let probability = Code(name: "probability")
    /// A score or a logit is not a number.
    public static let score = Code(name: "score")
    /// A feature is infinite, not a number, or of a sign that a detector cannot use.
    public static let feature = Code(name: "feature")
    /// Two things that must have one size do not.
    public static let shape = Code(name: "shape")
    /// The prediction is of a kind for which the quantity is not defined.
    public static let unsupported = Code(name: "unsupported")
  }

  public let code: Code
  /// The row, counted from zero over everything fed so far, where one row is to blame.
  public let row: Int?
  /// What is wrong and what to change.
  public let message: String

  public init(_ code: Code, row: Int? = nil, _ message: String) {
    self.code = code
    self.row = row
    self.message = message
  }

  public var description: String { message }
}
