"""A second implementation, for tests: paper §1 as a plain numpy loop over dense matrices, one branch a rule.

It shares nothing with dmftlib: no rule objects, no factored updates, no compilation. Beside it, `RULES`: what it is
compared with, and `drawn_by`, the draws of the library.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

import dmftlib as dl


@dataclass(frozen=True)
class Mixed(dl.Rule):
    """A rule that is in no paper: a share of the gradient, the rest direct random feedback."""

    share: float

    def pseudo_gradient(self, layer):
        return self.share * layer.g + (1 - self.share) * layer.phi_dot * layer.fresh_vector


RHO, SHARE = 0.6, 0.3
RULES = {"GD": dl.GD(), "FA": dl.FA(RHO), "DFA": dl.DFA(), "GLN": dl.GLN(), "Hebb": dl.Hebb(), "mixed": Mixed(SHARE)}

PHI = {
    "relu": (lambda h: np.sqrt(2) * np.maximum(h, 0), lambda h: np.sqrt(2) * (h > 0)),
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2),
    "erf": (erf, lambda h: 2 / np.sqrt(np.pi) * np.exp(-(h**2))),
    "linear": (lambda h: h, np.ones_like),
}


def draw(rng, L, N, D, C=1):
    """Everything random in one network: weights, frozen feedback weights, gate weights, feedback vectors."""
    shapes = [(N, D)] + [(N, N)] * (L - 1) + [(C, N)]
    return dict(
        W=[rng.standard_normal(s) for s in shapes],
        feedback=[rng.standard_normal(s) for s in shapes],
        M=[rng.standard_normal((N, D)) for _ in range(L)],
        vector=[rng.standard_normal((C, N)) for _ in range(L)],
    )


def drawn_by(experiment, N, seed, dtype="float64"):
    """What `network.train` draws for its weights, feedback, gates and vectors: each has a generator of its own."""
    L, D, C = experiment.hidden_layers, experiment.task.D, experiment.task.outputs

    def gaussian(kind, layer, *shape):
        return np.random.default_rng((seed, kind, layer, *shape)).standard_normal(shape, dtype).astype(float)

    W, feedback = ([gaussian(k, l, N, N) for l in range(1, L)] + [gaussian(k, L, C, N)] for k in (0, 1))
    M, vector = [gaussian(2, l, D, N).T for l in range(L)], [gaussian(3, l, C, N) for l in range(L)]
    return dict(W=[gaussian(0, 0, D, N).T, *W], feedback=[gaussian(1, 0, N, D), *feedback], M=M, vector=vector)


def run_of(rule, experiment, N, seed, dtype="float64"):
    """`train` with the draws and the settings of network.train(experiment, N, seed)."""
    e, task = experiment, experiment.task
    drawn = drawn_by(e, N, seed, dtype)
    return train(rule, e.phi.name, drawn, task.X, task.y, e.gamma0, e.lr, e.steps, task.X_test)


def train(rule, activation, drawn, X, y, gamma0, lr, steps, X_test=None):
    """Run `steps` states of one network. Layers are lists with index ℓ − 1, samples are rows.

    With targets (P, C) gradients have rows (sample 1, output 1), (sample 1, output 2), …
    Returns arrays named as in Dynamics, and the weights W after the last update.
    """
    phi, phi_dot = PHI[activation]
    W, W0 = [w.copy() for w in drawn["W"]], drawn["W"]
    L, N, D, P, C = len(W) - 1, len(W[0]), X.shape[1], len(y), len(W[-1])
    y, outputs = y.reshape(P, C), y.shape[1:]
    X_all = X if X_test is None else np.concatenate([X, X_test])
    gates = [phi_dot(X_all @ M.T / np.sqrt(D)) for M in drawn["M"]]
    out = {name: [] for name in ("f", "Phi", "G", "G_tilde", "G_tilde_tilde", "K")}
    f0 = None
    for _ in range(steps):
        h, F = [], []
        for k in range(L):
            below, fan_in = (X_all, D) if k == 0 else (F[-1], N)
            h.append(below @ W[k].T / np.sqrt(fan_in))
            F.append(gates[k] * h[k] if rule == "GLN" else phi(h[k]))
        raw = F[-1] @ W[L].T / (gamma0 * N)
        f0 = raw if f0 is None else f0
        f = raw - f0
        Delta = y - f[:P]
        F_train = [x[:P] for x in F]
        slope = [gates[k][:P] if rule == "GLN" else phi_dot(h[k][:P]) for k in range(L)]
        slope = [np.repeat(s, C, axis=0) for s in slope]

        g, z, g_tilde = [None] * L, [None] * L, [None] * L
        for k in reversed(range(L)):
            z[k] = np.tile(W[L], (P, 1)) if k == L - 1 else g[k + 1] @ W[k + 1] / np.sqrt(N)
            g[k] = slope[k] * z[k]
        for k in reversed(range(L)):
            if rule in ("GD", "GLN"):
                g_tilde[k] = g[k]
            elif rule == "FA":
                B = RHO * W0[k + 1] + np.sqrt(1 - RHO**2) * drawn["feedback"][k + 1]
                g_tilde[k] = slope[k] * (np.tile(B, (P, 1)) if k == L - 1 else g_tilde[k + 1] @ B / np.sqrt(N))
            elif rule == "DFA":
                g_tilde[k] = slope[k] * np.tile(drawn["vector"][k], (P, 1))
            elif rule == "Hebb":
                g_tilde[k] = Delta.reshape(-1, 1) * np.repeat(F_train[k], C, axis=0)
            elif rule == "mixed":
                g_tilde[k] = SHARE * g[k] + (1 - SHARE) * slope[k] * np.tile(drawn["vector"][k], (P, 1))
        Phi = [x @ x.T / N for x in F_train]
        G_tilde = [a @ b.T / N for a, b in zip(g, g_tilde, strict=True)]
        out["f"].append(f)
        out["Phi"].append(Phi)
        out["G"].append([a @ a.T / N for a in g])
        out["G_tilde"].append(G_tilde)
        out["G_tilde_tilde"].append([a @ a.T / N for a in g_tilde])
        same, below = np.kron(np.ones((P, P)), np.eye(C)), [np.kron(k, np.ones((C, C))) for k in (X @ X.T / D, *Phi)]
        out["K"].append(sum(a * b for a, b in zip([*G_tilde, same], below, strict=True)))

        for k in range(L):
            below, fan_in = (X, D) if k == 0 else (F_train[k - 1], N)
            for mu in range(P):
                signal = Delta[mu] @ g_tilde[k][mu * C : (mu + 1) * C]
                W[k] += lr * gamma0 / np.sqrt(fan_in) * np.outer(signal, below[mu])
        W[L] += lr * gamma0 * Delta.T @ F_train[-1]
    out = {name: np.array(value) for name, value in out.items()}
    out["f"] = out["f"].reshape(steps, len(X_all), *outputs)
    return out | dict(f_test=out["f"][:, P:], f=out["f"][:, :P], W=W, final_h=np.array([x[:P].T for x in h]))
