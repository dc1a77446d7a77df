"""Questions that a page puts to its reader: guess a number before reading on, or check one's own answer.

Both are a labelled field and a button that work where the page is read, by keyboard, on a phone and without a network. Texts
are plain; the answer comes from the run that the page shows, with three significant digits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from numbers import Real

import numpy as np

from .markup import fill


@dataclass(frozen=True)
class Question:
    """`_repr_html_` for a page; printed, the question and, if it is not kept back, the answer."""

    name: str
    text: str
    answer: float
    told: dict  # what the page says afterwards, by outcome
    tolerance: float
    unit: str
    open: bool  # whether the answer is shown

    def _repr_html_(self):
        shown = f"{self.answer:g} {self.unit}".rstrip()
        data = dict(answer=self.answer, shown=shown, tolerance=self.tolerance, open=self.open, **self.told)
        text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
        return fill("question.html", "question.js", text, shown=shown, **vars(self))

    def judge(self, guess):
        """What the page says of a guess at a question whose answer is kept back."""
        off = (guess - self.answer) / abs(self.answer)
        if abs(off) <= self.tolerance:
            return "Right."
        side, hint = ("Too small.", self.told["low"]) if off < 0 else ("Too large.", self.told["high"])
        return f"{side} {hint}".rstrip()

    def __repr__(self):
        return f"{self.text}" + (f" Answer: {self.answer:g} {self.unit}".rstrip() if self.open else "")


def _question(name, text, answer, tolerance, unit, **rest):
    if isinstance(answer, bool) or not isinstance(answer, Real) or not np.isfinite(answer) or answer == 0:
        raise ValueError(f"`answer` must be a finite number other than 0, to measure distances by; got {answer!r}.")
    if not isinstance(name, str) or not name[:1].isalpha() or not name.replace("-", "").isalnum():
        raise ValueError(f"`name` becomes an HTML id: letters, digits and hyphens, a letter first; got {name!r}.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` is relative, between 0 and 1; got {tolerance!r}.")
    return Question(name, text, float(f"{answer:.3g}"), tolerance=tolerance, unit=unit, **rest)


def predict(name, text, answer, why, low="", high="", unit="", tolerance=0.1):
    """A guess before reading on: the page says how far off it was, in which direction, and why. Returns Question.

    why         explains the answer, whatever the guess
    low, high   what a guess below or above by more than `tolerance` (relative) has overlooked

    Raises ValueError for a name that is no HTML id, an answer that is 0 or not finite, a tolerance outside (0, 1).
    """
    return _question(name, text, answer, tolerance, unit, told=dict(why=why, low=low, high=high), open=True)


def self_check(name, text, answer, low="", high="", tolerance=0.02):
    """Whether the reader's own result is right, without showing it: for an exercise without a solution. Returns Question.

    Raises as `predict`.
    """
    return _question(name, text, answer, tolerance, "", told=dict(why="", low=low, high=high), open=False)
