"""A figure that its reader moves: the two-layer closed forms of every rule, under sliders for γ₀ and ρ.

All curves are computed here and travel with the page, so that nothing is computed, or fetched, where it is read. The
page's own copy of plotly.js draws them; where it is missing, or scripts are off, a picture stands in its place.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from importlib.resources import files
from numbers import Real

import numpy as np
from matplotlib.colors import to_hex

from dmftlib import Task, twolayer

from .drawing import DASHES, Panel, line, look, styles
from .figures import TIME, FigureWithData

PLOTLY = "../_static/plotly/plotly.min.js"  # where the book keeps it, seen from a chapter
RULES = ("GD", "FA(ρ)", "DFA = FA(0)", "Hebb")
PLOTLY_DASHES = dict(zip(DASHES, ("solid", "dash", "dashdot", "dot", "10px,2px,2px,2px,2px,2px")))
QUANTITIES = {"Delta": "Δ(t)", "H_y": "H<sub>y</sub>(t)", "G_tilde": "G̃(t)"}
PICTURE_LABELS = {"Delta": r"$\Delta(t)$", "H_y": "$H_y(t)$", "G_tilde": r"$\tilde G(t)$"}
GAMMA0 = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0)
RHO = tuple(np.round(np.linspace(0, 1, 11), 1).tolist())


@dataclass(frozen=True, eq=False)
class Sliders:
    """The figure: `_repr_html_` for a page, `picture` for paper.

    data       times (T,) and, by rule and quantity, curves (γ₀, ρ, T) and ends (γ₀, ρ), the values at t = ∞; the ρ
               axis has one entry for a rule without feedback weights
    at         indices of the γ₀ and the ρ shown at first
    name       begins the id of every element, so that a page may hold several
    """

    data: dict
    at: tuple
    name: str
    source: str

    def curve(self, rule, quantity, part="curves"):
        """What is shown of a rule and quantity at first: (T,), or a number with part="ends"."""
        values = self.data["rules"][rule][part][quantity][self.at[0]]
        return values[min(self.at[1], len(values) - 1)]

    def picture(self):
        """The first state as a FigureWithData."""
        return _picture(self)

    @property
    def alt(self):
        """The picture in words."""
        gamma0, rho = (self.data[name][k] for name, k in zip(("gamma0", "rho"), self.at))
        ends = ", ".join(f"{rule} {self.curve(rule, 'H_y', 'ends'):.3g}" for rule in RULES)
        return (
            f"Error Δ, hidden kernel H_y and overlap G̃ against time for a two-layer linear network with γ₀ = {gamma0:g} "
            f"and ρ = {rho:g}, one curve a rule. H_y ends at: {ends}."
        )

    def _repr_html_(self):
        rules = [
            dict(name=rule, color=to_hex(color), dash=PLOTLY_DASHES[dash])
            | {part: {q: _digits(x) for q, x in self.data["rules"][rule][part].items()} for part in ("curves", "ends")}
            for rule, (color, dash, _) in _looks().items()
        ]
        quantities = [dict(name=name, label=label) for name, label in QUANTITIES.items()]
        shown = {name: self.data[name] for name in ("gamma0", "rho")}
        data = json.dumps(
            shown | dict(times=_digits(self.data["times"]), time=TIME, quantities=quantities, rules=rules),
            ensure_ascii=False,
            separators=(",", ":"),
        )
        script = files(__package__).joinpath("two_layer.js").read_text(encoding="utf-8")
        script = script.replace("NAME", self.name).replace("SOURCE", self.source)
        sliders = "\n".join(
            f'<p><label for="{self.name}-{key}">{label} = <span id="{self.name}-{key}-value">{shown[key][k]}</span></label>'
            f'<br><input type="range" id="{self.name}-{key}" min="0" max="{len(shown[key]) - 1}" step="1" value="{k}" '
            'autocomplete="off" style="width: 100%; max-width: 30rem; min-height: 2.5rem"></p>'
            for key, label, k in zip(shown, ("Richness γ₀", "Feedback correlation ρ"), self.at)
        )
        head = "".join(f'<th scope="col">{text}</th>' for text in ("rule", "H<sub>y</sub>(∞)", "G̃(∞)"))
        rows = "\n".join(
            f'<tr><th scope="row">{rule}</th>'
            + "".join(
                f'<td id="{self.name}-end-{k}-{q}">{_digits(self.curve(rule, name, "ends"))}</td>'
                for q, name in enumerate(QUANTITIES)
                if q
            )
            + "</tr>"
            for k, rule in enumerate(RULES)
        )
        alt = html.escape(self.alt, quote=True)
        png = base64.b64encode(self.picture().png(110)).decode()
        return (
            f'<div id="{self.name}">\n'
            f'<div id="{self.name}-controls" hidden>\n{sliders}\n</div>\n'
            f'<div id="{self.name}-plot" role="img" aria-label="Error Δ, hidden kernel H_y and overlap G̃ against time, '
            'one curve a rule; the table below has where they end" hidden></div>\n'
            f'<img id="{self.name}-picture" src="data:image/png;base64,{png}" alt="{alt}" style="max-width: 100%">\n'
            f'<p id="{self.name}-ends">At the end of training:</p>\n'
            f'<table class="table" aria-labelledby="{self.name}-ends"><thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{rows}\n</tbody></table>\n"
            f'<script type="application/json" id="{self.name}-data">{data}</script>\n'
            f"<script>\n{script}</script>\n</div>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.picture()._repr_mimebundle_()

    def __repr__(self):
        return f"Sliders for γ₀ and ρ: {', '.join(RULES)}"


def _digits(values):
    """Numbers with 4 significant digits, as lists that JSON can hold: errors below the width of a line."""
    if np.ndim(values):
        return [_digits(value) for value in values]
    value = float(f"{values:.4g}")
    return int(value) if value == int(value) else value


def _looks():
    """Colour, dash and marker of each rule, as in every figure."""
    return {rule: look(style) for rule, style in styles({rule: rule for rule in RULES}).items()}


def _picture(sliders):
    looks, times = styles({rule: rule for rule in RULES}), sliders.data["times"]
    data = {name: {rule: sliders.curve(rule, name) for rule in RULES} for name in QUANTITIES}
    gamma0, rho = (sliders.data[name][k] for name, k in zip(("gamma0", "rho"), sliders.at))
    panels = [
        Panel(
            [line(times, data[name][rule], rule, looks[rule]) for rule in RULES],
            TIME,
            label,
            x_limits=(0, times[-1]),
            y_limits=(0, None),
            legend=f"γ₀ = {gamma0:g}, ρ = {rho:g}",
        )
        for name, label in PICTURE_LABELS.items()
    ]
    return FigureWithData(panels, dict(times=times) | data)


def _nearest(name, value, choices):
    if isinstance(value, bool) or not isinstance(value, Real) or value not in choices:
        raise ValueError(f"`{name}` must be one of the values that the slider has, {choices}; got {value!r}.")
    return choices.index(value)


def two_layer(y=1.5, gamma0=1.0, rho=0.5, duration=4.0, name="two-layer", source=PLOTLY):
    """Δ, H_y and G̃ of GD, FA(ρ), DFA and Hebb against time, for one whitened sample with target y: returns Sliders.

    gamma0, rho   where the sliders stand at first, one of the values in GAMMA0 and RHO
    duration      last time shown; times are denser at the start, where rich networks learn
    name          begins the id of every element
    source        where the page finds plotly.js

    The grid is computed by `twolayer` (about a second). Raises ValueError for a γ₀ or ρ that the sliders do not have,
    and as `twolayer` does for y and duration.
    """
    if isinstance(duration, bool) or not isinstance(duration, Real) or not 0 < duration < np.inf:
        raise ValueError(f"`duration` (the last time shown) must be a finite number above 0; got {duration!r}.")
    at = _nearest("gamma0", gamma0, GAMMA0), _nearest("rho", rho, RHO)
    task, times = Task.whitened([y]), np.append(duration * np.linspace(0, 1, 51) ** 2, np.inf)

    def solved(solve, *options):
        """By quantity, (γ₀, ρ, T + 1): the last entry is the end of training."""
        runs = [[solve(task, gamma, times, *option) for option in options] for gamma in GAMMA0]
        read = {"Delta": lambda r: r.Delta[:, 0], "H_y": lambda r: r.H_y, "G_tilde": lambda r: r.G_tilde[:, 0, 0, 0]}
        return {quantity: np.array([[f(run) for run in row] for row in runs]) for quantity, f in read.items()}

    feedback = solved(twolayer.fa, *[(value,) for value in RHO])
    direct = {quantity: values[:, :1] for quantity, values in feedback.items()}
    by_rule = dict(zip(RULES, (solved(twolayer.gd, ()), feedback, direct, solved(twolayer.hebb, ()))))
    rules = {
        rule: dict(curves={q: x[..., :-1] for q, x in values.items()}, ends={q: x[..., -1] for q, x in values.items()})
        for rule, values in by_rule.items()
    }
    return Sliders(dict(times=times[:-1], gamma0=GAMMA0, rho=RHO, rules=rules), at, name, source)
