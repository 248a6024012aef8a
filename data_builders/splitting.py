"""What the datasets' indexes share beyond listing files: lists, protocols, people and published counts."""

import collections
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from data_builders.indexing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, folders, grouped_split, media_files, moved
from data_builders.items import Item, Items
from dfjax.records import FAKE, REAL, SPLITS, InputError

# of videos of faces: compression -> names of its folder; the most used first
COMPRESSIONS = {"c23": ("c23", "hq"), "raw": ("raw", "c0"), "c40": ("c40", "lq")}
Skipped = list[tuple[str, str]]  # (id, reason)
WITHOUT_MEDIA = {"": "", "-index": "; paths and metadata only"}  # suffix of a config -> what it says
CHOOSE_DISJOINT = (  # ends a warning that a published split leaks
    "the config 'disjoint' avoids this: --config_name disjoint, or NAME/disjoint in datasets.json of dfjax.benchmark"
)


def check_one_of(what: str, given: str, names: Sequence[str]) -> str:
    """`given`, if it is one of `names`; another raises InputError, which says `what` it is no name of."""
    if given not in names:
        raise InputError(f"Unknown {what} {given!r}; expected one of {list(names)}")
    return given


# ---- Files ----------------------------------------------------------------------------------------------


def plain(name: str) -> str:
    """A folder's name in lower case, without spaces, underscores and dashes."""
    return re.sub(r"[ _-]", "", name.lower())


def find_file(name: str, places: Iterable[epath.Path]) -> epath.Path | None:
    """The first file of this name, whatever its case, in one of the folders."""
    for place in places:
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            if path.name.lower() == name.lower() and not path.is_dir():
                return path
    return None


def read_lines(path: epath.Path) -> Iterator[str]:
    """The lines of a text file that hold something: any line end, with or without a last one, no BOM."""
    with io.TextIOWrapper(path.open("rb"), "utf-8-sig", errors="replace") as file:
        for text in file:
            yield from (line.strip() for line in text.splitlines() if line.strip())


def below(folder: epath.Path, *names: str) -> epath.Path | None:
    """The folder at the end of a chain of names, whatever their case; None if one is absent."""
    path: epath.Path | None = folder
    for name in names:
        path = folders(path).get(name.lower()) if path is not None else None
    return path


def name_of(id_: str) -> str:
    """The name of an item's file without its ending."""
    return os.path.splitext(os.path.basename(id_))[0]


def videos_or_frames(folder: epath.Path, root: epath.Path, skipped: Skipped) -> tuple[str, list[tuple[str, str]]]:
    """The videos of one class folder, or their extracted frames where there are no videos.

    Looks into `videos/`, then the folder itself, for video files; then for pictures, one folder per video,
    in `frames/`, `images/` or the folder itself. Masks and landmarks beside them are never touched.

    Args:
      folder: of the class.
      root: ids are relative to it.
      skipped: receives (id, reason) of what is left out.

    Returns:
      'videos' or 'frames', and (name of the video, id) of every file, sorted by id.
    """
    inside = folders(folder)
    for place in (inside.get("videos"), folder):
        if place is not None:
            notes: Skipped = []
            files = media_files(place, root, VIDEO_SUFFIXES, notes, recursive=False)
            if files:
                skipped.extend(notes)
                return "videos", [(name_of(id_), id_) for id_ in files]
            skipped.extend(note for note in notes if note[1] == "empty file")
    for place in (inside.get("frames"), inside.get("images"), folder):
        if place is not None:
            frames = [
                (video.name, id_)
                for video in folders(place).values()
                if video.name.lower() not in ("videos", "frames", "images", "masks", "landmarks")
                for id_ in media_files(video, root, IMAGE_SUFFIXES, skipped, recursive=False)
            ]
            if frames:
                return "frames", sorted(frames, key=lambda frame: frame[1])
    return "videos", []


def clip_of(id_: str, kind: str, known: dict[str, str]) -> str:
    """The clip of a file of `videos_or_frames`: itself, or its folder, as one text for all its frames, in `known`."""
    if kind == "videos":
        return id_
    folder = id_.rpartition("/")[0]
    return known.setdefault(folder, folder)


def one_kind(kinds: Mapping[str, str]) -> str:
    """The kind that all classes have: real videos against fake frames would differ in how they are read.

    Args:
      kinds: class folder -> 'videos' or 'frames'; classes without files are left out.

    Raises:
      InputError: some classes are videos and some are frames.
    """
    if len(set(kinds.values())) > 1:
        of = {kind: [name for name in kinds if kinds[name] == kind] for kind in ("videos", "frames")}
        raise InputError(
            f"{of['videos'][0]} holds videos but {of['frames'][0]} only frames, which gives classes away; "
            "extract the frames of all or remove them"
        )
    return next(iter(kinds.values()), "videos")


# ---- Protocols ------------------------------------------------------------------------------------------


def components(links: Iterable[Sequence[str]]) -> dict[str, str]:
    """Every linked name -> the smallest name in its connected component."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for names in links:
        first = find(names[0])
        for name in names[1:]:
            low, high = sorted((first, find(name)))
            parent[high] = first = low
    return {name: find(name) for name in list(parent)}


def carve_validation(items: Sequence[Item], share: float = 0.1) -> Items:
    """The items, with whole groups of train moved to validation until it holds about `share` of them."""
    train = Items(item for item in items if item.split == "train")
    parts = grouped_split(train, {"train": 1 - share, "validation": share}) if train else train
    return Items(itertools.chain((item for item in items if item.split != "train"), parts))


def assign(names: Iterable[str], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Maps names to splits: the names in an order drawn from `seed`, cut at the shares.

    Every split gets a name as long as there are enough, the later ones first (a lone name is the first's).
    """
    order = sorted(set(names))
    order = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
    splits, n = list(shares), len(order)
    counts = {name: max(int(n > len(splits) - 1), round(n * shares[name])) for name in splits[1:]}
    ends = np.cumsum([0, n - sum(counts.values()), *counts.values()])
    return {
        name: split for split, start, end in zip(splits, ends[:-1], ends[1:], strict=True) for name in order[start:end]
    }


def place(items: Sequence[Item], people: Mapping[str, Sequence[str]], home: Mapping[str, str]) -> tuple[Items, Skipped]:
    """Puts every item where all its people live; drops those whose people live apart.

    Args:
      items: to be placed.
      people: id -> everyone in it.
      home: person -> split.

    Returns:
      The items with their split, and (id, reason) of the dropped ones.
    """
    kept, dropped = Items(), []
    for item in items:
        splits = sorted({home[person] for person in people[item.id]}, key=SPLITS.index)
        if len(splits) == 1:
            kept.append(moved(item, splits[0]))
        else:
            dropped.append((item.id, f"its people are in {' and '.join(splits)}"))
    return kept, dropped


# ---- Published counts -----------------------------------------------------------------------------------


def tally(items: Iterable[Item]) -> dict[tuple[str, int], int]:
    """(split, label) -> clips, and ('all', label) -> clips; the frames of one video count once."""
    counts: collections.Counter[tuple[str, int]] = collections.Counter()
    clips: dict[str, tuple[str, int]] = {}  # of several files
    for item in items:
        if item.clip == item.id:
            counts[item.split, item.label] += 1
        else:
            clips[item.clip] = (item.split, item.label)
    counts.update(clips.values())
    for (_, label), n in list(counts.items()):
        counts["all", label] += n
    return dict(counts)


def compare_counts(items: Sequence[Item], published: Mapping[str, tuple[int, int]]) -> list[str]:
    """One line per split (or 'all') whose real and fake clips are not the published ones."""
    found = tally(items)
    lines = []
    for split, expected in published.items():
        here = (found.get((split, REAL), 0), found.get((split, FAKE), 0))
        if here != tuple(expected):
            lines.append(f"{split}: found {here[0]} real and {here[1]} fake, published {expected[0]} and {expected[1]}")
    return lines
