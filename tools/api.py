"""The library reference: signatures and docstrings, taken from the code when the book is built.

A page names what it documents in comments such as `% dmftlib.lazy.kernels`; each becomes an entry.
"""

import inspect
import re
from pathlib import Path
from pydoc import locate

MARK = re.compile(r"^% ((?:dmftlib|companion)[\w.]*)$", re.MULTILINE)


def signature(value: object) -> str:
    """Arguments and defaults, without annotations: the docstring says what they are."""
    try:
        found = inspect.signature(value)
    except ValueError:  # such as an exception class
        return ""
    bare = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def documented(value: object) -> str:
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
    value = locate(name)
    kind = "py:class" if inspect.isclass(value) else "py:function"
    short = name.removeprefix("dmftlib.").removeprefix("companion.")
    return f"### {short}\n\n````{{{kind}}} {name}{signature(value)}\n\n```{{code-block}} text\n{documented(value)}\n```\n````"


def fill(page: Path) -> None:
    """Replace the comments of a staged page by entries."""
    if page.exists():
        page.write_text(MARK.sub(lambda m: entry(m.group(1)), page.read_text(encoding="utf-8")), encoding="utf-8")
