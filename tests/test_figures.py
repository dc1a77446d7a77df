import matplotlib
import numpy as np
import pytest

import dmftlib as dl
from dmftlib import figures


@pytest.fixture(scope="module")
def experiment():
    return dl.Experiment(dl.Task.random(4, 6), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=6)


@pytest.fixture(scope="module")
def theory(experiment):
    return dl.meanfield.solve(experiment, samples=1024)


@pytest.fixture(scope="module")
def networks(experiment):
    return {
        N: [dl.network.ensemble(experiment, N, range(k + g, k + g + 3)) for g in (0, 3, 6)]
        for k, N in enumerate((16, 32, 64))
    }


@pytest.fixture(scope="module")
def every_figure(experiment, theory, networks):
    run = dl.network.train(experiment, 64)
    return dict(
        learning_curves=figures.learning_curves(theory, networks[64]),
        kernels=figures.kernels(theory, networks[64], [("Phi", 1), ("G_tilde", 2), ("K", None)]),
        densities=figures.densities(theory, [run, run], np.ones((2, 4))),
        richness=figures.richness([0.5, 1.0], [theory] * 2, [networks[32]] * 2, theory.f, 0.3),
        error_against_width=figures.error_against_width(theory, networks, {"K": ("K", slice(None))}),
        overview=figures.overview(theory, networks[64]),
    )


def test_a_fitted_slope_and_its_error_are_those_of_the_noise():
    rng, x, relative = np.random.default_rng(0), np.array([1.0, 2, 4, 8, 16]), 0.1
    slopes, stated = [], []
    for _ in range(400):
        y = 3 * x**-1.5 * (1 + relative * rng.standard_normal(5))
        slope, error = figures.fit_slope(x, y, relative * y)
        slopes.append(slope)
        stated.append(error)
    assert abs(np.mean(slopes) + 1.5) < 4 * np.std(slopes) / np.sqrt(400)
    assert abs(np.mean(stated) / np.std(slopes) - 1) < 0.2  # 0.035 from 400 repetitions, the rest from curvature of log


def test_the_corrected_slope_is_the_one_at_large_width():
    x = np.array([16.0, 32, 64, 128, 256])
    y = np.exp(-np.log(x) + 5 / x)
    assert figures.fit_slope(x, y, 0 * y, correction=True)[0] == pytest.approx(-1, abs=1e-9)
    assert figures.fit_slope(x, y, 0 * y)[0] < -1.05


@pytest.mark.parametrize("x, y, correction", [([1, 2], [1, 2], True), ([1, 2], [1, -2], False), ([1], [1], False)])
def test_a_slope_that_cannot_be_fitted_says_why(x, y, correction):
    with pytest.raises(ValueError, match="positive, at"):
        figures.fit_slope(x, y, np.ones(len(x)), correction)


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
    assert figures.mean_and_error([2.0]) == (2.0, 0.0)


def test_until_cuts_runs_and_ensembles(theory, networks):
    short, ensemble = figures.until(theory, 4), figures.until(networks[16][0], 4)
    assert dl.compare(short, ensemble).distance["K"] == pytest.approx(
        np.linalg.norm(theory.K[:4] - networks[16][0].K[:4]) / np.linalg.norm(networks[16][0].K[:4])
    )
    assert len(short.loss) == len(ensemble.loss) == len(ensemble.standard_error["f"]) == 4


def test_excess_kurtosis_of_gaussians_is_zero(experiment):
    run = dl.meanfield.solve(dl.Experiment(experiment.task, dl.GD(), 1, "erf", 1.0, 0.1, steps=1), samples=65536)
    assert abs(figures.excess_kurtosis(run)[0]) < 0.02


def test_curves_carry_theory_and_networks(every_figure, theory, networks):
    data = every_figure["learning_curves"].data
    np.testing.assert_array_equal(data["loss"], theory.loss)
    np.testing.assert_allclose(data["alignment_mean"], np.mean([e.alignment for e in networks[64]], axis=0))
    assert data["N"] == 64 and data["seeds"] == 9


def test_kernel_pairs_share_a_scale_and_state_their_distance(every_figure, theory, networks):
    figure, data = every_figure["kernels"].figure, every_figure["kernels"].data
    mean = np.mean([e.G_tilde[-1, 1] for e in networks[64]], axis=0)
    np.testing.assert_allclose(data["G_tilde_2_mean"], mean)
    distance = np.linalg.norm(theory.G_tilde[-1, 1] - mean) / np.linalg.norm(mean)
    assert data["G_tilde_2_distance"] == pytest.approx(distance)
    words = every_figure["kernels"].distances()
    assert f"G̃² {100 * distance:.2g} %" in words and words.startswith("Φ¹ ") and ", K " in words
    pictures = [axes for axes in figure.axes if axes.collections and axes.get_label() != "<colorbar>"]
    limits = [axes.collections[0].get_clim() for axes in pictures]
    assert limits[0::2] == limits[1::2] and len(limits) == 6
    assert f"distance {100 * distance:.2g} %" in [axes.get_xlabel() for axes in pictures]
    np.testing.assert_array_equal(data["K"], theory.K[-1])


def test_densities_integrate_to_what_they_show(every_figure):
    data = every_figure["densities"].data
    for layer in (1, 2):
        total = data[f"density_{layer}"].sum() * np.diff(data[f"h_{layer}"])[0]
        assert total == pytest.approx(0.995, abs=0.003)


def test_several_runs_share_a_figure_of_kernels_and_one_of_densities(theory, networks):
    runs = {"GD": (theory, networks[64]), "again": (theory, networks[64])}
    shown = figures.kernels_of_runs(runs, "Phi", 2)
    np.testing.assert_array_equal(shown.data["again"], theory.Phi[-1, 1])
    one = figures.kernels(theory, networks[64], [("Phi", 2)])
    assert shown.distances() == ", ".join(one.distances().replace("Φ²", label) for label in runs)
    assert shown.data["seeds"] == 9 and shown.data["N"] == 64
    single = [dl.network.train(theory.experiment, 64, s) for s in (1, 2)]
    variances = np.diag(theory.experiment.task.K_x)
    both = figures.densities_of_runs({label: (theory, single) for label in runs}, variances).data
    alone = figures.densities(theory, single, np.stack([variances] * 2)).data
    np.testing.assert_array_equal(both["density_GD_mean"], alone["density_2_mean"])
    np.testing.assert_array_equal(both["density_again"], alone["density_2"])


def test_the_width_figure_subtracts_the_error_of_the_theory(every_figure, theory, networks):
    data = every_figure["error_against_width"].data
    floor = theory.provenance.errors["monte_carlo"]["K"] ** 2
    raw = [np.mean([figures.squared_error(e, theory) for e in networks[N]]) for N in (16, 32, 64)]
    np.testing.assert_allclose(data["K"]["mean"], np.array(raw) - floor)
    assert -2 < data["K"]["slope"] < -0.3 and data["K"]["slope_error"] > 0


def test_theory_and_networks_differ_without_colour(every_figure):
    for name in ("learning_curves", "overview", "richness"):
        axes = next(a for a in every_figure[name].figure.axes if len(a.containers))
        theory = [line for line in axes.lines if str(line.get_label()).startswith("theory")]
        networks = [container.lines[0] for container in axes.containers]
        assert [line.get_marker() for line in theory] == ["None"] and theory[0].get_linestyle() == "-"
        assert all(line.get_marker() == "o" and line.get_linestyle() == "None" for line in networks)


def test_a_figure_leaves_matplotlib_alone_and_is_reproducible(theory, networks, every_figure):
    before = dict(matplotlib.rcParams)
    again = figures.overview(theory, networks[64])
    assert dict(matplotlib.rcParams) == before
    assert again.png() == every_figure["overview"].png()
    assert again.png().startswith(b"\x89PNG")


def test_a_table_renders_and_prints():
    table = figures.Table(("a", "b"), (("1", "x<y"), ("22", "z")))
    assert repr(table).splitlines() == ["a   b", "1   x<y", "22  z"]
    assert "<tr><td>1</td><td>x&lt;y</td></tr>" in table._repr_html_()


def test_kernels_against_angle_carry_the_first_row():
    angles = np.linspace(0, np.pi, 5)
    e = dl.Experiment(dl.Task.circle(angles, np.ones(5)), dl.FA(0.5), 2, "relu", 1.0, 0.1, steps=1)
    K, groups = dl.lazy.kernels(e).K, [dl.network.ensemble(e, 32, range(k, k + 3)) for k in (0, 3)]
    shown = figures.kernel_against_angle(angles, {"ρ = 0.5": (K, groups)})
    np.testing.assert_array_equal(shown.data["ρ = 0.5"]["theory"], K[0])
    np.testing.assert_allclose(shown.data["ρ = 0.5"]["mean"], np.mean([e.K[0, 0] for e in groups], axis=0))
    assert shown.data["N"] == 32 and shown.data["seeds"] == 6 and shown.png()


def test_several_runs_differ_without_colour(theory, networks):
    runs = {"a": (theory, networks[32]), "b": (theory, networks[32])}
    shown = figures.several_runs(runs, {"loss": lambda r: r.loss, "H": lambda r: r.H_y})
    np.testing.assert_array_equal(shown.data["H"]["b"]["theory"], theory.H_y)
    np.testing.assert_allclose(shown.data["loss"]["a"]["mean"], np.mean([e.loss for e in networks[32]], axis=0))
    axes = shown.figure.axes[0]
    assert (
        len({line.get_linestyle() for line in axes.lines if len(line.get_xdata()) and line.get_marker() == "None"}) > 1
    )
    assert len({container.lines[0].get_marker() for container in axes.containers}) == 2


def test_errors_of_several_runs_are_those_of_each(theory, networks):
    shown = figures.error_of_runs({"a": (theory, networks), "b": (theory, networks)})
    alone = figures.error_against_width(theory, networks, {"a": ("K", slice(None))})
    for label in "ab":
        np.testing.assert_array_equal(shown.data[label]["mean"], alone.data["a"]["mean"])
        assert shown.data[label]["slope"] == alone.data["a"]["slope"]
    assert shown.data["a"]["norm"] == np.linalg.norm(theory.K)
    assert len({container.lines[0].get_marker() for container in shown.figure.axes[0].containers}) == 2


def test_change_against_richness_keeps_lines_and_markers_apart():
    fine, few = np.geomspace(0.01, 10, 30), np.array([0.01, 1.0, 10])
    line, dots = (fine, fine**2), (few, few**2, 0.1 * few**2)
    shown = figures.change_against_richness({"a": (line, dots), "b": (line, dots)}, [(few, few, "∝ γ₀")])
    np.testing.assert_array_equal(shown.data["b"]["theory"], line[1])
    np.testing.assert_array_equal(shown.data["a"]["mean"], dots[1])
    np.testing.assert_array_equal(shown.data["a"]["standard_error"], dots[2])
    (axes,) = shown.figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    lines = [line.get_linestyle() for line in axes.lines if len(line.get_xdata()) == 30]
    assert len(set(lines)) == 2 and len({c.lines[0].get_marker() for c in axes.containers}) == 2
    assert [text.get_text() for text in axes.texts] == ["∝ γ₀"] and shown.png()
