"""Pictures from data and back, and the looks that a reader learns once."""

import csv
import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

import dmftlib as dl
from companion import drawing, figures, sliders
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


# --- From data to a picture and back ----------------------------------------------------------------------------------


def test_a_picture_drawn_from_its_file_is_the_same_to_the_last_byte():
    text = drawing.to_csv(EVERY_KIND, {"id": "fig-x"})
    again = figures.read_csv(text)
    assert drawing.to_csv(again, {"id": "fig-x"}) == text
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        first, second = (drawing.save(figures.draw(panels), kind) for panels in (EVERY_KIND, again))
        assert first == second and first.startswith(start)


def test_the_file_has_named_columns_and_says_what_they_are(tmp_path):
    path = tmp_path / "figure.csv"
    path.write_text(drawing.to_csv(EVERY_KIND, {"parameters": {"P": 4}}), encoding="utf-8")
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert comments[0] == "# parameters: {'P': 4}" and "# panel 1: x: width N, y: error (title)" in comments
    assert any(line.startswith("# units: ") for line in comments)
    rows = list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert list(rows[0]) == ["panel", "series", "kind", "label", "x", "y", "standard_error", "value"]
    marks = [row for row in rows if (row["panel"], row["kind"], row["label"]) == ("1", "markers", "GD: slope −1")]
    np.testing.assert_allclose([float(row["y"]) for row in marks], 3.1 / x)
    np.testing.assert_allclose([float(row["standard_error"]) for row in marks], 0.2 / x)
    np.testing.assert_allclose(figures.read_csv(path)[2].series[0].y, [[1, -2, 0.5], [0.25, 1 / 3, 0]], rtol=1e-6)


def test_wrong_data_says_why(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match="`source` must be data of a figure, with a line `# layout"):
        figures.read_csv(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"`kind` must be one of line, .*; got 'dots'"):
        Series("dots", x, x)
    with pytest.raises(ValueError, match=r"`x` and `y` must have one shape; got \(4,\) and \(2,\)"):
        Series("line", x, x[:2])


def svg_points(root, gid):
    """Points of a curve or of markers, in the coordinates of the SVG."""
    (group,) = (node for node in root.iter() if node.get("id") == gid)
    marks = [node for node in group.iter() if node.tag.endswith("use")]
    if marks:
        return np.array([[float(node.get("x")), float(node.get("y"))] for node in marks])
    path = next(node for node in group.iter() if node.tag.endswith("path"))
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d")), float)


def shown_in(svg, panel, gid):
    """Points (x, y) of a curve, in data coordinates, from nothing but the drawing and the limits of the axes."""
    root = ET.fromstring(svg)
    box = svg_points(root, f"{gid.partition('-series')[0]}-frame")
    corners = np.array([box.min(axis=0), box.max(axis=0)])
    share = (svg_points(root, gid) - corners[0]) / (corners[1] - corners[0])
    share[:, 1] = 1 - share[:, 1]
    for axis, (scale, limits) in enumerate(((panel.x_scale, panel.x_limits), (panel.y_scale, panel.y_limits))):
        low, high = np.log(limits) if scale == "log" else limits
        share[:, axis] = low + share[:, axis] * (high - low)
        share[:, axis] = np.exp(share[:, axis]) if scale == "log" else share[:, axis]
    return share


def test_the_curves_and_images_in_the_drawing_are_the_numbers_of_the_file():
    shown = figures.FigureWithData(EVERY_KIND, {})
    panels, svg = figures.read_csv(shown.csv()), shown.svg()
    for s, series in enumerate(panels[0].series, 1):
        if series.kind != "bound":  # an arrow
            points = shown_in(svg, panels[0], f"panel-1-series-{s}")
            np.testing.assert_allclose(points, np.stack([series.x, series.y], axis=1), rtol=1e-3)
    matrices = {p: panels[p - 1].series[0].y for p in (3, 4)}
    scale = max(np.abs(matrix).max() for matrix in matrices.values())  # images beside each other share one
    for p, matrix in matrices.items():
        (group,) = (node for node in ET.fromstring(svg).iter() if node.get("id") == f"panel-{p}")
        fills = [re.search(r"fill: (#\w{6})", node.get("style"))[1] for node in group if node.tag.endswith("path")]
        assert fills == [to_hex(color) for color in colormaps["vlag"]((np.ravel(matrix) / scale + 1) / 2)]


def test_limits_and_ticks_that_a_notebook_changes_reach_the_files():
    shown = figures.curves({"loss": ({"line": (x, x)}, {})}, "t", log="xy")
    shown.figure.axes[0].set(xlim=(1, 4), ylim=(0.5, 5))
    shown.figure.axes[0].set(xticks=[1, 3], xticklabels=["one", "three"])
    (panel,) = figures.read_csv(shown.csv())
    assert (panel.x_limits, panel.y_limits) == ([1, 4], [0.5, 5])
    assert (panel.ticks, panel.tick_labels) == ([1, 3], ["one", "three"])


def test_a_figure_hands_its_data_to_whoever_shows_it():
    shown = figures.curves({"loss": ({"line": (x, x)}, {})}, "t")
    data, metadata = DisplayFormatter().format(shown)
    assert metadata["dmftlib"]["csv"] == shown.csv() and data["image/png"] and data["text/plain"]
    shown = sliders.two_layer()
    _, metadata = DisplayFormatter().format(shown)
    panels = figures.read_csv(metadata["dmftlib"]["csv"])
    np.testing.assert_allclose(panels[1].series[0].y, shown.curve("GD", "H_y"), rtol=1e-5)


def test_a_picture_says_what_it_shows():
    figure = figures.draw(EVERY_KIND, "not as in the book: P = 8")
    assert figure.get_supxlabel() == "not as in the book: P = 8"
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["theory, N = ∞", "networks"]
    (legend,) = figure.legends  # names every label once
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["GD: slope −1", 'a "quoted", label', "bound", "guide", "networks"]
    assert legend.get_title().get_text() == "lines: theory"


# --- Looks ------------------------------------------------------------------------------------------------------------


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


# A colour in linear light as it is seen without one kind of cone (Machado, Oliveira and Fernandes, 2009).
SIMULATED = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}  # fmt: skip


TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def linear(color):
    values = np.array(to_rgb(color))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(color):
    return float(TO_XYZ[1] @ linear(color))


def lab(light):
    """CIE L*a*b* of linear light: distances below about 10 are hard to see."""
    X, Y, Z = np.cbrt(np.array(TO_XYZ) @ np.clip(light, 1e-4, 1) / [0.95047, 1, 1.08883])
    return np.array([116 * Y - 16, 500 * (X - Y), 200 * (Y - Z)])


@pytest.mark.parametrize("eye", SIMULATED)
def test_rules_differ_in_colour_for_every_eye_and_all_stand_out_from_the_page(eye):
    seen = {rule: lab(SIMULATED[eye] @ linear(color)) for rule, color in drawing.RULES.items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 20, (a, b)
    for style in [
        "theory",
        "lazy",
        *drawing.RULES,
        *(f"{rule} {k}/4" for rule in [*drawing.RULES, ""] for k in (1, 4)),
    ]:
        assert 1.05 / (luminance(look(style)[0]) + 0.05) > 3, style  # as WCAG asks of lines on white
    # In greyscale, too: two rules share neither dash nor marker.
    for a, b in itertools.combinations(drawing.RULES, 2):
        assert look(a)[1] != look(b)[1] and look(a)[2] != look(b)[2]
