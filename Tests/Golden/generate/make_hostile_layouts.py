"""Files that look like those of Keras and must be refused in one sentence.

    python make_hostile_layouts.py

writes Tests/Golden/HostileLayouts/. All are made from one sound model, `sound.keras` and `sound.weights.h5`:
Dense layers of 4 and 3 units on rows of 5 numbers. The code that some of them carry would leave a mark.
"""

import io
import json
import os
import zipfile
import zlib

import h5py
import numpy as np

import golden

FOLDER = golden.folder("HostileLayouts")
METADATA = json.dumps({"keras_version": "3.10.0", "date_saved": "2025-01-01@00:00:00"})


def layer(kind, name, **settings):
    return {"class_name": kind, "module": "keras.layers", "registered_name": None,
            "config": dict(name=name, **settings)}


INPUT = layer("InputLayer", "input", batch_shape=[None, 5])
DENSE = [layer("Dense", "dense", units=4, activation="relu"), layer("Dense", "dense_1", units=3, activation="softmax")]


def sequential(*layers, name="model"):
    return {"class_name": "Sequential", "module": "keras", "config": {"name": name, "layers": list(layers)}}


SOUND = sequential(INPUT, *DENSE)


def weights(path, change=None):
    random = np.random.RandomState(3)
    with h5py.File(path, "w") as file:
        for name, shape in [("dense", (5, 4)), ("dense_1", (4, 3))]:
            group = file.create_group("layers/%s/vars" % name)
            group["0"] = random.uniform(-1, 1, shape).astype("float32")
            group["1"] = random.uniform(-1, 1, shape[1:]).astype("float32")
        file.create_group("vars")
        if change:
            change(file)


def weight_bytes(change=None):
    path = os.path.join(FOLDER, "scratch.h5")
    weights(path, change)
    with open(path, "rb") as file:
        content = file.read()
    os.remove(path)
    return content


def archive(name, members, compression=zipfile.ZIP_STORED):
    path = os.path.join(FOLDER, name)
    with zipfile.ZipFile(path, "w", compression) as file:
        for member, content in members:
            # A fixed date, so that the same bytes come out every day.
            information = zipfile.ZipInfo(member, (2025, 1, 1, 0, 0, 0))
            information.compress_type = compression
            file.writestr(information, content)
    return path


def keras(name, config=SOUND, change=None, **options):
    config = config if isinstance(config, str) else json.dumps(config)
    return archive(name, [("metadata.json", METADATA), ("config.json", config),
                          ("model.weights.h5", weight_bytes(change))], **options)


def archives():
    keras("sound.keras")
    keras("deflated.keras", compression=zipfile.ZIP_DEFLATED)
    archive("bomb.keras", [("metadata.json", METADATA), ("config.json", json.dumps(SOUND)),
                           ("model.weights.h5", bytes(16 << 20))], zipfile.ZIP_DEFLATED)
    archive("bomb-config.keras", [("metadata.json", METADATA), ("config.json", " " * (5 << 20) + json.dumps(SOUND)),
                                  ("model.weights.h5", weight_bytes())], zipfile.ZIP_DEFLATED)
    path = keras("encrypted.keras")
    with open(path, "rb") as file:
        content = bytearray(file.read())
    for signature, flags in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)]:
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 4)
    with open(path, "wb") as file:
        file.write(content)
    sound = [("metadata.json", METADATA), ("config.json", json.dumps(SOUND)), ("model.weights.h5", weight_bytes())]
    archive("twice.keras", sound + [("config.json", json.dumps(sequential(INPUT)))])
    archive("elsewhere.keras", sound[:2] + [("../model.weights.h5", sound[2][1]), ("/tmp/model.weights.h5", b"")])
    archive("without-weights.keras", sound[:2])
    numbers = io.BytesIO()
    np.savez(numbers, a=np.zeros(3))
    archive("numpy-weights.keras", sound[:2] + [("model.weights.npz", numbers.getvalue())])
    archive("not-hdf5.keras", sound[:2] + [("model.weights.h5", b"\x80\x04\x95 a pickle")])
    with open(os.path.join(FOLDER, "truncated.keras"), "wb") as file:
        with open(os.path.join(FOLDER, "sound.keras"), "rb") as whole:
            file.write(whole.read()[:-300])


def descriptions():
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAABAAAAQwAAAHMEAAAAfABTACkB", "defaults": None}}
    keras("lambda.keras", sequential(INPUT, layer("Lambda", "code", function=code), *DENSE))
    keras("saved-model.keras", sequential(layer("TFSMLayer", "served", filepath="/tmp/model")))
    own = dict(layer("Dense", "own", units=4), module="os", registered_name="evil>Dense")
    keras("own-class.keras", sequential(INPUT, own, DENSE[1]))
    keras("deep.keras", '{"class_name": "Sequential", "config": {"layers": ' + "[" * 20000 + "]" * 20000 + "}}")
    inner = sequential(INPUT, layer("Dense", "dense", units=5))
    for depth in range(25):
        tensor = lambda name, call=0: {"class_name": "__keras_tensor__", "config": {
            "shape": [None, 5], "dtype": "float32", "keras_history": [name, call, 0]}}
        inner["config"]["name"] = "inner%d" % depth
        call = lambda name, number=0: {"args": [tensor(name, number)], "kwargs": {}}
        inner = {"class_name": "Functional", "module": "keras", "config": {
            "name": "model%d" % depth,
            "layers": [dict(INPUT, name="input", inbound_nodes=[]),
                       dict(inner, name="inner%d" % depth,
                            inbound_nodes=[call("input"), call("inner%d" % depth)])],
            "input_layers": [["input", 0, 0]], "output_layers": [["inner%d" % depth, 1, 0]]}}
    keras("unfolding.keras", inner)
    keras("huge-layer.keras", sequential(INPUT, layer("Dense", "dense", units=16000000),
                                         layer("Dense", "dense_1", units=16000000)))


def hdf5():
    def compressed(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", data=np.zeros((400000, 4), "float32"), compression="gzip")

    weights(os.path.join(FOLDER, "sound.weights.h5"))
    keras("compressed.keras", sequential(layer("InputLayer", "input", batch_shape=[None, 400000]), *DENSE), compressed)

    def missing_first(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/2"] = np.zeros(4, "float32")

    keras("gap.keras", change=missing_first)

    def external_link(file):
        del file["layers/dense/vars"]
        file["layers/dense/vars"] = h5py.ExternalLink("sound.weights.h5", "/layers/dense/vars")

    keras("external-link.keras", change=external_link)

    def soft_link(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense_1/vars/0")

    keras("soft-link.keras", change=soft_link)

    def external_storage(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", (5, 4), "float32", external=[("/etc/passwd", 0, 80)])

    keras("external-storage.keras", change=external_storage)

    def itself(file):
        file["layers/dense/layers"] = file["layers"]

    keras("cyclic-groups.keras", change=itself)

    def never_written(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", (1 << 24, 4), "float32", chunks=(1 << 10, 4))

    keras("never-written.keras", sequential(layer("InputLayer", "input", batch_shape=[None, 1 << 24]), *DENSE), never_written)


    def chunk_bomb(file):
        # A chunk of 80 bytes that unpacks, twice, to 192 MiB: the library has no limit of its own.  Measured by
        # getrusage, the walk through the file ends with 65 MiB; without its limit it takes 200 MiB and finds no fault.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((5, 4))
        properties.set_deflate(9)
        properties.set_deflate(9)
        del file["layers/dense/vars/0"]
        dataset = h5py.h5d.create(file["layers/dense/vars"].id, b"0", h5py.h5t.IEEE_F32LE,
                                  h5py.h5s.create_simple((5, 4)), properties)
        dataset.write_direct_chunk((0, 0), zlib.compress(zlib.compress(bytes(192 << 20), 9), 9))

    keras("chunk-bomb.keras", change=chunk_bomb)

    # A whole model in the layout of Keras 2, one of whose kernels is a link.
    with h5py.File(os.path.join(FOLDER, "soft-link.h5"), "w") as file:
        file.attrs["model_config"] = json.dumps(SOUND)
        file.attrs["keras_version"] = "3.10.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense", b"dense_1"]
        for name, shape in [("dense", (5, 4)), ("dense_1", (4, 3))]:
            own = group.create_group(name)
            own.attrs["weight_names"] = [("%s/kernel:0" % name).encode(), ("%s/bias:0" % name).encode()]
            own["%s/bias:0" % name] = np.ones(shape[1], "float32")
        group["dense_1/dense_1/kernel:0"] = np.ones((4, 3), "float32")
        group["dense/dense/kernel:0"] = h5py.SoftLink("/model_weights/dense_1/dense_1/kernel:0")


def parts():
    for name, target in [("outside", "../sound.weights.h5"), ("absolute", "/etc/passwd"), ("absent", "absent.weights.h5")]:
        with open(os.path.join(FOLDER, name + ".weights.json"), "w") as file:
            json.dump({"metadata": {"total_size": 1}, "weight_map": {"/layers/dense/vars": [target]}}, file)
    with open(os.path.join(FOLDER, "senseless.weights.json"), "w") as file:
        json.dump({"weight_map": {"/layers/dense/vars": 3}}, file)
    with open(os.path.join(FOLDER, "sound.json"), "w") as file:
        json.dump(SOUND, file)


if __name__ == "__main__":
    for name in os.listdir(FOLDER):
        os.remove(os.path.join(FOLDER, name))
    archives()
    descriptions()
    hdf5()
    parts()
    golden.report(FOLDER)
