"""The figure with sliders: its data, its picture and its page."""

import json
import re

import numpy as np
import pytest

from companion import figures, sliders
from dmftlib import Task, twolayer


@pytest.fixture(scope="module")
def shown():
    return sliders.two_layer()


def test_every_curve_is_a_closed_form(shown):
    task, times = Task.whitened([1.5]), shown.data["times"]
    rules = shown.data["rules"]
    for i, gamma0 in enumerate(shown.data["gamma0"]):
        gd, hebb = twolayer.gd(task, gamma0, times), twolayer.hebb(task, gamma0, times)
        np.testing.assert_allclose(rules["GD"]["curves"]["H_y"][i, 0], gd.H_y, rtol=1e-8)
        np.testing.assert_allclose(rules["Hebb"]["curves"]["Delta"][i, 0], hebb.Delta[:, 0], atol=1e-8)
    for j, rho in enumerate(shown.data["rho"]):
        fa = twolayer.fa(task, 1.0, [*times, np.inf], rho)
        k = shown.data["gamma0"].index(1.0)
        np.testing.assert_allclose(rules["FA(ρ)"]["curves"]["G_tilde"][k, j], fa.G_tilde[:-1, 0, 0, 0], rtol=1e-8)
        np.testing.assert_allclose(rules["FA(ρ)"]["ends"]["H_y"][k, j], fa.H_y[-1], rtol=1e-8)
    for quantity, values in rules["DFA = FA(0)"]["curves"].items():
        np.testing.assert_array_equal(values[:, 0], rules["FA(ρ)"]["curves"][quantity][:, 0])


def test_the_picture_has_the_same_data_and_a_text(shown):
    picture = shown.picture()
    assert isinstance(picture, figures.FigureWithData) and picture.png().startswith(b"\x89PNG")
    np.testing.assert_array_equal(picture.data["H_y"]["FA(ρ)"], shown.curve("FA(ρ)", "H_y"))
    assert "γ₀ = 1 and ρ = 0.5" in shown.alt and f"GD {np.sqrt(1 + 1.5**2):.3g}" in shown.alt


def test_the_page_is_deterministic_small_and_tells_curves_apart_without_colour(shown):
    page = shown._repr_html_()
    assert page == sliders.two_layer()._repr_html_() and len(page) < 400_000
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)[1])
    assert len({rule["dash"] for rule in data["rules"]}) == len({rule["color"] for rule in data["rules"]}) == 4


@pytest.mark.parametrize("name, value", [("gamma0", 1.1), ("rho", 0.55), ("rho", True)])
def test_a_start_that_the_sliders_do_not_have_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must be one of the values that the slider has, .*; got {value}"):
        sliders.two_layer(**{name: value})
