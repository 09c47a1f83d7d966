import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// What each kind of layer becomes, and why others are refused.
@Suite struct KerasLayerImportTests {
  /// The layers behind the input that one layer becomes.
  private func layers(
    _ kind: String, _ settings: String, on row: String = "6, 6, 4", key: String = "batch_input_shape"
  ) throws -> [Node] {
    let json = KerasJSON.sequential(
      KerasJSON.input(row, key: key), KerasJSON.layer(kind, "x", settings))
    return Array(try KerasArchitecture.network(of: MemoryCheckpoint(json)).network.nodes.dropFirst())
  }

  private func expect<Expected: Layer & Equatable>(
    _ kind: String, _ settings: String = "", on row: String = "6, 6, 4", becomes expected: Expected,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) throws {
    let nodes = try layers(kind, settings, on: row)
    #expect(nodes.map(\.name) == ["x"], sourceLocation: sourceLocation)
    #expect(nodes[0].layer as? Expected == expected, sourceLocation: sourceLocation)
  }

  private let two = Extent2D(height: 2, width: 2)
  private let three = Extent2D(height: 3, width: 3)
  private let one = Extent2D(height: 1, width: 1)

  @Test func convolutions() throws {
    try expect(
      "Conv2D",
      #"""
      "filters": 8, "kernel_size": [3, 2], "strides": [2, 1], "padding": "same", "dilation_rate": [1, 1],
      "groups": 2, "use_bias": false, "data_format": "channels_last", "activation": "linear"
      """#,
      becomes: Convolution(
        filters: 8, window: Extent2D(height: 3, width: 2), strides: Extent2D(height: 2, width: 1),
        padding: .same, groups: 2, usesBias: false))
    try expect("Conv2D", #""filters": 8, "kernel_size": 3"#, becomes: Convolution(filters: 8, window: three))
    try expect(
      "AtrousConvolution2D", #""nb_filter": 8, "nb_row": 3, "nb_col": 3, "atrous_rate": [2, 2]"#,
      becomes: Convolution(filters: 8, window: three, dilation: two))
    try expect(
      "DepthwiseConv2D", #""kernel_size": [2, 2], "strides": [2, 2], "depth_multiplier": 3"#,
      becomes: Convolution(filters: 12, window: two, strides: two, groups: 4))
  }

  @Test func transposedConvolutions() throws {
    try expect(
      "Conv2DTranspose",
      #"""
      "filters": 8, "kernel_size": [3, 2], "strides": [2, 2], "padding": "same", "output_padding": [1, 0],
      "dilation_rate": [1, 1], "use_bias": false
      """#,
      becomes: TransposedConvolution(
        filters: 8, window: Extent2D(height: 3, width: 2), strides: two, padding: .same,
        outputPadding: Extent2D(height: 1, width: 0), usesBias: false))
    try expect(
      "Conv2DTranspose", #""filters": 8, "kernel_size": 3, "output_padding": null"#,
      becomes: TransposedConvolution(filters: 8, window: three))
  }

  @Test func layersAlongOneAxisBecomeThoseOfImages() throws {
    let nodes = try layers(
      "Conv1D", #""filters": 5, "kernel_size": [3], "padding": "causal", "dilation_rate": 2, "activation": "relu""#,
      on: "9, 4")
    #expect(nodes.map(\.name) == ["x/image", "x", "x/activation", "x/sequence"])
    #expect(nodes[0].layer as? Reshape == Reshape(target: [1, 9, 4]))
    #expect(
      nodes[1].layer as? Convolution
        == Convolution(
          filters: 5, window: Extent2D(height: 1, width: 3), dilation: Extent2D(height: 1, width: 2),
          padding: .explicit(SpatialPadding(left: 4))))
    #expect(nodes[3].layer as? Reshape == Reshape(target: [9, 5]))
    let pooled = try layers("GlobalMaxPooling1D", "", on: "9, 4")
    #expect(pooled.map(\.name) == ["x/image", "x"])
    let pooling = try layers("MaxPooling1D", #""pool_size": 3, "strides": [2], "padding": "same""#, on: "9, 4")
    #expect(
      pooling[1].layer as? Pooling
        == Pooling(
          .maximum, window: Extent2D(height: 1, width: 3), strides: Extent2D(height: 1, width: 2), padding: .same))
  }

  @Test func recurrentLayers() throws {
    let three = #""units": 3"#
    try expect("LSTM", three, on: "5, 4", becomes: Recurrence(.longShortTerm, units: 3))
    try expect("SimpleRNN", three, on: "5, 4", becomes: Recurrence(.simple, units: 3))
    // Before there were two forms, files did not name the one.
    try expect("GRU", three, on: "5, 4", becomes: Recurrence(.gated(resetsAfter: false), units: 3))
    try expect(
      "GRU",
      three + #"""
        , "reset_after": true, "activation": "relu", "recurrent_activation": "hard_sigmoid", "use_bias": false,
        "return_sequences": true, "go_backwards": true, "dropout": 0.5, "unroll": true
        """#,
      on: "5, 4",
      becomes: Recurrence(
        .gated(resetsAfter: true), units: 3, activation: .plainReLU,
        recurrentActivation: .hardSigmoid(slope: 0.2, offset: 0.5), usesBias: false, returnsSequences: true,
        goesBackwards: true))
    let wrapped = #""layer": {"class_name": "LSTM", "config": {"units": 3, "go_backwards": true}}"#
    let forward = Recurrence(.longShortTerm, units: 3, goesBackwards: true)
    let backward = Recurrence(.longShortTerm, units: 3)
    try expect(
      "Bidirectional", wrapped + #", "merge_mode": "ave""#, on: "5, 4",
      becomes: BidirectionalRecurrence(forward, backward, merge: .average))
  }

  @Test func tablesNormalisationAndSizes() throws {
    try expect(
      "Embedding", #""input_dim": 9, "output_dim": 3, "mask_zero": false"#, on: "5",
      becomes: Embedding(vocabulary: 9, width: 3))
    try expect("LayerNormalization", becomes: LayerNormalization(axes: [2], epsilon: 1e-3))
    try expect(
      "LayerNormalization", #""axis": [1, -1], "center": false, "epsilon": 0.1"#,
      becomes: LayerNormalization(axes: [0, 2], epsilon: 0.1, centers: false))
    try expect("GroupNormalization", #""groups": -1"#, becomes: GroupNormalization(groups: 4, epsilon: 1e-3))
    try expect("UnitNormalization", #""axis": 1"#, becomes: UnitNormalization(axes: [0], smallest: 1e-12))
    try expect(
      "Resizing", #""height": 3, "width": 9"#,
      becomes: Resizing(to: Extent2D(height: 3, width: 9), interpolation: .bilinear))
    try expect("RepeatVector", #""n": 3"#, on: "5", becomes: Repetition(count: 3))
  }

  @Test func onlyWhatIsNotAlongTheLastAxisIsWrapped() throws {
    let dense = #""layer": {"class_name": "Dense", "config": {"units": 3, "activation": "relu"}}"#
    let nodes = try layers("TimeDistributed", dense, on: "5, 4")
    #expect(nodes.map(\.name) == ["x", "x/activation"])
    #expect(nodes[0].layer as? Dense == Dense(units: 3))
    let pooling = try layers(
      "TimeDistributed", #""layer": {"class_name": "GlobalMaxPooling2D", "config": {}}"#, on: "5, 4, 3, 2")
    #expect((pooling[0].layer as? TimeDistributed<GlobalPooling>)?.layer == GlobalPooling(.maximum))
  }

  @Test func separableConvolutionsBecomeTwoNodes() throws {
    let nodes = try layers(
      "SeparableConv2D",
      #"""
      "filters": 5, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "depth_multiplier": 2,
      "activation": "relu"
      """#)
    #expect(nodes.map(\.name) == ["x/depthwise", "x", "x/activation"])
    #expect(
      nodes[0].layer as? Convolution
        == Convolution(filters: 8, window: three, strides: two, padding: .same, groups: 4, usesBias: false))
    #expect(nodes[1].layer as? Convolution == Convolution(filters: 5, window: one))
    #expect(nodes[2].layer as? Activation == Activation(.plainReLU))
  }

  @Test func denseAndNormalization() throws {
    try expect("Dense", #""units": 5, "use_bias": false"#, becomes: Dense(units: 5, usesBias: false))
    try expect(
      "BatchNormalization", #""axis": [3], "epsilon": 1e-05, "scale": false"#,
      becomes: BatchNormalization(epsilon: 1e-5, scales: false))
    try expect(
      "BatchNormalization", #""axis": -1, "center": false"#,
      becomes: BatchNormalization(epsilon: 1e-3, centers: false))
    try expect("BatchNormalization", #""axis": 1"#, on: "4", becomes: BatchNormalization(epsilon: 1e-3))
    try expect(
      "Rescaling", #""scale": 0.5, "offset": [1, 2, 3, 4]"#,
      becomes: Rescaling(scale: [0.5], offset: [1, 2, 3, 4]))
    try expect(
      "Normalization", #""axis": [-1], "mean": [[[[1, 2, 3, 4]]]], "variance": [4, 4, 16, 0]"#,
      becomes: Rescaling(scale: [0.5, 0.5, 0.25, 1e7], offset: [-0.5, -1, -0.75, -4e7]))
    try expect(
      "Normalization", #""axis": [], "mean": 2, "variance": 9, "invert": true"#,
      becomes: Rescaling(scale: [3], offset: [2]))
    // The square of Keras' smallest deviation stands in for its maximum.
    try expect(
      "Normalization", #""axis": [-1], "mean": null, "variance": null"#,
      becomes: BatchNormalization(epsilon: 1e-7 * 1e-7, scales: false, centers: false))
  }

  @Test(arguments: [
    ("linear", ActivationFunction.linear), ("relu", .plainReLU),
    ("relu6", .relu(ceiling: 6, negativeSlope: 0, threshold: 0)),
    ("leaky_relu", .relu(ceiling: nil, negativeSlope: 0.2, threshold: 0)),
    ("elu", .elu(alpha: 1)), ("selu", .selu), ("gelu", .gelu), ("sigmoid", .sigmoid), ("tanh", .tanh),
    ("softplus", .softplus), ("softsign", .softsign), ("swish", .swish), ("silu", .swish),
    ("hard_silu", .hardSwish), ("hard_swish", .hardSwish), ("exponential", .exponential),
    ("mish", .mish), ("softmax", .softmax),
    ("hard_sigmoid", .hardSigmoid(slope: 0.2, offset: 0.5)),
  ])
  func namedActivations(name: String, function: ActivationFunction) throws {
    try expect("Activation", #""activation": "\#(name)""#, becomes: Activation(function))
    // Keras 3 writes functions as tables at times.
    try expect(
      "Activation",
      #"""
      "activation": {"module": "builtins", "class_name": "function", "config": "\#(name)",
        "registered_name": "function"}
      """#,
      becomes: Activation(function))
  }

  @Test func activationLayers() throws {
    try expect("ReLU", becomes: Activation(.plainReLU))
    try expect(
      "ReLU", #""max_value": 6.0, "negative_slope": 0.1, "threshold": 0.5"#,
      becomes: Activation(.relu(ceiling: 6, negativeSlope: 0.1, threshold: 0.5)))
    let leaky = { Activation(.relu(ceiling: nil, negativeSlope: $0, threshold: 0)) }
    try expect("LeakyReLU", becomes: leaky(0.3))
    try expect("LeakyReLU", #""alpha": 0.1"#, becomes: leaky(0.1))
    try expect("LeakyReLU", #""alpha": {"type": "ndarray", "value": 0.25}"#, becomes: leaky(0.25))
    try expect("LeakyReLU", #""negative_slope": 0.2"#, becomes: leaky(0.2))
    try expect("ELU", #""alpha": 0.7"#, becomes: Activation(.elu(alpha: 0.7)))
    try expect("PReLU", #""shared_axes": [1, 2]"#, becomes: ParametricReLU(sharedAxes: [0, 1]))
    try expect("PReLU", #""shared_axes": null"#, becomes: ParametricReLU(sharedAxes: []))
    try expect("Softmax", #""axis": 3"#, becomes: Activation(.softmax))
    try expect("Softmax", #""axis": [-1]"#, becomes: Activation(.softmax))
    // Layers may stand where functions do.
    let nodes = try layers(
      "Dense",
      #"""
      "units": 2, "activation": {"module": "keras.layers", "class_name": "LeakyReLU",
        "config": {"name": "l", "negative_slope": 0.15}}
      """#)
    #expect(nodes[1].layer as? Activation == leaky(0.15))
  }

  @Test func hardSigmoidChangedWithKeras3() throws {
    let nodes = try layers("Activation", #""activation": "hard_sigmoid""#, key: "batch_shape")
    #expect(nodes[0].layer as? Activation == Activation(.hardSigmoid(slope: 1 / 6, offset: 0.5)))
  }

  @Test func thresholdedReLUPassesOnlyWhatLiesAbove() throws {
    let nodes = try layers("ThresholdedReLU", #""theta": 1.0"#)
    let activation = try #require(nodes[0].layer as? Activation)
    #expect(activation.function.value(Float(1)) == 0)
    #expect(activation.function.value(Float(1).nextUp) == Float(1).nextUp)
    #expect(activation.function.value(Float(-3)) == 0)
  }

  @Test func pooling() throws {
    try expect(
      "MaxPooling2D", #""pool_size": [3, 3], "strides": [2, 2], "padding": "same""#,
      becomes: Pooling(.maximum, window: three, strides: two, padding: .same))
    try expect(
      "AveragePooling2D", #""pool_size": 3, "strides": null"#,
      becomes: Pooling(.average, window: three, strides: three, padding: .valid))
    try expect(
      "MaxPooling2D", #""border_mode": "same""#,
      becomes: Pooling(.maximum, window: two, strides: two, padding: .same))
    try expect("GlobalAveragePooling2D", becomes: GlobalPooling(.average))
    try expect(
      "GlobalMaxPooling2D", #""keepdims": true"#, becomes: GlobalPooling(.maximum, keepsDimensions: true))
  }

  @Test func rearranging() throws {
    try expect("Flatten", becomes: Reshape.flatten)
    try expect("Reshape", #""target_shape": [6, -1]"#, becomes: Reshape(target: [6, -1]))
    try expect("Permute", #""dims": [3, 1, 2]"#, becomes: Permutation(order: [2, 0, 1]))
    try expect(
      "ZeroPadding2D", #""padding": [[1, 2], [0, 3]]"#,
      becomes: Border(SpatialPadding(top: 1, bottom: 2, left: 0, right: 3)))
    try expect(
      "ZeroPadding2D", #""padding": [2, 1]"#,
      becomes: Border(SpatialPadding(top: 2, bottom: 2, left: 1, right: 1)))
    try expect(
      "ZeroPadding2D", #""padding": [1, 2, 3, 4]"#,
      becomes: Border(SpatialPadding(top: 1, bottom: 2, left: 3, right: 4)))
    try expect(
      "ZeroPadding2D", #""padding": 1"#,
      becomes: Border(SpatialPadding(top: 1, bottom: 1, left: 1, right: 1)))
    try expect(
      "Cropping2D", #""cropping": [[1, 0], [0, 2]]"#,
      becomes: Border(SpatialPadding(top: -1, bottom: 0, left: 0, right: -2)))
    try expect(
      "UpSampling2D", #""size": [3, 2], "interpolation": "bilinear""#,
      becomes: Upsampling(factor: Extent2D(height: 3, width: 2), interpolation: .bilinear))
    try expect("UpSampling2D", becomes: Upsampling(factor: two, interpolation: .nearest))
  }

  @Test func dropoutAndNoiseAreIdentities() throws {
    try expect("Dropout", #""rate": 0.5"#, becomes: Identity(dropoutRate: 0.5))
    try expect("SpatialDropout2D", #""rate": 0.2"#, becomes: Identity(dropoutRate: 0.2, dropoutSharedAxes: [0, 1]))
    try expect(
      "SpatialDropout2D", #""rate": 0.2, "data_format": "channels_first""#,
      becomes: Identity(dropoutRate: 0.2, dropoutSharedAxes: [1, 2]))
    try expect(
      "Dropout", #""rate": 0.2, "noise_shape": [null, 1, 4, null]"#,
      becomes: Identity(dropoutRate: 0.2, dropoutSharedAxes: [0]))
    for kind in ["GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "RandomFlip"] {
      try expect(kind, #""rate": 0.5, "stddev": 1.0"#, becomes: Identity())
    }
  }

  @Test(arguments: [
    ("Add", "", ElementwiseMerge(.add) as any Layer), ("Subtract", "", ElementwiseMerge(.subtract)),
    ("Multiply", "", ElementwiseMerge(.multiply)), ("Average", "", ElementwiseMerge(.average)),
    ("Maximum", "", ElementwiseMerge(.maximum)), ("Minimum", "", ElementwiseMerge(.minimum)),
    ("Concatenate", "", Concatenation(axis: 2)), ("Concatenate", #""axis": 1"#, Concatenation(axis: 0)),
    ("Concatenate", #""axis": -2"#, Concatenation(axis: 1)),
    ("Merge", #""mode": "sum""#, ElementwiseMerge(.add)),
    ("Merge", #""mode": "concat", "concat_axis": 3"#, Concatenation(axis: 2)),
  ])
  func merging(kind: String, settings: String, expected: any Layer) throws {
    let json = KerasJSON.functional(
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4, 4, 3]"#),
      KerasJSON.node("ReLU", "relu", on: "image"),
      KerasJSON.node(kind, "x", settings, on: "image", "relu"), outputs: #"["x", 0, 0]"#)
    let network = try KerasArchitecture.network(of: MemoryCheckpoint(json)).network
    #expect("\(network.nodes[2].layer)" == "\(expected)")
    #expect(network.nodes[2].inputs == [0, 1])
  }

  @Test func weightlessLayersMayBeShared() throws {
    let json = KerasJSON.functional(
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4]"#),
      #"""
      {"class_name": "ReLU", "config": {"name": "relu"}, "name": "relu",
       "inbound_nodes": [[["image", 0, 0, {}]], [["relu", 0, 0, {}]]]}
      """#,
      outputs: #"["relu", 1, 0]"#)
    let network = try KerasArchitecture.network(of: MemoryCheckpoint(json)).network
    #expect(network.nodes.map(\.name) == ["image", "relu", "relu/use2"])
  }

  // MARK: Refusals

  /// Kind, settings, and what the message must say about layer `x`.
  @Test(arguments: [
    ("Lambda", #""function": ["4wEAAA==", null, null]"#, "it carries code, which is never run"),
    ("ConvLSTM2D", #""filters": 4"#, "this kind of layer is not supported"),
    ("LSTM", #""units": 4"#, "Recurrence takes rows of 2 axes; it was given [6, 6, 4]"),
    ("LSTM", "", "its 'units' is missing"),
    ("LSTM", #""units": 4, "stateful": true"#, "its 'stateful' is true"),
    ("GRU", #""units": 4, "return_state": true"#, "its 'return_state' is true"),
    ("SimpleRNN", #""units": 4, "time_major": true"#, "its 'time_major' is true"),
    ("SimpleRNN", #""units": 4, "activation": "softmax""#, "no function of single elements"),
    ("Bidirectional", #""merge_mode": "concat""#, "its 'layer' describes no layer"),
    (
      "Bidirectional", #""layer": {"class_name": "LSTM", "config": {"units": 2}}, "merge_mode": null"#,
      "its 'merge_mode' is 'none'"
    ),
    ("Bidirectional", #""layer": {"class_name": "ConvLSTM1D", "config": {}}"#, "it wraps a 'ConvLSTM1D'"),
    ("TimeDistributed", #""layer": {"class_name": "Sequential", "config": {}}"#, "it wraps a model"),
    (
      "TimeDistributed", #""layer": {"class_name": "Lambda", "config": {}}"#,
      "the Lambda that it wraps cannot be imported: it carries code"
    ),
    (
      "TimeDistributed", #""layer": {"class_name": "Dense", "config": {}, "registered_name": "mine>Dense"}"#,
      "it is a class of its author's own, 'mine>Dense'"
    ),
    ("MultiHeadAttention", #""num_heads": 2, "key_dim": 3"#, "takes a query, a value and perhaps a key"),
    ("MultiHeadAttention", #""num_heads": 2"#, "its 'key_dim' is missing"),
    ("MultiHeadAttention", #""num_heads": 2, "key_dim": 3, "attention_axes": [1, 2]"#, "its 'attention_axes'"),
    ("MultiHeadAttention", #""num_heads": 2, "key_dim": 3, "output_shape": [2, 3]"#, "its 'output_shape' has 2 axes"),
    ("MultiHeadAttention", #""num_heads": 2, "key_dim": 3, "use_gate": true"#, "its 'use_gate' is true"),
    ("MultiHeadAttention", #""num_heads": 2, "key_dim": 3, "sliding_window": 4"#, "its 'sliding_window' is set"),
    ("Embedding", #""input_dim": 5"#, "its 'output_dim' is missing"),
    ("Embedding", #""input_dim": 5, "output_dim": 2, "mask_zero": true"#, "its 'mask_zero' is true"),
    ("Masking", #""mask_value": 0.0"#, "it masks steps of sequences"),
    ("Conv1D", #""filters": 8, "kernel_size": 3"#, "it takes sequences of vectors; it was given [[6, 6, 4]]"),
    ("Conv1D", #""filters": 8, "kernel_size": [3, 3]"#, "where one number is needed"),
    ("Conv1D", #""filters": 8, "kernel_size": 3, "data_format": "channels_first""#, "channels first"),
    ("ZeroPadding1D", #""padding": [1, 2, 3]"#, "where two ends are needed"),
    ("Conv2DTranspose", #""filters": 8"#, "its 'kernel_size' is missing"),
    (
      "Conv2DTranspose", #""filters": 8, "kernel_size": 2, "output_padding": 1"#, "which no convolution takes back"
    ),
    ("Conv2DTranspose", #""filters": 8, "kernel_size": 2, "data_format": "channels_first""#, "channels first"),
    ("LayerNormalization", #""axis": [3, 1]"#, "its axis is 3, 1; rows of [6, 6, 4] need ascending axes"),
    ("LayerNormalization", #""axis": 0"#, "its axis is 0;"),
    ("LayerNormalization", #""rms_scaling": true"#, "its 'rms_scaling' is true"),
    ("LayerNormalization", #""epsilon": -1"#, "must not be negative"),
    ("GroupNormalization", #""groups": 3"#, "cannot be split into 3 groups"),
    ("GroupNormalization", #""groups": 2, "axis": 1"#, "its axis is 1; only the last is supported"),
    ("UnitNormalization", #""axis": 4"#, "its axis is 4;"),
    ("Resizing", #""height": 4"#, "its 'width' is missing"),
    ("Resizing", #""height": 4, "width": 4, "antialias": true"#, "its 'antialias' is true"),
    ("Resizing", #""height": 4, "width": 4, "interpolation": "area""#, "its interpolation is 'area'"),
    ("Resizing", #""height": 4, "width": 4, "crop_to_aspect_ratio": true"#, "its 'crop_to_aspect_ratio' is true"),
    ("Dot", #""axes": 1"#, "it takes two inputs; it was given 1"),
    ("Dot", #""axes": 1, "normalize": true"#, "its 'normalize' is true"),
    ("RepeatVector", "", "its 'n' is missing"),
    ("MysteryLayer", "", "this kind of layer is not supported"),
    ("TFOpLambda", #""function": "math.add""#, "it is a bare TensorFlow operation"),
    ("Conv2D", #""filters": 8, "kernel_size": 3, "data_format": "channels_first""#, "channels first"),
    ("Convolution2D", #""nb_filter": 8, "nb_row": 3, "nb_col": 3, "dim_ordering": "th""#, "channels first"),
    ("MaxPooling2D", #""data_format": "channels_first""#, "channels first"),
    ("Flatten", #""data_format": "channels_first""#, "channels first"),
    ("Conv2D", #""kernel_size": 3"#, "its 'filters' is missing"),
    ("Conv2D", #""filters": 8"#, "its 'kernel_size' is missing"),
    ("Conv2D", #""filters": "many", "kernel_size": 3"#, "its 'filters' is 'many' where a whole number"),
    ("Conv2D", #""filters": -3, "kernel_size": 3"#, "its 'filters' is -3 where a whole number"),
    ("Conv2D", #""filters": 2.5, "kernel_size": 3"#, "its 'filters' is 2.5 where a whole number"),
    ("Conv2D", #""filters": 1e300, "kernel_size": 3"#, "its 'filters' is 1e+300 where a whole number"),
    ("Conv2D", #""filters": 99999999999999999999, "kernel_size": 3"#, "its 'filters' is 1e+20"),
    ("Conv2D", #""filters": true, "kernel_size": 3"#, "its 'filters' is true where a whole number"),
    ("Conv2D", #""filters": 8, "kernel_size": [3, 3, 3]"#, "where a height and a width are needed"),
    ("Conv2D", #""filters": 8, "kernel_size": [3, {}]"#, "its 'kernel_size' is a table where"),
    ("Conv2D", #""filters": 8, "kernel_size": 3, "padding": "causal""#, "its padding is 'causal'"),
    ("Conv2D", #""filters": 8, "kernel_size": 9"#, "does not fit into the Convolution's input [6, 6, 4]"),
    ("Conv2D", #""filters": 8, "kernel_size": 3, "groups": 3"#, "cannot be split into 3 groups"),
    (
      "Conv2D", #""filters": 8, "kernel_size": 3, "use_bias": "yes""#,
      "its 'use_bias' is 'yes' where true or false"
    ),
    (
      "Conv2D", #""filters": 8, "kernel_size": 3, "activation": "my_function""#,
      "its activation is 'my_function', which is not supported"
    ),
    (
      "Conv2D", #""filters": 8, "kernel_size": 3, "activation": {"class_name": "PReLU", "config": {}}"#,
      "its activation is a 'PReLU', which is not supported"
    ),
    ("Conv2D", #""filters": 8, "kernel_size": 3, "activation": [1]"#, "its activation is [1], which"),
    ("Conv2D", #""filters": 16777216, "kernel_size": [16777216, 16777216], "padding": "same""#, "at most"),
    ("DepthwiseConv2D", #""kernel_size": 3, "depth_multiplier": 16777216"#, "must be between 1 and"),
    ("Dense", #""units": 5, "lora_rank": 4"#, "low-rank adapters"),
    ("Dense", #""units": 5, "quantization_config": {"mode": "int8"}"#, "quantised"),
    (
      "Dense", #""units": 5, "dtype": {"class_name": "QuantizedDTypePolicy", "config": {}}"#, "quantised"
    ),
    ("BatchNormalization", #""axis": 1"#, "its axis is 1; only the last is supported"),
    ("BatchNormalization", #""mode": 2"#, "its mode is 2"),
    ("BatchNormalization", #""epsilon": NaN"#, "its 'epsilon' is nan where a finite number"),
    ("BatchNormalization", #""epsilon": -1"#, "its 'epsilon' is -1.0; it must not be negative"),
    ("Normalization", #""axis": [1, 2, 3]"#, "its axis is 1, 2, 3; only the last is supported"),
    ("Normalization", #""axis": [-1], "mean": [1, 2], "variance": [1, 2, 3]"#, "2 means and 3 variances"),
    ("Normalization", #""axis": [-1], "mean": 1, "variance": -1"#, "do not fit each other"),
    ("Normalization", #""axis": [-1], "invert": true"#, "it inverts statistics"),
    ("Rescaling", "", "its 'scale' is missing"),
    ("Rescaling", #""scale": [1, 2]"#, "2 scales and 1 offsets for 4 channels"),
    ("Softmax", #""axis": 1"#, "its axis is 1; only the last is supported"),
    ("Dropout", #""rate": 0.5, "noise_shape": [null, "x"]"#, "its 'noise_shape' is [null, 'x'] where a shape is needed"),
    ("Dropout", #""rate": 1.5"#, "its rate is 1.5; it must be between 0 and 1"),
    ("PReLU", #""shared_axes": [0]"#, "its 'shared_axes' is 0"),
    ("PReLU", #""shared_axes": [9]"#, "which [6, 6, 4] does not have"),
    ("Concatenate", #""axis": 0"#, "it joins along axis 0"),
    ("Concatenate", #""axis": 7"#, "it joins along axis 7"),
    ("Merge", #""mode": "dot""#, "its mode is 'dot'"),
    ("Merge", #""mode": "x", "mode_type": "lambda""#, "it carries code"),
    ("Add", "", "add was given 1 input(s)"),
    ("Reshape", #""target_shape": [5]"#, "cannot be reshaped"),
    ("Reshape", #""target_shape": [-1, 0]"#, "Reshape"),
    ("Permute", #""dims": [1, 1, 2]"#, "is no order of the axes"),
    ("Cropping2D", #""cropping": [[3, 3], [0, 0]]"#, "Nothing is left"),
    ("ZeroPadding2D", #""padding": [[1, 2, 3], [1]]"#, "where four sides of an image are needed"),
    ("UpSampling2D", #""interpolation": "lanczos3""#, "its interpolation is 'lanczos3'"),
    ("UpSampling2D", #""size": [16777216, 16777216]"#, "at most"),
  ])
  func unsupportedLayersAreNamedWithTheReason(kind: String, settings: String, reason: String) {
    let error = #expect(throws: FileError.self) { _ = try layers(kind, settings) }
    #expect(error?.code == .unsupported)
    #expect(error?.description.contains("model.h5") == true)
    #expect(error?.message.contains("x (\(kind)): ") == true, "\(error?.message ?? "")")
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
  }

  @Test func allUnsupportedLayersAreListedTogether() {
    let json = KerasJSON.sequential(
      KerasJSON.input("6, 6, 4"), KerasJSON.layer("Lambda", "first"),
      KerasJSON.layer("Conv2D", "fine", #""filters": 8, "kernel_size": 3"#),
      KerasJSON.layer("SpectralNormalization", "second"),
      #"""
      {"class_name": "Sequential", "config": {"name": "inner", "layers": [\#(KerasJSON.layer("ConvLSTM2D", "third"))]}}
      """#)
    let error = #expect(throws: FileError.self) {
      try KerasArchitecture.network(of: MemoryCheckpoint(json))
    }
    #expect(error?.code == .unsupported)
    for name in ["first (Lambda): ", "second (SpectralNormalization): ", "inner/third (ConvLSTM2D): "] {
      #expect(error?.message.contains(name) == true)
    }
    #expect(error?.message.contains("fine") == false)
  }

  /// A layer in a functional model of Keras 2 with its `inbound_nodes`, and the reason to refuse it.
  @Test(arguments: [
    ("BatchNormalization", "", #"[[["image", 0, 0, {"training": true}]]]"#, "in training mode"),
    ("ReLU", "", #"[[["image", 0, 0, {"mask": [1]}]]]"#, "it is called with 'mask'"),
    (
      "LSTM", #""units": 2"#, #"[[["image", 0, 0, {"initial_state": ["image", 0, 0]}]]]"#,
      "it is called with 'initial_state'"
    ),
    (
      "MultiHeadAttention", #""num_heads": 2, "key_dim": 3"#,
      #"[[["image", 0, 0, {"value": ["image", 0, 0], "attention_mask": ["image", 0, 0]}]]]"#,
      "it is called with 'attention_mask'"
    ),
    (
      "MultiHeadAttention", #""num_heads": 2, "key_dim": 3"#,
      #"[[["image", 0, 0, {"value": ["image", 0, 0], "use_causal_mask": true}]]]"#,
      "it is called with 'use_causal_mask'"
    ),
    ("Add", "", #"[[["image", 0, 0, {}], ["_CONSTANT_VALUE", -1, 2.0, {}]]]"#, "called with a constant"),
    (
      "Add", "",
      #"""
      [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["image", 0, 0]}}, 2.0],
        "kwargs": {}}]
      """#,
      "it is called with 2"
    ),
    ("ReLU", "", "[[]]", "without an input"),
    ("ReLU", "", #"[[["image", 0, 0, {}], ["image", 0, 0, {}]]]"#, "Activation takes 1 input(s)"),
    ("Model", "", #"[[["image", 0, 0, {}]]]"#, "it does not say how the layers inside are joined"),
  ])
  func unsupportedCallsAreNamedWithTheReason(
    kind: String, settings: String, calls: String, reason: String
  ) {
    let json = KerasJSON.functional(
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4]"#),
      KerasJSON.layer(kind, "x", settings).dropLast() + #", "name": "x", "inbound_nodes": \#(calls)}"#,
      outputs: #"["x", 0, 0]"#)
    let error = #expect(throws: FileError.self) {
      try KerasArchitecture.network(of: MemoryCheckpoint(json))
    }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("x (\(kind)): ") == true, "\(error?.message ?? "")")
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
  }

  @Test(arguments: [
    (#""module": null, "registered_name": "mine>Dense""#, "it is a class of its author's own, 'mine>Dense'"),
    (#""module": "__main__", "registered_name": "Dense""#, "it is a class of the module '__main__'"),
    (#""module": "keras_cv.layers", "registered_name": null"#, "it is a class of the module 'keras_cv"),
  ])
  func classesOfTheirAuthorsOwnAreRefusedEvenUnderKnownNames(origin: String, reason: String) {
    let json = KerasJSON.sequential(
      KerasJSON.input("4"), KerasJSON.layer("Dense", "x", #""units": 2"#).dropLast() + ", \(origin)}")
    let error = #expect(throws: FileError.self) {
      try KerasArchitecture.network(of: MemoryCheckpoint(json))
    }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("x (Dense): " + reason) == true)
  }
}
