import BayesEvaluation
import BayesNetwork
public import BayesPosterior
import BayesPrediction
public import BayesTensor

/// Attacks on models and controls, and what is left of their accuracy.
///
/// Every model is attacked by gradients of its own, with draws other than those that it predicts with, and by rows that
/// were made to fool another network. What it answers to an attacked row is what it would answer to any row: the
/// posterior's own predictions with its own draws and temperature.
///
/// - Source: the protocol follows Athalye et al. 2018, arXiv:1802.00420, and Carlini et al. 2019, arXiv:1902.06705.
public struct RobustnessStudy: Sendable {
  /// How a row is moved.
  public enum Method: String, Sendable, Hashable, CaseIterable, Codable {
    /// One step of the whole radius, from the row itself.
    case fastGradient = "fgsm"
    /// Steps from random starts, each projected back.
    case projectedGradient = "pgd"
  }

  /// Whose gradients an attack follows.
  public enum Attacker: String, Sendable, Hashable, CaseIterable, Codable {
    /// Those of a model that draws nothing.
    case gradient
    /// Those of one draw, a fresh one at every step.
    case singleDraw = "single-draw"
    /// Those of the mean of the distribution alone.
    case mean
    /// Those of the mean over fresh draws at every step, in log space.
    case expectation
    /// The same from single-precision probabilities, which round to 0 and 1: a trap that shows what it hides.
    case averagedProbability = "averaged-probability"
    /// Those of another network.
    case transfer

    /// What is asked of a model with draws unless the user says otherwise.
    public static let usual: [Attacker] = [.singleDraw, .mean, .expectation, .transfer]
  }

  /// A model and what its gradients come from.
  public struct Model: Sendable {
    public var name: String
    public var method: String
    /// Its network over the rows; of an ensemble the first.
    public var records: NetworkRecords
    public var predictor: Predictor
    /// The model as an attacker sees it; `nil` where its gradients are not followed.
    public var target: AttackTarget?
    /// The mean of its distribution, where there is one.
    public var mean: AttackTarget?
    /// Whether rows that are made for transfer are made on this model.
    public var isSource = false

    public init(
      name: String, method: String, records: NetworkRecords, predictor: Predictor, target: AttackTarget?,
      mean: AttackTarget? = nil
    ) {
      self.name = name
      self.method = method
      self.records = records
      self.predictor = predictor
      self.target = target
      self.mean = mean
    }
  }

  public var methods = Method.allCases
  /// For models with draws; the others are attacked by their gradient, and by transfer where that is asked for.
  public var attackers = Attacker.usual
  /// In the units of stored values, positive.
  public var radii: [AdversarialAttack.Norm: [Double]] = [:]
  public var stepCount = 20
  public var restartCount = 2
  /// Of expectations.
  public var drawCount = 10
  /// The exit whose answers count.
  public var exit: Int
  /// The values that rows may have, as stored.
  public var range: ClosedRange<Float>

  public init(exit: Int, range: ClosedRange<Float>) {
    self.exit = exit
    self.range = range
  }

  /// Rows that are attacked at once.
  private static let blockRowCount = 64

  /// One line of the tables: the same attack at all radii.
  private struct Course {
    var norm: AdversarialAttack.Norm
    var method: Method
    var attacker: Attacker
  }

  private struct Tally {
    var isRight = 0
    var loss = RowMean()
    var rowsWithoutGradient = 0
    var underflowedRows = 0

    mutating func add(_ isRight: [Bool], _ losses: [Double]) {
      self.isRight += isRight.count(where: \.self)
      for loss in losses { self.loss.add(loss) }
    }

    func point(_ radius: Double, of rowCount: Int) -> RobustnessReport.Point {
      RobustnessReport.Point(
        epsilon: radius, accuracy: Double(isRight) / Double(rowCount),
        accuracyInterval: .wilson(successes: isRight, of: rowCount), nll: loss.mean.isFinite ? loss.mean : nil,
        nllInterval: loss.mean.isFinite ? loss.interval : nil, rowsWithoutGradient: rowsWithoutGradient,
        underflowedRows: underflowedRows)
    }
  }

  /// Attacks all models on all rows.
  ///
  /// - Parameters:
  ///   - source: the network on which rows are made for transfer, where it is none of the models.
  ///   - key: of random starts and of the attackers' draws; every model meets the same.
  ///   - report: counts passes through networks.
  /// - Determinism: follows from the key, at any width.
  /// - Cost: for each radius and row, `restarts · (steps + 1) · draws` passes forwards and back, and one prediction.
  ///   Memory for a block of 64 rows.
  /// - Throws: `FileError` for a row with a value outside of the range, or without label; `NumericalError` for logits
  ///   that are not finite; `CancellationError`.
  /// - Precondition: there is a model; records of all are over the same labelled rows.
  public func callAsFunction(
    _ models: [Model], transferFrom source: AttackTarget? = nil, key: RandomKey, width: Int,
    report: @escaping @Sendable (StageProgress) -> Void = { _ in }
  ) async throws -> [RobustnessReport.Model] {
    let courses = models.map { self.courses(of: $0, transfers: source != nil || models.contains(where: \.isSource)) }
    var clean = models.map { _ in Tally() }
    var tallies = courses.map { $0.map { course in radii(course.norm).map { _ in Tally() } } }
    var worst = models.map { _ in radii.mapValues { $0.map { _ in Tally() } } }
    let source = source ?? models.first(where: \.isSource)?.target
    let rows = models[0].records
    let total = rows.inputRowCount * zip(models, courses).reduce(0) { $0 + passes($1.1, of: $1.0) }
    var completed = 0
    func advance(by passes: Int) {
      completed += passes
      report(StageProgress(stage: "attacks", completed: completed, total: total, unit: "passes"))
    }
    report(StageProgress(stage: "attacks", completed: 0, total: total, unit: "passes"))
    try await rows.silently(over: rows.dataset).forEachInputs(of: Self.blockRowCount) { batch, first, labels in
      let block = Block(
        inputs: batch.tensor.reshaped(to: models[0].inputShape.batched(batch.count)), labels: labels ?? [],
        firstRow: first, dataset: rows.dataset)
      try requireRange(block)
      var transferred: [AttackedRows: AdversarialAttack.Result] = [:]
      for (index, model) in models.enumerated() {
        let untouched = try await answers(of: model, to: block.inputs, block)
        clean[index].add(untouched.isRight, untouched.losses)
        var staysRight = radii.mapValues { $0.map { _ in untouched.isRight } }
        for (line, course) in courses[index].enumerated() {
          for (position, radius) in radii(course.norm).enumerated() {
            try Task.checkCancellation()
            let attack = attack(course, radius: radius)
            let key = key.child(course.norm == .maximum ? 0 : 1).child(course.method == .fastGradient ? 0 : 1)
            let made = AttackedRows(norm: course.norm, method: course.method, radius: radius)
            let result: AdversarialAttack.Result
            if course.attacker == .transfer, let known = transferred[made] {
              result = known
            } else {
              guard let target = course.attacker == .transfer ? source : target(course.attacker, of: model) else {
                continue
              }
              result = try await attack(
                block.inputs, labels: block.labels, target: target, key: key, firstRow: first, width: width)
              if course.attacker == .transfer { transferred[made] = result }
            }
            let attacked = try await answers(of: model, to: result.inputs, block)
            let isRight = zip(untouched.isRight, attacked.isRight).map { $0 && $1 }
            tallies[index][line][position].add(isRight, attacked.losses)
            tallies[index][line][position].rowsWithoutGradient += result.rowsWithoutGradient
            tallies[index][line][position].underflowedRows += result.underflowedRows
            for row in isRight.indices where !isRight[row] { staysRight[course.norm]?[position][row] = false }
            advance(by: block.labels.count * passes(course, of: model))
          }
        }
        for (norm, kept) in staysRight {
          for (position, isRight) in kept.enumerated() { worst[index][norm]?[position].add(isRight, []) }
        }
      }
    }
    return models.indices.map { index in
      RobustnessReport.Model(
        name: models[index].name, method: models[index].method, hasDraws: models[index].target?.isRandom ?? true,
        clean: clean[index].point(0, of: rows.inputRowCount),
        curves: zip(courses[index], tallies[index]).map { course, tallies in
          RobustnessReport.Curve(
            norm: course.norm, method: course.method, attacker: course.attacker,
            points: zip(radii(course.norm), tallies).map { $1.point($0, of: rows.inputRowCount) })
        },
        worst: AdversarialAttack.Norm.allCases.filter { radii[$0] != nil }.map { norm in
          RobustnessReport.Curve(
            norm: norm, method: nil, attacker: nil,
            points: zip(radii(norm), worst[index][norm] ?? []).map { $1.point($0, of: rows.inputRowCount) })
        })
    }
  }

  /// What names rows that were made for transfer.
  private struct AttackedRows: Hashable {
    var norm: AdversarialAttack.Norm
    var method: Method
    var radius: Double
  }

  /// Rows that are attacked together.
  private struct Block {
    var inputs: Tensor<Float>
    var labels: [Int]
    var firstRow: Int
    var dataset: any Dataset
  }

  private func radii(_ norm: AdversarialAttack.Norm) -> [Double] { radii[norm] ?? [] }

  /// What a model meets, in order.
  private func courses(of model: Model, transfers: Bool) -> [Course] {
    var own: [Attacker] = []
    if let target = model.target {
      let wanted = attackers.filter { $0 != .transfer && $0 != .gradient }
      // A model that draws nothing has one gradient, whoever asks.
      own = target.isRandom ? wanted.filter { $0 != .mean || model.mean != nil } : wanted.isEmpty ? [] : [.gradient]
    }
    if transfers, !model.isSource, attackers.contains(.transfer) { own.append(.transfer) }
    return AdversarialAttack.Norm.allCases.filter { radii[$0] != nil }.flatMap { norm in
      methods.flatMap { method in own.map { Course(norm: norm, method: method, attacker: $0) } }
    }
  }

  private func target(_ attacker: Attacker, of model: Model) -> AttackTarget? {
    attacker == .mean ? model.mean : model.target
  }

  private func attack(_ course: Course, radius: Double) -> AdversarialAttack {
    let loss: AdversarialAttack.Loss =
      switch course.attacker {
      case .gradient, .singleDraw, .mean: .singleDraw
      case .expectation, .transfer: .expectation(draws: drawCount)
      case .averagedProbability: .averagedProbability(draws: drawCount)
      }
    return switch course.method {
    case .fastGradient: .fastGradient(course.norm, radius: radius, loss: loss, within: range)
    case .projectedGradient:
      .projectedGradient(
        course.norm, radius: radius, steps: stepCount, restarts: restartCount, loss: loss, within: range)
    }
  }

  /// Passes of a row at one radius, about.
  private func passes(_ course: Course, of model: Model) -> Int {
    let steps = course.method == .fastGradient ? 2 : restartCount * (stepCount + 1)
    return switch course.attacker {
    case .gradient, .singleDraw, .mean: steps
    case .expectation, .averagedProbability: steps * drawCount
    case .transfer: 1
    }
  }

  private func passes(_ courses: [Course], of model: Model) -> Int {
    courses.reduce(0) { $0 + passes($1, of: model) * radii($1.norm).count }
  }

  private func requireRange(_ block: Block) throws(FileError) {
    guard let position = block.inputs.elements.firstIndex(where: { !range.contains($0) }) else { return }
    let row = block.dataset.firstRow + block.firstRow + position / max(1, block.inputs.shape.row.elementCount)
    throw FileError(
      .value, file: block.dataset.file,
      "Row \(row) has a value of \(block.inputs[position]), and attacked rows are to stay within \(range.lowerBound) "
        + "to \(range.upperBound); say what the least and the largest value may be with --pixel-range LOW:HIGH.")
  }

  /// What a model answers to some rows at the exit.
  private func answers(
    of model: Model, to inputs: Tensor<Float>, _ block: Block
  ) async throws -> (isRight: [Bool], losses: [Double]) {
    let rows = MemoryRows(inputs: inputs, labels: block.labels, of: block.dataset, firstRow: block.firstRow)
    var (isRight, losses): ([Bool], [Double]) = ([], [])
    try await model.predictor.predictions(for: model.records.silently(over: rows)) { records, predictions in
      for prediction in predictions where prediction.exit == exit {
        let values = prediction.logMeanProbabilities()
        for (row, label) in (records.labels ?? []).enumerated() {
          isRight.append(values.indexOfLargest(inRow: row) == label)
          losses.append(-values[row, label])
        }
      }
    }
    return (isRight, losses)
  }
}

extension RobustnessStudy.Model {
  fileprivate var inputShape: Shape { target?.inputShape ?? records.dataset.rowShape }
}

/// Rows in memory, made of those of a data set.
struct MemoryRows: Dataset {
  private let values: Tensor<Float>
  private let classes: [Int]
  let file: String
  let labelsFile: String
  let classNames: [String]
  let firstRow: Int

  init(inputs: Tensor<Float>, labels: [Int], of dataset: any Dataset, firstRow: Int) {
    values = inputs
    classes = labels
    file = dataset.file
    labelsFile = dataset.labelsFile
    classNames = dataset.classNames
    self.firstRow = dataset.firstRow + firstRow
  }

  var rowCount: Int { values.rowCount }
  var rowShape: Shape { values.shape.row }
  var hasLabels: Bool { true }

  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { RowBatch(values.rows(rows)) }
  func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { Array(classes[rows]) }
}
