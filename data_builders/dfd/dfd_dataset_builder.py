"""DeepFakeDetection by Google and Jigsaw: 28 paid actors in 16 scenes, and their faces swapped."""

import dataclasses
import re

import tensorflow_datasets as tfds
from etils import epath

from data_builders import indexing, preparing, splitting
from data_builders.indexing import Index, Item
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("disjoint",)
PUBLISHED = (363, 3068)  # before fakes across splits are dropped
METHOD = "DeepFakeDetection"
ACTORS = {"train": range(1, 20), "validation": range(20, 24), "test": range(24, 29)}
HOME = {f"{actor:02d}": split for split, actors in ACTORS.items() for actor in actors}

# Scenes hold single underscores; two part the fields. The last field tells apart several fakes of a pair.
REAL_NAME = re.compile(r"(\d{2})__([a-z_]+)")
FAKE_NAME = re.compile(r"(\d{2})_(\d{2})__([a-z_]+)__([A-Z0-9]{8})")  # target, source of the face


def index(source: epath.PathLike, *, protocol: str = "disjoint", compression: str = "c23") -> Index:
    """Finds the clips; the unit is a video, the group its target actor.

    Args:
      source: a folder with the tree of the FaceForensics++ download, or the two folders of the Kaggle copy.
      protocol: 'disjoint', the only one: actors 01-19, 20-23 and 24-28, and the fakes whose two actors are on
        different sides are dropped. There is no published split.
      compression: 'raw', 'c23' or 'c40'; ignored for the Kaggle copy, which has one and does not say which.

    Raises:
      InputError: no such layout, or no originals.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    splitting.check_one_of("compression", compression, tuple(splitting.COMPRESSIONS))
    root = indexing.find_root(source, lambda inside: _official(inside) or _kaggle(inside))
    if root is None:
        raise InputError(
            f"no DFD in {source}: expected original_sequences/actors and manipulated_sequences/"
            "DeepFakeDetection, or 'DFD_original sequences' and DFD_manipulated_sequences"
        )
    inside = indexing.folders(root)
    if _official(inside):
        variant, places = "official", _official_places(root, compression)
    else:
        variant, places = "kaggle", _kaggle_places(root, inside)
    result = Index("dfd", variant)
    kinds: dict[str, str] = {}
    for label, place in places.items():
        if place is not None:
            kind, files = splitting.videos_or_frames(place, root, result.skipped)
            if files:
                kinds[f"{place.parent.name}/{place.name}"] = kind
            _add_class(files, root, kind, label, result)
    result.variant += {"videos": "", "frames": "-frames"}[splitting.one_kind(kinds)]
    if not any(item.label == REAL for item in result.items):
        raise InputError(f"{root} holds no originals (like 01__exit_phone_room.mp4); get them with the fakes")
    result.items.sort()
    result.warnings += splitting.compare_counts(result.items, {"all": PUBLISHED})
    result.items, dropped = splitting.place(result.items, result.people, HOME)
    result.dropped += dropped
    return result


def _official(inside) -> bool:
    return {"original_sequences", "manipulated_sequences"} <= set(inside)


def _kaggle(inside) -> bool:
    return any(splitting.plain(name) == "dfdmanipulatedsequences" for name in inside)


def _official_places(root, compression: str) -> dict[int, epath.Path | None]:
    classes = {
        REAL: splitting.below(root, "original_sequences", "actors"),
        FAKE: splitting.below(root, "manipulated_sequences", "DeepFakeDetection"),
    }
    places = {}
    for label, folder in classes.items():
        levels = indexing.folders(folder) if folder is not None else {}
        places[label] = next((levels[name] for name in splitting.COMPRESSIONS[compression] if name in levels), None)
        if levels and places[label] is None:
            raise InputError(f"{folder} has no {compression}; it has {sorted(levels)}")
    return places


def _kaggle_places(root, inside) -> dict[int, epath.Path | None]:
    """The two folders, each maybe nested in itself; originals may lie in the root itself."""
    by_name = {splitting.plain(name): path for name, path in inside.items()}
    places = {REAL: by_name.get("dfdoriginalsequences", root), FAKE: by_name["dfdmanipulatedsequences"]}
    for label, folder in places.items():
        if folder != root:
            again = {splitting.plain(name): path for name, path in indexing.folders(folder).items()}
            places[label] = again.get(splitting.plain(folder.name), folder)
    return places


def _add_class(files, root, kind: str, label: int, result: Index) -> None:
    clips: dict[str, str] = {}
    for stem, id_ in files:
        match = (REAL_NAME if label == REAL else FAKE_NAME).fullmatch(stem)
        actors = match.groups()[:1] if match and label == REAL else match.groups()[:2] if match else ()
        if not match or not set(actors) <= set(HOME):
            pattern = "01__scene" if label == REAL else "01_02__scene__ABCDEFGH"
            result.skipped.append((id_, f"name unlike {pattern}, actors 01 to 28"))
            continue
        clip = splitting.clip_of(id_, kind, clips)
        method = METHOD if label == FAKE else ""
        result.items.append(Item(root, id_, label, "train", f"actor{actors[0]}", clip, method))
        result.people[id_] = actors


@dataclasses.dataclass(eq=False)
class Config(preparing.MediaConfig):
    """Which compression."""

    compression: str = "c23"


class Builder(preparing.MediaBuilder):
    """Face crops; of extracted frames, the pictures as they are."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for access with the form at github.com/ondyari/FaceForensics and run the script that is sent to "
        "you with -d DeepFakeDetection and -d DeepFakeDetection_original, or unpack "
        "sanikatiwarekar/deep-fake-detection-dfd-entire-original-dataset from Kaggle."
    )
    BUILDER_CONFIGS = [
        Config(
            name=f"disjoint-{compression}{suffix}",
            protocol="disjoint",
            modality=modality,
            compression=compression,
            description=f"No actor in two splits, compression {compression}{splitting.WITHOUT_MEDIA[suffix]}",
        )
        for compression in ("c23", "raw", "c40")
        for suffix, modality in (("", "image"), ("-index", "index"))
    ]
    HOMEPAGE = "https://github.com/ondyari/FaceForensics"
    PICTURES_AND_VIDEOS = True

    def index(self, root: epath.Path) -> Index:
        """The clips of this compression."""
        return index(root, protocol="disjoint", compression=self.builder_config.compression)
