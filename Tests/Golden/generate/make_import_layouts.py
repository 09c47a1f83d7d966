"""Writes every model of import_models.py in every layout that one version of Keras writes.

    LAYOUT_LIBRARY=keras|tf_keras|tensorflow python make_import_layouts.py FOLDER

writes FOLDER/<model>.model.h5 (whole model, HDF5), <model>.names.h5 (weights alone, by layers),
<model>.weights.h5 (weights alone, by objects), <model>.keras, <model>-hdf5.keras (HDF5 under that name),
<model>-parts.weights.json (divided weights), <model>.json (the description, from another session, so that
names differ), and <model>.npz (inputs and outputs). What a version cannot write is listed in
FOLDER/refused.json. Run by Scripts/import-matrix.sh for many versions.
"""

import importlib
import json
import os
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
warnings.filterwarnings("ignore")

import numpy as np

import import_models

NAME = os.environ.get("LAYOUT_LIBRARY", "keras")
if NAME == "tensorflow":
    keras = importlib.import_module("tensorflow").keras
    import keras as own
    VERSION = own.__version__
else:
    keras = importlib.import_module(NAME)
    VERSION = keras.__version__
GENERATION = tuple(int(part) for part in VERSION.split(".")[:2])


def writers(model, stem):
    """Each layout's suffix, and what writes it."""
    yield ".model.h5", lambda path: model.save(path)
    if GENERATION >= (2, 12):
        yield ".weights.h5", lambda path: model.save_weights(path)
    if GENERATION < (3, 0):
        yield ".names.h5", lambda path: model.save_weights(path)
    if GENERATION < (2, 12):
        return
    if GENERATION == (2, 12):
        yield "-hdf5.keras", lambda path: model.save(path)
        yield ".keras", lambda path: model.save(path, save_format="keras_v3")
    else:
        yield ".keras", lambda path: model.save(path)
    if GENERATION >= (3, 10):
        yield "-parts.weights.json", lambda path: model.save_weights(path, max_shard_size=6e-7)


def write(model, description, name, folder, refused, answers=None):
    stem = os.path.join(folder, name)
    with open(stem + ".json", "w") as file:
        file.write(description.to_json())
    for suffix, save in writers(model, stem):
        try:
            save(stem + suffix)
        except Exception as error:
            refused[name + suffix] = "%s: %s" % (type(error).__name__, str(error).split("\n")[0][:160])
            if os.path.exists(stem + suffix):
                os.remove(stem + suffix)
    rows = import_models.inputs(model, name)
    if answers is None:
        rows_of_all = rows if len(rows) > 1 else rows[0]
        answers = model(rows_of_all, training=False) if GENERATION >= (2, 12) else model.predict(rows_of_all)
        answers = answers if isinstance(answers, (list, tuple)) else [answers]
    names = ["first", "second"] if len(answers) > 1 else ["out"]
    np.savez(stem + ".npz", x=import_models.joined(rows),
             **{n: numbers(a) for n, a in zip(names, answers)})


def numbers(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor) if GENERATION >= (3, 0) else tensor, "float32")


def set_policy(policy):
    if GENERATION >= (3, 0):
        keras.config.set_dtype_policy(policy)
    else:
        keras.mixed_precision.set_global_policy(policy)


def narrow(policy, folder, refused):
    """A model whose weights have 16 bits, and the answers of one of 32 with the same weights."""
    name = policy
    keras.backend.clear_session()
    plain = import_models.cnn(keras)
    import_models.randomise(plain, name)
    keras.backend.clear_session()
    set_policy(policy)  # Which clearing the session would undo.
    try:
        model = import_models.cnn(keras)
        for layer, source in zip(model.layers, plain.layers):
            layer.set_weights(source.get_weights())
        for layer, source in zip(plain.layers, model.layers):
            layer.set_weights([numbers(w) for w in source.get_weights()])
        rows = import_models.inputs(plain, name)
        write(model, model, name, folder, refused, answers=[plain(rows[0], training=False)])
    finally:
        set_policy("float32")


def main(folder):
    os.makedirs(folder, exist_ok=True)
    refused = {}
    for name, build in import_models.MODELS.items():
        if name == "attention" and GENERATION < (2, 12):
            continue
        keras.backend.clear_session()
        model = build(keras)
        import_models.randomise(model, name)
        write(model, build(keras), name, folder, refused)
    for policy in ["float16", "bfloat16"] if GENERATION >= (2, 12) else []:
        try:
            narrow(policy, folder, refused)
        except Exception as error:
            refused[policy] = "%s: %s" % (type(error).__name__, str(error).split("\n")[0][:160])
    with open(os.path.join(folder, "refused.json"), "w") as file:
        json.dump({"library": NAME, "version": VERSION, "numpy": np.__version__, "refused": refused}, file, indent=2)
    print(NAME, VERSION, len(os.listdir(folder)), "files;", len(refused), "refused")


if __name__ == "__main__":
    main(sys.argv[1])
