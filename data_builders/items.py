"""One file of a dataset, and all of them in little memory."""

import bisect
import copy
import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

COLUMNS = ("_kind", "_folder", "_ends", "_lengths", "_group", "_clip")
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


class Items(Sequence[Item]):
    """Many items, each in the bytes of its name and some twenty more; one is made whenever it is asked for.

    What many share (folders, groups, clips, all that is not an id) is kept once, and the names of the files stand one
    after another as bytes: as tuples and texts an item takes 250 bytes.
    """

    def __init__(self, items: Iterable[Item] = ()):
        self._kinds: list[tuple] = []  # all fields but id, group and clip
        self._texts: list[str] = []  # folders, groups and clips
        self._numbers: dict[tuple | str, int] = {}  # of kinds and of texts
        self._names = bytearray()
        self._kind, self._folder, self._group, self._clip = (array("I") for _ in range(4))  # numbers
        self._ends, self._lengths = array("I"), array("H")  # of each name in the names
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """Puts one more behind the others."""
        root, id_, label, split, group, clip, *rest = item
        folder, slash, name = id_.rpartition("/")
        coded = name.encode(*CODEC)
        self._names += coded
        self._kind.append(self._number((root, label, split, *rest), self._kinds))
        self._folder.append(self._number(folder + slash, self._texts))
        self._group.append(OWN if group == id_ else self._number(group, self._texts))
        self._clip.append(OWN if clip == id_ else self._number(clip, self._texts))
        self._ends.append(len(self._names))
        self._lengths.append(len(coded))

    def _number(self, of: tuple | str, known: list) -> int:
        number = self._numbers.setdefault(of, len(known))
        if number == len(known):
            known.append(of)
        return number

    def __len__(self) -> int:
        return len(self._kind)

    def __getitem__(self, index):
        """An item; of a slice, a list of them."""
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return list(self._made(*([column[row] for row in rows] for column in self._columns())))
        return next(self._made(*((column[rows],) for column in self._columns())))

    def __iter__(self) -> Iterator[Item]:
        return self._made(*self._columns())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Items, list)):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def _columns(self) -> tuple[array, ...]:
        return tuple(getattr(self, of) for of in COLUMNS)

    def _made(self, *columns: Iterable[int]) -> Iterator[Item]:
        kinds, texts, names = self._kinds, self._texts, self._names
        for kind, folder, end, length, group, clip in zip(*columns, strict=True):
            id_ = texts[folder] + names[end - length : end].decode(*CODEC)
            root, label, split, method, subgroups, picture, sound, domain = kinds[kind]
            group = id_ if group == OWN else texts[group]
            clip = id_ if clip == OWN else texts[clip]
            yield Item(root, id_, label, split, group, clip, method, subgroups, picture, sound, domain)

    def order(self) -> np.ndarray:
        """The rows in the order of their ids; beside them only the names of one folder at a time are kept as texts."""
        if not len(self):
            return np.zeros(0, np.int64)
        folders = np.frombuffer(self._folder, np.uint32)
        rows = np.argsort(folders, kind="stable")
        of_folders = np.split(rows, np.flatnonzero(np.diff(folders[rows])) + 1)
        runs = [array("I", sorted(run.tolist(), key=self._name)) for run in of_folders]
        return np.fromiter(heapq.merge(*runs, key=self._id), np.int64, len(self))

    def _name(self, row: int) -> str:
        end = self._ends[row]
        return self._names[end - self._lengths[row] : end].decode(*CODEC)

    def _id(self, row: int) -> str:
        return self._texts[self._folder[row]] + self._name(row)

    def find(self, id_: str) -> int | None:
        """The row of an id, of items in the order of their ids; None where there is none."""
        row = bisect.bisect_left(range(len(self)), id_, key=self._id)
        return row if row < len(self) and self._id(row) == id_ else None

    def sort(self) -> None:
        """Puts them in the order of their ids."""
        order = self.order()
        for of in COLUMNS:
            column = getattr(self, of)
            setattr(self, of, array(column.typecode, np.frombuffer(column, column.typecode)[order].tobytes()))

    def moved(self, splits: Iterable[str]) -> "Items":
        """The same items, each in its split of these."""
        result = copy.copy(self)  # the texts and names, which are only added to, serve both
        for of in COLUMNS:
            setattr(result, of, getattr(self, of)[:])
        known: dict[tuple[int, str], int] = {}
        for row, (kind, split) in enumerate(zip(self._kind, splits, strict=True)):
            if (kind, split) not in known:
                root, label, _, *rest = self._kinds[kind]
                known[kind, split] = self._number((root, label, split, *rest), self._kinds)
            result._kind[row] = known[kind, split]
        return result
