r"""Response functions A, B, C, D (paper §3): derivatives of the single-site process along the sampled neurons.

A nudge of one Gaussian input of a neuron at step s, δu, δr or δv, moves its fields from then on, with kernels, errors
and responses held fixed:

    δh^ℓ(t) = δu + γ₀ Σ_{s'<t} [A^{ℓ−1}(t,s') δg(s') + (C^{ℓ−1}(t,s') + η Φ^{ℓ−1}(t,s') Δ(s')) δg̃(s')]
    δz^ℓ(t) = δr + γ₀ Σ_{s'≤t} [B^ℓ(t,s') + η 1_{s'<t} G̃^{ℓ+1}(t,s') Δ(s')] δφ(s')

likewise what comes through W(0)ᵀ and W(t)ᵀ from g̃, by v and D; the derivative of the rule's own φ, g and g̃ does the rest.
The means of δφ/δr, δφ/δv, δg/δu, δg̃/δu over the neurons are γ₀A, γ₀C, γ₀B, γ₀D. A nudge at s needs responses to s and
later only: so s falls, A and C are found from the first layer up, B and D from the last down, and nothing is inverted.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from .meanfield import _Samples
from .rules import BACKWARD, needs

BYTES_AT_ONCE = 2**26  # of moved fields
MOST_OPERATIONS = 2e12  # of a call: minutes on one core; then some of the neurons are taken
FEWEST = 64  # neurons of a half
POINTS, RESOLVED = 2**14, 1e-3  # of the grid that looks for jumps; share of a change that its derivative may miss


def _site(rule, activation, h, frozen, Delta, z, images, echoes):
    """Neurons of a layer at one step, given what came down to them; the layer above has its fields as coordinates."""
    site = _Samples(rule, activation, h, frozen)

    def answer(name):
        return lambda v: images[name] + (v @ echoes[name] if name in echoes else 0.0)

    above = SimpleNamespace(**dict(zip(("transpose", "transpose_initial", "transpose_fresh"), map(answer, BACKWARD))))
    site.backward(above, Delta.reshape(len(h), -1), None, jnp.eye(len(z)))
    site.z = z
    return site


@partial(jax.jit, static_argnames=("rule", "activation"))
def _nudged(rule, activation, neurons, Delta, couplings, nudge, start):
    """δφ, δg, δg̃ by name, (T, rows, columns): sums over neurons of them and of their squares.

    neurons    h (T, P, S), z, images (T, P·C, S), and gate and vector, which do not change
    couplings  of a field (a row of the layer below or above) to the moves of another, (T, rows, T, rows)
    nudge      u, r, v (rows, columns): unit moves of the inputs at step `start`
    """
    h, z, images, frozen = (neurons[name] for name in ("h", "z", "images", "frozen"))
    columns, S = nudge["u"].shape[1], h.shape[2]

    def push(function, *at):
        """The derivative of `function` at `at`, along all columns."""
        return jax.vmap(jax.linearize(function, *at)[1], in_axes=1, out_axes=1)

    def step(t, moved):
        def driven(field, *by):
            follow = lambda name: jnp.einsum("rsq,sqcn->rcn", couplings[field, name][t], moved[name])  # noqa: E731
            return sum(map(follow, by))

        def nudged(name):
            return jnp.where(t == start, nudge[name], 0.0)[:, :, None]

        def put(**new):
            return moved | {name: moved[name].at[t].set(value) for name, value in new.items()}

        def down(h, z, echoes):
            site = _site(rule, activation, h, frozen, Delta[t], z, {n: x[t] for n, x in images.items()}, echoes)
            return rule.pseudo_gradient(site), site.gain * site.z

        dh = nudged("u") + driven("h", "g", "g_tilde")
        moved = put(phi=push(lambda h: _Samples(rule, activation, h, frozen).features, h[t])(dh))
        dz = nudged("r") + driven("z", "phi")
        echoes = {name: nudged("v") + driven(name, "phi") for name in images if name != "fresh_T"}
        none = {name: jnp.zeros(z[t].shape) for name in echoes}
        dg_tilde, dg = push(down, h[t], z[t], none)(dh, dz, echoes)
        return put(g=dg, g_tilde=dg_tilde)

    moved = {name: jnp.zeros((len(h), rows, columns, S)) for name, rows in _rows(h, z).items()}
    moved = jax.lax.fori_loop(start, len(h), step, moved)
    return {name: jnp.stack([value.sum(axis=-1), (value**2).sum(axis=-1)]) for name, value in moved.items()}


def _rows(h, z):
    return dict(phi=h.shape[1], g=z.shape[1], g_tilde=z.shape[1])


class _Sites:
    """The sampled neurons of one half, layer by layer, and the responses found so far."""

    def __init__(self, experiment, fields, half, stride):
        self.experiment, self.fields, self.frozen = experiment, fields, half["frozen"]
        self.Delta, self.stride = half["Delta"], stride
        asked, task = needs(experiment.rule), experiment.task
        T, L, P, S = fields["h"].shape
        self.shape, n = (T, L, P, -(-S // stride)), task.y.size
        self.answers = {name for name in ("W_T", "W0_T") if name in asked}
        self.up = {"A": "r"} if "g" in asked else {}  # responses of φ, of g and of g̃, and the input that is nudged
        self.up |= {"C": "v"} if self.answers else {}
        self.down = {"B": "g"} | ({"D": "g_tilde"} if self.answers else {})
        self.found = {name: np.zeros((L - 1, T, P, T, n)) for name in self.up}
        self.found |= {name: np.zeros((L - 1, T, n, T, P)) for name in self.down}
        self.variance = {name: np.zeros_like(value) for name, value in self.found.items()}
        self.learned = [self._learned(l) for l in range(L)]

    def _learned(self, l):
        """What layer l learned from its own earlier moves: γ₀η Φ Δ of h, γ₀η G̃ Δ of z, and the same of W(t)ᵀ g̃."""
        e, F = self.experiment, self.fields
        T, L, P, _ = self.shape
        n, C = e.task.y.size, e.task.outputs
        two_times = lambda a, b: np.einsum("tms,uns->tmun", a, b) / a.shape[-1]  # noqa: E731
        rate = float(e.gamma0) * e.lr
        Phi = two_times(F["phi"][:, l - 1], F["phi"][:, l - 1]) if l else np.broadcast_to(e.task.K_x[:, None], (T, P, T, P))
        readout = np.tile(np.eye(C), (P, P))[None, :, None]
        learned = {("h", "g_tilde"): rate * Phi.repeat(C, axis=3) * self.Delta}
        past = np.tril(np.ones((T, T)), -1)[:, None, :, None]
        for field, sent in (("z", "g"), ("W_T", "g_tilde")):
            G = two_times(F[sent][:, l + 1], F["g_tilde"][:, l + 1]) if l < L - 1 else readout
            learned[field, "phi"] = (rate * past * G * self.Delta).reshape(T, n, T, P, C).sum(axis=-1)
        return learned

    def _couplings(self, l):
        T, L, P, _ = self.shape
        n, gamma0, none = self.experiment.task.y.size, float(self.experiment.gamma0), 0.0

        def echo(name, gap):
            return gamma0 * self.found[name][gap] if name in self.found and 0 <= gap < L - 1 else none

        up, down, learned = np.zeros((T, P, T, n)), np.zeros((T, n, T, P)), self.learned[l]
        return {
            ("h", "g"): up + echo("A", l - 1),
            ("h", "g_tilde"): up + echo("C", l - 1) + learned["h", "g_tilde"],
            ("z", "phi"): down + echo("B", l) + learned["z", "phi"],
            ("W_T", "phi"): down + echo("D", l) + learned["W_T", "phi"],
            ("W0_T", "phi"): down + echo("D", l),
        }

    def nudge(self, l, source, start):
        """Means and variances of the mean, (2, T, rows, columns), of δφ, δg and δg̃ in layer l."""
        F, e = self.fields, self.experiment
        T, _, P, S = self.shape
        n = e.task.y.size
        columns = P if source == "u" else n
        unit = {name: np.eye(rows, columns) * (name == source) for name, rows in dict(u=P, r=n, v=n).items()}
        couplings = self._couplings(l)
        total = 0.0
        for block in np.array_split(np.arange(S) * self.stride, -(-8 * T * (P + 2 * n) * columns * S // BYTES_AT_ONCE)):
            images = {name: F[name][:, l][..., block] for name in BACKWARD if name in F}
            frozen = {k: None if x is None else x[: P if k == "gate" else None, block] for k, x in self.frozen[l].items()}
            neurons = dict(h=F["h"][:, l][..., block], z=F["z"][:, l][..., block], images=images, frozen=frozen)
            sums = _nudged(e.rule, e.phi, neurons, self.Delta, couplings, unit, start)
            total = {name: np.asarray(value) + (total[name] if total else 0) for name, value in sums.items()}
        means = {name: value / S for name, value in total.items()}
        return {name: (m, np.maximum(square - m**2, 0) / S) for name, (m, square) in means.items()}

    def run(self):
        gamma0, gaps = float(self.experiment.gamma0), range(self.shape[1] - 1)
        def keep(name, gap, s, mean, variance):
            self.found[name][gap, :, :, s] = mean / gamma0
            self.variance[name][gap, :, :, s] = variance / gamma0**2
        for s in reversed(range(self.shape[0])):
            for gap in gaps:
                for name, source in self.up.items():
                    keep(name, gap, s, *self.nudge(gap, source, s)["phi"])
            for gap in reversed(gaps):
                moved = self.nudge(gap + 1, "u", s)
                for name, field in self.down.items():
                    keep(name, gap, s, *moved[field])
        return self


def responses(experiment, history):
    S = history["h"].shape[-1] // 2
    halves = []
    with jax.enable_x64(True):
        for number, half in enumerate(history["halves"]):
            fields = {n: x[..., number * S : (number + 1) * S] for n, x in history.items() if n != "halves"}
            halves.append(_Sites(experiment, fields, half, 1).run())
    one, other = halves
    values = {name: (x + other.found[name]) / 2 for name, x in one.found.items()}
    errors = {}
    for name in values:
        spread = np.sqrt(one.variance[name] + other.variance[name]) / 2
        seen = np.linalg.norm(one.found[name] - other.found[name]) / 2
        print(name, "ratio", seen / max(np.linalg.norm(spread), 1e-300))
        errors[name] = spread * max(1.0, seen / max(np.linalg.norm(spread), 1e-300))
    return values, errors
