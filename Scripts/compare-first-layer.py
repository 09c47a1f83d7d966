#!/usr/bin/env python3
"""Measures Gaussians over first layers beside their controls; writes Documentation/FirstLayerComparison.md.

    python Scripts/compare-first-layer.py --shared FOLDER --out FOLDER [--networks resnet20,resnet8,fashion,msdnet]
        [--steps fit,evaluate,shift,time,robustness,privacy] [--seeds 0,1,2] [--epochs N] [--draws 30]
        [--bayesify .build/release/bayesify] [--page Documentation/FirstLayerComparison.md]

FOLDER of --shared holds `checkpoints` and `data` (which files, and their preprocessing, says NETWORKS below).  --out
takes posteriors and reports (a few megabytes a network); it should lie outside the project.  --networks and --steps
measure some (none of them with ""), so that parts can be run one after the other:

    fit         posteriors and controls, one file a model and seed
    evaluate    accuracy, NLL, ECE and AUROC of foreign sets
    shift       the same at severity 3 of six corruptions, on --shift-rows images
    time        seconds an epoch and a prediction; run it while nothing else runs
    robustness  attacks on --attacked-rows images at three sizes, seed 0
    privacy     membership inference, seed 0

Whatever is in --out is kept where the same command made it of the same files, and a training that was interrupted goes
on; so the script can be killed and started again.  The page is written of everything that is in --out, and says what is
missing; what stands outside of its two marks is nobody's but the author's, and stays.

--limit N takes at most N rows of every set but the foreign ones: for trying the script.

Takes hours on two cores (the page says which).  Build first: make release.  Needs Python 3.10 and h5py.
"""
import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import h5py

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = ["fit", "evaluate", "shift", "time", "robustness", "privacy"]
PRIORS = {"standard": "standard prior", "scaled": "scaled prior", "centred": "MOPED prior"}
SCORES = {"maximumProbability": "max p", "mutualInformation": "MI", "energy": "energy"}
ATTACKERS = "single-draw,mean,expectation,averaged-probability,transfer"
SEVERITY = 3
BEGIN, END = "<!-- compare-first-layer.py: begin -->", "<!-- compare-first-layer.py: end -->"
RESIDUAL = ["--scale", "255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
DENSE = ["--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616"]
CIFAR_FOREIGN = {"CIFAR-100": "data/cifar100-ood-4k.h5:x"}


@dataclass
class Network:
    """One network, its rows, and how long its first layer is trained."""
    title: str
    checkpoint: str
    preprocessing: list
    training: str
    trainingCount: int
    validation: tuple
    test: tuple
    foreign: dict
    lastLayer: str
    epochs: int
    epsilons: str
    note: str
    hasDropout: bool = False


NETWORKS = {
    "resnet20": Network(
        "ResNet-20 on CIFAR-10", "checkpoints/resnet20-cifar10.h5", RESIDUAL, "data/cifar10-train-20k.h5", 20_000,
        ("data/cifar10-test.h5", 0, 5000), ("data/cifar10-test.h5", 5000, 10_000), CIFAR_FOREIGN, "logits", 10, "2,4,8",
        "It was trained on all 50,000 training images, of which 20,000 are at hand."),
    "resnet8": Network(
        "ResNet-8 on CIFAR-10", "checkpoints/mlperf-tiny-resnet8-cifar10.h5", [], "data/cifar10-train-20k.h5", 20_000,
        ("data/cifar10-test.h5", 0, 5000), ("data/cifar10-test.h5", 5000, 10_000), CIFAR_FOREIGN, "dense", 20, "2,4,8",
        "It was trained on all 50,000 training images, of which 20,000 are at hand."),
    "fashion": Network(
        "A small CNN on Fashion-MNIST", "checkpoints/fashion-cnn.h5", ["--scale", "255"], "data/fashion-mnist-train.h5",
        60_000, ("data/fashion-mnist-test.h5", 0, 5000), ("data/fashion-mnist-test.h5", 5000, 10_000),
        {"MNIST": "data/mnist-t10k-images-idx3-ubyte.gz", "KMNIST": "data/kmnist-test-images.npy",
         "notMNIST": "data/notmnist-t10k-images-idx3-ubyte.gz"}, "dense_1", 20, "2,5,10",
        "All its 60,000 training images are at hand.", hasDropout=True),
    "msdnet": Network(
        "MSDNet-small on CIFAR-10, last exit", "checkpoints/msdnet-small-cifar10.h5", DENSE,
        "data/cifar10-train-20k.h5", 20_000, ("data/cifar10-validation-5k.h5", 0, 5000),
        ("data/cifar10-test.h5", 0, 10_000), CIFAR_FOREIGN, "exit4_logits", 10, "2,4,8",
        "It was trained on 45,000 of the 50,000 training images, of which 20,000 are at hand; what is tuned is tuned on "
        "the 5,000 others, and all test images are reported on."),
}


@dataclass(frozen=True)
class Model:
    """A row of the tables: the untouched network where `kind` is empty."""
    name: str
    title: str
    kind: str
    prior: str = ""
    # Whether the table has it for every seed.
    isSeeded: bool = True
    # Whether it averages draws of networks.
    hasDraws: bool = False


UNTOUCHED = Model("deterministic", "deterministic", "", isSeeded=False)
TEMPERATURE = "+ temperature"


def models(network):
    rows = [UNTOUCHED, Model("tuned", "fine-tune control", "tuned")]
    rows += [Model("mean-" + prior, "mean of q only (%s)" % title, "mean", prior) for prior, title in PRIORS.items()]
    rows += [Model("vi-" + prior, "first-layer VI (%s)" % title, "vi", prior, hasDraws=True)
             for prior, title in PRIORS.items()]
    rows += [Model("vi-last", "VI of the last layer (standard prior)", "last", "standard", False, True),
             Model("laplace", "last-layer Laplace", "laplace", hasDraws=True)]
    if network.hasDropout:
        rows.append(Model("dropout", "MC dropout", "dropout", isSeeded=False, hasDraws=True))
    return rows


def digest(file):
    with open(file, "rb") as source:
        return hashlib.sha256(source.read()).hexdigest()


def read(file):
    with open(file) as source:
        return json.load(source)


def write(value, file):
    with open(file + ".part", "w") as output:
        json.dump(value, output, indent=1)
    os.rename(file + ".part", file)


class Results:
    """What is in the folder of one network."""

    def __init__(self, folder, network):
        self.folder, self.network = folder, network

    def path(self, name):
        return os.path.join(self.folder, name)

    def made(self, output):
        """What made a file, where it is there and the files it was made of are still the same."""
        if not os.path.exists(self.path(output)) or not os.path.exists(self.path(output + ".made.json")):
            return None
        made = read(self.path(output + ".made.json"))
        for name, known in made["inputs"].items():
            if not os.path.exists(self.path(name)) or digest(self.path(name)) != known:
                return None
        return made

    def report(self, output):
        return read(self.path(output)) if self.made(output) else None


class Bench(Results):
    """One network, and the command that measures it."""

    def __init__(self, arguments, version, folder, network):
        super().__init__(folder, network)
        self.command, self.shared, self.version = arguments.bayesify, arguments.shared, version
        self.options = arguments
        self.checkpoint = os.path.join(self.shared, network.checkpoint)
        self.seeds = arguments.seeds
        os.makedirs(folder, exist_ok=True)

    # Commands

    def recipe(self, arguments, inputs):
        """What a file is made by, without the folders."""
        words = [word.replace(self.folder, "OUT").replace(self.shared, "SHARED") for word in arguments]
        return {"version": self.version, "arguments": words,
                "inputs": {name: digest(self.path(name)) for name in inputs}}

    def run(self, arguments):
        """Standard output of the command, and its seconds."""
        begun = time.monotonic()
        done = subprocess.run([self.command, *arguments, "--quiet", "--force"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit("bayesify %s\n%s" % (" ".join(arguments), done.stderr.strip()))
        return done.stdout, time.monotonic() - begun

    def make(self, output, arguments, inputs=(), others=(), answer=None, resumes=False, before=None):
        """Makes a file, unless it is there, made by the same command of the same inputs.

        `others` are made with it; `answer` is where what is printed goes.
        """
        recipe = self.recipe(arguments, inputs)
        files = [output, *others] + ([answer] if answer else [])
        made = self.made(output)
        if made and {**made, "seconds": 0} == {**recipe, "seconds": 0} and all(
                os.path.exists(self.path(name)) for name in files):
            return
        begun = self.path(output + ".begun.json")
        isLeft = os.path.exists(self.path(output + ".part")) and os.path.exists(begun)
        goesOn = resumes and isLeft and read(begun) == recipe
        write(recipe, begun)
        if before:
            before()
        text, seconds = self.run(arguments + (["--resume"] if goesOn else []))
        if answer:
            write(json.loads(text), self.path(answer))
        write({**recipe, "seconds": seconds}, self.path(output + ".made.json"))
        os.remove(begun)
        print("%s %s: %.0f s" % (os.path.basename(self.folder), output, seconds), flush=True)

    # Rows

    def rows(self, first, end, count=None):
        """The rows of an option, first:end."""
        counts = [end - first] + [one for one in (count, self.options.limit) if one]
        return "%d:%d" % (first, first + min(counts))

    def data(self, file):
        return os.path.join(self.shared, file)

    def validation(self):
        file, first, end = self.network.validation
        return ["--validation", self.data(file), "--validation-rows", self.rows(first, end)]

    def test(self, count=None):
        file, first, end = self.network.test
        return ["--data", self.data(file), "--rows", self.rows(first, end, count)]

    def training(self):
        return ["--data", self.data(self.network.training), "--rows", self.rows(0, self.network.trainingCount)]

    # Steps

    def epochs(self):
        return self.options.epochs or self.network.epochs

    def runs(self, model):
        """The name of each file of a model, and its seed."""
        for seed in self.seeds if model.isSeeded else self.seeds[:1]:
            yield "%s-%d" % (model.name, seed), seed

    def inference(self, model, epochs):
        arguments = ["fit", "first-layer", self.checkpoint, *self.training(), *self.network.preprocessing,
                     "--epochs", str(epochs)]
        if model.kind == "tuned":
            return arguments + ["--control", "fine-tune"]
        if model.kind == "last":
            arguments += ["--layer", self.network.lastLayer]
        return arguments + ["--prior", model.prior, "--draws", str(self.options.draws)]

    def laplace(self):
        return ["fit", "laplace", self.checkpoint, *self.training(), *self.network.preprocessing, *self.validation()]

    def fit(self):
        for model in models(self.network):
            for name, seed in self.runs(model):
                output, answer = name + ".h5", name + ".fit.json"
                seeded = ["--seed", str(seed), "-o", self.path(output)]
                if model.kind in ("tuned", "vi", "last"):
                    arguments = self.inference(model, self.epochs()) + self.validation() + seeded + ["--json"]
                    mean = ["mean-%s-%d.h5" % (model.prior, seed)] if model.kind == "vi" else []
                    arguments += ["--mean-output", self.path(mean[0])] if mean else []
                    self.make(output, arguments, others=mean, answer=answer, resumes=True)
                    if mean:
                        shutil.copyfile(self.path(output + ".made.json"), self.path(mean[0] + ".made.json"))
                elif model.kind == "laplace":
                    self.make(output, self.laplace() + seeded + ["--json"], answer=answer)
                elif model.kind == "dropout":
                    self.make(output, [
                        "fit", "dropout", self.checkpoint, "--draws", str(self.options.draws),
                        *self.network.preprocessing, *self.validation(), *seeded])

    def require(self, name):
        if not self.made(name):
            sys.exit("%s is not there, or was made of other files; run the step fit first" % self.path(name))

    def subjects(self, model, name):
        """The models of a command, and those of them that lie in --out."""
        if not model.kind:
            return [self.checkpoint], []
        self.require(name + ".h5")
        return [self.checkpoint, self.path(name + ".h5")], [name + ".h5"]

    def evaluate(self):
        foreign = [word for name, file in self.network.foreign.items()
                   for word in ("--ood", "%s=%s" % (name, self.data(file)))]
        for model in models(self.network):
            for name, _ in self.runs(model):
                subjects, inputs = self.subjects(model, name)
                options = [*self.test(), *self.validation(), *foreign, *self.network.preprocessing]
                output = name + ".evaluate.json"
                self.make(output, ["evaluate", *subjects, *options, "--json", self.path(output)], inputs)
                if model.kind not in ("vi", "last"):
                    continue
                plain, output = name + "-plain.h5", name + "-plain.evaluate.json"
                arguments = ["evaluate", self.checkpoint, self.path(plain), *options, "--json", self.path(output)]
                self.make(output, arguments, inputs, before=lambda: self.untemper(name + ".h5", plain))
                if os.path.exists(self.path(plain)):
                    os.remove(self.path(plain))

    def untemper(self, source, output):
        """The same posterior with all temperatures 1."""
        shutil.copyfile(self.path(source), self.path(output))
        with h5py.File(self.path(output), "r+") as file:
            for exit in file["exits"].values():
                exit.attrs.modify("temperature", 1.0)

    def shift(self):
        for model in models(self.network):
            for name, _ in self.runs(model):
                subjects, inputs = self.subjects(model, name)
                output = name + ".shift.json"
                tuning = [] if model.kind else self.validation()
                self.make(output, [
                    "evaluate", *subjects, *self.test(self.options.shiftRows), *tuning, *self.network.preprocessing,
                    "--shift", "all", "--severities", str(SEVERITY), "--json", self.path(output)], inputs)

    def time(self):
        """Seconds an epoch of two, of a whole fit without epochs, and of predictions, the least of three."""
        for model in models(self.network):
            name = next(self.runs(model))[0]
            subjects, inputs = self.subjects(model, name)
            output = name + ".time.json"
            prediction = ["predict", subjects[-1], *self.test(1000), *self.network.preprocessing,
                          "-o", self.path("prediction.h5")]
            training, scratch = None, self.path("timing.h5")
            if model.kind in ("tuned", "vi", "last"):
                training = self.inference(model, 2) + ["--json", "-o", scratch]
            elif model.kind == "laplace":
                training = self.laplace() + ["-o", scratch]
            recipe = self.recipe(prediction + (training or []), inputs)
            made = self.made(output)
            if made == recipe:
                continue
            times = {"prediction": min(self.run(prediction)[1] for _ in range(3)), "epoch": None, "fit": None}
            if training:
                text, seconds = self.run(training)
                if model.kind == "laplace":
                    times["fit"] = seconds
                else:
                    times["epoch"] = min(epoch["seconds"] for epoch in json.loads(text)["epochs"])
            write(times, self.path(output))
            write(recipe, self.path(output + ".made.json"))
            for file in (scratch, self.path("prediction.h5")):
                if os.path.exists(file):
                    os.remove(file)
            print("%s %s: %s" % (os.path.basename(self.folder), output, times), flush=True)

    def groups(self):
        """Models that one study takes: those without draws together, each other one alone."""
        alone = [model for model in models(self.network) if model.hasDraws]
        return [("controls", [model for model in models(self.network) if not model.hasDraws])] + [
            (model.name, [model]) for model in alone]

    def study(self, command, options):
        for group, members in self.groups():
            inputs = ["%s-%d.h5" % (model.name, self.seeds[0]) for model in members if model.kind]
            for name in inputs:
                self.require(name)
            output = "%s.%s.json" % (group, command)
            self.make(output, [
                "study", command, self.checkpoint, *(self.path(name) for name in inputs), *options,
                *self.network.preprocessing, "--seed", "0", "--json", self.path(output)], inputs)

    def robustness(self):
        self.study("robustness", [
            *self.test(self.options.attackedRows), "--epsilon", self.network.epsilons, "--attackers", ATTACKERS])

    def privacy(self):
        file, first, end = self.network.test
        self.study("privacy", [
            "--members", self.data(self.network.training), "--member-rows", self.rows(0, end - first),
            "--nonmembers", self.data(file), "--nonmember-rows", self.rows(first, end)])


# The page


def table(header, rows, textColumns=1):
    rule = ["---" if index < textColumns else "--:" for index in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in [header, rule] + rows] + [""]


def number(values, digits=4):
    """The mean, and the range where the digits show one."""
    if not values or any(value is None for value in values):
        return "-"
    texts = ["%.*f" % (digits, value) for value in (statistics.fmean(values), min(values), max(values))]
    return texts[0] if len(set(texts)) == 1 else "%s (%s to %s)" % tuple(texts)


def percent(values, digits=2):
    return number([None if value is None else 100 * value for value in values], digits)


def significant(values, digits=3):
    if not values or any(value is None for value in values):
        return "-"
    texts = ["%.*g" % (digits, value) for value in (statistics.fmean(values), min(values), max(values))]
    return texts[0] if len(set(texts)) == 1 else "%s (%s to %s)" % tuple(texts)


def listed(names):
    return " · ".join(names) if names else "none"


def finite(value):
    """A number of a report; JSON spells infinity as a text."""
    return float(value) if isinstance(value, str) else value


def difference(report, subject, quantity):
    """The paired difference of a model from the temperature alone: its value, and its interval or `None`."""
    reference = next((model["name"] for model in report["models"] if model["kind"] == "temperature"), None)
    exit = report["models"][0]["exits"][-1]["index"]
    for one in report["comparisons"]:
        if one["exit"] != exit:
            continue
        if (one["model"], one["reference"]) == (subject, reference):
            found = quantity(one)
            return found and (found["value"], found.get("interval"))
        if (one["model"], one["reference"]) == (reference, subject):
            found = quantity(one)
            if found is None:
                return None
            interval = found.get("interval")
            return -found["value"], interval and [-interval[1], -interval[0]]
    return None


def auroc_of(name):
    def quantity(comparison):
        return next((one["auroc"].get("maximumProbability") for one in comparison["ood"] if one["name"] == name), None)
    return quantity


def shifted(report, subject):
    """Means over corruptions at the severity of the page."""
    found = []
    for corruption in report["shift"]["corruptions"]:
        severity = next(one for one in corruption["severities"] if one["severity"] == SEVERITY)
        found.append(next(one for one in severity["models"] if one["name"] == subject)["exits"][-1])
    return {key: statistics.fmean(finite(one[key]) for one in found) for key in ("accuracy", "nll", "ece")}


@dataclass
class Line:
    """One row of the page's tables."""
    title: str
    # Of each seed: the report, and the model's name in it.
    reports: list
    shifts: list
    time: dict = None

    def exits(self):
        for report, name in self.reports:
            yield next(model for model in report["models"] if model["name"] == name)["exits"][-1]

    def differences(self, quantity):
        return [difference(report, name, quantity) for report, name in self.reports]


def lines(results, seeds):
    """The rows of a network's tables, and what is missing."""
    found, missing = [], []

    def collect(model, suffix, position):
        names = ["%s-%d" % (model.name, seed) for seed in (seeds if model.isSeeded else seeds[:1])]
        reports, absent = [], []
        for name in names:
            report = results.report(name + suffix)
            if report:
                reports.append((report, report["models"][position]["name"]))
            else:
                absent.append(name + suffix[:-len(".json")])
        return reports, absent

    for model in models(results.network):
        reports, absent = collect(model, ".evaluate.json", -1 if model.kind else 0)
        missing += absent
        shifts, absent = collect(model, ".shift.json", -1 if model.kind else 0)
        missing += absent
        times = results.report("%s-%d.time.json" % (model.name, seeds[0]))
        if times is None:
            missing.append("%s-%d.time" % (model.name, seeds[0]))
        title = model.title + ("" if model.isSeeded or not model.kind else ", one seed")
        if reports:
            found.append(Line(title, reports, shifts, times))
        if not model.kind and reports:
            report, shift = reports[0][0], shifts[0][0] if shifts else None
            found.append(Line(TEMPERATURE, [(report, report["models"][1]["name"])],
                              [(shift, shift["models"][1]["name"])] if shift else [], None))
        if model.kind in ("vi", "last"):
            reports, absent = collect(model, "-plain.evaluate.json", -1)
            missing += absent
            if reports:
                found.append(Line(title + ", T = 1", reports, [], times))
    return found, missing


def signs(values):
    """-1, 0 or 1: on which side of zero all intervals lie; 0 where one holds it or there is none."""
    if not values or any(value is None or value[1] is None for value in values):
        return 0
    if all(interval[1] < 0 for _, interval in values):
        return -1
    return 1 if all(interval[0] > 0 for _, interval in values) else 0


def sorted_by_sign(found, quantity):
    """The rows that are apart from the temperature, by sign."""
    names = {-1: [], 0: [], 1: []}
    for line in found:
        if line.title != TEMPERATURE:
            names[signs(line.differences(quantity))].append(line.title)
    return names


def main_tables(results, found):
    network = results.network
    rows, scores = [], []
    for line in found:
        exits = list(line.exits())
        values = [one for one in line.differences(lambda comparison: comparison["nll"]) if one]
        if line.title == TEMPERATURE:
            gain = "0"
        elif values and all(interval for _, interval in values):
            gain = "%+.4f [%+.4f, %+.4f]" % (
                statistics.fmean(value for value, _ in values), min(interval[0] for _, interval in values),
                max(interval[1] for _, interval in values))
        else:
            gain = "-"

        def auroc(name, score):
            values = [next(one for one in exit["ood"] if one["name"] == name)["scores"].get(score) for exit in exits]
            return number([None if one is None or one["isConstant"] else one["auroc"] for one in values])
        shift = [shifted(report, name) for report, name in line.shifts]
        seconds = line.time or {}
        rows.append([
            line.title, percent([exit["accuracy"] for exit in exits]),
            number([finite(exit["nll"]) for exit in exits]), gain, number([exit["ece"]["value"] for exit in exits])]
            + [auroc(name, "maximumProbability") for name in network.foreign]
            + [percent([one["accuracy"] for one in shift]), number([one["nll"] for one in shift]),
               number([one["ece"] for one in shift]),
               "%.1f" % seconds["epoch"] if seconds.get("epoch") else "-",
               "%.2f" % seconds["prediction"] if seconds.get("prediction") else "-"])
        scores.append([line.title] + [auroc(name, score) for name in network.foreign for score in list(SCORES)[1:]])
    text = table(
        ["model", "accuracy %", "NLL", "NLL less the temperature's", "ECE"]
        + ["AUROC " + name for name in network.foreign]
        + ["shifted: accuracy %", "NLL", "ECE", "s an epoch", "s / 1000 rows"], rows)
    fit = next((line.time["fit"] for line in found if line.time and line.time.get("fit")), None)
    if fit:
        text += ["Last-layer Laplace has no epochs; its fit, tuning included, takes %.1f s." % fit, ""]
    header = ["%s, %s" % (name, score) for name in network.foreign for score in list(SCORES.values())[1:]]
    return text + ["AUROC by other scores:", ""] + table(["model"] + header, scores)


def posterior_table(results, seeds):
    """What training made of the weights."""
    rows, warnings = [], []
    for model in models(results.network):
        if model.kind not in ("tuned", "vi", "last", "laplace"):
            continue
        fits = []
        for seed in seeds if model.isSeeded else seeds[:1]:
            name = "%s-%d" % (model.name, seed)
            if results.made(name + ".h5") and os.path.exists(results.path(name + ".fit.json")):
                fits.append(read(results.path(name + ".fit.json")))
        if not fits:
            continue
        warnings += ["%s: %s" % (model.title, warning) for warning in fits[0]["warnings"]]
        if model.kind == "laplace":
            continue
        ends = [fit["epochs"][fit["chosenEpoch"] - 1] for fit in fits]
        exits = [fit["exits"][-1] for fit in fits]
        hasDraws = model.kind != "tuned"
        rows.append([
            model.title, "%s, %d" % (fits[0]["layer"], fits[0]["weights"]), "%d of %d rows" % (
                fits[0]["chosenEpoch"], fits[0]["rows"]),
            significant([fit["dataTermAtTrainedWeights"] for fit in fits]),
            significant([end["dataTerm"] for end in ends]),
            significant([end["divergence"] / fit["rows"] for end, fit in zip(ends, fits)]) if hasDraws else "-"]
            + [significant([fit["deviations"][index] for fit in fits]) if hasDraws else "-" for index in range(3)]
            + [significant([exit["temperature"] for exit in exits]),
               number([exit["untemperedNLL"] for exit in exits]), number([exit["validationNLL"] for exit in exits])])
    if not rows:
        return []
    text = ["What training made of the weights (divergence as in the bound: a row; NLL of the validation rows):", ""]
    text += table(
        ["model", "layer, weights", "epochs", "data term at the trained weights", "at the end", "KL", "least deviation",
         "mean", "greatest", "T", "NLL at T = 1", "at T"], rows, textColumns=3)
    if warnings:
        text += ["Warnings of these fits (first seed):", ""]
        text += ["- " + warning for warning in sorted(set(warnings))] + [""]
    return text


def interval(value, ends, digits=1):
    return "%.*f (%.*f to %.*f)" % (digits, 100 * value, digits, 100 * ends[0], digits, 100 * ends[1])


def studied(results, command):
    """Each model with its part of a study, and the studies."""
    found, reports, missing = [], [], []
    groups = [("controls", [model for model in models(results.network) if not model.hasDraws])] + [
        (model.name, [model]) for model in models(results.network) if model.hasDraws]
    for group, members in groups:
        report = results.report("%s.%s.json" % (group, command))
        if report is None:
            missing.append("%s.%s" % (group, command))
            continue
        reports.append(report)
        # Every study has the untouched network first; the controls' one shows it.
        parts = report["models"] if group == "controls" else report["models"][1:]
        found += list(zip([model.title for model in members], parts))
    return found, reports, missing


def robustness_tables(results):
    found, reports, missing = studied(results, "robustness")
    if not found:
        return [], missing
    rows = []
    for title, model in found:
        points = []
        for curve in model["curves"]:
            points.append(("%s, %s" % (curve["method"].upper(), curve["attacker"]), curve["points"]))
        points += [("**worst of all**", curve["points"]) for curve in model["worst"]]
        for index, (attack, curve) in enumerate(points):
            clean = model["clean"]
            rows.append(
                [title if index == 0 else "", attack,
                 interval(clean["accuracy"], clean["accuracyInterval"]) if index == 0 else ""]
                + [interval(point["accuracy"], point["accuracyInterval"]) for point in curve])
    report = reports[0]
    epsilons = ["%g" % point["epsilon"] for point in found[0][1]["curves"][0]["points"]]
    text = ["### Robustness", "",
            "Accuracy in percent on %d test rows (95 %% intervals of each number), epsilon the largest change of a value "
            "in 255ths, PGD of %d steps and %d start(s), expectations of %d draws, seed 0." % (
                report["rowCount"], report["stepCount"], report["restartCount"], report["drawCount"]), ""]
    text += table(["model", "attack", "0"] + epsilons, rows, textColumns=2)
    warnings = sorted({warning for one in reports for warning in one["warnings"]})
    if warnings:
        text += ["Warnings of the studies:", ""] + ["- " + warning for warning in warnings] + [""]
    return text, missing


def privacy_tables(results):
    found, reports, missing = studied(results, "privacy")
    if not found:
        return [], missing
    rows = []
    for title, model in found:
        gap = model["gap"]
        sides = ["%.2f" % (100 * gap[side]["value"]) for side in ("memberAccuracy", "nonMemberAccuracy")]
        sides += ["%.4f" % gap[side]["value"] for side in ("memberLoss", "nonMemberLoss")]
        for index, attack in enumerate(model["attacks"]):
            rates = [interval(one["truePositiveRate"]["value"], one["truePositiveRate"]["interval"], 2)
                     for one in attack["operations"]]
            balanced = attack["balancedAccuracy"]
            ends = attack["aurocInterval"]
            rows.append(
                [title if index == 0 else "", attack["score"], "%.4f (%.4f to %.4f)" % (attack["auroc"], *ends),
                 interval(balanced["value"], balanced["interval"])] + rates
                + (sides if index == 0 else [""] * len(sides)))
    report = reports[0]
    allowed = ["TPR %% at %g %% FPR" % (100 * one["allowed"]) for one in found[0][1]["attacks"][0]["operations"]]
    text = ["### Privacy", "",
            "Membership inference, %d training images against %d test images on which nothing was tuned, 95 %% "
            "intervals." % (report["memberCount"], report["nonMemberCount"]), ""]
    text += table(
        ["model", "by", "AUROC", "balanced accuracy %"] + allowed
        + ["accuracy % of members", "of others", "NLL of members", "of others"], rows, textColumns=2)
    return text, missing


def findings(results, found):
    """Sentences that follow from the numbers alone."""
    text = []
    if any(line.title == TEMPERATURE for line in found):
        text += ["- Against the temperature alone, paired, where the 95 % intervals of every seed lie on one side of zero:"]
        measures = [("NLL", lambda comparison: comparison["nll"]), ("ECE", lambda comparison: comparison["ece"])]
        measures += [("AUROC of max p on " + name, auroc_of(name)) for name in results.network.foreign]
        for name, quantity in measures:
            names = sorted_by_sign(found, quantity)
            text.append("  - %s: lower: %s; higher: %s." % (name, listed(names[-1]), listed(names[1])))
    attacked, _, _ = studied(results, "robustness")
    if attacked and attacked[0][0] == UNTOUCHED.title:
        last = {title: model["worst"][0]["points"][-1] for title, model in attacked}
        base = last[UNTOUCHED.title]
        above = [title for title, point in last.items() if point["accuracyInterval"][0] > base["accuracyInterval"][1]]
        below = [title for title, point in last.items() if point["accuracyInterval"][1] < base["accuracyInterval"][0]]
        text.append(
            "- Under all attacks at epsilon %g the untouched network is right on %.1f %%. Intervals apart from its own, "
            "above: %s; below: %s." % (base["epsilon"], 100 * base["accuracy"], listed(above), listed(below)))
        for title, model in attacked:
            fast = [one for one in model["curves"] if (one["method"], one["attacker"]) == ("fgsm", "single-draw")]
            if fast:
                text.append("- %s at that epsilon: %.1f %% under FGSM along one draw, %.1f %% under all attacks." % (
                    title, 100 * fast[0]["points"][-1]["accuracy"], 100 * last[title]["accuracy"]))
    members, _, _ = studied(results, "privacy")
    if members and members[0][0] == UNTOUCHED.title:
        losses = {title: next(one for one in model["attacks"] if one["score"] == "loss") for title, model in members}
        base = losses[UNTOUCHED.title]
        below = [title for title, one in losses.items() if one["aurocInterval"][1] < base["aurocInterval"][0]]
        above = [title for title, one in losses.items() if one["aurocInterval"][0] > base["aurocInterval"][1]]
        text.append(
            "- Membership by loss: AUROC %.4f for the untouched network. Intervals apart from its own, below: %s; "
            "above: %s." % (base["auroc"], listed(below), listed(above)))
    return text


def section(results, seeds):
    found, missing = lines(results, seeds)
    robustness, absent = robustness_tables(results)
    missing += absent
    privacy, absent = privacy_tables(results)
    missing += absent
    network = results.network
    text = ["## " + network.title, "", "`%s`. %s" % (os.path.basename(network.checkpoint), network.note), ""]
    if found:
        exit = next(found[0].exits())
        rows = "%d test rows" % exit["rowCount"]
        shifts = [line.shifts[0] for line in found if line.shifts]
        if shifts:
            rows += "; shifted columns: the first %d of them" % shifts[0][0]["models"][0]["exits"][-1]["rowCount"]
        text += [rows + ".", ""] + main_tables(results, found)
    text += posterior_table(results, seeds)
    text += robustness + privacy
    sentences = findings(results, found)
    if sentences:
        text += ["### What the numbers say", ""] + sentences + [""]
    if missing:
        text += ["Not measured yet: " + ", ".join(missing) + ".", ""]
    return text


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%d cores of %s" % (os.cpu_count(), names[0] if names else "an unnamed processor")


def drawCounts(results):
    """Draws of the posteriors that are there."""
    found = set()
    for one in results.values():
        for prior in PRIORS:
            made = one.made("vi-%s-0.h5" % prior)
            if made:
                found.add(made["arguments"][made["arguments"].index("--draws") + 1])
    return " or ".join(sorted(found)) or "no"


def generated(results, arguments, version):
    text = [
        "Written by `python Scripts/compare-first-layer.py --shared FOLDER --out FOLDER` from what `bayesify` %s" % version,
        "printed.",
        "",
        "- Training rows are rows the network was trained on. Temperatures and the prior precision of Laplace come from",
        "  validation rows, everything is reported on other rows (test images 0:5000 and 5000:10000 where the network has",
        "  seen all training images). Every model has a temperature of its own, but for *deterministic* and *T = 1*. MOPED:",
        "  the prior centred on the trained weights.",
        "- Seeds %s: the mean, and in brackets the lowest and the highest where the digits differ. VI takes %s draws." % (
            ", ".join(map(str, arguments.seeds)), drawCounts(results)),
        "- *NLL less the temperature's*: paired difference from the network with a temperature alone, the mean over seeds,",
        "  and in brackets the least and the greatest end of the seeds' 95 % intervals. Below zero is better than a",
        "  temperature.",
        "- *ECE*: 15 bins. *AUROC*: of max p (one minus the largest probability), foreign images positive, 0.5 is chance.",
        "  *MI*: the mutual information of class and weights; - where a model has one network alone.",
        "- *shifted*: severity %d of noise, blur, contrast, brightness, JPEG and rotation, the mean over the six. ECE of" % (
            SEVERITY),
        "  few rows is too large by what chance adds to every bin; compare it within its column alone.",
        "- *s an epoch*: the faster of two, of that layer's training on the rows named. *s / 1000 rows*: `predict` from file",
        "  to file, the least of three, the command's start included. Seconds of a clock, on",
        "  %s." % processor(),
        "- Adam with a cosine, the deviations at 0.0486 to begin with; epochs: see the tables of what training made of the",
        "  weights. 20 to 40 are recommended. ResNet-20 and MSDNet, whose epochs are the longest, have 10 unless `--epochs`",
        "  says otherwise: fewer steps mean that deviations have moved less from where they began.",
    ]
    if arguments.limit:
        text.append("- **A trial: at most %d rows of every set.** The numbers mean nothing." % arguments.limit)
    text.append("")
    for name, one in results.items():
        if os.path.isdir(one.folder):
            text += section(one, arguments.seeds)
    absent = [network.title for name, network in NETWORKS.items() if not os.path.isdir(results[name].folder)]
    if absent:
        text += ["Networks not measured yet: " + ", ".join(absent) + ".", ""]
    return "\n".join(text).rstrip()


def page(file, text):
    """The page with the generated part replaced, all else as it was."""
    old = ""
    if os.path.exists(file):
        with open(file) as source:
            old = source.read()
    if old.count(BEGIN) == 1 and old.count(END) == 1 and old.index(BEGIN) < old.index(END):
        before, after = old[:old.index(BEGIN)], old[old.index(END) + len(END):]
    elif old:
        sys.exit("%s does not hold the marks '%s' and '%s' once each, in this order; put them back" % (file, BEGIN, END))
    else:
        before, after = "# First layers by variational inference, measured\n\n## Reading\n\n## Tables\n\n", "\n"
    with open(file + ".part", "w") as output:
        output.write(before + BEGIN + "\n\n" + text + "\n\n" + END + after)
    os.rename(file + ".part", file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True, type=os.path.abspath)
    parser.add_argument("--out", required=True, type=os.path.abspath)
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--epochs", type=int, help="of every network (default: its own, see NETWORKS)")
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--shift-rows", type=int, default=1000, dest="shiftRows")
    parser.add_argument("--attacked-rows", type=int, default=500, dest="attackedRows")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--page", default=os.path.join(ROOT, "Documentation/FirstLayerComparison.md"))
    arguments = parser.parse_args()
    networks = [name for name in arguments.networks.split(",") if name]
    steps = [name for name in arguments.steps.split(",") if name]
    for word, known in [(name, NETWORKS) for name in networks] + [(step, STEPS) for step in steps]:
        if word not in known:
            parser.error("there is no '%s'; choose among %s" % (word, ", ".join(known)))
    version = subprocess.run(
        [arguments.bayesify, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    for name in networks if steps else []:
        bench = Bench(arguments, version, os.path.join(arguments.out, name), NETWORKS[name])
        for step in STEPS:
            if step in steps:
                getattr(bench, step)()
                results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
                page(arguments.page, generated(results, arguments, version))
    results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
    page(arguments.page, generated(results, arguments, version))


if __name__ == "__main__":
    main()
