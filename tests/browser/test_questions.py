"""Questions to the reader: what their page says of a guess, by keyboard, and what it refuses."""

import re

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


def test_two_questions_share_no_id():
    pages = [questions.self_check(name, "?", 1)._repr_html_() for name in ("first", "second")]
    first, second = (set(re.findall(r'id="([^"]+)"', page)) for page in pages)
    assert len(first) == 4 and not first & second


def test_printed_a_question_keeps_its_answer_back_only_if_it_should():
    assert repr(questions.predict("a", "How many?", 3, why="")) == "How many? Answer: 3"
    assert repr(questions.self_check("a", "How many?", 3)) == "How many?"


@pytest.mark.parametrize(
    "guess, words",
    [
        ("2", "You said 2, the answer is 2 layers: exactly. Because of <b> & ρ."),
        ("2.1", "You said 2.1, the answer is 2 layers: you are 5.0 % above. Because of <b> & ρ."),
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
    page.close()


@pytest.mark.parametrize(
    "guess, words",
    [("1.97", "Right."), ("1.9", "Too small. Low."), ("-2", "Too small. Low."), ("2.1", "Too large. High.")],
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


@pytest.mark.parametrize("answer", [0, float("nan"), float("inf"), True, "2"])
def test_an_answer_that_measures_nothing_is_refused(answer):
    with pytest.raises(ValueError, match=rf"`answer` must be a finite number other than 0.*got {answer!r}"):
        questions.predict("q", "?", answer, why="")


@pytest.mark.parametrize("name", ["", "2nd", "a b", "a'b"])
def test_a_name_that_is_no_id_is_refused(name):
    with pytest.raises(ValueError, match="`name` becomes an HTML id"):
        questions.self_check(name, "?", 1)
