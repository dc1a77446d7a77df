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
# Of K, at which costs are compared: below these, biases are too uncertain.
ERRORS = (0.05, 0.03, 0.02, 0.013, 0.01, 0.007, 0.005, 0.004)


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


def by_power(x, rows, name):
    """Seconds at x by the power between the two measured neighbours, or the nearest two beyond the ends."""
    known, cpu = (np.log([row[key] for row in rows]) for key in (name, "cpu"))
    k = int(np.clip(np.searchsorted(known, np.log(x)) - 1, 0, len(known) - 2))
    return float(np.exp(cpu[k] + (cpu[k + 1] - cpu[k]) * (np.log(x) - known[k]) / (known[k + 1] - known[k])))


def samples_for(allowed, ours):
    """The fewest samples of this squared error, of those measured or more, inf if none has it.

    Samples × variance and bias² lie between those measured, and stay as they are for more samples.
    """
    S = np.geomspace(ours[0]["samples"], 1e8, 10_000)  # fewer may not hold all directions
    known = np.log([row["samples"] for row in ours])
    spread = np.interp(np.log(S), known, [row["samples"] * row["variance"] for row in ours])
    bias = np.interp(np.log(S), known, [max(row["bias"], 0.0) for row in ours])
    enough = S[spread / S + bias <= allowed]
    return float(enough[0]) if len(enough) else np.inf


def split(values, truth, noise):
    """Variance and bias² of one of the values along the first axis, relative to the truth's norm; bias² is unbiased."""
    J, square, mean = len(values), np.linalg.norm(truth) ** 2, values.mean(axis=0)
    variance = np.linalg.norm(values - mean) ** 2 / (J - 1) / square
    return variance, np.linalg.norm(mean - truth) ** 2 / square - variance / J - noise


def routes(error, ours, networks, lines):
    """Seconds of each route to a relative error of K, None where its bias is too large, and the sizes that it takes.

    ours      rows of the mean field: samples, seconds, variance, bias²
    networks  rows of networks: width, seconds and variance of one, bias². Chance may leave a bias² below 0, which counts as 0,
              or above that of narrower networks, which then counts: both favour networks
    lines     rows of lines in 1/N: pair of widths, bias²
    """
    allowed, widths = error**2, [row["width"] for row in networks]
    bias = dict(zip(widths, np.minimum.accumulate([max(row["bias"], 0.0) for row in networks])))
    of = {row["width"]: row for row in networks}
    ensembles = {N: of[N]["cpu"] * needed(allowed, of[N]["variance"], bias[N]) for N in widths}
    narrow = min((N for N in widths if N < WIDEST), key=ensembles.get)

    def cost(line):
        pair = ((N, of[N]["cpu"], of[N]["variance"]) for N in line["pair"])
        return extrapolated(allowed, *pair, max(line["bias"], 0.0))

    line = min(lines, key=cost)
    last = widths[-1]  # from which the squared error of one network is to fall as 1/N
    wide = last * (of[last]["variance"] + bias[last]) / allowed
    samples = samples_for(allowed, ours)
    seconds = dict(
        ours=by_power(samples, ours, "samples") if samples < np.inf else np.inf,
        widest=ensembles[WIDEST],
        narrow=ensembles[narrow],
        line=cost(line),
        wide=by_power(wide, networks[-2:], "width"),
    )
    sizes = dict(samples=samples, narrow_width=narrow, pair=list(line["pair"]), wide_width=wide)
    finite = {name: None if np.isinf(value) else value for name, value in (seconds | dict(samples=samples)).items()}
    return dict(error=error, **sizes | finite)


def equal_error(case):
    """What the mean field and networks pay for the same error of K, from what both cost and miss at several sizes.

    The truth is the mean field of many more samples and a smaller tol. It differs from networks of every width by their bias.
    """
    experiment = reference.CASES[case]
    fine = dl.meanfield.average([dl.meanfield.solve(experiment, 8 * SAMPLES, 100 + seed, 1e-4) for seed in SEEDS])
    truth, noise = fine.K, fine.provenance.errors["monte_carlo"]["K"] ** 2
    ours, networks, means, square = [], [], {}, np.linalg.norm(truth) ** 2
    for S in (SAMPLES // 4, SAMPLES, 4 * SAMPLES):
        runs = [timed(lambda S=S, seed=seed: dl.meanfield.solve(experiment, S, seed).K) for seed in SEEDS]
        variance, bias = split(np.stack([K for K, _ in runs]), truth, noise)
        cpu = float(np.median([seconds["cpu"] for _, seconds in runs]))
        ours.append(show(dict(samples=S, cpu=cpu, variance=variance, bias=bias)))
    for N, J in NETWORKS[experiment.hidden_layers].items():
        dl.network.ensemble(experiment, N, range(2))  # which compiles
        mean, seconds = timed(lambda N=N, J=J: dl.network.ensemble(experiment, N, range(N, N + J)))
        means[N], of_mean = mean.K, np.linalg.norm(mean.standard_error["K"]) ** 2 / square
        bias = np.linalg.norm(mean.K - truth) ** 2 / square - of_mean - noise
        networks.append(show(dict(width=N, networks=J, cpu=seconds["cpu"] / J, variance=J * of_mean, bias=bias)))

    def line(n, N):
        weights, spread = {n: -n / (N - n), N: N / (N - n)}, noise
        off = sum(w * means[width] for width, w in weights.items()) - truth
        for row in networks:
            spread += weights.get(row["width"], 0) ** 2 * row["variance"] / row["networks"]
        return dict(pair=[n, N], bias=np.linalg.norm(off) ** 2 / square - spread)

    lines = [line(*pair) for pair in combinations([N for N in means if N <= WIDEST], 2)]
    return dict(case=case, noise=noise**0.5, ours=ours, networks=networks, lines=lines)


def with_routes(row):
    """A row of `equal_error` with what follows from it: the cost of each route to each error."""
    return row | dict(routes=[routes(error, row["ours"], row["networks"], row["lines"]) for error in ERRORS])


def rules(layers):
    rows = [with_routes(equal_error(f"{rule}-{layers}")) for rule in reference.RULES]
    return dict(seeds=len(SEEDS), truth=dict(samples=8 * SAMPLES, tol=1e-4), rows=rows)


def deep():
    """Every rule in three tanh layers."""
    return rules(3)


def shallow():
    """Every rule in one ReLU layer, with networks as wide as the mean field has samples."""
    return rules(1)


PARTS = dict(samples=samples, powers=powers, long=long, deep=deep, shallow=shallow, width=width)

if __name__ == "__main__":
    measure(__file__, PARTS, dict(samples=fresh_samples, width=fresh_width))
