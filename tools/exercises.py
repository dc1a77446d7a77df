"""The exercises of theory that have no published solution: a field on the page, and a command, say whether an answer is right.

No answer is typed: each is computed when it is asked for, by the engine that the page is about.
"""

from functools import cache

import numpy as np

import dmftlib as dl
from companion.questions import self_check

from . import ToolError

QUESTIONS = {}


def asks(text: str, low: str, high: str, tolerance: float = 0.005):
    """Makes of a function that computes the answer the question of the page of its name."""

    def add(answer):
        name = f"check-{answer.__name__.replace('_', '-')}"
        QUESTIONS[answer.__name__] = cache(lambda: self_check(name, text, answer(), low, high, tolerance=tolerance))
        return answer

    return add


@asks(
    "f after two steps of gradient descent:",
    "At the second step ⟨h²⟩ and ⟨w²⟩ are above 1, and w and h move at once.",
    "The error of the second step is what the first one has left.",
)
def networks():
    experiment = dl.Experiment(dl.Task.whitened([1.0]), dl.GD(), 1, "linear", gamma0=2.0, lr=0.1, steps=3)
    return dl.meanfield.solve(experiment).f[2, 0]


@asks(
    "The step at which lazy training stops to converge:",
    "The largest eigenvalue is that of (1, 1): the sum of a row of K. Is each Φ passed through the right angle?",
    "Three matrices learn, and each has a term off the diagonal, too.",
)
def entk():
    task = dl.Task.circle([0.0, np.pi / 3], [1.0, 1.0])
    K = dl.lazy.kernels(dl.Experiment(task, dl.GD(), 2, "relu", gamma0=1.0, lr=0.1, steps=1)).K
    return 2 / np.linalg.eigvalsh(K).max()


@asks(
    "Φ² after one step:",
    "The response and what was learned both move h² along w(0): add them before you square. And Φ¹ has moved as well.",
    "u² has the variance Φ¹(1,1), and w(0) is independent of it.",
)
def meanfield():
    experiment = dl.Experiment(dl.Task.whitened([1.0]), dl.GD(), 2, "linear", gamma0=2.0, lr=0.1, steps=2)
    return dl.meanfield.solve(experiment).Phi[1, 1, 0, 0]


@asks(
    "Directions in both bases after eight recorded states:",
    "Each step adds to both bases: the features now contain the backward field of the step before.",
    "The kernel of five inputs in three dimensions has rank three, and the backward pass does not look at the sample.",
    tolerance=0.02,
)
def solver():
    experiment = dl.Experiment(dl.Task.random(5, 3, seed=0), dl.GD(), 2, "linear", gamma0=1.0, lr=0.02, steps=8)
    (rank,) = dl.meanfield.solve(experiment).provenance.rank
    return float(sum(rank))


@asks(
    "The number of inputs at which the estimate reaches 128 GiB:",
    "Only kernels have two axes of inputs: do not let all of the memory grow as P².",
    "Kernels grow as P², and at such sizes they are most of the memory.",
    tolerance=0.02,
)
def scale():
    def memory(P):
        experiment = dl.Experiment(dl.Task.random(P, 64), dl.GD(), 2, "tanh", gamma0=1.0, lr=0.1, steps=40)
        return dl.machine.estimate(experiment, dtype="float32", kernels_at=(0, 39), directions=400).memory

    few = np.array([4000, 8000, 16000])  # where kernels are most of it
    return np.roots(np.polyfit(few, [memory(P) for P in few], 2) - [0, 0, 2**37]).max()


def question(name: str):
    """The question of a page of theory."""
    if name not in QUESTIONS:
        raise ToolError(f"{name!r} is not one of {', '.join(map(repr, QUESTIONS))}.")
    return QUESTIONS[name]()


def field(name: str) -> str:
    """What a page of theory shows below its last exercise: the field, and the command that does without it."""
    command = f".venv/bin/dmft check {name} 0.5"
    told = f"The field needs JavaScript. In a clone of the repository `{command}` says the same of an answer 0.5."
    return f"```{{raw}} html\n{question(name)._repr_html_()}\n```\n\n{told}"
