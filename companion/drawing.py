"""Pictures as functions of their data: panels of labelled series, one way to draw them, one way to store them.

What a reader can rely on in every figure. Theory is a line, an experiment is markers with error bars or a filled
band. Colour says which learning rule it is, and black or grey that it is none of them: each rule has one colour, dash
and marker (`RULES`), and runs of one rule that differ in a parameter share its colour from light to dark and differ
in dash and marker. In a figure of one rule alone the theory is black and the networks have the rule's look. Dotted
grey lines are guides to the eye.

Numbers are rounded to six digits where a series is made, so that a picture, its file of data, and the picture drawn
again from that file are the same to the last byte. Nothing here changes matplotlib's global state.
"""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

WIDTH = 4.8  # inches; shown at about this size on a phone, so that font sizes are what is read there
POINTS, MARKERS = 200, 20  # at most about so many of a line and of an experiment are drawn
DASHES, MARKS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), "osD^v"
LAZY_DASH = (0, (9, 4))  # no run has it
RULES = {"GD": "#2166c8", "FA": "#d9560b", "DFA": "#8c2981", "GLN": "#2a9d6f", "Hebb": "#4d3b00"}
THEORY, GUIDE, REST = "black", "0.45", "0.5"
KINDS = ("line", "markers", "filled", "bound", "band", "guide", "tag", "image")
COLUMNS = ("panel", "series", "kind", "label", "x", "y", "standard_error", "value")
STYLE = {
    **sns.axes_style("ticks"),
    "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 10, "legend.fontsize": 9, "legend.title_fontsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.frameon": False, "figure.facecolor": "white",
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.6, "errorbar.capsize": 2,
    "svg.hashsalt": "dmftlib", "path.simplify": False,
}  # fmt: skip
UNDATED = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def rounded(values):
    """Six significant digits of an array."""
    return np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(values)


@dataclass(frozen=True, eq=False)
class Series:
    """One curve, set of markers or image of a panel.

    kind   line; markers, filled (with errors); bound (an upper limit); band (a histogram, filled); guide; tag (a guide
           with its label at its end); image (`y` is a matrix)
    label  its entry in the legend, shared by series of one label
    style  a rule's name, "FA 2/3" for the second of three runs of one rule, " 2/3" if of no known rule, "theory"
           or "lazy"
    Raises ValueError for another kind, and for a curve of more than one value at an x.
    """

    kind: str
    x: np.ndarray | None
    y: np.ndarray
    error: np.ndarray | None = None
    label: str = ""
    style: str = "theory"

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        if self.kind != "image" and np.ndim(self.y) > 1:
            raise ValueError(f"`y` must be a list of numbers, one for each x; got shape {np.shape(self.y)}.")
        for name in ("x", "y", "error"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, rounded(getattr(self, name)))
        object.__setattr__(self, "label", str(self.label))  # a number, say γ₀, may be one


@dataclass(frozen=True, eq=False)
class Panel:
    """One set of axes: a list of `Series` and how to show them. `beside` puts it to the right of the panel before.

    `legend` is a title for the legend of the whole picture. Ticks are given by `ticks`, with `tick_labels` as text.
    """

    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    x_limits: Sequence[float | None] = (None, None)
    y_limits: Sequence[float | None] = (None, None)
    ticks: Sequence[float] = ()
    tick_labels: Sequence[str] = ()
    legend: str = ""
    beside: bool = False

    @property
    def is_image(self):
        return any(series.kind == "image" for series in self.series)


def line(x, y, label="", style="theory"):
    """A line of at most about `POINTS` points."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int))
    return Series("line", np.asarray(x)[kept], np.asarray(y)[kept], label=label, style=style)


def markers(x, mean, error, label="", style="theory", kind="markers"):
    """Means with standard errors, about `MARKERS` of them."""
    kept = slice(None, None, max(1, len(x) // MARKERS))
    return Series(kind, *(np.asarray(v)[kept] for v in (x, mean, error)), label, style)


# --- Looks ------------------------------------------------------------------------------------------------------------


def rule_name(rule):
    """The name of a rule that has a look of its own, else ""; `rule` is a Rule or a label that begins with a name."""
    name = (re.match(r"\w*", rule) or [""])[0] if isinstance(rule, str) else type(rule).__name__
    return name if name in RULES else ""


def styles(rules: Mapping):
    """A style by label: `rules` maps labels to a Rule, or to the label itself where only that is known."""
    names = {label: rule_name(rule) for label, rule in rules.items()}
    shared = {name: [label for label in names if names[label] == name] for name in names.values()}
    places = {label: f" {shared[name].index(label) + 1}/{len(shared[name])}" for label, name in names.items()}
    return {label: name + (places[label] if not name or len(shared[name]) > 1 else "") for label, name in names.items()}


def look(style):
    """(colour, dash, marker) of a style."""
    if style in ("theory", "lazy"):
        return (THEORY, "-", "o") if style == "theory" else (REST, LAZY_DASH, "o")
    name, _, place = style.partition(" ")
    number, count = map(int, place.split("/")) if place else (1, 1)
    along = (number - 1) / max(1, count - 1)  # 0 for the first, 1 for the last
    if name:
        start, color = list(RULES).index(name), tuple(value * (1 - 0.65 * along) for value in to_rgb(RULES[name]))
    else:
        start, color = 0, (0.55 * along,) * 3  # the first, which most often is the one to look at, is black
    shift = (start + number - 1) % len(MARKS)
    return color, DASHES[shift], MARKS[shift]


# --- Drawing ----------------------------------------------------------------------------------------------------------


def _rows(panels):
    rows = []
    for panel in panels:
        if panel.beside and rows:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def _marks(kind, color, marker):
    face = color if kind == "filled" else "white"
    return dict(color=color, marker=marker, markersize=4, markerfacecolor=face)


def _draw_series(axes, series, gid):
    """Draws a curve. Returns what stands for it in a legend, if anything does, as properties of a line or of a patch."""
    (color, dash, marker), x, y = look(series.style), series.x, series.y
    match series.kind:
        case "line":
            axes.plot(x, y, color=color, linestyle=dash, gid=gid)
        case "guide" | "tag":
            axes.plot(x, y, color=GUIDE, linestyle=":", linewidth=1.2, gid=gid)
            if series.kind == "tag":
                place = dict(xytext=(4, -2), textcoords="offset points")
                axes.annotate(series.label, (x[-1], y[-1]), **place, color="0.3", fontsize=9)
        case "band":
            half = (x[1] - x[0]) / 2
            edges = np.append(x - half, x[-1] + half)
            axes.stairs(y, edges, color=color, fill=True, alpha=0.25)
            axes.stairs(y, edges, color=color, linewidth=1, gid=gid)
        case "bound":
            axes.errorbar(x, y, 0.15 * y, uplims=True, linestyle="none", color=color).lines[0].set_gid(gid)
        case kind:
            shape = _marks(kind, color, marker)
            axes.errorbar(x, y, series.error, linestyle="none", zorder=3, **shape).lines[0].set_gid(gid)


def _draw_images(figure, row):
    """Images of one row, (axes, panel, id) each, on one colour scale, symmetric about 0."""
    scale = max(np.abs(panel.series[0].y).max() for _, panel, _ in row)
    for axes, panel, gid in row:
        frame = dict(cbar=False, xticklabels=False, yticklabels=False, square=True)
        sns.heatmap(panel.series[0].y, vmin=-scale, vmax=scale, cmap="vlag", ax=axes, **frame)
        axes.collections[0].set_gid(gid)
        axes.set_xlabel(panel.x_label, loc="left")
        size = 13 if len(panel.y_label) < 16 else 10
        axes.set_ylabel(panel.y_label, rotation=0, ha="right", va="center", fontsize=size)
        sns.despine(ax=axes, left=True, bottom=True)
    every = [axes for axes, *_ in row]
    bar = figure.colorbar(every[0].collections[0], ax=every, aspect=12, pad=0.02, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)


def _draw_curves(axes, panel, gid):
    for k, series in enumerate(panel.series, 1):
        _draw_series(axes, series, f"{gid}-series-{k}")
    axes.set(xscale=panel.x_scale, yscale=panel.y_scale, xlabel=panel.x_label, ylabel=panel.y_label)
    if len(panel.ticks):
        axes.set_xticks(panel.ticks, panel.tick_labels or [f"{tick:g}" for tick in panel.ticks])
        axes.minorticks_off()
    axes.patch.set_gid(f"{gid}-frame")


def _handle(group):
    """What stands in the legend for series of one label: a line, a marker, or both, as drawn."""
    color, dash, marker = look(group[0].style)
    kinds = {series.kind for series in group}
    if "band" in kinds:
        return Patch(facecolor=(*to_rgb(color), 0.25), edgecolor=color)
    if "guide" in kinds:
        return Line2D([], [], color=GUIDE, linestyle=":", linewidth=1.2)
    shape = _marks("filled" if "filled" in kinds else "markers", color, None if kinds == {"line"} else marker)
    return Line2D([], [], linestyle=dash if "line" in kinds else "none", **shape)


def _legend(figure, panels):
    """One legend above the picture, one entry a label. Returns its lines of text."""
    entries = {}
    for series in (series for panel in panels for series in panel.series if series.kind not in ("tag", "image")):
        if series.label:
            entries.setdefault(series.label, []).append(series)
    if not entries:
        return 0
    title = next((panel.legend for panel in panels if panel.legend), None)
    columns = next(n for n, most in ((3, 14), (2, 30), (1, np.inf)) if max(map(len, entries)) <= most)
    handles = [_handle(group) for group in entries.values()]
    figure.legend(handles, list(entries), loc="outside upper center", ncols=columns, title=title)
    return -(-len(handles) // columns) + bool(title)


def _place(figure, rows, heights):
    """Axes of each panel: one alone in its row shares its time, or whatever is along x, with the one above, if it can."""
    columns = max(2, *map(len, rows))
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    place, above = {}, None
    for r, row in enumerate(rows):
        alone = len(row) == 1 and not row[0].is_image
        shares = alone and above is not None and above.x_label == row[0].x_label
        for c, panel in enumerate(row):
            spot = grid[r, c * columns // len(row) : (c + 1) * columns // len(row)]
            place[panel] = figure.add_subplot(spot, sharex=place[above] if shares else None)
        if shares:
            place[above].tick_params(labelbottom=False)
            place[above].xaxis.label.set_visible(False)
        above = row[0] if alone else None
    return place


def draw(panels: Sequence[Panel], note: str = "") -> Figure:
    """The picture of `panels`, in rows from top to bottom; `note` stands in small print along its lower edge."""
    note, rows = textwrap.fill(note, 74), _rows(panels)
    heights = [4.1 / max(2, len(row)) if row[0].is_image else 3.1 if len(rows) == 1 else 1.95 for row in rows]
    gids = {panel: f"panel-{k}" for k, panel in enumerate(panels, 1)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        place = _place(figure, rows, heights)
        for row in ([(place[panel], panel, gids[panel]) for panel in row] for row in rows):
            if row[0][1].is_image:
                _draw_images(figure, row)
            else:
                for spot in row:
                    _draw_curves(*spot)
        for panel, axes in place.items():
            axes.set_title(panel.title, loc="left", fontsize=9)
            if not panel.is_image:  # once all is drawn: limits that are set hold for the panels that share them
                axes.set(xlim=panel.x_limits, ylim=panel.y_limits)
                # What the axes chose is part of the data, and so has its six digits.
                axes.set(xlim=rounded(axes.get_xlim()), ylim=rounded(axes.get_ylim()))
        lines = _legend(figure, panels)
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=8)
        figure.set_size_inches(WIDTH, sum(heights) + 0.4 + 0.2 * lines + 0.15 * len(note.splitlines()))
        return figure


def save(figure: Figure, kind: str, dpi: int = 160) -> bytes:
    """A figure that `draw` just made as png, svg or pdf, in bytes that depend on nothing else."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=dpi, bbox_inches="tight", metadata=UNDATED[kind])
    return buffer.getvalue()


# --- Storing ----------------------------------------------------------------------------------------------------------

DESCRIBED = [name for name in Panel.__dataclass_fields__ if name != "series"]


def _numbers(series):
    """Rows (x, y, standard_error, value) of a series; an image has its columns as x and its rows as y."""
    if series.kind == "image":
        return [(c + 1, r + 1, "", f"{value:g}") for (r, c), value in np.ndenumerate(series.y)]
    error = [""] * len(series.x) if series.error is None else [f"{e:.6g}" for e in series.error]
    return [(f"{x:.6g}", f"{y:.6g}", e, "") for x, y, e in zip(series.x, series.y, error)]


def to_csv(panels: Sequence[Panel]) -> str:
    """The data of a picture as comma-separated values, one row a point, below lines of comment that begin with #."""
    layout = [
        {name: getattr(panel, name) for name in DESCRIBED}
        | {"series": [{name: getattr(s, name) for name in ("kind", "label", "style")} for s in panel.series]}
        for panel in panels
    ]
    lines = []
    for k, panel in enumerate(panels, 1):
        meaning = "x: column, y: row, value: entry of the matrix"
        meaning = meaning if panel.is_image else f"x: {panel.x_label}, y: {panel.y_label}"
        lines.append(f"panel {k}: {meaning}{f' ({panel.title})' if panel.title else ''}")
    lines.append("units: none, all quantities are dimensionless, except angles, in degrees")
    lines += [f"layout: {json.dumps(layout, ensure_ascii=False, default=lambda value: np.asarray(value).tolist())}"]
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in lines)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for p, panel in enumerate(panels, 1):
        for s, series in enumerate(panel.series, 1):
            writer.writerows((p, s, series.kind, series.label, *row) for row in _numbers(series))
    return text.getvalue()


def read_csv(source: Path | str) -> list[Panel]:
    """The panels whose data `to_csv` wrote: `source` is a path, or the text. Raises ValueError for other files."""
    text = source if isinstance(source, str) and "\n" in source else Path(source).read_text(encoding="utf-8")
    described = re.search(r"^# layout: (.*)$", text, re.MULTILINE)
    if described is None:
        raise ValueError("`source` must be data of a figure, with a line `# layout: …`; got none of that.")
    rows = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        rows.setdefault((int(row["panel"]), int(row["series"])), []).append(row)
    panels = json.loads(described[1])
    for p, panel in enumerate(panels, 1):
        panel["series"] = [_read_series(rows.get((p, s), []), **one) for s, one in enumerate(panel["series"], 1)]
    return [Panel(**panel) for panel in panels]


def _read_series(rows, kind, label, style):
    x, y, error, value = ([float(row[name] or "nan") for row in rows] for name in COLUMNS[4:])
    if kind == "image":
        return Series(kind, None, np.reshape(value, (int(max(y, default=0)), -1)), label=label, style=style)
    return Series(kind, x, y, error if any(row["standard_error"] for row in rows) else None, label, style)


def as_shown(panel: Panel, axes) -> Panel:
    """The panel with the limits and ticks that its axes have now: a notebook may have changed them."""
    if panel.is_image:
        return panel
    shown = dict(x_limits=rounded(axes.get_xlim()), y_limits=rounded(axes.get_ylim()))
    if isinstance(axes.xaxis.get_major_locator(), FixedLocator):
        shown |= dict(ticks=axes.get_xticks(), tick_labels=[text.get_text() for text in axes.get_xticklabels()])
    return replace(panel, **shown)
