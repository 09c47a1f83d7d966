/// How far a long piece of work has come.
public struct StageProgress: Sendable, Equatable {
  /// What is being done, as a user would say it.
  public var stage: String
  /// Units finished.
  public var completed: Int
  /// Units in all, where known.
  public var total: Int?
  /// What is counted, in the plural: "rows".
  public var unit: String

  public init(stage: String, completed: Int, total: Int?, unit: String = "rows") {
    self.stage = stage
    self.completed = completed
    self.total = total
    self.unit = unit
  }
}

/// Everything a computation may use besides its inputs; passed, never global.
public struct ExecutionContext: Sendable {
  /// Where matrices are multiplied and factorised.
  public var backend: any Backend
  /// The randomness of the whole computation.
  public var key: RandomKey
  /// The number of tasks at once; results do not depend on it.
  public var width: Int
  /// The processes that share the rows.
  public var communicator: any Communicator
  /// Called with progress, from any task.
  public var report: @Sendable (StageProgress) -> Void

  public init(
    backend: any Backend = ReferenceBackend(), key: RandomKey, width: Int = 1,
    communicator: any Communicator = SerialCommunicator(),
    report: @escaping @Sendable (StageProgress) -> Void = { _ in }
  ) {
    precondition(width > 0, "The width of an execution context is at least one; got \(width).")
    self.backend = backend
    self.key = key
    self.width = width
    self.communicator = communicator
    self.report = report
  }
}
