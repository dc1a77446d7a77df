"""Tables of claims: theory beside networks, with two verdicts, do they agree and does it occur, by the rule of `book/claims.md`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dmftlib.validate import pair

from .figures import Table, mean_and_error

# The columns of a table, by the names that they have in `Claims.rows`.
COLUMNS = {
    "claim": "claim",
    "occurs": "occurs",
    "verdict": "theory = networks",
    "quantity": "quantity",
    "baseline": "baseline",
    "theory": "theory",
    "half_step": "theory at half the step",
    "networks": "network mean ± SE (N, seeds)",
    "BP figure": "BP figure",
}
HEAD = tuple(COLUMNS.values())


def origin(groups):
    """What was simulated, in words: widths and number of networks of the ensembles. Raises ValueError for none."""
    if not groups:
        raise ValueError("`groups` must hold at least one ensemble, to say what was simulated; got none.")
    widths = sorted({e.width for e in groups})
    span = f"{widths[0]:g}" if len(widths) == 1 else f"{widths[0]:g}…{widths[-1]:g}"
    return f"N = {span}, {sum(len(e.seeds) for e in groups)} seeds"


@dataclass(frozen=True, repr=False)
class _ClaimsTable(Table):
    """The table as shown, whose output carries the rows at full precision: `metadata["claims"]`, read by the tools."""

    claims: tuple

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {}, {"claims": list(self.claims)}


def _runs(networks, **theory):
    """Values as lists of one run. A theory without noise may be a number."""
    pairs = {name: value if np.ndim(value) else (value, 0.0) for name, value in theory.items()} | {"networks": networks}
    return {name: [pair(name, value)] for name, value in pairs.items()}


def _agreement(runs):
    """The verdict on the last run, and how far apart theory and networks may be."""
    (value, noise), (mean, error) = runs["theory"][-1], runs["networks"][-1]
    off, allowed = abs(value - mean), max(2 * np.hypot(noise, error), 0.02 * abs(value))
    if not np.isfinite(noise + error):
        return "unknown", None
    return "holds" if off <= allowed else "in part" if off <= 2 * allowed else "no", float(allowed)


def _level(steps, sign):
    """How far differences (mean, standard error) have the sign: all of them, the last one only, none; None: unknown."""
    if not np.all(np.isfinite([error for _, error in steps])):
        return None
    right = [sign * gain > 2 * error for gain, error in steps]
    return 2 if all(right) else 1 if right[-1] else 0


def _occurs(runs, sign):
    if sign not in (-1, 1):
        raise ValueError(f"`sign` must be 1 or −1, the side of the baseline; got {sign!r}.")
    networks = runs["networks"]
    levels = [_level(steps, sign) for steps in (runs.get("theory", networks), runs["half_step"], networks)]
    if None in levels:
        return "unknown"
    if levels[0] != levels[1]:
        return "depends on the step"
    return ("no", "in part", "yes")[min(levels)]


def _pair(values):
    return mean_and_error(values) if np.ndim(values) else (float(values), 0.0)


def _gains(values):
    """The differences from one entry to the next, and the last less the first, each as (mean, standard error).

    An entry holds the values of several seeds or groups, of which those with one index share their draws, or is one
    number without noise.
    """
    return [_pair(np.subtract(b, a)) for a, b in [*pairwise(values), (values[0], values[-1])]]


def _shown(pairs):
    return ", ".join(f"{mean:.3g}" for mean, _ in pairs)


class Claims:
    """Rows of a table of claims, each a mapping of what is shown (`COLUMNS`) and of `numbers` at full precision.

    Values are (mean, standard error); a theory without noise may be a number. `numbers` has means and standard errors
    of theory, half_step and networks, one entry a run, and `allowed`, the largest difference at which the claim holds,
    None for an order. None stands for what is unknown.
    """

    def __init__(self):
        self.rows = []

    def _add(self, claim, figure, quantity, where, runs, verdict, allowed=None, occurs="—", baseline="—"):
        numbers, runs = {}, {"theory": (), "half_step": ()} | runs
        for name in ("theory", "half_step", "networks"):
            for k, key in enumerate((name, f"{name}_error")):
                numbers[key] = [float(pair[k]) if np.isfinite(pair[k]) else None for pair in runs[name]]
        error = max(error for _, error in runs["networks"])
        theory, half_step, networks = (_shown(runs[name]) for name in ("theory", "half_step", "networks"))
        networks = f"{networks} ± {error:.1g}".replace("nan", "unknown") + f" ({where})"
        cells = (claim, occurs, verdict, quantity, baseline, theory, half_step, networks, figure)
        self.rows.append(dict(zip(COLUMNS, cells)) | {"numbers": numbers | {"allowed": allowed}})

    def agree(self, claim, figure, quantity, theory, networks, where):
        """Theory and networks agree on a number."""
        runs = _runs(networks, theory=theory)
        self._add(claim, figure, quantity, where, runs, *_agreement(runs))

    def phenomenon(self, claim, figure, quantity, baseline, theory, half_step, networks, where, sign=1):
        """A difference from `baseline`, which is named in words, is above zero (sign 1) or below (−1).

        `half_step` is the theory's value at half the step, after the same time. Raises ValueError for another sign.
        """
        runs = _runs(networks, theory=theory, half_step=half_step)
        self._add(claim, figure, quantity, where, runs, *_agreement(runs), _occurs(runs, sign), baseline)

    def slope(self, claim, figure, quantity, slope, where, expected=-1.0):
        """A fitted exponent (value, standard error) is the expected one, and known to 0.1."""
        value, error = pair("slope", slope)
        off, allowed = abs(value - expected), 2 * error
        verdict = "holds" if off <= allowed and error <= 0.1 else "in part" if off <= 2 * allowed else "no"
        if not np.isfinite(error):
            verdict, allowed = "unknown", None
        runs = {"theory": [(expected, 0.0)], "networks": [(value, error)]}
        self._add(claim, figure, quantity, where, runs, verdict, allowed)

    def ordered(self, claim, figure, quantity, baseline, theory, half_step, networks, where, sign=1):
        """Values rise (sign 1) or fall (−1) along a list of runs, of which `baseline` names the first in words.

        `networks` holds the groups' values for each run, `theory` and `half_step` those of several seeds, or a number
        without noise. Values with the same index share their draws, so that differences are taken within an index.
        `theory` is None where it has no such number, as for errors of finite networks: then networks decide, and
        `half_step` holds those at half the step. Raises ValueError for lists of different lengths, or another sign.
        """
        given = {"networks": networks, "half_step": half_step} | ({} if theory is None else {"theory": theory})
        if len(networks) < 2 or len({len(values) for values in given.values()}) > 1:
            told = ", ".join(f"{len(values)} in `{name}`" for name, values in given.items())
            raise ValueError(f"an order needs two or more runs, as many everywhere; got {told}. Pass one entry a run.")
        gains = {name: _gains(values) for name, values in given.items()}
        runs = {name: [_pair(v) for v in values] for name, values in given.items()}
        verdict = "—" if theory is None else _agreement(gains)[0]
        self._add(claim, figure, quantity, where, runs, verdict, None, _occurs(gains, sign), baseline)

    def table(self):
        """The table, to be displayed."""
        return _ClaimsTable(HEAD, tuple(tuple(row[name] for name in COLUMNS) for row in self.rows), tuple(self.rows))
