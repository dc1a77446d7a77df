"""Bad input that has no other home: each call is refused by an error that names the argument and says what to do.

What tasks, experiments, rules, closed forms, parameters and presets refuse is tested beside them.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dl
from companion import claims, questions, sliders
from dmftlib.activations import gaussian_average

E = dl.Experiment(dl.Task.random(2, 3), dl.GD(), 1, "tanh", gamma0=1.0, lr=0.1, steps=2)
DEEP = dataclasses.replace(E, hidden_layers=2)
TANH = E.phi
MASKED = np.ma.masked_greater(np.arange(6.0).reshape(2, 3), 3)


@pytest.fixture(scope="module")
def made():
    """Small results to pass on, by name."""
    return dict(
        solved=dl.meanfield.solve(E, 64),
        again=dl.meanfield.solve(E, 64),
        deeper=dl.meanfield.solve(dataclasses.replace(E, gamma0=2.0), 64, seed=1),
        moved=dl.meanfield.solve(dataclasses.replace(E, task=dl.Task.random(2, 3, seed=1)), 64, seed=1),
        trained=dl.network.train(E, 8),
        networks=dl.network.ensemble(E, 8, range(2)),
        wider=dl.network.ensemble(dataclasses.replace(E, lr=0.2), 16, range(2)),
    )


def solved(samples=64, seed=0, **options):
    return dl.meanfield.solve(E, samples, seed, **options)


CALLS = [
    # Tasks
    (lambda _: dl.Task.random(2, 3, seed=-1), ValueError, "`seed` must be a whole number, at least 0; got -1"),
    (lambda _: dl.Task.random(2, 3, seed=1.5), ValueError, "`seed` must be a whole number, at least 0; got 1.5"),
    (lambda _: dl.Task.random(2, 3, seed=None), ValueError, "`seed` must be a whole number, at least 0; got None"),
    (lambda _: dl.Task([["1"]], [1.0]), TypeError, r"`X` must be an array of numbers of shape \(P, D\); got list"),
    (lambda _: dl.Task(np.array([[1j]]), [1.0]), TypeError, "`X` must be an array of numbers .* got ndarray"),
    (lambda _: dl.Task([[1e200]], [1.0]), ValueError, r"`X` must be finite; got 1 entries .* above 1e\+150. Remove"),
    (lambda _: dl.Task.whitened([]), ValueError, r"`X` must hold at least one sample .* got shape \(0, 0\)"),
    (lambda _: dl.Task.circle([], []), ValueError, r"`X` must hold at least one sample .* got shape \(0, 2\)"),
    (lambda _: dl.Task(MASKED, [1.0, -1.0]), ValueError, "`X` has masked entries"),
    (lambda _: dl.Task(list(MASKED), [1.0, -1.0]), ValueError, "`X` has masked entries"),
    (lambda _: dl.Task.whitened(MASKED[1]), ValueError, "`y` has masked entries"),
    (lambda _: dl.lazy.kernels(E, MASKED[1, :2]), ValueError, "`Delta` has masked entries"),
    (
        lambda _: dl.Task([[1.0], [2.0]], ["cat", "dog"]),
        TypeError,
        "`y` must be an array of numbers .* dtype <U3, text such as 'cat'. Code it as numbers",
    ),
    (
        lambda _: dl.Task(np.array([[1.0, True], [None, 2]], object), [1.0, -1.0]),
        TypeError,
        r"`X` .* the entry None of type NoneType at \(1, 0\). Leave out or fill what is missing",
    ),
    (lambda _: solved(dtype=np.dtype("float32")), ValueError, '`dtype` must be "float64" or "float32", as text'),
    # Activations
    (lambda _: dl.Activation(3, jnp.tanh), TypeError, "`name` must be a string, a label; got int"),
    (lambda _: dl.Activation("a", jnp.tanh, "b"), TypeError, "`phi_dot` must be a function of an array; got str"),
    (lambda _: dl.Activation("a", jnp.tanh, None, 1), TypeError, "`closed_phi_phi` must be a function .* got int"),
    (lambda _: dl.Activation("a", np.tanh), TypeError, "`phi` must be a function that JAX can trace.*jax.numpy"),
    (lambda _: dl.Activation("a", jnp.tanh, np.cos), TypeError, "`phi_dot` must be a function that JAX can trace"),
    (lambda _: dl.Activation("a", jnp.sum), ValueError, r"`phi` must act on each entry; .* one of shape \(\)"),
    (
        lambda _: dl.Activation("norm", lambda h: h - h.mean(axis=-1, keepdims=True)),
        ValueError,
        "`phi` must act on each neuron by itself; .* layer norm",
    ),
    (lambda _: dl.Activation("softmax", jax.nn.softmax), ValueError, "`phi` must act on each neuron by itself"),
    (lambda _: dl.Activation("batch", lambda h: h / (1 + h.std())), ValueError, "must act on each neuron by itself"),
    (
        lambda _: dl.Activation("place", lambda h: h * jnp.arange(1, h.shape[-1] + 1)),
        ValueError,
        "`phi` must act on each neuron by itself",
    ),
    (
        lambda _: dl.Activation("root", lambda h: jnp.sqrt(jnp.maximum(h, 0))),
        ValueError,
        "`phi_dot`: the derivative φ̇ of the activation is not finite at h = 0",
    ),
    (lambda _: dl.Activation("log", jnp.log), ValueError, "`phi`: φ of the activation is not finite at h = 0"),
    (
        lambda _: dl.Activation("naive", lambda h: jnp.log(1 + jnp.exp(h))).phi_phi([[1e4]]),
        ValueError,
        r"not finite at h = .*, where an average over h of standard deviation 100",
    ),
    (lambda _: TANH.phi_phi(MASKED[:, :2]), ValueError, "`Sigma` has masked entries"),
    (lambda _: TANH.phi_phi("one"), TypeError, r"`Sigma` must be a \(P, P\) covariance of numbers; got str"),
    (lambda _: TANH.phi_phi([[np.nan]]), ValueError, "`Sigma` must be a finite covariance"),
    (lambda _: TANH.dot_dot([[-1.0]]), ValueError, "`Sigma` must be a finite covariance, its diagonal at least 0"),
    (lambda _: TANH.phi_phi([[1, 0.5], [0.1, 1]]), ValueError, "`Sigma` must be symmetric, as covariances are"),
    (lambda _: TANH.phi_phi([[1, 5], [5, 1]]), ValueError, r"`Sigma` must have \|Σ_μν\| ≤ √\(Σ_μμ Σ_νν\)"),
    (
        lambda _: gaussian_average(jnp.tanh, jnp.tanh, np.eye(2), most_terms=16),
        ValueError,
        "`most_terms` must be at least 32; got 16",
    ),
    # The lazy limit
    (lambda _: dl.lazy.kernels(3), TypeError, r"`experiment` must be a dmftlib Experiment; got int. Build one with"),
    (lambda _: dl.lazy.predict(E.task), TypeError, "`experiment` must be a dmftlib Experiment; got Task"),
    (lambda _: dl.lazy.initial(None), TypeError, "`experiment` must be a dmftlib Experiment; got NoneType"),
    (lambda _: dl.lazy.kernels(E, [1, 2, 3]), ValueError, r"`Delta` must have the shape \(2,\) of `y`; got \(3,\)"),
    (lambda _: dl.lazy.kernels(E, [1, np.nan]), ValueError, "`Delta` must be finite; got 1 entries"),
    # The mean field
    (lambda _: dl.meanfield.solve("gd"), TypeError, "`experiment` must be a dmftlib Experiment; got str"),
    (lambda _: solved(seed=2**32), ValueError, "`seed` must be below 2³² = 4294967296; got 4294967296. Pass a smaller"),
    (lambda _: solved(seed=True), ValueError, "`seed` must be a whole number, at least 0; got True"),
    (
        lambda _: solved(samples=4),
        ValueError,
        "`samples` = 4 is too few: layer 1 needs 3 directions .* Pass samples = 12",
    ),
    (lambda _: solved(tol="small"), ValueError, "`tol` must be a share of variance, .* got 'small'"),
    (lambda _: solved(tol=None), ValueError, "`tol` must be a share of variance, .* got None"),
    (lambda _: solved(tol=np.array([1e-4, 1e-3])), ValueError, r"`tol` must be a share of variance, .* got array\("),
    (lambda _: dl.meanfield.average(3), TypeError, "`runs` must be a list of Dynamics objects; got int"),
    (
        lambda _: dl.meanfield.average([1, 2]),
        TypeError,
        r"`runs\[0\]` must be a dmftlib Dynamics; got int. meanfield.solve",
    ),
    (
        lambda r: dl.meanfield.average([r["solved"], r["again"]]),
        ValueError,
        r"`runs` must have different seeds.*\[0, 0\]",
    ),
    (
        lambda r: dl.meanfield.average([r["solved"], r["deeper"]]),
        ValueError,
        r"`runs` must be of one experiment; runs\[0\] and runs\[1\] differ in gamma0. Compare, average",
    ),
    (lambda r: dl.meanfield.average([r["solved"], r["moved"]]), ValueError, r"runs\[0\] and runs\[1\] differ in task"),
    # Networks
    (lambda _: dl.network.train(E.task), TypeError, "`experiment` must be a dmftlib Experiment; got Task"),
    (lambda _: dl.network.train(E, 8, 2**70), ValueError, "`seed` must be below 2³²"),
    (lambda _: dl.network.ensemble(E, 8, 3), TypeError, r"`seeds` must be iterable, such as range\(8\); got 3"),
    (lambda _: dl.network.ensemble(E, 8, [1, 1]), ValueError, "`seeds` must differ: 1 comes twice"),
    (lambda _: dl.network.groups(E, 8, 1, 0), ValueError, "`networks` must be a whole number, at least 2; got 1"),
    (lambda _: dl.network.groups(E, 8, 2, 1.5), ValueError, "`first` must be a whole number, at least 0; got 1.5"),
    (lambda _: dl.network.groups(E, 8, 2, 0, count=0), ValueError, "`count` must be a whole number, at least 1; got 0"),
    (lambda _: dl.network.extrapolate(3), TypeError, "`ensembles` must be a list of Ensemble objects; got int"),
    (
        lambda r: dl.network.extrapolate([r["trained"]]),
        TypeError,
        r"`ensembles\[0\]` must be a dmftlib Ensemble; got Dyn",
    ),
    (
        lambda r: dl.network.extrapolate([r["networks"], r["wider"]]),
        ValueError,
        r"`ensembles` must be of one experiment; ensembles\[0\] and ensembles\[1\] differ in lr",
    ),
    (
        lambda r: dl.compare(1, r["trained"]),
        TypeError,
        "`theory` must be a dmftlib Result; got int. Pass what meanfield.solve",
    ),
    (lambda r: dl.compare(r["trained"], [r["trained"]]), TypeError, "`runs` must be a dmftlib Result; got list"),
    # Pages
    (lambda _: claims.origin([]), ValueError, "`groups` must hold at least one ensemble"),
    (
        lambda _: claims.Claims().agree("c", "1", "f", 1.0, 1.0, "here"),
        ValueError,
        r"`networks` must be \(mean, standard error\), two numbers; got 1.0. figures.mean_and_error makes one",
    ),
    (
        lambda _: claims.Claims().agree("c", "1", "f", "one", (1.0, 0.1), "here"),
        ValueError,
        r"`theory` must be \(mean, standard error\), two numbers; got \('one', 0.0\)",
    ),
    (
        lambda _: claims.Claims().phenomenon("c", "1", "f", "GD", 1.0, 1.0, (1.0, 0.1), "here", sign=2),
        ValueError,
        "`sign` must be 1 or −1, the side of the baseline; got 2",
    ),
    (
        lambda _: claims.Claims().slope("c", "1", "f", -1.0, "here"),
        ValueError,
        "`slope` must be .* two numbers; got -1.0",
    ),
    (
        lambda _: claims.Claims().ordered("c", "1", "f", "a", [1, 2, 3], [1, 2], [[1, 1], [2, 2]], "here"),
        ValueError,
        "an order needs two or more runs, as many everywhere; got 2 in `networks`, 2 in `half_step`, 3 in `theory`",
    ),
    (lambda _: questions.predict(3, "?", 1.0, "so"), ValueError, "`name` becomes an HTML id: .* got 3"),
    (lambda _: questions.self_check("a", "?", 1.0, tolerance=-1), ValueError, "`tolerance` is relative, .* got -1"),
    (
        lambda _: sliders.two_layer(duration=0),
        ValueError,
        r"`duration` \(the last time shown\) must be .* got 0",
    ),
]


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda k: re.sub(r"\W+", " ", CALLS[k][2])[:50])
def test_a_bad_call_names_the_argument(made, number):
    call, error, message = CALLS[number]
    with pytest.raises(error, match=message):
        call(made)
