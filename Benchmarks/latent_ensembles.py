#!/usr/bin/env python3
"""What an epoch of LP-BNN costs on ResNet-20 / CIFAR-10, its last stage and its head converted: ours against PyTorch.

    ours    `bayesify fit latent`, the second of two epochs as the command itself takes their time, the writing of its state
            included
    peer    the same in PyTorch eager, in a process of its own: what the frozen first stages compute is cached, trained
            weights are frozen, members are one batch of `members · rows`, normalisation is in evaluation form, images lie
            channels last

Both train 4 members on the same rows, every member on all rows of a batch (--member-batch replicated) or on a share of its
own (split), by Adam, with the autoencoders' loss and clipping.  The two take an epoch each in every round, every second
round in the opposite order.  The ratio of seconds, peer over ours, is the median of the rounds' with its bootstrap 95 %
interval; below --least (1.5) the command fails.  Memory is the largest resident set of each process (VmHWM).

The peer's cached network, with all vectors one, must give the loss of the whole network to 1e-4, or this fails.

    python Benchmarks/latent_ensembles.py --shared FOLDER [--rows 20000] [--batch 128] [--rounds 5] [--threads 2]
        [--member-batch replicated] [--command FILE] [--json out.json]

FOLDER holds checkpoints/ and data/ as in BAYESIFY_SHARED.  Build first by `make release`; needs torch, numpy and h5py.
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

from first_layer_inference import DEVIATION, MEAN, PROJECT, SCALE, CommandWay, memory, resnet20

MEMBERS, LATENTS, DEVIATION_OF_VECTORS = 4, 32, 0.25
LAYERS = "conv2d_13,conv2d_14,conv2d_15,conv2d_16,conv2d_17,conv2d_18,logits"


class Peer:
    def __init__(self, shared, rows, batch, threads, replicated):
        import torch
        from torch import nn
        from torch.nn import functional as F
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.torch, self.batch, self.replicated = torch, batch, replicated
        network = resnet20(os.path.join(shared, "checkpoints", "resnet20-cifar10-state-dict.pt"))
        network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        with h5py.File(os.path.join(shared, "data", "cifar10-train-20k.h5")) as file:
            x = torch.from_numpy(file["x"][:rows])
            self.y = torch.from_numpy(file["y"][:rows].astype("int64"))
        factor = torch.tensor([1 / (SCALE * s) for s in DEVIATION]).reshape(1, 3, 1, 1)
        offset = torch.tensor([-m / s for m, s in zip(MEAN, DEVIATION)]).reshape(1, 3, 1, 1)
        self.cache = torch.empty((rows, 32, 16, 16)).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for first in range(0, rows, 256):
                images = x[first:first + 256].permute(0, 3, 1, 2).float().mul_(factor).add_(offset)
                y = F.relu(network.bn1(network.conv1(images.contiguous(memory_format=torch.channels_last))))
                self.cache[first:first + 256] = network.layer2(network.layer1(y))

        class Members(nn.Module):
            """A layer whose members scale its inputs by what an autoencoder makes of their vectors."""

            def __init__(self, layer, inputs, outputs):
                super().__init__()
                self.layer = layer
                self.register_buffer("book", 1 + DEVIATION_OF_VECTORS * torch.randn(MEMBERS, inputs))
                self.outputs = nn.Parameter(1 + DEVIATION_OF_VECTORS * torch.randn(MEMBERS, outputs))
                bias = layer.bias if layer.bias is not None else torch.zeros(outputs)
                self.biases = nn.Parameter(bias.detach().repeat(MEMBERS, 1))
                self.encoder, self.decoder = nn.Linear(inputs, LATENTS), nn.Linear(LATENTS, inputs)
                self.mean, self.variance = nn.Linear(LATENTS, LATENTS), nn.Linear(LATENTS, LATENTS)
                nn.init.ones_(self.decoder.bias)
                nn.init.constant_(self.variance.bias, -4)
                self.weight = 2 * (.3 * DEVIATION_OF_VECTORS) ** 2 / (MEMBERS * inputs)
                self.isIdentity = False

            def forward(self, x):
                count = len(x) // MEMBERS
                if self.isIdentity:
                    return self.layer(x)
                hidden = F.relu(self.encoder(self.book))
                mean, variance = self.mean(hidden), self.variance(hidden).clamp(-10, 4)
                made = self.decoder(mean + torch.exp(variance / 2) * torch.randn_like(mean))
                divergence = -.5 * (1 + variance - mean ** 2 - variance.exp()).sum()
                self.loss = F.mse_loss(made, self.book) + self.weight * divergence

                def spread(vectors):
                    vectors = vectors.repeat_interleave(count, 0)
                    return vectors[:, :, None, None] if x.ndim == 4 else vectors

                x = x * spread(made)
                x = (F.conv2d(x, self.layer.weight, None, self.layer.stride, self.layer.padding) if x.ndim == 4
                     else F.linear(x, self.layer.weight))
                return x * spread(self.outputs) + spread(self.biases)

        whole = network.layer3
        labels = self.y[:2048]
        with torch.no_grad():
            expected = float(F.cross_entropy(
                network.linear(whole(self.cache[:2048]).mean((2, 3))), labels))
        self.members = []
        for block in whole:
            for name in ("conv1", "conv2"):
                layer = getattr(block, name)
                setattr(block, name, Members(layer, layer.in_channels, layer.out_channels))
                self.members.append(getattr(block, name))
        network.linear = Members(network.linear, network.linear.in_features, network.linear.out_features)
        self.members.append(network.linear)
        self.whole, self.linear = whole, network.linear
        for layer in self.members:
            layer.isIdentity = True
        with torch.no_grad():
            found = float(F.cross_entropy(self.logits(self.cache[:2048]), labels))
        for layer in self.members:
            layer.isIdentity = False
        self.difference = abs(found - expected)
        self.trained = [p for layer in self.members for p in layer.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained, lr=1e-3)

    def logits(self, x):
        return self.linear(self.whole(x).mean((2, 3)))

    def step(self, rows):
        torch = self.torch
        if self.replicated:
            x, labels = self.cache[rows].repeat(MEMBERS, 1, 1, 1), self.y[rows].repeat(MEMBERS)
        else:
            rows = rows[:len(rows) // MEMBERS * MEMBERS]
            x, labels = self.cache[rows], self.y[rows]
        self.optimizer.zero_grad(set_to_none=True)
        data = torch.nn.functional.cross_entropy(self.logits(x.contiguous(memory_format=torch.channels_last)), labels)
        (data + sum(layer.loss for layer in self.members) / len(self.members)).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 5)
        self.optimizer.step()
        return float(data.detach()) * len(rows)

    def epoch(self):
        begin = time.perf_counter()
        order = self.torch.randperm(len(self.cache))
        loss = sum(self.step(rows) for rows in order.split(self.batch)) / len(self.cache)
        return {"seconds": time.perf_counter() - begin, "loss": loss, "whole": memory("VmHWM")}


def serve(settings):
    """A process of its own: one line of JSON when ready, and one for every line that it reads."""
    peer = Peer(**settings)
    print(json.dumps({"difference": peer.difference}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(peer.epoch()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", default=os.environ.get("BAYESIFY_SHARED", ""))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--member-batch", choices=["replicated", "split"], default="replicated")
    parser.add_argument("--least", type=float, default=1.5)
    parser.add_argument("--command", default=os.path.join(PROJECT, ".build", "release", "bayesify"))
    parser.add_argument("--json")
    parser.add_argument("--peer", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return serve(arguments.peer)
    from engine_against_peers import interval
    settings = {"shared": arguments.shared, "rows": arguments.rows, "batch": arguments.batch, "threads": arguments.threads,
                "replicated": arguments.member_batch == "replicated"}
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

    difference = answer()["difference"]
    if difference > 1e-4:
        sys.exit(f"PyTorch's cached network differs from the whole by {difference:.1e}.")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            os.path.abspath(arguments.command), "fit", "latent",
            os.path.join(arguments.shared, "checkpoints", "resnet20-cifar10.h5"), "--data",
            os.path.join(arguments.shared, "data", "cifar10-train-20k.h5"), "--rows", f"0:{arguments.rows}", "--scale",
            f"{SCALE:g}", "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, DEVIATION)), "--layers", LAYERS,
            "--members", str(MEMBERS), "--member-batch", arguments.member_batch, "--epochs", "2", "--batch-rows",
            str(arguments.batch), "--warm-up-steps", "0", "--statistics-rows", "0", "--threads", str(arguments.threads), "-o",
            os.path.join(folder, "posterior.h5"), "--force", "--json", "--quiet"]

        def ours():
            text, whole = CommandWay.run(command)
            epoch = json.loads(text)["epochs"][1]
            return {"seconds": epoch["seconds"], "loss": epoch["dataTerm"], "whole": whole}

        own, others = [], []
        for number in range(arguments.rounds):
            for take, found in [(ours, own), (theirs, others)][::-1 if number % 2 else 1]:
                found.append(take())
            print(f"round {number + 1}: ours {own[-1]['seconds']:.2f} s (data term {own[-1]['loss']:.3f}), PyTorch "
                  f"{others[-1]['seconds']:.2f} s ({others[-1]['loss']:.3f})", flush=True)
    peer.stdin.close()
    peer.wait()
    ratios = np.array([b["seconds"] / a["seconds"] for a, b in zip(own, others)])
    low, high = interval(ratios)
    result = {"rows": arguments.rows, "batch": arguments.batch, "memberBatch": arguments.member_batch, "ours": own,
              "peer": others, "ratio": float(np.median(ratios)), "interval": [low, high]}
    print(f"PyTorch / ours {result['ratio']:.2f} [{low:.2f}, {high:.2f}]; memory {max(a['whole'] for a in own) / 2**20:.0f} MiB "
          f"against {max(b['whole'] for b in others) / 2**20:.0f} MiB")
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(result, out, indent=2)
    if result["ratio"] < arguments.least:
        sys.exit(f"Less than {arguments.least:g} times as fast.")


if __name__ == "__main__":
    main()
