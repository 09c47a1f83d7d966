"""Helpers shared by the generator scripts: where files go and how numbers are written."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def folder(*names):
    """Tests/Golden/<names>, created when absent."""
    path = os.path.join(ROOT, *names)
    os.makedirs(path, exist_ok=True)
    return path


def versions(*packages):
    """Versions of Python and of the packages named (those that are installed)."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def number(value):
    """The shortest decimal text that reads back as the same number in the same precision."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if not np.isfinite(value):
        raise ValueError("JSON has no %r" % value)
    if isinstance(value, np.floating) and value.dtype != np.float64:
        text = str(value)
        assert value.dtype.type(float(text)) == value
        return text
    return repr(float(value))


def array(values):
    """An array as {"shape", "values"}; values are row-major, one flat list."""
    values = np.asarray(values)
    return {"shape": list(values.shape), "values": values}


def dumps(item, indent=0):
    """JSON with one key a line, and every array of numbers on one line."""
    pad = "  " * (indent + 1)
    if isinstance(item, np.ndarray):
        return "[" + ", ".join(number(v) for v in item.ravel()) + "]"
    if isinstance(item, dict):
        if not item:
            return "{}"
        rows = [pad + json.dumps(key) + ": " + dumps(value, indent + 1) for key, value in item.items()]
        return "{\n" + ",\n".join(rows) + "\n" + "  " * indent + "}"
    if isinstance(item, (list, tuple)):
        if all(not isinstance(v, (dict, list, tuple, np.ndarray)) for v in item):
            return "[" + ", ".join(dumps(v) for v in item) + "]"
        return "[\n" + ",\n".join(pad + dumps(v, indent + 1) for v in item) + "\n" + "  " * indent + "]"
    if isinstance(item, str) or item is None:
        return json.dumps(item)
    return number(item)


def write_json(path, item):
    text = dumps(item) + "\n"
    json.loads(text)
    with open(path, "w") as file:
        file.write(text)


def report(path):
    """Print how many files the folder holds and how large they are together."""
    names = sorted(os.listdir(path))
    size = sum(os.path.getsize(os.path.join(path, name)) for name in names)
    print("%s: %d files, %.1f kB" % (os.path.relpath(path, ROOT), len(names), size / 1000))
