"""The verdict rule of the tables of claims, case by case."""

import numpy as np
import pytest

from dmftlib.claims import HEAD, Claims, origin


def verdict(method, *values, **options):
    claims = Claims()
    getattr(claims, method)("a claim", "1", "a quantity", *values, "N = 8, 4 seeds", **options)
    assert claims.table().head == HEAD
    (row,) = claims.table().rows
    assert all(isinstance(cell, str) for cell in row)
    return row[HEAD.index("verdict")]


@pytest.mark.parametrize(
    "theory, networks, expected",
    [
        (1.0, (1.19, 0.1), "holds"),
        (1.0, (1.3, 0.1), "in part"),
        (1.0, (1.5, 0.1), "no"),
        ((1.0, 0.1), (1.25, 0.1), "holds"),  # errors in quadrature: 0.28 is allowed, not 0.4
        ((1.0, 0.1), (1.35, 0.1), "in part"),
        (100.0, (101.5, 0.01), "holds"),  # 2 % of the theory's value
        (100.0, (103.0, 0.01), "in part"),
        (100.0, (104.5, 0.01), "no"),
    ],
)
def test_agreement(theory, networks, expected):
    assert verdict("agree", theory, networks) == expected


@pytest.mark.parametrize(
    "theory, networks, sign, expected",
    [
        (1.0, (1.0, 0.1), 1, "holds"),
        (1.0, (1.0, 0.1), -1, "no"),
        (-1.0, (-1.0, 0.1), -1, "holds"),
        (0.1, (0.1, 0.06), 1, "no"),  # within 2 SE of zero
        (-0.1, (0.1, 0.01), 1, "no"),  # the theory goes the other way
    ],
)
def test_a_direction_must_be_there(theory, networks, sign, expected):
    assert verdict("agree", theory, networks, sign=sign) == expected


@pytest.mark.parametrize(
    "slope, expected",
    [((-1.1, 0.06), "holds"), ((-1.15, 0.05), "in part"), ((-1.3, 0.05), "no"), ((-1.0, 0.2), "in part")],
)
def test_a_slope_must_be_sharp_and_right(slope, expected):
    assert verdict("slope", slope) == expected


def test_an_order_needs_every_step_in_theory_and_networks():
    groups = lambda *means: [m + np.array([-0.01, 0.0, 0.01]) for m in means]  # noqa: E731
    assert verdict("ordered", [1, 2, 3], groups(1, 2, 3)) == "holds"
    assert verdict("ordered", [3, 2, 1], groups(3, 2, 1), sign=-1) == "holds"
    assert verdict("ordered", [1, 2, 3], groups(1, 2, 2)) == "in part"
    assert verdict("ordered", [1, 3, 2], groups(1, 2, 3)) == "in part"
    assert verdict("ordered", [1, 2, 3], groups(3, 2, 1)) == "no"


def test_an_order_of_networks_alone():
    groups = lambda *means: [m + np.array([-0.01, 0.0, 0.01]) for m in means]  # noqa: E731
    assert verdict("ordered", None, groups(3, 2, 1), sign=-1) == "holds"
    assert verdict("ordered", None, groups(3, 1, 1), sign=-1) == "in part"
    assert verdict("ordered", None, groups(3, 2, 1)) == "no"


def test_an_order_within_two_standard_errors_is_none():
    gains = np.array([-0.2, 1.0, 2.2])  # 1 ± 0.69
    assert verdict("ordered", [1, 2], [np.zeros(3), gains]) == "no"
    assert verdict("ordered", [1, 2], [np.zeros(3), gains + 0.5]) == "holds"


def test_origin_says_widths_and_seeds():
    ensemble = lambda width, n: type("E", (), dict(width=width, seeds=range(n)))  # noqa: E731
    assert origin([ensemble(64, 3), ensemble(64, 4)]) == "N = 64, 7 seeds"
    assert origin([ensemble(512, 3), ensemble(64, 4)]) == "N = 64…512, 7 seeds"
