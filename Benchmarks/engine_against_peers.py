#!/usr/bin/env python3
"""The native engine against PyTorch, ONNX Runtime and OpenVINO on the same networks.

Every cell alternates one sample of ours with one of a peer, two threads each, and prints the medians
of both and the ratio peer / ours: above one, ours is faster.  The interval is the bootstrap's 95 % for
the median of the paired ratios.  All sides take f32 rows that are already in memory and hand over the
logits of every exit in memory of their own; before a cell is timed its outputs are compared.

    python Benchmarks/engine_against_peers.py --shared FOLDER [--networks resnet20,mobilenet]
        [--batches 1,32] [--pairs 30] [--peers eager,openvino] [--limit 120] [--threads 2]
        [--clock wall] [--json out.json] [--training]

On a machine that others use, --threads 1 --clock cpu compares processor time instead of time on the
wall: the work of one thread, without what waiting and handing over to a second thread cost.

FOLDER holds checkpoints/ as in BAYESIFY_SHARED; without it the networks that need no checkpoint run.
The engine is built first by
    swift build -c release --package-path Benchmarks
Needs torch, keras, h5py, onnx, onnxscript, onnxruntime, openvino from PyPI.
"""
import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
import torch

import networks
import peers

FOLDER = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.path.join(FOLDER, ".build", "release", "engine-benchmark")
CACHE = os.path.join(FOLDER, ".build", "networks")
TOLERANCE = 1e-3
# Threads of a peer that wait without sleeping do so for a few milliseconds at most.
REST = 0.01
# A sample lasts at least this long; shorter calls are repeated and their median is the sample.
SHORTEST = 0.005
PRODUCT = 2048


class Engine:
    """Ours, in a process that answers one line with one line."""

    title = "bayesify"

    def __init__(self, environment=None):
        if not os.path.exists(ENGINE):
            sys.exit(f"{ENGINE} is missing; run: swift build -c release --package-path Benchmarks")
        self.process = subprocess.Popen(
            [ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine ended at '{' '.join(map(str, words))}'")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def cpu_seconds(self):
        """What all threads of the process have used so far; Linux numbers the clocks of others so."""
        return time.clock_gettime((~self.process.pid) << 3 | 2)

    def memory(self, field):
        """Bytes that the kernel counts for the process: VmRSS now, VmHWM at most."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(1024 * int(line.split()[1]) for line in status if line.startswith(field + ":"))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class ForwardMode:
    """Passes of one network: how each side gets ready, is compared and is timed."""

    def __init__(self, engine, folder, clock):
        self.engine, self.folder, self.clock = engine, folder, clock

    def load(self, path, slice_rows, rows):
        """Loads a network on our side, and as many rows of input as its largest batch has; gives its facts."""
        facts = self.engine.ask("load", path, *([slice_rows] if slice_rows else []))
        self.path, self.shape, self.exits = path, facts["inputShape"], facts["exits"]
        self.rows = np.random.default_rng(1).random((rows, *self.shape), dtype="float32")
        self.inputs = os.path.join(self.folder, "inputs.h5")
        with h5py.File(self.inputs, "w") as out:
            out["x"] = self.rows
        self.engine.ask("inputs", self.inputs)
        return facts

    def ready(self, batch, names):
        """The peers ready for a batch, by name; an error message stands for one that cannot run."""
        self.batch, sides = batch, {}
        for name in names:
            try:
                side = peers.PEERS[name](self.path, CACHE, batch)
                side.ready(self.rows[:batch])
                sides[name] = side
            except Exception as error:  # a peer that refuses a network is a result
                sides[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return sides

    def differences(self, sides):
        """The largest difference of each peer's outputs from ours, relative to the largest output."""
        file = os.path.join(self.folder, "outputs.h5")
        self.engine.ask("outputs", self.batch, peers.THREADS, file)
        with h5py.File(file) as data:
            ours = {exit: data[f"outputs/{index}"][()] for index, exit in enumerate(self.exits)}
        # Ours are sorted by cost, theirs as in the file.
        names = peers.KerasFile(self.path).outputs
        return {
            name: max(relative(ours[exit], y.reshape(ours[exit].shape)) for exit, y in zip(names, side.outputs()))
            for name, side in sides.items()}

    def time_ours(self, repeats):
        ask = lambda: self.engine.ask("forward", self.batch, repeats, peers.THREADS)["seconds"]
        return ask() if self.clock == "wall" else self.mean(self.engine.cpu_seconds, ask, repeats)

    def time_peer(self, side, repeats):
        if self.clock == "wall":
            return peers.seconds(side, repeats)
        return self.mean(time.process_time, lambda: [side() for _ in range(repeats)], repeats)

    @staticmethod
    def mean(clock, run, repeats):
        begin = clock()
        run()
        return [(clock() - begin) / repeats] * repeats


def training(engine, mode, name, batch, facts, arguments, best):
    """Training steps of one network: over all weights against PyTorch eager, and of fewer against all."""
    peer = peers.EagerTraining(mode.path, CACHE, batch)
    peer.ready(mode.rows[:batch])
    loss, norm = peer.facts()
    gradients = engine.ask("train", "all", batch, peers.THREADS)
    differences = abs(gradients["loss"] / loss - 1), abs(gradients["norm"] / norm - 1)

    def alternate(ours, theirs):
        pairs, begin = [], time.perf_counter()
        while len(pairs) < arguments.pairs and (len(pairs) < 3 or time.perf_counter() - begin < arguments.limit):
            order = (ours, theirs) if len(pairs) % 2 == 0 else (theirs, ours)
            taken = {}
            for run in order:
                time.sleep(REST)
                taken[run] = run()
            pairs.append((taken[ours], taken[theirs]))
        return np.array(pairs).T

    # The optimizer's memory is there after the first steps.
    engine.ask("step", 2, peers.THREADS)
    peers.seconds(peer, 2)
    ours, theirs = alternate(
        lambda: engine.ask("step", 1, peers.THREADS)["seconds"][0], lambda: peers.seconds(peer, 1)[0])
    best[:] = map(max, best, peak(engine))
    # The way back does twice the work of the way forward: for cotangents, and for gradients of weights.
    row = {"network": name, "batch": batch, "ours": float(np.median(ours)), "eager": float(np.median(theirs)),
           "gigaflop": 6e-9 * facts["multiplyAdds"] * batch, "differences": differences, "ratio": float(np.median(theirs / ours)), "interval": interval(theirs / ours)}
    # Parts of a step run in a process of their own, beside one that does all.
    other = Engine()
    try:
        other.ask("load", mode.path, *([arguments.slice] if arguments.slice else []))
        other.ask("inputs", mode.inputs)
        for scope in ("first", "last"):
            other.ask("train", scope, batch, peers.THREADS)
            other.ask("step", 2, peers.THREADS)
            part, whole = alternate(
                lambda: other.ask("step", 1, peers.THREADS)["seconds"][0],
                lambda: engine.ask("step", 1, peers.THREADS)["seconds"][0])
            row[scope] = {"ratio": float(np.median(part / whole)), "interval": interval(part / whole)}
    finally:
        other.close()
    return row


def report_training(rows, titles, best):
    print("| network | batch | bayesify ms (share of peak) | PyTorch eager ms | ratio | loss, gradient norm differ by "
          "| first layer only / all | last third from cache / all |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        spread = lambda cell: f"**{cell['ratio']:.2f}** [{cell['interval'][0]:.2f}, {cell['interval'][1]:.2f}]"
        print(f"| {titles[row['network']]} | {row['batch']} | {1e3 * row['ours']:.3g} "
              f"({1e9 * row['gigaflop'] / row['ours'] / best[1]:.0%}) | {1e3 * row['eager']:.3g} "
              f"| {spread(row)} | {row['differences'][0]:.0e}, {row['differences'][1]:.0e}"
              f"{'' if max(row['differences']) <= TOLERANCE else ' **too much**'} | {spread(row['first'])} "
              f"| {spread(row['last'])} |")


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(a).max())


def sample(run):
    """A function that gives one sample: seconds a call, the median of as many as fill the shortest time."""
    run(1)
    once = run(1)[0]
    repeats = max(1, math.ceil(SHORTEST / once))

    def take():
        time.sleep(REST)
        if repeats > 1:
            # What the other side left in the caches is not part of a short call.
            return float(np.median(run(repeats + 1)[1:]))
        return run(1)[0]
    return take


def peak(engine):
    """Operations a second of large products: alone on one thread, and on as many at once as there are threads."""
    rates = []
    for width in (1, peers.THREADS):
        seconds = engine.ask("product", PRODUCT, 3, width)["seconds"]
        rates.append(2 * PRODUCT ** 3 * width / min(seconds))
    return rates


def interval(ratios):
    generator = np.random.default_rng(0)
    medians = np.median(generator.choice(ratios, (4000, len(ratios))), axis=1)
    return [float(x) for x in np.percentile(medians, (2.5, 97.5))]


def measure(mode, name, batch, facts, arguments, best):
    """One row of the table: a network at a batch, against every peer."""
    sides = mode.ready(batch, arguments.peers)
    cell = {"network": name, "batch": batch, "peers": {},
            "gigaflop": 2e-9 * facts["multiplyAdds"] * batch}
    running = {}
    for peer, side in sides.items():
        if isinstance(side, str):
            cell["peers"][peer] = {"error": side}
        else:
            running[peer] = side
    for peer, difference in mode.differences(running).items():
        cell["peers"][peer] = {"difference": difference, "agrees": difference <= TOLERANCE}
    best[:] = [max(pair) for pair in zip(best, peak(mode.engine))]

    ours = sample(mode.time_ours)
    theirs = {peer: sample(lambda n, side=side: mode.time_peer(side, n)) for peer, side in running.items()}
    times = {peer: ([], []) for peer in theirs}
    pairs, begin = 0, time.perf_counter()
    # A slow cell gets fewer pairs, but some.
    while pairs < arguments.pairs and (pairs < 3 or time.perf_counter() - begin < arguments.limit):
        turn, pairs = pairs, pairs + 1
        for peer, take in theirs.items():
            # Neither side always goes first.
            order = ((0, ours), (1, take)) if turn % 2 == 0 else ((1, take), (0, ours))
            for index, run in order:
                times[peer][index].append(run())
    alone = [] if theirs else [ours() for _ in range(arguments.pairs)]
    cell.update(pairs=pairs, load=os.getloadavg()[0],
                ours=float(np.median(alone + [t for a, _ in times.values() for t in a])))
    for peer, (a, b) in times.items():
        ratios = np.array(b) / np.array(a)
        cell["peers"][peer].update(
            median=float(np.median(b)), ratio=float(np.median(ratios)), interval=interval(ratios),
            ours=a, theirs=b)
    return cell


def machine():
    with open("/proc/cpuinfo") as info:
        lines = info.read().splitlines()
    find = lambda key: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")
    flags = [f for f in find("flags").split() if f.startswith(("avx", "fma", "f16c", "amx", "sse4_2"))]
    packages = ("torch", "onnxruntime", "openvino", "onnx", "keras", "numpy")
    return {
        "cpu": find("model name"), "cores": os.cpu_count(), "flags": flags, "system": platform.platform(),
        "python": platform.python_version(), "versions": {p: version(p) for p in packages},
        "load": os.getloadavg(), "threads": peers.THREADS,
    }


def report(cells, titles, best, names, asked):
    """The table in Markdown."""
    share = lambda cell, seconds: cell["gigaflop"] / seconds / (best[1] / 1e9)
    print("| network | batch | GFLOP | bayesify ms | of peak | "
          + " | ".join(f"{peers.PEERS[p].title} ms (of peak), ratio" for p in names) + " |")
    print("|---|--:|--:|--:|--:|" + "--:|" * len(names))
    for cell in cells:
        few = "" if cell["pairs"] in (0, asked) else f" ({cell['pairs']} pairs)"
        row = [titles[cell["network"]] + few, f"{cell['batch']}", f"{cell['gigaflop']:.3g}",
               f"{1e3 * cell['ours']:.3g}", f"{share(cell, cell['ours']):.0%}"]
        for name in names:
            peer = cell["peers"][name]
            if "error" in peer:
                row.append(peer["error"].replace("|", "/")[:60])
                continue
            low, high = peer["interval"]
            text = (f"{1e3 * peer['median']:.3g} ({share(cell, peer['median']):.0%}), "
                    f"**{peer['ratio']:.2f}** [{low:.2f}, {high:.2f}]")
            row.append(text if peer["agrees"] else f"outputs differ by {peer['difference']:.1e}; {text}")
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--networks", type=listed, default=networks.NAMES, help=",".join(networks.NAMES))
    parser.add_argument("--batches", type=lambda text: [int(b) for b in text.split(",")],
                        help="in place of each network's own")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--limit", type=float, default=120,
                        help="seconds after which a cell stops early, though not before its third pair")
    parser.add_argument("--peers", type=listed, default=list(peers.PEERS), help=",".join(peers.PEERS))
    parser.add_argument("--training", action="store_true", help="training steps in place of passes")
    parser.add_argument("--threads", type=int, default=peers.THREADS)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: seconds of processor time; with one thread, fair on a machine that others use too")
    parser.add_argument("--json", help="where all samples go")
    parser.add_argument("--slice", type=int, help="rows that one of our threads runs at once; its own choice if absent")
    arguments = parser.parse_args()
    if arguments.training and arguments.clock != "wall":
        parser.error("training steps are timed on the wall; leave --clock out")
    for given, known in ((arguments.networks, networks.NAMES), (arguments.peers, list(peers.PEERS))):
        for name in given:
            if name not in known:
                parser.error(f"'{name}' is none of {', '.join(known)}")

    peers.THREADS = arguments.threads
    torch.set_num_threads(peers.THREADS)
    description = machine()
    engine, cells, best = Engine(), [], [0.0, 0.0]
    titles = {name: networks.title(name) for name in networks.NAMES}
    try:
        with tempfile.TemporaryDirectory() as folder:
            mode = ForwardMode(engine, folder, arguments.clock)
            for name in arguments.networks:
                path = networks.file(name, arguments.shared, CACHE)
                if path is None:
                    print(f"{titles[name]} left out: its checkpoint is not in '{arguments.shared}/checkpoints'.")
                    continue
                batches = arguments.batches or networks.BATCHES[name]
                facts = mode.load(path, arguments.slice, max(batches))
                for batch in batches:
                    begin = time.perf_counter()
                    if arguments.training:
                        cells.append(training(engine, mode, name, batch, facts, arguments, best))
                    else:
                        cells.append(measure(mode, name, batch, facts, arguments, best))
                    if arguments.json:  # after each cell, for what is done is not lost with what fails
                        with open(arguments.json, "w") as out:
                            json.dump({"machine": description, "peak": best, "cells": cells}, out, indent=1)
                    print(f"{titles[name]}, batch {batch}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    finally:
        engine.close()

    print(f"{description['cpu']}, {description['cores']} cores, {' '.join(description['flags'])}; "
          f"{description['system']}")
    print(", ".join(f"{name} {number}" for name, number in description["versions"].items()))
    print(f"Threads each: {peers.THREADS}; {arguments.clock} seconds; {arguments.pairs} pairs; load {description['load'][0]:.1f} at the start, "
          f"{os.getloadavg()[0]:.1f} at the end. OpenVINO: LATENCY, f32. ONNX Runtime: no spinning. "
          "torch.compile: inductor, frozen weights.")
    print(f"Peak: oneDNN products of {PRODUCT} x {PRODUCT} in f32, {best[0] / 1e9:.0f} GFLOP/s alone, {best[1] / 1e9:.0f} "
          f"GFLOP/s as the sum over {peers.THREADS} thread(s) at once, wall time; shares refer to the latter, a network's "
          "GFLOP being twice its multiply-adds.\n")
    if arguments.training:
        report_training(cells, titles, best)
    else:
        report(cells, titles, best, arguments.peers, arguments.pairs)


if __name__ == "__main__":
    main()
