"""The library reference: every public name is on it, once, with an example that runs and uses it."""

import doctest
import re

import pytest

from tools import ROOT, api

PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def parts():
    """(name, text up to the next name) for every entry of the page."""
    marks = list(api.MARK.finditer(PAGE))
    ends = [mark.start() for mark in marks[1:]] + [len(PAGE)]
    return [(mark.group(1), PAGE[mark.end() : end]) for mark, end in zip(marks, ends)]


def test_every_public_name_has_one_entry():
    names = [name for name, _ in parts()]
    assert len(names) == len(set(names))
    assert set(api.public()) <= set(names)


@pytest.mark.parametrize("name, text", parts(), ids=[name for name, _ in parts()])
def test_every_entry_has_a_docstring_and_an_example_that_uses_it(name, text):
    assert api.documented(api.resolve(name))
    example = "".join(FENCE.findall(text))
    assert re.search(
        rf"^(>>>|\.\.\.) .*\b{re.escape(name.replace('dmftlib', 'dl').removeprefix('companion.'))}\b",
        example,
        re.MULTILINE,
    )


def test_the_examples_run_in_the_order_of_the_page():
    session = "\n".join(FENCE.findall(PAGE))
    test = doctest.DocTestParser().get_doctest(session, {}, "book/api.md", "book/api.md", 0)
    told = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=told.append)
    assert result.attempted > 100
    assert result.failed == 0, "".join(told)


def test_a_name_that_does_not_exist_is_named():
    with pytest.raises(AttributeError, match=r"dmftlib\.lazy\.kernel: .* has no attribute 'kernel'"):
        api.resolve("dmftlib.lazy.kernel")


def test_entries_show_call_and_docstring(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("% dmftlib.lazy.kernels\n\n% a remark\n")
    api.fill(page)
    text = page.read_text()
    assert "````{py:function} dmftlib.lazy.kernels(experiment, Delta=None)" in text
    assert "Kernels at γ₀ → 0, derived from the rule's formula." in text and "% a remark" in text
    assert ".random(P, D, seed=0, P_test=0)" in api.documented(api.resolve("dmftlib.Task"))
