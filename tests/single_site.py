"""The single-site process of gradient descent (paper.md §3), one layer at a time, for tests.

Independent of dmftlib: given two-time kernels, responses and errors, it draws u and r as Gaussian processes, runs
the equations for many neurons, and differentiates them automatically.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def gaussian_process(rng, covariance, samples):
    """samples × (T, P) paths with covariance (T, P, T, P); negative rounding in the spectrum is dropped."""
    T, P = covariance.shape[:2]
    values, vectors = np.linalg.eigh(covariance.reshape(T * P, T * P))
    paths = rng.standard_normal((samples, T * P)) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return paths.reshape(samples, T, P)


def fields(u, r, Phi_below, G_above, A_below, B, Delta, gamma0, lr):
    """φ, g (T, P) of one neuron: h and z of paper.md §3, step by step. Kernels (T, P, T, P), index (t, μ, s, ν)."""
    phi, g = [], []
    for t in range(len(Delta)):
        h, z = u[t], r[t]
        for s in range(t):
            h = h + gamma0 * A_below[t, :, s] @ g[s] + gamma0 * lr * Phi_below[t, :, s] @ (Delta[s] * g[s])
        phi.append(jnp.tanh(h))
        for s in range(t + 1):
            z = z + gamma0 * B[t, :, s] @ phi[s]
        for s in range(t):
            z = z + gamma0 * lr * G_above[t, :, s] @ (Delta[s] * phi[s])
        g.append((1 - phi[t] ** 2) * z)
    return jnp.stack(phi), jnp.stack(g)


@partial(jax.jit, static_argnames=("gamma0", "lr"))
def _many(u, r, kernels, Delta, gamma0, lr):
    def one(u, r):
        run = lambda u, r: fields(u, r, *kernels, Delta, gamma0, lr)  # noqa: E731
        phi, g = run(u, r)
        return phi, g, jax.jacfwd(lambda r: run(u, r)[0])(r), jax.jacfwd(lambda u: run(u, r)[1])(u)

    return jax.vmap(one)(u, r)


def layer(number, experiment, two_time, responses, Delta, samples, seed):
    """One layer of a network with L layers: φ, g (samples, T, P) and the Jacobians ∂φ/∂r, ∂g/∂u (samples, T, P, T, P)."""
    L, T, P = experiment.hidden_layers, experiment.steps, experiment.task.P
    none, K_x = np.zeros((T, P, T, P)), np.broadcast_to(experiment.task.K_x[:, None], (T, P, T, P))
    first, last = number == 1, number == L
    Phi_below = K_x if first else two_time["Phi"][number - 2]
    G_above = np.ones((T, P, T, P)) if last else two_time["G"][number]
    A_below = none if first else responses["A"][number - 2]
    B = none if last else responses["B"][number - 1]
    rng = np.random.default_rng((seed, number))
    u, r = gaussian_process(rng, Phi_below, samples), gaussian_process(rng, G_above, samples)
    with jax.enable_x64(True):
        out = _many(u, r, (Phi_below, G_above, A_below, B), Delta, experiment.gamma0, experiment.lr)
        return tuple(np.asarray(value) for value in out)
