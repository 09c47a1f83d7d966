"""Last-layer Kronecker Laplace as laplace-torch computes it, in double precision.

    python make_laplace.py

writes Tests/Golden/Laplace/kron-*.json. `sines` is a small network filled from sines whose numbers
are known from elsewhere (checked here); the random heads are seeded. Each file holds the head
(`weight` is [width, classes]), the training features, logits and labels, the Kronecker factors
(B and biasB: sum of diag p - p p^T; A: mean of phi phi^T; weight and bias are separate blocks), the
log likelihood and log marginal likelihood at `priorPrecision`, the prior precision after 100 Adam
steps on the marginal likelihood, and for test rows the logits, their covariance S and the
probabilities of the links.
"""

import os
import warnings

import numpy as np

import golden

SEED = 404
HEADS = [  # classes, width, rows, test rows, prior precision
    (2, 3, 20, 4, 1.0),
    (3, 5, 30, 4, 0.1),
    (4, 4, 45, 4, 10.0),
    (5, 9, 60, 3, 1.0),
    (6, 7, 40, 3, 0.01),
    (3, 8, 25, 4, 100.0),
]
# Of the sines network: known numbers, to the digits they were published with.
KNOWN = {
    "logLikelihood": -10.520156793302135,
    "logMarginalLikelihood": -16.21243630079387,
    "logDetRatio": 4.62002621324888,
    "scatter": 6.764532801734582,
    "optimisedPriorPrecision": 0.5768094233,
    "optimisedLogMarginalLikelihood": -15.7478067553,
}
KNOWN_DIAGONAL = [[.8512838821, .9205344775, .8836042581], [1.8570139496, 2.0066735229, 1.9268624998]]
KNOWN_PROBIT = [[.2884797089, .3502120349, .3613082562], [.1476509788, .0840657728, .7682832484]]
KNOWN_BRIDGE = [[.3348195660, .3149109675, .3502694665], [.1582404178, .0972278579, .7445317243]]
KNOWN_BRIDGE_NORM = [[.3158573477, .3212984502, .3628442021], [.1223716386, .0713472268, .8062811347]]
KNOWN_B = [[1.51149294, -.64572818, -.86576476], [-.64572818, 1.09888601, -.45315783],
           [-.86576476, -.45315783, 1.31892259]]
KNOWN_A = [[.37908937, -.16079867, -.21273158], [-.16079867, .19601839, -.06240206],
           [-.21273158, -.06240206, .31439804]]


def sines():
    """The network of the known numbers: 2 inputs, 3 tanh units, 3 classes."""
    v = lambda count, a, b, c: a * np.sin(b + c * np.arange(count))
    w1, b1 = v(6, .8, 1, 2).reshape(3, 2), v(3, .1, 2, 1)
    w2, b2 = v(9, 1.2, .5, 1.3).reshape(3, 3), v(3, .2, 3, 1)
    hidden = lambda x: np.tanh(x @ w1.T + b1)
    x, labels = v(16, 1.5, .3, .7).reshape(8, 2), np.array([0, 1, 2, 0, 1, 2, 0, 1])
    return hidden(x), labels, hidden(np.array([[.5, -.25], [3., 2.]])), w2, b2, 1.0


def random_head(index):
    classes, width, rows, tests, prior = HEADS[index]
    random = np.random.RandomState(SEED + index)
    weight, bias = random.normal(size=(classes, width)) * 2 / np.sqrt(width), random.normal(size=classes) * 0.3
    features = np.maximum(random.normal(0.3, 1, (rows, width)), 0)
    test = np.maximum(random.normal(0.3, 1.5, (tests, width)), 0)
    logits = features @ weight.T + bias
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return features, labels, test, weight, bias, prior


def compute(features, labels, test, weight, bias, prior):
    """Fit laplace-torch on the head alone: identity, then a linear layer."""
    import torch
    from laplace import Laplace
    torch.set_default_dtype(torch.float64)
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    head.weight.data, head.bias.data = torch.tensor(weight), torch.tensor(bias)
    model = torch.nn.Sequential(torch.nn.Identity(), head)
    data = torch.utils.data.TensorDataset(torch.tensor(features), torch.tensor(labels))
    posterior = Laplace(model, "classification", subset_of_weights="last_layer", hessian_structure="kron",
                        prior_precision=prior, last_layer_name="1")
    posterior.fit(torch.utils.data.DataLoader(data, batch_size=len(data)))
    (b, a), (bias_b,) = posterior.H_facs.kfacs
    inputs = torch.tensor(test)
    mean, covariance = posterior._glm_predictive_distribution(inputs)
    values = lambda tensor: golden.array(tensor.detach().numpy())
    result = {
        "weight": golden.array(weight.T), "bias": golden.array(bias), "priorPrecision": prior,
        "features": golden.array(features),
        "logits": golden.array(features @ weight.T + bias), "labels": golden.array(labels),
        "B": values(b), "A": values(a), "biasB": values(bias_b),
        "logLikelihood": posterior.log_likelihood.item(),
        "logDetRatio": posterior.log_det_ratio.item(),
        "scatter": posterior.scatter.item(),
        "logMarginalLikelihood": posterior.log_marginal_likelihood().item(),
        "test": {
            "features": golden.array(test), "logits": values(mean), "covariance": values(covariance),
            "probit": values(posterior(inputs, link_approx="probit")),
            "bridge": values(posterior(inputs, link_approx="bridge")),
            "bridgeNorm": values(posterior(inputs, link_approx="bridge_norm")),
        },
    }
    posterior.optimize_prior_precision(method="marglik", pred_type="glm", n_steps=100, lr=0.1, init_prior_prec=1.0)
    result["optimised"] = {
        "steps": 100, "learningRate": 0.1, "start": 1.0,
        "priorPrecision": posterior.prior_precision.item(),
        "logMarginalLikelihood": posterior.log_marginal_likelihood().item(),
    }
    return result


def check(result):
    """The sines network against its known numbers."""
    mine = dict(result, optimisedPriorPrecision=result["optimised"]["priorPrecision"],
                optimisedLogMarginalLikelihood=result["optimised"]["logMarginalLikelihood"])
    for key, known in KNOWN.items():
        print("  %-32s %.13g, difference from known %.1e" % (key, mine[key], mine[key] - known))
        assert abs(mine[key] - known) < 1e-9, key
    test = result["test"]
    diagonal = np.diagonal(test["covariance"]["values"], axis1=1, axis2=2)
    for name, value, known, tolerance in (
            ("S diagonal", diagonal, KNOWN_DIAGONAL, 1e-9), ("probit", test["probit"]["values"], KNOWN_PROBIT, 1e-9),
            ("bridge", test["bridge"]["values"], KNOWN_BRIDGE, 1e-9),
            ("bridge_norm", test["bridgeNorm"]["values"], KNOWN_BRIDGE_NORM, 1e-9),
            ("B", result["B"]["values"], KNOWN_B, 1e-8), ("A", result["A"]["values"], KNOWN_A, 1e-8)):
        difference = np.abs(value - np.array(known)).max()
        print("  %-32s largest difference from known %.1e" % (name, difference))
        assert difference < tolerance, name


def main():
    folder = golden.folder("Laplace")
    origin = {"script": "make_laplace.py", "versions": golden.versions("laplace-torch", "torch", "numpy"), "seed": SEED}
    for name, head in [("sines", sines())] + [("random-%d" % (i + 1), random_head(i)) for i in range(len(HEADS))]:
        result = compute(*head)
        if name == "sines":
            check(result)
        golden.write_json(os.path.join(folder, "kron-%s.json" % name), {**origin, "posterior": "kron", **result})
        print("kron-%s: log marginal likelihood %.12g, optimised prior precision %.8g" % (
            name, result["logMarginalLikelihood"], result["optimised"]["priorPrecision"]))
    golden.report(folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
