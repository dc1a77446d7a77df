"""Two-time kernels and response functions, against automatic differentiation of the single-site process.

The solver never forms A or B: it finds them from its projections. Here they are fed, with the two-time kernels, into
an independent simulation of paper.md §3, which must return the same kernels and the same responses.
"""

import dataclasses

import numpy as np
import pytest
import single_site

import dmftlib as dl

L, T, P, SAMPLES = 3, 4, 2, 4096
# Large steps and γ₀ make fields at different times distinct, so that single response entries can be told apart.
E = dl.Experiment(dl.Task.random(P, 3, seed=6), dl.GD(), L, "tanh", gamma0=2.0, lr=0.2, steps=T)


def mean_and_error(values):
    values = np.stack(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def solved():
    """Mean over eight seeds, with standard errors: kernels, responses, errors Δ. A tiny tol keeps every direction."""
    runs = [dl.meanfield.solve(E, samples=SAMPLES, seed=s, tol=1e-14, record=True) for s in range(8)]
    kernels, responses = [run.two_time() for run in runs], [run.responses() for run in runs]
    assert set(responses[0]) == {"A", "B"}  # g̃ = g and v = r: no C, no D
    out = {name: mean_and_error([k[name] for k in kernels]) for name in ("Phi", "G", "G_tilde")}
    out |= {name: mean_and_error([r[name] for r in responses]) for name in ("A", "B")}
    return out | dict(Delta=np.mean([run.Delta for run in runs], axis=0), runs=runs)


@pytest.fixture(scope="module")
def sites(solved):
    two_time = {name: solved[name][0] for name in ("Phi", "G")}
    responses = {name: solved[name][0] for name in ("A", "B")}
    return [single_site.layer(n, E, two_time, responses, solved["Delta"], 40000, seed=0) for n in (1, 2, 3)]


def agree(found, expected, samples_axis_values, what):
    """Entrywise within 5 joint standard errors, and their rms near 1: `expected` is (mean, error) of the solver."""
    mean, error = expected
    own = samples_axis_values.std(axis=0) / np.sqrt(len(samples_axis_values))
    scale = np.abs(mean).max()
    score = (found - mean) / np.sqrt(own**2 + error**2 + (1e-9 * scale) ** 2)
    assert np.abs(score).max() < 6, (what, np.abs(score).max())
    assert np.sqrt((score**2).mean()) < 2, (what, np.sqrt((score**2).mean()))


def test_shapes_and_equal_times(solved):
    run = solved["runs"][0]
    kernels = run.two_time()
    for name in ("Phi", "G", "G_tilde"):
        assert kernels[name].shape == (L, T, P, T, P)
        for t in range(T):
            np.testing.assert_allclose(kernels[name][:, t, :, t], getattr(run, name)[t], rtol=1e-10)
    np.testing.assert_allclose(kernels["Phi"], kernels["Phi"].transpose(0, 3, 4, 1, 2), rtol=1e-12)  # symmetric
    for name in ("A", "B"):
        assert run.responses()[name].shape == (L - 1, T, P, T, P)


def test_responses_are_causal(solved):
    for t in range(T):
        for s in range(T):
            for run in solved["runs"]:
                found = run.responses()
                if s >= t:
                    np.testing.assert_array_equal(found["A"][:, t, :, s], 0.0)
                if s > t:
                    np.testing.assert_array_equal(found["B"][:, t, :, s], 0.0)
    # They are there: A at one step apart, and B at equal times once h and z are correlated (at t = 0 they are not).
    for name, s in (("A", 1), ("B", 2)):
        mean, error = (x[:, 2, :, s] for x in solved[name])
        assert np.abs(mean / error).max(axis=(1, 2)).min() > 10, name


@pytest.mark.parametrize("number", [1, 2, 3])
def test_single_site_returns_the_kernels(number, solved, sites):
    # Closes the loop: fields built from u, r, A, B and the learned terms have the covariances they were built from.
    phi, g, _, _ = sites[number - 1]
    for name, field in (("Phi", phi), ("G", g)):
        products = np.einsum("itm,isn->itmsn", field, field)
        agree(products.mean(axis=0), tuple(x[number - 1] for x in solved[name]), products, (name, number))


def test_single_site_returns_the_output(solved, sites):
    # f = ⟨w φ⟩/γ₀, with w = z of the last layer: g/φ̇.
    phi, g, _, _ = sites[-1]
    products = phi * g / (1 - phi**2) / E.gamma0
    agree(products.mean(axis=0), mean_and_error([run.f for run in solved["runs"]]), products, "f")


@pytest.mark.parametrize("gap", [1, 2])
def test_forward_response_is_the_derivative_of_features(gap, solved, sites):
    derivative = sites[gap - 1][2]
    for t in range(T):
        np.testing.assert_array_equal(derivative[:, t, :, t:], 0.0)  # φ(t) knows r(s) only at s < t
    agree(derivative.mean(axis=0) / E.gamma0, tuple(x[gap - 1] for x in solved["A"]), derivative / E.gamma0, ("A", gap))


@pytest.mark.parametrize("gap", [1, 2])
def test_backward_response_is_the_derivative_of_gradients(gap, solved, sites):
    derivative = sites[gap][3]
    agree(derivative.mean(axis=0) / E.gamma0, tuple(x[gap - 1] for x in solved["B"]), derivative / E.gamma0, ("B", gap))


def test_equal_time_response_is_nested_through_the_layers(solved, sites):
    # γ₀B^ℓ(t,t) = δ_μν ⟨φ̈ z⟩ + γ₀B^{ℓ+1}(t,t) ⟨φ̇φ̇⟩, fields of layer ℓ + 1, B^L = 0.
    above = np.zeros((T, P, P))
    for gap in (2, 1):
        phi, g, _, _ = sites[gap]
        dot = 1 - phi**2
        local = -2 * phi * g  # φ̈ z = −2 φ φ̇ z
        terms = np.einsum("itm,mn->itmn", local, np.eye(P)) + above * np.einsum("itm,itn->itmn", dot, dot)
        expected = tuple(np.stack([x[gap - 1][t, :, t] for t in range(T)]) for x in solved["B"])
        agree(terms.mean(axis=0) / E.gamma0, expected, terms / E.gamma0, ("equal times", gap))
        above = E.gamma0 * expected[0]
        if gap == 1:
            # The nested term is there: without it the disagreement is many standard errors.
            missing = above - E.gamma0 * np.stack([np.diag(local[:, t].mean(axis=0)) / E.gamma0 for t in range(T)])
            assert np.abs(missing / (E.gamma0 * expected[1])).max() > 10


@pytest.mark.parametrize("gap", [1, 2])
def test_responses_are_stein_averages(gap, solved, sites):
    # ⟨φ(t) r(s)⟩ = γ₀ Σ A(t,s') G(s',s) is better determined than A itself; z − r must carry the rest of ⟨φ z⟩.
    A, G = solved["A"][0][gap - 1], solved["G"][0][gap]
    expected = E.gamma0 * np.einsum("tmab,absn->tmsn", A, G)
    site = sites[gap - 1]
    rng = np.random.default_rng((0, gap))  # the draws of the single-site simulation again
    Phi_below = solved["Phi"][0][gap - 2] if gap > 1 else np.broadcast_to(E.task.K_x[:, None], (T, P, T, P))
    single_site.gaussian_process(rng, Phi_below, len(site[0]))
    r = single_site.gaussian_process(rng, G, len(site[0]))
    products = np.einsum("itm,isn->itmsn", site[0], r)
    own = products.std(axis=0) / np.sqrt(len(products))
    assert np.abs((products.mean(axis=0) - expected) / np.maximum(own, 1e-12)).max() < 6


def test_without_the_responses_the_loop_does_not_close(solved):
    # The check above has power: leaving out A, or B, moves the kernels by many standard errors.
    two_time = {name: solved[name][0] for name in ("Phi", "G")}
    for name, number, kernel in (("A", 2, 0), ("B", 2, 1)):
        responses = {n: solved[n][0] * (n != name) for n in ("A", "B")}
        field = single_site.layer(number, E, two_time, responses, solved["Delta"], 40000, seed=0)[kernel]
        products = np.einsum("itm,isn->itmsn", field, field)
        mean, error = (x[number - 1] for x in solved[("Phi", "G")[kernel]])
        score = (products.mean(axis=0) - mean) / np.hypot(products.std(axis=0) / np.sqrt(len(products)), error)
        assert np.abs(score).max() > 8, name


def test_a_learned_term_five_per_cent_too_strong_does_not_close_either(solved):
    two_time = {name: solved[name][0] for name in ("Phi", "G")}
    responses = {name: solved[name][0] for name in ("A", "B")}
    wrong = dataclasses.replace(E, lr=1.05 * E.lr)
    scores = []
    for number, kernel in ((1, 0), (2, 0), (3, 0), (2, 1)):
        field = single_site.layer(number, wrong, two_time, responses, solved["Delta"], 40000, seed=0)[kernel]
        products = np.einsum("itm,isn->itmsn", field, field)
        mean, error = (x[number - 1] for x in solved[("Phi", "G")[kernel]])
        scores.append((products.mean(axis=0) - mean) / np.hypot(products.std(axis=0) / np.sqrt(len(products)), error))
    assert np.abs(scores).max() > 4


def test_history_has_to_be_asked_for():
    plain = dl.meanfield.solve(dataclasses.replace(E, hidden_layers=1), samples=64)
    for method in (plain.two_time, plain.responses):
        with pytest.raises(ValueError, match=r"`record` = True"):
            method()
    network = dl.network.train(dataclasses.replace(E, hidden_layers=1), width=8, record=True)
    assert network.two_time()["Phi"].shape == (1, T, P, T, P)
    with pytest.raises(ValueError, match=r"responses exist in the mean field only"):
        network.responses()
