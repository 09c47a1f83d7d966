#!/usr/bin/env python3
"""How often `exits tune --risk R --delta D` breaks its promise: calibration sets are drawn from a population of exit
records, and each policy's risk is measured on all of it.

    python Scripts/check-risk-bound.py --records VALIDATION.h5 TEST.h5 --risk 0.16 [--delta 0.1] [--sets 200] [--rows 2000]
        [--seed 0] [--bayesify .build/release/bayesify]

Records are those that `bayesify extract` wrote of one network.  Rows are drawn with replacement.  Who leaves where is
computed here from the logits and the policy's thresholds, apart from the program's own routing.  The command fails where
more than a share D of the sets, and three standard errors, end above R.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", nargs="+", required=True)
    parser.add_argument("--risk", type=float, required=True)
    parser.add_argument("--delta", type=float, default=0.1)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bayesify", default=".build/release/bayesify")
    arguments = parser.parse_args()
    files = [h5py.File(name, "r") for name in arguments.records]
    count = len(files[0]["exits"])
    logits = [np.concatenate([f[f"exits/{k}/logits"][:] for f in files]).astype(float) for k in range(count)]
    labels = np.concatenate([f["labels"][:] for f in files])
    odds, right = zip(*(readiness(each, labels) for each in logits))
    generator = np.random.default_rng(arguments.seed)
    exceeded, refused, risks, shares = 0, 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        drawn, policy = os.path.join(folder, "drawn.h5"), os.path.join(folder, "policy.json")
        for _ in range(arguments.sets):
            rows = generator.integers(0, len(labels), arguments.rows)
            write(drawn, files[0], [each[rows] for each in logits], labels[rows])
            run = subprocess.run(
                [arguments.bayesify, "exits", "tune", drawn, "--risk", str(arguments.risk), "--delta",
                 str(arguments.delta), "-o", policy, "--force", "--quiet"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if run.returncode == 65 and "No thresholds keep" in run.stderr:
                # Nothing is promised, so that nothing is broken.
                refused += 1
                continue
            if run.returncode != 0:
                sys.exit(run.stderr)
            with open(policy) as file:
                chosen = json.load(file)["policy"]
            costs = np.array(chosen["costs"]["toExit"])
            exits = np.full(len(labels), count - 1)
            for exit in reversed(range(count - 1)):
                threshold = chosen["choice"]["thresholds"][exit]
                if threshold is not None:
                    exits[odds[exit] >= float(threshold["score"])] = exit
            correct = np.choose(exits, right)
            risks.append(1 - correct.mean())
            shares.append(costs[exits].mean() / costs[-1])
            exceeded += risks[-1] > arguments.risk
    limit = arguments.delta + 3 * (arguments.delta * (1 - arguments.delta) / arguments.sets) ** 0.5
    print(
        f"{exceeded} of {arguments.sets} sets of {arguments.rows} rows end above a risk of {arguments.risk}; "
        f"{arguments.delta * arguments.sets:.0f} may, {limit * arguments.sets:.0f} with three standard errors; {refused} sets "
        "had no thresholds that keep it, and got none.")
    print(
        f"population {len(labels)} rows, the last exit wrong in {1 - right[-1].mean():.4f}; risks {min(risks):.4f} to "
        f"{max(risks):.4f}, mean {np.mean(risks):.4f}; mean cost {np.mean(shares):.3f} of the whole network's")
    sys.exit(int(exceeded > limit * arguments.sets))


def readiness(logits, labels):
    """The log-odds of the most probable class, and whether it is the label."""
    top = logits.argmax(axis=1)
    rest = np.where(np.arange(logits.shape[1]) == top[:, None], -np.inf, logits)
    high = rest.max(axis=1, keepdims=True)
    sum_of_rest = high[:, 0] + np.log(np.exp(rest - high).sum(axis=1))
    return logits.max(axis=1) - sum_of_rest, top == labels


def write(name, like, logits, labels):
    """Exit records of chosen rows, with what the first file says of its network."""
    with h5py.File(name, "w") as file:
        for key, value in like.attrs.items():
            file.attrs[key] = value
        for exit, rows in enumerate(logits):
            group = file.create_group(f"exits/{exit}")
            for key, value in like[f"exits/{exit}"].attrs.items():
                group.attrs[key] = value
            group["logits"] = rows.astype(np.float32)
        file["labels"] = labels


if __name__ == "__main__":
    main()
