"""Figures that carry the numbers they show: theory as lines, networks as markers with error bars.

Networks come as a list of independent `Ensemble`s of one width: their spread gives the standard error of
any metric. Nothing here changes matplotlib's global state, so figures display only where a cell returns them.
"""

from __future__ import annotations

import functools
import html
import io
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .dynamics import RECORDED

# With an error b/N + c/N² a straight line is too steep. From this width on by less than 0.1 if c/b is at most 10, which is
# assumed, not measured (tests/test_figures.py computes the rest).
STRAIGHT = 64
WIDTH = 4.8  # inches; shown at about this size on a phone, so that font sizes are what is read there
PALETTE = sns.color_palette("colorblind")
THEORY, NETWORKS, REST = "black", PALETTE[3], PALETTE[0]
SYMBOLS = {"f": "f", "Phi": r"\Phi", "G": "G", "G_tilde": r"\tilde G", "K": "K"}
SYMBOLS_IN_WORDS, RAISED = {"Phi": "Φ", "G": "G", "G_tilde": "G̃", "K": "K"}, str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE = {
    **sns.axes_style("ticks"),
    "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 10, "legend.fontsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.frameon": False, "figure.facecolor": "white",
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.6, "errorbar.capsize": 2,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class FigureWithData:
    """A matplotlib figure and the arrays that it shows, by name."""

    figure: Figure
    data: dict

    def png(self, dpi=160):
        """The picture, as bytes that depend on nothing but the figure."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
        return buffer.getvalue()

    _repr_png_ = png

    def distances(self):
        """Relative distances of theory from networks that the figure shows, in words for a caption."""
        words = []
        for name in (name.removesuffix("_distance") for name in self.data if name.endswith("_distance")):
            symbol = SYMBOLS_IN_WORDS.get(name.rstrip("_0123456789"))
            label = name if symbol is None else symbol + name[-1].translate(RAISED) * name[-1].isdigit()
            words.append(f"{label} {100 * self.data[name + '_distance']:.2g} %")
        return ", ".join(words)

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
        return "\n".join(
            "  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in (self.head, *self.rows)
        )


def _styled(draw):
    """Run `draw` under the house style, leaving the caller's settings alone."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def mean_and_error(values):
    """Mean over the first axis and its standard error (0 for a single value)."""
    values = np.asarray(values, float)
    n = len(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[1:])


def fit_slope(x, y, standard_error, correction=False):
    """Slope of log y against log x and its standard error, propagated from that of y.

    With `correction`, a term proportional to 1/x is fitted too, so that the slope is the one at large x.
    Raises ValueError for fewer points than coefficients, or values that have no logarithm.
    """
    x, y, error = (np.asarray(v, float) for v in (x, y, standard_error))
    if len(x) < 2 + correction or np.any(x <= 0) or np.any(y <= 0):
        raise ValueError(f"`x` and `y` must be positive, at {2 + correction} or more points; got {x} and {y}.")
    terms = [np.log(x), np.ones_like(x)] + ([1 / x] if correction else [])
    weights = np.linalg.pinv(np.stack(terms, axis=1))[0]
    return float(weights @ np.log(y)), float(np.sqrt(((weights * error / y) ** 2).sum()))


def squared_error(ensemble, theory, name="K", steps=slice(None)):
    """‖a − theory‖²/‖theory‖² of one network, averaged over the ensemble's n seeds.

    It is the squared distance of the mean (bias) plus n − 1 squared standard errors of the mean (variance).
    """
    reference = getattr(theory, name)[steps]
    bias = np.linalg.norm(getattr(ensemble, name)[steps] - reference) ** 2
    variance = (len(ensemble.seeds) - 1) * np.linalg.norm(ensemble.standard_error[name][steps]) ** 2
    return float((bias + variance) / np.linalg.norm(reference) ** 2)


def split_error(networks, theory, name="K", steps=slice(None)):
    """(bias², variance) of one network relative to ‖theory‖², each (value, standard error), from ensembles of one width.

    Bias² is ‖mean − theory‖² less what noise adds to it: variance/n of all n networks, and the theory's own Monte Carlo
    variance. It is unbiased, so it may come out negative. Its error leaves out one ensemble at a time.
    """
    reference = getattr(theory, name)[steps]
    square, floor = np.linalg.norm(reference) ** 2, theory.provenance.errors["monte_carlo"][name] ** 2
    means = np.stack([getattr(e, name)[steps] for e in networks])
    sizes = np.array([len(e.seeds) for e in networks])
    variances = sizes * [np.linalg.norm(e.standard_error[name][steps]) ** 2 / square for e in networks]

    def bias(kept):
        noise = variances[kept].mean() / sizes[kept].sum() + floor
        return np.linalg.norm(means[kept].mean(axis=0) - reference) ** 2 / square - noise

    every = np.arange(len(networks))
    without = np.array([bias(np.delete(every, k)) for k in every])
    error = np.sqrt((1 - 1 / len(every)) * ((without - without.mean()) ** 2).sum())
    return (bias(every), error), mean_and_error(variances)


def feature_change(run):
    """‖Φ^L(T) − Φ^L(0)‖/‖Φ^L(0)‖: how far the last layer's features moved."""
    first, last = run.Phi[0, -1], run.Phi[-1, -1]
    return float(np.linalg.norm(last - first) / np.linalg.norm(first))


def excess_kurtosis(run):
    """⟨h⁴⟩/⟨h²⟩² − 3 of the final preactivations, averaged over samples; 0 for Gaussians. Shape (L,)."""
    fourth, second = (run.final_h**4).mean(axis=1), (run.final_h**2).mean(axis=1)
    return (fourth / second**2 - 3).mean(axis=1)


def until(run, step):
    """A Dynamics or an Ensemble cut to its first `step` recorded states."""
    changes = {name: getattr(run, name)[:step] for name in RECORDED}
    if hasattr(run, "standard_error"):
        changes["standard_error"] = {name: error[:step] for name, error in run.standard_error.items()}
    return replace(run, **changes)


def _origin(networks):
    """What was simulated, for the data of a figure: width, and number of seeds."""
    return dict(N=networks[0].width, seeds=sum(len(e.seeds) for e in networks))


def _sample(axes, x, mean, error, every=None, label=None, **style):
    """Markers with error bars, thinned to about twenty."""
    every = every or max(1, len(x) // 20)
    style = dict(color=NETWORKS, marker="o", markersize=4, linestyle="none", markerfacecolor="white") | style
    axes.errorbar(x[::every], mean[::every], error[::every], label=label, **style)


def _curve(axes, theory, networks, metric, label):
    """One metric against training time, theory and networks; returns its data."""
    mean, error = mean_and_error([getattr(e, metric) for e in networks])
    origin = _origin(networks)
    axes.plot(theory.times, getattr(theory, metric), color=THEORY, label="theory, N = ∞")
    _sample(axes, theory.times, mean, error, label=f"{origin['seeds']} networks, N = {origin['N']}")
    axes.set(xlabel="time (lr × step)", ylabel=label)
    return {metric: getattr(theory, metric), f"{metric}_mean": mean, f"{metric}_standard_error": error}


def _loss(axes, theory, networks, floor=1e-3):
    data = _curve(axes, theory, networks, "loss", "loss")
    axes.set(yscale="log", ylim=(floor, 1.6 * theory.loss[0]))
    axes.legend()
    return data


@_styled
def learning_curves(theory, networks):
    """Loss (cut at 1e-3) and eNTK–target alignment against training time."""
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    data = dict(times=theory.times, **_origin(networks))
    data |= _loss(top, theory, networks)
    top.set(xlabel="")
    data |= _curve(bottom, theory, networks, "alignment", "eNTK–target alignment")
    return FigureWithData(figure, data)


def _final(run, name, layer):
    return getattr(run, name)[-1] if layer is None else getattr(run, name)[-1, layer - 1]


def _kernel_pair(figure, pair, theory, networks, name, layer, titles, label=None):
    """Final kernel in theory and networks on one colour scale, their distance above; returns its data."""
    a = _final(theory, name, layer)
    b, error = mean_and_error([_final(e, name, layer) for e in networks])
    distance, scale = np.linalg.norm(a - b) / np.linalg.norm(b), max(np.abs(a).max(), np.abs(b).max())
    for axes, kernel, title in zip(pair, (a, b), titles):
        sns.heatmap(
            kernel,
            vmin=-scale,
            vmax=scale,
            cmap="vlag",
            square=True,
            cbar=False,
            ax=axes,
            xticklabels=False,
            yticklabels=False,
        )
        axes.set_title(title)
        sns.despine(ax=axes, left=True, bottom=True)
    layer_label = "" if layer is None else f"^{{{layer}}}"
    symbol = f"${SYMBOLS[name]}{layer_label}$" if label is None else f"{label}  ${SYMBOLS[name]}{layer_label}$"
    pair[0].set_ylabel(symbol, rotation=0, ha="right", va="center", fontsize=13 if label is None else 10)
    pair[1].set_xlabel(f"distance {100 * distance:.2g} %", loc="left")
    bar = figure.colorbar(pair[0].collections[0], ax=list(pair), aspect=12, pad=0.02, ticks=MaxNLocator(5))
    bar.outline.set_visible(False)
    key = label or (name if layer is None else f"{name}_{layer}")
    return {key: a, f"{key}_mean": b, f"{key}_standard_error": error, f"{key}_distance": float(distance)}


@_styled
def kernels(theory, networks, rows):
    """Final kernels, theory beside networks, one colour scale a row. `rows` lists (name, layer ≥ 1 or None for K)."""
    figure = Figure(figsize=(WIDTH, 2.15 * len(rows) + 0.2), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    data = _origin(networks)
    for row, pair in enumerate(axes):
        titles = ("theory, N = ∞", f"{data['seeds']} networks, N = {data['N']}") if row == 0 else ("", "")
        data |= _kernel_pair(figure, pair, theory, networks, *rows[row], titles)
    return FigureWithData(figure, data)


def _density(axes, key, theory, networks, variances, bins):
    """Density of preactivations (neurons, P): theory, networks, and the Gaussian at initialization; returns its data."""
    edge = np.quantile(np.abs(theory), 0.995)
    edges = np.linspace(-edge, edge, bins + 1)
    middle, size = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    density = lambda h: np.histogram(h, edges)[0] / h.size / size  # noqa: E731
    mean, error = mean_and_error([density(h) for h in networks])
    sd = np.sqrt(variances)[:, None]
    before, shown = (np.exp(-((middle / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi)).mean(axis=0), density(theory)
    axes.stairs(mean, edges, color=NETWORKS, fill=True, alpha=0.25)
    axes.stairs(mean, edges, color=NETWORKS, label=f"{len(networks)} networks, N = {len(networks[0])}")
    axes.plot(middle, shown, color=THEORY, label="theory, N = ∞")
    axes.plot(middle, before, color="0.45", linestyle=":", label="at initialization")
    axes.set(ylabel="density", xlim=(-edge, edge), ylim=(0, 1.05 * max(map(np.max, (before, mean, shown)))))
    data = {f"h_{key}": middle, f"density_{key}": shown, f"initial_{key}": before}
    return data | {f"density_{key}_mean": mean, f"density_{key}_standard_error": error}


def _densities(panels, bins):
    """One panel for each (key, label, theory, networks, variances)."""
    figure = Figure(figsize=(WIDTH, 1.9 * len(panels) + 0.8), layout="constrained")
    networks = panels[0][3]
    data = dict(N=len(networks[0]), seeds=len(networks))
    for axes, (key, label, *fields) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels):
        data |= _density(axes, key, *fields, bins)
        axes.set_xlabel(label)
    first = figure.axes[0]
    first.set_ylim(0, 1.4 * first.get_ylim()[1])
    first.legend(loc="upper left")
    return FigureWithData(figure, data)


@_styled
def densities(theory, runs, initial_variances, bins=40):
    """Density of final preactivations h^ℓ over neurons and samples, one panel a layer.

    `runs` are single networks (Dynamics); `initial_variances` (L, P) gives the Gaussian at initialization.
    """
    layers = enumerate(zip(theory.final_h, initial_variances))
    return _densities(
        [(l + 1, f"final $h^{{{l + 1}}}$", h, [run.final_h[l] for run in runs], v) for l, (h, v) in layers], bins
    )


@_styled
def densities_of_runs(runs, initial_variances, bins=40):
    """Density of final preactivations of the last layer, one panel a run; all start from one Gaussian.

    `runs` maps a label to (theory, single networks); `initial_variances` has shape (P,).
    """
    panels = [
        (label, f"final $h^L$, {label}", theory.final_h[-1], [run.final_h[-1] for run in networks], initial_variances)
        for label, (theory, networks) in runs.items()
    ]
    return _densities(panels, bins)


@_styled
def richness(gammas, theories, networks, lazy_f, lazy_alignment):
    """From lazy to rich: loss curves, final eNTK–target alignment, and change of the last features against γ₀.

    `networks` holds one list of ensembles for each of `gammas`.
    """
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    top, middle, bottom = figure.subplots(3)
    first, origin = theories[0], _origin(networks[0])
    lazy_loss = ((first.experiment.task.y - lazy_f) ** 2).mean(axis=1)
    top.plot(first.times, lazy_loss, color=REST, linestyle="--", label="lazy limit")
    for k, (gamma, theory) in enumerate(zip(gammas, theories)):
        shade = str(0.75 * (1 - (k + 1) / len(gammas)))
        top.plot(theory.times, theory.loss, color=shade, linewidth=1 + 0.4 * k, label=f"γ₀ = {gamma:.2g}")
    top.set(xlabel="time (lr × step)", ylabel="loss (theory)", yscale="log", ylim=(1e-3, 50))
    top.legend(ncols=2, loc="upper right")
    data = dict(gammas=np.asarray(gammas), lazy_loss=lazy_loss, loss=np.stack([t.loss for t in theories]), **origin)
    metrics = dict(alignment=lambda run: run.alignment[-1], change=feature_change)
    for axes, (name, metric), lazy in zip((middle, bottom), metrics.items(), (lazy_alignment, 0.0)):
        values = np.array([metric(t) for t in theories])
        mean, error = np.transpose([mean_and_error([metric(e) for e in group]) for group in networks])
        axes.axhline(lazy, color=REST, linestyle="--", label="lazy limit")
        axes.plot(gammas, values, color=THEORY, label="theory, N = ∞")
        _sample(axes, np.asarray(gammas), mean, error, 1, f"{origin['seeds']} networks, N = {origin['N']}")
        data |= {name: values, f"{name}_mean": mean, f"{name}_standard_error": error}
    middle.set(ylabel="final alignment")
    middle.legend()
    bottom.set(xlabel="richness γ₀", ylabel=r"relative change of $\Phi^L$")
    return FigureWithData(figure, data)


@_styled
def error_against_width(theory, networks, series):
    """Squared error of kernels against width, with fitted slopes.

    `networks` maps each width to its ensembles; `series` maps a label to (name, steps) for `squared_error`.
    The theory's own Monte Carlo variance is subtracted. Data by label: mean, standard_error, floor, slope and
    slope_error of a straight line, limit and limit_error of the slope with a 1/N correction, and exponent: the first
    pair if all widths are at least `STRAIGHT`, else the second, so that no chapter chooses after seeing both.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    widths = np.array(sorted(networks))
    data = dict(widths=widths, seeds=[_origin(networks[N])["seeds"] for N in widths])
    for k, (label, (name, steps)) in enumerate(series.items()):
        floor = theory.provenance.errors["monte_carlo"][name] ** 2
        mean, error = np.transpose(
            [mean_and_error([squared_error(e, theory, name, steps) for e in networks[N]]) for N in widths]
        )
        mean = mean - floor
        fits = dict(zip(("slope", "slope_error"), fit_slope(widths, mean, error)))
        fits |= dict(zip(("limit", "limit_error"), fit_slope(widths, mean, error, correction=len(widths) > 2)))
        used = ("slope", "slope_error") if widths[0] >= STRAIGHT else ("limit", "limit_error")
        exponent = tuple(fits[name] for name in used)
        data[label] = dict(mean=mean, standard_error=error, floor=floor, exponent=exponent, **fits)
        style = dict(color=PALETTE[(3, 0, 2)[k % 3]], marker="osD"[k % 3])
        _sample(
            axes,
            widths,
            mean,
            error,
            1,
            f"{label}: slope {fits['slope']:.2f} ± {fits['slope_error']:.2f}".replace("-", "−"),
            **style,
        )
        line = np.exp(np.log(mean).mean() + fits["slope"] * (np.log(widths) - np.log(widths).mean()))
        axes.plot(widths, line, color=style["color"], linestyle=("-", "--", "-.")[k % 3], linewidth=1)
    start = data[next(iter(series))]["mean"][0]
    axes.plot(widths, start * widths[0] / widths, color="0.45", linestyle=":", label="slope −1")
    axes.set(
        xscale="log", yscale="log", xlabel="width N", ylabel="squared relative error", xticks=widths, xticklabels=widths
    )
    axes.minorticks_off()
    axes.set_ylim(axes.get_ylim()[0], 8 * axes.get_ylim()[1])
    axes.legend(loc="upper right")
    return FigureWithData(figure, data)


@_styled
def overview(theory, networks):
    """One picture: loss, and the final features of the last layer in theory and in networks."""
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    pair = [figure.add_subplot(grid[1, column]) for column in (0, 1)]
    data = dict(times=theory.times, **_origin(networks))
    data |= _loss(figure.add_subplot(grid[0, :]), theory, networks)
    titles = ("theory, N = ∞", f"networks, N = {data['N']}")
    data |= _kernel_pair(figure, pair, theory, networks, "Phi", theory.experiment.hidden_layers, titles)
    return FigureWithData(figure, data)


@_styled
def kernels_of_runs(runs, name, layer):
    """One final kernel of several runs, theory beside networks, each row with a colour scale of its own.

    `runs` maps a label to (theory, ensembles); `layer` ≥ 1, or None for K.
    """
    figure = Figure(figsize=(WIDTH, 2.0 * len(runs) + 0.2), layout="constrained")
    data = _origin(next(iter(runs.values()))[1])
    titles = ("theory, N = ∞", f"{data['seeds']} networks, N = {data['N']}")
    for pair, (label, run) in zip(figure.subplots(len(runs), 2, squeeze=False), runs.items()):
        data |= _kernel_pair(figure, pair, *run, name, layer, titles, label)
        titles = ("", "")
    return FigureWithData(figure, data)


SEVERAL = (THEORY, PALETTE[3], PALETTE[0], PALETTE[2], PALETTE[4])
DASHES, MARKS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), "osD^v"


def _several(axes, x, curves, every=None):
    """One axes, several runs: `curves` maps a label to (theory, mean, standard error). Returns its data."""
    data = {}
    for k, (label, (theory, mean, error)) in enumerate(curves.items()):
        k %= len(MARKS)
        axes.plot(x, theory, color=SEVERAL[k], linestyle=DASHES[k], linewidth=1.3)
        line = dict(linestyle=DASHES[k], color=SEVERAL[k], marker=MARKS[k], markersize=4, markerfacecolor="white")
        axes.plot([], [], label=label, **line)
        _sample(axes, x, mean, error, every, color=SEVERAL[k], marker=MARKS[k])
        data[label] = dict(theory=theory, mean=mean, standard_error=error)
    return data


@_styled
def kernel_against_angle(angles, curves):
    """First row of the eNTK at initialization against the angle to the first input, in radians.

    `curves` maps a label to (kernel (P, P) of the theory, ensembles).
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    rows = {label: (K[0], *mean_and_error([e.K[0, 0] for e in networks])) for label, (K, networks) in curves.items()}
    data = dict(angles=angles, **_origin(next(iter(curves.values()))[1]))
    data |= _several(axes, np.degrees(angles), rows, every=1)
    axes.set(xlabel="angle θ between inputs (degrees)", ylabel="eNTK K(θ)", xticks=range(0, 181, 45))
    axes.legend(title=f"lines: theory; markers: {data['seeds']} networks, N = {data['N']}", title_fontsize=9)
    return FigureWithData(figure, data)


@_styled
def several_runs(runs, metrics):
    """Metrics against training time, one panel each, for several runs.

    `runs` maps a label to (theory, ensembles), `metrics` an axis label to a function of a run, shape (T,).
    """
    figure = Figure(figsize=(WIDTH, 2.2 * len(metrics) + 0.9), layout="constrained")
    panels = figure.subplots(len(metrics), sharex=True, squeeze=False)[:, 0]
    theory, networks = next(iter(runs.values()))
    data = dict(times=theory.times, **_origin(networks))
    for axes, (name, metric) in zip(panels, metrics.items()):
        curves = {k: (metric(run), *mean_and_error([metric(e) for e in group])) for k, (run, group) in runs.items()}
        data[name] = _several(axes, theory.times, curves)
        axes.set(ylabel=name, yscale="log" if name == "loss" else "linear")
    panels[-1].set_xlabel("time (lr × step)")
    style = dict(loc="outside upper center", ncols=min(2, len(runs)), title_fontsize=9)
    title = f"lines: theory; markers: {data['seeds']} networks, N = {data['N']}"
    figure.legend(*panels[0].get_legend_handles_labels(), title=title, **style)
    return FigureWithData(figure, data)


@_styled
def error_of_runs(runs, name="K", steps=slice(None)):
    """Squared relative error of one quantity against width for several runs, with fitted slopes.

    `runs` maps a label to (theory, networks by width). Data by label: as from `error_against_width`, and norm, by
    whose square a relative error is multiplied to get ‖a − theory‖².
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    widths = np.array(sorted(next(iter(runs.values()))[1]))
    data = dict(widths=widths)
    for k, (label, (theory, networks)) in enumerate(runs.items()):
        fit = error_against_width(theory, networks, {label: (name, steps)}).data
        data["seeds"], data[label] = fit["seeds"], fit[label] | dict(norm=np.linalg.norm(getattr(theory, name)[steps]))
        fit, k = fit[label], k % len(MARKS)
        text = f"{label}: slope {fit['slope']:.2f} ± {fit['slope_error']:.2f}".replace("-", "−")
        _sample(axes, widths, fit["mean"], fit["standard_error"], 1, text, color=SEVERAL[k], marker=MARKS[k])
        line = np.exp(np.log(fit["mean"]).mean() + fit["slope"] * (np.log(widths) - np.log(widths).mean()))
        axes.plot(widths, line, color=SEVERAL[k], linestyle=DASHES[k], linewidth=1.3)
    axes.set(xscale="log", yscale="log", xlabel="width N", ylabel="squared relative error")
    axes.set(xticks=widths, xticklabels=widths)
    axes.minorticks_off()
    axes.set_ylim(axes.get_ylim()[0], 30 * axes.get_ylim()[1])
    axes.legend(loc="upper right")
    return FigureWithData(figure, data)


@_styled
def bias_and_variance(theory, networks, series):
    """Variance (filled) and bias² (open) of one network against width, relative to the theory, with fitted slopes.

    Arguments as for `error_against_width`. Data by label: for variance and for bias their mean, standard_error, slope
    and slope_error. Bias² within two standard errors of 0 is shown as a bar from that limit down, and has no slope.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    widths = np.array(sorted(networks))
    data = dict(widths=widths, seeds=[_origin(networks[N])["seeds"] for N in widths])
    for k, (label, (name, steps)) in enumerate(series.items()):
        split = np.array([split_error(networks[N], theory, name, steps) for N in widths])
        data[label], k = {}, k % len(MARKS)
        for part, (mean, error) in dict(variance=split[:, 1].T, bias=split[:, 0].T).items():
            seen = mean > 2 * error
            slope = fit_slope(widths, mean, error) if seen.all() else (np.nan, np.nan)
            data[label][part] = dict(mean=mean, standard_error=error, slope=slope[0], slope_error=slope[1])
            text = f"{label}, {part}{'²' * (part == 'bias')}: "
            text += "within the noise" if np.isnan(slope[0]) else f"slope {slope[0]:.2f} ± {slope[1]:.2f}"
            style = dict(color=SEVERAL[k], marker=MARKS[k])
            fill = {} if part == "bias" else dict(markerfacecolor=SEVERAL[k])
            _sample(axes, widths[seen], mean[seen], error[seen], 1, text.replace("-", "−"), **style, **fill)
            axes.errorbar(widths[~seen], 2 * error[~seen], 0.3 * error[~seen], uplims=True, linestyle="none", **style)
            if seen.all():
                line = np.exp(np.log(mean).mean() + slope[0] * (np.log(widths) - np.log(widths).mean()))
                axes.plot(widths, line, color=SEVERAL[k], linestyle="-" if part == "variance" else "--", linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlabel="width N", ylabel="relative to the theory's square")
    axes.set(xticks=widths, xticklabels=widths)
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center")
    return FigureWithData(figure, data)


def relative_errors(runs, theory, name="K"):
    """‖a − theory‖/‖theory‖ of single networks, rising."""
    reference = getattr(theory, name)
    return np.sort([np.linalg.norm(getattr(run, name) - reference) for run in runs]) / np.linalg.norm(reference)


def gaussian_errors(runs, theory, width, name="K", draws=4000):
    """Relative errors, rising, of networks of a given width if they fluctuate as Gaussians without bias.

    The covariance is that of `runs`, single networks of another width, times the ratio of the widths.
    """
    values = np.stack([getattr(run, name).ravel() for run in runs])
    spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2 / (len(runs) - 1)
    squares = np.random.default_rng(0).chisquare(1, (draws, len(spread))) @ spread
    return np.sort(np.sqrt(squares * runs[0].provenance.size / width)) / np.linalg.norm(getattr(theory, name))


@_styled
def spread(runs, name="K"):
    """Share of single networks whose relative error is below a value, for several runs.

    `runs` maps a label to (theory, single networks, narrower ones): lines are Gaussian fluctuations whose size is
    taken from the narrower networks. Data by label: theory and networks, errors that rise; share, of the networks.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    data = {}
    for k, (label, (theory, singles, narrower)) in enumerate(runs.items()):
        k %= len(MARKS)
        data |= dict(N=singles[0].provenance.size, seeds=len(singles), narrower=narrower[0].provenance.size)
        expected, found = gaussian_errors(narrower, theory, data["N"], name), relative_errors(singles, theory, name)
        share = (np.arange(len(found)) + 0.5) / len(found)
        axes.plot(expected, (np.arange(len(expected)) + 0.5) / len(expected), color=SEVERAL[k], linestyle=DASHES[k])
        every = max(1, len(found) // 20)
        style = dict(color=SEVERAL[k], marker=MARKS[k], markersize=4, markerfacecolor="white")
        axes.plot(found[::every], share[::every], linestyle="none", **style)
        axes.plot([], [], label=label, linestyle=DASHES[k], **style)
        data[label] = dict(theory=expected, networks=found, share=share)
    axes.set(xscale="log", xlabel=f"relative error of ${SYMBOLS[name]}$ of one network", ylabel="share below it")
    shown = np.concatenate([data[label]["networks"] for label in runs])
    low, high = 0.8 * shown.min(), 1.25 * shown.max()
    ticks = [tick for tick in 0.1 * 2.0 ** np.arange(-12, 8) if low <= tick <= high]
    axes.set(xlim=(low, high), xticks=ticks, xticklabels=[f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    title = f"lines: Gaussian, from N = {data['narrower']}; markers: {data['seeds']} networks, N = {data['N']}"
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, title=title, title_fontsize=9)
    return FigureWithData(figure, data)


@_styled
def change_against_richness(runs, guides=()):
    """How far features moved against γ₀ on logarithmic axes: theory as a line, networks as markers.

    `runs` maps a label to (gammas, theory) of the line and (gammas, mean, standard error) of the networks; `guides`
    lists (gammas, values, label) of dotted lines, such as powers.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes, data = figure.subplots(), {}
    for k, (label, ((fine, theory), (gammas, mean, error))) in enumerate(runs.items()):
        k %= len(MARKS)
        style = dict(color=SEVERAL[k], linestyle=DASHES[k])
        axes.plot(fine, theory, linewidth=1.3, **style)
        axes.plot([], [], label=label, marker=MARKS[k], markersize=4, markerfacecolor="white", **style)
        _sample(axes, np.asarray(gammas), mean, error, 1, color=SEVERAL[k], marker=MARKS[k])
        data[label] = dict(fine=fine, theory=theory, gammas=gammas, mean=mean, standard_error=error)
    for x, values, label in guides:
        axes.plot(x, values, color="0.45", linestyle=":", linewidth=1)
        axes.annotate(label, (x[-1], values[-1]), (4, -2), textcoords="offset points", color="0.3", fontsize=9)
    axes.set(xscale="log", yscale="log", xlabel="richness γ₀", ylabel=r"change of features, $\Delta H_y$")
    axes.legend(title="lines: theory; markers: networks", title_fontsize=9)
    return FigureWithData(figure, data)


@_styled
def curves(panels, x_label, log=""):
    """Lines and markers, one panel each. `panels` maps an axis label to (lines, markers); `log` may name "x" and "y".

    `lines` maps a label to (x, y), `markers` a label to (x, mean, standard error); one label in both is one entry of
    the legend. Data: both, by axis label.
    """
    figure = Figure(figsize=(WIDTH, 2.2 * len(panels) + 1.4), layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    labels = list(dict.fromkeys(label for parts in panels.values() for part in parts for label in part))
    for axes, (y_label, (lines, markers)) in zip(all_axes, panels.items()):
        for label, (x, y) in lines.items():
            k = labels.index(label) % len(MARKS)
            axes.plot(x, y, color=SEVERAL[k], linestyle=DASHES[k])
        for label, (x, mean, error) in markers.items():
            k = labels.index(label) % len(MARKS)
            _sample(axes, np.asarray(x), mean, error, color=SEVERAL[k], marker=MARKS[k])
        axes.set(ylabel=y_label, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    for k, label in enumerate(labels):
        marked, k = any(label in markers for _, markers in panels.values()), k % len(MARKS)
        lined = any(label in lines for lines, _ in panels.values())
        style = dict(marker=MARKS[k] if marked else None, linestyle=DASHES[k] if lined else "none")
        all_axes[0].plot([], [], color=SEVERAL[k], label=label, markersize=4, markerfacecolor="white", **style)
    all_axes[-1].set_xlabel(x_label)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(2, len(labels)))
    return FigureWithData(
        figure, {name: dict(lines=lines, markers=markers) for name, (lines, markers) in panels.items()}
    )
