#!/usr/bin/env python3
"""Changes checkpoints at random and imports them: each must be imported or refused in one sentence.

    python Scripts/fuzz-import.py [--count 100000] [--first 0] [--seed 1] [--workers 2] [--failures FOLDER]
        [--others] [--command .build/release/bayesify]

Files of five layouts are the start, or with --others those of four other libraries.  Changes are flipped bits,
overwritten bytes, truncations and pieces copied from elsewhere in the file; two of three hit what is not numbers: HDF5
headers, attributes and names, JSON, and the directories of zip archives.  A change is a failure when the command ends by a signal, takes more than ten seconds,
takes more memory than 256 MiB and four times the file, ends with a code that is none of its own, or says more or
less than one line.  Failing files are kept, and their numbers make them again.  A run is divided, or goes on after it
was stopped, with --first.  Each file has a process of its own, forked from one in which all libraries are loaded
(fork-server.c).  Build first: make release.  Needs h5py and a C compiler.
"""
import argparse
import io
import os
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from multiprocessing import Pool

import h5py

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "Tests", "Golden")
STARTS = [
    ("KerasLayouts/keras-3.15.1/nested.keras", None),
    ("KerasLayouts/tf-2.15/nested.weights.h5", "KerasLayouts/tf-2.15/nested.json"),
    ("KerasLayouts/keras-2.2.4/cnn.model.h5", None),
    ("KerasLayouts/tf_keras-2.21/nested.names.h5", "KerasLayouts/tf_keras-2.21/nested.json"),
    ("TorchModules/TwoExits.h5", None),
]
OTHERS = [
    ("OtherLayouts/VGG.safetensors", "TorchModules/VGG-keras.json"),
    ("OtherLayouts/VGG.caffemodel.h5", "TorchModules/VGG-keras.json"),
    ("OtherLayouts/VGG-fields.mat", "TorchModules/VGG-keras.json"),
    ("OtherLayouts/tf_model.h5", "TorchModules/VGG.h5"),
]
SECONDS = 10
TRIES = 3
CODES = (0, 64, 65, 66, 69, 70, 73, 74)


def numbers(data):
    """The ranges of bytes that are elements of arrays."""
    ranges = []
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".h5") and member.compress_type == zipfile.ZIP_STORED:
                    start = data.find(archive.read(member))
                    ranges += [(start + a, start + b) for a, b in numbers(archive.read(member))]
        return ranges
    if data[8:9] == b"{":
        return [(8 + int.from_bytes(data[:8], "little"), len(data))]

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
            ranges.append((item.id.get_offset(), item.id.get_offset() + item.id.get_storage_size()))

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return ranges


def structure(data):
    """The positions of all bytes that are not numbers."""
    inside = bytearray(len(data))
    for start, end in numbers(data):
        inside[start:end] = b"\1" * (end - start)
    return [position for position, flag in enumerate(inside) if not flag]


def load(files):
    starts = []
    for name, architecture in files:
        with open(os.path.join(GOLDEN, name), "rb") as file:
            data = file.read()
        options = ["--architecture", os.path.join(GOLDEN, architecture)] if architecture else []
        starts.append((name, data, structure(data), options))
    return starts


def mutated(number, seed, starts):
    """The file of a number, whether the change hits structure, and the options it is imported with."""
    source = random.Random(f"{seed}:{number}")
    _, data, places, options = starts[number % len(starts)]
    data = bytearray(data)
    in_structure = source.random() < 2 / 3

    def place():
        return source.choice(places) if in_structure else source.randrange(len(data))

    kind = source.choice(["bits", "bytes", "words", "truncation", "piece", "piece"])
    if kind == "bits":
        for _ in range(source.randint(1, 8)):
            data[place()] ^= 1 << source.randrange(8)
    elif kind == "bytes":
        for _ in range(source.randint(1, 20)):
            data[place()] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    elif kind == "words":
        start, width = place(), source.choice((2, 4, 8))
        word = source.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, source.randrange(2**64)))
        data[start:start + width] = (word % 2 ** (8 * width)).to_bytes(width, "little")
    elif kind == "truncation":
        del data[place():]
    else:
        length, origin, target = source.randint(1, 4096), place(), place()
        piece = bytes(data[origin:origin + length])
        if source.random() < 0.5:
            data[target:target + len(piece)] = piece
        else:
            data[target:target] = piece
    return bytes(data), in_structure, options


class Server:
    """A command that is loaded once and runs many times, each in a process of its own."""

    def __init__(self, command, library, arguments, errors):
        environment = dict(os.environ, LD_PRELOAD=library, LD_BIND_NOW="1", OPENBLAS_NUM_THREADS="1")
        self.process = subprocess.Popen([command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=errors, bufsize=0, env=environment)

    def answer(self, form):
        data = self.process.stdout.read(struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            sys.exit("the command ended before it was asked to")
        return struct.unpack(form, data)

    def run(self):
        """The seconds that one run took, its status and its memory in KiB."""
        begin = time.monotonic()
        self.process.stdin.write(b"1")
        child, = self.answer("i")
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        status, memory = self.answer("ii")
        return time.monotonic() - begin, status, memory

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def run(numbers, files, command, library, seed, failures):
    """Imports the files of some numbers."""
    starts = load(files)
    counts, problems, worst, largest, structural = {}, [], 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "errors"), "a+b") as errors:
        file = os.path.join(folder, "mutated")
        servers = [Server(command, library, ["inspect", file, *options], errors) for _, _, _, options in starts]
        for number in numbers:
            data, is_structural, _ = mutated(number, seed, starts)
            structural += is_structural
            with open(file, "wb") as out:
                out.write(data)
            # Another try tells a file that takes long from a machine that was busy.
            for _ in range(TRIES):
                errors.truncate(0)
                elapsed, status, memory = servers[number % len(starts)].run()
                if elapsed <= SECONDS:
                    break
            errors.seek(0)
            text = errors.read().decode(errors="replace")
            code = os.waitstatus_to_exitcode(status)
            counts[code] = counts.get(code, 0) + 1
            worst, largest = max(worst, elapsed), max(largest, memory)
            problem = None
            if elapsed > SECONDS:
                problem = "takes too long"
            elif code not in CODES:
                problem = f"ends with {code}"
            elif text.count("\n") != (0 if code == 0 else 1):
                problem = f"says {text[:300]!r}"
            elif memory * 1024 > (256 << 20) + 4 * len(data):
                problem = f"takes {memory >> 10} MiB"
            if problem:
                problems.append((number, problem))
                if failures:
                    os.makedirs(failures, exist_ok=True)
                    with open(os.path.join(failures, str(number)), "wb") as out:
                        out.write(data)
        for server in servers:
            server.close()
    return counts, problems, worst, largest, structural


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--others", action="store_true", help="start with the layouts of other libraries")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--failures", help="where failing files are kept")
    parser.add_argument("--command", default=os.path.join(ROOT, ".build", "release", "bayesify"))
    arguments = parser.parse_args()
    if not os.path.exists(arguments.command):
        sys.exit(f"{arguments.command} is missing; run: make release")
    files = OTHERS if arguments.others else STARTS
    last = arguments.first + arguments.count
    step = max(1, min(1000, arguments.count // arguments.workers))
    jobs = [range(a, min(a + step, last)) for a in range(arguments.first, last, step)]
    counts, problems, worst, largest, structural = {}, [], 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder, Pool(arguments.workers) as pool:
        library = os.path.join(folder, "fork-server.so")
        source = os.path.join(ROOT, "Scripts", "fork-server.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        job = partial(run, files=files, command=arguments.command, library=library, seed=arguments.seed,
                      failures=arguments.failures)
        for numbers, (codes, found, seconds, memory, hits) in zip(jobs, pool.imap(job, jobs)):
            for code, number in codes.items():
                counts[code] = counts.get(code, 0) + number
            for number, problem in found:
                print(f"file {number} ({files[number % len(files)][0]}): {problem}", flush=True)
            problems += found
            worst, largest, structural = max(worst, seconds), max(largest, memory), structural + hits
            print(f"up to {numbers.stop}: {len(problems)} failures, {structural} changed in their structure, codes "
                  f"{dict(sorted(counts.items()))}, at most {worst:.2f} s and {largest >> 10} MiB", flush=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
