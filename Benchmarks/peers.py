"""A Keras HDF5 file as a PyTorch module of the same layers and weights, and the engines it runs on."""
import json
import os
import time

import h5py
import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

THREADS = 2


# ------------------------------------------------------------------------------ the Keras file

class KerasFile:
    """The layers of a functional model in the file's order, what feeds each, and their weights."""

    def __init__(self, path):
        self.file = h5py.File(path)
        config = self.file.attrs["model_config"]
        config = json.loads(config if isinstance(config, str) else config.decode())
        if config["class_name"] not in ("Functional", "Model"):
            raise ValueError(f"{path} holds a {config['class_name']}; only functional models are converted")
        self.layers = {layer["name"]: layer for layer in config["config"]["layers"]}
        self.inputs = {name: self._inputs(layer["inbound_nodes"]) for name, layer in self.layers.items()}
        self.outputs = self._names(config["config"]["output_layers"])

    @staticmethod
    def _names(layers):
        return [layers[0]] if isinstance(layers[0], str) else [layer[0] for layer in layers]

    @staticmethod
    def _inputs(nodes):
        if not nodes:
            return []
        if len(nodes) > 1:
            raise ValueError("a layer is used more than once; that is not converted")
        if isinstance(nodes[0], list):  # Keras 2
            return [call[0] for call in nodes[0]]
        found = []

        def walk(value):
            if isinstance(value, list):
                for item in value:
                    walk(item)
            elif isinstance(value, dict):
                if value.get("class_name") == "__keras_tensor__":
                    found.append(value["config"]["keras_history"][0])

        walk(nodes[0]["args"])
        return found

    def weights(self, name):
        """The weights of a layer by the last part of their names."""
        group = self.file["model_weights"][name]
        names = [n if isinstance(n, str) else n.decode() for n in group.attrs["weight_names"]]
        return {n.rsplit("/", 1)[-1].split(":")[0]: group[n][()] for n in names}


# ------------------------------------------------------------------------------ the module

class Pad(nn.Module):
    """Padding that differs between sides, or that no convolution or pooling follows."""

    def __init__(self, sides, value=0.0):
        super().__init__()
        self.sides, self.value = sides, value

    def forward(self, x):
        return F.pad(x, self.sides, value=self.value)


class GlobalMean(nn.Module):
    def __init__(self, keeps):
        super().__init__()
        self.keeps = keeps

    def forward(self, x):
        return x.mean((2, 3), keepdim=self.keeps)


class ChannelsLastFlatten(nn.Module):
    """Elements of a row in Keras' order: height, width, channels."""

    def forward(self, x):
        return x.flatten(1) if x.dim() == 2 or x.shape[2:] == (1, 1) else x.permute(0, 2, 3, 1).flatten(1)


class Converter:
    """Builds an `fx.GraphModule` layer by layer, running each on zeros to know every shape."""

    def __init__(self, keras):
        self.keras = keras
        self.graph, self.modules = fx.Graph(), nn.ModuleDict()
        self.nodes, self.samples = {}, {}
        # The layer that each module was made for, by the name that Bayesify gives its node.
        self.origins = {}
        self.consumers = {}
        for name, inputs in keras.inputs.items():
            for source in inputs:
                self.consumers.setdefault(source, []).append(name)
        # Padding that waits for the layer behind it: node name -> (node name before, (top, bottom, left, right)).
        self.pending = {}

    def module(self):
        outputs = [self.logits(name) for name in self.keras.outputs]
        needed = set()

        def need(name):
            if name not in needed:
                needed.add(name)
                for source in self.keras.inputs[name]:
                    need(source)

        for name, _ in outputs:
            need(name)
        dropped = {name for name, drops in outputs if drops}
        with torch.no_grad():
            for name in self.ordered(needed):
                self.add(name, without_activation=name in dropped)
        results = tuple(self.nodes[name] for name, _ in outputs)
        self.graph.output(results)
        root = nn.Module()
        for key, module in self.modules.items():
            root.add_module(key, module)
        module = fx.GraphModule(root, self.graph).eval()
        module.origins = self.origins
        return module

    def ordered(self, needed):
        done, order = set(), []

        def visit(name):
            if name not in done:
                done.add(name)
                for source in self.keras.inputs[name]:
                    visit(source)
                order.append(name)

        for name in self.keras.layers:
            if name in needed:
                visit(name)
        return order

    def logits(self, name):
        """The layer that makes an output's logits, and whether its own activation is left out."""
        layer = self.keras.layers[name]
        kind, config = layer["class_name"], layer["config"]
        ends = ("softmax", "sigmoid")
        if kind == "Softmax" or kind == "Activation" and config["activation"] in ends:
            return self.keras.inputs[name][0], False
        return name, config.get("activation") in ends

    def single_consumer(self, name):
        return len(self.consumers.get(name, [])) == 1 and name not in self.keras.outputs

    def emit(self, name, source, module, origin=None):
        key = f"layer{len(self.modules)}"
        self.modules[key] = module.eval()
        self.origins[key] = origin or name
        self.nodes[name] = self.graph.call_module(key, (self.nodes[source],))
        self.samples[name] = module(self.samples[source])

    def chain(self, name, source, modules):
        for index, module in enumerate(modules):
            target = name if index == len(modules) - 1 else f"{name}/{index}"
            # Of two convolutions of one layer, the first is its depthwise half.
            halves = [m for m in modules if isinstance(m, nn.Conv2d)]
            origin = f"{name}/depthwise" if len(halves) == 2 and module is halves[0] else name
            self.emit(target, source, module, origin)
            source = target

    def add(self, name, without_activation):
        layer = self.keras.layers[name]
        kind, config = layer["class_name"], layer["config"]
        inputs = self.keras.inputs[name]
        source = inputs[0] if inputs else None
        if kind == "InputLayer":
            shape = config.get("batch_shape") or config["batch_input_shape"]
            self.nodes[name] = self.graph.placeholder("x")
            self.samples[name] = torch.zeros(1, *(shape[-1:] + shape[1:-1]))
            return
        if kind == "ZeroPadding2D":
            (top, bottom), (left, right) = config["padding"]
            follower = self.keras.layers[self.consumers[name][0]] if self.single_consumer(name) else None
            merges = follower is not None and follower["config"].get("padding") == "valid" and (
                follower["class_name"] in ("Conv2D", "DepthwiseConv2D")
                # A maximum over values that are not negative is the same beside zeros and beside nothing.
                or follower["class_name"] == "MaxPooling2D" and self.is_not_negative(source))
            if merges and (top, left) == (bottom, right):
                self.pending[name] = (top, left)
                self.nodes[name], self.samples[name] = self.nodes[source], self.samples[source]
                return
            self.emit(name, source, Pad((left, right, top, bottom)))
            return
        if kind in ("Dropout", "SpatialDropout2D", "GaussianNoise"):
            self.nodes[name], self.samples[name] = self.nodes[source], self.samples[source]
            return
        if kind == "Add":
            self.nodes[name] = self.nodes[source]
            self.samples[name] = self.samples[source]
            for other in inputs[1:]:
                self.nodes[name] = self.graph.call_function(torch.add, (self.nodes[name], self.nodes[other]))
            return
        if kind == "Concatenate":
            self.nodes[name] = self.graph.call_function(torch.cat, ([self.nodes[i] for i in inputs], 1))
            self.samples[name] = torch.cat([self.samples[i] for i in inputs], 1)
            return
        modules = self.modules_of(name, kind, config, source)
        activation = config.get("activation", "linear") if kind != "Activation" else "linear"
        if activation != "linear" and not without_activation:
            modules.append(self.activation(activation, inplace=True))
        if not modules:
            self.nodes[name], self.samples[name] = self.nodes[source], self.samples[source]
            return
        self.chain(name, source, modules)

    def is_not_negative(self, name):
        layer = self.keras.layers[name]
        return layer["class_name"] == "ReLU" or layer["config"].get("activation") == "relu"

    @staticmethod
    def activation(word, inplace):
        if word == "relu":
            return nn.ReLU(inplace)
        if word == "softmax":
            return nn.Softmax(1)
        if word == "sigmoid":
            return nn.Sigmoid()
        raise ValueError(f"the activation '{word}' is not converted")

    def padding(self, config, window, source, dilation=(1, 1)):
        """(top, bottom, left, right) of a layer over its input."""
        if config["padding"] == "valid":
            vertical, horizontal = self.pending.get(source, (0, 0))
            return vertical, vertical, horizontal, horizontal
        sides = []
        for size, extent, stride, rate in zip(
                self.samples[source].shape[2:], window, config["strides"] or window, dilation):
            total = max(0, (-(-size // stride) - 1) * stride + (extent - 1) * rate + 1 - size)
            sides += [total // 2, total - total // 2]
        return tuple(sides)

    def convolution(self, config, kernel, bias, source, groups):
        """Modules of a convolution with an OIHW kernel."""
        window, dilation = kernel.shape[2:], tuple(config.get("dilation_rate", (1, 1)))
        top, bottom, left, right = self.padding(config, window, source, dilation)
        even = (top, left) == (bottom, right)
        module = nn.Conv2d(
            kernel.shape[1] * groups, kernel.shape[0], window, tuple(config["strides"]),
            (top, left) if even else 0, dilation, groups, bias is not None)
        module.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        if bias is not None:
            module.bias.data = torch.from_numpy(bias)
        return [module] if even else [Pad((left, right, top, bottom)), module]

    def modules_of(self, name, kind, config, source):
        sample = self.samples[source]
        if kind == "Conv2D":
            weights = self.keras.weights(name)
            return self.convolution(
                config, weights["kernel"].transpose(3, 2, 0, 1), weights.get("bias"), source,
                config.get("groups", 1))
        if kind in ("DepthwiseConv2D", "SeparableConv2D"):
            weights = self.keras.weights(name)
            kernel = weights["depthwise_kernel"] if "depthwise_kernel" in weights else weights["kernel"]
            height, width, channels, multiplier = kernel.shape
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
            if kind == "DepthwiseConv2D":
                return self.convolution(config, kernel, weights.get("bias"), source, channels)
            modules = self.convolution(config, kernel, None, source, channels)
            pointwise = {"padding": "valid", "strides": (1, 1)}
            return modules + self.convolution(
                pointwise, weights["pointwise_kernel"].transpose(3, 2, 0, 1), weights.get("bias"), None, 1)
        if kind == "Dense":
            weights = self.keras.weights(name)
            module = nn.Linear(*weights["kernel"].shape, bias="bias" in weights)
            module.weight.data = torch.from_numpy(np.ascontiguousarray(weights["kernel"].T))
            if "bias" in weights:
                module.bias.data = torch.from_numpy(weights["bias"])
            return [module]
        if kind == "BatchNormalization":
            weights = self.keras.weights(name)
            module = nn.BatchNorm2d(len(weights["moving_mean"]), eps=config["epsilon"])
            for theirs, ours in (("gamma", "weight"), ("beta", "bias"),
                                 ("moving_mean", "running_mean"), ("moving_variance", "running_var")):
                if theirs in weights:
                    getattr(module, ours).data = torch.from_numpy(weights[theirs])
            return [module]
        if kind in ("Activation", "ReLU"):
            if kind == "ReLU":
                if config.get("negative_slope") or config.get("threshold"):
                    raise ValueError("a ReLU with a slope or a threshold is not converted")
                word = "relu"
            else:
                word = config["activation"]
            if word == "linear":
                return []
            # What nobody else reads may be overwritten, as in the modules that people write by hand.
            inplace = self.single_consumer(source) and self.keras.layers[source]["class_name"] in (
                "BatchNormalization", "Add", "Conv2D")
            if config.get("max_value") == 6:
                return [nn.ReLU6(inplace)]
            if config.get("max_value") is not None:
                raise ValueError("a ReLU with a ceiling other than 6 is not converted")
            return [self.activation(word, inplace)]
        if kind == "Softmax":
            return [nn.Softmax(1)]
        if kind == "MaxPooling2D":
            window, strides = tuple(config["pool_size"]), tuple(config["strides"] or config["pool_size"])
            top, bottom, left, right = self.padding(config, window, source)
            if (top, left) == (bottom, right):
                return [nn.MaxPool2d(window, strides, (top, left))]
            if (top, left) == (0, 0):
                return [nn.MaxPool2d(window, strides, ceil_mode=True)]
            return [Pad((left, right, top, bottom), -float("inf")), nn.MaxPool2d(window, strides)]
        if kind == "AveragePooling2D":
            window, strides = tuple(config["pool_size"]), tuple(config["strides"] or config["pool_size"])
            top, bottom, left, right = self.padding(config, window, source)
            if (top, left) != (bottom, right):
                raise ValueError("a mean with padding that differs between sides is not converted")
            return [nn.AvgPool2d(window, strides, (top, left), count_include_pad=False)]
        if kind == "GlobalAveragePooling2D":
            return [GlobalMean(config.get("keepdims", False))]
        if kind == "UpSampling2D":
            mode = config["interpolation"]
            return [nn.Upsample(scale_factor=tuple(map(float, config["size"])), mode=mode,
                                **({"align_corners": False} if mode == "bilinear" else {}))]
        if kind == "Flatten" or kind == "Reshape" and sample.shape[2:] == (1, 1) and len(config["target_shape"]) == 1:
            return [ChannelsLastFlatten()]
        raise ValueError(f"layers of kind {kind} are not converted")


def module_of(path):
    """The module, channels last, with the logits of every output."""
    return Converter(KerasFile(path)).module().to(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------ the engines

class Eager:
    title = "PyTorch eager"

    def __init__(self, path, cache, rows):
        self.model = module_of(path)

    def ready(self, batch):
        """Makes ready for one batch `[rows, height, width, channels]`."""
        self.x = torch.from_numpy(batch).permute(0, 3, 1, 2)

    def __call__(self):
        with torch.inference_mode():
            return self.model(self.x)

    def outputs(self):
        """The logits of every exit as arrays, channels last."""
        return [channels_last(y.numpy()) for y in self()]


class Compiled(Eager):
    title = "torch.compile"

    def ready(self, batch):
        import torch._inductor.config as inductor
        # Weights are constants here, as they are to the other engines; so normalisation is folded.
        inductor.freezing = True
        torch._dynamo.reset()
        super().ready(batch)
        self.run = torch.compile(self.model)
        self()

    def __call__(self):
        # Freezing looks for no_grad and not for inference_mode.
        with torch.no_grad():
            return self.run(self.x)


def onnx_file(path, cache, rows):
    """The module exported to ONNX for a fixed number of rows."""
    target = os.path.join(cache, f"{os.path.basename(path)}-{os.path.getmtime(path):.0f}-{rows}.onnx")
    if not os.path.exists(target):
        os.makedirs(cache, exist_ok=True)
        model = module_of(path)
        shape = next(n for n in KerasFile(path).layers.values() if n["class_name"] == "InputLayer")["config"]
        shape = (shape.get("batch_shape") or shape["batch_input_shape"])[1:]
        x = torch.zeros(rows, shape[-1], *shape[:-1])
        with torch.no_grad():
            torch.onnx.export(
                model, (x,), target + ".part", dynamo=True, external_data=False, verbose=False,
                optimize=True)
        os.replace(target + ".part", target)
    return target


class ONNXRuntime:
    title = "ONNX Runtime"

    def __init__(self, path, cache, rows, profile=None):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        # Threads that wait without sleeping would slow whoever runs next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.session = onnxruntime.InferenceSession(
            onnx_file(path, cache, rows), options, providers=["CPUExecutionProvider"])

    def ready(self, batch):
        self.feed = {self.session.get_inputs()[0].name: np.ascontiguousarray(batch.transpose(0, 3, 1, 2))}

    def __call__(self):
        return self.session.run(None, self.feed)

    def outputs(self):
        return [channels_last(y) for y in self()]


class OpenVINO:
    title = "OpenVINO"

    def __init__(self, path, cache, rows, profile=False):
        import openvino
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY",
            # Its own choice where the processor has bfloat16 would not be f32.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if profile:
            settings["PERF_COUNT"] = True
        self.compiled = core.compile_model(core.read_model(onnx_file(path, cache, rows)), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def ready(self, batch):
        import openvino
        self.x = openvino.Tensor(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)), shared_memory=True)
        self.request.set_input_tensor(self.x)

    def __call__(self):
        self.request.infer()
        # Copied, as every other engine hands over arrays of its own.
        return [tensor.data.copy() for tensor in self.request.output_tensors]

    def outputs(self):
        return [channels_last(y) for y in self()]


class EagerTraining(Eager):
    """A step of gradient descent with momentum over all weights, normalisation in evaluation form."""

    def ready(self, batch):
        super().ready(batch)
        self.model.eval().requires_grad_(True)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6, momentum=0.9)
        self.labels = torch.arange(len(batch))

    def gradients(self):
        self.optimizer.zero_grad()
        # Every pixel of a row has the row's label.
        loss = sum(F.cross_entropy(y, (self.labels % y.shape[1]).reshape(-1, *[1] * (y.ndim - 2)).expand(
            -1, *y.shape[2:])) for y in self.model(self.x))
        loss.backward()
        return loss

    def facts(self):
        """The loss and the norm of all gradients together."""
        loss = self.gradients()
        squares = sum(float((p.grad.double() ** 2).sum()) for p in self.model.parameters() if p.grad is not None)
        return float(loss), squares ** 0.5

    def named_gradients(self):
        """The gradient of every parameter as Bayesify names and orders it."""
        result = {}
        for key, module in self.model.named_children():
            for name, parameter in module.named_parameters():
                gradient = parameter.grad.numpy()
                if isinstance(module, nn.BatchNorm2d):
                    name = {"weight": "scale", "bias": "offset"}[name]
                elif name == "weight":
                    gradient = gradient.transpose(2, 3, 1, 0) if gradient.ndim == 4 else gradient.T
                result[f"{self.model.origins[key]}/{name}"] = gradient
        return result

    def __call__(self):
        self.gradients()
        self.optimizer.step()


PEERS = {"eager": Eager, "compile": Compiled, "onnxruntime": ONNXRuntime, "openvino": OpenVINO}


def channels_last(y):
    return np.moveaxis(y, 1, -1) if y.ndim == 4 else y


def seconds(run, repeats):
    """Wall-clock seconds of each of some calls."""
    result = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        result.append(time.perf_counter() - begin)
    return result
