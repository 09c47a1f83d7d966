"""Draws images of shapes, trains a small DeepLabV3+ on them, and writes everything else in this folder but the README.

    python make_checkpoint.py

Needs keras, tensorflow, h5py, numpy; some minutes on two CPU cores.  The network is trained too long on few images, without
augmentation or weight decay, on purpose: it is to be overconfident, which is what post hoc Bayesian methods are to mend.
"""

import hashlib
import json
import os
import platform
import re
from importlib.metadata import version

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import h5py
import keras
import numpy as np
import tensorflow as tf

SEED = 20260611
SIZE = 48
# Images the network is trained on, those of them that are kept here, and the others.
TRAIN, KEPT, VALIDATION, TEST = 1500, 96, 48, 96
EPOCHS = 30
CLASSES = ["background", "disk", "square", "triangle"]
# What no training image shows.
ANOMALIES = ["ring", "cross", "star"]
ANOMALY = len(CLASSES)
FOLDER = os.path.dirname(os.path.abspath(__file__))


def texture(random):
    """A smooth random surface around a colour, with stripes or grain, [size, size, 3] in 0...255."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    surface = np.zeros((SIZE, SIZE))
    for _ in range(3):
        angle, frequency, phase = random.uniform(0, 2 * np.pi), random.uniform(0.05, 0.25), random.uniform(0, 2 * np.pi)
        surface += np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    if random.rand() < 0.5:
        angle, frequency = random.uniform(0, 2 * np.pi), random.uniform(0.8, 1.6)
        surface += 1.5 * np.sign(np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle))))
    else:
        surface += random.normal(0, 0.8, surface.shape)
    colour, tint = random.uniform(50, 205, 3), random.uniform(5, 18, 3)
    return colour + tint * surface[..., None]


def outline(kind, random, x, y, radius):
    """Which pixels a shape around the origin covers."""
    angle = random.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(u, v)
    if kind == "disk":
        return distance < radius
    if kind == "square":
        return np.maximum(abs(u), abs(v)) < 0.85 * radius
    if kind == "triangle":
        corners = [(np.cos(turn), np.sin(turn)) for turn in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
        return np.all([-(u * a + v * b) < 0.55 * radius for a, b in corners], axis=0)
    if kind == "ring":
        return (distance < radius) & (distance > 0.55 * radius)
    if kind == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.3 * radius) & (np.maximum(abs(u), abs(v)) < radius)
    return distance < radius * (0.6 + 0.4 * np.cos(5 * np.arctan2(v, u)))


def image(random, anomalies):
    """An image of two to four shapes and some anomalous ones, and the class of each pixel."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    pixels, labels = texture(random), np.zeros((SIZE, SIZE), np.uint8)
    kinds = list(random.choice(CLASSES[1:], random.randint(2, 5))) + list(random.choice(ANOMALIES, anomalies))
    for kind in kinds:
        centre, radius = random.uniform(6, SIZE - 6, 2), random.uniform(7, 12)
        inside = outline(kind, random, x - centre[0], y - centre[1], radius)
        pixels[inside] = texture(random)[inside]
        labels[inside] = CLASSES.index(kind) if kind in CLASSES else ANOMALY
    # In steps of eight, which take half the bytes in a file.
    return np.clip(np.rint(pixels / 8) * 8, 0, 255).astype(np.uint8), labels


def images(random, count, isAnomalous=lambda index: False):
    pairs = [image(random, random.randint(1, 3) if isAnomalous(index) else 0) for index in range(count)]
    return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])


def network():
    """A DeepLabV3+ of 40 thousand weights: encoder, atrous spatial pyramid, decoder, classifier."""
    L = keras.layers

    def unit(x, width, kernel, name, **options):
        x = L.Conv2D(width, kernel, padding="same", use_bias=False, name=name, **options)(x)
        x = L.BatchNormalization(name=name + "_norm")(x)
        return L.ReLU(name=name + "_relu")(x)

    inputs = keras.Input(shape=(SIZE, SIZE, 3), name="image")
    x = L.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    x = unit(x, 16, 3, "stem", strides=2)
    low = x = unit(x, 24, 3, "low")
    x = unit(x, 32, 3, "down", strides=2)
    y = unit(x, 32, 3, "block_1")
    x = L.Add(name="add_1")([x, unit(y, 32, 3, "block_2", dilation_rate=2)])
    branches = [unit(x, 16, 1, "aspp_1")]
    branches += [unit(x, 16, 3, "aspp_%d" % rate, dilation_rate=rate) for rate in (2, 4)]
    mean = L.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)
    mean = L.Conv2D(16, 1, activation="relu", name="aspp_pool")(mean)
    branches.append(L.UpSampling2D(SIZE // 4, interpolation="nearest", name="aspp_spread")(mean))
    x = unit(L.Concatenate(name="aspp")(branches), 32, 1, "aspp_join")
    x = L.UpSampling2D(2, interpolation="bilinear", name="decoder_up")(x)
    x = L.Concatenate(name="decoder")([x, unit(low, 8, 1, "decoder_low")])
    x = unit(x, 32, 3, "decoder_conv")
    x = L.Conv2D(len(CLASSES), 1, name="classifier")(x)
    x = L.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x)
    return keras.Model(inputs, L.Softmax(name="classes")(x), name="shapes_segmentation")


def predict(model, x):
    return np.concatenate([np.asarray(model(x[i:i + 16].astype(np.float32), training=False))
                           for i in range(0, len(x), 16)])


def scores(p, y, bins=15):
    """Pixel accuracy, mIoU over the known classes, NLL and ECE over bins (a, b], all of the pixels of known classes."""
    known = y < ANOMALY
    p, y = p[known].astype(np.float64), y[known]
    confidence, answer = p.max(axis=1), p.argmax(axis=1)
    ece = 0.0
    for k in range(bins):
        inside = (confidence <= (k + 1) / bins) & ((confidence > k / bins) | (k == 0))
        if inside.any():
            ece += inside.mean() * abs((answer == y)[inside].mean() - confidence[inside].mean())
    unions = [((answer == k) & (y == k)).sum() / ((answer == k) | (y == k)).sum() for k in range(ANOMALY)]
    nll = -np.log(np.maximum(p[np.arange(len(p)), y], np.finfo(np.float64).tiny)).mean()
    return {"accuracy": float((answer == y).mean()), "mIoU": float(np.mean(unions)), "nll": float(nll),
            "ece15": float(ece), "meanConfidence": float(confidence.mean())}


def auroc(inside, outside):
    """How often an outside score exceeds an inside one; ties count half."""
    inside = np.sort(inside)
    below, above = np.searchsorted(inside, outside, "left"), np.searchsorted(inside, outside, "right")
    return float((below + above).sum() / 2 / len(inside) / len(outside))


def numbers(values):
    """Row-major values as the shortest decimals that read back as the same float32."""
    return [float(str(v)) for v in values.ravel()]


def save_json(name, item):
    text = json.dumps(item, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda flat: " ".join(flat[0].split()), text)
    with open(os.path.join(FOLDER, name), "w") as file:
        file.write(text + "\n")


def main():
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    random = np.random.RandomState(SEED)
    x, y = images(random, TRAIN)
    rows = {"train": (x[:KEPT], y[:KEPT]), "validation": images(random, VALIDATION),
            "test": images(random, TEST, lambda index: index % 2 == 1)}

    model = network()
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x.astype(np.float32), y, batch_size=16, epochs=EPOCHS, verbose=2)

    for name, (inputs, labels) in rows.items():
        with h5py.File(os.path.join(FOLDER, name + ".h5"), "w") as file:
            for key, values in (("x", inputs), ("y", labels)):
                file.create_dataset(key, data=values, compression="gzip", compression_opts=9, shuffle=True,
                                    chunks=(1, *values.shape[1:]))

    path = os.path.join(FOLDER, "shapes.h5")
    keras.Model(model.inputs, model.outputs, name=model.name).save(path)
    model = keras.models.load_model(path, compile=False)

    found = {"python": platform.python_version()}
    found.update({p: version(p) for p in ("keras", "tensorflow-cpu", "numpy", "h5py")})
    origin = {"script": "make_checkpoint.py", "versions": found, "seed": SEED}

    p = {name: predict(model, inputs) for name, (inputs, _) in rows.items()}
    measured = {name: scores(p[name], labels) for name, (_, labels) in rows.items()}
    score, labels = 1 - p["test"].max(axis=-1), rows["test"][1]
    each = [auroc(s[l < ANOMALY], s[l == ANOMALY]) for s, l in zip(score, labels) if (l == ANOMALY).any()]
    measured["anomalies"] = {
        "images": len(each), "pixels": int((labels == ANOMALY).sum()),
        "aurocPooled": auroc(score[labels < ANOMALY], score[labels == ANOMALY]), "aurocPerImage": float(np.mean(each))}
    save_json("measured.json", {**origin, **measured})

    chosen = rows["test"][0][:2]
    save_json("golden.json", {
        **origin, "input": {"file": "test.h5", "rows": [0, 1]},
        "probabilities": {"shape": list(p["test"][:2, ::4, ::4].shape), "everyFourthPixel": numbers(p["test"][:2, ::4, ::4])},
        "labels": rows["test"][1][:2, ::4, ::4].ravel().tolist()})
    with open(os.path.join(FOLDER, "class-names.txt"), "w") as file:
        file.write("\n".join(CLASSES) + "\n")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    save_json("model.json", {
        "name": "shapes-segmentation", "checkpoint": "shapes.h5", "sha256": digest, "classNames": CLASSES,
        "likelihood": "categorical", "preprocessing": {"scale": 1}, "exits": ["classes"], "anomalyLabel": ANOMALY})

    print("parameters: %d" % model.count_params())
    print(json.dumps(measured, indent=1))
    for name in sorted(os.listdir(FOLDER)):
        print("%9d %s" % (os.path.getsize(os.path.join(FOLDER, name)), name))


if __name__ == "__main__":
    main()
