"""Small models that between them use everything the import of weights must get right.

Imported by make_import_layouts.py, which runs under many versions of Keras: only what Keras 2.12 and
all later ones understand is used here, and but for `attention` what Keras 2.2 does. Weights do not depend on the version.
"""

import zlib

import numpy as np

SEED = 4711
ROWS = 3


def chain(keras, shape, layers, name=None):
    """A Sequential model."""
    model = keras.Sequential(name=name)
    if getattr(keras, "__version__", "").startswith("2.2."):
        # Its descriptions forget shapes that are not the first layer's.
        settings = dict(layers[0].get_config(), batch_input_shape=(None,) + shape)
        layers = [type(layers[0]).from_config(settings)] + layers[1:]
    else:
        model.add(keras.Input(shape))
    for layer in layers:
        model.add(layer)
    return model


def cnn(keras):
    k = keras.layers
    return chain(keras, (8, 8, 2), [
        k.Conv2D(4, 3, activation="relu"),
        k.BatchNormalization(),
        k.MaxPooling2D(),
        k.Conv2D(3, 2, use_bias=False),
        k.BatchNormalization(scale=False),
        k.Activation("relu"),
        k.Dropout(0.3),
        k.Flatten(),
        k.Dense(5, activation="tanh"),
        k.Dense(3, activation="softmax", name="out"),
    ])


def exits(keras):
    """Two outputs."""
    k = keras.layers
    x = keras.Input((6, 6, 2))
    early = k.Conv2D(3, 3, activation="relu")(x)
    late = k.Add()([k.Conv2D(3, 3, padding="same")(early), early])
    first = k.Dense(3, activation="softmax", name="first")(k.GlobalAveragePooling2D()(early))
    second = k.Dense(3, activation="softmax", name="second")(k.Flatten()(late))
    return keras.Model(x, [first, second])


def nested(keras):
    """Models inside a model, layers of which are frozen: Keras then writes their weights last."""
    k = keras.layers
    inside = keras.Input((6, 6, 2))
    frozen = k.Conv2D(3, 3, name="frozen")
    h = k.BatchNormalization()(frozen(inside))
    h = k.BatchNormalization(center=False)(k.Conv2D(3, 3)(h))
    body = keras.Model(inside, h, name="body")
    frozen.trainable = False
    head = chain(keras, (3,), [k.Dense(4, activation="relu"), k.BatchNormalization(), k.Dense(4)], name="head")
    x = keras.Input((6, 6, 2))
    y = head(k.GlobalAveragePooling2D()(body(x)))
    return keras.Model(x, k.Dense(2, activation="softmax", name="out")(y))


def shared(keras):
    """Two inputs through one model, and a layer that is used twice."""
    k = keras.layers
    inside = keras.Input((5, 2))
    twin = keras.Model(inside, k.Dense(4, activation="relu")(k.Flatten()(inside)), name="twin")
    left, right = keras.Input((5, 2), name="left"), keras.Input((5, 2), name="right")
    again = k.Dense(4, activation="tanh")
    joined = k.Concatenate()([again(again(twin(left))), twin(right)])
    return keras.Model([left, right], k.Dense(3, activation="softmax", name="out")(joined))


def sequence(keras):
    """Wrappers and recurrent layers, whose cells own the weights."""
    k = keras.layers
    x = keras.Input((6, 3))
    h = k.Bidirectional(k.LSTM(3, return_sequences=True))(x)
    h = k.TimeDistributed(k.Dense(4, activation="relu"))(h)
    h = k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="sum")(h)
    h = k.SimpleRNN(3, return_sequences=True)(h)
    return keras.Model(x, k.Dense(2, activation="softmax", name="out")(k.GRU(3)(h)))


def frozen(keras):
    """A chain in which some layers are frozen, with more than ten of one kind."""
    k = keras.layers
    layers = []
    for index in range(12):
        layers += [k.Dense(4, activation="tanh")]
        if index % 4 == 1:
            layers += [k.BatchNormalization()]
    model = chain(keras, (4,), layers + [k.Dense(2, activation="softmax", name="out")])
    for layer in [l for l in model.layers if l.get_weights()][1:6:2]:
        layer.trainable = False
    return model


def separable(keras):
    k = keras.layers
    x = keras.Input((8, 8, 2))
    h = k.SeparableConv2D(4, 3, depth_multiplier=2)(x)
    h = k.PReLU(shared_axes=[1, 2])(h)
    h = k.DepthwiseConv2D(3)(h)
    h = k.Conv2DTranspose(3, 2, strides=2)(h)
    h = k.DepthwiseConv2D(2, use_bias=False)(h)
    return keras.Model(x, k.Dense(3, activation="softmax", name="out")(k.GlobalMaxPooling2D()(h)))


def attention(keras):
    k = keras.layers
    x = keras.Input((5, 4))
    h = k.LayerNormalization()(x)
    h = k.Add()([x, k.MultiHeadAttention(2, 3)(h, h)])
    h = k.Conv1D(4, 3, activation="relu")(h)
    return keras.Model(x, k.Dense(2, activation="softmax", name="out")(k.Flatten()(h)))


MODELS = {f.__name__: f for f in [cnn, exits, nested, shared, sequence, frozen, separable, attention]}


def randomise(model, name):
    """Give every weight a value of a sensible size that depends on nothing but the model's name."""
    random = np.random.RandomState((SEED + zlib.crc32(name.encode())) % 2**32)

    def assign(layer):
        if hasattr(layer, "layers"):
            for inner in layer.layers:
                assign(inner)
            return
        # The order of a layer's own list changes when it is frozen.
        trainable, layer.trainable = layer.trainable, True
        values = []
        for value in layer.get_weights():
            scale = 1 / np.sqrt(max(1, np.prod(value.shape[:-1])))
            values.append(random.uniform(-1.2, 1.2, value.shape) * scale)
        if "Normalization" in type(layer).__name__ and values:
            # The last is a variance, where there is one; scales and offsets may be anything.
            values[-1] = np.abs(values[-1]) + 0.3
        layer.set_weights([value.astype("float32") for value in values])
        layer.trainable = trainable

    assign(model)


def inputs(model, name):
    """The rows of every input, in the model's order."""
    random = np.random.RandomState((SEED + 1 + zlib.crc32(name.encode())) % 2**32)
    return [random.uniform(-1, 1, (ROWS,) + tuple(int(n) for n in i.shape[1:])).astype("float32") for i in model.inputs]


def joined(arrays):
    """One array of all inputs: several are flattened and put side by side."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
