import BayesTensor

/// One of our layers that a Keras layer becomes.
struct KerasStep: Sendable {
  /// What is added to the Keras layer's name; empty for the step that bears it.
  var suffix = ""
  var layer: any Layer
  var weights: [KerasWeight] = []
}

/// What a Keras layer becomes, given the shapes of the rows that go in.
///
/// The settings have been read and checked when the recipe is made, so that a layer whose input is
/// unknown can still be refused for its settings.  Steps follow one another.
struct KerasRecipe: Sendable {
  let steps: @Sendable (_ inputs: [Shape]) throws(KerasRefusal) -> [KerasStep]

  init(_ steps: @escaping @Sendable (_ inputs: [Shape]) throws(KerasRefusal) -> [KerasStep]) {
    self.steps = steps
  }

  init(_ layer: any Layer, weights: [KerasWeight] = [], then following: [KerasStep] = []) {
    let steps = [KerasStep(layer: layer, weights: weights)] + following
    self.steps = { _ in steps }
  }
}

/// The kinds of layer that can be imported.
enum KerasCatalog {
  /// What a layer of a kind becomes.
  ///
  /// - Throws: `KerasRefusal` for a kind that is not known and for settings that are not supported.
  static func recipe(for kind: String, _ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    switch kind {
    case "Conv2D", "Convolution2D", "AtrousConvolution2D": try convolution(options)
    case "DepthwiseConv2D": try depthwiseConvolution(options)
    case "SeparableConv2D", "SeparableConvolution2D": try separableConvolution(options)
    case "Conv2DTranspose", "Convolution2DTranspose": try transposedConvolution(options)
    case "Conv1D", "Convolution1D": try alongOneAxis(options, convolution)
    case "DepthwiseConv1D": try alongOneAxis(options, depthwiseConvolution)
    case "SeparableConv1D": try alongOneAxis(options, separableConvolution)
    case "Conv1DTranspose": try alongOneAxis(options, transposedConvolution)
    case "Dense": try dense(options)
    case "Embedding": try embedding(options)

    case "LSTM", "GRU", "SimpleRNN":
      try recurrence(recurrentLayer(of: kind, options))
    case "Bidirectional": try bidirectional(options)
    case "MultiHeadAttention": try attention(options)
    case "TimeDistributed": try timeDistributed(options)

    case "BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization":
      try batchNormalization(options)
    case "LayerNormalization": try layerNormalization(options)
    case "GroupNormalization": try groupNormalization(options)
    case "UnitNormalization": try unitNormalization(options)
    case "Normalization": try normalization(options)
    case "Rescaling": try rescaling(options)

    case "Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU":
      KerasRecipe(Activation(try options.activationLayer(of: kind)))
    case "Softmax": try softmax(options)
    case "PReLU": try parametricReLU(options)

    case "Add": KerasRecipe(ElementwiseMerge(.add))
    case "Subtract": KerasRecipe(ElementwiseMerge(.subtract))
    case "Multiply": KerasRecipe(ElementwiseMerge(.multiply))
    case "Average": KerasRecipe(ElementwiseMerge(.average))
    case "Maximum": KerasRecipe(ElementwiseMerge(.maximum))
    case "Minimum": KerasRecipe(ElementwiseMerge(.minimum))
    case "Concatenate": concatenation(axis: try options.integer("axis", default: -1, in: -64...64))
    case "Merge": try merge(options)
    case "Dot": try dotProduct(options)

    case "MaxPooling2D": try pooling(.maximum, options)
    case "AveragePooling2D": try pooling(.average, options)
    case "GlobalMaxPooling2D": try globalPooling(.maximum, options)
    case "GlobalAveragePooling2D": try globalPooling(.average, options)
    case "MaxPooling1D": try alongOneAxis(options) { options throws(KerasRefusal) in try pooling(.maximum, options) }
    case "AveragePooling1D":
      try alongOneAxis(options) { options throws(KerasRefusal) in try pooling(.average, options) }
    case "GlobalMaxPooling1D":
      try alongOneAxis(options) { options throws(KerasRefusal) in try globalPooling(.maximum, options) }
    case "GlobalAveragePooling1D":
      try alongOneAxis(options) { options throws(KerasRefusal) in try globalPooling(.average, options) }

    case "Flatten": try flatten(options)
    case "Reshape": KerasRecipe(Reshape(target: try options.integers("target_shape")))
    case "Permute": KerasRecipe(Permutation(order: try options.integers("dims").map { $0 - 1 }))
    case "ZeroPadding2D": try border(options, "padding", sign: 1)
    case "Cropping2D": try border(options, "cropping", sign: -1)
    case "ZeroPadding1D":
      try alongOneAxis(options) { options throws(KerasRefusal) in try border(options, "padding", sign: 1) }
    case "Cropping1D":
      try alongOneAxis(options) { options throws(KerasRefusal) in try border(options, "cropping", sign: -1) }
    case "UpSampling2D": try upsampling(options)
    case "UpSampling1D": try alongOneAxis(options, upsampling)
    case "Resizing": try resizing(options)
    case "RepeatVector": KerasRecipe(Repetition(count: try options.integer("n")))

    case "Dropout": try dropout(options, sharedAxes: try options.axesOfOne("noise_shape"))
    case "SpatialDropout1D": try dropout(options, sharedAxes: [0])
    case "SpatialDropout2D": try spatialDropout(options, axes: 2)
    case "SpatialDropout3D": try spatialDropout(options, axes: 3)
    case "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
      // Augmentation, which Keras switches off outside training.
      "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
      "RandomBrightness":
      KerasRecipe(Identity())

    case "Masking": throw KerasRefusal("it masks steps of sequences, which is not supported")
    case "Lambda": throw KerasRefusal("it carries code, which is never run")
    case "TFSMLayer":
      throw KerasRefusal(
        "it stands for a TensorFlow SavedModel that is not in the file, and whose code is never run; import the model "
          + "it was exported from")
    case "TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda":
      throw KerasRefusal("it is a bare TensorFlow operation; use a Keras layer in its place")
    case "Sequential", "Functional", "Model":
      throw KerasRefusal("it does not say how the layers inside are joined")
    default: throw KerasRefusal("this kind of layer is not supported")
    }
  }

  // MARK: Convolutions and dense layers

  private static func convolution(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    try options.requirePlainWeights()
    var layer = try windowed(options, filters: options.integer("filters", "nb_filter"))
    layer.groups = try options.integer("groups", default: 1)
    return KerasRecipe(
      layer, weights: layer.usesBias ? [.window, .bias] : [.window], then: try options.activationSteps())
  }

  /// A convolution with the settings that all kinds share.
  private static func windowed(_ options: KerasOptions, filters: Int) throws(KerasRefusal) -> Convolution {
    let one = Extent2D(height: 1, width: 1)
    // Keras 1 gives the window as two numbers, or as a length.
    let window =
      options.value(["nb_row"]) == nil
      ? try options.extent("kernel_size", "filter_length")
      : Extent2D(height: try options.integer("nb_row"), width: try options.integer("nb_col"))
    let dilation = try options.extent("dilation_rate", "atrous_rate", default: one)
    let padding = try options.text("padding", "border_mode", default: "valid")
    let isCausal = options.isAlongOneAxis && padding == "causal"
    return Convolution(
      filters: filters, window: window,
      strides: try options.extent("strides", "subsample", "subsample_length", default: one), dilation: dilation,
      padding: isCausal
        ? .explicit(SpatialPadding(left: dilation.width * (window.width - 1))) : try options.padding(),
      usesBias: try options.flag("use_bias", "bias", default: true))
  }

  private static func transposedConvolution(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    try options.requirePlainWeights()
    let one = Extent2D(height: 1, width: 1)
    var added: Extent2D?
    if options.value(["output_padding"]) != nil {
      added = try options.extent("output_padding", in: 0...largestSetting)
      if options.isAlongOneAxis { added?.height = 0 }
    }
    let layer = TransposedConvolution(
      filters: try options.integer("filters"), window: try options.extent("kernel_size"),
      strides: try options.extent("strides", default: one),
      dilation: try options.extent("dilation_rate", default: one),
      padding: try options.padding() == .same ? .same : .valid, outputPadding: added,
      usesBias: try options.flag("use_bias", default: true))
    return KerasRecipe(
      layer, weights: layer.usesBias ? [.window, .bias] : [.window], then: try options.activationSteps())
  }

  private static func depthwiseConvolution(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    let layer = try windowed(options, filters: 1)
    let multiplier = try options.integer("depth_multiplier", default: 1)
    let activation = try options.activationSteps()
    return KerasRecipe { inputs throws(KerasRefusal) in
      let (layer, kernel) = try depthwise(layer, multiplier, over: inputs)
      return [KerasStep(layer: layer, weights: layer.usesBias ? [kernel, .bias] : [kernel])] + activation
    }
  }

  /// A convolution with as many groups as channels; the kernel's name and stored shape are its own.
  ///
  /// The file's `[height, width, channels, multiplier]` holds the elements in the order of our
  /// `[height, width, 1, channels · multiplier]`.
  private static func depthwise(
    _ layer: Convolution, _ multiplier: Int, over inputs: [Shape]
  ) throws(KerasRefusal) -> (Convolution, KerasWeight) {
    guard inputs[0].rank == 3 else {
      throw KerasRefusal("it takes images; it was given rows of \(inputs[0])")
    }
    let channels = inputs[0][2]
    var layer = layer
    layer.groups = channels
    layer.filters = channels * multiplier
    let stored = [layer.window.height, layer.window.width, channels, multiplier]
    do {
      return (
        layer,
        KerasWeight(
          parameter: "weight", names: ["depthwise_kernel", "kernel", "_depthwise_kernel"],
          storedShape: try Shape(checking: stored, of: "The depthwise kernel"))
      )
    } catch {
      throw KerasRefusal(error.message)
    }
  }

  private static func separableConvolution(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    var layer = try windowed(options, filters: 1)
    let pointwise = Convolution(
      filters: try options.integer("filters", "nb_filter"), window: Extent2D(height: 1, width: 1),
      usesBias: layer.usesBias)
    layer.usesBias = false
    let first = layer
    let multiplier = try options.integer("depth_multiplier", default: 1)
    let activation = try options.activationSteps()
    let kernel = KerasWeight(parameter: "weight", names: ["pointwise_kernel", "_pointwise_kernel"])
    return KerasRecipe { inputs throws(KerasRefusal) in
      let (depthwise, depthwiseKernel) = try depthwise(first, multiplier, over: inputs)
      return [
        KerasStep(suffix: "depthwise", layer: depthwise, weights: [depthwiseKernel]),
        KerasStep(layer: pointwise, weights: pointwise.usesBias ? [kernel, .bias] : [kernel]),
      ] + activation
    }
  }

  private static func dense(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requirePlainWeights()
    let layer = Dense(
      units: try options.integer("units", "output_dim"),
      usesBias: try options.flag("use_bias", "bias", default: true))
    return KerasRecipe(
      layer, weights: layer.usesBias ? [.kernel, .bias] : [.kernel], then: try options.activationSteps())
  }

  // MARK: Normalisation

  private static func batchNormalization(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    // Modes 1 and 2 of Keras 1 use the statistics of a row or of the batch at hand.
    let mode = try options.integer("mode", default: 0, in: 0...2)
    guard mode == 0 else {
      throw KerasRefusal("its mode is \(mode); only mode 0, which uses stored statistics, is supported")
    }
    let axes = try options.integers("axis", default: [-1])
    let epsilon = try options.number("epsilon", default: 1e-3)
    guard epsilon >= 0 else { throw KerasRefusal("its 'epsilon' is \(epsilon); it must not be negative") }
    let layer = BatchNormalization(
      epsilon: epsilon, scales: try options.flag("scale", default: true),
      centers: try options.flag("center", default: true))
    // In spite of its name, `running_std` of Keras 1 holds the variance.
    let weights =
      (layer.scales ? [KerasWeight(parameter: "scale", names: ["gamma", "_gamma"])] : [])
      + (layer.centers ? [KerasWeight(parameter: "offset", names: ["beta", "_beta"])] : [])
      + [
        KerasWeight(parameter: "mean", names: ["moving_mean", "_running_mean"], isState: true),
        KerasWeight(parameter: "variance", names: ["moving_variance", "_running_std"], isState: true),
      ]
    return KerasRecipe { inputs throws(KerasRefusal) in
      try options.requireLastAxis(axes, of: inputs[0])
      return [KerasStep(layer: layer, weights: weights)]
    }
  }

  /// The scale and offset of a normalisation.
  private static func affineWeights(scales: Bool, centers: Bool) -> [KerasWeight] {
    (scales ? [KerasWeight(parameter: "scale", names: ["gamma"])] : [])
      + (centers ? [KerasWeight(parameter: "offset", names: ["beta"])] : [])
  }

  private static func layerNormalization(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.refuse("rms_scaling", because: "normalisation by root mean squares is not supported")
    let axes = try options.integers("axis", default: [-1])
    let epsilon = try options.number("epsilon", default: 1e-3)
    guard epsilon >= 0 else { throw KerasRefusal("its 'epsilon' is \(epsilon); it must not be negative") }
    let (scales, centers) = (try options.flag("scale", default: true), try options.flag("center", default: true))
    return KerasRecipe { inputs throws(KerasRefusal) in
      let layer = LayerNormalization(
        axes: try options.rowAxes(axes, of: inputs[0]), epsilon: epsilon, scales: scales, centers: centers)
      return [KerasStep(layer: layer, weights: affineWeights(scales: scales, centers: centers))]
    }
  }

  private static func groupNormalization(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let axes = try options.integers("axis", default: [-1])
    let groups = try options.integer("groups", default: 32, in: -1...largestSetting)
    let epsilon = try options.number("epsilon", default: 1e-3)
    guard epsilon >= 0 else { throw KerasRefusal("its 'epsilon' is \(epsilon); it must not be negative") }
    let (scales, centers) = (try options.flag("scale", default: true), try options.flag("center", default: true))
    return KerasRecipe { inputs throws(KerasRefusal) in
      try options.requireLastAxis(axes, of: inputs[0])
      // −1 means that each channel is a group.
      let layer = GroupNormalization(
        groups: groups == -1 ? inputs[0].dimensions.last ?? 1 : groups, epsilon: epsilon, scales: scales,
        centers: centers)
      return [KerasStep(layer: layer, weights: affineWeights(scales: scales, centers: centers))]
    }
  }

  private static func unitNormalization(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let axes = try options.integers("axis", default: [-1])
    // Keras 2 bounds the sum of squares, Keras 3 its root.
    let smallest = options.generation == .firstOrSecond ? 1e-12 : 1e-24
    return KerasRecipe { inputs throws(KerasRefusal) in
      [KerasStep(layer: UnitNormalization(axes: try options.rowAxes(axes, of: inputs[0]), smallest: smallest))]
    }
  }

  /// `(x − mean) / max(√variance, 10⁻⁷)`, or its inverse, with constants or with adapted statistics.
  private static func normalization(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let smallest = 1e-7
    let inverts = try options.flag("invert", default: false)
    let axes = try options.integers("axis", default: [])
    if let mean = try options.numbers("mean"), let variance = try options.numbers("variance") {
      let deviations = variance.map { max($0.squareRoot(), smallest) }
      guard deviations.allSatisfy(\.isFinite), !mean.isEmpty, !deviations.isEmpty,
        mean.count == deviations.count || mean.count == 1 || deviations.count == 1
      else {
        throw KerasRefusal("its \(mean.count) means and \(variance.count) variances do not fit each other")
      }
      let channels = (0..<max(mean.count, deviations.count)).map {
        (mean: mean[mean.count == 1 ? 0 : $0], deviation: deviations[deviations.count == 1 ? 0 : $0])
      }
      let layer =
        inverts
        ? Rescaling(scale: channels.map(\.deviation), offset: channels.map(\.mean))
        : Rescaling(
          scale: channels.map { 1 / $0.deviation }, offset: channels.map { -$0.mean / $0.deviation })
      return KerasRecipe { inputs throws(KerasRefusal) in
        if channels.count > 1 { try options.requireLastAxis(axes, of: inputs[0]) }
        return [KerasStep(layer: layer)]
      }
    }
    guard !inverts else {
      throw KerasRefusal(
        "it inverts statistics that it was adapted to; give it mean and variance as constants")
    }
    // √(variance + ε²) is max(√variance, ε) to the last bit of a Float but where both are about ε.
    let layer = BatchNormalization(epsilon: smallest * smallest, scales: false, centers: false)
    return KerasRecipe { inputs throws(KerasRefusal) in
      try options.requireLastAxis(axes, of: inputs[0])
      return [
        KerasStep(
          layer: layer,
          weights: [
            KerasWeight(parameter: "mean", names: ["mean"], isState: true),
            KerasWeight(parameter: "variance", names: ["variance"], isState: true),
          ])
      ]
    }
  }

  private static func rescaling(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    guard let scale = try options.numbers("scale") else { throw KerasRefusal("its 'scale' is missing") }
    return KerasRecipe(Rescaling(scale: scale, offset: try options.numbers("offset") ?? [0]))
  }

  // MARK: Activations

  private static func softmax(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let axes = try options.integers("axis", default: [-1])
    return KerasRecipe { inputs throws(KerasRefusal) in
      try options.requireLastAxis(axes, of: inputs[0])
      return [KerasStep(layer: Activation(.softmax))]
    }
  }

  private static func parametricReLU(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    // Keras counts from the batch, so its axis 1 is the first of a row.
    let shared = try options.integers("shared_axes", default: [], in: 1...64).map { $0 - 1 }
    return KerasRecipe(
      ParametricReLU(sharedAxes: shared),
      weights: [KerasWeight(parameter: "slope", names: ["alpha", "_alphas"])])
  }

  // MARK: Merging

  private static func concatenation(axis: Int) -> KerasRecipe {
    KerasRecipe { inputs throws(KerasRefusal) in
      // Keras counts from the batch; negative axes count from the end.
      let rowAxis = axis < 0 ? inputs[0].rank + axis : axis - 1
      guard inputs[0].dimensions.indices.contains(rowAxis) else {
        throw KerasRefusal("it joins along axis \(axis), which rows of \(inputs[0]) do not have")
      }
      return [KerasStep(layer: Concatenation(axis: rowAxis))]
    }
  }

  /// Keras 1 has one layer for all ways of merging.
  private static func merge(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    guard try options.text("mode_type", default: "raw") == "raw" else {
      throw KerasRefusal("it carries code, which is never run")
    }
    let mode = try options.text("mode", default: "sum")
    switch mode {
    case "sum": return KerasRecipe(ElementwiseMerge(.add))
    case "mul": return KerasRecipe(ElementwiseMerge(.multiply))
    case "ave": return KerasRecipe(ElementwiseMerge(.average))
    case "max": return KerasRecipe(ElementwiseMerge(.maximum))
    case "concat": return concatenation(axis: try options.integer("concat_axis", default: -1, in: -64...64))
    default: throw KerasRefusal("its mode is '\(mode)', which is not supported")
    }
  }

  private static func dotProduct(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.refuse("normalize", because: "normalise both inputs with UnitNormalization before")
    let axes = try options.integers("axes", in: -64...64)
    guard (1...2).contains(axes.count) else { throw KerasRefusal("its 'axes' are not one or two") }
    return KerasRecipe { inputs throws(KerasRefusal) in
      guard inputs.count == 2 else { throw KerasRefusal("it takes two inputs; it was given \(inputs.count)") }
      let rowAxes = try [
        options.rowAxes([axes[0]], of: inputs[0]), options.rowAxes([axes[axes.count - 1]], of: inputs[1]),
      ]
      return [KerasStep(layer: DotProduct(axes: rowAxes.flatMap { $0 }))]
    }
  }

  // MARK: Pooling and rearranging

  private static func pooling(
    _ kind: PoolingKind, _ options: KerasOptions
  ) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    let window = try options.extent(
      "pool_size", "pool_length", default: Extent2D(height: options.isAlongOneAxis ? 1 : 2, width: 2))
    return KerasRecipe(
      Pooling(
        kind, window: window, strides: try options.extent("strides", "stride", default: window),
        padding: try options.padding()))
  }

  private static func globalPooling(
    _ kind: PoolingKind, _ options: KerasOptions
  ) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    return KerasRecipe(GlobalPooling(kind, keepsDimensions: try options.flag("keepdims", default: false)))
  }

  private static func flatten(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    return KerasRecipe(Reshape.flatten)
  }

  private static func border(
    _ options: KerasOptions, _ key: String, sign: Int
  ) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    let sides = try options.sides(key)
    return KerasRecipe(
      Border(
        SpatialPadding(
          top: sign * sides.top, bottom: sign * sides.bottom, left: sign * sides.left,
          right: sign * sides.right)))
  }

  private static func spatialDropout(_ options: KerasOptions, axes: Int) throws(KerasRefusal) -> KerasRecipe {
    let order = try options.text("data_format", "dim_ordering", default: "channels_last")
    let first = order == "channels_first" || order == "th" ? 1 : 0
    return try dropout(options, sharedAxes: Array(first..<first + axes))
  }

  private static func dropout(
    _ options: KerasOptions, sharedAxes: [Int]?
  ) throws(KerasRefusal) -> KerasRecipe {
    let rate = try options.number("rate", "p")
    guard (0...1).contains(rate) else {
      throw KerasRefusal("its rate is \(rate); it must be between 0 and 1")
    }
    return KerasRecipe(Identity(dropoutRate: rate, dropoutSharedAxes: sharedAxes))
  }

  private static func interpolation(
    _ options: KerasOptions, default standard: String
  ) throws(KerasRefusal) -> Upsampling.Interpolation {
    let word = try options.text("interpolation", default: standard).lowercased()
    guard let interpolation = Upsampling.Interpolation(rawValue: word) else {
      throw KerasRefusal("its interpolation is '\(word)'; only 'nearest' and 'bilinear' are supported")
    }
    return interpolation
  }

  private static func upsampling(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    return KerasRecipe(
      Upsampling(
        factor: try options.extent("size", default: Extent2D(height: options.isAlongOneAxis ? 1 : 2, width: 2)),
        interpolation: try interpolation(options, default: "nearest")))
  }

  private static func resizing(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requireChannelsLast()
    try options.refuse("antialias", because: "averaging while an image gets smaller is not supported")
    for key in ["crop_to_aspect_ratio", "pad_to_aspect_ratio"] {
      try options.refuse(key, because: "only resizing that lets proportions change is supported")
    }
    let size = Extent2D(height: try options.integer("height"), width: try options.integer("width"))
    return KerasRecipe(Resizing(to: size, interpolation: try interpolation(options, default: "bilinear")))
  }
}
