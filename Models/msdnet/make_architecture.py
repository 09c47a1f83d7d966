"""Writes the architecture of a multi-scale dense network (MSDNet) as Keras JSON, without weights.

    python make_architecture.py --variant cifar100-small -o msdnet.json
    python make_architecture.py --list
    python make_architecture.py --variant cifar10-small --check trained.h5

Needs keras 3 and one of its backends. The network is that of Huang et al., "Multi-Scale Dense Networks
for Resource Efficient Image Classification", ICLR 2018, in the sizes in which it is usually trained.

A grid of feature maps: columns are called layers here, rows scales, from fine to coarse. Every layer
keeps the earlier maps of its scale by concatenation and takes a strided map from the next finer scale.
After each block of layers an exit reads the coarsest scale.

Strided windows are padded by one (or three) zeros on every side and then moved without padding, as in
PyTorch; "same" of Keras would pad even extents on one side only, and weights could not be exchanged.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

L = keras.layers


@dataclass(frozen=True)
class Geometry:
    """The settings of one network.

    At scale s a map of base width n has n * widths[s] channels; `growth` is what a layer adds to n.
    """

    input_shape: tuple
    classes: int
    blocks: tuple  # layers in each block; an exit follows each
    channels: int  # base width of the first maps
    growth: int
    widths: tuple  # factor of channels at each scale
    bottlenecks: tuple  # factor of the 1x1 units at each scale
    head: int | None  # channels of an exit's two units; None: as many as it is given
    large: bool = False  # 7x7 stem with stride two and pooling
    pools_all: bool = False  # exits average over whatever is left of the image, not over 2x2

    @property
    def layer_count(self):
        return sum(self.blocks)

    @property
    def scale_count(self):
        return len(self.widths)

    def scales_after(self, layer):
        """How many scales are left after a layer, counted from one: "max" pruning."""
        interval = -(-self.layer_count // self.scale_count)
        return self.scale_count - max(0, layer - 1) // interval


CIFAR = Geometry(
    input_shape=(32, 32, 3), classes=100, blocks=(1, 2, 3, 4), channels=16, growth=6,
    widths=(1, 2, 4), bottlenecks=(1, 2, 4), head=128)
IMAGENET = Geometry(
    input_shape=(224, 224, 3), classes=1000, blocks=(4,) * 5, channels=32, growth=16,
    widths=(1, 2, 4, 4), bottlenecks=(1, 2, 4, 4), head=None, large=True)
CALTECH = replace(IMAGENET, classes=257)

VARIANTS = {
    "cifar10-small": replace(CIFAR, classes=10),
    "cifar100-small": CIFAR,
    "cifar100-batch": replace(CIFAR, blocks=(1, 2, 3, 4, 5)),
    "cifar100-medium": replace(CIFAR, blocks=(1, 2, 3, 4, 5, 6)),
    "cifar100-large": replace(CIFAR, blocks=(1, 2, 3, 4, 5, 6, 7, 8)),
    "cifar100-anytime": replace(CIFAR, blocks=(4, 2, 2, 2, 2, 2, 2)),
    "imagenet-small": IMAGENET,
    "imagenet-medium": replace(IMAGENET, blocks=(6,) * 5),
    "imagenet-large": replace(IMAGENET, blocks=(7,) * 5),
    "caltech256-small": CALTECH,
    "caltech256-medium": replace(CALTECH, blocks=(6,) * 5),
    "caltech256-large": replace(CALTECH, blocks=(7,) * 5),
    "toy": Geometry(
        input_shape=(28, 28, 1), classes=10, blocks=(1, 2, 3), channels=8, growth=4,
        widths=(1, 2), bottlenecks=(1, 2), head=32, pools_all=True),
}


def unit(x, filters, kernel, name, stride=1, use_bias=False):
    """Convolution, batch normalisation, ReLU."""
    padding = "same"
    if stride > 1:
        x = L.ZeroPadding2D(kernel // 2, name=name + "_pad")(x)
        padding = "valid"
    x = L.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=use_bias, name=name + "_conv")(x)
    x = L.BatchNormalization(epsilon=1e-5, name=name + "_bn")(x)
    return L.ReLU(name=name + "_relu")(x)


def bottleneck(x, filters, factor, name, stride=1):
    """A 1x1 unit that limits the channels, then a 3x3 unit."""
    x = unit(x, min(x.shape[-1], factor * filters), 1, name + "_reduce")
    return unit(x, filters, 3, name, stride)


def stem(image, g):
    """The first maps, from fine to coarse; each is made from the next finer one."""
    first = g.channels * g.widths[0]
    if g.large:
        x = unit(image, first, 7, "stem", stride=2, use_bias=True)
        x = L.ZeroPadding2D(1, name="stem_pool_pad")(x)  # of a ReLU's output: zeros win no maximum
        maps = [L.MaxPooling2D(3, strides=2, name="stem_pool")(x)]
    else:
        maps = [unit(image, first, 3, "stem")]
    for s in range(1, g.scale_count):
        maps.append(unit(maps[-1], g.channels * g.widths[s], 3, "scale%d" % (s + 1), stride=2))
    return maps


def layer(maps, number, g):
    """The maps {scale: map} after one layer, from those before it."""
    dropped = g.scale_count - g.scales_after(number)
    result = {}
    for s in range(dropped, g.scale_count):
        name = "layer%d_scale%d" % (number, s + 1)
        filters = g.growth * g.widths[s]
        if s - 1 in maps:
            down = bottleneck(maps[s - 1], filters // 2, g.bottlenecks[s - 1], name + "_down", stride=2)
            new = [down, bottleneck(maps[s], filters // 2, g.bottlenecks[s], name)]
        else:
            new = [bottleneck(maps[s], filters, g.bottlenecks[s], name)]
        result[s] = L.Concatenate(name=name + "_concat")([maps[s]] + new)
    return result


def head(x, number, g):
    """Probabilities from the coarsest map."""
    name = "exit%d" % number
    width = g.head or x.shape[-1]
    x = unit(x, width, 3, name + "_a", stride=2)
    x = unit(x, width, 3, name + "_b", stride=2)
    x = L.AveragePooling2D(x.shape[1:3] if g.pools_all else 2, name=name + "_pool")(x)
    x = L.Flatten(name=name + "_features")(x)
    x = L.Dense(g.classes, name=name + "_logits")(x)
    return L.Softmax(name=name)(x)


def network(g, name="msdnet"):
    """The whole network, an output for every exit."""
    image = keras.Input(shape=g.input_shape, name="image")
    maps = dict(enumerate(stem(image, g)))
    width = g.channels
    outputs, number = [], 0
    for count in g.blocks:
        for _ in range(count):
            number += 1
            maps = layer(maps, number, g)
            width += g.growth
            if g.scales_after(number) < g.scales_after(number - 1):
                width //= 2
                maps = {
                    s: unit(x, width * g.widths[s], 1, "layer%d_scale%d_transition" % (number, s + 1))
                    for s, x in maps.items()
                }
        outputs.append(head(maps[g.scale_count - 1], len(outputs) + 1, g))
    return keras.Model(image, outputs, name=name)


def architecture(variant, classes=None):
    """The JSON of a variant."""
    geometry = VARIANTS[variant]
    if classes:
        geometry = replace(geometry, classes=classes)
    model = network(geometry, "msdnet_" + variant.replace("-", "_"))
    return json.dumps(json.loads(model.to_json()), separators=(",", ":")) + "\n"


def check(model, checkpoint):
    """Refuses a checkpoint that is not of this network; its weights are loaded by the layers' names."""
    trained = keras.models.load_model(checkpoint, compile=False)
    layers, others = ({l.name: l for l in m.layers} for m in (model, trained))
    differing = {n for n in layers.keys() | others.keys() if n not in layers or n not in others}
    differing |= {
        n for n in layers.keys() & others.keys()
        if type(layers[n]) is not type(others[n])
        or [w.shape for w in layers[n].weights] != [w.shape for w in others[n].weights]
    }
    if differing:
        sys.exit("%s is another network; layers that differ: %s" % (checkpoint, ", ".join(sorted(differing))))
    for name, l in layers.items():
        l.set_weights(others[name].get_weights())
    x = np.random.RandomState(0).rand(4, *model.input_shape[1:]).astype(np.float32)
    for ours, theirs in zip(model(x, training=False), trained(x, training=False), strict=True):
        difference = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
        if not difference < 1e-6:
            sys.exit("%s is another network: probabilities differ by %g" % (checkpoint, difference))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--classes", type=int, help="how many, instead of the variant's")
    parser.add_argument("-o", "--output", help="JSON file (standard output if none is named)")
    parser.add_argument("--check", metavar="FILE", help="compare with a trained Keras file instead of writing")
    parser.add_argument("--list", action="store_true", help="the variants and their parameters")
    arguments = parser.parse_args()
    if arguments.list:
        for name, geometry in VARIANTS.items():
            print("%-18s %10d" % (name, network(geometry).count_params()))
        return
    if arguments.variant is None:
        parser.error("--variant or --list is needed")
    if arguments.check:
        check(network(VARIANTS[arguments.variant]), arguments.check)
        print("%s is %s" % (arguments.check, arguments.variant))
        return
    text = architecture(arguments.variant, arguments.classes)
    if arguments.output:
        with open(arguments.output, "w") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
