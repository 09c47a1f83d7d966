"""Small PNG and JPEG files with the pixels that others see in them, and folders of images by class.

    python make_images.py

writes Tests/Golden/Images/:

formats/   one image a form, formats.json with the pixels of each: of PNG those that were written (alpha
           dropped, 16 bits rounded to 8), checked against Pillow; of JPEG those that Pillow decodes.
refused/   an image in CMYK, and one that claims 60000 x 60000 pixels.
classes/   a folder by class; classes.json with class names, files and labels in the order of Keras'
           image_dataset_from_directory, and the pixels.
digits/    30 test digits of Models/digits-early-exit by class; digits.h5 holds the same rows in the same order.
"""

import io
import os
import shutil
import struct
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import h5py
import numpy as np
from PIL import Image

import golden

SEED = 11
HEIGHT, WIDTH = 11, 13
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def lines(samples, depth):
    """The unfiltered lines of [height, width, channels] samples."""
    height, width = samples.shape[:2]
    if depth == 16:
        packed = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        packed = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = (samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + line.tobytes() for line in packed)


def png(samples, colour, depth=8, between=b"", interlaced=False):
    """A PNG file of [height, width, channels] samples; `between` are chunks before the pixels."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    data = b"".join(lines(part, depth) for part in passes if part.size)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", zlib.compress(data, 9))
            + chunk(b"IEND", b""))


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def decoded(content, mode):
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def write(content, *names):
    path = os.path.join(golden.folder("Images", *names[:-1]), names[-1])
    with open(path, "wb") as file:
        file.write(content)


def formats(random):
    images = {}

    def add(name, content, pixels, agrees=True):
        write(content, "formats", name)
        mode = "RGB" if pixels.shape[2] == 3 else "L"
        assert not agrees or np.array_equal(decoded(content, mode), pixels), name
        images[name] = golden.array(pixels.astype(np.uint8))

    def noise(channels, depth=8):
        return random.randint(0, 2**depth, (HEIGHT, WIDTH, channels))

    for depth in [1, 2, 4, 8]:
        grey = noise(1, depth)
        add("grey-%d.png" % depth, png(grey, GREY, depth), grey * 255 // (2**depth - 1))
    for name, colour, channels in [("grey", GREY, 1), ("grey-alpha", GREY_ALPHA, 2), ("rgb", RGB, 3), ("rgba", RGBA, 4)]:
        deep = noise(channels, 16)
        kept = deep[:, :, :channels // 2 * 2 - 1 if channels % 2 == 0 else channels]
        # Pillow takes the upper byte.
        add(name + "-16.png", png(deep, colour, 16), np.rint(kept / 257), agrees=False)
    rgb, rgba, grey_alpha = noise(3), noise(4), noise(2)
    add("rgb.png", png(rgb, RGB), rgb)
    add("rgb-interlaced.png", png(rgb, RGB, interlaced=True), rgb)
    # Both would darken or lighten the pixels of a viewer.
    add("rgb-gamma.png", png(rgb, RGB, between=chunk(b"gAMA", struct.pack(">I", 100000))), rgb)
    add("rgba.png", png(rgba, RGBA), rgba[:, :, :3])
    add("grey-alpha.png", png(grey_alpha, GREY_ALPHA), grey_alpha[:, :, :1])
    palette, indices = random.randint(0, 256, (7, 3)), random.randint(0, 7, (HEIGHT, WIDTH, 1))
    table = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    add("palette.png", png(indices, PALETTE, 4, table), palette[indices[:, :, 0]])
    clear = chunk(b"tRNS", bytes([0, 100, 200]))
    add("palette-alpha.png", png(indices, PALETTE, 8, table + clear), palette[indices[:, :, 0]])

    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([x * 19, y * 22, 255 - x * 9 - y * 9], axis=2) + random.randint(-20, 20, (HEIGHT, WIDTH, 3))
    photo = Image.fromarray(smooth.clip(0, 255).astype(np.uint8))
    for name, options in {
        "444": dict(subsampling=0), "422": dict(subsampling=1), "420": dict(subsampling=2),
        "progressive": dict(subsampling=2, progressive=True),
    }.items():
        content = jpeg(photo, quality=85, **options)
        add("rgb-%s.jpg" % name, content, decoded(content, "RGB"))
    content = jpeg(photo.convert("L"), quality=85)
    add("grey.jpg", content, decoded(content, "L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = jpeg(photo, quality=85, exif=exif)
    add("rgb-turned.jpg", content, decoded(content, "RGB"))
    golden.write_json(os.path.join(golden.folder("Images"), "formats.json"), {
        "generator": "make_images.py", "versions": golden.versions("pillow", "numpy"), "seed": SEED, "images": images})

    write(jpeg(photo.convert("CMYK")), "refused", "cmyk.jpg")
    small, huge = png(noise(1), GREY), struct.pack(">IIBBBBB", 60000, 60000, 8, GREY, 0, 0, 0)
    write(small[:8] + chunk(b"IHDR", huge) + small[33:], "refused", "huge.png")


def classes(random):
    """Names whose order differs between bytes and letters, and between paths and folders."""
    import keras

    folder = golden.folder("Images", "classes")
    size = (5, 7)
    rgb, rgba, grey = (random.randint(0, 256, (*size, n)).astype(np.uint8) for n in (3, 4, 1))
    contents = {
        "Zebra/2.PNG": png(rgb, RGB), "Zebra/10.png": png(255 - rgb, RGB), "Zebra/photo.JPG": jpeg(Image.fromarray(rgb)),
        "apple/z.png": png(rgba, RGBA), "apple/a-b/1.png": png(grey, GREY), "apple/a/1.png": png(255 - grey, GREY),
        "apple/a/c/1.png": png(rgb[::-1], RGB), "apple/.hidden.txt": b"not looked at",
        "b\u00e4r/not-a-photo.jpg": png(rgb[:, ::-1], RGB), "b\u00e4r/photo.jpeg": jpeg(Image.fromarray(grey[:, :, 0])),
        ".hidden/1.png": b"not looked at",
    }
    for name, content in contents.items():
        write(content, "classes", *name.split("/"))
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=size, color_mode="rgb", shuffle=False, batch_size=None, verbose=False)
    files = [os.path.relpath(path, folder) for path in data.file_paths]
    pixels = np.stack([decoded(contents[name], "RGB") for name in files])
    for name, expected, (seen, _) in zip(files, pixels, data.as_numpy_iterator()):
        # TensorFlow transforms JPEG its own way.
        assert "photo" in name or np.array_equal(seen, expected), name
    golden.write_json(os.path.join(golden.folder("Images"), "classes.json"), {
        "generator": "make_images.py", "versions": golden.versions("keras", "tensorflow-cpu", "pillow", "numpy"),
        "seed": SEED, "classNames": list(data.class_names), "files": files,
        "labels": [int(label) for _, label in data.as_numpy_iterator()], "pixels": golden.array(pixels)})


def digits():
    source = os.path.join(golden.ROOT, "..", "..", "Models", "digits-early-exit", "test.h5")
    with h5py.File(source) as file:
        x, y = file["x"][:], file["y"][:].astype(int)
    rows = np.concatenate([np.flatnonzero(y == digit)[:3] for digit in range(10)])
    for row in rows:
        write(png(x[row], GREY), "digits", str(y[row]), "%04d.png" % row)
    with h5py.File(os.path.join(golden.folder("Images"), "digits.h5"), "w") as file:
        file["x"], file["y"] = x[rows], y[rows].astype(np.uint8)


if __name__ == "__main__":
    shutil.rmtree(golden.folder("Images"))
    formats(np.random.RandomState(SEED))
    classes(np.random.RandomState(SEED))
    digits()
    golden.report(golden.folder("Images"))
