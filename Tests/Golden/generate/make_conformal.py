"""Conformal ranks, thresholds, sets and intervals by plain NumPy, from the definitions.

    python make_conformal.py

writes Tests/Golden/Conformal/: ranks in exact fractions; sets of classes by LAC, APS and RAPS, with given uniform
numbers and without, over all classes and class by class; split and conformalized quantile intervals; where coverage
lies in 95 of 100 draws, by SciPy.  An infinite threshold is null.
"""

import math
import os
from fractions import Fraction

import numpy as np
from scipy import stats

import golden

SEED = 53


def rank(n, alpha):
    """ceil((n + 1)(1 - alpha)) of the decimal that alpha was written as."""
    return math.ceil((n + 1) * (1 - Fraction(str(alpha))))


def threshold(scores, alpha):
    k = rank(len(scores), alpha)
    return np.inf if k > len(scores) else np.sort(scores)[k - 1]


def class_scores(kind, p, u):
    """[rows, classes]"""
    if kind["name"] == "leastAmbiguous":
        return 1 - p
    result = np.empty_like(p)
    for row in range(len(p)):
        before = 0.0
        for place, k in enumerate(np.argsort(-p[row], kind="stable"), start=1):
            score = before + u[row] * p[row, k]
            if kind["name"] == "regularized":
                score = score + kind["weight"] * max(0, place - kind["freeRank"])
            result[row, k] = score
            before = before + p[row, k]
    return result


def finite(values):
    return [None if np.isinf(v) else float(v) for v in values]


def classification(kind, alpha, by_class, p, y, fresh, fresh_y, u, fresh_u):
    classes = p.shape[1]
    own = class_scores(kind, p, u)[np.arange(len(y)), y]
    q = np.array([threshold(own[y == k], alpha) for k in range(classes)] if by_class else [threshold(own, alpha)])
    member = class_scores(kind, fresh, fresh_u) <= q
    hit = member[np.arange(len(fresh_y)), fresh_y]
    size = member.sum(axis=1)
    return {
        "thresholds": finite(q),
        "members": golden.array(member.astype(int)),
        "coverage": hit.mean(),
        "meanSize": size.mean(),
        "classCoverage": np.array([hit[fresh_y == k].mean() for k in range(classes)]),
        "classMeanSize": np.array([size[fresh_y == k].mean() for k in range(classes)]),
    }


def intervals(lower, upper, target):
    return {
        "lower": lower, "upper": upper,
        "coverage": np.mean((lower <= target) & (target <= upper)), "meanWidth": np.mean(np.maximum(0, upper - lower)),
    }


def main():
    folder = golden.folder("Conformal")
    origin = {"script": os.path.basename(__file__), "versions": golden.versions("numpy"), "seed": SEED}
    alphas = [0.01, 0.05, 0.1, 0.2, 0.29, 0.3, 0.57, 0.7, 0.9, 0.99]
    golden.write_json(
        os.path.join(folder, "ranks.json"),
        origin | {"alphas": alphas, "ranks": [[rank(n, a) for n in range(1, 201)] for a in alphas]})

    random = np.random.RandomState(SEED)
    z = random.normal(size=(150, 4)) * 1.5
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    # Equal probabilities, and certain rows.
    p[:3] = [.25, .25, .25, .25], [0, 0, 1, 0], [.5, 0, .5, 0]
    p[110:113] = p[:3]
    y = (np.log(np.maximum(p, 1e-9)) + random.gumbel(size=z.shape)).argmax(axis=1)
    u = random.rand(150)
    old, new = slice(0, 110), slice(110, 150)
    cases = []
    for kind in (
        {"name": "leastAmbiguous"}, {"name": "adaptive"}, {"name": "regularized", "weight": 0.05, "freeRank": 1},
        {"name": "regularized", "weight": 0.3, "freeRank": 2},
    ):
        for randomized in (False, True):
            for by_class in (False, True):
                for alpha in (0.1, 0.3, 0.005):
                    numbers = u if randomized else np.ones_like(u)
                    cases.append({
                        "score": kind, "randomized": int(randomized), "byClass": int(by_class), "alpha": alpha,
                        "expected": classification(
                            kind, alpha, by_class, p[old], y[old], p[new], y[new], numbers[old], numbers[new])})
    golden.write_json(
        os.path.join(folder, "classes.json"),
        origin | {
            "inputs": {
                "probabilities": golden.array(p[old]), "labels": y[old], "uniforms": u[old],
                "fresh": golden.array(p[new]), "freshLabels": y[new], "freshUniforms": u[new]},
            "cases": cases})

    deviation = random.gamma(2, .5, size=90)
    mean = random.normal(size=90)
    target = mean + deviation * random.standard_t(4, size=90)
    low, high = mean - deviation * random.uniform(.2, 2.5, size=90), mean + deviation * random.uniform(.2, 2.5, size=90)
    # Quantiles that cross.
    low[5], high[5], low[70], high[70] = high[5], low[5], high[70], low[70]
    old, new = slice(0, 60), slice(60, 90)
    cases = []
    for alpha in (0.1, 0.25, 0.9):
        error = np.abs(target - mean)
        q = [
            threshold(error[old], alpha), threshold((error / deviation)[old], alpha),
            threshold(np.maximum(low - target, target - high)[old], alpha)]
        cases.append({
            "alpha": alpha, "thresholds": q,
            "absolute": intervals(mean[new] - q[0], mean[new] + q[0], target[new]),
            "normalized": intervals(mean[new] - q[1] * deviation[new], mean[new] + q[1] * deviation[new], target[new]),
            "quantiles": intervals(low[new] - q[2], high[new] + q[2], target[new]),
        })
    golden.write_json(
        os.path.join(folder, "intervals.json"),
        origin | {
            "inputs": {"means": mean, "standardDeviations": deviation, "targets": target, "lower": low, "upper": high},
            "fitted": 60, "cases": cases})

    # Quantiles of the number of hits, which are whole numbers: compared exactly.
    cases = []
    for fitted, fresh, alpha in (
        (9, 1, 0.1), (19, 30, 0.1), (100, 57, 0.05), (500, 1000, 0.1), (5000, 5000, 0.1), (5000, 5000, 0.01),
        (137, 4000, 0.5), (300, 20, 0.9), (20000, 100000, 0.02), (50, 50, 0.99),
    ):
        k = rank(fitted, alpha)
        hits = stats.betabinom(fresh, k, fitted + 1 - k)
        cases.append({
            "fitted": fitted, "fresh": fresh, "alpha": alpha, "low": int(hits.ppf(0.025)),
            "high": int(hits.ppf(0.975))})
    golden.write_json(
        os.path.join(folder, "bands.json"),
        origin | {"versions": golden.versions("numpy", "scipy"), "cases": cases})
    golden.report(folder)


if __name__ == "__main__":
    main()
