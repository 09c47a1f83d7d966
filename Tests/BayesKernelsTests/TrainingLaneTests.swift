@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Slices that several threads take forward and back together.
@Suite struct TrainingLaneTests {
  private typealias Gradient = TrainingPlanTests

  /// Residual blocks of channels in blocks, a pooling that notes its choices, and parts side by side.
  private static func blockedNetwork() throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [20, 18, 8])
    let window = Extent2D(height: 3, width: 3)
    builder.add(Convolution(filters: 32, window: window, padding: .same))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let stem = builder.add(Activation(.plainReLU))
    builder.add(Convolution(filters: 32, window: window, padding: .same, usesBias: false))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let branch = builder.add(Activation(.plainReLU))
    let sum = builder.add(ElementwiseMerge(.add), after: branch, stem)
    let pooled = builder.add(
      Pooling(.maximum, window: Extent2D(height: 2, width: 2), strides: Extent2D(height: 2, width: 2), padding: .valid),
      after: sum)
    let wide = builder.add(
      Convolution(filters: 48, window: Extent2D(height: 1, width: 1), padding: .same), after: pooled)
    builder.add(Concatenation(axis: 2), after: wide, pooled)
    builder.add(Activation(.tanh))
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 7))
    return try builder.frozen()
  }

  private static func networks() throws -> [FrozenNetwork] {
    [
      try blockedNetwork(),
      try CooperativePlanTests.network(strides: 1, dilation: 1, padding: .same, kind: .maximum, height: 31),
      try CooperativePlanTests.network(strides: 2, dilation: 1, padding: .valid, kind: .average, height: 44),
    ]
  }

  @Test func oneRowHasTheSameGradientsHoweverManyThreadsShareIt() async throws {
    for frozen in try Self.networks() {
      let paths = Gradient.trainedPaths(frozen.network)
      let outputs = frozen.network.exits.map(\.logits)
      let current = Gradient.otherParameters(frozen, paths)
      let row = RowBatch(RandomKey(seed: 4).normals(frozen.network.inputShape.batched(1), as: Float.self))
      func plan(_ backend: any NetworkBackend) throws -> any TrainingPlan {
        try backend.prepareTraining(
          frozen, preprocessing: .identity, inputs: [0], outputs: outputs, of: paths, includingInputs: true)
      }
      let expected = try await plan(ReferenceBackend()).gradients(
        at: [row], parameters: current, width: 1, of: Gradient.loss)
      let native = try plan(NativeBackend())
      let alone = try await native.gradients(at: [row], parameters: current, width: 1, of: Gradient.loss)
      for path in paths {
        let (a, b) = (try #require(alone.parameters[path]), try #require(expected.parameters[path]))
        Gradient.expectAgreement(a, b, "\(path)")
      }
      for width in [2, 3, 5, 2] {
        // Other weights in between show that those of parts follow.
        _ = try await native.gradients(at: [row], parameters: Parameters(), width: width, of: Gradient.loss)
        let shared = try await native.gradients(at: [row], parameters: current, width: width, of: Gradient.loss)
        #expect(shared.loss == alone.loss && shared.inputs == alone.inputs, "\(width) threads")
        for path in paths { #expect(shared.parameters[path] == alone.parameters[path], "\(path), \(width) threads") }
      }
    }
  }

  @Test func oneSliceAfterAnotherIsSharedWhereSumsAreFew() async throws {
    for frozen in try Self.networks() {
      let paths = Gradient.trainedPaths(frozen.network)
      let graph = TrainingGraph(
        frozen, inputs: [0], outputs: frozen.network.exits.map(\.logits), training: paths, includingInputs: false)
      let bench = TrainingBench(frozen, graph, try Engine())
      let rows = RowBatch(RandomKey(seed: 8).normals(frozen.network.inputShape.batched(5), as: Float.self))
      let batch = TrainingBatch(
        inputs: [rows], loaders: [InputLoader(frozen.network.inputShape, map: nil)], inputGradients: [],
        loss: Gradient.loss)
      func gradients(crewSize: Int) async throws -> Parameters {
        let plan = try bench.plan(TrainingSlicePlan.Form(rowCount: 2, crewSize: crewSize))
        try await bench.load(Parameters(), width: 1)
        let sums = plan.takeSums()
        let lane = TrainingLane(plan, slices: [0..<2, 2..<4, 4..<5], of: batch, sums)
        try await share(crewSize, width: crewSize) { try lane.work(as: $0) }
        return try await bench.gradients([sums], plan, of: paths, Parameters(), width: 1)
      }
      let alone = try await gradients(crewSize: 1)
      for size in [2, 4] {
        let shared = try await gradients(crewSize: size)
        #expect(shared == alone)
      }
    }
  }

  @Test(arguments: [1, 5], [1, 2, 4])
  func whatALossThrowsArrives(rowCount: Int, width: Int) async throws {
    struct Refusal: Error {}
    let frozen = try Self.blockedNetwork()
    let paths = Gradient.trainedPaths(frozen.network)
    let plan = try NativeBackend(sliceRowCount: 1).prepareTraining(
      frozen, outputs: frozen.network.exits.map(\.logits), of: paths)
    let rows = RowBatch(RandomKey(seed: 4).normals(frozen.network.inputShape.batched(rowCount), as: Float.self))
    let expected = try await plan.gradients(at: [rows], parameters: Parameters(), width: width, of: Gradient.loss)
    await #expect(throws: Refusal.self) {
      _ = try await plan.gradients(at: [rows], parameters: Parameters(), width: width) { outputs, rows in
        if rows.upperBound == rowCount { throw Refusal() }
        return Gradient.loss(outputs, rows)
      }
    }
    let again = try await plan.gradients(at: [rows], parameters: Parameters(), width: width, of: Gradient.loss)
    #expect(again.loss == expected.loss && again.parameters == expected.parameters)
  }

  /// Cancelled in the first loss, nobody begins another slice.
  @Test(arguments: [1, 2])
  func cancellationStopsBetweenSlices(width: Int) async throws {
    let frozen = try Self.blockedNetwork()
    let plan = try NativeBackend(sliceRowCount: 1).prepareTraining(
      frozen, outputs: frozen.network.exits.map(\.logits), of: Gradient.trainedPaths(frozen.network))
    let rows = RowBatch(RandomKey(seed: 4).normals(frozen.network.inputShape.batched(40), as: Float.self))
    let losses = Counter()
    @Sendable func lossThatCancels(_ outputs: [Tensor<Float>], _ rows: Range<Int>) -> LossGradient {
      _ = losses.increment()
      unsafe withUnsafeCurrentTask { task in unsafe task?.cancel() }
      return Gradient.loss(outputs, rows)
    }
    await #expect(throws: CancellationError.self) {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          _ = try await plan.gradients(at: [rows], parameters: Parameters(), width: width, of: lossThatCancels)
        }
        try await group.waitForAll()
      }
    }
    #expect(losses.increment() < 40)
  }

  @Test func callsAtTheSameTimeDoNotMeet() async throws {
    let frozen = try Self.blockedNetwork()
    let paths = Gradient.trainedPaths(frozen.network)
    let plan = try NativeBackend().prepareTraining(
      frozen, outputs: frozen.network.exits.map(\.logits), of: paths)
    let batches = [1, 3, 1, 7].enumerated().map { index, count in
      RowBatch(
        RandomKey(seed: 4).child(index).normals(frozen.network.inputShape.batched(count), as: Float.self))
    }
    var expected: [TrainingGradients] = []
    for batch in batches {
      expected.append(try await plan.gradients(at: [batch], parameters: Parameters(), width: 1, of: Gradient.loss))
    }
    try await withThrowingTaskGroup(of: (Int, TrainingGradients).self) { group in
      for round in 0..<3 {
        for (index, batch) in batches.enumerated() {
          group.addTask {
            let width = 1 + (round + index) % 3
            return (
              index, try await plan.gradients(at: [batch], parameters: Parameters(), width: width, of: Gradient.loss)
            )
          }
        }
      }
      for try await (index, result) in group {
        #expect(result.loss == expected[index].loss && result.parameters == expected[index].parameters)
      }
    }
  }
}
