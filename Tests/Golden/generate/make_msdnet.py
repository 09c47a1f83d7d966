"""Architectures of multi-scale dense networks as Keras writes them -> Golden/MSDNet/<variant>.json.gz

    python make_msdnet.py

Made by Models/msdnet/make_architecture.py; no weights, no seed. By Keras 3.15.1.
"""

import gzip
import os
import sys

import golden

sys.path.insert(0, os.path.join(golden.ROOT, "..", "..", "Models", "msdnet"))
import make_architecture

for name in make_architecture.VARIANTS:
    text = make_architecture.architecture(name)
    with open(os.path.join(golden.folder("MSDNet"), name + ".json.gz"), "wb") as file:
        with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            packed.write(text.encode())
