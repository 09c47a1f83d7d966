#!/usr/bin/env python3
"""Measures chains over weights, dense and sparse, beside their controls; writes Documentation/SpikeAndSlabComparison.md.

    python Scripts/compare-spike-slab.py --shared FOLDER --out FOLDER [--networks fashion,resnet20,msdnet]
        [--steps fit,evaluate,compact,time] [--seeds 0,1,2] [--models NAME,...] [--bayesify .build/release/bayesify]
        [--page Documentation/SpikeAndSlabComparison.md]

FOLDER of --shared holds `checkpoints` and `data`.  --out takes posteriors and reports, and should lie outside the project.
--networks, --models and --steps measure some (none of them with ""):

    fit         posteriors and controls, one file a model and seed
    evaluate    accuracy, NLL, ECE and AUROC of foreign sets
    compact     the smaller network of every sparse model: multiply-adds, milliseconds and bytes
    time        seconds of a prediction; run it while nothing else runs

Whatever is in --out is kept where the same command made it of the same files, and a training that was interrupted goes
on; so the script can be killed and started again.  The page is written of everything that is in --out, and says what is
missing; what stands outside of its two marks is nobody's but the author's, and stays.

--limit N takes at most N rows of every set but the foreign ones: for trying the script.

Takes hours on two cores.  Build first: make release.  Needs Python 3.10 and h5py.
"""
import argparse
import os
import subprocess

from comparison import (
    CIFAR_FOREIGN, FASHION, RESNET20, ROOT, TEMPERATURE, UNTOUCHED, Bench, Model, Network, Results, auroc_of, lines, listed,
    main_tables, number, page, percent, processor, read, significant, sorted_by_sign, table, write)

STEPS = ["fit", "evaluate", "compact", "time"]
BEGIN, END = "<!-- compare-spike-slab.py: begin -->", "<!-- compare-spike-slab.py: end -->"
ROWS = 20_000
# Chains that stay near the trained weights, and chains that have to recover from what was removed: the rate of the first is
# found, that of the others is ten times the last that these networks were trained with.
DENSE = ["--cycles", "3", "--cycle-epochs", "2", "--snapshots", "2"]
SPARSE = ["--cycles", "6", "--cycle-epochs", "1", "--snapshots", "1", "--momentum", "0.9"]
SAMPLERS = {
    "released": ("EM-MCMC as released", ["--sampler", "as-released"]),
    "tempered": ("EM-MCMC tempered, 1", ["--sampler", "tempered"]),
    "cold": ("EM-MCMC tempered, 0.1", ["--sampler", "tempered", "--temperature", "0.1"]),
    "descent": ("descent, no noise", ["--sampler", "descent"]),
    "swag": ("SWAG-Diagonal", ["--sampler", "swag-diagonal"]),
    "magnitude": ("smallest filters, fine-tuned", ["--sampler", "descent", "--select", "magnitude"]),
}
# What descent moves by the whole of a step, EM-MCMC moves by half of it.
RATES = {name: "0.01" if name in ("descent", "magnitude") else "0.02" for name in SAMPLERS}


NETWORKS = {
    "fashion": Network(**{**FASHION, "trainingCount": ROWS}),
    "resnet20": Network(**RESNET20),
    "msdnet": Network(
        "MSDNet-small on CIFAR-10, last exit", "checkpoints/msdnet-small-cifar10.h5",
        ["--scale", "255", "--mean", "0.4914,0.4824,0.4467", "--std", "0.2471,0.2435,0.2616"],
        "data/cifar10-train-20k.h5", ROWS, ("data/cifar10-validation-5k.h5", 0, 5000),
        ("data/cifar10-test.h5", 0, 10_000), CIFAR_FOREIGN,
        "It was trained on 45,000 of the 50,000 training images, of which 20,000 are at hand; what is tuned is tuned on "
        "the 5,000 others, and all test images are reported on."),
}


def models(network):
    rows = [UNTOUCHED]
    rows += [Model("dense-" + name, SAMPLERS[name][0], "chain", name, hasDraws=True)
             for name in ("released", "tempered", "cold", "descent", "swag")]
    for share in (50, 80):
        rows += [Model("sparse%d-%s" % (share, name), "%s, %d %% removed" % (SAMPLERS[name][0], share), "chain", name, hasDraws=True)
                 for name in ("released", "tempered", "cold", "descent", "magnitude")]
    return rows + [Model("laplace", "last-layer Laplace", "laplace", hasDraws=True)]


def isSparse(model):
    return model.name.startswith("sparse")


class ChainBench(Bench):
    """One network, and the command that measures its chains."""

    def chain(self, model):
        arguments = ["fit", "spike-slab", self.checkpoint, *self.training(), *self.network.preprocessing,
                     *SAMPLERS[model.prior][1]]
        if isSparse(model):
            return arguments + SPARSE + ["--learning-rate", RATES[model.prior], "--sparsity", model.name[6:8] + "%"]
        return arguments + DENSE

    def fit(self):
        for model in self.models:
            for name, seed in self.runs(model):
                output, answer = name + ".h5", name + ".fit.json"
                seeded = ["--seed", str(seed), "-o", self.path(output), "--json"]
                if model.kind == "chain":
                    self.make(output, self.chain(model) + self.validation() + seeded, answer=answer, resumes=True)
                elif model.kind == "laplace":
                    self.make(output, self.laplace() + seeded, answer=answer)

    def compact(self):
        for model in self.models:
            if not isSparse(model):
                continue
            for name, _ in self.runs(model):
                self.require(name + ".h5")
                small, posterior = name + ".small.h5", name + ".small-posterior.h5"
                self.make(small, ["compact", self.path(name + ".h5"), "-o", self.path(small), "--posterior",
                                  self.path(posterior), "--json"], [name + ".h5"], others=[posterior],
                          answer=name + ".compact.json")

    def time(self):
        """Seconds of predictions, the least of three."""
        for model in self.models:
            name = next(self.runs(model))[0]
            subjects, inputs = self.subjects(model, name)
            output = name + ".time.json"
            prediction = ["predict", subjects[-1], *self.test(1000), *self.network.preprocessing, "-o",
                          self.path("prediction.h5")]
            recipe = self.recipe(prediction, inputs)
            if self.made(output) == recipe:
                continue
            write({"prediction": min(self.run(prediction)[1] for _ in range(3)), "epoch": None, "fit": None}, self.path(output))
            write(recipe, self.path(output + ".made.json"))
            os.remove(self.path("prediction.h5"))


# The page


def chain_table(results, seeds):
    """What the chains came to, and what the smaller networks cost."""
    rows, warnings = [], []
    for model in models(results.network):
        names = ["%s-%d" % (model.name, seed) for seed in seeds]
        names = [name for name in names if model.kind == "chain" and results.made(name + ".h5")
                 and os.path.exists(results.path(name + ".fit.json"))]
        if not names:
            continue
        fits = [read(results.path(name + ".fit.json")) for name in names]
        warnings += ["%s: %s" % (model.title, warning) for warning in fits[0]["warnings"]]
        chains = [fit["chains"] for fit in fits]
        agreements = [chain.get("agreement") for chain in chains]
        small = [read(results.path(name + ".compact.json")) for name in names
                 if results.made(name + ".small.h5") and os.path.exists(results.path(name + ".compact.json"))]

        def ratio(key):
            return number([one["after"][key] / one["before"][key] for one in small], 2) if small else "-"
        rows.append([
            model.title, "%d" % fits[0]["networks"], "%.3g" % chains[0]["learningRate"],
            "%.3g" % chains[0]["effectiveTemperature"], significant([chain["loss"] for chain in chains]),
            significant([one["medianRHat"] for one in agreements]) if all(agreements) else "-",
            percent([chain["sparsity"] for chain in chains], 1), ratio("multiplyAdds"), ratio("secondsPerRow"), ratio("bytes"),
            significant([fit["exits"][-1]["temperature"] for fit in fits]),
            "%.0f" % (sum(read(results.path(name + ".h5.made.json"))["seconds"] for name in names) / len(names))])
    if not rows:
        return []
    text = ["What the chains came to (temperature: the share of the posterior's at which the sampler's formula says that it "
            "moves; loss: of the last epoch; ratios: of the smaller network to the whole one):", ""]
    text += table(["model", "networks", "step", "temperature", "loss", "R-hat", "weights removed %", "multiply-adds", "ms a row",
                   "bytes", "T", "s to fit"], rows)
    if warnings:
        text += ["Warnings of these fits (first seed):", ""] + ["- " + warning for warning in sorted(set(warnings))] + [""]
    return text


def findings(results, found):
    """Sentences that follow from the numbers alone."""
    if not any(line.title == TEMPERATURE for line in found):
        return []
    text = ["- Against the temperature alone, paired, where the 95 % intervals of every seed lie on one side of zero:"]
    measures = [("NLL", lambda comparison: comparison["nll"]), ("ECE", lambda comparison: comparison["ece"])]
    measures += [("AUROC of max p on " + name, auroc_of(name)) for name in results.network.foreign]
    for name, quantity in measures:
        names = sorted_by_sign(found, quantity)
        text.append("  - %s: lower: %s; higher: %s." % (name, listed(names[-1]), listed(names[1])))
    return text


def section(results, seeds):
    network = results.network
    # Nothing is shifted here.
    found, missing = lines(results, seeds, models(network))
    missing = [name for name in missing if not name.endswith(".shift")]
    text = ["## " + network.title, "", "`%s`. %s" % (os.path.basename(network.checkpoint), network.note), ""]
    if found:
        text += ["%d test rows." % next(found[0].exits())["rowCount"], ""] + main_tables(results, found, hasShift=False)
    text += chain_table(results, seeds)
    sentences = findings(results, found)
    if sentences:
        text += ["### What the numbers say", ""] + sentences + [""]
    if missing:
        text += ["Not measured yet: " + ", ".join(missing) + ".", ""]
    return text


def generated(results, arguments, version):
    text = [
        "Written by `python Scripts/compare-spike-slab.py --shared FOLDER --out FOLDER` from what `bayesify` %s" % version,
        "printed.",
        "",
        "- Training rows are rows the network was trained on, 20,000 of them, seen six times by every chain. Temperatures come",
        "  from validation rows, everything is reported on other rows (test images 0:5000 and 5000:10000 where the network has",
        "  seen all training images). Every model has a temperature of its own, but for *deterministic*.",
        "- Seeds %s: the mean, and in brackets the lowest and the highest where the digits differ." % (
            ", ".join(map(str, arguments.seeds))),
        "- Dense chains have 3 cycles of 2 epochs and keep 2 networks of each; sparse ones 6 cycles of an epoch, of the first",
        "  three of which filters are removed, and keep a network of each of the others.",
        "- *NLL less the temperature's*: paired difference from the network with a temperature alone, the mean over seeds,",
        "  and in brackets the least and the greatest end of the seeds' 95 % intervals. Below zero is better.",
        "- *ECE*: 15 bins. *AUROC*: of max p (one minus the largest probability), foreign rows positive, 0.5 is chance. *MI*:",
        "  the mutual information of class and weights.",
        "- *s / 1000 rows*: `predict` from file to file, the least of three, the command's start included. *ms a row*: of 32",
        "  rows at once, whole and smaller network by turns. Seconds of a clock, on %s." % processor(),
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
    parser.add_argument("--models", help="names of models, with commas between (default: all)")
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--page", default=os.path.join(ROOT, "Documentation/SpikeAndSlabComparison.md"))
    arguments = parser.parse_args()
    networks = [name for name in arguments.networks.split(",") if name]
    steps = [name for name in arguments.steps.split(",") if name]
    chosen = arguments.models.split(",") if arguments.models else None
    known = [model.name for model in models(None)]
    for word, among in ([(name, NETWORKS) for name in networks] + [(step, STEPS) for step in steps]
                        + [(name, known) for name in chosen or []]):
        if word not in among:
            parser.error("there is no '%s'; choose among %s" % (word, ", ".join(among)))
    version = subprocess.run(
        [arguments.bayesify, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def written():
        results = {one: Results(os.path.join(arguments.out, one), NETWORKS[one]) for one in NETWORKS}
        page(arguments.page, BEGIN, END, "Chains over weights, dense and sparse, measured",
             generated(results, arguments, version))
    for name in networks if steps else []:
        own = [model for model in models(NETWORKS[name]) if chosen is None or model.name in chosen]
        bench = ChainBench(arguments, version, os.path.join(arguments.out, name), NETWORKS[name], own)
        for step in STEPS:
            if step in steps:
                getattr(bench, step)()
                written()
    written()


if __name__ == "__main__":
    main()
