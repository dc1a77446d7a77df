"""Pictures from data and back, and the looks that a reader learns once."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import dmftlib as dl
from companion import drawing, figures
from companion.drawing import Panel, Series, look, styles

x = np.array([1.0, 2, 4, 8])
EVERY_KIND = [
    Panel(
        [
            Series("line", x, 3 / x, label="GD: slope −1", style="GD"),
            Series("markers", x, 3.1 / x, 0.2 / x, "GD: slope −1", "GD"),
            Series("filled", x, 2 / x, 0.1 / x, 'a "quoted", label', "FA 2/3"),
            Series("bound", x, 1 / x, label="bound", style=" 1/2"),
            Series("guide", x, 4 / x, label="guide"),
            Series("tag", x[:2], x[:2], label=r"$\gamma_0^2$"),
        ],
        "width N", "error", "title", "log", "log", (0.5, 10), (0.05, None), x, ["a", "b", "c", "d"], "lines: theory",
    ),
    Panel([Series("band", x - 1, x, label="networks", style="Hebb")], "h", "density", y_limits=(0, None)),
    Panel([Series("image", None, [[1.0, -2.0, 0.5], [0.25, 1 / 3, 0.0]])], "", r"$\Phi^1$", "theory, N = ∞"),
    Panel([Series("image", None, [[1.0, -2.0, 0.5], [0.25, 0.3, 0.0]])], "distance 3 %", title="networks", beside=True),
]  # fmt: skip


def test_a_picture_drawn_from_its_file_is_the_same_to_the_last_byte():
    text = drawing.to_csv(EVERY_KIND)
    again = figures.read_csv(text)
    assert drawing.to_csv(again) == text
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        first, second = (drawing.save(figures.draw(panels), kind) for panels in (EVERY_KIND, again))
        assert first == second and first.startswith(start)


def test_the_file_has_named_columns_and_says_what_they_are(tmp_path):
    path = tmp_path / "figure.csv"
    path.write_text(drawing.to_csv(EVERY_KIND), encoding="utf-8")
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert "# panel 1: x: width N, y: error (title)" in comments
    assert any(line.startswith("# units: ") for line in comments)
    rows = list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert list(rows[0]) == ["panel", "series", "kind", "label", "x", "y", "standard_error", "value"]
    marks = [row for row in rows if (row["panel"], row["kind"], row["label"]) == ("1", "markers", "GD: slope −1")]
    np.testing.assert_allclose([float(row["y"]) for row in marks], 3.1 / x)
    np.testing.assert_allclose([float(row["standard_error"]) for row in marks], 0.2 / x)
    np.testing.assert_allclose(figures.read_csv(path)[2].series[0].y, [[1, -2, 0.5], [0.25, 1 / 3, 0]], rtol=1e-6)


def test_the_picture_has_the_numbers_of_its_file_and_a_legend_that_names_every_label_once():
    shown = figures.FigureWithData(EVERY_KIND, {})
    panels, figure = figures.read_csv(shown.csv()), shown.figure
    svg = drawing.save(figures.draw(panels), "svg").decode()
    find = lambda gid: figure.findobj(lambda artist: artist.get_gid() == gid)[0]  # noqa: E731
    for s, series in enumerate(panels[0].series, 1):
        points = find(gid := f"panel-1-series-{s}").get_xydata()
        np.testing.assert_allclose(points, np.stack([series.x, series.y], axis=1), rtol=1e-5)
        assert f'id="{gid}"' in svg
    images = {p: find(f"panel-{p}") for p in (3, 4)}
    for p, image in images.items():  # images beside each other share one scale
        np.testing.assert_allclose(np.reshape(image.get_array(), (2, 3)), panels[p - 1].series[0].y)
        assert image.get_clim() == (-2, 2)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["GD: slope −1", 'a "quoted", label', "bound", "guide", "networks"]
    assert figures.draw(EVERY_KIND, "not as in the book: P = 8").get_supxlabel() == "not as in the book: P = 8"


def test_limits_and_ticks_that_a_notebook_changes_reach_the_files():
    shown = figures.curves({"loss": ({"line": (x, x)}, {})}, "t", log="xy")
    shown.figure.axes[0].set(xlim=(1, 4), ylim=(0.5, 5))
    shown.figure.axes[0].set(xticks=[1, 3], xticklabels=["one", "three"])
    (panel,) = figures.read_csv(shown.csv())
    assert (panel.x_limits, panel.y_limits) == ([1, 4], [0.5, 5])
    assert (panel.ticks, panel.tick_labels) == ([1, 3], ["one", "three"])


@pytest.mark.parametrize("ends", [(1, 2, 3), (3, 1, 2), (1, 3, 2)])
def test_panels_that_share_their_x_show_all_of_each_and_limits_given_for_one_hold_for_all(ends):
    panels = {f"loss {end}": ({"line": (end * x, x)}, {"networks": (end * x, x, 0 * x)}) for end in ends}
    shown = figures.curves(panels, "t")
    limits = [panel.x_limits for panel in shown.panels]
    assert all(low < 1 and 24 < high for low, high in limits) and np.ptp(limits, axis=0).max() == 0
    first, second, third = shown.drawn
    cut = figures.draw([first, replace(second, x_limits=(2, None)), third])
    assert {tuple(axes.get_xlim()) for axes in cut.axes} == {(2, limits[0][1])}


def test_a_rule_looks_the_same_wherever_it_is_shown():
    alone = styles({"FA, ρ = 0": "FA, ρ = 0", "GD, corrected": "GD, corrected", "theory": "theory"})
    objects = styles({"ρ = 0": dl.FA(0.0), "descent": dl.GD()})
    assert look(alone["FA, ρ = 0"]) == look(objects["ρ = 0"]) == look("FA")
    assert look(alone["GD, corrected"]) == look(objects["descent"]) == look("GD")
    assert styles({"DFA = FA(0)": "DFA = FA(0)", "FA(ρ)": "FA(ρ)"}) == {"DFA = FA(0)": "DFA", "FA(ρ)": "FA"}
    assert alone["theory"] == " 1/1" and look(" 1/1")[0] == (0, 0, 0)


def test_every_rule_of_the_library_has_a_look():
    rules = {rule.__name__ for rule in dl.Rule.__subclasses__() if rule.__module__ == "dmftlib.rules"}
    assert set(drawing.RULES) == rules


@pytest.mark.parametrize("name", [*drawing.RULES, ""])
def test_runs_of_one_rule_differ_without_colour_and_darken(name):
    shown = [look(f"{name} {k}/5") for k in range(1, 6)]
    assert len({dash for _, dash, _ in shown}) == len({marker for *_, marker in shown}) == 5
    assert look("lazy")[1] not in {dash for _, dash, _ in shown}
    light = [luminance(to_rgb(color)) for color, *_ in shown]
    assert light == sorted(light, reverse=bool(name)) and len(set(light)) == 5


def luminance(color):  # as WCAG defines it
    values = np.array(to_rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126729, 0.7151522, 0.072175])


def test_rules_differ_in_dash_and_marker_and_all_stand_out_from_the_page():
    assert all(len({look(rule)[part] for rule in drawing.RULES}) == len(drawing.RULES) for part in (0, 1, 2))
    shades = [f"{rule} {k}/4" for rule in [*drawing.RULES, ""] for k in (1, 4)]
    for style in ["theory", "lazy", *drawing.RULES, *shades]:
        assert 1.05 / (luminance(look(style)[0]) + 0.05) > 3, style


def test_a_curve_has_one_value_at_each_x():
    with pytest.raises(ValueError, match=r"one for each x; got shape \(3, 2\)"):
        drawing.line(np.arange(3), np.zeros((3, 2)))
