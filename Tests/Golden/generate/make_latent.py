"""Ensembles whose layers' input vectors pass through autoencoders (LP-BNN), by PyTorch in double precision.

    python make_latent.py

writes Tests/Golden/Latent/. `objective-*.json`: a small network (weights as Keras lays them out, rounded to single
precision, as checkpoints hold them) of which the first convolution and the last dense layer have members, rows, labels, the
noise of one step and what is trained, with the mean cross-entropy over the members' rows, the latent term and the gradients
of their sum by autograd, which are compared with central differences first. `dense.json`: the same of a network that answers
at every pixel, some of which are ignored. `collapse.json`: what weights of the divergence
make of an autoencoder that is trained by its own loss alone: the first weights and the noise of every step come from seeds that
PyTorch alone knows, so that the values are compared within the spread of the three seeds that are given.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F

import golden

SEED = 9201
NAMES = ["encoder", "encoderBias", "mean", "meanBias", "logVariance", "logVarianceBias", "decoder", "decoderBias"]
torch.set_default_dtype(torch.float64)
# Everything is small.
torch.set_num_threads(1)


def single(array):
    return np.asarray(array, dtype=np.float32).astype(np.float64)


def tensor(array, gradient=False):
    return torch.tensor(np.asarray(array, dtype=np.float64), requires_grad=gradient)


def shapes(channels, latents):
    return [(latents, channels), (latents,), (latents, latents), (latents,), (latents, latents), (latents,),
            (channels, latents), (channels,)]


def encode(weights, vectors):
    hidden = F.relu(F.linear(vectors, weights[0], weights[1]))
    return hidden, F.linear(hidden, weights[2], weights[3]), F.linear(hidden, weights[4], weights[5]).clamp(-10, 4)


def reconstruct(weights, vectors, noise, decode, scale):
    """What the decoder makes, and the divergence from the prior."""
    hidden, mean, log_variance = encode(weights, vectors)
    z = mean + scale * torch.exp(log_variance / 2) * noise
    divergence = -.5 * (1 + log_variance - mean ** 2 - log_variance.exp()).sum()
    return F.linear(hidden if decode == "hidden" else z, weights[6], weights[7]), divergence


def convolution(x, weight, groups):
    return F.conv2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), padding=1, groups=groups).permute(0, 2, 3, 1)


def objective(form, groups, batch, random, scale=.8, latents=5, members=3):
    rows, channels, width, classes, weight = 8, 2, 4, 3, .037
    x = single(random.normal(size=(rows, 4, 5, channels)))
    labels = random.randint(classes, size=rows)
    kernel = single(random.normal(size=(3, 3, channels // groups, width)) * .4)
    bias, head_bias = single(random.normal(size=width) * .3), single(random.normal(size=classes) * .1)
    normalization = [single(random.uniform(.5, 1.5, size=width)), single(random.normal(size=width) * .2),
                     single(random.normal(size=width) * .2), single(random.uniform(.5, 1.5, size=width))]
    features = 4 * 5 * width
    head = single(random.normal(size=(features, classes)) / np.sqrt(features))
    # A training has moved away from the checkpoint.
    layers = []
    for inputs, outputs, own in [(channels, width, bias), (features, classes, head_bias)]:
        layers.append({
            "inputs": 1 + .3 * random.normal(size=(members, inputs)),
            "outputs": 1 + .3 * random.normal(size=(members, outputs)),
            "biases": own + .1 * random.normal(size=(members, outputs)),
            "noise": random.normal(size=(members, latents)),
            "weights": [random.normal(size=shape) / np.sqrt(shape[-1]) for shape in shapes(inputs, latents)]})
        # One variance is cut, which ends its gradient.
        layers[-1]["weights"][5][0] = 9.
    portions = [list(range(rows))] * members
    if batch == "split":
        portions = [list(range(rows * j // members, rows * (j + 1) // members)) for j in range(members)]
    isPlain = form == "batch-ensemble"

    def trained():
        for layer in layers:
            for name in ["outputs", "biases"] + (["inputs"] if isPlain else []):
                yield layer[name]
        if not isPlain:
            for layer in layers:
                yield from layer["weights"]

    def parts(values):
        values = list(values)
        vectors, latent = [], 0.
        for layer in layers:
            own = {"outputs": values.pop(0), "biases": values.pop(0)}
            own["inputs"] = values.pop(0) if isPlain else None
            vectors.append(own)
        for layer, own in zip(layers, vectors):
            if isPlain:
                continue
            weights = [values.pop(0) for _ in NAMES]
            book = tensor(layer["inputs"])
            own["inputs"], divergence = reconstruct(weights, book, tensor(layer["noise"]), form, scale)
            latent = latent + (((own["inputs"] - book) ** 2).mean() + weight * divergence) / len(layers)
        losses = []
        for j, portion in enumerate(portions):
            y = convolution(tensor(x[portion]) * vectors[0]["inputs"][j], tensor(kernel), groups)
            y = y * vectors[0]["outputs"][j] + vectors[0]["biases"][j]
            s, o, m, v = (tensor(one) for one in normalization)
            y = torch.tanh((y - m) / torch.sqrt(v + 1e-3) * s + o).reshape(len(portion), -1)
            y = (y * vectors[1]["inputs"][j]) @ tensor(head) * vectors[1]["outputs"][j] + vectors[1]["biases"][j]
            losses.append(F.cross_entropy(y, torch.tensor(labels[portion]), reduction="sum"))
        return sum(losses) / sum(len(portion) for portion in portions), latent

    values = [tensor(value, True) for value in trained()]
    data, latent = parts(values)
    (data + latent).backward()
    with torch.no_grad():
        for index, value in enumerate(values):
            for position in random.choice(value.numel(), size=3):
                def at(step):
                    moved = [one.clone() for one in values]
                    moved[index].view(-1)[position] += step
                    return float(sum(parts(moved)))
                difference = (at(1e-5) - at(-1e-5)) / 2e-5
                assert abs(difference - value.grad.view(-1)[position].item()) < 1e-8 * max(1, abs(difference))
    return {
        "form": form, "groups": groups, "batch": batch, "noiseScale": scale, "divergenceWeight": weight,
        "rows": golden.array(x), "labels": labels, "kernel": golden.array(kernel), "bias": golden.array(bias),
        "normalization": [golden.array(value) for value in normalization], "epsilon": 1e-3, "head": golden.array(head),
        "headBias": golden.array(head_bias),
        "layers": [{**{name: golden.array(layer[name]) for name in ("inputs", "outputs", "biases", "noise")},
                    "weights": [golden.array(value) for value in layer["weights"]]} for layer in layers],
        "dataTerm": data.item(), "latentTerm": float(latent.detach()) if not isPlain else 0., "gradients": [golden.array(v.grad.numpy()) for v in values],
    }


def dense(random, members=3, rows=5, ignored=9):
    """A network that answers at every pixel, both convolutions of which have members; the mean is over answered pixels."""
    channels, width, classes = 2, 4, 3
    x = single(random.normal(size=(rows, 6, 5, channels)))
    labels = np.where(random.uniform(size=(rows, 12, 10)) < .2, ignored, random.randint(classes, size=(rows, 12, 10)))
    kernels = [single(random.normal(size=(3, 3, channels, width)) * .4), single(random.normal(size=(1, 1, width, classes)))]
    biases = [single(random.normal(size=width) * .3), single(random.normal(size=classes) * .1)]
    values = [tensor(value, True) for inputs, outputs, bias in [(channels, width, biases[0]), (width, classes, biases[1])]
              for value in (1 + .3 * random.normal(size=(members, outputs)), bias + .1 * random.normal(size=(members, outputs)),
                            1 + .3 * random.normal(size=(members, inputs)))]
    portions = [list(range(rows * j // members, rows * (j + 1) // members)) for j in range(members)]

    def data(values):
        losses = 0.
        for j, portion in enumerate(portions):
            y = tensor(x[portion])
            for layer, kernel in enumerate(kernels):
                outputs, bias, inputs = (value[j] for value in values[3 * layer:3 * layer + 3])
                weight = tensor(kernel).permute(3, 2, 0, 1)
                dilation = 2 if layer == 0 else 1
                y = F.conv2d((y * inputs).permute(0, 3, 1, 2), weight, padding="same", dilation=dilation).permute(0, 2, 3, 1)
                y = y * outputs + bias
                y = torch.tanh(y) if layer == 0 else y
            y = F.interpolate(y.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=False)
            losses = losses + F.cross_entropy(y, torch.tensor(labels[portion]), ignore_index=ignored, reduction="sum")
        return losses / (labels != ignored).sum()

    value = data(values)
    value.backward()
    return {
        "rows": golden.array(x), "labels": labels.ravel(), "ignored": ignored, "kernels": [golden.array(k) for k in kernels],
        "biases": [golden.array(b) for b in biases], "values": [golden.array(v.detach().numpy()) for v in values],
        "dataTerm": value.item(), "gradients": [golden.array(v.grad.numpy()) for v in values]}


def collapse():
    """Divergence a member and spread between members of an autoencoder trained alone: 4 members, 64 inputs."""
    members, channels, latents, steps, rate = 4, 64, 32, 1500, 1e-2
    found = []
    for name, weight, scale in [("one", 1., 1.), ("one, little noise", 1., .01), ("inverse", 1 / (members * channels), 1.),
                                ("thousandth", 1e-3, 1.), ("ten-thousandth", 1e-4, 1.)]:
        divergences, spreads = [], []
        for seed in range(3):
            generator = torch.Generator().manual_seed(SEED + seed)
            book = 1 + .5 * torch.randn(members, channels, generator=torch.Generator().manual_seed(SEED))
            weights = [((2 * torch.rand(shape, generator=generator) - 1) / np.sqrt(channels if i < 2 else latents))
                       for i, shape in enumerate(shapes(channels, latents))]
            weights = [value.requires_grad_() for value in weights]
            optimizer = torch.optim.Adam(weights, lr=rate)
            for _ in range(steps):
                optimizer.zero_grad()
                noise = torch.randn(members, latents, generator=generator)
                decoded, divergence = reconstruct(weights, book, noise, "latent-sample", scale)
                (((decoded - book) ** 2).mean() + weight * divergence).backward()
                optimizer.step()
            with torch.no_grad():
                decoded, divergence = reconstruct(weights, book, torch.zeros(members, latents), "latent-sample", scale)
                divergences.append(float(divergence) / members)
                spreads.append(float(decoded.var(0, correction=0).mean().sqrt()))
        found.append({"name": name, "weight": weight, "noiseScale": scale, "steps": steps, "rate": rate,
                      "divergences": divergences, "spreads": spreads})
        print(name, np.round(divergences, 3), np.round(spreads, 3), flush=True)
    return {"vectors": golden.array(book.numpy()), "cases": found}


def main():
    path = golden.folder("Latent")
    made = {"script": os.path.basename(__file__), "seed": SEED, "versions": golden.versions("numpy", "torch")}
    cases = [("latent-sample", 1, "replicated"), ("hidden", 2, "split"), ("batch-ensemble", 1, "split"),
             ("latent-sample", 2, "split")]
    for number, (form, groups, batch) in enumerate(cases):
        random = np.random.RandomState(SEED + number)
        golden.write_json(
            os.path.join(path, "objective-%d.json" % number), {**made, **objective(form, groups, batch, random)})
    golden.write_json(os.path.join(path, "dense.json"), {**made, **dense(np.random.RandomState(SEED + 10))})
    golden.write_json(os.path.join(path, "collapse.json"), {**made, **collapse()})
    golden.report(path)


if __name__ == "__main__":
    main()
