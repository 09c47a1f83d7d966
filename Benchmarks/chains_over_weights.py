#!/usr/bin/env python3
"""What a chain over all weights of ResNet-20 / CIFAR-10 costs: an epoch of SGHMC against PyTorch, and a step beside its gradient.

    ours    `bayesify fit spike-slab --sampler hamiltonian` over all layers, the second of two epochs as the command itself
            takes their time, the writing of its state included
    peer    SGHMC in PyTorch eager, in a process of its own: the network in evaluation form, images channels last or channels
            first, whichever is faster, and for every parameter one line each for friction, gradient, noise and step

Both take batches of the same rows, with the same step, temperature and penalty.  The two take an epoch each in every round,
every second round in the opposite order.  The ratio of seconds, peer over ours, is the median of the rounds' with its bootstrap
95 % interval; below --least (1.5) the command fails.  Their losses must agree to 1 %.

Then a step of every sampler over as many weights, its noise included, is divided by the time of a gradient of a batch of 128
rows, from epochs of descent over all weights (`epoch` of the engine's benchmark); above --most (0.03) the command fails.  The
same step is timed by turns over numbers too small to be normal; above --slow (1.5) times the usual one the command fails.

    python Benchmarks/chains_over_weights.py --shared FOLDER [--rows 20000] [--batch 128] [--rounds 5] [--threads 2]
        [--command FILE] [--json out.json]

FOLDER holds checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by
    make release
    swift build -c release --package-path Benchmarks
    python -m pip install torch h5py
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

from first_layer_inference import DEVIATION, MEAN, PROJECT, SCALE, CommandWay, memory, resnet20

SAMPLERS = ("tempered", "as-released", "langevin", "preconditioned-langevin", "hamiltonian", "scale-adapted", "descent")
STEP, FRICTION, PENALTY = 1e-5, 0.1, 1e-3
GRADIENT_BATCH = 128


class Peer:
    """SGHMC over all parameters."""

    def __init__(self, shared, rows, batch, threads):
        import time

        import torch
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.torch, self.batch, self.clock = torch, batch, time.perf_counter
        self.network = resnet20(os.path.join(shared, "checkpoints", "resnet20-cifar10-state-dict.pt"))
        self.network.eval()
        with h5py.File(os.path.join(shared, "data", "cifar10-train-20k.h5")) as file:
            self.x = torch.from_numpy(file["x"][:rows])
            self.y = torch.from_numpy(file["y"][:rows].astype("int64"))
        self.factor = torch.tensor([1 / (SCALE * s) for s in DEVIATION]).reshape(1, 3, 1, 1)
        self.offset = torch.tensor([-m / s for m, s in zip(MEAN, DEVIATION)]).reshape(1, 3, 1, 1)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.centres = [p.detach().clone() for p in self.parameters]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        seconds = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            self.layout = layout
            self.network.to(memory_format=layout)
            self.step(torch.arange(min(batch, rows)))
            begin = self.clock()
            for _ in range(3):
                self.step(torch.arange(min(batch, rows)))
            seconds[layout] = self.clock() - begin
        self.layout = min(seconds, key=seconds.get)
        self.network.to(memory_format=self.layout)

    def step(self, rows):
        torch = self.torch
        x = self.x[rows].permute(0, 3, 1, 2).float().mul_(self.factor).add_(self.offset)
        loss = torch.nn.functional.cross_entropy(self.network(x.contiguous(memory_format=self.layout)), self.y[rows])
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        deviation = (2 * FRICTION * STEP / len(self.x)) ** 0.5
        with torch.no_grad():
            for parameter, centre, momentum in zip(self.parameters, self.centres, self.momenta):
                momentum.mul_(1 - FRICTION)
                momentum.add_(parameter.grad + PENALTY * (parameter - centre), alpha=-STEP)
                momentum.add_(torch.randn_like(momentum), alpha=deviation)
                parameter.add_(momentum)
        return float(loss.detach()) * len(rows)

    def epoch(self):
        begin = self.clock()
        order = self.torch.randperm(len(self.x))
        loss = sum(self.step(rows) for rows in order.split(self.batch)) / len(self.x)
        return {"seconds": self.clock() - begin, "loss": loss, "whole": memory("VmHWM")}


def serve(settings):
    """A process of its own: one line of JSON when ready, and one for every line that it reads."""
    peer = Peer(**settings)
    print(json.dumps({"weights": sum(p.numel() for p in peer.parameters)}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(peer.epoch()), flush=True)


def epochs(arguments, interval):
    """Rounds of an epoch each; what they took, and the number of weights."""
    settings = {"shared": arguments.shared, "rows": arguments.rows, "batch": arguments.batch, "threads": arguments.threads}
    peer = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--peer", json.dumps(settings)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)

    def answer():
        line = peer.stdout.readline()
        if not line:
            sys.exit("PyTorch's process ended.")
        return json.loads(line) if line.startswith("{") else answer()

    def theirs():
        peer.stdin.write("epoch\n")
        peer.stdin.flush()
        return answer()

    weights = answer()["weights"]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            os.path.abspath(arguments.command), "fit", "spike-slab", arguments.checkpoint, "--data", arguments.data, "--rows",
            f"0:{arguments.rows}", "--scale", f"{SCALE:g}", "--mean", ",".join(map(str, MEAN)), "--std",
            ",".join(map(str, DEVIATION)), "--sampler", "hamiltonian", "--momentum", str(1 - FRICTION), "--learning-rate",
            str(STEP), "--slab", str(PENALTY), "--cycles", "1", "--cycle-epochs", "2", "--snapshots", "1", "--statistics-rows",
            "0", "--batch-rows", str(arguments.batch), "--threads", str(arguments.threads), "-o",
            os.path.join(folder, "chain.h5"), "--force", "--json", "--quiet"]

        def ours():
            text, whole = CommandWay.run(command)
            epoch = json.loads(text)["epochs"][1]
            return {"seconds": epoch["seconds"], "loss": epoch["loss"], "whole": whole}

        own, others = [], []
        for number in range(arguments.rounds):
            for take, found in [(ours, own), (theirs, others)][::-1 if number % 2 else 1]:
                found.append(take())
            print(f"round {number + 1}: ours {own[-1]['seconds']:.2f} s (loss {own[-1]['loss']:.4f}), PyTorch "
                  f"{others[-1]['seconds']:.2f} s ({others[-1]['loss']:.4f})", flush=True)
    peer.stdin.close()
    peer.wait()
    ratios = np.array([b["seconds"] / a["seconds"] for a, b in zip(own, others)])
    low, high = interval(ratios)
    return {"ours": own, "peer": others, "ratio": float(np.median(ratios)), "interval": [low, high], "weights": weights}


def steps(arguments, weights):
    """A step of each sampler as a share of a gradient, and of subnormal numbers as a share of the usual one."""
    from engine_against_peers import Engine
    engine = Engine()
    engine.ask("preprocessing", SCALE, ",".join(map(str, MEAN)), ",".join(map(str, DEVIATION)))
    rows = 10 * GRADIENT_BATCH
    engine.ask("epochs", arguments.checkpoint, arguments.data, rows, GRADIENT_BATCH, arguments.threads)
    engine.ask("epoch")
    found = {}
    for name in SAMPLERS:
        shares, slow = [], []
        for _ in range(arguments.rounds):
            gradient = engine.ask("epoch")["seconds"] / 10
            taken = engine.ask("chain", name, weights, 50)
            usual = np.median(taken["normal"]["seconds"])
            shares.append(usual / gradient)
            slow.append(np.median(taken["subnormal"]["seconds"]) / usual)
        found[name] = {"step": float(usual), "share": float(np.median(shares)), "subnormal": float(np.median(slow))}
    engine.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--least", type=float, default=1.5)
    parser.add_argument("--most", type=float, default=0.03)
    parser.add_argument("--slow", type=float, default=1.5)
    parser.add_argument("--command", default=os.path.join(PROJECT, ".build", "release", "bayesify"))
    parser.add_argument("--json")
    parser.add_argument("--peer", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return serve(arguments.peer)
    from engine_against_peers import interval
    arguments.checkpoint = os.path.join(arguments.shared, "checkpoints", "resnet20-cifar10.h5")
    arguments.data = os.path.join(arguments.shared, "data", "cifar10-train-20k.h5")
    result = epochs(arguments, interval)
    low, high = result["interval"]
    print(f"PyTorch / ours {result['ratio']:.2f} [{low:.2f}, {high:.2f}]; memory "
          f"{max(a['whole'] for a in result['ours']) / 2**20:.0f} MiB against "
          f"{max(b['whole'] for b in result['peer']) / 2**20:.0f} MiB\n")
    result["steps"] = steps(arguments, result["weights"])
    print(f"| sampler, {result['weights']:,} weights | step, ms | of a gradient of {GRADIENT_BATCH} rows | subnormal / usual |\n"
          "|---|--:|--:|--:|")
    for name, one in result["steps"].items():
        print(f"| {name} | {1000 * one['step']:.2f} | {100 * one['share']:.2f} % | {one['subnormal']:.2f} |")
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(result, out, indent=2)
    missed = []
    if result["ratio"] < arguments.least:
        missed.append(f"An epoch is less than {arguments.least:g} times as fast.")
    missed += [f"A step of {name} is more than {arguments.most:g} of a gradient."
               for name, one in result["steps"].items() if one["share"] > arguments.most]
    missed += [f"Steps of {name} are slow on subnormal numbers."
               for name, one in result["steps"].items() if one["subnormal"] > arguments.slow]
    for a, b in zip(result["ours"], result["peer"]):
        if abs(a["loss"] - b["loss"]) > 0.01 * max(abs(a["loss"]), 1e-3) + 1e-3:
            missed.append(f"The losses differ: {a['loss']} and {b['loss']}.")
    if missed:
        sys.exit(" ".join(missed))


if __name__ == "__main__":
    main()
