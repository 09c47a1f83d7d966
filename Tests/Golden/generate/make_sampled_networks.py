"""Monte Carlo dropout and a deep ensemble of Keras, for posteriors whose draws are networks.

    python make_sampled_networks.py

writes to Tests/Golden/SampledNetworks:

one.h5, two.keras, three.keras   small networks with two softmax exits, SpatialDropout2D, Dropout with a noise shape,
                                 Dropout, and BatchNormalization with statistics that are not those of any batch
other-classes.keras, other-rows.keras, one-exit.keras   what does not go with them
no-rate.keras                    as one.h5, but all rates zero
rows.h5                          x [12, 6, 6, 2], y [12]
expected.json                    for each exit: `ensemble`, the mean of the three networks' probabilities [rows, classes];
                                 `mean`, `variance` and `entropy`, `entropyVariance`, over DRAWS draws of one.h5 with dropout
                                 on: the mean and the variance of the probabilities [rows, classes] and of their entropy
                                 [rows], nats

Dropout is switched on by training=True, with BatchNormalization frozen (trainable=False), which then uses its stored
statistics. Every row of a batch has masks of its own in Keras, so a row is repeated to draw.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
from keras import layers as L

import golden

SEED = 7
ROWS = 12
DRAWS = 20000


def network(seed, rate=1.0, classes=4, size=6, exits=2):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 2), name="image")
    x = L.Conv2D(6, 3, padding="same", use_bias=False, name="convolution")(inputs)
    x = L.BatchNormalization(name="normalization")(x)
    x = L.ReLU(name="relu")(x)
    x = L.SpatialDropout2D(0.3 * rate, name="channels")(x)
    early = L.Dense(classes, activation="softmax", name="early")(L.GlobalAveragePooling2D(name="mean")(x))
    x = L.MaxPooling2D(name="pool")(x)
    x = L.Dropout(0.25 * rate, noise_shape=(None, 1, None, None), name="columns")(x)
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(8, activation="tanh", name="hidden")(x)
    x = L.Dropout(0.4 * rate, name="units")(x)
    late = L.Dense(classes, activation="softmax", name="late")(x)
    model = keras.Model(inputs, [early, late] if exits == 2 else late)
    rng = np.random.default_rng([SEED, seed])
    for layer in model.layers:
        # Far from certain, and far from all alike.
        layer.set_weights([w + 0.4 * rng.normal(size=w.shape) if "variance" not in v.path else
                           rng.uniform(0.5, 2, size=w.shape) for w, v in zip(layer.get_weights(), layer.weights)])
    return model


def entropy(p):
    return -(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1)


def main():
    folder = golden.folder("SampledNetworks")

    def path(name):
        return os.path.join(folder, name)

    models = [network(seed) for seed in (1, 2, 3)]
    for model, name in zip(models, ("one.h5", "two.keras", "three.keras")):
        model.save(path(name))
    network(4, classes=5).save(path("other-classes.keras"))
    network(5, size=8).save(path("other-rows.keras"))
    network(6, exits=1).save(path("one-exit.keras"))
    network(1, rate=0.0).save(path("no-rate.keras"))

    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(ROWS, 6, 6, 2)).astype(np.float32)
    y = rng.integers(0, 4, ROWS).astype(np.uint8)
    with h5py.File(path("rows.h5"), "w") as file:
        file["x"], file["y"] = x, y

    members = [[np.asarray(p, np.float64) for p in m.predict(x, verbose=0)] for m in models]
    one = models[0]
    one.get_layer("normalization").trainable = False
    keras.utils.set_random_seed(SEED)
    exits = [[], []]
    for row in x:
        batch = np.repeat(row[None], DRAWS, axis=0)
        for exit, p in zip(exits, one(batch, training=True)):
            exit.append(np.asarray(p.detach(), np.float64))
    expected = []
    for exit, draws in enumerate(np.asarray(d) for d in exits):
        own = entropy(draws)
        expected.append({
            "ensemble": golden.array(np.mean([m[exit] for m in members], axis=0)),
            "mean": golden.array(draws.mean(axis=1)), "variance": golden.array(draws.var(axis=1)),
            "entropy": golden.array(own.mean(axis=1)), "entropyVariance": golden.array(own.var(axis=1)),
        })
    golden.write_json(path("expected.json"), {
        "script": "make_sampled_networks.py", "seed": SEED, "draws": DRAWS,
        "versions": golden.versions("keras", "torch", "numpy", "h5py"), "exits": expected,
    })
    golden.report(folder)


if __name__ == "__main__":
    main()
