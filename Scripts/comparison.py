"""What the scripts share that measure posteriors beside their controls and write a page of tables: files that are made once,
the command that makes them, and numbers as tables show them.
"""
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
SEVERITY = 3
TEMPERATURE = "+ temperature"
SCORES = {"maximumProbability": "max p", "mutualInformation": "MI", "energy": "energy"}
CIFAR_FOREIGN = {"CIFAR-100": "data/cifar100-ood-4k.h5:x"}


@dataclass
class Network:
    """One network and its rows: files below the folder of --shared, or below the project."""
    title: str
    checkpoint: str
    preprocessing: list
    training: str
    trainingCount: int
    validation: tuple
    test: tuple
    foreign: dict
    note: str
    # Options of `evaluate`.
    evaluation: tuple = ()


RESNET20 = dict(
    title="ResNet-20 on CIFAR-10", checkpoint="checkpoints/resnet20-cifar10.h5",
    preprocessing=["--scale", "255", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"],
    training="data/cifar10-train-20k.h5", trainingCount=20_000, validation=("data/cifar10-test.h5", 0, 5000),
    test=("data/cifar10-test.h5", 5000, 10_000), foreign=CIFAR_FOREIGN,
    note="It was trained on all 50,000 training images, of which 20,000 are at hand.")
FASHION = dict(
    title="A small CNN on Fashion-MNIST", checkpoint="checkpoints/fashion-cnn.h5", preprocessing=["--scale", "255"],
    training="data/fashion-mnist-train.h5", trainingCount=60_000, validation=("data/fashion-mnist-test.h5", 0, 5000),
    test=("data/fashion-mnist-test.h5", 5000, 10_000),
    foreign={"MNIST": "data/mnist-t10k-images-idx3-ubyte.gz", "KMNIST": "data/kmnist-test-images.npy",
             "notMNIST": "data/notmnist-t10k-images-idx3-ubyte.gz"}, note="All its 60,000 training images are at hand.")


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
    # Whether the table has it without its temperature too.
    hasUntempered: bool = False


UNTOUCHED = Model("deterministic", "deterministic", "", isSeeded=False)


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

    def __init__(self, arguments, version, folder, network, models):
        super().__init__(folder, network)
        self.models = models
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

    def require(self, name):
        if not self.made(name):
            sys.exit("%s is not there, or was made of other files; run the step fit first" % self.path(name))

    def subjects(self, model, name):
        """The models of a command, and those of them that lie in --out."""
        if not model.kind:
            return [self.checkpoint], []
        self.require(name + ".h5")
        return [self.checkpoint, self.path(name + ".h5")], [name + ".h5"]

    def untemper(self, source, output):
        """The same posterior with all temperatures 1."""
        shutil.copyfile(self.path(source), self.path(output))
        with h5py.File(self.path(output), "r+") as file:
            for exit in file["exits"].values():
                exit.attrs.modify("temperature", 1.0)

    # Steps

    def runs(self, model):
        """The name of each file of a model, and its seed."""
        for seed in self.seeds if model.isSeeded else self.seeds[:1]:
            yield "%s-%d" % (model.name, seed), seed

    def laplace(self):
        return ["fit", "laplace", self.checkpoint, *self.training(), *self.network.preprocessing, *self.validation()]

    def evaluate(self):
        foreign = [word for name, file in self.network.foreign.items()
                   for word in ("--ood", "%s=%s" % (name, self.data(file)))]
        for model in self.models:
            for name, _ in self.runs(model):
                subjects, inputs = self.subjects(model, name)
                options = [*self.test(), *self.validation(), *foreign, *self.network.evaluation, *self.network.preprocessing]
                output = name + ".evaluate.json"
                self.make(output, ["evaluate", *subjects, *options, "--json", self.path(output)], inputs)
                if not model.hasUntempered:
                    continue
                plain, output = name + "-plain.h5", name + "-plain.evaluate.json"
                arguments = ["evaluate", self.checkpoint, self.path(plain), *options, "--json", self.path(output)]
                self.make(output, arguments, inputs, before=lambda: self.untemper(name + ".h5", plain))
                if os.path.exists(self.path(plain)):
                    os.remove(self.path(plain))

    def shift(self):
        for model in self.models:
            for name, _ in self.runs(model):
                subjects, inputs = self.subjects(model, name)
                output = name + ".shift.json"
                tuning = [] if model.kind else self.validation()
                self.make(output, [
                    "evaluate", *subjects, *self.test(self.options.shiftRows), *tuning, *self.network.evaluation,
                    *self.network.preprocessing,
                    "--shift", "all", "--severities", str(SEVERITY), "--json", self.path(output)], inputs)


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


def lines(results, seeds, models):
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

    for model in models:
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
        if model.hasUntempered:
            reports, absent = collect(model, "-plain.evaluate.json", -1)
            missing += absent
            if reports:
                found.append(Line(title + ", T = 1", reports, [], times))
    return found, missing


def main_tables(results, found, hasShift=True):
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
            + ([percent([one["accuracy"] for one in shift]), number([one["nll"] for one in shift]),
                number([one["ece"] for one in shift]),
                "%.1f" % seconds["epoch"] if seconds.get("epoch") else "-"] if hasShift else [])
            + ["%.2f" % seconds["prediction"] if seconds.get("prediction") else "-"])
        scores.append([line.title] + [auroc(name, score) for name in network.foreign for score in list(SCORES)[1:]])
    text = table(
        ["model", "accuracy %", "NLL", "NLL less the temperature's", "ECE"]
        + ["AUROC " + name for name in network.foreign]
        + (["shifted: accuracy %", "NLL", "ECE", "s an epoch"] if hasShift else []) + ["s / 1000 rows"], rows)
    fit = next((line.time["fit"] for line in found if line.time and line.time.get("fit")), None)
    if fit:
        text += ["Last-layer Laplace has no epochs; its fit, tuning included, takes %.1f s." % fit, ""]
    header = ["%s, %s" % (name, score) for name in network.foreign for score in list(SCORES.values())[1:]]
    return text + ["AUROC by other scores:", ""] + table(["model"] + header, scores)


def interval(value, ends, digits=1):
    return "%.*f (%.*f to %.*f)" % (digits, 100 * value, digits, 100 * ends[0], digits, 100 * ends[1])


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%d cores of %s" % (os.cpu_count(), names[0] if names else "an unnamed processor")


def page(file, begin, end, title, text):
    """The page with the part between two marks replaced, all else as it was."""
    old = ""
    if os.path.exists(file):
        with open(file) as source:
            old = source.read()
    if old.count(begin) == 1 and old.count(end) == 1 and old.index(begin) < old.index(end):
        before, after = old[:old.index(begin)], old[old.index(end) + len(end):]
    elif old:
        sys.exit("%s does not hold the marks '%s' and '%s' once each, in this order; put them back" % (file, begin, end))
    else:
        before, after = "# %s\n\n## Reading\n\n## Tables\n\n" % title, "\n"
    with open(file + ".part", "w") as output:
        output.write(before + begin + "\n\n" + text + "\n\n" + end + after)
    os.rename(file + ".part", file)
