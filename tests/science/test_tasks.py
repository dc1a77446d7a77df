"""Tasks and experiments: what they hold. What they must refuse: test_bad_input.py."""

import numpy as np
import pytest

import dmftlib as dl
from dmftlib.task import SHEETS


def test_task_keeps_float64_copies_and_their_kernel():
    X = np.arange(6).reshape(2, 3)
    task = dl.Task(X, [1, -1])
    X[:] = 0  # the task must not follow the caller's array
    assert task.X.dtype == task.y.dtype == np.float64 and (task.P, task.D) == (2, 3)
    np.testing.assert_array_equal(task.K_x, np.array([[5.0, 14.0], [14.0, 50.0]]) / 3)
    with pytest.raises(ValueError, match=r"read-only"):
        task.X[0, 0] = 1.0


def test_random_task_is_seeded_standard_normal_with_balanced_targets():
    task, again, other = (dl.Task.random(400, 50, seed, P_test=3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(task.X, again.X)
    assert not np.array_equal(task.X, other.X)
    assert task.X_test.shape == (3, 50) and task.y_test.shape == (3,)
    assert task.X_all.shape == (403, 50) and np.array_equal(task.X_all[:400], task.X)
    # 20000 numbers: the mean is within 4 standard errors of 0, the variance within 4 of 1.
    assert abs(task.X.mean()) < 4 / np.sqrt(20000) and abs(task.X.var() - 1) < 4 * np.sqrt(2 / 20000)
    np.testing.assert_array_equal(task.y, np.repeat([1.0, -1.0], 200))
    np.testing.assert_array_equal(dl.Task.random(5, 2).y, [1, 1, 1, -1, -1])
    # Adding test points leaves the training points as they were.
    np.testing.assert_array_equal(task.X, dl.Task.random(400, 50, 1).X)


def test_whitened_task_has_unit_kernel():
    task = dl.Task.whitened([1.5, -0.5, 0.25])
    np.testing.assert_allclose(task.K_x, np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(task.y, [1.5, -0.5, 0.25])


def test_circle_task_has_the_cosine_kernel():
    angles = np.array([0.0, 0.3, 2.0, np.pi])
    task = dl.Task.circle(angles, np.ones(4))
    np.testing.assert_allclose(task.K_x, np.cos(angles[:, None] - angles), atol=1e-15)


# --- Handwritten digits ----------------------------------------------------------------------------------------------


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


def test_a_direction_is_all_that_the_target_depends_on():
    task = dl.Task.direction(50, 7, 20, seed=3)
    np.testing.assert_array_equal(task.y, np.sign(task.X[:, 0]))
    np.testing.assert_array_equal(task.y_test, np.sign(task.X_test[:, 0]))
    assert task.X.shape == (50, 7) and task.X_test.shape == (20, 7)
