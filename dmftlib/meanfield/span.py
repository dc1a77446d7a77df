"""Orthonormal directions that span fields, as few as their variance needs. Arrays are (rows, samples); ⟨ab⟩ = Σ_samples ab/S.

All is written once for numpy arrays, written in place, and for arrays that JAX compiles, of a fixed number of rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..step import pytree

MOST_OF_ONE_FIELD = 10  # × tol may be outside of a single field
CANDIDATES = 32  # fields whose residuals are made at a time; more of them are many
DIRECTIONS_A_ROUND, MANY_A_ROUND = 4, 16


def orthonormal(rows, against):
    """Rows made orthogonal to the orthonormal rows `against` and orthonormal; zero rows stay zero."""
    S, xp = rows.shape[1], rows.__array_namespace__()
    rows = rows - (rows @ against.T / S) @ against
    gram = rows @ rows.T / S
    return xp.linalg.inv(xp.linalg.cholesky(gram + xp.diag(xp.diag(gram) == 0))) @ rows


def square_root(covariance):
    """The symmetric square root of covariance matrices, whose negative eigenvalues are rounding."""
    xp = covariance.__array_namespace__()
    variance, vectors = xp.linalg.eigh(covariance)
    return (vectors * xp.sqrt(xp.maximum(variance, 0.0))[..., None, :]) @ vectors.mT


def principal_directions(rows, count):
    """Unit vectors along the first `count` principal directions of rows (n, S), strongest first; zero rows for none."""
    xp = rows.__array_namespace__()
    variance, vectors = xp.linalg.eigh(rows @ rows.T / rows.shape[1])
    variance, vectors = variance[::-1][:count], vectors[:, ::-1][:, :count]
    some = variance > xp.finfo(rows.dtype).eps * variance[0]
    return xp.where(some, vectors / xp.sqrt(xp.where(some, variance, 1.0)), 0.0).T @ rows


def when(condition, function, argument):
    """function(argument) if the condition holds, else the argument."""
    if isinstance(condition, jax.Array):
        return jax.lax.cond(condition, function, lambda argument: argument, argument)
    return function(argument) if condition else argument


def repeat_while(condition, body, state):
    """body(body(… state)) as long as condition(state) holds."""
    if any(isinstance(array, jax.Array) for array in jax.tree.leaves(state)):
        return jax.lax.while_loop(condition, body, state)
    while condition(state):
        state = body(state)
    return state


def directions_for_many(fields, shares, coefficients, basis, tol, most):
    """Principal directions of the largest residuals, made to serve all fields by a step of subspace iteration.

    Also which fields were looked at, and their residuals.
    """
    xp = fields.__array_namespace__()
    n = len(fields)
    order = 1 - 1e-6 * np.arange(n, dtype=fields.dtype) / n  # of equal ones the first, not what rounding says
    rows = xp.argsort(-shares * order, stable=True)[:CANDIDATES]
    for_all = shares.mean() > tol
    few = fields[rows] - coefficients[rows] @ basis
    new = few * (for_all | (shares[rows] > MOST_OF_ONE_FIELD * tol))[:, None]

    def iterate(new):
        overlaps = principal_directions(new, len(new)) @ fields.T
        return overlaps @ fields - (overlaps @ coefficients) @ basis

    return principal_directions(when(for_all, iterate, new), most), rows, few


def most_a_round(fields):
    """The most directions that a round, which reads both bases, adds for so many fields."""
    return DIRECTIONS_A_ROUND if fields <= CANDIDATES else MANY_A_ROUND


@pytree
class Basis:
    """Directions (room, S), orthonormal under ⟨·⟩; those from `count` on are still zero.

    images   what the matrix makes of each direction, by name: rows of Gaussians in the layer on its other side
    full     whether some field needed more directions than there is room for
    more     makes room where it is missing, of numpy arrays; compiled ones are full then
    """

    directions: jax.Array
    images: dict
    count: jax.Array
    full: jax.Array

    more = None

    def rows(self, image=None):
        """The directions, or their images of one name: numpy arrays without the rows that are not in use."""
        rows = self.directions if image is None else self.images[image]
        return rows if isinstance(rows, jax.Array) else rows[: self.count]

    def learn(self, image, coefficients, signal):
        """Images += coefficientsᵀ signal, of numpy arrays those of the first directions."""
        increment = coefficients.T @ signal
        if isinstance(increment, jax.Array):
            self.images[image] = self.images[image] + increment
        else:
            self.rows(image)[: len(increment)] += increment

    def drawn(self, *names):
        """Pairs (images, which of them were drawn) of these names, if there are such."""
        found = [self.rows(name) for name in names if name in self.images]
        return [(rows, rows.__array_namespace__().arange(len(rows)) < self.count) for rows in found]

    def _add(self, new, added, partner):
        """Write the rows that are `added`, which come first, below the others, and make their images orthogonal."""
        if isinstance(new, np.ndarray):
            new = new[added]
            end = self.count + len(new)
            self.directions[self.count : end] = new
            for image in self.images.values():
                image[self.count : end] = orthonormal(image[self.count : end], partner)
        else:

            def put(array, make):
                old = jax.lax.dynamic_slice_in_dim(array, self.count, len(new))
                rows = jnp.where(added[:, None], make(old), old)
                return jax.lax.dynamic_update_slice_in_dim(array, rows, self.count, 0)

            self.directions = put(self.directions, lambda _: new)
            self.images = {
                name: put(image, lambda old: orthonormal(old, partner)) for name, image in self.images.items()
            }
        self.count = self.count + added.sum()

    def extend(self, fields, length, tol, partner, drawn):
        """Add directions until at most tol of the fields' variance is outside, and at most 10 tol for any single field.

        Each field counts by its share of its own `length` squared, (n,), so that a short one is resolved beside long ones.
        The largest residual becomes the next direction; of many fields, principal directions of what is outside, which
        are fewer. Their images, fresh Gaussians, are made orthogonal to the rows of `partner`, and normalized.
        Linear fields are combinations of the Gaussians `drawn()` so far, pairs (rows, which of them count), and so are
        directions made to be: what rounding adds to a small residual is normalized with it, and would grow (measured
        without: 1e-7 in Φ, where this reaches 1e-15). Other fields leave that span; there `drawn()` is empty.
        Returns the projections ⟨field p_k⟩ and the largest share outside.
        """
        (n, S), xp, drawn = fields.shape, fields.__array_namespace__(), drawn()
        most, many = most_a_round(n), n > CANDIDATES and not drawn
        fields = fields / xp.where(length > 0, length, xp.ones_like(length))[:, None]
        weight = length**2 * (1 - 1e-6 * xp.arange(n) / n)  # of equally long ones the first, not what rounding says
        share = lambda rows: xp.einsum("ij,ij->i", rows, rows) / S  # noqa: E731

        def lacks(shares):
            return (shares.mean() > tol) | (shares.max() > MOST_OF_ONE_FIELD * tol)

        def largest(residual, shares):
            """One direction after the other, each the residual of a field: what a smaller tol adds comes after these."""
            new = []
            for _ in range(most):
                if (
                    isinstance(shares, np.ndarray) and shares.max() <= tol
                ):  # compiled arrays have a fixed number of rows
                    break
                lacking = xp.where(shares > tol, shares * weight, 0.0)
                row = xp.where(shares.max() > tol, residual[xp.argmax(lacking)], 0.0)
                row = row / xp.sqrt(xp.maximum((row**2).mean(), tol))
                residual = residual - (residual @ row / S)[:, None] * row
                shares = share(residual)
                new.append(row)
            return xp.stack(new)

        def append(coefficients, count, overlap, added):
            if isinstance(overlap, np.ndarray):
                return np.concatenate([coefficients, overlap[:, added]], axis=1)
            return jax.lax.dynamic_update_slice_in_dim(coefficients, overlap * added, count, 1)

        def add(state):
            residual, shares, coefficients, basis = state
            if many:
                new, rows, few = directions_for_many(fields, shares, coefficients, basis.rows(), tol, most)
            else:
                new = largest(residual, shares)
            if drawn:
                new = sum(((new @ rows.T / S) * used) @ rows for rows, used in drawn)
            new = orthonormal(new, basis.rows())  # a second orthogonalization: residuals carry rounding errors
            added = share(new) > 0
            overlap = (fields if many else residual) @ new.T / S
            if many:
                gain = (overlap**2).mean(axis=0)
                added &= (shares.mean() - (xp.cumsum(gain) - gain) > tol) | (xp.arange(most) == 0)
                overlap, new = overlap * added, new * added[:, None]
                place = rows[:, None] == xp.arange(n)
                known = share(few - (few @ new.T / S) @ new) @ place
                shares = xp.where(place.any(axis=0), known, shares - (overlap**2).sum(axis=1))
            else:
                residual = residual - overlap @ new
                shares = share(residual)
            coefficients = append(coefficients, basis.count, overlap, added)
            basis._add(new, added, partner)
            return residual, shares, coefficients, basis

        coefficients = fields @ self.rows().T / S
        # Mostly nothing lacks, which differences tell; of many fields they are followed, of few the residuals are made then.
        shares, residual = share(fields) - (coefficients**2).sum(axis=1), xp.zeros(())
        if not many:
            missing = xp.asarray(True) if drawn else lacks(shares)
            residual = when(missing, lambda _: fields - coefficients @ self.rows(), xp.zeros_like(fields))
            shares = xp.where(missing, share(residual), shares)

        def room_and_need(state):
            need = lacks(state[1])
            while self.more and need and self.count > len(self.directions) - most:
                self.more()
            return need & (state[3].count <= len(self.directions) - most)

        _, shares, coefficients, basis = repeat_while(room_and_need, add, (residual, shares, coefficients, self))
        self.directions, self.images, self.count = basis.directions, basis.images, basis.count
        self.full = self.full | lacks(shares)
        return coefficients * length[:, None], shares.max()


def orthogonal_to(w, phi):
    """w (C, S) without what lies along phi, its rows orthonormal as they were drawn: then f(0) = ⟨w φ⟩/γ₀ = 0."""
    S, xp = phi.shape[1], phi.__array_namespace__()
    floor = 1e3 * xp.finfo(phi.dtype).eps * (phi**2).mean()

    def left(state):
        return (state[0] ** 2).mean(axis=1).max() > floor

    def remove(state):
        residual, w = state
        most = min(CANDIDATES, len(residual))
        largest = xp.argsort(-(residual**2).mean(axis=1), stable=True)[:most]
        new = principal_directions(residual[largest], most)
        return residual - (residual @ new.T / S) @ new, w - (w @ new.T / S) @ new

    w = repeat_while(left, remove, (phi, w))[1]
    return xp.linalg.inv(xp.linalg.cholesky(w @ w.T / S)) @ w
