#!/usr/bin/env python3
"""What evaluating predictions of another program costs, and how it compares with torchmetrics and scikit-learn.

Makes exit records of random logits, their labels drawn from the logits' own softmax, and of foreign rows whose logits are
smaller; a file that is there already from the same seed and of the same size is used again.  Then

    alone       `bayesify evaluate` on --rows test rows with --foreign foreign ones: wall time and peak memory of the process,
                which must stay below --seconds and --megabytes
    compared    both on --compared test rows and a tenth of as many foreign ones, --rounds times in turns: our whole process,
                from its start to the JSON, against the rivals' functions alone on arrays that are in memory, imports and
                files not counted.  The median of the paired ratios must reach --least

The rivals compute of what the report holds: accuracy and the first 3 and 5 classes, negative log-likelihood, Brier score,
calibration errors (l1, largest, l2, each class's) of 15 bins, and for maximum probability, entropy and energy the AUROC, both
average precisions and the false positive rate where 95 % of the foreign rows are found.  Numbers that both have must agree,
or the command fails.

    python -m pip install numpy h5py torch torchmetrics scikit-learn
    python Benchmarks/evaluate_predictions.py FOLDER [--rows 10000000] [--foreign 1000000] [--compared 1000000]
        [--classes 10] [--seed 1] [--rounds 5] [--threads 2] [--seconds 60] [--megabytes 500] [--least 5] [--command FILE]

FOLDER keeps the files, 0.6 GB at the defaults.  Build first with `make release`.
"""
import argparse
import json
import os
import sys
import tempfile
import time

import h5py
import numpy as np

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHUNK = 100_000


def records(folder, name, rows, classes, seed, scale):
    """A file of exit records, 100,000 rows at a time, so that making it takes little memory."""
    path = os.path.join(folder, f"{name}-{rows}x{classes}-{seed}.h5")
    if os.path.exists(path):
        return path
    random = np.random.default_rng([seed, rows, classes, len(name)])
    with h5py.File(path + ".part", "w") as file:
        logits = file.create_dataset("exits/0/logits", (rows, classes), "float32")
        file["exits/0"].attrs["likelihood"] = "categorical"
        labels = file.create_dataset("labels", (rows,), "int32") if name == "test" else None
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            values = scale * random.standard_normal((count, classes))
            # Too confident by a quarter: labels come from softer logits.
            soft = np.exp(0.8 * (values - values.max(1, keepdims=True)))
            places = (np.cumsum(soft, 1) < random.random((count, 1)) * soft.sum(1, keepdims=True)).sum(1)
            logits[first:first + count] = values
            if labels is not None:
                labels[first:first + count] = np.minimum(places, classes - 1)
    os.rename(path + ".part", path)
    return path


def run(arguments, test, foreign, report):
    """Seconds and peak memory in MB of one evaluation."""
    command = [
        arguments.command, "evaluate", "--data", test, "--ood", "foreign=" + foreign, "--json", report, "--force", "--quiet",
        "--threads", str(arguments.threads)]
    start = time.perf_counter()
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("The evaluation failed.")
    return seconds, usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime


def rivals(logits, labels, foreign):
    """What torchmetrics and scikit-learn make of the same rows, by name."""
    import torch
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_accuracy, multiclass_calibration_error
    classes = logits.shape[1]
    probabilities = torch.softmax(logits, 1)
    numbers = {}
    for k in (1, 3, 5):
        if k < classes:
            numbers[f"top{k}"] = float(multiclass_accuracy(probabilities, labels, classes, average="micro", top_k=k))
    for norm in ("l1", "l2", "max"):
        numbers[norm] = float(multiclass_calibration_error(probabilities, labels, classes, n_bins=15, norm=norm))
    numbers["classwise"] = float(np.mean([
        float(binary_calibration_error(probabilities[:, k], (labels == k).int(), n_bins=15)) for k in range(classes)]))
    wide = torch.softmax(logits.double(), 1).numpy()
    numbers["nll"] = log_loss(labels.numpy(), wide, labels=range(classes))
    numbers["brier"] = brier_score_loss(labels.numpy(), wide, labels=range(classes), scale_by_half=False)
    is_foreign = np.concatenate([np.zeros(len(logits)), np.ones(len(foreign))])
    both = torch.cat([logits, foreign])
    softmax = torch.softmax(both.double(), 1)
    scores = {
        "maximumProbability": 1 - softmax.max(1).values,
        "entropy": torch.special.entr(softmax).sum(1),
        "energy": -torch.logsumexp(both.double(), 1)}
    for name, score in scores.items():
        score = score.numpy()
        numbers[name] = roc_auc_score(is_foreign, score)
        numbers[name + " out"] = average_precision_score(is_foreign, score)
        numbers[name + " in"] = average_precision_score(1 - is_foreign, -score)
        false, true, _ = roc_curve(is_foreign, score, drop_intermediate=False)
        numbers[name + " fpr"] = false[np.argmax(true >= 0.95)]
    return numbers


def ours(report):
    exit = json.load(open(report))["models"][0]["exits"][0]
    details = exit["details"]
    numbers = {"top1": exit["accuracy"], "nll": exit["nll"], "brier": exit["brier"],
               "l1": details["calibration"]["conventions"]["torchmetrics"]}
    for top in details["topAccuracies"]:
        numbers[f"top{top['k']}"] = top["value"]
    for name, score in exit["ood"][0]["scores"].items():
        numbers[name] = score["auroc"]
        numbers[name + " out"] = score["auprOut"]
        numbers[name + " in"] = score["auprIn"]
        numbers[name + " fpr"] = score["fpr95"]
    return numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--foreign", type=int, default=1_000_000)
    parser.add_argument("--compared", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--least", type=float, default=5)
    parser.add_argument("--command", default=os.path.join(PROJECT, ".build", "release", "bayesify"))
    arguments = parser.parse_args()
    arguments.command = os.path.abspath(arguments.command)
    os.makedirs(arguments.folder, exist_ok=True)
    failures = []

    def made(name, rows):
        return records(arguments.folder, name, rows, arguments.classes, arguments.seed, 3 if name == "test" else 1.5)

    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        if arguments.rows:
            test, foreign = made("test", arguments.rows), made("foreign", arguments.foreign)
            seconds, megabytes, processor = run(arguments, test, foreign, report)
            print(f"{arguments.rows:,} rows by {arguments.classes} classes and {arguments.foreign:,} foreign rows, "
                  f"{arguments.threads} threads: {seconds:.1f} s ({processor:.1f} s of processor time), "
                  f"{megabytes:.0f} MB at the most")
            if seconds > arguments.seconds or megabytes > arguments.megabytes:
                failures.append(f"More than {arguments.seconds:g} s or {arguments.megabytes:g} MB.")
        if arguments.compared:
            import torch
            torch.set_num_threads(arguments.threads)
            test, foreign = made("test", arguments.compared), made("foreign", arguments.compared // 10)
            with h5py.File(test) as file:
                logits, labels = torch.from_numpy(file["exits/0/logits"][:]), torch.from_numpy(file["labels"][:]).long()
            with h5py.File(foreign) as file:
                strange = torch.from_numpy(file["exits/0/logits"][:])
            rivals(logits[:1000], labels[:1000], strange[:100])  # Imports.
            own, others = [], []
            for _ in range(arguments.rounds):
                own.append(run(arguments, test, foreign, report)[0])
                start = time.perf_counter()
                theirs = rivals(logits, labels, strange)
                others.append(time.perf_counter() - start)
            ratios = np.array(others) / np.array(own)
            print(f"{arguments.compared:,} rows and {arguments.compared // 10:,} foreign ones, {arguments.rounds} rounds: ours "
                  f"{np.median(own):.2f} s, torchmetrics and scikit-learn {np.median(others):.2f} s, ratio "
                  f"{np.median(ratios):.1f} [{ratios.min():.1f}, {ratios.max():.1f}]")
            numbers = ours(report)
            worst = max(numbers.keys() & theirs.keys(), key=lambda name: abs(numbers[name] - theirs[name]))
            print(f"  {len(numbers.keys() & theirs.keys())} numbers in common, the largest difference "
                  f"{abs(numbers[worst] - theirs[worst]):.1e} ({worst})")
            # torchmetrics adds up in single precision.
            if abs(numbers[worst] - theirs[worst]) > 1e-4:
                failures.append("The numbers differ.")
            if np.median(ratios) < arguments.least:
                failures.append(f"Less than {arguments.least:g} times as fast.")
    if failures:
        sys.exit(" ".join(failures))


if __name__ == "__main__":
    main()
