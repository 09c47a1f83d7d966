public import BayesNetwork
public import BayesTensor

/// Networks and linear algebra on oneDNN, OpenBLAS and LAPACK.
///
/// - Determinism: each call runs on one native thread; parallel work is the caller's, by slices
///   and chunks, so results do not depend on how many threads there are.
public struct NativeBackend: NetworkBackend {
  let engine: Engine
  /// For prepared networks alone; all else is done in `Float`.
  private let inferenceEngine: Engine
  private let sliceRowCount: Int?
  /// Of all prepared networks; those that run in turns share it.
  private let memories = WorkMemories()
  let reference = ReferenceBackend()

  /// Makes a backend.
  ///
  /// - Parameters:
  ///   - sliceRowCount: rows that a prepared network runs at once on one thread; chosen by the network's
  ///     memory when `nil`.
  ///   - precision: of prepared networks; gradients and single operations are always in `Float`.
  /// - Throws: `NumericalError.Code.nativeFailure` when oneDNN cannot be started; `.unsupported` for a
  ///   precision that this processor does not have.
  public init(sliceRowCount: Int? = nil, precision: InferencePrecision = .float32) throws(NumericalError) {
    precondition(ThreadBudget.openBLASIsSingleThreaded)
    try precision.requireSupport()
    engine = try Engine()
    inferenceEngine = precision == .float32 ? engine : try Engine(precision: precision)
    self.sliceRowCount = sliceRowCount
  }

  public var name: String {
    inferenceEngine.precision == .float32 ? "native" : "native, \(inferenceEngine.precision.rawValue)"
  }

  public func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int]
  ) throws -> any PreparedNetwork {
    try frozen.network.requireReachable(outputs, given: inputs)
    return try NativePreparedNetwork(
      frozen, map: preprocessing.isIdentity ? nil : InputMap(preprocessing, for: frozen.network.inputShape),
      inputs: inputs, outputs: outputs,
      sliceRowCount: sliceRowCount, memories, inferenceEngine)
  }

  public func prepareTraining(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int],
    of paths: Set<ParameterPath>, includingInputs: Bool
  ) throws -> any TrainingPlan {
    try frozen.network.requireReachable(outputs, given: inputs)
    try frozen.network.requireGradients(
      of: outputs, given: inputs, withRespectTo: paths, includingInputs: includingInputs)
    return try NativeTrainingPlan(
      frozen, map: preprocessing.isIdentity ? nil : InputMap(preprocessing, for: frozen.network.inputShape),
      inputs: inputs, outputs: outputs, of: paths, includingInputs: includingInputs, sliceRowCount: sliceRowCount,
      engine)
  }

  public func product<Scalar: TensorScalar>(
    _ a: Tensor<Scalar>, _ b: Tensor<Scalar>, transposing: Transposition
  ) -> Tensor<Scalar> {
    ThreadBudget.claimSingleThread()
    if let a = a as? Tensor<Double>, let b = b as? Tensor<Double>,
      let result = blasProduct(a, b, transposing: transposing) as? Tensor<Scalar>
    {
      return result
    }
    if let a = a as? Tensor<Float>, let b = b as? Tensor<Float>,
      let result = oneDNNProduct(a, b, transposing: transposing) as? Tensor<Scalar>
    {
      return result
    }
    return reference.product(a, b, transposing: transposing)
  }

  public func convolution<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, weight: Tensor<Scalar>, bias: Tensor<Scalar>?, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    guard let input = input as? Tensor<Float>, let weight = weight as? Tensor<Float>,
      let result = single(
        input, .convolution(geometry, groups: groups, weight: weight, bias: bias as? Tensor<Float>), geometry,
        channels: weight.shape[3]) as? Tensor<Scalar>
    else {
      return reference.convolution(input, weight: weight, bias: bias, groups: groups, geometry)
    }
    return result
  }

  public func pooling<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    guard let input = input as? Tensor<Float>,
      let result = single(input, .pooling(kind, geometry), geometry, channels: input.shape[3])
        as? Tensor<Scalar>
    else {
      return reference.pooling(input, kind, geometry)
    }
    return result
  }

  /// Runs one operation over images, on memory of its own.
  private func single(
    _ input: Tensor<Float>, _ kind: FusedOperation.Kind, _ geometry: WindowGeometry, channels: Int
  ) -> Tensor<Float> {
    ThreadBudget.claimSingleThread()
    let extent = geometry.outputExtent(of: Extent2D(height: input.shape[1], width: input.shape[2]))
    let output: Shape = [extent.height, extent.width, channels]
    let operation = FusedOperation(
      kind: kind, node: 0, inputs: [(0, input.shape.row)], output: 1, outputShape: output)
    let graph = FusedGraph(single: operation)
    let plan = ArenaPlan(graph, rowCount: input.rowCount)
    do {
      let step = try PreparedStep(
        operation, plan, accumulates: false, rowCount: input.rowCount, PackedWeights(engine), engine)
      let worker = try Worker(
        [step], in: WorkMemory(arenaByteCount: plan.byteCount, scratchByteCount: step.scratchByteCount), engine)
      worker.load(input, at: plan.offsets[0])
      try worker.run()
      return unsafe Tensor(
        shape: output.batched(input.rowCount), copying: worker.arena.pointer + plan.offsets[1])
    } catch {
      // The protocol's operations cannot throw; a shape that was checked cannot fail but for memory.
      preconditionFailure("oneDNN refused \(kind) on \(input.shape): \(error)")
    }
  }

  public func cholesky(_ matrix: Tensor<Double>) throws(NumericalError) -> Tensor<Double> {
    try lapackCholesky(matrix)
  }

  public func symmetricEigen(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen {
    try lapackSymmetricEigen(matrix)
  }

  public func triangularSolution(_ lower: Tensor<Double>, transposed: Bool, _ b: Tensor<Double>)
    -> Tensor<Double>
  {
    blasTriangularSolution(lower, transposed: transposed, b)
  }
}
