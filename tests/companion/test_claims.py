"""The two verdicts of the tables of claims, case by case."""

import json

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from companion.claims import COLUMNS, HEAD, Claims

WHERE = "N = 8, 4 seeds"


def row(method, *values, **options):
    claims = Claims()
    getattr(claims, method)("a claim", "1", "a quantity", *values, WHERE, **options)
    (found,) = claims.rows
    assert all(isinstance(found[name], str) for name in COLUMNS)
    return found


def occurs(method, *values, **options):
    return row(method, "the start", *values, **options)["occurs"]


def groups(*means):
    return [m + np.array([-0.01, 0.0, 0.01]) for m in means]


@pytest.mark.parametrize(
    "theory, networks, expected",
    [
        (1.0, (1.19, 0.1), "holds"),
        (1.0, (1.3, 0.1), "in part"),
        (1.0, (1.5, 0.1), "no"),
        ((1.0, 0.1), (1.25, 0.1), "holds"),  # errors in quadrature: 0.28 is allowed, not 0.4
        (100.0, (101.5, 0.01), "holds"),  # 2 % of the theory's value
        (100.0, (104.5, 0.01), "no"),
        (1.0, (1.0, np.nan), "unknown"),
    ],
)
def test_agreement(theory, networks, expected):
    assert row("agree", theory, networks)["verdict"] == expected


@pytest.mark.parametrize(
    "theory, half_step, networks, sign, expected",
    [
        (1.0, 1.0, (1.0, 0.1), 1, "yes"),
        (1.0, 1.0, (1.0, 0.1), -1, "no"),
        (-1.0, -1.0, (-1.0, 0.1), -1, "yes"),
        (1.0, 1.0, (3.0, 0.1), 1, "yes"),  # though theory and networks do not agree
        (0.1, 0.1, (0.1, 0.06), 1, "no"),  # networks within 2 SE of zero
        ((0.1, 0.06), (0.1, 0.06), (0.1, 0.01), 1, "no"),  # theory within 2 SE of its own
        (-0.006, 0.011, (0.1, 0.01), 1, "depends on the step"),
        (1.0, 1.0, (1.0, np.nan), 1, "unknown"),  # one group of networks
        (1.0, (1.0, np.nan), (1.0, 0.1), 1, "unknown"),
    ],
)
def test_a_phenomenon_occurs_in_theory_at_two_steps_and_in_networks(theory, half_step, networks, sign, expected):
    assert occurs("phenomenon", theory, half_step, networks, sign=sign) == expected


@pytest.mark.parametrize(
    "slope, expected",
    [
        ((-1.1, 0.06), "holds"),
        ((-1.15, 0.05), "in part"),
        ((-1.3, 0.05), "no"),
        ((-1.0, 0.2), "in part"),
        ((-1.0, np.nan), "unknown"),
    ],
)
def test_a_slope_must_be_sharp_and_right(slope, expected):
    assert row("slope", slope)["verdict"] == expected


@pytest.mark.parametrize(
    "theory, half_step, networks, expected",
    [
        ([1, 2, 3], [1, 2, 3], groups(1, 2, 3), "yes"),
        ([1, 2, 3], [1, 2, 3], groups(1, 2, 2), "in part"),
        ([1, 3, 2], [1, 3, 2], groups(1, 2, 3), "in part"),
        ([1, 2, 3], [1, 3, 2], groups(1, 2, 3), "depends on the step"),
        (groups(1, 2, 3), groups(1, 2, 3), groups(1, 2, 3), "yes"),
        ([[1.0], [2.0]], [1, 2], groups(1, 2), "unknown"),  # one seed of the theory: its error is unknown
        (None, groups(1, 2, 3), groups(1, 2, 3), "yes"),  # networks alone
        (None, groups(1, 2, 3), groups(1, 2, 2), "depends on the step"),
        (None, groups(3, 2, 1), groups(3, 2, 1), "no"),
    ],
)
def test_an_order_needs_every_step_in_theory_and_networks(theory, half_step, networks, expected):
    assert occurs("ordered", theory, half_step, networks) == expected
    turned = [None if values is None else [-np.asarray(v) for v in values] for values in (theory, half_step, networks)]
    assert occurs("ordered", *turned, sign=-1) == expected


def test_an_order_needs_two_standard_errors_and_its_agreement_is_that_of_last_less_first():
    gains = np.array([-0.2, 1.0, 2.2])  # 1 ± 0.69
    assert occurs("ordered", [1, 2], [1, 2], [np.zeros(3), gains]) == "no"
    assert occurs("ordered", [1, 2], [1, 2], [np.zeros(3), gains + 0.5]) == "yes"
    assert occurs("ordered", [np.zeros(3), gains], [1, 2], groups(1, 2)) == "depends on the step"
    assert row("ordered", "the first", [1, 2], [1, 2], groups(11, 12))["verdict"] == "holds"
    assert row("ordered", "the first", [1, 2], [1, 2], groups(1, 3))["verdict"] == "no"


def test_the_page_shows_three_digits_and_the_output_carries_them_all():
    claims = Claims()
    claims.phenomenon("Rises", "1a", "f", "GD", 1 / 3, (2 / 3, 0.01), (0.34567, 0.0123), WHERE)
    claims.ordered("Rises", "1a", "f", "lazy", None, groups(1, 2), [[1.0], [np.pi]], WHERE)
    table = claims.table()
    assert table.head == HEAD and table.rows[0][5:8] == ("0.333", "0.667", f"0.346 ± 0.01 ({WHERE})")
    data, metadata = DisplayFormatter().format(table)
    assert set(data) == {"text/plain", "text/html"} and "0.346 ± 0.01" in data["text/html"]
    first, second = json.loads(json.dumps(metadata["claims"], allow_nan=False))
    assert first["numbers"] == {
        "theory": [1 / 3], "theory_error": [0.0], "half_step": [2 / 3], "half_step_error": [0.01],
        "networks": [0.34567], "networks_error": [0.0123], "allowed": 2 * 0.0123,
    }  # fmt: skip
    assert second["numbers"]["networks"] == [1.0, np.pi] and second["numbers"]["theory"] == []
    assert first["occurs"] == "yes"
