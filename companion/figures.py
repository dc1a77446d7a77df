"""The figures of the chapters: each computes what it shows, lists it as panels, and carries both.

`drawing` says what lines, markers and colours mean. Networks come as a list of independent `Ensemble`s of one width:
their spread gives the standard error of any metric.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dmftlib.network import Ensemble
from dmftlib.results import KERNELS, Result, target_alignment
from dmftlib.validate import instance, listed

from .drawing import Panel, Series, as_shown, draw, line, markers, read_csv, rule_name, save, styles, to_csv
from .statistics import (
    excess_kurtosis,
    feature_change,
    fit_slope,
    gaussian_errors,
    layer_terms,
    mean_and_error,
    relative_errors,
    split_error,
    squared_error,
    until,
)

__all__ = [
    "FigureWithData", "Panel", "Series", "Table", "bias_and_variance", "change_against_richness", "curves",
    "densities_of_runs", "draw", "error_against_width", "error_of_runs", "excess_kurtosis", "feature_change", "fit_slope",
    "gaussian_errors", "kernel_against_angle", "kernels", "kernels_of_runs", "kernels_over_time", "layer_terms",
    "learning_curves", "mean_and_error", "overview", "read_csv", "relative_errors", "richness", "several_runs",
    "split_error", "spread", "squared_error", "terms_of_runs", "until", "with_baseline",
]  # fmt: skip

# With an error Ω/N + Ω′/N² a straight line is too steep. From this width on by less than 0.1 if Ω′/Ω is at most 10, which is
# assumed, not measured (tests/companion/test_figures.py computes the rest).
STRAIGHT = 64
SYMBOLS = {"f": "f", "Phi": r"\Phi", "G": "G", "G_tilde": r"\tilde G", "K": "K"}
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
CUT = 1e-3  # a loss below this share of the first is not shown
TIME, THEORY, LAZY = "time t (lr × step)", "theory, N = ∞", "lazy limit"


@dataclass(frozen=True, eq=False)
class FigureWithData:
    """A picture as `drawn` panels, and the arrays behind it by name.

    source   of data that was measured before, such as `beyond.full()` returns; by default this run

    In a notebook it shows itself, and hands the numbers it shows to whoever builds the book, as metadata of the output.
    """

    drawn: list
    data: dict
    source: dict | None = None

    @cached_property
    def figure(self):
        """The matplotlib figure. Its limits and ticks may be changed; other changes do not reach picture and files."""
        return draw(self.drawn)

    @property
    def panels(self):
        """What is shown now, as `draw` takes it."""
        return [as_shown(panel, axes) for panel, axes in zip(self.drawn, self.figure.axes)]

    def png(self, dpi=160):
        """The picture, drawn from `panels`, as bytes that depend on nothing else."""
        return save(draw(self.panels), "png", dpi)

    def csv(self):
        """What the picture shows, as text that `read_csv` turns into panels."""
        return to_csv(self.panels)

    _repr_png_ = png

    def _repr_mimebundle_(self, include=None, exclude=None):
        source = {} if self.source is None else {"source": self.source}
        return {}, {"dmftlib": {"csv": self.csv()} | source}

    def distances(self):
        """Relative distances of theory from networks that the figure shows, in words for a caption."""
        found = {
            name.removesuffix("_distance"): value for name, value in self.data.items() if name.endswith("_distance")
        }
        return ", ".join(f"{label} {100 * distance:.2g} %" for label, distance in found.items())

    def __repr__(self):
        return f"Figure with data: {', '.join(self.data)}"


@dataclass(frozen=True)
class Table:
    """A table that renders as HTML and prints as plain text. All cells are strings."""

    head: tuple
    rows: tuple

    def _repr_html_(self):
        def line(cells, tag):
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "\n".join(line(row, "td") for row in self.rows)
        table = f'<table class="table">\n<thead>{line(self.head, "th")}</thead>\n<tbody>\n{body}\n</tbody>\n</table>'
        return f'<div class="pst-scrollable-table-container">{table}</div>'

    def __repr__(self):
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows)]
        lines = (map(str.ljust, line, widths) for line in (self.head, *self.rows))
        return "\n".join("  ".join(line).rstrip() for line in lines)


def _filled(name, values):
    """`values` itself. Raises ValueError if there are none, TypeError if they have labels that are not text."""
    if not len(values):
        raise ValueError(f"`{name}` must hold at least one entry to draw; got none. Pass what the docstring lists.")
    if isinstance(values, Mapping) and (other := [label for label in values if not isinstance(label, str)]):
        raise TypeError(
            f"`{name}` must map labels, which are text, to what is drawn; got the label {other[0]!r}. Pass a string, such "
            f'as "{other[0]}".'
        )
    return values


def _first(name, values):
    return next(iter(_filled(name, values).values()))


def _origin(networks):
    """What was simulated, for the data of a figure: width, and number of seeds. Raises TypeError, ValueError."""
    networks = _filled("networks", listed("networks", networks, Ensemble, "network.groups makes the list."))
    return dict(N=networks[0].width, seeds=sum(len(e.seeds) for e in networks))


def _networks(origin):
    return f"{origin['seeds']} networks, N = {origin['N']}"


def _slope(label, slope, error):
    return f"{label}: slope {slope:.2f} ± {error:.2f}".replace("-", "−")


def _named(name, values, nets):
    """Data of theory and networks by name; `nets` is the mean and standard error of these."""
    return dict(zip((name, f"{name}_mean", f"{name}_standard_error"), (values, *nets)))


def _curve(theory, networks, metric, label, **axes):
    """One metric against training time, theory as a line and networks as markers: a panel and its data."""
    origin, nets = _origin(networks), mean_and_error([getattr(e, metric) for e in networks])
    times, values, style = theory.times, getattr(theory, metric), rule_name(theory.experiment.rule)
    shown = [line(times, values, THEORY), markers(times, *nets, _networks(origin), style)]
    return Panel(shown, TIME, label, **axes), _named(metric, values, nets)


def _loss(theory, networks):
    instance("theory", theory, Result, "meanfield.solve and twolayer.solve return one.")
    panel, data = _curve(theory, networks, "loss", "loss", y_scale="log")
    highest = max(series.y.max() for series in panel.series)
    panel = replace(panel, y_limits=(CUT * theory.loss[0], 1.6 * highest))
    return panel, dict(times=theory.times, **_origin(networks)) | data


def learning_curves(theory, networks):
    """Loss (cut at 1e-3 of the first) and eNTK–target alignment against training time."""
    loss, data = _loss(theory, networks)
    alignment, more = _curve(theory, networks, "alignment", "eNTK–target alignment")
    return FigureWithData([loss, alignment], data | more)


def _kernel(run, name, layer, step=-1):
    if name not in KERNELS or (layer is None) != (name == "K") or layer not in (None, *range(1, run.Phi.shape[1] + 1)):
        raise ValueError(
            f"`name` must be one of {', '.join(KERNELS)}, and `layer` None for K, from 1 to {run.Phi.shape[1]} for "
            f"others; got {name!r} and {layer!r}. Name a kernel of this run."
        )
    return getattr(run, name)[step] if layer is None else getattr(run, name)[step, layer - 1]


def _kernel_pair(theory, networks, name, layer, label=None, titles=("", "")):
    """Final kernel in theory and networks, their distance below: two panels and their data."""
    a, nets = _kernel(theory, name, layer), mean_and_error([_kernel(e, name, layer) for e in networks])
    distance = np.linalg.norm(a - nets[0]) / np.linalg.norm(nets[0])
    symbol = f"${SYMBOLS[name]}{'' if layer is None else f'^{{{layer}}}'}$"
    pair = [
        Panel([Series("image", None, a)], "", symbol if label is None else f"{label}  {symbol}", titles[0]),
        Panel([Series("image", None, nets[0])], f"distance {100 * distance:.2g} %", "", titles[1], beside=True),
    ]
    key = label or (name if layer is None else f"{name}_{layer}")
    return pair, _named(key, a, nets) | {f"{key}_distance": float(distance)}


def _kernels(networks, pairs):
    """A figure with one row for each of `pairs`, the arguments of `_kernel_pair`."""
    panels, data = [], _origin(networks)
    titles = (THEORY, _networks(data))
    for pair in pairs:
        row, more = _kernel_pair(*pair, titles)
        panels, data, titles = panels + row, data | more, ("", "")
    return FigureWithData(panels, data)


def kernels(theory, networks, rows):
    """Final kernels, theory beside networks, one colour scale a row. `rows` lists (name, layer ≥ 1 or None for K)."""
    return _kernels(networks, [(theory, networks, *row, None) for row in _filled("rows", rows)])


def kernels_of_runs(runs, name, layer):
    """One final kernel of several runs, theory beside networks, each row with a colour scale of its own.

    `runs` maps a label to (theory, ensembles); `layer` ≥ 1, or None for K.
    """
    return _kernels(_first("runs", runs)[1], [(*run, name, layer, label) for label, run in runs.items()])


def kernels_over_time(runs, name, layer):
    """One kernel of several runs before, midway and after training in theory, then after it in networks; one scale a run.

    Midway is where the theory's loss is nearest to half of the first. `runs` maps a label to (theory, ensembles); `layer` ≥ 1, or None for K.
    """
    data, panels = _origin(_first("runs", runs)[1]), []
    titles = "before", "midway", "after", f"N = {data['N']}"
    for label, (theory, networks) in runs.items():
        midway = int(np.argmin(np.abs(theory.loss[theory.kernels_at] - theory.loss[0] / 2)))
        nets = mean_and_error([_kernel(e, name, layer) for e in networks])
        course = np.stack([_kernel(theory, name, layer, step) for step in (0, midway, -1)])
        distance = np.linalg.norm(course[-1] - nets[0]) / np.linalg.norm(nets[0])
        for k, (title, shown) in enumerate(zip(titles, (*course, nets[0]))):
            panels.append(Panel([Series("image", None, shown)], "", "" if k else label, title, beside=k > 0))
        data |= _named(label, course, nets) | {f"{label}_distance": float(distance)}
        titles = ("",) * len(titles)
    return FigureWithData(panels, data)


def overview(theory, networks):
    """One picture: loss, and the final features of the last layer in theory and in networks."""
    loss, data = _loss(theory, networks)
    titles = (THEORY, f"networks, N = {networks[0].width}")
    pair, more = _kernel_pair(theory, networks, "Phi", theory.experiment.hidden_layers, titles=titles)
    return FigureWithData([loss, *pair], data | more)


def densities_of_runs(runs, initial_variances):
    """Density of final preactivations of the last layer, one panel a run; all start from one Gaussian.

    `runs` maps a label to (theory, single networks); `initial_variances` has shape (P,). Networks are a histogram,
    theory is a line, the Gaussian at initialization a guide.
    """
    networks = _first("runs", runs)[1]
    panels, data = [], dict(N=networks[0].final_h[-1].shape[0], seeds=len(networks))
    for name, (theory, networks) in runs.items():
        h, nets = theory.final_h[-1], [network.final_h[-1] for network in networks]
        edge = np.quantile(np.abs(h), 0.995)
        edges = np.linspace(-edge, edge, 41)
        middle, size = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        shown, *nets_shown = (np.histogram(values, edges)[0] / values.size / size for values in (h, *nets))
        mean, error = mean_and_error(nets_shown)
        sd = np.sqrt(initial_variances)[:, None]
        before = (np.exp(-((middle / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi)).mean(axis=0)
        text, style = f"{len(nets)} networks, N = {len(nets[0])}", rule_name(theory.experiment.rule)
        series = [
            Series("band", middle, mean, label=text, style=style),
            line(middle, shown, THEORY),
            Series("guide", middle, before, label="at initialization"),
        ]
        limits = dict(x_limits=(-edge, edge), y_limits=(0, 1.05 * max(map(np.max, (before, mean, shown)))))
        panels.append(Panel(series, f"final $h^L$, {name}", "density", **limits))
        data |= {f"h_{name}": middle, f"density_{name}": shown, f"initial_{name}": before}
        data |= _named(f"density_{name}", shown, (mean, error))
    return FigureWithData(panels, data)


def richness(gammas, theories, networks, lazy_f, lazy_alignment):
    """From lazy to rich: loss curves, final eNTK–target alignment, and change of the last features against γ₀.

    `networks` holds one list of ensembles for each of `gammas`, or None for theory alone, which then has no loss curve.
    """
    first, trained = _filled("theories", theories)[0], [k for k, group in enumerate(networks) if group is not None]
    origin = _origin(_filled("networks", [networks[k] for k in trained])[0])
    rule, start = first.experiment.rule, first.loss[0]
    lazy_loss = ((first.experiment.task.y - lazy_f) ** 2).mean(axis=1)
    labels = {k: f"γ₀ = {gammas[k]:.2g}" for k in trained}
    looks = styles(dict.fromkeys(labels.values(), rule))
    shown = [line(theories[k].times, theories[k].loss, label, looks[label]) for k, label in labels.items()]
    shown += [line(first.times, lazy_loss, LAZY, "lazy")]  # on top, since the laziest run may hide it
    limits = CUT * start, min(2 * max(series.y.max() for series in shown), 50 * start)
    panels = [Panel(shown, TIME, "loss (theory)", y_scale="log", y_limits=limits)]
    data = dict(gammas=np.asarray(gammas), lazy_loss=lazy_loss, loss=np.stack([t.loss for t in theories]), **origin)
    data |= dict(networks_at=data["gammas"][trained])
    for name, metric, lazy, label in (
        ("alignment", lambda run: run.alignment[-1], lazy_alignment, "final alignment"),
        ("change", feature_change, 0.0, r"relative change of $\Phi^L$"),
    ):
        nets = np.transpose([mean_and_error([metric(e) for e in networks[k]]) for k in trained])
        values = np.array([metric(t) for t in theories])
        shown = [
            line([gammas[0], gammas[-1]], [lazy, lazy], LAZY, "lazy"),
            line(gammas, values, THEORY),
            markers(data["networks_at"], *nets, _networks(origin), rule_name(rule)),
        ]
        panels.append(Panel(shown, "richness γ₀", label))
        data |= _named(name, values, nets)
    return FigureWithData(panels, data)


def _power(x, y, slope, label, style):
    """The power law of this slope through the middle of the points (x, y)."""
    return line(x, np.exp(np.log(y).mean() + slope * (np.log(x) - np.log(x).mean())), label, style)


def _against_width(series, label, data):
    axes = dict(x_scale="log", y_scale="log", ticks=data["widths"])
    return FigureWithData([Panel(series, "width N", label, **axes)], data)


def _widths(networks):
    """Widths, rising, and the number of seeds of each, for the data of a figure."""
    widths = np.array(sorted(networks))
    return dict(widths=widths, seeds=[_origin(networks[N])["seeds"] for N in widths])


def _fitted(theory, networks, name, steps):
    """Squared error of one quantity against width, less the theory's own, its slopes, and the norm of the theory."""
    widths, floor = np.array(sorted(networks)), theory.relative_error(name) ** 2
    errors = [mean_and_error([squared_error(e, theory, name, steps) for e in networks[N]]) for N in widths]
    mean, error = np.transpose(errors) - [[floor], [0.0]]
    line, corrected = (fit_slope(widths, mean, error, correction) for correction in (False, len(widths) > 2))
    fits = dict(zip(("slope", "slope_error", "limit", "limit_error"), (*line, *corrected)))
    used, norm = line if widths[0] >= STRAIGHT else corrected, np.linalg.norm(getattr(theory, name)[steps])
    return dict(mean=mean, standard_error=error, floor=floor, exponent=used, **fits, norm=norm)


def _errors(runs, guide=False):
    """Errors of runs against width; `runs` maps a label to (theory, networks, name, steps)."""
    looks = styles({label: _rule(theory, label) for label, (theory, *_) in runs.items()})
    data, shown = _widths(next(iter(runs.values()))[1]), []
    widths = data["widths"]
    for label, run in runs.items():
        data[label] = fit = _fitted(*run)
        text, mean = _slope(label, fit["slope"], fit["slope_error"]), fit["mean"]
        shown.append(_power(widths, mean, fit["slope"], text, looks[label]))
        shown.append(markers(widths, mean, fit["standard_error"], text, looks[label]))
    if guide:
        shown.append(Series("guide", widths, data[next(iter(runs))]["mean"][0] * widths[0] / widths, label="slope −1"))
    return _against_width(shown, "squared relative error", data)


def error_against_width(theory, networks, series):
    """Squared error of kernels against width, with fitted slopes.

    `networks` maps each width to its ensembles; `series` maps a label to (name, steps) for `squared_error`.
    The theory's own Monte Carlo variance is subtracted. Data by label: mean, standard_error, floor, slope and
    slope_error of a straight line, limit and limit_error of the slope with a 1/N correction, norm of the theory, and
    exponent: the first pair if all widths are at least `STRAIGHT`, else the second, so that no chapter chooses after
    seeing both.
    """
    return _errors({label: (theory, networks, *of) for label, of in _filled("series", series).items()}, guide=True)


def error_of_runs(runs, name="K", steps=slice(None)):
    """Squared relative error of one quantity against width for several runs, with fitted slopes.

    `runs` maps a label to (theory, networks by width). Data by label: as from `error_against_width`; a relative error
    times the square of the norm is ‖K_N − K‖².
    """
    return _errors({label: (*run, name, steps) for label, run in _filled("runs", runs).items()})


def _rule(theory, label):
    """The rule of a run, which a run without dynamics does not know: then its label may."""
    return getattr(getattr(theory, "experiment", None), "rule", label)


def bias_and_variance(theory, networks, series):
    """Variance (filled) and bias² (open) of one network against width, relative to the theory, with fitted slopes.

    Arguments as for `error_against_width`. Data by label: for variance and for bias their mean, standard_error, slope
    and slope_error. Bias² within two standard errors of 0 is shown as a bar from that limit down, and has no slope.
    """
    kinds = {"variance": ("variance", "filled"), "bias": ("bias²", "markers")}
    looks = styles({(label, part): _rule(theory, label) for label in _filled("series", series) for part in kinds})
    data, shown = _widths(networks), []
    widths = data["widths"]
    for label, (name, steps) in series.items():
        bias, variance = np.transpose([split_error(networks[N], theory, name, steps) for N in widths], (1, 2, 0))
        data[label] = {}
        for part, (mean, error) in dict(variance=variance, bias=bias).items():
            seen, style, (word, kind) = mean > 2 * error, looks[label, part], kinds[part]
            slope = fit_slope(widths, mean, error) if seen.all() else (np.nan, np.nan)
            data[label][part] = dict(mean=mean, standard_error=error, slope=slope[0], slope_error=slope[1])
            text = f"{label}, {word}"
            text = _slope(text, *slope) if seen.all() else f"{text}: within the noise"
            shown.append(markers(widths[seen], mean[seen], error[seen], text, style, kind))
            if seen.all():
                shown.append(_power(widths, mean, slope[0], text, style))
            else:
                shown.append(Series("bound", widths[~seen], 2 * error[~seen], label=text, style=style))
    return _against_width(shown, "relative to the theory's square", data)


def _pairs(rules, runs):
    """Theory and networks of several runs: `runs` maps a label to (x, y) and (x, mean, standard error)."""
    looks = styles(rules)
    return [
        series
        for label, (theory, nets) in runs.items()
        for series in (line(*theory, label, looks[label]), markers(*nets, label, looks[label]))
    ]


def _several(x, runs, of_theory, of_network):
    """One quantity of several runs, each (theory, ensembles) by label: series and their data."""
    rows = {
        label: (of_theory(run), *mean_and_error([of_network(e) for e in nets])) for label, (run, nets) in runs.items()
    }
    rules = {label: nets[0].experiment.rule for label, (_, nets) in runs.items()}
    series = _pairs(rules, {label: ((x, values), (x, *nets)) for label, (values, *nets) in rows.items()})
    return series, {label: dict(zip(("theory", "mean", "standard_error"), row)) for label, row in rows.items()}


def kernel_against_angle(angles, curves):
    """First row of the eNTK at initialization against the angle to the first input, in radians.

    `curves` maps a label to (kernel (P, P) of the theory, ensembles).
    """
    origin = _origin(_first("curves", curves)[1])
    series, data = _several(np.degrees(angles), curves, lambda K: K[0], lambda e: e.K[0, 0])
    axes = dict(ticks=range(0, 181, 45), legend=f"lines: theory; markers: {_networks(origin)}")
    panel = Panel(series, "angle θ between inputs (degrees)", "eNTK K(θ)", **axes)
    return FigureWithData([panel], dict(angles=angles, **origin) | data)


def several_runs(runs, metrics):
    """Metrics against training time, one panel each, for several runs.

    `runs` maps a label to (theory, ensembles), `metrics` an axis label to a function of a run, shape (T,).
    """
    theory, networks = _first("runs", runs)
    data, panels = dict(times=theory.times, **_origin(networks)), []
    legend = f"lines: theory; markers: {_networks(data)}"
    for name, metric in _filled("metrics", metrics).items():
        series, data[name] = _several(theory.times, runs, metric, metric)
        panels.append(Panel(series, TIME, name, y_scale="log" if name == "loss" else "linear", legend=legend))
    return FigureWithData(panels, data)


SMALL = 0.05  # of Tr K: a term with less has no alignment worth a mark


def _shares_and_alignments(run):
    """Of each term of the eNTK at the end of a run: its share of the trace, and its alignment; shape (2, L+1)."""
    terms = layer_terms(run)[-1]
    traces = np.trace(terms, axis1=1, axis2=2)
    shares, alignments = traces / traces.sum(), np.full(len(terms), np.nan)
    alignments[shares >= SMALL] = target_alignment(terms[shares >= SMALL], run.experiment.task.y)
    return np.stack([shares, alignments])


def _levels(at, heights):
    """Levels of width 1 around `at`, as points of a line."""
    return np.repeat(at, 2) + np.tile([-0.5, 0.5], len(at)), np.repeat(heights, 2)


def terms_of_runs(runs):
    """What each weight matrix adds to the eNTK: its share of Tr K, and its alignment with the targets, as levels by run.

    The levels of a run are its weight matrices from the input weights on, the readout last. `runs` maps a label to (its
    lazy limit as from `lazy.initial`, theory, ensembles), the latter two after training. A term with less than 5 % of
    the trace has no alignment. Data by label: for lazy, theory, mean and standard_error the two rows (2, L+1).
    """
    count = _first("runs", runs)[1].Phi.shape[1] + 1
    looks = styles({label: theory.experiment.rule for label, (_, theory, _) in runs.items()})
    data, series = _origin(_first("runs", runs)[2]), ([], [])
    for k, (label, (lazy, theory, nets)) in enumerate(runs.items()):
        at = 1.0 + np.arange(count) + k * (count + 1)
        before, after = _shares_and_alignments(lazy), _shares_and_alignments(theory)
        mean, error = mean_and_error([_shares_and_alignments(e) for e in nets])
        for row, shown in enumerate(series):
            shown.append(line(*_levels(at, after[row]), "", looks[label]))
            shown.append(line(*_levels(at, before[row]), "lazy limit", "lazy"))
            shown.append(markers(at, mean[row], error[row], "", looks[label]))
        data[label] = dict(lazy=before, theory=after, mean=mean, standard_error=error)
    order = ", ".join([*(f"$W^{l}$" for l in range(count - 1)), "$w$"])
    middles = [1 + (count - 1) / 2 + k * (count + 1) for k in range(len(runs))]
    axes = dict(
        ticks=middles, tick_labels=list(runs), legend=f"colour: after training, theory; markers: {_networks(data)}"
    )
    panels = [
        Panel(shown, f"weight matrices of each rule: {order}", label, **axes)
        for shown, label in zip(series, (r"share of $\mathrm{Tr}\,K$", "alignment of the term"))
    ]
    return FigureWithData(panels, data)


def spread(runs):
    """Share of single networks whose relative error of the eNTK is below a value, for several runs.

    `runs` maps a label to (theory, single networks, narrower ones): lines are Gaussian fluctuations whose size is
    taken from the narrower networks. Data by label: theory and networks, errors that rise; share, of the networks.
    """
    rules = {label: theory.experiment.rule for label, (theory, *_) in _filled("runs", runs).items()}
    data, drawn = {}, {}
    for label, (theory, singles, narrower) in runs.items():
        data |= dict(N=singles[0].provenance.size, seeds=len(singles), narrower=narrower[0].provenance.size)
        expected, found = gaussian_errors(narrower, theory, data["N"]), relative_errors(singles, theory)
        share, below = ((np.arange(len(values)) + 0.5) / len(values) for values in (found, expected))
        drawn[label] = (expected, below), (found, share, 0 * share)
        data[label] = dict(theory=expected, networks=found, share=share)
    shown = np.concatenate([data[label]["networks"] for label in runs])
    low, high = 0.8 * shown.min(), 1.25 * shown.max()
    ticks = [tick for tick in 0.1 * 2.0 ** np.arange(-12, 8) if low <= tick <= high]
    axes = dict(x_scale="log", x_limits=(low, high), ticks=ticks, tick_labels=[f"{tick:.2g}" for tick in ticks])
    title = f"lines: Gaussian, from N = {data['narrower']}; markers: {_networks(data)}"
    panel = Panel(_pairs(rules, drawn), "relative error of $K$ of one network", "share below it", legend=title, **axes)
    return FigureWithData([panel], data)


def change_against_richness(runs, guides=()):
    """How far features moved against γ₀ on logarithmic axes: theory as a line, networks as markers.

    `runs` maps a label to (gammas, theory) of the line and (gammas, mean, standard error) of the networks; `guides`
    lists (gammas, values, label) of dotted lines, such as powers.
    """
    series = _pairs({label: label for label in _filled("runs", runs)}, runs)
    series += [Series("tag", x, values, label=label) for x, values, label in guides]
    names = ("fine", "theory", "gammas", "mean", "standard_error")
    data = {label: dict(zip(names, (*fine, *few))) for label, (fine, few) in runs.items()}
    axes = dict(x_scale="log", y_scale="log", legend="lines: theory; markers: networks")
    return FigureWithData([Panel(series, "richness γ₀", r"change of features, $\Delta H_y$", **axes)], data)


def _looks(labels):
    """Styles by label: a label that begins with the name of a rule, or with that of the lazy limit, has its look."""
    lazy = {label: "lazy" for label in labels if label.startswith(LAZY)}
    return styles({label: label for label in labels if label not in lazy}) | lazy


def curves(panels, x_label, log="", ticks=(), columns=1):
    """Lines and markers in panels, so many a row. `panels` maps an axis label to (lines, markers); `log` may name "x" and "y".

    `lines` maps a label to (x, y), `markers` a label to (x, mean, standard error); one label in both is one entry of
    the legend. A label that begins with the name of a rule, or with "lazy limit", has its look. `ticks` are the values
    of x to mark. Data: both, by axis label.
    """
    looks = _looks({label: label for parts in _filled("panels", panels).values() for part in parts for label in part})
    axes = {f"{axis}_scale": "log" if axis in log else "linear" for axis in "xy"}
    drawn = []
    for k, (y_label, (lines, marks)) in enumerate(panels.items()):
        series = [line(*xy, label, looks[label]) for label, xy in lines.items()]
        series += [markers(*xye, label, looks[label]) for label, xye in marks.items()]
        drawn.append(Panel(series, x_label, y_label, ticks=ticks, beside=k % columns > 0, **axes))
    return FigureWithData(drawn, {name: dict(lines=lines, markers=marks) for name, (lines, marks) in panels.items()})


def with_baseline(figure, label, lines):
    """The figure with one more line in some panels, below the others: `lines` maps the axis label of a panel to (x, y).

    The line has the look of `curves`. Raises ValueError for an axis label that no panel has.
    """
    names = [panel.y_label for panel in instance("figure", figure, FigureWithData, "figures.curves makes one.").drawn]
    if other := [name for name in _filled("lines", lines) if name not in names]:
        raise ValueError(f"`lines` must map the axis label of a panel, of {', '.join(names)}; got {other[0]!r}.")
    style, drawn = _looks([label])[label], []
    for panel in figure.drawn:
        more = [line(*lines[panel.y_label], label, style)] if panel.y_label in lines else []
        drawn.append(replace(panel, series=[*more, *panel.series]))
    return FigureWithData(drawn, figure.data | {label: lines}, figure.source)
