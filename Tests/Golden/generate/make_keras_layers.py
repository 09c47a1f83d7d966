"""Tiny Keras models, one per layer kind or option, with the outputs Keras computes.

    python make_keras_layers.py

writes Tests/Golden/KerasLayers/<case>.h5 (a full model in the HDF5 format) and <case>.json
(an input batch and every output in float32). Cases called keras2-... are written and computed
by tf_keras (Keras 2), the others by Keras 3 on TensorFlow. The weights, the moving statistics
of BatchNormalization included, are random, seeded by the name of the case.
"""

import glob
import itertools
import os
import subprocess
import sys
import warnings
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

import golden

SEED = 20240517
IMAGE = (7, 6, 3)
FOLDER = golden.folder("KerasLayers")

ACTIVATIONS = [
    "linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "softplus", "softsign", "elu",
    "selu", "gelu", "silu", "hard_sigmoid", "hard_silu", "leaky_relu", "exponential", "mish",
]
ACTIVATIONS_KERAS2 = [
    "gelu", "swish", "hard_sigmoid", "softmax",
]


def generator(case):
    return np.random.RandomState((SEED + zlib.crc32(case.encode())) % 2**32)


def randomise(model, random):
    """Give every weight a random value of a sensible size; variances stay positive."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomise(layer, random)
            continue
        if type(layer).__name__ == "Normalization":
            continue  # adapted on data, or constants of its configuration
        values = []
        for weight in layer.weights:
            name, shape = weight.name.split("/")[-1].split(":")[0], tuple(weight.shape)
            if name == "moving_variance":
                value = random.uniform(0.3, 2.0, shape)
            elif name == "gamma":
                value = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1, 1, 1], shape)
            elif name == "alpha":
                value = random.uniform(-0.2, 0.6, shape)
            elif name in ("bias", "beta", "moving_mean"):
                value = random.normal(0, 0.4, shape)
            else:
                fan_in = max(1, int(np.prod(shape[:-1])))
                value = random.normal(0, 1.2 / np.sqrt(fan_in), shape)
            values.append(value.astype(np.float32))
        layer.set_weights(values)


def cases(keras, legacy):
    """Yield (case, model, scale of the input or "indices COUNT"); legacy is True for Keras 2."""
    L = keras.layers
    Input = keras.Input

    def seq(*layers, shape=IMAGE):
        return keras.Sequential([Input(shape=shape), *layers])

    def slope(kind, value, **options):
        """LeakyReLU and ReLU call their slope differently in the two versions."""
        key = ("alpha" if kind is L.LeakyReLU else "negative_slope") if legacy else "negative_slope"
        return kind(**{key: value}, **options)

    def merge(layer, count=2, **options):
        x = Input(shape=IMAGE)
        y = L.Conv2D(3, 3, padding="same", name="branch")(x)
        branches = [x, y, L.Activation("tanh", name="third")(y)][:count]
        return keras.Model(x, layer(**options)(branches))

    def squeeze_excite():
        x = Input(shape=IMAGE)
        y = L.Conv2D(4, 3, padding="same")(x)
        s = L.GlobalAveragePooling2D(keepdims=True)(y)
        s = L.Conv2D(2, 1, activation="relu")(s)
        s = L.Conv2D(4, 1, activation="sigmoid")(s)
        return keras.Model(x, L.Multiply()([y, s]))

    def squeeze_excite_dense():
        x = Input(shape=IMAGE)
        y = L.Conv2D(4, 3, padding="same")(x)
        s = L.GlobalAveragePooling2D()(y)
        s = L.Reshape((1, 1, 4))(s)
        s = L.Dense(2, activation="relu", use_bias=False)(s)
        s = L.Dense(4, activation="sigmoid", use_bias=False)(s)
        return keras.Model(x, L.Multiply()([s, y]))

    def two_heads():
        x = Input(shape=IMAGE, name="image")
        y = L.Conv2D(4, 3, padding="same", activation="relu", name="block_1")(x)
        early = L.GlobalAveragePooling2D(name="pool_early")(y)
        early = L.Dense(5, activation="softmax", name="head_early")(early)
        y = L.MaxPooling2D(name="pool")(y)
        y = L.Conv2D(6, 3, padding="same", activation="relu", name="block_2")(y)
        late = L.Flatten(name="flatten")(y)
        late = L.Dense(8, activation="relu", name="hidden_late")(late)
        late = L.Dense(5, activation="softmax", name="head_late")(late)
        return keras.Model(x, [early, late], name="two_heads")

    def residual():
        def unit(x, width, stride):
            y = L.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
            y = L.BatchNormalization()(y)
            y = L.Activation("relu")(y)
            y = L.Conv2D(width, 3, padding="same", use_bias=False)(y)
            y = L.BatchNormalization()(y)
            if stride != 1:
                x = L.Conv2D(width, 1, strides=stride, padding="same")(x)
            return L.Activation("relu")(L.Add()([x, y]))

        x = Input(shape=(9, 8, 3))
        y = L.Conv2D(4, 3, padding="same")(x)
        y = L.ReLU()(L.BatchNormalization()(y))
        y = unit(unit(y, 4, 1), 6, 2)
        y = L.GlobalAveragePooling2D()(y)
        return keras.Model(x, L.Dense(4, activation="softmax")(y))

    def inverted_residual():
        x = Input(shape=(8, 8, 3))
        y = L.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
        z = L.Conv2D(12, 1, use_bias=False)(y)
        z = L.ReLU(6.0)(L.BatchNormalization()(z))
        z = L.DepthwiseConv2D(3, padding="same", use_bias=False)(z)
        z = L.ReLU(6.0)(L.BatchNormalization()(z))
        z = L.BatchNormalization()(L.Conv2D(4, 1, use_bias=False)(z))
        y = L.Add()([y, z])
        y = L.ZeroPadding2D(((0, 1), (0, 1)))(y)
        y = L.DepthwiseConv2D(3, strides=2, use_bias=False)(y)
        y = L.Dropout(0.2)(L.GlobalAveragePooling2D()(y))
        return keras.Model(x, L.Dense(3)(y))

    def nested():
        backbone = keras.Sequential(
            [Input(shape=IMAGE), L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(),
             L.GlobalAveragePooling2D()], name="backbone")
        x = Input(shape=IMAGE)
        y = L.Rescaling(0.5)(x)
        return keras.Model(x, L.Dense(3, activation="softmax", name="head")(backbone(y)))

    def nested_functional():
        a = Input(shape=IMAGE)
        b = L.Conv2D(4, 3, padding="same")(a)
        b = L.Add()([b, L.Conv2D(4, 1)(a)])
        backbone = keras.Model(a, b, name="backbone")
        return keras.Sequential([Input(shape=IMAGE), backbone, L.Flatten(), L.Dense(3)])

    def shared():
        x = Input(shape=IMAGE)
        conv = L.Conv2D(3, 3, padding="same", activation="tanh", name="shared")
        return keras.Model(x, L.Flatten()(conv(conv(x))))

    def adapted():
        layer = L.Normalization()
        layer.adapt(generator("adapted").normal(2, 3, (50,) + IMAGE).astype(np.float32))
        return seq(layer, L.Conv2D(2, 3))

    # Convolutions.
    yield "conv2d-same", seq(L.Conv2D(4, 3, padding="same")), 1
    yield "conv2d-stride2-same-even", seq(L.Conv2D(4, 3, strides=2, padding="same"), shape=(8, 6, 3)), 1
    if not legacy:
        yield "conv2d-stride2-same-odd", seq(L.Conv2D(4, 3, strides=2, padding="same"), shape=(7, 9, 3)), 1
        yield "conv2d-nonsquare", seq(L.Conv2D(4, (2, 5), strides=(1, 2), padding="same")), 1
        yield "conv2d-valid", seq(L.Conv2D(4, 3, activation="relu")), 1
        yield "conv2d-stride2-valid", seq(L.Conv2D(4, 3, strides=2)), 1
        yield "conv2d-even-kernel-same", seq(L.Conv2D(4, 4, padding="same"), shape=(7, 6, 1)), 1
        yield "conv2d-1x1-stride2", seq(L.Conv2D(4, 1, strides=2, padding="same", use_bias=False)), 1
        yield "conv2d-dilation2-valid", seq(L.Conv2D(4, 3, dilation_rate=2)), 1
        yield "conv2d-groups2", seq(L.Conv2D(6, 3, groups=2, padding="same"), shape=(7, 6, 4)), 1
    yield "conv2d-dilation2-same", seq(L.Conv2D(4, 3, dilation_rate=2, padding="same")), 1
    yield "depthwise-multiplier2-stride2-same", seq(
        L.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same", activation="relu")), 1
    if not legacy:
        yield "depthwise-same", seq(L.DepthwiseConv2D(3, padding="same")), 1
        yield "depthwise-stride2-same-even", seq(
            L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False), shape=(8, 6, 3)), 1
        yield "depthwise-multiplier2-valid", seq(L.DepthwiseConv2D(3, depth_multiplier=2)), 1
        yield "separable-same", seq(L.SeparableConv2D(5, 3, padding="same")), 1
        yield "separable-stride2-no-bias", seq(
            L.SeparableConv2D(5, 3, strides=2, padding="same", use_bias=False)), 1
    yield "separable-multiplier2-activation", seq(
        L.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu")), 1

    # Dense.
    yield "dense-4d", seq(L.Dense(5, activation="relu")), 1
    if not legacy:
        yield "dense-2d", seq(L.Dense(5), shape=(9,)), 1
        yield "dense-3d", seq(L.Dense(4, use_bias=False), shape=(5, 3)), 1

    # BatchNormalization.
    yield "batchnorm-after-conv", seq(
        L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(), L.Activation("relu")), 1
    if not legacy:
        yield "batchnorm-no-scale", seq(L.Conv2D(4, 3), L.BatchNormalization(scale=False)), 1
        yield "batchnorm-before-conv", seq(
            L.BatchNormalization(epsilon=1e-5), L.Conv2D(4, 3, padding="same")), 1
        yield "batchnorm-no-center", seq(
            L.BatchNormalization(scale=False, center=False), L.Conv2D(4, 3),
            L.BatchNormalization(center=False, epsilon=0.01)), 1
        yield "batchnorm-vector", seq(
            L.Dense(6), L.BatchNormalization(epsilon=0.1), L.Dense(3), shape=(9,)), 1
        yield "batchnorm-depthwise", seq(
            L.DepthwiseConv2D(3, use_bias=False), L.BatchNormalization(), L.ReLU(6.0)), 1

    # Activations: as a layer, then as an attribute of Dense.
    for name in ACTIVATIONS_KERAS2 if legacy else ACTIVATIONS:
        yield "activation-" + name.replace("_", "-"), seq(
            L.Activation(name), L.Dense(6, activation=name), shape=(11,)), 3
    yield "activation-softmax-4d", seq(L.Conv2D(3, 1), L.Activation("softmax")), 2
    yield "leaky-relu-layer", seq(L.Conv2D(4, 3), slope(L.LeakyReLU, 0.15)), 1
    yield "prelu-shared-axes", seq(L.Conv2D(4, 3), L.PReLU(shared_axes=[1, 2])), 1
    yield "relu-layer-options", seq(slope(L.ReLU, 0.1, max_value=4.0, threshold=0.5)), 4
    if not legacy:
        yield "relu-layer-max", seq(L.ReLU(max_value=6.0)), 4
        yield "relu-layer-threshold", seq(L.ReLU(threshold=1.0)), 2
        yield "elu-layer", seq(L.ELU(alpha=0.7)), 2
        yield "prelu", seq(L.Conv2D(4, 3), L.PReLU()), 1
        yield "prelu-vector", seq(L.Dense(5), L.PReLU(), shape=(9,)), 1
        yield "softmax-layer-axis", seq(L.Softmax(axis=1)), 2
        yield "softmax-layer", seq(L.Dense(4), L.Softmax(), shape=(9,)), 1

    # Merging.
    yield "add", merge(L.Add), 1
    yield "multiply-squeeze-excite", squeeze_excite(), 1
    yield "concatenate-channels", merge(L.Concatenate), 1
    if not legacy:
        yield "add-3", merge(L.Add, 3), 1
        yield "subtract", merge(L.Subtract), 1
        yield "multiply", merge(L.Multiply, 3), 1
        yield "multiply-squeeze-excite-dense", squeeze_excite_dense(), 1
        yield "average", merge(L.Average, 3), 1
        yield "maximum", merge(L.Maximum, 3), 1
        yield "minimum", merge(L.Minimum), 1
        yield "concatenate-axis1", merge(L.Concatenate, 3, axis=1), 1
        yield "concatenate-axis-minus2", merge(L.Concatenate, axis=-2), 1

    # Pooling.
    yield "avgpool-3-stride2-same", seq(L.AveragePooling2D(3, strides=2, padding="same")), 1
    yield "global-avgpool", seq(L.GlobalAveragePooling2D()), 1
    if not legacy:
        yield "maxpool-3-stride2-same", seq(L.MaxPooling2D(3, strides=2, padding="same")), 1
        yield "maxpool-default", seq(L.MaxPooling2D()), 1
        yield "maxpool-3-stride2-valid", seq(L.MaxPooling2D(3, strides=2)), 1
        yield "maxpool-nonsquare", seq(L.MaxPooling2D((3, 2), strides=(1, 2), padding="same")), 1
        yield "avgpool-2-same-odd", seq(L.AveragePooling2D(2, padding="same"), shape=(7, 5, 3)), 1
        yield "avgpool-3-stride2-valid", seq(L.AveragePooling2D(3, strides=2)), 1
        yield "global-avgpool-keepdims", seq(L.GlobalAveragePooling2D(keepdims=True)), 1
        yield "global-maxpool-keepdims", seq(L.GlobalMaxPooling2D(keepdims=True), L.Conv2D(2, 1)), 1

    # Shape and inference-time identities.
    yield "permute-flatten-dense", seq(L.Permute((3, 1, 2)), L.Flatten(), L.Dense(4)), 1
    yield "upsampling-bilinear", seq(L.UpSampling2D((2, 3), interpolation="bilinear")), 1
    yield "normalization-adapted", adapted(), 3
    yield "noise-layers", seq(
        L.GaussianNoise(0.3), L.Conv2D(4, 3), L.SpatialDropout2D(0.3), L.ActivityRegularization(l2=0.01),
        L.Flatten(), L.Dropout(0.5), L.GaussianDropout(0.2), L.Dense(3)), 1
    if not legacy:
        yield "zero-padding-asymmetric", seq(L.ZeroPadding2D(((1, 2), (0, 3))), L.Conv2D(2, 3)), 1
        yield "rescaling-offset", seq(L.Rescaling(1 / 127.5, offset=-1.0), L.Conv2D(2, 3)), 80
        yield "reshape", seq(L.Reshape((6, 7, 3)), L.Conv2D(2, 3), L.ZeroPadding2D(1)), 1
        yield "reshape-minus1", seq(L.Reshape((-1, 9)), L.Dense(3)), 1
        yield "cropping", seq(L.Cropping2D(((1, 2), (0, 1)))), 1
        yield "upsampling-nearest", seq(L.UpSampling2D((3, 2))), 1
        yield "rescaling-list", seq(L.Rescaling([0.5, 2.0, -1.0], offset=[0.1, 0.0, -0.3])), 1
        yield "normalization-constants", seq(
            L.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.09, 0.01]), L.Conv2D(2, 3)), 1

    # Whole networks.
    yield "two-heads", two_heads(), 1
    yield "residual-network", residual(), 1
    yield "nested-sequential", nested(), 1
    if not legacy:
        yield "inverted-residual", inverted_residual(), 1
        yield "nested-functional", nested_functional(), 1
        yield "shared-layer", shared(), 1
        yield "sequential-softmax-layer", seq(
            L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(4, name="logits"), L.Softmax()), 1
        yield "head-sigmoid-1", seq(
            L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(1, activation="sigmoid")), 1
        yield "head-sigmoid-3", seq(L.Flatten(), L.Dense(8, activation="relu"), L.Dense(3, activation="sigmoid")), 1
        yield "head-linear", seq(L.Flatten(), L.Dense(8, activation="tanh"), L.Dense(2)), 1


def more_cases(keras, legacy):
    """The layers that came later; at the end, since the number of rows goes by the position."""
    L = keras.layers
    Input = keras.Input
    SEQUENCE = (9, 4)

    def seq(*layers, shape=IMAGE, **options):
        return keras.Sequential([Input(shape=shape, **options), *layers])

    def squeeze_excite_hard():
        """As in MobileNetV3, whose hard sigmoid is a ReLU6."""
        x = Input(shape=IMAGE)
        y = L.Conv2D(4, 3, padding="same")(x)
        s = L.GlobalAveragePooling2D()(y)
        s = L.Reshape((1, 1, 4))(s)
        s = L.Conv2D(2, 1, activation="relu")(s)
        s = L.Conv2D(4, 1)(s)
        s = L.Rescaling(1 / 6, offset=0.5)(s)
        s = L.ReLU(1.0)(s)
        return keras.Model(x, L.Dense(3)(L.GlobalMaxPooling2D()(L.Multiply()([y, s]))))

    def attention(call, **options):
        x = Input(shape=(5, 6))
        y = L.Conv1D(6, 3, activation="tanh")(x)
        z = L.Dense(7)(y)
        layer = L.MultiHeadAttention(**options)
        return keras.Model(x, call(layer, x, y, z))

    def transformer():
        x = Input(shape=(8,), dtype="int32")
        y = L.Embedding(13, 6)(x)
        a = L.MultiHeadAttention(2, 3, dropout=0.1)(y, y)
        y = L.LayerNormalization(epsilon=1e-6)(L.Add()([y, L.Dropout(0.1)(a)]))
        f = L.Dense(6)(L.Dense(10, activation="gelu")(y))
        y = L.LayerNormalization(epsilon=1e-6)(L.Add()([y, f]))
        return keras.Model(x, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(y)))

    def inner():
        part = keras.Sequential(
            [Input(shape=SEQUENCE), L.Conv1D(5, 3), L.Bidirectional(L.LSTM(3, return_sequences=True)),
             L.TimeDistributed(L.Dense(4)), L.LayerNormalization(), L.GRU(3)], name="part")
        x = Input(shape=SEQUENCE)
        return keras.Model(x, L.Dense(2)(part(x)))

    def dot(axes):
        x = Input(shape=(5, 4))
        y = L.Dense(4, activation="tanh")(x)
        return keras.Model(x, L.Dot(axes=axes)([x, y]))

    def dot_vectors():
        x = Input(shape=(6,))
        return keras.Model(x, L.Dot(axes=1)([L.Dense(4)(x), L.Dense(4)(x)]))

    def u_net():
        x = Input(shape=(8, 6, 2))
        a = L.Conv2D(4, 3, padding="same", activation="relu")(x)
        b = L.Conv2D(6, 3, padding="same", activation="relu")(L.MaxPooling2D()(a))
        c = L.Conv2DTranspose(4, 2, strides=2, use_bias=False)(b)
        c = L.BatchNormalization()(c)
        return keras.Model(x, L.Conv2D(3, 1, activation="softmax")(L.Concatenate()([a, c])))

    # Transposed convolutions.
    T = L.Conv2DTranspose
    yield "conv2d-transpose-stride2-same", seq(T(4, 3, strides=2, padding="same")), 1
    yield "conv2d-transpose-stride2-valid", seq(T(4, 3, strides=2, activation="relu")), 1
    yield "conv2d-transpose-output-padding", seq(T(4, 3, strides=2, padding="same", output_padding=1)), 1
    if legacy:  # TensorFlow on a CPU cannot compute dilated ones of Keras 3.
        yield "conv2d-transpose-dilation2-same", seq(T(4, 3, dilation_rate=2, padding="same")), 1
        yield "conv2d-transpose-dilation2-valid", seq(T(4, (2, 3), dilation_rate=2)), 1
    yield "u-net", u_net(), 1
    if not legacy:
        yield "conv2d-transpose-stride1-same", seq(T(4, 4, padding="same", use_bias=False)), 1
        yield "conv2d-transpose-nonsquare", seq(T(4, (2, 5), strides=(1, 3), padding="same"), shape=(5, 4, 3)), 1
        yield "conv2d-transpose-window-below-stride", seq(T(4, 2, strides=3), shape=(4, 5, 3)), 1
        yield "conv2d-transpose-output-padding-valid", seq(T(4, 3, strides=2, output_padding=(1, 0))), 1
        yield "conv2d-transpose-output-padding-even", seq(T(4, 4, strides=3, padding="same", output_padding=1)), 1
    yield "conv1d-transpose", seq(L.Conv1DTranspose(5, 3, strides=2, padding="same"), shape=SEQUENCE), 1

    # One axis.
    C = L.Conv1D
    yield "conv1d-same", seq(C(5, 3, padding="same", activation="relu"), shape=SEQUENCE), 1
    yield "conv1d-causal-dilation2", seq(C(5, 3, padding="causal", dilation_rate=2), shape=SEQUENCE), 1
    yield "conv1d-stride2-batchnorm", seq(C(5, 3, strides=2, use_bias=False), L.BatchNormalization(),
                                          L.ReLU(), L.Flatten(), L.Dense(3), shape=SEQUENCE), 1
    yield "depthwise1d", seq(L.DepthwiseConv1D(3, depth_multiplier=2, padding="same"), shape=SEQUENCE), 1
    yield "separable1d", seq(L.SeparableConv1D(5, 3, strides=2, padding="same", activation="tanh"),
                             shape=SEQUENCE), 1
    yield "pooling1d", seq(L.MaxPooling1D(3, strides=2, padding="same"), L.AveragePooling1D(2), shape=SEQUENCE), 1
    yield "global-pooling1d", seq(L.GlobalMaxPooling1D(), L.Dense(3), shape=SEQUENCE), 1
    yield "rearranging1d", seq(L.ZeroPadding1D((2, 1)), L.UpSampling1D(2), L.Cropping1D((1, 3)), shape=SEQUENCE), 1
    if legacy:
        yield "separable1d-causal", seq(L.SeparableConv1D(5, 3, padding="causal", depth_multiplier=2),
                                        shape=SEQUENCE), 1
    else:
        yield "conv1d-causal-stride2", seq(C(5, 4, padding="causal", strides=2), shape=SEQUENCE), 1
        yield "conv1d-groups2", seq(C(6, 2, groups=2), shape=SEQUENCE), 1
        yield "conv1d-softmax", seq(C(5, 3, padding="same", activation="softmax"), shape=SEQUENCE), 1
        yield "pooling1d-average-same", seq(L.AveragePooling1D(2, padding="same"), L.MaxPooling1D(), shape=SEQUENCE), 1
        yield "global-pooling1d-keepdims", seq(L.GlobalAveragePooling1D(keepdims=True), L.Dense(3), shape=SEQUENCE), 1
        yield "conv1d-transpose-valid", seq(L.Conv1DTranspose(5, 2, strides=3), shape=SEQUENCE), 1

    # Normalisation of single rows.
    yield "layernorm", seq(L.Dense(6), L.LayerNormalization(), shape=SEQUENCE), 1
    yield "layernorm-axes", seq(L.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5)), 2
    yield "groupnorm", seq(L.Conv2D(6, 3), L.GroupNormalization(groups=3)), 1
    yield "unitnorm", seq(L.UnitNormalization(), L.Dense(3)), 1
    if not legacy:
        yield "layernorm-axis1", seq(L.LayerNormalization(axis=1, scale=False)), 2
        yield "layernorm-spatial", seq(L.LayerNormalization(axis=[-3, -2], center=False), shape=(5, 4, 3)), 2
        yield "layernorm-vector", seq(L.LayerNormalization(scale=False, center=False), L.Dense(3), shape=(9,)), 2
        yield "groupnorm-instance", seq(L.GroupNormalization(groups=-1, scale=False)), 2
        yield "unitnorm-axes", seq(L.UnitNormalization(axis=[1, 2])), 1

    # Images in other sizes.
    yield "resizing-bilinear", seq(L.Resizing(10, 4)), 1
    yield "resizing-nearest", seq(L.Resizing(4, 11, interpolation="nearest")), 1
    if not legacy:
        yield "resizing-bilinear-down", seq(L.Resizing(3, 5), L.Conv2D(2, 1)), 1
        yield "resizing-nearest-up", seq(L.Resizing(13, 9, interpolation="nearest")), 1

    # Activations.
    if legacy:
        for name in ["selu", "mish", "softplus", "elu", "softsign"]:
            yield "activation-" + name, seq(L.Activation(name), L.Dense(6, activation=name), shape=(11,)), 3
        yield "elu-layer", seq(L.ELU(alpha=0.7), L.ThresholdedReLU(theta=0.5), L.Softmax(), shape=(9,)), 2
    else:
        for name in ["log_softmax", "log_sigmoid", "hard_tanh", "celu", "squareplus", "tanh_shrink",
                     "soft_shrink", "hard_shrink"]:
            yield "activation-" + name.replace("_", "-"), seq(
                L.Activation(name), L.Dense(6, activation=name), L.Dense(4), shape=(11,)), 3

    # Repetition and products.
    yield "repeat-vector", seq(L.Dense(4), L.RepeatVector(3), L.Dense(5), shape=(7,)), 1
    yield "dot-vectors", dot_vectors(), 1
    yield "dot-matrices", dot((2, 2)), 1
    if not legacy:
        yield "dot-inner", dot((1, 1)), 1

    # Indices.
    yield "embedding", seq(L.Embedding(11, 4), L.Flatten(), L.Dense(3), shape=(6,)), "indices 11"
    yield "embedding-conv1d", seq(
        L.Embedding(20, 5), L.SpatialDropout1D(0.2), C(4, 3, activation="relu"), L.GlobalMaxPooling1D(),
        L.Dense(1, activation="sigmoid"), shape=(9,), dtype="int32"), "indices 20"
    yield "transformer", transformer(), "indices 13"

    # Recurrence.
    for kind in ["LSTM", "GRU", "SimpleRNN"]:
        layer, name = getattr(L, kind), kind.lower()
        yield name, seq(layer(5, dropout=0.2, recurrent_dropout=0.1), L.Dense(3), shape=SEQUENCE), 1
        yield name + "-sequences", seq(
            layer(5, return_sequences=True), layer(3, return_sequences=True, go_backwards=True, use_bias=False),
            shape=SEQUENCE), 1
        yield name + "-bidirectional", seq(
            L.Bidirectional(layer(3, return_sequences=True)), L.Bidirectional(layer(2), merge_mode="sum"),
            shape=SEQUENCE), 1
        if not legacy:
            options = {} if kind == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
            yield name + "-activations", seq(layer(5, activation="softsign", **options), shape=SEQUENCE), 1
            for mode in ["mul", "ave"]:
                yield name + "-bidirectional-" + mode, seq(
                    L.Bidirectional(layer(3, return_sequences=True), merge_mode=mode), shape=SEQUENCE), 1
    yield "gru-reset-before", seq(L.GRU(5, reset_after=False, return_sequences=True),
                                  L.GRU(3, reset_after=False, use_bias=False), shape=SEQUENCE), 1
    yield "bidirectional-apart", seq(L.Bidirectional(
        L.LSTM(3, return_sequences=True), backward_layer=L.GRU(2, return_sequences=True, go_backwards=True)),
        shape=SEQUENCE), 1
    yield "recurrent-inside", inner(), 1

    # Attention.
    yield "attention-self", attention(lambda layer, x, y, z: layer(x, x), num_heads=2, key_dim=4), 1
    yield "attention-cross", attention(
        lambda layer, x, y, z: layer(x, z), num_heads=3, key_dim=2, value_dim=5, use_bias=False), 1
    yield "attention-three", attention(
        lambda layer, x, y, z: layer(query=x, value=z, key=y), num_heads=2, key_dim=3, output_shape=4), 1

    # The same layer at every step.
    yield "time-distributed-dense", seq(L.TimeDistributed(L.Dense(5, activation="relu")), shape=(3, 2, 4)), 1
    yield "time-distributed-conv2d", seq(
        L.TimeDistributed(L.Conv2D(4, 3, strides=2, padding="same", activation="tanh")),
        L.TimeDistributed(L.GlobalAveragePooling2D()), L.LSTM(3), shape=(3, 6, 5, 2)), 1
    if not legacy:
        yield "time-distributed-flatten", seq(
            L.TimeDistributed(L.MaxPooling2D()), L.TimeDistributed(L.Flatten()), L.TimeDistributed(L.Dropout(0.3)),
            shape=(3, 4, 5, 2)), 1

    yield "multiply-squeeze-excite-hard", squeeze_excite_hard(), 1


def write(keras, name, prefix, legacy):
    """Write every case of one Keras version."""
    found = golden.versions(name, "tensorflow-cpu", "numpy", "h5py")
    keras.backend.clear_session()
    count = 0
    for case, model, scale in itertools.chain(cases(keras, legacy), more_cases(keras, legacy)):
        case = prefix + case
        random = generator(case)
        randomise(model, random)
        rows = 2 + count % 2
        shape = (rows,) + tuple(model.input_shape[1:])
        if isinstance(scale, str):
            x = random.randint(0, int(scale.split()[1]), shape).astype(np.float32)
        else:
            x = (scale * random.normal(0, 1, shape)).astype(np.float32)
        if scale == 80:
            x = np.floor(random.uniform(0, 256, x.shape)).astype(np.float32)
        outputs = model(x, training=False)
        outputs = [np.asarray(y) for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
        path = os.path.join(FOLDER, case + ".h5")
        model.save(path)

        try:
            loaded = keras.models.load_model(path, compile=False)
        except ValueError as error:
            # Keras 3 loses the axes of a LayerNormalization that it reads; the file is sound.
            assert case.startswith("layernorm"), error
            print("%s: Keras cannot reload it" % case)
            loaded = model
        again = loaded(x, training=False)
        again = [np.asarray(y) for y in (again if isinstance(again, (list, tuple)) else [again])]
        for first, second in zip(outputs, again):
            if not np.array_equal(first, second):
                print("%s: reloading changes the output by %g" % (case, np.abs(first - second).max()))
            assert np.isfinite(first).all(), case

        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        golden.write_json(os.path.join(FOLDER, case + ".json"), {
            "script": "make_keras_layers.py",
            "versions": found,
            "seed": SEED,
            "input": golden.array(x),
            "outputs": [dict(name=output, **golden.array(y)) for output, y in zip(names, outputs)],
        })
        count += 1
        keras.backend.clear_session()
    print("%s %s: %d cases" % (name, found.get(name), count))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    import logging
    logging.disable(logging.WARNING)
    if sys.argv[1:] == ["--keras2"]:
        import tf_keras
        write(tf_keras, "tf_keras", "keras2-", True)
    else:
        for old in glob.glob(os.path.join(FOLDER, "*")):
            os.remove(old)
        import keras
        write(keras, "keras", "", False)
        sys.stdout.flush()
        subprocess.run([sys.executable, os.path.abspath(__file__), "--keras2"], check=True)
        golden.report(FOLDER)
