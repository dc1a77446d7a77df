"""Drawn settings in which the solver's stated errors are tested: every ingredient several times, in random company.

python benchmarks/stated_settings.py      lists them
"""

from dataclasses import dataclass, replace

import numpy as np

SEED, COUNT = 18, 64

# Columns of the table: each list is repeated until there are COUNT entries, and shuffled by itself.
RULES = [("GD", 0.0), ("FA", 0.0), ("FA", 1e-3), ("FA", 0.5), ("FA", 1.0), ("DFA", 0.0), ("GLN", 0.0), ("Hebb", 0.0)]
DEPTHS = [1, 2, 2, 3, 3, 4, 5, 6]
ACTIVATIONS = ["tanh", "erf", "relu", "softplus", "gelu", "sin", "abs", "own"]
INPUTS = [1, 2, 3, 4]
# What is particular about the inputs. "passive": a test point ten times longer, which no network is told of.
KINDS = ["random", "random", "equal", "opposite", "zero", "short", "passive", "random"]
OUTPUTS = [1, 1, 1, 2, 1, 1, 1, 3]
RICHNESS = [1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0]
# The largest lr·λ(K) that networks reach: ordinary, and near the edge at 2.
RATES = [0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.6]
STEPS = [8, 10, 12, 16]
PRECISIONS = ["float64", "float64", "float64", "float64", "float64", "float64", "float64", "float32"]
# Beyond the edge, where networks need not have a limit: what does the library say?
BEYOND = [("GD", "tanh", 3.0, 5.0), ("Hebb", "relu", 4.0, 4.0), ("FA", "sin", 3.0, 10.0), ("GD", "relu", 6.0, 2.0)]


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting; `rate` is the largest lr·λ(K) over the run, from which networks find lr."""

    name: str
    rule: str
    rho: float
    depth: int
    activation: str
    kind: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None
    gamma0: float
    rate: float
    steps: int
    dtype: str

    def __str__(self):
        rule = f"FA({self.rho:g})" if self.rule == "FA" else self.rule
        P, C = self.y.shape
        return (
            f"{self.name}: {rule}, L = {self.depth} {self.activation}, P = {P} {self.kind}, C = {C}, "
            f"gamma0 = {self.gamma0:g}, rate = {self.rate:g}, T = {self.steps}, {self.dtype}"
        )


def inputs(kind, P, rng):
    """X (P, D) and X_test or None. A kind that needs a second point changes the last of them; of one point, its length."""
    D = int(rng.integers(2, 7))
    X = rng.standard_normal((P, D))
    X *= np.sqrt(D) / np.linalg.norm(X, axis=1, keepdims=True) * rng.uniform(0.7, 1.4, (P, 1))
    if kind == "equal" and P > 1:
        X[-1] = X[0]
    if kind == "opposite" and P > 1:
        X[-1] = -X[0]
    if kind == "zero":
        X[-1] = 0.0
    if kind == "short":
        X[-1] /= 30.0
    return X, 10 * np.sqrt(D) * np.eye(1, D) if kind == "passive" else None


def draw():
    """All settings, by name."""
    rng = np.random.default_rng(SEED)
    columns = []
    for values in (RULES, DEPTHS, ACTIVATIONS, INPUTS, KINDS, OUTPUTS, RICHNESS, RATES, STEPS, PRECISIONS):
        columns.append([values[k % len(values)] for k in rng.permutation(COUNT)])
    settings = []
    for k, (rule, L, activation, P, kind, C, gamma0, rate, T, dtype) in enumerate(zip(*columns)):
        P = max(P, 2) if kind in ("equal", "opposite", "zero", "short") else P
        X, X_test = inputs(kind, P, rng)
        y = rng.standard_normal((P, C))
        y *= np.sqrt(P) / np.linalg.norm(y)
        settings.append(Setting(f"s{k:02}", *rule, L, activation, kind, X, y, X_test, gamma0, rate, T, dtype))
    for k, (rule, activation, rate, gamma0) in enumerate(BEYOND):
        X, _ = inputs("random", 3, rng)
        y = np.array([[1.0], [-1.0], [1.0]])
        setting = Setting(f"x{k}", rule, 0.5, 2, activation, "random", X, y, None, gamma0, rate, 24, "float64")
        settings.append(setting if rule == "FA" else replace(setting, rho=0.0))
    return {setting.name: setting for setting in settings}


if __name__ == "__main__":
    print(*draw().values(), sep="\n")
