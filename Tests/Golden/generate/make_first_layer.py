"""First-layer variational inference by PyTorch in double precision, and exact posteriors of linear models by NumPy.

    python make_first_layer.py

writes Tests/Golden/FirstLayer/. `divergence.json`: means, raw deviations (sigma = log(1 + exp rho)) and priors, with the
divergence of torch.distributions and its gradients by autograd. `objective-*.json`: a small network (weights as Keras lays
them out, rounded to single precision, as checkpoints hold them), rows, labels, means, raw deviations and the noise of one
step of an estimator, with the mean cross-entropy, the divergence over the number of training rows, and the gradients of
their sum by autograd, which are compared with central differences first. `linear.json`: two dense layers without an
activation, the second frozen, targets with Gaussian noise; the exact posterior of the first layer's weights and bias, and
the precisions that a factorised Gaussian has in their place.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F

import golden

SEED = 8126
torch.set_default_dtype(torch.float64)


def single(array):
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def tensor(array, gradient=False):
    return torch.tensor(np.asarray(array, dtype=np.float64), requires_grad=gradient)


def divergence(means, raw, prior_means, deviation):
    q = torch.distributions.Normal(means, F.softplus(raw))
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(prior_means, deviation)).sum()


def divergences(random):
    cases = []
    for count, deviation, low, high in [(7, 1.0, -6, 2), (5, .08, -9, -2), (4, 3.0, -1, 8), (3, 1.0, -30, -25)]:
        mean, raw = random.normal(size=count), random.uniform(low, high, size=count)
        prior = random.normal(size=count) * (count % 2)
        m, r = tensor(mean, True), tensor(raw, True)
        value = divergence(m, r, tensor(prior), deviation)
        value.backward()
        cases.append({"means": golden.array(mean), "rawDeviations": golden.array(raw), "priorMeans": golden.array(prior),
                      "priorDeviation": deviation, "value": value.item(), "meanGradient": golden.array(m.grad.numpy()),
                      "rawDeviationGradient": golden.array(r.grad.numpy())})
    return cases


def convolution(x, weight, bias):
    """Keras's layout, zeros around the image."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias, padding=1).permute(0, 2, 3, 1)


def dense(x, weight, bias):
    return x @ weight + bias


def objective(form, network, random):
    rows, classes, training_rows, weight = 6, 3, 50, 2.5
    x = single(random.normal(size=(rows, 4, 5, 2) if network == "convolution" else (rows, 4)))
    labels = random.randint(classes, size=rows)
    shape = (3, 3, 2, 4) if network == "convolution" else (4, 5)
    width = shape[-1]
    weights = [single(random.normal(size=shape) * .4), single(random.normal(size=width) * .3)]
    scale, offset = single(random.uniform(.5, 1.5, size=width)), single(random.normal(size=width) * .2)
    mean, variance = single(random.normal(size=width) * .2), single(random.uniform(.5, 1.5, size=width))
    features = 4 * 5 * width if network == "convolution" else width
    head = [single(random.normal(size=(features, classes)) / np.sqrt(features)), single(random.normal(size=classes) * .1)]
    # A training has moved away from the checkpoint.
    means = [w + .1 * random.normal(size=w.shape) for w in weights]
    raws = [random.uniform(-3, -.5, size=w.shape) for w in weights]
    noise = [random.normal(size=w.shape) for w in weights]
    channels = x.shape[-1]
    signs = [random.choice([-1., 1.], size=(rows, channels)), random.choice([-1., 1.], size=(rows, width))]
    local = single(random.normal(size=(rows, width)))
    layer = convolution if network == "convolution" else dense

    def parts(values):
        m, r = values[:2], values[2:]
        s = [F.softplus(v) for v in r]
        eps = [tensor(v) for v in noise]
        inputs = tensor(x)
        if form == "draws":
            y = layer(inputs, m[0] + s[0] * eps[0], m[1] + s[1] * eps[1])
        elif form == "flipout":
            middle = (1,) * (inputs.ndim - 2)
            a = tensor(signs[0]).reshape(rows, *middle, channels)
            b = tensor(signs[1]).reshape(rows, *middle, width)
            y = layer(inputs, m[0], m[1]) + b * layer(inputs * a, s[0] * eps[0], s[1] * eps[1])
        else:
            y = layer(inputs, m[0], m[1]) + torch.sqrt(layer(inputs ** 2, s[0] ** 2, s[1] ** 2)) * tensor(local)
        y = (y - tensor(mean)) / torch.sqrt(tensor(variance) + 1e-3) * tensor(scale) + tensor(offset)
        logits = dense(torch.tanh(y).reshape(rows, -1), tensor(head[0]), tensor(head[1]))
        data = F.cross_entropy(logits, torch.tensor(labels))
        return data, sum(divergence(m[i], r[i], tensor(np.zeros_like(means[i])), .7) for i in range(2))

    values = [tensor(v, True) for v in means + raws]
    data, kl = parts(values)
    (data + weight / training_rows * kl).backward()
    with torch.no_grad():
        for index, value in enumerate(values):
            for position in random.choice(value.numel(), size=3):
                def at(step):
                    moved = [v.clone() for v in values]
                    moved[index].view(-1)[position] += step
                    d, k = parts(moved)
                    return (d + weight / training_rows * k).item()
                difference = (at(1e-5) - at(-1e-5)) / 2e-5
                assert abs(difference - value.grad.view(-1)[position].item()) < 1e-8 * max(1, abs(difference))
    return {
        "network": network, "form": form, "rows": golden.array(x), "labels": labels, "weight": golden.array(weights[0]),
        "bias": golden.array(weights[1]), "normalization": [golden.array(v) for v in (scale, offset, mean, variance)],
        "epsilon": 1e-3, "headWeight": golden.array(head[0]), "headBias": golden.array(head[1]),
        "means": [golden.array(v) for v in means], "rawDeviations": [golden.array(v) for v in raws],
        "noise": [golden.array(v) for v in noise], "inputSigns": golden.array(signs[0]),
        "outputSigns": golden.array(signs[1]), "localNoise": golden.array(local), "trainingRows": training_rows,
        "divergenceWeight": weight, "priorDeviation": .7, "dataTerm": data.item(), "divergence": kl.item(),
        "meanGradients": [golden.array(v.grad.numpy()) for v in values[:2]],
        "rawDeviationGradients": [golden.array(v.grad.numpy()) for v in values[2:]],
    }


def linear(random, orthogonal):
    rows, inputs, outputs, noise, prior = 32, 3, 2, .25, .8
    x = random.normal(size=(rows, inputs))
    if orthogonal:
        # Columns at right angles to each other and to the ones of the bias.
        x = np.linalg.qr(np.column_stack([np.ones(rows), x]))[0][:, 1:] * [4., 6., 2.]
    else:
        x = x @ (np.eye(inputs) + .6)
    x = single(x)
    angle = .7
    second = single([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = single([.3, -.2])
    weight, bias = random.normal(size=(inputs, outputs)), random.normal(size=outputs)
    targets = (x @ weight + bias) @ second + offset + np.sqrt(noise) * random.normal(size=(rows, outputs))
    # A row of the design is an answer; columns are the weights [inputs, outputs] and then the biases.
    design = np.einsum("nj,kc->ncjk", np.column_stack([x, np.ones(rows)]), second).reshape(rows * outputs, -1)
    precision = design.T @ design / noise + np.eye(design.shape[1]) / prior ** 2
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ (targets - offset).reshape(-1) / noise
    if orthogonal:
        assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-7
    return {"inputs": golden.array(x), "targets": golden.array(targets), "second": golden.array(second),
            "offset": golden.array(offset), "noiseVariance": noise, "priorDeviation": prior,
            "mean": golden.array(mean), "deviations": golden.array(np.sqrt(np.diag(covariance))),
            "factorizedDeviations": golden.array(1 / np.sqrt(np.diag(precision)))}


def main():
    path = golden.folder("FirstLayer")
    random = np.random.RandomState(SEED)
    made = {"script": os.path.basename(__file__), "seed": SEED, "versions": golden.versions("numpy", "torch")}
    golden.write_json(os.path.join(path, "divergence.json"), {**made, "cases": divergences(random)})
    for form, network in [("draws", "convolution"), ("flipout", "convolution"), ("draws", "dense"), ("flipout", "dense"),
                          ("local", "dense")]:
        golden.write_json(
            os.path.join(path, "objective-%s-%s.json" % (network, form)), {**made, **objective(form, network, random)})
    golden.write_json(
        os.path.join(path, "linear.json"), {**made, "cases": [linear(random, True), linear(random, False)]})
    golden.report(path)


main()
