"""Copies a part of what Scripts/import-matrix.sh has written into Tests/Golden/KerasLayouts.

    python make_import_fixtures.py LAYOUTS

LAYOUTS holds a folder for every version of Keras, as make_import_layouts.py and make_keras1_layouts.py
write them. Every file comes with <file>.json: the writer, the input, and the outputs that the same version
computed; files of weights alone come with the description that another session of that version wrote.
"""

import json
import os
import shutil
import sys

import numpy as np

import golden

FILES = {
    "keras-1.2.2-tensorflow": [
        "sequence.model.h5", "sequence-numbers.h5", "exits.names.h5", "nested.model.h5", "th-cnn.model.h5"],
    "keras-1.2.2-theano": ["cnn.model.h5", "cnn-numbers.h5"],
    "keras-2.2.4": ["cnn.model.h5", "nested.names.h5", "sequence.model.h5", "shared.model.h5"],
    "tf-2.12": ["nested.keras", "frozen.weights.h5", "sequence.names.h5", "shared-hdf5.keras", "bfloat16.names.h5"],
    "tf-2.13": ["sequence.keras"],
    "tf-2.15": ["nested.weights.h5", "exits.keras"],
    "tf_keras-2.21": ["frozen.keras", "nested.names.h5", "nested.model.h5", "float16.model.h5"],
    "keras-3.0.5": ["sequence.weights.h5", "cnn.model.h5"],
    "keras-3.4.1": ["nested.model.h5", "separable.keras"],
    "keras-3.6.0": ["sequence.keras", "shared.weights.h5"],
    "keras-3.15.1": [
        "attention.keras", "nested.keras", "sequence-parts.weights.json", "bfloat16.weights.h5", "shared.keras",
        "frozen.weights.h5"],
}
ALONE = (".names.h5", "-numbers.h5", ".weights.h5", "-parts.weights.json")


def main(layouts):
    folder = golden.folder("KerasLayouts")
    shutil.rmtree(folder)
    for label, files in FILES.items():
        source, target = os.path.join(layouts, label), os.path.join(folder, label)
        os.makedirs(target)
        with open(os.path.join(source, "refused.json")) as file:
            writer = json.load(file)
        for name in files:
            model = name.split(".")[0]
            for ending in ["-numbers", "-hdf5", "-parts"]:
                model = model[:-len(ending)] if model.endswith(ending) else model
            parts = [n for n in os.listdir(source) if name.endswith(".json") and n.startswith(model + "-parts_")]
            for copied in [name] + parts + ([model + ".json"] if name.endswith(ALONE) else []):
                shutil.copy(os.path.join(source, copied), os.path.join(target, copied))
            values = np.load(os.path.join(source, model + ".npz"))
            golden.write_json(os.path.join(target, name + ".golden.json"), {
                "script": "make_import_fixtures.py",
                "writer": "%s %s, NumPy %s" % (writer["library"], writer["version"], writer["numpy"]),
                "description": model + ".json" if name.endswith(ALONE) else None,
                "backend": label.split("-")[-1] if label.startswith("keras-1") else None,
                "input": golden.array(values["x"]),
                "outputs": [dict(name=n, **golden.array(values[n])) for n in values.files if n != "x"],
            })
        golden.report(target)


if __name__ == "__main__":
    main(sys.argv[1])
