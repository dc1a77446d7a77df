"""Orthonormal directions that span fields, as few as their variance needs. Arrays are (rows, samples); ⟨ab⟩ = Σ_samples ab/S."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

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
    """The symmetric square root of a covariance matrix, whose negative eigenvalues are rounding."""
    xp = covariance.__array_namespace__()
    variance, vectors = xp.linalg.eigh(covariance)
    return (vectors * xp.sqrt(xp.maximum(variance, 0.0))) @ vectors.T


def principal_directions(rows, count):
    """Unit vectors along the first `count` principal directions of rows (n, S), strongest first; zero rows for none."""
    xp = rows.__array_namespace__()
    variance, vectors = xp.linalg.eigh(rows @ rows.T / rows.shape[1])
    variance, vectors = variance[::-1][:count], vectors[:, ::-1][:, :count]
    some = variance > xp.finfo(rows.dtype).eps * variance[0]
    return xp.where(some, vectors / xp.sqrt(xp.where(some, variance, 1.0)), 0.0).T @ rows


def when(condition, function, argument):
    """function(argument) if the condition holds, else the argument, for numpy and compiled arrays."""
    if isinstance(condition, jax.Array):
        return jax.lax.cond(condition, function, lambda argument: argument, argument)
    return function(argument) if condition else argument


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


def extend_span(fields, length, basis, count, tol, images, partner, drawn):
    """Extend `basis` until at most tol of the fields' variance is outside it, and at most 10 tol for any single field.

    Each field counts by its share of its own `length` squared, (n,), so that a short one is resolved beside long ones. The
    largest residual becomes the next direction; of many fields, principal directions of what is outside, which are
    fewer. Their rows of the `images` (fresh Gaussians of the neighbouring layer) are made orthogonal to the rows of
    `partner`, and normalized.
    Linear fields are combinations of the Gaussians `drawn` so far, pairs (rows, which of them count), and so are
    directions made to be: what rounding adds to a small residual is normalized with it, and would grow (measured
    without: 1e-7 in Φ, where this reaches 1e-15). Other fields leave that span; there `drawn` is empty.
    Returns basis, count, images, the projections ⟨field p_k⟩, the largest share outside and whether room was lacking.
    """
    n, S = fields.shape
    most, many = most_a_round(n), n > CANDIDATES and not drawn
    share = lambda residual: (residual**2).mean(axis=1)  # noqa: E731
    fields = fields / jnp.where(length > 0, length, 1.0)[:, None]
    order = 1 - 1e-6 * jnp.arange(n) / n  # of equal ones the first, not what rounding says
    weight = length**2 * order  # long fields first

    def lacks(outside):
        return (outside.mean() > tol) | (outside.max() > MOST_OF_ONE_FIELD * tol)

    def largest(residual):
        """One direction after the other, each the residual of a field: what a smaller tol adds comes after these."""
        new = []
        for _ in range(most):
            outside = share(residual)
            lacking = jnp.where(outside > tol, outside * weight, 0.0)
            row = jnp.where(outside.max() > tol, residual[jnp.argmax(lacking)], 0.0)
            row = row / jnp.sqrt(jnp.maximum((row**2).mean(), tol))
            residual = residual - (residual @ row / S)[:, None] * row
            new.append(row)
        return jnp.stack(new)

    def add(state):
        left, coefficients, basis, count, images = state
        if many:
            new, rows, few = directions_for_many(fields, left, coefficients, basis, tol, most)
        else:
            new = largest(left)
        if drawn:
            new = sum(((new @ rows.T / S) * used) @ rows for rows, used in drawn)
        new = orthonormal(new, basis)  # a second orthogonalization: residuals carry rounding errors
        added = (new**2).mean(axis=1) > 0
        overlap = (fields if many else left) @ new.T / S
        if many:
            gain = (overlap**2).mean(axis=0)
            added &= (left.mean() - (jnp.cumsum(gain) - gain) > tol).at[0].set(True)
            overlap, new = overlap * added, new * added[:, None]
            few = few - (few @ new.T / S) @ new
            left = (left - (overlap**2).sum(axis=1)).at[rows].set(share(few))
        else:
            left = left - overlap @ new

        def put(array, rows, axis=0):
            mask = jnp.expand_dims(added, 1 - axis)
            old = jax.lax.dynamic_slice_in_dim(array, count, most, axis)
            return jax.lax.dynamic_update_slice_in_dim(array, jnp.where(mask, rows, old), count, axis)

        def image_rows(image):
            return put(image, orthonormal(jax.lax.dynamic_slice_in_dim(image, count, most), partner))

        basis, coefficients = put(basis, new), put(coefficients, overlap, axis=1)
        return left, coefficients, basis, count + added.sum(), tuple(map(image_rows, images))

    coefficients = fields @ basis.T / S
    # Mostly nothing lacks, which differences tell; of many fields they are followed, of few the residuals are made then.
    shares = share(fields) - (coefficients**2).sum(axis=1)
    missing = True if drawn else lacks(shares)
    residual = lambda: fields - coefficients @ basis  # noqa: E731
    left = shares if many else jax.lax.cond(missing, residual, lambda: jnp.zeros_like(fields))

    def outside(state):
        return state[0] if many else jnp.where(missing, share(state[0]), shares)

    room = len(basis) - most
    state = (left, coefficients, basis, count, images)
    state = jax.lax.while_loop(lambda s: lacks(outside(s)) & (s[3] <= room), add, state)
    _, coefficients, basis, count, images = state
    return basis, count, images, coefficients * length[:, None], outside(state).max(), lacks(outside(state))


def extend_in_place(fields, length, basis, count, tol, images, partner, drawn):
    """`extend_span` in numpy: `basis` and `images` are written in place.

    Returns count, the projections, the largest share outside and whether room was lacking.
    """
    n, S = fields.shape
    most, many = most_a_round(n), n > CANDIDATES and not drawn
    share = lambda rows: np.einsum("ij,ij->i", rows, rows) / S  # noqa: E731
    fields = fields / np.where(length > 0, length, 1.0).astype(fields.dtype)[:, None]
    weight = length**2 * (1 - 1e-6 * np.arange(n) / n).astype(fields.dtype)

    def lacks(outside):
        return not (outside.mean() <= tol and outside.max() <= MOST_OF_ONE_FIELD * tol)

    def largest(residual):
        new = []
        while len(new) < most and (outside := share(residual)).max() > tol:
            row = residual[np.argmax(np.where(outside > tol, outside * weight, 0.0))]
            row = row / np.sqrt(max((row**2).mean(), tol))
            residual = residual - (residual @ row / S)[:, None] * row
            new.append(row)
        return np.stack(new)

    coefficients = np.zeros((n, len(basis)), fields.dtype)
    coefficients[:, :count] = fields @ basis[:count].T / S
    outside = share(fields) - share(coefficients[:, :count]) * S
    if not many and (drawn or lacks(outside)):  # differences tell that something is missing, residuals what
        left = fields - coefficients[:, :count] @ basis[:count]
        outside = share(left)
    while lacks(outside) and count <= len(basis) - most:
        if not np.isfinite(outside).all():
            raise np.linalg.LinAlgError("fields are not finite")
        if many:
            new, rows, few = directions_for_many(fields, outside, coefficients[:, :count], basis[:count], tol, most)
            new = new[share(new) > 0]
        else:
            new = largest(left)
        if drawn:
            new = sum((new @ rows.T / S) @ rows for rows, _ in drawn)
        new = orthonormal(new, basis[:count])
        overlap = (fields if many else left) @ new.T / S
        if many:
            gain = (overlap**2).mean(axis=0)
            useful = max(1, np.count_nonzero(outside.mean() - (np.cumsum(gain) - gain) > tol))
            new, overlap = new[:useful], overlap[:, :useful]
            outside = outside - (overlap**2).sum(axis=1)
            outside[rows] = share(few - (few @ new.T / S) @ new)
        else:
            left = left - overlap @ new
            outside = share(left)
        more = slice(count, count + len(new))
        for image in images:
            image[more] = orthonormal(image[more], partner)
        basis[more], coefficients[:, more] = new, overlap
        count += len(new)
    return count, coefficients[:, :count] * length[:, None], outside.max(), lacks(outside)


def orthogonal_to(w, phi):
    """w (C, S) without what lies along phi, its rows orthonormal as they were drawn: then f(0) = ⟨w φ⟩/γ₀ = 0."""
    S, xp, in_numpy = phi.shape[1], phi.__array_namespace__(), isinstance(phi, np.ndarray)
    floor = 1e3 * xp.finfo(phi.dtype).eps * (phi**2).mean()

    def left(state):
        return (state[0] ** 2).mean(axis=1).max() > floor

    def remove(state):
        residual, w = state
        size, most = (residual**2).mean(axis=1), min(CANDIDATES, len(residual))
        largest = np.argsort(-size, kind="stable")[:most] if in_numpy else jax.lax.top_k(size, most)[1]
        new = principal_directions(residual[largest], most)
        return residual - (residual @ new.T / S) @ new, w - (w @ new.T / S) @ new

    state = phi, w
    while in_numpy and left(state):
        state = remove(state)
    w = state[1] if in_numpy else jax.lax.while_loop(left, remove, state)[1]
    return xp.linalg.inv(xp.linalg.cholesky(w @ w.T / S)) @ w
