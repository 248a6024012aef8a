"""Verdicts of many files in one table, written as they come and continued after a kill: JSON lines, CSV or Parquet.

A row is in the table when its line is complete; what a killed process left of one is cut off when the table is opened
again. Of what is done only a number of eight bytes a file is kept in memory. Parquet cannot be appended to, so its rows
go to a journal of JSON lines beside it, from which the file is made at the end. Files that could not be judged stay
skipped, unless they are to be tried again: their rows are taken out first.
"""

import collections
import contextlib
import csv
import fcntl
import hashlib
import importlib.util
import io
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

from dfjax.records import InputError

FORMATS = (".jsonl", ".csv", ".parquet")
COLUMNS = (  # of CSV and Parquet; JSON lines hold all that a detector says
    ("file", str),
    ("verdict", str),
    ("probability", float),
    ("log10_likelihood_ratio", float),
    ("score", float),
    ("threshold", float),
    ("spread", float),
    ("above", float),
    ("p_value", float),
    ("frames_without_face", int),
    ("reasons", str),
    ("notes", str),
    ("skipped", str),
    ("detector", str),
)
SKIPPED = "skipped"  # counted beside the verdicts
ROWS = 10_000  # of a Parquet file that are held at once


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict as COLUMNS, name -> value, None where there is nothing to say."""
    found = {name: row.get(name) for name, _ in COLUMNS}
    found |= {name: "; ".join(row.get(name, ())) or None for name in ("reasons", "notes")}
    found["p_value"] = (row.get("typicality") or {}).get("p_value")
    return found


class Table:
    """A table of verdicts, open for more; a context manager.

    Attributes:
      counts: rows by verdict, those before included, and `skipped`.
    """

    def __init__(self, path: str | pathlib.Path, detector: str, *, retry: bool = False):
        """Opens the table, a new one or what is there.

        Args:
          path: ends in one of FORMATS.
          detector: what verdicts depend on beside the file, as one word.
          retry: whether the rows of files that could not be judged are taken out, so that `take` gives them again.

        Raises:
          InputError: another ending; the file is no such table, or of another detector, or being written.
        """
        self.path, self.detector = pathlib.Path(path), detector
        self._kind = check(path)
        self.journal = journal(self.path)
        self.counts: collections.Counter[str] = collections.Counter()
        self._done: set[int] = set()
        try:
            if self._kind == ".parquet" and self.path.exists():
                self._check_parquet()
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.journal.open("ab+")
        except OSError as error:
            raise InputError(f"--output {path} cannot be written: {error.strerror}; give another file") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(f"--output {path} is being written by another process; give another file") from error
        self._replaced: IO[bytes] | None = None  # stays locked, for those who opened it before it was
        try:
            self._continue()
            if retry and self.counts[SKIPPED]:
                self._take_out_skipped()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_) -> None:
        with contextlib.ExitStack() as opened:
            opened.callback(self._file.close)
            if self._replaced is not None:
                opened.callback(self._replaced.close)
                self._put_back(self._replaced)

    def __len__(self) -> int:
        return len(self._done)

    def take(self, file: str) -> bool:
        """Whether a file is still to be judged; from then on it is not."""
        number = _number(file)
        if number in self._done:
            return False
        self._done.add(number)
        return True

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds what a detector says of one file."""
        row = {**row, "detector": self.detector}
        self._file.write(_json(row) if self.journal.suffix == ".jsonl" else _csv(flat(row).values()))
        self._file.flush()
        self.counts[row.get("verdict", SKIPPED)] += 1

    def finish(self) -> None:
        """Makes the Parquet file, whole or not at all; what was to be tried again and was not given stays skipped."""
        if self._replaced is not None:
            self._put_back(self._replaced)
        if self._kind != ".parquet":
            return
        import pyarrow
        import pyarrow.parquet

        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS])
        partial = self.path.with_name(f".{self.path.name}.partial")
        with contextlib.ExitStack() as opened:
            opened.callback(partial.unlink, missing_ok=True)  # where it fails
            with self.journal.open("rb") as file, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
                rows = (flat(json.loads(line)) for line in file)
                while some := list(itertools.islice(rows, ROWS)):
                    for row in some:  # a file's name may hold bytes that are no text
                        row["file"] = row["file"].encode("utf-8", "backslashreplace").decode()
                    writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))
            os.replace(partial, self.path)

    def _check_parquet(self) -> None:
        """Raises InputError where a Parquet file is no such table, or its rows would be lost without a journal."""
        if not _is_ours(self.path):
            raise _stranger(self.path)
        if not self.journal.exists():
            raise InputError(
                f"--output {self.path} is there without its rows in {self.journal.name}, so that none can be added; "
                "give another file"
            )

    def _continue(self) -> None:
        """Reads what is there, and cuts off a row that a kill left incomplete."""
        end = 0
        for row, _, stop in self._rows(self._file):
            if row["detector"] != self.detector:
                raise InputError(
                    f"--output {self.path} holds verdicts of another detector or with other options "
                    f"({row['detector']}; this one is {self.detector}); give another file"
                )
            self._done.add(_number(row["file"]))
            self.counts[row.get("verdict") or SKIPPED] += 1
            end = stop
        head = b'{"file": ' if self.journal.suffix == ".jsonl" else _csv(name for name, _ in COLUMNS)
        self._file.seek(0)
        there = self._file.read(len(head))
        if not end and head[: len(there)] != there:
            raise _stranger(self.journal)  # no table that was killed at its first row
        self._file.truncate(end)
        if self.journal.suffix == ".csv" and not end:
            self._file.write(head)
            self._file.flush()

    def _rows(self, file: IO[bytes]) -> Iterator[tuple[dict[str, Any], int, int]]:
        """(row, where it begins, where it ends) of every complete row of the journal, or of the one before."""
        file.seek(0)
        return (_json_rows if self.journal.suffix == ".jsonl" else _csv_rows)(file, self.journal)

    def _take_out_skipped(self) -> None:
        """Puts the rows that hold a verdict in the place of all, whole or not at all."""
        partial = self.journal.with_name(f".{self.journal.name}.partial")
        with contextlib.ExitStack() as opened:  # closed where it fails
            opened.callback(partial.unlink, missing_ok=True)
            try:
                old, new = opened.enter_context(self.journal.open("rb")), opened.enter_context(partial.open("wb+"))
            except OSError as error:
                raise InputError(f"--output {self.path} cannot be written anew: {error.strerror}") from error
            fcntl.flock(new, fcntl.LOCK_EX)
            if self.journal.suffix == ".csv":
                new.write(_csv(name for name, _ in COLUMNS))
            for row, start, end in self._rows(self._file):
                if row["verdict"]:
                    old.seek(start)
                    new.write(old.read(end - start))
                else:
                    self._done.discard(_number(row["file"]))
            new.flush()
            os.fsync(new.fileno())
            os.replace(partial, self.journal)
            opened.pop_all()
        old.close()
        self._replaced, self._file = self._file, new
        del self.counts[SKIPPED]

    def _put_back(self, replaced: IO[bytes]) -> None:
        """Adds the rows of those files that were taken out and then not named, or not reached."""
        for row, start, end in self._rows(replaced):
            if not row["verdict"] and self.take(row["file"]):
                self._file.write(os.pread(replaced.fileno(), end - start, start))
                self.counts[SKIPPED] += 1
        self._file.flush()


def check(path: str | pathlib.Path) -> str:
    """The ending of a table's name, one of FORMATS; raises InputError for another, or where pyarrow is missing."""
    kind = pathlib.Path(path).suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"--output {path}: expected a name that ends in .jsonl, .csv or .parquet")
    if kind == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"--output {path} needs pyarrow: pip install pyarrow; or give a name that ends in .jsonl")
    return kind


def journal(path: pathlib.Path) -> pathlib.Path:
    """The file that the rows of a table are written to: itself, or of Parquet one of JSON lines beside it."""
    return path.with_name(path.name + ".jsonl") if path.suffix.lower() == ".parquet" else path


def _number(file: str) -> int:
    return int.from_bytes(hashlib.blake2b(file.encode("utf-8", "surrogateescape"), digest_size=8).digest())


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _csv(values) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(["" if value is None else value for value in values])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _json_rows(file: IO[bytes], path: pathlib.Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    end = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        start, end = end, end + len(line)
        try:
            row = json.loads(line)
            yield {"file": row["file"], "detector": row["detector"], "verdict": row.get("verdict")}, start, end
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _stranger(path) from error


def _csv_rows(file: IO[bytes], path: pathlib.Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    """A row goes on to the next line while a quotation mark is open."""
    end, pending, names = 0, b"", [name for name, _ in COLUMNS]
    for line in file:
        pending += line
        if pending.count(b'"') % 2 or not pending.endswith(b"\n"):
            continue
        text = pending.decode("utf-8", "surrogateescape")
        (cells,) = csv.reader(io.StringIO(text, newline=""))
        start, end, first, pending = end, end + len(pending), end == 0, b""
        if first and {"file", "verdict", "detector"} < set(cells) and cells != names:
            raise InputError(f"--output {path} has the columns of another version of dfjax; give another file")
        if len(cells) != len(names) or (first and cells != names):
            raise _stranger(path)
        if not first:
            yield dict(zip(names, cells, strict=True)), start, end


def _is_ours(path: pathlib.Path) -> bool:
    """Whether a Parquet file has the columns of a table of verdicts."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(path).names == [name for name, _ in COLUMNS]
    except (OSError, pyarrow.ArrowException):
        return False


def _stranger(path: pathlib.Path) -> InputError:
    return InputError(f"--output {path} is there and is no table of verdicts; give another file")
