"""Cost of the mean field against samples, steps and inputs, and beside networks that know K as well; networks against width.

    python benchmarks/scaling.py [samples] [powers] [long] [deep] [shallow] [width]      writes benchmarks/results/<part>.json

Cost is seconds of the processor, all cores added, after compilation (see speed.py).
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import reference
from speed import SAMPLES, SEEDS, coarse, digits, fresh, measure, peak, show, timed

import dmftlib as dl

# Networks that are trained of each width, by hidden layers: many narrow ones, whose bias is to be told from their noise.
NETWORKS = {
    3: {64: 640, 128: 256, 256: 128, 512: 32, 1024: 8, 2048: 5},
    1: {64: 640, 128: 512, 256: 256, 512: 256, 1024: 128, 2048: 128, SAMPLES: 64},
}
WIDEST = 2048  # networks of this width alone are one of the routes


def warm(run, repeats=2):
    """The result, and the least processor seconds of `repeats` calls after one that compiles."""
    run()
    results = [timed(run) for _ in range(repeats)]
    return results[-1][0], min(seconds["cpu"] for _, seconds in results)


def power(x, y):
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


# --- Exponents --------------------------------------------------------------------------------------------------------


def fresh_samples(count):
    before = peak()
    _, seconds = warm(lambda: dl.meanfield.solve(reference.CASES["gd-3"], int(count)))
    return dict(x=int(count), cpu=seconds, memory=peak() - before)


def samples(counts=(4096, 8192, 16384, 32768)):
    """gd-3 against samples; memory is what the run adds to the imports."""
    rows = [show(fresh(__file__, "samples", count)) for count in counts]
    x, cpu, memory = ([row[name] for row in rows] for name in ("x", "cpu", "memory"))
    return dict(rows=rows, cpu=power(x, cpu), memory=power(x, memory))


def against(axis, values, experiment, solve):
    """Cost and rank at each value, and the powers of the value that they follow: all points, and the last two."""
    rows = []
    for value in values:
        one = experiment(value)
        run, cpu = warm(lambda one=one: solve(one))
        rows.append(show(dict(x=value, cpu=cpu, rank=sum(map(sum, run.provenance.rank)))))
    x, cpu, rank = (np.array([row[name] for row in rows]) for name in ("x", "cpu", "rank"))
    fits = {
        name: dict(
            cpu=power(x[part], cpu[part]), rank=power(x[part], rank[part]), at_rank=power(x[part], (cpu / rank)[part])
        )
        for name, part in (("all", slice(None)), ("last", slice(-2, None)))
    }
    return dict(axis=axis, rows=rows, powers=fits)


def powers(steps=(50, 100, 200, 400, 800, 1600), inputs=(10, 40, 160, 640, 1500)):
    """GD in two tanh layers: steps at 10 random inputs and the default tol, digits at the largest tol and 20 steps."""

    def long(T):
        return dl.Experiment(reference.RANDOM_25, dl.GD(), 2, "tanh", 1.5, 0.02, T)

    def ends(e):
        return dl.meanfield.solve(e, SAMPLES, kernels_at=(0, e.steps - 1))

    in_T = against("T", steps, long, ends)
    return dict(T=in_T, P=against("P", inputs, lambda P: digits(P, gamma0=1.0, steps=20), coarse))


# --- Long runs --------------------------------------------------------------------------------------------------------

SUBSTEPS, WIDE = 16, 1024  # of a step, and neurons of the networks


def long_run(rule, updates=1600, gamma0=1.5, lr=0.004):
    """Steps of `SUBSTEPS` beside one by one: cost, the error that they state, and their distance in networks, which have no noise."""
    e = dl.Experiment(reference.RANDOM_25, reference.RULES[rule], 2, "tanh", gamma0, lr, updates + 1)
    few = replace(e, lr=SUBSTEPS * lr, steps=updates // SUBSTEPS + 1, substeps=SUBSTEPS)
    dl.meanfield.solve(replace(few, steps=3), SAMPLES)
    (every, cpu), (run, less) = (timed(lambda x=x: dl.meanfield.solve(x, SAMPLES)) for x in (e, few))
    wide, other = (dl.network.train(x, WIDE) for x in (e, few))

    def apart(a, b, name):
        a, b = getattr(a, name), getattr(b, name)[::SUBSTEPS]
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    row = dict(rule=rule, cpu=cpu["cpu"], less=less["cpu"], ratio=cpu["cpu"] / less["cpu"])
    for name in ("f", "K"):
        row |= {f"{name}_{source}": errors[name] for source, errors in run.provenance.errors.items()}
        row |= {f"{name}_networks": apart(other, wide, name), f"{name}_samples": apart(run, every, name)}
    return show(row)


def long():
    """1600 updates in two tanh layers, 10 random inputs."""
    return dict(substeps=SUBSTEPS, updates=1600, samples=SAMPLES, width=WIDE, rows=[long_run(r) for r in ("gd", "dfa")])


# --- Networks without matrices ------------------------------------------------------------------------------------------

DENSE = 4096  # width of the network with matrices, whose cost grows with the square of the width


def fresh_width(width, revealed):
    """Seconds and memory of gd-3 at one width, after a narrow network has compiled what does not depend on it."""

    def network(N):
        return dl.network.train(reference.CASES["gd-3"], N, revealed=revealed == "True")

    if revealed == "True":
        network(64)
    else:
        network(int(width))
    before = peak()
    run, seconds = timed(lambda: network(int(width)))
    return dict(x=int(width), **seconds, memory=peak() - before, rank=run.provenance.rank)


def width(widths=(1024, 4096, 16384, 65536, 100_000)):
    """gd-3 without matrices against its width, with the power that the cost follows from `DENSE` on, and with them at `DENSE`.

    `ratio` is what a network with matrices would cost at each width, as the square of the width, over what this one does.
    """
    dense = show(fresh(__file__, "width", DENSE, False))
    rows = [show(fresh(__file__, "width", N, True)) for N in widths]
    for row in rows:
        row["ratio"] = dense["cpu"] * (row["x"] / DENSE) ** 2 / row["cpu"]
    wide = [row for row in rows if row["x"] >= DENSE]
    x, cpu = ([row[name] for row in wide] for name in ("x", "cpu"))
    return dict(dense=dense, rows=rows, cpu=power(x, cpu))


# --- Networks at equal error ------------------------------------------------------------------------------------------


def needed(allowed, variance, bias):
    """Networks whose mean has the squared error `allowed`, variance/J + bias² being theirs; inf if bias² is above it."""
    return max(1.0, variance / (allowed - bias)) if allowed > bias else np.inf


def extrapolated(allowed, narrow, wide, bias):
    """The least cost of a line in 1/N through two widths that has the squared error `allowed` at 1/N = 0.

    narrow, wide are (N, seconds and variance of one network); the line weighs their means with w, and the cheapest
    numbers of networks give (Σ |w| √(seconds·variance))²/(allowed − bias²).
    """
    (n, *first), (N, *second) = narrow, wide
    weights = n / (N - n), N / (N - n)
    parts = [w * np.sqrt(seconds * variance) for w, (seconds, variance) in zip(weights, (first, second))]
    least = first[0] + second[0]  # one of each
    return max(least, sum(parts) ** 2 / (allowed - bias)) if allowed > bias else np.inf


def one_wide(allowed, narrow, wide):
    """Width and seconds of a single network of the squared error `allowed`, extrapolated from two: (N, seconds, its
    squared error), which falls as 1/N, while seconds grow with the power of N between the two."""
    (n, less, _), (N, seconds, error) = narrow, wide
    width = N * error / allowed
    return width, seconds * (width / N) ** power([n, N], [less, seconds])


def split(values, truth, noise):
    """Mean over the first axis, and variance and bias² of one value, relative to the truth's norm; bias² is unbiased."""
    J, square, mean = len(values), np.linalg.norm(truth) ** 2, values.mean(axis=0)
    variance = np.linalg.norm(values - mean) ** 2 / (J - 1) / square
    return mean, variance, np.linalg.norm(mean - truth) ** 2 / square - variance / J - noise


def of_width(experiment, truth, noise, width, J):
    """Networks of one width: seconds of one, and variance and bias² of K; and their mean K."""
    dl.network.train(experiment, width)
    runs = [timed(lambda s=seed: dl.network.train(experiment, width, s).K) for seed in range(width, width + J)]
    mean, variance, bias = split(np.stack([K for K, _ in runs]), truth, noise)
    cpu = float(np.median([seconds["cpu"] for _, seconds in runs]))
    return dict(width=width, networks=J, cpu=cpu, variance=variance, bias=bias), mean


def routes(allowed, rows, pair, line):
    """Seconds that networks pay by every route for the squared error `allowed`, with the widths that they use.

    rows are those of `of_width`; pair, line the widths and seconds of the cheapest line. Chance may leave a bias² below
    0, which counts as 0, or above that of narrower networks, which then counts: both favour networks.
    """
    widths = [row["width"] for row in rows]
    bias = dict(zip(widths, np.minimum.accumulate([max(row["bias"], 0.0) for row in rows])))
    rows = {row["width"]: row for row in rows}
    error = {N: rows[N]["variance"] + bias[N] for N in widths}
    ensemble = {N: rows[N]["cpu"] * needed(allowed, rows[N]["variance"], bias[N]) for N in widths}
    narrow = min((N for N in widths if N < WIDEST), key=ensemble.get)
    width, wide = one_wide(allowed, *((N, rows[N]["cpu"], error[N]) for N in (WIDEST // 2, WIDEST)))
    costs = dict(widest=ensemble[WIDEST], narrow=ensemble[narrow], line=line, wide=wide)
    return costs, dict(narrow=narrow, pair=list(pair), width=width), error


def equal_error(case):
    """The mean field's cost and squared error of K, variance + bias², and what networks pay for the same.

    What chance leaves of a bias² below 0 counts as 0, which favours networks: the error that they are to reach is larger.
    """
    experiment, stored = reference.CASES[case], reference.load(case)
    truth, noise = stored.K, (stored.standard_error["K"] / np.linalg.norm(stored.K)) ** 2
    dl.meanfield.solve(experiment, SAMPLES)
    runs = [timed(lambda seed=seed: dl.meanfield.solve(experiment, SAMPLES, seed)) for seed in SEEDS]
    _, variance, bias = split(np.stack([run.K for run, _ in runs]), truth, noise)
    allowed, cost = variance + max(bias, 0), float(np.median([seconds["cpu"] for _, seconds in runs]))
    found = {N: of_width(experiment, truth, noise, N, J) for N, J in NETWORKS[experiment.hidden_layers].items()}
    rows = {N: row for N, (row, _) in found.items()}

    def line(pair):
        n, N = pair
        weights = {n: -n / (N - n), N: N / (N - n)}
        off = sum(w * found[width][1] for width, w in weights.items()) - truth
        spread = sum(w**2 * rows[width]["variance"] / rows[width]["networks"] for width, w in weights.items())
        bias = np.linalg.norm(off) ** 2 / np.linalg.norm(truth) ** 2 - spread - noise
        return extrapolated(allowed, *((M, rows[M]["cpu"], rows[M]["variance"]) for M in pair), max(bias, 0))

    pair = min(combinations([N for N in rows if N <= WIDEST], 2), key=line)
    return summary(case, cost, variance, bias, list(rows.values()), pair, line(pair))


def summary(case, cost, variance, bias, rows, pair, line):
    """One row of the results: what was measured, and the ratios that follow from it."""
    allowed = variance + max(bias, 0)
    costs, with_widths, error = routes(allowed, rows, pair, line)
    row = dict(case=case, cpu=cost, error=allowed**0.5, widest_error=error[WIDEST] ** 0.5)
    row |= {f"ratio_{name}": None if np.isinf(c) else c / cost for name, c in costs.items()} | with_widths
    if SAMPLES in error:
        row |= dict(same_size=rows[-1]["cpu"] / cost, same_size_error=error[SAMPLES] ** 0.5)
    return show(row) | dict(variance=variance, bias=bias, widths=rows)


def rules(layers):
    return dict(samples=SAMPLES, seeds=len(SEEDS), rows=[equal_error(f"{rule}-{layers}") for rule in reference.RULES])


def deep():
    """Every rule in three tanh layers."""
    return rules(3)


def shallow():
    """Every rule in one ReLU layer, with networks as wide as the mean field has samples."""
    return rules(1)


PARTS = dict(samples=samples, powers=powers, long=long, deep=deep, shallow=shallow, width=width)

if __name__ == "__main__":
    measure(__file__, PARTS, dict(samples=fresh_samples, width=fresh_width))
