"""One file of a dataset; all of them, and names of files, in little memory."""

import bisect
import copy
import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

OWN = 2**32 - 1  # instead of the number of a text: the item's id
CODEC = ("utf-8", "surrogatepass")  # takes the name of any file


class Item(NamedTuple):
    """One media file of the user, before decoding."""

    root: epath.Path  # a folder that many items share
    id: str  # relative to the root, '/' separated, unique in the dataset
    label: int  # 1 fake, 0 real
    split: str  # train, validation, test
    group: str  # never straddles splits under a disjoint protocol
    clip: str  # scores are averaged over it
    method: str = ""  # generator or manipulation; empty for real
    subgroups: tuple[tuple[str, str], ...] = ()  # (("gender", "women"), ...)
    picture: str = ""  # what the picture is by itself: 'real', 'fake', or '' where that is not known
    sound: str = ""
    domain: str = ""  # where it was recorded or published; '' for the dataset as a whole

    @property
    def path(self) -> epath.Path:
        """Where the media lie."""
        return self.root / self.id


class Paths(Sequence[str]):
    """Many texts like 'folder/name', each in the bytes of its name and ten more: as texts they take 100 bytes each."""

    def __init__(self, paths: Iterable[str] = ()):
        self._known: dict[str, int] = {}  # folder -> number
        self._folders: list[str] = []
        self._names = bytearray()  # one after another
        self._folder, self._ends, self._lengths = array("I"), array("I"), array("H")  # the names end there
        for path in paths:
            self.append(path)

    def append(self, path: str, end: str = "") -> None:
        """Puts one more, which ends in `end`, behind the others."""
        folder, slash, name = path.rpartition("/")
        coded = (name + end).encode(*CODEC)
        self._names += coded
        self._folder.append(_number(folder + slash, self._known, self._folders))
        self._ends.append(len(self._names))
        self._lengths.append(len(coded))

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, row):
        """A text; of a slice, a list of them."""
        if isinstance(row, slice):
            return [self[of] for of in range(len(self))[row]]
        return self._folders[self._folder[row]] + self._name(row)

    def __iter__(self) -> Iterator[str]:
        names, folders = self._names, self._folders
        for folder, end, length in zip(self._folder, self._ends, self._lengths, strict=True):
            yield folders[folder] + names[end - length : end].decode(*CODEC)

    def _name(self, row: int) -> str:
        end = self._ends[row]
        return self._names[end - self._lengths[row] : end].decode(*CODEC)

    def order(self) -> np.ndarray:
        """The rows in the order of the texts; the names of one folder at a time are kept as texts."""
        if not len(self):
            return np.zeros(0, np.int64)
        folders = np.frombuffer(self._folder, np.uint32)
        rows = np.argsort(folders, kind="stable")
        of_folders = np.split(rows, np.flatnonzero(np.diff(folders[rows])) + 1)
        runs = [array("I", sorted(run.tolist(), key=self._name)) for run in of_folders]
        return np.fromiter(heapq.merge(*runs, key=self.__getitem__), np.int64, len(self))

    def taken(self, rows: np.ndarray) -> "Paths":
        """Those of some rows, in their order."""
        result = copy.copy(self)  # folders and names, which are only added to, serve both
        result._folder, result._ends, result._lengths = (
            _taken(column, rows) for column in (self._folder, self._ends, self._lengths)
        )
        return result

    def find(self, path: str) -> int | None:
        """The row of a text, where they are in order; None where there is none."""
        row = bisect.bisect_left(self, path)
        return row if row < len(self) and self[row] == path else None


class Items(Sequence[Item]):
    """Many items, each in the bytes of its name and some twenty more; one is made whenever it is asked for.

    What many share (folders, groups, clips, all that is not an id) is kept once: as tuples and texts an item takes 250
    bytes.
    """

    def __init__(self, items: Iterable[Item] = ()):
        self._ids = Paths()
        self._known: dict[tuple | str, int] = {}  # -> number
        self._kinds: list[tuple] = []  # all fields but id, group and clip
        self._texts: list[str] = []  # groups and clips
        self._kind, self._group, self._clip = array("I"), array("I"), array("I")  # numbers
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """Puts one more behind the others."""
        root, id_, label, split, group, clip, *rest = item
        self._ids.append(id_)
        self._kind.append(_number((root, label, split, *rest), self._known, self._kinds))
        self._group.append(OWN if group == id_ else _number(group, self._known, self._texts))
        self._clip.append(OWN if clip == id_ else _number(clip, self._known, self._texts))

    def __len__(self) -> int:
        return len(self._kind)

    def __getitem__(self, row):
        """An item; of a slice, a list of them."""
        if isinstance(row, slice):
            return [self[of] for of in range(len(self))[row]]
        return self._item(self._ids[row], self._kind[row], self._group[row], self._clip[row])

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, self._ids, self._kind, self._group, self._clip)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Items, list)):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def _item(self, id_: str, kind: int, group: int, clip: int) -> Item:
        root, label, split, method, subgroups, picture, sound, domain = self._kinds[kind]
        of_group = id_ if group == OWN else self._texts[group]
        of_clip = id_ if clip == OWN else self._texts[clip]
        return Item(root, id_, label, split, of_group, of_clip, method, subgroups, picture, sound, domain)

    def order(self) -> np.ndarray:
        """The rows in the order of their ids."""
        return self._ids.order()

    def sort(self) -> None:
        """Puts them in the order of their ids."""
        order = self.order()
        self._ids = self._ids.taken(order)
        self._kind, self._group, self._clip = (_taken(of, order) for of in (self._kind, self._group, self._clip))

    def find(self, id_: str) -> int | None:
        """The row of an id, of items in the order of their ids; None where there is none."""
        return self._ids.find(id_)

    def moved(self, splits: Iterable[str]) -> "Items":
        """The same items, each in its split of these."""
        result, rows = copy.copy(self), np.arange(len(self))  # what is only added to serves both
        result._ids, result._kind = self._ids.taken(rows), array("I")
        result._group, result._clip = _taken(self._group, rows), _taken(self._clip, rows)
        known: dict[tuple[int, str], int] = {}
        for kind, split in zip(self._kind, splits, strict=True):
            if (kind, split) not in known:
                root, label, _, *rest = self._kinds[kind]
                known[kind, split] = _number((root, label, split, *rest), self._known, self._kinds)
            result._kind.append(known[kind, split])
        return result


def _number(of: Any, known: dict[Any, int], things: list) -> int:
    """The place of a thing in a list; put there if it is new."""
    if of not in known:
        known[of] = len(things)
        things.append(of)
    return known[of]


def _taken(column: array, rows: np.ndarray) -> array:
    """The values of some rows, in their order."""
    return array(column.typecode, np.array(column, column.typecode)[rows].tobytes())
