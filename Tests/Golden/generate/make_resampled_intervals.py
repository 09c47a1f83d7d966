"""Bootstrap intervals by SciPy, paired differences by NumPy, and the smooth calibration error by quadrature.

    python make_resampled_intervals.py

writes Tests/Golden/ResampledIntervals/: seeded logits of two models on the same rows and on foreign rows.  Intervals are the
2.5 % and 97.5 % quantiles of scipy.stats.bootstrap's distribution (method "percentile", rows drawn with replacement),
moved by the value less the distribution's mean, as the definition asks; `deviations` are the distributions' standard deviations,
in which tolerances are given.  "smoothDeviation" is the standard deviation of the smooth calibration error on 500 such sets, its
kernel's images on a grid of 500 points.  The smooth calibration error is its formula on a grid of 20,000 points, the kernel's
images up to five standard deviations; relplot's is beside it.
"""

import os

import numpy as np
import relplot
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

import golden

SEED, COUNT, BINS = 31, 2000, 15
EDGES = np.arange(BINS + 1) / BINS


def places(c):
    return np.maximum(np.searchsorted(EDGES, c, side="left") - 1, 0)


def ece(c, a):
    return np.abs(np.bincount(places(c), a - c, BINS)).sum() / len(c)


def gaps(c, a):
    bins = places(c)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    return np.bincount(bins, a - c, BINS)[filled] / counts[filled], counts[filled] / len(c)


def rms(c, a):
    gap, share = gaps(c, a)
    return np.sqrt((share * gap ** 2).sum())


def equal_mass(c, a):
    order = np.argsort(c, kind="stable")
    return sum(abs((a - c)[part].sum()) for part in np.array_split(order, BINS)) / len(c)


def risks(c, a):
    return np.cumsum(1 - a[np.argsort(-c, kind="stable")])


def aurc(c, a):
    return (risks(c, a) / np.arange(1, len(c) + 1)).mean()


def excess(c, a):
    k, right = np.arange(1, len(c) + 1), a.sum()
    return aurc(c, a) - (np.maximum(0, k - right) / k).mean()


def augrc(c, a):
    return risks(c, a).mean() / len(c)


def risk(coverage):
    def value(c, a):
        k = int(np.ceil(coverage * len(c)))
        return risks(c, a)[k - 1] / k
    return value


METRICS = {
    "ece": ece, "maximum": lambda c, a: np.abs(gaps(c, a)[0]).max(), "rootMeanSquare": rms, "equalMass": equal_mass,
    "aurc": aurc, "excessAURC": excess, "augrc": augrc, "risk80": risk(0.8), "risk90": risk(0.9), "risk95": risk(0.95)}


def classwise(p, y):
    return np.mean([ece(p[:, k], (y == k).astype(float)) for k in range(p.shape[1])])


def brier_part(part):
    def value(p, y):
        total = 0
        for k in range(p.shape[1]):
            event = (y == k).astype(float)
            bins = places(p[:, k])
            counts = np.bincount(bins, minlength=BINS)
            filled = counts > 0
            frequency = np.bincount(bins, event, BINS)[filled] / counts[filled]
            mean = np.bincount(bins, p[:, k], BINS)[filled] / counts[filled]
            share, f = counts[filled] / len(y), event.mean()
            parts = {
                "reliability": (share * (mean - frequency) ** 2).sum(), "resolution": (share * (frequency - f) ** 2).sum(),
                "uncertainty": f * (1 - f)}
            brier = ((p[:, k] - event) ** 2).mean()
            parts["withinBins"] = brier - (parts["reliability"] - parts["resolution"] + parts["uncertainty"])
            total += parts[part]
        return total
    return value


def fpr(known, foreign):
    threshold = np.sort(foreign)[len(foreign) - -(-len(foreign) * 19 // 20)]
    return (known >= threshold).mean()


def precision(known, foreign, sign):
    label = np.r_[np.zeros(len(known)), np.ones(len(foreign))]
    return average_precision_score(label if sign > 0 else 1 - label, sign * np.r_[known, foreign])


def auroc(known, foreign):
    return roc_auc_score(np.r_[np.zeros(len(known)), np.ones(len(foreign))], np.r_[known, foreign])


def summary(value, drawn):
    low, high = np.quantile(drawn, [0.025, 0.975]) + value - drawn.mean()
    return [value, low, high, drawn.std()]


def by_scipy(statistic, *rows):
    """Rows drawn together: one array of row numbers."""
    value = statistic(np.arange(len(rows[0])), *rows)
    result = bootstrap(
        (np.arange(len(rows[0])),), lambda index: statistic(index.astype(int), *rows), vectorized=False, n_resamples=COUNT,
        method="percentile", rng=np.random.default_rng(SEED))
    return summary(value, result.bootstrap_distribution)


def of_two(statistic, known, foreign):
    """Known and foreign rows drawn each for themselves; each is an array [models, rows]."""
    random = np.random.default_rng(SEED)
    drawn = np.array([
        statistic(known[:, random.integers(0, known.shape[1], known.shape[1])],
                  foreign[:, random.integers(0, foreign.shape[1], foreign.shape[1])]) for _ in range(COUNT)])
    return summary(statistic(known, foreign), drawn)


def smoothed(c, a, deviation):
    t = (np.arange(20000) + 0.5) / 20000
    sums = np.zeros_like(t)
    reach = int(np.ceil(5 * deviation)) + 1
    for image in range(-reach, reach + 1):
        for sign in (1, -1):
            for ci, ai in zip(c, a):
                sums += (ai - ci) * np.exp(-0.5 * ((t - 2 * image - sign * ci) / deviation) ** 2)
    return np.abs(sums).mean() / (deviation * np.sqrt(2 * np.pi)) / len(c)


def smooth(c, a):
    return {
        "smooth": brentq(lambda s: smoothed(c, a, s) - s, 1e-3, 1),
        "smoothAt": [0.02, 0.1], "smoothedAt": [smoothed(c, a, s) for s in (0.02, 0.1)],
        "relplot": float(relplot.smECE(c, a))}


def smooth_deviation(c, a):
    """Kernels are wide here, so that a coarse grid holds them, and are interpolated between deviations."""
    t = (np.arange(500) + 0.5) / 500
    deviations = np.geomspace(0.01, 0.4, 60)
    kernels = np.array([sum(
        np.exp(-0.5 * ((t[:, None] - 2 * image - sign * c) / s) ** 2) for image in range(-4, 5) for sign in (1, -1))
        / (s * np.sqrt(2 * np.pi)) for s in deviations])
    random = np.random.default_rng(SEED)
    values = []
    for _ in range(500):
        index = np.bincount(random.integers(0, len(c), len(c)), minlength=len(c)) * (a - c)
        excess = np.abs(kernels @ index).mean(1) / len(c) - deviations
        place = np.flatnonzero(excess < 0)[0]
        share = excess[place - 1] / (excess[place - 1] - excess[place])
        values.append(deviations[place - 1] + share * (deviations[place] - deviations[place - 1]))
    return np.std(values)


def rows(random, count, classes):
    """Two models that err on the same rows, too sure of themselves, the second one more."""
    truth = random.standard_normal((count, classes)) * 1.5
    y = (np.cumsum(softmax(truth, 1), 1) < random.random((count, 1))).sum(1).clip(0, classes - 1)
    first = (truth + 0.7 * random.standard_normal(truth.shape)) * 1.5
    second = (first + 0.4 * random.standard_normal(truth.shape)) * 1.2
    return first.astype(np.float32), second.astype(np.float32), y


def main():
    folder = golden.folder("ResampledIntervals")
    for name, count, foreign_count, classes in (("small", 300, 150, 3), ("large", 2000, 900, 3)):
        random = np.random.default_rng(SEED + count)
        first, second, y = rows(random, count, classes)
        strange = [(0.5 * z).astype(np.float32) for z in rows(random, foreign_count, classes)[:2]]
        p, q = softmax(first.astype(float), 1), softmax(second.astype(float), 1)
        c, a = p.max(1), (p.argmax(1) == y).astype(float)
        d, b = q.max(1), (q.argmax(1) == y).astype(float)
        known = np.array([1 - c, 1 - d])
        foreign = np.array([1 - softmax(z.astype(float), 1).max(1) for z in strange])
        expected = {key: by_scipy(lambda i, c, a, m=metric: m(c[i], a[i]), c, a) for key, metric in METRICS.items()}
        guess = p.argmax(1)
        expected["overlap"] = by_scipy(lambda i, y, guess: jaccard_score(y[i], guess[i], average="macro"), y, guess)
        expected["smoothDeviation"] = smooth_deviation(c, a)
        expected["classwise"] = by_scipy(lambda i, p, y: classwise(p[i], y[i]), p, y)
        for part in ("reliability", "resolution", "uncertainty", "withinBins"):
            expected[part] = by_scipy(lambda i, p, y, m=brier_part(part): m(p[i], y[i]), p, y)
        expected["eceDifference"] = by_scipy(
            lambda i, c, a, d, b: ece(d[i], b[i]) - ece(c[i], a[i]), c, a, d, b)
        expected["auprOut"] = of_two(lambda k, f: precision(k[0], f[0], 1), known, foreign)
        expected["auprIn"] = of_two(lambda k, f: precision(k[0], f[0], -1), known, foreign)
        expected["fpr95"] = of_two(lambda k, f: fpr(k[0], f[0]), known, foreign)
        expected["aurocDifference"] = of_two(
            lambda k, f: auroc(k[1], f[1]) - auroc(k[0], f[0]), known, foreign)
        if name == "small":
            expected |= smooth(c, a)
        golden.write_json(os.path.join(folder, f"{name}.json"), {
            "script": os.path.basename(__file__), "seed": SEED,
            "versions": golden.versions("numpy", "scipy", "scikit-learn", "relplot"),
            "inputs": {
                "first": golden.array(first), "second": golden.array(second), "labels": y,
                "firstForeign": golden.array(strange[0]), "secondForeign": golden.array(strange[1])},
            "expected": expected})
    golden.report(folder)


if __name__ == "__main__":
    main()
