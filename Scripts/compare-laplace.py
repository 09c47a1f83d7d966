#!/usr/bin/env python3
"""Measures structures and predictives of last-layer Laplace on four published networks and writes Documentation/LaplaceComparison.md.

    python Scripts/compare-laplace.py --shared FOLDER --out FOLDER [--networks resnet20,resnet8,fashion,mnist]
        [--resume] [--bayesify .build/release/bayesify] [--page Documentation/LaplaceComparison.md]

FOLDER of --shared holds `checkpoints` and `data` (which files, and their preprocessing, says NETWORKS below).  --out
takes records of every set (about 100 MB a network), posteriors, and one JSON file a fit; it should lie outside the
project.  --networks measures some of the four (none of them with ""); --resume keeps fits that are in --out already.
The page is written of everything that is in --out, and says what is missing.

Each network runs once over each set (`bayesify extract`).  Every row of the page is then `bayesify fit laplace`,
`bayesify predict` and `bayesify evaluate --json` on those records; the page's numbers are those of `evaluate`.  The
mean negative log-likelihood is computed again from the probabilities that `predict` writes, and the script stops where
the two differ.

Takes ten minutes to an hour on two cores.  Build first: make release.  Needs Python 3.10, numpy and h5py.
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STRUCTURES = ["full", "kronecker", "kronecker-folded", "kronecker-factored", "diagonal", "low-rank"]
DRAWING = ["whitened", "antithetic", "function-space", "weights"]
PREDICTIVES = ["plain", "probit", "centred-probit", "mean-field", "bridge", "bridge-normalized"] + DRAWING
SEEDS = [0, 1, 2]
SCORES = {"maximumProbability": "max p", "mutualInformation": "MI", "energy": "energy"}
VALIDATION, REPORT = "0:5000", "5000:10000"
RESIDUAL = ["--scale", "255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
MNIST = ("data/mnist-t10k-images-idx3-ubyte.gz", "data/mnist-t10k-labels-idx1-ubyte.gz")
NOT_MNIST = ("data/notmnist-t10k-images-idx3-ubyte.gz", None)
KMNIST = ("data/kmnist-test-images.npy", None)
FASHION = ("data/fashion-mnist-test.h5", None)
CIFAR = dict(training="data/cifar10-train-20k.h5", test=("data/cifar10-test.h5", None))


@dataclass
class Network:
    title: str
    checkpoint: str
    preprocessing: list
    training: str
    test: tuple
    foreign: dict
    note: str = ""


NETWORKS = {
    "resnet20": Network(
        "ResNet-20 on CIFAR-10", "checkpoints/resnet20-cifar10.h5", RESIDUAL,
        foreign={"CIFAR-100": ("data/cifar100-ood-4k.h5:x", None)}, **CIFAR,
        note="It is right on 99.9 % of its training images. SVHN, the customary far set, was not at hand."),
    "resnet8": Network(
        "ResNet-8 on CIFAR-10", "checkpoints/mlperf-tiny-resnet8-cifar10.h5", [],
        foreign={"CIFAR-100": ("data/cifar100-ood-4k.h5:x", None)}, **CIFAR, note="SVHN was not at hand."),
    "fashion": Network(
        "A small CNN on Fashion-MNIST", "checkpoints/fashion-cnn.h5", ["--scale", "255"], "data/fashion-mnist-train.h5",
        FASHION, {"MNIST": (MNIST[0], None), "KMNIST": KMNIST, "notMNIST": NOT_MNIST}),
    "mnist": Network(
        "The baseline of outlier exposure on MNIST", "checkpoints/outlier-exposure-mnist-baseline.h5", ["--scale", "255"],
        "data/mnist-train.npz", MNIST, {"notMNIST": NOT_MNIST, "Fashion-MNIST": (FASHION[0] + ":x", None), "KMNIST": KMNIST}),
}


@dataclass(frozen=True)
class Cell:
    """One row of the page."""
    structure: str
    predictive: str
    prior: str = "validation"
    temperature: str = "validation"

    @property
    def name(self):
        return "-".join([self.structure, self.predictive, self.prior, self.temperature])

    @property
    def seeds(self):
        """A low rank looks for its eigenvectors from random directions."""
        return SEEDS if self.predictive in DRAWING or self.structure == "low-rank" else SEEDS[:1]


def cells():
    """All predictives of the default structure, two predictives of each other one, and three more ways to tune."""
    rows = [Cell("kronecker", predictive) for predictive in PREDICTIVES]
    for structure in STRUCTURES:
        if structure != "kronecker":
            rows += [Cell(structure, predictive) for predictive in ("centred-probit", "whitened")]
    for prior, temperature in (("validation", "1"), ("marginal-likelihood", "1"), ("marginal-likelihood", "validation")):
        rows += [Cell("kronecker", predictive, prior, temperature)
                 for predictive in ("probit", "centred-probit", "whitened")]
    return rows


@dataclass
class Run:
    """What one fit gave."""
    seed: int
    fitSeconds: float
    predictSeconds: float
    accuracy: float
    nll: float
    ece: float
    difference: float
    differenceError: float
    foreign: dict
    priorPrecision: float = None
    temperature: float = None
    rank: int = None
    explained: float = None
    warnings: list = field(default_factory=list)


class Bench:
    """One network with its records."""

    def __init__(self, command, shared, folder, network):
        self.command, self.folder, self.network = command, folder, network
        self.checkpoint = os.path.join(shared, network.checkpoint)
        self.shared = shared
        self.extraction = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments):
        """Standard output of the command, and the seconds it kept processors busy."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([self.command, *arguments, "--quiet", "--force"], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if done.returncode != 0:
            sys.exit("bayesify %s\n%s" % (" ".join(arguments), done.stderr.strip()))
        return done.stdout, seconds

    def records(self, name, data, labels=None, rows=None):
        """Runs the network over a set, unless its records are there."""
        output = self.path(name + ".records.h5")
        if not os.path.exists(output):
            arguments = ["extract", self.checkpoint, "--data", os.path.join(self.shared, data), "-o", output]
            arguments += self.network.preprocessing
            arguments += ["--labels", os.path.join(self.shared, labels)] if labels else []
            arguments += ["--rows", rows] if rows else []
            _, seconds = self.run(*arguments)
            with h5py.File(output) as file:
                count = len(file["exits/0/logits"])
            with open(self.path(name + ".extract.json"), "w") as file:
                json.dump({"rows": count, "seconds": seconds}, file)
        with open(self.path(name + ".extract.json")) as file:
            self.extraction[name] = json.load(file)
        return output

    def prepare(self):
        self.training = self.records("training", self.network.training)
        self.validation = self.records("validation", *self.network.test, rows=VALIDATION)
        self.report = self.records("report", *self.network.test, rows=REPORT)
        self.foreign = {name: self.records(name, *source) for name, source in self.network.foreign.items()}
        with h5py.File(self.report) as file:
            self.logits = file["exits/0/logits"][:].astype(float)
            self.labels = file["labels"][:]

    def evaluate(self, model, *options):
        """The rows of a report."""
        output = self.path("report.json")
        arguments = ["evaluate", model, "--data", self.report, "--json", output, *options]
        for name, records in self.foreign.items():
            arguments += ["--ood", "%s=%s" % (name, records)]
        self.run(*arguments)
        with open(output) as file:
            return [row["exits"][0] for row in json.load(file)["models"]]

    def predict(self, model):
        """Probabilities of the report's rows, and the least seconds of three runs."""
        output = self.path("predictions.h5")
        seconds = min(self.run("predict", model, "--data", self.report, "-o", output)[1] for _ in range(3))
        with h5py.File(output) as file:
            return file["exits/0/probabilities"][:].astype(float), seconds

    def losses(self, probabilities):
        return -np.log(probabilities[np.arange(len(self.labels)), self.labels])

    def measure(self, row, probabilities, **others):
        """A row of a report with what the probabilities say of its distance from the temperature's."""
        losses = self.losses(probabilities)
        # Probabilities are kept in single precision, evaluation has more digits.
        if abs(losses.mean() - row["nll"]) > 1e-5 * max(1, row["nll"]):
            sys.exit("evaluate says NLL %r, the probabilities of predict give %r" % (row["nll"], losses.mean()))
        difference = losses - self.plain
        foreign = {}
        for one in row["ood"]:
            foreign[one["name"]] = {
                name: None if score["isConstant"] else score["auroc"] for name, score in one["scores"].items()}
        return Run(
            accuracy=row["accuracy"], nll=row["nll"], ece=row["ece"]["value"], difference=difference.mean(),
            differenceError=difference.std(ddof=1) / np.sqrt(len(difference)), foreign=foreign, **others)

    def baselines(self):
        untouched, tempered = self.evaluate(self.checkpoint, "--validation", self.validation)
        temperature = tempered["settings"]["temperature"]
        scaled = np.exp(self.logits / temperature - (self.logits / temperature).max(axis=1, keepdims=True))
        scaled /= scaled.sum(axis=1, keepdims=True)
        self.plain = self.losses(scaled)
        probabilities, seconds = self.predict(self.checkpoint)
        return {
            "untouched": self.measure(
                untouched, probabilities, seed=0, fitSeconds=None, predictSeconds=seconds, temperature=1.0),
            "temperature": self.measure(
                tempered, scaled, seed=0, fitSeconds=None, predictSeconds=None, temperature=temperature),
        }

    def fit(self, cell, seed):
        posterior = self.path("posterior.h5")
        text, seconds = self.run(
            "fit", "laplace", self.training, "--validation", self.validation, "--structure", cell.structure,
            "--predictive", cell.predictive, "--prior-precision", cell.prior, "--temperature", cell.temperature,
            "--seed", str(seed), "--json", "-o", posterior)
        fitted = json.loads(text)
        chosen = fitted["exits"][0]
        probabilities, predictSeconds = self.predict(posterior)
        return self.measure(
            self.evaluate(posterior)[-1], probabilities, seed=seed, fitSeconds=seconds, predictSeconds=predictSeconds,
            priorPrecision=None if cell.predictive == "plain" else chosen["priorPrecision"],
            temperature=chosen["temperature"], rank=chosen.get("rank"), explained=chosen.get("explainedShare"),
            warnings=fitted["warnings"])


def measure(bench, resumes):
    """Measures one network; each fit is kept in a file of its own."""
    if not resumes:
        shutil.rmtree(bench.folder, ignore_errors=True)
    os.makedirs(bench.folder, exist_ok=True)
    bench.prepare()
    with open(bench.path("baselines.json"), "w") as file:
        baselines = {name: asdict(run) for name, run in bench.baselines().items()}
        json.dump({"baselines": baselines, "extraction": bench.extraction}, file, indent=1)
    for cell in cells():
        for seed in cell.seeds:
            file = bench.path("%s-%d.cell.json" % (cell.name, seed))
            if os.path.exists(file):
                continue
            run = asdict(bench.fit(cell, seed))
            with open(file + ".part", "w") as output:
                json.dump(run, output, indent=1)
            os.rename(file + ".part", file)
            print("%s %s, seed %d: NLL %.4f" % (os.path.basename(bench.folder), cell.name, seed, run["nll"]), flush=True)
    for name in ("posterior.h5", "predictions.h5", "report.json"):
        if os.path.exists(bench.path(name)):
            os.remove(bench.path(name))


def measured(folder):
    """What is measured of one network so far; `None` for nothing."""
    if not os.path.exists(os.path.join(folder, "baselines.json")):
        return None
    with open(os.path.join(folder, "baselines.json")) as file:
        result = json.load(file)
    result["cells"] = {}
    for cell in cells():
        runs = []
        for seed in cell.seeds:
            file = os.path.join(folder, "%s-%d.cell.json" % (cell.name, seed))
            if os.path.exists(file):
                with open(file) as source:
                    runs.append(json.load(source))
        if len(runs) == len(cell.seeds):
            result["cells"][cell.name] = runs
    return result


# The page


def table(header, rows):
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def number(values, digits=4):
    """The mean, and the range where the digits show one."""
    if any(value is None for value in values):
        return "-"
    texts = ["%.*f" % (digits, value) for value in (statistics.fmean(values), min(values), max(values))]
    return texts[0] if len(set(texts)) == 1 else "%s (%s to %s)" % tuple(texts)


def quantity(values):
    """A prior precision or a temperature, to three digits."""
    if any(value is None for value in values):
        return "-"
    texts = ["%.3g" % value for value in (statistics.median(values), min(values), max(values))]
    return texts[0] if len(set(texts)) == 1 else "%s (%s to %s)" % tuple(texts)


def seconds(values):
    return "-" if any(value is None for value in values) else "%.2f" % statistics.median(values)


def structure(name, runs):
    if runs[0]["rank"] is None:
        return name
    ranks = sorted({run["rank"] for run in runs})
    return "%s of rank %s" % (name, " to ".join(str(rank) for rank in sorted({ranks[0], ranks[-1]})))


def is_warned(cell, runs):
    return cell.prior == cell.temperature and any(
        "does not lower the negative log-likelihood" in warning for run in runs for warning in run["warnings"])


def tuned(cell):
    if cell.predictive == "plain":
        return "T by validation"
    if cell.prior == cell.temperature:
        return "both by validation"
    prior = "prior by " + {"validation": "validation", "marginal-likelihood": "evidence"}[cell.prior]
    return prior + (", T = 1" if cell.temperature == "1" else ", T by validation")


def lines_of(result):
    """Each row's first three cells, and its runs."""
    yield ["untouched", "", ""], [result["baselines"]["untouched"]]
    yield ["temperature", "", "T by validation"], [result["baselines"]["temperature"]]
    for cell in cells():
        if cell.name not in result["cells"]:
            continue
        runs = result["cells"][cell.name]
        yield [structure(cell.structure, runs) + (" †" if is_warned(cell, runs) else ""), cell.predictive, tuned(cell)], runs


def section(network, result):
    names = list(network.foreign)
    extraction = "; ".join(
        "%s %d rows, %.1f s" % (name, one["rows"], one["seconds"]) for name, one in result["extraction"].items())
    first, second = [], []
    for label, runs in lines_of(result):
        def values(key):
            return [run[key] for run in runs]
        isTemperature = label[0] == "temperature"
        first.append(label + [
            quantity(values("priorPrecision")), quantity(values("temperature")), number(values("accuracy")),
            number(values("nll")),
            "0" if isTemperature else "%+.4f ± %.4f" % (
                statistics.fmean(values("difference")), max(values("differenceError"))),
            number(values("ece")), seconds(values("fitSeconds")), seconds(values("predictSeconds"))])
        second.append(label + [
            number([run["foreign"][name].get(score) for run in runs])
            for name in names for score in SCORES])
    lines = ["## " + network.title, "", "`%s`. %s" % (os.path.basename(network.checkpoint), network.note), "",
             "Extraction, once, in processor time: " + extraction + ".", ""]
    missing = [cell for cell in cells() if cell.name not in result["cells"]]
    if missing:
        lines += ["Not measured yet: " + "; ".join(
            "%s, %s, %s" % (cell.structure, cell.predictive, tuned(cell)) for cell in missing) + ".", ""]
    lines += table(
        ["structure", "predictive", "tuned by", "prior precision", "T", "accuracy", "NLL", "NLL less the temperature's",
         "ECE (15 bins)", "fit, s", "predict, s"], first)
    lines += ["AUROC against foreign images, by score:", ""]
    lines += table(
        ["structure", "predictive", "tuned by"] + ["%s, %s" % (name, score) for name in names for score in SCORES.values()],
        second)
    others = sorted({
        "%s, %s, %s: %s" % (cell.structure, cell.predictive, tuned(cell), warning.split(": ", 1)[-1])
        for cell in cells() for run in result["cells"].get(cell.name, []) for warning in run["warnings"]
        if "does not lower the negative log-likelihood" not in warning and run["seed"] == 0})
    if others:
        lines += ["Other warnings of these fits:", ""] + ["- " + text for text in others] + [""]
    return lines


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%d cores of %s" % (os.cpu_count(), names[0] if names else "an unnamed processor")


def page(results, version):
    lines = [
        "# Last-layer Laplace, measured",
        "",
        "Written by `python Scripts/compare-laplace.py --shared FOLDER --out FOLDER` from what `bayesify` %s printed; what" % version,
        "follows from it for a user: [WhichLaplace.md](WhichLaplace.md).",
        "",
        "Rows: curvature from the network's training images (for CIFAR-10 20,000 of them); prior precision and temperature",
        "from test images %s, everything reported from test images %s, on which nothing was tuned." % (VALIDATION, REPORT),
        "The published networks have seen all training images, so that none of those can tune anything.",
        "",
        "- *tuned by*: where the prior precision comes from, the NLL of the validation rows or the marginal likelihood",
        "  (\"evidence\") of the training rows, and where the temperature T comes from.",
        "- *NLL less the temperature's*: the mean difference over the reported rows from the network with a temperature alone,",
        "  with the standard error of that mean (rows paired). Below zero is better than a temperature.",
        "- Where draws matter (and for low-rank, whose eigenvectors are found from random directions) there are seeds",
        "  %s: the mean, and in brackets the lowest and the highest where the digits differ. Predictives that draw" % ", ".join(map(str, SEEDS)),
        "  take 50 draws.",
        "- *max p*: one minus the largest probability. *MI*: the mutual information of class and weights, of draws or of the",
        "  bridge's Dirichlet; - where a predictive has none. *energy*: −log Σ exp of the mean logits (the bridges' are the",
        "  logarithms of Dirichlet parameters, those of centred-probit sum to zero, and mean-field has log-probabilities, and so",
        "  none). AUROC: foreign images positive, 0.5 is chance.",
        "- *fit*: curvature and tuning, from records; the median over seeds. *predict*: 5,000 rows from records to a file,",
        "  the least of three, the command's start included (\"untouched\" shows what that alone takes). Seconds are those",
        "  of all threads together (processor time, which other work on the machine does not lengthen much), on",
        "  %s." % processor(),
        "- †: both were tuned by validation, and `fit` warned that the spread does not lower the NLL of the validation rows below",
        "  that of a temperature alone. It warns of other choices too, which are not marked.",
        "",
    ]
    for name, network in NETWORKS.items():
        if results[name]:
            lines += section(network, results[name])
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--page", default=os.path.join(ROOT, "Documentation/LaplaceComparison.md"))
    arguments = parser.parse_args()
    chosen = [name for name in arguments.networks.split(",") if name]
    for name in chosen:
        if name not in NETWORKS:
            parser.error("there is no network '%s'; choose among %s" % (name, ", ".join(NETWORKS)))
    version = subprocess.run(
        [arguments.bayesify, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    for name in chosen:
        bench = Bench(arguments.bayesify, arguments.shared, os.path.join(arguments.out, name), NETWORKS[name])
        measure(bench, arguments.resume)
    results = {name: measured(os.path.join(arguments.out, name)) for name in NETWORKS}
    with open(arguments.page, "w") as file:
        file.write(page(results, version))


if __name__ == "__main__":
    main()
