"""Tables of claims: theory beside networks, with a verdict by one rule (`RULE`)."""

from __future__ import annotations

import numpy as np

from .checks import pair
from .figures import Table, mean_and_error

RULE = (
    "*Holds*: theory and networks differ by at most 2 standard errors (SE), those of both in quadrature (root of the "
    "sum of squares), or by 2 % of the theory's value, whichever is larger. *In part*: by at most twice that. *No*: more. A claim with a direction "
    "must also go that way, in theory, and in networks by more than 2 SE; a claim about an order holds if every step "
    "goes the right way, in theory, and in networks by more than 2 SE, in part if only the first and the last stand apart. A slope "
    "holds if its SE is at most 0.1 and it lies within 2 SE of what is claimed."
)
HEAD = ("claim", "verdict", "quantity", "theory", "network mean ± SE (N, seeds)", "paper figure")


def origin(groups):
    """What was simulated, in words: widths and number of networks of the ensembles. Raises ValueError for none."""
    if not groups:
        raise ValueError("`groups` must hold at least one ensemble, to say what was simulated; got none.")
    widths = sorted({e.width for e in groups})
    span = f"{widths[0]:g}" if len(widths) == 1 else f"{widths[0]:g}…{widths[-1]:g}"
    return f"N = {span}, {sum(len(e.seeds) for e in groups)} seeds"


def _verdict(good, fair):
    return "holds" if good else "in part" if fair else "no"


class Claims:
    """Rows of a table of claims. Values are (mean, standard error); a theory without noise may be a number."""

    def __init__(self):
        self.rows = []

    def _add(self, claim, figure, quantity, theory, networks, where, verdict):
        self.rows.append((claim, verdict, quantity, theory, f"{networks} ({where})", figure))

    def agree(self, claim, figure, quantity, theory, networks, where, sign=0):
        """Theory and networks agree on a number; with `sign` ±1 the claim is also that it has this sign."""
        if sign not in (-1, 0, 1):
            raise ValueError(f"`sign` must be 1 or −1, or 0 for a claim without one; got {sign!r}.")
        value, noise = pair("theory", theory if np.ndim(theory) else (theory, 0.0))
        mean, error = pair("networks", networks)
        off, allowed = abs(value - mean), max(2 * np.hypot(noise, error), 0.02 * abs(value))
        right = not sign or (sign * value > 0 and sign * mean > 2 * error)
        verdict = _verdict(right and off <= allowed, right and off <= 2 * allowed)
        self._add(claim, figure, quantity, f"{value:.3g}", f"{mean:.3g} ± {error:.1g}", where, verdict)

    def slope(self, claim, figure, quantity, slope, where, expected=-1.0):
        """A fitted exponent (value, standard error) is the expected one, and known to 0.1."""
        value, error = pair("slope", slope)
        off = abs(value - expected)
        verdict = _verdict(off <= 2 * error and error <= 0.1, off <= 4 * error)
        self._add(claim, figure, quantity, f"{expected:.3g}", f"{value:.3g} ± {error:.1g}", where, verdict)

    def ordered(self, claim, figure, quantity, theory, networks, where, sign=1):
        """Values rise (sign 1) or fall (−1) along a list of runs; `networks` holds the groups' values for each run.

        Groups with the same index share seeds, so that differences are taken within a group. `theory` is None where it
        has no such number, as for errors of finite networks: then networks decide.
        """
        if len(networks) < 2 or (theory is not None and len(theory) != len(networks)):
            raise ValueError(
                "an order needs two or more runs, each in `theory` and in `networks`; got "
                f"{'no theory' if theory is None else len(theory)} and {len(networks)}. Pass one entry a run in both."
            )
        expected = "" if theory is None else ", ".join(f"{value:.3g}" for value in theory)
        theory = sign * np.arange(len(networks)) if theory is None else theory
        steps = [*zip(range(len(theory)), range(1, len(theory))), (0, -1)]
        gains = [mean_and_error(sign * np.subtract(networks[b], networks[a])) for a, b in steps]
        right = [gain > 2 * error and sign * (theory[b] - theory[a]) > 0 for (gain, error), (a, b) in zip(gains, steps)]
        means, errors = zip(*map(mean_and_error, networks))
        shown = ", ".join(f"{mean:.3g}" for mean in means) + f" ± {max(errors):.1g}"
        self._add(claim, figure, quantity, expected, shown, where, _verdict(all(right), right[-1]))

    def table(self):
        """The table, to be displayed."""
        return Table(HEAD, tuple(self.rows))
