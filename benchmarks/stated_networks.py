"""Networks for the benchmark of stated errors, of the tests' plain numpy loop, and their limit of infinite width.

    python benchmarks/stated_networks.py [setting ...]      writes benchmarks/references/stated/<setting>.npz

Of dmftlib come only the kernels at initialization, which reduce the noise. What is stored already is not trained again.
"""

import sys
import time
from dataclasses import replace
from math import pi, sqrt
from pathlib import Path

import numpy as np
from scipy.special import expit, ndtr
from stated_settings import draw

import dmftlib as dl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy_network

NAMES = ("f", "Phi", "G", "G_tilde", "K")
FOLDER = Path(__file__).with_name("references") / "stated"

# Networks of each width. Their cost is N², their variance 1/N: these numbers make the most of the time for a parabola in
# 1/N. Kinks slow the approach to the limit: they begin with the second line. The next line is taken where some networks
# of one width diverge, as near the edge, and where their mean is known no better than to VAGUE: fluctuations so large
# decide what happens, and 1/N is not small (of s26 the means of N = 64, 128 and 256 are alike, and fall from there).
WIDTHS = [{64: 800, 128: 1600, 256: 600}, {128: 800, 256: 1000, 512: 200}, {256: 800, 512: 500, 1024: 150}]
VAGUE = 0.05
KINKED = {"relu", "abs"}
# Their arithmetic: rounding in float32 is far below the noise, unless updates are small beside the weights.
LEAST_IN_FLOAT32 = 0.1  # of γ₀
TRIED = 64, 300  # width and number of networks none of which may diverge
MOST_CONTROLS, SEEDS_A_CONTROL = 120, 5
FEWEST = 50  # of one width that did not diverge
UNBOUNDED = 100.0  # times the initial loss: such a network diverged

numpy_network.PHI.update(
    softplus=(lambda h: np.logaddexp(0, h), expit),
    gelu=(lambda h: h * ndtr(h), lambda h: ndtr(h) + h * np.exp(-(h**2) / 2) / sqrt(2 * pi)),
    sin=(np.sin, np.cos),
    abs=(np.abs, np.sign),
    own=(lambda h: np.cos(h) + h / 2, lambda h: 0.5 - np.sin(h)),
)


def initial(setting, N, B, rng):
    """All that is random in B networks."""
    D, C, L = setting.X.shape[1], setting.y.shape[1], setting.depth
    shapes = [(B, N, D)] + [(B, N, N)] * (L - 1) + [(B, C, N)]
    dtype = np.float32 if setting.gamma0 >= LEAST_IN_FLOAT32 else np.float64
    drawn = dict(W=[rng.standard_normal(shape, dtype) for shape in shapes])
    if setting.rule == "FA":
        drawn["feedback"] = [None] + [rng.standard_normal(shape, dtype) for shape in shapes[1:]]
    if setting.rule in ("GLN", "DFA"):
        name, shape = ("M", shapes[0]) if setting.rule == "GLN" else ("vector", shapes[-1])
        drawn[name] = [rng.standard_normal(shape, dtype) for _ in range(L)]
    return drawn


def many(setting, lr, N, count, key=0):
    """`count` networks of width N, in groups that fit the processor's cache; those that diverged are NaN."""
    group = max(1, min(count, 1024 // N))
    parts = []
    with np.errstate(all="ignore"):
        for k in range(-(-count // group)):
            rng = np.random.default_rng((int(setting.name[1:]), ord(setting.name[0]), N, key, k))
            drawn, e = initial(setting, N, group, rng), setting
            run = numpy_network.train(e.rule, e.activation, drawn, e.X, e.y, e.gamma0, lr, e.steps, rho=e.rho)
            parts.append({name: run[name] for name in (*NAMES, "start")})
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def bad(setting, runs):
    """Which networks diverged, (B,)."""
    with np.errstate(all="ignore"):
        loss = ((setting.y - runs["f"]) ** 2).mean(axis=(2, 3))
        finite = np.all([np.isfinite(a.reshape(len(a), -1)).all(axis=1) for a in runs.values()], axis=0)
        return ~finite | (loss.max(axis=1) > UNBOUNDED * (setting.y**2).mean())


def step_size(setting, N=128, count=8, halvings=12):
    """lr with which the largest lr·λ(K) of the mean of a few networks is the setting's rate, or less where some of many
    narrow ones would diverge; two digits.

    Beyond the edge (x…) it is that of K at initialization.
    """

    def largest(lr, setting=setting):
        runs = many(setting, lr, N, count, key=1)
        if bad(setting, runs).any():
            return np.inf
        return lr * np.abs(np.linalg.eigvals(runs["K"].mean(axis=0))).max()

    lr = setting.rate / largest(1.0, replace(setting, steps=1))
    if setting.name.startswith("x"):
        return float(f"{lr:.2g}")
    if largest(lr) > setting.rate:
        low, high = np.log(lr / 1e4), np.log(lr)
        for _ in range(halvings):
            middle = (low + high) / 2
            low, high = (low, middle) if largest(np.exp(middle)) > setting.rate else (middle, high)
        lr = np.exp(low)
    while bad(setting, many(setting, float(f"{lr:.2g}"), *TRIED, key=2)).any():
        lr *= 0.8
    return float(f"{lr:.2g}")


# --- The limit of infinite width --------------------------------------------------------------------------------------


def library_activation(name, closed=False):
    """The same activation as dmftlib has it, as a user would write it; with closed forms where lazy kernels need them."""
    import jax
    import jax.numpy as jnp

    if name in ("tanh", "erf", "relu"):
        return name

    def correlation(Sigma):
        sd = np.sqrt(np.diag(Sigma))
        scale = np.outer(sd, sd)
        return scale, np.clip(np.divide(Sigma, scale, out=np.zeros_like(scale), where=scale > 0), -1, 1)

    def abs_abs(Sigma):
        scale, c = correlation(Sigma)
        return scale * 2 / np.pi * (np.sqrt(1 - c**2) + c * np.arcsin(c))

    functions = dict(
        softplus=jax.nn.softplus,
        gelu=lambda h: jax.nn.gelu(h, approximate=False),
        sin=jnp.sin,
        abs=jnp.abs,
        own=lambda h: jnp.cos(h) + h / 2,
    )
    # JAX's own derivative of |h| is 1 at h = 0, where a zero input stays; networks here have 0 there.
    phi_dot = jnp.sign if name == "abs" else None
    forms = [abs_abs, lambda S: 2 / np.pi * np.arcsin(correlation(S)[1])] if name == "abs" and closed else []
    return dl.Activation(name, functions[name], phi_dot, *forms)


def experiment(setting, lr, closed=False):
    """The setting as an experiment of dmftlib."""
    rules = dict(GD=dl.GD, DFA=dl.DFA, GLN=dl.GLN, Hebb=dl.Hebb)
    rule = dl.FA(setting.rho) if setting.rule == "FA" else rules[setting.rule]()
    y = setting.y if setting.y.shape[1] > 1 else setting.y[:, 0]
    activation = library_activation(setting.activation, closed)
    task = dl.Task(setting.X, y, setting.X_test)
    return dl.Experiment(task, rule, setting.depth, activation, setting.gamma0, lr, setting.steps)


def controls(setting, runs):
    """What is known of networks at initialization, minus its limit: (B, controls). The limit of their mean is 0."""
    lazy = dl.lazy.kernels(experiment(setting, 1.0, closed=True))
    parts = [runs["start"]] + [runs[name][:, 0] - getattr(lazy, name) for name in ("Phi", "G", "G_tilde")]
    parts = [part.reshape(len(part), -1) for part in parts]
    return np.concatenate([part / max(part.std(axis=0).max(), 1e-300) for part in parts], axis=1)


def adjusted(values, known):
    """Mean of values (B, n) where what is known of them has its limit, and the norm of its standard error.

    A regression on the principal components of `known`, read off at 0: the noise that networks have from their initial
    weights alone drops out.
    """
    B = len(values)
    mean = known.mean(axis=0)
    u, s, v = np.linalg.svd(known - mean, full_matrices=False)
    count = min((s > 1e-9 * max(s[0], 1e-300)).sum(), MOST_CONTROLS, B // SEEDS_A_CONTROL)
    u, at_zero = u[:, :count], -mean @ v[:count].T / s[:count]
    centre = values.mean(axis=0)
    slope = u.T @ (values - centre)
    rest = values - centre - u @ slope
    variance = (rest**2).sum() / (B - 1 - count)
    return centre + at_zero @ slope, np.sqrt(variance * (1 / B + at_zero @ at_zero))


def polynomial(widths, order):
    """Weights with which values at these widths make their least-squares polynomial in 1/N at 1/N = 0."""
    return np.linalg.pinv(np.vander(1 / np.array(widths), order + 1, increasing=True))[0]


def limit(by_width):
    """The limit of one quantity from (mean, SE) by width: a line through the two larger widths or a parabola through all.

    What the line leaves out is estimated by its distance from the parabola (beyond their noise), what the parabola leaves
    out as the next term of the series that this makes with the line's own correction. The one with the smaller total wins.
    Returns value, standard error, systematic error, and the distance of lines through the lower and the upper pair.
    """
    widths = sorted(by_width)
    means, errors = ([by_width[N][k] for N in widths] for k in (0, 1))

    def read(weights):
        return sum(w * m for w, m in zip(weights, means)), np.sqrt(sum((w * e) ** 2 for w, e in zip(weights, errors)))

    line, parabola = np.r_[0.0, polynomial(widths[1:], 1)], polynomial(widths, 2)
    low = np.r_[polynomial(widths[:2], 1), 0.0]
    bend, noise = (np.linalg.norm(x) for x in read(parabola - line))
    bend = np.sqrt(max(bend**2 - noise**2, 0.0))
    value, error = read(line)
    curved, curved_error = read(parabola)
    first = max(np.linalg.norm(curved - means[-1]), bend, 1e-300)
    apart, apart_noise = (np.linalg.norm(x) for x in read(low - line))
    apart = np.sqrt(max(apart**2 - apart_noise**2, 0.0))
    choices = [(value, error, bend), (curved, curved_error, bend**2 / first)]
    return *min(choices, key=lambda c: np.hypot(c[1], c[2])), apart


def measured(setting, lr, counts):
    """(mean, SE) by quantity and width, the share that diverged by width, and shapes by quantity."""
    found, lost = {name: {} for name in NAMES}, []
    for N, count in counts.items():
        runs = many(setting, lr, N, count)
        wrong = bad(setting, runs)
        lost.append(wrong.mean())
        if (~wrong).sum() < FEWEST:
            continue
        runs = {name: values[~wrong] for name, values in runs.items()}
        known = controls(setting, runs)
        for name in NAMES:
            found[name][N] = adjusted(runs[name].reshape(len(known), -1), known)
    return found, np.array(lost), {name: runs[name].shape[1:] for name in NAMES}


def known(arrays):
    """The largest relative error of f, Φ or K; infinity where too many networks diverged."""
    if "K" not in arrays:
        return np.inf
    errors = []
    for name in ("f", "Phi", "K"):
        norm = np.linalg.norm(arrays[name].astype(float)) * arrays.get(f"{name}_scale", 1.0)
        errors.append(np.hypot(arrays[f"{name}_se"], arrays[f"{name}_systematic"]) / norm)
    return float(max(errors))


def stored(found, shapes):
    """The limits of all quantities as `load` reads them; none where widths are missing."""
    arrays = {}
    if any(len(by) < 3 for by in found.values()):
        return arrays
    for name in NAMES:
        value, error, systematic, apart = limit(found[name])
        scale, norm = np.abs(value).max() or 1.0, np.linalg.norm(value) or 1.0
        arrays[name] = (value / scale).reshape(shapes[name]).astype(np.float16)
        arrays |= {f"{name}_scale": scale, f"{name}_se": error, f"{name}_systematic": systematic}
        arrays |= {f"{name}_apart": apart / norm}
    return arrays


def build(setting):
    """Train the networks of a setting: what is stored."""
    lr, start = step_size(setting), time.process_time()
    for counts in WIDTHS[setting.activation in KINKED :]:
        found, lost, shapes = measured(setting, lr, counts)
        arrays = stored(found, shapes)
        if setting.name.startswith("x") or (not lost.any() and known(arrays) <= VAGUE):
            break
    about = dict(lr=lr, widths=list(counts), diverged=lost, seconds=time.process_time() - start)
    return arrays | about


def path(name):
    return FOLDER / f"{name}.npz"


def load(name):
    """The stored reference of a setting: arrays of NAMES in float64 where networks have a limit, and what belongs to them."""
    with np.load(path(name)) as stored:
        arrays = {key: stored[key].astype(float) for key in stored.files}
    for key in NAMES:
        if key in arrays:
            arrays[key] = arrays[key] * arrays.pop(f"{key}_scale")
    return arrays


def main(names):
    FOLDER.mkdir(parents=True, exist_ok=True)
    settings = draw()
    for name in names or settings:
        if path(name).exists():
            continue
        arrays = build(settings[name])
        part = path(name).with_suffix(".part")
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path(name))
        print(
            settings[name],
            f"| lr = {arrays['lr']:g}, {arrays['seconds']:.0f} s, known to {known(arrays):.2g}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
