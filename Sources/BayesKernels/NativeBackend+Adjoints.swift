public import BayesTensor
import COneDNN

/// The way back of single operations.  Training plans do not come here; they compile whole networks.
extension NativeBackend {
  public func convolutionInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, weight: Tensor<Scalar>, inputShape: Shape, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    guard let cotangent = cotangent as? Tensor<Float>, let weight = weight as? Tensor<Float>,
      let result = native("a convolution's input gradient", { engine throws(NumericalError) in
        let primitive = try Primitive.convolutionInputGradient(
          input: inputShape, weight: weight.shape, groups: groups, output: cotangent.shape, geometry, engine)
        let plain = try MemoryDescriptor(weights: weight.shape, groups: groups)
        let packed = try Memory(copying: weight, as: plain, engine).reordered(plain, to: primitive.weights, engine)
        let result = try Memory(zeros: MemoryDescriptor(images: inputShape), engine)
        try primitive.run([
          (Argument.weights, packed), (Argument.sourceGradient, result),
          (Argument.destinationGradient, Memory(images: cotangent, engine)),
        ], engine)
        return result.tensor(inputShape)
      }) as? Tensor<Scalar>
    else {
      return reference.convolutionInputGradient(
        cotangent, weight: weight, inputShape: inputShape, groups: groups, geometry)
    }
    return result
  }

  public func convolutionWeightGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    guard let cotangent = cotangent as? Tensor<Float>, let input = input as? Tensor<Float>,
      let result = native("a convolution's weight gradient", { engine throws(NumericalError) in
        let shape: Shape = [
          geometry.window.height, geometry.window.width, input.shape[3] / groups, cotangent.shape[3],
        ]
        let primitive = try Primitive.convolutionWeightGradient(
          input: input.shape, weight: shape, groups: groups, output: cotangent.shape, geometry, engine)
        let order = primitive.weightGradient
        let result = try Memory(zeros: order, engine)
        try primitive.run([
          (Argument.source, Memory(images: input, engine)),
          (Argument.destinationGradient, Memory(images: cotangent, engine)), (Argument.weightGradient, result),
        ], engine)
        return try result.reordered(order, to: MemoryDescriptor(weights: shape, groups: groups), engine).tensor(shape)
      }) as? Tensor<Scalar>
    else {
      return reference.convolutionWeightGradient(cotangent, input: input, groups: groups, geometry)
    }
    return result
  }

  public func poolingInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    guard let cotangent = cotangent as? Tensor<Float>, let input = input as? Tensor<Float>,
      let result = native("a pooling's input gradient", { engine throws(NumericalError) in
        let notes = kind == .maximum
        let forward = try Primitive.pooling(
          input: input.shape, output: cotangent.shape, kind, geometry, notesChoices: notes, engine)
        let back = try Primitive.poolingInputGradient(
          input: input.shape, output: cotangent.shape, kind, geometry, undoing: forward, engine)
        var choices: [(Int32, Memory)] = []
        if notes {
          // Which element of each window was the largest is known only by looking again.
          choices = [(Argument.workspace, try Memory(zeros: forward.workspace, engine))]
          try forward.run([
            (Argument.source, Memory(images: input, engine)),
            (Argument.destination, Memory(zeros: MemoryDescriptor(images: cotangent.shape), engine)),
          ] + choices, engine)
        }
        let result = try Memory(zeros: MemoryDescriptor(images: input.shape), engine)
        try back.run([
          (Argument.destinationGradient, Memory(images: cotangent, engine)), (Argument.sourceGradient, result),
        ] + choices, engine)
        return result.tensor(input.shape)
      }) as? Tensor<Scalar>
    else {
      return reference.poolingInputGradient(cotangent, input: input, kind, geometry)
    }
    return result
  }

  /// The result of native work on one thread.
  private func native(
    _ quantity: String, _ body: (Engine) throws(NumericalError) -> Tensor<Float>
  ) -> Tensor<Float> {
    ThreadBudget.claimSingleThread()
    do {
      return try body(engine)
    } catch {
      // The protocol's operations cannot throw; shapes that fit cannot fail but for memory.
      preconditionFailure("oneDNN refused \(quantity): \(error)")
    }
  }
}

extension Primitive {
  /// Runs the operation once, with scratch memory of its own.
  fileprivate func run(_ arguments: [(index: Int32, memory: Memory)], _ engine: Engine) throws(NumericalError) {
    let bound = BoundArguments(arguments + [(Argument.scratchpad, try Memory(zeros: scratchpad, engine))])
    unsafe try execute(on: Stream(engine), bound.native)
  }
}

extension Memory {
  /// Zeros in some order.
  fileprivate convenience init(zeros descriptor: MemoryDescriptor, _ engine: Engine) throws(NumericalError) {
    try self.init(descriptor, in: AlignedBuffer(byteCount: descriptor.byteCount), engine)
  }

  /// A tensor's elements, which lie in memory as `descriptor` says.
  fileprivate convenience init(copying tensor: Tensor<Float>, as descriptor: MemoryDescriptor, _ engine: Engine)
    throws(NumericalError)
  {
    try self.init(descriptor, in: AlignedBuffer(copying: tensor), engine)
  }

  /// Channels-last images.
  fileprivate convenience init(images: Tensor<Float>, _ engine: Engine) throws(NumericalError) {
    try self.init(copying: images, as: MemoryDescriptor(images: images.shape), engine)
  }

  /// The same elements in another order.
  fileprivate func reordered(_ plain: MemoryDescriptor, to wanted: MemoryDescriptor, _ engine: Engine)
    throws(NumericalError) -> Memory
  {
    let target = try Memory(zeros: wanted, engine)
    try Reorder(from: self, plain, to: target, wanted, engine).run()
    return target
  }

  /// The elements, which lie in row-major order, as a tensor.
  fileprivate func tensor(_ shape: Shape) -> Tensor<Float> {
    unsafe Tensor(shape: shape, copying: buffer.pointer)
  }
}
