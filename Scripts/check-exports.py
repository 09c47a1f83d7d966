#!/usr/bin/env python3
"""Checks that Keras reads the smaller networks of `bayesify compact`, and that they answer as the masked ones do.

    python Scripts/check-exports.py --shared FOLDER --out FOLDER [--networks digits,fashion,resnet20,msdnet]
        [--bayesify .build/release/bayesify]

FOLDER of --shared holds `checkpoints` and `data`; the digits are in the project.  Of each network about half of the weights are
removed by a short chain whose one snapshot is then written as a Keras file.  On 500 rows three answers are compared: that of the
posterior, which computes with zeros where weights were removed; that of the smaller network, by `bayesify`; and that of the
smaller network, by Keras.  The command fails where two probabilities differ by more than 1e-5.

Needs Python 3.10, Keras with a backend, NumPy and h5py.
"""
import argparse
import os
import subprocess
import sys

import h5py
import numpy as np

from comparison import ROOT, table

ROWS, BOUND = 500, 1e-5
DIGITS = os.path.join(ROOT, "Models/digits-early-exit")
CIFAR = ("data/cifar10-train-20k.h5", "data/cifar10-test.h5")
# The checkpoint, training rows, test rows, and what the network expects of them: scale, mean and deviation.
NETWORKS = {
    "digits": (os.path.join(DIGITS, "digits.h5"), os.path.join(DIGITS, "train.h5"), os.path.join(DIGITS, "test.h5"), 1, [0], [1]),
    "fashion": ("checkpoints/fashion-cnn.h5", "data/fashion-mnist-train.h5", "data/fashion-mnist-test.h5", 255, [0], [1]),
    "resnet20": ("checkpoints/resnet20-cifar10.h5", *CIFAR, 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "msdnet": ("checkpoints/msdnet-small-cifar10.h5", *CIFAR, 255, [0.4914, 0.4824, 0.4467], [0.2471, 0.2435, 0.2616]),
}


def list_of(value):
    return value if isinstance(value, list) else [value]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def measure(name, arguments):
    import keras
    checkpoint, training, test, scale, mean, deviation = NETWORKS[name]
    checkpoint, training, test = (os.path.join(arguments.shared, file) for file in (checkpoint, training, test))
    own = {part: os.path.join(arguments.out, "%s-%s.h5" % (name, part)) for part in ("sparse", "small", "masked", "smaller")}
    preprocessing = ["--scale", str(scale)] if scale != 1 else []
    if mean != [0]:
        preprocessing += ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, deviation))]

    def run(*words):
        done = subprocess.run([arguments.bayesify, *words, "--quiet", "--force"], capture_output=True, text=True)
        if done.returncode:
            sys.exit("bayesify %s\n%s" % (" ".join(words), done.stderr.strip()))
    # One chain of two short cycles; the second keeps one network, so that posterior and file are the same network.
    run("fit", "spike-slab", checkpoint, "--data", training, "--rows", "0:%d" % (256 if name == "digits" else 2000), *preprocessing,
        "--sampler", "descent", "--select", "magnitude", "--sparsity", "50%", "--cycles", "2", "--cycle-epochs", "1",
        "--snapshots", "1", "--learning-rate", "0.001", "-o", own["sparse"])
    run("compact", own["sparse"], "-o", own["small"])
    rows = ["--data", test, "--rows", "0:%d" % ROWS, *preprocessing]
    run("predict", own["sparse"], *rows, "-o", own["masked"])
    run("predict", own["small"], *rows, "-o", own["smaller"])
    with h5py.File(test) as file:
        x = file["x"][:ROWS].astype(np.float32)
    model = keras.models.load_model(own["small"], compile=False)
    x = ((x / scale - np.float32(mean)) / np.float32(deviation)).reshape(ROWS, *model.input_shape[1:])
    outputs = [np.asarray(one, np.float64) for one in list_of(model.predict(x, batch_size=100, verbose=0))]
    found = []
    with h5py.File(own["masked"]) as masked, h5py.File(own["smaller"]) as smaller:
        exits = sorted(masked["exits"], key=int)
        if len(exits) != len(outputs):
            sys.exit("%s: Keras has %d outputs, the posterior %d exits" % (name, len(outputs), len(exits)))
        for index, output in zip(exits, outputs):
            isLogits = not np.allclose(output.sum(axis=1), 1, atol=1e-3) or output.min() < 0
            keras_rows = softmax(output) if isLogits else output
            ours = [file["exits"][index]["probabilities"][()] for file in (masked, smaller)]
            found.append((index, np.abs(ours[0] - ours[1]).max(), np.abs(ours[0] - keras_rows).max()))
    return found, model.count_params(), keras.models.load_model(checkpoint, compile=False).count_params()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True, type=os.path.abspath)
    parser.add_argument("--out", required=True, type=os.path.abspath)
    parser.add_argument("--networks", default=",".join(NETWORKS), type=lambda text: text.split(","))
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    arguments = parser.parse_args()
    for name in arguments.networks:
        if name not in NETWORKS:
            parser.error("there is no '%s'; choose among %s" % (name, ", ".join(NETWORKS)))
    os.makedirs(arguments.out, exist_ok=True)
    rows, worst = [], 0.0
    for name in arguments.networks:
        found, after, before = measure(name, arguments)
        worst = max([worst] + [difference for _, *both in found for difference in both])
        rows += [[name, index, str(before), str(after), "%.1e" % engine, "%.1e" % keras] for index, engine, keras in found]
    print("\n".join(table(
        ["network", "exit", "parameters", "of the smaller", "largest difference, smaller to masked", "Keras to masked"], rows)))
    if not worst <= BOUND:
        sys.exit("Two probabilities differ by %.1e, more than %.0e." % (worst, BOUND))


if __name__ == "__main__":
    main()
