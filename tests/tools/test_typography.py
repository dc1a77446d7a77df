"""Marks beside a formula share its line, units in a table that of their number."""

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


@pytest.mark.parametrize(
    "before, after",
    [
        ("<td>1.1 %</td>", "<td>1.1~%</td>"),
        ('<td class="a"><p>1 min 50 s, 2.1 GiB</p></td>', '<td class="a"><p>1~min 50~s, 2.1~GiB</p></td>'),
        ("<td>8 seeds of 3</td>", "<td>8 seeds of 3</td>"),
        ("<p>1.1 %</p>", "<p>1.1 %</p>"),
        ("<td><code>run P=3 s</code></td>", "<td><code>run P=3 s</code></td>"),
    ],
)
def test_a_unit_in_a_table_is_held_to_its_number(before, after):
    assert together(before) == after.replace("~", "\N{NO-BREAK SPACE}")


def test_every_page_of_a_book_is_mended(tmp_path):
    for name in ("a.html", "deep/b.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"<p>{MATH}.</p>", encoding="utf-8")
    mend(tmp_path)
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")]
    assert pages == [f'<p><span class="unbroken">{MATH}.</span></p>'] * 2
