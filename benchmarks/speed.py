"""Time and memory of single runs: many digits, ten thousand inputs, the lazy kernels, first and later calls, what share is matrix speed.

    python benchmarks/speed.py [large] [inputs] [lazy] [first] [profile]      writes benchmarks/results/<part>.json

Seconds are those of the clock, `wall`, and of the processor, `cpu`, all cores added, which other work on the machine
disturbs less. What is said to be of a fresh process comes from one that does nothing else, with an empty cache of
compiled functions; its memory is its peak, imports included.
"""

import ast
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import reference
from threadpoolctl import threadpool_limits

import dmftlib as dl
from dmftlib.meanfield.sweep import HalfSweep
from dmftlib.stability import largest_eigenvalue

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tools is not installed

from tools import chapters, costs

RESULTS = Path(__file__).with_name("results")
SAMPLES, SEEDS = 4096, range(8)
RATE = 0.3  # lr·λ_max(K) at the start, divided by this power of 1 + γ₀² for rules whose kernel grows more later
CALMER = dict(gd=0, fa=0, dfa=1, gln=2, hebb=1)


def timed(run):
    """What run() returns, and the seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, dict(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def fresh(script, *words):
    """What a fresh process prints, read as JSON: `script` with these words, which call FRESH[words[0]](*words[1:])."""
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": empty}
        command = [sys.executable, script, "--fresh", *map(str, words)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(out.stdout)


def peak():
    """The most memory that this process has held so far, in GiB; Linux's ru_maxrss may be that of its parent."""
    if Path("/proc/self/status").exists():
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS


def others():
    """Seconds of the processor, all cores added, that were not this process's or its children's; None if not known."""
    try:
        user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    except OSError:
        return None
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def measure(script, parts, fresh_parts):
    """Run the parts that the command line names, all by default, and keep what each returns; or one for `fresh`."""
    if sys.argv[1:2] == ["--fresh"]:
        print(json.dumps(fresh_parts[sys.argv[2]](*sys.argv[3:])))
        return
    for name in sys.argv[1:] or parts:
        state, before, start = chapters.state(), others(), time.perf_counter()
        print(name, flush=True)
        content, seconds = parts[name](), time.perf_counter() - start
        beside = None if before is None else round(max(others() - before, 0) / seconds, 2)
        about = {key: state[key] for key in ("commit", "dirty", "date")} | {"processor": costs.processor()}
        about |= state["machine"] | {"python": sys.version.split()[0], "jax": version("jax"), "others": beside}
        result = dict(about=about, **content)
        text = json.dumps(result, indent=1, default=float)
        chapters.write_text(text + "\n", RESULTS / f"{Path(script).stem}-{name}.json")
        print(f"{name}: {seconds:.0f} s, others used {beside} cores", flush=True)


def show(row):
    """Print a row while the others are measured."""
    values = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if not isinstance(v, list)}
    print("  " + ", ".join(f"{name} {value}" for name, value in values.items()), flush=True)
    return row


# --- Many digits ------------------------------------------------------------------------------------------------------


def digits(P, rule="gd", gamma0=2.0, steps=40, P_test=0):
    """Parity of P digits, rows drawn from all sheets, two tanh layers. lr·λ_max of the lazy kernel is RATE, or less: see CALMER."""
    task = dl.Task.digits(P, P_test, split="rows")
    start = dl.Experiment(task, reference.RULES[rule], 2, "tanh", gamma0, 1.0, steps)
    lr = RATE / largest_eigenvalue(dl.lazy.kernels(start).K) / (1 + gamma0**2) ** CALMER[rule]
    return dl.Experiment(task, start.rule, 2, "tanh", gamma0, lr, steps)


def coarse(experiment, seed=0):
    """The mean field of many digits: float32, tol at its largest, kernels of the first step and of the last."""
    ends = (0, experiment.steps - 1)
    return dl.meanfield.solve(experiment, SAMPLES, seed, 3e-2, "float32", kernels_at=ends)


def fresh_large(rule):
    experiment = digits(1500, rule, P_test=297)
    run, seconds = timed(lambda: coarse(experiment))
    errors = {name: by["K"] for name, by in run.provenance.errors.items()}
    loss = [float(run.loss[0]), float(run.loss[-1])]
    error = float((np.sign(run.f_test[-1]) != np.sign(experiment.task.y_test)).mean())
    return dict(rule=rule, **seconds, memory=peak(), rank=run.provenance.rank[0], loss=loss, test=error, errors=errors)


def large():
    """1500 digits to train on and 297 to test, every rule, compilation included."""
    rows = [show(fresh(__file__, "large", rule)) for rule in reference.RULES]
    return dict(P=1500, P_test=297, T=40, gamma0=2.0, samples=SAMPLES, rows=rows)


# --- Ten thousand inputs ----------------------------------------------------------------------------------------------


def mixed(rule, P=10_000, P_test=1000, D=10, gamma0=2.0, steps=40):
    """Gaussian inputs, y = sign(x₁ + x₂x₃), two ReLU layers. lr·λ_max of the lazy kernel of 1000 of them, scaled to P, is RATE, or less."""
    X = np.random.default_rng(0).standard_normal((P + P_test, D))
    y = np.sign(X[:, 0] + X[:, 1] * X[:, 2])
    some = dl.Experiment(dl.Task(X[:1000], y[:1000]), reference.RULES[rule], 2, "relu", gamma0, 1.0, steps)
    lr = RATE * 1000 / (P * largest_eigenvalue(dl.lazy.kernels(some).K))
    return dl.Experiment(dl.Task(X[:P], y[:P], X[P:], y[P:]), some.rule, 2, "relu", gamma0, lr, steps)


def wrong(experiment, f):
    """Share of test points whose sign is not that of f."""
    return float((np.sign(f) != experiment.task.y_test).mean())


def fresh_inputs(rule, route):
    e, at = mixed(rule), None if route == "lazy" else ast.literal_eval(route)
    if route == "lazy":
        run, seconds = timed(lambda: dl.lazy.predict(e))
        return dict(
            **seconds, memory=peak(), loss=[float(run.loss[0]), float(run.loss[-1])], test=wrong(e, run.f_test[-1])
        )
    options = dict(tol=3e-2, dtype="float32", kernels_at=at)
    run, seconds = timed(lambda: dl.meanfield.solve(e, SAMPLES, **options))
    row = dict(**seconds, memory=peak(), rank=run.provenance.rank[0], test=wrong(e, run.f_test[-1]))
    row |= dict(estimate=dl.machine.estimate(e, SAMPLES, **options).memory / 2**30, errors=run.provenance.errors)
    return row | dict(loss=[float(run.loss[0]), float(run.loss[-1])], alignment=[float(a) for a in run.alignment])


def inputs():
    """10,000 inputs in 10 dimensions: without kernels, with those of the last step, and the lazy limit."""
    rows = []
    for rule in ("gd", "dfa"):
        for route in ((), (39,), "lazy"):
            rows.append(show(dict(rule=rule, route=str(route)) | fresh(__file__, "inputs", rule, route)))
    return dict(P=10_000, P_test=1000, D=10, T=40, gamma0=2.0, samples=SAMPLES, rows=rows)


# --- Lazy kernels -----------------------------------------------------------------------------------------------------


PEER = ["neural-tangents==0.6.5", "jax==0.4.30", "jaxlib==0.4.30", "tf2jax==0.3.6", "numpy==1.26.4", "scipy==1.13.1"]


def lazy(P=2000, L=5, D=50):
    """Kernels of a deep network beside those of neural-tangents, which gets an environment of its own."""
    rows, script = [], Path(__file__).with_name("peer.py")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        theirs = folder / "venv" / "bin" / "python"
        subprocess.run([theirs, "-m", "pip", "install", "-q", *PEER], check=True)
        np.save(folder / "X.npy", np.random.default_rng(0).standard_normal((P, D)))
        for activation in ("relu", "erf", "tanh"):
            found = {}
            for library, python in (("dmftlib", sys.executable), ("neural-tangents", theirs)):
                if (activation, library) == ("tanh", "neural-tangents"):
                    continue  # which has no kernel of it
                words = [python, script, library, activation, str(L), folder / "X.npy", folder / f"{library}.npz"]
                environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "none")}
                out = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
                calls, memory = (json.loads(out.stdout)[name] for name in ("calls", "memory"))
                later = {clock: float(np.median([call[clock] for call in calls[1:]])) for clock in ("wall", "cpu")}
                row = {f"first_{clock}": value for clock, value in calls[0].items()} | later
                rows.append(dict(activation=activation, library=library, **row, memory=memory))
                with np.load(folder / f"{library}.npz") as kernels:
                    found[library] = dict(kernels)
                for name in found[library] if len(found) == 2 else ():
                    ours, other = (kernels[name] for kernels in found.values())
                    rows[-1][f"{name}_apart"] = float(np.abs(ours - other).max() / np.abs(ours).max())
                show(rows[-1])
    return dict(P=P, L=L, peer=PEER, rows=rows)


# --- First and later calls --------------------------------------------------------------------------------------------


def fresh_first(case, dtype, later):
    """The first call, then `later` calls with other seeds, each with its distance of K from the reference."""
    experiment, truth = reference.CASES[case], reference.load(case)
    _, first = timed(lambda: dl.meanfield.solve(experiment, SAMPLES, dtype=dtype))
    runs = [
        timed(lambda seed=seed: dl.meanfield.solve(experiment, SAMPLES, seed, dtype=dtype))
        for seed in range(int(later))
    ]
    errors = [dl.compare(run, truth)["K"][0] for run, _ in runs]
    return dict(first=first, later=[seconds for _, seconds in runs], errors=errors)


def first(case="gd-3"):
    """gd-3: the first call of a process, whatever it compiles included, and later ones; error of K."""
    rows = []
    for dtype in ("float64", "float32"):
        run = fresh(__file__, "first", case, dtype, len(SEEDS))
        later = {clock: float(np.median([seconds[clock] for seconds in run["later"]])) for clock in ("wall", "cpu")}
        times = {f"{name}_{k}": v for name, of in (("first", run["first"]), ("later", later)) for k, v in of.items()}
        rows.append(show(dict(dtype=dtype, error=float(np.sqrt(np.mean(np.square(run["errors"])))), **times)))
    stored = reference.load(case)
    standard_error = float(stored.standard_error["K"] / np.linalg.norm(stored.K))
    return dict(case=case, samples=SAMPLES, seeds=len(SEEDS), reference=standard_error, rows=rows)


# --- Matrix speed -----------------------------------------------------------------------------------------------------


def operations(experiment, S, rank, recorded):
    """Operations of the products of matrices that a sweep of S samples cannot do without, for GD.

    Each step and gap, with n = P + P_test fields forward, P backward and p, q directions: 4(n + P)(p + q)S to project
    fields on both bases and their images and to put the answers together, 2PpS to learn; 2(n + P)rS for the inputs of
    rank r; 2S(4LP²) for the kernels of a recorded step. Directions are those at the end; what it costs to find them is
    not counted.
    """
    P, n, L = experiment.task.P, len(experiment.task.X_all), experiment.hidden_layers
    gaps = sum(4 * (n + P) * (p + q) + 2 * P * p for p, q in rank)
    return S * (experiment.steps * (gaps + 2 * (n + P) * min(n, experiment.task.D)) + 8 * recorded * L * P**2)


def product_speed(dtype, *shapes, least=0.3):
    """Operations a second of the processor of products (m, k) @ (k, n), of all shapes (m, k, n) in turn."""
    pairs = [(np.ones((m, k), dtype), np.ones((k, n), dtype)) for m, k, n in shapes]
    product = jax.jit(lambda pairs: [a @ b for a, b in pairs])
    pairs = jax.device_put(pairs)
    jax.block_until_ready(product(pairs))
    done, start = 0, time.process_time()
    while time.process_time() - start < least:
        jax.block_until_ready(product(pairs))
        done += 1
    return done * sum(2 * m * k * n for m, k, n in shapes) / (time.process_time() - start)


def sweep_profile(name, experiment, tol, dtype, kernels_at):
    """One sweep of half of the samples, compiled before: its draws, its steps, and what matrix speed would need."""
    S = SAMPLES // 2
    with jax.enable_x64(dtype == "float64"), threadpool_limits(1, "blas"):  # as the solver does

        def draw():
            return HalfSweep(experiment, S, (0, 0), tol, dtype, False, kernels_at)

        draw().run()
        half, drawing = timed(draw)
        _, sweep = timed(half.run)
        rank = [(int(W.features.count), int(W.sent.count)) for W in half.weights[1:-1]]
        n, R = len(experiment.task.X_all), round(np.mean(rank))
        skinny, square = product_speed(dtype, (n, S, R), (n, R, S)), product_speed(dtype, (2048, 2048, 2048))
    recorded = experiment.steps if kernels_at is None else len(kernels_at)
    done = operations(experiment, S, rank, recorded)
    row = dict(name=name, dtype=dtype, draws=drawing["cpu"], sweep=sweep["cpu"], operations=done)
    row |= dict(skinny=skinny, square=square, share_skinny=done / skinny / sweep["cpu"])
    return show(row | dict(share_square=done / square / sweep["cpu"], rank=rank))


def profile():
    rows = [sweep_profile("gd-3", reference.CASES["gd-3"], 1e-3, "float64", None)]
    return dict(
        samples=SAMPLES, rows=rows + [sweep_profile("600 digits", digits(600), 3e-2, "float32", np.array([0, 39]))]
    )


PARTS = dict(
    large=large, inputs=inputs, lazy=lazy, first=first, profile=profile
)  # fresh processes first, from a small one

if __name__ == "__main__":
    measure(__file__, PARTS, dict(large=fresh_large, inputs=fresh_inputs, first=fresh_first))
