#!/usr/bin/env python3
"""The gradient of every parameter of trained networks on real images, against PyTorch's.

PyTorch computes in double precision from the same HDF5 file, normalisation in evaluation form; ours are
those of the compiled training plan in f32.  The loss is the softmax cross-entropy summed over the exits.
Each tensor's largest difference is taken relative to the tensor's largest entry; one above the limit
makes the command fail.  How far PyTorch's own f32 gradients lie from its double ones stands beside it.

Where a ReLU's input lies closer to zero than f32 can tell, either of its two slopes is a gradient.  On MSDNet-small
this is so for the 18th image, where PyTorch's own f32 and ours take the other side than its double, and for the 21st,
where ours alone does (an input of 2.5e-7, largest difference 0.26; with that one element on the other side PyTorch in double agrees
with us to 7e-6).  The first 16 images have no such value.

    python Benchmarks/gradients_against_pytorch.py --shared FOLDER [--networks resnet8,msdnet] [--rows 16]
        [--limit 1e-4]

FOLDER holds checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by
    swift build -c release --package-path Benchmarks
Needs torch, h5py, numpy from PyPI.
"""
import argparse
import os
import sys
import tempfile

import h5py
import numpy as np
import torch

import peers
from engine_against_peers import Engine

# Checkpoint, data, and what takes stored numbers to the network's inputs: (x / scale - mean) / deviation.
NETWORKS = {
    "resnet8": ("mlperf-tiny-resnet8-cifar10.h5", "cifar10-test.h5", 1, 0, 1),
    "resnet20": ("resnet20-cifar10.h5", "cifar10-test.h5", 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "msdnet": ("msdnet-small-cifar10.h5", "cifar10-test.h5", 255, (0.4914, 0.4824, 0.4467),
               (0.2471, 0.2435, 0.2616)),
}


def theirs(path, rows, double):
    """PyTorch's loss and gradients by Bayesify's names."""
    side = peers.EagerTraining(path, None, len(rows))
    if double:
        side.model.double()
        rows = rows.astype("float64")
    side.ready(rows)
    return side.gradients().item(), side.named_gradients()


def difference(actual, expected):
    """The largest difference relative to the largest entry."""
    if actual.shape != expected.shape:
        return float("inf")
    scale = np.abs(expected).max()
    error = np.abs(actual - expected).max()
    return float(error / scale if scale > 0 else error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--networks", type=lambda text: text.split(","), default=["resnet8", "msdnet"],
                        help=",".join(NETWORKS))
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--limit", type=float, default=1e-4)
    arguments = parser.parse_args()
    failed = False
    for name in arguments.networks:
        checkpoint, data, scale, mean, deviation = NETWORKS[name]
        path = os.path.join(arguments.shared, "checkpoints", checkpoint)
        with h5py.File(os.path.join(arguments.shared, "data", data)) as file:
            images = file["x"][:arguments.rows].astype("float64")
        rows = ((images / scale - mean) / deviation).astype("float32")
        loss, expected = theirs(path, rows, double=True)
        _, single = theirs(path, rows, double=False)
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine()
            try:
                inputs, output = os.path.join(folder, "inputs.h5"), os.path.join(folder, "gradients.h5")
                with h5py.File(inputs, "w") as file:
                    file["x"] = rows
                engine.ask("load", path)
                engine.ask("inputs", inputs)
                facts = engine.ask("train", "all", len(rows), peers.THREADS)
                engine.ask("gradients", peers.THREADS, output)
            finally:
                engine.close()
            with h5py.File(output) as file:
                ours = {}
                file["gradients"].visititems(
                    lambda key, item: ours.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None)
        if set(ours) != set(expected):
            sys.exit(f"{name}: the parameters differ: {sorted(set(ours) ^ set(expected))[:6]}")
        differences = {key: difference(ours[key], value) for key, value in expected.items()}
        own = max(difference(single[key], value) for key, value in expected.items())
        count = sum(value.size for value in expected.values())
        above = [key for key, value in differences.items() if not value <= arguments.limit]
        failed |= bool(above)
        print(f"{name}: {len(rows)} images, {len(expected)} tensors of {count} entries; loss off by "
              f"{abs(facts['loss'] / loss - 1):.1e}, {'above' if above else 'all within'} {arguments.limit:g}; "
              f"PyTorch f32 against double: {own:.1e}")
        for key in sorted(differences, key=differences.get, reverse=True)[:max(3, len(above))]:
            print(f"  {differences[key]:.1e}  {key} {list(expected[key].shape)}, largest entry "
                  f"{np.abs(expected[key]).max():.2g}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
