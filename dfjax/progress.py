"""What a long run shows of itself: a bar on a terminal, lines in a log, a trace for the profiler."""

import sys
from typing import Any

import jax
import tqdm
from etils import epath

LOG_SECONDS = 10  # between two lines of progress where there is no terminal


class _Lines:
    """A log file instead of a terminal: each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n"):
            print(text, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(total: int, first: int, *, hidden: bool) -> tqdm.tqdm:
    """Steps done, rate, time left; in a log one line every LOG_SECONDS."""
    words = {"total": total, "initial": first, "unit": "step", "disable": hidden, "desc": "train"}
    if sys.stderr.isatty():
        return tqdm.tqdm(**words, dynamic_ncols=True)
    return tqdm.tqdm(
        **words, file=_Lines(), mininterval=LOG_SECONDS, maxinterval=LOG_SECONDS, ascii=True, ncols=100
    )


def trace(folder: epath.Path, *, start: bool, wait: Any) -> bool:
    """Starts or ends the profiler's trace; returns whether one is running now."""
    jax.block_until_ready(wait)
    if start:
        jax.profiler.start_trace(str(folder))
    else:
        jax.profiler.stop_trace()
    return start
