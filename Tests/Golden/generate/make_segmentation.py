"""Tiny Keras networks that answer at every pixel or step, and laplace-torch on one's flattened pixels.

    python make_segmentation.py

writes Tests/Golden/Segmentation/<case>.h5 (a full model) with <case>.json: an input batch and, for every exit, the
output, the logits and, where the exit ends in a linear head, the features that go into it, all computed by Keras in
single precision. `plain.json` also has labels, 255 where a pixel has none. Laplace/torch-pixels.json is the head of
`plain` with the features of its first four images, a row for each pixel that has a label, and the numbers of
laplace-torch in double precision, in the form of make_laplace_torch.py.
"""

import os
import warnings

# TensorFlow and PyTorch do not go into one process, and laplace-torch needs PyTorch.
os.environ["KERAS_BACKEND"] = "torch"

import numpy as np

import golden
import make_laplace_torch

SEED = 4711
IMAGE, CLASSES, IGNORED, TRAINING = (8, 6, 3), 4, 255, 4
PRIOR = 0.7


def cases(keras):
    """Yield (case, model, [(name of the exit, layer that makes its logits, layer of its features)])."""
    L = keras.layers

    def trunk(x, strides=1):
        x = L.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
        return L.Conv2D(5, 3, padding="same", strides=strides, activation="relu", name="second")(x)

    x = keras.Input(IMAGE, name="image")
    yield "plain", keras.Model(x, L.Conv2D(CLASSES, 1, activation="softmax", name="head")(trunk(x))), [
        ("head", "head", "second")]

    x = keras.Input(IMAGE, name="image")
    y = L.Reshape((48, CLASSES), name="pixels")(L.Conv2D(CLASSES, 1, use_bias=False, name="head")(trunk(x)))
    yield "reshaped", keras.Model(x, L.Activation("softmax", name="softmax")(y)), [("softmax", "pixels", "second")]

    x = keras.Input(IMAGE, name="image")
    yield "dense", keras.Model(x, L.Dense(1, activation="sigmoid", name="head")(trunk(x))), [("head", "head", "second")]

    x = keras.Input((7, 3), name="sequence")
    y = L.Conv1D(5, 3, padding="same", activation="relu", name="second")(x)
    yield "sequence", keras.Model(x, L.Conv1D(CLASSES, 1, activation="softmax", name="head")(y)), [
        ("head", "head", "second")]

    x = keras.Input(IMAGE, name="image")
    y = L.UpSampling2D(2, interpolation="bilinear", name="large")(trunk(x, 2))
    yield "enlarged-before", keras.Model(x, L.Conv2D(CLASSES, 1, activation="softmax", name="head")(y)), [
        ("head", "head", "large")]

    x = keras.Input(IMAGE, name="image")
    y = L.UpSampling2D(2, interpolation="bilinear", name="large")(L.Conv2D(CLASSES, 1, name="head")(trunk(x, 2)))
    yield "enlarged-after", keras.Model(x, L.Softmax(name="softmax")(y)), [("softmax", "large", None)]

    x = keras.Input(IMAGE, name="image")
    y = trunk(x)
    fine = L.Conv2D(CLASSES, 1, activation="softmax", name="fine")(y)
    coarse = L.Conv2D(CLASSES, 1, activation="softmax", name="coarse")(L.MaxPooling2D(name="pool")(y))
    yield "two-sizes", keras.Model(x, [coarse, fine]), [("coarse", "coarse", "pool"), ("fine", "fine", "second")]

    x = keras.Input(IMAGE, name="image")
    y = L.GlobalAveragePooling2D(keepdims=True, name="pool")(trunk(x))
    yield "one-pixel", keras.Model(x, L.Conv2D(CLASSES, 1, activation="softmax", name="head")(y)), [
        ("head", "head", "pool")]


def randomise(model, random):
    for layer in model.layers:
        layer.set_weights([
            random.normal(0, .4, w.shape) if len(w.shape) == 1
            else random.normal(0, 1.5 / np.sqrt(np.prod(w.shape[:-1])), w.shape) for w in layer.get_weights()])


def main():
    import keras
    folder = golden.folder("Segmentation")
    origin = {"script": "make_segmentation.py",
              "versions": golden.versions("keras", "torch", "laplace-torch", "numpy"), "seed": SEED}
    for index, (case, model, exits) in enumerate(cases(keras)):
        random = np.random.RandomState(SEED + index)
        randomise(model, random)
        model.save(os.path.join(folder, case + ".h5"))
        images = random.normal(size=((6 if case == "plain" else 2),) + model.input_shape[1:]).astype(np.float32)
        outputs = model.predict(images, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        result = {**origin, "input": golden.array(images), "exits": []}
        for (name, head, features), output in zip(exits, outputs):
            layer = model.get_layer(head)
            inner = keras.Model(model.input, layer.input)
            logits = inner.predict(images, verbose=0)
            if hasattr(layer, "kernel"):
                # The layer's own numbers without its softmax, one pixel at a time.
                kernel = keras.ops.convert_to_numpy(layer.kernel)
                logits = logits @ kernel.reshape(kernel.shape[-2:]) + keras.ops.convert_to_numpy(layer.bias)
            else:
                logits = keras.Model(model.input, layer.output).predict(images, verbose=0)
            part = {"name": name, "output": golden.array(output), "logits": golden.array(logits.astype(np.float32))}
            if features is not None:
                values = keras.Model(model.input, model.get_layer(features).output).predict(images, verbose=0)
                part["features"] = golden.array(values)
            result["exits"].append(part)
        if case == "plain":
            labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=-1)
            labels[random.uniform(size=labels.shape) < .1] = IGNORED
            result["labels"] = golden.array(labels)
            pixels, answers = values[:TRAINING].reshape(-1, values.shape[-1]), labels[:TRAINING].reshape(-1)
            test = values[TRAINING].reshape(-1, values.shape[-1])[[0, 7, 20, 47]]
            weight, bias = keras.ops.convert_to_numpy(layer.kernel)[0, 0], keras.ops.convert_to_numpy(layer.bias)
            double = lambda array: np.asarray(array, dtype=np.float64)
            numbers = make_laplace_torch.compute(
                double(pixels)[answers != IGNORED], answers[answers != IGNORED], double(test),
                np.ascontiguousarray(double(weight).T), double(bias), PRIOR, 1.0)
            golden.write_json(
                os.path.join(golden.folder("Laplace"), "torch-pixels.json"), {**origin, **numbers})
        golden.write_json(os.path.join(folder, case + ".json"), result)
    golden.report(folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
