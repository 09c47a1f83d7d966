import BayesNetwork
import BayesTensor
import COneDNN

/// Images that lie in a worker's memory.
struct ArenaPixels: Sendable {
  var offset: Int
  var layout: ChannelLayout
}

/// One compiled step of the way back, not yet bound to any worker's memory.
struct PreparedBackwardStep: Sendable {
  private enum Work: Sendable {
    case primitive(Primitive, [Operand], constants: [(index: Int32, memory: Memory)])
    /// A primitive whose results are the gradients of the weights of an operation.
    ///
    /// Where pixels are given, the gradient of the bias is their sum, which the primitive leaves out.
    case weights(
      Primitive, [Operand], operation: Int, weight: MemoryDescriptor, bias: MemoryDescriptor, pixels: ArenaPixels?)
    case loop(@Sendable (AlignedBuffer, GradientSums) -> Void)
    /// A loop that adds to the gradients of the weights of an operation.
    case weightLoop(
      @Sendable (AlignedBuffer, GradientSums) -> Void, operation: Int, weight: MemoryDescriptor,
      bias: MemoryDescriptor)
  }

  private let work: Work

  /// Bytes of scratch memory that a run needs.
  var scratchByteCount: Int {
    switch work {
    case .primitive(let primitive, _, _), .weights(let primitive, _, _, _, _, _): primitive.scratchpad.byteCount
    case .loop, .weightLoop: 0
    }
  }

  /// The operation whose weights' gradients this gives, and in what order.
  var weightGradient: (operation: Int, weight: MemoryDescriptor, bias: MemoryDescriptor)? {
    switch work {
    case .weights(_, _, let operation, let weight, let bias, _), .weightLoop(_, let operation, let weight, let bias):
      (operation, weight, bias)
    case .primitive, .loop: nil
    }
  }

  /// Compiles one step of a graph's way back for slices of `rowCount` rows.
  init(
    _ step: BackwardOperation, _ graph: TrainingGraph, _ plan: ArenaPlan, rowCount: Int, _ weights: PackedWeights,
    _ engine: Engine
  ) throws(NumericalError) {
    let sources = step.reads.map { plan.offsets[$0] }
    let targets = step.writes.map { plan.offsets[$0] }
    guard let index = step.operation else {
      guard case .combination(let derivative, let result) = step.kind else {
        preconditionFailure("Only a combination undoes no operation.")
      }
      work = Self.combination(
        derivative, sources: result == nil ? sources : Array(sources.dropLast()),
        result: result.map { plan.offsets[$0] }, target: targets[0],
        count: rowCount * graph.forward.elementCounts[graph.originals[step.writes[0]]])
      return
    }
    let operation = graph.forward.operations[index]
    let input = operation.inputs[0].shape
    let output = operation.outputShape
    let outputCount = rowCount * output.elementCount
    let orders = operation.orders

    /// The cotangent of the images that the operation makes, and the gradient of those that it reads.
    func imageGradients() throws(NumericalError) -> [Operand] {
      [
        Operand(
          index: Argument.destinationGradient,
          descriptor: try MemoryDescriptor(images: output.asImage.batched(rowCount), orders.output),
          offset: sources[0]),
        Operand(
          index: Argument.sourceGradient,
          descriptor: try MemoryDescriptor(images: input.batched(rowCount), orders.input), offset: targets[0]),
      ]
    }

    switch (step.kind, operation.kind) {
    case (.inputGradient, .convolution(let geometry, let groups, let weight, _)):
      let primitive = try Primitive.convolutionInputGradient(
        input: input.batched(rowCount), weight: weight.shape, groups: groups, output: output.batched(rowCount),
        orders: orders, geometry, engine)
      let plain = try MemoryDescriptor(weights: weight.shape, groups: groups)
      if primitive.isReference, let own = DirectConvolution(
        input: input, output: output, groups: groups, orders: orders, geometry, rowCount: rowCount)
      {
        let packed = try weights.packed(weight, from: plain, to: plain, for: operation.output)
        work = .loop { arena, _ in
          own.inputGradient(packed.buffer, in: arena, cotangent: sources[0], target: targets[0])
        }
        return
      }
      let packed = try weights.packed(weight, from: plain, to: primitive.weights, for: operation.output)
      work = .primitive(
        primitive,
        try imageGradients(), constants: [(Argument.weights, packed)])
    case (.weightGradient, .convolution(let geometry, let groups, let weight, _)):
      let primitive = try Primitive.convolutionWeightGradient(
        input: input.batched(rowCount), weight: weight.shape, groups: groups, output: output.batched(rowCount),
        orders: orders, geometry, engine)
      if primitive.isReference, let own = DirectConvolution(
        input: input, output: output, groups: groups, orders: orders, geometry, rowCount: rowCount)
      {
        let layout = ChannelLayout(output, orders.output, rowCount: rowCount)
        work = .weightLoop(
          { arena, sums in
            guard let term = sums.begin(index) else { return }
            own.addWeightGradient(to: term.weight, in: arena, source: sources[1], cotangent: sources[0])
            unsafe sums.add(pixels: arena.floats(at: sources[0]), layout, of: index)
          }, operation: index, weight: try MemoryDescriptor(weights: weight.shape, groups: groups),
          bias: try MemoryDescriptor(vector: weight.shape[3]))
        return
      }
      work = .weights(
        primitive,
        [
          Operand(
            index: Argument.source,
            descriptor: try MemoryDescriptor(images: input.batched(rowCount), orders.input), offset: sources[1]),
          Operand(
            index: Argument.destinationGradient,
            descriptor: try MemoryDescriptor(images: output.batched(rowCount), orders.output), offset: sources[0]),
        ], operation: index, weight: primitive.weightGradient, bias: try MemoryDescriptor(vector: weight.shape[3]),
        pixels: ArenaPixels(
          offset: sources[0], layout: ChannelLayout(output, orders.output, rowCount: rowCount)))
    case (.inputGradient, .dense(let weight, _)):
      let rows = rowCount * input.elementCount / weight.shape[0]
      let primitive = try Primitive.productInputGradient(
        rows: rows, inputs: weight.shape[0], outputs: weight.shape[1], engine)
      let packed = try weights.packed(
        weight, from: MemoryDescriptor([weight.shape[1], weight.shape[0]], dnnl_ba), to: primitive.weights,
        for: operation.output)
      work = .primitive(
        primitive,
        [
          Operand(
            index: Argument.destinationGradient, descriptor: try MemoryDescriptor(matrix: rows, weight.shape[1]),
            offset: sources[0]),
          Operand(
            index: Argument.sourceGradient, descriptor: try MemoryDescriptor(matrix: rows, weight.shape[0]),
            offset: targets[0]),
        ], constants: [(Argument.weights, packed)])
    case (.weightGradient, .dense(let weight, _)):
      let rows = rowCount * input.elementCount / weight.shape[0]
      let primitive = try Primitive.productWeightGradient(
        rows: rows, inputs: weight.shape[0], outputs: weight.shape[1], engine)
      work = .weights(
        primitive,
        [
          Operand(
            index: Argument.source, descriptor: try MemoryDescriptor(matrix: rows, weight.shape[0]),
            offset: sources[1]),
          Operand(
            index: Argument.destinationGradient, descriptor: try MemoryDescriptor(matrix: rows, weight.shape[1]),
            offset: sources[0]),
        ], operation: index, weight: primitive.weightGradient, bias: try MemoryDescriptor(vector: weight.shape[1]),
        pixels: nil)
    case (.inputGradient, .pooling(let kind, let geometry)):
      let image = output.asImage.batched(rowCount)
      let forward = try Primitive.pooling(
        input: input.batched(rowCount), output: image, order: orders.input, kind, geometry,
        notesChoices: kind == .maximum, engine)
      let primitive = try Primitive.poolingInputGradient(
        input: input.batched(rowCount), output: image, order: orders.input, kind, geometry, undoing: forward, engine)
      let notes = graph.workspaces[index].map {
        Operand(index: Argument.workspace, descriptor: primitive.workspace, offset: plan.offsets[$0])
      }
      work = .primitive(
        primitive,
        try imageGradients() + (notes.map { [$0] } ?? []), constants: [])
    case (.inputGradient, .resampling):
      work = .primitive(
        try Primitive.bilinearResamplingInputGradient(
          input: input.batched(rowCount), output: output.batched(rowCount), orders.input, engine),
        try imageGradients(), constants: [])
    case (.inputGradient, .reorder):
      let body = orders.output.rewriter(to: orders.input, input, from: sources[0], to: targets[0], rowCount: rowCount)
      work = .loop { arena, _ in body(arena) }
    case (.activation(let kernel), _):
      let vector = try MemoryDescriptor(vector: outputCount)
      work = .primitive(
        try Primitive.activationInputGradient(count: outputCount, kernel, engine),
        [
          Operand(index: Argument.source, descriptor: vector, offset: sources[1]),
          Operand(index: Argument.destinationGradient, descriptor: vector, offset: sources[0]),
          Operand(index: Argument.sourceGradient, descriptor: vector, offset: targets[0]),
        ], constants: [])
    case (.channelFactors, .channelMap(let factors, let offsets)):
      let map = weights.channelMap(factors, offsets, for: operation.output)
      let layout = ChannelLayout(output, orders.input, rowCount: rowCount)
      work = .loop { arena, _ in
        let (from, to, factors) = unsafe (arena.floats(at: sources[0]), arena.floats(at: targets[0]), map.floats(at: 0))
        layout.forEachRun(
          ofEight: { run in
            let factor = unsafe SIMD8(factors, at: run.channel)
            run.forEachPixel { unsafe (SIMD8(from, at: $0) * factor).store(to: to, at: $0) }
          },
          ofOne: { run in
            let factor = unsafe factors[run.channel]
            run.forEachPixel { unsafe to[$0] = from[$0] * factor }
          })
      }
    case (.channelSums, .channelMap):
      let layout = ChannelLayout(output, orders.input, rowCount: rowCount)
      work = .loop { arena, sums in
        guard let term = sums.begin(index) else { return }
        let (cotangent, input) = unsafe (arena.floats(at: sources[0]), arena.floats(at: sources[1]))
        let (products, plain) = unsafe (term.weight.floats(at: 0), term.bias.floats(at: 0))
        layout.forEachRun(
          ofEight: { run in
            var (product, sum) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
            run.forEachPixel { place in
              let arriving = unsafe SIMD8(cotangent, at: place)
              product += unsafe arriving * SIMD8(input, at: place)
              sum += arriving
            }
            unsafe product.add(to: products, at: run.channel)
            unsafe sum.add(to: plain, at: run.channel)
          },
          ofOne: { run in
            var (product, sum): (Float, Float) = (0, 0)
            run.forEachPixel { place in
              product += unsafe cotangent[place] * input[place]
              sum += unsafe cotangent[place]
            }
            unsafe products[run.channel] += product
            unsafe plain[run.channel] += sum
          })
      }
    case (.scaling(let factor), _):
      work = .loop { arena, _ in
        let (from, to) = unsafe (arena.floats(at: sources[0]), arena.floats(at: targets[0]))
        for position in 0..<outputCount { unsafe to[position] = factor * from[position] }
      }
    case (.product(let chosen), _):
      work = .loop { arena, _ in
        let (from, to) = unsafe (arena.floats(at: sources[0]), arena.floats(at: targets[0]))
        unsafe to.update(from: from, count: outputCount)
        for (position, source) in sources.dropFirst().enumerated() where position != chosen {
          let other = unsafe arena.floats(at: source)
          for element in 0..<outputCount { unsafe to[element] *= other[element] }
        }
      }
    case (.selection(let chosen), .merge(let merge)):
      work = Self.selection(
        chosen, isMaximum: merge == .maximum, cotangent: sources[0], values: Array(sources.dropFirst()),
        target: targets[0], count: outputCount)
    case (.part(let chosen), .concatenation(let channelAxis)):
      // Blocks of channels lie one behind the other, as along a first axis.
      let axis = orders.input.block == nil ? channelAxis : 0
      let outer = rowCount * output.dimensions[..<axis].reduce(1, *)
      let widths = operation.inputs.map { $0.shape.dimensions[axis...].reduce(1, *) }
      let (before, width, whole) = (widths[..<chosen].reduce(0, +), widths[chosen], widths.reduce(0, +))
      work = .loop { arena, _ in
        let (from, to) = unsafe (arena.floats(at: sources[0]) + before, arena.floats(at: targets[0]))
        for block in 0..<outer { unsafe (to + block * width).update(from: from + block * whole, count: width) }
      }
    case (.uncovering, .border(let padding)):
      let opposite = SpatialPadding(
        top: -padding.top, bottom: -padding.bottom, left: -padding.left, right: -padding.right)
      let body = PreparedStep.borderLoop(
        opposite, output, input, from: sources[0], to: targets[0], rowCount: rowCount)
      work = .loop { arena, _ in body(arena) }
    case (.layer(let request), .layer(let layer, let parameters)):
      guard let layer = layer as? any DifferentiableLayer else {
        preconditionFailure("\(type(of: layer)) has no pullback; the plan should have been refused.")
      }
      let stored = weights.layer(parameters, for: operation.output)
      let shapes = operation.inputs.map { $0.shape.batched(rowCount) }
      work = .loop { arena, sums in
        let cotangent = unsafe Tensor<Float>(
          shape: output.batched(rowCount), copying: arena.pointer + sources[0])
        let inputs = zip(shapes, sources.dropFirst()).map { shape, offset in
          unsafe Tensor<Float>(shape: shape, copying: arena.pointer + offset)
        }
        let result = unsafe Tensor<Float>(
          shape: output.batched(rowCount), copying: arena.pointer + sources[sources.count - 1])
        let gradients = layer.pullback(
          of: cotangent, inputs: inputs, parameters: stored.tensors, output: result, request: request,
          on: ReferenceBackend())
        for (gradient, target) in zip(gradients.inputs.compactMap { $0 }, targets) {
          let to = unsafe arena.floats(at: target)
          gradient.withSpan { span in
            for position in 0..<span.count { unsafe to[position] = span[position] }
          }
        }
        if request.parameters { sums.add(gradients.parameters, of: index) }
      }
    default: preconditionFailure("\(step.kind) does not undo \(operation.kind).")
    }
  }

  private static func combination(
    _ derivative: ActivationDerivative?, sources: [Int], result: Int?, target: Int, count: Int
  ) -> Work {
    .loop { arena, _ in
      let to = unsafe arena.floats(at: target)
      var first = unsafe arena.floats(at: sources[0])
      // All but the last two are added up first.
      for source in sources.dropFirst().dropLast() {
        let other = unsafe arena.floats(at: source)
        for position in 0..<count { unsafe to[position] = first[position] + other[position] }
        unsafe first = to
      }
      let last = unsafe sources.count > 1 ? arena.floats(at: sources[sources.count - 1]) : nil
      if let derivative, let result {
        unsafe derivative.multiply(
          first, last.map { unsafe UnsafePointer($0) }, at: arena.floats(at: result), into: to, count: count)
      } else if let last = unsafe last {
        for position in 0..<count { unsafe to[position] = first[position] + last[position] }
      }
    }
  }

  /// Ties go to the first input that has the extreme value.
  private static func selection(
    _ chosen: Int, isMaximum: Bool, cotangent: Int, values: [Int], target: Int, count: Int
  ) -> Work {
    .loop { arena, _ in
      let (from, to) = unsafe (arena.floats(at: cotangent), arena.floats(at: target))
      let own = unsafe arena.floats(at: values[chosen])
      unsafe to.update(from: from, count: count)
      for (index, value) in values.enumerated() where index != chosen {
        let other = unsafe arena.floats(at: value)
        for position in 0..<count {
          let (a, b) = unsafe (own[position], other[position])
          let loses = a == b ? index < chosen : isMaximum ? a < b : a > b
          if loses { unsafe to[position] = 0 }
        }
      }
    }
  }

  /// The step with its arguments in one worker's memory.
  ///
  /// - Parameters:
  ///   - weight: where a slice's gradient of a weight goes before it is added to the sums.
  ///   - bias: likewise.
  func bound(
    to arena: AlignedBuffer, scratch: AlignedBuffer, weight: AlignedBuffer, bias: AlignedBuffer, _ engine: Engine
  ) throws(NumericalError) -> BoundBackwardStep {
    func memories(_ primitive: Primitive, _ operands: [Operand]) throws(NumericalError)
      -> [(index: Int32, memory: Memory)]
    {
      var memories: [(index: Int32, memory: Memory)] = [
        (Argument.scratchpad, try Memory(primitive.scratchpad, in: scratch, engine))
      ]
      for operand in operands {
        memories.append((operand.index, try Memory(operand.descriptor, in: arena, at: operand.offset, engine)))
      }
      return memories
    }
    switch work {
    case .loop(let body), .weightLoop(let body, _, _, _): return .loop(body)
    case .primitive(let primitive, let operands, let constants):
      return .primitive(primitive, BoundArguments(try memories(primitive, operands) + constants))
    case .weights(let primitive, let operands, let operation, let weightOrder, let biasOrder, let pixels):
      let result = try Memory(weightOrder, in: weight, engine)
      var results = [(index: Argument.weightGradient, memory: result)]
      if pixels == nil {
        results.append((index: Argument.biasGradient, memory: try Memory(biasOrder, in: bias, engine)))
      }
      return .weights(
        primitive, BoundArguments(try memories(primitive, operands) + results), operation: operation, weight: result,
        bias: bias, pixels: pixels)
    }
  }
}

/// A step of the way back that can run.
enum BoundBackwardStep: Sendable {
  case primitive(Primitive, BoundArguments)
  case weights(
    Primitive, BoundArguments, operation: Int, weight: Memory, bias: AlignedBuffer, pixels: ArenaPixels?)
  case loop(@Sendable (AlignedBuffer, GradientSums) -> Void)

  func run(_ stream: Stream, _ arena: AlignedBuffer, _ sums: GradientSums) throws(NumericalError) {
    switch self {
    case .primitive(let primitive, let arguments): unsafe try primitive.execute(on: stream, arguments.native)
    case .weights(let primitive, let arguments, let operation, let weight, let bias, let pixels):
      if let place = sums.place(ofFirstWeightOf: operation) {
        try weight.withData(in: place) { () throws(NumericalError) in
          unsafe try primitive.execute(on: stream, arguments.native)
        }
      } else {
        unsafe try primitive.execute(on: stream, arguments.native)
        sums.add(weight: weight.buffer, of: operation)
      }
      if let pixels {
        unsafe sums.add(pixels: arena.floats(at: pixels.offset), pixels.layout, of: operation)
      } else {
        sums.add(bias: bias, of: operation)
      }
    case .loop(let body): body(arena, sums)
    }
  }
}
