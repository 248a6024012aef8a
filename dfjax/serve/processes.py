"""The processes of a service: one, or several that share its socket and what they count, watched by another."""

import asyncio
import contextlib
import fcntl
import functools
import logging
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client.multiprocess
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from dfjax.records import InputError
from dfjax.serve import log

PREFIX = "dfjax-serve-"  # of a service's folder
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus_client: where several processes count together
FAILED = 3  # exit code after which uvicorn does not start a process again
REASON = "why it does not start"  # file of a process that failed
HEAD = 20  # seconds in which a request's line and headers must come
PATIENCE = 60  # seconds in which a process must say that it lives

Build = Callable[[str], Any]  # (folder for the files of requests) -> ASGI application; can be pickled


def serve(build: Build, listening: socket.socket, workers: int, seconds: int) -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes what was taken.

    Args:
      build: makes the application, in the process that serves it.
      listening: a socket that listens; who connects waits until a process is ready.
      workers: processes that serve; one that dies is replaced.
      seconds: that finishing may take.

    Raises:
      InputError: of `build`.
    """
    words = {"log_config": None, "access_log": False, "server_header": False, "timeout_graceful_shutdown": seconds}
    words["http"] = Connection
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the folder goes, too
    with own_folder() as folder:
        if workers == 1:
            uvicorn.Server(uvicorn.Config(build(folder), **words)).run([listening])
            return
        os.environ[FOLDER] = folder  # before the others start
        made = functools.partial(_one_of_several, build, folder)
        words |= {"workers": workers, "timeout_worker_healthcheck": PATIENCE}
        watch, reason = Watch(uvicorn.Config(made, factory=True, **words), [listening]), pathlib.Path(folder, REASON)
        with quiet_after(reason):
            watch.run()
        if reason.exists():
            raise InputError(reason.read_text())
        if any(process.exitcode == FAILED for process in watch.processes):
            sys.exit(FAILED)


def apart(function: Callable[..., Any], *words: Any) -> Any:
    """What a function returns, called in a process that goes with what it loaded, and at the latest with this one.

    Args:
      function: of a module; what it takes and returns can be pickled.
      *words: that it takes.

    Raises:
      InputError: of the function; or its process died.
    """
    context = multiprocessing.get_context("spawn")
    answer, asked = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(asked, function, words), daemon=True)
    process.start()
    asked.close()
    try:
        found = answer.recv()
    except EOFError as error:
        process.join()
        why = f"the process of {function.__name__!r} ended with exit code {process.exitcode}"
        raise InputError(f"{why}; what it said is above, if it was not killed for want of memory") from error
    process.join()
    if isinstance(found, InputError):
        raise found
    return found


def _answer(asked: multiprocessing.connection.Connection, function: Callable[..., Any], words: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        asked.send(function(*words))
    except InputError as error:
        asked.send(error)


@contextlib.contextmanager
def quiet_after(reason: pathlib.Path) -> Iterator[None]:
    """Once this file is there, uvicorn says nothing of the process that ended: the user is told why, in one line."""
    said = logging.getLogger("uvicorn.error")

    def wanted(_: logging.LogRecord) -> bool:
        return not reason.exists()

    said.addFilter(wanted)
    try:
        yield
    finally:
        said.removeFilter(wanted)


@contextlib.contextmanager
def own_folder() -> Iterator[str]:
    """A folder for the files of requests and what is counted; folders of services that were killed are removed."""
    for left in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is held, or another user's
            held = hold(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        with contextlib.suppress(FileNotFoundError):
            held = hold(folder, fcntl.LOCK_SH)
            if os.path.isdir(folder):
                break
            os.close(held)  # another service began and removed it before it was held
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def hold(folder: str | pathlib.Path, how: int) -> int:
    """A descriptor that locks a folder until it is closed or the process ends, however that ends.

    Where the lock cannot be had `how` it is asked for, by LOCK_SH or LOCK_EX of flock, OSError is raised.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Connection(H11Protocol):
    """uvicorn's, which ends where the head of a request does not come in time; else it would be held for ever."""

    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The head of the first request is waited for."""
        super().connection_made(transport)
        self._time()

    def data_received(self, data: bytes) -> None:
        """A part of a head gives no more time, a whole one ends the waiting."""
        super().data_received(data)
        self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for."""
        super().connection_lost(exc)
        if self.late is not None:
            self.late.cancel()

    def _time(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and self.late is None:
            self.late = self.loop.call_later(HEAD, self.transport.close)
        elif not waiting and self.late is not None:
            self.late.cancel()
            self.late = None


class Watch(Multiprocess):
    """uvicorn's watch over its processes; it also says when one died, and removes what that one left."""

    def keep_subprocess_alive(self) -> None:
        """Replaces those that died; a mistake of the user ends them all."""
        if pathlib.Path(os.environ[FOLDER], REASON).exists():
            self.should_exit.set()
        for process in self.processes:
            process.child_conn.close()  # held by the child alone, it tells at once that the child is gone
        before = list(self.processes)
        super().keep_subprocess_alive()
        for process in before:
            if process not in self.processes:
                log.say("worker died", worker=process.pid, exit=process.exitcode)
                tidy(os.environ[FOLDER], process.pid)


def tidy(folder: str, pid: int) -> None:
    """Removes the files of requests of a process that died, and what it counted of the moment."""
    prometheus_client.multiprocess.mark_process_dead(pid, folder)
    for left in pathlib.Path(folder).glob(f"dfjax-{pid}-*"):
        left.unlink(missing_ok=True)


def _one_of_several(build: Build, folder: str) -> Any:
    """The application; where the user made a mistake the process ends and leaves a word."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    hold(folder, fcntl.LOCK_SH)  # as long as this process lives, also without the watch
    try:
        return build(folder)
    except InputError as error:
        pathlib.Path(folder, REASON).write_text(str(error))
        sys.exit(FAILED)


def _end_with_the_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
