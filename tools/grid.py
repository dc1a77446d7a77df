"""The grammar of grids: which values of which parameters a sweep combines, checked before anything runs.

    gamma0=0.5,1,2  seed=0:3  activation=tanh,erf  rhos=[0,1];[0,0.5]

Values of a single number or word are separated by commas, 0:3 is 0, 1, 2, and lists stand in brackets, with semicolons between.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from .parameters import Parameter, ParameterError, listing, named, split

RANGE = re.compile(r"(-?\d+):(-?\d+)(?::([1-9]\d*))?")


def texts(text: str, parameter: Parameter) -> list[str]:
    """The values as they are written, one by one."""
    name = parameter.name
    if parameter.is_list:
        items = text.split(";")
        if not all(item.startswith("[") and item.endswith("]") for item in items):
            raise ParameterError(
                f"`{name}` is a list, so every value of its grid is one, in brackets and with ; between, "
                f"as in {parameter.example};[...]; got {text!r}."
            )
        return items
    if "[" in text or ";" in text:
        raise ParameterError(f"`{name}` is one value a run, so its grid is written {name}=a,b,c; got {text!r}.")
    if ":" in text:
        match = RANGE.fullmatch(text) if parameter.type == "int" else None
        if not match:
            counts = "a:b counts whole numbers, from a up to b but not b"
            raise ParameterError(f"{counts}; `{name}` got {text!r}. Other values are listed: {name}=a,b,c.")
        return [str(n) for n in range(int(match[1]), int(match[2]), int(match[3] or 1))]
    return [item.strip() for item in text.split(",")]


def values(text: str, parameter: Parameter) -> list[Any]:
    """The checked values that a grid gives to one parameter."""
    found = [parameter.check(parameter.parse(item)) for item in texts(text, parameter)]
    if not found:
        raise ParameterError(f"the grid of `{parameter.name}` is empty: {text!r} counts from a up to b but not b.")
    for n, value in enumerate(found):
        if value in found[:n]:
            raise ParameterError(f"the grid of `{parameter.name}` has {value!r} twice.")
    return found


def read(text: str, parameters: Mapping[str, Parameter], chapter: str) -> dict[str, list[Any]]:
    """The swept parameters with their values, or one error that says all that is wrong and what is valid."""
    grid: dict[str, list[Any]] = {}
    wrong = []
    with listing(parameters, chapter):
        for setting in split(text):
            name, equals, written = setting.partition("=")
            try:
                if not equals:
                    raise ParameterError(f"a grid is written name=a,b,c name=a,b; got {setting!r}.")
                if name in grid:
                    raise ParameterError(f"the grid names `{name}` twice.")
                grid[name] = values(written, named(name, parameters, chapter))
            except ParameterError as error:
                wrong.append(str(error))
        if wrong or not grid:
            raise ParameterError("\n".join(wrong) or 'nothing is swept; write for example GRID="name=a,b,c".')
    return grid


def points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination; the last parameter changes fastest."""
    return [dict(zip(grid, combination)) for combination in itertools.product(*grid.values())]


def written(value: Any) -> str:
    """As a grid has it."""
    return str(value).replace(" ", "").replace("'", "")
