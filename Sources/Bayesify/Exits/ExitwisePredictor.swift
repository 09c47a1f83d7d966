public import BayesEvaluation
public import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// Predictions exit by exit, of which a policy may stop at any: a network's own, tempered, or a last-layer posterior's,
/// each by itself or joined with those of the exits before.
public struct ExitwisePredictor: Sendable {
  public let predictor: Predictor
  /// How the predictions of several exits are joined; `nil` for each by itself, or as the posterior says.
  public let ensemble: InternalEnsemble?
  public let description: RecordsDescription
  /// The weights of exits in an ensemble.
  private let costs: [Double]

  /// - Throws: `FileError` where exits cannot be compared row by row: outputs without classes or at several positions, a
  ///   posterior over earlier layers, or an ensemble of exits that name other classes or whose costs are not known.
  public init(
    _ predictor: Predictor, ensemble: InternalEnsemble? = nil, for description: RecordsDescription
  ) throws(FileError) {
    guard description.positions.isEmpty else {
      throw FileError(
        .unsupported, file: description.file,
        "The network answers at \(description.positions) positions of a row, which would have to leave together; exits "
          + "are tuned for networks with one answer a row.")
    }
    let first = description.exits[0]
    for (index, exit) in description.exits.enumerated() {
      let object = "exit \(index) ('\(exit.name)')"
      guard exit.likelihood == .categorical || exit.likelihood == .binary else {
        throw FileError(
          .unsupported, file: description.file, object: object,
          "Rows leave by how sure an exit is of its class, and its outputs are \(exit.likelihood.rawValue); give a "
            + "network with classes.")
      }
      guard exit.likelihood == first.likelihood, exit.logitCount == first.logitCount else {
        throw FileError(
          .shape, file: description.file, object: object,
          "Its classes are not those of the first exit, so that a row would be answered in other classes by where it "
            + "leaves; give a network whose exits name the same.")
      }
      guard ensemble == nil || exit.multiplyAdds != nil else {
        throw FileError(
          .missing, file: description.file, object: object,
          "Ensembles of exits weight them by their multiply-adds, and the records do not say them; extract the records "
            + "from the network, or leave the ensemble out.")
      }
    }
    if case .weights = predictor {
      throw FileError(
        .unsupported, file: description.file,
        "A posterior over earlier layers needs every row at every exit; give a last-layer posterior.")
    }
    if case .laplace(let posterior) = predictor, posterior.isEnsemble, let ensemble {
      throw FileError(
        .value, file: description.file,
        "The posterior's predictions are means over exits already; leave --ensemble \(ensemble.rawValue) out.")
    }
    self.predictor = predictor
    self.ensemble = ensemble
    self.description = description
    costs = description.exits.map { Double($0.multiplyAdds ?? 1) }
  }

  public var exitCount: Int { description.exits.count }

  /// Refuses predictions of several networks, which can be compared but not left.
  public func requireOneNetwork() throws(FileError) {
    guard case .sampled = predictor else { return }
    throw FileError(
      .unsupported, file: description.file,
      "Rows leave one network, and an ensemble or dropout is several; give a last-layer posterior, or compare by 'exits "
        + "curve' or 'evaluate'.")
  }

  /// Whether every exit's predictions say how much of their uncertainty is epistemic.
  public var hasEpistemicUncertainty: Bool {
    if case .sampled = predictor { return ensemble != .productOfExperts }
    guard ensemble != .productOfExperts, case .laplace(let posterior) = predictor else { return false }
    return posterior.predictive.usesDraws || [.bridge, .normalizedBridge].contains(posterior.predictive)
  }

  /// Whether every exit's predictions are draws of logits.
  public var hasDraws: Bool {
    guard hasEpistemicUncertainty else { return false }
    if case .laplace(let posterior) = predictor { return posterior.predictive.usesDraws }
    return true
  }

  /// What the predictions add to the multiply-adds of a row that leaves at an exit.
  public func multiplyAdds(toExit index: Int) -> Int {
    if case .laplace(let posterior) = predictor { posterior.multiplyAdds(toExit: index) } else { 0 }
  }

  /// The predictions of all exits for all rows of a source, in blocks.
  ///
  /// - Throws: as `Predictor.predictions`.
  public func predictions(
    for source: any ExitRecordSource, _ body: (ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    try await predictor.predictions(for: source) { records, own in
      try body(records, ensemble == nil ? own : own.indices.map { joined(Array(own[...$0])) })
    }
  }

  /// How much of the uncertainty is epistemic, over all exits.
  ///
  /// - Throws: as `predictions(for:_:)`.
  public func balance(for source: any ExitRecordSource) async throws -> UncertaintyBalance {
    var balance = UncertaintyBalance()
    try await predictions(for: source) { _, predictions in
      try Task.checkCancellation()
      for prediction in predictions { balance.add(prediction.uncertaintySplit()) }
    }
    return balance
  }

  /// The own prediction of one exit, for rows that others have left.
  fileprivate func own(
    _ records: ExitRecords.Exit, exit: Int, rows: [Int], fillsBlocks: Bool
  ) async throws -> Prediction {
    let plain = Prediction(
      logits: records.logits.reshaped(to: records.logits.shape.batched(1)),
      likelihood: description.exits[exit].likelihood, exit: exit)
    switch predictor {
    case .map: return plain
    case .temperature(let temperatures): return temperatures[exit](plain)
    case .calibrated(let calibrations): return calibrations[exit](plain)
    case .laplace(let posterior):
      return try await posterior.ownPrediction(of: records, exit: exit, rows: rows, fillsBlocks: fillsBlocks)
    case .weights, .sampled: preconditionFailure("Rows leave one network.")
    }
  }

  fileprivate func joined(_ own: [Prediction]) -> Prediction {
    if let ensemble { return ensemble(own, costs: Array(costs[..<own.count])) }
    if case .laplace(let posterior) = predictor { return posterior.combined(own) }
    return own[own.count - 1]
  }

  /// Whether predictions of earlier exits are needed at later ones.
  fileprivate var remembers: Bool {
    if case .laplace(let posterior) = predictor, posterior.isEnsemble { return true }
    return ensemble != nil
  }

  /// Begins with the first exit.
  ///
  /// - Parameter fillsBlocks: whether bits are to be those of a pass over all rows; a few rows are faster without.
  public func run(fillsBlocks: Bool) -> Run { Run(self, fillsBlocks: fillsBlocks) }

  /// Some rows on their way from exit to exit.
  public struct Run: Sendable {
    private let predictor: ExitwisePredictor
    private let fillsBlocks: Bool
    private var exit = 0
    /// The own predictions of the exits so far for the rows that are left, where they are needed later.
    private var own: [Prediction] = []

    fileprivate init(_ predictor: ExitwisePredictor, fillsBlocks: Bool) {
      self.predictor = predictor
      self.fillsBlocks = fillsBlocks
    }

    /// The prediction of the next exit.
    ///
    /// - Parameters:
    ///   - records: what it gave for the rows that are left.
    ///   - rows: their indices in the set they come from.
    /// - Throws: as `LastLayerLaplacePredictor.predict`; `FileError` naming the row for a logit that is not finite.
    public mutating func next(_ records: ExitRecords.Exit, rows: [Int]) async throws -> Prediction {
      let description = predictor.description
      if let position = records.logits.firstNonFinite {
        throw FileError(
          .value, file: description.file,
          "Row \(rows[position / records.logits.shape[1]]) gives a logit of \(records.logits[position]) at exit \(exit) "
            + "('\(description.exits[exit].name)'); check its values and the preprocessing.")
      }
      let prediction = try await predictor.own(records, exit: exit, rows: rows, fillsBlocks: fillsBlocks)
      exit += 1
      guard predictor.remembers else { return prediction }
      own.append(prediction)
      return predictor.joined(own)
    }

    /// Keeps some of the rows that are left.
    public mutating func keep(_ positions: [Int]) { own = own.map { $0.rows(positions) } }
  }
}
