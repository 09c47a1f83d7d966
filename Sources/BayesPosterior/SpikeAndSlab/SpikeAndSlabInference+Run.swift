import BayesNetwork
package import BayesTensor

/// Where the weights of a layer lie that groups are selected in, and what they are.
package struct SelectedPlace: Sendable, Equatable {
  package var range: Range<Int>
  package var groups: WeightGroups
  package var isRemovable: Bool

  package init(range: Range<Int>, groups: WeightGroups, isRemovable: Bool) {
    (self.range, self.groups, self.isRemovable) = (range, groups, isRemovable)
  }
}

extension SpikeAndSlabInference {
  /// A chain that has not moved yet.
  ///
  /// - Determinism: follows from the key, as `run` does from the same.
  package func begin(
    at weights: ContiguousArray<Float>, _ places: [SelectedPlace], rowCount: Int, key: RandomKey
  ) -> ChainTraining {
    ChainTraining(
      MarkovChain(at: weights, for: kernel(rowCount: rowCount), key: key.child(2)),
      selections: selection == nil ? [] : places.map { GroupSelection($0.groups, isRemovable: $0.isRemovable) },
      inclusion: inclusion)
  }

  /// Makes the steps of a chain that remain.
  ///
  /// - Parameters:
  ///   - places: where groups are selected.
  ///   - origin: the trained weights.
  ///   - stage: what progress is called.
  ///   - objective: the mean loss of some rows and its gradient.
  ///   - observe: called after every step with what the next one depends on.
  package func run(
    _ training: inout ChainTraining, _ places: [SelectedPlace], from origin: ContiguousArray<Float>, rowCount: Int,
    key: RandomKey, in context: ExecutionContext, stage: String,
    objective: (ContiguousArray<Float>, [Int]) async throws -> (loss: Double, gradient: ContiguousArray<Float>),
    observe: (ChainTraining) throws -> Void = { _ in }
  ) async throws {
    let kernel = kernel(rowCount: rowCount)
    let stepsAnEpoch = stepCount(rowCount: rowCount)
    let rates = LearningRateSchedule.cyclical(peak: learningRate, period: cycleEpochCount * stepsAnEpoch)
    var penalty = penalty(of: training, places, origin, rowCount: rowCount)
    while training.epochs.count < epochCount {
      let epoch = training.epochs.count
      let order = key.child(0).child(epoch).permutation(rowCount)
      for step in training.chain.stepCount - epoch * stepsAnEpoch..<stepsAnEpoch {
        try Task.checkCancellation()
        if step == 0 {
          select(in: &training, places, epoch: epoch, rowCount: rowCount)
          penalty = self.penalty(of: training, places, origin, rowCount: rowCount)
        }
        let rows = Array(order[step * batchRowCount..<min(rowCount, (step + 1) * batchRowCount)])
        let value = try await objective(training.chain.position, rows)
        training.lossSum += value.loss * Double(rows.count)
        let count = training.chain.stepCount
        training.chain.step(
          by: kernel, gradient: value.gradient.span, penalty: penalty, stepSize: rates.rate(at: count),
          key: key.child(1).child(count))
        context.report(
          StageProgress(
            stage: "\(stage), epoch \(epoch + 1) of \(epochCount)", completed: min(rowCount, (step + 1) * batchRowCount),
            total: rowCount))
        if step + 1 < stepsAnEpoch { try observe(training) }
      }
      finishEpoch(of: &training, places, rowCount: rowCount)
      try observe(training)
    }
  }

  /// The steps of an epoch.
  func stepCount(rowCount: Int) -> Int { (rowCount + batchRowCount - 1) / batchRowCount }

  /// What pulls each weight now.
  private func penalty(
    of training: ChainTraining, _ places: [SelectedPlace], _ origin: ContiguousArray<Float>, rowCount: Int
  ) -> MarkovChain.Penalty {
    let centres = centre == .zero ? [] : origin
    guard selection != nil else { return MarkovChain.Penalty(strengths: [Float(slab)], centres: centres) }
    let prior = SpikeAndSlabPrior(spike: spike, slab: slab, rowCount: rowCount)
    var strengths = ContiguousArray(repeating: Float(slab), count: origin.count)
    for (place, selection) in zip(places, training.selections) {
      strengths.replaceSubrange(place.range, with: selection.penalties(prior))
    }
    return MarkovChain.Penalty(strengths: strengths, centres: centres)
  }

  /// Looks at the groups before an epoch; by thresholds, what falls below them is removed at once.
  private func select(in training: inout ChainTraining, _ places: [SelectedPlace], epoch: Int, rowCount: Int) {
    guard let selection, epoch >= warmUpEpochCount else { return }
    let prior = SpikeAndSlabPrior(spike: spike, slab: slab, rowCount: rowCount)
    let (weights, inclusion) = (training.chain.position, training.inclusion)
    for (index, place) in places.enumerated() {
      training.selections[index].update(
        from: weights.span.extracting(place.range), by: selection, prior, inclusion: inclusion)
    }
    if learnsInclusion { training.inclusion = prior.inclusion(responsibilities: training.selections.flatMap(\.responsibilities)) }
    if case .thresholds = selection { remove(in: &training, places, by: selection) }
  }

  /// Removes groups for good; weights that are removed are zero from here on.
  ///
  /// - Returns: whether there were any.
  @discardableResult
  private func remove(
    in training: inout ChainTraining, _ places: [SelectedPlace], by rule: SelectionRule
  ) -> Bool {
    let (before, weights) = (training.selections.map(\.mask), training.chain.position)
    for (index, place) in places.enumerated() {
      training.selections[index].remove(by: rule, weights: weights.span.extracting(place.range))
    }
    guard training.selections.map(\.mask) != before else { return false }
    if training.chain.mask.isEmpty {
      training.chain.mask = ContiguousArray(repeating: 1, count: training.chain.position.count)
    }
    for (place, selection) in zip(places, training.selections) {
      training.chain.mask.replaceSubrange(place.range, with: selection.mask)
    }
    training.chain.applyMask()
    return true
  }

  /// Keeps the network at the end of a cycle; by responsibilities, groups are removed there, and what was kept before a removal
  /// is dropped.
  private func finishEpoch(of training: inout ChainTraining, _ places: [SelectedPlace], rowCount: Int) {
    let done = training.epochs.count + 1
    let left = (cycleEpochCount - done % cycleEpochCount) % cycleEpochCount
    if left < snapshotCount { training.snapshots.append(training.chain.position) }
    if left == 0, done < epochCount, done > warmUpEpochCount, let selection, case .responsibilities = selection,
      remove(in: &training, places, by: selection)
    {
      training.snapshots = []
    }
    let weightCount = places.reduce(0) { $0 + $1.range.count }
    let removed = training.selections.reduce(0) { $0 + $1.removedCount }
    training.epochs.append(
      ChainTraining.Epoch(
        loss: training.lossSum / Double(rowCount), sparsity: weightCount == 0 ? 0 : Double(removed) / Double(weightCount)))
    training.lossSum = 0
    // One structure for all networks that are kept: that at the end.
    guard done == epochCount, !training.chain.mask.isEmpty else { return }
    for index in training.snapshots.indices {
      for position in training.chain.mask.indices where training.chain.mask[position] == 0 {
        training.snapshots[index][position] = 0
      }
    }
  }
}
