#!/usr/bin/env python3
"""Compares the numbers of `bayesify evaluate` with those of the libraries that people use, on ten random sets of predictions and
on real ones, and writes Documentation/MetricComparison.md.

    python Scripts/compare-metrics.py [--records NAME=TEST.h5:0:5000[,VALIDATION.h5:0:5000][,FOREIGN.h5]] …
        [--bayesify .build/release/bayesify] [--page Documentation/MetricComparison.md]

--records names exit records that `bayesify extract` wrote (of their last exit the logits are taken): test rows, validation rows
for a temperature and prediction sets, and foreign rows.  Random sets have 500 to 3,000 rows and 2 to 20 classes; each has
validation and foreign rows too, ties, and some rows that are certain.

Every number is measured once by `bayesify evaluate` on records of the logits, and once by the library on probabilities
computed from the same logits in double precision (single where the library takes nothing else).  A row of the page is the
largest difference over all sets; above 1e-6 it is explained, or the command fails.

Needs numpy, h5py, scipy, netcal, torch, torchmetrics, torch-uncertainty, scikit-learn, pytorch-ood and mapie.
"""
import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import warnings

import h5py
import numpy as np

warnings.filterwarnings("ignore")

import netcal.metrics
import torch
import torch_uncertainty.metrics.classification as uncertainty
import torchmetrics.classification as torchmetrics
from mapie.classification import SplitConformalClassifier
from netcal.scaling import TemperatureScaling
from pytorch_ood.metrics import OODMetrics
from scipy.optimize import minimize_scalar
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin

BINS, ALPHA = 15, 0.1
LIMIT = 1e-6
EXPLAINED = {
    "temperature, netcal":
        "netcal takes probabilities and clips them, which moves rows that are certain; without such rows it agrees to 1e-5.",
    "ECE, torchmetrics": "torchmetrics adds up rows in single precision.",
    "NLL, scikit-learn": "scikit-learn clips probabilities at 2.2e-16; ours has no floor.",
    "top 3, scikit-learn": "Of classes that tie at the k-th place scikit-learn takes the last, ours the first, as NumPy's stable order.",
    "top 5, scikit-learn": "The same.",
    "prediction sets by LAC (coverage), MAPIE":
        "MAPIE takes `numpy.quantile(…, (n+1)(1−α)/n, \"higher\")`, the rank after the finite-sample one for some n.",
    "AUPR, foreign positive, pytorch-ood": "pytorch-ood sums trapezoids; ours and scikit-learn's are steps.",
    "AUPR, test positive, pytorch-ood": "The same.",
    "AURC, Torch-Uncertainty": "It sums trapezoids over coverage and divides by 1 − 1/n; ties are not in order.",
    "AUGRC, Torch-Uncertainty": "The same.",
}


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are given: rows are their indices."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.classes_ = np.arange(probabilities.shape[1])
        self.is_fitted_ = True

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return self.probabilities[np.asarray(x)[:, 0].astype(int)]

    def predict(self, x):
        return self.predict_proba(x).argmax(axis=1)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def random_sets():
    for seed in range(10):
        random = np.random.default_rng(seed)
        rows, classes = int(random.integers(500, 3000)), [2, 3, 3, 5, 5, 10, 10, 10, 20, 20][seed]

        def draw(count, strength):
            z = random.normal(size=(count, classes)) * strength
            labels = (z / (1 + seed % 3 / 2) + random.gumbel(size=z.shape)).argmax(axis=1)
            # Networks repeat themselves, and are certain of some rows.
            z[: count // 20] = np.round(z[: count // 20])
            z[-(count // 50):] *= 12
            return z.astype("float32"), labels

        yield f"random {seed}", draw(rows, 2.5), draw(1000, 2.5), draw(rows // 2, 1.2)[0]


def real_sets(specifications):
    for specification in specifications:
        name, files = specification.split("=", 1)
        parts = [part.split(":") for part in files.split(",")]

        def read(file, first=0, end=None):
            with h5py.File(file, "r") as source:
                last = max(source["exits"], key=int)
                rows = slice(int(first), int(end) if end else None)
                labels = source["labels"][rows] if "labels" in source else None
                return source[f"exits/{last}/logits"][rows], labels

        test, validation, foreign = (read(*part) for part in parts)
        yield name, test, validation, foreign[0]


def write(file, logits, labels=None):
    with h5py.File(file, "w") as out:
        out["exits/0/logits"] = logits
        if labels is not None:
            out["labels"] = labels.astype("int64")


def ours(command, folder, test, validation, foreign):
    files = [os.path.join(folder, name) for name in ("test.h5", "validation.h5", "foreign.h5", "report.json")]
    write(files[0], *test)
    write(files[1], *validation)
    write(files[2], foreign)
    subprocess.run(
        [command, "evaluate", "--data", files[0], "--validation", files[1], "--ood", "foreign=" + files[2], "--conformal",
         str(ALPHA), "--json", files[3], "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with open(files[3], encoding="utf-8") as file:
        models = json.load(file)["models"]
    exit, details = models[0]["exits"][0], models[0]["exits"][0]["details"]
    calibration, scores = details["calibration"], exit["ood"][0]["scores"]
    values = {
        "accuracy": exit["accuracy"], "NLL": exit["nll"], "Brier": exit["brier"],
        "ECE, rule of netcal": calibration["conventions"]["netcal"],
        "ECE, rule of torchmetrics": calibration["conventions"]["torchmetrics"],
        "equal mass": calibration["equalMass"], "AURC": details["selection"]["aurc"],
        "AUGRC": details["selection"]["augrc"], "temperature": models[1]["exits"][0]["settings"]["temperature"],
        "LAC": next(sets["coverage"] for sets in exit["conformal"] if sets["method"] == "lac" and not sets["isByClass"]),
    }
    for top in details["topAccuracies"]:
        values[f"top {top['k']}"] = top["value"]
    for score in ("maximumProbability", "entropy", "energy"):
        for key in ("auroc", "auprOut", "auprIn", "fpr95"):
            values[f"{key} {score}"] = scores[score][key]
    return values


def updated(metric, *values):
    metric.update(*[torch.as_tensor(value) for value in values])
    return float(metric.compute())


def theirs(test, validation, foreign):
    """name ↦ (the name of our number, the library's value)"""
    (z, y), (held, held_labels) = [(logits.astype(float), labels) for logits, labels in (test, validation)]
    out = foreign.astype(float)
    p, q, classes = softmax(z), softmax(out), z.shape[1]
    single = p.astype("float32")
    # In single precision, as ours are ranked; rows that tie in the order in which they came.
    order = np.argsort((1 - p.max(axis=1)).astype("float32"), kind="stable")
    errors = np.cumsum((p.argmax(axis=1) != y)[order])
    counts = np.arange(1, len(y) + 1)
    values = {
        "accuracy, scikit-learn": ("accuracy", metrics.accuracy_score(y, p.argmax(axis=1))),
        "accuracy, torchmetrics": ("accuracy", updated(
            torchmetrics.MulticlassAccuracy(classes, average="micro"), single, y)),
        "NLL, scikit-learn": ("NLL", metrics.log_loss(y, p, labels=np.arange(classes))),
        "NLL, Torch-Uncertainty": ("NLL", updated(uncertainty.CategoricalNLL(), p, y)),
        "Brier, NumPy": ("Brier", ((p - np.eye(classes)[y]) ** 2).sum(axis=1).mean()),
        "Brier, Torch-Uncertainty": ("Brier", updated(uncertainty.BrierScore(classes), p, y)),
        # Two classes netcal would bin by the second one's probability.
        "equal mass, Torch-Uncertainty": ("equal mass", updated(
            uncertainty.AdaptiveCalibrationError("multiclass", num_bins=BINS, num_classes=classes), single, y)),
        "ECE, torchmetrics": ("ECE, rule of torchmetrics", updated(
            torchmetrics.MulticlassCalibrationError(classes, n_bins=BINS, norm="l1"), single, y)),
        "AURC, NumPy": ("AURC", (errors / counts).mean()),
        "AURC, Torch-Uncertainty": ("AURC", updated(uncertainty.AURC(), p, y)),
        "AUGRC, NumPy": ("AUGRC", (errors / len(y)).mean()),
        "AUGRC, Torch-Uncertainty": ("AUGRC", updated(uncertainty.AUGRC(), p, y)),
    }
    if classes > 2:
        values["ECE, netcal"] = ("ECE, rule of netcal", float(netcal.metrics.ECE(BINS).measure(p, y)))
    for k in (3, 5):
        if classes > k:
            values[f"top {k}, scikit-learn"] = (
                f"top {k}", metrics.top_k_accuracy_score(y, p, k=k, labels=np.arange(classes)))
            first = np.argsort(-p, axis=1, kind="stable")[:, :k]
            values[f"top {k}, NumPy"] = (f"top {k}", (first == y[:, None]).any(axis=1).mean())
    rows = np.arange(len(held))

    def loss(log_temperature):
        scaled = held / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return (np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, held_labels]).mean()

    found = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-12})
    values["temperature, SciPy"] = ("temperature", float(np.exp(found.x)))
    if classes > 2:
        scaling = TemperatureScaling().fit(softmax(held), held_labels)
        values["temperature, netcal"] = ("temperature", float(1 / np.asarray(scaling.weights).ravel()[0]))
    both = np.concatenate([softmax(held), p])
    sets = SplitConformalClassifier(Given(both), confidence_level=1 - ALPHA, conformity_score="lac", prefit=True)
    sets.conformalize(rows[:, None], held_labels)
    _, inside = sets.predict_set((len(held) + np.arange(len(p)))[:, None])
    values["prediction sets by LAC (coverage), MAPIE"] = ("LAC", inside[np.arange(len(y)), y, 0].mean())

    def entropy(p):
        return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1)

    def energy(z):
        return -(z.max(axis=1) + np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)))

    is_foreign = np.concatenate([np.zeros(len(p)), np.ones(len(q))])
    for name, known, new in (
        ("maximumProbability", 1 - p.max(axis=1), 1 - q.max(axis=1)), ("entropy", entropy(p), entropy(q)),
        ("energy", energy(z), energy(out)),
    ):
        # As ours are ranked.
        score = np.concatenate([known, new]).astype("float32")
        values[f"AUROC of {name}, scikit-learn"] = (f"auroc {name}", metrics.roc_auc_score(is_foreign, score))
        values[f"AUPR of {name}, foreign positive, scikit-learn"] = (
            f"auprOut {name}", metrics.average_precision_score(is_foreign, score))
        values[f"AUPR of {name}, test positive, scikit-learn"] = (
            f"auprIn {name}", metrics.average_precision_score(1 - is_foreign, -score))
        if name != "maximumProbability":
            continue
        pytorch = OODMetrics()
        pytorch.update(torch.as_tensor(score), torch.as_tensor(np.where(is_foreign == 1, -1, 1)))
        found = pytorch.compute()
        values["AUROC, pytorch-ood"] = (f"auroc {name}", float(found["AUROC"]))
        values["FPR95, pytorch-ood"] = (f"fpr95 {name}", float(found["FPR95TPR"]))
        values["AUPR, foreign positive, pytorch-ood"] = (f"auprOut {name}", float(found["AUPR-OUT"]))
        values["AUPR, test positive, pytorch-ood"] = (f"auprIn {name}", float(found["AUPR-IN"]))
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", action="append", default=[])
    parser.add_argument("--bayesify", default=".build/release/bayesify")
    parser.add_argument("--page", default="Documentation/MetricComparison.md")
    arguments = parser.parse_args()
    rows, names = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, test, validation, foreign in [*random_sets(), *real_sets(arguments.records)]:
            own = ours(arguments.bayesify, folder, test, validation, foreign)
            for key, (number, value) in theirs(test, validation, foreign).items():
                rows.setdefault(key, []).append((abs(own[number] - value), name))
            names.append(name)
            print(f"{name}: {len(test[0])} rows, {test[0].shape[1]} classes", flush=True)
    failed = [key for key, found in rows.items() if max(found)[0] > LIMIT and key not in EXPLAINED]
    packages = ["numpy", "netcal", "torch", "torchmetrics", "torch_uncertainty", "scikit-learn", "pytorch-ood", "MAPIE"]
    lines = [
        "# Numbers of reports against other libraries", "",
        "Written by `python Scripts/compare-metrics.py`: every number of `bayesify evaluate` that another library gives too, on",
        f"ten random sets of predictions and {len(names) - 10} real ones ({', '.join(names[10:]) or 'none'}). The largest "
        "difference over all", "sets; what is above 1e-6 is explained.", "",
        "Versions: " + ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages) + ".", "",
        "| number, library | sets | largest difference | in | why |", "|---|--:|--:|---|---|",
    ]
    for key, found in rows.items():
        largest, where = max(found)
        why = EXPLAINED.get(key, "") if largest > LIMIT else ""
        lines.append(f"| {key} | {len(found)} | {largest:.1e} | {where} | {why} |")
    print("\n".join(lines[10:]))
    if failed:
        sys.exit(f"Not explained: {', '.join(failed)}.")
    with open(arguments.page, "w", encoding="utf-8") as page:
        page.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
