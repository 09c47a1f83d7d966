"""Laplace over all weights of small networks, and over chosen ones, as laplace-torch computes it in double precision.

    python make_weight_laplace.py

writes Tests/Golden/Laplace/weights-*.json. Weights and inputs are rounded to single precision first, as
checkpoints hold them. Each file holds the layers (kernels as Keras lays them out), training inputs
[rows, height, width, channels] or [rows, features], labels, test inputs, the prior precision and, for each
structure, the log marginal likelihood, the log-determinant ratio and, for the test rows, logits and covariance;
`subnetwork` lists the weights of largest variance, counted layer by layer in the order [inputs, outputs], bias.
`sines` is the network whose marginal likelihoods are known from elsewhere to the digits of its weights in
single precision.
"""

import os
import warnings

import numpy as np

import golden

SEED = 811
KNOWN = {"full": -19.68819396832765, "kron": -21.563687699962124, "diag": -22.660455435459035}
# Two hidden layers; a convolution with a stride and padding behind one without; widths, classes.
DENSE = [((4, 6, 3), 20), ((3, 5, 4, 4), 24), ((2, 8, 2), 15)]
CONVOLUTIONAL = [((4, 5, 2), [(2, 2, 1, 0), (3, 2, 2, 1)], 2, 14), ((5, 4, 1), [(3, 2, 2, 1)], 3, 12)]


def single(array):
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def dense(weight, bias, activation):
    return {"kind": "dense", "kernel": single(weight), "bias": single(bias), "activation": activation}


def sines():
    v = lambda count, a, b, c: a * np.sin(b + c * np.arange(count))
    layers = [dense(v(6, .8, 1, 2).reshape(3, 2).T, v(3, .1, 2, 1), "tanh"),
              dense(v(9, 1.2, .5, 1.3).reshape(3, 3).T, v(3, .2, 3, 1), "linear")]
    x, labels = v(16, 1.5, .3, .7).reshape(8, 2), np.array([0, 1, 2, 0, 1, 2, 0, 1])
    return layers, single(x), labels, single([[.5, -.25], [3., 2.]]), 1.0


def random_layers(random, shape):
    layers = []
    for index, (before, after) in enumerate(zip(shape, shape[1:])):
        layers.append(dense(random.normal(size=(before, after)) / np.sqrt(before), random.normal(size=after) * .2,
                            "linear" if index == len(shape) - 2 else "tanh"))
    return layers


def random_dense(index):
    shape, rows = DENSE[index]
    random = np.random.RandomState(SEED + index)
    layers = random_layers(random, shape)
    x = single(random.normal(size=(rows, shape[0])))
    return layers, x, random.randint(shape[-1], size=rows), single(random.normal(size=(3, shape[0]))), [.3, 2., 10.][index]


def random_convolutional(index):
    image, convolutions, classes, rows = CONVOLUTIONAL[index]
    random = np.random.RandomState(SEED + 100 + index)
    layers, (height, width, channels) = [], image
    for window, filters, stride, padding in convolutions:
        layers.append({"kind": "convolution", "stride": stride, "padding": padding, "activation": "tanh",
                       "kernel": single(random.normal(size=(window, window, channels, filters)) / window / np.sqrt(channels)),
                       "bias": single(random.normal(size=filters) * .2)})
        height, width = [(side + 2 * padding - window) // stride + 1 for side in (height, width)]
        channels = filters
    layers.append({"kind": "flatten"})
    layers += random_layers(random, (height * width * channels, classes))
    x = single(random.normal(size=(rows, *image)))
    return layers, x, random.randint(classes, size=rows), single(random.normal(size=(2, *image))), 1.5


def module(layers):
    import torch

    class ToChannelsFirst(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 3, 1, 2)

    class Flatten(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    parts = [ToChannelsFirst()] if layers[0]["kind"] == "convolution" else []
    for layer in layers:
        if layer["kind"] == "flatten":
            parts.append(Flatten())
            continue
        kernel = torch.tensor(layer["kernel"])
        if layer["kind"] == "dense":
            linear = torch.nn.Linear(*kernel.shape)
            linear.weight.data = kernel.T.contiguous()
        else:
            height, _, channels, filters = kernel.shape
            linear = torch.nn.Conv2d(channels, filters, height, layer["stride"], layer["padding"])
            linear.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
        linear.bias.data = torch.tensor(layer["bias"])
        parts.append(linear)
        if layer["activation"] == "tanh":
            parts.append(torch.nn.Tanh())
    return torch.nn.Sequential(*parts)


def our_order(layers):
    """For each of our parameters, its place among torch's."""
    order, start = [], 0
    for layer in layers:
        if layer["kind"] == "flatten":
            continue
        kernel = layer["kernel"]
        places = np.arange(kernel.size) + start
        if layer["kind"] == "dense":
            own = places.reshape(kernel.shape[::-1]).T
        else:
            own = places.reshape([kernel.shape[i] for i in (3, 2, 0, 1)]).transpose(2, 3, 1, 0)
        order += list(own.reshape(-1)) + list(range(start + kernel.size, start + kernel.size + layer["bias"].size))
        start += kernel.size + layer["bias"].size
    return np.array(order)


def described(posterior, x):
    import torch
    means, covariance = posterior._glm_predictive_distribution(torch.tensor(x))
    return {"logMarginalLikelihood": posterior.log_marginal_likelihood().item(),
            "logDeterminantRatio": posterior.log_det_ratio.item(),
            "logits": golden.array(means.detach().numpy()), "covariance": golden.array(covariance.detach().numpy())}


def compute(name, layers, x, labels, test, prior):
    import torch
    from laplace import Laplace
    from laplace.utils import LargestVarianceDiagLaplaceSubnetMask
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(SEED)
    model = module(layers).eval()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(labels)), batch_size=5)
    described_layers = [{key: golden.array(value) if isinstance(value, np.ndarray) else value
                         for key, value in layer.items()} for layer in layers]
    result = {"layers": described_layers, "inputs": golden.array(x), "labels": golden.array(labels),
              "testInputs": golden.array(test), "priorPrecision": prior, "structures": {}}
    for structure in ("full", "kron", "diag"):
        posterior = Laplace(model, "classification", subset_of_weights="all", hessian_structure=structure,
                            prior_precision=prior)
        posterior.fit(loader)
        result["structures"][structure] = described(posterior, test)
        if name == "sines":
            difference = posterior.log_marginal_likelihood().item() - KNOWN[structure]
            print("  marginal likelihood, %-5s difference from known %.1e" % (structure, difference))
            assert abs(difference) < 1e-5
    count = sum(p.numel() for p in model.parameters())
    diagonal = Laplace(model, "classification", subset_of_weights="all", hessian_structure="diag",
                       prior_precision=prior)
    chosen = LargestVarianceDiagLaplaceSubnetMask(model, n_params_subnet=count // 3, diag_laplace_model=diagonal)
    places = chosen.select(loader).numpy()
    result["subnetwork"] = golden.array(np.flatnonzero(np.isin(our_order(layers), places)))
    for structure in ("full", "diag"):
        posterior = Laplace(model, "classification", subset_of_weights="subnetwork", hessian_structure=structure,
                            subnetwork_indices=torch.tensor(np.sort(places)), prior_precision=prior)
        posterior.fit(loader)
        result["structures"]["subnetwork-" + structure] = described(posterior, test)
    return result


def main():
    warnings.filterwarnings("ignore")
    folder = golden.folder("Laplace")
    origin = {"script": "make_weight_laplace.py", "seed": SEED,
              "versions": golden.versions("laplace-torch", "curvlinops-for-pytorch", "torch", "numpy")}
    cases = {"sines": sines()}
    cases.update({f"dense-{i + 1}": random_dense(i) for i in range(len(DENSE))})
    cases.update({f"convolutional-{i + 1}": random_convolutional(i) for i in range(len(CONVOLUTIONAL))})
    for name, case in cases.items():
        golden.write_json(os.path.join(folder, f"weights-{name}.json"), {**origin, **compute(name, *case)})
        print(name)
    golden.report(folder)


if __name__ == "__main__":
    main()
