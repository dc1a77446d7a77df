"""The page on speed and size: its tables against the committed results, and the costs at equal error by hand."""

import re
import sys

import numpy as np
import pytest
from conftest import cells

import dmftlib as dl
from tools import ROOT, markdown, speed_page

sys.path.insert(0, str(ROOT / "benchmarks"))
import scaling
import speed

SOURCE = (ROOT / "book" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sections():
    page = markdown.TEMPLATES.from_string(SOURCE).render(speed=speed_page, exercise=str)
    return dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))


def test_every_part_was_measured_in_full_on_a_machine_that_is_named():
    for script, parts in (("speed", speed.PARTS), ("scaling", scaling.PARTS)):
        assert set(speed_page.SOURCES[script]) <= set(parts)
        for part in speed_page.SOURCES[script]:
            about = speed_page.result(part)["about"]
            assert about["commit"] and about["processor"] and about["processors"] > 0 and about["jax"], part
            assert f'speed.measured("{part}")' in SOURCE


def test_many_inputs_are_learned_within_the_memory_stated(sections):
    """20 GiB; richer than lazy; kernels leave outputs as they are; what the page shows is in the file."""
    rows = {(row["rule"], row["route"]): row for row in speed_page.result("inputs")["rows"]}
    shown = cells(sections["Ten thousand inputs"])
    assert len(shown) == len(rows) == 6 and max(row["memory"] for row in rows.values()) < 20
    for rule in ("gd", "dfa"):
        none, last, lazy = (rows[rule, route] for route in ("()", "(39,)", "lazy"))
        assert none["test"] < lazy["test"] and none["memory"] < last["memory"] / 2
        np.testing.assert_allclose(none["loss"], last["loss"], rtol=1e-3)
        assert float(speed_page.on_a_device(rule)) < 60


@pytest.mark.parametrize("part", ["deep", "shallow"])
def test_costs_at_equal_error_follow_from_what_was_measured(part):
    for row in speed_page.result(part)["rows"]:
        assert [found["error"] for found in row["routes"]] == list(scaling.ERRORS)
        for found, again in zip(row["routes"], scaling.with_routes(row)["routes"], strict=True):
            for name, value in found.items():
                assert again[name] is value is None or again[name] == pytest.approx(value), (row["case"], name)


def test_where_networks_are_cheaper_than_the_mean_field():
    ratio = {
        (part, row["case"], found["error"]): speed_page.cheapest(row, found["error"])
        for part in ("deep", "shallow")
        for row in speed_page.result(part)["rows"]
        for found in row["routes"]
    }
    for (part, case, error), (route, times) in ratio.items():
        gln, hebb = (case.startswith(rule) for rule in ("gln", "hebb"))
        assert times > 1 or error > (0.02 if part == "deep" else 0.013), (part, case, error)
        if part == "deep":
            assert route == "narrow networks" or error not in speed_page.COMPARED
            assert error < 0.05 or (times > 1) == hebb, case
        else:
            assert error < 0.03 or times < 1, case
            if error in speed_page.COMPARED:
                assert (route == "narrow networks") == (gln and error == 0.013), (case, error)


# --- Costs at equal error ---------------------------------------------------------------------------------------------


def test_networks_needed_for_an_error():
    assert scaling.needed(0.03, 0.1, 0.01) == pytest.approx(5)  # 0.1/5 + 0.01
    assert scaling.needed(0.03, 0.1, 0.03) == np.inf and scaling.needed(0.3, 0.1, 0.01) == 1


def test_the_cheapest_numbers_of_networks_of_two_widths():
    narrow, wide, allowed, bias = (64, 1.0, 0.4), (128, 3.0, 0.2), 0.01, 0.002
    # A line through N and 2N at 1/N = 0 is 2 × wide − narrow.
    counts = np.arange(1, 4000)
    left = allowed - bias - 0.4 / counts
    wider = np.where(left > 0, 4 * 0.2 / np.where(left > 0, left, 1), np.inf)
    assert scaling.extrapolated(allowed, narrow, wide, bias) == pytest.approx(np.min(counts + wider * 3.0), rel=1e-3)
    assert scaling.extrapolated(allowed, narrow, wide, 0.02) == np.inf
    assert scaling.extrapolated(100.0, narrow, wide, 0.0) == 4.0  # one of each


def test_routes_to_an_error_by_hand():
    networks = [
        dict(width=N, cpu=(N / 512) ** 2, variance=20 / N, bias=b) for N, b in ((512, 0.01), (1024, -0.1), (2048, 0.2))
    ]
    ours = [dict(samples=S, cpu=S / 100, variance=1 / S, bias=0.005) for S in (100, 400)]
    lines = [dict(pair=[512, 1024], bias=-1.0), dict(pair=[512, 2048], bias=1.0)]
    found = scaling.routes(0.015**0.5, ours, networks, lines)
    assert found["narrow"] == pytest.approx(4 * 20 / 1024 / 0.015) and found["narrow_width"] == 1024
    assert found["widest"] == pytest.approx(16)  # one is enough; its bias is noise, since narrower ones have none
    line = scaling.extrapolated(0.015, (512, 1.0, 20 / 512), (1024, 4.0, 20 / 1024), 0.0)
    assert found["line"] == pytest.approx(line) and found["pair"] == [512, 1024]
    assert found["samples"] == pytest.approx(100, rel=2e-3)  # 1/100 + 0.005
    assert found["ours"] == pytest.approx(1.0, rel=2e-3)
    assert scaling.samples_for(0.006, ours) == pytest.approx(1000, rel=2e-3)
    assert scaling.samples_for(1.0, ours) == pytest.approx(100)  # not fewer than measured
    S = scaling.samples_for(0.006, [ours[0], ours[1] | dict(bias=-1.0)])  # which counts as 0
    assert 1 / S + 0.005 * (1 - np.log(S / 100) / np.log(4)) == pytest.approx(0.006, rel=2e-3)
    assert found["wide_width"] == pytest.approx(20 / 0.015) and found["wide"] == pytest.approx((20 / 0.015 / 512) ** 2)
    less = scaling.routes(0.004**0.5, ours, networks, [lines[1]])
    assert less["ours"] is less["samples"] is less["line"] is None and less["narrow_width"] == 1024
    assert speed_page.times(less, "line") == "never" and speed_page.times(found, "widest", " (x)") == "16 (x)"
    rows = [dict(routes=[found | dict(error=0.1)])]
    assert speed_page.cheapest(rows[0], 0.1) == ("narrow networks", pytest.approx(found["narrow"] / found["ours"]))


def test_variance_and_bias_of_runs_are_unbiased():
    rng, truth = np.random.default_rng(0), np.ones(4)
    parts = [scaling.split(truth + 0.3 + rng.standard_normal((3, 4)), truth, 0.0) for _ in range(4000)]
    np.testing.assert_allclose(np.mean(parts, axis=0), [1.0, 0.09], atol=0.02)


def test_operations_of_a_sweep_by_hand():
    e = dl.Experiment(dl.Task.random(2, 3, P_test=1), dl.GD(), 2, "tanh", 1.0, 0.1, 5)
    a_step = 4 * (3 + 2) * (7 + 4) + 2 * 2 * 7 + 2 * (3 + 2) * 3
    assert speed.operations(e, 10, [(7, 4)], recorded=2) == 10 * (5 * a_step + 2 * 8 * 2 * 2**2)


# --- Exercises --------------------------------------------------------------------------------------------------------


def solution(label):
    return SOURCE.partition(f"```{{solution}} {label}\n")[2].partition("\n```\n")[0]


def test_a_network_costs_as_much_as_the_sweep_at_the_width_stated():
    P, S, R, N = 10, 4096, 96, 768
    assert f"which is {N} for the numbers given" in solution("ex-scale-width")
    e = dl.Experiment(dl.Task.random(P, 50), dl.GD(), 2, "tanh", 1.0, 0.1, 1)
    inputs = 2 * 2 * P * P * S  # in the first layer, which has no gap
    assert speed.operations(e, S, [(R // 2, R // 2)], 0) - inputs == 2 * 3 * N**2 * P


def test_the_ratios_of_costs_are_those_of_the_library():
    def costs(P=8000, steps=40, **arguments):
        e = dl.Experiment(dl.Task.random(P, 64), dl.GD(), 2, "tanh", 1.0, 0.1, steps)
        found = dl.machine.estimate(e, **dict(directions=400) | arguments, kernels_at=(0, steps - 1))
        return np.array([found.operations, found.memory])

    doubled = dict(
        samples=dict(samples=8192), steps=dict(steps=80), directions=dict(directions=800), inputs=dict(P=16000)
    )
    shown = dict((row[0], row[1:]) for row in cells(solution("ex-scale-ratios"))[1:])
    assert list(shown) == list(doubled)
    for name, arguments in doubled.items():
        assert shown[name] == [f"{ratio:.2f}" for ratio in costs(**arguments) / costs()], name
