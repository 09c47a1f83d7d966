"""Corrupted images by SciPy, NumPy, colorsys and Pillow.

    python make_corruptions.py

writes Tests/Golden/Corruptions/:

images.json  a coloured and a grey image of bytes, and each after blur (scipy.ndimage.gaussian_filter), contrast (NumPy),
             brightness (colorsys), rotation (scipy.ndimage.rotate) and JPEG (Pillow), at five severities; shares of the
             full brightness but for JPEG, which gives bytes.
digits.h5    test digits of Models/digits-early-exit (0 to 16) in four corruptions, rounded, with their labels; rows whose
             values lie on the edge between two levels are left out.  rows.json says which rows they are.
"""

import colorsys
import io
import os

import h5py
import numpy as np
from PIL import Image, features
from scipy import ndimage

import golden

SEED = 71
STRENGTHS = {
    "blur": [0.4, 0.6, 0.7, 0.8, 1],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "rotation": [15, 30, 45, 60, 75],
    "jpeg": [80, 65, 58, 50, 40],
}
DIGITS = {"blur": 2, "contrast": 4, "brightness": 5, "rotation": 3}


def blur(x, strength):
    return ndimage.gaussian_filter(x, sigma=(strength, strength, 0), mode="nearest", truncate=4)


def contrast(x, strength):
    means = x.mean(axis=(0, 1), keepdims=True)
    return np.clip((x - means) * strength + means, 0, 1)


def brightness(x, strength):
    if x.shape[2] == 1:
        return np.clip(x + strength, 0, 1)
    result = np.empty_like(x)
    for place in np.ndindex(*x.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[place])
        result[place] = colorsys.hsv_to_rgb(hue, saturation, min(1, max(0, value + strength)))
    return np.clip(result, 0, 1)


def rotation(x, strength):
    turned = ndimage.rotate(x, strength, reshape=False, order=1, mode="grid-constant", cval=0)
    return np.clip(turned, 0, 1)


def jpeg(pixels, quality):
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(file.getvalue()))).reshape(pixels.shape)


CORRUPTIONS = {"blur": blur, "contrast": contrast, "brightness": brightness, "rotation": rotation}


def image(rng, height, width, channels):
    """Smooth fields with an edge, some black, some full and some pure pixels."""
    fields = ndimage.gaussian_filter(rng.standard_normal((height, width, channels)), (2, 2, 0))
    fields = 0.5 + 0.35 * fields / fields.std()
    fields[height // 3 :, : width // 3] *= 0.3
    pixels = np.clip(np.rint(fields * 255), 0, 255).astype(np.uint8)
    pixels[0, :3] = 0
    pixels[1, :3] = 255
    if channels == 3:
        pixels[2, :3] = [[255, 0, 0], [0, 200, 0], [0, 0, 7]]
    return pixels


def images():
    rng = np.random.default_rng(SEED)
    result = {}
    for name, (height, width, channels) in {"colour": (19, 14, 3), "grey": (12, 17, 1)}.items():
        pixels = image(rng, height, width, channels)
        entry = {"pixels": golden.array(pixels)}
        for corruption, function in CORRUPTIONS.items():
            entry[corruption] = [golden.array(function(pixels / 255, s)) for s in STRENGTHS[corruption]]
        entry["jpeg"] = [golden.array(jpeg(pixels, s)) for s in STRENGTHS["jpeg"]]
        result[name] = entry
    return result


def digits(path):
    model = os.path.join(golden.ROOT, "..", "..", "Models", "digits-early-exit", "test.h5")
    with h5py.File(model) as file:
        x, y = file["x"][()], file["y"][()]
    exact = {
        name: np.stack([CORRUPTIONS[name](row / 16, STRENGTHS[name][severity - 1]) * 16 for row in x])
        for name, severity in DIGITS.items()
    }
    clear = np.ones(len(x), bool)
    for values in exact.values():
        clear &= (np.abs(values - np.floor(values) - 0.5) > 1e-6).all(axis=(1, 2, 3))
    rows = np.flatnonzero(clear)[:200]
    with h5py.File(os.path.join(path, "digits.h5"), "w") as file:
        for name, values in exact.items():
            file.create_dataset(name, data=np.rint(values[rows]).astype(np.uint8), track_times=False)
        file.create_dataset("untouched", data=x[rows], track_times=False)
        file.create_dataset("y", data=y[rows], track_times=False)
    return rows


def main():
    path = golden.folder("Corruptions")
    versions = golden.versions("numpy", "scipy", "pillow", "h5py")
    versions["libjpeg-turbo"] = features.version("libjpeg_turbo")
    golden.write_json(
        os.path.join(path, "images.json"),
        {"script": "make_corruptions.py", "versions": versions, "seed": SEED, **images()},
    )
    rows = digits(path)
    golden.write_json(
        os.path.join(path, "rows.json"),
        {"script": "make_corruptions.py", "versions": versions, "severities": DIGITS, "rows": rows},
    )
    golden.report(path)


main()
