public import BayesTensor

/// Where a Markov chain over weights is: flat vectors, one number a weight.
///
/// - Determinism: a chain that goes on from one written before gives the same bits as one that was never interrupted.
public struct MarkovChain: Sendable, Equatable {
  public internal(set) var position: ContiguousArray<Float>
  /// Those that the kernel remembers; the others are empty.
  var momentum: ContiguousArray<Float> = []
  var scale: ContiguousArray<Float> = []
  var noise: ContiguousArray<Float> = []
  /// Which weights are not removed: 1 or 0; empty where none ever was.
  public internal(set) var mask: ContiguousArray<Float> = []
  /// Steps made.
  public internal(set) var stepCount = 0

  /// What pulls weights: `½ Σ ε (w − c)²`.
  public struct Penalty: Sendable, Equatable {
    /// `ε`, one number a weight, or one for all.
    public var strengths: ContiguousArray<Float>
    /// `c`, one number a weight; empty for zeros.
    public var centres: ContiguousArray<Float>

    public init(strengths: ContiguousArray<Float>, centres: ContiguousArray<Float> = []) {
      (self.strengths, self.centres) = (strengths, centres)
    }
  }

  /// Weights whose noise is drawn at once.
  private static let blockCount = 4096

  /// Begins a chain.
  ///
  /// - Determinism: follows from the key.
  public init<Kernel: TransitionKernel>(at position: ContiguousArray<Float>, for kernel: Kernel, key: RandomKey) {
    self.position = position
    let numbers = key.normals([2, position.count], as: Float.self)
    func vector(_ kind: ChainMemory, _ value: (ChainWeight) -> Float) -> ContiguousArray<Float> {
      guard Kernel.memory.contains(kind) else { return [] }
      return ContiguousArray(
        position.indices.map {
          value(kernel.initialWeight(at: position[$0], noise: (numbers[0, $0], numbers[1, $0])))
        })
    }
    momentum = vector(.momentum, \.momentum)
    scale = vector(.scale, \.scale)
    noise = vector(.noise, \.noise)
  }

  /// A chain as it was written.
  init(
    position: ContiguousArray<Float>, momentum: ContiguousArray<Float>, scale: ContiguousArray<Float>,
    noise: ContiguousArray<Float>, mask: ContiguousArray<Float>, stepCount: Int
  ) {
    (self.position, self.momentum, self.scale, self.noise) = (position, momentum, scale, noise)
    (self.mask, self.stepCount) = (mask, stepCount)
  }

  /// Makes a step.
  ///
  /// - Parameters:
  ///   - gradient: of the mean loss at the position, one number a weight.
  ///   - key: of this step.
  /// - Determinism: follows from the key; weights do not interact.
  /// - Cost: one pass over all vectors.
  /// - Precondition: vectors have a number a weight, and the chain was begun for a kernel of this kind.
  @specialized(where Kernel == LangevinDynamics)
  @specialized(where Kernel == PreconditionedLangevinDynamics)
  @specialized(where Kernel == HamiltonianDynamics)
  @specialized(where Kernel == ScaleAdaptedHamiltonianDynamics)
  @specialized(where Kernel == AdaptiveVariationalDynamics)
  public mutating func step<Kernel: TransitionKernel>(
    by kernel: Kernel, gradient: Span<Float>, penalty: Penalty, stepSize: Double, key: RandomKey
  ) {
    let count = position.count
    precondition(gradient.count == count, "A gradient has a number a weight, \(count); got \(gradient.count).")
    precondition(
      [1, count].contains(penalty.strengths.count) && [0, count].contains(penalty.centres.count),
      "Penalties have a number a weight, \(count).")
    let remembered = Kernel.memory
    for (kind, vector) in [(ChainMemory.momentum, momentum), (.scale, scale), (.noise, noise)] {
      precondition(
        vector.count == (remembered.contains(kind) ? count : 0), "The chain was begun for a kernel of another kind.")
    }
    let constants = kernel.constants(stepSize: stepSize)
    var normals = [Float](repeating: 0, count: min(count, Self.blockCount))
    // Apart from each other, as spans of one chain cannot be changed side by side.
    var (position, momentum, scale, noise) = (ContiguousArray<Float>(), momentum, scale, noise)
    swap(&position, &self.position)
    (self.momentum, self.scale, self.noise) = ([], [], [])
    let mask = mask
    var positions = position.mutableSpan
    var momenta = momentum.mutableSpan
    var scales = scale.mutableSpan
    var noises = noise.mutableSpan
    let (strengths, centres, kept) = (penalty.strengths.span, penalty.centres.span, mask.span)
    let (isUniform, isCentred, isMasked) = (strengths.count != count, !centres.isEmpty, !kept.isEmpty)
    for start in stride(from: 0, to: count, by: Self.blockCount) {
      let end = min(count, start + Self.blockCount)
      var drawn = normals.mutableSpan
      key.child(start / Self.blockCount).fillNormals(&drawn)
      for index in start..<end {
        var weight = ChainWeight(
          position: positions[index], momentum: remembered.contains(.momentum) ? momenta[index] : 0,
          scale: remembered.contains(.scale) ? scales[index] : 0, noise: remembered.contains(.noise) ? noises[index] : 0)
        kernel.move(
          &weight, gradient: gradient[index],
          penalty: (strengths[isUniform ? 0 : index], isCentred ? centres[index] : 0), noise: drawn[index - start], constants)
        // What is removed stays at zero, and does not carry a momentum on.
        let share = isMasked ? kept[index] : 1
        positions[index] = share * weight.position
        if remembered.contains(.momentum) { momenta[index] = share * weight.momentum }
        if remembered.contains(.scale) { scales[index] = weight.scale }
        if remembered.contains(.noise) { noises[index] = weight.noise }
      }
    }
    (self.position, self.momentum, self.scale, self.noise) = (position, momentum, scale, noise)
    stepCount += 1
  }

  /// Whether another chain has as many numbers of every kind.
  func isOfKind(_ other: MarkovChain) -> Bool {
    [position.count, momentum.count, scale.count, noise.count]
      == [other.position.count, other.momentum.count, other.scale.count, other.noise.count]
  }

  /// Puts weights that were removed to zero, and their momenta.
  mutating func applyMask() {
    for index in mask.indices where mask[index] == 0 {
      position[index] = 0
      if !momentum.isEmpty { momentum[index] = 0 }
    }
  }
}
