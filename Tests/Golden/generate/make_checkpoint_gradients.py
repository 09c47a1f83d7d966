"""Gradients of trained networks on real images, as PyTorch computes them in double precision.

    python make_checkpoint_gradients.py SHARED

SHARED holds checkpoints/ and data/ (files of others, which are not part of this project).  Writes
Tests/Golden/Gradients/checkpoint-<name>.h5: the gradient of the softmax cross-entropy, summed over
the exits and over the first 16 rows of the CIFAR-10 test set with their labels, with respect to
every trained parameter, normalisation in evaluation form.  The PyTorch module is made from the HDF5
file by Benchmarks/peers.py, and its logits agree with Keras's by the tests of the importer and of
the benchmarks.

`gradients/<node>/<parameter>` holds the entries of a tensor in this project's order at the positions
floor(k count / kept) of its row-major list, k = 0 ... kept - 1: all of them in the small network, at
most 512 in the large one.  `largest/<node>/<parameter>` is the largest absolute entry of the whole
tensor.  Attributes: loss, script, versions.  There is no seed; nothing is drawn.
"""

import json
import os
import sys

import h5py
import numpy as np
import torch
from torch.nn import functional

import golden

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(golden.ROOT)), "Benchmarks"))
import peers  # noqa: E402

ROWS = 16
NETWORKS = [  # name, file, scale, mean, deviation, entries kept of a tensor
    ("resnet8", "mlperf-tiny-resnet8-cifar10.h5", 1, 0, 1, None),
    ("msdnet", "msdnet-small-cifar10.h5", 255, (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616), 512),
]


def main(shared):
    torch.set_num_threads(1)
    with h5py.File(os.path.join(shared, "data", "cifar10-test.h5")) as file:
        images, labels = file["x"][:ROWS].astype("float64"), torch.tensor(file["y"][:ROWS].astype("int64"))
    folder = golden.folder("Gradients")
    for name, file, scale, mean, deviation, limit in NETWORKS:
        side = peers.EagerTraining(os.path.join(shared, "checkpoints", file), None, ROWS)
        side.model.double()
        side.ready((images / scale - mean) / deviation)
        loss = sum(functional.cross_entropy(z, labels, reduction="sum") for z in side.model(side.x))
        loss.backward()
        gradients = side.named_gradients()
        target = os.path.join(folder, f"checkpoint-{name}.h5")
        with h5py.File(target, "w", track_order=True) as out:
            for key, gradient in gradients.items():
                entries = gradient.ravel()
                kept = min(entries.size, limit or entries.size)
                sample = entries[np.arange(kept) * entries.size // kept]
                out.create_dataset("gradients/" + key, data=sample.astype("float32"), track_times=False)
                out.create_dataset(
                    "largest/" + key, data=np.abs(entries).max(keepdims=True), track_times=False)
            out.create_dataset("loss", data=np.array([loss.item()]), track_times=False)
            out.attrs["script"] = os.path.basename(__file__)
            out.attrs["versions"] = json.dumps(golden.versions("torch", "numpy", "h5py"))
        print("%-8s loss %.12g, %d tensors, %d entries, %.0f kB" % (
            name, loss.item(), len(gradients), sum(g.size for g in gradients.values()),
            os.path.getsize(target) / 1000))


if __name__ == "__main__":
    main(*sys.argv[1:])
