"""Small HDF5 files in the forms that writers have given them, and forms that must be refused.

    python make_hdf5_forms.py

writes Tests/Golden/HDF5Forms/.  Every checkpoint here holds one layer `dense` with a kernel [2, 3] of
0, 1, … 5 and a bias [3] of 0.5, 1.5, 2.5, and a layer `flatten` without weights.
"""

import json

import h5py
import numpy as np

import golden

FOLDER = golden.folder("HDF5Forms")
KERNEL = np.arange(6, dtype="float32").reshape(2, 3)
BIAS = np.array([0.5, 1.5, 2.5], dtype="float32")
CONFIG = json.dumps({"class_name": "Sequential", "config": {"name": "é", "layers": []}}, ensure_ascii=False)
VLEN_ASCII, VLEN_UTF8 = h5py.string_dtype("ascii"), h5py.string_dtype("utf-8")


def create(name, **options):
    return h5py.File(f"{FOLDER}/{name}", "w", **options)


def space_padded(texts):
    """The strings of Fortran and of h5py's rivals: no end mark, filled with spaces."""
    width = max(map(len, texts))
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(width)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    return kind, np.array([text.ljust(width) for text in texts], dtype=f"S{width}")


def put(group, name, texts, form):
    if form == "space-padded":
        kind, values = space_padded(texts)
        attribute = h5py.h5a.create(group.id, name.encode(), kind, h5py.h5s.create_simple((len(texts),)))
        attribute.write(values, mtype=kind)
    elif form == "fixed":
        group.attrs.create(name, np.array([text.encode() for text in texts]))
    else:
        group.attrs.create(name, texts, dtype=VLEN_ASCII if form == "vlen-ascii" else VLEN_UTF8)


def weights(group, form, kernel=KERNEL, bias=BIAS):
    put(group, "layer_names", ["dense", "flatten"], form)
    dense = group.create_group("dense")
    put(dense, "weight_names", ["dense/kernel:0", "dense/bias:0"], form)
    dense["dense/kernel:0"], dense["dense/bias:0"] = kernel, bias
    group.create_group("flatten").attrs["weight_names"] = []


def checkpoints():
    for form in ["fixed", "space-padded", "vlen-ascii", "vlen-utf8"]:
        with create(f"model-{form}.h5") as file:
            fixed = form in ("fixed", "space-padded")
            file.attrs["keras_version"] = np.bytes_("2.2.4") if fixed else "2.9.0"
            file.attrs["model_config"] = np.bytes_(CONFIG.encode()) if fixed else CONFIG
            weights(file.create_group("model_weights"), form)
            file["optimizer_weights/Adam/m"] = KERNEL
    with create("weights.h5") as file:
        file.attrs["keras_version"] = np.bytes_("2.0.4")
        weights(file, "fixed")
        own = file.create_group("top_level_model_weights")
        put(own, "weight_names", ["scale:0"], "vlen-utf8")
        own["scale:0"] = np.float32(3)
    with create("weights-keras1.h5") as file:
        weights(file, "fixed")
    with create("weights-chunked-names.h5") as file:
        names = [f"layer_{index}" for index in range(7)]
        for part in range(3):
            put(file, f"layer_names{part}", names[part * 3:part * 3 + 3], "fixed")
        for index, name in enumerate(names):
            layer = file.create_group(name)
            put(layer, "weight_names0", [f"{name}/a"], "fixed")
            put(layer, "weight_names1", [f"{name}/b"], "fixed")
            layer[f"{name}/a"], layer[f"{name}/b"] = [np.float32(index)], [np.float32(-index)]
    with create("weights-shard.h5") as file:
        put(file, "layer_names", ["model/encoder/kernel:0"], "fixed")
        file["model/encoder/kernel:0"] = KERNEL
    with create("weights-missing-layer.h5") as file:
        put(file, "layer_names", ["absent"], "fixed")
    with create("weights-types.h5") as file:
        weights(file, "fixed", KERNEL.astype("float16"), BIAS.astype("float64"))
        file["dense/big"] = KERNEL.astype(">f4")
        file["dense/bytes"] = KERNEL.astype("int8") - 3


def arrays():
    with create("latest-format.h5", libver="latest") as file:
        file.create_dataset("x", data=np.arange(24, dtype="uint8").reshape(6, 4), chunks=(4, 3), shuffle=True,
                            compression="gzip", fletcher32=True, maxshape=(None, 4))
        file["y"] = np.arange(6) % 3
    with create("user-block.h5", userblock_size=512) as file:
        file["numbers"] = KERNEL
    with create("unsupported.h5") as file:
        file["compound"] = np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])
        file["text"] = "words"
        file.create_dataset("lzf", data=np.zeros((64, 64), "float32"), compression="lzf")
        file.create_dataset("outside", shape=(4,), dtype="f4", external=[("elsewhere.bin", 0, 16)])
        virtual = h5py.VirtualLayout(shape=(2, 3), dtype="f4")
        virtual[...] = h5py.VirtualSource("elsewhere.h5", "x", shape=(2, 3))
        file.create_virtual_dataset("virtual", virtual)
        file["numbers"] = KERNEL
        file["soft"] = h5py.SoftLink("/numbers")
        file["folder/external"] = h5py.ExternalLink("elsewhere.h5", "/x")
        file["loop"] = file["/"]
        file["huge"] = np.zeros(3, dtype="uint64") + np.uint64(2**63 + 5)
        file["flags"] = np.array([True, False, True])
        file["half"] = np.array([0.5, 1.5])
        file.create_dataset("immense", shape=(2**39,), dtype="f4", chunks=(1024,))
        file["scalar"] = np.float64(2.5)
        file["nothing"] = h5py.Empty("f4")
    with create("unbelievable.h5") as file:
        file.create_dataset("x", shape=(2**62, 2, 2**30), dtype="f4", chunks=(4, 2, 4))


def data():
    rows = np.arange(12, dtype="float32").reshape(6, 2)
    with create("data-labels.h5") as file:
        file["x"] = rows
        file["one_hot"] = np.eye(3, dtype="float32")[[0, 2, 1, 1, 0, 2]]
        file["column"] = np.array([[0.0], [2], [1], [1], [0], [2]])
        file["negative"] = np.array([0, 1, 2, -1, 0, 1])
        file["fractional"] = np.array([0, 1, 2, 1.5, 0, 1])
        file["missing"] = np.array([0, 1, 2, 1, np.nan, 1])
        file["two_hot"] = np.array([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0], [0, 1]], "uint8")
        file["zero_hot"] = np.array([[1, 0], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]], "uint8")
        file["short"] = np.arange(5)
        broken = rows.copy()
        broken[4, 1] = np.nan
        file["broken"] = broken
        file["empty"] = np.zeros((0, 3), "float32")
    with create("data-ambiguous.h5") as file:
        file["a"], file["b"], file["labels"] = rows, rows, np.arange(6)


if __name__ == "__main__":
    checkpoints()
    arrays()
    data()
