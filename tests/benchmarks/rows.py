"""The rows that benchmarks print, one JSON object a line, and a table of them beside the last one kept.

A row has `row` (its name), `value`, `unit` and, where something stands beside it, `times`: how many times as good it is as what
its benchmark's docstring names. Work per second is better when larger, all else when smaller.
"""

import json
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax

DIGITS = 4


def show(row: str, value: float, unit: str, times: float | None = None, **more: Any) -> None:
    """Prints a row; `more` are further facts about it."""
    found = {"row": row, "value": value, "unit": unit} | ({} if times is None else {"times": times}) | more
    print(json.dumps({key: _rounded(each) for key, each in found.items()}), flush=True)


def read(lines: Iterable[str], benchmark: str) -> list[dict]:
    """The rows among the lines that a benchmark has printed."""
    found = [json.loads(line) for line in lines if line.startswith("{") and line.rstrip().endswith("}")]
    return [{"benchmark": benchmark} | row for row in found if {"row", "value", "unit"} <= row.keys()]


def kept(folder: pathlib.Path) -> list[dict]:
    """The rows of all runs kept in a folder, the last run's last: names are dates."""
    return [row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text())["rows"]]


def compare(rows: list[dict], before: list[dict]) -> list[dict]:
    """The rows, each with its last value among those of `before`, and `now_by_before`, the ratio, where it has one."""
    known = {(row["benchmark"], row["row"], row["unit"]): row["value"] for row in before}
    found = []
    for row in rows:
        value = known.get((row["benchmark"], row["row"], row["unit"]))
        ratio = {"before": value, "now_by_before": _rounded(row["value"] / value)} if value else {}
        found.append(row | ratio)
    return found


def markdown(rows: list[dict]) -> str:
    """A table of compared rows; '' where a row has nothing beside it or was not measured before."""
    lines = ["| benchmark | row | value | unit | times as good | before | now / before |"]
    lines += ["| :-- | :-- | --: | :-- | --: | --: | --: |"]
    for row in rows:
        cells = [row["benchmark"], row["row"], *(row.get(key, "") for key in ("value", "unit", "times"))]
        cells += [row.get(key, "") for key in ("before", "now_by_before")]
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int | float) else cell for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def gib(compiled: jax.stages.Compiled) -> float:
    """GiB that a compiled program holds at once on a device: what goes in, comes out and lies between."""
    found = compiled.memory_analysis()
    held = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return (held - found.alias_size_in_bytes) / 2**30


def operations(call: Callable, *args: Any) -> float:
    """Floating-point operations of a call, as XLA counts them for one CPU: its counts for a GPU leave libraries' out."""
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
        return jax.jit(call).lower(*shapes).compile().cost_analysis()["flops"]


def _rounded(value: Any) -> Any:
    """A float to DIGITS significant digits."""
    if not isinstance(value, float) or not value or not math.isfinite(value):
        return value
    value = round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return int(value) if value.is_integer() else value
