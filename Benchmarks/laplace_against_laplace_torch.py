#!/usr/bin/env python3
"""Last-layer Laplace on features, against laplace-torch: fits and predictions over classes and features.

For each head, random features behind a random linear head go into a file of exit records.  Ours fits all of
them, the reading of the file included; laplace-torch, whose features lie in memory, fits as many rows as it
gets through in the time that it is given, and is compared by seconds a row.  Predictions are of one batch,
in turns.  Where laplace-torch's Jacobians would not fit into memory, or its fit would take minutes a batch, it is
left out, and the table says so.

    python Benchmarks/laplace_against_laplace_torch.py [--classes 10,100,1000] [--features 64,512,2048]
        [--rows 50000] [--batch 128] [--pairs 7] [--limit 60] [--memory 8] [--peer-classes 300] [--threads 2]
        [--json out.json]

Needs laplace-torch.  Build first by
    swift build -c release --package-path Benchmarks
"""
import argparse
import json
import os
import tempfile
import time

import h5py
import numpy as np

from engine_against_peers import Engine

PREDICTIVES = [("probit", "probit", {}), ("whitened", "mc", {"n_samples": 100})]


def records(file, classes, features, rows):
    random = np.random.default_rng(classes * 10_000 + features)
    weight = (random.normal(size=(features, classes)) * 2 / np.sqrt(features)).astype("float32")
    with h5py.File(file, "w") as out:
        out.attrs.update(format="bayesify-records", version=1, exitCount=1)
        exit = out.create_group("exits/0")
        exit.attrs.update(name="head", likelihood="categorical", hasBias=1)
        exit["head/weight"], exit["head/bias"] = weight, np.zeros(classes, "float32")
        values = exit.create_dataset("features", (rows, features), "float32")
        logits = exit.create_dataset("logits", (rows, classes), "float32")
        labels = out.create_dataset("labels", (rows,), "int64")
        for start in range(0, rows, 1000):
            stop = min(start + 1000, rows)
            x = np.maximum(random.normal(.3, 1, (stop - start, features)), 0).astype("float32")
            z = x @ weight
            values[start:stop], logits[start:stop] = x, z
            labels[start:stop] = (z + random.gumbel(size=z.shape)).argmax(axis=1)
    return weight


class LaplaceTorch:
    def __init__(self, file, weight, batch, memory):
        import torch
        self.torch, self.batch = torch, batch
        features, classes = weight.shape
        # Four times the Jacobians of a batch, as measured.
        self.fits = 4 * 4 * batch * classes * (features + 1) * classes <= memory * 2**30
        head = torch.nn.Linear(features, classes)
        head.weight.data, head.bias.data = torch.tensor(weight.T.copy()), torch.zeros(classes)
        self.model = torch.nn.Sequential(torch.nn.Identity(), head)
        with h5py.File(file) as source:
            self.x = torch.tensor(source["exits/0/features"][:])
            self.y = torch.tensor(source["labels"][:])

    def fit(self, limit):
        """Seconds and rows of the longest fit within the limit, from one batch on."""
        from laplace import Laplace
        rows = self.batch
        while True:
            data = self.torch.utils.data.TensorDataset(self.x[:rows], self.y[:rows])
            posterior = Laplace(self.model, "classification", subset_of_weights="last_layer", hessian_structure="kron",
                                last_layer_name="1")
            start = time.perf_counter()
            posterior.fit(self.torch.utils.data.DataLoader(data, batch_size=self.batch))
            seconds = time.perf_counter() - start
            self.posterior = posterior
            if rows == len(self.x) or seconds > limit / 4:
                return seconds, rows
            rows = min(len(self.x), max(2 * rows, int(rows * limit / 2 / seconds)))

    def predict(self, link, settings):
        start = time.perf_counter()
        self.posterior(self.x[:self.batch], link_approx=link, **settings)
        return time.perf_counter() - start


def cell(classes, features, arguments, folder):
    file = os.path.join(folder, "records.h5")
    weight = records(file, classes, features, arguments.rows)
    engine = Engine()
    try:
        result = {"classes": classes, "features": features}
        fits = [engine.ask("fit", file, "kronecker", arguments.threads)["seconds"][0] for _ in range(3)]
        result["fit"], result["memory"] = sorted(fits)[1], engine.memory("VmHWM")
        peer = LaplaceTorch(file, weight, arguments.batch, arguments.memory)
        peer.fits = peer.fits and classes <= arguments.peer_classes
        if classes <= arguments.peer_classes:
            seconds, rows = peer.fit(arguments.limit)
            result["peerFit"] = {"seconds": seconds, "rows": rows}
            result["fitRatio"] = seconds / rows / (result["fit"] / arguments.rows)
        for ours, link, settings in PREDICTIVES:
            engine.ask("ready", ours, arguments.batch, 100)
            own = lambda: sorted(engine.ask("predict", 3)["seconds"])[1]
            own()
            times = []
            for pair in range(arguments.pairs):
                mine = own()
                times.append((mine, peer.predict(link, settings) if peer.fits else None))
            mine = float(np.median([t[0] for t in times]))
            entry = result[ours] = {"milliseconds": mine * 1e3 / arguments.batch}
            if peer.fits:
                entry["peerMilliseconds"] = float(np.median([t[1] for t in times])) * 1e3 / arguments.batch
                entry["ratio"] = float(np.median([t[1] / t[0] for t in times]))
        return result
    finally:
        engine.close()
        os.remove(file)


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=numbers, default=[10, 100, 1000])
    parser.add_argument("--features", type=numbers, default=[64, 512, 2048])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--limit", type=float, default=60, help="seconds for a fit of laplace-torch")
    parser.add_argument("--memory", type=float, default=8, help="GiB that laplace-torch may take")
    parser.add_argument("--peer-classes", type=int, default=300, help="the most that laplace-torch is tried with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    import torch
    torch.set_num_threads(arguments.threads)
    cells = []
    print("| classes | features | fit s | peak MiB | laplace-torch s (rows), ratio a row | probit ms a row, ratio | "
          "100 draws ms a row, ratio |\n|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for classes in arguments.classes:
            for features in arguments.features:
                one = cell(classes, features, arguments, folder)
                cells.append(one)
                peer = one.get("peerFit")
                shown = lambda entry: f"{entry['milliseconds']:.3g}" + (
                    f", **{entry['ratio']:.0f}**" if "ratio" in entry else ", -")
                print(f"| {classes} | {features} | {one['fit']:.3g} | {one['memory'] / 2**20:.0f} | "
                      + (f"{peer['seconds']:.3g} ({peer['rows']}), **{one['fitRatio']:.0f}**" if peer else "left out")
                      + f" | {shown(one['probit'])} | {shown(one['whitened'])} |", flush=True)
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(cells, out, indent=2)


if __name__ == "__main__":
    main()
