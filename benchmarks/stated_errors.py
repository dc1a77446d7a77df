"""Do the solver's stated errors hold? Its distance from networks of infinite width, over stated error and their noise.

    python benchmarks/stated_errors.py [setting ...]      writes benchmarks/results/stated_errors.json

Settings are drawn (stated_settings.py), networks stored (stated_networks.py). What was measured with the same code is
kept: an interrupted run goes on where it stopped.
"""

import hashlib
import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from stated_networks import NAMES, experiment, known, load
from stated_settings import draw

import dmftlib as dl
from tools import chapters, costs

RESULTS = Path(__file__).with_name("results") / "stated_errors.json"
LEVELS = {"default": {}, "fine": dict(samples=16384, tol=1e-4)}
SEED = 0
ROUNDING = 2**-11 / 3**0.5  # of half precision
# Networks have no usable limit where lines in 1/N through two pairs of widths are this far apart, by more than four
# standard errors, or where the mean that they leave is known no better than to UNKNOWN, half its size.
APART, BEYOND_NOISE, UNKNOWN = 0.2, 4.0, 0.5
ENGINE = ("activations", "experiment", "lazy", "meanfield", "rules", "step")


def code():
    """A digest of the files that a solution depends on."""
    files = [Path(dl.__file__).with_name(f"{name}.py") for name in ENGINE]
    folder = Path(dl.__file__).with_name("meanfield")
    files = [file for file in files if file.exists()] + sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def of_networks(reference):
    """What networks know: how well, the largest relative error of f, Φ or K, and why they have no usable limit, or ""."""
    error = known(reference)
    if np.isinf(error):
        return dict(known=None, no_limit="nearly all networks of some widths diverged")
    if reference["diverged"].max() > 0:
        return dict(
            known=None, no_limit=f"up to {100 * reference['diverged'].max():.1f} % of those of a width diverged"
        )
    reason = f"their mean is known to {100 * error:.0f} % only" if error > UNKNOWN else ""
    for name in ("f", "Phi", "K"):
        noise = reference[f"{name}_se"] / np.linalg.norm(reference[name])
        if (far := reference[f"{name}_apart"]) > max(APART, BEYOND_NOISE * noise):
            reason = f"lines through two pairs of widths differ by {100 * far:.0f} % in {name}"
    return dict(known=float(f"{error:.3g}"), no_limit=reason)


def compare(run, reference):
    """By quantity, relative to the reference's norm: distance, stated error, networks' error, and their ratio.

    The stated error is the quadrature of the two that the solver states: they have different causes, noise and truncation.
    Networks' error is the quadrature of their standard error, of what the extrapolation in 1/N may leave out, and of the
    half precision in which they are stored.
    """
    found = {}
    for name in NAMES:
        a, b = getattr(run, name), reference[name]
        a = a.reshape(b.shape)
        stated = np.hypot(*(run.provenance.errors[source][name] for source in ("monte_carlo", "tol")))
        stated = stated * np.linalg.norm(a)
        norm = np.linalg.norm(b) or 1.0
        networks = np.linalg.norm([reference[f"{name}_se"], reference[f"{name}_systematic"], ROUNDING * norm])
        distance, total = np.linalg.norm(a - b), max(np.hypot(stated, networks), 1e-300)
        values = dict(distance=distance / norm, stated=stated / norm, networks=networks / norm, ratio=distance / total)
        found[name] = {key: float(f"{value:.4g}") for key, value in values.items()}
    return found


def measure(setting, level):
    """One row: what the solver says of one setting, and how far it is from networks."""
    reference = load(setting.name)
    row = dict(setting=setting.name, level=level, about=str(setting), lr=float(reference["lr"]), code=code())
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run = dl.meanfield.solve(experiment(setting, row["lr"]), seed=SEED, dtype=setting.dtype, **LEVELS[level])
        except (dl.Diverged, ValueError, RuntimeError, MemoryError) as error:
            run, row["raised"] = None, f"{type(error).__name__}: {error}"
    row |= of_networks(reference) | dict(
        said=sorted({str(w.message) for w in caught}), cpu=round(time.process_time() - start, 1)
    )
    if run is not None:
        row["rank"] = [list(pair) for pair in run.provenance.rank]
        row["errors"] = {s: {n: float(f"{e:.4g}") for n, e in by.items()} for s, by in run.provenance.errors.items()}
        if "K" in reference:
            row["quantities"] = compare(run, reference)
    return row


def rows():
    """The rows measured so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []


def keep(row):
    """Put a row among the others, in place of an older one of its setting and level."""
    key = lambda r: (r["setting"], r["level"])  # noqa: E731
    kept = sorted([r for r in rows() if key(r) != key(row)] + [row], key=key)
    state = chapters.state()
    about = {name: state[name] for name in ("commit", "dirty", "date")} | {"processor": costs.processor()}
    about |= state["machine"] | dict(python=sys.version.split()[0], jax=version("jax"), levels=LEVELS)
    chapters.write_text(json.dumps(dict(about=about, rows=kept), indent=1) + "\n", RESULTS)


def main(names):
    settings, now = draw(), code()
    done = {(row["setting"], row["level"]) for row in rows() if row["code"] == now}
    for name in names or settings:
        for level in LEVELS:
            if (name, level) in done:
                continue
            row = measure(settings[name], level)
            keep(row)
            said = row.get("raised") or {k: v["ratio"] for k, v in row.get("quantities", {}).items()}
            print(row["about"], level, f"{row['cpu']} s", said, row["said"], row["no_limit"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
