"""Adversarial attacks by PyTorch in double precision, and membership inference by scikit-learn.

    python make_robustness.py

writes Tests/Golden/Robustness/. `attacks.json`: three small networks (weights as Keras lays them out, rounded to single
precision, as checkpoints hold them), rows, labels and preprocessing; the gradients by stored values of the first network's
loss and of that of the mean of all three, by autograd, and rows after projected gradient ascent from the rows themselves in
both norms. `underflow.json`: linear networks with large logits, and the accuracy after an attack with the loss of averaged
single-precision probabilities and with that in log space, both by PyTorch in single precision. `membership.json`:
log-probabilities of members and others, with AUC, rates at few false positives and accuracies.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score, roc_curve

import golden

SEED = 5521
SCALE, MEAN, DEVIATION = 2.0, 0.25, 0.5


def single(array):
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def array(values):
    return golden.array(np.asarray(values, dtype=np.float64))


def networks(random):
    return [{"weight": single(random.normal(size=(3, 3, 2, 3)) * .6), "bias": single(random.normal(size=3) * .2),
             "headWeight": single(random.normal(size=(48, 3)) * .5), "headBias": single(random.normal(size=3) * .2)}
            for _ in range(3)]


def logits(network, x):
    w = {name: torch.tensor(value) for name, value in network.items()}
    x = (x / SCALE - MEAN) / DEVIATION
    h = F.conv2d(x.permute(0, 3, 1, 2), w["weight"].permute(3, 2, 0, 1), w["bias"], padding=1).permute(0, 2, 3, 1)
    return torch.tanh(h).reshape(len(x), -1) @ w["headWeight"] + w["headBias"]


def losses(members, x, labels):
    logs = torch.stack([F.log_softmax(logits(n, x), 1)[torch.arange(len(x)), labels] for n in members])
    return -(torch.logsumexp(logs, 0) - np.log(len(members)))


def gradient(members, x, labels):
    x = x.clone().requires_grad_(True)
    value = losses(members, x, labels)
    value.sum().backward()
    return value.detach(), x.grad


def ascend(members, origin, labels, norm, radius, steps):
    x = origin.clone()
    step = 2.5 * radius / steps
    for _ in range(steps):
        g = gradient(members, x, labels)[1]
        if norm == "maximum":
            change = (x + step * g.sign() - origin).clamp(-radius, radius)
        else:
            length = g.flatten(1).norm(dim=1)[:, None, None, None]
            change = x + step * g / length - origin
            length = change.flatten(1).norm(dim=1)[:, None, None, None]
            change = change * (radius / length).clamp(max=1)
        x = (origin + change).clamp(0, 2)
    return x


def attacks(random):
    members = networks(random)
    x = torch.tensor(single(random.uniform(0, 2, size=(6, 4, 4, 2))))
    labels = torch.tensor(random.randint(3, size=6))
    result = {"networks": [{k: array(v) for k, v in n.items()} for n in members], "rows": array(x.numpy()),
              "labels": array(labels.numpy()), "scale": SCALE, "mean": MEAN, "deviation": DEVIATION, "cases": []}
    for count in [1, 3]:
        value, g = gradient(members[:count], x, labels)
        for norm, radius in [("maximum", .1), ("euclidean", .6)]:
            y = ascend(members[:count], x, labels, norm, radius, 7)
            result["cases"].append({
                "count": count, "norm": norm, "radius": radius, "steps": 7, "losses": array(value.numpy()),
                "gradient": array(g.numpy()), "attacked": array(y.numpy()),
                "attackedLosses": array(losses(members[:count], y, labels).numpy())})
    return result


def underflow(random):
    """Two linear networks, sure of themselves by large weights; an attack of 20 steps in the largest change."""
    rows, width, classes, radius = 40, 6, 3, .3
    base = random.normal(size=(width, classes))
    weights = [single(400 * (base + .05 * random.normal(size=base.shape))) for _ in range(2)]
    x = torch.tensor(single(random.uniform(0, 1, size=(rows, width))), dtype=torch.float32)
    members = [torch.tensor(w, dtype=torch.float32) for w in weights]

    def mean(y):
        return torch.stack([F.softmax(y @ w, 1) for w in members]).mean(0)

    def naive(y):
        return -torch.log(mean(y)[torch.arange(rows), labels])

    def logarithmic(y):
        # log(1 - mean p(y)), which rises with -log mean p(y) and keeps its digits where a sure answer rounds to 1.
        others = F.one_hot(labels, classes) == 0
        logs = torch.cat([F.log_softmax(y @ w, 1)[others].reshape(rows, -1) for w in members], 1)
        return torch.logsumexp(logs, 1)

    labels = mean(x).argmax(1)
    accuracy = {}
    for name, loss in [("averaged", naive), ("logarithmic", logarithmic)]:
        y = x.clone()
        for _ in range(20):
            y = y.detach().requires_grad_(True)
            loss(y).sum().backward()
            g = torch.nan_to_num(y.grad)
            y = (x + (y.detach() + 2.5 * radius / 20 * g.sign() - x).clamp(-radius, radius)).clamp(0, 1)
        accuracy[name] = (mean(y).argmax(1) == labels).float().mean().item()
    print(accuracy)
    return {"rows": array(x.numpy()), "labels": array(labels.numpy()), "weights": [array(w) for w in weights],
            "radius": radius, "averaged": accuracy["averaged"], "logarithmic": accuracy["logarithmic"]}


def membership(random):
    result, losses, odds, truth = {}, [], [], []
    for name, rows, sureness in [("members", 250, 2.5), ("others", 1200, 1.5)]:
        labels = random.randint(3, size=rows)
        z = random.normal(size=(rows, 3)) * 1.5
        z[np.arange(rows), labels] += sureness
        logs = torch.log_softmax(torch.tensor(z), 1).numpy()
        order = np.sort(logs, 1)
        losses += list(logs[np.arange(rows), labels].astype(np.float32))
        odds += list((order[:, 2] - np.logaddexp(order[:, 0], order[:, 1])).astype(np.float32))
        truth += [name == "members"] * rows
        result[name] = {"logProbabilities": array(logs), "labels": array(labels),
                        "accuracy": float((logs.argmax(1) == labels).mean())}
    for name, scores in [("loss", losses), ("confidence", odds)]:
        false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
        result[name] = {"auroc": float(roc_auc_score(truth, scores)),
                        "rates": [float(true[false <= rate].max()) for rate in [.001, .01]]}
    return result


def main():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    path = golden.folder("Robustness")
    made = {"script": os.path.basename(__file__), "seed": SEED, "versions": golden.versions("numpy", "torch", "scikit-learn")}
    for offset, (name, make) in enumerate([("attacks", attacks), ("underflow", underflow), ("membership", membership)]):
        golden.write_json(os.path.join(path, name + ".json"), {**made, **make(np.random.RandomState(SEED + offset))})
    golden.report(path)


main()
