"""What every dataset's index is made of: items, and what was left out and why.

Indexing reads names, lists and headers only; media are decoded later. `index(root, ...)` of each dataset returns an Index.
"""

import dataclasses

from etils import epath


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One media file of the user, before decoding."""

    path: epath.Path  # where the media lie
    id: str  # relative to the dataset's root, '/' separated, unique in the dataset
    label: int  # 1 fake, 0 real
    split: str  # train, validation, test
    group: str  # never straddles splits under a disjoint protocol
    clip: str  # scores are averaged over it
    method: str = ""  # generator or manipulation; empty for real
    subgroups: tuple[tuple[str, str], ...] = ()  # (("gender", "women"), ...)


@dataclasses.dataclass(slots=True)
class Index:
    """All items of a dataset under one protocol."""

    dataset: str
    variant: str  # the on-disk layout that was found
    items: list[Item]
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (id, reason): unusable files
    dropped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (id, reason): left out by the protocol
    warnings: list[str] = dataclasses.field(default_factory=list)  # counts that differ from the published ones, ...
