"""The distance between two results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .results import OBSERVABLES, Result
from .validate import instance, one_experiment


@dataclass(frozen=True)
class Comparison:
    """Relative distances ‖a − b‖_F/‖b‖_F over all times and layers, by quantity.

    `standard_error` is the reference's, `theory_error` the Monte Carlo error that the theory states of itself.
    """

    distance: dict
    standard_error: dict
    theory_error: dict

    def __getitem__(self, name):
        return self.distance[name], self.standard_error[name]

    def __str__(self):
        percent = lambda x: f"{100 * x:.2g} %"  # noqa: E731
        rows = [(name, percent(x), percent(self.standard_error[name])) for name, x in self.distance.items()]
        return "\n".join(f"{a:<9}{b:>10}{c:>14}" for a, b, c in [("quantity", "distance", "reference SE"), *rows])

    def agreement(self):
        """One line a quantity: its distance in units of both errors, added in quadrature; two of them still agree.

        Where an error is not known, as that of a single network is not, the line says so and gives no verdict.
        """
        lines = []
        for name, distance in self.distance.items():
            both = np.hypot(self.standard_error[name], self.theory_error[name])
            if np.isnan(both):
                unknown = [
                    who
                    for who, x in (("theory", self.theory_error), ("reference", self.standard_error))
                    if np.isnan(x[name])
                ]
                lines.append(
                    f"{name:<9} distance is {100 * distance:.2g} %, agrees: unknown, for the error of the {' and the '.join(unknown)} is "
                    "(network.ensemble of two or more seeds has one)"
                )
            else:
                ratio = distance / both if distance else 0.0
                lines.append(f"{name:<9} distance is {ratio:.1f} standard errors, agrees: {ratio <= 2}")
        return "\n".join(lines)


def compare(theory, runs):
    """Distance of `theory` from `runs` for f, Φ, G, G̃ and K.

    theory, runs   two results of one experiment, by any engine: Dynamics, Ensemble or TwoLayer. The standard error of
                   `runs` is reported relative to it, ‖SE‖_F/‖b‖_F; that of a single network is unknown, NaN

    Raises TypeError for anything that is not a result, ValueError for two that differ in settings, data, times or shapes.
    """
    for argument, value in (("theory", theory), ("runs", runs)):
        instance(
            argument,
            value,
            Result,
            "Pass what meanfield.solve, network.train, network.ensemble or twolayer.solve return.",
        )
    one_experiment("`theory` and `runs`", (theory, runs), ("`theory`", "`runs`"))
    distance = {}
    for name in OBSERVABLES:
        a, b = getattr(theory, name), getattr(runs, name)
        if a.shape != b.shape:
            raise ValueError(
                f"`{name}` has shape {a.shape} in `theory` and {b.shape} in `runs`; compare like with like."
            )
        norm = np.linalg.norm(b) or 1.0  # outputs at initialization are zeros: their distance is absolute
        distance[name] = float(np.linalg.norm(a - b) / norm)
    own, spread = ({name: result.relative_error(name) for name in OBSERVABLES} for result in (theory, runs))
    return Comparison(distance, spread, own)
