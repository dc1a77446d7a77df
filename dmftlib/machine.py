"""What a solution takes of this machine, before it is begun: memory, operations, time, memory mappings."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np

from .experiment import check_experiment
from .probe import BACKWARD, images, needs
from .validate import check_dtype, check_steps, whole

__all__ = ["Estimate", "estimate"]  # for users

GROWTH = 4  # directions a basis ends with, for each that the first step's features need; measured 3 to 9
SUBSET = 300  # samples on which those are counted
FIELDS, HELD_FIELDS = 12, 5  # arrays of fields that a step of a network holds at a time, and one of a sweep
EXACT = 3  # times the exact kernels of step 0: they, and what they are made of
COPIES = 5  # of a network's recorded kernels in float64
HELD = 2  # times the bases: while one is made larger, the old ones and the new ones
LEAST_EFFICIENCY = 0.3  # of the speed of a large product of matrices: the sweep reads and writes much beside
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
MAPPINGS, MOST_MAPPINGS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


@dataclass(frozen=True)
class Estimate:
    """memory in bytes, floating point operations in `dtype`, and the directions assumed for each basis."""

    memory: float
    operations: float
    directions: int
    dtype: str

    @property
    def seconds(self):
        """Time on this machine after compilation, from the speed of a product of matrices, measured now."""
        return self.operations / (LEAST_EFFICIENCY * _speed(self.dtype))

    def __str__(self):
        return (
            f"about {self.memory / 2**30:.2g} GiB, {self.operations:.1e} operations, {self.seconds:.2g} s on this machine "
            f"after compilation, with {self.directions} directions a basis"
        )


def estimate(experiment, samples=4096, tol=1e-3, dtype="float64", record=False, kernels_at=None, directions=None):
    """An Estimate for meanfield.solve with the same arguments, within a factor of about three.

    directions   what each basis ends with, if known, such as `provenance.rank` of a like run; by default guessed from
                 the kernel of the first features. Cost is proportional to it.

    Raises ValueError or TypeError, naming the argument, like solve.
    """
    check_experiment(experiment)
    check_dtype(dtype)
    samples = whole("samples", samples, 4)
    kernels_at = check_steps("kernels_at", kernels_at, experiment.steps, least=0)
    task, T, gaps = experiment.task, experiment.steps, experiment.hidden_layers - 1
    if directions is None:
        directions = _guess(experiment, tol, samples) if gaps else 0
    directions = whole("directions", directions, 0)
    recorded = T if kernels_at is None else len(kernels_at)
    A, K = experiment.positions, 1 if experiment.convolution is None else experiment.convolution.K
    n, P, rows, S, item = A * len(task.X_all), A * task.P, A * task.y.size, samples // 2, np.dtype(dtype).itemsize
    kernels = experiment.hidden_layers * (P**2 + 3 * rows**2) + task.y.size**2

    ways_back = 1 + len(needs(experiment.rule) & {"W0_T", "fresh_T"})
    step = 2 * S * gaps * directions * (K + 1) / 2 * (5 * n + 5 * ways_back * rows) + 4 * S * (n + rows) * task.D
    # The coarser run has fewer directions; that of double steps, half of the steps.
    halves = 2 + (gaps > 0) / 3 + (experiment.substeps > 1) / 2
    operations = halves * (T * step + 2 * S * recorded * kernels)

    kinds_of = images(experiment, S, record)
    arrays = sum(1 + len(kinds) for basis, kinds in kinds_of.items() if kinds and basis != "unkept")
    bases = HELD * arrays * gaps * directions * (K + 1) / 2 * S * item
    fields = experiment.hidden_layers * (n + rows) * S * item
    kept = 2 * P + (3 + len(needs(experiment.rule).intersection(BACKWARD))) * rows
    history = record * T * experiment.hidden_layers * kept * S * (item + 8)
    sweeps = 2 + (gaps > 0) + (experiment.substeps > 1)
    at_once = min(sweeps, os.cpu_count())
    memory = sweeps * (bases + fields + history + recorded * kernels * item)
    # Afterwards averages are made in float64 and, where step 0 is recorded, its exact kernels, which they are compared with.
    first = recorded and (kernels_at is None or kernels_at[0] == 0)
    averages = 8 * kernels * (recorded + first * EXACT)
    memory += max(at_once * (HELD_FIELDS * fields + (recorded > 1) * kernels * item), averages)
    return Estimate(float(memory), float(operations), directions, dtype)


def _guess(experiment, tol, samples):
    """Directions that a basis ends with: those of the first features on a subset, times a growth."""
    X = experiment.inputs[: experiment.task.P * experiment.positions]  # test points ask for no direction
    some = X[np.linspace(0, len(X) - 1, min(len(X), SUBSET)).astype(int)]
    Phi = experiment.phi.phi_phi(some @ some.T / X.shape[1])
    length = np.sqrt(np.maximum(np.diag(Phi), np.finfo(float).tiny))  # each field counts by its own variance
    Phi = np.linalg.eigvalsh(Phi / np.outer(length, length))[::-1]
    needed = int(np.count_nonzero(Phi.sum() - np.cumsum(Phi) > tol * Phi.sum())) + 1
    return min(GROWTH * needed, len(X) * experiment.steps, samples // 3)


def _speed(dtype, size=1024):
    """Operations a second of a product of two square matrices."""
    a = np.ones((size, size), dtype)
    a @ a
    start = time.perf_counter()
    a @ a
    return 2 * size**3 / (time.perf_counter() - start)


def _machine_memory():
    """Bytes that this process may use: the physical memory, or less where a container or a job has a limit of its own."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def _limits():
    """Memory limits in bytes of the control groups that this process is in and of those around them, versions 1 and 2."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:  # a system without them
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        folder, name = (GROUPS / "memory", "memory.limit_in_bytes") if kinds else (GROUPS, "memory.max")
        # In a container the path may be one outside of it: then the folder does not exist, and the root is its own.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            try:
                limit = folder.joinpath(*parts[:depth], name).read_text().strip()
            except OSError:
                continue
            if limit.isdigit():  # "max" stands for no limit in version 2, a number above any memory in version 1
                yield int(limit)


def refuse_what_does_not_fit(experiment, samples, dtype, record, kernels_at):
    """Raise MemoryError, with what would fit, if fields and recorded kernels alone exceed the memory of this machine."""
    arguments = dict(samples=samples, dtype=dtype, record=record, kernels_at=kernels_at, directions=0)
    needed, has = estimate(experiment, **arguments).memory, _machine_memory()
    if needed > has:
        T = experiment.steps
        ends = estimate(experiment, **arguments | dict(kernels_at=sorted({0, T - 1}), record=False)).memory
        raise MemoryError(
            f"this run would take about {needed / 2**30:.3g} GiB, and this machine or container has {has / 2**30:.3g} GiB. With "
            f"`kernels_at` = (0, {T - 1}) and `record` = False it takes {ends / 2**30:.3g} GiB; fewer `samples` or "
            'dtype = "float32" take less, too.'
        )


def refuse_kernels(needed):
    """Raise MemoryError if lazy kernels of so many bytes exceed the memory of this machine."""
    if needed > (has := _machine_memory()):
        raise MemoryError(
            f"these kernels would take {needed / 2**30:.3g} GiB, and this machine or container has {has / 2**30:.3g} GiB. Use fewer "
            "samples, or, for K alone, `lazy.predict`."
        )


def room_for_directions(experiment, width, dtype, record, kernels_at):
    """Directions of a basis for which a revealed network of this width has memory, numbers in a direction at most.

    Raises MemoryError, with a width that would fit, if not even those of the first step have room.
    """
    task, L, T = experiment.task, experiment.hidden_layers, experiment.steps
    A, K = experiment.positions, 1 if experiment.convolution is None else experiment.convolution.K
    n, P, rows, asked, item = (
        A * len(task.X_all),
        A * task.P,
        A * task.y.size,
        needs(experiment.rule),
        np.dtype(dtype).itemsize,
    )
    arrays = (L - 1) * (4 + ("W0_T" in asked) + 2 * ("fresh_T" in asked)) * (K + 1) / 2
    recorded = (T if kernels_at is None else len(kernels_at)) * (L * (P**2 + 3 * rows**2) + task.y.size**2)
    history = 2 * record * T * L * (P + 2 * rows) * 8  # a list of them, and an array
    a_neuron, has = FIELDS * L * (n + rows) * item + history, _machine_memory() - COPIES * 8 * recorded
    needed = a_neuron + min(max(n, rows), width) * arrays * item  # a direction for each field of the first step
    if width * needed > has:
        raise MemoryError(
            f"`width` = {width} would take at least {width * needed / 2**30:.3g} GiB, and this machine or container has "
            f"{has / 2**30:.3g} GiB for it. Pass a `width` of at most {max(int(has / needed), 0)}, "
            "or record = False, or fewer `kernels_at`."
        )
    return min(K * width, int((has / width - a_neuron) / max(arrays * item, 1)))


def give_back_freed_memory():
    """Let the C library return what was freed: each thread keeps up to hundreds of megabytes, which other threads cannot use."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # not in every C library
        trim(0)


def _forget_old_shapes():
    """Forget compiled functions once the process has half of the memory mappings that Linux allows.

    Each new shape of an experiment keeps some hundred of them, and XLA crashes, without an error, when none is left.
    """
    try:
        count, most = MAPPINGS.read_bytes().count(b"\n"), int(MOST_MAPPINGS.read_text())
    except OSError:  # a system without such a limit
        return
    if count > most / 2:
        jax.clear_caches()


@lru_cache(maxsize=1)
def _look(second):
    """Once a second: counting takes as long as training a narrow network, and few shapes are compiled in a second."""
    _forget_old_shapes()


def make_room():
    """Called by the engines before they compile."""
    _look(int(time.monotonic()))
