"""What a solution is said to take before it begins, against arrays that it really holds; what does not fit is refused."""

import gc

import jax
import numpy as np
import pytest

import dmftlib as dl
from dmftlib import machine
from dmftlib.meanfield import solver
from dmftlib.meanfield.sweep import BASES, HalfSweep

STEPS, SAMPLES = 10, 2**14


def experiment(rule=None, layers=2, P=6, P_test=3, steps=STEPS):
    return dl.Experiment(dl.Task.random(P, 5, 1, P_test), rule or dl.GD(), layers, "tanh", 1.0, 0.05, steps)


def memory(e=None, samples=SAMPLES, **options):
    return machine.estimate(e or experiment(), samples, **{"directions": 30, "kernels_at": (0,)} | options).memory


def held(e, dtype="float64", **options):
    """A half of the samples as the solver begins with it, and the bytes of a tree of its arrays."""
    half = HalfSweep(e, SAMPLES // 2, (0,), 1e-3, dtype, **options)
    return half, lambda tree: sum(array.nbytes for array in jax.tree.leaves(tree))


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.FA(0.0), dl.GLN()], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_grows_with_the_directions_as_the_bases_of_a_half_do(rule, dtype):
    """Two halves and the coarser run hold them; while a basis is made larger, the old ones and the new ones."""
    e = experiment(rule, layers=3)
    with jax.enable_x64(True):
        half, size = held(e, dtype)
        bases = [getattr(W, name) for W in half.weights[1:-1] for name in BASES if half.images[name]]
        one = size(bases) / np.mean([len(basis.directions) for basis in bases])
    more = (memory(e, dtype=dtype, directions=130) - memory(e, dtype=dtype, directions=30)) / 100
    assert 1.9 < more / (3 * one) < 2.4


def test_memory_grows_with_steps_by_the_fields_that_are_recorded():
    """φ, h, g, z and g̃ of every step, layer and sample: as computed, and once more in double precision; a run at a time."""
    for dtype, share in (("float32", 3), ("float64", 2)):
        with jax.enable_x64(True):
            half, size = held(experiment(), dtype, record=True)
            fields = size([half.records[name] for name in ("phi", "h", "g", "z", "g_tilde")])
        more = memory(dtype=dtype, record=True) - memory(dtype=dtype)
        assert more == pytest.approx(3 * share * fields), dtype
    assert memory(experiment(steps=100)) == memory()  # nothing else is kept for every step


def test_sweeps_are_let_go_of_before_their_records_are_averaged(monkeypatch):
    """What they hold is as much as all that comes later, so a reference that stays would double the memory."""
    known, left = solver.without_known_noise, []

    def spy(*arguments):
        left.extend(held for held in gc.get_objects() if isinstance(held, HalfSweep))
        return known(*arguments)

    gc.collect()
    gc.disable()  # whose turn may come late
    try:
        monkeypatch.setattr(solver, "without_known_noise", spy)
        dl.meanfield.solve(experiment(), SAMPLES)
    finally:
        gc.enable()
    assert not left


def test_a_run_is_refused_when_what_it_keeps_exceeds_the_memory(monkeypatch):
    arguments = (experiment(), SAMPLES, "float64", True, None)
    keeps = memory(directions=0, record=True, kernels_at=None)
    monkeypatch.setattr(machine, "_machine_memory", lambda: keeps)
    machine.refuse_what_does_not_fit(*arguments)
    monkeypatch.setattr(machine, "_machine_memory", lambda: 0.9 * keeps)
    with pytest.raises(MemoryError, match=r"With `kernels_at` = \(0, 9\) and `record` = False it takes 0.0\d+ GiB"):
        machine.refuse_what_does_not_fit(*arguments)


@pytest.mark.parametrize("rule, arrays", [(dl.GD(), 2), (dl.FA(0.5), 4)], ids=str)
def test_lazy_kernels_are_refused_when_they_exceed_the_memory(rule, arrays, monkeypatch):
    e, one = experiment(rule, P_test=0), 8 * 6**2  # of two layers; K is one more
    monkeypatch.setattr(machine, "_machine_memory", lambda: (2 * arrays + 1) * one)
    dl.lazy.kernels(e)
    monkeypatch.setattr(machine, "_machine_memory", lambda: (2 * arrays + 1) * one - 1)
    with pytest.raises(
        MemoryError, match=r"these kernels would take .* Use fewer samples, or, for K alone, `lazy.predict`"
    ):
        dl.lazy.kernels(e)
    dl.lazy.predict(e)


@pytest.mark.parametrize(
    "groups, files, limit",
    [
        ("0::/\n", {"memory.max": "2000\n"}, 2000),  # a container of its own group, version 2
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/job/step\n", {"job/memory.max": "1500\n", "job/step/memory.max": "max\n"}, 1500),
        ("4:memory:/docker/a\n0::/\n", {"memory/memory.limit_in_bytes": "3000\n"}, 3000),  # its path outside, version 1
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("4:cpu:/a\n", {"a/memory.max": "1\n", "memory/a/memory.limit_in_bytes": "1\n"}, None),
        (None, {}, None),
    ],
)
def test_the_memory_is_that_of_the_container(monkeypatch, tmp_path, groups, files, limit):
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    own = machine._machine_memory()
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        place = tmp_path / "groups" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert machine._machine_memory() == (limit or own) > 0


def test_old_shapes_are_forgotten_at_half_of_the_mappings(monkeypatch, tmp_path):
    forgotten = []
    monkeypatch.setattr(machine.jax, "clear_caches", lambda: forgotten.append(True))
    for name in ("MAPPINGS", "MOST_MAPPINGS"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    machine._forget_old_shapes()  # a system that has neither
    (tmp_path / "MOST_MAPPINGS").write_text("100\n")
    for mappings, expected in ((50, 0), (51, 1)):
        (tmp_path / "MAPPINGS").write_text(mappings * "a line\n")
        machine._forget_old_shapes()
        assert len(forgotten) == expected
