"""Tiny Keras models, one per layer kind or option, with the outputs Keras computes.

    python make_keras_layers.py

writes Tests/Golden/KerasLayers/<case>.h5 (a full model in the HDF5 format) and <case>.json
(an input batch and every output in float32). Cases called keras2-... are written and computed
by tf_keras (Keras 2), the others by Keras 3 on TensorFlow. The weights, the moving statistics
of BatchNormalization included, are random, seeded by the name of the case.
"""

import glob
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
    """Yield (case, model, scale of the input); legacy is True for Keras 2."""
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


def write(keras, name, prefix, legacy):
    """Write every case of one Keras version."""
    found = golden.versions(name, "tensorflow-cpu", "numpy", "h5py")
    keras.backend.clear_session()
    count = 0
    for case, model, scale in cases(keras, legacy):
        case = prefix + case
        random = generator(case)
        randomise(model, random)
        rows = 2 + count % 2
        x = (scale * random.normal(0, 1, (rows,) + tuple(model.input_shape[1:]))).astype(np.float32)
        if scale == 80:
            x = np.floor(random.uniform(0, 256, x.shape)).astype(np.float32)
        outputs = model(x, training=False)
        outputs = [np.asarray(y) for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
        path = os.path.join(FOLDER, case + ".h5")
        model.save(path)

        loaded = keras.models.load_model(path, compile=False)
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
