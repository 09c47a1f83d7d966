"""Two Kronecker forms that laplace-torch does not have, from scratch with dense matrices.

    python make_laplace_forms.py      (after make_laplace.py)

reads the heads of Tests/Golden/Laplace/kron-*.json and writes folded-*.json and factored-*.json
there. In both the bias is folded in: a = [phi; 1], theta is [classes, width + 1] row-major with the
bias last, H = diag p - p p^T, N rows, prior precision tau (log likelihood over all N rows).

folded    precision  P = B (x) A + tau I          B = sum H,            A = mean a a^T
factored  precision  P = (U + sqrt(tau) I) (x) (V + sqrt(tau) I)
                                                  U = sqrt(N) mean H,   V = sqrt(N) mean a a^T

Logit covariance S = J P^-1 J^T with J = I (x) a^T; for the factored form that is
(a^T (V + sqrt(tau) I)^-1 a) (U + sqrt(tau) I)^-1. Log marginal likelihood =
log likelihood - (logdet P - classes (width + 1) log tau + tau |theta|^2) / 2.

Everything inverts or decomposes the dense P itself; no eigenvalue identity is used. As a check, the
separate-bias form is computed in the same way and compared with what laplace-torch wrote.
"""

import glob
import json
import os

import numpy as np

import golden


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def read(item):
    return np.array(item["values"]).reshape(item["shape"])


def hessians(p):
    return np.einsum("nk,kl->nkl", p, np.eye(p.shape[1])) - np.einsum("nk,nl->nkl", p, p)


def ones(x):
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def covariance(precision, jacobians):
    """J P^-1 J^T of every row, by a dense solve."""
    return np.array([j @ np.linalg.solve(precision, j.T) for j in jacobians])


def probit(mean, s):
    return softmax(mean / np.sqrt(1 + np.pi / 8 * np.diagonal(s, axis1=1, axis2=2)))


def evidence(log_likelihood, precision, tau, theta):
    sign, logdet = np.linalg.slogdet(precision)
    assert sign > 0
    return log_likelihood - 0.5 * (logdet - len(precision) * np.log(tau) + tau * (theta ** 2).sum())


def main():
    folder = golden.folder("Laplace")
    origin = {"script": "make_laplace_forms.py", "versions": golden.versions("numpy")}
    for path in sorted(glob.glob(os.path.join(folder, "kron-*.json"))):
        with open(path) as file:
            head = json.load(file)
        name = os.path.basename(path)[len("kron-"):]
        weight, bias, tau = read(head["weight"]), read(head["bias"]), head["priorPrecision"]
        phi, labels, test = read(head["features"]), read(head["labels"]), read(head["test"]["features"])
        rows, (width, classes) = len(phi), weight.shape
        logits, mean = phi @ weight + bias, test @ weight + bias
        p, a, a_test = softmax(logits), ones(phi), ones(test)
        log_likelihood = np.log(p[np.arange(rows), labels]).sum()
        h = hessians(p)
        eye = np.eye(classes)

        # The separate-bias form, as a check of this script against laplace-torch.
        block = np.zeros((classes * (width + 1),) * 2)
        cut = classes * width
        block[:cut, :cut] = np.kron(h.sum(axis=0), phi.T @ phi / rows)
        block[cut:, cut:] = h.sum(axis=0)
        precision = block + tau * np.eye(len(block))
        theta = np.concatenate([weight.T.ravel(), bias])
        s = covariance(precision, [np.hstack([np.kron(eye, row), eye]) for row in test])
        off = [np.abs(s / read(head["test"]["covariance"]) - 1).max(),
               abs(evidence(log_likelihood, precision, tau, theta) - head["logMarginalLikelihood"])]
        assert max(off) < 1e-8, (name, off)

        theta = np.concatenate([weight.T, bias[:, None]], axis=1).ravel()
        jacobians = [np.kron(eye, row) for row in a_test]
        b_sum, a_mean = h.sum(axis=0), a.T @ a / rows
        u, v = np.sqrt(rows) * h.mean(axis=0), np.sqrt(rows) * a_mean
        damped_u, damped_v = u + np.sqrt(tau) * eye, v + np.sqrt(tau) * np.eye(width + 1)
        forms = {
            "folded": (np.kron(b_sum, a_mean) + tau * np.eye(len(theta)), {"B": b_sum, "A": a_mean}),
            "factored": (np.kron(damped_u, damped_v), {"U": u, "V": v}),
        }
        for form, (precision, factors) in forms.items():
            s = covariance(precision, jacobians)
            if form == "factored":
                closed = np.einsum("ni,ij,nj->n", a_test, np.linalg.inv(damped_v), a_test)
                assert np.allclose(s, closed[:, None, None] * np.linalg.inv(damped_u), rtol=1e-10, atol=1e-13)
            value = evidence(log_likelihood, precision, tau, theta)
            golden.write_json(os.path.join(folder, "%s-%s" % (form, name)), {
                **origin, "posterior": "kronecker-" + form,
                **{key: head[key] if not isinstance(head[key], dict) else golden.array(read(head[key]))
                   for key in ("weight", "bias", "priorPrecision", "features", "logits", "labels")},
                **{key: golden.array(factor) for key, factor in factors.items()},
                "logLikelihood": log_likelihood, "logMarginalLikelihood": value,
                "test": {"features": golden.array(test), "logits": golden.array(mean),
                         "covariance": golden.array(s), "probit": golden.array(probit(mean, s))},
            })
            print("%s-%s: log marginal likelihood %.12g, mean variance %.6g (check off by %.0e)" % (
                form, name, value, np.diagonal(s, axis1=1, axis2=2).mean(), max(off)))
    golden.report(folder)


if __name__ == "__main__":
    main()
