"""The Gaussians of one independent half of the samples, by layer: what a layer starts with, and images of directions."""

from __future__ import annotations

from copy import copy

import numpy as np
from scipy.special import ndtri
from scipy.stats.qmc import Sobol

DRAWN_TOGETHER = 16  # images of one random generator
KINDS = ("forward", "backward", "feedback", "unused", "test")  # of images, each with a generator of its own


class TooFewSamples(ValueError):
    """A layer needs more directions than it has samples."""


class Draws:
    """Gaussians of `layers` layers of S samples. All of a layer that are kept are one orthonormal block."""

    def __init__(self, seed, layers, S, dtype):
        self.seed, self.S, self.dtype, self.step = seed, S, dtype, 0
        self.blocks = [np.zeros((0, S))] * layers

    def copy(self):
        other = copy(self)
        other.blocks = list(self.blocks)
        return other

    def room(self, layer):
        """How many directions more the layer has room for."""
        return self.S - 1 - len(self.blocks[layer])

    def starts(self, counts, one_population):
        """Rows by name, for each layer, as many as `counts` says.

        Where all layers have the same neurons, all but the gates are drawn together, and what later comes to a layer is
        orthogonal to all of them: without, noise is two to five times as large. Gates or images of different layers
        need not be orthogonal, it would be no less. Two scrambled Sobol sets depend on each other, point by point, so gates
        are shuffled.
        """
        if not one_population:
            return [self.start(l, rows) for l, rows in enumerate(counts)]
        self.blocks = self.blocks[:1] * (len(counts) + 1)
        together = {(l, name): n for l, rows in enumerate(counts) for name, n in rows.items() if name != "gate"}
        known = self.start(len(counts), together)
        self.blocks = self.blocks[-1:] * len(counts)
        gates = [{name: n for name, n in of.items() if name == "gate"} for of in counts]
        rows = [self.start(l, of, shuffled=True) for l, of in enumerate(gates)]
        for (l, name), found in known.items():
            rows[l][name] = found
        return rows

    def start(self, layer, counts, shuffled=False):
        """Rows by name, as many as `counts` says: one scrambled Sobol set, so evenly spread."""
        if not counts:
            return {}
        rng = np.random.default_rng((*self.seed, layer))
        points = Sobol(sum(counts.values()), rng=rng)
        uniform = points.random_base2((self.S - 1).bit_length())[: self.S].T
        if shuffled:
            uniform = rng.permutation(uniform, axis=1)
        tiny = np.finfo(float).eps
        rows = self.orthonormal(layer, ndtri(np.clip(uniform, tiny, 1 - tiny)))
        return dict(zip(counts, np.split(rows, np.cumsum(list(counts.values()))[:-1])))

    def images(self, layer, kind, n, start, keep=True):
        """Images number start … start + n of one kind, in a layer: the same ones, however the draws are divided."""
        if not n:
            return np.zeros((0, self.S), self.dtype)
        key = (*self.seed, layer, KINDS.index(kind))
        blocks = range(start // DRAWN_TOGETHER, -(-(start + n) // DRAWN_TOGETHER))
        rows = [np.random.default_rng((*key, k)).standard_normal((DRAWN_TOGETHER, self.S)) for k in blocks]
        return self.orthonormal(layer, np.concatenate(rows)[start % DRAWN_TOGETHER :][:n], keep)

    def orthonormal(self, layer, rows, keep=True):
        """Rows made orthonormal under the sample average, and orthogonal to those of the layer that were kept before.

        Raises TooFewSamples, with how many would do.
        """
        block = self.blocks[layer]
        if len(block) + len(rows) >= self.S:
            raise TooFewSamples(
                f"`samples` = {2 * self.S} is too few: layer {layer + 1} needs {len(block) + len(rows)} directions at "
                f"step {self.step}, and each of the two independent halves must hold more samples than that. Pass "
                f"samples = {4 * (len(block) + len(rows))} or more, or a larger `tol`."
            )
        rows = rows - (rows @ block.T / self.S) @ block
        rows = np.linalg.inv(np.linalg.cholesky(rows @ rows.T / self.S)) @ rows
        if keep:
            self.blocks[layer] = np.concatenate([block, rows])
        return rows.astype(self.dtype)
