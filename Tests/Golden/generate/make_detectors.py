"""Scores and detectors of foreign rows, straight from their formulas in NumPy, all in double precision.

    python make_detectors.py

writes Tests/Golden/Detectors/: fixture D, whose values are known from OpenOOD and pytorch-ood and are checked here
digit by digit; rows of seeded random features, among them some that make covariances singular; and seeded random
samples of logits.

Conventions: larger is further from the training data, everywhere. Weights are [features, classes]. Covariances are
divided by the number of rows; an eigenvalue below 1e-12 of the largest counts as zero. Percentiles are NumPy's, linear
between two values. A class without training rows has no mean; one without a correctly classified row has the pattern
zero. Of equal activations the first are kept, and one at least. The norm that fDBD divides by is 2.2e-16 at least.
"""

import os

import numpy as np

import golden

SEED = 23
RELATIVE_ZERO = 1e-12


def log_sum_exp(z):
    top = z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z - top).sum(axis=-1)) + top[..., 0]


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def entropy(p):
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=-1)


def generalized_entropy(p, gamma, count):
    top = np.sort(p, axis=-1)[..., ::-1][..., :count]
    return (top ** gamma * (1 - top) ** gamma).sum(axis=-1)


def unit(f):
    norms = np.linalg.norm(f, axis=1, keepdims=True)
    return np.divide(f, norms, out=np.zeros_like(f), where=norms > 0)


def pseudo_inverse(matrix):
    return np.linalg.pinv(matrix, rcond=RELATIVE_ZERO, hermitian=True)


def mahalanobis(train, labels, test):
    """Squared distances [rows] to the nearest class and to all training rows."""
    classes = np.unique(labels)
    means = {c: train[labels == c].mean(axis=0) for c in classes}
    centered = np.array([f - means[c] for f, c in zip(train, labels)])
    inverse = pseudo_inverse(centered.T @ centered / len(train))
    nearest = np.array([min((f - m) @ inverse @ (f - m) for m in means.values()) for f in test])
    all_centered = train - train.mean(axis=0)
    inverse = pseudo_inverse(all_centered.T @ all_centered / len(train))
    background = np.array([(f - train.mean(axis=0)) @ inverse @ (f - train.mean(axis=0)) for f in test])
    return nearest, background


def nearest_neighbour(train, test, k):
    distances = ((unit(test)[:, None, :] - unit(train)[None, :, :]) ** 2).sum(axis=2)
    return np.sort(distances, axis=1)[:, k - 1]


def residual_norms(weight, bias, train, rows, dimension):
    # Singular values whose square is below RELATIVE_ZERO of the largest squared count as zero.
    origin = -np.linalg.pinv(weight.T, rcond=RELATIVE_ZERO ** 0.5) @ bias
    _, vectors = np.linalg.eigh((train - origin).T @ (train - origin) / len(train))
    null = vectors[:, :train.shape[1] - dimension]
    return np.linalg.norm((rows - origin) @ null, axis=1)


def vim(weight, bias, train, train_logits, test, test_logits, dimension):
    alpha = train_logits.max(axis=1).mean() / residual_norms(weight, bias, train, train, dimension).mean()
    return alpha, alpha * residual_norms(weight, bias, train, test, dimension) - log_sum_exp(test_logits)


def react(weight, bias, validation, test, percentile):
    limit = np.percentile(validation, percentile)
    return limit, -log_sum_exp(np.minimum(test, limit) @ weight + bias)


def kept(f, percentile):
    count = max(1, len(f) - int(np.round(len(f) * percentile / 100)))
    mask = np.zeros(len(f), bool)
    mask[np.argsort(-f, kind="stable")[:count]] = True
    return mask


def shaped(weight, bias, test, percentile, form):
    result = []
    for f in test:
        mask = kept(f, percentile)
        pruned = np.where(mask, f, 0)
        factor = np.exp(f.sum() / pruned.sum()) if pruned.sum() > 0 else 1
        result.append({"prune": pruned, "binarize": mask * f.sum() / mask.sum(), "scale": pruned * factor,
                       "all": f * factor}[form])
    return -log_sum_exp(np.array(result) @ weight + bias)


def she(train, train_logits, labels, test, test_logits):
    classes = train_logits.shape[1]
    predicted = train_logits.argmax(axis=1)
    patterns = np.zeros((classes, train.shape[1]))
    for c in range(classes):
        correct = (predicted == c) & (labels == c)
        if correct.any():
            patterns[c] = train[correct].mean(axis=0)
    return -np.array([f @ patterns[c] for f, c in zip(test, test_logits.argmax(axis=1))])


def grad_norm(test, test_logits):
    p = softmax(test_logits)
    return -np.abs(p.shape[1] * p - 1).sum(axis=1) * np.abs(test).sum(axis=1)


def dice(weight, bias, train, test, percentile):
    contributions = train.mean(axis=0)[:, None] * weight
    limit = np.percentile(contributions, percentile)
    return limit, -log_sum_exp(test @ (weight * (contributions > limit)) + bias)


def nn_guide(train, train_logits, test, test_logits, k):
    bank = unit(train) * log_sum_exp(train_logits)[:, None]
    guides = np.sort(unit(test) @ bank.T, axis=1)[:, ::-1][:, :k].mean(axis=1)
    return -log_sum_exp(test_logits) * guides


def fdbd(weight, test, test_logits, origin):
    result = []
    for f, z in zip(test, test_logits):
        best = z.argmax()
        total = sum(abs(z[best] - z[c]) / np.linalg.norm(weight[:, best] - weight[:, c])
                    for c in range(len(z)) if c != best)
        result.append(-total / max(np.linalg.norm(f - origin), np.finfo(float).eps))
    return np.array(result)


def detectors(weight, bias, train, train_logits, labels, validation, test, test_logits, *, neighbours, dimensions,
              percentiles, guides):
    """The expected scores by detector, and what was fitted."""
    nearest, background = mahalanobis(train, labels, test)
    values = {
        "mahalanobis": nearest,
        "relativeMahalanobis": nearest - background,
        "she": she(train, train_logits, labels, test, test_logits),
        "gradNorm": grad_norm(test, test_logits),
        "fdbd": fdbd(weight, test, test_logits, train.mean(axis=0)),
        "fdbdOrigin": fdbd(weight, test, test_logits, np.zeros(train.shape[1])),
        "knn": [{"neighbours": k, "scores": nearest_neighbour(train, test, k)} for k in neighbours],
        "nnGuide": [{"neighbours": k, "scores": nn_guide(train, train_logits, test, test_logits, k)} for k in guides],
        "vim": [], "react": [], "ash": [], "dice": []}
    for dimension in dimensions:
        alpha, scores = vim(weight, bias, train, train_logits, test, test_logits, dimension)
        values["vim"].append({"dimension": dimension, "alpha": alpha, "scores": scores,
                              "residual": residual_norms(weight, bias, train, test, dimension)})
    for percentile in percentiles:
        limit, scores = react(weight, bias, validation, test, percentile)
        values["react"].append({"percentile": percentile, "limit": limit, "scores": scores})
        values["ash"].append({"percentile": percentile, **{
            form: shaped(weight, bias, test, percentile, form) for form in ("prune", "binarize", "scale", "all")}})
        limit, scores = dice(weight, bias, train, test, percentile)
        values["dice"].append({"percentile": percentile, "limit": limit, "scores": scores})
    return values


def known(name, values, expected):
    """Published numbers have nine digits after the point and the other sign; they may be rounded or cut off."""
    for value, number in zip(values, expected, strict=True):
        assert abs(value + number) < 1.01e-9, (name, value, number)


def fixture():
    n, d, k = np.arange(12), np.arange(4), np.arange(3)
    train = np.abs(1.5 * np.sin(0.3 + 0.7 * (4 * n[:, None] + d)))
    labels = n % 3
    weight = (1.2 * np.sin(0.5 + 1.3 * (4 * k[:, None] + d))).T
    bias = 0.2 * np.sin(3.0 + k)
    test = np.array([[.5, 1, .2, .8], [3, .1, 2.5, 0]])
    train_logits, test_logits = train @ weight + bias, test @ weight + bias
    p = softmax(test_logits)
    values = detectors(weight, bias, train, train_logits, labels, train, test, test_logits, neighbours=(1, 3),
                       dimensions=(1, 2), percentiles=(50, 90), guides=(1, 3))
    known("logits", -test_logits.ravel(), (.58093785, .355779624, -.269291499, 1.995759644, .651525441, -1.406989601))
    known("MSP", -p.max(axis=1), (.449295478, .772785016))
    known("energy", -log_sum_exp(test_logits), (1.381012378, 2.253514029))
    known("entropy", -entropy(p), (1.044078560, .616128632))
    known("GEN", generalized_entropy(p, .1, 3), (-2.562971499, -2.365010496))
    known("T = 1000", -softmax(test_logits / 1000).max(axis=1), (.333452821, .333860867))
    known("MDS", values["mahalanobis"], (-90.109349868, -417.223646550))
    known("RMDS", values["relativeMahalanobis"], (-20.612916098, -93.013984085))
    known("KNN 1", values["knn"][0]["scores"], (-.225205947, -.492376307))
    known("KNN 3", values["knn"][1]["scores"], (-.309759555, -.573948424))
    known("alpha", [-values["vim"][0]["alpha"], -values["vim"][1]["alpha"]], (1.794344460, 3.042248661))
    known("ViM 1", values["vim"][0]["scores"], (.187689246, -2.845291363))
    known("ViM 2", values["vim"][1]["scores"], (-.386471892, -5.750405025))
    known("ReAct limit", [-values["react"][1]["limit"]], [1.477315639])
    known("ReAct", values["react"][1]["scores"], (1.381012378, 1.650363331))
    known("ASH-P", values["ash"][0]["prune"], (1.404031404, 2.148844803))
    known("ASH-B", values["ash"][0]["binarize"], (1.483844636, 2.214449645))
    known("ASH-S", values["ash"][0]["scale"], (2.790914994, 5.187641090))
    known("SCALE", values["ash"][0]["all"], (2.810209713, 5.507502814))
    known("GradNorm", values["gradNorm"], (2.120126628, 14.765576533))
    known("DICE", values["dice"][0]["scores"], (2.185418696, 3.388704496))
    known("fDBD", values["fdbd"], (.400614402, .591328665))
    return inputs(weight, bias, train, train_logits, labels, train, test, test_logits), values


def inputs(weight, bias, train, train_logits, labels, validation, test, test_logits):
    return {"weight": golden.array(weight), "bias": golden.array(bias), "features": golden.array(train),
            "logits": golden.array(train_logits), "labels": labels, "validation": golden.array(validation),
            "testFeatures": golden.array(test), "testLogits": golden.array(test_logits)}


def random_rows(random, is_singular):
    """Rectified features around a mean a class, as a trained network has them; all numbers are singles."""
    classes, width = 4, 10
    single = lambda values: np.asarray(values, np.float32).astype(float)
    means = random.gamma(1.5, 1.0, size=(classes, width))

    def rows(count, shift=0.0):
        labels = random.randint(classes, size=count)
        return np.maximum(0, means[labels] + random.normal(size=(count, width)) + shift), labels

    train, labels = rows(200)
    validation, _ = rows(60)
    test = np.concatenate([rows(12)[0], rows(12, shift=0.7)[0]])
    weight, bias = 0.6 * (means - means.mean(axis=0)).T, random.normal(size=classes) * 0.3
    if is_singular:
        # One feature that is dead, one that is half another, one row of zeros on either side, a class without rows
        # and one that no row of its own is taken for.
        for part in (train, validation, test):
            part[:, 3] = 0
            part[:, 7] = single(part[:, 2]) / 2
            part[0] = 0
        labels[labels == 1] = 2
        bias[0] = -20
    weight, bias, train, validation, test = map(single, (weight, bias, train, validation, test))
    train_logits, test_logits = single(train @ weight + bias), single(test @ weight + bias)
    values = detectors(weight, bias, train, train_logits, labels, validation, test, test_logits,
                       neighbours=(1, 7, 50), dimensions=(3, 5), percentiles=(50, 65, 90, 95), guides=(1, 20))
    arrays = inputs(weight, bias, train, train_logits, labels, validation, test, test_logits)
    return to_single(arrays), values


def to_single(arrays):
    """The same arrays, to be written with as many digits as singles need."""
    for item in arrays.values():
        if isinstance(item, dict):
            item["values"] = np.asarray(item["values"], np.float32)
    return arrays


def samples(random):
    """Scores of predictions: five samples of logits with weights of their own."""
    logits = (random.normal(size=(5, 16, 12)) + 2 * random.normal(size=(16, 12))).astype(np.float32).astype(float)
    weights = random.dirichlet([3] * 5)
    p = softmax(logits)
    mean = np.tensordot(weights, p, 1)
    values = {
        "maximumLogit": -np.tensordot(weights, logits, 1).max(axis=1),
        "generalizedEntropy": generalized_entropy(mean, .1, 100),
        "generalizedEntropyOfThree": generalized_entropy(mean, .5, 3),
        "expectedEntropy": np.tensordot(weights, entropy(p), 1),
        "probabilityVariance": np.tensordot(weights, (p - mean) ** 2, 1).mean(axis=1),
    }
    return {"logits": {"shape": list(logits.shape), "values": logits.astype(np.float32)}, "weights": weights}, values


def main():
    folder = golden.folder("Detectors")
    origin = {"script": "make_detectors.py", "versions": golden.versions("numpy"), "seed": SEED}
    random = np.random.RandomState(SEED)
    cases = {"fixture-D": fixture(), "random": random_rows(random, is_singular=False),
             "singular": random_rows(random, is_singular=True), "samples": samples(random)}
    for name, (arrays, values) in cases.items():
        golden.write_json(os.path.join(folder, name + ".json"), {**origin, "inputs": arrays, "expected": values})
    golden.report(folder)


if __name__ == "__main__":
    main()
