"""Finite-width networks, trained by the rule itself: no theory in them."""

from .ensembles import Ensemble, average, ensemble, extrapolate, groups
from .training import stable_lr, train

__all__ = ["Ensemble", "average", "ensemble", "extrapolate", "groups", "stable_lr", "train"]
