"""Calibration, risk-coverage, disagreement and regression values by the libraries that people use.

    python make_calibration_metrics.py

writes Tests/Golden/CalibrationMetrics/: seeded predictions with ties, edges and certain rows, and fixtures E and R, with
values of netcal, torchmetrics, Torch-Uncertainty, scikit-learn and uncertainty-toolbox.  What no library has in the form
wanted is plain NumPy in double precision: the parts of the Brier score, the classwise error with bins (a, b], the
oracles of the risk-coverage curve, and means over coverages.
"""

import os
import warnings

import numpy as np

warnings.filterwarnings("ignore")

import netcal.metrics
import torch
import torch_uncertainty.metrics.classification as uncertainty
import torchmetrics.classification as torchmetrics
import uncertainty_toolbox as toolbox
from sklearn import metrics

import golden

SEED = 23
BINS = [5, 10, 15]


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def classwise(p, y, bins):
    """Mean over classes of the error of p[:, k] against y == k, bins (a, b] with 0 in the first."""
    edges = np.arange(bins + 1) / bins
    total = 0.0
    for k in range(p.shape[1]):
        bin = np.maximum(np.searchsorted(edges, p[:, k], side="left") - 1, 0)
        total += sum(abs((y == k)[bin == b].sum() - p[bin == b, k].sum()) for b in range(bins)) / len(p)
    return total / p.shape[1]


def brier_parts(p, y, bins):
    """Reliability, resolution, uncertainty and what varies within bins, each from its own definition."""
    edges = np.arange(bins + 1) / bins
    parts = np.zeros(4)
    for k in range(p.shape[1]):
        event = (y == k).astype(float)
        bin = np.maximum(np.searchsorted(edges, p[:, k], side="left") - 1, 0)
        parts[2] += event.mean() * (1 - event.mean())
        for b in np.unique(bin):
            inside = bin == b
            forecast, frequency = p[inside, k].mean(), event[inside].mean()
            parts[0] += inside.mean() * (forecast - frequency) ** 2
            parts[1] += inside.mean() * (frequency - event.mean()) ** 2
            deviation = p[inside, k] - forecast
            parts[3] += (deviation ** 2 - 2 * deviation * (event[inside] - frequency)).sum() / len(p)
    return parts


def torch_values(metric, p, y):
    # As networks give them; in double precision torchmetrics puts others into the bins beside an edge.
    metric.update(torch.as_tensor(p, dtype=torch.float32), torch.as_tensor(y))
    return float(metric.compute())


def classification(p, y):
    classes = p.shape[1]
    order = np.argsort(-p.max(axis=1), kind="stable")
    errors = np.cumsum((p.argmax(axis=1) != y)[order])
    n, k = len(y), np.arange(1, len(y) + 1)
    rate = errors[-1] / n
    oracle = np.maximum(0, k - (n - errors[-1])) / k
    aurc = (errors / k).mean()
    values = {
        "bins": BINS,
        "netcalECE": [float(netcal.metrics.ECE(b).measure(p, y)) for b in BINS],
        "netcalACE": [float(netcal.metrics.ACE(b).measure(p, y)) for b in BINS],
        "netcalMCE": [float(netcal.metrics.MCE(b).measure(p, y)) for b in BINS],
    }
    for norm, name in (("l1", "ECE"), ("l2", "RMS"), ("max", "MCE")):
        values["torchmetrics" + name] = [
            torch_values(torchmetrics.MulticlassCalibrationError(classes, n_bins=b, norm=norm), p, y) for b in BINS]
    values |= {
        "torchUncertaintyAdaptive": [
            torch_values(uncertainty.AdaptiveCalibrationError("multiclass", num_bins=b, num_classes=classes), p, y)
            for b in (5, 10)],
        "torchUncertaintyClasswise": [
            torch_values(uncertainty.ClasswiseCalibrationError(classes, num_bins=b), p, y) for b in BINS],
        "classwise": [classwise(p, y, b) for b in BINS],
        "brierParts": brier_parts(p, y, 15),
        "aurc": aurc,
        "excessAURC": aurc - oracle.mean(),
        "excessAURCLimit": aurc - (rate + (1 - rate) * np.log(1 - rate)),
        "augrc": (errors / n).mean(),
        "torchUncertaintyAURC": torch_values(uncertainty.AURC(), p, y),
        "torchUncertaintyAUGRC": torch_values(uncertainty.AUGRC(), p, y),
        "torchUncertaintyRiskAt80": torch_values(uncertainty.RiskAtxCov(0.8), p, y),
        "torchUncertaintyCoverageAt20": torch_values(uncertainty.CovAtxRisk(0.2), p, y),
        "top2": metrics.top_k_accuracy_score(y, p, k=2, labels=np.arange(classes)),
        "top3": metrics.top_k_accuracy_score(y, p, k=3, labels=np.arange(classes)),
        "meanIntersectionOverUnion": metrics.jaccard_score(y, p.argmax(axis=1), average="macro"),
    }
    return values


def regression(mean, deviation, target):
    inputs = (mean, deviation, target)
    return {
        "rmsCalibrationError": toolbox.root_mean_squared_calibration_error(*inputs),
        "meanCalibrationError": toolbox.mean_absolute_calibration_error(*inputs),
        "miscalibrationArea": toolbox.miscalibration_area(*inputs),
        "sharpness": toolbox.sharpness(deviation),
        "nll": toolbox.nll_gaussian(*inputs),
        "crps": toolbox.crps_gaussian(*inputs),
        "check": toolbox.check_score(*inputs),
        "interval": toolbox.interval_score(*inputs),
        "rmse": metrics.root_mean_squared_error(target, mean),
        "mae": metrics.mean_absolute_error(target, mean),
    }


def cases():
    random = np.random.RandomState(SEED)
    p = np.array([
        [1, 0, 0], [.9, .05, .05], [.8, .15, .05], [.1, .85, .05], [.3, .6, .1], [.2, .3, .5], [.4, .35, .25],
        [.05, .05, .9], [.7, .2, .1], [.1, .2, .7], [.02, .95, .03], [.34, .33, .33]])
    yield "fixture-E", p, np.array([1, 0, 0, 1, 0, 2, 1, 2, 0, 1, 1, 2])
    for index in range(3):
        classes = (3, 5, 10)[index]
        z = random.normal(size=(300, classes)) * (1 + index)
        yield f"random-{index}", softmax(z), (z / 1.5 + random.gumbel(size=z.shape)).argmax(axis=1)
    z = random.normal(size=(200, 4)) * 40
    yield "certain", softmax(z), np.where(random.rand(200) < .8, z.argmax(axis=1), random.randint(4, size=200))


def main():
    folder = golden.folder("CalibrationMetrics")
    origin = {
        "script": os.path.basename(__file__),
        "versions": golden.versions(
            "netcal", "torch", "torchmetrics", "torch-uncertainty", "uncertainty-toolbox", "scikit-learn", "numpy"),
        "seed": SEED,
    }
    for name, p, y in cases():
        golden.write_json(
            os.path.join(folder, f"{name}.json"),
            origin | {"inputs": {"probabilities": golden.array(p), "labels": y}, "expected": classification(p, y)})
    random = np.random.RandomState(SEED)
    deviation = random.gamma(2, .5, size=150)
    mean = random.normal(size=150)
    for name, inputs in (
        ("fixture-R", (np.arange(4.0), np.array([.5, 1, 1.5, .2]), np.array([.2, .5, 3, 3.1]))),
        ("regression", (mean, deviation, mean + deviation * random.standard_t(4, size=150))),
    ):
        golden.write_json(
            os.path.join(folder, f"{name}.json"),
            origin | {
                "inputs": dict(zip(("means", "standardDeviations", "targets"), inputs)), "expected": regression(*inputs)})
    golden.report(folder)


if __name__ == "__main__":
    main()
