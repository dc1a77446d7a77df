"""Wide-network references for the mean field solver: ensembles at two widths, extrapolated in 1/N.

    python benchmarks/reference.py [case ...]      writes benchmarks/reference-<case>.npz

The stored arrays are the extrapolated means and their standard errors; `load` reads them back.
"""

import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import dmftlib as dl

# ReLU gates close at h = 0, where training piles up neurons: the finite-width bias of G then falls more slowly
# than 1/N at moderate widths (benchmarks/accuracy.py measures it), so its reference uses wider networks.
WIDTHS = {"relu-1": (2048, 4096), "tanh-3": (512, 1024)}
SEEDS = {"relu-1": 640, "tanh-3": 320}  # a width
CASES = {
    "relu-1": lambda: dl.Experiment(dl.Task.random(10, 50, seed=1), dl.GD(), 1, "relu", gamma0=2.0, lr=0.05, steps=100),
    "tanh-3": lambda: dl.Experiment(dl.Task.random(10, 25, seed=0), dl.GD(), 3, "tanh", gamma0=1.5, lr=0.05, steps=60),
}
OBSERVABLES = ("f", "Phi", "G", "G_tilde", "K", "G_tilde_tilde")


def path(case):
    """Where the reference of a case is stored."""
    return Path(__file__).with_name(f"reference-{case}.npz")


def load(case):
    """The stored reference of a case, as an Ensemble of infinite width."""
    with np.load(path(case)) as stored:
        arrays = {name: stored[name].astype(float) for name in stored.files}
    error = {name: arrays.pop(f"{name}_se") for name in OBSERVABLES}
    seeds = tuple(int(s) for s in arrays.pop("seeds"))
    return dl.network.Ensemble(CASES[case](), float("inf"), seeds, **arrays, standard_error=error)


def build(case):
    """Train the ensembles of a case and store their extrapolation."""
    experiment, start = CASES[case](), time.perf_counter()
    # Other seeds at every width, so that the two errors are independent.
    ensembles = [
        dl.network.ensemble(experiment, N, tqdm(range(k * SEEDS[case], (k + 1) * SEEDS[case]), desc=f"{case}, N = {N}"))
        for k, N in enumerate(WIDTHS[case])
    ]
    limit = dl.network.extrapolate(ensembles)
    arrays = {name: getattr(limit, name).astype(np.float32) for name in OBSERVABLES}
    arrays |= {f"{name}_se": limit.standard_error[name].astype(np.float32) for name in OBSERVABLES}
    np.savez_compressed(path(case), seeds=np.array(limit.seeds), **arrays)
    print(f"{case}: {time.perf_counter() - start:.0f} s")
    print(dl.compare(ensembles[-1], limit))


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        build(case)
