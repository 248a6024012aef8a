"""What files hold, as far as it must be known before they are decoded: their sizes, samples of them, and copies."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from data_builders.items import Item
from dfjax.records import FAKE, REAL

PARTS, PART = 4, 1 << 14  # how many parts of a file are its sample, evenly spread, and their bytes

_digest = functools.partial(hashlib.blake2b, digest_size=8)


def size(folder: epath.Path, name: str) -> int:
    """Bytes of a file in or below a folder, 0 of a link to nothing.

    On a disk by os, as a path and a stat of epath's take ten times as long.
    """
    at = f"{os.fspath(folder)}/{name}"
    if "://" in at:
        return epath.Path(at).stat().length
    try:
        return os.stat(at).st_size
    except FileNotFoundError:
        return 0


def sample(paths: Mapping[str, epath.Path]) -> dict[str, str]:
    """Name -> 16 hex digits of parts of a file, all of a small one; '' of one that cannot be read."""
    found = {}
    for name, path in paths.items():
        digest = _digest()
        try:
            last = max(size(path.parent, path.name) - PART, 0)
            with path.open("rb") as file:
                for k in range(PARTS):
                    file.seek(last * k // (PARTS - 1))
                    digest.update(file.read(PART))
            found[name] = digest.hexdigest()
        except OSError:
            found[name] = ""
    return found


def same_content(items: Sequence[Item], differ: Callable[[Item], object]) -> list[list[Item]]:
    """Groups of items with the same bytes, those whose items `differ`, which says something of each.

    Only what agrees in size, then in 4 kB from its middle, and differs is read whole. A file that may not be read is
    like no other.
    """

    def middle(item: Item) -> int:
        try:
            with item.path.open("rb") as file:
                file.seek(max(size(item.root, item.id) // 2 - 2048, 0))
                return _number(file.read(4096))
        except PermissionError:
            return _number(item.id.encode("utf-8", "surrogateescape"))

    def whole(item: Item) -> int:
        digest = _digest()
        with item.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return int.from_bytes(digest.digest())

    groups = [np.arange(len(items))]  # places; items themselves would take fifty times as much memory
    keys: tuple[Callable[[Item], int], ...] = (
        lambda item: size(item.root, item.id),
        middle,
        whole,
    )
    for key in keys:
        alike = (part for group in groups for part in _alike(group, (key(items[at]) for at in group)))
        groups = [part for part in alike if _differ(differ(items[at]) for at in part)]
    return sorted(([items[at] for at in group] for group in groups), key=lambda group: group[0].id)


def _number(content: bytes) -> int:
    return int.from_bytes(_digest(content).digest())


def _alike(places: np.ndarray, values: Iterable[int]) -> list[np.ndarray]:
    """The places whose value another has, too, by value."""
    _, kind, counts = np.unique(np.fromiter(values, np.uint64, len(places)), return_inverse=True, return_counts=True)
    many = np.flatnonzero(counts[kind] > 1)
    many = many[np.argsort(kind[many], kind="stable")]
    return np.split(places[many], np.flatnonzero(np.diff(kind[many])) + 1) if len(many) else []


def _differ(values: Iterable[object]) -> bool:
    rest = iter(values)
    first = next(rest)
    return any(value != first for value in rest)


def label_conflicts(same: Iterable[Sequence[Item]]) -> list[list[Item]]:
    """Those groups of `same_content` that hold both labels; a real one first, then a fake one."""
    conflicts = []
    for group in same:
        real, fake = ([item for item in group if item.label == label] for label in (REAL, FAKE))
        if real and fake:
            conflicts.append([real[0], fake[0], *real[1:], *fake[1:]])
    return sorted(conflicts, key=lambda group: group[0].id)
