"""Thirty random heads and the network of known numbers, as laplace-torch computes them in double precision.

    python make_laplace_torch.py

writes Tests/Golden/Laplace/torch-*.json. Each file holds one last layer (`weight` is [features, outputs]) with its
training features, outputs and labels or targets, and for the structures full, kron and diag: the log marginal
likelihood and the log determinant ratio at `priorPrecision` (and `noise`), the prior precision after 100 steps of Adam
and the evidence there, and for test rows the covariance S and the probabilities of the links. `known` is the small
network whose numbers are known from elsewhere; they are checked here. Random heads have 2 to 12 outputs and 2 to 40
features; every third is a regression.
"""

import os
import warnings

import numpy as np

import golden

SEED = 808
COUNT = 30
KNOWN = {
    "full": (-16.09615958221977, 4.387472776100687, .5519993427, -15.5729879898),
    "kron": (-16.21243630079387, 4.62002621324888, .5768094233, -15.7478067553),
    "diag": (-16.592354198844973, 5.379862009351097, .7315720185, -16.3940218399),
}
KNOWN_REGRESSION = {"full": -120.2659061833, "kron": -120.3260047941, "diag": -122.0771744683}


def sequence(count, a, b, c):
    return a * np.sin(b + c * np.arange(count))


def known(outputs):
    w1, b1 = sequence(6, .8, 1, 2).reshape(3, 2), sequence(3, .1, 2, 1)
    w2, b2 = sequence(3 * outputs, 1.2, .5, 1.3).reshape(outputs, 3), sequence(outputs, .2, 3, 1)
    hidden = lambda x: np.tanh(x @ w1.T + b1)
    x = sequence(16, 1.5, .3, .7).reshape(8, 2)
    test = np.array([[.5, -.25], [3., 2.]])
    if outputs == 3:
        return hidden(x), np.array([0, 1, 2, 0, 1, 2, 0, 1]), hidden(test), w2, b2, 1.0, 1.0
    return hidden(x), np.stack([np.sin(x[:, 0]), np.cos(x[:, 1])], 1), hidden(test), w2, b2, 2.0, .3


def random_head(index):
    random = np.random.RandomState(SEED + index)
    outputs, width = random.randint(2, 13), random.randint(2, 41)
    rows, prior = random.randint(20, 120), float(np.round(10 ** random.uniform(-2, 2), 4))
    weight, bias = random.normal(size=(outputs, width)) * 2 / np.sqrt(width), random.normal(size=outputs) * .3
    features, test = np.maximum(random.normal(.3, 1, (rows, width)), 0), np.maximum(random.normal(.3, 1.5, (3, width)), 0)
    logits = features @ weight.T + bias
    if index % 3 == 2:
        noise = float(np.round(random.uniform(.1, 1.5), 3))
        return features, logits + noise * random.normal(size=logits.shape), test, weight, bias, prior, noise
    return features, (logits + random.gumbel(size=logits.shape)).argmax(axis=1), test, weight, bias, prior, 1.0


def compute(features, answers, test, weight, bias, prior, noise):
    import torch
    from laplace import Laplace
    torch.set_default_dtype(torch.float64)
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    head.weight.data, head.bias.data = torch.tensor(weight), torch.tensor(bias)
    model = torch.nn.Sequential(torch.nn.Identity(), head)
    data = torch.utils.data.TensorDataset(torch.tensor(features), torch.tensor(answers))
    loader = torch.utils.data.DataLoader(data, batch_size=len(data))
    isRegression = answers.ndim == 2
    inputs = torch.tensor(test)
    values = lambda tensor: golden.array(tensor.detach().numpy())
    result = {
        "likelihood": "gaussian" if isRegression else "categorical",
        "weight": golden.array(weight.T), "bias": golden.array(bias), "priorPrecision": prior, "noise": noise,
        "features": golden.array(features), "logits": golden.array(features @ weight.T + bias),
        ("targets" if isRegression else "labels"): golden.array(answers),
        "test": {"features": golden.array(test), "logits": golden.array(test @ weight.T + bias)},
    }
    for structure in ("full", "kron", "diag"):
        posterior = Laplace(
            model, "regression" if isRegression else "classification", subset_of_weights="last_layer",
            hessian_structure=structure, prior_precision=prior, sigma_noise=noise, last_layer_name="1")
        posterior.fit(loader)
        part = {
            "logLikelihood": posterior.log_likelihood.item(), "logDetRatio": posterior.log_det_ratio.item(),
            "logMarginalLikelihood": posterior.log_marginal_likelihood().item(),
            "covariance": values(posterior._glm_predictive_distribution(inputs)[1]),
        }
        if not isRegression:
            for link in ("probit", "bridge", "bridge_norm"):
                part[link] = values(posterior(inputs, link_approx=link))
        posterior.optimize_prior_precision(
            method="marglik", pred_type="glm", n_steps=100, lr=0.1, init_prior_prec=1.0)
        part["optimisedPriorPrecision"] = posterior.prior_precision.item()
        part["optimisedLogMarginalLikelihood"] = posterior.log_marginal_likelihood().item()
        result[structure] = part
    return result


def main():
    folder = golden.folder("Laplace")
    origin = {"script": "make_laplace_torch.py", "versions": golden.versions("laplace-torch", "torch", "numpy"), "seed": SEED}
    heads = [("known", known(3)), ("known-regression", known(2))]
    heads += [("%02d" % index, random_head(index)) for index in range(COUNT)]
    for name, head in heads:
        result = compute(*head)
        if name == "known":
            for structure, numbers in KNOWN.items():
                part = result[structure]
                mine = [part[key] for key in ("logMarginalLikelihood", "logDetRatio", "optimisedPriorPrecision",
                                              "optimisedLogMarginalLikelihood")]
                assert np.abs(np.array(mine) - numbers).max() < 1e-9, (structure, mine)
        if name == "known-regression":
            for structure, number in KNOWN_REGRESSION.items():
                assert abs(result[structure]["logMarginalLikelihood"] - number) < 1e-9, structure
        golden.write_json(os.path.join(folder, "torch-%s.json" % name), {**origin, **result})
    golden.report(folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
