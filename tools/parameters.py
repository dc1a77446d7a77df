"""The grammar of parameters cells, and values checked against it before anything runs.

    gamma0: float = 1.0  # richness; near 0 is lazy (0, 10]
    activation: str = "tanh"  # nonlinearity {relu, tanh, erf}
    widths: list[int] = [64, 128]  # widths of the networks, each [16, 4096]

Name, type, default, meaning, and what is allowed: [ ] includes an end, ( ) excludes it, { } lists choices.
What the meaning of a list says of it is checked too: "rising", "two values", "at least two", "two to nine" …
"""

import ast
import difflib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

from . import ToolError

LINE = re.compile(
    r"(?P<name>[A-Za-z_]\w*): (?P<type>int|float|str|list\[(?:int|float)\]) = (?P<default>\S.*?)"
    r"  # (?P<help>\S.*?) (?P<allowed>[\[(][^\[\](){}]*, [^\[\](){}]*[\])]|\{[^{}]+\})"
)
COUNTS = {word: n for n, word in enumerate("two three four five six seven eight nine".split(), start=2)}
_COUNT = "|".join(COUNTS)
LENGTH = re.compile(rf"\b(?P<least>at least )?(?P<low>{_COUNT})\b(?:(?P<more> or more)| to (?P<high>{_COUNT}))?")
KINDS = {"int": int, "float": float, "str": str}


class ParameterError(ToolError):
    """A parameters cell outside the grammar, or a value that it does not allow."""


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: object
    help: str
    allowed: str  # "(0, 10]" or "{relu, tanh}"

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list")

    @property
    def kind(self) -> str:
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def length(self) -> tuple[int, float]:
        """The smallest and the largest number of values that the meaning of a list asks for."""
        match = LENGTH.search(self.help) if self.is_list else None
        if not match:
            return 1, inf
        low = COUNTS[match["low"]]
        return low, inf if match["least"] or match["more"] else COUNTS.get(match["high"], low)

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default!r}  {self.help} {self.allowed}"

    def parse(self, text: str) -> object:
        """The checked value that `text`, typed on a command line, stands for."""
        items = text.strip("[]").split(",") if self.is_list else [text]
        try:
            values = [KINDS[self.kind](item) for item in items]
        except ValueError:
            raise ParameterError(
                f"`{self.name}` must be {self.type}; got {text!r}. Write for example {self.name}={written(self.default)}, "
                "with spaces, and no commas, before the next parameter."
            ) from None
        return self.check(values if self.is_list else values[0])

    def grid(self, text: str) -> list:
        """The checked values that `text` sweeps: a,b,c, of whole numbers also 0:3, of lists [a,b];[c]."""
        if self.type == "int" and re.fullmatch(r"-?\d+:-?\d+(:[1-9]\d*)?", text):
            items = map(str, range(*map(int, text.split(":"))))
        else:
            items = text.split(";" if self.is_list else ",")
        found = [self.parse(item) for item in items]
        if not found or any(value in found[:n] for n, value in enumerate(found)):
            raise ParameterError(f"the grid of `{self.name}` is empty, or has a value twice: {text!r}.")
        return found

    def check(self, value: object) -> object:
        """`value` itself, if its type and range are allowed."""
        items, (low, high) = value if isinstance(value, list) else [value], self.length
        if isinstance(value, list) != self.is_list or any(type(item).__name__ != self.kind for item in items):
            wanted = f"must be {self.type}"
        elif not all(map(self.allows, items)):
            wanted = f"must lie in {self.allowed}"
        elif not low <= len(items) <= high:
            count = f"{low} or more" if high == inf else f"{low} to {high}" if low < high else low
            wanted = f"needs {count} values, as in {self.default!r}"
        elif self.is_list and "rising" in self.help and any(a >= b for a, b in pairwise(items)):
            wanted = "must rise from one value to the next"
        else:
            return value
        raise ParameterError(f"`{self.name}` {wanted}; got {value!r}.")

    def allows(self, item: object) -> bool:
        if self.allowed[0] == "{":
            return str(item) in self.allowed[1:-1].split(", ")
        low, high = map(float, self.allowed[1:-1].split(", "))
        inside = low <= item <= high  # false for nan
        return inside and (self.allowed[0] == "[" or item != low) and (self.allowed[-1] == "]" or item != high)


def written(value: object) -> str:
    """As one types it."""
    return str(value).replace(" ", "")


def read_line(line: str) -> Parameter:
    match = LINE.fullmatch(line)
    if not match:
        raise ParameterError(f"not `name: type = default  # meaning [low, high]` or `{{a, b}}`: {line!r}")
    fields = match.groupdict()
    try:
        parameter = Parameter(**fields | {"default": ast.literal_eval(fields["default"])})
        parameter.check(parameter.default)
    except (SyntaxError, ValueError, TypeError) as error:  # of the default, or of the ends of the range
        raise ParameterError(f"`{fields['name']}`: {error}: {line!r}") from None
    return parameter


def read_cell(source: str) -> dict[str, Parameter]:
    """The parameters of a cell, by name; blank lines are allowed, anything else must be in the grammar."""
    found = [read_line(line) for line in source.splitlines() if line.strip()]
    return {parameter.name: parameter for parameter in found}


def read_notebook(notebook) -> dict[str, Parameter]:
    """The parameters of a notebook: of its one cell tagged `parameters`."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"a chapter has one cell tagged `parameters`; found {len(cells)}.")
    return read_cell(cells[0].source)


def similar(name: str, known: Iterable[str]) -> str:
    """A question after the known name that `name` resembles, or ''."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def _collect(chapter: str, parameters: dict, given: Iterable[tuple], convert: Callable) -> dict:
    """What `convert` makes of each (name, value), or one error that says all that is wrong and what is valid."""
    values, wrong = {}, []
    for name, value in given:
        try:
            if name not in parameters:
                raise ParameterError(f"{chapter} has no parameter `{name}`.{similar(name, parameters)}")
            if name in values:
                raise ParameterError(f"`{name}` is given twice; keep one of the two.")
            values[name] = convert(parameters[name], value)
        except ParameterError as error:
            wrong.append(str(error))
    if wrong:
        raise ParameterError("\n".join([*wrong, f"The parameters of {chapter} are", *listing(parameters)]))
    return values


def listing(parameters: dict[str, Parameter]) -> list[str]:
    return [f"  {parameter}" for parameter in parameters.values()]


def _split(text: str) -> list[tuple[str, str]]:
    """The names and values of a command line. Spaces around =, around commas and inside brackets are part of a value."""
    try:
        settings = shlex.split(re.sub(r"\s*([=,;])\s*|(?<=\[)\s+|\s+(?=\])", r"\1", text))
    except ValueError as error:  # a quotation mark without its partner
        raise ParameterError(f"cannot read {text!r}: {error}.") from None
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise ParameterError(f"parameters are written name=value; got {', '.join(map(repr, wrong))}.")
    return [tuple(setting.split("=", 1)) for setting in settings]


def read_settings(text: str, parameters: dict[str, Parameter], chapter: str) -> dict:
    """Values from a command line: "gamma0=4 P=8 widths=64,256"."""
    return _collect(chapter, parameters, _split(text), Parameter.parse)


def read_grid(text: str, parameters: dict[str, Parameter], chapter: str) -> dict[str, list]:
    """The swept parameters with their values: "gamma0=0.5,1,2 seed=0:3 rhos=[0,1];[0,0.5]"."""
    return _collect(chapter, parameters, _split(text), Parameter.grid)


def read_presets(path: Path) -> dict[str, dict[str, dict]]:
    """The values that each preset of a file gives to each chapter, not yet checked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"{path.name} is not TOML: {error}.") from None


def read_preset(path: Path, preset: str, parameters: dict[str, Parameter], chapter: str) -> dict:
    """The values that a preset gives to one chapter, checked as if they had been typed; none without a preset."""
    if not preset:
        return {}
    known = {name: list(about) for name, about in read_presets(path).items()}
    if chapter not in known.get(preset, ()):
        raise ParameterError(f"{path.name} has no [{preset}.{chapter}]; its presets, and their chapters, are {known}.")
    return _collect(chapter, parameters, read_presets(path)[preset][chapter].items(), Parameter.check)
