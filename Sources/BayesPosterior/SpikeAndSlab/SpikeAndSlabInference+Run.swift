import BayesNetwork
package import BayesTensor

extension SpikeAndSlabInference {
  /// Chains that have not moved yet.
  ///
  /// - Parameters:
  ///   - weights: where they begin.
  ///   - squares: the mean squares of the weights' gradients, which preconditioners begin with.
  /// - Determinism: follows from the key, as `run` does from the same.
  package func begin(
    at weights: ContiguousArray<Float>, _ layers: [ChainLayer], stepSize: Double, squares: ContiguousArray<Float> = [],
    rowCount: Int, key: RandomKey
  ) -> SpikeAndSlabTraining {
    let kernel = kernel(rowCount: rowCount)
    var chains = (0..<chainCount).map { MarkovChain(at: weights, for: kernel, key: key.child(2).child($0)) }
    if isPreconditioned, !squares.isEmpty { for chain in chains.indices { chains[chain].scale = squares } }
    var training = SpikeAndSlabTraining(
      chains, selections: selection == nil ? [] : layers.map { GroupSelection($0.groups, isRemovable: $0.isRemovable) },
      inclusion: inclusion, stepSize: stepSize)
    if sampler == .swagDiagonal { training.moments = chains.map { WeightMoments(count: $0.position.count) } }
    return training
  }

  /// Rows and batches that step size and preconditioner are found from.
  private static let (probedRowCount, probedBatchCount) = (512, 32)

  /// Chains that have not moved yet, with a preconditioner and a step size from gradients where they begin.
  ///
  /// - Determinism: follows from the key.
  /// - Cost: some 20 gradients of 512 rows, and 32 of a batch for preconditioners.
  func begin(
    at weights: ContiguousArray<Float>, _ layers: [ChainLayer], rowCount: Int, key: RandomKey,
    in context: ExecutionContext, objective: @escaping CurvatureProbe.Objective
  ) async throws -> SpikeAndSlabTraining {
    let order = key.child(3).permutation(rowCount)
    var squares = ContiguousArray<Float>()
    if isPreconditioned {
      squares = ContiguousArray(repeating: 0, count: weights.count)
      for batch in 0..<Self.probedBatchCount {
        context.report(StageProgress(stage: "Preconditioner", completed: batch, total: Self.probedBatchCount, unit: "batches"))
        let rows = (0..<min(batchRowCount, rowCount)).map { order[(batch * batchRowCount + $0) % rowCount] }
        let gradient = try await objective(weights, rows).gradient
        for index in squares.indices { squares[index] += gradient[index] * gradient[index] / Float(Self.probedBatchCount) }
      }
    }
    var stepSize = learningRate ?? 0
    if learningRate == nil {
      context.report(StageProgress(stage: "Step size", completed: 0, total: 1, unit: "curvatures"))
      let floor = Float(PreconditionedLangevinDynamics(temperature: 0).floor)
      stepSize = CurvatureProbe.stepSize(
        curvature: try await CurvatureProbe(objective: objective, rows: Array(order.prefix(Self.probedRowCount)))
          .largestCurvature(
            at: weights, units: ContiguousArray(squares.map { (1 / (floor + $0.squareRoot())).squareRoot() }),
            key: key.child(4)),
        drift: drift)
    }
    return begin(at: weights, layers, stepSize: stepSize, squares: squares, rowCount: rowCount, key: key)
  }

  /// Makes the steps of chains that remain; all chains make each step one after the other.
  ///
  /// - Parameters:
  ///   - origin: the trained weights.
  ///   - objective: the mean loss of some rows and its gradient.
  ///   - restate: called with weights after some were removed; gives the statistics of batch normalisations with which the
  ///     objective goes on.
  ///   - observe: called after every step with what the next one depends on.
  package func run(
    _ training: inout SpikeAndSlabTraining, _ layers: [ChainLayer], from origin: ContiguousArray<Float>, rowCount: Int,
    key: RandomKey, in context: ExecutionContext,
    objective: (ContiguousArray<Float>, [Int]) async throws -> (loss: Double, gradient: ContiguousArray<Float>),
    restate: (ContiguousArray<Float>) async throws -> [NetworkStatistics] = { _ in [] },
    observe: (SpikeAndSlabTraining) throws -> Void = { _ in }
  ) async throws {
    let stepsAnEpoch = stepCount(rowCount: rowCount)
    let rates =
      sampler == .swagDiagonal
      ? LearningRateSchedule.constant(training.stepSize)
      : .cyclical(peak: training.stepSize, period: cycleEpochCount * stepsAnEpoch)
    var penalty = penalty(of: training, layers, origin)
    while training.epochs.count < epochCount {
      let epoch = training.epochs.count
      let kernel = kernel(rowCount: rowCount, isAdapting: epoch < cycleEpochCount)
      let orders = (0..<chainCount).map { key.child(0).child($0).child(epoch).permutation(rowCount) }
      for step in training.stepCount - epoch * stepsAnEpoch..<stepsAnEpoch {
        try Task.checkCancellation()
        if looksAtGroups(beforeStep: step, ofEpoch: epoch) {
          select(in: &training, layers)
          if step == 0, case .thresholds = selection, removesAtAnyEpoch || isLastThird(epoch), remove(in: &training, layers, share: 1) {
            training.statistics = try await restate(training.chains[0].position)
          }
          penalty = self.penalty(of: training, layers, origin)
        }
        let positions = step * batchRowCount..<min(rowCount, (step + 1) * batchRowCount)
        let rate = rates.rate(at: training.stepCount)
        let keys = key.child(1).child(training.stepCount)
        for chain in training.chains.indices {
          let value = try await objective(training.chains[chain].position, Array(orders[chain][positions]))
          training.lossSum += value.loss * Double(positions.count) / Double(chainCount)
          training.chains[chain].step(
            by: kernel, gradient: value.gradient.span, penalty: penalty, stepSize: rate, key: keys.child(chain))
          if addsMoments(ofStep: step, of: stepsAnEpoch, epoch: epoch) {
            training.moments[chain].add(training.chains[chain].position)
          }
        }
        context.report(
          StageProgress(stage: "Epoch \(epoch + 1) of \(epochCount)", completed: positions.upperBound, total: rowCount))
        if step + 1 < stepsAnEpoch { try observe(training) }
      }
      if finishEpoch(of: &training, layers, rowCount: rowCount) {
        training.statistics = try await restate(training.chains[0].position)
      }
      penalty = self.penalty(of: training, layers, origin)
      try observe(training)
    }
  }

  /// The steps of an epoch.
  func stepCount(rowCount: Int) -> Int { (rowCount + batchRowCount - 1) / batchRowCount }

  /// Thresholds look once an epoch, as released; running means are of many looks.
  private func looksAtGroups(beforeStep step: Int, ofEpoch epoch: Int) -> Bool {
    guard let selection, epoch >= warmUpEpochCount else { return false }
    switch selection {
    case .thresholds: return step == 0
    case .responsibilities: return step.isMultiple(of: Self.selectionInterval)
    case .magnitude: return false
    }
  }

  /// Whether weights after a step are among those whose mean and variances are drawn from: some of each epoch behind the first
  /// cycle.
  private func addsMoments(ofStep step: Int, of stepsAnEpoch: Int, epoch: Int) -> Bool {
    sampler == .swagDiagonal && epoch >= min(cycleEpochCount, epochCount - 1)
      && (step + 1).isMultiple(of: max(1, stepsAnEpoch / Self.momentCount))
  }

  /// Weights of an epoch that moments are of.
  private static let momentCount = 8

  /// Whether an epoch is in the last third of its cycle: where rates are large, weights that matter may be small for a moment.
  private func isLastThird(_ epoch: Int) -> Bool {
    3 * (cycleEpochCount - 1 - epoch % cycleEpochCount) < cycleEpochCount
  }

  /// What pulls each weight now.
  private func penalty(
    of training: SpikeAndSlabTraining, _ layers: [ChainLayer], _ origin: ContiguousArray<Float>
  ) -> MarkovChain.Penalty {
    var strengths = ContiguousArray<Float>(repeating: 0, count: origin.count)
    for (index, layer) in layers.enumerated() {
      for position in layer.parameters { strengths[position] = Float(layer.prior.slab) }
      guard selection != nil else { continue }
      strengths.replaceSubrange(layer.weights, with: training.selections[index].penalties(layer.prior))
    }
    // Biases, and what normalisations learned, are no weights that vanish.
    var centres = origin
    if centre == .zero { for layer in layers { for position in layer.weights { centres[position] = 0 } } }
    return MarkovChain.Penalty(strengths: strengths, centres: centres)
  }

  /// Looks at the groups.
  private func select(in training: inout SpikeAndSlabTraining, _ layers: [ChainLayer]) {
    guard let selection else { return }
    for (index, layer) in layers.enumerated() {
      training.selections[index].update(
        from: training.chains.map { ContiguousArray($0.position[layer.weights]) }, by: selection, layer.prior,
        inclusion: training.inclusion)
    }
    guard learnsInclusion, let prior = layers.first?.prior else { return }
    training.inclusion = prior.inclusion(responsibilities: training.selections.flatMap(\.responsibilities))
  }

  /// Removes groups for good; weights that are removed are zero from here on, and what was kept before is dropped, so that
  /// all networks that are kept have one structure.
  ///
  /// - Parameter share: of the sparsity that is asked for, what is to be met now.
  /// - Returns: whether there were any.
  private func remove(in training: inout SpikeAndSlabTraining, _ layers: [ChainLayer], share: Double) -> Bool {
    guard let selection else { return false }
    let before = training.selections.map(\.mask)
    let threshold = sparsity.map { self.threshold(in: training, layers, sparsity: share * $0) }
    for (index, layer) in layers.enumerated() {
      let wouldAllGo =
        if let threshold {
          training.selections[index].removeGroups(below: threshold, layer.prior)
        } else {
          training.selections[index].remove(
            by: selection, chains: training.chains.map { ContiguousArray($0.position[layer.weights]) })
        }
      if wouldAllGo, !training.rescuedLayers.contains(layer.name) { training.rescuedLayers.append(layer.name) }
    }
    guard training.selections.map(\.mask) != before else { return false }
    var mask = ContiguousArray<Float>(repeating: 1, count: training.chains[0].position.count)
    for (layer, selection) in zip(layers, training.selections) { layer.mark(selection.mask, in: &mask) }
    for chain in training.chains.indices {
      training.chains[chain].mask = mask
      training.chains[chain].applyMask()
      training.snapshots[chain] = []
      if sampler == .swagDiagonal { training.moments[chain] = WeightMoments(count: mask.count) }
    }
    return true
  }

  /// The relative size below which groups are removed so that a share of all weights is; see `GroupSelection.relativeSizes`.
  private func threshold(in training: SpikeAndSlabTraining, _ layers: [ChainLayer], sparsity: Double) -> Double {
    var groups: [(size: Double, weightCount: Int)] = []
    for (layer, selection) in zip(layers, training.selections) where layer.isRemovable {
      groups += selection.relativeSizes(layer.prior).map { ($0, layer.groups.weightCount) }
    }
    groups.sort { $0.size < $1.size }
    let wanted = sparsity * Double(layers.reduce(0) { $0 + $1.weights.count })
    var removed = 0
    for group in groups {
      guard Double(removed) + 0.5 * Double(group.weightCount) <= wanted else { return group.size }
      removed += group.weightCount
    }
    return .infinity
  }

  /// Keeps networks at the end of a cycle, and in the first half of the cycles removes groups there; those of the others are
  /// of the structure that is left.
  ///
  /// - Returns: whether weights were removed.
  private func finishEpoch(of training: inout SpikeAndSlabTraining, _ layers: [ChainLayer], rowCount: Int) -> Bool {
    let done = training.epochs.count + 1
    let left = (cycleEpochCount - done % cycleEpochCount) % cycleEpochCount
    if left < snapshotCount, sampler != .swagDiagonal {
      for chain in training.chains.indices { training.snapshots[chain].append(training.chains[chain].position) }
    }
    var isSmaller = false
    if left == 0, done <= removalCycleCount * cycleEpochCount, done > warmUpEpochCount, removesAtCycleEnds {
      if case .magnitude = selection { select(in: &training, layers) }
      let first = warmUpEpochCount / cycleEpochCount
      let share = Double(done / cycleEpochCount - first) / Double(removalCycleCount - first)
      isSmaller = remove(in: &training, layers, share: share)
    }
    let weightCount = layers.reduce(0) { $0 + $1.weights.count }
    let removed = training.selections.reduce(0) { $0 + $1.removedCount }
    training.epochs.append(
      SpikeAndSlabTraining.Epoch(
        loss: training.lossSum / Double(rowCount),
        sparsity: weightCount == 0 ? 0 : Double(removed) / Double(weightCount)))
    training.lossSum = 0
    return isSmaller
  }
}
