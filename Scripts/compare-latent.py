#!/usr/bin/env python3
"""Measures ensembles of scaled layers (LP-BNN) beside their controls; writes Documentation/LatentComparison.md.

    python Scripts/compare-latent.py --shared FOLDER --out FOLDER [--networks fashion,resnet20,shapes]
        [--steps fit,evaluate,shift,time] [--seeds 0,1,2] [--epochs N] [--bayesify .build/release/bayesify]
        [--page Documentation/LatentComparison.md]

FOLDER of --shared holds `checkpoints` and `data`; the network of drawn shapes is the project's own.  --out takes posteriors
and reports, and should lie outside the project.  --networks and --steps measure some (none of them with ""):

    fit         posteriors and controls, one file a model and seed; members of deep ensembles, by Keras
    evaluate    accuracy, NLL, ECE, disagreement, and AUROC of foreign sets or of anomalous pixels
    shift       the same at severity 3 of six corruptions, on --shift-rows images
    time        seconds an epoch and a prediction; run it while nothing else runs

Whatever is in --out is kept where the same command made it of the same files, and a training that was interrupted goes
on; so the script can be killed and started again.  The page is written of everything that is in --out, and says what is
missing; what stands outside of its two marks is nobody's but the author's, and stays.

--limit N takes at most N rows of every set but the foreign ones: for trying the script.

Takes hours on two cores.  Build first: make release.  Needs Python 3.10 and h5py, for deep ensembles
Keras, with PyTorch or by KERAS_BACKEND=tensorflow.
"""
import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from comparison import (
    FASHION, RESNET20, ROOT, TEMPERATURE, UNTOUCHED, Bench, Model, Network, Results, auroc_of, lines, listed, main_tables, number,
    page, percent, processor, read, shifted, significant, sorted_by_sign, table, write)

STEPS = ["fit", "evaluate", "shift", "time"]
BEGIN, END = "<!-- compare-latent.py: begin -->", "<!-- compare-latent.py: end -->"
SHAPES = os.path.join(ROOT, "Models", "shapes-segmentation")
MEMBERS = 4
ANOMALIES = "anomalies"


@dataclass
class LatentNetwork(Network):
    """A network, and how its members are trained."""
    # Options of `fit latent`.
    training_options: tuple = ()
    epochs: int = 10
    # Networks trained anew, for a deep ensemble; none where that is not done.
    ensembleSize: int = 0
    hasLaplace: bool = True
    # Whether the network answers at every pixel.
    isDense: bool = False


NETWORKS = {
    "fashion": LatentNetwork(**FASHION, ensembleSize=MEMBERS),
    "resnet20": LatentNetwork(**RESNET20),
    "shapes": LatentNetwork(
        "DeepLabV3+ on drawn shapes", os.path.join(SHAPES, "shapes.h5"), [], os.path.join(SHAPES, "train.h5"), 96,
        (os.path.join(SHAPES, "validation.h5"), 0, 48), (os.path.join(SHAPES, "test.h5"), 0, 96), {},
        "Every pixel is an answer; half of the test images have objects of no class. 96 of its 1,500 training images are at "
        "hand. Behind its last layer logits are enlarged, so that there is no last-layer Laplace.",
        evaluation=("--anomaly-label", "4"), training_options=("--batch-rows", "8"), hasLaplace=False, isDense=True),
}


def models(network):
    rows = [UNTOUCHED,
            Model("batch-ensemble", "BatchEnsemble", "latent", "--control batch-ensemble", hasDraws=True),
            Model("latent", "LP-BNN, latents decoded", "latent", "--decode latent-sample", hasDraws=True),
            Model("hidden", "LP-BNN, hidden decoded", "latent", "--decode hidden", hasDraws=True)]
    if network.hasLaplace:
        rows.append(Model("laplace", "last-layer Laplace", "laplace", hasDraws=True))
    if network.ensembleSize:
        rows.append(Model("ensemble", "deep ensemble of %d" % network.ensembleSize, "ensemble", hasDraws=True))
    return rows


class LatentBench(Bench):
    """One network, and the command that measures its ensembles."""

    def latent(self, model, epochs):
        # The last column of a model says what makes it.
        return ["fit", "latent", self.checkpoint, *self.training(), *self.network.preprocessing,
                *self.network.training_options, "--members", str(MEMBERS), "--epochs", str(epochs), *model.prior.split()]

    def fit(self):
        epochs = self.options.epochs or self.network.epochs
        for model in self.models:
            for name, seed in self.runs(model):
                output, answer = name + ".h5", name + ".fit.json"
                seeded = ["--seed", str(seed), "-o", self.path(output)]
                if model.kind == "latent":
                    self.make(output, self.latent(model, epochs) + self.validation() + seeded + ["--json"], answer=answer,
                              resumes=True)
                elif model.kind == "laplace":
                    self.make(output, self.laplace() + seeded + ["--json"], answer=answer)
                elif model.kind == "ensemble":
                    members = self.trained(seed)
                    self.make(output, ["fit", "ensemble", *members, *self.network.preprocessing, *self.validation(), *seeded])

    def trained(self, seed):
        """Networks of the checkpoint's architecture that were trained anew."""
        folder = self.path("members-%d" % seed)
        command = [sys.executable, os.path.join(ROOT, "Scripts", "train-ensemble.py"), self.checkpoint, "--data",
                   self.data(self.network.training), "--out", folder, "--members", str(self.network.ensembleSize), "--seed",
                   str(seed)]
        if self.options.limit:
            command += ["--epochs", "1", "--rows", str(self.options.limit)]
        subprocess.run(command, check=True)
        return [os.path.join(folder, "member-%d.h5" % member) for member in range(self.network.ensembleSize)]

    def time(self):
        """Seconds an epoch of two, of a whole fit without epochs, and of predictions, the least of three."""
        for model in self.models:
            name = next(self.runs(model))[0]
            subjects, inputs = self.subjects(model, name)
            output, scratch = name + ".time.json", self.path("timing.h5")
            # Anomalies are no class that predictions could be told of.
            ignored = ["--ignore-label", self.network.evaluation[1]] if self.network.evaluation else []
            prediction = ["predict", subjects[-1], *self.test(1000), *self.network.preprocessing, *ignored, "-o",
                          self.path("prediction.h5")]
            training = None
            if model.kind == "latent":
                training = self.latent(model, 2) + ["--json", "-o", scratch]
            elif model.kind == "laplace":
                training = self.laplace() + ["-o", scratch]
            recipe = self.recipe(prediction + (training or []), inputs)
            if self.made(output) == recipe:
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


# The page


def pixel_table(found):
    """Accuracy, overlap, calibration and anomalies of a network that answers at every pixel."""
    rows = []
    for line in found:
        exits = list(line.exits())
        sets = [next(one for one in exit["ood"] if one["name"] == ANOMALIES) for exit in exits]

        def score(name, part, key):
            values = [one[part].get(name) for one in sets]
            if any(value is None for value in values) or any(one["scores"][name]["isConstant"] for one in sets):
                return "-"
            return number([value[key] for value in values], 3)
        shift = [shifted(report, name) for report, name in line.shifts]
        seconds = line.time or {}
        rows.append([
            line.title, percent([exit["accuracy"] for exit in exits]),
            number([exit["details"]["overlap"]["mean"] for exit in exits]), number([exit["nll"] for exit in exits]),
            number([exit["ece"]["value"] for exit in exits])]
            + [score("maximumProbability", part, key) for part in ("scores", "perImage") for key in ("auroc", "auprOut", "fpr95")]
            + [score("mutualInformation", "perImage", "auroc"), percent([one["accuracy"] for one in shift]),
               number([one["ece"] for one in shift]),
               "%.2f" % seconds["epoch"] if seconds.get("epoch") else "-",
               "%.2f" % seconds["prediction"] if seconds.get("prediction") else "-"])
    return table(
        ["model", "accuracy %", "mIoU", "NLL", "ECE", "pooled: AUROC", "AUPR", "FPR95", "per image: AUROC", "AUPR", "FPR95",
         "AUROC of MI", "shifted: accuracy %", "ECE", "s an epoch", "s to predict"], rows)


def member_table(results, seeds):
    """What training made of the members."""
    rows, warnings = [], []
    for model in models(results.network):
        names = ["%s-%d" % (model.name, seed) for seed in seeds]
        fits = [read(results.path(name + ".fit.json")) for name in names
                if results.made(name + ".h5") and os.path.exists(results.path(name + ".fit.json"))]
        evaluations = [results.report(name + ".evaluate.json") for name in names]
        disagreements = [report["models"][-1]["exits"][-1]["details"]["disagreement"]["disagreement"]
                         for report in evaluations if report and model.kind and
                         report["models"][-1]["exits"][-1]["details"].get("disagreement")]
        if fits and model.kind == "latent":
            warnings += ["%s: %s" % (model.title, warning) for warning in fits[0]["warnings"]]
            latents = [fit["latent"] for fit in fits]
            layers = latents[0]["layers"]

            def spread(key):
                values = [layer[key] for latent in latents for layer in latent["layers"]]
                return "%.3g to %.3g" % (min(values), max(values))
            rows.append([
                model.title, " · ".join(layer["name"] for layer in layers), "%d" % latents[0]["addedNumbers"],
                spread("divergence") if model.name != "batch-ensemble" else "-", spread("spread"),
                significant([fit["epochs"][-1]["dataTerm"] for fit in fits]),
                significant([fit["exits"][-1]["temperature"] for fit in fits]), percent(disagreements)])
        elif disagreements:
            rows.append([model.title, "", "", "-", "-", "-", "-", percent(disagreements)])
    if not rows:
        return []
    text = ["What training made of the members (divergence and spread: the least and the greatest of all layers and seeds):", ""]
    text += table(["model", "layers", "numbers added", "KL, nats a member", "members apart", "data term at the end", "T",
                   "disagreement %"], rows, textColumns=2)
    if warnings:
        text += ["Warnings of these fits (first seed):", ""] + ["- " + warning for warning in sorted(set(warnings))] + [""]
    return text


def findings(results, found):
    """Sentences that follow from the numbers alone."""
    if not any(line.title == TEMPERATURE for line in found):
        return []
    text = ["- Against the temperature alone, paired, where the 95 % intervals of every seed lie on one side of zero:"]
    measures = [("NLL", lambda comparison: comparison["nll"]), ("ECE", lambda comparison: comparison["ece"])]
    foreign = [ANOMALIES] if results.network.isDense else list(results.network.foreign)
    for name, quantity in measures + [("AUROC of max p on " + name, auroc_of(name)) for name in foreign]:
        names = sorted_by_sign(found, quantity)
        text.append("  - %s: lower: %s; higher: %s." % (name, listed(names[-1]), listed(names[1])))
    return text


def section(results, seeds):
    network = results.network
    found, missing = lines(results, seeds, models(network))
    text = ["## " + network.title, "", "`%s`. %s" % (os.path.basename(network.checkpoint), network.note), ""]
    if found:
        rows = "%d test %s" % (next(found[0].exits())["rowCount"], "pixels of known classes" if network.isDense else "rows")
        text += [rows + ".", ""] + (pixel_table(found) if network.isDense else main_tables(results, found))
    text += member_table(results, seeds)
    sentences = findings(results, found)
    if sentences:
        text += ["### What the numbers say", ""] + sentences + [""]
    if missing:
        text += ["Not measured yet: " + ", ".join(missing) + ".", ""]
    return text


def generated(results, arguments, version):
    text = [
        "Written by `python Scripts/compare-latent.py --shared FOLDER --out FOLDER` from what `bayesify` %s" % version,
        "printed.",
        "",
        "- Training rows are rows the network was trained on. Temperatures come from validation rows, everything is reported",
        "  on other rows (test images 0:5000 and 5000:10000 where the network has seen all training images). Every model has a",
        "  temperature of its own, but for *deterministic*.",
        "- Seeds %s: the mean, and in brackets the lowest and the highest where the digits differ. %d members, of LP-BNN by" % (
            ", ".join(map(str, arguments.seeds)), MEMBERS),
        "  latents 4 draws each.",
        "- *NLL less the temperature's*: paired difference from the network with a temperature alone, the mean over seeds,",
        "  and in brackets the least and the greatest end of the seeds' 95 % intervals. Below zero is better.",
        "- *ECE*: 15 bins. *AUROC*: of max p (one minus the largest probability), foreign rows positive, 0.5 is chance. *MI*:",
        "  the mutual information of class and weights.",
        "- *shifted*: severity 3 of noise, blur, contrast, brightness, JPEG and, of whole images, rotation, the mean over all.",
        "- *s an epoch*: the faster of two. *s / 1000 rows*, *s to predict*: `predict` from file to file, the least of three,",
        "  the command's start included. Seconds of a clock, on %s." % processor(),
    ]
    if arguments.limit:
        text.append("- **A trial: at most %d rows of every set.** The numbers mean nothing." % arguments.limit)
    text.append("")
    for one in results.values():
        if os.path.isdir(one.folder):
            text += section(one, arguments.seeds)
    absent = [network.title for name, network in NETWORKS.items() if not os.path.isdir(results[name].folder)]
    if absent:
        text += ["Networks not measured yet: " + ", ".join(absent) + ".", ""]
    return "\n".join(text).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True, type=os.path.abspath)
    parser.add_argument("--out", required=True, type=os.path.abspath)
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--epochs", type=int, help="of every network (default: its own, see NETWORKS)")
    parser.add_argument("--shift-rows", type=int, default=1000, dest="shiftRows")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--page", default=os.path.join(ROOT, "Documentation/LatentComparison.md"))
    arguments = parser.parse_args()
    networks = [name for name in arguments.networks.split(",") if name]
    steps = [name for name in arguments.steps.split(",") if name]
    for word, known in [(name, NETWORKS) for name in networks] + [(step, STEPS) for step in steps]:
        if word not in known:
            parser.error("there is no '%s'; choose among %s" % (word, ", ".join(known)))
    version = subprocess.run(
        [arguments.bayesify, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def written():
        results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
        page(arguments.page, BEGIN, END, "Ensembles of scaled layers, measured", generated(results, arguments, version))
    for name in networks if steps else []:
        bench = LatentBench(arguments, version, os.path.join(arguments.out, name), NETWORKS[name], models(NETWORKS[name]))
        for step in STEPS:
            if step in steps:
                getattr(bench, step)()
                written()
    written()


if __name__ == "__main__":
    main()
