"""A figure that its reader moves: the two-layer closed forms of every rule, under sliders for γ₀ and ρ.

All curves are computed here and travel with the page, so that nothing is computed, or fetched, where it is read. The
page's own copy of plotly.js draws them; where it is missing, or scripts are off, a picture stands in its place.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex

from dmftlib import Task, twolayer
from dmftlib.validate import positive

from .drawing import DASHES, Panel, line, look, styles
from .figures import TIME, FigureWithData
from .markup import fill

NAME = "two-layer"  # begins the id of every element
RULES = ("GD", "FA(ρ)", "DFA = FA(0)", "Hebb")
PLOTLY_DASHES = dict(zip(DASHES, ("solid", "dash", "dashdot", "dot", "10px,2px,2px,2px,2px,2px")))
QUANTITIES = {  # label on the page, label on paper, how to read it from a closed form
    "Delta": ("Δ(t)", r"$\Delta(t)$", lambda run: run.Delta[:, 0]),
    "H_y": ("H<sub>y</sub>(t)", r"$H_y(t)$", lambda run: run.H_y),
    "G_tilde": ("G̃(t)", r"$\tilde G(t)$", lambda run: run.G_tilde[:, 0, 0, 0]),
}
GAMMA0 = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0)
RHO = tuple(np.round(np.linspace(0, 1, 11), 1).tolist())


@dataclass(frozen=True, eq=False)
class Sliders:
    """The figure: `_repr_html_` for a page, `picture` for paper.

    data       times (T,) and, by rule and quantity, curves (γ₀, ρ, T) and ends (γ₀, ρ), the values at t = ∞; the ρ
               axis has one entry for a rule without feedback weights
    at         indices of the γ₀ and the ρ shown at first
    """

    data: dict
    at: tuple

    def curve(self, rule, quantity, part="curves"):
        """What is shown of a rule and quantity at first: (T,), or a number with part="ends"."""
        values = self.data["rules"][rule][part][quantity][self.at[0]]
        return values[min(self.at[1], len(values) - 1)]

    @property
    def _start(self):
        """(γ₀, ρ) at first."""
        return tuple(self.data[name][k] for name, k in zip(("gamma0", "rho"), self.at))

    def picture(self):
        """The first state as a FigureWithData."""
        looks, times = styles({rule: rule for rule in RULES}), self.data["times"]
        data = {name: {rule: self.curve(rule, name) for rule in RULES} for name in QUANTITIES}
        axes = dict(x_limits=(0, times[-1]), y_limits=(0, None), legend="γ₀ = {:g}, ρ = {:g}".format(*self._start))
        panels = [
            Panel([line(times, data[name][rule], rule, looks[rule]) for rule in RULES], TIME, label, **axes)
            for name, (_, label, _) in QUANTITIES.items()
        ]
        return FigureWithData(panels, dict(times=times) | data)

    @property
    def alt(self):
        """The picture in words."""
        gamma0, rho = self._start
        ends = ", ".join(f"{rule} {self.curve(rule, 'H_y', 'ends'):.3g}" for rule in RULES)
        return (
            f"Error Δ, hidden kernel H_y and overlap G̃ against time for a two-layer linear network with γ₀ = {gamma0:g} "
            f"and ρ = {rho:g}, one curve a rule. H_y ends at: {ends}."
        )

    def _repr_html_(self):
        looks = {rule: look(style) for rule, style in styles({rule: rule for rule in RULES}).items()}
        rules = [
            dict(name=rule, color=to_hex(color), dash=PLOTLY_DASHES[dash])
            | {part: {q: _digits(x) for q, x in self.data["rules"][rule][part].items()} for part in ("curves", "ends")}
            for rule, (color, dash, _) in looks.items()
        ]
        data = dict(gamma0=GAMMA0, rho=RHO, times=_digits(self.data["times"]), time=TIME)
        data |= dict(quantities=[dict(name=name, label=label) for name, (label, *_) in QUANTITIES.items()], rules=rules)
        return fill(
            "two_layer.html",
            "two_layer.js",
            json.dumps(data, ensure_ascii=False, separators=(",", ":")),
            name=NAME,
            controls=zip(("gamma0", "rho"), ("Richness γ₀", "Feedback correlation ρ"), (GAMMA0, RHO), self.at),
            alt=self.alt,
            png=base64.b64encode(self.picture().png(110)).decode(),
            rows=[(rule, [_digits(self.curve(rule, name, "ends")) for name in ("H_y", "G_tilde")]) for rule in RULES],
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


def _index(name, value, choices):
    if isinstance(value, bool) or value not in choices:
        raise ValueError(f"`{name}` must be one of the values that the slider has, {choices}; got {value!r}.")
    return choices.index(value)


def two_layer(y=1.5, gamma0=1.0, rho=0.5, duration=4.0):
    """Δ, H_y and G̃ of GD, FA(ρ), DFA and Hebb against time, for one whitened sample with target y: returns Sliders.

    gamma0, rho   where the sliders stand at first, one of the values in GAMMA0 and RHO
    duration      last time shown; times are denser at the start, where rich networks learn

    The grid is computed by `twolayer` (about a second). Raises ValueError for a γ₀ or ρ that the sliders do not have,
    and as `twolayer` does for y and duration.
    """
    positive("duration", duration, "the last time shown")
    at = _index("gamma0", gamma0, GAMMA0), _index("rho", rho, RHO)
    task, times = Task.whitened([y]), np.append(duration * np.linspace(0, 1, 51) ** 2, np.inf)
    gd, hebb = ([[solve(task, gamma, times)] for gamma in GAMMA0] for solve in (twolayer.gd, twolayer.hebb))
    feedback = [[twolayer.fa(task, gamma, times, correlation) for correlation in RHO] for gamma in GAMMA0]
    rules = {}
    for rule, runs in zip(RULES, (gd, feedback, [row[:1] for row in feedback], hebb)):  # by γ₀ and ρ
        values = {q: np.array([[read(run) for run in row] for row in runs]) for q, (*_, read) in QUANTITIES.items()}
        parts = {"curves": np.s_[..., :-1], "ends": np.s_[..., -1]}
        rules[rule] = {part: {q: x[where] for q, x in values.items()} for part, where in parts.items()}
    return Sliders(dict(times=times[:-1], gamma0=GAMMA0, rho=RHO, rules=rules), at)
