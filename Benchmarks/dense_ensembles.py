#!/usr/bin/env python3
"""What predictions of an ensemble of scaled layers cost on DeepLabV3+ with a ResNet-50, and how much memory they take.

    prediction  a batch of images through the posterior down to mean probabilities at every pixel, against the sum of what
                its parts take by themselves: what all members share once, and what lies behind, down to the probabilities of
                one network, as often as there are members
    memory      the largest resident set of `bayesify predict` with the posterior, over that with the network alone, on the
                same images

Parts and whole are timed in turns in one process; the ratio is the median over repetitions with its bootstrap 95 %
interval.  The command fails above --most (1.05) or --most-memory (1.5).

    python Benchmarks/dense_ensembles.py [--size 256] [--rows 4] [--members 4] [--repeats 7] [--threads 2] [--command FILE]

Weights are random and members scale nothing: neither matters for speed.  ASPP, decoder and classifier have members.  Build
first by
    make release; swift build -c release --package-path Benchmarks
Needs Keras with a backend, numpy and h5py, and 3 GB of memory.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

from engine_against_peers import Engine, interval

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYERS = "aspp_1,aspp_6,aspp_12,aspp_18,aspp_pool,aspp_join,decoder_low,decoder_1,decoder_2,classifier"


def largest_resident(command):
    """Kilobytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit("failed: " + " ".join(command))
    return usage.ru_maxrss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--command", default=os.path.join(PROJECT, ".build/release/bayesify"))
    parser.add_argument("--most", type=float, default=1.05)
    parser.add_argument("--most-memory", type=float, default=1.5, dest="mostMemory")
    arguments = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        network, images, posterior, output = (
            os.path.join(folder, name) for name in ("network.h5", "images.h5", "posterior.h5", "output.h5"))
        script = os.path.join(PROJECT, "Models", "deeplabv3plus", "make_checkpoint.py")
        subprocess.run([sys.executable, script, "-o", network, "--size", str(arguments.size)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        random = np.random.default_rng(1)
        shape = (arguments.rows, arguments.size, arguments.size)
        with h5py.File(images, "w") as file:
            file["x"] = random.integers(0, 256, (*shape, 3), dtype="uint8").astype("float32")
            file["y"] = random.integers(0, 19, shape, dtype="uint8")
        quiet = ["--quiet", "--force", "--threads", str(arguments.threads)]
        subprocess.run([arguments.command, "fit", "latent", network, "--data", images, "--rows", "0:1", "--control", "identity",
                        "--members", str(arguments.members), "--layers", LAYERS, "-o", posterior, *quiet], check=True,
                       stdout=subprocess.DEVNULL)
        engine = Engine()
        try:
            engine.ask("load", network)
            engine.ask("inputs", images)
            times = engine.ask("ensemble", posterior, arguments.rows, arguments.threads, arguments.repeats)
        finally:
            engine.close()
        whole, plain = np.array(times["prediction"]), np.array(times["plain"])
        parts = np.array(times["prefix"]) + times["networks"] * np.array(times["suffix"])
        ratio, (low, high) = float(np.median(whole / parts)), interval(whole / parts)
        print("%d images of %d x %d, %d members, %d threads: network alone %.2f s, shared part %.2f s, one member's %.2f s, "
              "prediction %.2f s" % (arguments.rows, arguments.size, arguments.size, times["networks"], arguments.threads,
                                     np.median(plain), np.median(times["prefix"]), np.median(times["suffix"]),
                                     np.median(whole)))
        print("prediction over its parts: %.3f [%.3f, %.3f]" % (ratio, low, high))
        if ratio > arguments.most:
            failed.append("%.3f times its parts" % ratio)
        memories = [largest_resident([arguments.command, "predict", model, "--data", images + ":x", "-o", output, *quiet])
                    for model in (network, posterior)]
        print("memory: %.0f MB with the network alone, %.0f MB with the posterior, %.2f times" % (
            memories[0] / 1024, memories[1] / 1024, memories[1] / memories[0]))
        if memories[1] > arguments.mostMemory * memories[0]:
            failed.append("%.2f times the memory" % (memories[1] / memories[0]))
    if failed:
        sys.exit("More than allowed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
