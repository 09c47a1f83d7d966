"""Writes small models in the layouts of Keras 1.2, under Theano or TensorFlow.

    KERAS_BACKEND=theano|tensorflow python make_keras1_layouts.py FOLDER

writes FOLDER/<model>.model.h5 (whole model), <model>.names.h5 (weights alone), <model>-numbers.h5 (weights
alone as Keras before 1.1 laid them, by positions; rewritten by h5py), <model>.json and <model>.npz. Models
called th-... have Theano's kernels, [out, in, height, width], and must be refused.
"""

import json
import os
import sys

import h5py
if os.environ["KERAS_BACKEND"] == "theano":
    import theano.ifelse  # Keras 1 forgets to.
import keras
import keras.backend as K
import numpy as np
from keras import layers as k
from keras.models import Model, Sequential

import import_models


def cnn():
    return Sequential([
        k.Convolution2D(4, 3, 3, activation="relu", input_shape=(8, 8, 2) if K.image_dim_ordering() == "tf" else (2, 8, 8)),
        k.BatchNormalization(),
        k.MaxPooling2D(),
        k.Convolution2D(3, 3, 3, border_mode="same", bias=False),
        k.ZeroPadding2D((1, 1)),
        k.Flatten(),
        k.Dropout(0.5),
        k.Dense(5, activation="tanh"),
        k.Dense(3, activation="softmax", name="out"),
    ])


def exits():
    x = k.Input((6, 6, 2))
    early = k.Convolution2D(3, 3, 3, activation="relu")(x)
    late = k.merge([k.Convolution2D(3, 3, 3, border_mode="same")(early), early], mode="sum")
    first = k.Dense(3, activation="softmax", name="first")(k.GlobalAveragePooling2D()(early))
    second = k.Dense(3, activation="softmax", name="second")(k.Flatten()(late))
    return Model(x, [first, second])


def nested():
    body = Sequential([k.Dense(4, activation="relu", input_dim=5), k.BatchNormalization(), k.Dense(3)], name="body")
    body.layers[0].trainable = False
    x = k.Input((5,))
    return Model(x, k.Dense(2, activation="softmax", name="out")(body(x)))


def sequence():
    return Sequential([
        k.LSTM(4, return_sequences=True, input_shape=(6, 3)),
        k.TimeDistributed(k.Dense(3, activation="relu")),
        k.Bidirectional(k.LSTM(2, return_sequences=True)),
        k.SimpleRNN(3, return_sequences=True),
        k.Convolution1D(4, 2, activation="relu"),
        k.GRU(3),
        k.Dense(2, activation="softmax", name="out"),
    ])


MODELS = {f.__name__: f for f in [cnn, exits, nested, sequence]}


def numbered(source, target):
    """The same weights as Keras before 1.1 kept them."""
    with h5py.File(source, "r") as names, h5py.File(target, "w") as numbers:
        layers = [n.decode() for n in names.attrs["layer_names"]]
        numbers.attrs["nb_layers"] = len(layers)
        for index, layer in enumerate(layers):
            weights = [n.decode() for n in names[layer].attrs["weight_names"]]
            group = numbers.create_group("layer_%d" % index)
            group.attrs["nb_params"] = len(weights)
            for position, weight in enumerate(weights):
                group["param_%d" % position] = names[layer][weight][()]


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for ordering in ["tf", "th"]:
        K.set_image_dim_ordering(ordering)
        for name, build in MODELS.items():
            if ordering == "th" and name != "cnn":
                continue
            model, other = build(), build()
            import_models.randomise(model, name)
            stem = os.path.join(folder, name if ordering == "tf" else "th-" + name)
            model.save(stem + ".model.h5")
            model.save_weights(stem + ".names.h5")
            numbered(stem + ".names.h5", stem + "-numbers.h5")
            with open(stem + ".json", "w") as file:
                file.write(other.to_json())
            random = np.random.RandomState(import_models.SEED)
            x = random.uniform(-1, 1, (import_models.ROWS,) + K.int_shape(model.inputs[0])[1:]).astype("float32")
            answers = model.predict(x)
            answers = answers if isinstance(answers, list) else [answers]
            names = ["first", "second"] if len(answers) > 1 else ["out"]
            np.savez(stem + ".npz", x=x, **dict(zip(names, answers)))
    with open(os.path.join(folder, "refused.json"), "w") as file:
        json.dump({"library": "keras on " + K.backend(), "version": keras.__version__, "numpy": np.__version__,
                   "refused": {}}, file)
    print(K.backend(), keras.__version__, len(os.listdir(folder)), "files")


if __name__ == "__main__":
    main(sys.argv[1])
