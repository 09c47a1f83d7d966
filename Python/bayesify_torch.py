#!/usr/bin/env python3
"""Writes a PyTorch module as one HDF5 file that Bayesify imports: graph, weights and a numeric self-test.

    from bayesify_torch import export
    export(model, torch.rand(4, 3, 32, 32), "model.h5")

or, for a module that a function of a Python file builds,

    python bayesify_torch.py models.py:build_resnet --weights resnet.pt --input 3,32,32 -o model.h5

The module is traced by torch.export in evaluation mode; nothing of it is guessed.  Operations that Bayesify
has no layer for are refused by name, all in one message.  Images become channels last: `[height, width,
channels]`; where features of an image are flattened, the file says in which order, so that the dense layer
behind reads what it was trained on.

The file holds
  attribute `bayesify_graph`      the graph as JSON: nodes, exits, where the weights are
  `/weights/NODE/PARAMETER`       the weights, in Bayesify's order of axes
  `/self_test/inputs`             rows, and
  `/self_test/outputs/EXIT`       what the module answers to them; the importer compares.

Needs torch 2.5 or newer, numpy, h5py.
"""
import argparse
import importlib.util
import json
import math
import os
import sys

import h5py
import numpy as np
import torch
from torch.utils import _pytree as pytree

VERSION = 1
# Where Bayesify's axes of an image, height, width and channels, are among PyTorch's of a batch of images.
IMAGE = (2, 3, 1)


class Refusal(Exception):
    """What cannot be exported, in one sentence."""


def export(model, example, path, *, exits=None, likelihood=None, mean=None, std=None, scale=None):
    """Writes a module to a file; the file appears whole or not at all.

    model:      a torch.nn.Module that takes one tensor and gives a tensor, or a list, tuple or dictionary of
                tensors, one an exit.
    example:    rows to trace and to test with, [rows, ...]; two or more.
    exits:      names of the outputs, in their order; by default their keys or positions.
    likelihood: "categorical", "binary", "multilabel" or "gaussian", how outputs are to be read where no
                softmax or sigmoid at their end tells.
    mean, std, scale: where given, a first layer takes raw pixels, multiplies them by `scale` (1/255 for
                bytes), subtracts `mean` and divides by `std`, each a number or one a channel, as the module's
                training did.  `example` is then raw as well.
    """
    if example.dim() < 2 or example.shape[0] < 2:
        raise Refusal("The example needs two rows or more, with the batch as its first axis.")
    model = model.eval()
    prepared = _normalized(example, mean, std, scale)
    with torch.no_grad():
        answers = model(prepared)
        program = torch.export.export(model, (prepared,))
    leaves, _ = pytree.tree_flatten_with_path(answers)
    if not all(isinstance(leaf, torch.Tensor) for _, leaf in leaves):
        raise Refusal("The module gives something besides tensors; wrap it so that it gives its exits alone.")
    names = exits or [_name(keys, index) for index, (keys, _) in enumerate(leaves)]
    if len(names) != len(leaves) or len(set(names)) != len(names):
        raise Refusal(f"There are {len(leaves)} outputs and these names for them: {names}; give one to each.")

    tracer = Tracer(program, example.shape[1:], _rescaling(example, mean, std, scale))
    graph, outputs = tracer.graph(names, likelihood)
    expected = {
        name: _rows(value if strip is None else _logits(model, prepared, index))
        for index, ((name, strip), (_, value)) in enumerate(zip(outputs, leaves))}
    _write(path, graph, tracer.weights, _rows(example), expected)


def _normalized(example, mean, std, scale):
    rescaling = _rescaling(example, mean, std, scale)
    if rescaling is None:
        return example
    factors, offsets = (torch.tensor(x, dtype=torch.float64) for x in rescaling)
    shape = (1, -1) + (1,) * (example.dim() - 2)
    return (example.double() * factors.reshape(shape) + offsets.reshape(shape)).float()


def _rescaling(example, mean, std, scale):
    """Factors and offsets of channels, or None."""
    if mean is None and std is None and scale is None:
        return None
    channels = example.shape[1]
    mean, std, scale = (np.broadcast_to(np.asarray(x, dtype=np.float64), (channels,))
                        for x in (0 if mean is None else mean, 1 if std is None else std, 1 if scale is None else scale))
    return list(scale / std), list(-mean / std)


def _name(keys, index):
    """The name of an output from where it lies among the module's answers."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in keys]
    text = "/".join(part for part in parts if part)
    return f"exit{index + 1}" if not text or text.isdigit() else text


def _rows(tensor):
    """A batch with images channels last, as an array."""
    tensor = tensor.detach()
    return (tensor.permute(0, *IMAGE) if tensor.dim() == 4 else tensor).contiguous().cpu().numpy()


def _logits(model, rows, index):
    """The input of the softmax or sigmoid that makes an output."""
    program = torch.export.export(model, (rows,))
    graph = program.graph_module.graph
    output = next(node for node in graph.nodes if node.op == "output")
    leaves = pytree.tree_leaves(output.args)
    position = len(leaves) - len(program.graph_signature.user_outputs) + index
    answer = leaves[position]
    while Tracer.operation(answer) in Tracer.RENAMINGS:
        answer = answer.args[0]
    output.args = ((answer.args[0],),)
    graph.lint()
    module = torch.fx.GraphModule(program.graph_module, graph)
    state = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    arguments = []
    for spec in program.graph_signature.input_specs:
        arguments.append(rows if spec.target is None else state[spec.target])
    with torch.no_grad():
        return module(*arguments)[0]


def _write(path, graph, weights, inputs, outputs):
    part = f"{path}.part"
    try:
        with h5py.File(part, "w") as file:
            file.attrs["bayesify_graph"] = json.dumps(graph)
            for name, values in weights.items():
                file.create_dataset(name, data=np.ascontiguousarray(values, dtype=np.float32))
            file["self_test/inputs"] = inputs.astype(np.float32)
            for name, values in outputs.items():
                file[f"self_test/outputs/{name.replace('/', '.')}"] = values.astype(np.float32)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


class Tracer:
    """Turns the operations of an exported program into nodes."""

    # Operations that change no number in evaluation mode.
    RENAMINGS = {
        "dropout", "dropout_", "feature_dropout", "alpha_dropout", "contiguous", "clone", "detach", "detach_", "alias",
        "_assert_tensor_metadata", "lift_fresh_copy", "to", "_to_copy"}
    RESHAPES = {"flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "unflatten"}

    def __init__(self, program, row_shape, rescaling):
        self.program = program
        self.nodes = []
        self.weights = {}
        self.sources = {}
        self.names = {}  # of our nodes, by fx node
        self.taken = set()
        self.state = {**program.state_dict, **program.constants}
        self.problems = []
        self.targets = {
            spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target is not None}
        shape = [row_shape[i - 1] for i in IMAGE] if len(row_shape) == 3 else list(row_shape)
        self.input = self.add("input", "Input", {"dimensions": shape}, [])
        if rescaling:
            self.input = self.add(
                "normalize", "Rescaling", {"scale": rescaling[0], "offset": rescaling[1]}, [self.input])

    # Nodes

    def add(self, name, kind, layer, inputs, weights=None, sources=None):
        name = name or kind
        unique, count = name, 1
        while unique in self.taken:
            count += 1
            unique = f"{name}/{count}"
        self.taken.add(unique)
        node = {"name": unique, "kind": kind, "layer": layer, "inputs": inputs}
        if weights:
            node["weights"] = {}
            for parameter, (values, source, axes) in weights.items():
                path = f"/weights/{unique}/{parameter}"
                self.weights[path] = values
                node["weights"][parameter] = {"entry": path, "state": source, "axes": axes}
        self.nodes.append(node)
        return unique

    @staticmethod
    def operation(node):
        """The name of the operation of a node of the traced graph: `conv2d`."""
        target = node.target
        return target.overloadpacket.__name__ if hasattr(target, "overloadpacket") else str(target)

    @staticmethod
    def shape(node):
        return list(node.meta["val"].shape)

    def argument(self, node, index, name, default=None):
        if len(node.args) > index:
            return node.args[index]
        return node.kwargs.get(name, default)

    def tensor(self, node):
        """The weights that an argument is, and their name in the state dictionary."""
        target = self.targets[node.name]
        return self.state[target].detach().cpu().double().numpy(), target

    def is_weight(self, node):
        return isinstance(node, torch.fx.Node) and node.name in self.targets

    def module_name(self, node):
        """The name of the module that a node came from."""
        stack = node.meta.get("nn_module_stack")
        if not stack:
            return ""
        return list(stack.values())[-1][0].removeprefix("L['self'].").removeprefix("L['self']")

    def graph(self, names, likelihood):
        """The graph as JSON, and for each exit its name and the operation taken off its end."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name not in self.targets:
                    self.names[node] = self.input
            elif node.op == "call_function":
                try:
                    self.names[node] = self.translate(node)
                except Refusal as refusal:
                    self.problems.append(str(refusal))
                    self.names[node] = self.input
        if self.problems:
            raise Refusal(
                "These operations have no layer in Bayesify: " + "; ".join(dict.fromkeys(self.problems)) + ".")
        output = next(node for node in self.program.graph.nodes if node.op == "output")
        answers = pytree.tree_leaves(output.args)[-len(names):]
        exits, stripped = [], []
        for name, answer in zip(names, answers):
            while self.operation(answer) in self.RENAMINGS:
                answer = answer.args[0]
            operation, reading = self.operation(answer), likelihood
            taken_off = None
            width = self.shape(answer)[1]
            if operation in ("softmax", "_softmax", "log_softmax", "_log_softmax") and self.is_last(answer):
                answer, reading, taken_off = answer.args[0], "categorical", operation
            elif operation == "sigmoid":
                answer, reading, taken_off = answer.args[0], "binary" if width == 1 else "multilabel", operation
            exit = {"name": name, "logits": self.names[answer]}
            if reading:
                exit["likelihood"] = reading
            exits.append(exit)
            stripped.append((name, taken_off))
        return ({"format": "bayesify-graph", "version": VERSION, "source": f"torch {torch.__version__}",
                 "nodes": self.nodes, "exits": exits}, stripped)

    def is_last(self, node):
        """Whether a softmax goes over classes."""
        dimension = self.argument(node, 1, "dim")
        rank = len(self.shape(node))
        return dimension % rank == 1

    # Operations

    def translate(self, node):
        operation = self.operation(node)
        if operation in self.RENAMINGS:
            return self.source(node)
        if operation in self.RESHAPES:
            return self.reshape(node)
        method = getattr(self, f"on_{operation.rstrip('_')}", None)
        if method is None:
            raise Refusal(f"{operation} (in '{self.module_name(node) or 'the module itself'}')")
        return method(node)

    def refuse(self, node, why):
        raise Refusal(f"{self.operation(node)} in '{self.module_name(node)}': {why}")

    def source(self, node, index=0):
        argument = node.args[index]
        if not isinstance(argument, torch.fx.Node) or argument not in self.names:
            self.refuse(node, "an argument is no result of an earlier layer")
        return self.names[argument]

    def plain(self, node, kind, layer, suffix=""):
        return self.add(self.label(node, suffix), kind, layer, [self.source(node)])

    def label(self, node, suffix=""):
        return (self.module_name(node) or node.name) + suffix

    def activation(self, node, function):
        return self.plain(node, "Activation", {"function": function}, f"/{self.operation(node).rstrip('_')}")

    # Linear maps

    def on_conv2d(self, node):
        weight, source = self.tensor(node.args[1])
        bias = self.argument(node, 2, "bias")
        stride, padding = _pair(self.argument(node, 3, "stride", 1)), self.argument(node, 4, "padding", 0)
        dilation, groups = _pair(self.argument(node, 5, "dilation", 1)), self.argument(node, 6, "groups", 1)
        filters, _, height, width = weight.shape
        if isinstance(padding, str):
            sides = [0, 0, 0, 0]
            if padding == "same":
                total = [dilation[0] * (height - 1), dilation[1] * (width - 1)]
                sides = [total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2]
        else:
            vertical, horizontal = _pair(padding)
            sides = [vertical, vertical, horizontal, horizontal]
        layer = {
            "filters": filters, "window": _extent(height, width), "strides": _extent(*stride),
            "dilation": _extent(*dilation), "padding": _explicit(*sides), "groups": groups,
            "usesBias": bias is not None}
        weights = {"weight": (weight.transpose(2, 3, 1, 0), source, [2, 3, 1, 0])}
        return self.add(self.label(node), "Convolution", layer, [self.source(node)], self.with_bias(weights, bias))

    def with_bias(self, weights, bias):
        if bias is not None:
            values, source = self.tensor(bias)
            weights["bias"] = (values, source, [0])
        return weights

    def on_conv_transpose2d(self, node):
        weight, source = self.tensor(node.args[1])
        bias = self.argument(node, 2, "bias")
        stride, padding = _pair(self.argument(node, 3, "stride", 1)), _pair(self.argument(node, 4, "padding", 0))
        extra, groups = _pair(self.argument(node, 5, "output_padding", 0)), self.argument(node, 6, "groups", 1)
        dilation = _pair(self.argument(node, 7, "dilation", 1))
        if groups != 1 or any(e > p for e, p in zip(extra, padding)):
            self.refuse(node, "groups, or an output padding wider than the padding")
        _, filters, height, width = weight.shape
        layer = {
            "filters": filters, "window": _extent(height, width), "strides": _extent(*stride),
            "dilation": _extent(*dilation), "padding": "valid", "usesBias": bias is not None}
        name = self.add(
            self.label(node), "TransposedConvolution", layer, [self.source(node)],
            self.with_bias({"weight": (weight.transpose(2, 3, 1, 0), source, [2, 3, 1, 0])}, bias))
        # Keras' valid padding leaves as many lines more as the strides are wider than the window.
        surplus = [max(s - d * (k - 1) - 1, 0) for s, d, k in zip(stride, dilation, (height, width))]
        cut = [padding[0], padding[0] - extra[0] + surplus[0], padding[1], padding[1] - extra[1] + surplus[1]]
        return self.border(self.label(node, "/border"), name, [-side for side in cut]) if any(cut) else name

    def border(self, name, source, sides):
        return self.add(name, "Border", {"padding": _padding(*sides)}, [source])

    def on_linear(self, node):
        weight, source = self.tensor(node.args[1])
        bias = self.argument(node, 2, "bias")
        layer = {"units": weight.shape[0], "usesBias": bias is not None}
        weights = self.with_bias({"weight": (weight.T, source, [1, 0])}, bias)
        name, values = self.label(node), self.source(node)
        # Of four axes the last is no channel to PyTorch, so it is made the last here and back again.
        is_image = len(self.shape(node)) == 4
        if is_image:
            values = self.add(f"{name}/order", "Permutation", {"order": [2, 0, 1]}, [values])
        values = self.add(name, "Dense", layer, [values], weights)
        return self.add(f"{name}/image", "Permutation", {"order": [1, 2, 0]}, [values]) if is_image else values

    # Normalisation

    def on_batch_norm(self, node):
        _, scale, offset, mean, variance, training, _, epsilon = node.args[:8]
        return self.batch_normalization(node, scale, offset, mean, variance, epsilon)

    def on__native_batch_norm_legit_no_training(self, node):
        _, scale, offset, mean, variance, _, epsilon = node.args[:7]
        return self.batch_normalization(node, scale, offset, mean, variance, epsilon)

    def batch_normalization(self, node, scale, offset, mean, variance, epsilon):
        if mean is None or variance is None:
            self.refuse(node, "statistics of the batch, which evaluation has not; use track_running_stats")
        if len(self.shape(node)) not in (2, 4):
            self.refuse(node, "rows that are neither a vector nor an image")
        weights = {}
        for name, argument in (("scale", scale), ("offset", offset), ("mean", mean), ("variance", variance)):
            if argument is not None:
                values, source = self.tensor(argument)
                weights[name] = (values, source, [0])
        layer = {"epsilon": epsilon, "scales": scale is not None, "centers": offset is not None}
        return self.add(self.label(node), "BatchNormalization", layer, [self.source(node)], weights)

    def on_layer_norm(self, node):
        extents = self.argument(node, 1, "normalized_shape")
        scale, offset = self.argument(node, 2, "weight"), self.argument(node, 3, "bias")
        epsilon = self.argument(node, 4, "eps", 1e-5)
        rank = len(self.shape(node))
        dimensions = list(range(rank - len(extents), rank))
        axes, order = self.axes(dimensions, rank), None
        if rank == 4:
            order = [dimensions.index(IMAGE[axis]) for axis in sorted(axes)]
            axes = sorted(axes)
        weights = {}
        for name, argument in (("scale", scale), ("offset", offset)):
            if argument is not None:
                values, source = self.tensor(argument)
                permutation = order or list(range(values.ndim))
                weights[name] = (values.transpose(permutation), source, permutation)
        layer = {"axes": axes, "epsilon": epsilon, "scales": scale is not None, "centers": offset is not None}
        return self.add(self.label(node), "LayerNormalization", layer, [self.source(node)], weights)

    def on_group_norm(self, node):
        groups = self.argument(node, 1, "num_groups")
        scale, offset = self.argument(node, 2, "weight"), self.argument(node, 3, "bias")
        if len(self.shape(node)) != 4:
            self.refuse(node, "rows that are no image")
        weights = {}
        for name, argument in (("scale", scale), ("offset", offset)):
            if argument is not None:
                values, source = self.tensor(argument)
                weights[name] = (values, source, [0])
        layer = {
            "groups": groups, "epsilon": self.argument(node, 4, "eps", 1e-5), "scales": scale is not None,
            "centers": offset is not None}
        return self.add(self.label(node), "GroupNormalization", layer, [self.source(node)], weights)

    # Activations

    def on_relu(self, node):
        return self.activation(node, _relu())

    def on_relu6(self, node):
        return self.activation(node, _relu(ceiling=6))

    def on_leaky_relu(self, node):
        return self.activation(node, _relu(slope=self.argument(node, 1, "negative_slope", 0.01)))

    def on_hardtanh(self, node):
        low, high = self.argument(node, 1, "min_val", -1), self.argument(node, 2, "max_val", 1)
        if (low, high) == (-1, 1):
            return self.activation(node, {"hardTanh": {}})
        if low != 0:
            self.refuse(node, f"limits {low} and {high}; those of ReLU6 and of the standard form are known")
        return self.activation(node, _relu(ceiling=high))

    def on_clamp(self, node):
        low, high = self.argument(node, 1, "min"), self.argument(node, 2, "max")
        if low != 0:
            self.refuse(node, f"limits {low} and {high}; only a lower limit of zero is known")
        return self.activation(node, _relu(ceiling=high))

    def on_elu(self, node):
        if (self.argument(node, 2, "scale", 1), self.argument(node, 3, "input_scale", 1)) != (1, 1):
            self.refuse(node, "scales")
        return self.activation(node, {"elu": {"alpha": self.argument(node, 1, "alpha", 1)}})

    def on_gelu(self, node):
        form = self.argument(node, 1, "approximate", "none")
        return self.activation(node, {"gelu" if form == "none" else "geluTanh": {}})

    def on_softplus(self, node):
        if self.argument(node, 1, "beta", 1) != 1:
            self.refuse(node, "a beta that is not one")
        return self.activation(node, {"softplus": {}})

    def on_hardsigmoid(self, node):
        return self.activation(node, {"hardSigmoid": {"slope": 1 / 6, "offset": 0.5}})

    def on_softmax(self, node):
        if not self.is_last(node) and self.argument(node, 1, "dim") % len(self.shape(node)) != len(self.shape(node)) - 1:
            self.refuse(node, "a softmax that does not go over the last axis")
        return self.activation(node, {"softmax": {}})

    def on_log_softmax(self, node):
        if not self.is_last(node):
            self.refuse(node, "a softmax that does not go over the last axis")
        return self.activation(node, {"logSoftmax": {}})

    def on_prelu(self, node):
        slope, source = self.tensor(node.args[1])
        shape = self.shape(node)
        if len(shape) != 4:
            self.refuse(node, "rows that are no image")
        values = np.broadcast_to(slope, (shape[1],)).reshape(1, 1, -1)
        return self.add(
            self.label(node), "ParametricReLU", {"sharedAxes": [0, 1]}, [self.source(node)],
            {"slope": (values, source, [0])})

    # Pooling

    def on_max_pool2d(self, node):
        if _pair(self.argument(node, 4, "dilation", 1)) != [1, 1]:
            self.refuse(node, "dilation")
        return self.window(node, "maximum", self.argument(node, 3, "padding", 0))

    def on_avg_pool2d(self, node):
        padding, counts = self.argument(node, 3, "padding", 0), self.argument(node, 5, "count_include_pad", True)
        if self.argument(node, 6, "divisor_override") is not None:
            self.refuse(node, "a divisor of its own")
        vertical, horizontal = _pair(padding)
        if (vertical or horizontal) and counts:
            if self.argument(node, 4, "ceil_mode", False):
                self.refuse(node, "counted padding with rounding up")
            border = self.border(
                self.label(node, "/border"), self.source(node), [vertical, vertical, horizontal, horizontal])
            return self.window(node, "average", 0, border)
        return self.window(node, "average", padding)

    def window(self, node, kind, padding, source=None):
        window = _pair(self.argument(node, 1, "kernel_size"))
        strides = _pair(self.argument(node, 2, "stride") or window)
        padding = _pair(padding)
        height, width = self.shape(node.args[0])[2:]
        if source is not None:  # a border lies around the image already
            before = _pair(self.argument(node, 3, "padding", 0))
            height, width = height + 2 * before[0], width + 2 * before[1]
        rows, columns = self.shape(node)[2:]
        # Where sizes are rounded up, the last window reaches over the border.
        after = [max(p, (n - 1) * s + k - size - p)
                 for n, s, k, size, p in zip((rows, columns), strides, window, (height, width), padding)]
        layer = {
            "operation": kind, "window": _extent(*window), "strides": _extent(*strides),
            "padding": _explicit(padding[0], after[0], padding[1], after[1])}
        return self.add(self.label(node), "Pooling", layer, [source or self.source(node)])

    def on_adaptive_avg_pool2d(self, node):
        return self.adaptive(node, "average")

    def on_adaptive_max_pool2d(self, node):
        return self.adaptive(node, "maximum")

    def adaptive(self, node, kind):
        height, width = self.shape(node.args[0])[2:]
        rows, columns = self.shape(node)[2:]
        if (rows, columns) == (1, 1):
            return self.plain(node, "GlobalPooling", {"operation": kind, "keepsDimensions": True})
        if (rows, columns) == (height, width):
            return self.source(node)
        if height % rows or width % columns:
            self.refuse(node, f"{height} by {width} pixels to {rows} by {columns}, which do not divide")
        window = _extent(height // rows, width // columns)
        return self.plain(
            node, "Pooling", {"operation": kind, "window": window, "strides": window, "padding": {"valid": {}}})

    def on_mean(self, node):
        dimensions = sorted(d % len(self.shape(node.args[0])) for d in self.argument(node, 1, "dim") or [])
        keeps = self.argument(node, 2, "keepdim", False)
        if len(self.shape(node.args[0])) != 4 or dimensions != [2, 3]:
            self.refuse(node, f"a mean over the axes {dimensions}; that over the pixels of an image is known")
        return self.plain(node, "GlobalPooling", {"operation": "average", "keepsDimensions": bool(keeps)}, "/mean")

    # Several inputs

    def on_add(self, node):
        return self.merge(node, "add")

    def on_sub(self, node):
        return self.merge(node, "subtract")

    def on_mul(self, node):
        return self.merge(node, "multiply")

    def on_maximum(self, node):
        return self.merge(node, "maximum")

    def on_minimum(self, node):
        return self.merge(node, "minimum")

    def on_div(self, node):
        if isinstance(node.args[1], torch.fx.Node):
            self.refuse(node, "a quotient of two results")
        return self.plain(node, "Rescaling", {"scale": [1 / node.args[1]], "offset": [0]}, "/div")

    def merge(self, node, operation):
        first, second = node.args[:2]
        if node.kwargs.get("alpha", 1) != 1:
            self.refuse(node, "an alpha that is not one")
        label = self.label(node, f"/{operation}")
        numbers = [x for x in (first, second) if not isinstance(x, torch.fx.Node)]
        fixed = [x for x in (first, second) if self.is_weight(x)]
        if numbers or fixed:
            other = second if first in numbers + fixed else first
            if numbers:
                values = [float(numbers[0])]
            else:
                values = self.per_channel(node, fixed[0], other)
            if operation == "subtract" and other is second:
                scale, offset = [-1.0], values
            elif operation == "multiply":
                scale, offset = values, [0.0]
            elif operation in ("add", "subtract"):
                scale, offset = [1.0], values if operation == "add" else [-v for v in values]
            else:
                self.refuse(node, "a number")
            count = max(len(scale), len(offset))
            scale, offset = (x * count if len(x) == 1 else x for x in (scale, offset))
            return self.add(label, "Rescaling", {"scale": scale, "offset": offset}, [self.names[other]])
        shapes = [self.shape(first), self.shape(second)]
        if len(shapes[0]) != len(shapes[1]):
            self.refuse(node, f"shapes {shapes[0]} and {shapes[1]} of different ranks")
        return self.add(label, "ElementwiseMerge", {"operation": operation}, [self.names[first], self.names[second]])

    def per_channel(self, node, fixed, other):
        """Weights that are one number, or one a channel."""
        values, _ = self.tensor(fixed)
        shape = self.shape(other)
        channels = shape[1] if len(shape) == 4 else shape[-1]
        full = np.broadcast_to(values, [1] + shape[1:])
        moved = np.moveaxis(full, 1, -1) if len(shape) == 4 else full
        rows = moved.reshape(-1, channels)
        if not (rows == rows[0]).all():
            self.refuse(node, "weights that differ from place to place")
        return [float(v) for v in rows[0]]

    def on_cat(self, node):
        parts = node.args[0]
        rank = len(self.shape(node))
        dimension = self.argument(node, 1, "dim", 0) % rank
        if dimension == 0:
            self.refuse(node, "rows of a batch put together")
        axis = self.axes([dimension], rank)[0]
        return self.add(
            self.label(node, "/cat"), "Concatenation", {"axis": axis}, [self.names[part] for part in parts])

    @staticmethod
    def axes(dimensions, rank):
        """Bayesify's axes of rows for PyTorch's of batches."""
        return [IMAGE.index(d) if rank == 4 else d - 1 for d in dimensions]

    # Rearranging

    def reshape(self, node):
        before, after = self.shape(node.args[0]), self.shape(node)
        if before[0] != after[0]:
            self.refuse(node, "a reshape across rows")
        return self.reshaped(self.label(node, "/reshape"), self.source(node), before[1:], after[1:])

    def reshaped(self, name, source, before, after):
        if before == after:
            return source
        if len(before) == 3 and before[1:] != [1, 1] and before[0] != 1:
            source = self.add(f"{name}/order", "Permutation", {"order": [2, 0, 1]}, [source])
        source = self.add(name, "Reshape", {"target": after}, [source])
        if len(after) == 3:
            source = self.add(f"{name}/image", "Permutation", {"order": [1, 2, 0]}, [source])
        return source

    def on_permute(self, node):
        return self.permuted(node, list(node.args[1]))

    def on_transpose(self, node):
        rank = len(self.shape(node))
        order = list(range(rank))
        a, b = node.args[1] % rank, node.args[2] % rank
        order[a], order[b] = order[b], order[a]
        return self.permuted(node, order)

    def permuted(self, node, order):
        rank = len(order)
        if order[0] != 0:
            self.refuse(node, "rows of a batch exchanged with another axis")
        if rank == 4:
            ours = [IMAGE.index(order[dimension]) for dimension in IMAGE]
        else:
            ours = [dimension - 1 for dimension in order[1:]]
        return self.plain(node, "Permutation", {"order": ours}, "/permute")

    def on_pad(self, node):
        return self.on_constant_pad_nd(node)

    def on_constant_pad_nd(self, node):
        sides = list(node.args[1])
        mode = node.args[2] if len(node.args) > 2 and isinstance(node.args[2], str) else "constant"
        value = (node.args[3] if len(node.args) > 3 else None) if self.operation(node) == "pad" else \
            (node.args[2] if len(node.args) > 2 else 0)
        if mode != "constant" or value not in (None, 0, 0.0) or len(self.shape(node)) != 4 or len(sides) > 4:
            self.refuse(node, "padding other than zeros around an image")
        left, right, top, bottom = (sides + [0, 0])[:4]
        return self.border(self.label(node, "/pad"), self.source(node), [top, bottom, left, right])

    def on_upsample_nearest2d(self, node):
        return self.resized(node, "nearest")

    def on_upsample_bilinear2d(self, node):
        if self.argument(node, 2, "align_corners", False):
            self.refuse(node, "aligned corners")
        return self.resized(node, "bilinear")

    def resized(self, node, interpolation):
        before, after = self.shape(node.args[0])[2:], self.shape(node)[2:]
        if interpolation == "nearest" and any(a % b for a, b in zip(after, before)):
            self.refuse(node, "an enlargement by fractions")
        return self.plain(
            node, "Resizing", {"size": _extent(*after), "interpolation": interpolation}, "/resize")


def _plain_activation(function):
    return lambda self, node: self.activation(node, {function: {}})


for _operation, _function in {
        "sigmoid": "sigmoid", "tanh": "tanh", "silu": "swish", "hardswish": "hardSwish", "mish": "mish",
        "selu": "selu", "softsign": "softsign", "exp": "exponential", "log_sigmoid": "logSigmoid"}.items():
    setattr(Tracer, f"on_{_operation}", _plain_activation(_function))
Tracer.on__softmax, Tracer.on__log_softmax = Tracer.on_softmax, Tracer.on_log_softmax


def _pair(value):
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _extent(height, width):
    return {"height": int(height), "width": int(width)}


def _padding(top, bottom, left, right):
    return {"top": int(top), "bottom": int(bottom), "left": int(left), "right": int(right)}


def _explicit(*sides):
    return {"explicit": {"_0": _padding(*sides)}}


def _relu(ceiling=None, slope=0.0):
    function = {"negativeSlope": float(slope), "threshold": 0.0}
    if ceiling is not None and math.isfinite(ceiling):
        function["ceiling"] = float(ceiling)
    return {"relu": function}


def _numbers(text):
    return [float(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(
        description="Writes a PyTorch module as one HDF5 file that Bayesify imports.",
        epilog="example: python bayesify_torch.py models.py:resnet20 --weights resnet20.pt --input 3,32,32 "
               "--scale 255 --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26 -o resnet20.h5")
    parser.add_argument("module", help="FILE.py:NAME of a function or class that builds the module without arguments")
    parser.add_argument("--weights", help="a state dictionary; only tensors are read from it")
    parser.add_argument("--input", required=True, help="the shape of a row in PyTorch's order: 3,32,32")
    parser.add_argument("--exits", help="names of the outputs, in their order, separated by commas")
    parser.add_argument("--likelihood", choices=["categorical", "binary", "multilabel", "gaussian"])
    parser.add_argument("--scale", type=float, help="pixels are divided by this first: 255 for bytes")
    parser.add_argument("--mean", type=_numbers)
    parser.add_argument("--std", type=_numbers)
    parser.add_argument("--seed", type=int, default=0, help="of the rows of the self-test")
    parser.add_argument("-o", "--output", required=True)
    arguments = parser.parse_args()
    file, _, name = arguments.module.rpartition(":")
    if not file or not os.path.exists(file):
        parser.error(f"'{arguments.module}' is no FILE.py:NAME with a file that exists")
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    spec = importlib.util.spec_from_file_location("user_module", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        model = getattr(module, name)()
        if arguments.weights:
            state = torch.load(arguments.weights, map_location="cpu", weights_only=True)
            model.load_state_dict(state.get("state_dict", state))
        shape = [int(part) for part in arguments.input.split(",")]
        generator = torch.Generator().manual_seed(arguments.seed)
        example = torch.rand((4, *shape), generator=generator) * (arguments.scale or 1)
        export(
            model, example, arguments.output, exits=arguments.exits.split(",") if arguments.exits else None,
            likelihood=arguments.likelihood, mean=arguments.mean, std=arguments.std,
            scale=1 / arguments.scale if arguments.scale else None)
    except Refusal as refusal:
        sys.exit(f"{arguments.module}: {refusal}")
    print(arguments.output)


if __name__ == "__main__":
    main()
