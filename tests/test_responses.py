"""Two-time kernels and response functions, against automatic differentiation of the single-site process.

The solver never forms A, B, C or D: it finds them from its projections. Here they are fed, with the two-time kernels,
into an independent simulation of paper.md §3, which must return the same kernels and the same responses.
"""

import dataclasses

import numpy as np
import pytest
import single_site
from single_site import RHO

import dmftlib as dl

L, T, P, SAMPLES = 3, 4, 2, 4096
SITES = 40000  # neurons of a single-site simulation
# Large steps and γ₀ make fields at different times distinct, so that single response entries can be told apart.
E = dl.Experiment(dl.Task.random(P, 3, seed=6), dl.GD(), L, "tanh", gamma0=2.0, lr=0.2, steps=T)
RULES = {"GD": dl.GD(), "FA": dl.FA(RHO), "DFA": dl.DFA(), "GLN": dl.GLN(), "Hebb": dl.Hebb()}
# What is left of A, B, C, D. GD, GLN: g̃ = g and v = r, one response for two. FA: h hears of W(0)ᵀ through g̃ alone.
# DFA, Hebb: g̃ never passes through W(0)ᵀ.
HAS = {"GD": "AB", "FA": "BCD", "DFA": "B", "GLN": "AB", "Hebb": "B"}
# The average in each response, and the layer it is taken in, above a gap: φ of the layer below, g and g̃ of the one above.
SHIFT = {"A": 0, "B": 1, "C": 0, "D": 1}
EACH = [(rule, name, gap) for rule, names in HAS.items() for name in names for gap in (1, 2)]


def mean_and_error(values):
    values = np.stack(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def solved():
    """By rule, means over eight seeds with standard errors: kernels, responses, errors Δ. A tiny tol keeps every direction."""

    def solve(rule):
        e = dataclasses.replace(E, rule=RULES[rule])
        runs = [dl.meanfield.solve(e, samples=SAMPLES, seed=s, tol=1e-14, record=True) for s in range(8)]
        kernels, responses = [run.two_time() for run in runs], [run.responses() for run in runs]
        out = {name: mean_and_error([k[name] for k in kernels]) for name in kernels[0]}
        out |= {name: mean_and_error([r[name] for r in responses]) for name in responses[0]}
        return out | dict(Delta=np.mean([run.Delta for run in runs], axis=0), runs=runs)

    return {rule: solve(rule) for rule in RULES}


def simulate(rule, number, solved, e=E, without=None):
    """Layer `number` of the single-site process, with the kernels and responses that the solver found."""
    found = solved[rule]
    responses = {name: found[name][0] for name in HAS[rule] if name != without}
    two_time = {name: found[name][0] for name in ("Phi", "G", "G_tilde", "G_tilde_tilde")}
    return single_site.layer(rule, number, e, two_time, responses, found["Delta"], SITES, seed=0)


@pytest.fixture(scope="module")
def sites(solved):
    return {rule: [simulate(rule, number, solved) for number in (1, 2, 3)] for rule in RULES}


def scores(values, expected):
    """Differences of the mean of `values` from (mean, error), in joint standard errors, entry by entry."""
    mean, error = expected
    own = values.std(axis=0) / np.sqrt(len(values))
    return (values.mean(axis=0) - mean) / np.sqrt(own**2 + error**2 + (1e-9 * np.abs(mean).max()) ** 2)


def agree(values, expected, what):
    score = scores(values, expected)
    assert np.abs(score).max() < 6, (what, np.abs(score).max())
    assert np.sqrt((score**2).mean()) < 2, (what, np.sqrt((score**2).mean()))


def products(site, name):
    a, b = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))[name]
    return np.einsum("itm,isn->itmsn", site[a], site[b])


def layer_of(found, name, number):
    return tuple(x[number - 1] for x in found[name])


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_its_responses_and_no_others(rule, solved, sites):
    run = solved[rule]["runs"][0]
    assert set(run.responses()) == set(HAS[rule])
    for name in HAS[rule]:
        assert run.responses()[name].shape == (L - 1, T, P, T, P)
    for name in set("AC") - set(HAS[rule]):
        for site in sites[rule]:
            np.testing.assert_array_equal(site[name], 0.0)


def test_feedback_that_knows_nothing_of_the_weights_has_no_C_and_needs_no_D():
    run = dl.meanfield.solve(dataclasses.replace(E, rule=dl.FA(0.0)), samples=256, record=True)
    assert set(run.responses()) == {"B"}


@pytest.mark.parametrize("rule", RULES)
def test_two_time_kernels_at_equal_times(rule, solved):
    run = solved[rule]["runs"][0]
    kernels = run.two_time()
    for name in ("Phi", "G", "G_tilde", "G_tilde_tilde"):
        assert kernels[name].shape == (L, T, P, T, P)
        for t in range(T):
            np.testing.assert_allclose(kernels[name][:, t, :, t], getattr(run, name)[t], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernels["Phi"], kernels["Phi"].transpose(0, 3, 4, 1, 2), rtol=1e-12)  # symmetric


@pytest.mark.parametrize("rule", RULES)
def test_responses_are_causal(rule, solved, sites):
    for run in solved[rule]["runs"]:
        for name, found in run.responses().items():
            for t in range(T):
                first = t + 1 if name in "BD" else t  # φ(t) knows r(s) and v(s) only at s < t; g and g̃ know u(t)
                np.testing.assert_array_equal(found[:, t, :, first:], 0.0)
    for name in HAS[rule]:
        for site in sites[rule]:
            for t in range(T):
                first = t + 1 if name in "BD" else t
                np.testing.assert_array_equal(site[name][:, t, :, first:], 0.0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_single_site_returns_the_kernels(rule, number, solved, sites):
    # Closes the loop: fields built from Gaussians, responses and learned terms have the covariances they started from.
    for name in ("Phi", "G", "G_tilde", "G_tilde_tilde"):
        agree(products(sites[rule][number - 1], name), layer_of(solved[rule], name, number), (name, number))


@pytest.mark.parametrize("rule", RULES)
def test_single_site_returns_the_output(rule, solved, sites):
    # f = ⟨w φ⟩/γ₀, with w = z of the last layer.
    values = sites[rule][-1]["phi"] * sites[rule][-1]["z"] / E.gamma0
    agree(values, mean_and_error([run.f for run in solved[rule]["runs"]]), "f")


@pytest.mark.parametrize("rule, name, gap", EACH)
def test_every_response_is_the_derivative_of_the_single_site_process(rule, name, gap, solved, sites):
    derivative = sites[rule][gap - 1 + SHIFT[name]][name] / E.gamma0
    agree(derivative, layer_of(solved[rule], name, gap), (rule, name, gap))


@pytest.mark.parametrize("rule, name", sorted({(rule, name) for rule, name, _ in EACH}))
def test_the_responses_are_there(rule, name, solved):
    # At one step apart, and at equal times once h and z are correlated: at t = 0 they are not.
    mean, error = (x[:, 2, :, 1] for x in solved[rule][name])
    assert np.abs(mean / error).max() > 8


@pytest.mark.parametrize("rule, name, rho", [("GD", "B", 1.0), ("FA", "B", 1.0), ("FA", "D", RHO), ("DFA", "B", 1.0)])
def test_equal_time_response_is_nested_through_the_layers(rule, name, rho, solved, sites):
    # γ₀B^ℓ(t,t) = δ_μν ⟨φ̈ z⟩ + γ₀B^{ℓ+1}(t,t) ⟨φ̇φ̇⟩, fields of layer ℓ + 1, B^L = 0; D: z̃ for z and ρD for B.
    above = np.zeros((T, P, P))
    for gap in (2, 1):
        site = sites[rule][gap]
        dot = 1 - site["phi"] ** 2
        local = -2 * site["phi"] * site["g" if name == "B" else "g_tilde"]  # φ̈ z = −2 φ φ̇ z
        terms = np.einsum("itm,mn->itmn", local, np.eye(P)) + rho * above * np.einsum("itm,itn->itmn", dot, dot)
        mean, error = (np.stack([x[gap - 1][t, :, t] for t in range(T)]) for x in solved[rule][name])
        agree(terms / E.gamma0, (mean, error), ("equal times", gap))
        above = E.gamma0 * mean
        if gap == 1:
            # The nested term is there: without it the disagreement is many standard errors.
            missing = mean - np.stack([np.diag(local[:, t].mean(axis=0)) / E.gamma0 for t in range(T)])
            assert np.abs(missing / error).max() > (10 if rule == "GD" else 4)


def test_equal_time_responses_vanish_for_gated_networks(solved):
    mean, error = (np.stack([x[:, t, :, t] for t in range(T)]) for x in solved["GLN"]["B"])
    assert np.abs(mean / error).max() < 6
    assert np.abs(mean).max() < 0.1 * np.abs(solved["GLN"]["B"][0]).max()


@pytest.mark.parametrize("gap", [1, 2])
def test_responses_are_stein_averages(gap, solved, sites):
    # ⟨φ(t) r(s)⟩ = γ₀ Σ A(t,s') G(s',s) is better determined than A itself; z − r must carry the rest of ⟨φ z⟩.
    A, G = solved["GD"]["A"][0][gap - 1], solved["GD"]["G"][0][gap]
    z_minus_r = np.einsum("tmab,iab->itm", E.gamma0 * solved["GD"]["B"][0][gap - 1], sites["GD"][gap - 1]["phi"])
    Delta_phi = solved["GD"]["Delta"] * sites["GD"][gap - 1]["phi"]
    learned = np.tril(np.ones((T, T)), -1)[:, None, :, None] * solved["GD"]["G_tilde"][0][gap]
    z_minus_r = z_minus_r + E.gamma0 * E.lr * np.einsum("tmab,iab->itm", learned, Delta_phi)
    site = sites["GD"][gap - 1]
    values = np.einsum("itm,isn->itmsn", site["phi"], site["z"] - z_minus_r)
    expected = E.gamma0 * np.einsum("tmab,absn->tmsn", A, G)
    own = values.std(axis=0) / np.sqrt(len(values))
    assert np.abs((values.mean(axis=0) - expected) / np.maximum(own, 1e-12)).max() < 6


@pytest.mark.parametrize(
    "rule, name, number, kernel",
    [
        ("GD", "A", 2, "Phi"),
        ("GD", "B", 2, "G"),
        ("FA", "C", 2, "Phi"),
        ("FA", "D", 2, "G_tilde_tilde"),
        ("DFA", "B", 2, "G_tilde"),
    ],
)
def test_without_a_response_the_loop_does_not_close(rule, name, number, kernel, solved):
    # The check of the kernels has power: leaving out a response moves them by many standard errors.
    site = simulate(rule, number, solved, without=name)
    assert np.abs(scores(products(site, kernel), layer_of(solved[rule], kernel, number))).max() > 8


def test_a_learned_term_five_per_cent_too_strong_does_not_close_either(solved):
    wrong, found = dataclasses.replace(E, lr=1.05 * E.lr), []
    for number, kernel in ((1, "Phi"), (2, "Phi"), (3, "Phi"), (2, "G")):
        site = simulate("GD", number, solved, wrong)
        found.append(scores(products(site, kernel), layer_of(solved["GD"], kernel, number)))
    assert np.abs(found).max() > 4


def test_history_has_to_be_asked_for():
    plain = dl.meanfield.solve(dataclasses.replace(E, hidden_layers=1), samples=64)
    for method in (plain.two_time, plain.responses):
        with pytest.raises(ValueError, match=r"`record` = True"):
            method()
    network = dl.network.train(dataclasses.replace(E, hidden_layers=1), width=8, record=True)
    assert network.two_time()["Phi"].shape == (1, T, P, T, P)
    with pytest.raises(ValueError, match=r"responses exist in the mean field only"):
        network.responses()
