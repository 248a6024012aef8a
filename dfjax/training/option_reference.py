"""All options of an experiment for people: the text of --help, and the reference in experiments/README.md.

python -m dfjax.training.option_reference experiments/README.md
"""

import pathlib
import sys
import textwrap
from collections.abc import Iterator

from dfjax.training.option_table import OPTIONS, Option

MARKS = "<!-- options -->", "<!-- /options -->"
TITLES = {  # first part of a name -> what stands above its options
    "seed": "Draws",
    "data": "Data",
    "augment": "Augmentation, in training alone",
    "model": "Detector",
    "loss": "Loss",
    "balance": "Imbalance",
    "optim": "Optimiser",
    "train": "Training",
    "score": "Score of a clip",
    "decision": "Decision",
}


def _groups() -> Iterator[tuple[str, list[Option]]]:
    for first, title in TITLES.items():
        yield title, [row for row in OPTIONS if row.name.split(".")[0] == first]


def help_text(width: int = 100) -> str:
    """All options by group, for --help."""
    lines = ["Options of an experiment, as --config.NAME=VALUE:"]
    for title, of_group in _groups():
        lines += ["", f"  {title}"]
        for row in of_group:
            of = f" [{', '.join(row.of)}]" if row.of else ""
            default = "" if row.default is ... else f" Default {row.default!r}."
            text = f"{row.name}{of}: {row.kind}. {row.meaning[0].upper()}{row.meaning[1:]}.{default}"
            lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(lines)


def reference() -> str:
    """All options as Markdown tables."""
    lines = []
    for title, of_group in _groups():
        lines += [f"**{title}**", "", "| Option | Value | Default | Of | Meaning |", "|---|---|---|---|---|"]
        for row in of_group:
            default = "" if row.default is ... else f"`{row.default!r}`"
            cells = f"`{row.name}`", str(row.kind), default, ", ".join(row.of), row.meaning
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def with_reference(page: str) -> str:
    """A Markdown page whose part between MARKS is the reference; at its end where it has no such part."""
    first, last = MARKS
    before, found, rest = page.partition(first)
    after = rest.partition(last)[2] if found else "\n"
    before = before if found else f"{page.rstrip()}\n\n"
    return f"{before}{first}\n{reference()}{last}{after}"


def main() -> None:
    """Brings the reference in a Markdown file up to date, or prints it."""
    if len(sys.argv) == 1:
        print(reference())
    for path in map(pathlib.Path, sys.argv[1:]):
        path.write_text(with_reference(path.read_text()))


if __name__ == "__main__":
    main()
