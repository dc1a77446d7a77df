"""Wide-network references for the mean field solver: ensembles at two widths, extrapolated in 1/N.

    python benchmarks/reference.py [case ...]      writes benchmarks/references/<case>.npz

A case is a rule, an activation and a depth. Stored are the extrapolated means, in half precision (0.02 %), and the
norm of their standard errors; `load` reads them back.
"""

import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import dmftlib as dl
from dmftlib.results import OBSERVABLES

RULES = {"gd": dl.GD(), "fa": dl.FA(0.5), "dfa": dl.DFA(), "gln": dl.GLN(), "hebb": dl.Hebb()}
RANDOM_50, RANDOM_25 = dl.Task.random(10, 50, seed=1), dl.Task.random(10, 25, seed=0)


def _experiment(rule, L, gamma0=None, lr=0.05, steps=None):
    activation, task = ("relu", RANDOM_50) if L == 1 else ("tanh", RANDOM_25)
    gamma0 = gamma0 or (2.0 if L == 1 else 1.5)
    return dl.Experiment(task, rule, L, activation, gamma0, lr, steps or (100 if L == 1 else 60 if L == 2 else 80))


# Settings in which the rule learns features and lr·λ_max(K) stays below 1.
CASES = {f"{name}-{L}": _experiment(rule, L) for name, rule in RULES.items() for L in (1, 2, 3)}
CASES["gd-3"] = _experiment(dl.GD(), 3, steps=60)
CASES["gln-3"] = _experiment(dl.GLN(), 3, lr=0.025)
# Above γ₀ = 0.5 the spread of Hebbian networks swamps every other difference: errors multiply the features.
CASES |= {f"hebb-{L}": _experiment(dl.Hebb(), L, gamma0=0.5, lr=lr, steps=100) for L, lr in ((1, 0.02), (2, 0.04))}
CASES["hebb-3"] = _experiment(dl.Hebb(), 3, gamma0=0.5, lr=0.02, steps=100)
# Dropping the response D moves this one more than any tolerance.
CASES["hard"] = _experiment(dl.FA(1.0), 3, gamma0=3.0, steps=60)
# Few samples and large steps, where features depend most on what feedback through W(0)ᵀ sent them.
CASES["one"] = dl.Experiment(dl.Task.random(1, 5, seed=0), dl.FA(1.0), 2, "tanh", 3.0, 0.3, 20)
CASES["two"] = dl.Experiment(dl.Task.random(2, 5, seed=0), dl.FA(1.0), 4, "tanh", 3.0, 0.3, 20)

# ReLU gates close at h = 0, where training piles up neurons: the finite-width bias of G then falls more slowly
# than 1/N at moderate widths, so its references use wider networks.
WIDTHS = {case: (2048, 4096) if e.hidden_layers == 1 else (512, 1024) for case, e in CASES.items()}
SEEDS = {case: 320 for case in CASES} | {
    "one": 1280,
    "two": 1280,
    "gd-1": 640,
    "gln-2": 480,
    "gln-3": 480,
    "hebb-2": 480,
    "hebb-3": 480,
}


def path(case):
    """Where the reference of a case is stored."""
    return Path(__file__).with_name("references") / f"{case}.npz"


def load(case):
    """The stored reference of a case, as an Ensemble of infinite width; standard errors are norms over all entries."""
    with np.load(path(case)) as stored:
        arrays = {name: stored[name].astype(float) for name in stored.files}
    error = {name: arrays.pop(f"{name}_se") for name in OBSERVABLES}
    seeds = tuple(int(s) for s in arrays.pop("seeds"))
    return dl.network.Ensemble(CASES[case], float("inf"), seeds, **arrays, G_tilde_tilde=None, standard_error=error)


def save(case, limit):
    """Store what `load` reads."""
    arrays = {name: getattr(limit, name).astype(np.float16) for name in OBSERVABLES}
    arrays |= {f"{name}_se": np.float32(np.linalg.norm(limit.standard_error[name])) for name in OBSERVABLES}
    path(case).parent.mkdir(exist_ok=True)
    np.savez_compressed(path(case), seeds=np.array(limit.seeds), **arrays)


def build(case):
    """Train the ensembles of a case and store their extrapolation."""
    experiment, start = CASES[case], time.perf_counter()
    dtype = "float64" if experiment.hidden_layers == 1 else "float32"  # rounding flips ReLU gates, tanh has none
    # Other seeds at every width, so that the two errors are independent.
    ensembles = [
        dl.network.ensemble(
            experiment, N, tqdm(range(k * SEEDS[case], (k + 1) * SEEDS[case]), f"{case}, N = {N}"), dtype
        )
        for k, N in enumerate(WIDTHS[case])
    ]
    limit = dl.network.extrapolate(ensembles)
    save(case, limit)
    print(f"{case}: {time.perf_counter() - start:.0f} s", flush=True)
    for name in OBSERVABLES:
        mean, error = (np.linalg.norm(x) for x in (getattr(limit, name), limit.standard_error[name]))
        print(f"  {name}: standard error {100 * error / mean:.2g} %", flush=True)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        build(case)
