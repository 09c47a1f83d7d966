"""What Keras computes for real pretrained checkpoints, to hold an importer against.

    python make_checkpoint_references.py SHARED OUT [--full]

SHARED holds checkpoints/ and data/ (files of others, which are not part of this project); OUT, a
folder outside the project, receives <checkpoint>.reference.h5 for each: `raw` (256 test images as
they are, uint8), `y`, `x` (the network's input, float32) and `output_<k>` (float32; attribute
`name`). Networks without data get x = numpy.random.RandomState(0).rand(2, ...). With --full the
script also prints accuracy, NLL and ECE (15 bins, (a, b]) on whole test sets.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import gzip
import warnings

import h5py
import numpy as np

import golden

ROWS = 256


def cifar(folder):
    with h5py.File(os.path.join(folder, "cifar10-test.h5")) as file:
        return file["x"][...], file["y"][...]


def fashion(folder):
    with h5py.File(os.path.join(folder, "fashion-mnist-test.h5")) as file:
        return grey(file["x"][...]), file["y"][...]


def mnist(folder):
    def idx(name, header):
        with gzip.open(os.path.join(folder, name)) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)
    return grey(idx("mnist-t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)), idx("mnist-t10k-labels-idx1-ubyte.gz", 8)


def grey(x):
    return x.reshape(x.shape[:3] + (1,))


def standardised(mean, std):
    mean, std = np.float32(mean), np.float32(std)
    return lambda raw: (raw.astype(np.float32) / np.float32(255) - mean) / std


def unit(raw):
    return raw.astype(np.float32) / np.float32(255)


NETWORKS = {
    "mlperf-tiny-resnet8-cifar10.h5": (cifar, lambda raw: raw.astype(np.float32)),
    "resnet20-cifar10.h5": (cifar, standardised([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
    "mini-xception-fer2013.hdf5": (None, None),
    "fashion-cnn.h5": (fashion, unit),
    "outlier-exposure-mnist-baseline.h5": (mnist, unit),
    "mtcnn-48net-full.h5": (None, None),
    "msdnet-small-cifar10.h5": (cifar, standardised([0.4914, 0.4824, 0.4467], [0.2471, 0.2435, 0.2616])),
}


def load(path):
    """The model by Keras 3, or by tf_keras where Keras 3 cannot; and who did it."""
    import keras
    try:
        return keras.models.load_model(path, compile=False), "keras"
    except Exception as error:
        print("  Keras 3 refuses: %s" % str(error).splitlines()[0][:120])
    import tf_keras
    return tf_keras.models.load_model(path, compile=False), "tf_keras"


def outputs(model, x, batch=250):
    parts = []
    for start in range(0, len(x), batch):
        y = model(x[start:start + batch], training=False)
        parts.append([np.asarray(v) for v in (y if isinstance(y, (list, tuple)) else [y])])
    return [np.concatenate(part) for part in zip(*parts)]


def scores(output, labels, bins=15):
    """Accuracy, NLL and ECE; logits are turned into probabilities first."""
    p = output.astype(np.float64)
    if not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        p = np.exp(p - p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    ece = sum(abs(correct[index == k].sum() - confidence[index == k].sum()) for k in range(bins)) / len(p)
    return "accuracy %.4f  NLL %.4f  ECE %.4f" % (
        correct.mean(), -np.log(np.maximum(p[np.arange(len(p)), labels], 1e-300)).mean(), ece)


def main(shared, out, full):
    os.makedirs(out, exist_ok=True)
    found = golden.versions("keras", "tf_keras", "tensorflow-cpu", "numpy", "h5py")
    for name, (read, prepare) in NETWORKS.items():
        print(name)
        model, by = load(os.path.join(shared, "checkpoints", name))
        shape = tuple(model.input_shape[1:])
        content = {}
        if read:
            raw, labels = read(os.path.join(shared, "data"))
            content.update(raw=raw[:ROWS], y=labels[:ROWS], x=prepare(raw[:ROWS]))
        else:
            shape = tuple(64 if side is None else side for side in shape)
            content.update(x=np.random.RandomState(0).rand(2, *shape).astype(np.float32))
        values = outputs(model, content["x"])
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        path = os.path.join(out, name.rsplit(".", 1)[0] + ".reference.h5")
        with h5py.File(path, "w") as file:
            file.attrs.update({"script": "make_checkpoint_references.py", "checkpoint": name, "loaded by": by, **found})
            for key, value in content.items():
                file[key] = value
            for k, value in enumerate(values):
                file["output_%d" % k] = value
                file["output_%d" % k].attrs["name"] = names[k]
                print("  output_%d %-14s %s, row 0 starts %s" % (k, names[k], value.shape, value[0].ravel()[:5]))
        if full and read:
            for output_name, value in zip(names, outputs(model, prepare(raw))):
                print("  %s on %d rows: %s" % (output_name, len(raw), scores(value, labels)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    main(sys.argv[1], sys.argv[2], "--full" in sys.argv[3:])
