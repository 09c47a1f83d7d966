"""Trains the three-exit digits network and writes everything else in this folder but the README.

    python make_checkpoint.py

Needs keras, tensorflow, h5py, numpy, pillow, scikit-learn; about a minute on two CPU cores.
The network is trained too long on few rows, without augmentation or weight decay, on purpose: it
is to be fairly accurate and overconfident, which is what post hoc Bayesian methods are to mend.
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
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

SEED = 20240601
TRAIN, VALIDATION, TEST = 297, 500, 1000
EPOCHS = 300
CLASSES = [str(digit) for digit in range(10)]
EXITS = ["exit_1", "exit_2", "exit_3"]
FOLDER = os.path.dirname(os.path.abspath(__file__))


def split():
    """Rows of the UCI digits as {name: (x, y)}; x is uint8 [rows, 8, 8, 1] in 0...16."""
    digits = load_digits()
    x, y = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.uint8)
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) == len(x), "the data has duplicate images"
    order = np.random.RandomState(SEED).permutation(len(x))
    assert len(order) == TRAIN + VALIDATION + TEST
    parts = np.split(order, [TRAIN, TRAIN + VALIDATION])
    return {name: (x[rows], y[rows]) for name, rows in zip(("train", "validation", "test"), parts)}


def network():
    """Three blocks of one convolution each, and after each block an exit of two Dense layers."""
    L = keras.layers
    x = image = keras.Input(shape=(8, 8, 1), name="image")
    x = L.Rescaling(1 / 16, name="rescale")(x)
    outputs = []
    for block, width in enumerate((24, 32, 48), start=1):
        name = "block_%d" % block
        x = L.Conv2D(width, 3, padding="same", use_bias=False, name=name + "_conv")(x)
        x = L.BatchNormalization(name=name + "_norm")(x)
        x = L.ReLU(name=name + "_relu")(x)
        if block < 3:
            x = L.MaxPooling2D(2, name=name + "_pool")(x)
        if block < 3:
            y = L.GlobalAveragePooling2D(name=name + "_mean")(x)
        else:
            y = L.Flatten(name=name + "_flatten")(x)
        y = L.Dense(32, activation="relu", name="exit_%d_hidden" % block)(y)
        outputs.append(L.Dense(len(CLASSES), activation="softmax", name="exit_%d" % block)(y))
    return keras.Model(image, outputs, name="digits_early_exit")


def predictions(model, x):
    """[(logits, probabilities)] of every exit, both computed by Keras in float32."""
    x = x.astype(np.float32)
    heads = [model.get_layer(name) for name in EXITS]
    probabilities = [np.asarray(y) for y in model(x, training=False)]
    for head in heads:
        head.activation = keras.activations.linear
    logits = [np.asarray(y) for y in model(x, training=False)]
    for head in heads:
        head.activation = keras.activations.softmax
    return list(zip(logits, probabilities))


def scores(probabilities, labels, bins=15):
    """Accuracy, NLL, ECE over bins (a, b], and the mean confidence."""
    p = probabilities.astype(np.float64)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    ece = 0.0
    for k in range(bins):
        inside = (confidence <= (k + 1) / bins) & ((confidence > k / bins) | (k == 0))
        if inside.any():
            ece += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    nll = -np.log(np.maximum(p[np.arange(len(p)), labels], np.finfo(np.float64).tiny)).mean()
    return {"accuracy": float(correct.mean()), "nll": float(nll), "ece15": float(ece),
            "meanConfidence": float(confidence.mean())}


def auroc(inside, outside):
    """How often an outside score exceeds an inside one; ties count half."""
    difference = outside[:, None] - inside[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def numbers(values):
    """Row-major values as the shortest decimals that read back as the same float32."""
    return [float(str(v)) for v in values.ravel()]


def letters(random, copies=20):
    """A to Z in Pillow's own font, moved, turned and scaled a little, averaged down to 8x8, 0...16."""
    images = []
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for _ in range(copies):
            canvas = Image.new("L", (64, 64))
            font = ImageFont.load_default(size=int(random.randint(56, 72)))
            place = (32 + random.randint(-4, 5), 32 + random.randint(-4, 5))
            ImageDraw.Draw(canvas).text(place, letter, font=font, fill=255, anchor="mm", stroke_width=2)
            canvas = canvas.rotate(float(random.uniform(-12, 12)), resample=Image.Resampling.BILINEAR)
            small = np.asarray(canvas, np.float64).reshape(8, 8, 8, 8).mean(axis=(1, 3))
            images.append(np.rint(small * 16 / 255).astype(np.uint8))
    return np.array(images)[..., None]


def save_rows(name, x, y=None):
    with h5py.File(os.path.join(FOLDER, name), "w") as file:
        file.create_dataset("x", data=x, compression="gzip", compression_opts=9)
        if y is not None:
            file.create_dataset("y", data=y)


def save_json(name, item):
    text = json.dumps(item, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda flat: " ".join(flat[0].split()), text)
    with open(os.path.join(FOLDER, name), "w") as file:
        file.write(text + "\n")


def main():
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    rows = split()
    (x, y), (x_validation, y_validation), (x_test, y_test) = rows["train"], rows["validation"], rows["test"]

    model = network()
    model.compile(keras.optimizers.Adam(2e-3), ["sparse_categorical_crossentropy"] * 3)
    model.fit(x.astype(np.float32), [y] * 3, batch_size=32, epochs=EPOCHS, verbose=0)

    # The data: the three splits, and what the network never saw the like of.
    random = np.random.RandomState(SEED + 1)
    strange = {
        "rotated": np.rot90(x_test, axes=(1, 2)),
        "noise": random.choice(x.ravel(), size=(1000, 8, 8, 1)),
        "letters": letters(random),
    }
    for name, (inputs, labels) in rows.items():
        save_rows(name + ".h5", inputs, labels)
    for name, inputs in strange.items():
        save_rows("ood-%s.h5" % name, inputs)

    # The checkpoint, saved without the optimiser, and read back for everything that follows.
    path = os.path.join(FOLDER, "digits.h5")
    keras.Model(model.inputs, model.outputs, name=model.name).save(path)
    model = keras.models.load_model(path, compile=False)

    found = {"python": platform.python_version()}
    found.update({p: version(p) for p in ("keras", "tensorflow-cpu", "numpy", "scikit-learn", "h5py", "pillow")})
    origin = {"script": "make_checkpoint.py", "versions": found, "seed": SEED}

    measured = {part: {exit: scores(p, labels) for exit, (_, p) in zip(EXITS, predictions(model, inputs))}
                for part, (inputs, labels) in rows.items()}
    known = [1 - p.max(axis=1) for _, p in predictions(model, x_test)]
    measured["aurocAgainstTest"] = {
        name: {exit: auroc(inside, 1 - p.max(axis=1))
               for exit, inside, (_, p) in zip(EXITS, known, predictions(model, inputs))}
        for name, inputs in strange.items()}
    save_json("measured.json", {**origin, **measured})

    chosen = x_test[:8]
    save_json("golden.json", {
        **origin,
        "input": {"file": "test.h5", "rows": list(range(8)), "shape": list(chosen.shape),
                  "values": chosen.ravel().tolist()},
        "labels": y_test[:8].tolist(),
        "exits": [{"name": exit, "shape": list(z.shape), "logits": numbers(z), "probabilities": numbers(p)}
                  for exit, (z, p) in zip(EXITS, predictions(model, chosen))]})

    with open(os.path.join(FOLDER, "class-names.txt"), "w") as file:
        file.write("\n".join(CLASSES) + "\n")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    save_json("model.json", {
        "name": "digits-early-exit", "checkpoint": "digits.h5", "sha256": digest, "classNames": CLASSES,
        "likelihood": "categorical", "preprocessing": {"scale": 1}, "exits": EXITS})

    print("parameters: %d" % model.count_params())
    for part, exits in measured.items():
        for exit, values in exits.items():
            print(part, exit, values if isinstance(values, float) else {k: round(v, 4) for k, v in values.items()})
    for name in sorted(os.listdir(FOLDER)):
        print("%9d %s" % (os.path.getsize(os.path.join(FOLDER, name)), name))


if __name__ == "__main__":
    main()
