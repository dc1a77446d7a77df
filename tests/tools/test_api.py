"""The library reference: every public name is on it, once, with an example that runs and uses it."""

import doctest
import inspect
import re
from pydoc import locate
from types import ModuleType

import pytest

from tools import ROOT, api

PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = ("dmftlib", *(f"companion.{name}" for name in ("beyond", "claims", "figures", "questions", "sliders")))
_, *PARTS = api.MARK.split(PAGE)
ENTRIES = list(zip(PARTS[::2], PARTS[1::2]))  # (name, text up to the next name)


def public(module):
    """Dotted names of all that users call: the `__all__` of a module, or the functions and classes that it defines."""
    for own, value in vars(module).items():
        defined = (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__
        if own not in getattr(module, "__all__", [own] if defined else []):
            continue
        if isinstance(value, ModuleType):
            yield from public(value)
        elif not own.startswith("_"):
            yield f"{module.__name__}.{own}"


def test_every_public_name_has_one_entry():
    names = [name for name, _ in ENTRIES]
    assert len(names) == len(set(names))
    assert {name for module in MODULES for name in public(locate(module))} <= set(names)


@pytest.mark.parametrize("name, text", ENTRIES, ids=[name for name, _ in ENTRIES])
def test_every_entry_has_a_docstring_and_an_example_that_uses_it(name, text):
    assert api.documented(locate(name))
    called = re.escape(name.replace("dmftlib", "dl").removeprefix("companion."))
    assert re.search(rf"^(>>>|\.\.\.) .*\b{called}\b", "".join(FENCE.findall(text)), re.MULTILINE)


def test_the_examples_run_in_the_order_of_the_page():
    session = "\n".join(FENCE.findall(PAGE))
    test = doctest.DocTestParser().get_doctest(session, {}, "book/api.md", "book/api.md", 0)
    told = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=told.append)
    assert result.attempted > 100
    assert result.failed == 0, "".join(told)
