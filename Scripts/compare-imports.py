"""Imports files of the folders named with bayesify and compares its answers with those kept beside them.

    python Scripts/compare-imports.py COMMAND RESULTS.json FOLDER...

Every FOLDER holds <model>.npz (x and the outputs), <model>.json (the description) and files of that model.
The outputs of all these models are probabilities; bayesify's records hold logits.
"""

import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

SUFFIXES = [".model.h5", ".names.h5", "-numbers.h5", ".weights.h5", ".keras", "-hdf5.keras", "-parts.weights.json"]


def softmax(logits):
    powers = np.exp(logits.astype("float64") - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def difference(command, path, options, expected, scratch):
    """The largest difference over the largest output, or the sentence of a refusal."""
    data, records = os.path.join(scratch, "x.npy"), os.path.join(scratch, "records.h5")
    np.save(data, expected["x"])
    arguments = [command, "extract", path, "--data", data, "-o", records, "--quiet", "--force"]
    run = subprocess.run(arguments + options, capture_output=True, text=True)
    if run.returncode != 0:
        return run.stderr.strip()
    worst = 0.0
    with h5py.File(records) as file:
        exits = sorted(file["exits"], key=int)
        names = [n for n in expected.files if n != "x"]
        if len(exits) != len(names):
            return "%d exits where %d are due" % (len(exits), len(names))
        for index, name in zip(exits, names):
            answer = softmax(file["exits"][index]["logits"][:])
            worst = max(worst, float(np.abs(answer - expected[name]).max() / np.abs(expected[name]).max()))
    return worst


def main(command, results, folders):
    table = {}
    for folder in folders:
        label = os.path.basename(folder.rstrip("/"))
        table[label] = {}
        models = sorted(n[:-4] for n in os.listdir(folder) if n.endswith(".npz"))
        for model in models:
            expected = np.load(os.path.join(folder, model + ".npz"))
            for suffix in SUFFIXES:
                path = os.path.join(folder, model + suffix)
                if not os.path.exists(path):
                    continue
                alone = suffix in (".names.h5", "-numbers.h5", ".weights.h5", "-parts.weights.json")
                options = ["--architecture", os.path.join(folder, model + ".json")] if alone else []
                if label.startswith("keras-1"):
                    options += ["--keras-backend", label.split("-")[-1]]
                with tempfile.TemporaryDirectory() as scratch:
                    found = difference(command, path, options, expected, scratch)
                table[label][model + suffix] = found
                if not isinstance(found, float) or found > 1e-5:
                    print(label, model + suffix, found)
    with open(results, "w") as file:
        json.dump(table, file, indent=1, sort_keys=True)
    numbers = [v for files in table.values() for v in files.values()]
    equal = [v for v in numbers if isinstance(v, float) and v <= 1e-5]
    print("%d of %d files give the outputs of Keras; largest difference %.2g" % (len(equal), len(numbers), max(equal)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
