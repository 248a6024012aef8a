"""What every dataset's index is made of: items, and what was left out and why.

Indexing reads names, lists and headers only; media are decoded later. `index(root, ...)` of each dataset
returns an Index.
"""

import collections
import dataclasses
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from data_builders import contents
from data_builders.items import Item as Item
from data_builders.items import Items as Items
from data_builders.items import Paths
from dfjax.media import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from dfjax.media import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from dfjax.media import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from dfjax.records import FAKE, LABEL_NAMES, REAL, SPLITS, InputError
from dfjax.runtime import files


@dataclasses.dataclass(slots=True)
class Index:
    """All items of a dataset under one protocol."""

    dataset: str
    variant: str  # the on-disk layout that was found
    items: Items = dataclasses.field(default_factory=Items)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (id, reason): unusable files
    dropped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (id, reason): by the protocol
    warnings: list[str] = dataclasses.field(default_factory=list)  # counts unlike the published ones, ...
    people: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # id -> everyone in it


DEPTH = 3  # levels below the folder given at which its root may lie; unpacked archives nest a folder inside itself
SAMPLED = 256  # files of a dataset, evenly spread, of whose content parts are noted: enough to tell another corpus
JUNK_FILES = (".ds_store", "thumbs.db", "desktop.ini")
JUNK_FOLDERS = ("__macosx",)


def junk(name: str) -> bool:
    """Whether a file or folder of this name is an operating system's leftover and never media."""
    name = name.lower()
    return name.startswith("._") or name in JUNK_FILES or name in JUNK_FOLDERS


def folders(parent: epath.Path) -> dict[str, epath.Path]:
    """The folders in `parent` by lower-case name, sorted; two that differ only by case raise InputError."""
    found: dict[str, epath.Path] = {}
    for name in sorted(name for name, is_folder, _ in _entries(parent) if is_folder):
        if junk(name) or name.startswith("."):
            continue
        path, key = parent / name, name.lower()
        if key in found:
            raise InputError(f"{found[key]} and {path} differ only by case; merge them or remove one")
        found[key] = path
    return found


def _entries(parent: epath.Path) -> Iterator[tuple[str, bool, int]]:
    """(name, is it a folder, bytes of a file) of everything in a folder, in any order; a link to nothing is empty.

    On a disk by os.scandir: a stat of epath's looks up the owner of every file by name and takes ten times as long.
    """
    if files.remote(parent):
        for path in parent.iterdir():
            yield path.name, path.is_dir(), 0 if path.is_dir() else path.stat().length
        return
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.is_dir():
                yield entry.name, True, 0
            else:
                yield entry.name, False, entry.stat(follow_symlinks=entry.is_file()).st_size * entry.is_file()


def find_root(source: epath.PathLike, is_root: Callable[[dict[str, epath.Path]], bool]):
    """The nearest folder at or below `source`, at most DEPTH levels down, that looks like the root.

    Args:
      source: the folder the user gave.
      is_root: takes the folders in a candidate by lower-case name, says whether it is the root.

    Returns:
      The root (nearest first, then by name) or None.

    Raises:
      InputError: `source` is not a folder, or holds folders that differ only by case.
    """
    source = epath.Path(source)
    if not source.is_dir():
        raise InputError(f"--source {source} is not a folder; give the folder that holds the media")
    level = [source]
    for _ in range(DEPTH + 1):
        inside = {path: folders(path) for path in level}
        for path in level:
            if is_root(inside[path]):
                return path
        level = [child for path in level for child in inside[path].values()]
    return None


def media_files(
    folder: epath.Path,
    root: epath.Path,
    suffixes: tuple[str, ...],
    skipped: list[tuple[str, str]],
    recursive: bool = True,
) -> list[str]:
    """The ids of the media files in `folder`, sorted; what is left out is appended to `skipped`.

    Args:
      folder: where to look.
      root: ids are relative to it.
      suffixes: the wanted endings, lower-case, with their dot.
      skipped: receives (id, reason) of leftovers, hidden and empty files, unknown endings, names that are no text, and
        of folders that are hidden or links.
      recursive: whether to look into the folders below.
    """
    found: list[str] = []
    relative = folder.relative_to(root).as_posix()
    todo = [(folder, "" if relative == "." else relative + "/")]
    while todo:
        parent, prefix = todo.pop()
        inside, left = [], []
        for name, is_folder, length in _entries(parent):
            if junk(name):
                left.append((name, "/" if is_folder else "", "operating system leftover"))
            elif name.startswith("."):  # what was thrown away, or half copied
                left.append((name, "/" if is_folder else "", "hidden"))
            elif not _is_text(name):  # records hold text
                left.append((name, "/" if is_folder else "", "name is not UTF-8; rename it"))
            elif is_folder and recursive and os.path.islink(parent / name):  # links may lead in circles
                left.append((name, "/", "link to a folder"))
            elif is_folder:
                inside.append(name)
            elif not name.lower().endswith(suffixes):
                left.append((name, "", "unknown ending"))
            elif length == 0:
                left.append((name, "", "empty file" if os.path.exists(parent / name) else "link to nothing"))
            else:
                found.append(prefix + name)
        skipped += [(f"{prefix}{name}{end}", reason) for name, end, reason in sorted(left)]
        if recursive:
            todo += [(parent / name, f"{prefix}{name}/") for name in sorted(inside)]
    found.sort()
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def listing_digest(told: Iterable[tuple[str, str | int]]) -> str:
    """8 hex digits that change when a file is added, removed, renamed or changes its size.

    Args:
      told: (id, its size and whatever else it is to change with) of each file.
    """
    lines = Paths()
    for id_, of in told:
        lines.append(id_, f"\t{of}")
    digest, before = hashlib.blake2b(digest_size=4), ""
    for row in lines.order():
        digest.update((before + lines[row]).encode("utf-8", "surrogateescape"))
        before = "\n"
    return digest.hexdigest()


def grouped_split(items: Sequence[Item], fractions: Mapping[str, float], seed: int = 0) -> Items:
    """The items with `split` set: no group in two splits, each split its share of every label and method.

    Groups are taken largest first (equal sizes in an order drawn from `seed`), each to the split where it
    brings the shares of all labels and methods closest to `fractions`, in squares. Then a split that lacks a
    label takes the smallest group that has it from the first split, where that leaves another one behind.

    Args:
      items: what to split; their order does not matter.
      fractions: name of split -> share, summing to 1; the first is the one that gives (train).
      seed: of the order among equal groups.
    """
    names, shares = list(fractions), np.array(list(fractions.values()))
    items = items if isinstance(items, Items) else Items(items)
    row, n = _group_rows(items)
    methods = {(item.label, item.method) for item in items}
    column = {stratum: i for i, stratum in enumerate(sorted(methods | {(label, "") for label, _ in methods}))}
    counts = np.zeros((n, len(column)))  # (label, '') is the whole label
    for i, item in zip(row, items, strict=True):
        for name in {"", item.method}:
            counts[i, column[item.label, name]] += 1

    part = counts / counts.sum(axis=0)  # each label and each method weighs the same, however rare
    tie = np.random.default_rng(seed).permutation(n)
    have = np.zeros((len(names), len(column)))
    split = np.zeros(n, np.int8)
    for i in np.lexsort((tie, -part.sum(axis=1))):
        gap = have - shares[:, None]
        best = int(np.argmin((part[i] * (2 * gap + part[i])).sum(axis=1)))  # growth of the squared gap
        split[i] = best
        have[best] += part[i]
    for label in sorted({item.label for item in items}):
        size = counts[:, column[label, ""]]
        for wanting in range(1, len(names)):
            giving = np.flatnonzero((split == 0) & (size > 0))
            if (size[split == wanting] == 0).all() and len(giving) > 1:
                split[giving[np.argmin(counts[giving].sum(axis=1))]] = wanting
    return items.moved(names[split[i]] for i in row)


def _group_rows(items: Items) -> tuple[array, int]:
    """The place of each item's group among all in the order of their names, and how many they are."""
    if all(item.group == item.id for item in items):  # no text of each is needed
        return array("I", np.argsort(items.order()).astype(np.uint32).tobytes()), len(items)
    place = {group: i for i, group in enumerate(sorted({item.group for item in items}))}
    return array("I", (place[item.group] for item in items)), len(place)


def moved(item: Item, split: str) -> Item:
    """The item in a split."""
    return item if item.split == split else item._replace(split=split)


def straddling(items: Sequence[Item]) -> list[str]:
    """The groups that are in more than one split, sorted: empty under a disjoint protocol."""
    shared = {item.group for item in items if item.group != item.id}  # an item alone in its group cannot straddle
    first: dict[str, str] = {}
    return sorted({i.group for i in items if i.group in shared and first.setdefault(i.group, i.split) != i.split})


def check_disjoint(index: Index) -> None:
    """Makes sure that no group, and nobody in `index.people`, is in two splits.

    Raises:
      ValueError: naming the first that is.
    """
    splits: dict[str, str] = {}
    for item in index.items:
        units = [f"group {item.group!r}", *(f"person {name!r}" for name in index.people.get(item.id, ()))]
        for unit in units:
            if splits.setdefault(unit, item.split) != item.split:
                raise ValueError(f"{index.dataset}: {unit} is in {splits[unit]} and in {item.split} ({item.id})")


def check(index: Index) -> Index:
    """The index, if a dataset can be made of it.

    Raises:
      InputError: it is empty, has one class only, an id twice, or, in folders of the user's own, a file under
        both labels. In a published dataset, which nobody can ask, such files are dropped on both sides.
    """
    own = index.dataset.startswith("folder_")
    if not own:
        _drop_conflicts(index)
    found = collections.Counter(item.label for item in index.items)
    if not index.items:
        raise InputError(f"No media files found for {index.dataset}; {reasons(index.skipped)}")
    if not (found[REAL] and found[FAKE]):
        only, other = (LABEL_NAMES[label] for label in ((REAL, FAKE) if found[REAL] else (FAKE, REAL)))
        raise InputError(f"{index.dataset}: all {len(index.items)} files are {only}; {other} files are needed too")
    for split in SPLITS:
        labels = {item.label for item in index.items if item.split == split}
        if len(labels) < 2:
            missing = " and ".join(name for label, name in enumerate(LABEL_NAMES) if label not in labels)
            index.warnings.append(f"{split} has no {missing} files")
    ids = collections.Counter(item.id for item in index.items)
    if twice := sorted(id_ for id_, count in ids.items() if count > 1):
        raise InputError(f"{index.dataset}: {twice[0]} is indexed twice ({len(twice)} such ids)")
    if own:
        _check_copies(index)
    return index


def _check_copies(index: Index) -> None:
    """Raises InputError for a file under both labels; warns of one in two splits."""
    same = contents.same_content(index.items, lambda item: (item.label, item.split))
    if conflicts := contents.label_conflicts(same):
        first, second, *_ = conflicts[0]
        raise InputError(
            f"{index.dataset}: {first.id} and {second.id} have the same content and different labels "
            f"({len(conflicts)} such cases); remove one of each"
        )
    if same:
        first, *others = same[0]
        other = next(item for item in others if item.split != first.split)
        index.warnings.append(
            f"copies of {len(same)} file{'s' * (len(same) != 1)} lie in another split, first {first.id} in "
            f"{first.split} and {other.id} in {other.split}; remove one of each"
        )


def _drop_conflicts(index: Index) -> None:
    same = contents.same_content(index.items, lambda item: item.label)
    doubtful = {item.id: group for group in contents.label_conflicts(same) for item in group}
    if not doubtful:
        return
    index.items = Items(item for item in index.items if item.id not in doubtful)
    for id_, group in sorted(doubtful.items()):
        twin = next(item for item in group if item.id != id_)
        index.dropped.append((id_, f"same content as {twin.id}; both labels are given"))
    index.warnings.append(f"{len(doubtful)} files have the same content under both labels and were dropped")


def source_digest(index: Index) -> str:
    """8 hex digits over names, sizes, labels and splits: whether a prepared dataset is of this tree."""
    return listing_digest(
        (item.id, f"{item.label}\t{item.split}\t{item.group}\t{contents.size(item.root, item.id)}")
        for item in index.items
    )


def reasons(skipped: list[tuple[str, str]]) -> str:
    """The most frequent reasons, for a message."""
    if not skipped:
        return "nothing was skipped"
    common = collections.Counter(reason for _, reason in skipped).most_common(3)
    return "skipped: " + ", ".join(f"{count} {reason}" for reason, count in common)
