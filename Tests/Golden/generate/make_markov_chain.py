"""Steps of Markov chains over weights, by NumPy in double precision from the formulas as published.

    python make_markov_chain.py

writes Tests/Golden/MarkovChain/kernels.json: for each kernel the settings, and the positions after every step
[steps, weights] and what is remembered after the last, from the same starts, gradients of mean losses, noise and penalties.
Gradients are given and do not follow from the positions.

`as-released` is the step of Ke and Fan's code as described in words (their preconditioner included), `scale-adapted` the one
of Springenberg et al. 2016 with all in the units of U = N F, as they write it, brought back to those of F at the end.
"""
import os

import numpy as np

import golden

SEED = 31
STEPS, WEIGHTS, ROWS = 25, 6, 400
STEP_SIZE = 0.04


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def main():
    random = np.random.default_rng(SEED)
    start = random.normal(size=WEIGHTS)
    gradients = random.normal(size=(STEPS, WEIGHTS)) * [0.5, 1, 2, 0.1, 0.01, 1]
    noise = random.normal(size=(STEPS, WEIGHTS))
    first = random.normal(size=(2, WEIGHTS))
    strengths = np.array([5e-4, 1e-3, 0, 0.1, 5e-4, 0.2])
    centres = np.array([0, 0.3, 0, -1, 0, 2.0])
    temperature = 0.7 / ROWS
    h = STEP_SIZE
    kernels = {}

    def keep(name, settings, positions, **remembered):
        kernels[name] = {
            "settings": settings, "positions": golden.array(np.array(positions)),
            **{key: golden.array(value) for key, value in remembered.items()}}

    # SGLD
    w, positions = start.copy(), []
    for g, e in zip(gradients, noise):
        total = g + strengths * (w - centres)
        w = w - h * total + np.sqrt(2 * h * temperature) * e
        positions.append(w)
    keep("langevin", {"temperature": temperature}, positions)

    # pSGLD, with U = N F and its step ε = 2 h / N.
    w, v, positions = start.copy(), np.zeros(WEIGHTS), []
    epsilon = 2 * h / ROWS
    for g, e in zip(gradients, noise):
        v = 0.9 * v + 0.1 * g * g
        p = 1 / (1e-2 + np.sqrt(v))
        gradient_of_u = ROWS * (g + strengths * (w - centres))
        # At the posterior's temperature the noise has variance ε P; at λ times it, λ times that.
        w = w - epsilon / 2 * p * gradient_of_u + np.sqrt(0.7 * epsilon * p) * e
        positions.append(w)
    keep("preconditioned-langevin", {"temperature": temperature, "decay": 0.9, "floor": 1e-2}, positions, scale=v)

    # SGHMC
    w, m, positions = start.copy(), np.zeros(WEIGHTS), []
    eta = h / ROWS
    for g, e in zip(gradients, noise):
        gradient_of_u = ROWS * (g + strengths * (w - centres))
        m = (1 - 0.2) * m - eta * gradient_of_u + np.sqrt(2 * (0.2 - 0.05) * eta * 0.7) * e
        w = w + m
        positions.append(w)
    keep("hamiltonian", {"temperature": temperature, "friction": 0.2, "gradientNoise": 0.05}, positions, momentum=m)

    # Scale-adapted SGHMC at the posterior's own temperature, in the units of U: V̂ = N² V, h̃² = h.
    w, m, v, positions = start.copy(), np.zeros(WEIGHTS), np.zeros(WEIGHTS), []
    for g, e in zip(gradients, noise):
        v = 0.9 * v + 0.1 * g * g
        inverse = 1 / (ROWS * (1e-2 + np.sqrt(v)))  # V̂^(-1/2), with the floor of the kernel
        gradient_of_u = ROWS * (g + strengths * (w - centres))
        variance = 2 * h * 0.2 * inverse - (h * inverse) ** 2 * (ROWS**2 * v)
        m = (1 - 0.2) * m - h * inverse * gradient_of_u + np.sqrt(np.maximum(0, variance)) * e
        w = w + m
        positions.append(w)
    keep("scale-adapted", {"temperature": 1 / ROWS, "friction": 0.2, "decay": 0.9, "floor": 1e-2}, positions,
         momentum=m, scale=v)

    # As released: e of the step before belongs to the gradient.
    for name, level in (("as-released", ROWS**-0.5), ("as-released-cold", 1 / ROWS)):
        beta1, beta2, eta = 0.1, 1.0, 0.1
        c = np.sqrt(h)
        w, m, e, rho = start.copy(), 0.001 * first[0], first[1], np.zeros(WEIGHTS)
        tau, positions = np.full(WEIGHTS, 0.5), []
        for g, fresh in zip(gradients, noise):
            rho = rho - eta * (level**2 * c**3 * strengths * tau + level * c**1.5 * e * g - 1 / (ROWS * tau))
            tau = sigmoid(rho)
            e = fresh
            m = (beta1 * m - c**2 * beta2 * (g + strengths * (w - centres))
                 + np.sqrt(2 + 2 * beta1**2) * c**1.5 * level * e)
            w = w + tau * m
            positions.append(w)
        keep(name, {"noiseLevel": level}, positions, momentum=m, scale=rho)

    # Tempered: deviations stay at one half.
    w, m, positions = start.copy(), 0.001 * first[0], []
    for g, e in zip(gradients, noise):
        m = (0.3 * m - h * (g + strengths * (w - centres)) + np.sqrt(2 * (1 - 0.3) * h * temperature / 0.5) * e)
        w = w + 0.5 * m
        positions.append(w)
    keep("tempered", {"temperature": temperature, "momentum": 0.3}, positions, momentum=m)

    folder = golden.folder("MarkovChain")
    golden.write_json(os.path.join(folder, "kernels.json"), {
        "script": "make_markov_chain.py", "versions": golden.versions("numpy"), "seed": SEED, "stepSize": h, "rowCount": ROWS,
        "start": golden.array(start), "first": golden.array(first), "gradients": golden.array(gradients),
        "noise": golden.array(noise), "strengths": golden.array(strengths), "centres": golden.array(centres),
        "kernels": kernels})
    golden.report(folder)


if __name__ == "__main__":
    main()
