#!/usr/bin/env python3
"""Measures Gaussians over first layers beside their controls; writes Documentation/FirstLayerComparison.md.

    python Scripts/compare-first-layer.py --shared FOLDER --out FOLDER [--networks resnet20,resnet8,fashion,msdnet]
        [--steps fit,evaluate,shift,time,robustness,privacy] [--seeds 0,1,2] [--epochs N] [--draws N]
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
import json
import os
import shutil
import subprocess
from dataclasses import dataclass

from comparison import (
    CIFAR_FOREIGN, FASHION, RESNET20, ROOT, SEVERITY, TEMPERATURE, UNTOUCHED, Bench, Model, Network, Results, auroc_of, interval,
    lines, listed, main_tables, number, page, processor, read, significant, sorted_by_sign, table, write)
STEPS = ["fit", "evaluate", "shift", "time", "robustness", "privacy"]
# Kinds of models that have epochs.
TRAINED = ("tuned", "vi", "relative", "last")
PRIORS = {"standard": "standard prior", "scaled": "scaled prior", "centred": "MOPED prior"}
ATTACKERS = "single-draw,mean,expectation,averaged-probability,transfer"
BEGIN, END = "<!-- compare-first-layer.py: begin -->", "<!-- compare-first-layer.py: end -->"
DENSE = ["--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616"]


@dataclass
class FirstLayerNetwork(Network):
    """A network, and how long its first layer is trained."""
    lastLayer: str = ""
    epochs: int = 0
    draws: int = 30
    # Empty where it is not attacked.
    epsilons: str = ""
    hasDropout: bool = False
    # How many of --seeds it takes.
    seedCount: int | None = None


NETWORKS = {
    "resnet20": FirstLayerNetwork(**RESNET20, lastLayer="logits", epochs=5, draws=10, epsilons="2,4,8"),
    "resnet8": FirstLayerNetwork(
        **{**RESNET20, "title": "ResNet-8 on CIFAR-10", "checkpoint": "checkpoints/mlperf-tiny-resnet8-cifar10.h5",
           "preprocessing": []}, lastLayer="dense", epochs=20, epsilons="2,4,8"),
    "fashion": FirstLayerNetwork(**FASHION, lastLayer="dense_1", epochs=10, epsilons="2,5,10", hasDropout=True),
    "msdnet": FirstLayerNetwork(
        "MSDNet-small on CIFAR-10, last exit", "checkpoints/msdnet-small-cifar10.h5", DENSE,
        "data/cifar10-train-20k.h5", 20_000, ("data/cifar10-validation-5k.h5", 0, 5000),
        ("data/cifar10-test.h5", 0, 10_000), CIFAR_FOREIGN,
        "It was trained on 45,000 of the 50,000 training images, of which 20,000 are at hand; what is tuned is tuned on "
        "the 5,000 others, and all test images are reported on.", lastLayer="exit4_logits", epochs=4, draws=10, seedCount=1),
}


def models(network):
    rows = [UNTOUCHED, Model("tuned", "fine-tune control", "tuned")]
    rows += [Model("mean-" + prior, "mean of q only (%s)" % title, "mean", prior) for prior, title in PRIORS.items()]
    rows += [Model("vi-" + prior, "first-layer VI (%s)" % title, "vi", prior, hasDraws=True, hasUntempered=True)
             for prior, title in PRIORS.items()]
    rows += [Model("vi-relative", "first-layer VI (standard prior, deviations from 10 % of each weight)", "relative", "standard",
                   isSeeded=False, hasDraws=True),
             Model("vi-last", "VI of the last layer (standard prior)", "last", "standard", isSeeded=False, hasDraws=True,
                   hasUntempered=True),
             Model("laplace", "last-layer Laplace", "laplace", hasDraws=True)]
    if network.hasDropout:
        rows.append(Model("dropout", "MC dropout", "dropout", isSeeded=False, hasDraws=True))
    return rows


def groups(models):
    """Models that one study takes: those without draws together, each other one alone; other beginnings are not studied."""
    alone = [model for model in models if model.hasDraws and model.kind != "relative"]
    return [("controls", [model for model in models if not model.hasDraws])] + [(model.name, [model]) for model in alone]


class FirstLayerBench(Bench):
    """One network, and the command that measures its first layer."""

    def __init__(self, arguments, version, folder, network):
        super().__init__(arguments, version, folder, network, models(network))
        self.seeds = self.seeds[:network.seedCount]

    # Steps

    def epochs(self):
        return self.options.epochs or self.network.epochs

    def draws(self):
        return str(self.options.draws or self.network.draws)

    def inference(self, model, epochs):
        arguments = ["fit", "first-layer", self.checkpoint, *self.training(), *self.network.preprocessing,
                     "--epochs", str(epochs)]
        if model.kind == "tuned":
            return arguments + ["--control", "fine-tune"]
        if model.kind == "last":
            arguments += ["--layer", self.network.lastLayer]
        if model.kind == "relative":
            arguments += ["--initial-deviation", "10%"]
        return arguments + ["--prior", model.prior, "--draws", self.draws()]

    def fit(self):
        for model in self.models:
            for name, seed in self.runs(model):
                output, answer = name + ".h5", name + ".fit.json"
                seeded = ["--seed", str(seed), "-o", self.path(output)]
                if model.kind in TRAINED:
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
                        "fit", "dropout", self.checkpoint, "--draws", self.draws(),
                        *self.network.preprocessing, *self.validation(), *seeded])

    def time(self):
        """Seconds an epoch of two, of a whole fit without epochs, and of predictions, the least of three."""
        for model in self.models:
            name = next(self.runs(model))[0]
            subjects, inputs = self.subjects(model, name)
            output = name + ".time.json"
            prediction = ["predict", subjects[-1], *self.test(1000), *self.network.preprocessing,
                          "-o", self.path("prediction.h5")]
            training, scratch = None, self.path("timing.h5")
            if model.kind in TRAINED:
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

    def study(self, command, options):
        for group, members in groups(self.models):
            inputs = ["%s-%d.h5" % (model.name, self.seeds[0]) for model in members if model.kind]
            for name in inputs:
                self.require(name)
            output = "%s.%s.json" % (group, command)
            self.make(output, [
                "study", command, self.checkpoint, *(self.path(name) for name in inputs), *options,
                *self.network.preprocessing, "--seed", "0", "--json", self.path(output)], inputs)

    def robustness(self):
        if not self.network.epsilons:
            return
        self.study("robustness", [
            *self.test(self.options.attackedRows), "--epsilon", self.network.epsilons, "--attackers", ATTACKERS])

    def privacy(self):
        file, first, end = self.network.test
        self.study("privacy", [
            "--members", self.data(self.network.training), "--member-rows", self.rows(0, end - first),
            "--nonmembers", self.data(file), "--nonmember-rows", self.rows(first, end)])


# The page


def posterior_table(results, seeds):
    """What training made of the weights."""
    rows, warnings = [], []
    for model in models(results.network):
        if model.kind not in (*TRAINED, "laplace"):
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


def studied(results, command):
    """Each model with its part of a study, and the studies."""
    found, reports, missing = [], [], []
    for group, members in groups(models(results.network)):
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
    if not results.network.epsilons:
        return ["It was not attacked.", ""], []
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
    attacked = studied(results, "robustness")[0] if results.network.epsilons else []
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
    seeds = seeds[:results.network.seedCount]
    found, missing = lines(results, seeds, models(results.network))
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
        *["  %s has one seed." % network.title.split(",")[0] for network in NETWORKS.values() if network.seedCount == 1],
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
        "  weights. 20 to 40 of 20,000 rows are recommended, which ResNet-8's 20 and Fashion-MNIST's 10 of 60,000 are.",
        "  ResNet-20 and MSDNet, whose epochs are the longest, have 5 and 4 unless `--epochs` says otherwise: fewer steps",
        "  mean that deviations have moved less from where they began.",
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", required=True, type=os.path.abspath)
    parser.add_argument("--out", required=True, type=os.path.abspath)
    parser.add_argument("--bayesify", default=os.path.join(ROOT, ".build/release/bayesify"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--epochs", type=int, help="of every network (default: its own, see NETWORKS)")
    parser.add_argument("--draws", type=int, help="the same, of draws that predictions use")
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
        bench = FirstLayerBench(arguments, version, os.path.join(arguments.out, name), NETWORKS[name])
        for step in STEPS:
            if step in steps:
                getattr(bench, step)()
                results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
                page(arguments.page, BEGIN, END, "First layers by variational inference, measured", generated(results, arguments, version))
    results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
    page(arguments.page, BEGIN, END, "First layers by variational inference, measured", generated(results, arguments, version))


if __name__ == "__main__":
    main()
