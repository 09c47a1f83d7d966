import BayesNetwork
import BayesTensor
import COneDNN

/// An argument that lies in a worker's memory.
struct Operand: Sendable {
  var index: Int32
  var descriptor: MemoryDescriptor
  var offset: Int
}

/// A value's bytes that are copied to where another value lies.
struct ArenaCopy: Sendable {
  var source: Int
  var target: Int
  var byteCount: Int
}

/// One compiled operation, not yet bound to any worker's memory.
struct PreparedStep: Sendable {
  private enum Work: Sendable {
    /// A primitive over one block of rows after another.
    ///
    /// Where a copy is given, it comes first.
    case primitive(
      Primitive, arguments: [Operand], constants: [(index: Int32, memory: Memory)], blockCount: Int,
      copy: ArenaCopy? = nil)
    case loop(@Sendable (AlignedBuffer) -> Void)
  }

  private let work: Work

  /// Bytes of scratch memory that a run needs.
  var scratchByteCount: Int {
    if case .primitive(let primitive, _, _, _, _) = work { primitive.scratchpad.byteCount } else { 0 }
  }

  /// Compiles one operation for slices of `rowCount` rows.
  ///
  /// - Parameters:
  ///   - displacement: where in its values a band lies; nowhere but at their beginning for a whole operation.
  ///   - workspace: where a maximum pooling notes its choices, where a way back needs them.
  init(
    _ operation: FusedOperation, _ plan: ArenaPlan, at displacement: Displacement? = nil, accumulates: Bool,
    rowCount: Int, _ weights: PackedWeights, workspace: Int? = nil, _ engine: Engine
  ) throws(NumericalError) {
    work = try Self.work(
      operation, plan, at: displacement ?? .none(for: operation), accumulates: accumulates, rowCount: rowCount,
      weights, workspace: workspace, engine)
  }

  private static func work(
    _ operation: FusedOperation, _ plan: ArenaPlan, at displacement: Displacement, accumulates: Bool, rowCount: Int,
    _ weights: PackedWeights, workspace: Int?, _ engine: Engine
  ) throws(NumericalError) -> Work {
    let target = plan.offsets[operation.output] + displacement.output * MemoryLayout<Float>.stride
    let sources = zip(operation.inputs, displacement.inputs).map {
      plan.offsets[$0.value] + $1 * MemoryLayout<Float>.stride
    }
    let input = operation.inputs[0].shape
    let output = operation.outputShape
    let addend = accumulates ? nil : operation.residual.map {
      plan.offsets[$0] + displacement.output * MemoryLayout<Float>.stride
    }

    let activation = operation.activation.flatMap { ActivationKernel($0) }.map { [PostOperation.activation($0)] } ?? []
    let addition: [PostOperation] = operation.residual == nil ? [] : [accumulates ? .accumulate : .add]

    /// A linear map with what is to be added to its result, and what must be copied there beforehand.
    func linearMap(_ compile: ([PostOperation]) throws(NumericalError) -> Primitive)
      throws(NumericalError) -> (primitive: Primitive, addend: Int?, copy: ArenaCopy?)
    {
      let primitive = try compile(addition + activation)
      guard let addend, primitive.isComputedByMatrixProducts else { return (primitive, addend, nil) }
      // There oneDNN adds the wrong elements of another tensor, but the right ones of what the target holds.
      let byteCount = rowCount * output.elementCount * MemoryLayout<Float>.stride
      return (
        try compile([.accumulate] + activation), nil, ArenaCopy(source: addend, target: target, byteCount: byteCount)
      )
    }

    switch operation.kind {
    case .convolution(let geometry, let groups, let weight, let bias):
      let (primitive, addend, copy) = try linearMap { postOperations throws(NumericalError) in
        try Primitive.convolution(
          input: input.batched(rowCount), weight: weight.shape, groups: groups, output: output.batched(rowCount),
          orders: operation.orders, geometry, usesBias: bias != nil, postOperations: postOperations, engine)
      }
      let plain = try MemoryDescriptor(weights: weight.shape, groups: groups)
      return .primitive(
        primitive,
        arguments: Self.arguments(
          from: sources[0], try MemoryDescriptor(images: input.batched(rowCount), operation.orders.input), to: target,
          try MemoryDescriptor(images: output.batched(rowCount), operation.orders.output), adding: addend),
        constants: try Self.constants(
          primitive, weight, plain, bias, weights, of: operation, from: displacement.filter), blockCount: 1,
        copy: copy)
    case .transposedConvolution(let layer, let weight, let bias):
      let primitive = try Primitive.transposedConvolution(
        input: input.batched(rowCount), weight: weight.shape, output: output.batched(rowCount),
        layer.geometry(for: input), usesBias: bias != nil, engine)
      let plain = try MemoryDescriptor(weights: weight.shape, groups: 1)
      return .primitive(
        primitive,
        arguments: Self.arguments(
          from: sources[0], try MemoryDescriptor(images: input.batched(rowCount)), to: target,
          try MemoryDescriptor(images: output.batched(rowCount)), adding: nil),
        constants: try Self.constants(
          primitive, weight, plain, bias, weights, of: operation, from: displacement.filter), blockCount: 1)
    case .dense(let weight, let bias):
      let block = operation.rowBlock
      let rows = block * input.elementCount / weight.shape[0]
      let (primitive, addend, copy) = try linearMap { postOperations throws(NumericalError) in
        try Primitive.product(
          rows: rows, inputs: weight.shape[0], outputs: weight.shape[1], usesBias: bias != nil,
          postOperations: postOperations, engine)
      }
      let plain = try MemoryDescriptor(weights: [1, 1, weight.shape[0], weight.shape[1]], groups: 1)
      return .primitive(
        primitive,
        arguments: Self.arguments(
          from: sources[0], try MemoryDescriptor(images: [1, 1, rows, weight.shape[0]]), to: target,
          try MemoryDescriptor(images: [1, 1, rows, weight.shape[1]]), adding: addend),
        constants: try Self.constants(
          primitive, weight, plain, bias, weights, of: operation, from: displacement.filter),
        blockCount: (rowCount + block - 1) / block, copy: copy)
    case .pooling(let kind, let geometry):
      let spatial = output.asImage
      let order = operation.orders.input
      let primitive = try Primitive.pooling(
        input: input.batched(rowCount), output: spatial.batched(rowCount), order: order, kind, geometry,
        notesChoices: workspace != nil, engine)
      let notes = workspace.map { Operand(index: Argument.workspace, descriptor: primitive.workspace, offset: $0) }
      return .primitive(
        primitive,
        arguments: [
          Operand(
            index: Argument.source, descriptor: try MemoryDescriptor(images: input.batched(rowCount), order),
            offset: sources[0]),
          Operand(
            index: Argument.destination, descriptor: try MemoryDescriptor(images: spatial.batched(rowCount), order),
            offset: target),
        ] + (notes.map { [$0] } ?? []), constants: [], blockCount: 1)
    case .resampling:
      let order = operation.orders.input
      return .primitive(
        try Primitive.bilinearResampling(
          input: input.batched(rowCount), output: output.batched(rowCount), order, engine),
        arguments: Self.arguments(
          from: sources[0], try MemoryDescriptor(images: input.batched(rowCount), order), to: target,
          try MemoryDescriptor(images: output.batched(rowCount), order), adding: nil), constants: [], blockCount: 1)
    case .reorder:
      let orders = operation.orders
      return .loop(
        orders.input.rewriter(to: orders.output, input, from: sources[0], to: target, rowCount: rowCount))
    case .activation(let function):
      guard let kernel = ActivationKernel(function) else {
        preconditionFailure("\(function) has no native form; fusion should not have chosen it.")
      }
      let count = output.elementCount * rowCount
      let vector = try MemoryDescriptor(vector: count)
      return .primitive(
        try Primitive.activation(count: count, kernel, engine),
        arguments: [
          Operand(index: Argument.source, descriptor: vector, offset: sources[0]),
          Operand(index: Argument.destination, descriptor: vector, offset: target),
        ], constants: [], blockCount: 1)
    case .channelMap(let factors, let offsets):
      return channelMap(
        weights.channelMap(factors, offsets, for: operation.output),
        ChannelLayout(output, operation.orders.input, rowCount: rowCount), clips: operation.activation != nil,
        from: sources[0], to: target)
    case .merge(let merge):
      return Self.merge(
        merge, clips: operation.activation != nil, from: sources, to: target,
        count: output.elementCount * rowCount)
    case .concatenation(let axis):
      // Blocks of channels lie one behind the other, as along a first axis.
      return concatenation(
        operation.inputs.map(\.shape), axis: operation.orders.input.block == nil ? axis : 0, from: sources,
        to: target, rowCount: rowCount)
    case .border(let padding):
      return .loop(
        borderLoop(padding, input, output, from: sources[0], to: target, rowCount: rowCount))
    case .layer(let layer, let parameters):
      let shapes = operation.inputs.map { $0.shape.batched(rowCount) }
      let stored = weights.layer(parameters, for: operation.output)
      return .loop { arena in
        let inputs = zip(shapes, sources).map { shape, offset in
          unsafe Tensor<Float>(shape: shape, copying: arena.pointer + offset)
        }
        let result = layer.forward(inputs, parameters: stored.tensors, on: ReferenceBackend())
        result.withSpan { span in
          let floats = unsafe (arena.pointer + target).assumingMemoryBound(to: Float.self)
          for position in 0..<span.count { unsafe floats[position] = span[position] }
        }
      }
    }
  }

  /// What a linear map reads and writes.
  private static func arguments(
    from source: Int, _ sourceOrder: MemoryDescriptor, to target: Int, _ targetOrder: MemoryDescriptor,
    adding addend: Int?
  ) -> [Operand] {
    [
      Operand(index: Argument.source, descriptor: sourceOrder, offset: source),
      Operand(index: Argument.destination, descriptor: targetOrder, offset: target),
    ] + (addend.map { [Operand(index: Argument.addend(0), descriptor: targetOrder, offset: $0)] } ?? [])
  }

  /// The packed weights of a linear map.
  private static func constants(
    _ primitive: Primitive, _ weight: Tensor<Float>, _ plain: MemoryDescriptor, _ bias: Tensor<Float>?,
    _ weights: PackedWeights, of operation: FusedOperation, from filter: Int
  ) throws(NumericalError) -> [(index: Int32, memory: Memory)] {
    let value = operation.output
    var constants = [
      (
        index: Argument.weights,
        memory: try weights.packed(weight, from: plain, to: primitive.weights, for: value, from: filter)
      )
    ]
    if let bias { constants.append((Argument.bias, try weights.packed(bias: bias, for: value, from: filter))) }
    return constants
  }

  private static func channelMap(
    _ map: AlignedBuffer, _ layout: ChannelLayout, clips: Bool, from source: Int, to target: Int
  ) -> Work {
    .loop { arena in
      let (from, to) = unsafe (UnsafePointer(arena.floats(at: source)), arena.floats(at: target))
      let factors = unsafe UnsafePointer(map.floats(at: 0))
      let offsets = unsafe factors + layout.channelCount
      layout.forEachRun(
        ofEight: { run in
          let factor = unsafe SIMD8(factors, at: run.channel)
          let offset = unsafe SIMD8(offsets, at: run.channel)
          if clips {
            run.forEachPixel { unsafe (SIMD8(from, at: $0) * factor + offset).rectified.store(to: to, at: $0) }
          } else {
            run.forEachPixel { unsafe (SIMD8(from, at: $0) * factor + offset).store(to: to, at: $0) }
          }
        },
        ofOne: { run in
          let (factor, offset) = unsafe (factors[run.channel], offsets[run.channel])
          run.forEachPixel { place in
            let value = unsafe from[place] * factor + offset
            unsafe to[place] = clips ? max(0, value) : value
          }
        })
    }
  }

  private static func merge(
    _ operation: ElementwiseMerge.Operation, clips: Bool, from sources: [Int], to target: Int, count: Int
  ) -> Work {
    let floor: Float = clips ? 0 : -.infinity
    let share = 1 / Float(sources.count)
    return .loop { arena in
      let to = unsafe (arena.pointer + target).assumingMemoryBound(to: Float.self)
      func combine(_ apply: (Float, Float) -> Float) {
        let first = unsafe (arena.pointer + sources[0]).assumingMemoryBound(to: Float.self)
        for (index, source) in sources.enumerated().dropFirst() {
          let a = unsafe index == 1 ? first : to
          let b = unsafe (arena.pointer + source).assumingMemoryBound(to: Float.self)
          for position in 0..<count { unsafe to[position] = apply(a[position], b[position]) }
        }
      }
      switch operation {
      case .add, .average: combine { $0 + $1 }
      case .subtract: combine { $0 - $1 }
      case .multiply: combine { $0 * $1 }
      case .maximum: combine { max($0, $1) }
      case .minimum: combine { min($0, $1) }
      }
      if operation == .average { for position in 0..<count { unsafe to[position] *= share } }
      if clips { for position in 0..<count { unsafe to[position] = max(floor, to[position]) } }
    }
  }

  private static func concatenation(
    _ shapes: [Shape], axis: Int, from sources: [Int], to target: Int, rowCount: Int
  ) -> Work {
    let outer = rowCount * shapes[0].dimensions[..<axis].reduce(1, *)
    let widths = shapes.map { $0.dimensions[axis...].reduce(1, *) }
    return .loop { arena in
      var to = unsafe (arena.pointer + target).assumingMemoryBound(to: Float.self)
      for block in 0..<outer {
        for (source, width) in zip(sources, widths) {
          let from = unsafe (arena.pointer + source).assumingMemoryBound(to: Float.self) + block * width
          // What was written straight to its place is there.
          if unsafe from != to { unsafe to.update(from: from, count: width) }
          unsafe to += width
        }
      }
    }
  }

  /// Copies images into larger ones with zeros around, or smaller ones.
  static func borderLoop(
    _ padding: SpatialPadding, _ input: Shape, _ output: Shape, from source: Int, to target: Int,
    rowCount: Int
  ) -> @Sendable (AlignedBuffer) -> Void {
    { arena in
      let from = unsafe (arena.pointer + source).assumingMemoryBound(to: Float.self)
      let to = unsafe (arena.pointer + target).assumingMemoryBound(to: Float.self)
      unsafe to.update(repeating: 0, count: rowCount * output.elementCount)
      let channels = input[2]
      let firstColumn = max(0, -padding.left)
      let count = min(input[1], output[1] - padding.left) - firstColumn
      for image in 0..<rowCount {
        for y in max(0, -padding.top)..<min(input[0], output[0] - padding.top) {
          let read = ((image * input[0] + y) * input[1] + firstColumn) * channels
          let write =
            ((image * output[0] + y + padding.top) * output[1] + firstColumn + padding.left) * channels
          unsafe (to + write).update(from: from + read, count: count * channels)
        }
      }
    }
  }

  /// The step with its arguments in one worker's memory.
  func bound(to arena: AlignedBuffer, scratch: AlignedBuffer, _ engine: Engine) throws(NumericalError)
    -> BoundStep
  {
    switch work {
    case .loop(let body): return .loop(body)
    case .primitive(let primitive, let arguments, let constants, let blockCount, let copy):
      let scratchpad = try Memory(primitive.scratchpad, in: scratch, engine)
      var blocks: [BoundArguments] = []
      for block in 0..<blockCount {
        var memories: [(index: Int32, memory: Memory)] = constants + [(Argument.scratchpad, scratchpad)]
        for argument in arguments {
          let offset = argument.offset + block * argument.descriptor.byteCount
          memories.append((argument.index, try Memory(argument.descriptor, in: arena, at: offset, engine)))
        }
        blocks.append(BoundArguments(memories))
      }
      return .primitive(primitive, blocks, copy: copy)
    }
  }
}

/// The memory objects of one step, in the form that oneDNN takes, kept alive.
@safe final class BoundArguments: Sendable {
  private let memories: [Memory]
  nonisolated(unsafe) let native: [dnnl_exec_arg_t]

  init(_ arguments: [(index: Int32, memory: Memory)]) {
    memories = arguments.map(\.memory)
    unsafe native = unsafe arguments.map { unsafe dnnl_exec_arg_t(arg: $0.index, memory: $0.memory.handle) }
  }
}

/// A step that can run.
enum BoundStep: Sendable {
  case primitive(Primitive, [BoundArguments], copy: ArenaCopy?)
  case loop(@Sendable (AlignedBuffer) -> Void)

  func run(_ stream: Stream, _ arena: AlignedBuffer) throws(NumericalError) {
    switch self {
    case .primitive(let primitive, let blocks, let copy):
      if let copy {
        unsafe (arena.pointer + copy.target).copyMemory(from: arena.pointer + copy.source, byteCount: copy.byteCount)
      }
      for block in blocks { unsafe try primitive.execute(on: stream, block.native) }
    case .loop(let body): body(arena)
    }
  }
}

extension Shape {
  /// A row of an image; a row of channels alone is an image of one pixel.
  var asImage: Shape { rank == 1 ? [1, 1, self[0]] : self }
}
