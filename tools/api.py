"""The library reference: signatures and docstrings, taken from the code when the book is built.

A page names what it documents in comments such as `% dmftlib.lazy.kernels`; each becomes an entry.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

MARK = re.compile(r"^% ((?:dmftlib|companion)[\w.]*)$", re.MULTILINE)
MODULES = (
    "dmftlib",
    "companion.beyond",
    "companion.claims",
    "companion.figures",
    "companion.questions",
    "companion.sliders",
)


def resolve(name: str) -> Any:
    """The object with this dotted name; AttributeError, with the name, if there is none."""
    root = max((module for module in MODULES if f"{name}.".startswith(f"{module}.")), key=len)
    value: Any = import_module(root)
    for part in name.removeprefix(root).split(".")[1:]:
        if not hasattr(value, part):
            raise AttributeError(f"{name}: {value!r} has no attribute {part!r}.")
        value = getattr(value, part)
    return value


def public() -> list[str]:
    """Dotted names of all that users call: the `__all__` of a module, or the functions and classes that it defines."""

    def names(module):
        for own, value in vars(module).items():
            defined = inspect.isfunction(value) or inspect.isclass(value)
            if own not in getattr(module, "__all__", [own] if defined and value.__module__ == module.__name__ else []):
                continue
            if isinstance(value, ModuleType):
                yield from names(value)
            elif not own.startswith("_"):
                yield f"{module.__name__}.{own}"

    return [name for module in MODULES for name in names(import_module(module))]


def signature(value: Any) -> str:
    """Arguments and defaults, without annotations: the docstring says what they are."""
    try:
        found = inspect.signature(value)
    except ValueError:  # such as an exception class
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    shown = [p.replace(default=_Shown(p.default)) if p.default is not p.empty else p for p in bare]
    return str(found.replace(parameters=shown, return_annotation=inspect.Signature.empty))


class _Shown:
    """A default as one would write it: a long or addressed representation becomes dots."""

    def __init__(self, value):
        self.text = repr(value)

    def __repr__(self):
        return "…" if " at 0x" in self.text or len(self.text) > 40 else self.text


def documented(value: Any) -> str:
    """The docstring, and for a class those of its public methods and properties."""
    text = [inspect.getdoc(value) or ""]
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        member = getattr(member, "__func__", member)
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        call = "" if isinstance(member, property) else re.sub(r"^\((self|cls)(, )?", "(", signature(member))
        about = inspect.getdoc(member)
        if about:
            text.append(f".{name}{call}\n" + "\n".join(f"    {line}" for line in about.splitlines()))
    return "\n\n".join(text)


def entry(name: str) -> str:
    """MyST for one name: a heading that can be linked, the call, and the docstring as it is laid out in the code."""
    value = resolve(name)
    kind = "py:class" if inspect.isclass(value) else "py:function"
    short = name.removeprefix("dmftlib.").removeprefix("companion.")
    return f"### {short}\n\n````{{{kind}}} {name}{signature(value)}\n\n```{{code-block}} text\n{documented(value)}\n```\n````"


def fill(page: Path) -> None:
    """Replace the comments of a staged page by entries."""
    if page.exists():
        page.write_text(MARK.sub(lambda m: entry(m.group(1)), page.read_text(encoding="utf-8")), encoding="utf-8")
