#!/usr/bin/env python3
"""Predicts with a last-layer posterior that `bayesify export POSTERIOR -o serving.npz` wrote; needs NumPy alone.

    from bayesify_serving import Posterior
    probabilities = Posterior("serving.npz").predict(features)      # [rows, features] before the last layer, exit 0

or `python bayesify_serving.py serving.npz features.npy -o probabilities.npy --exit 1`.  The probabilities are those of
`bayesify predict` to single precision.  Of each exit k the file holds, in double precision,

    exits/k/weight [features, logits], bias [logits], temperature [1]   the trained head
    exits/k/sigmoid [1]                     0 softmax, 1 a label a logit, 2 no and yes of one logit
    exits/k/reciprocals [inputs, logits], offsets [logits]               variances v = (a R)^2 reciprocals + offsets
    exits/k/inputVectors R, outputVectors Q, inputScale [1]              a = [features; inputScale]; R, Q may be absent
    exits/k/draws [samples, logits]                                      z; absent for probit, whose variances are Q^2 v
"""
import argparse

import numpy as np


class Posterior:
    def __init__(self, file):
        if not str(file).endswith(".npz"):
            raise ValueError("%s is no .npz file; write one with: bayesify export POSTERIOR -o serving.npz" % file)
        self.arrays = dict(np.load(file))

    def predict(self, features, exit=0):
        part = lambda name: self.arrays.get("exits/%d/%s" % (exit, name))
        if part("weight") is None:
            exits = sorted({int(name.split("/")[1]) for name in self.arrays if name.startswith("exits/")})
            raise ValueError("there is no exit %d; the posterior has %s" % (exit, ", ".join(map(str, exits)) or "none"))
        x, temperature = np.asarray(features, np.float64), part("temperature")[0]
        logits = x @ part("weight") + part("bias")
        if part("reciprocals") is not None:
            a = x if part("inputScale") is None else np.column_stack([x, np.full(len(x), part("inputScale")[0])])
            a = a if part("inputVectors") is None else a @ part("inputVectors")
            variances = a ** 2 @ part("reciprocals") + part("offsets")
            q = np.eye(logits.shape[1]) if part("outputVectors") is None else part("outputVectors")
            if part("draws") is None:
                logits = logits / np.sqrt(temperature ** 2 + np.pi / 8 * (variances @ (q ** 2).T)) * temperature
            else:
                logits = logits + (np.sqrt(variances) * part("draws")[:, None]) @ q.T
        logits = logits.reshape((-1,) + logits.shape[-2:]) / temperature
        if part("sigmoid")[0]:
            probabilities = np.exp(-np.logaddexp(0, -logits)).mean(0)
            return np.column_stack([1 - probabilities, probabilities]) if part("sigmoid")[0] == 2 else probabilities
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        return (exponentials / exponentials.sum(-1, keepdims=True)).mean(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Probabilities of a last-layer posterior, by NumPy alone.")
    parser.add_argument("posterior"), parser.add_argument("features"), parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--exit", type=int, default=0)
    arguments = parser.parse_args()
    try:
        np.save(arguments.output, Posterior(arguments.posterior).predict(np.load(arguments.features), arguments.exit))
    except (OSError, ValueError) as error:
        parser.exit(1, "bayesify_serving: %s\n" % error)
