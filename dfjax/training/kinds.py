"""Kinds of values that an option of an experiment takes: which those are, how text is read, and their name."""

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Kind(Protocol):
    """What an option takes; its text says so after 'expected'."""

    def takes(self, value: Any) -> bool:
        """Whether the option may have this value."""

    def read(self, text: str) -> Any:
        """The value that a word of the command line stands for, or the word itself where it stands for none."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number of a range, both ends included."""

    low: int
    high: int

    def takes(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def read(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            return text

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclasses.dataclass(frozen=True)
class Number:
    """A number of a range; `above` and `below` say that an end is left out."""

    low: float | int
    high: float | int
    above: bool = False
    below: bool = False

    def takes(self, value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        over = self.low < value if self.above else self.low <= value
        return over and (value < self.high if self.below else value <= self.high)  # of NaN neither is true

    def read(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    def __str__(self) -> str:
        first = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        return f"a number {first} to {'below ' if self.below else ''}{float(self.high):.10g}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or False."""

    def takes(self, value: Any) -> bool:
        return isinstance(value, bool)

    def read(self, text: str) -> Any:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)

    def __str__(self) -> str:
        return "True or False"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def takes(self, value: Any) -> bool:
        return any(type(value) is type(known) and value == known for known in self.values)

    def read(self, text: str) -> Any:
        return next((known for known in self.values if str(known) == text), text)

    def __str__(self) -> str:
        return "one of " * (len(self.values) > 1) + ", ".join(map(repr, self.values))


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text, or what `pattern` matches; `words` describe it."""

    words: str
    pattern: str = r".*"

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value, re.DOTALL) is not None

    def read(self, text: str) -> Any:
        return text

    def __str__(self) -> str:
        return self.words


@dataclasses.dataclass(frozen=True)
class Several:
    """A list or tuple of `least` to `most` values of one kind, `rising` if none may be below the one before."""

    item: Kind
    least: int
    most: int
    rising: bool = False

    def takes(self, value: Any) -> bool:
        fits = isinstance(value, list | tuple) and self.least <= len(value) <= self.most
        if not fits or not all(map(self.item.takes, value)):
            return False
        return not self.rising or list(value) == sorted(value)

    def read(self, text: str) -> Any:
        value = literal(text)
        return tuple(value) if isinstance(value, list | tuple) else value

    def __str__(self) -> str:
        pair = self.least == self.most == 2
        count = "two values (a, b)" if pair else f"{self.least} to {self.most} values (a, b, ...)"
        return f"{count}, each {self.item}{', none below the one before' if self.rising else ''}"


@dataclasses.dataclass(frozen=True)
class Rates:
    """Relative rates by name, of which one is positive."""

    item: Number

    def takes(self, value: Any) -> bool:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            return False
        return all(map(self.item.takes, value.values())) and any(rate > 0 for rate in value.values())

    def read(self, text: str) -> Any:
        return literal(text)

    def __str__(self) -> str:
        return f"rates by name such as {{'real': 3.0, 'fake': 1.0}}, each {self.item} and one of them above it"


@dataclasses.dataclass(frozen=True)
class Either:
    """A value of any of several kinds."""

    kinds: tuple[Kind, ...]

    def takes(self, value: Any) -> bool:
        return any(kind.takes(value) for kind in self.kinds)

    def read(self, text: str) -> Any:
        found = [kind.read(text) for kind in self.kinds]
        return next((value for value in found if self.takes(value)), found[-1])

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


@dataclasses.dataclass(frozen=True)
class Group:
    """Options of their own below a name, or None."""

    def takes(self, value: Any) -> bool:
        return value is None

    def read(self, text: str) -> Any:
        return literal(text)

    def __str__(self) -> str:
        return "a group of options, or None"


def literal(text: str) -> Any:
    """The Python value that text writes, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
