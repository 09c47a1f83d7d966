"""Writes DeepLabV3+ with a ResNet-50 backbone as a Keras checkpoint with random weights: for its shape and its speed.

    python make_checkpoint.py -o deeplabv3plus.h5 [--size 256] [--classes 19]

Needs keras 3 and one of its backends.  The network is that of Chen et al., "Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation", ECCV 2018, arXiv:1802.02611, with plain convolutions: a ResNet-50 whose last
stage is dilated instead of strided (output stride 16), atrous spatial pyramid pooling at rates 6, 12 and 18, and a decoder
that joins the maps of the first stage.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

L = keras.layers


def unit(x, width, kernel, name, activation=True, **options):
    """Convolution, batch normalisation and, where asked for, ReLU."""
    x = L.Conv2D(width, kernel, padding="same", use_bias=False, name=name, **options)(x)
    x = L.BatchNormalization(epsilon=1e-5, name=name + "_norm")(x)
    return L.ReLU(name=name + "_relu")(x) if activation else x


def bottleneck(x, width, name, strides=1, dilation=1, projects=False):
    shortcut = x
    if projects:
        shortcut = unit(x, 4 * width, 1, name + "_shortcut", activation=False, strides=strides)
    y = unit(x, width, 1, name + "_1", strides=strides)
    y = unit(y, width, 3, name + "_2", dilation_rate=dilation)
    y = unit(y, 4 * width, 1, name + "_3", activation=False)
    return L.ReLU(name=name + "_out")(L.Add(name=name + "_add")([shortcut, y]))


def resnet50(x):
    """The maps of the first stage, at a quarter of the size, and of the last, at a sixteenth."""
    x = unit(x, 64, 7, "stem", strides=2)
    x = L.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    low = None
    for stage, (width, count, strides, dilation) in enumerate(
            [(64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 2, 1), (512, 3, 1, 2)], start=2):
        for block in range(count):
            x = bottleneck(x, width, "conv%d_%d" % (stage, block + 1), strides if block == 0 else 1, dilation,
                           projects=block == 0)
        low = x if low is None else low
    return low, x


def network(size=256, classes=19):
    """The network, with fresh weights; its one output are probabilities at every pixel."""
    inputs = keras.Input(shape=(size, size, 3), name="image")
    low, x = resnet50(L.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs))
    branches = [unit(x, 256, 1, "aspp_1")]
    branches += [unit(x, 256, 3, "aspp_%d" % rate, dilation_rate=rate) for rate in (6, 12, 18)]
    mean = unit(L.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x), 256, 1, "aspp_pool")
    branches.append(L.UpSampling2D(size // 16, interpolation="nearest", name="aspp_spread")(mean))
    x = unit(L.Concatenate(name="aspp")(branches), 256, 1, "aspp_join")
    x = L.UpSampling2D(4, interpolation="bilinear", name="decoder_up")(x)
    x = L.Concatenate(name="decoder")([x, unit(low, 48, 1, "decoder_low")])
    x = unit(x, 256, 3, "decoder_1")
    x = unit(x, 256, 3, "decoder_2")
    x = L.Conv2D(classes, 1, name="classifier")(x)
    x = L.UpSampling2D(4, interpolation="bilinear", name="enlarge")(x)
    return keras.Model(inputs, L.Softmax(name="classes")(x), name="deeplabv3plus_resnet50")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--size", type=int, default=256, help="height and width of images, a multiple of 16")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.size % 16 != 0:
        parser.error("--size is a multiple of 16")
    keras.utils.set_random_seed(arguments.seed)
    model = network(arguments.size, arguments.classes)
    model.save(arguments.output)
    print("%d parameters" % model.count_params())


if __name__ == "__main__":
    main()
