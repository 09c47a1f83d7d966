"""The networks that the engine and its peers are compared on, as full-model Keras HDF5 files.

Three are trained checkpoints from a folder; three are built here by Keras 3 with random weights from
a seed, for speed does not depend on what a network has learnt, and kept in a cache.
"""
import os

import numpy as np

SEED = 20240707
CHECKPOINTS = {
    "resnet20": ("ResNet-20", "resnet20-cifar10.h5"),
    "msdnet": ("MSDNet-small", "msdnet-small-cifar10.h5"),
    "mini-xception": ("mini-XCEPTION", "mini-xception-fer2013.hdf5"),
}
BUILT = {
    "mobilenet": "MobileNetV1-0.25, 96x96",
    "resnet50": "ResNet-50, 224x224",
    "deeplab": "DeepLabV3+ ResNet-50, 256x256",
}
NAMES = [*CHECKPOINTS, *BUILT]
BATCHES = {name: (1, 8) if name in ("resnet50", "deeplab") else (1, 32, 128) for name in NAMES}


def title(name):
    return CHECKPOINTS[name][0] if name in CHECKPOINTS else BUILT[name]


def file(name, shared, cache):
    """The file of a network, built first where that is not yet done; None where a checkpoint is absent."""
    if name in CHECKPOINTS:
        path = os.path.join(shared, "checkpoints", CHECKPOINTS[name][1])
        return path if os.path.exists(path) else None
    path = os.path.join(cache, f"{name}-{SEED}.h5")
    if not os.path.exists(path):
        os.makedirs(cache, exist_ok=True)
        model = {"mobilenet": mobilenet, "resnet50": resnet50, "deeplab": deeplab}[name]()
        randomize(model)
        model.save(path + ".part.h5")
        os.replace(path + ".part.h5", path)
    return path


def keras():
    """Keras, whose backend only has to exist: it computes nothing here."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras as module
    return module


def mobilenet():
    return keras().applications.MobileNet(input_shape=(96, 96, 3), alpha=0.25, weights=None)


def resnet50():
    return keras().applications.ResNet50(input_shape=(224, 224, 3), weights=None)


def deeplab(size=256, classes=20):
    """DeepLabV3+ as in the Keras example, whose preprocessing and activations are here layers too.

    Source: keras.io/examples/vision/deeplabv3_plus.
    """
    k = keras()
    layers = k.layers

    def block(x, filters=256, window=3, dilation=1, use_bias=False):
        x = layers.Conv2D(filters, window, dilation_rate=dilation, padding="same", use_bias=use_bias)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    def enlarged(x, height, width):
        return layers.UpSampling2D((height // x.shape[1], width // x.shape[2]), interpolation="bilinear")(x)

    image = k.Input((size, size, 3))
    encoder = k.applications.ResNet50(include_top=False, weights=None, input_tensor=image)
    x = encoder.get_layer("conv4_block6_2_relu").output
    height, width = x.shape[1:3]
    pooled = block(layers.AveragePooling2D((height, width))(x), window=1, use_bias=True)
    branches = [enlarged(pooled, height, width), block(x, window=1)]
    branches += [block(x, dilation=rate) for rate in (6, 12, 18)]
    x = block(layers.Concatenate()(branches), window=1)
    low = block(encoder.get_layer("conv2_block3_2_relu").output, 48, 1)
    x = layers.Concatenate()([enlarged(x, size // 4, size // 4), low])
    x = enlarged(block(block(x)), size, size)
    return k.Model(image, layers.Conv2D(classes, 1, padding="same")(x), name="deeplabv3plus")


def randomize(model):
    """Weights under which activations neither vanish nor explode, and statistics that do something."""
    generator = np.random.default_rng(SEED)
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
            if name in ("gamma", "moving_variance"):
                value = generator.uniform(0.8, 1.2, shape)
            elif name in ("beta", "bias", "moving_mean"):
                value = generator.normal(0, 0.1, shape)
            else:
                # A depthwise kernel is [height, width, channels, 1] and sums over its window alone.
                inputs = shape[0] * shape[1] if "Depthwise" in type(layer).__name__ else np.prod(shape[:-1])
                value = generator.normal(0, np.sqrt(2 / inputs), shape)
            values.append(value.astype("float32"))
        if values:
            layer.set_weights(values)
