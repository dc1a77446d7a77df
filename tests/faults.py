"""Faults that are seeded into the library, one at a time, to see whether the quick tests find them.

    python tests/faults.py [NAME …]       the quick tests with each fault, or with these; resumable, two at a time
    pytest --fault "rule: Hebb, h for φ"   any tests with one fault

A fault puts something wrong, which a physicist might have written, in the place of something right before the first test
is imported: mostly at a seam, such as what a rule returns, what a weight matrix does to a field, or what an engine records.
Inside a formula, where there is no seam, it changes a piece of the source, which must occur there once. What stands before
the colon of a name says which tests run first. The score must reach LEAST; results are kept in _build/faults.json.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

import dmftlib as dl
from companion import beyond, claims, statistics
from dmftlib import activations as act
from dmftlib import comparison, convolution, lazy, probe, results, saved, stability, step, task, twolayer
from dmftlib.meanfield import draws, errors, responses, revealed, solver, sweep
from dmftlib.meanfield import span as bases
from dmftlib.network import ensembles, training
from dmftlib.network import revealed as drawn_as_needed

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "_build" / "faults.json"
LEAST, AT_ONCE, LIMIT = 0.95, 2, 1500  # of the faults are caught; runs at a time; seconds of one
RECORDS = results.Dynamics.from_records.__func__

# Names of the seams inside the engines. Nothing below names them otherwise.
Matrix, Draw, Average = training.HiddenWeights, (training, "_gaussian"), (ensembles, "_average")
Revealed, Inputs, Readout = revealed.RevealedMatrix, step.InputWeights, step.Readout
Known, Lasting, Coarser = (errors, "without_known_noise"), (errors, "lasting"), (sweep, "coarser")

FIRST = {  # tests that run first, by the beginning of a name
    "activation": ["test_activations.py", "test_network.py"],
    "rule": ["test_lazy.py", "test_network.py"],
    "lazy": ["test_lazy.py"],
    "closed form": ["test_twolayer.py"],
    "network": ["test_network.py", "test_conserved.py", "test_revealed_network.py"],
    "step": ["test_network.py", "test_theory.py"],
    "decay": ["test_batches_and_decay.py", "test_equations.py"],
    "residual": ["test_residual.py"],
    "substeps": ["test_substeps.py"],
    "convolution": ["test_convolution.py"],
    "theory": ["test_linear.py", "test_meanfield.py", "test_equations.py"],
    "responses": ["test_responses.py", "test_equations.py"],
    "result": ["test_results.py"],
    "task": ["test_tasks.py", "test_lazy.py"],
    "data": ["test_your_data.py"],
    "figure": ["../companion/test_figures.py"],
    "claim": ["../companion/test_claims.py"],
    "beyond": ["../companion/test_beyond.py"],
}


# Ways to seed. Each returns a fault: a function of a MonkeyPatch, which can take it back ------------------------------


def instead(owner, name, make):
    """make(original) in the place of owner.name: of a module's, wherever the library has it."""

    def seed(patch):
        original = inspect.getattr_static(owner, name)
        wrong = make(original)
        if not inspect.ismodule(owner):
            patch.setattr(owner, name, wrong)
            return
        rooms = [m for key, m in list(sys.modules.items()) if key.partition(".")[0] in ("dmftlib", "companion")]
        for place in [vars(room) for room in rooms] + [vars(known) for known in act.ACTIVATIONS.values()]:
            for key, value in list(place.items()):
                if value is original:
                    patch.setitem(place, key, wrong)

    return seed


def edit(function, old, new):
    """`function` with `new` for `old` in its source; a method or a property of a class is given as (class, name)."""
    owner, name = function if isinstance(function, tuple) else (inspect.getmodule(function), function.__name__)

    def make(original):
        code = getattr(original, "fget", None) or getattr(original, "__func__", original)
        source = textwrap.dedent(inspect.getsource(code))
        if source.count(old) != 1:
            raise ValueError(f"{old!r} occurs {source.count(old)} times in {name}, not once")
        made = {}
        exec(compile(source.replace(old, new), f"<{name} with a fault>", "exec"), vars(inspect.getmodule(code)), made)
        return made[name]

    return instead(owner, name, make)


def value(owner, name, wrong):
    return instead(owner, name, lambda _: wrong)


def after(owner, name, change):
    """What owner.name returns, changed."""
    return instead(owner, name, lambda f: lambda *args, **more: change(f(*args, **more)))


def sees(rule, method, **others):
    """A rule's method that finds something else under a name of its layer: functions of the layer, by name."""

    class Other:
        def __init__(self, layer):
            self.layer = layer

        def __getattr__(self, name):
            return others[name](self.layer) if name in others else getattr(self.layer, name)

    return instead(rule, method, lambda f: lambda self, layer: f(self, Other(layer)))


def stated(**factors):
    """The theory's own errors, times these factors, by source."""

    def wrong(cls, experiment, provenance, *rest, **more):
        known = provenance.errors.items()
        errors = {source: {name: factors.get(source, 1) * e for name, e in by.items()} for source, by in known}
        return RECORDS(cls, experiment, replace(provenance, errors=errors), *rest, **more)

    return value(results.Dynamics, "from_records", classmethod(wrong))


def without(name, basis, image):
    """A method of the revealed matrix that lacks a response: what `v` has in common with old answers, along what was asked."""

    def left_out(self, v):
        asked = getattr(self, basis)
        return (v @ asked.rows(image).T / v.shape[1]) @ asked.rows() if image in asked.images else 0.0

    return instead(Revealed, name, lambda f: lambda self, v, *rest: f(self, v, *rest) - left_out(self, v))


def same(owner, name, other):
    """One method of a class for another."""
    return instead(owner, name, lambda _: lambda self, v: getattr(self, other)(v))


def initial_only(f):
    """A method of a network's matrix that forgets what was learned since the last rewriting."""

    def method(self, v):
        other = copy(self)
        other.U = 0 * self.U
        return f(other, v)

    return method


def learns(owner, factor):
    """Weights that learn `factor` times what they should."""
    return instead(owner, "learn", lambda f: lambda self, below, up: f(self, below, factor * up))


def wrong_share(self, layer):
    """g̃ of a feedback alignment with 1 − ρ for √(1 − ρ²)."""
    v = layer.g_tilde_next
    return layer.gain * (self.rho * layer.W0_T(v) + (1 - self.rho) * layer.fresh_T(v))


def drawn(**other):
    """A network that draws other objects in the place of some, by name."""
    return instead(*Draw, lambda f: lambda key, name, *rest: f(key, other.get(name, name), *rest))


def with_n(ensemble):
    """An ensemble whose variances are divided by n in place of n − 1."""
    share = np.sqrt(1 - 1 / len(ensemble.seeds))
    return replace(ensemble, standard_error={name: share * x for name, x in ensemble.standard_error.items()})


def span(length=lambda x: x, partner=lambda x: x):
    """Bases that are extended with another measure of length, or made orthogonal to something else."""

    def make(f):
        return lambda self, fields, l, tol, p, drawn: f(self, fields, length(l), tol, partner(p), drawn)

    return instead(bases.Basis, "extend", make)


def responded(values, errors=lambda x: x):
    """Responses, and their stated errors, each changed."""
    change = lambda both: tuple({n: f(x) for n, x in part.items()} for f, part in zip((values, errors), both))  # noqa: E731
    return after(responses, "responses", change)


G, AVERAGES, AGREEMENT = "pseudo_gradient", (lazy._Kernels, "local_average"), (comparison.Comparison, "agreement")
LAZY = lazy._Block, "kernels"

FAULTS = {
    # Formulas of activations and their averages
    "activation: opposite inputs taken for equal ones": edit(act._correlation, "np.sign(corr[near])", "1.0"),
    "activation: relu, θ for π − θ": edit(act._relu_averages, "corr * dot_dot", "corr * (1 - dot_dot)"),
    "activation: relu, ⟨φ̇φ̇⟩ falls half as fast": edit(
        act._relu_averages, "return phi_phi, dot_dot", "return phi_phi, (1 + dot_dot) / 2"
    ),
    "activation: relu without √2": after(act, "_relu", lambda x: x / np.sqrt(2)),
    "activation: erf, factor 2 lost in the arcsine": edit(
        act._erf_averages, "arcsin(2 * covariance", "arcsin(covariance"
    ),
    "activation: tanh, square lost in φ̇": edit(act._tanh_dot, "_tanh(h) ** 2", "_tanh(h)"),
    "activation: convolution of half the variance": edit(act._convolved, "(2 * c)", "(4 * c)"),
    "activation: φ for φ̇ in ⟨φ̇φ̇⟩": edit((dl.Activation, "averages"), "averages(F, F,", "averages(self.phi, self.phi,"),
    # Rules
    "rule: GD 5 % too strong": after(dl.GD, G, lambda g: 1.05 * g),
    "rule: FA, 1 − ρ for √(1 − ρ²)": value(dl.FA, G, wrong_share),
    "rule: FA, feedback that learns": sees(dl.FA, G, W0_T=lambda layer: layer.W_T),
    "rule: DFA, φ̇ dropped": sees(dl.DFA, G, gain=lambda layer: 1 + 0 * layer.h),
    "rule: GLN, gate on φ in place of h": sees(dl.GLN, "features", h=lambda layer: layer.phi),
    "rule: GLN, φ̇(h) for the gate on the way back": sees(dl.GLN, "gain", gate=lambda layer: layer.phi_dot),
    "rule: Hebb, h for φ": sees(dl.Hebb, G, phi=lambda layer: layer.h),
    "rule: Hebb, error dropped": sees(dl.Hebb, G, error=lambda layer: 1.0),
    "theory: any rule is linear where φ is": value(probe, "is_linear", lambda rule, slope: bool(slope)),
    # The lazy limit
    "lazy: features of the wrong layer in K": edit(
        LAZY, "entk(K_x, self.Phi, G_tilde", "entk(K_x, self.Phi[::-1], G_tilde"
    ),
    "lazy: g̃ for g in G": edit(LAZY, "average(g, g), ", "average(g_tilde, g_tilde), "),
    "lazy: gates of the layer below": edit(AVERAGES, "self.K_x, *inputs", "below, *h"),
    "lazy: all random matrices are one": edit(lazy._image_average, " or a.matrix != b.matrix", ""),
    "lazy: coefficients of one sample only": edit(lazy._times_each, "left * right.T *", "left[:1] * right.T *"),
    "lazy: error a step too old": edit(lazy.predict, "f[t - 1, :P])", "f[max(t - 2, 0), :P])"),
    "lazy: mean for sum over samples": edit(lazy.predict, "step = K @ sent[", "step = K / P @ sent["),
    # Closed forms
    "closed form: GD, the 2 that the print lacks": edit(twolayer.gd, "drive - np.sinh(2 *", "drive - np.sinh(1 *"),
    "closed form: FA, 1 − ρ for ρ in G̃": edit(twolayer.fa, "1 + tau**2, G, rho +", "1 + tau**2, G, 1 - rho +"),
    "closed form: FA, 1 − ρ for 1 + ρ": edit(twolayer.fa, "tau**3 / 2 - (1 + rho)", "tau**3 / 2 - (1 - rho)"),
    "closed form: Hebb, Δ for Δ²": edit(twolayer.hebb, "gamma0 * Delta**2])", "gamma0 * Delta])"),
    "closed form: Hebb, ⟨g̃g̃⟩ with one Δ": edit(twolayer.hebb, "diagonal(Delta**2 * H)", "diagonal(Delta * H)"),
    "closed form: K without K_x": edit((twolayer.TwoLayer, "K"), " * np.eye(self.task.P)", ""),
    # Networks
    "network: initial weights that move": same(Matrix, "transpose_initial", "transpose"),
    "network: what was learned is lost on the way back": instead(Matrix, "transpose", initial_only),
    "network: feedback repeats the weights": drawn(feedback="weights"),
    "network: layers repeat each other": instead(*Draw, lambda f: lambda key, name, l, *rest: f(key, name, 0, *rest)),
    "network: a long run forgets": edit((Matrix, "with_room"), "self.V * self", "self.V * 0.1 * self"),
    "network: a product drawn as needed changes old ones": value(drawn_as_needed, "unknown", lambda n, known: n),
    "network: products drawn as needed have one length": after(
        drawn_as_needed, "unknown", lambda n: n / np.sqrt((n**2).mean(axis=1, keepdims=True))
    ),
    "network: standard error with n for n − 1": after(*Average, with_n),
    "network: extrapolation in 1/√N": edit(ensembles.extrapolate, "[1 / e.width", "[e.width**-0.5"),
    # The step that networks and the mean field share
    "step: weights learn without γ₀": edit(step.step, "gamma0 * lr *", "lr *"),
    "step: weights follow the gradient, whatever the rule": edit(step.step, "met, g_tilde)", "met, g)"),
    "step: update with features of the layer above": edit(step.step, "in phi[:-1])", "in phi[1:])"),
    "step: g̃ sent where g should be": edit(step.backward, "Delta, g[0], g", "Delta, g_tilde[0], g"),
    "step: first weights learn with 1/D": learns(Inputs, 2**-0.5),
    "step: G̃ transposed": edit(step.kernels, "average(g, g_tilde)", "average(g_tilde, g)"),
    "step: outputs mix in K": edit(step.entk, "np.eye(C, dtype=K_x.dtype)", "np.ones((C, C), K_x.dtype)"),
    "step: readout that does not learn": value(Readout, "learn", lambda *_: None),
    "decay: samples outside of the batch learn": edit(step.step, "Delta = mask[:, None] * Delta", "pass"),
    "decay: what is learned decays at once": edit(step.step, "W.decay(keep)", "(W.decay(keep), W.decay(keep))"),
    "decay: learned rows of a network stay": edit((Matrix, "decay"), "keep * self.U", "self.U"),
    "decay: the copy keeps its size": edit(step.untrained, "left * W", "W"),
    "decay: the mean field learns in other units": edit((Revealed, "learn"), "signal / self.share", "signal"),
    "decay: the readout of the copy stays": edit((Readout, "outputs"), "self.left * (", "("),
    "decay: lazy weights keep their size": edit((lazy._Weights, "transpose"), "self.scale * ", ""),
    "decay: what is learned lazily stays": edit(lazy.predict, "keep * at_scales", "at_scales"),
    "decay: responses keep their size": value(dl.Experiment, "left", property(lambda e: np.ones(e.steps))),
    "decay: a batch is stable as all samples are": value(stability, "learned_from", lambda e, K, steps: K),
    "step: initial output not subtracted": edit((Readout, "outputs"), "raw - self.f0, 0.0", "raw, 0.0"),
    "residual: branches of size β/L": edit((dl.Experiment, "branch"), "self.hidden_layers**0.5", "self.hidden_layers"),
    "residual: the gradient comes through branches only": edit(
        (step.ReceivingLayer, "recorded_g"), "self.skip(self._g_next) + ", ""
    ),
    "residual: FA sends through branches only": sees(dl.FA, G, skip=lambda layer: lambda v: 0),
    "residual: branches count once in K": edit(step.entk, "branch**2", "branch"),
    "residual: branches learn as other weights do": edit(
        step.step, "*(into(features, branch) for features in phi[:-1])", "*phi[:-1]"
    ),
    "convolution: an output has all of each position": value(dl.Convolution, "share", property(lambda c: 1.0)),
    "convolution: K has the mean over positions once": edit((dl.Convolution, "entk"), "self.share**2", "self.share"),
    "convolution: what is sent down goes the way of features": edit(
        (dl.Convolution, "scatter"), "_around(-1)", "_around(1)"
    ),
    "convolution: lazy gradients stay at their position": edit(
        (lazy._Block, "__init__"), "c.scattered_kernel)", "None)"
    ),
    "convolution: responses of one offset": edit((Revealed, "_response"), "self.K**0.5", "1"),
    "convolution: the ends meet whatever the padding": edit(convolution._places, 'if padding == "circular"', "if True"),
    # Steps that stand for several
    "substeps: the rule of the flow, whatever their number": edit(
        (dl.Experiment, "rates"), "shares @ k / m", "shares.sum() / 2"
    ),
    "substeps: what the first step missed is not made up for": edit((dl.Experiment, "rates"), "1 + keep**m", "1"),
    "substeps: the error as if the rule were of first order": edit(solver._error_of_steps, "3 * np", "1 * np"),
    "substeps: the edge of plain steps": value(dl.Experiment, "edge", property(lambda e: 2.0)),
    # The mean field
    "theory: learned term 5 % too strong": learns(Revealed, 1.05),
    "theory: no A and C responses": without("apply", "sent", "weights"),
    "theory: no B response": without("transpose", "features", "now"),
    "theory: no D response": without("transpose_initial", "features", "initial"),
    "theory: the response D learns": same(Revealed, "transpose_initial", "transpose"),
    "theory: initial readout that moves": same(Readout, "transpose_initial", "transpose"),
    "theory: fields count by the longest": span(length=lambda length: 0 * length + length.max()),
    "theory: answers not sorted from older ones": span(partner=lambda partner: 0 * partner),
    "theory: layers repeat each other's draws": edit((draws.Draws, "start"), "(*self.seed, layer)", "(*self.seed, 0)"),
    "theory: initial outputs not removed": value(bases, "orthogonal_to", lambda w, phi: w),
    "theory: inputs without 1/√D": after(sweep, "input_factor", lambda C: 1.4 * C),
    "theory: Monte Carlo error twice as large": stated(monte_carlo=2.0),
    "theory: tol error a quarter": stated(tol=0.25),
    "theory: the coarser run is as fine": value(*Coarser, lambda tol: tol),
    "theory: noise of the start is kept": value(*Known, lambda *_: {}),
    "theory: noise of the start never fades": value(*Lasting, lambda difference: np.ones(len(difference))),
    "theory: error of a mean without 1/√n": edit(solver.average, " / np.sqrt(len(runs))", ""),
    "responses: 10 % too large": responded(lambda values: 1.1 * values),
    "responses: none at equal times": responded(lambda x: x * (1 - np.eye(x.shape[1]))[:, None, :, None]),
    "responses: errors a tenth as large": responded(lambda values: values, lambda errors: errors / 10),
    # What is read off results
    "result: alignment, ‖y‖ for ‖y‖²": edit(results.target_alignment, "(y @ y)", "np.sqrt(y @ y)"),
    "result: correlation of g and g̃ over ⟨gg⟩": edit((results.Result, "corr_g"), "np.sqrt(G * F)", "G"),
    "result: two-time kernels, times exchanged": edit((dl.Dynamics, "two_time"), "ulns->ltmun", "ulns->lumtn"),
    "result: H_y of the first layer": edit((results.Result, "_last_Phi"), "self.Phi[:, -1]", "self.Phi[:, 0]"),
    "result: agreement without the theory's error": edit(AGREEMENT, ", self.theory_error[name])", ", 0.0)"),
    "result: negative eigenvalues are never told": value(stability, "NOTICEABLE", 1e9),
    "task: K_x over P": value(dl.Task, "K_x", property(lambda self: self.X @ self.X.T / self.P)),
    "task: whitened inputs of norm 1": edit((dl.Task, "whitened"), "np.sqrt(y.size) * np", "np"),
    "data: new points scaled by themselves": edit((task.Scaling, "inputs"), "X - self.shift", "X - X.mean(axis=0)"),
    "data: outputs without the mean of the targets": edit((task.Scaling, "raw_targets"), "self.y_shift + ", ""),
    "data: predictions of an average from one run": edit(saved._solved_again, "if run.parts:", "if False:"),
    # What figures and claims rest on
    "figure: standard error with n for n − 1": edit(statistics.mean_and_error, "ddof=1", "ddof=0"),
    "figure: bias that keeps the theory's noise": edit(statistics.split_error, ".sum() + floor", ".sum()"),
    "claim: phenomenon within one standard error": edit(claims._level, "> 2 * error", "> error"),
    "claim: phenomenon at one step only": edit(claims._occurs, "levels[0] != levels[1]", "levels[0] > 3"),
    "beyond: test error of the training set": edit(beyond.outcome, "(run.f_test, task.y_test)))", "(run.f, task.y)))"),
    "beyond: networks of one seed": edit((beyond.Point, "run"), "self.width, self.seed", "self.width, 0"),
}


# Running -----------------------------------------------------------------------------------------------------------


def seed(name, patch):
    """Put a fault in its place. Raises KeyError for a name that is none, ValueError where its place is gone."""
    if name not in FAULTS:
        raise KeyError(f"there is no fault {name!r}; they are: {', '.join(FAULTS)}")
    FAULTS[name](patch)


def outcome_of(name):
    """The first quick test that fails with the fault, or without one for None; "survived" if none does."""
    first = [str(Path("tests/science", test)) for test in FIRST[name.partition(":")[0]]] if name else []
    command = [sys.executable, *"-m pytest -x -q --tb=no -rfE -p no:cacheprovider -m".split(), "not slow"]
    command += ["--fault", name] if name else []
    for tests in filter(None, (first, ["tests"])):
        try:
            told = subprocess.run([*command, *tests], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return f"hangs in {tests[0]}"
        if failed := re.search(r"^(?:FAILED|ERROR) (\S+)", told.stdout, re.MULTILINE):
            return failed[1]
        if told.returncode not in (0, 5):  # 5: nothing was left to run
            raise RuntimeError(f"pytest ended with {told.returncode} for {name!r}:\n{told.stdout}{told.stderr}")
    return "survived"


def rests_on(outcome):
    """A hash of what an outcome depends on: the library and the tests, or of these the file that caught the fault."""
    caught = re.search(r"tests/\w+/test_\w+\.py", outcome)
    files = [ROOT / caught[0]] if caught else list((ROOT / "tests").rglob("test_*.py"))
    files += [path for room in ("dmftlib", "companion") for path in (ROOT / room).rglob("*.py")]
    files += (ROOT / "tests").glob("*.py")
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def main(names, outcome_of=outcome_of, kept=KEPT):
    """Seed the faults of these names, all if there are none; print the score. Returns the exit status."""
    if unknown := set(names) - set(FAULTS):
        sys.exit(f"there is no fault {', '.join(map(repr, sorted(unknown)))}")
    chosen, lock = names or list(FAULTS), threading.Lock()
    known = json.loads(kept.read_text()) if kept.exists() else {}

    def run(name):
        key = name or "no fault"
        if key not in known or known[key][1] != rests_on(known[key][0]):
            outcome = outcome_of(name)
            with lock:
                known[key] = outcome, rests_on(outcome)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(known, indent=1, ensure_ascii=False))
                print(f"  {key}: {outcome}", flush=True)
        return known[key][0]

    todo = chosen if names else [None, *chosen]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(todo, pool.map(run, todo)))
    if outcomes.get(None, "survived") != "survived":
        sys.exit(f"the tests fail without a fault: {outcomes[None]}")
    survivors = [name for name in chosen if outcomes[name] == "survived"]
    share = 1 - len(survivors) / len(chosen)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults caught ({100 * share:.1f} %)")
    print("".join(f"survived: {name}\n" for name in survivors), end="")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
