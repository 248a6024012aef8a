"""Files of a run, written whole or not at all, to disk or bucket; prepared records copied from a bucket to the disk."""

import errno
import os
import pathlib
import shutil
import sys
import threading

from etils import epath

from dfjax.records import InputError

CHUNK = 1 << 24  # bytes copied at once
FULL = (errno.ENOSPC, errno.EDQUOT)  # no space left on the disk, or in the user's share of it


def remote(path: epath.PathLike) -> bool:
    """Whether a path lies in a bucket, such as gs://."""
    return "://" in os.fspath(epath.Path(path))


def write(path: epath.PathLike, content: str | bytes) -> None:
    """Replaces a file as a whole: a reader sees the old one or the new one. Missing folders are made.

    Text is written as UTF-8; what a file's name holds that is none, as an escape of it.

    Raises:
      InputError: the place cannot be written to.
    """
    path = epath.Path(path)
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if remote(path):  # an object appears when it is complete
            path.write_bytes(content)
        else:
            _replace(path, content)
    except OSError as error:
        if error.errno in FULL:
            raise
        below_file = isinstance(error, FileExistsError | NotADirectoryError)
        why = f"{error.filename} is a file" if below_file else error.strerror or error
        raise InputError(f"cannot write {path}: {why}; give another place") from error


def _replace(path: epath.Path, content: bytes) -> None:
    name = os.fsencode(path.name)[:200].decode(errors="ignore")  # a name may have 255 bytes
    temporary = path.parent / f".{name}.{os.getpid()}-{threading.get_ident()}"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else after a power cut the name can stand for nothing
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def local_copy(directory: epath.PathLike) -> epath.Path:
    """A prepared dataset on this host's disk: the folder itself, or for one in a bucket a copy, made now or continued.

    ArrayRecord reads local files only. The copy lies below XDG_CACHE_HOME (default ~/.cache) in dfjax/datasets. A
    file is complete if its size is that of the original: each is written under another name and renamed, so a copy
    that was killed goes on with the file that it was at. Several processes of a host may copy at once.

    Raises:
      InputError: there is no place for it.
      OSError: less of a file arrived than there is.
    """
    directory = epath.Path(directory)
    if not remote(directory):
        return directory
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:  # a user without a home
        raise InputError(f"{error} set XDG_CACHE_HOME to a folder with room for a copy of {directory}") from error
    target = epath.Path(cache / "dfjax" / "datasets" / os.fspath(directory).replace("://", "/"))
    sizes = {path: path.stat().length for path in sorted(directory.iterdir()) if not path.is_dir()}
    wanted = {path: size for path, size in sizes.items() if _size(target / path.name) != size}
    if wanted:
        gigabytes = sum(wanted.values()) / 1e9
        print(f"copying {directory} to {target}: {len(wanted)} files, {gigabytes:.2f} GB", file=sys.stderr)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise
            raise InputError(
                f"cannot make {target}: {error.strerror}; set XDG_CACHE_HOME to a folder with room for the copy"
            ) from error
    for path, size in wanted.items():
        temporary = target / f".{path.name}.{os.getpid()}"
        with path.open("rb") as source, open(temporary, "wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
        if (copied := _size(temporary)) != size:
            temporary.unlink()
            raise OSError(f"{path} has {size} bytes, {copied} arrived; the same command continues")
        os.replace(temporary, target / path.name)
    return target


def _size(path: epath.Path) -> int | None:
    return path.stat().length if path.exists() else None
