"""Many samples: kernels at asked steps, directions of many fields, what a run will take, samples shared by devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dl
from dmftlib import machine, meanfield
from dmftlib.results import KERNELS
from dmftlib.task import SHEETS

RULES = [dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb()]
SOME = (0, 3, 7)


def experiment(rule=None, P=6, D=5, layers=2, activation="tanh", steps=8, P_test=3):
    return dl.Experiment(dl.Task.random(P, D, 1, P_test), rule or dl.GD(), layers, activation, 1.0, 0.05, steps)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_kernels_at_asked_steps_are_those_of_all_steps(activation, monkeypatch):
    # Outputs lose the noise of the start only where all kernels tell how long it lasts.
    monkeypatch.setattr(meanfield, "_without_known_noise", lambda *_: {})
    e = experiment(activation=activation)
    for run in (lambda **k: meanfield.solve(e, 256, **k), lambda **k: dl.network.train(e, 32, **k)):
        whole, some = run(), run(kernels_at=SOME)
        assert some.kernels_at.tolist() == list(SOME) and whole.kernels_at.tolist() == list(range(8))
        np.testing.assert_allclose(some.kernel_times, [0, 0.15, 0.35])
        np.testing.assert_allclose(some.f, whole.f, atol=1e-12)
        np.testing.assert_allclose(some.f_test, whole.f_test, atol=1e-12)
        for name in (*KERNELS, "alignment", "H_y", "h_y", "corr_g"):
            np.testing.assert_allclose(getattr(some, name), getattr(whole, name)[list(SOME)], atol=1e-11, err_msg=name)


def test_ensembles_of_asked_steps_are_compared_with_theory_of_the_same_steps():
    e = experiment()
    theory = meanfield.solve(e, 1024, kernels_at=SOME)
    networks = dl.network.ensemble(e, 256, range(4), kernels_at=SOME)
    assert networks.K.shape == (3, 6, 6) and networks.kernels_at.tolist() == list(SOME)
    assert dl.compare(theory, networks)["K"][0] < 0.15  # 256 neurons, four networks
    with pytest.raises(
        ValueError, match=r"`theory` has those of \[0, 3, 7\], `runs` of \[1, 3, 7\]. Run them with one"
    ):
        dl.compare(theory, dl.network.ensemble(e, 8, range(2), kernels_at=(1, 3, 7)))
    with pytest.raises(
        ValueError, match=r"`runs` must have kernels of the same steps; runs\[0\] has those of \[0, 3, 7\]"
    ):
        meanfield.average([theory, meanfield.solve(e, 1024, 1, kernels_at=(0, 3, 6))])


@pytest.mark.parametrize(
    "steps, message",
    [
        ((), "must be a list of whole numbers, such as"),
        (3, "must be a list of whole numbers, such as"),
        ((0.5,), "must be a list of whole numbers, such as"),
        ((-1, 2), "must rise, from 0 or later to 7"),
        ((0, 8), "must rise, from 0 or later to 7"),
        ((2, 2), "must rise, from 0 or later to 7"),
    ],
)
def test_steps_that_do_not_exist_are_refused(steps, message):
    for run in (meanfield.solve, dl.network.train, machine.estimate):
        with pytest.raises(ValueError, match=f"`kernels_at` {message}"):
            run(experiment(), kernels_at=steps)


def test_many_fields_leave_outside_what_tol_allows():
    """Shares that are followed as differences lead to a basis that holds what it should, and to few rows too many."""
    with jax.enable_x64(True):
        rng, S, tol = np.random.default_rng(0), 512, 1e-2
        mixing = rng.standard_normal((120, 300)) * 0.9 ** np.arange(300)
        fields = jnp.asarray(np.tanh(mixing @ rng.standard_normal((300, S))))
        assert len(fields) > meanfield.CANDIDATES
        empty, partner = jnp.zeros((200, S)), jnp.zeros((4, S))
        images = (jnp.asarray(rng.standard_normal((200, S))),)

        def span(fields):
            length = jnp.sqrt((fields**2).mean(axis=1))
            return meanfield._span(fields, length, empty, jnp.zeros((), int), tol, images, partner, [])

        basis, count, _, projections, largest, lacks = span(fields)
        rounded = span(fields * (1 + 4e-16 * rng.standard_normal(fields.shape)))[0]
        np.testing.assert_allclose(rounded, basis, atol=1e-9)  # all are wholly outside at first: rounding chooses none
        residual = fields - (fields @ basis.T / S) @ basis
        share = np.asarray((residual**2).mean(axis=1) / (fields**2).mean(axis=1))
        count = int(count)
        assert not lacks and share.mean() <= tol and share.max() <= 10 * tol
        np.testing.assert_allclose(largest, share.max(), rtol=1e-8)
        np.testing.assert_allclose(basis[:count] @ basis[:count].T / S, np.eye(count), atol=1e-12)
        np.testing.assert_allclose(projections, fields @ basis.T / S, atol=1e-10)
        # The best basis of that many directions is that of the largest principal components.
        unit = fields / jnp.sqrt((fields**2).mean(axis=1))[:, None]
        values = np.linalg.eigvalsh(unit @ unit.T)[::-1]
        fewest = np.count_nonzero(values.sum() - np.cumsum(values) > tol * values.sum()) + 1
        assert fewest <= count <= 1.2 * fewest


def test_one_odd_field_among_many_is_not_lost():
    with jax.enable_x64(True):
        rng, S = np.random.default_rng(1), 256
        same, odd = rng.standard_normal((2, S))
        fields = jnp.asarray(np.stack([same] * 199 + [odd]))
        fresh = jnp.asarray(rng.standard_normal((20, S)))
        _, count, *_ = meanfield._span(
            fields,
            jnp.sqrt((fields**2).mean(axis=1)),
            jnp.zeros((20, S)),
            jnp.zeros((), int),
            1e-2,
            (fresh,),
            jnp.zeros((1, S)),
            [],
        )
        assert int(count) == 2  # its share of the variance, 1/200, is below tol


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_digits_theory_predicts_test_outputs_of_networks(rule):
    task = dl.Task.digits(60, 40, seed=0)
    e = dl.Experiment(task, rule, 2, "tanh", 1.0, 0.3 / 60, 12)
    theory = meanfield.solve(e, 2048, tol=1e-2, dtype="float32", kernels_at=(11,))
    runs = np.stack([dl.network.train(e, 512, s, "float32", kernels_at=(11,)).f_test[-1] for s in range(12)])
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    distance = np.linalg.norm(theory.f_test[-1] - runs.mean(axis=0))
    own = theory.provenance.errors["monte_carlo"]["f"] * np.linalg.norm(theory.f_test[-1])
    assert distance < 2.5 * np.hypot(np.linalg.norm(error), own)
    # A factor 2 in what test points hear of training would be far outside.
    assert np.linalg.norm(2 * theory.f_test[-1] - runs.mean(axis=0)) > 4 * np.linalg.norm(error)


def test_estimates_of_memory_hold_what_a_run_keeps():
    e = dl.Experiment(dl.Task.digits(300, 0), dl.GD(), 2, "tanh", 1.0, 1e-3, 10)
    whole, ends = (machine.estimate(e, dtype="float32", kernels_at=steps) for steps in (None, (0, 9)))
    kept = 10 * 300**2 * 9 * 4  # Φ, G, G̃, ⟨g̃g̃⟩ of two layers and K, float32, one sweep
    assert whole.memory - ends.memory == pytest.approx(0.8 * kept * (3 + 2 * machine.COPIES))
    assert machine.estimate(e, 8192).memory > 1.5 * machine.estimate(e, 4096).memory
    many, few = (machine.estimate(e, kernels_at=(0,), directions=n).operations for n in (200, 100))
    assert many > 1.5 * few
    assert f"{ends.directions} directions a basis" in str(ends)


def test_the_guess_of_directions_is_right_within_a_factor_of_three():
    for P, tol in ((10, 1e-3), (100, 3e-2)):
        e = dl.Experiment(dl.Task.digits(P, 0), dl.GD(), 2, "tanh", 1.5, 0.5 / P, 25)
        run = meanfield.solve(e, 2048, tol=tol, dtype="float32", kernels_at=(0,))
        guess = machine.estimate(e, 2048, tol).directions
        assert np.mean(run.provenance.rank) / 3 < guess < 3 * np.mean(run.provenance.rank)


def test_a_run_that_cannot_fit_is_refused_with_what_would(monkeypatch):
    e = dl.Experiment(dl.Task.digits(1000), dl.GD(), 2, "tanh", 1.0, 1e-3, 40)
    monkeypatch.setattr(machine, "_machine_memory", lambda: 2**32)
    with pytest.raises(
        MemoryError, match=r"about [\d.]+ GiB, and this machine or container has 4 GiB. With `kernels_at` = \(0, 39\)"
    ):
        meanfield.solve(e)


SHARED = """
import jax, numpy as np, dmftlib as dl
e = dl.Experiment(dl.Task.random(6, 5, 1, 3), dl.FA(0.5), 3, "tanh", 1.0, 0.05, 8)
for n in (None, 1, 2, 8):
    run = dl.meanfield.solve(e, 1200, devices=None if n is None else jax.devices()[:n])
    last = run if n is None else last
    print(n, max(np.abs(getattr(run, x) - getattr(last, x)).max() for x in ("f", "f_test", "Phi", "G_tilde", "K")))
"""


def test_samples_shared_by_devices_give_the_same_numbers():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARED],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["None", "1", "2", "8"]
    assert max(float(row[1]) for row in rows) < 1e-10  # rounding, grown over the steps


def test_samples_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(
        ValueError, match=r"`samples` must be divisible by twice the number of `devices`, 6; got 512. Pass 516"
    ):
        meanfield.solve(experiment(), 512, devices=3 * jax.devices())
    with pytest.raises(TypeError, match=r"`devices` must be a list of JAX devices, such as jax.devices\(\); got 'all'"):
        meanfield.solve(experiment(), 512, devices="all")


def shipped():
    """Images and labels, and the sheet of each row by the library's boundaries."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels, np.searchsorted(SHEETS, np.arange(len(labels)), side="right") - 1


def rows_of(X):
    """Which rows of the shipped images these samples are, whose pixels are centred and scaled together."""
    images, _, _ = shipped()
    images = images - images.mean(axis=0)
    distance = ((X[:, None] - images / images.std()) ** 2).sum(-1)
    assert distance.min(axis=1).max() < 1e-12
    return distance.argmin(axis=1)


def test_sheets_of_digits_are_found_from_labels_alone():
    """Cut where the parts need the fewest edits to become the first 130 labels, the list that each person copied."""
    labels = shipped()[1]
    wanted, n = labels[:130], len(labels)
    edits, cut = np.full(n + 1, np.inf), np.zeros(n + 1, int)
    edits[0] = 0
    for start in range(n):
        if edits[start] > 30:
            continue
        after = labels[start : start + 140]
        k = np.arange(len(after) + 1)
        row = k.astype(float)  # edits from the part of the list so far to the first k labels
        for label in wanted:
            row = np.concatenate([row[:1] + 1, np.minimum(row[1:] + 1, row[:-1] + (after != label))])
            row = np.minimum.accumulate(row - k) + k
        better = edits[start] + row[100:] < edits[start + k[100:]]
        ends = start + k[100:][better]
        edits[ends], cut[ends] = edits[start] + row[100:][better], start
    found = [n]
    while found[-1]:
        found.append(int(cut[found[-1]]))
    assert found[::-1] == [*SHEETS, n]
    assert edits[n] == 14 * 130 - n + 1  # what is lacking, and one digit that is another
    assert (np.diff(found[::-1]).min(), np.diff(found[::-1]).max()) == (122, 130)


def test_neighbours_of_digits_are_on_the_same_sheet_and_new_hands_are_harder():
    """What a split by rows tests: more than half of the nearest neighbours share a hand, and errors are a third."""
    images, labels, sheet = shipped()
    norms = (images**2).sum(axis=1)
    distance = norms[:, None] + norms - 2 * images @ images.T

    def wrong(part):
        nearest = np.where(part[:, None] == part, np.inf, distance).argmin(axis=1)
        return (labels[nearest] != labels).mean()

    nearest = (distance + np.diag(np.full(len(labels), np.inf))).argmin(axis=1)
    assert 0.5 < (sheet[nearest] == sheet).mean() < 0.6
    by_rows = np.mean([wrong(np.random.default_rng(s).permutation(sheet)) for s in range(3)])
    assert 2.5 < wrong(sheet) / by_rows < 3.5


@pytest.mark.parametrize("P, P_test, tested", [(300, 300, 7), (1407, 297, 3), (1667, 122, 1), (20, 1600, 13)])
def test_digits_are_tested_on_sheets_that_were_not_taught(P, P_test, tested):
    sheet = shipped()[2]
    for seed in range(3):
        task = dl.Task.digits(P, P_test, seed)
        train, test = rows_of(task.X), rows_of(task.X_test)
        assert (len(set(train)), len(set(test))) == (P, P_test)
        assert not set(sheet[train]) & set(sheet[test]) and len(set(sheet[test])) == tested


def test_digits_by_rows_are_a_split_of_all_that_scikit_learn_ships():
    _, labels, sheet = shipped()
    one, again, other = (dl.Task.digits(1500, 297, seed, split="rows") for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.X, again.X)
    assert not np.array_equal(one.X, other.X)
    rows = rows_of(one.X_all)
    assert sorted(rows) == list(range(1797)) and len(set(sheet[rows[1500:]])) == 14
    np.testing.assert_allclose(one.X_all.mean(axis=0), 0, atol=1e-12)
    assert (one.X_all**2).mean() == pytest.approx(1)
    np.testing.assert_array_equal(np.concatenate([one.y, one.y_test]), np.where(labels[rows] % 2 == 0, 1.0, -1.0))
    ten = dl.Task.digits(1500, 297, targets="all", split="rows")
    np.testing.assert_array_equal(np.concatenate([ten.y, ten.y_test]), np.eye(10)[labels[rows]] - 0.1)


def test_digits_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"`P` \+ `P_test` must be at most 1797 digits; got 1700 \+ 297. Pass fewer"):
        dl.Task.digits(1700)
    with pytest.raises(ValueError, match=r'`P` must be at most 1407 with `P_test` = 297, .* got 1408.*split="rows"'):
        dl.Task.digits(1408)
    with pytest.raises(ValueError, match="`targets` must be one of 'parity', 'all'; got 'odd'"):
        dl.Task.digits(10, targets="odd")
    with pytest.raises(ValueError, match="`split` must be one of 'sheets', 'rows'; got 'random'"):
        dl.Task.digits(10, split="random")
    with pytest.raises(ValueError, match="`P_test` must be a whole number, at least 0; got -1"):
        dl.Task.direction(10, 3, -1)


def test_a_direction_is_all_that_the_target_depends_on():
    task = dl.Task.direction(50, 7, 20, seed=3)
    np.testing.assert_array_equal(task.y, np.sign(task.X[:, 0]))
    np.testing.assert_array_equal(task.y_test, np.sign(task.X_test[:, 0]))
    assert task.X.shape == (50, 7) and task.X_test.shape == (20, 7)


MANY_SHAPES = """
import mmap
import dmftlib as dl
from dmftlib.machine import MAPPINGS, MOST_MAPPINGS

def solved(P):
    e = dl.Experiment(dl.Task.random(P, 4, 0), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=4)
    return dl.meanfield.solve(e, 256).f.tolist(), dl.network.train(e, 16).f.tolist()

def mappings():
    return MAPPINGS.read_bytes().count(b"\\n")

first, before = solved(1), mappings()
left = int(MOST_MAPPINGS.read_text()) - {room}
taken = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(left - before)]  # as if other shapes had taken them
for P in range(2, 8):
    solved(P)
    print(P, mappings() - left, flush=True)
assert solved(1) == first
"""


@pytest.mark.skipif(not machine.MOST_MAPPINGS.exists(), reason="there is no limit to keep below")
def test_shapes_without_end_leave_room_for_the_next():
    room = 3000  # six shapes take more
    if int(machine.MOST_MAPPINGS.read_text()) > 2**17:
        pytest.skip("so many mappings would take long to fill")
    run = subprocess.run([sys.executable, "-c", MANY_SHAPES.format(room=room)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    taken = [int(line.split()[1]) for line in run.stdout.splitlines()]
    assert len(taken) == 6 and max(taken) < room / 2, taken
