"""The single-site process of every rule, equation (5) and Table 1 of the paper as they stand in steps, for tests.

`layer` and `solve` are independent of dmftlib. Given two-time kernels, responses and errors, `layer` draws u, r, v, ζ̃ and
the frozen objects, runs the equations for many neurons, and differentiates them automatically; `solve` finds kernels and
responses so, and `compare` holds a solution of the library against them.
Kernels and responses have indices (layer, t, μ, s, ν), responses a layer less.
"""

import jax
import jax.numpy as jnp
import numpy as np

import dmftlib as dl

RHO = 0.6
# What is left of A, B, C, D. GD, GLN: g̃ = g and v = r, one response for two. FA: h depends on W(0)ᵀ through g̃ alone.
# DFA, Hebb: g̃ never passes through W(0)ᵀ.
HAS = {"GD": "AB", "FA": "BCD", "DFA": "B", "GLN": "AB", "Hebb": "B"}
KERNELS = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))


def feedback(s):
    return s["dot"] * (RHO * (s["v"] + s["response"]) + np.sqrt(1 - RHO**2) * s["zeta"])


# g̃ of each rule, from the fields of one neuron at one step.
PSEUDO_GRADIENTS = {
    "GD": lambda s: s["dot"] * s["z"],
    "FA": feedback,
    "DFA": lambda s: s["dot"] * s["frozen"],
    "GLN": lambda s: s["dot"] * s["z"],
    "Hebb": lambda s: s["Delta"] * s["phi"],
}


def fields(rule, draws, kernels, responses, Delta, mask, gamma0, lr, keep):
    """φ, g, g̃, z (T, P) of one neuron, step by step. Kernels and responses (T, P, T, P), index (t, μ, s, ν).

    Samples of mask (T, P) are learned from, and `keep` of all weights is left by a step.
    """
    u, r, v, zeta, gate, frozen = draws
    (Phi_below, G_tilde_above), (A, B, C, D) = kernels, responses
    phi, g, g_tilde, zs = [], [], [], []
    for t in range(len(Delta)):
        h, z, response = keep**t * u[t], keep**t * r[t], 0.0
        for s in range(t):
            rate = gamma0 * lr * keep ** (t - 1 - s) * mask[s] * Delta[s]
            h = h + keep**t * gamma0 * (A[t, :, s] @ g[s] + C[t, :, s] @ g_tilde[s])
            h = h + Phi_below[t, :, s] @ (rate * g_tilde[s])
            z = z + G_tilde_above[t, :, s] @ (rate * phi[s])
        dot = gate if rule == "GLN" else 1 - jnp.tanh(h) ** 2
        phi.append(gate * h if rule == "GLN" else jnp.tanh(h))
        for s in range(t + 1):
            z, response = z + keep**t * gamma0 * B[t, :, s] @ phi[s], response + gamma0 * D[t, :, s] @ phi[s]
        site = dict(dot=dot, z=z, v=v[t], response=response, zeta=zeta[t], frozen=frozen, phi=phi[t], Delta=Delta[t])
        zs.append(z)
        g.append(dot * z)
        g_tilde.append(PSEUDO_GRADIENTS[rule](site))
    return tuple(map(jnp.stack, (phi, g, g_tilde, zs)))


@jax.jit(static_argnames="rule")
def _many(rule, draws, *given):
    def one(draws):
        u, r, v, *rest = draws
        run = lambda u, r, v: fields(rule, (u, r, v, *rest), *given)  # noqa: E731
        (_, A, C), (B, *_), (D, *_), _ = jax.jacfwd(run, (0, 1, 2))(u, r, v)
        return dict(zip(("phi", "g", "g_tilde", "z"), run(u, r, v))) | dict(A=A, B=B, C=C, D=D)

    return jax.vmap(one)(draws)


def with_covariance(noise, covariance):
    """Paths whose step t knows of kernels at t and before, and which are continuous in them."""
    return noise @ np.linalg.cholesky(covariance + 1e-10 * max(1.0, covariance.max()) * np.eye(len(covariance))).T


def layer(rule, number, experiment, found, Delta, noise):
    """One layer of a network with L layers: fields (samples, T, P) and Jacobians γ₀A … γ₀D (samples, T, P, T, P) by name.

    `found` holds the kernels, and those of A, B, C, D that the rule has; `noise` is (samples, (4T + 1)P + 1) Gaussians.
    """
    L, T, P, K_x = experiment.hidden_layers, experiment.steps, experiment.task.P, experiment.task.K_x
    none, ones = np.zeros((T, P, T, P)), np.ones((T, P, T, P))
    first, last, flat = number == 1, number == L, lambda kernel: kernel.reshape(T * P, T * P)
    Phi_below = np.broadcast_to(K_x[:, None], ones.shape) if first else found["Phi"][number - 2]
    G, G_tilde, F = (ones if last else found[name][number] for name in ("G", "G_tilde", "G_tilde_tilde"))
    A, C = (none if first or name not in found else found[name][number - 2] for name in "AC")
    B, D = (none if last or name not in found else found[name][number - 1] for name in "BD")
    u, r_v, zeta, m, frozen = np.split(noise, np.cumsum([T * P, 2 * T * P, T * P, P]), axis=1)
    r_v = with_covariance(r_v, np.block([[flat(G), flat(G_tilde)], [flat(G_tilde).T, flat(F)]]))
    paths = with_covariance(u, flat(Phi_below)), *np.split(r_v, 2, axis=1), with_covariance(zeta, flat(F))
    gate = 1 - np.tanh(m @ np.linalg.cholesky(K_x).T) ** 2
    draws = *(x.reshape(-1, T, P) for x in paths), gate, frozen
    mask = np.ones((T, P)) if experiment.masks is None else experiment.masks
    given = (Phi_below, G_tilde), (A, B, C, D), Delta, mask, experiment.gamma0, experiment.lr, experiment.keep or 1.0
    with jax.enable_x64(True):
        return {name: np.asarray(value) for name, value in _many(rule, draws, *given).items()}


def solve(rule, experiment, samples, seed, **scale):
    """Kernels, responses, errors Δ and K: with all before a step right, a pass up and down the layers makes it right.

    Responses act on fields times `scale`, by name.
    """
    L, T, P, gamma0 = experiment.hidden_layers, experiment.steps, experiment.task.P, experiment.gamma0
    found = {name: np.zeros((L, T, P, T, P)) for name in (*KERNELS, *HAS[rule])}
    Delta, rng, noise = np.zeros((T, P)), np.random.default_rng(seed), []
    for _ in range(L):  # u comes with all else and with its negative, so that f(0) = 0; second moments are matched
        n = rng.standard_normal((samples // 2, (4 * T + 1) * P + 1))
        n = np.concatenate([n, np.where(np.arange(n.shape[1]) < T * P, n, -n)])
        noise.append(np.linalg.solve(np.linalg.cholesky(n.T @ n / samples), n.T).T)

    def average(number, kernels, responses, gap):
        used = found | {name: scale.get(name, 1.0) * found[name] for name in HAS[rule]}
        site = layer(rule, number, experiment, used, Delta, noise[number - 1])
        for name in kernels:
            found[name][number - 1] = np.einsum("itm,isn->tmsn", *(site[part] for part in KERNELS[name])) / samples
        for name in set(responses) & set(HAS[rule]) if 0 <= gap < L - 1 else ():
            found[name][gap] = site[name].mean(axis=0) / gamma0
        return site

    for _ in range(T):
        for number in range(1, L + 1):
            site = average(number, ["Phi"], "AC", number - 1)
        Delta = experiment.task.y - (site["phi"] * site["z"]).mean(axis=0) / gamma0
        for number in range(L, 0, -1):
            average(number, list(KERNELS)[1:], "BD", number - 2)
    now = lambda x: np.einsum("ltmtn->tlmn", x)  # noqa: E731
    below = np.concatenate([np.tile(experiment.task.K_x, (T, 1, 1, 1)), now(found["Phi"])], axis=1)
    above = np.concatenate([now(found["G_tilde"]), np.ones((T, 1, P, P))], axis=1)
    return found | dict(Delta=Delta, K=(below * above).sum(axis=1))


def experiment(rule, L=3, lr=0.2, T=5, gamma0=2.0):
    """Large steps and γ₀, so that responses are large."""
    task = dl.Task(np.array([[1.0, 0.4, 0.9], [0.2, 1.2, -0.5]]), np.array([1.5, -1.0]))
    return dl.Experiment(task, rule, L, "tanh", gamma0, lr, T)


def compare(run, samples):
    """A recorded solution of the library has the kernels and responses of `solve`, within their errors and to 6 %."""
    rule, norm = type(run.experiment.rule).__name__, np.linalg.norm
    first, second = (solve(rule, run.experiment, samples, seed) for seed in (0, 1))
    responses, stated = run.responses(), run.responses(errors=True)
    assert set(responses) == set(HAS[rule])
    for name, value in (responses | run.two_time() | dict(K=run.K)).items():
        mean, error = (first[name] + second[name])[: len(value)] / 2, norm(first[name] - second[name]) / 2
        own = norm(stated[name]) if name in stated else run.provenance.errors["monte_carlo"][name] * norm(value)
        # G̃ of frozen feedback is small beside what it is an average of.
        size = np.sqrt(norm(first["G"]) * norm(first["G_tilde_tilde"])) if name == "G_tilde" else norm(mean)
        assert norm(value - mean) < 2.5 * np.hypot(error, own) < 0.06 * size, name
        if name in "BD":
            now, expected = (np.einsum("ltmtn->ltmn", x) for x in (value, mean))
            assert norm(now - expected) <= 0.06 * norm(expected) + 1e-9 * size, name
