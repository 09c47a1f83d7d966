#!/usr/bin/env python3
"""Inference in bfloat16 against our own float32: speed, and beside it what it costs in accuracy and NLL.

Two processes load the same network, one in each precision, and their passes alternate.  `speed` is
float32's time over the other's, the median of the pairs with its bootstrap 95 % interval; on the test rows
of a trained network, accuracy and negative log-likelihood (nats a row) of both and their differences.
A processor without the instructions is told so, and the command fails.

    python Benchmarks/bfloat16_against_float32.py --shared FOLDER [--networks resnet20,resnet50] [--pairs 30]
        [--threads 2] [--precision bfloat16]

--precision float32 compares float32 with itself, which shows what the command makes of equal sides.  FOLDER holds
checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by
    swift build -c release --package-path Benchmarks
Not yet run in bfloat16: no processor with AMX was at hand.
"""
import argparse
import os
import sys
import tempfile

import h5py
import numpy as np

import networks
from engine_against_peers import CACHE, Engine, interval
from gradients_against_pytorch import NETWORKS as TRAINED

BATCHES = {"resnet20": 128, "resnet50": 8}
CHUNK = 1000


def write(path, rows):
    with h5py.File(path, "w") as out:
        out["x"] = rows


def quality(engine, folder, inputs, labels, threads):
    """Accuracy and NLL of the last exit."""
    right, loss = 0, 0.0
    for start in range(0, len(labels), CHUNK):
        rows, known = inputs[start:start + CHUNK], labels[start:start + CHUNK]
        source, target = os.path.join(folder, "rows.h5"), os.path.join(folder, "logits.h5")
        write(source, rows)
        engine.ask("inputs", source)
        engine.ask("outputs", len(rows), threads, target)
        with h5py.File(target) as file:
            logits = file[f"outputs/{len(file['outputs']) - 1}"][()].astype("float64")
        logits -= logits.max(axis=1, keepdims=True)
        likelihoods = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        right += int((logits.argmax(axis=1) == known).sum())
        loss -= float(likelihoods[np.arange(len(known)), known].sum())
    return right / len(labels), loss / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--networks", type=lambda text: text.split(","), default=["resnet20", "resnet50"])
    parser.add_argument("--batch", type=int, help="in place of each network's own")
    parser.add_argument("--rows", type=int, default=10_000, help="test rows for accuracy and NLL")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    arguments = parser.parse_args()
    sides = [Engine(), Engine()]
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.networks:
                path = networks.file(name, arguments.shared, CACHE)
                if path is None:
                    print(f"{networks.title(name)} left out: its checkpoint is not in '{arguments.shared}/checkpoints'.")
                    continue
                try:
                    facts = sides[1].ask("load", path, arguments.precision)
                except RuntimeError as error:
                    sys.exit(str(error))
                sides[0].ask("load", path, "float32")
                batch = arguments.batch or BATCHES.get(name, 128)
                source = os.path.join(folder, "inputs.h5")
                write(source, np.random.default_rng(1).random((batch, *facts["inputShape"]), dtype="float32"))
                for side in sides:
                    side.ask("inputs", source)
                    side.ask("forward", batch, 3, arguments.threads)
                times = np.empty((arguments.pairs, 2))
                for pair in range(arguments.pairs):
                    for index in ((0, 1), (1, 0))[pair % 2]:
                        times[pair, index] = sides[index].ask("forward", batch, 1, arguments.threads)["seconds"][0]
                ratios = times[:, 0] / times[:, 1]
                low, high = interval(ratios)
                print(f"{networks.title(name)}, batch {batch}, {arguments.threads} threads: float32 "
                      f"{1e3 * np.median(times[:, 0]):.3g} ms, {arguments.precision} "
                      f"{1e3 * np.median(times[:, 1]):.3g} ms, speed {np.median(ratios):.2f} [{low:.2f}, {high:.2f}]")
                if name not in TRAINED:
                    continue
                _, data, scale, mean, deviation = TRAINED[name]
                with h5py.File(os.path.join(arguments.shared, "data", data)) as file:
                    images, labels = file["x"][:arguments.rows], file["y"][:arguments.rows].astype(int)
                inputs = ((images / scale - np.array(mean)) / np.array(deviation)).astype("float32")
                (a, b), (c, d) = [quality(side, folder, inputs, labels, arguments.threads) for side in sides]
                print(f"  {len(labels)} test rows: accuracy {a:.4f} and {c:.4f} ({c - a:+.4f}), NLL {b:.4f} and "
                      f"{d:.4f} ({d - b:+.4f})")
    finally:
        for side in sides:
            side.close()


if __name__ == "__main__":
    main()
