"""Response functions of every rule: against automatic differentiation of the single-site process, exact integrals and
identities, stated errors, and what is refused.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import single_site

import dmftlib as dl

L, T = 3, 4
E = dl.Experiment(dl.Task.random(2, 3, seed=6), dl.GD(), L, "tanh", gamma0=2.0, lr=0.2, steps=T)


slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)  # noqa: E731


@pytest.mark.parametrize(
    "e, samples",
    [  # of gradient descent: test_mean_field_equations
        (single_site.experiment(dl.FA(single_site.RHO)), 4000),
        slow(single_site.experiment(dl.DFA()), 12_000),
        slow(single_site.experiment(dl.GLN(), lr=0.04), 12_000),  # or fields explode
        slow(single_site.experiment(dl.Hebb(), gamma0=0.5), 12_000),
    ],
    ids=lambda value: str(getattr(value, "rule", "")),
)
def test_kernels_and_responses_are_those_of_the_single_site_process(e, samples):
    single_site.compare(dl.meanfield.solve(e, 5 * samples, tol=1e-6, record=True), samples)


# --- At ordinary settings ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Own(dl.Rule):
    """A quarter of everything that a layer offers."""

    def pseudo_gradient(self, layer):
        down = layer.W0_T(layer.error * layer.g_tilde_next) + layer.fresh_T(layer.g_tilde_next) + layer.fresh_vector
        return 0.25 * (layer.g + layer.gain * down) + 0.1 * layer.phi


ORDINARY = dl.Experiment(dl.Task.random(4, 6, seed=6), dl.GD(), 2, "tanh", gamma0=2.0, lr=0.05, steps=8)


@pytest.mark.parametrize("rule", [dl.GD(), slow(Own())], ids=repr)
def test_two_draws_agree_within_stated_errors_of_a_few_per_cent(rule):
    e = dataclasses.replace(ORDINARY, rule=rule)
    one, other = (dl.meanfield.solve(e, seed=seed, record=True) for seed in (0, 1))
    for name, found in one.responses().items():
        errors = [run.responses(errors=True)[name] for run in (one, other)]
        there = errors[0] > 0
        score = (found - other.responses()[name])[there] / np.hypot(*errors)[there]
        assert np.sqrt((score**2).mean()) < 1.5 and np.abs(score).max() < 6, name
        assert np.linalg.norm(errors[0]) < 0.15 * np.linalg.norm(found), name


def test_first_response_is_its_gaussian_integral():
    # A(1,0) = η K_x Δ(0) ⟨φ̇(h(1)) φ̇(u)⟩, h(1) = u + γ₀η K_x Δ(0) φ̇(u) r, u ~ N(0, K_x), r ~ N(0, G²(0)).
    e = dataclasses.replace(ORDINARY, task=dl.Task(np.full((1, 3), 1.2), [1.5]), gamma0=4.0, lr=0.4, steps=2)
    run = dl.meanfield.solve(e, record=True)
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    K_x, dot = e.task.K_x[0, 0], lambda h: 1 - np.tanh(h) ** 2
    u = np.sqrt(K_x) * x[:, None]
    r = np.sqrt(e.phi.dot_dot(e.phi.phi_phi(e.task.K_x))[0, 0]) * x
    after = u + e.gamma0 * e.lr * K_x * 1.5 * dot(u) * r
    exact = e.lr * K_x * 1.5 * (weight @ (dot(after) * dot(u)) @ weight) / weight.sum() ** 2
    error = run.responses(errors=True)["A"][0, 1, 0, 0, 0]
    assert error < 0.05 * exact
    assert abs(run.responses()["A"][0, 1, 0, 0, 0] - exact) < 2 * error


@pytest.mark.parametrize("rule", [slow(dl.GD()), dl.FA(0.6), slow(dl.DFA())], ids=repr)
def test_linear_networks_obey_steins_identities_exactly(rule):
    # ⟨φ(t) r(s)⟩ = γ₀ Σ A G, ⟨φ(t) v(s)⟩ = γ₀ Σ C ⟨g̃g̃⟩, ⟨g(t) u(s)⟩ = γ₀ Σ B Φ, ⟨g̃(t) u(s)⟩ = γ₀ Σ D Φ: r, v and u are
    # what is left of the sampled z, W(0)ᵀ g̃ and h without response terms and learned part.
    e = dataclasses.replace(E, rule=rule, activation="linear", lr=0.03)
    run = dl.meanfield.solve(e, record=True)
    F, k, R, Delta, gamma0 = run.history, run.two_time(), run.responses(), run.Delta, e.gamma0
    h, z, phi, g, g_tilde = (F[name] for name in ("h", "z", "phi", "g", "g_tilde"))
    past = np.tril(np.ones((T, T)), -1)[:, None, :, None]
    drive = lambda R, fields: gamma0 * np.einsum("tmsn,snk->tmk", R, fields)  # noqa: E731
    average = lambda a, b: np.einsum("tmk,snk->tmsn", a, b) / a.shape[-1]  # noqa: E731
    follow = lambda R, kernel: gamma0 * np.einsum("tmab,absn->tmsn", R, kernel)  # noqa: E731
    for gap in range(L - 1):
        below, above = gap, gap + 1
        u = h[:, above] - drive(e.lr * past * k["Phi"][below] * Delta, g_tilde[:, above])
        for name, field in (("A", g), ("C", g_tilde)):
            u = u - drive(R[name][gap], field[:, above]) if name in R else u
        r = z[:, below] - drive(R["B"][gap] + e.lr * past * k["G_tilde"][above] * Delta, phi[:, below])
        pairs = [(g[:, above], u, "B", k["Phi"][below])]
        if "A" in R:
            pairs.append((phi[:, below], r, "A", k["G"][above]))
        if "C" in R:
            v = F["W0_T"][:, below] - drive(R["D"][gap], phi[:, below])
            pairs.append((phi[:, below], v, "C", k["G_tilde_tilde"][above]))
            pairs.append((g_tilde[:, above], u, "D", k["Phi"][below]))
        for field, source, name, kernel in pairs:
            np.testing.assert_allclose(average(field, source), follow(R[name][gap], kernel), atol=1e-10, err_msg=name)
    for name, error in run.responses(errors=True).items():
        assert np.abs(error).max() < 1e-6 * max(np.abs(R[name]).max(), 1e-3)


def test_responses_have_one_gradient_an_output():
    Y = np.random.default_rng(7).standard_normal((4, 3))
    e = dataclasses.replace(ORDINARY, task=dl.Task(ORDINARY.task.X, Y), steps=3)
    run = dl.meanfield.solve(e, 1024, record=True)
    A, B = (run.responses()[name] for name in "AB")
    assert A.shape == (1, 3, 4, 3, 12) and B.shape == (1, 3, 12, 3, 4)
    # Outputs in another order have the same responses, up to the errors of both.
    order = [2, 0, 1]
    other = dl.meanfield.solve(dataclasses.replace(e, task=dl.Task(e.task.X, Y[:, order])), 1024, record=True)
    columns = np.arange(12).reshape(4, 3)[:, order].ravel()
    error = np.hypot(run.responses(errors=True)["A"][..., columns], other.responses(errors=True)["A"])
    score = (A[..., columns] - other.responses()["A"])[error > 0] / error[error > 0]
    assert np.sqrt((score**2).mean()) < 1.7


# --- Refused --------------------------------------------------------------------------------------------------------


odd = lambda pseudo_gradient: type("Odd", (dl.Rule,), dict(pseudo_gradient=pseudo_gradient))()  # noqa: E731


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(activation="relu"), r"`activation` 'relu' .* jump with its h.*Take a smooth activation"),
        (dict(rule=odd(lambda _, layer: jnp.sign(layer.g))), r"jump with its z"),
        (dict(rule=odd(lambda _, layer: layer.g - layer.g.mean(axis=1, keepdims=True))), r"mixes neurons"),
        (dict(rule=odd(lambda _, layer: layer.W0_T(layer.g_tilde_next**2))), r"through `W0_T` something else"),
    ],
    ids=["kink", "jump", "mixed", "square"],
)
def test_what_no_derivative_of_one_neuron_shows_is_refused(change, message):
    run = dl.meanfield.solve(dataclasses.replace(ORDINARY, steps=2, **change), samples=256, record=True)
    with pytest.raises(ValueError, match=message):
        run.responses()


def test_gates_do_not_jump_with_h_and_one_hidden_layer_has_no_responses():
    short = dataclasses.replace(ORDINARY, activation="relu", steps=2)
    gated = dl.meanfield.solve(dataclasses.replace(short, rule=dl.GLN()), samples=256, record=True)
    assert np.abs(gated.responses()["A"]).max() > 0
    flat = dl.meanfield.solve(dataclasses.replace(short, hidden_layers=1), samples=256, record=True)
    assert flat.responses()["A"].shape == (0, 2, 4, 2, 4)
