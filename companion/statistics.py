"""Numbers that figures and chapters compare: errors of networks, their slopes, how far features moved.

Networks come as a list of independent `Ensemble`s of one width: their spread gives the standard error of any metric.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmftlib.network import Ensemble
from dmftlib.results import KERNELS, Dynamics
from dmftlib.validate import instance, listed


def mean_and_error(values):
    """Mean over the first axis and its standard error: NaN for a single value. Raises ValueError for no values."""
    values = np.asarray(values, float)
    if values.ndim == 0 or not len(values):
        raise ValueError(f"`values` must be a list of one or more values; got {values.tolist()}. Pass [value] for one.")
    n = len(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)


def fit_slope(x, y, standard_error, correction=False):
    """Slope of log y against log x and its standard error, propagated from that of y.

    With `correction`, a term proportional to 1/x is fitted too, so that the slope is the one at large x.
    Raises ValueError for fewer points than coefficients, values that have no logarithm, or lists of different lengths.
    """
    x, y, error = (np.asarray(v, float) for v in (x, y, standard_error))
    if not x.shape == y.shape == error.shape or x.ndim != 1:
        raise ValueError(
            "`x`, `y` and `standard_error` must be lists of one length; "
            f"got shapes {x.shape}, {y.shape} and {error.shape}. Pass one error for each point."
        )
    if len(x) < 2 + correction or np.any(x <= 0) or np.any(y <= 0):
        raise ValueError(f"`x` and `y` must be positive, at {2 + correction} or more points; got {x} and {y}.")
    terms = [np.log(x), np.ones_like(x)] + ([1 / x] if correction else [])
    weights = np.linalg.pinv(np.stack(terms, axis=1))[0]
    return float(weights @ np.log(y)), float(np.sqrt(((weights * error / y) ** 2).sum()))


def squared_error(ensemble, theory, name="K", steps=slice(None)):
    """‖K_N − K‖²/‖K‖² of one network and theory, of K or `name`, averaged over the ensemble's J seeds.

    It is the squared distance of the mean (bias) plus J − 1 squared standard errors of the mean (variance).
    """
    reference = getattr(theory, name)[steps]
    bias = np.linalg.norm(getattr(ensemble, name)[steps] - reference) ** 2
    variance = (len(ensemble.seeds) - 1) * np.linalg.norm(ensemble.standard_error[name][steps]) ** 2
    return float((bias + variance) / np.linalg.norm(reference) ** 2)


def split_error(networks, theory, name="K", steps=slice(None)):
    """(bias², variance) of one network relative to ‖theory‖², each (value, standard error), from ensembles of one width.

    Bias² is ‖mean − theory‖² less what noise adds to it: variance/J of all J networks, and the theory's own Monte Carlo
    variance. It is unbiased, so it may come out negative. Its error leaves out one ensemble at a time.
    Raises ValueError unless there are two or more ensembles.
    """
    if len(networks) < 2:
        raise ValueError(
            f"`networks` must be two or more ensembles, for their spread gives the error; got {len(networks)}. "
            "network.groups makes several."
        )
    reference = getattr(theory, name)[steps]
    square, floor = np.linalg.norm(reference) ** 2, theory.relative_error(name) ** 2
    means = np.stack([getattr(e, name)[steps] for e in networks])
    sizes = np.array([len(e.seeds) for e in networks])
    variances = sizes * [np.linalg.norm(e.standard_error[name][steps]) ** 2 / square for e in networks]

    def bias(kept):
        noise = variances[kept].mean() / sizes[kept].sum() + floor
        return np.linalg.norm(means[kept].mean(axis=0) - reference) ** 2 / square - noise

    every = np.arange(len(networks))
    without = np.array([bias(np.delete(every, k)) for k in every])
    error = np.sqrt((1 - 1 / len(every)) * ((without - without.mean()) ** 2).sum())
    return (bias(every), error), mean_and_error(variances)


def relative_errors(runs, theory, name="K"):
    """‖K_N − K‖/‖K‖ of single networks and theory, of K or `name`, rising. Raises TypeError unless `runs` are such."""
    runs = listed("runs", runs, Dynamics, "network.train returns one.")
    reference = getattr(theory, name)
    return np.sort([np.linalg.norm(getattr(run, name) - reference) for run in runs]) / np.linalg.norm(reference)


def gaussian_errors(runs, theory, width, name="K", draws=4000):
    """Relative errors, rising, of networks of a given width if they fluctuate as Gaussians without bias.

    The covariance is that of `runs`, single networks of another width, times the ratio of the widths.
    Raises TypeError or ValueError unless `runs` are two or more of these.
    """
    runs = listed("runs", runs, Dynamics, "network.train returns one.")
    if len(runs) < 2:
        raise ValueError(f"`runs` must be two or more networks, to have a covariance; got {len(runs)}. Train more.")
    values = np.stack([getattr(run, name).ravel() for run in runs])
    spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2 / (len(runs) - 1)
    squares = np.random.default_rng(0).chisquare(1, (draws, len(spread))) @ spread
    return np.sort(np.sqrt(squares * runs[0].provenance.size / width)) / np.linalg.norm(getattr(theory, name))


def feature_change(run):
    """‖Φ^L(T) − Φ^L(0)‖/‖Φ^L(0)‖: how far the last layer's features moved."""
    first, last = run.Phi[0, -1], run.Phi[-1, -1]
    return float(np.linalg.norm(last - first) / np.linalg.norm(first))


def layer_terms(run):
    """What each weight matrix adds to the eNTK (BP Eq. 4): G̃^{ℓ+1} ⊙ Φ^ℓ, input weights first, readout last.

    Shape (T', L+1, P, P). The terms of a network add up to `run.K`; those of the mean field up to its `tol`, those of an
    Ensemble, products of averages, up to order 1/N.
    """
    P, inputs = run.experiment.task.P, run.experiment.task.K_x
    outputs = run.K.shape[-1] // P
    same_output = np.kron(np.ones((P, P)), np.eye(outputs))
    readout = np.broadcast_to(same_output, (len(run.K), 1, *same_output.shape))
    features = np.concatenate([np.broadcast_to(inputs, (len(run.K), 1, P, P)), run.Phi], axis=1)
    return np.concatenate([run.G_tilde, readout], axis=1) * np.kron(features, np.ones((outputs, outputs)))


def excess_kurtosis(run):
    """⟨h⁴⟩/⟨h²⟩² − 3 of the final preactivations, averaged over samples; 0 for Gaussians. Shape (L,).

    Raises TypeError unless `run` is a single network or a mean field, which have preactivations.
    """
    instance("run", run, Dynamics, "network.train and meanfield.solve return one.")
    fourth, second = (run.final_h**4).mean(axis=1), (run.final_h**2).mean(axis=1)
    return (fourth / second**2 - 3).mean(axis=1)


def until(run, step):
    """A Dynamics or an Ensemble cut to its first `step` states; what belongs to the last state or to all is left out.

    Raises ValueError if the run has fewer states, or none of these has kernels.
    """
    kept = run.kernels_at < step
    if not 1 <= step <= len(run.f) or not kept.any():
        raise ValueError(
            f"`step` must be from {run.kernels_at[0] + 1} to {len(run.f)}, the states of the run up to one with kernels; "
            f"got {step}. Train for more steps."
        )
    rows = {"f": slice(step), **dict.fromkeys(KERNELS, kept)} | ({} if run.f_test is None else {"f_test": slice(step)})
    changes = {name: getattr(run, name)[where] for name, where in rows.items()}
    if isinstance(run, Ensemble):
        changes["standard_error"] = {name: error[rows[name]] for name, error in run.standard_error.items()}
    else:
        changes |= dict(final_h=None, final_z=None, history=None)
    return replace(run, experiment=replace(run.experiment, steps=step), kernels_at=run.kernels_at[kept], **changes)
