"""Score files: what a detector said about every record of one split, as a CSV that needs no JAX to read.

    # split: validation
    # step: 1200
    id,clip,group,label,method,score
    a/01.wav#0,a/01.wav,speaker_7,1,griffin_lim,2.4173856

`label` is 1 fake, 0 real, -1 unknown; `score` is a float32 logit, higher = more likely fake. The text of a
score restores its float32 exactly. Any CSV with the columns label and score can be read.

A last column `domain`, where there is one, says where a record was recorded or published. `split: left_out` in
the header marks scores by networks that were trained without the record's domain; `seed` there is the seed of the
trainings, or `seeds` the list of those whose mean the scores are.
"""

import csv
import dataclasses
import io
import itertools
import json
import re

import numpy as np
from etils import epath

from dfjax.decide import clip_score
from dfjax.records import FAKE, REAL, UNKNOWN, InputError
from dfjax.runtime import files

COLUMNS = ("id", "clip", "group", "label", "method", "score")
DOMAIN = "domain"  # a seventh column, in files of several domains only
LEFT_OUT = "left_out"  # the split of scores by networks trained without the domain that they score
FACE = re.compile(r"(.*#\d+)\.\d+", re.DOTALL)  # the id of a frame's second and further faces: clip#frame.k
LABELS = {str(REAL): REAL, str(FAKE): FAKE, str(UNKNOWN): UNKNOWN}


@dataclasses.dataclass(frozen=True)
class Scores:
    """The columns of a score file as NumPy arrays of one length, and the header as a dict.

    Attributes:
      id: str array, the record.
      clip: str array, the unit whose rows become one score.
      group: str array, the unit that is resampled by a bootstrap (speaker, source video).
      label: int32 array of 1 fake, 0 real, -1 unknown.
      method: str array, the generator; empty for real.
      score: float32 array of logits, higher = more likely fake.
      header: what the '#' lines say, such as split, step, dataset, level.
      domain: str array, where the record comes from (source, corpus); None where the file has no such column.

    Raises:
      ValueError: the columns differ in length.
    """

    id: np.ndarray
    clip: np.ndarray
    group: np.ndarray
    label: np.ndarray
    method: np.ndarray
    score: np.ndarray
    header: dict = dataclasses.field(default_factory=dict)
    domain: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "label", self.label.astype(np.int32, copy=False))
        object.__setattr__(self, "score", self.score.astype(np.float32, copy=False))
        shapes = {name: getattr(self, name).shape for name in self.columns}
        if len(set(shapes.values())) != 1 or self.score.ndim != 1:
            raise ValueError(f"columns of a score file must be one-axis arrays of one length, got {shapes}")

    def __len__(self):
        return len(self.score)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that there are: COLUMNS, and `domain` unless it is None."""
        return COLUMNS if self.domain is None else (*COLUMNS, DOMAIN)


def select(scores: Scores, rows: np.ndarray) -> Scores:
    """The rows given by a boolean mask or an index array, with the same header."""
    return Scores(**{name: getattr(scores, name)[rows] for name in scores.columns}, header=scores.header)


def known(scores: Scores) -> Scores:
    """Without the rows whose label is unknown (-1): those are scored and kept, never judged."""
    return select(scores, scores.label != UNKNOWN)


def by_clip(scores: Scores) -> Scores:
    """One row per clip, in order of appearance; its score is `clip_scores` by the rule in the header.

    Raises:
      InputError: rows of one clip disagree on label, group, method or domain, their mean is undefined
        (inf - inf), or the header names an unknown rule.
    """
    index, first = _codes(scores.clip)
    shared = [name for name in scores.columns if name not in ("id", "clip", "score")]
    for name in shared:
        column = getattr(scores, name)
        wrong = np.flatnonzero(column != column[first[index]])
        if len(wrong):
            clip, here = scores.clip[wrong[0]], column[wrong[0]]
            there = column[first[index[wrong[0]]]]
            raise InputError(
                f"rows of clip {str(clip)!r} disagree on {name}: {there!s} and {here!s}; expected one value"
            )
    score = clip_score.clip_scores(scores.score, _frames(scores, index), index, rule_of(scores))
    if np.isnan(score).any():
        clip = scores.clip[first[np.isnan(score)][0]]
        raise InputError(f"the mean score of clip {str(clip)!r} is undefined: it holds +inf and -inf")
    clips = scores.clip[first]
    columns = {name: getattr(scores, name)[first] for name in shared}
    return Scores(id=clips, clip=clips, score=score, header=scores.header | {"level": "clip"}, **columns)


def rule_of(scores: Scores) -> str:
    """How the rows of a clip become its score: what the header says, or 'mean'."""
    return clip_score.rule_of(scores.header)


def _frames(scores, clip):
    """Number of each row's frame. A row is a frame of its own, unless it is a further face of a frame in the file."""
    ids, row = scores.id.tolist(), np.arange(len(scores))
    if further := {i: match[1] for i, name in enumerate(ids) if (match := FACE.fullmatch(name))}:
        of = {(c, name): i for i, (c, name) in enumerate(zip(clip.tolist(), ids, strict=True))}
        for i, name in further.items():
            row[i] = of.get((clip[i], name), i)
    return np.unique(row, return_inverse=True)[1]


def _codes(names):
    """Number of each row's name in order of first appearance, and each name's first row."""
    numbers: dict[str, int] = {}
    index = np.fromiter((numbers.setdefault(n, len(numbers)) for n in names.tolist()), np.int64, len(names))
    first = np.full(len(numbers), len(names))
    np.minimum.at(first, index, np.arange(len(names)))
    return index, first


def write(path, scores: Scores, header: dict | None = None) -> None:
    """Writes a score file atomically: a reader sees the old file or the whole new one.

    Args:
      path: where; missing folders are made.
      scores: the columns.
      header: '#' lines, added to `scores.header`.

    Raises:
      ValueError: a score is NaN.
    """
    if np.isnan(scores.score).any():
        name = scores.id[np.isnan(scores.score)][0]
        raise ValueError(f"score of {str(name)!r} is NaN; a detector's scores must be numbers")
    texts = {name: getattr(scores, name).tolist() for name in scores.columns if name != "score"}
    columns = texts | {"score": _text(scores.score)}
    file = io.StringIO(newline="")
    for key, value in (scores.header | (header or {})).items():
        file.write(f"# {key}: {_header_text(value)}\n")
    rows = zip(*(columns[name] for name in scores.columns), strict=True)
    # a name may hold what ends a line, if it is quoted; csv does that for \n alone where lines end so
    returns = any("\r" in text for name, column in texts.items() if name != "label" for text in column)
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    writer.writerow(scores.columns)
    writer.writerows(rows)
    files.write(path, file.getvalue())


def _text(score):
    """Shortest text of each float32; the longer float64 text where reading would round twice."""
    text = score.astype(np.str_)
    wrong = text.astype(np.float64).astype(np.float32) != score
    texts = text.tolist()
    for i in np.flatnonzero(wrong):
        texts[i] = repr(float(score[i]))
    return texts


def _header_text(value):
    text = json.dumps(value, allow_nan=False)
    return value if isinstance(value, str) and _header_value(value) == value and "\n" not in value else text


def _header_value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _open(path: epath.Path):
    return io.TextIOWrapper(path.open("rb"), encoding="utf-8-sig", newline="")


def read(path) -> Scores:
    """Reads a score file, or any CSV with the columns label and score.

    Missing columns are filled: id = row number, clip = id, group = clip, method = '', but domain = None. Others
    are ignored.

    Raises:
      InputError: no such file, no rows, a missing column, a label not 1, 0 or -1, a score that is no number.
    """
    path, names = epath.Path(path), []
    try:
        with _open(path) as file:
            header, names = _head(path, file)
            columns = dict(zip(names, _columns(file, len(names)), strict=True))
        label = [LABELS[text] for text in columns["label"]]
        score = np.fromiter(map(float, columns["score"]), np.float64, len(label))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read the score file {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV text file: {error}") from error
    except (KeyError, ValueError) as error:
        raise _first_fault(path, names) from error
    if not label:
        raise InputError(f"{path} has no rows; expected at least one score")
    if np.isnan(score).any():
        raise _first_fault(path, names)
    columns.setdefault("id", [str(i) for i in range(len(label))])
    columns.setdefault("clip", columns["id"])
    columns.setdefault("group", columns["clip"])
    columns.setdefault("method", [""] * len(label))
    kept = ["id", "clip", "group", "method", *({DOMAIN} & columns.keys())]
    texts = {name: np.array(columns[name], np.str_) for name in kept}
    with np.errstate(over="ignore"):  # beyond float32: an infinite logit
        return Scores(**texts, label=np.array(label, np.int32), score=score.astype(np.float32), header=header)


def _head(path, file):
    """The header dict and the column names."""
    header, line = {}, file.readline()
    while line.startswith("#"):
        key, _, value = line[1:].partition(":")
        header[key.strip()] = _header_value(value.strip())
        line = file.readline()
    names = [name.strip() for name in next(csv.reader([line]), [])]
    for name in ("label", "score"):
        if name not in names:
            raise InputError(f"{path} has no column {name!r}; expected a CSV with label and score, found {names}")
    if len(set(names)) != len(names):
        raise InputError(f"{path} names a column twice: {names}")
    if not isinstance(header.get("ledger") or {}, dict):
        raise InputError(f"{path} says '# ledger: {header['ledger']}'; expected what dfjax wrote, or no such line")
    return header, names


def _columns(file, width):
    """The columns as lists of text. In pieces: a million live row lists keep the garbage collector busy."""
    reader, columns = csv.reader(file), [[] for _ in range(width)]
    while rows := list(itertools.islice(reader, 4096)):
        rows = [row for row in rows if row]  # blank lines
        if any(len(row) != width for row in rows):
            raise ValueError("a row has another number of fields")
        for column, cells in zip(columns, zip(*rows, strict=True), strict=False):
            column.extend(cells)
    return columns


def _first_fault(path, names):
    """The InputError for the first bad row; only called once a fault is known, so it may be slow."""
    with _open(path) as file:
        skipped = 1
        while file.readline().startswith("#"):
            skipped += 1
        reader = csv.reader(file)
        for row in reader:
            where = f"{path} line {skipped + reader.line_num}"
            if row and len(row) != len(names):
                return InputError(f"{where}: {len(row)} fields, expected {len(names)} ({', '.join(names)})")
            cells = dict(zip(names, row, strict=False))
            if row and cells["label"] not in LABELS:
                return InputError(f"{where}: label {cells['label']!r}; expected 1 (fake), 0 (real) or -1 (unknown)")
            if row and not _is_number(cells["score"]):
                return InputError(f"{where}: score {cells['score']!r}; expected a number (a logit, higher = fake)")
    return InputError(f"{path} cannot be read as a score file")


def _is_number(text):
    try:
        return float(text) == float(text)
    except ValueError:
        return False
