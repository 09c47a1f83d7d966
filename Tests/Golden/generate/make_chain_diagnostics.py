"""Diagnostics of Markov chains by ArviZ.

    python make_chain_diagnostics.py

writes Tests/Golden/MarkovChain/diagnostics.json: for some sets of chains `[chains, draws]` the split R-hat (method "split") and
the effective sample size of split chains without ranks (method "mean").  Chains are independent, correlated to several
degrees, drifting, apart, and alternating; short ones and an odd number of draws among them.
"""
import os
import warnings

import numpy as np

import golden

warnings.filterwarnings("ignore", category=FutureWarning)
import arviz  # noqa: E402

SEED = 47


def correlated(random, chains, draws, share):
    values = np.zeros((chains, draws))
    values[:, 0] = random.normal(size=chains)
    for step in range(1, draws):
        values[:, step] = share * values[:, step - 1] + np.sqrt(1 - share**2) * random.normal(size=chains)
    return values


def scale_reduction(values):
    if len(values) > 1:
        return arviz.rhat(values, method="split")
    # ArviZ refuses one chain, though its halves are two.
    half = values.shape[1] // 2
    return arviz.rhat(np.vstack([values[:, :half], values[:, -half:]]), method="identity")


def main():
    random = np.random.default_rng(SEED)
    sets = {
        "independent": random.normal(size=(4, 200)),
        "one": random.normal(size=(1, 100)),
        "correlated": correlated(random, 3, 300, 0.9),
        "very correlated": correlated(random, 2, 101, 0.99),
        "alternating": correlated(random, 2, 80, -0.7),
        "drifting": random.normal(size=(2, 60)) + np.linspace(0, 3, 60),
        "apart": random.normal(size=(4, 12)) + np.array([[0], [0.5], [2], [-1]]),
        "of twelve": random.normal(size=(1, 12)),
        "of nine": random.normal(size=(2, 9)),
        "of eight": correlated(random, 1, 8, 0.5),
    }
    found = {
        name: {
            "chains": golden.array(values),
            "scaleReduction": float(scale_reduction(values)),
            "sampleCount": float(arviz.ess(values, method="mean")),
        }
        for name, values in sets.items()
    }
    folder = golden.folder("MarkovChain")
    golden.write_json(os.path.join(folder, "diagnostics.json"), {
        "script": "make_chain_diagnostics.py", "versions": golden.versions("arviz", "numpy"), "seed": SEED, "sets": found})
    golden.report(folder)


if __name__ == "__main__":
    main()
