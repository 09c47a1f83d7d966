public import BayesPrediction
public import BayesTensor
import RealModule

/// Linear heads for the exits of a frozen network: logistic regressions on the features of each exit.
///
///     minimise  1/N Σₙ −log p(yₙ | xₙ W + b) + penalty/2 · ‖W‖²
///
/// where `xₙ` are features brought to mean zero and deviation one over the training rows; the bias is free.  The scaling
/// becomes part of the weights, so that a head takes features as they are.  In terms of scikit-learn it is
/// `make_pipeline(StandardScaler(), LogisticRegression(C=1 / (N · penalty)))`, with one logit a class, or one logit where
/// an exit is binary.
///
/// All exits and penalties are searched side by side, so that a pass over the rows serves them all.
///
/// - Determinism: no randomness; the same bits at any `context.width`, for sums are taken chunk by chunk in order.
/// - Cost: some ten to some hundred passes over the records, each O(features · logits) a row, exit and penalty; memory for
///   20 copies of the weights of each exit and penalty, of which as many are searched at once as take 1 GiB.
public struct LogisticHeads: Sendable, Hashable {
  /// How strongly weights are drawn to zero.
  public enum PenaltyChoice: Sendable, Hashable {
    /// The one of these, for each exit, that makes validation labels most likely.
    case validation([Double])
    case fixed(Double)
  }

  /// The penalties that are tried if nothing else is said.
  public static let standardPenalties = [1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]

  /// The penalties that may be asked for: with smaller ones the weights are not determined to single precision.
  public static let allowedPenalties = 1e-8...1e6

  /// The largest derivative, in coordinates of curvature about one, at which a search ends.
  static let tolerance = 1e-9
  /// A search that rounding ends earlier must have come this close.
  fileprivate static let looseTolerance = 1e-6
  private static let memoryByteCount = 1 << 30

  public var penalty: PenaltyChoice

  /// - Precondition: penalties are within `allowedPenalties`, and there is one at least.
  public init(penalty: PenaltyChoice = .validation(LogisticHeads.standardPenalties)) {
    self.penalty = penalty
    precondition(
      !penalties.isEmpty && penalties.allSatisfy(Self.allowedPenalties.contains),
      "Penalties are from \(Self.allowedPenalties.lowerBound) to \(Self.allowedPenalties.upperBound); got \(penalties)."
    )
  }

  private var penalties: [Double] {
    switch penalty {
    case .validation(let values): values
    case .fixed(let value): [value]
    }
  }

  /// Fits a head to every exit of some labelled rows; heads that they have already are not looked at.
  ///
  /// - Parameter validation: rows of the same exits; needed to choose among penalties, else measured alone.
  /// - Throws: `FileError` for rows without features or labels, classes without rows, and features that are the same on
  ///   all rows; `NumericalError.Code.notConverged`; what the sources throw; `CancellationError`.
  /// - Precondition: exits are categorical or binary; a choice has validation rows.
  public func fit(
    training: any ExitRecordSource, validation: (any ExitRecordSource)?, in context: ExecutionContext
  ) async throws -> [FittedHead] {
    precondition(penalties.count == 1 || validation != nil, "Penalties are chosen on validation rows.")
    let description = training.description
    try requireLabels(of: training)
    if let validation { try requireLabels(of: validation) }
    try await requireClasses(in: training)
    let scalings = try await FeatureScaling.gather(from: training, in: context)

    var searches = description.exits.indices.flatMap { exit in
      penalties.map { HeadSearch(exit: exit, penalty: $0, description.exits[exit], scalings[exit]) }
    }
    var first = 0
    while first < searches.count {
      var end = first
      var byteCount = 0
      repeat {
        byteCount += searches[end].byteCount
        end += 1
      } while end < searches.count && byteCount + searches[end].byteCount <= Self.memoryByteCount
      try await run(&searches[first..<end], scalings, training, in: context)
      first = end
    }
    // What cannot be found with one penalty may be found with a larger one.
    for (index, exit) in description.exits.enumerated() {
      let own = searches.filter { $0.exit == index }.map(\.result)
      if let last = own.last, !own.contains(where: \.isFound) {
        throw NumericalError(
          .notConverged,
          "The head of exit \(index) ('\(exit.name)') is not found with penalty \(last.penalty) after "
            + "\(last.evaluationCount) passes; give a larger --penalty.")
      }
    }
    let heads = searches.map { search in
      scalings[search.exit].head(search.coordinates.weights(at: search.minimizer.point, on: context.backend))
    }
    var points = searches.map(\.result)
    if let validation { try await measure(heads, searches.map(\.exit), on: validation, &points, in: context) }
    return description.exits.indices.map { exit in
      let own = searches.indices.filter { searches[$0].exit == exit }
      let chosen =
        own.filter { points[$0].isFound }
        .min { (points[$0].validationNLL ?? 0, $0) < (points[$1].validationNLL ?? 0, $1) } ?? own[0]
      return FittedHead(head: heads[chosen], chosen: points[chosen], trail: own.map { points[$0] })
    }
  }

  /// Searches some heads, all in the same passes over the rows.
  private func run(
    _ searches: inout ArraySlice<HeadSearch>, _ scalings: [FeatureScaling], _ source: any ExitRecordSource,
    in context: ExecutionContext
  ) async throws {
    let description = source.description
    let backend = context.backend
    let count = Double(source.rowCount)
    // Of hundreds of passes not each is told, but how many searches are done.
    var silent = context
    silent.report = { _ in }
    while true {
      let active = searches.indices.filter { searches[$0].minimizer.outcome == nil }
      context.report(
        StageProgress(
          stage: "Fitting heads", completed: searches.count - active.count, total: searches.count, unit: "searches"))
      guard !active.isEmpty else { break }
      let places = active.map { (exit: searches[$0].exit, weights: searches[$0].weights(on: backend)) }
      var losses = [Double](repeating: 0, count: active.count)
      var gradients = places.map { Tensor<Double>(zeros: $0.weights.shape) }
      try await source.reduceChunks("Fitting heads", in: silent) { chunk in
        var scaled: [Int: Tensor<Double>] = [:]
        return try places.map { exit, weights in
          let rows = try scaled[exit] ?? scalings[exit](FeatureScaling.features(of: exit, in: chunk, description))
          scaled[exit] = rows
          let loss = try Self.loss(
            backend.product(rows, weights), chunk.labels ?? [], description.exits[exit].likelihood)
          return (value: loss.value, gradient: backend.product(rows, loss.cotangent, transposing: .first))
        }
      } combine: { partials in
        for (index, partial) in partials.enumerated() {
          losses[index] += partial.value
          gradients[index].withMutableSpan { sum in
            partial.gradient.withSpan { partial in
              for position in partial.indices { sum[position] += partial[position] }
            }
          }
        }
      }
      for (index, search) in active.enumerated() {
        searches[search].record(
          loss: losses[index] / count, gradient: gradients[index].map { $0 / count }, places[index].weights, on: backend
        )
      }
    }
  }

  /// Measures heads on validation rows.
  private func measure(
    _ heads: [ExitHead], _ exits: [Int], on source: any ExitRecordSource, _ points: inout [FittedHead.Point],
    in context: ExecutionContext
  ) async throws {
    let description = source.description
    let backend = context.backend
    let weights = heads.map { $0.weight.converted(to: Double.self) }
    let biases = heads.map { $0.bias.converted(to: Double.self) }
    var sums = heads.map { _ in (loss: 0.0, correct: 0) }
    try await source.reduceChunks("Measuring heads", in: context) { chunk in
      try exits.indices.map { index -> (loss: Double, correct: Int) in
        var logits = backend.product(
          try FeatureScaling.features(of: exits[index], in: chunk, description), weights[index])
        addRows(biases[index], to: &logits)
        let labels = chunk.labels ?? []
        let likelihood = description.exits[exits[index]].likelihood
        let correct = labels.indices.count { row in
          guard likelihood == .categorical else { return (logits[row, 0] > 0 ? 1 : 0) == labels[row] }
          let best = (0..<logits.shape[1]).max { (logits[row, $0], $1) < (logits[row, $1], $0) }
          return best == labels[row]
        }
        return (try Self.loss(logits, labels, likelihood).value, correct)
      }
    } combine: { partials in
      for (index, partial) in partials.enumerated() {
        sums[index].loss += partial.loss
        sums[index].correct += partial.correct
      }
    }
    for index in points.indices {
      points[index].validationNLL = sums[index].loss / Double(source.rowCount)
      points[index].validationAccuracy = Double(sums[index].correct) / Double(source.rowCount)
    }
  }

  private static func loss(
    _ logits: Tensor<Double>, _ labels: [Int], _ likelihood: Likelihood
  ) throws(LossError) -> LossValue<Double> {
    likelihood == .binary
      ? try SigmoidCrossEntropy()(logits, labels: labels) : try SoftmaxCrossEntropy()(logits, labels: labels)
  }

  private func requireLabels(of source: any ExitRecordSource) throws(FileError) {
    for (index, exit) in source.description.exits.enumerated()
    where exit.likelihood != .categorical && exit.likelihood != .binary {
      throw FileError(
        .unsupported, file: source.description.file, object: "exit \(index) ('\(exit.name)')",
        "Heads are fitted to classes, and its likelihood is \(exit.likelihood.rawValue).")
    }
    guard source.hasLabels, source.rowCount > 0 else {
      throw FileError(
        .missing, file: source.description.file, "There are no labelled rows; heads are fitted to labels.")
    }
  }

  private func requireClasses(in source: any ExitRecordSource) async throws {
    let description = source.description
    var counts = [Int](repeating: 0, count: description.exits.map(\.classCount).max() ?? 0)
    try await source.forEachLabels { labels in
      try description.requireClasses(labels) { answerPlace($0, positions: []) }
      for label in labels where counts.indices.contains(label) { counts[label] += 1 }
    }
    let absent = counts.indices.filter { counts[$0] == 0 }
    guard !absent.isEmpty else { return }
    if absent.count == counts.count - 1, let only = counts.firstIndex(where: { $0 > 0 }) {
      throw FileError(
        .value, file: description.file,
        "All labels of the training rows are \(only), and a head tells classes apart; give rows of all \(counts.count) "
          + "classes.")
    }
    throw FileError(
      .value, file: description.file,
      "No training row has the label \(absent.prefix(5).map { String($0) }.joined(separator: ", "))"
        + "\(absent.count > 5 ? ", …" : ""); without rows of a class its head has no best weights, so give rows of all "
        + "\(counts.count) classes.")
  }
}

/// A head that was fitted, and how its penalty was chosen.
public struct FittedHead: Sendable, Equatable {
  /// One penalty and what it led to.
  public struct Point: Sendable, Equatable {
    public var penalty: Double
    /// The mean negative log-likelihood of the training labels, nats, without the penalty.
    public var trainingNLL: Double
    /// That of the validation labels, where there are any.
    public var validationNLL: Double?
    public var validationAccuracy: Double?
    /// Passes over the training rows.
    public var evaluationCount: Int
    /// The largest derivative that was left.
    public var gradientSize: Double
    /// Whether the search came to its end; what it did not is never chosen.
    public var isFound: Bool { gradientSize <= LogisticHeads.looseTolerance }
  }

  public let head: ExitHead
  public let chosen: Point
  /// All penalties, in the order given.
  public let trail: [Point]

  /// Whether a better penalty may lie beyond those that were tried.
  public var isAtEdge: Bool {
    trail.count > 1 && (chosen == trail.first || chosen == trail.last)
  }
}

/// The search for one exit's head with one penalty.
private struct HeadSearch: Sendable {
  let exit: Int
  let penalty: Double
  let coordinates: HeadCoordinates
  var minimizer: LimitedMemoryBFGS
  /// The mean loss, without the penalty, at the lowest point.
  private var losses: (lowest: Double, objective: Double) = (.infinity, .infinity)

  init(exit: Int, penalty: Double, _ description: ExitDescription, _ scaling: FeatureScaling) {
    self.exit = exit
    self.penalty = penalty
    coordinates = HeadCoordinates(scaling, logitCount: description.logitCount, penalty: penalty)
    minimizer = LimitedMemoryBFGS(
      from: [Double](repeating: 0, count: coordinates.dimension), tolerance: LogisticHeads.tolerance)
  }

  /// What the search remembers, and its share of a chunk's sums.
  var byteCount: Int { 8 * 28 * coordinates.dimension }

  func weights(on backend: any Backend) -> Tensor<Double> { coordinates.weights(at: minimizer.point, on: backend) }

  mutating func record(loss: Double, gradient: Tensor<Double>, _ weights: Tensor<Double>, on backend: any Backend) {
    let penalized = (weights.rowCount - 1) * weights.shape[1]
    var (squares, total) = (0.0, gradient)
    for position in 0..<penalized {
      squares += weights[position] * weights[position]
      total[position] += penalty * weights[position]
    }
    let objective = loss + penalty / 2 * squares
    if objective <= losses.objective { losses = (loss, objective) }
    minimizer.record(value: objective, gradient: coordinates.gradient(from: total, on: backend))
  }

  var result: FittedHead.Point {
    FittedHead.Point(
      penalty: penalty, trainingNLL: losses.lowest, evaluationCount: minimizer.evaluationCount,
      gradientSize: minimizer.gradientSize)
  }
}
