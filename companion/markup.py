"""HTML that chapters show, from the templates beside this file: texts are escaped, and nothing is fetched."""

from __future__ import annotations

import html
from importlib.resources import files

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup


def _read(name):
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


TEMPLATES = Environment(
    loader=FunctionLoader(_read),
    finalize=lambda value: value if isinstance(value, Markup) else html.escape(str(value)),
    trim_blocks=True,
    lstrip_blocks=True,
)


def fill(template, script, data, **values):
    """A template with values, the script that belongs to it, in which NAME is replaced, and its data as JSON."""
    text = _read(script).replace("NAME", values["name"])
    return TEMPLATES.get_template(template).render(script=Markup(text), data=Markup(data), **values)
