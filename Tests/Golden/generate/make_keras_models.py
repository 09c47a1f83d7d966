"""What Keras answers for the real checkpoints, which are too large for the tree.

    python make_keras_models.py FOLDER

reads the checkpoints in FOLDER and writes Tests/Golden/KerasModels/<file>.json: every output for
numpy.random.RandomState(0).rand(2, *input_shape). Files of Keras 2 and before are read by tf_keras,
those of Keras 3 by Keras 3.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import tf_keras

import golden

FILES = {
    "mlperf-tiny-resnet8-cifar10.h5": tf_keras,
    "resnet20-cifar10.h5": tf_keras,
    "mini-xception-fer2013.hdf5": tf_keras,
    "outlier-exposure-mnist-baseline.h5": tf_keras,
    "mtcnn-48net-full.h5": tf_keras,
    "fashion-cnn.h5": keras,
    "msdnet-small-cifar10.h5": keras,
    "cifar10-cnn-keras3.keras": keras,
    "outlier-exposure-mnist-tuned.keras": keras,
    "msdnet-small-cifar10-overfit.keras": keras,
    "digits-recognizer.weights.h5": keras,
}


def digits_recognizer():
    """The published file holds weights alone; this is a network that they fit."""
    k = keras.layers
    return keras.Sequential([
        keras.Input((28, 28)), k.Flatten(), k.Dense(128, activation="relu"), k.Dense(64, activation="relu"),
        k.Dense(10, activation="softmax", name="digit")], name="digits")

if __name__ == "__main__":
    folder = golden.folder("KerasModels")
    for file, library in FILES.items():
        path = os.path.join(sys.argv[1], file)
        if file.endswith(".weights.h5"):
            model = digits_recognizer()
            model.load_weights(path)
            with open(os.path.join(folder, file + ".architecture.json"), "w") as description:
                description.write(model.to_json())
        else:
            model = library.models.load_model(path, compile=False)
        shape = tuple(model.input_shape[1:])
        x = np.random.RandomState(0).rand(2, *shape).astype(np.float32)
        outputs = model(x, training=False)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        golden.write_json(os.path.join(folder, file + ".json"), {
            "script": "make_keras_models.py",
            "versions": golden.versions(library.__name__, "tensorflow-cpu", "numpy", "h5py"),
            "inputShape": list(x.shape),
            "outputs": [dict(name=name, **golden.array(np.asarray(y))) for name, y in zip(names, outputs)],
        })
    golden.report(folder)
