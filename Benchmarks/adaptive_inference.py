#!/usr/bin/env python3
"""What leaving early by a policy saves: adaptive inference on MSDNet-small against the whole network.

A policy by maximum probability is tuned on validation rows for a mean time of half the whole network's, both measured
in the same process (--of stages: of half of what all stages take, heads of earlier exits and scores included, which a
network without exits does not compute).  Then each round runs all batches in four ways, in turns:

    whole       the network to its last exit, prepared for that exit's logits alone, as one without exits is run
    stages      all stages one after the other, every row through all of them
    scored      the same with predictions and scores at every exit, and thresholds that nobody meets
    adaptive    rows leave by the policy

The median over rounds of the time of `whole` over that of `adaptive` must reach --least, or the command fails;
`scored` over `stages` is what the policy itself costs.  Single rows are timed one at a time at the exits they leave
at, each beside the whole network on the same row.  A posterior that `bayesify fit laplace` fitted to the
checkpoint's last layers is measured too, where --posterior names one: there the scores are of its predictions.

    python Benchmarks/adaptive_inference.py --shared FOLDER [--checkpoint FILE] [--posterior FILE] [--batch 128]
        [--batches 20] [--rounds 15] [--singles 200] [--percent 50] [--of whole|stages] [--rows 2000] [--least 1.8] [--threads 2]

FOLDER holds checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by
    swift build -c release --package-path Benchmarks
"""
import argparse
import os
import sys

import numpy as np

import networks
from engine_against_peers import CACHE, Engine, interval

# As the network was trained.
PREPROCESSING = "255", "0.4914,0.4824,0.4467", "0.2471,0.2435,0.2616"


def ratio(values):
    low, high = interval(values)
    return f"{np.median(values):.3f} [{low:.3f}, {high:.3f}]"


def measure(engine, arguments, title, posterior=None):
    data = os.path.join(arguments.shared, "data")
    tuned = engine.ask(
        "policy", arguments.checkpoint, os.path.join(data, "cifar10-validation-5k.h5"), arguments.rows, arguments.batch,
        arguments.percent, arguments.of, arguments.threads, *([posterior] if posterior else []))
    engine.ask("batches", os.path.join(data, "cifar10-test.h5"), arguments.batches, arguments.batch)
    rounds = engine.ask("rounds", arguments.rounds)
    single = engine.ask("single", arguments.singles)
    rows = rounds["rows"]
    seconds = {way: np.array(rounds[way]["wall"]) for way in ("whole", "staged", "everybody", "adaptive")}
    processor = {way: np.array(rounds[way]["processor"]) for way in seconds}
    gain = seconds["whole"] / seconds["adaptive"]
    overhead = seconds["everybody"] - seconds["staged"]

    print(f"{title}: {arguments.batches} batches of {arguments.batch} test rows, {arguments.rounds} rounds, "
          f"{arguments.threads} threads")
    print(f"  tuned on {arguments.rows} rows: a row to each exit takes "
          f"{', '.join(f'{cost:.3f}' for cost in tuned['costs'])} ms, the policy's part of each "
          f"{', '.join(f'{1e3 * cost:.1f}' for cost in tuned['policy'])} us")
    print(f"  budget {tuned['budget']:.4f} ms a row (the whole network: {tuned['whole']:.4f}), promised {tuned['promised']:.4f}, got "
          f"{1e3 * np.median(seconds['adaptive']) / rows:.4f}")
    left = np.array(rounds["exits"]) / rows
    print(f"  rows that left at each exit: {', '.join(f'{share:.1%}' for share in left)} "
          f"(tuning: {', '.join(f'{share:.1%}' for share in tuned['shares'])})")
    for way, words in (("whole", "the whole network to its last exit"), ("staged", "all stages, no policy"),
                       ("everybody", "all stages, scored, nobody leaves"), ("adaptive", "rows leave by the policy")):
        median = np.median(seconds[way])
        print(f"  {words + ':':36s}{1e3 * median / arguments.batches:8.2f} ms a batch, {rows / median:7.0f} rows a second")
    print(f"  the policy's own overhead: {1e3 * np.median(overhead) / rows:.5f} ms a row where nobody leaves, "
          f"{ratio(seconds['everybody'] / seconds['staged'])} of the stages' time")
    print(f"  rows leaving against the whole network: {ratio(gain)} times the throughput "
          f"(processor time: {ratio(processor['whole'] / processor['adaptive'])})")
    whole = 1e3 * np.median(single["whole"])
    print(f"  one row at a time: the whole network {whole:.3f} ms")
    for exit, times in enumerate(single["exits"]):
        if times:
            print(f"    leaving at exit {exit}: {1e3 * np.median(times):.3f} ms, "
                  f"{np.median(times) * 1e3 / whole:.2f} of the whole network ({len(times)} rows)")
        else:
            print(f"    leaving at exit {exit}: no row")
    return float(np.median(gain))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--checkpoint", help="MSDNet-small in FOLDER if absent")
    parser.add_argument("--posterior")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--percent", type=int, default=50)
    parser.add_argument("--of", default="whole", choices=["whole", "stages"])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--least", type=float, default=1.8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.checkpoint = arguments.checkpoint or networks.file("msdnet", arguments.shared, CACHE)
    if not arguments.checkpoint:
        sys.exit("There is no checkpoint; name one by --checkpoint, or the folder by --shared.")
    engine = Engine()
    try:
        engine.ask("preprocessing", *PREPROCESSING)
        gains = [measure(engine, arguments, os.path.basename(arguments.checkpoint))]
        if arguments.posterior:
            gains.append(measure(engine, arguments, os.path.basename(arguments.posterior), arguments.posterior))
    finally:
        engine.close()
    # The posterior's predictions are dearer; what is asked for is asked of the network's own.
    if gains[0] < arguments.least:
        sys.exit(f"Rows that leave give {gains[0]:.3f} times the whole network's throughput, less than {arguments.least}.")


if __name__ == "__main__":
    main()
