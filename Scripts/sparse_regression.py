"""Sparse regression problems and untrained networks for them: data of which a few features of many matter.

Features share a part, so that all are correlated: x_i = (e + z_i) / sqrt(2) with standard normal e, one a row, and z_i.
"""
import json

import h5py
import numpy as np

TRAINING, TEST = 10_240, 1_024


def regression(x, random):
    """Real targets of five features, with noise of variance one."""
    signal = 5 * x[:, 1] / (1 + x[:, 0] ** 2) + 5 * np.sin(x[:, 2] * x[:, 3]) + 2 * x[:, 4]
    return signal + random.standard_normal(len(x))


def classes(x, random):
    """Two classes, by four features."""
    return (np.exp(x[:, 0]) + x[:, 1] ** 2 + 5 * np.sin(x[:, 2] * x[:, 3]) > 3).astype(np.int64)


# By name: the number of features, those that matter, their targets, and the widths of the hidden layers.
PROBLEMS = {
    "regression-1000": (1000, 5, regression, (5, 3)),
    "regression-2000": (2000, 5, regression, (5, 3)),
    "classes-1000": (1000, 4, classes, (6, 4, 3)),
}


def write_data(problem, seed, training, test):
    """Training and test rows, from keys of their own."""
    features, _, targets, _ = PROBLEMS[problem]
    for file, count, key in ((training, TRAINING, 0), (test, TEST, 1)):
        random = np.random.default_rng([seed, key])
        x = (random.standard_normal((count, 1)) + random.standard_normal((count, features))) / np.sqrt(2)
        with h5py.File(file, "w") as out:
            out["x"], out["y"] = x.astype(np.float32), targets(x, random)


def write_network(problem, seed, file):
    """A Keras file of dense layers with ReLU and one output; uniform in +-1 / sqrt(inputs), as PyTorch's layers begin."""
    features, _, targets, hidden = PROBLEMS[problem]
    random = np.random.default_rng([seed, 2])
    widths = (features, *hidden, 1)
    layers = [{"class_name": "InputLayer", "name": "features", "inbound_nodes": [],
               "config": {"name": "features", "dtype": "float32", "batch_input_shape": [None, features]}}]
    with h5py.File(file, "w") as out:
        weights = out.create_group("model_weights")
        names = []
        for index, (before, after) in enumerate(zip(widths, widths[1:]), 1):
            name, isLast = "dense_%d" % index, index == len(widths) - 1
            activation = ("sigmoid" if targets is classes else "linear") if isLast else "relu"
            layers.append({
                "class_name": "Dense", "name": name, "inbound_nodes": [[[layers[-1]["name"], 0, 0, {}]]],
                "config": {"name": name, "dtype": "float32", "units": after, "activation": activation, "use_bias": True}})
            group = weights.create_group(name)
            group.attrs["weight_names"] = [name + "/kernel:0", name + "/bias:0"]
            for part, shape in (("kernel", (before, after)), ("bias", (after,))):
                group["%s/%s:0" % (name, part)] = (random.uniform(-1, 1, shape) / np.sqrt(before)).astype(np.float32)
            names.append(name)
        weights.attrs["layer_names"] = names
        out.attrs["keras_version"] = weights.attrs["keras_version"] = "2.12.0"
        out.attrs["backend"] = weights.attrs["backend"] = "tensorflow"
        out.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {
            "name": "sparse", "layers": layers, "input_layers": [["features", 0, 0]],
            "output_layers": [[layers[-1]["name"], 0, 0]]}})


def kept(posterior):
    """The features that are read by any unit, of a posterior of `fit spike-slab`, and the share of removed weights."""
    with h5py.File(posterior) as file:
        samples = {one.attrs["path"]: one["values"][()] for one in file["samples"].values()}
    kernels = {path: values for path, values in samples.items() if values.ndim == 3}
    first = next(values for path, values in kernels.items() if path.startswith("dense_1/"))
    zeros = sum(int((values[0] == 0).sum()) for values in kernels.values())
    return np.flatnonzero((first != 0).any(axis=(0, 2))), zeros / sum(values[0].size for values in kernels.values())
