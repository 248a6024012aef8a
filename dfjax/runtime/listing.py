"""The files that a command is to look at: named, listed in a text file or on standard input, or below a folder."""

import codecs
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator

from dfjax.records import InputError


def files_of(paths: Iterable[str], lists: Iterable[str] = ()) -> Iterator[str]:
    """The files named or listed, and all below the folders among them, sorted, without hidden files and folders.

    Nothing is kept but the names in one folder and in those above it.

    Args:
      paths: of files and folders, and of files in buckets; '-' stands for the lines of standard input.
      lists: text files of paths, one a line, or '-' for standard input; a byte-order mark at the beginning is none of
        the first path.

    Raises:
      InputError: a path or a list does not exist or cannot be read, or a list is none. What a list names need not
        exist or be readable, nor need a folder within another: it comes out as one that cannot be judged.
    """
    for text in paths:
        if text == "-":
            yield from _listed(sys.stdin.buffer, "standard input")
        elif "://" in text:  # in a bucket, which decoders read and nobody lists
            yield text
        elif os.path.isdir(text) and not os.access(text, os.R_OK):
            raise InputError(f"{text} cannot be listed: no permission; give its files, or permission")
        elif os.path.exists(text):
            yield from _below(text)
        else:
            raise InputError(f"{text or repr(text)} does not exist; give media files or folders")
    for name in lists:
        if name == "-":
            yield from _listed(sys.stdin.buffer, "standard input")
            continue
        try:
            with open(name, "rb") as file:
                yield from _listed(file, f"--files {name}")
        except OSError as error:
            raise InputError(
                f"--files {name or repr(name)} cannot be read: {error.strerror}; give a text file of paths"
            ) from error


def _listed(lines: Iterable[bytes], what: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        if b"\0" in line:
            raise InputError(f"{what} is no list of paths, it holds a zero byte; give text, one path a line")
        name = os.fsdecode((line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n"))
        if "://" in name:
            yield name
        elif name:
            yield from _below(name)


def _below(path: str) -> Iterator[str]:
    """A file itself, or a folder that cannot be listed; else its files, depth first, each folder by its names."""
    path = str(pathlib.Path(path))
    if not os.path.isdir(path):
        yield path
        return
    try:
        with os.scandir(path) as entries:
            seen = (entry for entry in entries if not entry.name.startswith("."))
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False), _is_file(entry)) for entry in seen)
    except OSError:
        yield path  # one that cannot be judged
        return
    for name, is_folder, is_file in found:
        inner = os.path.join(path, name)
        if is_folder:
            yield from _below(inner)
        elif is_file:
            yield inner


def _is_file(entry: os.DirEntry) -> bool:
    """Whether it is a file, or a link to one: the folder knows that of all but links, so no file is asked."""
    try:
        return entry.is_file()
    except OSError:  # links in a circle
        return False
