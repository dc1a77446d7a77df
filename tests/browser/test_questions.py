"""Questions to the reader: what their page says of a guess, by keyboard, and what it refuses."""

import pytest
from test_browser import browser  # noqa: F401

from companion import questions

OPEN = dict(why="Because of <b> & ρ.", low="You forgot the readout.", high="Not every layer counts.", unit="layers")
OPEN_QUESTION = questions.predict("q", "?", 2, **OPEN)
CHECK = questions.self_check("q", "?", 2, low="Low.", high="High.")


def test_the_page_has_a_labelled_field_and_no_markup_from_the_texts():
    page = questions.predict("guess-k", "How large is K < 3?", 2.0004, **OPEN)._repr_html_()
    assert '<label for="guess-k-guess">How large is K &lt; 3?</label>' in page
    assert "2 layers. Because of &lt;b&gt; &amp; ρ." in page and "http" not in page
    assert page == questions.predict("guess-k", "How large is K < 3?", 2.0, **OPEN)._repr_html_()


@pytest.mark.parametrize(
    "question, guess, words",
    [
        (OPEN_QUESTION, "2", "You said 2, the answer is 2 layers: exactly. Because of <b> & ρ."),
        (OPEN_QUESTION, "1", "You said 1, the answer is 2 layers: you are 50 % below. You forgot the readout. Because of <b> & ρ."),
        (OPEN_QUESTION, "100", "You said 100, the answer is 2 layers: you are 49 times its size above. Not every layer counts. Because of <b> & ρ."),
        (CHECK, "1.97", "Right."),
        (CHECK, "-2", "Too small. Low."),
        (CHECK, "2.1", "Too large. High."),
    ],
)  # fmt: skip
def test_a_guess_is_judged_by_keyboard_alone(browser, question, guess, words):  # noqa: F811
    page = browser.new_page()
    page.set_content(question._repr_html_())
    page.focus("#q-guess")
    page.keyboard.type(guess)
    page.keyboard.press("Enter")
    assert page.inner_text("#q-told") == words
    assert page.locator("details").count() == question.open and ("Answer" in repr(question)) == question.open
    assert question.open or question.judge(float(guess)) == words
    page.close()


@pytest.mark.parametrize(
    "name, answer, tolerance, message",
    [
        ("q", float("nan"), 0.1, "`answer` must be a finite number other than 0.*got nan"),
        ("2nd", 1, 0.1, "`name` becomes an HTML id"),
        ("q", 1, 1.0, r"`tolerance` is relative, between 0 and 1; got 1\.0"),
    ],
)
def test_what_is_no_question_is_refused(name, answer, tolerance, message):
    with pytest.raises(ValueError, match=message):
        questions.self_check(name, "?", answer, tolerance=tolerance)
