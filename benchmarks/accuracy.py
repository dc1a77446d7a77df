"""Accuracy of the mean field solver: the effect of tol, and what the known start removes.

python benchmarks/accuracy.py
"""

import numpy as np
import reference

import dmftlib as dl
from dmftlib.meanfield import solver

KERNELS = ("f", "Phi", "G_tilde", "K")


def tol_power(samples=8192, seeds=3):
    """Change of f, Φ, G̃, K with tol against 1e-5, same draws, averaged over seeds: the power of tol it follows."""
    experiment, tols = reference.CASES["gd-3"], (1e-2, 1e-3, 1e-4)
    runs = {(tol, s): dl.meanfield.solve(experiment, samples, s, tol) for tol in (*tols, 1e-5) for s in range(seeds)}
    print(f"\ntruncation, gd-3, samples = {samples}, mean change against tol = 1e-5 over {seeds} seeds")
    for name in KERNELS:
        norm = np.linalg.norm(getattr(runs[1e-5, 0], name))
        change = [
            np.linalg.norm(sum(getattr(runs[tol, s], name) - getattr(runs[1e-5, s], name) for s in range(seeds)))
            / seeds
            / norm
            for tol in tols
        ]
        power = np.polyfit(np.log(tols), np.log(change), 1)[0]
        print(f"  {name:<8}", ", ".join(f"{100 * c:.2g} %" for c in change), f"at tol {tols}: power {power:.2f}")


def known_start(seeds=6, steps=12):
    """Errors of f, Φ, G, K with and without the correction by the exact kernels at step 0, and what is stated of them."""
    correct = solver.without_known_noise
    for activation in ("relu", "tanh"):
        e = dl.Experiment(dl.Task.random(4, 10, seed=1), dl.GD(), 3, activation, 1.0, 0.05, steps)
        fine = [dl.meanfield.solve(e, 32768, 100 + seed, 1e-4) for seed in range(3)]
        truth = dl.meanfield.average(fine)
        for label, function in (("corrected", correct), ("as sampled", lambda *_: {})):
            solver.without_known_noise = function
            runs = [dl.meanfield.solve(e, seed=seed) for seed in range(seeds)]
            print(f"\n{activation}, L = 3, 4096 samples, kernels {label}: rms error over {seeds} seeds (stated)")
            for name in ("f", "Phi", "G", "K"):
                value = getattr(truth, name)
                off = [np.linalg.norm(getattr(run, name) - value) / np.linalg.norm(value) for run in runs]
                stated = [run.provenance.errors["monte_carlo"][name] for run in runs]
                print(f"  {name:<4} {100 * np.sqrt(np.mean(np.square(off))):.2f} % ({100 * np.mean(stated):.2f} %)")
    solver.without_known_noise = correct


if __name__ == "__main__":
    known_start()
    tol_power()
