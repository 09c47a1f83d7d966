#!/usr/bin/env python3
"""What the first layer made Bayesian costs: an epoch of ResNet-20 on CIFAR-10 against full training and bayesian-torch.

Five ways take an epoch each in every round, every second round in the opposite order, all with the same weights, images,
rows a step and threads:

    first       `bayesify fit first-layer`, draws of the weights: the second of two epochs, as the command itself takes their
                time, the writing of its state included, the start of the process and the reading of the data left out
    all         our own training of all weights by gradient descent with momentum, normalisation in evaluation form
    fine-tune   PyTorch eager, the same
    peer-first  bayesian-torch: `dnn_to_bnn` on the first layer alone, all else frozen, normalisation in evaluation form
    peer-all    bayesian-torch: `dnn_to_bnn` on the whole network, everything trains, normalisation over each batch

bayesian-torch begins at the checkpoint's weights (MOPED), draws weights once a batch (`Reparameterization`; --flipout: its
other layers, and our own estimator of that name), adds its KL and steps by Adam, as our first layer does.  Images lie in
memory as bytes on every side, and are scaled batch by batch within the time.  PyTorch's networks run channels last or
channels first, whichever took less time in a few steps before.  PyTorch's loss of the first 2,048 rows at the checkpoint's
weights must agree with what the command says of it, and the epochs of `all` and `fine-tune`, whose steps are too small to
change anything, must have the same loss; or this fails.

Ratios are medians of the rounds' ratios with their bootstrap 95 % intervals:

    first / all          at the most --most (0.8)
    peer-first / first   at least --least-first (1.3)
    peer-all / first     at least --least-all (2)

`whole` is the largest resident memory of each way's process (VmHWM), `added` what of it came after its modules were imported
and its libraries loaded.  `variational` counts means and deviations.

    python Benchmarks/first_layer_inference.py --shared FOLDER [--rows 20000] [--batch 128] [--rounds 5] [--threads 2]
        [--ways first,all,fine-tune,peer-first,peer-all] [--flipout] [--command FILE] [--json out.json]

A rough look: --rows 2560 --rounds 3.  FOLDER holds checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by
    make release
    swift build -c release --package-path Benchmarks
    python -m pip install torch h5py bayesian-torch
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAYS = ("first", "all", "fine-tune", "peer-first", "peer-all")
SCALE, MEAN, DEVIATION = 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# As many rows as the command looks at for the loss of the trained weights.
COMPARED = 2048
TOLERANCE = 1e-4
# As in the examples of bayesian-torch.
CONVERSION = {"prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0, "posterior_rho_init": -3.0,
              "moped_enable": True, "moped_delta": 0.5}


def memory(field, process="self"):
    with open(f"/proc/{process}/status") as status:
        return next((1024 * int(line.split()[1]) for line in status if line.startswith(field + ":")), 0)


# ------------------------------------------------------------------------------ PyTorch's side

def resnet20(path):
    """The network of a published state dict."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.stride, self.added = stride, (after - before) // 2

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.stride > 1:
                x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.added, self.added))
            return F.relu(x + y)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            channels = 16
            for number, after in enumerate((16, 32, 64), 1):
                first = Block(channels, after, 1 if number == 1 else 2)
                setattr(self, f"layer{number}", nn.Sequential(first, Block(after, after, 1), Block(after, after, 1)))
                channels = after
            self.linear = nn.Linear(channels, 10)

        def forward(self, x):
            x = F.relu(self.bn1(self.conv1(x)))
            return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    network = Network()
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return network


class Peer:
    """One way of training in PyTorch."""

    def __init__(self, way, checkpoint, data, rows, batch, threads, estimator):
        import torch
        self.torch, self.way, self.batch = torch, way, batch
        torch.set_num_threads(threads)
        if way != "fine-tune":
            from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss
            self.divergence = get_kl_loss
        # What the first operation loads belongs to the libraries.
        torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))
        self.before = memory("VmHWM")
        torch.manual_seed(1)
        self.network = resnet20(checkpoint)
        with h5py.File(data) as file:
            self.x = torch.from_numpy(file["x"][:rows])
            self.y = torch.from_numpy(file["y"][:rows].astype("int64"))
        self.factor = torch.tensor([1 / (SCALE * s) for s in DEVIATION]).reshape(1, 3, 1, 1)
        self.offset = torch.tensor([-m / s for m, s in zip(MEAN, DEVIATION)]).reshape(1, 3, 1, 1)
        self.layout = torch.channels_last
        self.network.eval()
        with torch.no_grad():
            self.loss = float(torch.nn.functional.cross_entropy(
                torch.cat([self.network(self.images(slice(first, min(rows, COMPARED, first + 256))))
                           for first in range(0, min(rows, COMPARED), 256)]), self.y[:COMPARED]))
        conversion = {**CONVERSION, "type": estimator}
        if way == "peer-first":
            self.network.requires_grad_(False)
            holder = torch.nn.Sequential(self.network.conv1)
            dnn_to_bnn(holder, conversion)
            self.network.conv1 = holder[0]
        elif way == "peer-all":
            dnn_to_bnn(self.network, conversion)
            self.network.train()
        trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.counts = {
            "trained": sum(p.numel() for p in trained.values()),
            "variational": sum(
                p.numel() for name, p in trained.items() if name.rsplit(".", 1)[-1].startswith(("mu_", "rho_")))}
        self.optimizer = (
            torch.optim.SGD(trained.values(), lr=1e-6, momentum=0.9) if way == "fine-tune"
            else torch.optim.Adam(trained.values(), lr=1e-3))
        self.layout = self.fastest()

    def images(self, rows):
        x = self.x[rows].permute(0, 3, 1, 2).float().mul_(self.factor).add_(self.offset)
        return x.contiguous(memory_format=self.layout)

    def step(self, rows):
        self.optimizer.zero_grad(set_to_none=True)
        term = self.torch.nn.functional.cross_entropy(self.network(self.images(rows)), self.y[rows])
        loss = term if self.way == "fine-tune" else term + self.divergence(self.network) / len(self.x)
        loss.backward()
        self.optimizer.step()
        return float(term.detach()) * len(rows)

    def fastest(self):
        """The layout in which three steps took the least time, after two others."""
        seconds, rows = {}, self.torch.arange(min(self.batch, len(self.x)))
        for layout in (self.torch.contiguous_format, self.torch.channels_last):
            self.network.to(memory_format=layout)
            self.layout = layout
            times = []
            for _ in range(5):
                begin = time.perf_counter()
                self.step(rows)
                times.append(time.perf_counter() - begin)
            seconds[layout] = np.median(times[2:])
        best = min(seconds, key=seconds.get)
        self.network.to(memory_format=best)
        return best

    def epoch(self):
        begin = time.perf_counter()
        order = self.torch.randperm(len(self.x))
        loss = sum(self.step(rows) for rows in order.split(self.batch)) / len(self.x)
        return {"seconds": time.perf_counter() - begin, "loss": loss, "whole": memory("VmHWM"),
                "added": memory("VmHWM") - self.before}


def serve(settings):
    """A process of its own: one line of JSON when ready, and one for every line that it reads."""
    try:
        peer = Peer(**settings)
        print(json.dumps({"loss": peer.loss, "layout": str(peer.layout).removeprefix("torch."), **peer.counts}), flush=True)
    except ImportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    for _ in sys.stdin:
        print(json.dumps(peer.epoch()), flush=True)


# ------------------------------------------------------------------------------ the ways

class TorchWay:
    def __init__(self, way, arguments):
        settings = {
            "way": way, "checkpoint": os.path.join(arguments.shared, "checkpoints", "resnet20-cifar10-state-dict.pt"),
            "data": arguments.data, "rows": arguments.rows, "batch": arguments.batch, "threads": arguments.threads,
            "estimator": "Flipout" if arguments.flipout else "Reparameterization"}
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--peer", json.dumps(settings)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.facts = self.answer()
        if "error" in self.facts:
            sys.exit(f"{way} cannot run: {self.facts['error']}. Install bayesian-torch, or leave the way out by --ways.")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("A process of PyTorch ended.")
        # Libraries print notes of their own.
        return json.loads(line) if line.startswith("{") else self.answer()

    def epoch(self):
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class EngineWay:
    """Our own training of all weights."""

    def __init__(self, arguments):
        from engine_against_peers import Engine
        self.engine = Engine()
        self.engine.ask("product", 1, 1, 1)
        self.before = self.engine.memory("VmHWM")
        self.engine.ask("preprocessing", SCALE, ",".join(map(str, MEAN)), ",".join(map(str, DEVIATION)))
        facts = self.engine.ask(
            "epochs", arguments.checkpoint, arguments.data, arguments.rows, arguments.batch, arguments.threads)
        self.facts = {"trained": facts["parameters"], "variational": 0}

    def epoch(self):
        answer = self.engine.ask("epoch")
        whole = self.engine.memory("VmHWM")
        return {**answer, "whole": whole, "added": whole - self.before}

    def close(self):
        self.engine.close()


class CommandWay:
    """`bayesify fit first-layer`, a process an epoch."""

    def __init__(self, arguments, folder):
        self.output = os.path.join(folder, "posterior.h5")
        self.command = [
            arguments.command, "fit", "first-layer", arguments.checkpoint, "--data", arguments.data,
            "--rows", f"0:{arguments.rows}", "--scale", f"{SCALE:g}", "--mean", ",".join(map(str, MEAN)),
            "--std", ",".join(map(str, DEVIATION)), "--epochs", "2", "--batch-rows", str(arguments.batch),
            "--estimator", "flipout" if arguments.flipout else "draws", "--threads", str(arguments.threads),
            "-o", self.output, "--force", "--json", "--quiet"]
        # What the command holds before it opens anything.
        _, self.before = self.run([arguments.command, "fit", "first-layer", "--help"])
        self.facts = {}

    @staticmethod
    def run(command):
        """What a process prints, and its largest resident memory, looked at while it runs."""
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(command, stdout=out)
            whole, begin = 0, time.perf_counter()
            while process.poll() is None:
                try:
                    whole = max(whole, memory("VmHWM", process.pid))
                except OSError:
                    pass
                # Short processes are gone before a longer look.
                time.sleep(0.001 if time.perf_counter() - begin < 0.5 else 0.1)
            if process.returncode:
                sys.exit(f"{' '.join(command)} failed.")
            out.seek(0)
            return out.read(), whole

    def epoch(self):
        text, whole = self.run(self.command)
        summary = json.loads(text)
        count = 2 * summary["weights"]
        self.facts = {"loss": summary["dataTermAtTrainedWeights"], "trained": count, "variational": count}
        return {"seconds": summary["epochs"][1]["seconds"], "loss": summary["epochs"][1]["dataTerm"], "whole": whole,
                "added": whole - self.before}

    def close(self):
        pass


# ------------------------------------------------------------------------------ the run

def differences(ways, taken):
    """Sentences about losses that should agree and do not."""
    result = []
    compared = {name: way.facts["loss"] for name, way in ways.items() if "loss" in way.facts}
    if compared and max(compared.values()) - min(compared.values()) > TOLERANCE:
        result.append(f"The losses of the trained weights differ: {compared}.")
    means = {name: taken[name][0]["loss"] for name in ("all", "fine-tune") if name in taken}
    if means and max(means.values()) - min(means.values()) > TOLERANCE:
        result.append(f"The losses of the epochs differ: {means}.")
    return result


def report(ways, taken, arguments, interval):
    """Prints both tables; gives what is printed and the targets that are missed."""
    print(f"\nResNet-20, {arguments.rows} rows, {arguments.batch} a step, {arguments.threads} threads, "
          f"{arguments.rounds} rounds\n")
    print("| way | seconds an epoch (least, most) | trained | variational | whole MiB | added MiB |\n"
          "|---|--:|--:|--:|--:|--:|")
    result = {"rows": arguments.rows, "batch": arguments.batch, "threads": arguments.threads, "ways": {}, "ratios": {}}
    for name, rounds in taken.items():
        seconds = [each["seconds"] for each in rounds]
        facts = ways[name].facts
        entry = result["ways"][name] = {
            "seconds": seconds, "median": float(np.median(seconds)), **facts,
            **{field: max(each[field] for each in rounds) for field in ("whole", "added")}}
        print(f"| {name} | {entry['median']:.3g} ({min(seconds):.3g}, {max(seconds):.3g}) | {facts['trained']:,} | "
              f"{facts['variational']:,} | {entry['whole'] / 2**20:.0f} | {entry['added'] / 2**20:.0f} |")
    print("\n| ratio | median | asked for |\n|---|--:|--:|")
    missed = []
    for over, under, most, least in (
            ("first", "all", arguments.most, None), ("peer-first", "first", None, arguments.least_first),
            ("peer-all", "first", None, arguments.least_all), ("fine-tune", "first", None, None),
            ("fine-tune", "all", None, None)):
        if over not in taken or under not in taken:
            continue
        ratios = np.array([a["seconds"] / b["seconds"] for a, b in zip(taken[over], taken[under])])
        ratio, (low, high) = float(np.median(ratios)), interval(ratios)
        result["ratios"][f"{over} / {under}"] = {"median": ratio, "interval": [low, high], "rounds": list(ratios)}
        asked = f"at the most {most:g}" if most else f"at least {least:g}" if least else ""
        print(f"| {over} / {under} | {ratio:.3f} [{low:.3f}, {high:.3f}] | {asked} |")
        if most and ratio > most or least and ratio < least:
            missed.append(f"{over} / {under} is {ratio:.3f}, {asked} was asked for.")
    return result, missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--flipout", action="store_true")
    parser.add_argument("--most", type=float, default=0.8)
    parser.add_argument("--least-first", type=float, default=1.3)
    parser.add_argument("--least-all", type=float, default=2)
    parser.add_argument("--command", default=os.path.join(PROJECT, ".build", "release", "bayesify"))
    parser.add_argument("--json")
    parser.add_argument("--peer", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return serve(arguments.peer)
    if unknown := set(arguments.ways) - set(WAYS):
        parser.error(f"there is no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    arguments.checkpoint = os.path.join(arguments.shared, "checkpoints", "resnet20-cifar10.h5")
    arguments.data = os.path.join(arguments.shared, "data", "cifar10-train-20k.h5")
    arguments.command = os.path.abspath(arguments.command)
    from engine_against_peers import interval
    ways = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in WAYS:
                if name in arguments.ways:
                    ways[name] = (CommandWay(arguments, folder) if name == "first" else
                                  EngineWay(arguments) if name == "all" else TorchWay(name, arguments))
            taken = {name: [] for name in ways}
            for number in range(arguments.rounds):
                for name in list(ways)[::-1] if number % 2 else ways:
                    taken[name].append(ways[name].epoch())
                print(f"round {number + 1}: " + ", ".join(f"{name} {taken[name][-1]['seconds']:.2f} s" for name in ways),
                      flush=True)
        finally:
            for way in ways.values():
                way.close()
    result, failures = report(ways, taken, arguments, interval)
    failures += differences(ways, taken)
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(result, out, indent=2)
    if failures:
        sys.exit(" ".join(failures))


if __name__ == "__main__":
    main()
