"""The exercises of theory without a published solution: their answers by hand, their fields on the pages, their command."""

import re

import numpy as np
import pytest
from conftest import dmft
from test_browser import browser  # noqa: F401

from dmftlib import machine
from tools import exercises


def after_two_steps(lr=0.1, gamma0=2.0):
    """f of one linear hidden layer and one sample with target 1: ⟨h²⟩, ⟨w²⟩ and ⟨wh⟩ multiplied out."""
    squares, product = 2.0, 0.0  # ⟨h²⟩ + ⟨w²⟩, ⟨wh⟩
    for _ in range(2):
        step = lr * gamma0 * (1 - product / gamma0)
        squares, product = squares * (1 + step**2) + 4 * step * product, product * (1 + step**2) + step * squares
    return product / gamma0


def largest_step():
    """2/λ_max of the lazy K of two inputs at 60°, two hidden layers of ReLU: one angle a layer."""
    angles = [np.pi / 3]
    for _ in range(2):
        theta = angles[-1]
        angles.append(np.arccos(((np.pi - theta) * np.cos(theta) + np.sin(theta)) / np.pi))
    Phi, gains = np.cos(angles), 1 - np.array(angles) / np.pi  # Φ⁰ to Φ², ⟨φ̇φ̇⟩ of layers 1 and 2
    return 2 / (3 + Phi[0] * gains[0] * gains[1] + Phi[1] * gains[1] + Phi[2])


def inputs_that_fit(memory=2**37):
    """P of a quadratic in P, with three sweeps of half of the samples, two layers and two recorded steps in float32."""
    numbers = 2 * 4 + 1  # Φ, G, G̃ and ⟨g̃g̃⟩ of each layer and K, times P²
    averages = 8 * (2 + machine.EXACT)  # of both steps, and the exact ones of step 0
    kernels = numbers * (3 * 2 * 4 + averages)
    fields = 3 * 4 * 2048 * 2 * 2  # of two layers, up and down, times P
    bases = 3 * 4 * 2048 * 400 * 8  # with images, and larger ones beside them
    return (np.sqrt(fields**2 + 4 * kernels * (memory - bases)) - fields) / (2 * kernels)


BY_HAND = {
    "networks": after_two_steps(),
    "entk": largest_step(),
    "meanfield": 1 + 0.2**2 + (2 * 0.2) ** 2,  # ⟨u²u²⟩ = Φ¹; along w(0) the response adds 0.2 to what was learned
    "solver": (3 + 7) + 8,
    "scale": inputs_that_fit(),
}


@pytest.mark.parametrize("name", exercises.QUESTIONS)
def test_the_library_finds_what_is_found_by_hand(name):
    question = exercises.question(name)
    np.testing.assert_allclose(question.answer, BY_HAND[name], rtol=5e-3)  # it has three digits
    assert question.judge(BY_HAND[name]) == "Right."
    for wrong, words in ((0.9, "Too small. "), (1.1, "Too large. ")):
        assert re.match(rf"{words}\w", dmft("check", name, wrong * BY_HAND[name]).output)


@pytest.mark.parametrize("name", ["networks", "entk"])
def test_the_field_works_from_a_file_and_the_page_names_the_command(browser, html, name):  # noqa: F811
    page = browser.new_page()
    page.goto((html / "book" / f"{name}.html").as_uri())
    field = f"#check-{name.replace('_', '-')}"
    for guess in (BY_HAND[name], 2 * BY_HAND[name]):
        page.fill(f"{field}-guess", f"{guess:.4g}")
        page.press(f"{field}-guess", "Enter")
        assert page.inner_text(f"{field}-told") == exercises.question(name).judge(guess)
    assert f"dmft check {name} 0.5" in page.inner_text("main")
    page.close()
