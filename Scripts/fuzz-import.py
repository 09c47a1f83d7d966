#!/usr/bin/env python3
"""Changes checkpoints at random and imports them: each must be imported or refused in one sentence.

    python Scripts/fuzz-import.py [--count 100000] [--seed 1] [--workers 2] [--failures FOLDER] [--only NUMBER]

Files of five layouts are the start.  Changes are flipped bits, overwritten bytes, truncations and pieces copied
from elsewhere in the file; two of three hit what is not numbers: HDF5 headers, attributes and names, JSON, and the
directories of zip archives.  A change is a failure when the command ends by a signal, takes more than ten seconds,
takes more memory than 256 MiB and four times the file, ends with a code that is none of its own, or says more or
less than one line.  Failing files are kept, and their numbers make them again.  Build first: make release.
Needs h5py.
"""
import argparse
import io
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from multiprocessing import Pool

import h5py

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMAND = os.path.join(ROOT, ".build", "release", "bayesify")
GOLDEN = os.path.join(ROOT, "Tests", "Golden")
STARTS = [
    ("KerasLayouts/keras-3.15.1/nested.keras", None),
    ("KerasLayouts/tf-2.15/nested.weights.h5", "KerasLayouts/tf-2.15/nested.json"),
    ("KerasLayouts/keras-2.2.4/cnn.model.h5", None),
    ("KerasLayouts/tf_keras-2.21/nested.names.h5", "KerasLayouts/tf_keras-2.21/nested.json"),
    ("TorchModules/TwoExits.h5", None),
]
SECONDS = 10
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


def load():
    starts = []
    for name, architecture in STARTS:
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


def run(arguments):
    first, last, seed, failures = arguments
    starts = load()
    counts, problems, worst, largest, structural = {}, [], 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "mutated")
        for number in range(first, last):
            data, is_structural, options = mutated(number, seed, starts)
            structural += is_structural
            with open(file, "wb") as out:
                out.write(data)
            with open(os.path.join(folder, "errors"), "w+b") as errors:
                begin = time.monotonic()
                process = subprocess.Popen(
                    [COMMAND, "inspect", file, *options], stdout=subprocess.DEVNULL, stderr=errors)
                # Polled, so that the child's own memory is what is told.
                while True:
                    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                    elapsed = time.monotonic() - begin
                    if pid or elapsed > SECONDS:
                        break
                    time.sleep(0.001)
                if not pid:
                    process.kill()
                    _, status, usage = os.wait4(process.pid, 0)
                process.returncode = 0
                errors.seek(0)
                text = errors.read().decode(errors="replace")
            code = os.waitstatus_to_exitcode(status)
            counts[code] = counts.get(code, 0) + 1
            worst, largest = max(worst, elapsed), max(largest, usage.ru_maxrss)
            problem = None
            if elapsed > SECONDS:
                problem = "takes too long"
            elif code not in CODES:
                problem = f"ends with {code}"
            elif text.count("\n") != (0 if code == 0 else 1):
                problem = f"says {text[:300]!r}"
            elif usage.ru_maxrss * 1024 > (256 << 20) + 4 * len(data):
                problem = f"takes {usage.ru_maxrss >> 10} MiB"
            if problem:
                problems.append((number, problem))
                if failures:
                    os.makedirs(failures, exist_ok=True)
                    with open(os.path.join(failures, str(number)), "wb") as out:
                        out.write(data)
    return counts, problems, worst, largest, structural


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--failures", help="where failing files are kept")
    parser.add_argument("--only", type=int, help="this file alone")
    arguments = parser.parse_args()
    if not os.path.exists(COMMAND):
        sys.exit(f"{COMMAND} is missing; run: make release")
    first, count = (arguments.only, 1) if arguments.only is not None else (0, arguments.count)
    step = max(1, min(1000, count // arguments.workers))
    jobs = [(a, min(a + step, first + count), arguments.seed, arguments.failures)
            for a in range(first, first + count, step)]
    counts, problems, worst, largest, structural, done = {}, [], 0.0, 0, 0, 0
    with Pool(arguments.workers) as pool:
        for job, (codes, found, seconds, memory, hits) in zip(jobs, pool.imap(run, jobs)):
            for code, number in codes.items():
                counts[code] = counts.get(code, 0) + number
            problems += found
            worst, largest, structural = max(worst, seconds), max(largest, memory), structural + hits
            done = job[1] - first
            print(f"{done} files, {len(problems)} failures", file=sys.stderr, flush=True)
    print(f"{done} files, {structural} changed in their structure; codes {dict(sorted(counts.items()))}; "
          f"at most {worst:.2f} s and {largest >> 10} MiB")
    for number, problem in problems[:50]:
        print(f"file {number} ({STARTS[number % len(STARTS)][0]}): {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
