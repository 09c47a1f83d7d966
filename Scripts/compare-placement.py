#!/usr/bin/env python3
"""Measures searched placements beside those that need no search, dropout and ensembles; writes Documentation/PlacementComparison.md.

    python Scripts/compare-placement.py --shared FOLDER --out FOLDER [--networks digits,fashion,resnet20]
        [--steps train,all,search,fit,evaluate,time,refit,clock] [--seeds 0,1,2] [--bayesify .build/release/bayesify]
        [--page Documentation/PlacementComparison.md]

FOLDER of --shared holds `checkpoints` and `data`; the digits are in the project, and the Fashion CNN is trained by
Models/fashion-six-layers/make_checkpoint.py.  --out takes what is made, and should lie outside the project.  Steps:

    train     the Fashion CNN and three more members of an ensemble
    all       the scores of all placements, and how near other searches come (digits, fashion)
    search    an evolutionary search a seed, within a latency of three times the checkpoint's
    fit       what was searched, and the placements beside it, a seed each
    evaluate  accuracy, NLL, ECE and AUROC of foreign sets that no search has seen
    time      seconds of predictions; run it while nothing else runs
    refit     ten placements of the search fitted on their own, and both scores side by side
    clock     the cost model beside the clock; run it while nothing else runs

Whatever is in --out is kept where the same command made it of the same files.  The page is written of everything that is in --out,
and says what is missing; what stands outside of its two marks is nobody's but the author's, and stays.

Takes hours on two cores.  Build first: make release.  Needs Python 3.10, h5py and, for training, Keras with TensorFlow.
"""
import argparse
import math
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from comparison import (
    CIFAR_FOREIGN, FASHION, RESNET20, ROOT, TEMPERATURE, UNTOUCHED, Bench, Model, Network, Results, auroc_of, lines, listed,
    main_tables, number, page, processor, sorted_by_sign, table, write)

STEPS = ["train", "all", "search", "fit", "evaluate", "time", "refit", "clock"]
BEGIN, END = "<!-- compare-placement.py: begin -->", "<!-- compare-placement.py: end -->"
DIGITS = os.path.join(ROOT, "Models/digits-early-exit")
DRAWS = "8"
KINDS = "laplace,vi,dropout:0.1"


@dataclass
class PlacementNetwork(Network):
    """A network, what is searched, and what is scored whole."""
    kinds: str = "laplace,dropout:0.1"
    # Whether all placements are scored.
    isWhole: bool = False
    hasEnsemble: bool = False
    isFitted: bool = True
    isTimed: bool = False


NETWORKS = {
    "digits": PlacementNetwork(
        "The embedded digits network", os.path.join(DIGITS, "digits.h5"), [], os.path.join(DIGITS, "train.h5"), 297,
        (os.path.join(DIGITS, "validation.h5"), 0, 500), (os.path.join(DIGITS, "test.h5"), 0, 1000),
        {name: os.path.join(DIGITS, "ood-%s.h5" % name) for name in ("letters", "rotated")},
        "Its 297 training rows are at hand.", kinds=KINDS, isWhole=True, isFitted=False),
    "fashion": PlacementNetwork(**{
        **FASHION, "title": "A CNN of six layers on Fashion-MNIST", "checkpoint": "", "preprocessing": [], "trainingCount": 20_000,
        "note": "Trained by Models/fashion-six-layers/make_checkpoint.py on all 60,000 training images; placements are fitted to the "
        "first 20,000."}, kinds=KINDS, isWhole=True, hasEnsemble=True),
    "resnet20": PlacementNetwork(**RESNET20, isTimed=True),
    "msdnet": PlacementNetwork(
        "MSDNet-small on CIFAR-10, last exit", "checkpoints/msdnet-small-cifar10.h5",
        ["--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616"], "data/cifar10-train-20k.h5", 20_000,
        ("data/cifar10-validation-5k.h5", 0, 5000), ("data/cifar10-test.h5", 0, 10_000), CIFAR_FOREIGN,
        "The cost model alone is measured here.", isFitted=False, isTimed=True),
}


def models(network):
    if not network.isFitted:
        return []
    rows = [UNTOUCHED, Model("searched", "searched placement", "searched", hasDraws=True)]
    rows += [Model("%s-laplace" % name, "%s, Laplace" % name.replace("-", " "), "layers", "%s=laplace" % name, hasDraws=True)
             for name in ("last", "first", "last-third", "all")]
    rows += [Model("last-third-dropout", "last third, dropout", "layers", "last-third=dropout:0.1", hasDraws=True),
             Model("all-dropout", "MC dropout (all layers)", "layers", "all=dropout:0.1", hasDraws=True)]
    if network.hasEnsemble:
        rows.append(Model("ensemble", "ensemble of 4", "ensemble", isSeeded=False, hasDraws=True))
    return rows


class PlacementBench(Bench):
    """One network, and the commands that search and fit its placements."""

    def __init__(self, arguments, version, folder, network):
        super().__init__(arguments, version, folder, network, models(network))
        if not network.checkpoint:
            self.checkpoint = self.member(0)

    def member(self, index):
        return os.path.join(self.options.out, "members", "member-%d.h5" % index)

    def train(self):
        if not self.network.hasEnsemble:
            return
        script = os.path.join(ROOT, "Models/fashion-six-layers/make_checkpoint.py")
        subprocess.run([sys.executable, script, "--data", self.data(self.network.training), "--out",
                        os.path.join(self.options.out, "members"), "--members", "4"], check=True)

    def searching(self, *options):
        return ["search", self.checkpoint, *self.training(), *self.network.preprocessing, *self.validation(), "--draws", DRAWS,
                *options]

    def all(self):
        if not self.network.isWhole:
            return
        whole, output = "all.json", "searches.json"
        self.make(whole, self.searching("--kinds", KINDS, "--strategy", "exhaustive", "-o", self.path(whole)))
        self.make(output, ["study", "placement-searches", self.path(whole), "--seeds", "5", "--json", self.path(output)], [whole])

    def search(self):
        for seed in self.seeds if self.network.isFitted else []:
            output = "placement-%d.json" % seed
            self.make(output, self.searching(
                "--kinds", self.network.kinds, "--strategy", "evolution", "--latency-budget", "3x", "--seed", str(seed),
                "--search-seed", str(seed), "-o", self.path(output), "--html", self.path("placement-%d.html" % seed)))

    def fit(self):
        for model in self.models:
            for name, seed in self.runs(model):
                output, answer = name + ".h5", name + ".fit.json"
                rest = [*self.network.preprocessing, *self.validation(), "--seed", str(seed), "-o", self.path(output), "--json"]
                if model.kind == "searched":
                    placement = "placement-%d.json" % seed
                    self.make(output, ["fit", "placement", self.checkpoint, "--placement", self.path(placement), *self.training(),
                                       *rest], [placement], answer=answer)
                elif model.kind == "layers":
                    self.make(output, ["fit", "placement", self.checkpoint, "--layers", model.prior, "--draws", DRAWS,
                                       *self.training(), *rest], answer=answer)
                elif model.kind == "ensemble":
                    self.make(output, ["fit", "ensemble", *(self.member(index) for index in range(4)), *rest], answer=answer)

    def refit(self):
        if self.network.isFitted:
            output = "refits.json"
            self.make(output, self.searching(
                "--kinds", self.network.kinds, "--strategy", "evolution", "--latency-budget", "3x", "--check-refits", "12",
                "--refit-epochs", "5", "-o", self.path(output)))

    def clock(self):
        if self.network.isTimed:
            output = "clock.json"
            self.make(output, self.searching(
                "--kinds", "dropout:0.1", "--strategy", "random", "--evaluations", "2", "--check-times", "20", "-o",
                self.path(output)))

    def time(self):
        """Seconds of predictions of 1,000 rows without the command's start, medians of five."""
        for model in self.models:
            name = next(self.runs(model))[0]
            subjects, inputs = self.subjects(model, name)
            output = name + ".time.json"

            def prediction(count):
                return ["predict", subjects[-1], *self.test(count), *self.network.preprocessing, "-o", self.path("prediction.h5")]
            recipe = self.recipe(prediction(1000), inputs)
            if self.made(output) == recipe:
                continue
            pairs = [(self.run(prediction(1000))[1], self.run(prediction(1))[1]) for _ in range(5)]
            seconds = statistics.median(many - one for many, one in pairs)
            write({"prediction": seconds, "epoch": None, "fit": None}, self.path(output))
            write(recipe, self.path(output + ".made.json"))
            os.remove(self.path("prediction.h5"))


# The page


def search_table(results):
    """All placements, and how near searches come."""
    whole, searches = results.report("all.json"), results.report("searches.json")
    if not whole or not searches:
        return []
    best = max(entry["scalar"] for entry in whole["trail"])
    rows = []
    for strategy in ("evolution", "greedy", "random"):
        own = [row for row in searches if row["strategy"] == strategy]
        tops = [row.get("evaluationsToTop") for row in own]
        rows.append([
            strategy, number([row["evaluations"] for row in own], 0), number([row["regret"] for row in own]),
            number([top for top in tops if top], 0) if any(tops) else "-", "%d of %d" % (sum(1 for top in tops if top), len(own))])
    return ["All %d placements of %d layers by %s, %s draws: the best has F %.4f." % (
        len(whole["trail"]), len(whole["space"]["sites"]), ", ".join(whole["space"]["kinds"]), DRAWS, best), ""] + table(
            ["search, 5 seeds", "placements asked for", "regret (F)", "until the best 5 %", "found"], rows)


def check_lines(results):
    text = []
    refits, clock = results.report("refits.json"), results.report("clock.json")
    if refits and refits.get("refitCheck"):
        check = refits["refitCheck"]
        text += ["- Scores of the search against those of %d placements fitted on their own: Spearman %.3f." % (
            len(check["rows"]), check["rankCorrelation"])]
    if clock and clock.get("latencyCheck"):
        check = clock["latencyCheck"]
        text += ["- The cost model against the clock, %d placements of 1 to 16 draws, batches of %d rows on %d threads: Spearman "
                 "%.3f, median error %.1f %%." % (
                     len(check["rows"]), clock["latency"]["batchRowCount"], clock["latency"]["threadCount"],
                     check["rankCorrelation"], 100 * check["medianError"])]
    return text + [""] if text else []


def chosen_lines(results, seeds):
    text = []
    for seed in seeds:
        found = results.report("placement-%d.json" % seed)
        if not found:
            continue
        chosen = found.get("chosen")
        names = [] if not chosen else [
            "%s of %s" % (found["space"]["kinds"][gene - 1], site["name"])
            for site, gene in zip(found["space"]["sites"], chosen["genes"]) if gene]
        text.append("- Seed %d chose: %s; F %.4f, the untouched network %.4f on the same rows." % (
            seed, ", ".join(names) or "none", found["rescored"][0]["scalar"] if found["rescored"] else float("nan"),
            scalar(found["objective"], found["freshReference"])))
    return ["What the searches chose:", ""] + text + [""] if text else []


def scalar(objective, score):
    return (-score["nll"] / math.log(objective["classCount"]) - objective["calibrationWeight"] * score["ece"]
            + objective["foreignWeight"] * (2 * score["auroc"] - 1) - objective["latencyWeight"] * math.log(score["latency"]))


def latency_table(found):
    rows = []
    base = next((line.time["prediction"] for line in found if line.title == UNTOUCHED.title and line.time), None)
    dropout = next((line.time["prediction"] for line in found if line.title.startswith("MC dropout") and line.time), None)
    ensemble = next((line.time["prediction"] for line in found if line.title.startswith("ensemble") and line.time), None)
    if base is None:
        return []
    for line in found:
        if not line.time:
            continue
        own = line.time["prediction"]
        rows.append([line.title, "%.3f" % own, "%.2f" % (own / base), "%.2f" % (dropout / own) if dropout else "-",
                     "%.2f" % (ensemble / own) if ensemble else "-"])
    return ["Latency (the paper says 2.98 times below MC dropout's and 2.92 below a deep ensemble's, at draws and members that it does "
            "not name; here MC dropout has %s draws, the ensemble 4 members):" % DRAWS, ""] + table(
                ["model", "s / 1000 rows", "times the checkpoint's", "times below MC dropout's", "below the ensemble's"], rows)


def findings(results, found):
    if not any(line.title == TEMPERATURE for line in found):
        return []
    text = ["- Against the temperature alone, paired, where the 95 % intervals of every seed lie on one side of zero:"]
    measures = [("NLL", lambda comparison: comparison["nll"]), ("ECE", lambda comparison: comparison["ece"])]
    measures += [("AUROC of max p on " + name, auroc_of(name)) for name in results.network.foreign]
    for name, quantity in measures:
        names = sorted_by_sign(found, quantity)
        text.append("  - %s: lower: %s; higher: %s." % (name, listed(names[-1]), listed(names[1])))
    return ["### What the numbers say", ""] + text + [""]


def section(results, seeds):
    network = results.network
    found, missing = lines(results, seeds, models(network)) if network.isFitted else ([], [])
    missing = [name for name in missing if not name.endswith(".shift")]
    name = os.path.basename(network.checkpoint) or "member-0.h5"
    text = ["## " + network.title, "", "`%s`. %s" % (name, network.note), ""] + search_table(results)
    if found:
        text += ["%d test rows." % next(found[0].exits())["rowCount"], ""] + main_tables(results, found, hasShift=False)
        text += latency_table(found)
    text += chosen_lines(results, seeds) + check_lines(results) + (findings(results, found) if found else [])
    if missing:
        text += ["Not measured yet: " + ", ".join(missing) + ".", ""]
    return text


def generated(results, arguments, version):
    text = [
        "Written by `python Scripts/compare-placement.py --shared FOLDER --out FOLDER` from what `bayesify` %s" % version,
        "printed.",
        "",
        "- Searches see 500 validation rows and 500 foreign rows that are made of them (noise, patches in another order, mixtures of two",
        "  classes); the foreign sets of the tables were seen by none. What was searched is fitted anew before it is measured.",
        "- Temperatures come from validation rows, everything is reported on other rows. Every model has a temperature of its own, but for",
        "  *deterministic*.",
        "- Seeds %s, of the search and of the fit: the mean, and in brackets the lowest and the highest where the digits differ." % (
            ", ".join(map(str, arguments.seeds))),
        "- *NLL less the temperature's*: paired difference from the network with a temperature alone, the mean over seeds, and in brackets",
        "  the least and the greatest end of the seeds' 95 % intervals. Below zero is better.",
        "- *ECE*: 15 bins. *AUROC*: of max p, foreign rows positive, 0.5 is chance. *s / 1000 rows*: `predict` from file to file without",
        "  the command's start, the median of five. Seconds of a clock, on %s." % processor(),
        "- F = -NLL / log K - ECE + 0.5 (2 AUROC - 1) - 0.1 log(latency), on rows of the search.",
        "",
    ]
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
    parser.add_argument("--limit", type=int)
    parser.add_argument("--page", default=os.path.join(ROOT, "Documentation/PlacementComparison.md"))
    arguments = parser.parse_args()
    networks = [name for name in arguments.networks.split(",") if name]
    steps = [name for name in arguments.steps.split(",") if name]
    for word, among in [(name, NETWORKS) for name in networks] + [(step, STEPS) for step in steps]:
        if word not in among:
            parser.error("there is no '%s'; choose among %s" % (word, ", ".join(among)))
    version = subprocess.run(
        [arguments.bayesify, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def written():
        results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
        page(arguments.page, BEGIN, END, "Where to be Bayesian, measured", generated(results, arguments, version))
    for name in networks if steps else []:
        bench = PlacementBench(arguments, version, os.path.join(arguments.out, name), NETWORKS[name])
        for step in STEPS:
            if step in steps:
                getattr(bench, step)()
                written()
    written()


if __name__ == "__main__":
    main()
