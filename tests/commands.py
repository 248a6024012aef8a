"""A command called in this process, as its users call it."""

import sys
from collections.abc import Callable

from dfjax.runtime import cli


def called(monkeypatch, main: Callable[[], None], *words: object) -> int:
    """The exit code of a command, given its `main` and the words after its name."""
    monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, words)])
    try:
        cli.main(main)
    except SystemExit as end:
        return end.code or 0
    return 0
