"""Metric values by scikit-learn, SciPy and plain NumPy, all in double precision.

    python make_metrics.py

writes Tests/Golden/Metrics/: seeded random predictions and four small fixtures (E, O, M, T) whose
values are known from other tools; every known value that can be recomputed here is checked.

Conventions: ECE has equal bins (a, b] with 0 in the first and edges k / bins as doubles; Brier is
summed over classes; NLL and entropies use the natural logarithm; out of distribution is the
positive class, with high scores; FPR95 is the false positive rate at the first threshold whose true
positive rate is at least 0.95 (no point of the curve dropped); AUPR-in takes in-distribution as
positive and the negated scores; the predicted class is the first of the largest. AURC is the mean
over k of the error among the k most confident, ties in their original order.
"""

import os

import numpy as np
from scipy.optimize import brentq
from sklearn import metrics

import golden

SEED = 11


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def entropy(p):
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=-1)


def ece(p, y, bins=15, closed="right", edges=None):
    """Sum over bins of |correct - confidence| / rows; bins (a, b] or, closed on the left, [a, b)."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    edges = [k / bins for k in range(bins + 1)] if edges is None else edges
    total = 0.0
    for k in range(bins):
        low, high = edges[k], edges[k + 1]
        if closed == "right":
            inside = ((confidence > low) | (k == 0)) & (confidence <= high)
        else:
            inside = (confidence >= low) & ((confidence < high) | (k == bins - 1))
        total += abs(correct[inside].sum() - confidence[inside].sum())
    return total / len(p)


def equal_mass_ece(p, y, bins):
    """Rows sorted by confidence (stable) and cut into nearly equal parts."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return sum(abs(correct[rows].sum() - confidence[rows].sum()) for rows in parts) / len(p)


def aurc(p, y):
    order = np.argsort(-p.max(axis=1), kind="stable")
    wrong = (p.argmax(axis=1) != y)[order]
    return (np.cumsum(wrong) / np.arange(1, len(p) + 1)).mean()


def classification(p, y):
    return {
        "accuracy": (p.argmax(axis=1) == y).mean(),
        "nll": -np.log(p[np.arange(len(p)), y]).mean(),
        "brier": ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1).mean(),
        "ece15": ece(p, y),
        "ece10": ece(p, y, 10),
        "aurc": aurc(p, y),
        "meanConfidence": p.max(axis=1).mean(),
        "meanEntropy": entropy(p).mean(),
        "errorAUROC": metrics.roc_auc_score(p.argmax(axis=1) != y, 1 - p.max(axis=1)),
    }


def detection(inside, outside):
    labels = np.r_[np.zeros(len(inside), int), np.ones(len(outside), int)]
    scores = np.r_[inside, outside]

    def fpr95(labels, scores):
        fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
        return fpr[np.argmax(tpr >= 0.95)]

    def trapezoid(labels, scores):
        precision, recall, _ = metrics.precision_recall_curve(labels, scores)
        return metrics.auc(recall, precision)

    return {
        "auroc": metrics.roc_auc_score(labels, scores),
        "fpr95": fpr95(labels, scores),
        "fpr95InPositive": fpr95(1 - labels, -scores),
        "auprOutAveragePrecision": metrics.average_precision_score(labels, scores),
        "auprOutTrapezoid": trapezoid(labels, scores),
        "auprInAveragePrecision": metrics.average_precision_score(1 - labels, -scores),
        "auprInTrapezoid": trapezoid(1 - labels, -scores),
    }


def sampled(logits):
    """Entropies of [samples, rows, classes] logits."""
    p = softmax(logits)
    total, aleatoric = entropy(p.mean(axis=0)), entropy(p).mean(axis=0)
    return {"totalEntropy": total, "aleatoricEntropy": aleatoric, "mutualInformation": total - aleatoric}


def temperature(z, y):
    """The root of the derivative of the NLL in beta = 1 / T."""
    rows = np.arange(len(z))
    slope = lambda beta: ((softmax(beta * z) * z).sum(axis=1) - z[rows, y]).mean()
    nll = lambda t: -np.log(softmax(z / t)[rows, y]).mean()
    best = 1 / brentq(slope, 1e-3, 1e3, xtol=1e-15, rtol=1e-14)
    return {"temperature": best, "nll": nll(best), "nllAtOne": nll(1.0)}


def known(name, value, expected, digits):
    """A known number may be rounded or cut off after its last digit."""
    difference = abs(value - expected)
    assert difference < 1.01 * 10.0 ** -digits, (name, value, expected)


def fixtures():
    """(name, inputs, values) of the fixtures E, O, M and T."""
    p = np.array([
        [1, 0, 0], [.9, .05, .05], [.8, .15, .05], [.1, .85, .05], [.3, .6, .1], [.2, .3, .5], [.4, .35, .25],
        [.05, .05, .9], [.7, .2, .1], [.1, .2, .7], [.02, .95, .03], [.34, .33, .33]])
    y = np.array([1, 0, 0, 1, 0, 2, 1, 2, 0, 1, 1, 2])
    bins = (5, 10, 15)
    right = [ece(p, y, n) for n in bins]
    left = [ece(p, y, n, "left") for n in bins]
    netcal = [ece(p, y, n, "left", np.linspace(0, 1, n + 1)) for n in bins]
    for values, expected in ((right, (.1366666667, .3116666667, .3116666667)),
                             (left, (.1533333333, .2783333333, .3116666667)),
                             (netcal, (.1366666667, .195, .3116666667))):
        for value, number in zip(values, expected):
            known("ECE", value, number, 10)
    values = {
        "accuracy": (p.argmax(axis=1) == y).mean(),
        "brier": ((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(),
        "aurc": aurc(p, y),
        "bins": list(bins),
        "ece": np.array(right),
        "eceLeftClosed": np.array(left),
        "eceNetcal": np.array(netcal),
        "eceEqualMass": np.array([equal_mass_ece(p, y, n) for n in (5, 10)]),
        "eceTorchmetrics": [0.25333336, 0.31999999, 0.31999999],
    }
    known("Brier", values["brier"], .4976833333, 10)
    known("AURC", values["aurc"], .3547077922, 10)
    for value, number in zip(values["eceEqualMass"], (.2283333333, .2866666667)):
        known("equal mass", value, number, 10)
    finite = p.copy()
    finite[0] = .97, .02, .01
    values["nllWithRow0Replaced"] = -np.log(finite[np.arange(12), y]).mean()
    known("NLL", values["nllWithRow0Replaced"], .88178474, 7)  # known from a tool in single precision
    yield "fixture-E", {"probabilities": golden.array(p), "labels": y, "row0Replacement": finite[0]}, values

    inside = np.array([.1, .2, .2, .3, .35, .4, .5, .6, .15, .05])
    outside = np.array([.3, .45, .55, .7, .9, .25, .5])
    values = detection(inside, outside)
    for key, number in (("auroc", .8), ("fpr95", .5), ("fpr95InPositive", .7142857143),
                        ("auprInTrapezoid", .8708996559), ("auprInAveragePrecision", .8686752137),
                        ("auprOutTrapezoid", .7460059781), ("auprOutAveragePrecision", .7513914657)):
        known(key, values[key], number, 10)
    yield "fixture-O", {"inScores": inside, "outScores": outside}, values

    s, n, k = np.ogrid[:3, :2, :3]
    z = 1.5 * np.sin(0.4 + 0.9 * (6 * s + 3 * n + k))
    values = sampled(z)
    for key, numbers in (("totalEntropy", (.9336100602, .8891181684)), ("aleatoricEntropy", (.8820228850, .8663712604)),
                         ("mutualInformation", (.0515871751, .0227469079))):
        for value, number in zip(values[key], numbers):
            known(key, value, number, 10)
    yield "fixture-M", {"logits": golden.array(z)}, values

    i, c = np.ogrid[:12, :4]
    z = 2 * np.sin(1 + 3 * i + c) + 3 * (c == i % 4)
    y = np.array([(i if i % 5 else i + 1) % 4 for i in range(12)])
    values = temperature(z, y)
    known("T", values["temperature"], 1.726918466, 7)  # from a minimiser of function values: 8 digits; the root is exact
    known("NLL", values["nll"], .9723033554, 10)
    known("NLL at 1", values["nllAtOne"], 1.0870832370, 10)
    yield "fixture-T", {"logits": golden.array(z), "labels": y}, values


def random_cases():
    random = np.random.RandomState(SEED)
    z = random.normal(size=(200, 5)) * 2
    y = (z / 1.8 + random.gumbel(size=z.shape)).argmax(axis=1)
    yield "classification-random", {"probabilities": golden.array(softmax(z)), "labels": y}, classification(softmax(z), y)

    # Confidences on the edges k / 15, and many ties.
    p = np.array([random.multinomial(15, random.dirichlet([.7] * 5)) for _ in range(200)]) / 15
    y = np.array([random.choice(5, p=row) for row in p])
    yield "classification-tied", {"probabilities": golden.array(p), "labels": y}, classification(p, y)

    inside, outside = random.normal(0, 1, 150), random.normal(1.1, 1.3, 120)
    yield "detection-random", {"inScores": inside, "outScores": outside}, detection(inside, outside)
    inside, outside = np.round(random.beta(2, 5, 150) * 10) / 10, np.round(random.beta(4, 3, 120) * 10) / 10
    yield "detection-tied", {"inScores": inside, "outScores": outside}, detection(inside, outside)
    yield "detection-constant", {"inScores": np.full(6, .25), "outScores": np.full(4, .25)}, detection(
        np.full(6, .25), np.full(4, .25))

    z = random.normal(size=(8, 12, 4)) * 1.5 + random.normal(size=(12, 4)) * 2
    yield "mutual-information", {"logits": golden.array(z)}, sampled(z)

    for name, scale in (("overconfident", 2.7), ("underconfident", 0.6)):
        z = random.normal(size=(150, 4)) * 1.5
        y = (z + random.gumbel(size=z.shape)).argmax(axis=1)
        z = z * scale
        yield "temperature-" + name, {"logits": golden.array(z), "labels": y}, temperature(z, y)


def main():
    folder = golden.folder("Metrics")
    origin = {"script": "make_metrics.py", "versions": golden.versions("scikit-learn", "scipy", "numpy"), "seed": SEED}
    for name, inputs, values in [*fixtures(), *random_cases()]:
        golden.write_json(os.path.join(folder, name + ".json"), {**origin, "inputs": inputs, "expected": values})
        print(name, {key: value if isinstance(value, list) else np.round(value, 6).tolist()
                     for key, value in values.items() if np.size(value) < 4})
    golden.report(folder)


if __name__ == "__main__":
    main()
