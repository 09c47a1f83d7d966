import BayesTensor
import COneDNN

extension Primitive {
  /// The cotangent of a convolution's input.
  static func convolutionInputGradient(
    input: Shape, weight: Shape, groups: Int, output: Shape, orders: ImageOrders = ImageOrders(),
    _ geometry: WindowGeometry, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let source = try MemoryDescriptor(images: input, orders.input)
    var (from, to) = (try MemoryDescriptor(images: output, orders.output).native, source.native)
    var weights = try MemoryDescriptor(weights: weight, groups: groups, tag: dnnl_format_tag_any).native
    let window = WindowArguments(geometry)
    var operation = dnnl_convolution_desc_t()
    try unsafe require(
      dnnl_dilated_convolution_backward_data_desc_init(
        &operation, dnnl_convolution_direct, &to, &weights, &from, window.strides, window.dilation, window.before,
        window.after), "dnnl_dilated_convolution_backward_data_desc_init")
    let forward = try convolution(
      input: input, weight: weight, groups: groups, output: output, orders: orders, geometry, usesBias: false,
      postOperations: [], engine)
    return try unsafe Primitive(&operation, destination: source, undoing: forward, engine)
  }

  /// The gradient of a convolution's weight; that of its bias oneDNN adds up pixel by pixel, slowly.
  static func convolutionWeightGradient(
    input: Shape, weight: Shape, groups: Int, output: Shape, orders: ImageOrders = ImageOrders(),
    _ geometry: WindowGeometry, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let target = try MemoryDescriptor(images: output, orders.output)
    var (source, from) = (try MemoryDescriptor(images: input, orders.input).native, target.native)
    var weights = try MemoryDescriptor(weights: weight, groups: groups, tag: dnnl_format_tag_any).native
    let window = WindowArguments(geometry)
    var operation = dnnl_convolution_desc_t()
    try unsafe require(
      dnnl_dilated_convolution_backward_weights_desc_init(
        &operation, dnnl_convolution_direct, &source, &weights, nil, &from, window.strides, window.dilation,
        window.before, window.after), "dnnl_dilated_convolution_backward_weights_desc_init")
    let forward = try convolution(
      input: input, weight: weight, groups: groups, output: output, orders: orders, geometry, usesBias: false,
      postOperations: [], engine)
    return try unsafe Primitive(&operation, destination: target, undoing: forward, engine)
  }

  /// The cotangent of a product's rows.
  static func productInputGradient(
    rows: Int, inputs: Int, outputs: Int, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let source = try MemoryDescriptor(matrix: rows, inputs)
    var (from, to) = (try MemoryDescriptor(matrix: rows, outputs).native, source.native)
    var weights = try MemoryDescriptor([outputs, inputs], dnnl_format_tag_any).native
    var operation = dnnl_inner_product_desc_t()
    try unsafe require(
      dnnl_inner_product_backward_data_desc_init(&operation, &to, &weights, &from),
      "dnnl_inner_product_backward_data_desc_init")
    let forward = try innerProduct(
      rows: rows, inputs: inputs, outputs: outputs, usesBias: false, postOperations: [], engine)
    return try unsafe Primitive(&operation, destination: source, undoing: forward, engine)
  }

  /// The gradients of a product's weight and bias.
  static func productWeightGradient(
    rows: Int, inputs: Int, outputs: Int, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let target = try MemoryDescriptor(matrix: rows, outputs)
    var (source, from) = (try MemoryDescriptor(matrix: rows, inputs).native, target.native)
    var weights = try MemoryDescriptor([outputs, inputs], dnnl_format_tag_any).native
    var bias = try MemoryDescriptor(vector: outputs).native
    var operation = dnnl_inner_product_desc_t()
    try unsafe require(
      dnnl_inner_product_backward_weights_desc_init(&operation, &source, &weights, &bias, &from),
      "dnnl_inner_product_backward_weights_desc_init")
    let forward = try innerProduct(
      rows: rows, inputs: inputs, outputs: outputs, usesBias: true, postOperations: [], engine)
    return try unsafe Primitive(&operation, destination: target, undoing: forward, engine)
  }

  /// The cotangent of a pooling's input.
  ///
  /// - Parameter forward: the pooling, compiled so that it notes its choices.
  static func poolingInputGradient(
    input: Shape, output: Shape, order: ImageOrder = .channelsLast, _ kind: PoolingKind, _ geometry: WindowGeometry,
    undoing forward: Primitive, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let source = try MemoryDescriptor(images: input, order)
    var (from, to) = (try MemoryDescriptor(images: output, order).native, source.native)
    let window = WindowArguments(geometry)
    var operation = dnnl_pooling_desc_t()
    try unsafe require(
      dnnl_pooling_backward_desc_init(
        &operation, kind == .maximum ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding, &to, &from,
        window.strides, window.extent, window.before, window.after), "dnnl_pooling_backward_desc_init")
    return try unsafe Primitive(&operation, destination: source, undoing: forward, engine)
  }

  /// The cotangent of images before bilinear interpolation between pixel centres.
  static func bilinearResamplingInputGradient(
    input: Shape, output: Shape, _ order: ImageOrder, _ engine: Engine
  ) throws(NumericalError) -> Primitive {
    let source = try MemoryDescriptor(images: input, order)
    var (from, to) = (try MemoryDescriptor(images: output, order).native, source.native)
    var operation = dnnl_resampling_desc_t()
    try unsafe require(
      dnnl_resampling_backward_desc_init(&operation, dnnl_resampling_linear, nil, &to, &from),
      "dnnl_resampling_backward_desc_init")
    let forward = try bilinearResampling(input: input, output: output, order, engine)
    return try unsafe Primitive(&operation, destination: source, undoing: forward, engine)
  }

  /// The cotangent of `count` elements before an activation.
  static func activationInputGradient(count: Int, _ kernel: ActivationKernel, _ engine: Engine)
    throws(NumericalError) -> Primitive
  {
    let vector = try MemoryDescriptor(vector: count)
    var (gradient, data) = (vector.native, vector.native)
    var operation = dnnl_eltwise_desc_t()
    try unsafe require(
      dnnl_eltwise_backward_desc_init(
        &operation, dnnl_alg_kind_t(rawValue: kernel.algorithm), &gradient, &data, kernel.alpha, kernel.beta),
      "dnnl_eltwise_backward_desc_init")
    return try unsafe Primitive(
      &operation, destination: vector, undoing: activation(count: count, kernel, engine), engine)
  }
}

/// A window's movement in oneDNN's terms.
struct WindowArguments {
  let extent, strides, dilation, before, after: [Int64]

  init(_ geometry: WindowGeometry) {
    extent = [Int64(geometry.window.height), Int64(geometry.window.width)]
    strides = [Int64(geometry.strides.height), Int64(geometry.strides.width)]
    dilation = [Int64(geometry.dilation.height - 1), Int64(geometry.dilation.width - 1)]
    before = [Int64(geometry.padding.top), Int64(geometry.padding.left)]
    after = [Int64(geometry.padding.bottom), Int64(geometry.padding.right)]
  }
}
