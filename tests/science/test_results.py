"""The result type: metrics from their formulas, distances as `compare` defines them, and shape errors."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.linalg import block_diag

import dmftlib as dl
from dmftlib import stability
from dmftlib.results import OBSERVABLES, Provenance
from dmftlib.stability import check_records, warn_if_unstable

T, L, P = 5, 2, 3
Y = np.array([1.0, -0.5, 2.0])
E = dl.Experiment(dl.Task([[1.0, 0.0], [0.3, 1.0], [-1.0, 2.0]], Y), dl.GD(), L, "tanh", 1.0, 0.25, T)


def dynamics(seed=0, experiment=E):
    """Arbitrary positive-definite kernels and outputs, from no engine."""
    rng = np.random.default_rng(seed)

    def kernel(*shape):
        a = rng.standard_normal((*shape, P, P + 2))
        return a @ a.swapaxes(-1, -2)

    arrays = dict(f=rng.standard_normal((T, P)), K=kernel(T))
    arrays |= {name: kernel(T, L) for name in ("Phi", "G", "G_tilde", "G_tilde_tilde")}
    return dl.Dynamics(experiment, Provenance("none", 1, seed, "float64"), **arrays)


def test_two_time_kernels_follow_their_formula_entry_by_entry():
    rng, N = np.random.default_rng(3), 7
    fields = {name: rng.standard_normal((T, L, P, N)) for name in ("phi", "g", "g_tilde")}
    kernels = dataclasses.replace(dynamics(), history=fields).two_time()
    pairs = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))
    for name, (a, b) in pairs.items():
        for l, t, m, s, n in ((0, 1, 2, 4, 0), (1, 3, 0, 2, 1), (1, 2, 2, 2, 1)):
            expected = fields[a][t, l, m] @ fields[b][s, l, n] / N
            assert kernels[name][l, t, m, s, n] == pytest.approx(expected, abs=1e-14), name


def test_metrics_follow_their_formulas():
    run, y = dynamics(), E.task.y
    np.testing.assert_allclose(run.times, [0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(run.Delta, y - run.f)
    for t in range(T):
        K, Phi = run.K[t], run.Phi[t, -1]
        assert np.isclose(run.loss[t], sum((y[m] - run.f[t, m]) ** 2 for m in range(P)) / P)
        K_dot_yy = sum(K[m, n] * y[m] * y[n] for m in range(P) for n in range(P))
        assert np.isclose(run.alignment[t], K_dot_yy / np.sqrt((K**2).sum()) / (y**2).sum())
        assert np.isclose(run.H_y[t], y @ Phi @ y / (y @ y))
        assert np.isclose(run.h_y[t], y @ Phi @ y / (y @ y) / np.trace(Phi))
        layers = [
            np.trace(run.G_tilde[t, k]) / np.sqrt(np.trace(run.G[t, k]) * np.trace(run.G_tilde_tilde[t, k]))
            for k in range(L)
        ]
        assert np.isclose(run.corr_g[t], np.mean(layers))


def ensemble(mean, relative_error):
    arrays = {name: getattr(mean, name) for name in (*OBSERVABLES, "G_tilde_tilde")}
    error = {name: relative_error * np.abs(value) for name, value in arrays.items()}
    return dl.network.Ensemble(mean.experiment, 64, (0, 1), **arrays, standard_error=error)


def test_compare_is_the_relative_frobenius_distance_over_all_times():
    a, b = dynamics(0), dynamics(1)
    comparison = dl.compare(a, ensemble(b, 0.1))
    for name in OBSERVABLES:
        difference, reference = (getattr(a, name) - getattr(b, name)).ravel(), getattr(b, name).ravel()
        expected = np.sqrt((difference**2).sum() / (reference**2).sum())
        assert np.isclose(comparison.distance[name], expected)
        assert np.isclose(comparison.standard_error[name], 0.1)  # ‖SE‖/‖mean‖
        assert comparison[name] == (comparison.distance[name], comparison.standard_error[name])


def with_error(run, error):
    """Its provenance, if the run were a mean field of this Monte Carlo error."""
    return dataclasses.replace(run.provenance, errors=dict(monte_carlo=dict.fromkeys(OBSERVABLES, error)))


def test_agreement_counts_both_errors():
    run = dynamics(0)
    theory = dataclasses.replace(
        run, provenance=with_error(run, 0.03), **{name: 1.1 * getattr(run, name) for name in OBSERVABLES}
    )
    for se, ratio, agrees in ((0.05, "1.7", True), (0.02, "2.8", False)):
        lines = dl.compare(theory, ensemble(run, se)).agreement().splitlines()
        assert [line.split()[0] for line in lines] == list(OBSERVABLES)
        assert all(f"is {ratio} standard errors, agrees: {agrees}" in line for line in lines), lines


def test_agreement_with_one_network_is_unknown_and_not_a_verdict():
    run = dynamics(0)
    theory = dataclasses.replace(run, provenance=with_error(run, 0.03))
    one = dataclasses.replace(run, **{name: 1.1 * getattr(run, name) for name in OBSERVABLES})
    for table, who in ((dl.compare(theory, one), "reference"), (dl.compare(one, ensemble(run, 0.1)), "theory")):
        lines = table.agreement().splitlines()
        assert len(lines) == len(OBSERVABLES)
        assert all(f"agrees: unknown, for the error of the {who} is" in line for line in lines), lines
        assert "True" not in table.agreement() and "False" not in table.agreement()


@pytest.mark.parametrize(
    "name, changes", [("phi", dict(activation="relu")), ("task", dict(task=dl.Task(np.eye(3), Y)))]
)
def test_results_of_two_experiments_are_not_compared(name, changes):
    other = dynamics(1, dataclasses.replace(E, **changes))
    for runs in (other, ensemble(other, 0.1)):
        with pytest.raises(ValueError, match=f"`theory` and `runs` differ in {name}"):
            dl.compare(dynamics(0), runs)
    short = dataclasses.replace(dynamics(1), G=dynamics(1).G[:, :-1])
    with pytest.raises(ValueError, match=r"`G` has shape .*`theory`.*`runs`.*like with like"):
        dl.compare(dynamics(0), short)


# --- Divergence and instability --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, step", [(np.nan, 2), (-np.inf, 1), (1e200, 2), (50.0, 4)])
def test_divergence_names_the_first_bad_step(value, step):
    f, K = np.zeros((T, P)), np.ones((T, P, P))
    f[2] = E.task.y + np.sqrt(50 * 1.75)  # the initial loss is ⟨y²⟩ = 1.75; one 50 times as large may still come back
    check_records(E, {"f": f})
    f[step:, 1] = value
    for first in (0, 40):  # a later part of the same run
        with pytest.raises(dl.Diverged, match=rf"at step {first + step} the loss is .*`lr` = 0.25 .*stable_lr"):
            check_records(E, {"f": f}, first)
    K[3, 0, 1] = np.nan
    with pytest.raises(dl.Diverged, match=r"at step 3"):
        check_records(E, {"f": np.zeros((T, P)), "K": K})
    with pytest.raises(dl.Diverged, match=r"not finite at step 0, .*check `activation`") as caught:
        check_records(E, {"f": np.zeros((T, P)), "K": np.nan * K})
    assert "lr" not in str(caught.value)  # which is not to blame before any step


def test_divergence_tells_how_far_the_step_is_off_and_who_finds_one_that_runs():
    # Inputs as large as pixels make a kernel of 1e5: a quarter of the step diverges as well, and a quarter of that.
    task = dl.Task.random(6, 10, 0)
    with pytest.warns(UserWarning, match="mean square"):
        task = dl.Task(100 * np.abs(task.X), task.y)
    e = dl.Experiment(task, dl.GD(), 1, "relu", 1.0, 0.1, 12)
    edge = 0.1 * stability.largest_eigenvalue(dl.lazy.kernels(e).K)
    lr = dl.network.stable_lr(e, 64)
    assert 1e-6 < lr < 1e-4  # the edge of the lazy kernel is near 1e-5: neither wild nor timid
    for run in (
        lambda e: dl.network.train(e, 64),
        lambda e: dl.meanfield.solve(e, 64),
        lambda e: dl.lazy.predict(dataclasses.replace(e, gamma0=1e-3)),
    ):
        with pytest.raises(dl.Diverged, match=r"stable_lr\(experiment\) finds a smaller one by trying") as caught:
            run(e)
        assert float(str(caught.value).split("began at ")[1].split()[0]) == pytest.approx(edge, rel=0.4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            better = run(dataclasses.replace(e, lr=lr))
        assert ((task.y - better.f[-1]) ** 2).mean() < 1


def told(K, **options):
    """What `warn_if_unstable` says of kernels in E, whose lr is 1/4."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn_if_unstable(E, np.asarray(K, float), **options)
    return "".join(str(warning.message) for warning in seen)


def kernels(block, count=1000):
    """`count` equal kernels: one block, and a direction that learns."""
    return np.tile(block_diag(block, 1.0), (count, 1, 1))


RISING = np.eye(P) * np.array([1.0, 7.9, 8.1, 20.0, 3.0])[:, None, None]
NULL, NOISE = kernels(np.ones((2, 2))), np.random.default_rng(0).standard_normal((1000, 3, 3))  # two equal samples
NEGATIVE, TURNING = np.diag([-0.2, 1.0]), [[0.0, 1.6], [-1.6, 0.0]]


@pytest.mark.parametrize(
    "K, options, said",
    [
        # A step overshoots where lr·λ > 2.
        (RISING, {}, "from step 2 on (largest value 4)"),
        (np.minimum(RISING, 8.1), {}, "from step 2 on (largest value 1.02)"),
        (RISING, dict(kernels_at=np.array([0, 4, 9, 10, 11])), "from step 9 on"),
        (np.minimum(RISING, 8.0), {}, ""),
        # Differences grow tenfold: lr·λ = −0.05 and 1.05⁴⁷ < 10 < 1.05⁴⁸; lr·λ = ±0.4i, |1 − lr·λ| = √1.16.
        (kernels(NEGATIVE, 47), {}, ""),
        (kernels(NEGATIVE, 48), {}, "A smaller `lr` does not help"),
        (kernels(TURNING, 31), {}, ""),
        (kernels(TURNING, 32), {}, "from step 0 on (differences grow 1"),
        (kernels([[0.01, 1.6], [-1.6, 0.01]], 40), {}, "Choose a smaller `lr`."),  # the flow shrinks it
        (kernels([[2.0, 2.0], [-2.0, 2.0]], 100), {}, ""),  # complex, and |1 − lr·λ| = √½
        # Each recorded kernel stands for the steps up to the next.
        (kernels(NEGATIVE, 2), dict(kernels_at=np.array([0, 47])), "from step 0 on"),
        (kernels(NEGATIVE, 2), dict(kernels_at=np.array([0, 46])), ""),
        # An eigenvalue that is 0 but for rounding or noise.
        (NULL + 1e-15 * NOISE, {}, ""),
        (NULL - 0.01 * np.eye(3), {}, "from step 0 on"),
        (NULL - 0.01 * np.eye(3), dict(noise=0.01), ""),
    ],
)
def test_steps_that_enlarge_differences_warn(K, options, said):
    found = told(K, **options)
    assert said in found and bool(said) == bool(found)


def test_large_kernels_are_judged_by_their_largest_multiplier(monkeypatch):
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    values = np.r_[np.linspace(0, 4, 59), 0.0]  # λ of one direction is set below; many are near 0
    for last, warns in ((0.0, False), (-0.4, True), (9.0, True), (7.9, False)):
        values[-1] = last
        K = np.tile((directions * values) @ directions.T, (30, 1, 1))
        whole = told(K)
        monkeypatch.setattr(stability, "MOST_EIGENVALUES", 10)
        assert bool(told(K)) == bool(whole) == warns, last
        monkeypatch.undo()


@pytest.mark.parametrize("scale, gamma0", [(1e-9, 1.0), (1.0, 1e-5)])
def test_updates_below_rounding_warn_and_name_float64(scale, gamma0):
    task = dl.Task.random(4, 10, 0)
    e = dl.Experiment(dl.Task(task.X, scale * task.y), dl.GD(), 1, "tanh", gamma0, 0.05, 3)
    for run in (
        lambda **o: dl.network.train(e, 16, **o),
        lambda **o: dl.network.ensemble(e, 16, range(2), **o),
        lambda **o: dl.meanfield.solve(e, 64, **o),
    ):
        with pytest.warns(UserWarning, match='near the rounding of float32.*Use dtype="float64"') as seen:
            run(dtype="float32")
        assert seen[0].filename == __file__  # where it was asked for, through however many functions
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exact = run()
            assert exact.loss[-1] < 0.99 * exact.loss[0]


def test_where_no_rounding_is_told_of_float32_is_right_to_half_a_percent():
    task = dl.Task.random(4, 10, 0)
    least = stability.LEAST_UPDATE * np.finfo("float32").eps
    e = dl.Experiment(task, dl.GD(), 1, "tanh", 1.05 * least / (0.05 * np.sqrt(4 * np.diag(task.K_x).mean())), 0.05, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (dl.meanfield.solve(e, 256, dtype=dtype).f for dtype in ("float32", "float64"))
    assert np.linalg.norm(a - b) < 5e-3 * np.linalg.norm(b)
    with pytest.warns(UserWarning, match="near the rounding of float64.*larger `gamma0`"):
        dl.network.train(dataclasses.replace(e, gamma0=1e-14), 16)
