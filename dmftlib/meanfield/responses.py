r"""Response functions A, B, C, D (BP §3): the single-site process, differentiated along the sampled neurons.

A nudge of one Gaussian input of a neuron at step s, δu, δr or δv, moves its fields from then on, with kernels, errors
and responses held fixed:

    δh^ℓ(t) = δu + γ₀ Σ_{s'<t} [A^{ℓ−1}(t,s') δg(s') + (C^{ℓ−1}(t,s') + η Φ^{ℓ−1}(t,s') Δ(s')) δg̃(s')]
    δz^ℓ(t) = δr + γ₀ Σ_{s'≤t} [B^ℓ(t,s') + η 1_{s'<t} G̃^{ℓ+1}(t,s') Δ(s')] δφ(s')

With weight decay all but what is learned, and what passes through W(0) itself, is multiplied by what is left of W(0) at
step t, and what was learned at s' by (1 − ηϑ)^{t−1−s'}. Samples outside a step's batch have Δ = 0 there.

likewise what W(0)ᵀ and W(t)ᵀ make of g̃, with δv, D and ⟨g̃g̃⟩; the derivatives of the rule's own φ, g and g̃ do the rest.
The means over neurons of δφ/δr, δφ/δv, δg/δu and δg̃/δu are γ₀A, γ₀C, γ₀B and γ₀D. A nudge at s meets responses to s and
to later steps only. So s falls; at each s, A and C are found from the first layer up, then B and D from the last down.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from ..probe import BACKWARD, needs
from ..step import Frozen, HiddenLayer

BYTES_AT_ONCE = 2**22  # of moved fields, in the cache of a processor
MOST_OPERATIONS = 1e13  # in one half, some minutes of a core: where all neurons take more, the first ones are nudged
FEWEST = 64  # of them
POINTS, RESOLVED = 2**14, 1e-3  # grid that looks for jumps, and the share of all change that may be one


def _site(rule, activation, h, frozen, Delta, z, images, moves):
    """A layer's neurons at one step, given the fields sent down: `images` (rows, S) by name, and `moves` of them by a nudge.

    The fields of the layer above are its coordinates here: what the rule sends down is a combination of them.
    """

    def image(name):
        return lambda v: images[name] + (v @ moves[name] if name in moves else 0.0)

    above = SimpleNamespace(**dict(zip(("transpose", "transpose_initial", "transpose_fresh"), map(image, BACKWARD))))
    site = HiddenLayer(rule, activation, h, frozen)
    site.receive(above, Delta.reshape(len(h), -1), None, jnp.eye(len(z)))
    site.z = z
    return site


@partial(jax.jit, static_argnames=("rule", "activation"))
def _nudged(rule, activation, neurons, Delta, couplings, left, nudge, start):
    """δφ, δg, δg̃ by name: sums over neurons of them and of their squares, (2, T, rows, columns).

    neurons    h (T, P, S), z and each of images (T, P·C, S), frozen
    couplings  by names (field, moved): what makes `field` (t, row) follow `moved` (s, row), (T, rows, T, rows)
    left       what is left of W(0) at each step, (T,)
    nudge      unit moves of u, r, v at step `start`, (rows, columns): a column for each sample, or sample and output
    """
    h, z, images, frozen = (neurons[name] for name in ("h", "z", "images", "frozen"))

    def push(function, *at):
        """The derivative of `function` at `at`, along all columns."""
        return jax.vmap(jax.linearize(function, *at)[1], in_axes=1, out_axes=1)

    def features(h):
        return HiddenLayer(rule, activation, h, frozen).features

    def step(t, moved):
        def driven(field, *by):
            return sum(jnp.einsum("rsq,sqcn->rcn", couplings[field, name][t], moved[name]) for name in by)

        def nudged(name, share=left[t]):
            return share * jnp.where(t == start, nudge[name], 0.0)[:, :, None]

        def gradients(h, z, moves):
            site = _site(rule, activation, h, frozen, Delta[t], z, {name: x[t] for name, x in images.items()}, moves)
            return rule.pseudo_gradient(site), site.gain * site.z

        dh = nudged("u") + driven("h", "g", "g_tilde")
        moved = moved | {"phi": moved["phi"].at[t].set(push(features, h[t])(dh))}
        dz = nudged("r") + driven("z", "phi")
        share = {"W_T": left[t], "W0_T": 1.0}
        moves = {name: nudged("v", share[name]) + driven(name, "phi") for name in images if name != "fresh_T"}
        at_rest = {name: jnp.zeros_like(z[t]) for name in moves}
        dg_tilde, dg = push(gradients, h[t], z[t], at_rest)(dh, dz, moves)
        return moved | dict(g=moved["g"].at[t].set(dg), g_tilde=moved["g_tilde"].at[t].set(dg_tilde))

    (T, P, S), n, columns = h.shape, z.shape[1], nudge["u"].shape[1]
    moved = {name: jnp.zeros((T, rows, columns, S)) for name, rows in dict(phi=P, g=n, g_tilde=n).items()}
    moved = jax.lax.fori_loop(start, T, step, moved)
    return {name: jnp.stack([value.sum(axis=-1), (value**2).sum(axis=-1)]) for name, value in moved.items()}


class NudgedHalf:
    """The neurons of one independent half, and the responses found so far with the variance of each."""

    def __init__(self, experiment, fields, half):
        self.experiment, self.fields, self.Delta, self.frozen = experiment, fields, half["Delta"], half["frozen"]
        T, L, P, S = fields["h"].shape
        n, needed = experiment.task.y.size, needs(experiment.rule)
        feedback = bool(needed & {"W_T", "W0_T"})
        # The input that is nudged for a response of φ; the field that moves with u.
        self.up = ({"A": "r"} if "g" in needed else {}) | ({"C": "v"} if feedback else {})
        self.down = {"B": "g"} | ({"D": "g_tilde"} if feedback else {})
        self.found = {name: np.zeros((L - 1, T, P, T, n)) for name in self.up}
        self.found |= {name: np.zeros((L - 1, T, n, T, P)) for name in self.down}
        self.variance = {name: np.zeros_like(value) for name, value in self.found.items()}
        self.learned = [self.from_learning(l) for l in range(L)]
        self.neurons = min(S, int(MOST_OPERATIONS / self.operations(len(self.up) + 1)))
        if self.neurons < min(S, FEWEST):
            raise ValueError(
                f"responses of {T} steps and {n} samples × outputs take {self.operations(len(self.up) + 1):.1e} "
                f"operations a neuron, at most {MOST_OPERATIONS / FEWEST:.0e} are spent on one. They grow as the cube of "
                "both: use fewer `steps` or a smaller `task`."
            )

    def operations(self, nudges):
        T, L, P, _ = self.fields["h"].shape
        n = self.experiment.task.y.size
        return 1 + (L - 1) * nudges * T**3 * n * (5 * n * P)

    def from_learning(self, l):
        """What the fields of layer l follow by learning: couplings γ₀η Φ Δ of h, γ₀η G̃ Δ of z, γ₀η ⟨g̃g̃⟩ Δ of W(t)ᵀ g̃."""
        task, F, C = self.experiment.task, self.fields, self.experiment.task.outputs
        T, L, P, S = F["h"].shape
        n = P * C

        def kernel(a, b, layer):
            return np.einsum("tms,uns->tmun", F[a][:, layer], F[b][:, layer], optimize=True) / S

        e = self.experiment
        masks = 1.0 if e.masks is None else e.masks.repeat(C, axis=1)
        rate = float(e.gamma0) * e.lr * masks * self.Delta
        past = np.tril((e.keep or 1.0) ** np.maximum(np.subtract.outer(np.arange(T), np.arange(T)) - 1, 0), -1)
        past = past[:, None, :, None]
        Phi = kernel("phi", "phi", l - 1) if l else task.K_x[:, None]
        learned = {("h", "g_tilde"): past * rate * Phi.repeat(C, axis=-1)}
        for field, sent in (("z", "g"), ("W_T", "g_tilde")):
            G = kernel(sent, "g_tilde", l + 1) if l < L - 1 else np.tile(np.eye(C), (P, P))[:, None]
            learned[field, "phi"] = (past * rate * G).reshape(T, n, T, P, C).sum(axis=-1)
        return learned

    def couplings(self, l):
        """`from_learning` with the responses A and C of h, B of z, D of W(0)ᵀ g̃ and W(t)ᵀ g̃."""
        T, L, P, _ = self.fields["h"].shape
        n, out = self.experiment.task.y.size, dict(self.learned[l])
        kinds = [("h", "g", "A", l - 1), ("h", "g_tilde", "C", l - 1)]
        kinds += [(field, "phi", name, l) for field, name in (("z", "B"), ("W_T", "D"), ("W0_T", "D"))]
        for field, moved, name, gap in kinds:
            none = np.zeros((T, P, T, n) if field == "h" else (T, n, T, P))
            there = name in self.found and 0 <= gap < L - 1
            response = float(self.experiment.gamma0) * self.found[name][gap] if there else none
            if field != "W0_T":
                response = self.experiment.left[:, None, None, None] * response
            out[field, moved] = out.get((field, moved), 0.0) + response
        return out

    def nudge(self, l, name, start):
        """The means over neurons of δφ, δg and δg̃ of layer l by name, and their variances: each (T, rows, columns)."""
        F, e = self.fields, self.experiment
        T, _, P, _ = F["h"].shape
        n = e.task.y.size
        columns = P if name == "u" else n
        unit = {source: np.eye(rows, columns) * (source == name) for source, rows in dict(u=P, r=n, v=n).items()}
        couplings, total = self.couplings(l), {}
        pieces = -(-8 * T * (P + 2 * n) * columns * self.neurons // BYTES_AT_ONCE)
        for block in np.array_split(np.arange(self.neurons), pieces):
            there = slice(block[0], block[-1] + 1)
            fields = {field: F[field][:, l, :, there] for field in F}
            frozen = Frozen(*(None if rows is None else rows[..., there] for rows in self.frozen[l]))
            images = {image: fields[image] for image in BACKWARD if image in fields}
            neurons = dict(h=fields["h"], z=fields["z"], images=images, frozen=frozen)
            sums = _nudged(e.rule, e.phi, neurons, self.Delta, couplings, e.left, unit, start)
            total = {field: np.asarray(value) + total.get(field, 0.0) for field, value in sums.items()}
        means = {field: value / self.neurons for field, value in total.items()}
        return {field: (m, np.maximum(square - m**2, 0) / self.neurons) for field, (m, square) in means.items()}

    def run(self):
        T, L, _, _ = self.fields["h"].shape
        gamma0 = float(self.experiment.gamma0)

        def keep(name, gap, s, mean, variance):
            self.found[name][gap, :, :, s], self.variance[name][gap, :, :, s] = mean / gamma0, variance / gamma0**2

        for s in reversed(range(T)):
            for gap in range(L - 1):
                for name, source in self.up.items():
                    keep(name, gap, s, *self.nudge(gap, source, s)["phi"])
            for gap in reversed(range(L - 1)):
                moved = self.nudge(gap + 1, "u", s)
                for name, field in self.down.items():
                    keep(name, gap, s, *moved[field])
        return self


def _check(experiment, fields, frozen):
    """Raise ValueError where derivatives along single neurons do not make the response.

    Which is where φ, g or g̃ of a neuron jumps with one of its inputs, since no sample sees the jump; where it depends on
    other neurons; where a rule sends something else than combinations of g̃ through a matrix, or more than one.
    """
    rule, n = experiment.rule, experiment.task.y.size
    rng = np.random.default_rng(0)
    inputs = {name: fields[name] for name in ("h", "z", *BACKWARD) if name in fields}
    rows = {name: jnp.asarray(rng.uniform(0.5, 1.5, (x.shape[2], 1))) for name, x in inputs.items()}
    Delta = jnp.asarray(rng.uniform(0.5, 1.5, n))

    def layer(values):
        ones = Frozen(*(None if x is None else jnp.ones((len(x), values["h"].shape[1])) for x in frozen))
        images = {name: values[name] for name in BACKWARD if name in values}
        return _site(rule, experiment.phi, values["h"], ones, Delta, values["z"], images, {})

    def outputs(values):
        site = layer(values)
        return jnp.concatenate(
            [jnp.atleast_2d(x) for x in (site.features, site.gain * site.z, rule.pseudo_gradient(site))]
        )

    constant = {name: jnp.broadcast_to(x, (len(x), POINTS)) for name, x in rows.items()}
    for name, x in inputs.items():
        grid = jnp.broadcast_to(jnp.linspace(x.min(), x.max(), POINTS), constant[name].shape)
        along = lambda x, name=name: outputs(constant | {name: x})  # noqa: E731
        value, slope = jax.jvp(along, (grid,), (jnp.ones_like(grid),))
        change = jnp.diff(value)
        missed = jnp.abs(change - (slope[:, 1:] + slope[:, :-1]) / 2 * (grid[0, 1] - grid[0, 0]))
        if missed.sum() > RESOLVED * jnp.abs(change).sum():
            raise ValueError(
                f"`activation` {experiment.phi.name!r} with the rule {rule!r} has no responses that samples could show: "
                f"a neuron's features or gradients jump with its {name}, as at a kink of φ, and what the few neurons "
                "there contribute is in no derivative. Take a smooth activation, such as "
                "Activation('softplus', lambda h: jnp.logaddexp(0, 20 * h) / 20) for 'relu'."
            )
        other = along(jnp.where(jnp.arange(POINTS) % 2 == 0, grid, 0.0))
        if not jnp.allclose(other[:, ::2], value[:, ::2], rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"the rule {rule!r} mixes neurons of a layer, or `activation` does; responses are derivatives of one neuron."
            )

    def sent(scale):
        site, calls = layer(constant), []
        site.g_tilde_next = scale * jnp.eye(n)
        for name in inputs.keys() & set(BACKWARD):
            setattr(site, name, lambda v, name=name: calls.append((name, v)) or constant[name])
        rule.pseudo_gradient(site)
        return calls

    first = {name: v for name, v in sent(1.0)}
    for scale in (1.0, 2.0):
        for name, v in sent(scale):
            if v.shape != (n, n) or not jnp.allclose(v, scale * first[name]):
                raise ValueError(
                    f"the rule {rule!r} sends through `{name}` something else than combinations of `g_tilde_next`, the "
                    "same ones each time; C and D are responses to that field."
                )


def responses(experiment, history, tol_error):
    """A, B, C, D by name, those that the rule has, and their standard errors: see Dynamics.responses.

    The errors add in quadrature: the spread over neurons, and what is common to all of them, errors of kernels, of Δ and
    of the other responses. Those are as large as the two halves differ, and as the share `tol_error`, each a root mean
    square over all entries of one gap and one s.
    """
    if experiment.substeps > 1:
        raise ValueError(
            f"responses are those of single steps; got an experiment of substeps = {experiment.substeps}. Pass substeps = 1."
        )
    if experiment.residual is not None:
        raise ValueError(
            "`experiment` is a residual network, whose layers share their neurons: a nudge moves a neuron in all of them, and the "
            "responses A to D are of networks without skip connections. Pass residual = None."
        )
    S = history["h"].shape[-1] // 2
    parts = slice(S), slice(S, None)
    fields = [{name: x[..., part] for name, x in history.items() if name != "halves"} for part in parts]
    with jax.enable_x64(True):
        if experiment.hidden_layers > 1:
            _check(experiment, fields[0], history["halves"][0]["frozen"][0])
        one, other = (NudgedHalf(experiment, *both).run() for both in zip(fields, history["halves"]))
    values, errors = {}, {}
    for name, mine in one.found.items():
        yours = other.found[name]
        there = (mine != 0) | (yours != 0)  # not where a response cannot be
        values[name] = (mine + yours) / 2
        common = (mine - yours) ** 2 / 4 + (tol_error * values[name]) ** 2
        common = common.sum(axis=(1, 2, 4), keepdims=True) / np.maximum(there.sum(axis=(1, 2, 4), keepdims=True), 1)
        errors[name] = np.sqrt((one.variance[name] + other.variance[name]) / 4 + common) * there
    return values, errors
