"""One network in the layouts of other libraries.

    python make_other_layouts.py [FOLDER]

writes Tests/Golden/OtherLayouts/, or to another folder the layouts of the network alone. The network is the VGG of make_torch_modules.py, whose weights
(TorchModules/VGG-flat.h5) and answers (in TorchModules/VGG.h5) PyTorch gave: every file here must give the same
answers. safetensors writes its own files and hdf5storage those of MATLAB 7.3; Caffe's and Hugging Face's are
written as their libraries write them, by h5py, and `weights-npz.keras` by Keras.  Nothing is random but Keras's
network (seed 5).  Needs numpy, h5py, safetensors 0.8.0 and hdf5storage 0.2.2, and without FOLDER keras 3.15.1 and torch.
"""

import json
import os
import sys

import h5py
import hdf5storage
import numpy as np
from safetensors.numpy import save_file

import golden

FOLDER = sys.argv[1] if len(sys.argv) > 1 else golden.folder("OtherLayouts")
# The image that is flattened before the first dense layer: channels, height, width.
IMAGE = (7, 4, 5)


def path(name):
    return os.path.join(FOLDER, name)


def weights():
    with h5py.File(os.path.join(golden.ROOT, "TorchModules", "VGG-flat.h5")) as file:
        return {name: np.asarray(file[name][()]) for name in file}


def flattened(weight, order):
    """The first dense layer's weights `[out, in]` for images that are flattened in another order of axes."""
    return weight.reshape(len(weight), *IMAGE).transpose(0, *[1 + axis for axis in order]).reshape(len(weight), -1)


def is_first_dense(values):
    return values.ndim == 2 and values.shape[1] == np.prod(IMAGE)


def safetensors(state):
    save_file(state, path("VGG.safetensors"), {"format": "pt"})
    half = {name: values.astype("float16") if values.dtype == np.float32 else values for name, values in state.items()}
    save_file(half, path("VGG-half.safetensors"))
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for name, members in parts.items():
        save_file({member: state[member] for member in members}, path(name), {"format": "pt"})
    index(parts, state, "model.safetensors.index.json")


def types():
    """Numbers of every type, as PyTorch writes them, and what they are."""
    import torch
    from safetensors.torch import save_file as save
    numbers = [-3.0, 0.0, 1.0, 2.5, 100.0]
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
             torch.int8, torch.uint8, torch.bool]
    tensors = {str(t).split(".")[1]: torch.tensor([abs(n) if t == torch.uint8 else n for n in numbers]).to(t) for t in types}
    tensors["float8"] = torch.tensor(numbers).to(torch.float8_e4m3fn)
    save(tensors, path("types.safetensors"))
    golden.write_json(path("types.json"), {
        "versions": golden.versions("torch", "safetensors"),
        **{name: tensor.to(torch.float32).numpy() for name, tensor in tensors.items()}})


def index(parts, state, name):
    with open(path(name), "w") as file:
        json.dump({"metadata": {"total_size": sum(values.nbytes for values in state.values())},
                   "weight_map": {member: part for part, members in parts.items() for member in members}}, file, indent=1)


def caffe(name, state, root="data/", rename=lambda layer: layer, old=False, numbers="%d", plain=False):
    """As `Net::ToHDF5` writes; statistics are kept times a factor, scale and offset are a layer of their own."""
    layers, factor = {}, np.float32(250)
    for key, values in state.items():
        module, leaf = key.rsplit(".", 1)
        layers.setdefault(module, {})[leaf] = values
    with h5py.File(path(name), "w") as file:
        for module, tensors in layers.items():
            blobs = {rename(module): [tensors["weight"], tensors["bias"]]}
            if "running_mean" in tensors:
                blobs = {rename(module): [tensors["running_mean"] * factor, tensors["running_var"] * factor, np.float32([factor])],
                         rename("scale_" + module): [tensors["weight"], tensors["bias"]]}
            for layer, arrays in blobs.items():
                for number, values in enumerate(arrays):
                    # Before 2015 every array had four axes.
                    if old and values.ndim < 4:
                        values = values.reshape((1,) * (4 - values.ndim) + values.shape)
                    leaf = "wb"[number] if plain and len(arrays) == 2 else numbers % number
                    file["%s%s/%s" % (root, layer, leaf)] = values
                    if root and not old:
                        file["diff/%s/%d" % (layer, number)] = np.zeros_like(values)


def matlab(name, tensors):
    if os.path.exists(path(name)):
        os.remove(path(name))
    hdf5storage.savemat(path(name), tensors, format="7.3", oned_as="column", store_python_metadata=False)


def matlab_layers(state):
    """The arrays as the layers of MATLAB's Deep Learning Toolbox have them."""
    words = {"weight": "Weights", "bias": "Bias", "running_mean": "TrainedMean", "running_var": "TrainedVariance"}
    layers = {}
    for key, values in state.items():
        module, leaf = key.rsplit(".", 1)
        if leaf == "num_batches_tracked":
            continue
        if values.ndim == 4:
            values = values.transpose(2, 3, 1, 0)
        elif is_first_dense(values):
            # MATLAB's first axis varies fastest: height, width, channels.
            values = flattened(values, (0, 2, 1))
        elif values.ndim == 1:
            is_dense = module.startswith("classifier")
            values = values.reshape(-1, 1) if is_dense else values.reshape(1, 1, -1)
        word = words[leaf]
        if module + ".running_mean" in state:
            word = {"Weights": "Scale", "Bias": "Offset"}.get(word, word)
        layers.setdefault(module.replace(".", "_"), {})[word] = values
    return layers


def tensorflow_name(key, state):
    module, leaf = key.rsplit(".", 1)
    if module + ".running_mean" in state:
        leaf = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}[leaf]
    elif leaf == "weight":
        leaf = "kernel"
    return "vgg/" + module.replace(".", "_._") + "/" + leaf + ":0"


def tensorflow_values(values):
    if values.ndim == 4:
        return values.transpose(2, 3, 1, 0)
    if is_first_dense(values):
        return flattened(values, (1, 2, 0)).T
    return values.T


def hugging_face(state):
    state = {key: values for key, values in state.items() if not key.endswith("num_batches_tracked")}
    tensors = {tensorflow_name(key, state): tensorflow_values(values) for key, values in state.items()}
    with h5py.File(path("tf_model.h5"), "w") as file:
        file.attrs["layer_names"] = [b"vgg"]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        group = file.create_group("vgg")
        names = ["tf_vgg_for_image_classification/" + name for name in tensors]
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name, values in zip(names, tensors.values()):
            group[name] = values
    names = list(tensors)
    parts = {"tf_model-00001-of-00002.h5": names[:5], "tf_model-00002-of-00002.h5": names[5:]}
    for part, members in parts.items():
        with h5py.File(path(part), "w") as file:
            for name in members:
                file[name] = tensors[name]
            file.attrs["layer_names"] = [name.encode() for name in members]
    index(parts, tensors, "tf_model.h5.index.json")


def numpy_archive():
    """A `.keras` archive with its weights in NumPy's format, which pickles Keras's own objects."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras.src.saving import saving_lib
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    with open(path("weights-npz.keras"), "wb") as file:
        saving_lib._save_model_to_fileobj(model, file, "npz")


def refused():
    """What people hand over by mistake."""
    with h5py.File(path("VGG.solverstate.h5"), "w") as file:
        file["iter"], file["current_step"] = 100, 0
        file["learned_net"] = "VGG.caffemodel.h5"
        file["history/0"] = np.zeros((6, 3, 3, 3), "float32")
    matlab("cells.mat", {"layers": np.array([np.ones((2, 2)), np.ones(3)], dtype=object), "name": "VGG"})
    numpy_archive()


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name in os.listdir(FOLDER):
        os.remove(path(name))
    state = weights()
    safetensors(state)
    caffe("VGG.caffemodel.h5", state)
    caffe("VGG-old.caffemodel.h5", state, root="", old=True, numbers="%03d")
    caffe("VGG-plain.h5", state, root="", rename=lambda layer: "net/" + layer, plain=True)
    layers = matlab_layers(state)
    matlab("VGG-fields.mat", layers)
    matlab("VGG-names.mat", {module + "_" + word: values for module, arrays in layers.items() for word, values in arrays.items()})
    hugging_face(state)
    if len(sys.argv) == 1:
        types()
        refused()
    for name in os.listdir(FOLDER):
        os.chmod(path(name), 0o644)
    golden.write_json(path("versions.json"), {
        "script": "make_other_layouts.py", "versions": golden.versions("numpy", "h5py", "safetensors", "hdf5storage", "keras", "torch")})
    golden.report(FOLDER)


if __name__ == "__main__":
    main()
