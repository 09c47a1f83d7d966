"""A small regression of Keras with two exits of two outputs, its Laplace posterior by NumPy, and everything that a report
says of both, by uncertainty-toolbox, SciPy, scikit-learn and NumPy from the definitions.

    python make_regression.py

writes to Tests/Golden/Regression:

network.h5                            the network: tanh layers of random weights, heads fitted by ridge regression
train.h5, validation.h5, test.h5      x [rows, 3], y [rows, 2]; noise of the first output grows with a feature and has
                                      heavy tails
expected.json                         for each exit and kind of forecast, its numbers over both outputs and of each; bootstrap
                                      over rows (SETS sets) of two numbers and of differences from the constant deviation,
                                      as [value, low, high, standard error]; thresholds, coverage and widths of intervals
scores.json                           CRPS by quadrature, variance and quantiles of a recalibrated standard normal

The posterior is that of a linear regression on the features of each head, exact for a fixed noise and prior precision.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
import uncertainty_toolbox as toolbox
from keras import layers as L
from scipy import integrate, stats
from sklearn.isotonic import IsotonicRegression

import golden

SEED = 61
NOISE = 0.4
PRIOR = 2.0
SETS = 2000
ALPHA = 0.1
COUNTS = (("train", 60), ("validation", 157), ("test", 411))


def rows(count, random):
    x = random.normal(size=(count, 3))
    signal = np.stack([np.sin(x[:, 0]) + 0.5 * x[:, 1], x[:, 2] * x[:, 0]], axis=1)
    noise = np.stack([0.3 * np.exp(0.6 * x[:, 1]) * random.standard_t(4, size=count), 0.3 * random.normal(size=count)], axis=1)
    return x.astype(np.float32), signal + noise


def network(x, y):
    random = np.random.default_rng([SEED, 1])
    inputs = keras.Input((3,), name="numbers")
    first = L.Dense(10, activation="tanh", name="first")(inputs)
    second = L.Dense(7, activation="tanh", name="second")(first)
    model = keras.Model(inputs, [L.Dense(2, name="early")(first), L.Dense(2, name="late")(second)])
    features = keras.Model(inputs, [first, second])
    for name in ("first", "second"):
        layer = model.get_layer(name)
        layer.set_weights([random.normal(size=w.shape) * 0.7 for w in layer.get_weights()])
    for name, phi in zip(("early", "late"), features.predict(x, verbose=0)):
        phi = np.concatenate([phi, np.ones((len(phi), 1))], axis=1).astype(float)
        weight = np.linalg.solve(phi.T @ phi + np.eye(phi.shape[1]), phi.T @ y)
        model.get_layer(name).set_weights([weight[:-1], weight[-1]])
    return model, features


class Normal:
    """The standard normal distribution of z."""

    hasDensity = True
    variance = 1.0

    def quantile(self, share):
        return stats.norm.ppf(share)

    def crps(self, z):
        return z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)


class Recalibrated:
    """That of z where levels of the normal one are replaced by shares of fitted rows."""

    hasDensity = False

    def __init__(self, z):
        levels = stats.norm.cdf(z)
        shares = np.array([np.mean(levels <= level) for level in levels])
        model = IsotonicRegression(out_of_bounds="clip").fit(np.r_[0, levels, 1], np.r_[0, shares, 1])
        self.positions, self.values = model.X_thresholds_, model.y_thresholds_
        self.knots = stats.norm.ppf(self.positions[(self.positions > 0) & (self.positions < 1)])
        mean = self.integral(lambda x: self.tail(x))
        square = self.integral(lambda x: 2 * abs(x) * self.tail(x, signed=False))
        self.variance = square - mean ** 2

    def share(self, z):
        return np.interp(stats.norm.cdf(z), self.positions, self.values)

    def tail(self, x, signed=True):
        # E[z] = int of 1 - G above zero less int of G below; E[z^2] = 2 int |x| of the tail beyond.
        g = self.share(x)
        return np.where(x > 0, 1 - g, -g if signed else g)

    def integral(self, f, *breaks):
        edges = np.unique(np.r_[-12, -8, self.knots, 0, 8, 12, breaks])
        edges = np.unique(np.concatenate([np.linspace(a, b, 9) for a, b in zip(edges, edges[1:])]))
        node, weight = np.polynomial.legendre.leggauss(12)
        half = (edges[1:] - edges[:-1]) / 2
        x = edges[:-1, None] + half[:, None] * (1 + node)
        return float((f(x) * weight * half[:, None]).sum())

    def quantile(self, share):
        # The lowest level of a share.
        share = np.asarray(share, dtype=float)
        upper = np.searchsorted(self.values, share, side="left").clip(1, len(self.values) - 1)
        x0, x1, y0, y1 = self.positions[upper - 1], self.positions[upper], self.values[upper - 1], self.values[upper]
        level = np.where(share == y1, x1, x0 + (x1 - x0) * (share - y0) / (y1 - y0))
        return stats.norm.ppf(level)

    def crps(self, z):
        flat = np.ravel(z)
        values = [self.integral(lambda x: (self.share(x) - (x >= v)) ** 2, v) + max(0, abs(v) - 12) for v in flat]
        return np.reshape(values, np.shape(z))


LEVELS = np.arange(1, 100) / 100
CURVE = np.linspace(0, 1, 100)


def scores(mean, deviation, target, distribution):
    """What is averaged over rows, for one output."""
    z = (target - mean) / deviation
    quantiles = distribution.quantile(LEVELS)
    low, high = distribution.quantile(0.5 - LEVELS / 2), distribution.quantile(0.5 + LEVELS / 2)
    d = z[:, None]
    inside = [np.abs(z) < np.inf]
    curve_low, curve_high = distribution.quantile(0.5 - CURVE[:-1] / 2), distribution.quantile(0.5 + CURVE[:-1] / 2)
    curve = (curve_low <= d) & (d <= curve_high)
    result = {
        "squared": (target - mean) ** 2,
        "absolute": np.abs(target - mean),
        "crps": deviation * distribution.crps(z),
        "check": deviation * np.maximum(LEVELS * (d - quantiles), (LEVELS - 1) * (d - quantiles)).mean(axis=1),
        "interval": deviation * (
            high - low + 2 / (1 - LEVELS) * (np.maximum(0, low - d) + np.maximum(0, d - high))).mean(axis=1),
        "variance": deviation ** 2 * distribution.variance,
        "curve": np.concatenate([curve, np.array(inside).T], axis=1).astype(float),
    }
    for level in (50, 80, 90, 95):
        share = level / 100
        a, b = distribution.quantile(0.5 - share / 2), distribution.quantile(0.5 + share / 2)
        result[f"coverage{level}"] = ((a <= z) & (z <= b)).astype(float)
    if distribution.hasDensity:
        result["nll"] = -stats.norm.logpdf(target, mean, deviation)
    return result


def area(observed):
    gap = observed - CURVE
    total = 0.0
    for first, second in zip(gap, gap[1:]):
        size = abs(first) + abs(second)
        total += (size if first * second >= 0 else (first ** 2 + second ** 2) / size) / 99 / 2
    return total


def numbers(rows):
    """Of scores of some rows."""
    mean = {name: np.mean(value, axis=0) for name, value in rows.items()}
    gap = mean["curve"] - CURVE
    values = {
        "rmse": np.sqrt(mean["squared"]), "mae": mean["absolute"], "crps": mean["crps"], "check": mean["check"],
        "interval": mean["interval"], "sharpness": np.sqrt(mean["variance"]), "miscalibration": area(mean["curve"]),
        "calibration-rms": np.sqrt(np.mean(gap ** 2)), "calibration-mae": np.mean(np.abs(gap)),
        "coverage50": mean["coverage50"], "coverage80": mean["coverage80"], "coverage90": mean["coverage90"],
        "coverage": mean["coverage95"]}
    if "nll" in mean:
        values["nll"] = mean["nll"]
    return {name: float(value) for name, value in values.items()}


def pooled(outputs):
    """Scores of rows over outputs."""
    names = [name for name in outputs[0] if all(name in output for output in outputs)]
    return {name: np.mean([output[name] for output in outputs], axis=0) for name in names}


def conformal(kind, fit, test):
    """Of one output: (mean, deviation, target, distribution) of calibration and test rows."""
    def score(mean, deviation, target, distribution):
        if kind == "absolute":
            return np.abs(target - mean)
        if kind == "normalized":
            return np.abs(target - mean) / deviation
        low, high = (mean + deviation * distribution.quantile(q) for q in (ALPHA / 2, 1 - ALPHA / 2))
        return np.maximum(low - target, target - high)
    s = np.sort(score(*fit))
    q = s[int(np.ceil((len(s) + 1) * (1 - ALPHA) - 1e-9)) - 1]
    mean, deviation, target, distribution = test
    if kind == "absolute":
        width = np.full(len(target), 2 * q)
    elif kind == "normalized":
        width = 2 * q * deviation
    else:
        low, high = (mean + deviation * distribution.quantile(p) for p in (ALPHA / 2, 1 - ALPHA / 2))
        width = np.maximum(0, high - low + 2 * q)
    n, m = len(s), len(target)
    rank = int(np.ceil((n + 1) * (1 - ALPHA) - 1e-9))
    law = stats.betabinom(m, rank, n + 1 - rank)
    return {
        "threshold": q, "coverage": np.mean(score(*test) <= q), "meanWidth": np.mean(width),
        "band": [law.ppf(0.025) / m, law.ppf(0.975) / m]}


def main():
    folder = golden.folder("Regression")
    random = np.random.default_rng(SEED)
    data = {name: rows(count, random) for name, count in COUNTS}
    for name, (x, y) in data.items():
        with h5py.File(os.path.join(folder, f"{name}.h5"), "w", track_order=True) as file:
            file["x"], file["y"] = x, y
    model, features = network(*data["train"])
    model.save(os.path.join(folder, "network.h5"))
    outputs = {name: model.predict(x, verbose=0) for name, (x, _) in data.items()}
    inputs = {name: features.predict(x, verbose=0) for name, (x, _) in data.items()}
    exits = []
    for exit in range(2):
        phi = {
            name: np.concatenate([value[exit], np.ones((len(value[exit]), 1))], axis=1).astype(float)
            for name, value in inputs.items()}
        width = phi["train"].shape[1]
        covariance = np.linalg.inv(phi["train"].T @ phi["train"] / NOISE ** 2 + PRIOR * np.eye(width))
        mean = {name: value[exit].astype(float) for name, value in outputs.items()}
        target = {name: y for name, (_, y) in data.items()}
        epistemic = {name: np.einsum("ni,ij,nj->n", value, covariance, value) for name, value in phi.items()}
        error = target["validation"] - mean["validation"]
        constant = np.sqrt(np.mean(error ** 2, axis=0))
        deviation = {
            "constant": {name: np.ones_like(mean[name]) * constant for name in mean},
            "posterior": {
                name: np.sqrt(epistemic[name] + NOISE ** 2)[:, None] * np.ones(2) for name in mean}}
        factor = np.sqrt(np.mean((error / deviation["posterior"]["validation"]) ** 2, axis=0))
        deviation["scaled"] = {name: value * factor for name, value in deviation["posterior"].items()}
        distributions = {kind: [Normal(), Normal()] for kind in deviation}
        for kind, source in (("constantIsotonic", "constant"), ("posteriorIsotonic", "scaled")):
            deviation[kind] = deviation[source]
            z = error / deviation[source]["validation"]
            assert np.abs(z).max() < 7, z
            distributions[kind] = [Recalibrated(z[:, k]) for k in range(2)]
        kinds, sums = {}, {}
        for kind in deviation:
            own = [
                scores(mean["test"][:, k], deviation[kind]["test"][:, k], target["test"][:, k], distributions[kind][k])
                for k in range(2)]
            sums[kind] = pooled(own)
            kinds[kind] = {"numbers": numbers(sums[kind]), "outputs": [numbers(output) for output in own]}
            for k in range(2) if distributions[kind][0].hasDensity else ():
                arguments = (mean["test"][:, k], deviation[kind]["test"][:, k], target["test"][:, k])
                for name, value in (
                    ("nll", toolbox.nll_gaussian), ("crps", toolbox.crps_gaussian), ("check", toolbox.check_score),
                    ("interval", toolbox.interval_score), ("miscalibration", toolbox.miscalibration_area),
                ):
                    assert abs(kinds[kind]["outputs"][k][name] - value(*arguments)) < 1e-9, (kind, name)
            kinds[kind]["conformal"] = {
                method: [
                    conformal(method, *(
                        (mean[name][:, k], deviation[kind][name][:, k], target[name][:, k], distributions[kind][k])
                        for name in ("validation", "test")))
                    for k in range(2)]
                for method in ("absolute", "normalized", "cqr")}
        draws = {kind: [] for kind in sums}
        count = len(target["test"])
        for _ in range(SETS):
            chosen = random.integers(count, size=count)
            for kind, rows_ in sums.items():
                draws[kind].append(numbers({name: value[chosen] for name, value in rows_.items()}))

        def summary(value, drawn):
            drawn = np.array(drawn)
            drawn = drawn - drawn.mean() + value
            return [float(value), *(float(v) for v in np.quantile(drawn, (0.025, 0.975))), float(drawn.std())]

        for kind in sums:
            kinds[kind]["bootstrap"] = {
                name: summary(value, [d[name] for d in draws[kind]]) for name, value in kinds[kind]["numbers"].items()}
            if kind != "constant":
                kinds[kind]["difference"] = {
                    name: summary(
                        value - kinds["constant"]["numbers"][name],
                        [d[name] - c[name] for d, c in zip(draws[kind], draws["constant"])])
                    for name, value in kinds[kind]["numbers"].items() if name not in ("rmse", "mae")}
        exits.append({
            "constant": constant, "factor": factor,
            "epistemic": float(np.sqrt(np.mean(epistemic["test"]))), "kinds": kinds})
    origin = {
        "script": os.path.basename(__file__),
        "versions": golden.versions("keras", "torch", "numpy", "scipy", "scikit-learn", "uncertainty-toolbox", "h5py"),
        "seed": SEED, "noise": NOISE, "priorPrecision": PRIOR, "alpha": ALPHA,
    }
    golden.write_json(os.path.join(folder, "expected.json"), origin | {"exits": exits})

    cases = []
    for size, spread, shift in ((40, 1.4, 0.3), (200, 0.7, -0.2), (3, 1.0, 0.0), (60, 3.0, 0.0)):
        z = np.sort(random.normal(size=size) * spread + shift)
        distribution = Recalibrated(z)
        places = np.array([-9.0, -4.0, -2.5, -1.0, -0.3, 0.0, 0.11, 0.7, 1.9, 3.2, 6.0, 11.0])
        # Shares between the fitted rows' own, where quantiles are told apart to the last digit.
        shares = np.array([0.013, 0.12, 0.377, 0.5211, 0.81, 0.953])
        cases.append({
            "residuals": z, "places": places, "crps": distribution.crps(places), "variance": distribution.variance,
            "shares": shares, "quantiles": distribution.quantile(shares)})
    golden.write_json(os.path.join(folder, "scores.json"), origin | {"cases": cases})
    golden.report(folder)


if __name__ == "__main__":
    main()
