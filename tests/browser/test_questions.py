"""Questions to the reader: what their page says of a guess, by keyboard, and what it refuses."""

import pytest
from test_browser import browser  # noqa: F401

from companion import questions

OPEN = dict(why="Because of <b> & ρ.", low="You forgot the readout.", high="Not every layer counts.", unit="layers")


def test_the_page_has_a_labelled_field_and_no_markup_from_the_texts():
    page = questions.predict("guess-k", "How large is K < 3?", 2.0004, **OPEN)._repr_html_()
    assert '<label for="guess-k-guess">How large is K &lt; 3?</label>' in page
    assert "2 layers. Because of &lt;b&gt; &amp; ρ." in page and "http" not in page
    assert (
        '"answer": 2.0,' in page
        and page == questions.predict("guess-k", "How large is K < 3?", 2.0, **OPEN)._repr_html_()
    )


def test_printed_a_question_keeps_its_answer_back_only_if_it_should():
    assert repr(questions.predict("a", "How many?", 3, why="")) == "How many? Answer: 3"
    assert repr(questions.self_check("a", "How many?", 3)) == "How many?"


@pytest.mark.parametrize(
    "guess, words",
    [
        ("2", "You said 2, the answer is 2 layers: exactly. Because of <b> & ρ."),
        ("1", "You said 1, the answer is 2 layers: you are 50 % below. You forgot the readout. Because of <b> & ρ."),
        ("7", "You said 7, the answer is 2 layers: you are 250 % above. Not every layer counts. Because of <b> & ρ."),
        ("100", "You said 100, the answer is 2 layers: you are 49 times its size above. Not every layer counts. Because of <b> & ρ."),
    ],
)  # fmt: skip
def test_a_guess_is_compared_by_keyboard_alone(browser, guess, words):  # noqa: F811
    page = browser.new_page()
    page.set_content(questions.predict("q", "?", 2, **OPEN)._repr_html_())
    page.focus("#q-guess")
    page.keyboard.type(guess)
    page.keyboard.press("Enter")
    assert page.inner_text("#q-told") == words
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    page.close()


@pytest.mark.parametrize(
    "guess, words",
    [("1.97", "Right."), ("-2", "Too small. Low."), ("2.1", "Too large. High.")],
)
def test_a_self_check_judges_without_showing_the_answer(browser, guess, words):  # noqa: F811
    page = browser.new_page()
    question = questions.self_check("q", "?", 2, low="Low.", high="High.")
    page.set_content(question._repr_html_())
    page.fill("#q-guess", guess)
    page.click("button")
    assert page.inner_text("#q-told") == words and "details" not in page.content()
    assert question.judge(float(guess)) == words
    page.close()


@pytest.mark.parametrize(
    "name, answer, tolerance, message",
    [
        ("q", 0, 0.1, "`answer` must be a finite number other than 0.*got 0"),
        ("q", float("nan"), 0.1, "`answer` must be a finite number other than 0.*got nan"),
        ("q", "2", 0.1, "`answer` must be a finite number other than 0.*got '2'"),
        ("2nd", 1, 0.1, "`name` becomes an HTML id"),
        ("a'b", 1, 0.1, "`name` becomes an HTML id"),
        ("q", 1, 1.0, r"`tolerance` is relative, between 0 and 1; got 1\.0"),
    ],
)
def test_what_is_no_question_is_refused(name, answer, tolerance, message):
    with pytest.raises(ValueError, match=message):
        questions.self_check(name, "?", answer, tolerance=tolerance)
