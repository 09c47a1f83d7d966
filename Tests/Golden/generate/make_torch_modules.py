#!/usr/bin/env python3
"""Writes small PyTorch modules of many families with Python/bayesify_torch.py, and state dictionaries by hand.

    python make_torch_modules.py OUTPUT_FOLDER

Random weights from a seed; normalisation statistics are moved away from zero and one, so that a mistake shows.
Each file carries rows and what PyTorch answered to them.  Made with torch 2.15.0, h5py 3.14.0, numpy 2.4.6.
"""
import os
import sys

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "Python"))
from bayesify_torch import export

SEED = 20261121


class ResNet(nn.Module):
    class Block(nn.Module):
        def __init__(self, a, b, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
            self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
            self.down = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if stride > 1 else None

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (self.down(x) if self.down else x))

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
        self.layer1, self.layer2 = self.Block(8, 8, 1), self.Block(8, 12, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 5)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.layer2(self.layer1(self.stem(x)))), 1))


class VGG(nn.Module):
    """Features of an image are flattened: channels first."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 7, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2, ceil_mode=True))
        self.classifier = nn.Sequential(nn.Linear(7 * 4 * 5, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 4))

    def forward(self, x):
        return self.classifier(self.features(x).view(x.shape[0], -1))


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        def unit(a, b, k=1, s=1, g=1, act=True):
            return [nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(b)] + ([nn.ReLU6()] if act else [])
        self.stem = nn.Sequential(*unit(3, 8, 3, 2))
        self.block = nn.Sequential(*unit(8, 24), *unit(24, 24, 3, 1, 24), *unit(24, 8, act=False))
        self.multiplied = nn.Conv2d(8, 16, 3, 2, 1, groups=8)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.multiplied(x + self.block(x)).mean([2, 3]))


class EfficientNet(nn.Module):
    """Squeeze and excite, SiLU and hard forms, dropped branches."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.Hardswish())
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.depth(x)
        s = torch.sigmoid(self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        y = F.hardsigmoid(s * 2 - 1) * (s * y)
        return torch.softmax(self.head((x + F.dropout(y, 0.2, self.training)).mean((2, 3))), -1)


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(6 + 4 * i), nn.ReLU(), nn.Conv2d(6 + 4 * i, 4, 3, padding=1, bias=False)) for i in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(18), nn.ReLU(), nn.Conv2d(18, 9, 1, bias=False), nn.AvgPool2d(2, 2))
        self.norm, self.head = nn.BatchNorm2d(9), nn.Linear(9, 4)

    def forward(self, x):
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        x = self.transition(torch.cat(features, 1))
        return self.head(F.adaptive_avg_pool2d(F.relu(self.norm(x)), (1, 1)).flatten(1))


class SqueezeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ELU(0.7), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.one, self.three = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 3, padding=1)
        self.classifier = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = F.leaky_relu(self.squeeze(self.stem(x)), 0.2)
        x = torch.cat([F.relu(self.one(x)), torch.tanh(self.three(x))], 1)
        return F.avg_pool2d(self.classifier(x), (4, 4), (4, 4), (1, 1)).flatten(1)


class ConvNeXt(nn.Module):
    """Layer normalisation and products along the channels of a permuted image."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 4, 4), nn.GroupNorm(2, 8)
        self.depth, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8, eps=1e-6)
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.image_norm, self.head = nn.LayerNorm([8, 4, 5]), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem_norm(self.stem(x))
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.head(self.image_norm(x + self.scale * y).mean([-2, -1]))


class UNet(nn.Module):
    """An answer for each pixel; transposed convolutions, enlargements, crops."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.up1, self.up2 = nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), nn.ConvTranspose2d(8, 3, 2, 2)
        self.prelu, self.head = nn.PReLU(6), nn.Conv2d(23, 3, 3, padding="same", dilation=2)

    def forward(self, x):
        a = self.prelu(self.down1(x))
        b = F.relu(self.down2(a))
        large = F.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
        nearest = F.interpolate(F.avg_pool2d(self.up2(b), 2, 2) * 0.5 + 1, scale_factor=2, mode="nearest")
        padded = F.pad(self.up1(b), (1, 0, 0, 2))
        return self.head(torch.cat([large, F.max_pool2d(padded, (3, 2), 1), F.softplus(nearest), a], 1))


class MSDNet(nn.Module):
    """Two scales, four exits in a list."""

    def __init__(self):
        super().__init__()
        def unit(a, b, s=1):
            return nn.Sequential(nn.Conv2d(a, b, 3, s, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True))
        self.fine, self.coarse = unit(3, 6), unit(6, 8, 2)
        self.steps_fine = nn.ModuleList(unit(6 + 4 * i, 4) for i in range(3))
        self.steps_coarse = nn.ModuleList(unit(8 + 8 * i, 4) for i in range(3))
        self.steps_down = nn.ModuleList(unit(6 + 4 * i, 4, 2) for i in range(3))
        self.heads = nn.ModuleList(nn.Linear(8 + 8 * i, 4) for i in range(4))

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        exits = [self.heads[0](coarse.mean([2, 3]))]
        for i in range(3):
            coarse = torch.cat([coarse, self.steps_coarse[i](coarse), self.steps_down[i](fine)], 1)
            fine = torch.cat([fine, self.steps_fine[i](fine)], 1)
            exits.append(self.heads[i + 1](F.adaptive_avg_pool2d(coarse, 1).flatten(1)))
        return exits


class TwoExits(nn.Module):
    """Exits in a dictionary, one with a sigmoid."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, 2, 1)
        self.early, self.late = nn.Linear(5, 4), nn.Linear(6, 3)

    def forward(self, x):
        a = F.mish(self.a(x))
        b = F.selu(self.b(a))
        return {"early": self.early(a.mean([2, 3])).log_softmax(1), "tags": torch.sigmoid(self.late(b.mean([2, 3])))}


class Perceptron(nn.Module):
    """No image at all."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)


def randomized(module):
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.2)
        if isinstance(part, nn.PReLU):
            part.weight.data.uniform_(-0.3, 0.5)
    return module.eval()


def keras_vgg():
    """The same network as Keras describes it: channels last, so that flattened features come in another order."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    layers = keras.layers
    return keras.Sequential([
        keras.Input((16, 18, 3)), layers.Conv2D(6, 3, padding="same"), layers.BatchNormalization(epsilon=1e-5),
        layers.ReLU(), layers.MaxPooling2D(), layers.Conv2D(7, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(padding="same"), layers.Flatten(), layers.Dense(9, activation="relu"), layers.Dropout(0.5),
        layers.Dense(4, activation="softmax")]).to_json()


def main(folder):
    os.makedirs(folder, exist_ok=True)
    shapes = {"VGG": (3, 16, 18), "ConvNeXt": (3, 16, 20), "Perceptron": (6,)}
    modules = {}
    for kind in (ResNet, VGG, MobileNetV2, EfficientNet, DenseNet, SqueezeNet, ConvNeXt, UNet, MSDNet, TwoExits, Perceptron):
        torch.manual_seed(SEED)
        name = kind.__name__
        modules[name] = module = randomized(kind())
        rows = torch.rand(3, *shapes.get(name, (3, 18, 22) if name != "UNet" else (3, 10, 14)))
        export(module, rows, f"{folder}/{name}.h5", likelihood=None if name == "Perceptron" else "categorical")
    torch.manual_seed(SEED)
    export(
        modules["ResNet"], torch.randint(0, 256, (3, 3, 18, 22)).float(), f"{folder}/ResNet-bytes.h5",
        likelihood="categorical", scale=1 / 255, mean=[0.49, 0.48, 0.45], std=[0.25, 0.24, 0.26])
    # State dictionaries as people write them.
    state = {name: values.numpy() for name, values in modules["VGG"].state_dict().items()}
    def write(file, name):
        with h5py.File(f"{folder}/{file}", "w") as out:
            for key, values in state.items():
                out.create_dataset(name(key), data=values)
    write("VGG-flat.h5", lambda key: key)
    write("VGG-nested.h5", lambda key: key.replace(".", "/"))
    write("VGG-prefixed.h5", lambda key: "model/module." + key)
    write("VGG-half.h5", lambda key: "state_dict/" + key)
    with h5py.File(f"{folder}/VGG-half.h5", "a") as out:
        for key in state:
            values = out[f"state_dict/{key}"][()]
            if values.dtype == np.float32:
                del out[f"state_dict/{key}"]
                out.create_dataset(
                    f"state_dict/{key}", data=values.astype(np.float16),
                    **({"compression": "gzip", "shuffle": True} if values.ndim else {}))
    write("VGG-twice.h5", lambda key: "a/" + key)
    with h5py.File(f"{folder}/VGG-twice.h5", "a") as out:
        for key, values in state.items():
            out[f"b/{key}"] = values
    write("VGG-incomplete.h5", lambda key: "a/" + key)
    with h5py.File(f"{folder}/VGG-incomplete.h5", "a") as out:
        del out["a/classifier.3.bias"]
    with open(f"{folder}/VGG-keras.json", "w") as out:
        out.write(keras_vgg())


if __name__ == "__main__":
    main(sys.argv[1])
