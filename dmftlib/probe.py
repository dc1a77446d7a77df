"""What a rule asks of a layer, found by running it on tiny ones: engines supply that, and nothing else."""

from __future__ import annotations

import numpy as np

from .rules import Layer, Rule

FIELDS = {name: (2, 3) for name in ("h", "phi", "phi_dot", "gate", "features", "gain", "g", "g_tilde_next")}
FIELDS |= {"error": (2, 1), "fresh_vector": (1, 3)}
BACKWARD = ("W_T", "W0_T", "fresh_T")
MOST_UNKEPT = 256  # gradients at a step that a Gaussian each is drawn for


class _Probe(Layer):
    """A layer of 3 neurons and 2 samples that writes down what a rule asks for."""

    def __init__(self):
        self.asked = set()

    def skip(self, v):
        self.asked.add("skip")
        return np.ones((2, 3))

    def __getattr__(self, name):
        if name in FIELDS:
            self.asked.add(name)
            return np.ones(FIELDS[name])
        if name in BACKWARD:
            self.asked.add(name)
            return lambda v: np.ones((2, 3))
        offered = ", ".join([*FIELDS, *BACKWARD, "skip"])
        raise AttributeError(f"a rule asked its layer for `{name}`, which no layer offers. It offers: {offered}.")


def needs(rule):
    """Names of what `rule` asks a layer for, found by running it once on a tiny layer."""
    probe = _Probe()
    for method in ("features", "gain", "pseudo_gradient"):
        try:
            value = getattr(rule, method)(probe)
        except NotImplementedError:
            raise TypeError(
                f"the rule {rule!r} has no method `{method}(layer)`. It must return a field of shape (P, neurons), "
                "built from what the layer offers: see dmftlib.rules.Layer."
            ) from None
        if np.shape(value) != (2, 3):
            raise ValueError(
                f"`{method}` of the rule {rule!r} must return a field of shape (P, neurons), here (2, 3); "
                f"got shape {np.shape(value)}."
            )
    return frozenset(probe.asked)


def images(experiment, S, record=False, linear=False):
    """Images that the mean field keeps of the directions of each basis, {basis: {image: kind of draw}}.

    The bases are those of `meanfield.revealed.RevealedMatrix`: of features, of the fields that the rule itself sends down,
    through W or through frozen weights, and of the gradient that is only recorded, of a rule that does not use it. That one
    has no basis in S samples if averages at equal times, of few rows, are all that is asked for: it is named "unkept" then.
    """
    asked = needs(experiment.rule)
    through_W = bool(asked & {"g", "W_T", "W0_T"})
    found = {"features": {"now": "forward"}, "sent": {}, "recorded": {}}
    if "W0_T" in asked or linear:
        found["features"]["initial"] = "forward"
    if through_W:
        found["sent"]["weights"] = "backward"
    if "fresh_T" in asked:
        found["sent"]["feedback"] = "feedback"
    # Recorded at all times, gradients that share W with the rule's fields share a basis: two-time averages need it.
    if "g" not in asked and not (record and through_W):
        offsets = 1 if experiment.convolution is None else experiment.convolution.K
        few = experiment.task.y.size * experiment.positions * offsets <= min(MOST_UNKEPT, S // 4)
        basis = "unkept" if few and not (record or linear) else "recorded"
        found[basis] = {"weights": "unused" if through_W else "backward"}
    return found


class _Rotated(Layer):
    """A layer of 4 neurons and 2 samples with φ(h) = c·h, whose neurons (and those above) are mixed by a rotation R."""

    def __init__(self, R, c):
        rng = np.random.default_rng(0)
        for name in ("h", "g", "g_tilde_next"):
            setattr(self, name, rng.standard_normal((2, 4)) @ R)
        self.phi, self.phi_dot, self.gate = c * self.h, np.full((2, 4), c), np.full((2, 4), c)
        self.error, self.fresh_vector = rng.standard_normal((2, 1)), rng.standard_normal((1, 4)) @ R
        for name in BACKWARD:
            W = R.T @ rng.standard_normal((4, 4)) @ R
            setattr(self, name, lambda v, W=W: v @ W)


def is_linear(rule, slope):
    """Whether `rule` only adds and scales fields when φ(h) = slope·h, so that mixing neurons mixes its g̃ alike.

    Not for a slope of None, which is that of any other φ, or 0.

    Then every field of a linear network is a combination of the Gaussians drawn, and averages over them suffice.
    Found by running the rule on one layer before and after a rotation.
    """
    if not slope:
        return False
    R, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))
    fields = []
    for layer in (_Rotated(np.eye(4), slope), _Rotated(R, slope)):
        layer.features, layer.gain = rule.features(layer), rule.gain(layer)
        fields.append([np.asarray(x) for x in (layer.features, rule.pseudo_gradient(layer), layer.gain)])
    # A rule may compute in float32. The slope is a unit of what is compared.
    same = lambda a, b: np.abs(a - b).max() <= 1e-4 * np.abs(b).max()  # noqa: E731
    (phi, g_tilde, gain), (mixed_phi, mixed_g_tilde, mixed_gain) = fields
    kept = same(mixed_phi, phi @ R) and same(mixed_g_tilde, g_tilde @ R)
    constant = np.full((2, 4), gain.flat[0])
    return bool(kept and same(gain, constant) and same(mixed_gain, constant))


def check_rule(rule):
    """Raise TypeError or ValueError if `rule` is not a Rule that every engine can run."""
    if not isinstance(rule, Rule):
        raise TypeError(f"`rule` must be a dmftlib.Rule object such as GD(); got {rule!r}.")
    try:
        hash(rule)
    except TypeError:
        raise TypeError(
            f"`rule` must be hashable, so that compiled engines can be reused; {type(rule).__name__} is not. "
            "Make it a frozen dataclass of numbers."
        ) from None
    needs(rule)


def check_within_layer(rule):
    """Raise ValueError if `rule` multiplies fields of two layers: above the last of a convolution there are no positions."""
    probe = _Probe()
    rows = {name: np.ones((6, shape[1])) for name, shape in FIELDS.items()}
    for name, value in (rows | dict(g_tilde_next=np.ones((2, 1)))).items():
        setattr(probe, name, value)
    for name in (*BACKWARD, "skip"):
        setattr(probe, name, lambda v: np.ones((6, 3)))
    try:
        found = [np.shape(getattr(rule, method)(probe)) for method in ("features", "gain", "pseudo_gradient")]
    except ValueError:
        found = []
    if found != 3 * [(6, 3)]:
        raise ValueError(
            f"`rule` {rule!r} uses `g_tilde_next` as if it had the rows of its layer; in a convolution it has no positions above "
            "the last layer. Send it through W_T, W0_T or fresh_T, or take `convolution` = None."
        )
