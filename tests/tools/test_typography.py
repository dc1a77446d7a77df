"""Marks beside a formula share its line, units in a table that of their number."""

import pytest

from tools.typography import mend

MATH = '<span class="math notranslate nohighlight">\\(x &lt; y\\)</span>'


@pytest.mark.parametrize(
    "before, after",
    [
        (f"where {MATH}. So", f'where <span class="unbroken">{MATH}.</span> So'),
        (f"({MATH}), as", f'<span class="unbroken">({MATH}),</span> as'),
        (f"a {MATH}<em>, b</em>", f"a {MATH}<em>, b</em>"),
        ('<td class="a"><p>1 min 50 s, 2.1 GiB</p></td>', '<td class="a"><p>1~min 50~s, 2.1~GiB</p></td>'),
        ("<td>8 seeds of 3</td>", "<td>8 seeds of 3</td>"),
        ("<p>1.1 %</p>", "<p>1.1 %</p>"),
        ("<td><code>run P=3 s</code></td>", "<td><code>run P=3 s</code></td>"),
    ],
)
def test_what_belongs_together_stays_on_one_line(tmp_path, before, after):
    page = tmp_path / "deep" / "a.html"
    page.parent.mkdir()
    page.write_text(before, encoding="utf-8")
    mend(tmp_path)
    assert page.read_text(encoding="utf-8") == after.replace("~", "\N{NO-BREAK SPACE}")
