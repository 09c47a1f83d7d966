"""Gradients of networks, losses and steps of optimizers, as PyTorch computes them in double precision.

    python make_gradients.py

writes Tests/Golden/Gradients/*.json.

`network-*.json`: a batch, labels and weights (numbers of single precision), the weights of the exits,
the logits of each exit, the sum over exits and rows of the weighted softmax cross-entropy, and its
gradients with respect to every trained parameter and the input. Networks are in evaluation form, and
are drawn here and in NetworkGradientTests.swift alike. Images and weights are stored as this project
has them: [rows, height, width, channels] and [height, width, in / groups, out].

`losses.json`: losses summed over rows and their derivatives, with small and with very large logits.

`optimizers.json`: twenty steps of two parameters under gradients that do not depend on them, after
each step, with the rates that PyTorch's schedulers gave. `clip` is the norm given to clip_grad_norm_.
"""

import os

import numpy as np
import torch
from torch.nn import functional

import golden

SEED = 1009
EPSILON = 1e-3


class Weights:
    """Parameters drawn on first use, kept as single-precision numbers and as leaves in double."""

    def __init__(self, random):
        self.random, self.leaves, self.constants = random, {}, {}

    def __call__(self, name, shape, scale=None, trained=True):
        scale = scale or 1 / np.sqrt(max(1, np.prod(shape[:-1])))
        values = (self.random.normal(size=shape) * scale).astype(np.float32)
        if name.endswith("variance"):
            values = np.abs(values) + np.float32(0.5)
        leaf = torch.tensor(values.astype(np.float64), requires_grad=trained)
        (self.leaves if trained else self.constants)[name] = leaf
        return leaf

    def convolution(self, name, x, filters, window, padding=(0, 0, 0, 0), groups=1, bias=True, **options):
        """`padding` is left, right, top, bottom."""
        weight = self(name + "/weight", (window, window, x.shape[1] // groups, filters))
        offset = self(name + "/bias", (filters,), 0.5) if bias else None
        return functional.conv2d(
            functional.pad(x, padding), weight.permute(3, 2, 0, 1), offset, groups=groups, **options)

    def normalization(self, name, x):
        c = (x.shape[1],)
        scale, offset = self(name + "/scale", c, 1), self(name + "/offset", c, 0.5)
        mean, variance = self(name + "/mean", c, 0.5, False), self(name + "/variance", c, 0.5, False)
        return functional.batch_norm(x, mean, variance, scale, offset, training=False, eps=EPSILON)

    def dense(self, name, x, units):
        return x @ self(name + "/weight", (x.shape[1], units)) + self(name + "/bias", (units,), 0.5)


def flatten(x):
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def residual(w, x):
    """A block with a projected shortcut."""
    y = w.convolution("first", x, 4, 3, (1, 1, 1, 1))
    y = functional.relu(w.normalization("first normalization", y))
    y = w.convolution("second", y, 4, 3, (1, 1, 1, 1), bias=False)
    y = w.normalization("second normalization", y) + w.convolution("shortcut", x, 4, 1)
    return [w.dense("head", functional.relu(y).mean(dim=(2, 3)), 3)]


def exits(w, x):
    """Two exits; `same` padding at stride 2 puts the odd zero at the bottom and the right."""
    trunk = w.convolution("stem", x, 4, 3, (1, 1, 0, 1), stride=2)
    trunk = functional.max_pool2d(functional.silu(w.normalization("stem normalization", trunk)), 2, stride=1)
    early = w.dense("early", trunk.mean(dim=(2, 3)), 3)
    y = w.convolution("depthwise", trunk, 4, 3, (1, 1, 1, 1), groups=4, bias=False)
    y = torch.cat([trunk, y], dim=1)
    y = functional.elu(w.convolution("mixing", y, 3, 1))
    return [early, w.dense("late", flatten(y), 3)]


def gates(w, x):
    """Learned slopes, mean pooling, enlargement, a gate a channel, a maximum of two branches."""
    y = w.convolution("stem", x, 4, 2, (0, 0, 1, 0), dilation=(1, 2), groups=2)
    y = functional.prelu(y, w("slopes/slope", (1, 1, 4), 0.3).reshape(-1))
    y = functional.interpolate(
        functional.avg_pool2d(y, (2, 1), stride=(2, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    gate = torch.sigmoid(w.convolution("gate", y.mean(dim=(2, 3), keepdim=True), 4, 1))
    y = y * gate
    y = torch.maximum(functional.gelu(w.convolution("left", y, 3, 1)), torch.tanh(w.convolution("right", y, 3, 1)))
    return [w.dense("head", flatten(y), 4)]


NETWORKS = [  # name, function, shape of the batch [rows, height, width, channels], classes, weights of exits
    ("residual", residual, (3, 6, 5, 2), 3, [1.0]),
    ("exits", exits, (4, 8, 7, 1), 3, [0.25, 1.0]),
    ("gates", gates, (2, 5, 6, 2), 4, [0.5]),
]


def network(name, function, shape, classes, exit_weights, random):
    x = random.normal(size=shape).astype(np.float32)
    labels = random.randint(classes, size=shape[0])
    inputs = torch.tensor(x.astype(np.float64), requires_grad=True)
    weights = Weights(random)
    logits = function(weights, inputs.permute(0, 3, 1, 2))
    loss = sum(w * functional.cross_entropy(z, torch.tensor(labels), reduction="sum")
               for w, z in zip(exit_weights, logits))
    loss.backward()
    single = lambda t: golden.array(t.detach().numpy().astype(np.float32))
    double = lambda t: golden.array(t.detach().numpy())
    return {
        "input": golden.array(x), "labels": golden.array(labels), "exitWeights": exit_weights,
        "parameters": {k: single(v) for k, v in {**weights.leaves, **weights.constants}.items()},
        "logits": [double(z) for z in logits], "loss": loss.item(),
        "gradients": {k: double(v.grad) for k, v in weights.leaves.items()},
        "inputGradient": double(inputs.grad),
    }


def losses(random):
    """Logits of every size, with the label at the largest and at others."""
    def entry(outputs, function, **targets):
        z = torch.tensor(outputs, requires_grad=True)
        value = function(z)
        value.backward()
        return {"outputs": golden.array(outputs), **targets, "value": value.item(),
                "cotangent": golden.array(z.grad.numpy())}

    result = {}
    for name, scale in [("small", 1.5), ("large", 300.0)]:
        z = random.normal(size=(6, 4)) * scale
        labels = np.concatenate([z[:3].argmax(axis=1), random.randint(4, size=3)])
        result["softmax-" + name] = entry(
            z, lambda t: functional.cross_entropy(t, torch.tensor(labels), reduction="sum"), labels=labels)
        z = random.normal(size=(6, 1)) * scale
        labels = np.array([0, 1, 1, 0, 1, 0])
        target = torch.tensor(labels[:, None].astype(float))
        result["binary-" + name] = entry(
            z, lambda t: functional.binary_cross_entropy_with_logits(t, target, reduction="sum"), labels=labels)
        z = random.normal(size=(5, 3)) * scale
        targets = random.randint(2, size=z.shape).astype(float)
        targets[0] = random.uniform(size=3)
        result["multilabel-" + name] = entry(
            z, lambda t: functional.binary_cross_entropy_with_logits(t, torch.tensor(targets), reduction="sum"),
            targets=golden.array(targets))
    z, targets = random.normal(size=(5, 2)), random.normal(size=(5, 2))
    variance = 0.7
    result["gaussian"] = entry(
        z, lambda t: functional.gaussian_nll_loss(t, torch.tensor(targets), variance, full=True, reduction="sum"),
        targets=golden.array(targets), variance=variance)
    return result


STEPS = 20


def constant(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def cosine(optimizer):
    """4 steps of warm-up of 20 in all, down to 0.002."""
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 4)
    down = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=16, eta_min=0.002)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, down], milestones=[4])


def staircase(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=6, gamma=0.3)


SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
CASES = [  # name, optimizer, its options, schedule, norm to clip to
    ("sgd", SGD, {"lr": 0.1}, constant, None),
    ("sgd-momentum", SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}, staircase, None),
    ("sgd-nesterov", SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}, cosine, 1.5),
    ("adam", ADAM, {"lr": 0.1}, cosine, None),
    ("adam-l2", ADAM, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}, staircase, 1.5),
    ("adam-decoupled", ADAMW, {"lr": 0.1, "weight_decay": 0.2}, constant, None),
]


def optimizers(random):
    shapes = [(3, 2), (4,)]
    initial = [random.normal(size=shape) for shape in shapes]
    # Lengths from below to above the norm that is clipped to.
    lengths = np.exp(random.uniform(-1.5, 1.5, size=STEPS))
    gradients = [random.normal(size=(STEPS,) + shape) * lengths.reshape((-1,) + (1,) * len(shape)) for shape in shapes]
    cases = {}
    for name, kind, options, schedule, clip in CASES:
        parameters = [torch.nn.Parameter(torch.tensor(value)) for value in initial]
        optimizer = kind(parameters, **options)
        scheduler = schedule(optimizer)
        rates, norms, after = [], [], [[], []]
        for step in range(STEPS):
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = torch.tensor(gradient[step])
            if clip:
                norms.append(torch.nn.utils.clip_grad_norm_(parameters, clip).item())
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
            for values, parameter in zip(after, parameters):
                values.append(parameter.detach().numpy().copy())
        cases[name] = {"rates": rates, **({"clip": clip, "norms": norms} if clip else {}),
                       "after": [golden.array(np.stack(values)) for values in after]}
        print("%-16s rates %.4g to %.4g" % (name, rates[0], rates[-1]))
    return {"initial": [golden.array(v) for v in initial], "gradients": [golden.array(g) for g in gradients],
            "cases": cases}


def main():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    folder = golden.folder("Gradients")
    origin = {"script": "make_gradients.py", "versions": golden.versions("torch", "numpy"), "seed": SEED}
    results = {"network-" + n[0]: network(*n, np.random.RandomState(SEED + i)) for i, n in enumerate(NETWORKS)}
    results["losses"] = losses(np.random.RandomState(SEED + 10))
    results["optimizers"] = optimizers(np.random.RandomState(SEED + 11))
    for name, result in results.items():
        golden.write_json(os.path.join(folder, name + ".json"), {**origin, **result})
        if "loss" in result:
            norms = [float(np.linalg.norm(g["values"])) for g in result["gradients"].values()]
            print("%-16s loss %.12g, gradients' norms %.2g to %.2g" % (name, result["loss"], min(norms), max(norms)))
    golden.report(folder)


if __name__ == "__main__":
    main()
