"""A second implementation, for tests: BP §1 as a plain numpy loop over dense matrices, one branch a rule.

It shares nothing with dmftlib: no rule objects, no factored updates, no compilation. Beside it, `RULES`: what it is
compared with, and `drawn_by`, the draws of the library.
"""

from dataclasses import dataclass
from math import pi, sqrt
from types import SimpleNamespace

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
    "relu": (lambda h: sqrt(2) * np.maximum(h, 0), lambda h: sqrt(2) * np.heaviside(h, 0)),
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2),
    "erf": (erf, lambda h: 2 / sqrt(pi) * np.exp(-(h**2))),
    "linear": (lambda h: h, np.ones_like),
}


def draw(rng, L, N, D, C=1, count=()):
    """Everything random in one network, or in `count` at once: weights, frozen feedback, gate weights, feedback vectors."""
    shapes = [(*count, N, D)] + [(*count, N, N)] * (L - 1) + [(*count, C, N)]
    return dict(
        W=[rng.standard_normal(s) for s in shapes],
        feedback=[rng.standard_normal(s) for s in shapes],
        M=[rng.standard_normal(shapes[0]) for _ in range(L)],
        vector=[rng.standard_normal(shapes[-1]) for _ in range(L)],
    )


def drawn_by(experiment, N, seed, dtype="float64"):
    """What `network.train` draws for its weights, feedback, gates and vectors: each has a generator of its own."""
    L, D, C = experiment.hidden_layers, experiment.task.D, experiment.task.outputs

    def gaussian(kind, layer, *shape):
        return np.random.default_rng((seed, kind, layer, *shape)).standard_normal(shape, dtype).astype(float)

    W, feedback = ([gaussian(k, l, N, N) for l in range(1, L)] + [gaussian(k, L, C, N)] for k in (0, 1))
    M, vector = [gaussian(2, l, D, N).T for l in range(L)], [gaussian(3, l, C, N) for l in range(L)]
    return dict(W=[gaussian(0, 0, D, N).T, *W], feedback=[gaussian(1, 0, N, D), *feedback], M=M, vector=vector)


def run_of(rule, experiment, drawn, **options):
    """`train` in the setting of an experiment."""
    e, task = experiment, experiment.task
    options |= dict(weight_decay=e.weight_decay, batches=e.batches, residual=e.residual, substeps=e.substeps)
    return train(rule, e.phi.name, drawn, task.X, task.y, e.gamma0, e.lr, e.steps, task.X_test, **options)


def train(
    rule, activation, drawn, X, y, gamma0, lr, steps, X_test=None, rho=RHO, record=False, error=np.subtract,
    weight_decay=0.0, batches=None, residual=None, substeps=1,
):  # fmt: skip
    """Run `steps` states of one network, or of many: what is drawn, and all results, may have a leading axis of networks.

    Layers are lists with index ℓ − 1, samples are rows; with targets (P, C) gradients have rows (sample 1, output 1),
    (sample 1, output 2), … Returns arrays named as in Dynamics, and the weights W after the last update; `states`, if they
    are to be recorded, are all fields and weights by step. Substeps are done one by one, with updates that change as they did
    in the last step.
    """
    phi, phi_dot = PHI[activation]
    keep = 1 - lr * weight_decay / substeps
    W0, W = drawn["W"], [w.copy() for w in drawn["W"]]
    L, P, D, (*many, C, N) = len(W) - 1, *X.shape, W[-1].shape
    X, y, outputs = X.astype(W[0].dtype), y.reshape(P, C).astype(W[0].dtype), y.shape[1:]
    X_all = X if X_test is None else np.concatenate([X, X_test])
    gates = [phi_dot(X_all @ M.mT / sqrt(D)) for M in drawn["M"]] if rule == "GLN" else None
    each = lambda v: np.concatenate([v] * P, axis=-2)  # noqa: E731  a row for each output, for every sample
    rows = lambda a: np.repeat(a, C, axis=-2)  # noqa: E731  a row for each sample, for every output
    skip, s = residual is not None, [1.0] + [residual / sqrt(L) if residual else 1.0] * (L - 1)  # s_k W_k is the branch
    average = lambda a, b: np.stack([u @ v.mT / N for u, v in zip(a, b, strict=True)], axis=-3)  # noqa: E731
    out = {name: [] for name in ("f", "Phi", "G", "G_tilde", "G_tilde_tilde", "K")}
    states, U = [], []

    def forward(W):
        h, F = [], []
        for k in range(L):
            below, fan_in = (X_all, D) if k == 0 else (F[-1], N)
            h.append(s[k] * below @ W[k].mT / sqrt(fan_in) + (h[-1] if skip and k else 0))
            F.append(gates[k] * h[k] if rule == "GLN" else phi(h[k]))
        return h, F, F[-1] @ W[L].mT / (gamma0 * N)

    for t in range(steps):
        h, F, raw = forward(W)
        if t == 0:
            f0 = start = raw
        elif weight_decay:  # outputs of a network that decays and learns nothing
            start = forward([keep ** (substeps * t) * w for w in W0])[2]
        f = raw - start
        Delta = error(y, f[..., :P, :])
        F = [x[..., :P, :] for x in F]
        slope = [rows(gates[k][..., :P, :] if rule == "GLN" else phi_dot(h[k][..., :P, :])) for k in range(L)]

        z, g, g_tilde = [None] * L, [None] * L, [None] * L
        for k in reversed(range(L)):
            z[k] = each(W[L]) if k == L - 1 else s[k + 1] * g[k + 1] @ W[k + 1] / sqrt(N)
            g[k] = slope[k] * z[k] + (g[k + 1] if skip and k < L - 1 else 0)
            if rule in ("GD", "GLN"):
                g_tilde[k] = g[k]
            elif rule == "FA":
                B = rho * W0[k + 1] + sqrt(1 - rho**2) * drawn["feedback"][k + 1]
                g_tilde[k] = slope[k] * (each(B) if k == L - 1 else s[k + 1] * g_tilde[k + 1] @ B / sqrt(N))
                g_tilde[k] = g_tilde[k] + (g_tilde[k + 1] if skip and k < L - 1 else 0)
            elif rule == "DFA":
                g_tilde[k] = slope[k] * each(drawn["vector"][k])
            elif rule == "Hebb":
                g_tilde[k] = Delta.reshape(*many, P * C, 1) * rows(F[k])
            elif rule == "mixed":
                g_tilde[k] = SHARE * g[k] + (1 - SHARE) * slope[k] * each(drawn["vector"][k])
        Phi, G_tilde = average(F, F), average(g, g_tilde)
        K = np.kron(np.ones((P, P)), np.eye(C)) * rows(rows(Phi[..., -1, :, :]).mT)
        for k in range(L):
            K = K + s[k] ** 2 * G_tilde[..., k, :, :] * rows(rows(X @ X.T / D if k == 0 else Phi[..., k - 1, :, :]).mT)
        for name, value in zip(out, (f, Phi, average(g, g), G_tilde, average(g_tilde, g_tilde), K), strict=True):
            out[name].append(value)
        if record:
            states.append(
                SimpleNamespace(W=[w.copy() for w in W], h=h, raw=raw, Delta=Delta, z=z, g=g, g_tilde=g_tilde)
            )

        B = slice(None) if batches is None else list(batches[t % len(batches)])
        before, U = U, []
        for k in range(L):
            below, fan_in = (X, D) if k == 0 else (F[k - 1], N)
            signal = (Delta[..., None] * g_tilde[k].reshape(*many, P, C, N)).sum(axis=-2)
            U.append(s[k] * gamma0 / sqrt(fan_in) * (signal[..., B, :].mT @ below[..., B, :]))
        U.append(gamma0 * Delta[..., B, :].mT @ F[-1][..., B, :])
        for w, now, last in zip(W, U, before or U, strict=True):
            for k in range(substeps):
                change = k / substeps * (now - last)
                missed = keep**substeps * change if t == 1 else 0  # by the first step, which knew of no change
                w *= keep
                w += lr / substeps * (now + change + missed)
    out = {name: np.stack(value, axis=len(many), dtype=float) for name, value in out.items()}
    f = out["f"].reshape(*many, steps, len(X_all), *outputs)
    after = (slice(None),) * len(many)
    out |= dict(f=f[*after, :, :P], f_test=f[*after, :, P:])
    return out | dict(W=W, start=f0, states=states, final_h=np.array([x[..., :P, :].mT for x in h]))


def shifts_of(convolution):
    """shifts[k, a, b], 1 where the filter at position a has b at its offset k."""
    shape, size, A = convolution.shape, convolution.size, int(np.prod(convolution.shape))
    offsets = list(np.ndindex(*(size,) * len(shape)))
    shifts = np.zeros((len(offsets), A, A))
    for k, offset in enumerate(offsets):
        for a, place in enumerate(np.ndindex(*shape)):
            there = [p + o - size // 2 for p, o in zip(place, offset, strict=True)]
            if convolution.padding == "circular" or all(0 <= p < side for p, side in zip(there, shape, strict=True)):
                b = 0
                for p, side in zip(there, shape, strict=True):
                    b = b * side + p % side
                shifts[k, a, b] = 1
    return shifts


def train_convolution(rule, activation, drawn, task, convolution, gamma0, lr, steps, rho=RHO, residual=None):
    """`train` of a convolutional network: one einsum over explicit filters W[ℓ] (channels, offset, channels below) a product.

    K is made of per-sample gradients of all weights.
    `drawn` is `drawn_by`'s kind of dictionary, its arrays in the library's shapes.
    """
    phi, phi_dot = PHI[activation]
    shifts = shifts_of(convolution)
    A = shifts.shape[1]
    x = task.X_all.reshape(len(task.X_all), A, -1)
    P, C, K = task.P, task.outputs, len(shifts)
    y, (N, L) = task.y.reshape(P, C), (len(drawn["W"][0]), len(drawn["W"]) - 1)
    average = convolution.readout == "average"
    s = 1 / A if average else A**-0.5
    skip, r = residual is not None, [1.0] + [residual / sqrt(L) if residual else 1.0] * (L - 1)  # r_k W_k is the branch

    def filters(W):
        return W.reshape(len(W), K, -1).copy()

    def readout(w):  # (C, A, N)
        return np.repeat(w[:, None], A, axis=1) if average else w.reshape(C, A, N).copy()

    W, B = ([*map(filters, ws[:-1]), readout(ws[-1])] for ws in (drawn["W"], drawn["feedback"]))
    W0 = [w.copy() for w in W]
    patches = lambda below: np.einsum("kab,mbj->makj", shifts, below) / sqrt(K * below.shape[2])  # noqa: E731
    down = lambda w, v: np.einsum("kab,ikj,mcai->mcbj", shifts, w, v, optimize=True) / sqrt(K * N)  # noqa: E731
    average_of = lambda a, b: np.stack([u.reshape(-1, N) @ v.reshape(-1, N).T / N for u, v in zip(a, b, strict=True)])  # noqa: E731
    gradients = lambda v, x: s * np.einsum("mcai,makj->mcikj", v, x[:P]).reshape(P * C, -1)  # noqa: E731
    gates = [phi_dot(np.einsum("ikj,makj->mai", filters(M), patches(x))) for M in drawn["M"]] if rule == "GLN" else None
    out, start = {name: [] for name in ("f", "Phi", "G", "G_tilde", "G_tilde_tilde", "K")}, None
    for _ in range(steps):
        seen, h, F, below = [], [], [], x
        for k in range(L):
            seen.append(r[k] * patches(below))
            h.append(np.einsum("ikj,makj->mai", W[k], seen[k]) + (h[-1] if skip and k else 0))
            F.append(gates[k] * h[k] if rule == "GLN" else phi(h[k]))
            below = F[k]
        raw = s * np.einsum("cai,mai->mc", W[L], F[-1]) / (gamma0 * N)
        start = raw if start is None else start
        f = raw - start
        Delta, F = y - f[:P], [v[:P] for v in F]
        slope = [(gates[k][:P] if rule == "GLN" else phi_dot(h[k][:P]))[:, None] for k in range(L)]
        g, g_tilde = [None] * L, [None] * L
        for k in reversed(range(L)):
            through = skip and k < L - 1
            g[k] = slope[k] * (W[L] if k == L - 1 else r[k + 1] * down(W[k + 1], g[k + 1]))
            g[k] = g[k] + (g[k + 1] if through else 0)
            if rule in ("GD", "GLN"):
                g_tilde[k] = g[k]
            elif rule == "FA":
                back = rho * W0[k + 1] + sqrt(1 - rho**2) * B[k + 1]
                g_tilde[k] = slope[k] * (back if k == L - 1 else r[k + 1] * down(back, g_tilde[k + 1]))
                g_tilde[k] = g_tilde[k] + (g_tilde[k + 1] if through else 0)
            elif rule == "DFA":
                g_tilde[k] = slope[k] * readout(drawn["vector"][k])
            elif rule == "Hebb":
                g_tilde[k] = Delta[:, :, None, None] * F[k][:, None]
        last = s * np.einsum("mai,cd->mcdai", F[-1], np.eye(C))
        last = (last.sum(axis=3) if average else last).reshape(P * C, -1)
        eNTK = sum(gradients(g[k], seen[k]) @ gradients(g_tilde[k], seen[k]).T for k in range(L)) + last @ last.T
        values = f, average_of(F, F), average_of(g, g), average_of(g, g_tilde), average_of(g_tilde, g_tilde), eNTK / N
        for name, value in zip(out, values, strict=True):
            out[name].append(value)
        for k in range(L):
            W[k] += lr * gamma0 * s * np.einsum("mc,mcai,makj->ikj", Delta, g_tilde[k], seen[k][:P], optimize=True)
        change = lr * gamma0 * s * np.einsum("mc,mai->cai", Delta, F[-1])
        W[L] += change.sum(axis=1, keepdims=True) if average else change
    out = {name: np.stack(value) for name, value in out.items()}
    f = out["f"].reshape(steps, len(x), *task.y.shape[1:])
    return out | dict(f=f[:, :P], f_test=f[:, P:])
