"""Logistic regressions of scikit-learn, for heads fitted to features.

    python make_logistic_heads.py

writes Tests/Golden/Heads/*.json: features and labels of training and validation rows, and for each penalty the weights
[features, logits] and bias of make_pipeline(StandardScaler(), LogisticRegression(C=1 / (rows * penalty))) in terms of the
features as they are, the mean training and validation loss, and the validation accuracy. The optimum is found by
newton-cholesky to a gradient of 1e-13. Features differ in mean and scale by orders of magnitude, two are nearly the
same, and one is constant.
"""

import os

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import golden

SEED = 2026


def problem(name, classes, width, rows, penalties):
    rng = np.random.default_rng([SEED, classes])
    scale = 10.0 ** np.linspace(-2, 2, width)
    offset = 3 * scale * np.sin(np.arange(width))
    truth = rng.normal(size=(width, classes))

    def draw(count):
        x = rng.normal(size=(count, width))
        x[:, 1] = x[:, 0] + 0.05 * x[:, 1]
        z = x @ truth + rng.gumbel(size=(count, classes)) * 1.5
        x = (x * scale + offset).astype(np.float32)
        x[:, -1] = 7.25
        return x, z.argmax(axis=1)

    (x, y), (vx, vy) = draw(rows), draw(rows // 2)
    fits = []
    for penalty in penalties:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=1 / (rows * penalty), solver="newton-cholesky", tol=1e-13, max_iter=1000))
        model.fit(x.astype(np.float64), y)
        scaler, regression = model[0], model[1]
        weight = regression.coef_.T / scaler.scale_[:, None]
        bias = regression.intercept_ - scaler.mean_ @ weight
        p, vp = model.predict_proba(x.astype(np.float64)), model.predict_proba(vx.astype(np.float64))
        fits.append({
            "penalty": penalty, "weight": golden.array(weight), "bias": golden.array(bias),
            "scaled": golden.array(regression.coef_.T),
            "trainingNLL": log_loss(y, p, labels=range(classes)),
            "validationNLL": log_loss(vy, vp, labels=range(classes)),
            "validationAccuracy": float((vp.argmax(axis=1) == vy).mean()),
        })
    golden.write_json(os.path.join(golden.folder("Heads"), name + ".json"), {
        "script": "make_logistic_heads.py", "seed": SEED, "versions": golden.versions("numpy", "scipy", "scikit-learn"),
        "classes": classes, "features": golden.array(x), "labels": golden.array(y),
        "validationFeatures": golden.array(vx), "validationLabels": golden.array(vy), "fits": fits,
    })


def main():
    problem("categorical", 4, 6, 200, [1.0, 1e-1, 1e-2, 1e-4, 1e-6])
    problem("binary", 2, 5, 120, [1e-1, 1e-3, 1e-5])
    golden.report(golden.folder("Heads"))


if __name__ == "__main__":
    main()
