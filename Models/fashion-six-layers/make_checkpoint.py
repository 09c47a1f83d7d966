#!/usr/bin/env python3
"""Trains a small network on Fashion-MNIST, of six layers that a placement may draw, and as many members of an ensemble as are asked
for.

    python Models/fashion-six-layers/make_checkpoint.py --data fashion-mnist-train.h5 --out FOLDER [--members 1] [--epochs 8]

FILE.h5 holds `x`, images of 28 by 28 bytes, and `y`, classes.  Writes FOLDER/member-0.h5 and so on, each from random weights of its
own, in an order of rows of its own, by Adam (1e-3, along half a cosine); bytes go in, the first layer scales them.  A member that is
there already is left as it is.  About four minutes a member on two cores.  Needs Keras with TensorFlow, and h5py.
"""
import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras

CLASSES = 10


def network():
    """Four convolutions with batch normalisation, and two dense layers."""
    L = keras.layers
    x = image = keras.Input(shape=(28, 28, 1), name="image")
    x = L.Rescaling(1 / 255, name="rescale")(x)
    for block, width in enumerate((16, 32), start=1):
        for part in ("a", "b"):
            name = "block_%d%s" % (block, part)
            x = L.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
            x = L.BatchNormalization(name=name + "_norm")(x)
            x = L.ReLU(name=name + "_relu")(x)
        x = L.MaxPooling2D(2, name="block_%d_pool" % block)(x)
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(64, activation="relu", name="hidden")(x)
    return keras.Model(image, L.Dense(CLASSES, activation="softmax", name="classes")(x), name="fashion_six_layers")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int, help="the first so many alone")
    arguments = parser.parse_args()
    with h5py.File(arguments.data) as file:
        x, y = file["x"][:arguments.rows].astype("float32")[..., None], file["y"][:arguments.rows].astype("int64")
    os.makedirs(arguments.out, exist_ok=True)
    for member in range(arguments.members):
        path = os.path.join(arguments.out, "member-%d.h5" % member)
        if os.path.exists(path):
            continue
        keras.utils.set_random_seed(member)
        model = network()
        steps = arguments.epochs * -(-len(x) // 128)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)), "sparse_categorical_crossentropy",
            metrics=["accuracy"])
        history = model.fit(x, y, batch_size=128, epochs=arguments.epochs, verbose=0).history
        model.save(path + ".part.h5")
        os.rename(path + ".part.h5", path)
        print("%s: loss %.4f, accuracy %.4f" % (path, history["loss"][-1], history["accuracy"][-1]), flush=True)


if __name__ == "__main__":
    main()
