"""Gaussian averages of activations, against integrals done another way and against identities."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import dmftlib as dl
from dmftlib.activations import ACTIVATIONS, activation_from, gaussian_average

NAMES = ["relu", "tanh", "erf", "linear"]


def covariance(P=4, seed=0):
    """A generic covariance with unequal variances, positive and negative correlations."""
    A = np.random.default_rng(seed).standard_normal((P, P + 1))
    return A @ A.T / P


def normal_mean(F, sd, mean=0.0):
    """⟨F(u)⟩ for u ~ N(mean, sd²), by adaptive quadrature."""
    weighted = integrate.quad(lambda s: F(mean + sd * s) * np.exp(-(s**2) / 2), -10, 10, epsabs=1e-12, limit=200)[0]
    return weighted / np.sqrt(2 * np.pi)


def by_dblquad(F, Sigma):
    """⟨F(u) F(v)⟩: of v given u, then of u. Absolute error below 1e-10."""
    a, b, c = Sigma[0, 0], Sigma[1, 1], Sigma[0, 1]
    return normal_mean(lambda u: F(u) * normal_mean(F, np.sqrt(b - c**2 / a), c / a * u), np.sqrt(a))


def tanh_dot(h):
    return 1 / np.cosh(h) ** 2


@pytest.mark.parametrize("Sigma", [covariance(2, 1), 4 * covariance(2, 2), np.array([[1.0, -0.97], [-0.97, 1.0]])])
def test_tanh_averages_by_adaptive_quadrature(Sigma):
    tanh = activation_from("tanh")
    pairs = [(tanh.phi_phi, np.tanh), (tanh.dot_dot, tanh_dot)]
    for average, F in pairs:
        np.testing.assert_allclose(average(Sigma)[0, 1], by_dblquad(F, Sigma), rtol=0, atol=1e-8)
        # The diagonal is a one-dimensional integral.
        expected = [normal_mean(lambda u, F=F: F(u) ** 2, np.sqrt(v)) for v in np.diag(Sigma)]
        np.testing.assert_allclose(np.diag(average(Sigma)), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("theta", [0.01, 0.4, np.pi / 2, 2.2, 3.13])
def test_relu_averages_in_polar_coordinates(theta):
    # u = a r cos(s), v = b r cos(s − θ): both are positive for s between θ − π/2 and π/2, ⟨r²⟩ = 2 and φ = √2 u.
    a, b = 1.7, 0.4
    Sigma = np.array([[a**2, a * b * np.cos(theta)], [a * b * np.cos(theta), b**2]])
    wedge = integrate.quad(lambda s: np.cos(s) * np.cos(s - theta), theta - np.pi / 2, np.pi / 2, epsabs=1e-13)[0]
    relu = activation_from("relu")
    np.testing.assert_allclose(relu.phi_phi(Sigma)[0, 1], 2 * a * b * 2 * wedge / (2 * np.pi), rtol=0, atol=1e-12)
    np.testing.assert_allclose(relu.dot_dot(Sigma)[0, 1], 2 * (np.pi - theta) / (2 * np.pi), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_prices_theorem(name):
    # ∂⟨φ(u)φ(v)⟩/∂Σ_uv = ⟨φ̇(u)φ̇(v)⟩ for every φ: links the two averages with no formula of either.
    Sigma, step = covariance(2, 3), 1e-3
    E = np.array([[0.0, 1.0], [1.0, 0.0]])
    phi = activation_from(name)

    def central(h):
        return (phi.phi_phi(Sigma + h * E)[0, 1] - phi.phi_phi(Sigma - h * E)[0, 1]) / (2 * h)

    # Richardson leaves an error O(h⁴) ~ 1e-12 and the quadrature's 1e-9 divided by h.
    derivative = (4 * central(step) - central(2 * step)) / 3
    np.testing.assert_allclose(derivative, phi.dot_dot(Sigma)[0, 1], rtol=0, atol=1e-6)


# --- Degenerate inputs: exact, not nearly ---------------------------------------------------------------------------


def test_relu_degenerate_inputs_are_exact():
    x = np.array([0.6, -0.1, 1.3])
    inputs = np.stack([x, x, -x, 2 * x, np.zeros(3)])
    Sigma = inputs @ inputs.T / 3
    relu = activation_from("relu")
    phi_phi, dot_dot = relu.phi_phi(Sigma), relu.dot_dot(Sigma)
    v = Sigma[0, 0]
    np.testing.assert_allclose(phi_phi[0, [0, 1, 3]], [v, v, 2 * v], rtol=1e-15)  # equal and parallel: ⟨φφ⟩ = Σ
    np.testing.assert_array_equal(phi_phi[[0, 1, 3], 2], 0.0)  # opposite: never both positive
    np.testing.assert_array_equal(phi_phi[4], 0.0)  # zero norm
    np.testing.assert_array_equal(dot_dot[0, [0, 1, 3]], 1.0)
    np.testing.assert_array_equal(dot_dot[[0, 1, 3], 2], 0.0)
    # At u = 0 the slope is taken as 0, by every engine.
    np.testing.assert_array_equal(dot_dot[4], 0.0)
    assert relu.phi_dot(jnp.zeros(1))[0] == 0.0


@pytest.mark.parametrize("name", ["tanh", "erf", "linear"])
def test_odd_activations_at_degenerate_inputs(name):
    x = np.array([0.6, -0.1, 1.3])
    inputs = np.stack([x, x, -x, np.zeros(3)])
    Sigma = inputs @ inputs.T / 3
    phi = activation_from(name)
    phi_phi, dot_dot = phi.phi_phi(Sigma), phi.dot_dot(Sigma)
    # φ odd, φ̇ even: opposite inputs give −⟨φ²⟩ and +⟨φ̇²⟩, to the last digits.
    np.testing.assert_allclose(phi_phi[0, :3], phi_phi[0, 0] * np.array([1, 1, -1]), rtol=1e-14)
    np.testing.assert_allclose(dot_dot[0, :3], dot_dot[0, 0], rtol=1e-14)
    np.testing.assert_allclose(phi_phi[3], 0.0, atol=1e-15)
    # Zero norm: φ̇(0)⟨φ̇(u)⟩, and φ̇(0)² with itself.
    with jax.enable_x64(True):
        at_zero = float(phi.phi_dot(jnp.zeros(1))[0])
    np.testing.assert_allclose(dot_dot[3, 3], at_zero**2, rtol=1e-12)
    slope = {"tanh": tanh_dot, "erf": lambda h: 2 / np.sqrt(np.pi) * np.exp(-(h**2)), "linear": np.ones_like}[name]
    np.testing.assert_allclose(dot_dot[0, 3], at_zero * normal_mean(slope, np.sqrt(Sigma[0, 0])), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_nearly_equal_inputs_give_finite_and_continuous_averages(name):
    # The correlation is 1 up to rounding, on either side: nothing may become NaN.
    phi = activation_from(name)
    for gap in (0.0, 1e-16, 1e-15, 1e-13, -1e-15):
        Sigma = np.array([[1.0, 1.0 - gap], [1.0 - gap, 1.0]])
        for average in (phi.phi_phi, phi.dot_dot):
            kernel = average(Sigma)
            assert np.isfinite(kernel).all()
            # φ̇φ̇ of ReLU has an infinite slope here: √(2 gap)/π.
            np.testing.assert_allclose(kernel[0, 1], kernel[0, 0], rtol=0, atol=1e-6)


# --- User functions --------------------------------------------------------------------------------------------------


def test_user_function_against_its_closed_form():
    # ⟨sin u sin v⟩ = e^{−(a+b)/2} sinh c, ⟨cos u cos v⟩ = e^{−(a+b)/2} cosh c; singular covariances included.
    sine = dl.Activation("sine", jnp.sin)
    for Sigma in (covariance(4, 5), np.array([[2.0, -2.0], [-2.0, 2.0]]), np.zeros((2, 2))):
        half = (np.diag(Sigma)[:, None] + np.diag(Sigma)) / 2
        np.testing.assert_allclose(sine.phi_phi(Sigma), np.exp(-half) * np.sinh(Sigma), rtol=0, atol=1e-8)
        np.testing.assert_allclose(sine.dot_dot(Sigma), np.exp(-half) * np.cosh(Sigma), rtol=0, atol=1e-8)


def test_what_the_series_leaves_is_a_convolution():
    # Too steep for the 32 terms allowed: ⟨sin u sin v⟩ = e^{−(a+b)/2} sinh c again.
    for sign in (1, -1):
        Sigma = np.array([[25.0, sign * 24.0], [sign * 24.0, 25.0]])
        found = gaussian_average(jnp.sin, jnp.sin, Sigma, most_terms=32)
        np.testing.assert_allclose(found, np.exp(-25.0) * np.sinh(Sigma), rtol=0, atol=1e-10)


@pytest.mark.parametrize("variance", [50.0, 1e4])
def test_large_inputs_by_the_closed_forms_of_erf(variance):
    # Inputs that were not scaled, such as pixels up to 255: a row of correlations with the first, and unequal norms.
    erf, corr = ACTIVATIONS["erf"], np.eye(6)
    corr[0, 1:] = corr[1:, 0] = [-0.9999, 0.3, 0.97, 1 - 1e-6, 1 - 1e-12]
    Sigma = variance * corr * np.sqrt(np.outer([1] + 5 * [0.3], [1] + 5 * [0.3]))
    for F, closed in ((erf.phi, erf.phi_phi), (erf.phi_dot, erf.dot_dot)):
        expected = closed(Sigma)
        np.testing.assert_allclose(gaussian_average(F, F, Sigma), expected, rtol=0, atol=1e-9 * expected.max())


# --- What an activation is, whatever its name --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phi, slope",
    [
        (lambda h: h, 1.0),
        (lambda h: h / 3, 1 / 3),
        (lambda h: -2.0 * h, -2.0),
        (jnp.tanh, None),
        (lambda h: jnp.clip(h, -100.0, 100.0), None),
        (lambda h: h + 1e-9 * jnp.tanh(h), None),
        (lambda h: h + 1.0, None),
    ],
)
def test_linear_is_a_property_of_the_function(phi, slope):
    assert dl.Activation("linear", phi).slope == slope


STRICT = """
import numpy as np, dmftlib as dl
for rule, act, dtype in ((dl.FA(0.5), "tanh", "float64"), (dl.GLN(), "relu", "float32")):
    e = dl.Experiment(dl.Task.random(2, 5, P_test=1), rule, 2, act, 1.0, 0.05, 3)
    runs = dl.lazy.predict(e), dl.meanfield.solve(e, 128, tol=1e-2, dtype=dtype), dl.network.train(e, 4, dtype=dtype)
    print(*[repr(float(np.sum(run.f))) for run in runs])
"""


def test_settings_of_the_process_change_nothing():
    # Two processes, since the settings are read when JAX is imported: errors at import are found by nothing else.
    settings = dict(
        PYTHONHASHSEED="1", JAX_NUMPY_DTYPE_PROMOTION="strict", JAX_NUMPY_RANK_PROMOTION="raise", JAX_ENABLE_X64="1"
    )
    told = [
        subprocess.run([sys.executable, "-c", STRICT], env=os.environ | more, capture_output=True, text=True)
        for more in (dict(PYTHONHASHSEED="0"), settings)
    ]
    assert told[1].returncode == 0, told[1].stderr
    assert told[0].stdout == told[1].stdout and len(told[0].stdout.splitlines()) == 2
