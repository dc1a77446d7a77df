"""Infinite width in the rich regime: dynamical mean field theory, solved in samples."""

from .solver import Solution, average, solve

__all__ = ["Solution", "average", "solve"]
