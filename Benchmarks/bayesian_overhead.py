#!/usr/bin/env python3
"""What a posterior costs: predictions of ResNet-20 with last-layer Laplace against those of the network alone.

Both go from stored rows to mean probabilities, in turns, in one process; the median over pairs of Bayesian over
plain time must not exceed one by more than the limit, or the command fails.

    python Benchmarks/bayesian_overhead.py --shared FOLDER [--network resnet20] [--batch 128] [--pairs 50]
        [--predictives probit,whitened] [--draws 50] [--limit 0.03] [--threads 2]

FOLDER holds checkpoints/ as in BAYESIFY_SHARED.  Build first by
    swift build -c release --package-path Benchmarks
"""
import argparse
import os
import sys
import tempfile

import h5py
import numpy as np

import networks
from engine_against_peers import CACHE, Engine, interval


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--network", default="resnet20", choices=networks.NAMES)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--predictives", type=lambda text: text.split(","), default=["probit", "whitened"])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--limit", type=float, default=0.03)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    engine = Engine()
    failed = []
    try:
        facts = engine.ask("load", networks.file(arguments.network, arguments.shared, CACHE))
        with tempfile.TemporaryDirectory() as folder:
            inputs = os.path.join(folder, "inputs.h5")
            with h5py.File(inputs, "w") as out:
                out["x"] = np.random.default_rng(1).random((arguments.batch, *facts["inputShape"]), dtype="float32")
            engine.ask("inputs", inputs)
        print(f"{networks.title(arguments.network)}, batch {arguments.batch}, {arguments.threads} threads, "
              f"{arguments.pairs} pairs")
        for predictive in arguments.predictives:
            times = engine.ask(
                "overhead", predictive, arguments.draws, arguments.batch, arguments.threads, arguments.pairs)
            ratios = np.array(times["bayesian"]) / np.array(times["plain"])
            ratio, (low, high) = float(np.median(ratios)), interval(ratios)
            draws = f", {arguments.draws} draws" if predictive == "whitened" else ""
            print(f"  {predictive}{draws}: plain {1e3 * np.median(times['plain']):.2f} ms, Bayesian over plain "
                  f"{ratio:.3f} [{low:.3f}, {high:.3f}]")
            if ratio > 1 + arguments.limit:
                failed.append(predictive)
    finally:
        engine.close()
    if failed:
        sys.exit(f"More than {arguments.limit:.0%} over plain predictions: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
