"""The single-site process of every rule (paper.md §3), one layer at a time, for tests.

Independent of dmftlib: given two-time kernels, responses and errors, it draws u, r, v, ζ̃ and the frozen objects,
runs the equations for many neurons, and differentiates them automatically.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

RHO = 0.6


def feedback(s):
    return s["dot"] * (RHO * (s["v"] + s["echo"]) + np.sqrt(1 - RHO**2) * s["zeta"])


# g̃ of each rule, from the fields of one neuron at one step.
PSEUDO_GRADIENTS = {
    "GD": lambda s: s["dot"] * s["z"],
    "FA": feedback,
    "DFA": lambda s: s["dot"] * s["frozen"],
    "GLN": lambda s: s["dot"] * s["z"],
    "Hebb": lambda s: s["Delta"] * s["phi"],
}


def gaussian_process(rng, covariance, samples):
    """samples × (T, P) paths with covariance (T, P, T, P); negative rounding in the spectrum is dropped."""
    T, P = covariance.shape[:2]
    values, vectors = np.linalg.eigh(covariance.reshape(T * P, T * P))
    paths = rng.standard_normal((samples, T * P)) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return paths.reshape(samples, T, P)


def joint_process(rng, G, G_tilde, F, samples):
    """(r, v): ⟨rr⟩ = G, ⟨rv⟩ = G̃, ⟨vv⟩ = F, all (T, P, T, P)."""
    T, P = G.shape[:2]
    n = T * P
    a, b, c = (x.reshape(n, n) for x in (G, G_tilde, F))
    both = gaussian_process(rng, np.block([[a, b], [b.T, c]]).reshape(2 * T, P, 2 * T, P), samples)
    return both[:, :T], both[:, T:]


def fields(rule, draws, kernels, responses, Delta, gamma0, lr):
    """φ, g, g̃, z (T, P) of one neuron, step by step. Kernels and responses (T, P, T, P), index (t, μ, s, ν)."""
    u, r, v, zeta, gate, frozen = draws
    (Phi_below, G_tilde_above), (A, B, C, D) = kernels, responses
    phi, g, g_tilde, zs = [], [], [], []
    for t in range(len(Delta)):
        h, z, echo = u[t], r[t], 0.0
        for s in range(t):
            h = h + gamma0 * (A[t, :, s] @ g[s] + C[t, :, s] @ g_tilde[s])
            h = h + gamma0 * lr * Phi_below[t, :, s] @ (Delta[s] * g_tilde[s])
            z = z + gamma0 * lr * G_tilde_above[t, :, s] @ (Delta[s] * phi[s])
        dot = gate if rule == "GLN" else 1 - jnp.tanh(h) ** 2
        phi.append(gate * h if rule == "GLN" else jnp.tanh(h))
        for s in range(t + 1):
            z, echo = z + gamma0 * B[t, :, s] @ phi[s], echo + gamma0 * D[t, :, s] @ phi[s]
        site = dict(dot=dot, z=z, v=v[t], echo=echo, zeta=zeta[t], frozen=frozen, phi=phi[t], Delta=Delta[t])
        zs.append(z)
        g.append(dot * z)
        g_tilde.append(PSEUDO_GRADIENTS[rule](site))
    return tuple(map(jnp.stack, (phi, g, g_tilde, zs)))


@partial(jax.jit, static_argnames=("rule", "gamma0", "lr"))
def _many(rule, draws, kernels, responses, Delta, gamma0, lr):
    def one(draws):
        u, r, v, *rest = draws
        run = lambda u, r, v: fields(rule, (u, r, v, *rest), kernels, responses, Delta, gamma0, lr)  # noqa: E731
        phi, g, g_tilde, z = run(u, r, v)
        (_, *by_u), (A, *_), (C, *_) = (jax.jacfwd(run, argnum)(u, r, v) for argnum in (0, 1, 2))
        return dict(phi=phi, g=g, g_tilde=g_tilde, z=z, A=A, B=by_u[0], C=C, D=by_u[1])

    return jax.vmap(one)(draws)


def layer(rule, number, experiment, two_time, responses, Delta, samples, seed):
    """One layer of a network with L layers: fields (samples, T, P) and Jacobians A … D (samples, T, P, T, P) by name.

    `responses` holds those of A, B, C, D that the rule has.
    """
    L, T, P = experiment.hidden_layers, experiment.steps, experiment.task.P
    none, ones = np.zeros((T, P, T, P)), np.ones((T, P, T, P))
    first, last = number == 1, number == L
    K_x = experiment.task.K_x
    Phi_below = np.broadcast_to(K_x[:, None], ones.shape) if first else two_time["Phi"][number - 2]
    above = [ones if last else two_time[name][number] for name in ("G", "G_tilde", "G_tilde_tilde")]
    A, C = (none if first or name not in responses else responses[name][number - 2] for name in "AC")
    B, D = (none if last or name not in responses else responses[name][number - 1] for name in "BD")
    rng = np.random.default_rng((seed, number))
    u, (r, v) = gaussian_process(rng, Phi_below, samples), joint_process(rng, *above, samples)
    zeta = gaussian_process(rng, above[2], samples)
    m = rng.standard_normal((samples, P)) @ np.linalg.cholesky(K_x).T
    draws = (u, r, v, zeta, 1 - np.tanh(m) ** 2, rng.standard_normal((samples, P))[:, :1])
    with jax.enable_x64(True):
        out = _many(rule, draws, (Phi_below, above[1]), (A, B, C, D), Delta, experiment.gamma0, experiment.lr)
        return {name: np.asarray(value) for name, value in out.items()}
