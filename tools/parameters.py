"""The grammar of parameters cells, and values checked against it before anything runs.

    gamma0: float = 1.0  # richness; near 0 is lazy (0, 10]
    activation: str = "tanh"  # nonlinearity {relu, tanh, erf}
    widths: list[int] = [64, 128]  # widths of the networks, each [16, 4096]

Name, type, default, meaning, and what is allowed: [ ] includes an end, ( ) excludes it, { } lists choices.
What the meaning of a list says of it is checked too: "rising", "two values", "at least two", "two to nine" …
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import ToolError

LINE = re.compile(
    r"(?P<name>[A-Za-z_]\w*): (?P<type>int|float|str|bool|list\[(?:int|float|str)\]) = (?P<default>\S.*?)"
    r"  # (?P<help>\S.*?)(?: (?P<allowed>[\[(][^\[\](){}]*, [^\[\](){}]*[\])]|\{[^{}]+\}))?"
)
COUNTS = {word: n for n, word in enumerate("two three four five six seven eight nine".split(), start=2)}
_COUNT = "|".join(COUNTS)
LENGTH = re.compile(rf"\b(?P<least>at least )?(?P<low>{_COUNT})\b(?:(?P<more> or more)| to (?P<high>{_COUNT}))?")
KINDS = {"int": int, "float": float, "str": str, "bool": bool}


class ParameterError(ToolError):
    """A parameters cell outside the grammar, or a value that it does not allow."""


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: Any
    help: str
    allowed: str  # "(0, 10]", "{relu, tanh}" or "" (bool)

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list")

    @property
    def length(self) -> tuple[int, float]:
        """The smallest and the largest number of values that the meaning of a list asks for."""
        match = LENGTH.search(self.help) if self.is_list else None
        if not match:
            return 1, float("inf")
        low = COUNTS[match["low"]]
        return low, float("inf") if match["least"] or match["more"] else COUNTS.get(match["high"], low)

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default!r}  {self.help} {self.allowed}".rstrip()

    @property
    def example(self) -> str:
        """The default as one types it."""
        return f"{self.name}={str(self.default).replace(' ', '').replace(chr(39), '')}"

    def parse(self, text: str) -> Any:
        """The value that `text`, typed on a command line, stands for."""
        if not self.is_list:
            return self._item(text)
        items = [item.strip() for item in text.strip("[]").split(",") if item.strip()]
        if not items:
            raise self._mistyped(text)
        return [self._item(item.strip("'\"")) for item in items]

    def _mistyped(self, text: str) -> ParameterError:
        separate = "Between parameters stand spaces, without commas; write" if "=" in text[1:] else "Write"
        return ParameterError(
            f"`{self.name}` must be {self.type}; got {text!r}. {separate} for example {self.example}."
        )

    def _item(self, text: str) -> Any:
        kind = KINDS[self.type.removeprefix("list[").removesuffix("]")]
        try:
            return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise self._mistyped(text) from None

    def check(self, value: Any) -> Any:
        """`value` itself, if its type and range are allowed."""
        kind = KINDS[self.type.removeprefix("list[").removesuffix("]")]
        if isinstance(value, list) != self.is_list or (self.is_list and not value):
            raise ParameterError(f"`{self.name}` must be {self.type}; got {value!r}.")
        for item in value if self.is_list else [value]:
            if type(item) is not kind:
                raise ParameterError(f"`{self.name}` must be {self.type}; got {value!r}.")
            if not self._allows(item):
                raise ParameterError(f"`{self.name}` must lie in {self.allowed}; got {item!r}.")
        if self.is_list:
            self._check_list(value)
        return value

    def _check_list(self, values: list) -> None:
        low, high = self.length
        if not low <= len(values) <= high:
            wanted = f"at least {low}" if high == float("inf") else f"{low}" if low == high else f"{low} to {high}"
            raise ParameterError(f"`{self.name}` needs {wanted} values, as in {self.default!r}; got {values!r}.")
        if "rising" in self.help and any(a >= b for a, b in pairwise(values)):
            raise ParameterError(f"the values of `{self.name}` must rise; got {values!r}.")

    def _allows(self, item: Any) -> bool:
        if not self.allowed:
            return True
        inside = self.allowed[1:-1].split(", ")
        if self.allowed[0] == "{":
            return str(item) in inside
        low, high = map(float, inside)
        above = low <= item if self.allowed[0] == "[" else low < item
        below = item <= high if self.allowed[-1] == "]" else item < high
        return above and below  # false for nan


def read_line(line: str) -> Parameter:
    match = LINE.fullmatch(line)
    if not match:
        raise ParameterError(f"not `name: type = default  # meaning [low, high]`: {line!r}")
    fields = match.groupdict(default="")
    try:
        fields["default"] = ast.literal_eval(fields["default"])
    except (SyntaxError, ValueError):
        raise ParameterError(f"the default of `{fields['name']}` is not a plain value: {line!r}") from None
    parameter = Parameter(**fields)
    if (parameter.allowed == "") != (parameter.type == "bool"):
        raise ParameterError(f"`{parameter.name}` must say what it allows, [low, high] or {{a, b}}: {line!r}")
    if parameter.allowed[:1] in ("[", "("):
        if "str" in parameter.type:
            raise ParameterError(f"`{parameter.name}` is text, so it needs choices {{a, b}}: {line!r}")
        try:
            [float(end) for end in parameter.allowed[1:-1].split(", ")]
        except ValueError:
            raise ParameterError(f"the range of `{parameter.name}` is not two numbers: {line!r}") from None
    parameter.check(parameter.default)
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


def latin(name: str) -> str:
    """A symbol of the book as its parameter may be called: `γ₀` is `gamma0`."""
    letters = unicodedata.normalize("NFKC", name)
    return "".join(re.sub(r"^GREEK .* ", "", unicodedata.name(c, "")) if "Α" <= c <= "ω" else c for c in letters)


def similar(name: str, known: Iterable[str]) -> str:
    """A question after the known name that `name` resembles, or ''."""
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(re.sub(r"^\W+|\W+$", "", latin(name).lower()), lower, n=1)
    return f" Did you mean `{lower[close[0]]}`?" if close else ""


def named(name: str, parameters: Mapping[str, Parameter], chapter: str) -> Parameter:
    if name not in parameters:
        raise ParameterError(f"{chapter} has no parameter `{name}`.{similar(name, parameters)}")
    return parameters[name]


@contextmanager
def listing(parameters: Mapping[str, Parameter], chapter: str) -> Iterator[None]:
    """Whatever is wrong with a value, the error also lists what is valid."""
    try:
        yield
    except ParameterError as error:
        valid = "\n".join(f"  {parameter}" for parameter in parameters.values())
        raise ParameterError(f"{error}\nThe parameters of {chapter} are\n{valid}") from None


def split(text: str) -> list[str]:
    """The settings of a command line. Spaces around =, around commas and inside brackets are part of a setting."""
    joined = re.sub(r"\s*([=,;])\s*|(?<=\[)\s+|\s+(?=\])", r"\1", text)
    try:
        return shlex.split(joined)
    except ValueError as error:  # a quotation mark without its partner
        raise ParameterError(f"cannot read {text!r}: {error}.") from None


def read_settings(text: str, parameters: Mapping[str, Parameter], chapter: str) -> dict[str, Any]:
    """Values from a command line, "gamma0=4 P=8 widths=64,256", or one error that says all that is wrong and what is valid."""
    values, wrong = {}, []
    with listing(parameters, chapter):
        for setting in split(text):
            try:
                name, equals, value = setting.partition("=")
                if not equals:
                    raise ParameterError(f"parameters are written name=value; got {setting!r}.")
                parameter = named(name, parameters, chapter)
                if name in values:
                    raise ParameterError(f"`{name}` is set twice; keep one of the two.")
                values[name] = parameter.check(parameter.parse(value))
            except ParameterError as error:
                wrong.append(str(error))
        if wrong:
            raise ParameterError("\n".join(wrong))
    return values


def all_presets(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Everything in the file of presets, not yet checked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"{path.name} is not TOML: {error}.") from None


def presets_of(path: Path, chapter: str) -> list[str]:
    """The names of the presets that say something about a chapter."""
    return [name for name, entries in all_presets(path).items() if chapter in entries]


def read_presets(path: Path, preset: str) -> dict[str, dict[str, Any]]:
    """The values that a preset of the file gives to each chapter, not yet checked."""
    presets = all_presets(path)
    if preset not in presets:
        raise ParameterError(f"there is no preset {preset!r}; {path.name} has: {', '.join(presets)}.")
    return presets[preset]


def read_preset(path: Path, preset: str, parameters: Mapping[str, Parameter], chapter: str) -> dict[str, Any]:
    """The values that a preset gives to one chapter, checked as if they had been typed."""
    entries = read_presets(path, preset)
    if chapter not in entries:
        raise ParameterError(
            f"the preset {preset!r} says nothing about {chapter}, only about {', '.join(entries)}; "
            f"add a table [{preset}.{chapter}] to {path.name}."
        )
    with listing(parameters, chapter):
        return {name: named(name, parameters, chapter).check(value) for name, value in entries[chapter].items()}
