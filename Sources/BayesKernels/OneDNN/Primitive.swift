import BayesTensor
import COneDNN

/// What is done to a primitive's result before it is stored.
enum PostOperation: Sendable, Equatable {
  /// Adds what the destination holds already.
  case accumulate
  /// Adds another tensor of the destination's shape.
  case add
  case activation(ActivationKernel)
}

/// An activation in oneDNN's terms.
struct ActivationKernel: Sendable, Equatable {
  var algorithm: UInt32
  var alpha: Float = 0
  var beta: Float = 0
}

/// A compiled operation; safe to run from several threads, each with memory of its own.
@safe final class Primitive: Sendable {
  nonisolated(unsafe) let handle: dnnl_primitive_t
  nonisolated(unsafe) private let descriptor: dnnl_primitive_desc_t
  /// Bytes of scratch memory that a run needs.
  let scratchpad: MemoryDescriptor

  /// Compiles an operation descriptor of any kind.
  ///
  /// - Parameters:
  ///   - destination: the shape that added tensors have.
  ///   - forward: for a way back, the operation that it undoes.
  init(
    _ operation: UnsafeRawPointer, postOperations: [PostOperation] = [], destination: MemoryDescriptor,
    undoing forward: Primitive? = nil, _ engine: Engine
  ) throws(NumericalError) {
    var attributes: dnnl_primitive_attr_t?
    try unsafe require(dnnl_primitive_attr_create(&attributes), "dnnl_primitive_attr_create")
    defer { unsafe dnnl_primitive_attr_destroy(attributes) }
    // Scratch memory that a worker owns makes primitives safe to share between threads.
    try unsafe require(
      dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user),
      "dnnl_primitive_attr_set_scratchpad_mode")
    if engine.precision == .bfloat16 {
      try unsafe require(
        dnnl_primitive_attr_set_fpmath_mode(attributes, dnnl_fpmath_mode_bf16),
        "dnnl_primitive_attr_set_fpmath_mode")
    }
    var chain: dnnl_post_ops_t?
    try unsafe require(dnnl_post_ops_create(&chain), "dnnl_post_ops_create")
    defer { unsafe dnnl_post_ops_destroy(chain) }
    for operation in postOperations {
      switch operation {
      case .accumulate:
        try unsafe require(dnnl_post_ops_append_sum(chain, 1), "dnnl_post_ops_append_sum")
      case .add:
        var native = destination.native
        try unsafe require(
          dnnl_post_ops_append_binary(chain, dnnl_binary_add, &native), "dnnl_post_ops_append_binary")
      case .activation(let kernel):
        try unsafe require(
          dnnl_post_ops_append_eltwise(
            chain, 1, dnnl_alg_kind_t(rawValue: kernel.algorithm), kernel.alpha, kernel.beta),
          "dnnl_post_ops_append_eltwise")
      }
    }
    try unsafe require(dnnl_primitive_attr_set_post_ops(attributes, chain), "dnnl_primitive_attr_set_post_ops")
    var description: dnnl_primitive_desc_t?
    try unsafe require(
      dnnl_primitive_desc_create(&description, operation, attributes, engine.handle, forward?.descriptor),
      "dnnl_primitive_desc_create")
    guard let description = unsafe description else {
      throw NumericalError(.nativeFailure, "oneDNN gave no primitive descriptor.")
    }
    var primitive: dnnl_primitive_t?
    let status = unsafe dnnl_primitive_create(&primitive, description)
    guard status == dnnl_success, let primitive = unsafe primitive else {
      unsafe dnnl_primitive_desc_destroy(description)
      throw NumericalError(
        .nativeFailure, "oneDNN could not compile an operation of this network.",
        cause: OneDNNFailure(routine: "dnnl_primitive_create", status: status.rawValue))
    }
    unsafe self.descriptor = description
    unsafe handle = primitive
    scratchpad = unsafe MemoryDescriptor(
      dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0).pointee)
  }

  deinit {
    unsafe dnnl_primitive_destroy(handle)
    unsafe dnnl_primitive_desc_destroy(descriptor)
  }

  /// Whether the library has no kernel for the operation but computes it by general products of matrices.
  var isComputedByMatrixProducts: Bool { implementation.contains("gemm") }

  /// Whether the library has nothing for the operation but its reference, which is slow.
  var isReference: Bool { implementation.hasPrefix("ref") }

  /// The kernel that was chosen, as the library calls it.
  private var implementation: String {
    var name: UnsafePointer<CChar>?
    guard unsafe dnnl_primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &name) == dnnl_success,
      let name = unsafe name
    else { return "" }
    return unsafe String(cString: name)
  }

  /// The order in which the operation gives the gradient of its weights.
  var weightGradient: MemoryDescriptor {
    unsafe MemoryDescriptor(dnnl_primitive_desc_query_md(descriptor, dnnl_query_diff_weights_md, 0).pointee)
  }

  /// What the way forward notes for the way back.
  var workspace: MemoryDescriptor {
    unsafe MemoryDescriptor(dnnl_primitive_desc_query_md(descriptor, dnnl_query_workspace_md, 0).pointee)
  }

  /// The order in which the operation wants its weights.
  var weights: MemoryDescriptor {
    unsafe MemoryDescriptor(dnnl_primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0).pointee)
  }

  /// Runs the operation.
  func execute(on stream: Stream, _ arguments: [dnnl_exec_arg_t]) throws(NumericalError) {
    try unsafe require(
      dnnl_primitive_execute(handle, stream.handle, Int32(arguments.count), arguments),
      "dnnl_primitive_execute")
  }
}

extension Primitive {
  /// A convolution of images.
  static func convolution(
    input: Shape, weight: Shape, groups: Int, output: Shape, orders: ImageOrders = ImageOrders(),
    _ geometry: WindowGeometry, usesBias: Bool, postOperations: [PostOperation], _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    var source = try MemoryDescriptor(images: input, orders.input).native
    var weights = try MemoryDescriptor(weights: weight, groups: groups, tag: dnnl_format_tag_any).native
    var bias = try MemoryDescriptor(vector: weight[3]).native
    let target = try MemoryDescriptor(images: output, orders.output)
    var destination = target.native
    var operation = dnnl_convolution_desc_t()
    let window = WindowArguments(geometry)
    if usesBias {
      try unsafe require(
        dnnl_dilated_convolution_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_convolution_direct, &source, &weights, &bias,
          &destination, window.strides, window.dilation, window.before, window.after),
        "dnnl_dilated_convolution_forward_desc_init")
    } else {
      try unsafe require(
        dnnl_dilated_convolution_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_convolution_direct, &source, &weights, nil,
          &destination, window.strides, window.dilation, window.before, window.after),
        "dnnl_dilated_convolution_forward_desc_init")
    }
    return try unsafe Primitive(&operation, postOperations: postOperations, destination: target, engine)
  }

  /// A transposed convolution of channels-last images.
  ///
  /// - Parameters:
  ///   - weight: the shape of its weight as that of a convolution, `[height, width, in, out]`.
  ///   - geometry: the movement over the output of the convolution that this is the adjoint of.
  static func transposedConvolution(
    input: Shape, weight: Shape, output: Shape, _ geometry: WindowGeometry, usesBias: Bool, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    var source = try MemoryDescriptor(images: input).native
    var weights = try MemoryDescriptor(weights: weight, groups: 1, tag: dnnl_format_tag_any).native
    var bias = try MemoryDescriptor(vector: weight[3]).native
    let target = try MemoryDescriptor(images: output)
    var destination = target.native
    var operation = dnnl_deconvolution_desc_t()
    let window = WindowArguments(geometry)
    if usesBias {
      try unsafe require(
        dnnl_dilated_deconvolution_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_deconvolution_direct, &source, &weights, &bias,
          &destination, window.strides, window.dilation, window.before, window.after),
        "dnnl_dilated_deconvolution_forward_desc_init")
    } else {
      try unsafe require(
        dnnl_dilated_deconvolution_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_deconvolution_direct, &source, &weights, nil,
          &destination, window.strides, window.dilation, window.before, window.after),
        "dnnl_dilated_deconvolution_forward_desc_init")
    }
    return try unsafe Primitive(&operation, destination: target, engine)
  }

  /// A product of rows with weights `[1, 1, in, out]`: a convolution of one image that is as wide as there are rows.
  ///
  /// oneDNN's own inner product allocates memory in every call, and takes longer.
  static func product(
    rows: Int, inputs: Int, outputs: Int, usesBias: Bool, postOperations: [PostOperation], _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    try convolution(
      input: [1, 1, rows, inputs], weight: [1, 1, inputs, outputs], groups: 1, output: [1, 1, rows, outputs],
      WindowGeometry(window: Extent2D(height: 1, width: 1)), usesBias: usesBias, postOperations: postOperations,
      engine)
  }

  /// A product of rows with weights `[in, out]`, for the ways back to be compiled after.
  static func innerProduct(
    rows: Int, inputs: Int, outputs: Int, usesBias: Bool, postOperations: [PostOperation], _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    var source = try MemoryDescriptor(matrix: rows, inputs).native
    var weights = try MemoryDescriptor([outputs, inputs], dnnl_format_tag_any).native
    var bias = try MemoryDescriptor(vector: outputs).native
    let target = try MemoryDescriptor(matrix: rows, outputs)
    var destination = target.native
    var operation = dnnl_inner_product_desc_t()
    if usesBias {
      try unsafe require(
        dnnl_inner_product_forward_desc_init(
          &operation, dnnl_forward_inference, &source, &weights, &bias, &destination),
        "dnnl_inner_product_forward_desc_init")
    } else {
      try unsafe require(
        dnnl_inner_product_forward_desc_init(
          &operation, dnnl_forward_inference, &source, &weights, nil, &destination),
        "dnnl_inner_product_forward_desc_init")
    }
    return try unsafe Primitive(&operation, postOperations: postOperations, destination: target, engine)
  }

  /// The maximum or mean of windows over images.
  static func pooling(
    input: Shape, output: Shape, order: ImageOrder = .channelsLast, _ kind: PoolingKind, _ geometry: WindowGeometry,
    notesChoices: Bool = false, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    var source = try MemoryDescriptor(images: input, order).native
    let target = try MemoryDescriptor(images: output, order)
    var destination = target.native
    let window = WindowArguments(geometry)
    var operation = dnnl_pooling_desc_t()
    try unsafe require(
      dnnl_pooling_forward_desc_init(
        &operation, notesChoices ? dnnl_forward_training : dnnl_forward_inference,
        kind == .maximum ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding, &source, &destination,
        window.strides, window.extent, window.before, window.after),
      "dnnl_pooling_forward_desc_init")
    return try unsafe Primitive(&operation, destination: target, engine)
  }

  /// Images brought to another size by bilinear interpolation between pixel centres.
  static func bilinearResampling(input: Shape, output: Shape, _ order: ImageOrder, _ engine: Engine)
    throws(NumericalError) -> Primitive
  {
    var source = try MemoryDescriptor(images: input, order).native
    let target = try MemoryDescriptor(images: output, order)
    var destination = target.native
    var operation = dnnl_resampling_desc_t()
    try unsafe require(
      dnnl_resampling_forward_desc_init(
        &operation, dnnl_forward_inference, dnnl_resampling_linear, nil, &source, &destination),
      "dnnl_resampling_forward_desc_init")
    return try unsafe Primitive(&operation, destination: target, engine)
  }

  /// An activation of `count` elements.
  static func activation(count: Int, _ kernel: ActivationKernel, _ engine: Engine)
    throws(NumericalError) -> Primitive
  {
    let target = try MemoryDescriptor(vector: count)
    var native = target.native
    var operation = dnnl_eltwise_desc_t()
    try unsafe require(
      dnnl_eltwise_forward_desc_init(
        &operation, dnnl_forward_inference, dnnl_alg_kind_t(rawValue: kernel.algorithm), &native,
        kernel.alpha, kernel.beta), "dnnl_eltwise_forward_desc_init")
    return try unsafe Primitive(&operation, destination: target, engine)
  }
}

/// The numbers by which oneDNN knows an operation's arguments; some are macros that Swift cannot see.
enum Argument {
  static let source: Int32 = 1
  static let weights: Int32 = 33
  static let bias: Int32 = 41
  static let destination: Int32 = 17
  static let scratchpad: Int32 = 80
  static let workspace: Int32 = 64
  static let sourceGradient: Int32 = 129
  static let destinationGradient: Int32 = 145
  static let weightGradient: Int32 = 161
  static let biasGradient: Int32 = 169
  /// The other operand of the post-operation at `index`.
  static func addend(_ index: Int) -> Int32 { Int32(16384 * (index + 1)) | 2 }
}

extension AlignedBuffer {
  /// A buffer that holds a tensor's elements.
  convenience init(copying tensor: Tensor<Float>) {
    self.init(byteCount: tensor.count * MemoryLayout<Float>.stride)
    copy(tensor)
  }
}
