#!/usr/bin/env python3
"""What 1,000 warm batches allocate: nothing above 4 KiB but what the caller gets, and no memory that stays.

Compiles allocations.c, which counts the large allocations of the engine's process between two signals that
are sent from here, and fails when there is one that is no result, or when resident memory grew by more than the limit.

    python Benchmarks/allocations_when_warm.py --shared FOLDER [--networks resnet20,msdnet] [--batches 1,128]
        [--repeats 1000] [--warm 100] [--growth 524288] [--threads 2]

FOLDER holds checkpoints/ as in BAYESIFY_SHARED.  Build first by
    swift build -c release --package-path Benchmarks
Needs a C compiler.
"""
import argparse
import collections
import os
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

import networks
from engine_against_peers import CACHE, FOLDER, Engine

LIMIT = 4096
# What an array of numbers has beside its elements, and how far its size is rounded up.
HEADER = 32
ROUNDING = 64


def toggle(engine, report, is_done):
    """Starts or ends the count, and waits until the process has seen to it."""
    engine.process.send_signal(signal.SIGUSR1)
    for _ in range(1000):
        time.sleep(0.01)
        if os.path.exists(report):
            with open(report) as file:
                text = file.read()
            if is_done(text):
                return text
    sys.exit("The engine's process does not answer the signal.")


def counted(engine, report, run):
    """What `run` gives, the large allocations of each size meanwhile, and the call stack of the first of each."""
    if os.path.exists(report):
        os.remove(report)
    toggle(engine, report, lambda text: text == "")
    result = run()
    text = toggle(engine, report, lambda text: text.endswith("end\n"))
    counts, stacks, size = {}, {}, None
    for line in text.splitlines()[:-1]:
        words = line.split()
        if len(words) == 2 and all(word.isdigit() for word in words):
            size = int(words[0])
            counts[size], stacks[size] = int(words[1]), []
        else:
            stacks[size].append(line.strip())
    return result, counts, stacks


def unexplained(counts, results, repeats):
    """What is left of the allocations when every result of every batch is taken away."""
    left = collections.Counter(counts)
    for bytes in results:
        if bytes + HEADER <= LIMIT:
            continue
        size = next((s for s in sorted(left) if bytes <= s <= bytes + HEADER + ROUNDING and left[s] > 0), None)
        if size is not None:
            left[size] -= min(left[size], repeats)
    return {size: count for size, count in left.items() if count > 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--networks", type=lambda text: text.split(","), default=["resnet20", "msdnet"])
    parser.add_argument("--batches", type=lambda text: [int(b) for b in text.split(",")], default=[1, 128])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--warm", type=int, default=100)
    parser.add_argument("--growth", type=int, default=524_288, help="bytes by which resident memory may grow")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        library, report = os.path.join(folder, "allocations.so"), os.path.join(folder, "allocations.txt")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, os.path.join(FOLDER, "allocations.c")],
                       check=True)
        for name in arguments.networks:
            engine = Engine({"LD_PRELOAD": library, "ALLOCATIONS": report})
            try:
                facts = engine.ask("load", networks.file(name, arguments.shared, CACHE))
                inputs = os.path.join(folder, "inputs.h5")
                for batch in arguments.batches:
                    with h5py.File(inputs, "w") as out:
                        out["x"] = np.random.default_rng(1).random((batch, *facts["inputShape"]), dtype="float32")
                    engine.ask("inputs", inputs)
                    # The first passes find memory for every thread.
                    engine.ask("repeat", batch, arguments.warm, arguments.threads)
                    before = engine.memory("VmRSS")
                    answer, counts, stacks = counted(
                        engine, report, lambda: engine.ask("repeat", batch, arguments.repeats, arguments.threads))
                    growth, results = engine.memory("VmRSS") - before, answer["bytes"]
                    left = unexplained(counts, results, arguments.repeats)
                    large = sum(bytes + HEADER > LIMIT for bytes in results)
                    print(f"{networks.title(name)}, batch {batch}, {arguments.threads} threads, "
                          f"{arguments.repeats} batches: {sum(counts.values())} allocations above {LIMIT} bytes, "
                          f"{large * arguments.repeats} large results; resident {before / 2**20:.1f} MiB, "
                          f"{growth / 1024:+.0f} KiB", flush=True)
                    for size, count in left.items():
                        print(f"  {count} of {size} bytes that are no result, the first from")
                        print("\n".join("    " + line for line in stacks[size]))
                    if left or sum(counts.values()) > large * arguments.repeats:
                        failures.append(f"{name} at batch {batch} allocates")
                    if growth > arguments.growth:
                        failures.append(f"{name} at batch {batch} grows")
            finally:
                engine.close()
    if failures:
        sys.exit("; ".join(failures))


if __name__ == "__main__":
    main()
