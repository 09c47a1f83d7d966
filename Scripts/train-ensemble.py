#!/usr/bin/env python3
"""Trains networks of a checkpoint's architecture from random weights, for ensembles beside which posteriors are measured.

    python Scripts/train-ensemble.py CHECKPOINT --data FILE.h5 --out FOLDER [--members 4] [--epochs 8] [--batch 128]
        [--scale 255] [--rows N] [--seed 0]

CHECKPOINT is a Keras file with its architecture; FILE.h5 holds `x`, images, and `y`, class indices.  Writes
FOLDER/member-0.h5 and so on, each trained by Adam (1e-3, along half a cosine) on all rows in an order of its own, and
prints loss and accuracy over the last epoch.  A member that is there already is left as it is.  Some minutes a member for a
small network on two cores.  Needs Python 3.10, h5py, and Keras with PyTorch or, three times as fast and by
KERAS_BACKEND=tensorflow, with TensorFlow.
"""
import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--scale", type=float, default=255)
    parser.add_argument("--rows", type=int, help="the first so many alone")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with h5py.File(arguments.data) as file:
        x, y = file["x"][:arguments.rows].astype("float32") / arguments.scale, file["y"][:arguments.rows].astype("int64")
    original = keras.models.load_model(arguments.checkpoint, compile=False)
    if x.ndim < len(original.input_shape):
        x = x[..., None]
    os.makedirs(arguments.out, exist_ok=True)
    isProbability = original.layers[-1].get_config().get("activation") == "softmax"
    for member in range(arguments.members):
        path = os.path.join(arguments.out, "member-%d.h5" % member)
        if os.path.exists(path):
            continue
        keras.utils.set_random_seed(1000 * arguments.seed + member)
        network = keras.models.clone_model(original)
        steps = arguments.epochs * -(-len(x) // arguments.batch)
        network.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=not isProbability), metrics=["accuracy"])
        history = network.fit(x, y, batch_size=arguments.batch, epochs=arguments.epochs, verbose=0).history
        network.save(path + ".part.h5")
        os.rename(path + ".part.h5", path)
        print("%s: loss %.4f, accuracy %.4f" % (path, history["loss"][-1], history["accuracy"][-1]), flush=True)


if __name__ == "__main__":
    main()
