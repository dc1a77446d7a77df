"""Faults that `dmft faults` seeds into the library, one at a time, to see whether the quick tests find them.

Each replaces one piece of source by a wrong one that a physicist might have written. tests/test_faults.py checks that
every piece still occurs once. A fault that no test can find, since nothing changes, says why in `equivalent`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`old` occurs once in the files of dmftlib that match `where`; `new` takes its place."""

    name: str
    where: str
    old: str
    new: str
    equivalent: str = ""


# The tests of what was touched, which run first. The pattern of a fault, then test files.
TESTS = {
    "activations.py": ("science/test_activations.py", "science/test_lazy.py"),
    "rules.py": (
        "science/test_outputs.py",
        "science/test_rules.py",
        "science/test_meanfield.py",
        "science/test_conserved.py",
        "science/test_lazy.py",
    ),
    "probe.py": ("science/test_rules.py", "science/test_meanfield.py"),
    "lazy.py": ("science/test_lazy.py",),
    "results.py": ("science/test_results.py", "science/test_linear.py"),
    "comparison.py": ("science/test_results.py",),
    "stability.py": ("science/test_results.py",),
    "task.py": ("science/test_experiment.py", "science/test_lazy.py"),
    "training.py": ("science/test_network.py",),
    "ensembles.py": ("science/test_network.py",),
    "layer.py": ("science/test_meanfield.py",),
    "solver.py": ("science/test_meanfield.py", "science/test_linear.py", "science/test_equations.py"),
    "twolayer.py": ("science/test_twolayer.py",),
    "claims.py": ("companion/test_claims.py",),
    "beyond.py": ("companion/test_beyond.py",),
    "machine.py": ("science/test_machine.py",),
    "statistics.py": ("companion/test_figures.py",),
}

FAULTS = (
    # Activations and their Gaussian averages
    Fault("opposite inputs taken for equal ones", "activations.py", "np.sign(corr), corr)", "1.0, corr)"),
    Fault("relu: θ for π − θ", "activations.py", "(np.pi - theta) * corr", "theta * corr"),
    Fault("relu: factor 2 of √2 relu lost in ⟨φφ⟩", "activations.py", "scale / np.pi *", "scale / (2 * np.pi) *"),
    Fault(
        "relu: ⟨φ̇φ̇⟩ falls half as fast",
        "activations.py",
        "1 - np.arccos(corr) / np.pi",
        "1 - np.arccos(corr) / (2 * np.pi)",
    ),
    Fault("erf: factor 2 lost in the arcsine", "activations.py", "np.arcsin(2 * Sigma", "np.arcsin(Sigma"),
    Fault("erf: a sign under the root", "activations.py", "- 4 * Sigma**2)", "+ 4 * Sigma**2)"),
    Fault("tanh: square lost in φ̇", "activations.py", "return 1 - jnp.tanh(h) ** 2", "return 1 - jnp.tanh(h)"),
    Fault(
        "erf: φ̇ half as large", "activations.py", "2 / math.sqrt(math.pi) * jnp.exp", "1 / math.sqrt(math.pi) * jnp.exp"
    ),
    Fault(
        "relu without √2",
        "activations.py",
        "jnp.sqrt(2.0).astype(h.dtype) * jnp.maximum(h, 0)",
        "jnp.maximum(h, 0)",
    ),
    Fault(
        "Gaussian average: convolution of half the variance",
        "activations.py",
        "(1 - c**2) / (2 * c)",
        "(1 - c**2) / (4 * c)",
    ),
    Fault(
        "Gaussian average: a power of the correlation too many",
        "activations.py",
        "power, part = np.ones_like(corr[rows])",
        "power, part = corr[rows].copy()",
    ),
    Fault(
        "Gaussian average: weight of the wrong width", "activations.py", "np.exp(-(x**2) / 4)", "np.exp(-(x**2) / 2)"
    ),
    Fault(
        "⟨φ̇φ̇⟩: φ for φ̇",
        "activations.py",
        "gaussian_average(self.phi_dot, self.phi_dot, Sigma)",
        "gaussian_average(self.phi, self.phi_dot, Sigma)",
    ),
    # Rules
    Fault("FA: 1 − ρ for ρ", "rules.py", "self.rho * layer.W0_T(v)", "(1 - self.rho) * layer.W0_T(v)"),
    Fault("FA: 1 − ρ for √(1 − ρ²)", "rules.py", "math.sqrt(1 - self.rho**2)", "(1 - self.rho)"),
    Fault("FA: feedback that learns", "rules.py", "self.rho * layer.W0_T(v)", "self.rho * layer.W_T(v)"),
    Fault("FA: φ for φ̇", "rules.py", "return layer.gain * sum(", "return layer.features * sum("),
    Fault("DFA: φ̇ dropped", "rules.py", "layer.gain * layer.fresh_vector", "1.0 * layer.fresh_vector + 0 * layer.h"),
    Fault("GLN: gate on φ in place of h", "rules.py", "layer.gate * layer.h", "layer.gate * layer.phi"),
    Fault(
        "GLN: φ̇(h) for the gate on the way back",
        "rules.py",
        "def gain(self, layer):\n        return layer.gate",
        "def gain(self, layer):\n        return layer.phi_dot",
    ),
    Fault("Hebb: h for φ", "rules.py", "layer.error * layer.phi", "layer.error * layer.h"),
    Fault("Hebb: a sign", "rules.py", "layer.error * layer.phi", "-1.0 * layer.error * layer.phi"),
    Fault("Hebb: error dropped", "rules.py", "return layer.error * layer.phi", "return 1.0 * layer.phi"),
    # The lazy limit
    Fault(
        "lazy K: input weights dropped",
        "lazy.py",
        "zip(G_tilde, [K_x, *Phi])",
        "zip(G_tilde[1:], Phi)",
    ),
    Fault(
        "lazy K: features of the wrong layer",
        "lazy.py",
        "zip(G_tilde, [K_x, *Phi])",
        "zip(G_tilde, Phi)",
    ),
    Fault("lazy G: g̃ for g", "lazy.py", "average(g, g))", "average(g_tilde, g_tilde))"),
    Fault("lazy G̃: g̃ for g", "lazy.py", "average(g, g_tilde))", "average(g_tilde, g_tilde))"),
    Fault("lazy ⟨g̃g̃⟩: g for g̃", "lazy.py", "average(g_tilde, g_tilde))", "average(g, g))"),
    Fault(
        "lazy: every layer sees the inputs",
        "lazy.py",
        "layer = _Kernels(experiment.phi, Phi,",
        "layer = _Kernels(experiment.phi, K_x,",
    ),
    Fault(
        "lazy gates of the layer below",
        "lazy.py",
        "(GATE, GATE): lambda: act.dot_dot(self.K_x)",
        "(GATE, GATE): lambda: act.dot_dot(below)",
    ),
    Fault(
        "lazy GLN: K_x for the layer below",
        "lazy.py",
        "act.dot_dot(self.K_x) * below",
        "act.dot_dot(self.K_x) * self.K_x",
    ),
    Fault(
        "lazy: φ for φ̇",
        "lazy.py",
        "(PHI_DOT, PHI_DOT): lambda: act.dot_dot(below)",
        "(PHI_DOT, PHI_DOT): lambda: act.phi_phi(below)",
    ),
    Fault("lazy: feedback shares the weights' draws", "lazy.py", 'self.image("fresh", v)', 'self.image("W", v)'),
    Fault("lazy: all random matrices are one", "lazy.py", " or a.matrix != b.matrix:", ":"),
    Fault("lazy: coefficients of one sample only", "lazy.py", "c * c2.T *", "c * c2 *"),
    Fault(
        "lazy training: error a step too old",
        "lazy.py",
        "Delta[:P] = y - f[t - 1, :P]",
        "Delta[:P] = y - f[max(t - 2, 0), :P]",
    ),
    Fault(
        "lazy training: images of an earlier error",
        "lazy.py",
        "layer.image_averages.clear()",
        "pass",
        "a field of a later error is another object with another key: only memory is lost",
    ),
    Fault("lazy training: mean for sum over samples", "lazy.py", "step = K @ Delta", "step = K / P @ Delta"),
    Fault(
        "lazy test outputs after training: targets twice",
        "lazy.py",
        "limit = k @",
        "limit = 2 * k @",
    ),
    # Results and what is read off them
    Fault("times start a step late", "results.py", "np.arange(len(self.f))", "np.arange(1, len(self.f) + 1)"),
    Fault(
        "error: a sign",
        "results.py",
        "return self.experiment.task.y - self.f",
        "return self.f - self.experiment.task.y",
    ),
    Fault(
        "loss: sum for mean",
        "results.py",
        "range(1, self.Delta.ndim))) / self.experiment.task.P",
        "range(1, self.Delta.ndim)))",
    ),
    Fault(
        "alignment: ‖y‖ for ‖y‖²",
        "results.py",
        "np.linalg.norm(K, axis=(-2, -1)) / (y @ y)",
        "np.linalg.norm(K, axis=(-2, -1)) / np.sqrt(y @ y)",
    ),
    Fault("correlation of g and g̃ over ⟨gg⟩", "results.py", "G_tilde / np.sqrt(G * F)", "G_tilde / G"),
    Fault("two-time kernels: times exchanged", "results.py", "tlms,ulns->ltmun", "tlms,ulns->lumtn"),
    Fault("two-time G̃ transposed", "results.py", 'G_tilde=("g", "g_tilde")', 'G_tilde=("g_tilde", "g")'),
    Fault(
        "H_y of the first layer",
        "results.py",
        "self.Phi[:, -1], y) / (y**2).sum()",
        "self.Phi[:, 0], y) / (y**2).sum()",
    ),
    Fault("distance relative to the theory", "comparison.py", "np.linalg.norm(b) or 1.0", "np.linalg.norm(a) or 1.0"),
    Fault("instability noticed at 4", "stability.py", "overshoot.max() > 1, ", "overshoot.max() > 3, "),
    Fault("negative eigenvalues are never told", "stability.py", "growth > NOTICEABLE,", "growth > 1e9,"),
    Fault("one value has no error", "statistics.py", "values.shape[1:], np.nan)", "values.shape[1:], 0.0)"),
    Fault(
        "agreement without the theory's error",
        "comparison.py",
        "np.hypot(self.standard_error[name], self.theory_error[name])",
        "self.standard_error[name]",
    ),
    # Tasks
    Fault("K_x over P", "task.py", "self.X @ self.X.T / self.D", "self.X @ self.X.T / self.P"),
    Fault("circle of the wrong radius", "task.py", "np.sqrt(2.0) * np.stack", "np.stack"),
    Fault("whitened inputs of norm 1", "task.py", "np.sqrt(y.size) * np.eye", "np.eye"),
    # Networks
    Fault("first layer scaled with N", "training.py", "[1 / np.sqrt(D)] + (L", "[1 / np.sqrt(N)] + (L"),
    Fault("initial weights that move", "training.py", "v @ self.initial * self.scale", "self.transpose(v)"),
    Fault(
        "learned part dropped on the way back",
        "training.py",
        "return v @ self.now * self.scale + learned",
        "return v @ self.now * self.scale",
    ),
    Fault(
        "learned part dropped on the way forward",
        "training.py",
        "return phi @ self.now.T * self.scale + learned",
        "return phi @ self.now.T * self.scale",
    ),
    Fault(
        "feedback repeats the weights: a reused key",
        "training.py",
        "jax.random.fold_in(jax.random.fold_in(key, kind), layer)",
        "jax.random.fold_in(key, layer)",
    ),
    Fault(
        "layers repeat each other: a reused key",
        "training.py",
        "jax.random.fold_in(jax.random.fold_in(key, kind), layer)",
        "jax.random.fold_in(key, kind)",
    ),
    Fault(
        "gates are those of the weights: a reused key",
        "training.py",
        '_gaussian(key, "gates", l',
        '_gaussian(key, "weights", l',
    ),
    Fault("readout learns without γ₀", "training.py", "W[L] + gamma0 * lr *", "W[L] + lr *"),
    Fault(
        "hidden weights always follow the gradient",
        "training.py",
        "* g_tilde.reshape(P, C, N)).sum(1) for g_tilde in g_tildes]",
        "* g.reshape(P, C, N)).sum(1) for g in gs]",
    ),
    Fault("first weights learn with 1/D", "training.py", "X[:P] / np.sqrt(D)\n", "X[:P] / D\n"),
    Fault(
        "initial output not subtracted", "training.py", "jnp.where(begun, raw - f0, 0.0)", "jnp.where(begun, raw, 0.0)"
    ),
    Fault("update with features of the layer above", "training.py", "phi[l - 1], (t * P, 0)", "phi[l], (t * P, 0)"),
    Fault(
        "network K: features of the wrong layer",
        "training.py",
        "(below[:-1] * G_tilde).sum(0) + below[-1]",
        "(below[1:] * G_tilde).sum(0) + below[-1]",
    ),
    Fault("network G̃ transposed", "training.py", "average(gs, g_tildes)", "average(g_tildes, gs)"),
    Fault("network gradient: φ for φ̇", "training.py", "self.g = self.gain * self.z", "self.g = self.phi * self.z"),
    Fault("standard error with n for n − 1", "ensembles.py", "value / (count - 1) / count", "value / count / count"),
    Fault("extrapolation in 1/√N", "ensembles.py", "np.array([1 / e.width", "np.array([1 / np.sqrt(e.width)"),
    Fault(
        "second part of a long run: updates too small",
        "training.py",
        "factors[l][1] / np.sqrt(N)",
        "factors[l][1] / N",
    ),
    # The mean field
    Fault("learned term 5 % too strong", "solver.py", "signal = gamma0 * lr *", "signal = 1.05 * gamma0 * lr *"),
    Fault(
        "no A and C responses",
        "solver.py",
        'else h + (phi @ s["b"].T',
        'else h + 0.0 * (phi @ s["b"].T',
    ),
    Fault(
        "no B response",
        "solver.py",
        'return self._extend(v, "q") @ s["b"] + (v @ s["a_now"].T / self.S) @ s["p"]',
        'return self._extend(v, "q") @ s["b"]',
    ),
    Fault(
        "no D response",
        "solver.py",
        'return self._extend(v, "q") @ s["b"] + (v @ s["a"].T / self.S) @ s["p"]',
        'return self._extend(v, "q") @ s["b"]',
    ),
    Fault("feedback's response learns", "solver.py", '(v @ s["a"].T / self.S)', '(v @ s["a_now"].T / self.S)'),
    Fault(
        "feedback repeats the weights",
        "solver.py",
        'self._extend(v, "q") @ self.state["fresh"]',
        'self._extend(v, "q") @ self.state["b"]',
    ),
    Fault(
        "no response to feedback through initial weights",
        "probe.py",
        'bool(asked & {"g", "W_T", "W0_T"})',
        'bool(asked & {"g", "W_T"})',
    ),
    Fault(
        "residuals not scaled by their own fields", "solver.py", "jnp.where(length > 0, length, 1.0)", "length.max()"
    ),
    Fault("test points ask for directions", "solver.py", 'self._extend(phi[:P], "p")', 'self._extend(phi, "p")[:P]'),
    Fault("theory's readout learns without γ₀", "solver.py", "w=w + gamma0 * lr *", "w=w + lr *"),
    Fault("initial readout that moves", "layer.py", "return v @ self.w0", "return v @ self.w"),
    Fault(
        "theory K: features of the wrong layer",
        "solver.py",
        "return sum(a * b for a, b in zip(above, below))",
        "return sum(a * b for a, b in zip(above, below[::-1]))",
    ),
    Fault(
        "first weights learn what the last should",
        "solver.py",
        "X_factor[:P].T @ signal[0]",
        "X_factor[:P].T @ signal[-1]",
    ),
    Fault("theory G: g̃ for g", "solver.py", "G=average(g, g),", "G=average(g_tilde, g_tilde),"),
    Fault(
        "theory G̃ transposed",
        "solver.py",
        "average(phi, phi), average(g, g_tilde)",
        "average(phi, phi), average(g_tilde, g)",
    ),
    Fault("Monte Carlo error twice as large", "solver.py", "(x[0] - x[1]) / 2", "(x[0] - x[1])"),
    Fault(
        "layers repeat each other's draws",
        "solver.py",
        "np.random.default_rng((*self.seed, layer))",
        "np.random.default_rng((*self.seed, 0))",
    ),
    Fault("readout that does not learn", "solver.py", "layers[-1].features @ w.T /", "layers[-1].features @ w0.T /"),
    Fault("error of a mean without 1/√n", "solver.py", "ddof=1) / np.sqrt(len(runs))", "ddof=1)"),
    Fault("inputs scaled with P", "solver.py", "upper).T / np.sqrt(X.shape[1])", "upper).T / np.sqrt(X.shape[0])"),
    Fault("initial outputs not removed from the readout", "solver.py", ", w - (w @ new.T / S) @ new", ", w"),
    # Closed forms
    Fault(
        "GD: the factor 2 that the paper's print lacks",
        "twolayer.py",
        "lambda tau: drive - np.sinh(2 * tau)",
        "lambda tau: drive - np.sinh(tau)",
    ),
    Fault("GD: H_y at half the time", "twolayer.py", "H_y = np.cosh(2 * tau)", "H_y = np.cosh(tau)"),
    Fault(
        "two-layer FA: 1 − ρ for ρ in G̃",
        "twolayer.py",
        "rho + tau**2 / 2, np.ones_like(tau)",
        "1 - rho + tau**2 / 2, np.ones_like(tau)",
    ),
    Fault(
        "two-layer FA: 1 − ρ for 1 + ρ",
        "twolayer.py",
        "drive - tau**3 / 2 - (1 + rho) * tau",
        "drive - tau**3 / 2 - (1 - rho) * tau",
    ),
    Fault("two-layer FA: G's last term", "twolayer.py", "+ tau**4 / 4", "+ tau**4 / 2"),
    Fault("two-layer Hebb: Δ for Δ²", "twolayer.py", "gamma0 * Delta**2])", "gamma0 * Delta])"),
    Fault(
        "two-layer Hebb: G̃ transposed", "twolayer.py", "(Delta * f)[:, None, None, :]", "(Delta * f)[:, None, :, None]"
    ),
    Fault("two-layer Hebb: ⟨g̃g̃⟩ with one Δ", "twolayer.py", "diagonal(Delta**2 * H)", "diagonal(Delta * H)"),
    Fault("two-layer K without K_x", "twolayer.py", "self.G_tilde[:, 0] * np.eye(self.task.P)", "self.G_tilde[:, 0]"),
    # What figures and claims rest on
    Fault(
        "standard error with n for n − 1 in figures",
        "statistics.py",
        "ddof=1) / np.sqrt(n) if n > 1",
        "ddof=0) / np.sqrt(n) if n > 1",
    ),
    Fault("error of a slope not relative", "statistics.py", "(weights * error / y) ** 2", "(weights * error) ** 2"),
    Fault(
        "variance of n networks for n − 1",
        "statistics.py",
        "(len(ensemble.seeds) - 1) * np",
        "len(ensemble.seeds) * np",
    ),
    Fault("bias that keeps the theory's noise", "statistics.py", "/ sizes[kept].sum() + floor", "/ sizes[kept].sum()"),
    Fault(
        "fluctuations scaled the wrong way with N",
        "statistics.py",
        "runs[0].provenance.size / width",
        "width / runs[0].provenance.size",
    ),
    Fault("kurtosis: 3 not subtracted", "statistics.py", "(fourth / second**2 - 3)", "(fourth / second**2 - 1)"),
    Fault("errors added, not in quadrature", "claims.py", "2 * np.hypot(noise, error)", "2 * (noise + error)"),
    Fault("phenomenon within one standard error", "claims.py", "sign * gain > 2 * error", "sign * gain > error"),
    Fault("phenomenon at one step only", "claims.py", "if levels[0] != levels[1]:", "if levels[0] > 3:"),
    Fault("a full order only where networks have one", "claims.py", "[min(levels)]", "[levels[2]]"),
    Fault(
        "slopes of any uncertainty hold",
        "claims.py",
        "off <= 2 * error and error <= 0.1",
        "off <= 2 * error and error <= 10",
    ),
    # Test errors from lazy to rich
    Fault(
        "test error over the training targets",
        "beyond.py",
        "((f - y) ** 2).mean(axis=1)",
        "((f - y) ** 2).mean(axis=1) / (task.y**2).mean()",
    ),
    Fault("test error of the training set", "beyond.py", "(run.f_test, task.y_test)))", "(run.f, task.y)))"),
    Fault(
        "accuracy: the sign, whatever the two values are",
        "beyond.py",
        "middle = values.mean()",
        "middle = 0.0",
    ),
    Fault(
        "accuracy: as if the output were the answer",
        "beyond.py",
        "np.sign(run.f_test - middle) ==",
        "run.f_test - middle ==",
    ),
    Fault(
        "moment: a straight loss, not its logarithm",
        "beyond.py",
        "np.log(loss[before] / level) / np.log(loss[before] / loss[after])",
        "(loss[before] - level) / (loss[before] - loss[after])",
    ),
    Fault(
        "error at the moment: counted from the wrong step",
        "beyond.py",
        "float(values[before] + share",
        "float(values[after] + share",
    ),
    Fault(
        "moment: a level on the error, not on its square",
        "beyond.py",
        "after = int(np.argmax(loss <= level))",
        "after = int(np.argmax(loss <= level**2))",
    ),
    Fault(
        "step falls with γ₀, not with its square",
        "beyond.py",
        "share / (1 + gamma0) ** 2 /",
        "share / (1 + gamma0) /",
    ),
    Fault("step from the features' kernel", "beyond.py", "lazy.kernels(one).K)", "lazy.kernels(one).Phi[-1])"),
    Fault("every rule takes whole steps", "beyond.py", "share = caution * SHARES", "share = SHARES"),
    Fault("networks of one seed", "beyond.py", "self.width, self.seed, dtype", "self.width, 0, dtype"),
    Fault("one draw of the data", "beyond.py", "DIMENSION, P_test, draw)", "DIMENSION, P_test, 0)"),
    # What a run takes
    Fault("memory: both halves in one", "machine.py", "samples // 2, np.dtype", "samples, np.dtype"),
    Fault("memory: single precision as large as double", "machine.py", "np.dtype(dtype).itemsize", "8"),
    Fault("memory: factor of old and new bases", "machine.py", "bases = HELD * arrays", "bases = arrays"),
    Fault(
        "memory: way back through feedback forgotten",
        "machine.py",
        'ways_back = 1 + len(needs(experiment.rule) & {"W0_T", "fresh_T"})',
        "ways_back = 1",
    ),
    Fault("memory: record ignored", "machine.py", "history = record * T *", "history = 0 * T *"),
    Fault("memory: kernels of every step", "machine.py", "T if kernels_at is None else len(kernels_at)", "T"),
    Fault(
        "memory: test points forgotten",
        "machine.py",
        "n, rows, S, item = len(task.X_all),",
        "n, rows, S, item = task.P,",
    ),
    Fault("operations of one step", "machine.py", "halves * (T * step +", "halves * (step +"),
    Fault("operations: additions not counted", "machine.py", "return 2 * size**3", "return size**3"),
    Fault("operations: the coarser run forgotten", "machine.py", "halves = 2 + (gaps > 0) / 3", "halves = 2"),
    Fault("refused at twice the memory", "machine.py", "if needed > has:", "if needed > 2 * has:"),
    Fault("mappings: forgotten at the limit", "machine.py", "if count > most / 2:", "if count > most:"),
)
