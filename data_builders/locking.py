"""One process prepares a dataset at a time."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from etils import epath

from dfjax.records import InputError
from dfjax.runtime import files


@contextlib.contextmanager
def alone(directory: epath.Path) -> Iterator[None]:
    """Within it no other process prepares this dataset: each waits for the one before. Not so in a bucket.

    The kernel ends the lock with the process, so a file that a killed one left keeps nobody waiting.

    Raises:
      InputError: nothing can be written there.
    """
    if files.remote(directory):
        yield
        return
    path = directory.with_name(f"{directory.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
    except OSError as error:
        if error.errno in files.FULL:
            raise
        why = f"{path.parent} cannot be written to ({error.strerror})"
        raise InputError(f"{why}; give another --data_dir, a folder of yours") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(lock)


def _locked(path: epath.Path) -> int:
    """A descriptor of this file, locked; waits for whoever has it. Where the disk knows no locks it is just opened."""
    waiting = False
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not (path.exists() and os.access(path.parent, os.W_OK)):
                raise
            lock = os.open(path, os.O_RDONLY)  # another user's, who was killed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                print(f"waiting for another process that prepares {path.with_suffix('')}", file=sys.stderr)
            waiting = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # some network disks
            return lock
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)  # whoever had it has removed it
