"""Markdown of all pages: a user's text made harmless, tables, and numbers with their intervals."""

import re
from collections.abc import Sequence

ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\|*`[]"} | {"<": "&lt;", ">": "&gt;"})


def escape(value: object) -> str:
    """A user's text inside Markdown: one line, no table, tag, link or emphasis of its own."""
    return " ".join(str(value).split()).translate(ESCAPES)


def code(text: str) -> str:
    """A command inside Markdown, as it is: between more backticks than it holds."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [heads, [":--"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aligned_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same with cells padded to the width of their column, to be read in a terminal, too."""
    first, *others = (max(map(len, column)) for column in zip(heads, *rows, strict=True))
    rule = [":" + "-" * (first - 1), *("-" * (width - 1) + ":" for width in others)]
    padded = ([row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in (heads, rule, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def percent(estimate: dict | None, interval: bool = True) -> str:
    """'71.2 % (65.0 to 77.1)' of an estimate {value, low, high}."""
    if not estimate or estimate["value"] is None:
        return "undefined"
    text = f"{100 * estimate['value']:.1f} %"
    if not interval or estimate["low"] is None:
        return text
    return f"{text} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"


def number(estimate: dict) -> str:
    """'0.912 (0.890 to 0.931)' of an estimate."""
    if estimate["value"] is None:
        return "undefined"
    text = f"{estimate['value']:.3f}"
    return f"{text} ({estimate['low']:.3f} to {estimate['high']:.3f})" if estimate["low"] is not None else text


def ratio(value: float | None) -> str:
    """'0.10', or a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def points(change: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * change:+.1f}"


def duration(seconds: float | int | None) -> str:
    """'40 s', '12 min', '3.5 h' or '2.1 days'."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    for unit, length, below in (("min", 60, 90), ("h", 3600, 48)):
        if seconds < below * length:
            value = seconds / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float | int | None) -> str:
    """'3.2 MB', '14 GB': bytes, in powers of 1,000."""
    if count is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if 0 < count < 10 and unit != "B" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
