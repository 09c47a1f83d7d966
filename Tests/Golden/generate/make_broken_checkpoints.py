"""Damaged checkpoints that an importer must refuse, and small files in every data format read.

    python make_broken_checkpoints.py

writes Tests/Golden/BrokenCheckpoints/ (expectations.json says what is wrong with each file) and
Tests/Golden/Data/ (<file>.json beside each data file holds the values expected).
"""

import glob
import gzip
import json
import os
import shutil
import struct

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import h5py
import numpy as np

import golden

SEED = 7


def valid_model(path):
    """A sound checkpoint: convolution, batch normalisation, pooling, softmax head."""
    import keras
    from make_keras_layers import randomise
    L = keras.layers
    model = keras.Sequential([
        keras.Input(shape=(6, 6, 2)), L.Conv2D(3, 3, name="conv"), L.BatchNormalization(name="norm"),
        L.ReLU(name="relu"), L.Flatten(name="flatten"), L.Dense(4, activation="softmax", name="head")], name="small")
    randomise(model, np.random.RandomState(SEED))
    model.save(path)


def replace(file, name, values):
    del file[name]
    file[name] = values


def broken():
    folder = golden.folder("BrokenCheckpoints")
    for old in glob.glob(os.path.join(folder, "*")):
        os.remove(old)
    at = lambda name: os.path.join(folder, name)
    good, kernel, head = at("valid.h5"), "model_weights/conv/small/conv/kernel", "model_weights/head/small/head/kernel"
    valid_model(good)

    with open(at("not-hdf5.h5"), "w") as file:
        file.write("<!DOCTYPE html>\n<title>404 Not Found</title>\nThis is not a checkpoint.\n")
    open(at("empty.h5"), "w").close()
    with open(good, "rb") as source, open(at("truncated.h5"), "wb") as file:
        data = source.read()
        file.write(data[:len(data) * 6 // 10])

    def edited(name, edit):
        shutil.copyfile(good, at(name))
        with h5py.File(at(name), "r+") as file:
            edit(file)

    def unknown(file):
        config = json.loads(file.attrs["model_config"])
        layers = config["config"]["layers"]
        lambda_layer = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
                        "config": {"name": "lambda_scale", "function": "scale"}}
        mystery = {"module": "secret.layers", "class_name": "MysteryLayer", "registered_name": "secret>MysteryLayer",
                   "config": {"name": "mystery", "power": 3}}
        layers.insert(3, mystery)
        layers.insert(5, lambda_layer)
        file.attrs["model_config"] = json.dumps(config)

    def nan(file):
        values = file[kernel][...]
        values[1, 2, 0, 1] = np.nan
        values[0, 0, 1, 2] = np.inf
        file[kernel][...] = values

    def variance(file):
        name = next(n for n in file["model_weights/norm/small/norm"] if "variance" in n)
        file["model_weights/norm/small/norm/" + name][1] = -1.0

    def weights_only(file):
        for key in list(file["model_weights"].attrs):
            file.attrs[key] = file["model_weights"].attrs[key]
        for key in list(file["model_weights"]):
            file.move("model_weights/" + key, key)
        del file["model_weights"]
        del file.attrs["model_config"]

    edited("missing-weight.h5", lambda file: file.__delitem__(head))
    edited("wrong-shape.h5", lambda file: replace(file, head, file[head][...].T))
    edited("unknown-layer.h5", unknown)
    edited("nan-weight.h5", nan)
    edited("negative-variance.h5", variance)
    edited("no-config.h5", weights_only)

    golden.write_json(at("expectations.json"), {
        "script": "make_broken_checkpoints.py",
        "versions": golden.versions("keras", "tensorflow-cpu", "numpy", "h5py"),
        "seed": SEED,
        "files": {
            "valid.h5": "sound; the others are made from it",
            "not-hdf5.h5": "a text file (an error page)",
            "empty.h5": "0 bytes",
            "truncated.h5": "the first 60 % of valid.h5",
            "missing-weight.h5": "layer head lacks its dataset kernel, though weight_names lists it",
            "wrong-shape.h5": "layer head: kernel is [4, 48] where [48, 4] is due",
            "unknown-layer.h5": "two layers of unknown kinds: MysteryLayer (mystery) and Lambda (lambda_scale)",
            "nan-weight.h5": "layer conv: kernel holds one NaN and one infinity",
            "negative-variance.h5": "layer norm: element 1 of the moving variance is -1",
            "no-config.h5": "weights only, at the root as save_weights of Keras 2 lays them; no model_config",
        },
    })
    golden.report(folder)


def data():
    folder = golden.folder("Data")
    for old in glob.glob(os.path.join(folder, "*")):
        os.remove(old)
    at = lambda name: os.path.join(folder, name)
    random = np.random.RandomState(SEED)
    found = golden.versions("numpy", "h5py")

    def expect(name, **arrays):
        golden.write_json(at(name + ".json"), {
            "script": "make_broken_checkpoints.py", "versions": found, "seed": SEED,
            "arrays": {key: dict(dtype=value.dtype.newbyteorder("=").name, **golden.array(value))
                       for key, value in arrays.items()}})

    images = random.randint(0, 256, (5, 4, 3)).astype(np.uint8)
    labels = random.randint(0, 10, 5).astype(np.uint8)
    colour = random.randint(0, 256, (6, 4, 3, 3)).astype(np.uint8)
    targets = random.randint(0, 10, 6).astype(np.int64)
    floats = random.normal(size=(4, 3, 2)).astype(np.float32)

    # IDX: big-endian magic 0, 0, type 8 (unsigned byte), number of dimensions; then the sizes.
    for name, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        content = struct.pack(">BBBB%dI" % values.ndim, 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
        with open(at(name), "wb") as file:
            file.write(content)
        with open(at(name + ".gz"), "wb") as raw, gzip.GzipFile(name, "wb", fileobj=raw, mtime=0) as file:
            file.write(content)
        expect(name, values=values)

    # NumPy zips and single arrays.
    arrays = {"x": colour, "y": targets, "floats": floats, "fortran": np.asfortranarray(floats[:, :, 0] * 2)}
    np.savez(at("stored.npz"), **arrays)
    np.savez_compressed(at("deflated.npz"), **arrays)
    for name in ("stored.npz", "deflated.npz"):
        expect(name, **arrays)
    singles = {
        "float64.npy": random.normal(size=(3, 5)),
        "float32-big-endian.npy": random.normal(size=(2, 3, 4)).astype(">f4"),
        "bool.npy": random.rand(7) > 0.5,
        "int64.npy": random.randint(-2**40, 2**40, 6),
        "uint8-fortran.npy": np.asfortranarray(images[:, :, 0]),
    }
    for name, values in singles.items():
        np.save(at(name), values)
        expect(name, values=values)

    # HDF5: names x and y; chunked with gzip and shuffle, or contiguous; and other names.
    packed = dict(compression="gzip", compression_opts=6, shuffle=True)
    with h5py.File(at("chunked.h5"), "w") as file:
        file.create_dataset("x", data=colour, chunks=(2, 4, 2, 3), **packed)
        file.create_dataset("y", data=targets.astype(np.uint8), chunks=(4,), **packed)
    expect("chunked.h5", x=colour, y=targets.astype(np.uint8))
    with h5py.File(at("contiguous.h5"), "w") as file:
        file["x"], file["y"] = floats, targets[:4]
    expect("contiguous.h5", x=floats, y=targets[:4])
    with h5py.File(at("other-names.h5"), "w") as file:
        file["images"], file["labels"] = colour, targets.astype(np.int32)
    expect("other-names.h5", images=colour, labels=targets.astype(np.int32))
    golden.report(folder)


if __name__ == "__main__":
    broken()
    data()
