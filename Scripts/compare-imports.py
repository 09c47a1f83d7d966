"""Imports files of the folders named with bayesify and compares its answers with those kept beside them.

    python Scripts/compare-imports.py COMMAND RESULTS.json PAGE.md OTHERS FOLDER...

OTHERS holds one network of PyTorch in the layouts of other libraries.  Every FOLDER holds <model>.npz (x and the outputs), <model>.json (the description) and files of that model.
The outputs of all these models are probabilities; bayesify's records hold logits.
"""

import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

LAYOUTS = [
    (".model.h5", "whole model, HDF5"),
    (".keras", "`.keras`"),
    ("-hdf5.keras", "HDF5 named `.keras`"),
    (".names.h5", "weights by layers"),
    ("-numbers.h5", "weights by numbers"),
    (".weights.h5", "`.weights.h5`"),
    ("-parts.weights.json", "in parts"),
]
SUFFIXES = [suffix for suffix, _ in LAYOUTS]
ALONE = (".names.h5", "-numbers.h5", ".weights.h5", "-parts.weights.json")
OTHERS = [
    ("VGG.safetensors", "safetensors", "safetensors"),
    ("model.safetensors.index.json", "safetensors in two parts, with their index", "safetensors"),
    ("VGG.caffemodel.h5", "Caffe: `/data/<layer>/0`, …", "h5py"),
    ("VGG-old.caffemodel.h5", "Caffe before 2015: four axes everywhere, `/<layer>/000`, …", "h5py"),
    ("VGG-plain.h5", "Caffe, layers in groups, `w` and `b`", "h5py"),
    ("VGG-fields.mat", "MATLAB 7.3: a structure a layer", "hdf5storage"),
    ("VGG-names.mat", "MATLAB 7.3: an array a weight", "hdf5storage"),
    ("tf_model.h5", "Hugging Face `tf_model.h5`", "h5py"),
    ("tf_model.h5.index.json", "Hugging Face `tf_model.h5` in two parts, with their index", "h5py"),
]
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Tests", "Golden", "TorchModules")
ARCHITECTURES = ["VGG.h5", "VGG-keras.json"]
TOLERANCE = 1e-5


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


def measured(command, folder):
    """What became of every file in a folder."""
    label, found = os.path.basename(folder.rstrip("/")), {}
    for model in sorted(n[:-4] for n in os.listdir(folder) if n.endswith(".npz")):
        expected = np.load(os.path.join(folder, model + ".npz"))
        for suffix in SUFFIXES:
            path = os.path.join(folder, model + suffix)
            if not os.path.exists(path):
                continue
            options = ["--architecture", os.path.join(folder, model + ".json")] if suffix in ALONE else []
            if label.startswith("keras-1"):
                options += ["--keras-backend", label.split("-")[-1]]
            with tempfile.TemporaryDirectory() as scratch:
                found[model + suffix] = difference(command, path, options, expected, scratch)
    return found


def measured_others(command, folder):
    """The same of every layout of another library: PyTorch's logits with either architecture."""
    found = {}
    with h5py.File(os.path.join(GOLDEN, "VGG.h5")) as file, tempfile.TemporaryDirectory() as scratch:
        rows, expected = file["self_test/inputs"][:], file["self_test/outputs/exit1"][:]
        data, records = os.path.join(scratch, "x.npy"), os.path.join(scratch, "records.h5")
        np.save(data, rows)
        for name, _, _ in OTHERS:
            for architecture in ARCHITECTURES:
                arguments = [command, "extract", os.path.join(folder, name), "--data", data, "-o", records, "--quiet", "--force",
                             "--architecture", os.path.join(GOLDEN, architecture)]
                run = subprocess.run(arguments, capture_output=True, text=True)
                found[name + " with " + architecture] = run.stderr.strip() or largest(records, expected)
    return found


def largest(records, expected):
    with h5py.File(records) as file:
        return float(np.abs(file["exits/0/logits"][:] - expected).max() / np.abs(expected).max())


def is_equal(value):
    return isinstance(value, float) and value <= TOLERANCE


def cell(found, suffix):
    """The number of models of one layout, and their largest difference."""
    values = {n[:-len(suffix)]: v for n, v in found.items() if n.endswith(suffix) and "." not in n[:-len(suffix)]}
    # `.keras` also ends the names of files that are something else.
    values = {n: v for n, v in values.items() if not n.endswith("-hdf5")}
    if not values:
        return "-"
    equal = [v for v in values.values() if is_equal(v)]
    text = "%d of %d" % (len(equal), len(values))
    return text + (", %.1e" % max(equal) if equal else "")


def other_rows(others, versions):
    """The rows of the table of other libraries."""
    for name, title, writer in OTHERS:
        values = [others[name + " with " + architecture] for architecture in ARCHITECTURES]
        yield "| %s | %s %s | %s |" % (
            title, writer, versions[writer], " | ".join("%.1e" % v if is_equal(v) else "refused" for v in values))


def page(table, writers, others, versions):
    lines = [
        "# Which files import",
        "",
        "Written by `bash Scripts/import-matrix.sh`: every version of Keras writes small models in all layouts it has,",
        "Bayesify imports each file, runs it, and its probabilities are compared with those that the same version computed.",
        "A cell holds how many of the models agree, and the largest difference over the largest output; the limit is",
        "%.0e. Weights alone were given a description (`--architecture`) from another session of that version, in which" % TOLERANCE,
        "layers have other names.",
        "",
        "| writer | NumPy | " + " | ".join(title for _, title in LAYOUTS) + " |",
        "|" + "---|" * (len(LAYOUTS) + 2),
    ]
    for label in sorted(table, key=order):
        writer = writers[label]
        cells = [cell(table[label], suffix) for suffix, _ in LAYOUTS]
        lines.append("| %s %s | %s | %s |" % (writer["library"], writer["version"], writer["numpy"], " | ".join(cells)))
    lines += [
        "",
        "The models: a chain of convolutions (`cnn`), two exits (`exits`), models inside a model with a frozen layer",
        "(`nested`), two inputs and layers used twice (`shared`), recurrent layers and wrappers (`sequence`), a chain of",
        "more than ten layers of a kind, some frozen (`frozen`), separable, depthwise and transposed convolutions",
        "(`separable`), multi-head attention (`attention`), and weights of 16 bits (`float16`, `bfloat16`), whose answers",
        "are those of a model of 32 bits with the same numbers. Their descriptions are",
        "`Tests/Golden/generate/import_models.py` and `make_keras1_layouts.py`; a part of the files is in",
        "`Tests/Golden/KerasLayouts`, where tests compare them again.",
        "",
        "## Other libraries",
        "",
        "One network of PyTorch (convolutions, batch normalisation, an image that is flattened before a dense layer) with its",
        "weights in other layouts, and the largest difference from PyTorch's logits over the largest of them. Each file was",
        "given the graph that `bayesify_torch.py` wrote, and the description of the same network by Keras, in which layers",
        "have other names and images are channels last. `Tests/Golden/generate/make_other_layouts.py` writes the files.",
        "",
        "| layout | written by | graph of PyTorch | description by Keras |",
        "|---|---|---|---|",
        *other_rows(others, versions),
        "",
        "- safetensors and HDF5 of PyTorch: names and axes are those of the state dictionary.",
        "- Caffe: kernels lie as PyTorch's. A layer's arrays are numbered; mean and variance are divided by the factor behind",
        "  them, and scale and offset come from the `Scale` layer that is named like the normalisation (`bn2a` and `scale2a`,",
        "  `conv1/bn` and `conv1/scale`); without one, the layer's weights are missing, and that is said.",
        "- MATLAB 7.3: MATLAB's first axis varies fastest, so HDF5 has all axes reversed. They are matched as the layers of its",
        "  Deep Learning Toolbox have them: kernels height×width×in×out, dense weights out×in, images flattened columns first.",
        "  `conv1_Weights` and the field `Weights` of a structure `conv1` are the same. Network objects and cells are refused.",
        "- Hugging Face, and models of a class of their own in TensorFlow: arrays are told by the ends of their names; kernels",
        "  and flattened images are TensorFlow's.",
        "",
        "With a graph, names must be those of the graph, apart from punctuation and what precedes them; with a description, a",
        "layer takes the weights named like it, else the only ones that have its shapes, and where several have, the message",
        "names them. Weights of `.keras` archives in NumPy's format are pickles of Keras's objects, which are never run:",
        "refused.",
        "",
        "## Refused",
        "",
    ]
    for label in sorted(table, key=order):
        for name, value in sorted(table[label].items()):
            if not is_equal(value):
                text = value.split(": ", 2)[-1] if isinstance(value, str) else "largest difference %.2g" % value
                lines.append("- %s, `%s`: %s" % (label, name, text))
    lines += ["", "## What the writers themselves cannot save", ""]
    for label in sorted(table, key=order):
        for name, reason in sorted(writers[label]["refused"].items()):
            lines.append("- %s, `%s`: %s" % (label, name, reason))
    return "\n".join(lines) + "\n"


def order(label):
    name, version = label.split("-")[0], label.split("-")[1]
    return [int(part) for part in version.split(".")[:2]], name, label


def main(command, results, document, others, folders):
    table, writers = {}, {}
    with open(os.path.join(others, "versions.json")) as file:
        versions = json.load(file)["versions"]
    others = measured_others(command, others)
    for folder in folders:
        label = os.path.basename(folder.rstrip("/"))
        with open(os.path.join(folder, "refused.json")) as file:
            writers[label] = json.load(file)
        table[label] = measured(command, folder)
    with open(results, "w") as file:
        json.dump(dict(table, others=others), file, indent=1, sort_keys=True)
    os.makedirs(os.path.dirname(document), exist_ok=True)
    with open(document, "w") as file:
        file.write(page(table, writers, others, versions))
    numbers = [v for files in [*table.values(), others] for v in files.values()]
    equal = [v for v in numbers if is_equal(v)]
    print("%d of %d files give the outputs of their writers; largest difference %.2g" % (len(equal), len(numbers), max(equal)))
    # Only what must be refused may be.
    unexpected = [n for files in [*table.values(), others] for n, v in files.items()
                  if not is_equal(v) and not n.startswith("th-")]
    if unexpected:
        sys.exit("These differ or were refused: " + ", ".join(unexpected))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
