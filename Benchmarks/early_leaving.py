#!/usr/bin/env python3
"""What leaving early saves: a run from which half the rows leave at the first exit, against the sum of its stages.

Each stage is also prepared and timed by itself on as many rows as reach it.  A round times one run with
rows leaving and each stage once, in turns; the median over rounds of the run's time over the sum of the
stages' must lie within the limit of one, or the command fails.  A pass of all rows through the whole
network stands beside it.

    python Benchmarks/early_leaving.py --shared FOLDER [--network msdnet] [--batch 128] [--kept 64]
        [--rounds 60] [--limit 0.1] [--threads 2]

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
    parser.add_argument("--network", default="msdnet", choices=networks.NAMES)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--kept", type=int, help="rows that stay; half if absent")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--limit", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    kept = arguments.kept or arguments.batch // 2
    engine = Engine()
    try:
        facts = engine.ask("load", networks.file(arguments.network, arguments.shared, CACHE))
        with tempfile.TemporaryDirectory() as folder:
            inputs = os.path.join(folder, "inputs.h5")
            with h5py.File(inputs, "w") as out:
                out["x"] = np.random.default_rng(1).random((arguments.batch, *facts["inputShape"]), dtype="float32")
            engine.ask("inputs", inputs)
        rows = engine.ask("stages", arguments.batch, kept, arguments.threads)["rows"]
        runs = [lambda: engine.ask("leave", 1, arguments.threads)["seconds"][0],
                lambda: engine.ask("forward", arguments.batch, 1, arguments.threads)["seconds"][0]]
        for number in range(1, len(rows) + 1):
            runs.append(lambda number=number: engine.ask("stage", number, 1, arguments.threads)["seconds"][0])
        for run in runs * 3:  # warm
            run()
        times = np.empty((arguments.rounds, len(runs)))
        for turn in range(arguments.rounds):
            for index in range(len(runs)):
                place = (index + turn) % len(runs)  # nobody always goes first
                times[turn, place] = runs[place]()
    finally:
        engine.close()
    ratios = times[:, 0] / times[:, 2:].sum(axis=1)
    ratio, (low, high) = float(np.median(ratios)), interval(ratios)
    whole = times[:, 0] / times[:, 1]
    milliseconds = 1e3 * np.median(times, axis=0)
    print(f"{networks.title(arguments.network)}, batch {arguments.batch}, {kept} rows stay after the first exit, "
          f"{arguments.threads} threads, {arguments.rounds} rounds")
    for number, count in enumerate(rows):
        print(f"  stage {number + 1} alone, {count:4d} rows: {milliseconds[2 + number]:7.2f} ms")
    print(f"  run with rows leaving: {milliseconds[0]:.2f} ms, {ratio:.3f} [{low:.3f}, {high:.3f}] of the stages' sum")
    print(f"  all rows through the whole network: {milliseconds[1]:.2f} ms; leaving takes {np.median(whole):.3f} of it")
    if not abs(ratio - 1) <= arguments.limit:
        sys.exit(f"The run is not within {arguments.limit:.0%} of the sum of its stages.")


if __name__ == "__main__":
    main()
