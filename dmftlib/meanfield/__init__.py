"""Infinite width in the rich regime: dynamical mean field theory, solved in samples."""

from .solver import average, solve

__all__ = ["average", "solve"]
