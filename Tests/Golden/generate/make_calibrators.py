"""Calibrators by scikit-learn, SciPy, netcal and venn-abers.

    python make_calibrators.py

writes Tests/Golden/Calibrators/: seeded logits in single precision, labels, and the probabilities of fresh rows after
vector, matrix and Dirichlet scaling (SciPy's minimisers in double precision; scikit-learn's logistic regression where
it is the same problem), histogram binning (netcal), isotonic regression (scikit-learn), beta calibration (SciPy with
bounds) and inductive Venn-Abers predictors (an isotonic regression of scikit-learn for each row and added label, and
the package venn-abers), of one class against the rest and normalised; and regressions' standard deviations and quantile
levels.
"""

import os
import warnings

import numpy as np
from netcal.binning import HistogramBinning
from scipy import optimize, special, stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from venn_abers import VennAbers

import golden

warnings.filterwarnings("ignore")

SEED = 41
PENALTIES = [[0.0, 0.0], [0.02, 0.05]]


def affine(x, y, fresh, diagonal, off_diagonal, intercept):
    """softmax(W x + b) of least penalised negative log-likelihood, from the identity."""
    n, k = x.shape
    size = k if diagonal else k * k
    off = ~np.eye(k, dtype=bool)

    def parts(point):
        return (np.diag(point[:k]) if diagonal else point[:size].reshape(k, k)), point[size:]

    def loss(point):
        w, b = parts(point)
        z = x @ w.T + b
        error = (special.softmax(z, axis=1) - np.eye(k)[y]) / n
        g = error.T @ x
        value = np.mean(special.logsumexp(z, axis=1) - z[np.arange(n), y]) + intercept * np.mean(b ** 2)
        if not diagonal:
            value += off_diagonal * np.mean(w[off] ** 2)
            g = g + np.where(off, 2 * off_diagonal * w / (k * (k - 1)), 0)
        return value, np.concatenate(
            [np.diag(g) if diagonal else g.ravel(), error.sum(axis=0) + 2 * intercept * b / k])

    start = np.concatenate([np.ones(k) if diagonal else np.eye(k).ravel(), np.zeros(k)])
    found = optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 20000})
    assert np.abs(found.jac).max() < 1e-7, found
    w, b = parts(found.x)
    z = x @ w.T + b
    return {
        "weights": golden.array(w),
        "intercepts": b,
        "nll": np.mean(special.logsumexp(z, axis=1) - z[np.arange(n), y]),
        "probabilities": golden.array(special.softmax(fresh @ w.T + b, axis=1)),
    }


def one_against_rest(rule, p, y, fresh):
    """A rule (scores, hits, fresh scores) for each class, divided by the sum; two classes share that of the second."""
    if p.shape[1] == 2:
        q = rule(p[:, 1], y == 1, fresh[:, 1])
        return np.stack([1 - q, q], axis=1)
    q = np.stack([rule(p[:, k], y == k, fresh[:, k]) for k in range(p.shape[1])], axis=1)
    total = q.sum(axis=1, keepdims=True)
    return np.where(total > 0, q / np.where(total > 0, total, 1), 1 / p.shape[1])


def histogram(bins):
    def rule(p, hits, fresh):
        binning = HistogramBinning(bins)
        binning.fit(p, hits.astype(int))
        return binning.transform(fresh)
    return rule


def isotonic(p, hits, fresh):
    return IsotonicRegression(out_of_bounds="clip").fit(p, hits).predict(fresh)


def beta(p, hits, fresh):
    p, fresh = (np.clip(v, np.finfo(float).eps, 1 - np.finfo(float).eps) for v in (p, fresh))
    x = np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
    sign = np.where(hits, -1.0, 1.0)

    def loss(w):
        margin = sign * (x @ w)
        return np.mean(np.logaddexp(0, margin)), x.T @ (sign * special.expit(margin)) / len(p)

    best = None
    for bounds in ([(0, None)] * 2, [(0, 0), (0, None)], [(0, None), (0, 0)]):
        found = optimize.minimize(
            loss, [1.0, 1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds + [(None, None)],
            options={"ftol": 0, "gtol": 1e-12, "maxiter": 20000, "maxfun": 100000})
        if best is None or found.fun < best.fun:
            best = found
    w = best.x
    free = w > 1e-12
    free[2] = True
    # Newton's steps take it to the last digits.
    for _ in range(20):
        q = special.expit(x @ w)
        g = x.T @ (q - hits)
        h = (x * (q * (1 - q))[:, None]).T @ x
        w[free] -= np.linalg.solve(h[np.ix_(free, free)], g[free])
    assert (w[:2] >= 0).all() and (g[:2][~free[:2]] >= 0).all(), (w, g)
    z = w[0] * np.log(fresh) - w[1] * np.log1p(-fresh) + w[2]
    return special.expit(z)


def venn_abers(p, hits, fresh):
    bounds = np.zeros((len(fresh), 2))
    for row, score in enumerate(fresh):
        for label in (0, 1):
            model = IsotonicRegression(out_of_bounds="clip").fit(np.append(p, score), np.append(hits, label))
            bounds[row, label] = model.predict([score])[0]
    package = VennAbers()
    package.fit(np.stack([1 - p, p], axis=1), hits.astype(int))
    probability, pairs = package.predict_proba(np.stack([1 - fresh, fresh], axis=1))
    assert np.abs(pairs - bounds).max() < 1e-12, np.abs(pairs - bounds).max()
    q = bounds[:, 1] / (1 - bounds[:, 0] + bounds[:, 1])
    assert np.abs(probability[:, 1] - q).max() < 1e-12
    return q


def classification(z, y, fresh):
    """Values for logits; one column is the logit of the second of two classes."""
    z, fresh = z.astype(float), fresh.astype(float)
    binary = z.shape[1] == 1
    pair, fresh_pair = z, fresh
    if binary:
        pair, fresh_pair = (np.concatenate([np.zeros_like(v), v], axis=1) for v in (z, fresh))
    n = len(y)
    log_p, fresh_log_p = special.log_softmax(pair, axis=1), special.log_softmax(fresh_pair, axis=1)
    p, fresh_p = np.exp(log_p), np.exp(fresh_log_p)
    values = {
        "nllBefore": -np.mean(log_p[np.arange(n), y]),
        "vector": [affine(pair, y, fresh_pair, True, 0, mu) for _, mu in PENALTIES],
        "matrix": [affine(pair, y, fresh_pair, False, *penalty) for penalty in PENALTIES],
        "dirichlet": [affine(log_p, y, fresh_log_p, False, *penalty) for penalty in PENALTIES],
        "isotonic": golden.array(one_against_rest(isotonic, p, y, fresh_p)),
        "beta": golden.array(one_against_rest(beta, p, y, fresh_p)),
        "vennAbers": golden.array(one_against_rest(venn_abers, p, y, fresh_p)),
        "histogram": [golden.array(one_against_rest(histogram(bins), p, y, fresh_p)) for bins in (5, 15)],
    }
    logistic = LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-12, max_iter=10000)
    logistic.fit(z, y)
    logistic_p = logistic.predict_proba(fresh)
    assert np.abs(logistic_p - values["matrix"][0]["probabilities"]["values"]).max() < 1e-6
    values["logisticRegression"] = golden.array(logistic_p)
    return values


def regression(mean, deviation, target):
    z = (target - mean) / deviation
    scale = optimize.minimize_scalar(
        lambda s: -np.mean(stats.norm.logpdf(target, mean, np.exp(s) * deviation)), bracket=(-1, 1), tol=1e-14)
    levels = stats.norm.cdf(z)
    shares = np.array([np.mean(levels <= level) for level in levels])
    model = IsotonicRegression(out_of_bounds="clip")
    model.fit(np.concatenate([[0], levels, [1]]), np.concatenate([[0], shares, [1]]))
    grid = np.linspace(0, 1, 101)
    return {
        "scale": np.exp(scale.x),
        "closedForm": np.sqrt(np.mean(z ** 2)),
        "nllBefore": -np.mean(stats.norm.logpdf(target, mean, deviation)),
        "nllAfter": scale.fun,
        "levels": grid,
        "shares": model.predict(grid),
        "meanGap": np.mean(np.abs(levels - shares)),
    }


def main():
    folder = golden.folder("Calibrators")
    origin = {
        "script": os.path.basename(__file__),
        "versions": golden.versions("numpy", "scipy", "scikit-learn", "netcal", "venn-abers"),
        "seed": SEED,
    }
    random = np.random.RandomState(SEED)
    for name, classes, spread in (("binary", 1, 2.0), ("pair", 2, 1.5), ("three", 3, 2.0), ("five", 5, 3.0)):
        z = (random.normal(size=(190, classes)) * spread).astype(np.float32)
        # Rows that are as sure as others: ties.
        z[120:130] = z[:10]
        z[150:160] = z[10:20]
        truth = z / 2 + np.linspace(-.5, .5, classes)
        if classes == 1:
            y = (truth[:, 0] + random.logistic(size=len(z)) > 0).astype(int)
        else:
            y = (truth + random.gumbel(size=z.shape)).argmax(axis=1)
        golden.write_json(
            os.path.join(folder, f"{name}.json"),
            origin | {
                "inputs": {"logits": golden.array(z[:150]), "labels": y[:150], "fresh": golden.array(z[150:])},
                "penalties": PENALTIES,
                "expected": classification(z[:150], y[:150], z[150:]),
            })
    # Labels that call for a negative factor, of which beta calibration keeps zero.
    cases = []
    for slope, curvature in ((-1.0, 0.0), (.6, .4), (-.6, .4), (.6, -.4), (-.6, -.4)):
        z = (random.normal(size=160) * 1.5).astype(np.float32)
        y = random.rand(160) < special.expit(slope * z - curvature * (z ** 2 - 2))
        p = special.expit(z.astype(float))
        cases.append({
            "logits": z[:120], "labels": y[:120].astype(int), "fresh": z[120:],
            "probabilities": beta(p[:120], y[:120], p[120:])})
    golden.write_json(os.path.join(folder, "constrained-beta.json"), origin | {"cases": cases})
    deviation = random.gamma(2, .5, size=80)
    mean = random.normal(size=80)
    target = mean + deviation * (.3 + .6 * random.standard_t(4, size=80))
    golden.write_json(
        os.path.join(folder, "regression.json"),
        origin | {
            "inputs": {"means": mean, "standardDeviations": deviation, "targets": target},
            "expected": regression(mean, deviation, target)})
    golden.report(folder)


if __name__ == "__main__":
    main()
