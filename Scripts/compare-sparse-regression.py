#!/usr/bin/env python3
"""Measures which features EM-MCMC keeps of sparse problems; prints Markdown tables.

    python Scripts/compare-sparse-regression.py --out FOLDER [--problems regression-1000,regression-2000,classes-1000]
        [--modes as-released,tempered,descent] [--seeds 0,1,2] [--epochs 600] [--bayesify .build/release/bayesify]

Problems and networks are those of Scripts/sparse_regression.py: 10,240 training rows, 1,024 test rows, of 1,000 or 2,000
features 5 or 4 of which matter, and small networks that were never trained. Every mode runs --epochs epochs in 6 cycles:

    as-released  EM-MCMC as its authors released it, with their thresholds and penalties
    tempered     at the posterior's temperature, by running means of responsibilities
    descent      the control: neither noise nor preconditioner, the same thresholds and penalties

Printed are the features kept and how many of them matter, the share of weights removed, the mean squared error or the
accuracy of the mean prediction on test rows, and the seconds of the fit. Needs Python 3.10, NumPy and h5py.
"""
import argparse
import os
import subprocess
import sys
import time

import h5py
import numpy as np

from comparison import ROOT, table
from sparse_regression import PROBLEMS, classes, kept, write_data, write_network

CYCLES = 6
# Penalties and thresholds as released; of the mean squared error, which is the likelihood of a deviation of a root of a half.
THRESHOLDS = ["--select", "thresholds", "--soft", "0.01", "--hard", "0.001", "--slab", "2e-4", "--spike", "0.01",
              "--remove-at-any-epoch"]
MODES = {
    "as-released": ["--sampler", "as-released", "--noise-level", "0.009882117688", *THRESHOLDS],
    "descent": ["--sampler", "descent", *THRESHOLDS],
    "tempered": ["--sampler", "tempered", "--select", "responsibilities", "--slab", "2e-4", "--spike", "0.01", "--inclusion",
                 "0.1"],
}


def options(problem, mode, epochs):
    isClasses = PROBLEMS[problem][2] is classes
    found = [*MODES[mode], "--cycles", str(CYCLES), "--cycle-epochs", str(max(1, epochs // CYCLES)), "--batch-rows", "1024",
             "--warm-up", str(min(50, epochs // 12)), "--remove-ends", "--dense-groups", "inputs",
             # Descent has no deviations of a half by which steps are multiplied.
             "--learning-rate", str((0.1 if isClasses else 0.01) * (0.5 if mode == "descent" else 1))]
    if isClasses:
        return found
    return found + ["--likelihood", "gaussian", "--noise", "1" if mode == "tempered" else "0.70710678"]


def measure(problem, mode, seed, arguments):
    files = {name: os.path.join(arguments.out, "%s-%d-%s.h5" % (problem, seed, name))
             for name in ("training", "test", "network", mode, mode + "-predictions")}
    write_data(problem, seed, files["training"], files["test"])
    write_network(problem, seed, files["network"])

    def run(*words):
        done = subprocess.run([arguments.bayesify, *words, "--quiet", "--force"], capture_output=True, text=True)
        if done.returncode:
            sys.exit("bayesify %s\n%s" % (" ".join(words), done.stderr.strip()))
    begun = time.monotonic()
    run("fit", "spike-slab", files["network"], "--data", files["training"], *options(problem, mode, arguments.epochs),
        "--seed", str(seed), "-o", files[mode])
    seconds = time.monotonic() - begun
    run("predict", files[mode], "--data", files["test"], "-o", files[mode + "-predictions"])
    with h5py.File(files[mode + "-predictions"]) as found, h5py.File(files["test"]) as test:
        exit, targets = found["exits/0"], test["y"][()]
        error = (100 * float(np.mean(exit["probabilities"][()].argmax(1) == targets)) if PROBLEMS[problem][2] is classes
                 else float(np.mean((exit["mean"][:, 0] - targets) ** 2)))
    features, sparsity = kept(files[mode])
    for name in ("training", "test", mode + "-predictions"):
        os.remove(files[name])
    return features, sparsity, error, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=os.path.abspath)
    parser.add_argument("--problems", default=",".join(PROBLEMS), type=lambda text: text.split(","))
    parser.add_argument("--modes", default=",".join(MODES), type=lambda text: text.split(","))
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    arguments = parser.parse_args()
    for word, known in [(name, PROBLEMS) for name in arguments.problems] + [(name, MODES) for name in arguments.modes]:
        if word not in known:
            parser.error("there is no '%s'; choose among %s" % (word, ", ".join(known)))
    os.makedirs(arguments.out, exist_ok=True)
    for problem in arguments.problems:
        features, relevant, targets, _ = PROBLEMS[problem]
        rows = []
        for mode in arguments.modes:
            for seed in arguments.seeds:
                found, sparsity, error, seconds = measure(problem, mode, seed, arguments)
                rows.append([mode, "%d" % seed, "%d" % len(found), "%d of %d" % (int((found < relevant).sum()), relevant),
                             "%.4f" % sparsity, "%.3f" % error, "%.0f" % seconds])
                print("%s, %s, seed %d: %d features, %.3f" % (problem, mode, seed, len(found), error), file=sys.stderr)
        print("%s, %d features, %d epochs\n" % (problem, features, arguments.epochs))
        measure_name = "accuracy %" if targets is classes else "mean squared error"
        print("\n".join(table(["mode", "seed", "features kept", "of those that matter", "weights removed", measure_name, "s"], rows)))


if __name__ == "__main__":
    main()
