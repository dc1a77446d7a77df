import re
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

import dmftlib as dl
from companion import drawing, figures


@pytest.fixture(scope="module")
def experiment():
    return dl.Experiment(dl.Task.random(4, 6), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=6)


@pytest.fixture(scope="module")
def theory(experiment):
    return dl.meanfield.solve(experiment, samples=1024)


@pytest.fixture(scope="module")
def networks(experiment):
    groups = lambda N, k: [dl.network.ensemble(experiment, N, range(k + g, k + g + 3)) for g in (0, 3, 6)]  # noqa: E731
    return {N: groups(N, k) for k, N in enumerate((16, 32, 64))}


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_a_panel_of_losses_has_limits_from_its_data(scale):
    e = dl.Experiment(dl.Task([[1.0, 0.0], [0.0, 1.0]], [scale, -scale]), dl.GD(), 1, "linear", 1 / scale, 0.1, 30)
    theory, networks = dl.meanfield.solve(e, 64), dl.network.groups(e, 16, 2, 0, count=2)
    for figure in (
        figures.learning_curves(theory, networks),
        figures.richness([1.0], [theory], [networks], theory.f, 0.3),
    ):
        low, high = figure.figure.axes[0].get_ylim()
        assert low == pytest.approx(1e-3 * scale**2, rel=1e-5)
        assert scale**2 < high < 3 * scale**2  # the first loss is shown, the axis is not upside down
        assert ((low < theory.loss) & (theory.loss < high)).sum() > 5


def test_a_fitted_slope_and_its_error_are_those_of_the_noise():
    rng, x, relative = np.random.default_rng(0), np.array([1.0, 2, 4, 8, 16]), 0.1
    noisy = [3 * x**-1.5 * (1 + relative * rng.standard_normal(5)) for _ in range(400)]
    slopes, stated = np.transpose([figures.fit_slope(x, y, relative * y) for y in noisy])
    assert abs(slopes.mean() + 1.5) < 4 * slopes.std() / np.sqrt(400)
    assert abs(stated.mean() / slopes.std() - 1) < 0.2  # 0.035 from 400 repetitions, the rest from curvature of log


def test_the_corrected_slope_is_the_one_at_large_width():
    x = np.array([16.0, 32, 64, 128, 256])
    y = np.exp(-np.log(x) + 5 / x)
    assert figures.fit_slope(x, y, 0 * y, correction=True)[0] == pytest.approx(-1, abs=1e-9)
    assert figures.fit_slope(x, y, 0 * y)[0] < -1.05
    wide = figures.STRAIGHT * np.array([1.0, 4.0, 16.0])  # where a straight line is used: off by less than a tenth
    assert -1.1 < figures.fit_slope(wide, 1 / wide + 10 / wide**2, np.ones(3))[0] < -1


def test_squared_error_is_the_mean_over_single_networks(experiment, theory):
    ensemble = dl.network.ensemble(experiment, 16, range(5))
    runs = [dl.network.train(experiment, 16, seed) for seed in range(5)]
    expected = np.mean([np.linalg.norm(run.K[2:] - theory.K[2:]) ** 2 for run in runs])
    expected /= np.linalg.norm(theory.K[2:]) ** 2
    assert figures.squared_error(ensemble, theory, "K", slice(2, None)) == pytest.approx(expected, rel=1e-10)


def test_mean_and_error():
    values = np.random.default_rng(0).standard_normal((7, 3))
    mean, error = figures.mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(error, values.std(axis=0, ddof=1) / np.sqrt(7))
    assert np.isnan(figures.mean_and_error([2.0])[1])  # one value has no spread


def test_until_cuts_runs_and_ensembles(experiment, networks):
    run = dl.network.train(experiment, 16, 0, kernels_at=[0, 2, 4])
    short, whole = figures.until(run, 4), dl.network.train(replace(experiment, steps=4), 16, 0, kernels_at=[0, 2])
    assert short.final_h is None and short.experiment.steps == 4
    for name in ("kernels_at", "K", "f"):
        np.testing.assert_allclose(getattr(short, name), getattr(whole, name), rtol=1e-12)
    ensemble = figures.until(networks[16][0], 4)
    np.testing.assert_array_equal(ensemble.K, networks[16][0].K[:4])
    assert len(ensemble.loss) == len(ensemble.standard_error["f"]) == 4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda run, nets: figures.learning_curves(None, nets), "`theory` must be a dmftlib Result; got NoneType"),
        (lambda run, nets: figures.learning_curves(run, []), "`networks` must hold at least one entry to draw"),
        (lambda run, nets: figures.overview(run, [run]), "`networks[0]` must be a dmftlib Ensemble; got Solution"),
        (lambda run, nets: figures.kernels(run, nets, [("Phi", 0)]), "from 1 to 2 for others; got 'Phi' and 0"),
        (lambda run, nets: figures.several_runs({0.5: (run, nets)}, {}), 'label 0.5. Pass a string, such as "0.5"'),
        (lambda run, nets: figures.excess_kurtosis(nets[0]), "`run` must be a dmftlib Dynamics; got Ensemble"),
        (lambda run, nets: figures.gaussian_errors([run], run, 64), "`runs` must be two or more networks"),
        (lambda run, nets: figures.split_error(nets[:1], run), "or more ensembles, for their spread gives the error; got 1"),
        (lambda run, nets: figures.mean_and_error([]), "`values` must be a list of one or more values; got []"),
        (lambda run, nets: figures.fit_slope([1, 2], [1, -2], [1, 1]), "must be positive, at 2 or more points"),
        (lambda run, nets: figures.fit_slope([1, 2, 3], [1, 2, 3], [1, 1]), "of one length; got shapes (3,), (3,) and (2,)"),
        (lambda run, nets: figures.until(run, 10**6), "`step` must be from 1 to 6, the states of the run up to one with"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_or_measured_says_why(theory, networks, call, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call(theory, networks[16])


@pytest.mark.parametrize("rule", [dl.FA(0.5), dl.Hebb()], ids=str)
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_terms_of_the_layers_add_up_to_the_kernel(rule, outputs):
    task = dl.Task.random(3, 6)
    task = dl.Task(task.X, np.arange(3.0 * outputs).reshape(3, -1) - 2) if outputs > 1 else task
    run = dl.network.train(dl.Experiment(task, rule, 2, "tanh", gamma0=1.0, lr=0.1, steps=3), 32)
    terms = figures.layer_terms(run)
    np.testing.assert_allclose(terms.sum(axis=1), run.K, rtol=1e-9, atol=1e-12)
    same = np.kron(np.ones((3, 3)), np.eye(outputs))
    np.testing.assert_array_equal(terms[:, -1], np.kron(run.Phi[:, -1], np.ones((outputs, outputs))) * same)


def test_excess_kurtosis_of_gaussians_is_zero(experiment):
    run = dl.meanfield.solve(dl.Experiment(experiment.task, dl.GD(), 1, "erf", 1.0, 0.1, steps=1), samples=65536)
    assert abs(figures.excess_kurtosis(run)[0]) < 0.02


def test_every_figure_shows_what_it_carries_and_tells_its_curves_apart_without_colour(experiment, theory, networks):
    """Lines are theory, markers networks; runs of one figure differ in dash and marker. Nothing is left in matplotlib."""
    run = dl.network.train(experiment, 64)
    runs = {"a": (theory, networks[32]), "b": (theory, networks[32])}
    line, dots = (np.array([1.0, 2.0]),) * 2, (np.array([1.0, 2.0]),) * 3
    before = dict(matplotlib.rcParams)
    for shown in (
        figures.overview(theory, networks[64]),
        figures.richness([0.5, 1.0], [theory] * 2, [networks[32]] * 2, theory.f, 0.3),
        figures.several_runs(runs, {"loss": lambda run: run.loss}),
        figures.error_of_runs({label: (theory, networks) for label in runs}),
        figures.change_against_richness({label: (line, dots) for label in runs}, [(*line, "∝ γ₀")]),
        figures.curves({"loss": ({"GD": line, "FA": line}, {"GD": dots, "FA": dots})}, "t"),
        figures.with_baseline(figures.learning_curves(theory, networks[32]), "lazy limit", {"loss": line}),
        figures.spread({"a": (theory, [run, run], [run, run]), "b": (theory, [run, run], [run, run])}),
    ):
        for panel in shown.panels:
            for kind, part in (("line", 1), ("markers", 2)):
                looks = [drawing.look(series.style) for series in panel.series if series.kind == kind]
                assert len({look[part] for look in looks}) == len(looks)
        assert shown.png() == drawing.save(figures.draw(figures.read_csv(shown.csv())), "png")
    assert dict(matplotlib.rcParams) == before


def test_figures_against_time_carry_theory_and_networks(theory, networks):
    data = figures.learning_curves(theory, networks[64]).data
    np.testing.assert_array_equal(data["loss"], theory.loss)
    np.testing.assert_allclose(data["alignment_mean"], np.mean([e.alignment for e in networks[64]], axis=0))
    assert data["N"] == 64 and data["seeds"] == 9
    runs = {"a": (theory, networks[32]), "b": (theory, networks[32])}
    data = figures.several_runs(runs, {"loss": lambda r: r.loss, "H": lambda r: r.H_y}).data
    np.testing.assert_array_equal(data["H"]["b"]["theory"], theory.H_y)
    np.testing.assert_allclose(data["loss"]["a"]["mean"], np.mean([e.loss for e in networks[32]], axis=0))


def test_curves_and_baselines_have_their_looks_and_places(theory, networks):
    x = np.linspace(0, 1, 5)
    shown = figures.curves({"loss": ({"GD": (x, x), "lazy limit": (x, x)}, {"GD": (x, x, x)})}, "t", ticks=[0, 1])
    assert [series.style for series in shown.panels[0].series] == ["GD", "lazy", "GD"]
    assert list(shown.panels[0].ticks) == [0, 1]
    rows = figures.curves({name: ({"GD": (x, x)}, {}) for name in "abc"}, "t", columns=2)
    assert [panel.beside for panel in rows.panels] == [False, True, False]
    more = figures.with_baseline(shown, "DFA", {"loss": (x, 2 * x)})
    first, *rest = more.panels[0].series
    assert (first.style, first.label, len(rest)) == ("DFA", "DFA", 3)
    np.testing.assert_allclose(first.y, 2 * x)
    assert more.data["DFA"] and "DFA" not in shown.data
    with pytest.raises(ValueError, match="`lines` must map the axis label of a panel, of loss; got 'f'"):
        figures.with_baseline(shown, "GD", {"f": (x, x)})


def test_theory_against_richness_is_finer_than_networks(theory, networks):
    shown = figures.richness([0.5, 0.7, 1.0], [theory] * 3, [networks[32], None, networks[32]], theory.f, 0.3)
    np.testing.assert_array_equal(shown.data["networks_at"], [0.5, 1.0])
    assert len(shown.data["alignment"]) == 3 and len(shown.data["alignment_mean"]) == 2
    assert [series.label for series in shown.panels[0].series] == ["γ₀ = 0.5", "γ₀ = 1", "lazy limit"]


def test_kernel_pairs_share_a_scale_and_state_their_distance(theory, networks):
    shown = figures.kernels(theory, networks[64], [("Phi", 1), ("G_tilde", 2), ("K", None)])
    mean = np.mean([e.G_tilde[-1, 1] for e in networks[64]], axis=0)
    distance = np.linalg.norm(theory.G_tilde[-1, 1] - mean) / np.linalg.norm(mean)
    np.testing.assert_allclose(shown.data["G_tilde_2_mean"], mean)
    np.testing.assert_array_equal(shown.data["K"], theory.K[-1])
    assert shown.data["G_tilde_2_distance"] == pytest.approx(distance)
    assert f", G_tilde_2 {100 * distance:.2g} %, K " in shown.distances()
    pictures = [axes for axes in shown.figure.axes if axes.collections and axes.get_label() != "<colorbar>"]
    limits = [axes.collections[0].get_clim() for axes in pictures]
    assert limits[0::2] == limits[1::2] and len(limits) == 6
    assert f"distance {100 * distance:.2g} %" in [axes.get_xlabel() for axes in pictures]


def test_kernels_over_time_show_three_states_of_the_theory_and_the_end_of_networks(theory, networks):
    shown = figures.kernels_over_time({"a": (theory, networks[32]), "b": (theory, networks[64][:2])}, "Phi", 2)
    midway = np.abs(theory.loss - theory.loss[0] / 2).argmin()
    mean = np.mean([e.Phi[-1, 1] for e in networks[32]], axis=0)
    drawn = [panel.series[0].y for panel in shown.panels]
    for picture, kernel in zip(drawn, (*theory.Phi[[0, midway, -1], 1], mean), strict=False):
        np.testing.assert_allclose(picture, kernel, rtol=1e-5)
    places = [axes.get_position() for axes in shown.figure.axes if axes.get_label() != "<colorbar>"]
    assert len(drawn) == len(places) == 8 and len({panel.title for panel in shown.panels[:4]}) == 4
    assert all(a.x1 <= b.x0 and a.y0 > c.y0 for a, b, c in zip(places[:3], places[1:4], places[4:]))
    assert shown.distances().startswith(f"a {100 * shown.data['a_distance']:.2g} %, b ")


def test_the_terms_of_runs_are_drawn_as_shares_and_alignments(theory, networks):
    lazy = dl.lazy.initial(theory.experiment)
    shown = figures.terms_of_runs({"GD": (lazy, theory, networks[64]), "FA": (lazy, theory, networks[64])})
    for state, run in (("lazy", lazy), ("theory", theory)):
        shares, alignments = shown.data["FA"][state]
        terms = figures.layer_terms(run)[-1]
        np.testing.assert_allclose(shares, [np.trace(term) / np.trace(terms.sum(axis=0)) for term in terms])
        y = theory.experiment.task.y
        np.testing.assert_allclose(alignments, [y @ term @ y / np.linalg.norm(term) / (y @ y) for term in terms])
    blind = replace(theory.experiment, rule=dl.DFA())
    lazy, run = dl.lazy.initial(blind), dl.meanfield.solve(blind, samples=1024)
    shown = figures.terms_of_runs({"DFA": (lazy, run, networks[64])})  # nothing but the readout when lazy
    np.testing.assert_allclose(shown.data["DFA"]["lazy"][0], [0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(np.isnan(shown.data["DFA"]["lazy"][1]), [True, True, False])
    assert shown.png() == drawing.save(figures.draw(figures.read_csv(shown.csv())), "png")


def test_the_width_figure_subtracts_the_error_of_the_theory(monkeypatch, theory, networks):
    for least, pair in ((17, ("limit", "limit_error")), (16, ("slope", "slope_error"))):  # which is the exponent
        monkeypatch.setattr(figures, "STRAIGHT", least)
        shown = figures.error_against_width(theory, networks, {"K": ("K", slice(None))}).data
        assert shown["K"]["exponent"] == tuple(shown["K"][name] for name in pair)
    floor = theory.provenance.errors["monte_carlo"]["K"] ** 2
    raw = [np.mean([figures.squared_error(e, theory) for e in networks[N]]) for N in (16, 32, 64)]
    np.testing.assert_allclose(shown["K"]["mean"], np.array(raw) - floor)
    assert -2 < shown["K"]["slope"] < -0.3 and shown["K"]["slope_error"] > 0
    several = figures.error_of_runs({"a": (theory, networks), "b": (theory, networks)}).data
    for label in "ab":
        np.testing.assert_array_equal(several[label]["mean"], shown["K"]["mean"])
        assert several[label]["norm"] == np.linalg.norm(theory.K)


def test_a_table_renders_and_prints():
    table = figures.Table(("a", "b"), (("1", "x<y"), ("22", "z")))
    assert repr(table).splitlines() == ["a   b", "1   x<y", "22  z"]
    assert "<tr><td>1</td><td>x&lt;y</td></tr>" in table._repr_html_()


class Drawn:
    """Stand-ins for runs: K is a constant vector plus noise of a known size."""

    rng = np.random.default_rng(0)
    theory = SimpleNamespace(K=np.full(3, 2.0), relative_error=lambda name: 0.1)

    def groups(self, width, count=8, n=4):
        """Mean off by 4/N in every entry, variance 9/N."""
        draws = 2 + 4 / width + 3 / np.sqrt(width) * self.rng.standard_normal((count, n, 3))
        pairs = [(d.mean(0), {"K": d.std(0, ddof=1) / np.sqrt(n)}) for d in draws]
        return [dl.network.Ensemble(None, width, range(n), *[None] * 4, K, None, error) for K, error in pairs]

    def singles(self, width, n):
        draws = 2 + self.rng.standard_normal((n, 3)) * np.sqrt([8, 2, 1]) / np.sqrt(width)
        return [dl.Dynamics(None, SimpleNamespace(size=width), *[None] * 4, d, None) for d in draws]


def test_bias_and_variance_are_right_on_average_with_the_errors_stated():
    width, drawn = 16, Drawn()
    split = np.array([figures.split_error(drawn.groups(width), drawn.theory) for _ in range(1000)])
    (bias, bias_error), (variance, variance_error) = split.transpose(1, 2, 0)
    # This theory is exact although it states a Monte Carlo error: its square is what is missing from the bias.
    for values, stated, exact in (
        (bias + 0.1**2, bias_error, 3 * (4 / width) ** 2 / 12),
        (variance, variance_error, 3 * 9 / width / 12),
    ):
        assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(1000)
        assert abs(np.sqrt((stated**2).mean()) / values.std() - 1) < 0.15


def test_bias_variance_and_squared_error_are_one_sum(theory, networks):
    group = networks[32][:1] * 2  # two copies of one group: its mean is theirs
    n, floor = len(group[0].seeds), theory.provenance.errors["monte_carlo"]["K"] ** 2
    (bias, _), (variance, _) = figures.split_error(group, theory)
    whole = figures.squared_error(group[0], theory) - floor
    assert bias + variance / (2 * n) + variance * (n - 1) / n == pytest.approx(whole)


def test_bias_and_variance_have_their_slopes_and_noise_has_none(theory, networks):
    drawn = Drawn()
    wide = {N: drawn.groups(N, n=4000) for N in (16, 32, 64)}
    exact = SimpleNamespace(K=drawn.theory.K, relative_error=lambda name: 0.0)
    found = figures.bias_and_variance(exact, wide, {"K": ("K", slice(None))}).data["K"]
    for part, slope in (("variance", -1), ("bias", -2)):
        assert abs(found[part]["slope"] - slope) < 3 * found[part]["slope_error"] < 0.3
    shown = figures.bias_and_variance(theory, networks, {"K": ("K", slice(None))})
    assert np.isnan(shown.data["K"]["bias"]["slope"])
    assert shown.data["seeds"] == [9, 9, 9]
    for k, N in enumerate((16, 32, 64)):
        for part, pair in zip(("bias", "variance"), figures.split_error(networks[N], theory)):
            assert pair == (shown.data["K"][part]["mean"][k], shown.data["K"][part]["standard_error"][k])


def test_gaussian_errors_at_one_width_follow_from_another():
    drawn = Drawn()
    expected = figures.gaussian_errors(drawn.singles(16, 2000), drawn.theory, 256)
    found = figures.relative_errors(drawn.singles(256, 2000), drawn.theory)
    assert (found**2).mean() == pytest.approx(11 / 256 / 12, rel=0.1)
    np.testing.assert_allclose(*(np.quantile(x, [0.1, 0.5, 0.9]) for x in (expected, found)), rtol=0.1)
