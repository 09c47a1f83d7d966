#!/usr/bin/env python3
"""Memory of a prepared ResNet-50 at batch 8 against PyTorch's, each in a process of its own, by turns.

`whole` is the largest resident memory of the process (VmHWM) from its start to the last pass: reading the
file, preparing, passes.  `added` leaves out what the process held before it opened the file: for PyTorch
that is Python and its modules.  Ours must stay below PyTorch's in both, or the command fails.  `running` is
what is resident between passes.

    python Benchmarks/memory_against_pytorch.py [--network resnet50] [--batch 8] [--rounds 3] [--passes 5]
        [--threads 2] [--shared FOLDER]

Build first by
    swift build -c release --package-path Benchmarks
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

import networks

FIELDS = ("whole", "added", "running")


def memory(field):
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field + ":"))


def peer(path, inputs, batch, passes, threads):
    """PyTorch's side, run as a process of its own."""
    import torch

    import peers
    torch.set_num_threads(threads)
    before = memory("VmHWM")
    side = peers.Eager(path, None, batch)
    with h5py.File(inputs) as file:
        side.ready(file["x"][:batch])
    for _ in range(passes):
        side()
    print(json.dumps({"whole": memory("VmHWM"), "added": memory("VmHWM") - before, "running": memory("VmRSS")}))


def ours(path, inputs, batch, passes, threads):
    from engine_against_peers import Engine
    engine = Engine()
    try:
        engine.ask("product", 1, 1, 1)
        before = engine.memory("VmHWM")
        engine.ask("load", path)
        loaded = engine.memory("VmHWM")
        engine.ask("inputs", inputs)
        engine.ask("forward", batch, passes, threads)
        whole = engine.memory("VmHWM")
        return {"whole": whole, "added": whole - before, "running": engine.memory("VmRSS"), "loading": loaded}
    finally:
        engine.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--network", default="resnet50", choices=networks.NAMES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", nargs=2, metavar=("NETWORK", "INPUTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = (arguments.batch, arguments.passes, arguments.threads)
    if arguments.peer:
        return peer(*arguments.peer, *settings)
    cache = os.path.join(os.path.dirname(os.path.abspath(__file__)), ".build", "networks")
    path = networks.file(arguments.network, arguments.shared, cache)
    # PyTorch needs the shape of a row to make inputs; it stands in the file.
    from engine_against_peers import Engine
    engine = Engine()
    try:
        shape = engine.ask("load", path)["inputShape"]
    finally:
        engine.close()
    rows = {"ours": [], "PyTorch": []}
    with tempfile.TemporaryDirectory() as folder:
        inputs = os.path.join(folder, "inputs.h5")
        with h5py.File(inputs, "w") as out:
            out["x"] = np.random.default_rng(1).random((arguments.batch, *shape), dtype="float32")
        command = [sys.executable, os.path.abspath(__file__), "--peer", path, inputs, "--batch", str(arguments.batch),
                   "--passes", str(arguments.passes), "--threads", str(arguments.threads)]
        for _ in range(arguments.rounds):
            rows["ours"].append(ours(path, inputs, *settings))
            rows["PyTorch"].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    median = {side: {field: np.median([row[field] for row in taken]) for field in taken[0]}
              for side, taken in rows.items()}
    print(f"{networks.title(arguments.network)}, batch {arguments.batch}, {arguments.threads} threads, "
          f"median of {arguments.rounds}, MiB")
    for side, values in median.items():
        print(f"  {side:8} " + ", ".join(f"{field} {value / 2**20:.0f}" for field, value in values.items()))
    above = [field for field in FIELDS[:2] if median["ours"][field] > median["PyTorch"][field]]
    if above:
        sys.exit(f"Ours needs more: {', '.join(above)}.")


if __name__ == "__main__":
    main()
