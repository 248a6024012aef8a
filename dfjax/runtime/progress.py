"""What a long run shows of itself: a bar on a terminal, lines in a log, metrics.jsonl, a trace for the profiler."""

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import jax
import numpy as np
import tqdm
from etils import epath

from dfjax.records import Diverged, InputError
from dfjax.runtime import files, process

Show = Callable[[int, Mapping[str, float | None]], None]  # (step, name -> value)

LOG_SECONDS = 10  # between two lines of progress where there is no terminal


class _Lines:
    """A log file instead of a terminal: each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n"):
            print(text, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(total: int | None, first: int, *, hidden: bool, what: str = "train", unit: str = "step") -> tqdm.tqdm:
    """Steps done, rate, time left where the total is known; in a log one line every LOG_SECONDS.

    Args:
      total: steps; None where that is not known.
      first: steps that were done before.
      hidden: whether nothing is shown.
      what: word before the bar.
      unit: what is counted.
    """
    words = {"total": total, "initial": first, "unit": unit, "disable": hidden, "desc": what}
    if sys.stderr.isatty():
        return tqdm.tqdm(**words, dynamic_ncols=True)
    return tqdm.tqdm(**words, file=_Lines(), mininterval=LOG_SECONDS, maxinterval=LOG_SECONDS, ascii=True, ncols=100)


def trace(folder: epath.Path, *, start: bool, wait: Any) -> bool:
    """Starts the profiler's trace in a folder, or ends it, once `wait` is computed; returns whether one runs now."""
    jax.block_until_ready(wait)
    if start:
        jax.profiler.start_trace(str(folder))
    else:
        jax.profiler.stop_trace()
    return start


class _InBucket(io.StringIO):
    """A log in a bucket, where nothing can be appended: replaced whole at each flush."""

    def __init__(self, path: epath.Path):
        super().__init__()
        self.path = path
        self.write(path.read_text())

    def flush(self) -> None:
        files.write(self.path, self.getvalue())

    def close(self) -> None:
        if not self.closed:
            self.flush()
        super().close()


def cut_log(path: epath.Path, step: int):
    """metrics.jsonl open for appending, without lines of steps after `step`; only the first process has one."""
    if not process.first_process():
        return open(os.devnull, "w")
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                break  # a line half-written by a killed run
    files.write(path, "".join(kept))
    return _InBucket(path) if files.remote(path) else open(path, "a", buffering=1)  # line by line, for who watches


def check_board(workdir: epath.Path) -> None:
    """Raises InputError where `board` cannot write: without its library, or into a bucket."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise InputError("--tensorboard needs tensorboardX; pip install 'dfjax[tensorboard]'") from None
    if files.remote(workdir):
        raise InputError(f"--tensorboard writes to a local disk, not to {workdir}; read its metrics.jsonl instead")


@contextlib.contextmanager
def board(workdir: epath.Path, step: int, *, wanted: bool) -> Iterator[Show]:
    """A function that shows values on TensorBoard, in workdir/tensorboard, where what came after `step` is hidden."""
    if not wanted or not process.first_process():
        yield lambda step, values: None
        return
    import tensorboardX

    def show(step: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(name, value, step)

    folder, suffix = str(workdir / "tensorboard"), f".{step}"  # files are named after a second otherwise
    with tensorboardX.SummaryWriter(folder, purge_step=step + 1, filename_suffix=suffix) as writer:
        yield show


class Journal:
    """What the loop tells of itself: metrics.jsonl, TensorBoard, the bar, and how long it waited for data."""

    def __init__(self, bar: tqdm.tqdm, log: IO[str], show: Show):
        self._bar, self._log, self._show = bar, log, show
        self._pending: list[tuple[int, Mapping[str, Any]]] = []
        self._began, self._loss = time.perf_counter(), math.nan
        self.waited = 0.0  # seconds

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what fetches data: its time counts as waiting."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.waited += time.perf_counter() - began

    def took(self, first: int, count: int, values: Mapping[str, Any]) -> None:
        """Notes the metrics of `count` steps from `first` on; the host stays one dispatch ahead, no more."""
        self._pending.append((first, values))
        jax.block_until_ready(self._pending[-2:][0])
        self._bar.update(count)

    @property
    def steps_pending(self) -> int:
        """How many dispatches wait to be written."""
        return len(self._pending)

    def write_steps(self) -> None:
        """Writes the waiting metrics, one line per step.

        Raises:
          FloatingPointError: one is not finite.
        """
        losses = []
        for start, metric in self._pending:
            fetched = {name: np.atleast_1d(np.asarray(value)) for name, value in metric.items()}
            for offset in range(len(fetched["loss"])):
                row = {name: float(value[offset]) for name, value in fetched.items()}
                step = start + offset + 1
                if not all(np.isfinite(list(row.values()))):
                    how = "lower config.optim.learning_rate, in another --workdir"
                    raise Diverged(f"training diverged at step {step}: {row}; {how}")
                if "learning_rate" in row:  # a detector that steps without one has none
                    row["learning_rate"] = row.pop("learning_rate")  # last
                print(json.dumps({"step": step, **row}), file=self._log)
                self._show(step, {f"train/{name}": value for name, value in row.items()})
                losses.append(row["loss"])
        self._pending, self._loss = [], float(np.mean(losses))
        self._say()

    def write_validation(self, step: int, scored: Mapping[str, float | None]) -> None:
        """Writes what validation gave after `step`."""
        print(json.dumps({"step": step, "validation": scored}), file=self._log, flush=True)
        self._show(step, {f"validation/{name}": value for name, value in scored.items()})
        self._say(val_ap=scored["average_precision"] or 0.0)

    def _say(self, **values: float) -> None:
        busy = 1 - self.waited / (time.perf_counter() - self._began)
        words = [f"busy={busy:.0%}", *(f"{name}={value:.4f}" for name, value in {"loss": self._loss, **values}.items())]
        self._bar.set_postfix_str(", ".join(words), refresh=False)


@contextlib.contextmanager
def journal(folder: epath.Path, *, first: int, total: int, hidden: bool, tensorboard: bool) -> Iterator[Journal]:
    """The journal of a run that continues after step `first`; what was written of later steps is cut off.

    Args:
      folder: the workdir.
      first: the last step of which all is kept.
      total: steps of the run.
      hidden: whether there is no bar.
      tensorboard: whether values are shown there.
    """
    with (
        cut_log(folder / "metrics.jsonl", first) as log,
        board(folder, first, wanted=tensorboard) as show,
        progress_bar(total, first, hidden=hidden) as bar,
    ):
        yield Journal(bar, log, show)
