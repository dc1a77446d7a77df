"""Marks beside a formula share its line."""

import pytest

from tools.typography import mend, together

MATH = '<span class="math notranslate nohighlight">\\(x &lt; y\\)</span>'


@pytest.mark.parametrize(
    "before, after, held",
    [
        ("where ", ". So", f'where <span class="unbroken">{MATH}.</span> So'),
        ("(", "), as", f'<span class="unbroken">({MATH}),</span> as'),
        ("a ", " b", f"a {MATH} b"),
        ("a ", "<em>, b</em>", f"a {MATH}<em>, b</em>"),
    ],
)
def test_a_mark_is_held_to_the_formula_that_it_touches(before, after, held):
    assert together(before + MATH + after) == held


def test_every_page_of_a_book_is_mended(tmp_path):
    for name in ("a.html", "deep/b.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"<p>{MATH}.</p>", encoding="utf-8")
    mend(tmp_path)
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")]
    assert pages == [f'<p><span class="unbroken">{MATH}.</span></p>'] * 2
