"""Worker processes that survive bad media: a crash or a hang costs one file, never the run.

Each worker is a fresh interpreter (no fork, no second import of the caller's script) that takes one task at a
time over a socket. Before each task it arms the kernel's alarm, whose default action ends the process even
inside C code: a hanging decoder ends by itself, also when the parent is long gone.
"""

import contextlib
import importlib
import multiprocessing.connection
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

MEMORY = 8 << 30  # bytes a worker may take beyond its start; absurd headers ask for more, real media do not
ENVIRONMENT = {
    # every core has its worker already
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"),
    # what one file's arrays took is kept for those of the next: given back, as glibc does from 128 KiB on, every page
    # of it is asked for and zeroed again
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(32 << 20)),  # bytes, the most glibc takes
}


class WorkerError(RuntimeError):
    """Workers do not start."""


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of main memory that this process can still take; half of all where the system does not say."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return min(1024 * int(kilobytes), _group_limit())
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _group_limit(group: pathlib.Path = pathlib.Path("/sys/fs/cgroup")) -> int:
    """Bytes that the control group of this process may still use: a container's limit is not in /proc/meminfo.

    What the kernel keeps of files that were read counts there as used, and goes as soon as somebody wants its place.
    """
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(kept["active_file"]) + int(kept["inactive_file"])
        return sys.maxsize if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError, KeyError):
        return sys.maxsize


def run(
    function: str, tasks: Iterable[tuple[Any, tuple, float]], jobs: int, *, memory: int = MEMORY, ahead: bool = True
) -> Iterator[tuple[Any, Any, str]]:
    """Calls `function(*args)` for every task; yields (key, result, '') or (key, None, reason) as they end.

    Args:
      function: 'module:name'; results and arguments are pickled.
      tasks: (key, args, seconds) each; a task that takes longer than `seconds` is given up.
      jobs: worker processes; 0 runs in this process, without protection from crashes and hangs.
      memory: bytes that a worker may take beyond its start.
      ahead: whether a worker gets its next task before its last outcome is yielded, as the caller may take its time
        with that; not so where the next task may be long in coming.

    Raises:
      WorkerError: a worker does not start, or died before it was ready.
      ImportError: of the function.
      OSError: of the function, where a disk is full; what else it raises ends its process.
    """
    tasks = iter(tasks)
    if jobs == 0:
        call = _resolve(function)
        for key, args, _ in tasks:
            yield key, call(*args), ""
        return
    workers: dict[Any, _Worker] = {}
    try:
        while True:
            while len(workers) < jobs and (task := next(tasks, None)) is not None:
                worker = _Worker(function, task, memory)
                workers[worker.pipe] = worker
            if not workers:
                return
            for pipe in multiprocessing.connection.wait(list(workers)):
                worker = workers[pipe]
                if (outcome := worker.take()) is None:
                    continue
                if not ahead:
                    yield outcome
                if not worker.alive or not worker.give(next(tasks, None)):
                    workers.pop(pipe).close()
                if ahead:
                    yield outcome
    finally:
        for worker in workers.values():
            worker.close()


class _Worker:
    """The parent's side of one process."""

    def __init__(self, function: str, task: tuple[Any, tuple, float], memory: int):
        with contextlib.ExitStack() as opened:  # closed where the process does not start
            try:
                self.pipe, child = (opened.enter_context(end) for end in multiprocessing.connection.Pipe())
                self.log = opened.enter_context(tempfile.TemporaryFile())
                code = f"from dfjax.runtime import workers; workers.serve({child.fileno()}, {function!r}, {memory})"
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    pass_fds=[child.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=self.log,
                    stderr=self.log,
                    env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            except OSError as error:  # no more processes, files or room
                raise WorkerError(f"a worker process does not start: {error.strerror}") from error
            opened.pop_all()
        child.close()
        self.ready, self.alive = False, True
        self.give(task)

    def give(self, task: tuple[Any, tuple, float] | None) -> bool:
        """Hands over the next task; False if there is none."""
        self.task = task
        try:
            if task is not None:
                self.pipe.send(task[1:])
        except OSError:
            pass  # it has just died; take() finds out and says why
        return task is not None

    def take(self) -> tuple[Any, Any, str] | None:
        """What the task came to; None if the worker only said that it is ready. The pipe must have data."""
        assert self.task is not None
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.alive = False
            code = self.process.wait()
        else:
            if isinstance(message, ImportError | OSError):
                raise message
            if self.ready:
                return self.task[0], message, ""
            self.ready = True
            return None
        if not self.ready:
            self.log.seek(0)
            lines = self.log.read().decode(errors="replace").strip().splitlines()
            raise WorkerError(f"a worker process does not start: {lines[-1] if lines else f'exit code {code}'}")
        if code == -signal.SIGALRM:
            return self.task[0], None, f"gave no result within {self.task[2]:.3g} s"
        return self.task[0], None, f"the decoder crashed ({signal.Signals(-code).name if code < 0 else code})"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        self.log.close()


def serve(descriptor: int, function: str, memory: int) -> None:
    """A worker's life: tasks in, results out, until the parent closes the pipe or dies.

    Args:
      descriptor: of the socket to the parent.
      function: as `run` takes it.
      memory: likewise.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    os.set_inheritable(descriptor, False)  # else a child of a decoder would keep it open after our death
    pipe = multiprocessing.connection.Connection(descriptor)
    call = _resolve(function)
    _limit_memory(memory)
    pipe.send(True)
    while True:
        try:
            args, seconds = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            result = call(*args)
        except (ImportError, OSError) as error:
            if not _for_all(error):
                raise
            result = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(result)
        except BrokenPipeError:
            return


def _for_all(error: ImportError | OSError) -> bool:
    """Whether no task will go better: a module is missing, or a disk is full."""
    if isinstance(error, ImportError):
        return True
    from dfjax.runtime.files import FULL  # and with it etils, which takes a moment

    return error.errno in FULL


def _limit_memory(memory: int) -> None:
    try:
        with open("/proc/self/statm") as file:
            start = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (start + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (OSError, ValueError):
        pass  # no such limit on this system


def _resolve(function: str):
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)
