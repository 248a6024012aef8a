"""Celeb-DF v2: face swaps between 59 celebrities, and YouTube clips of other people."""

import re
from collections.abc import Iterable

import tensorflow_datasets as tfds
from etils import epath

from data_builders import configs, indexing, preparing, splitting
from data_builders.indexing import Index, Item, Items
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("official", "disjoint")
CLASSES = {"celeb-real": REAL, "youtube-real": REAL, "celeb-synthesis": FAKE}  # the folder is the label
TEST_LIST = "List_of_testing_videos.txt"
TEST_LIST_FROM = "the Celeb-DF v2 download (github.com/yuezunli/celeb-deepfakeforensics)"
LIST_REAL = "1"  # in the list 1 is real and 0 is fake, the reverse of ours
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
PUBLISHED = {"official": {"all": (890, 5639), "test": (178, 340)}, "disjoint": {"all": (890, 5639)}}

REAL_NAME = re.compile(r"id(\d+)_(\d{4})")
FAKE_NAME = re.compile(r"id(\d+)_id(\d+)_(\d{4})")  # target (whose clip is altered), source of the face, clip
METHOD = "celeb-synthesis"


def index(source: epath.PathLike, *, protocol: str = "official") -> Index:
    """Finds the clips; the unit is a video, the group its target identity (a YouTube clip is its own).

    Args:
      source: a folder that holds Celeb-real/ and Celeb-synthesis/, at most 3 folders down.
      protocol: 'official' keeps the published test list and takes validation from the rest by target
        identity; it leaks: most test fakes are made from a clip that stays in train. 'disjoint' splits all
        clips so that nobody, neither target nor source of a face, is in two splits.

    Raises:
      InputError: no such layout, or under 'official' a test list that cannot be right.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    root = indexing.find_root(source, lambda inside: {"celeb-real", "celeb-synthesis"} <= set(inside))
    if root is None:
        raise InputError(f"no Celeb-DF v2 in {source}: expected Celeb-real/ and Celeb-synthesis/, 3 down at most")
    result = Index("celeb_df_v2", "videos")
    inside = indexing.folders(root)
    if "youtube-real" not in inside:
        result.warnings.append("no YouTube-real/: its 300 real clips are left out")
    kinds: dict[str, str] = {}
    for name, label in CLASSES.items():
        if name in inside:
            kind, files = splitting.videos_or_frames(inside[name], root, result.skipped)
            if files:
                kinds[name] = kind
            _add_class(files, root, kind, name, label, result)
    result.variant = splitting.one_kind(kinds)
    result.items.sort()
    if protocol == "official":
        _split_officially(root, epath.Path(source), result)
    else:
        _split_by_identity(result)
    result.warnings += splitting.compare_counts(result.items, PUBLISHED[protocol])
    return result


def _add_class(files, root, kind: str, name: str, label: int, result: Index) -> None:
    pattern = {"celeb-real": REAL_NAME, "celeb-synthesis": FAKE_NAME}.get(name)
    clips: dict[str, str] = {}
    for stem, id_ in files:
        match = pattern.fullmatch(stem) if pattern else None
        if pattern and not match:
            result.skipped.append((id_, "name unlike id0_0000" if label == REAL else "name unlike id0_id1_0000"))
            continue
        # A YouTube clip names nobody: it is its own group.
        people = tuple(f"id{number}" for number in match.groups()[:-1]) if match else (f"youtube/{stem}",)
        clip = splitting.clip_of(id_, kind, clips)
        method = METHOD if label == FAKE else ""
        result.items.append(Item(root, id_, label, "train", group=people[0], clip=clip, method=method))
        result.people[id_] = people


def _key(folder: str, stem: str) -> tuple[str, str]:
    return folder.lower(), stem


def read_list(path: epath.Path) -> set[tuple[str, str]]:
    """The (class folder in lower case, video) that a test list names. The published list lies beside this file.

    Raises:
      InputError: it is no such list, or its labels contradict the folders.
    """
    listed: dict[tuple[str, str], bool] = {}  # -> says the list that it is real
    for line in splitting.read_lines(path):
        flag, _, name = line.partition(" ")
        folder, _, file = name.strip().partition("/")
        if flag not in ("0", "1") or folder.lower() not in CLASSES:
            raise InputError(f"{path}: expected lines like '1 YouTube-real/00170.mp4', got {line[:60]!r}")
        listed[_key(folder, file.rpartition(".")[0])] = flag == LIST_REAL
    contradict = [key for key, real in listed.items() if real != (CLASSES[key[0]] == REAL)]
    if contradict:
        raise InputError(
            f"{path}: {len(contradict)} labels contradict their folder (1 is real, 0 fake); remove it, or use the list "
            f"of {TEST_LIST_FROM}"
        )
    return set(listed)


def _split_officially(root, source, result: Index) -> None:
    """Test as listed; validation out of the rest, by target identity."""
    published = epath.Path(__file__).parent / TEST_LIST
    path = splitting.find_file(TEST_LIST, [root, root.parent, source]) or published
    listed = read_list(path)
    if different := len(listed ^ read_list(published)):
        result.warnings.append(f"{path} differs from the published list in {different} videos; it is used as it is")
    keys = {item.id: _key(item.id.split("/")[0], _video(item)) for item in result.items}
    absent = sorted(listed - set(keys.values()))
    where = TEST_LIST if path != published else f"the published {TEST_LIST}"
    result.skipped += [(f"{folder}/{stem}", f"in {where} but not on disk") for folder, stem in absent]
    items = Items(indexing.moved(item, "test" if keys[item.id] in listed else "train") for item in result.items)
    result.items = splitting.carve_validation(items)
    result.items.sort()
    result.people = {}  # this protocol promises nothing about people
    result.warnings += _leak(result.items)


def _video(item: Item) -> str:
    """Name of the video without its ending; of its folder, for a frame."""
    name = item.clip.rpartition("/")[2]
    return name.rpartition(".")[0] if item.clip == item.id else name


def _leak(items: Iterable[Item]) -> list[str]:
    """The warning that test fakes are made from clips of other splits, where they are."""

    def target(item: Item) -> str:
        parts = _video(item).split("_")
        return f"{parts[0]}_{parts[-1]}"

    clips = {item.clip: item for item in items}.values()
    fakes = [item for item in clips if item.split == "test" and item.label == FAKE]
    real = {_video(item) for item in clips if item.split == "test" and item.label == REAL}
    outside = sum(target(item) not in real for item in fakes)
    told = f"{outside} of {len(fakes)} test fakes are made from a clip outside test; {splitting.CHOOSE_DISJOINT}"
    return [told] if outside else []


def _split_by_identity(result: Index) -> None:
    """Whole circles of people to each split; where that starves a split, people, dropping fakes across."""
    circle = splitting.components(result.people.values())
    by_circle = Items(item._replace(group=circle[item.group]) for item in result.items)
    placed = {item.id: item.split for item in indexing.grouped_split(by_circle, SHARES)}
    fakes = [placed[item.id] for item in result.items if item.label == FAKE]
    if all(fakes.count(split) >= 0.02 * len(fakes) for split in SHARES):
        result.items = Items(indexing.moved(item, placed[item.id]) for item in result.items)
        return
    swapped = {person for item in result.items if item.label == FAKE for person in result.people[item.id]}
    # Fakes survive with the square of the share, so the smaller splits get more people than 0.1.
    home = splitting.assign(swapped, {"train": 0.6, "validation": 0.2, "test": 0.2})
    others = {person for people in result.people.values() for person in people} - swapped
    home |= splitting.assign(others, SHARES)
    result.items, dropped = splitting.place(result.items, result.people, home)
    result.dropped += dropped
    result.warnings.append("the identities do not fall into closed circles: fakes across splits are dropped")


class Builder(preparing.MediaBuilder):
    """Face crops; of extracted frames, the pictures as they are."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for access with the form at github.com/yuezunli/celeb-deepfakeforensics; expected are "
        "Celeb-real/, YouTube-real/ and Celeb-synthesis/."
    )
    BUILDER_CONFIGS = configs.by_protocol(
        "image", official="The published test list; validation by target identity.", disjoint="Nobody in two splits."
    )
    HOMEPAGE = "https://github.com/yuezunli/celeb-deepfakeforensics"
    PICTURES_AND_VIDEOS = True

    def index(self, root: epath.Path) -> Index:
        """The clips under this protocol."""
        return index(root, protocol=self.builder_config.protocol)
