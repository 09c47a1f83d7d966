#!/usr/bin/env python3
"""Throughput of `bayesify extract` against PyTorch eager on ResNet-20 and CIFAR-10.

Both read the same HDF5 file, preprocess it, run the network and write features, logits and labels
to HDF5.  Ours is timed as a whole process, start-up and digests included; PyTorch only from the
first byte read to the last byte written, its imports and the building of the module excluded.
Runs alternate; medians and the ratio are printed, with a bootstrap interval.

    python Benchmarks/extract_against_pytorch.py --shared FOLDER [--pairs 9] [--batch 128] [--threads 2]

FOLDER holds checkpoints/resnet20-cifar10.h5 and data/cifar10-test.h5.  Needs torch, h5py, numpy.
"""
import argparse
import os
import subprocess
import tempfile
import time

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BAYESIFY = os.path.join(os.path.dirname(__file__), "..", ".build", "release", "bayesify")


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride == 2 else nn.Identity())

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for stage, outputs in enumerate((16, 32, 64)):
            for index in range(3):
                blocks.append(Block(inputs, outputs, 2 if stage and not index else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        features = self.blocks(F.relu(self.bn(self.conv(x)))).mean((2, 3))
        return features, self.head(features)


def pytorch_extract(model, source, target, batch):
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    with h5py.File(source) as data, h5py.File(target, "w") as out, torch.inference_mode():
        rows = len(data["x"])
        features = out.create_dataset("exits/0/features", (rows, 64), "f4")
        logits = out.create_dataset("exits/0/logits", (rows, 10), "f4")
        out["labels"] = data["y"][:].astype("i8")
        for start in range(0, rows, batch):
            x = torch.from_numpy(data["x"][start:start + batch]).permute(0, 3, 1, 2)
            x = ((x.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
            f, z = model(x)
            features[start:start + batch] = f.numpy()
            logits[start:start + batch] = z.numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint = os.path.join(arguments.shared, "checkpoints", "resnet20-cifar10.h5")
    source = os.path.join(arguments.shared, "data", "cifar10-test.h5")
    # Speed does not depend on the weights; agreement with Keras is shown by the tests.
    model = ResNet20().eval().to(memory_format=torch.channels_last)

    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = [], []
        command = [
            BAYESIFY, "extract", checkpoint, "--data", source, "--scale", "255",
            "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), "--quiet", "--force",
            "--threads", str(arguments.threads), "--output", os.path.join(folder, "ours.h5")]
        same = command + ["--batch", str(arguments.batch)]
        default = []
        pytorch_extract(model, source, os.path.join(folder, "warm.h5"), arguments.batch)
        for _ in range(arguments.pairs):
            for times, run in ((ours, same), (default, command)):
                begin = time.perf_counter()
                subprocess.run(run, check=True)
                times.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            pytorch_extract(model, source, os.path.join(folder, "theirs.h5"), arguments.batch)
            theirs.append(time.perf_counter() - begin)

    rows = 10_000
    generator = np.random.default_rng(0)
    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}, {rows} rows")
    print(f"PyTorch eager           {rows / np.median(theirs):7.0f} rows/s")
    for name, times in ((f"bayesify, batch {arguments.batch}", ours), ("bayesify, own batch", default)):
        ratios = np.array(theirs) / np.array(times)
        draws = np.median(generator.choice(ratios, (2000, len(ratios))), axis=1)
        low, high = np.percentile(draws, (2.5, 97.5))
        print(f"{name:23} {rows / np.median(times):7.0f} rows/s, ratio {np.median(ratios):.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
