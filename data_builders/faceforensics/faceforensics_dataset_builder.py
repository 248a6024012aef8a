"""FaceForensics++: 1,000 YouTube clips and five manipulations of each, by the published pair lists."""

import dataclasses
import json
import re
from collections.abc import Collection

import tensorflow_datasets as tfds
from etils import epath

from data_builders import indexing, preparing, splitting
from data_builders.indexing import Index, Item
from data_builders.splitting import Skipped
from dfjax.records import FAKE, REAL, SPLITS, InputError

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
METHOD_SETS = {"all": METHODS, "four": METHODS[:4], **{method.lower(): (method,) for method in METHODS}}
PROTOCOLS = ("official", "disjoint")

# file -> (split, pairs). A pair [a, b] owns the originals a and b and the fakes a_b and b_a of every method.
LISTS = {"train.json": ("train", 360), "val.json": ("validation", 70), "test.json": ("test", 70)}
LISTS_FROM = "dataset/splits/ of github.com/ondyari/FaceForensics"

# Clips cut from the same YouTube video (by the authors' conversion_dict.json): 22 videos give 45 clips.
SAME_SOURCE = tuple(
    tuple(clips.split("+"))
    for clips in """
    331+332 524+525 566+567 605+606 614+615 618+619 639+640 685+686+687 755+756 766+767 769+770
    787+788 837+838 875+876 883+884 937+938 942+943 954+955 967+968 973+974 982+983 993+994
    """.split()
)

PUBLISHED = {  # protocol -> split -> originals, and fakes of one method
    "official": {"train": (720, 720), "validation": (140, 140), "test": (140, 140)},
    "disjoint": {"train": (720, 720), "validation": (135, 130), "test": (138, 136)},
}

NAME = re.compile(r"(\d{3})(?:_(\d{3}))?")


def index(
    source: epath.PathLike, *, protocol: str = "official", compression: str = "c23", methods: str = "all"
) -> Index:
    """Finds the clips of one compression; the unit is a video.

    Args:
      source: a folder with the official tree, face frames cut from it, or the flat Kaggle copy (c23).
      protocol: 'official', or 'disjoint', which takes the clips that share a YouTube video with an earlier split
        (of the published lists: with train), and the fakes made from them, out of validation and test.
      compression: 'raw', 'c23' or 'c40'.
      methods: 'all', 'four' (without FaceShifter) or the name of one.

    Raises:
      InputError: no such layout, no originals, a contradictory list, an unknown name.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    splitting.check_one_of("compression", compression, tuple(splitting.COMPRESSIONS))
    splitting.check_one_of("methods", methods, tuple(METHOD_SETS))
    source = epath.Path(source)
    root = indexing.find_root(source, _is_root)
    if root is None:
        raise InputError(
            f"no FaceForensics++ in {source}: expected original_sequences/ and manipulated_sequences/, "
            "or original/ beside Deepfakes/, at most 3 folders down"
        )
    places = [source, root, *(root / name for name in ("splits", "dataset/splits", "csv"))]
    split_of, told = read_lists(places)
    variant, classes, found = _classes(root, compression, METHOD_SETS[methods])
    result = Index("faceforensics", variant, warnings=[*told, *found])
    shared = _shared(split_of) if protocol == "disjoint" else {}
    groups = _groups(split_of, shared)
    kinds: dict[str, str] = {}
    for method, folder in classes.items():
        kind, files = splitting.videos_or_frames(folder, root, result.skipped)
        if files:
            kinds[method or "original"] = kind
        clips: dict[str, str] = {}
        for stem, id_ in files:
            item = _item(stem, id_, root, method, split_of, groups, shared, result)
            if item is not None:
                clip = splitting.clip_of(id_, kind, clips)
                result.items.append(item._replace(clip=clip))
    result.variant += {"videos": "", "frames": "-frames"}[splitting.one_kind(kinds)]
    if not any(item.label == REAL for item in result.items):
        raise InputError(f"{root} holds no original of FaceForensics++ at {compression}")
    result.items.sort()
    fakes = sum(method != "" for method in classes)
    published = {split: (real, fake * fakes) for split, (real, fake) in PUBLISHED[protocol].items()}
    result.warnings += splitting.compare_counts(result.items, published)
    return result


def _is_root(inside: dict[str, epath.Path]) -> bool:
    flat = "original" in inside and any(method.lower() in inside for method in METHODS)
    return flat or ("original_sequences" in inside and "manipulated_sequences" in inside)


def read_lists(places: list[epath.Path]) -> tuple[dict[str, tuple[str, str, str]], list[str]]:
    """Maps the id of an original to its split and the two ids of its pair; and says where lists are not the published.

    The published lists lie beside this file. Lists of the user hold instead, where there are any.

    Raises:
      InputError: a list is malformed, or an id is in two pairs.
    """
    pairs: dict[str, tuple[str, str, str]] = {}
    warnings = []
    for name, (split, count) in LISTS.items():
        published = epath.Path(__file__).parent / name
        path = splitting.find_file(name, places) or published
        content = _read_list(path, count)
        if different := len(set(content) ^ set(_read_list(published, count))):
            warnings.append(f"{path} differs from the published list in {different} pairs; it is used as it is")
        for a, b in content:
            for id_ in (a, b):
                if id_ in pairs:
                    raise InputError(f"{path}: {id_} is in two pairs; copy the three lists from {LISTS_FROM}")
                pairs[id_] = (split, a, b)
    return pairs, warnings


def _read_list(path: epath.Path, count: int) -> list[tuple[str, str]]:
    try:
        content = [tuple(pair) for pair in json.loads(path.read_text())]
        # ids stay text: int("003") would name no file
        valid = all(isinstance(i, str) and re.fullmatch(r"\d{3}", i) for a, b in content for i in (a, b))
    except (ValueError, TypeError):
        valid = False
    if not valid or len(content) != count:
        raise InputError(f'{path}: expected {count} pairs like ["071", "054"]; remove it, or copy it from {LISTS_FROM}')
    return content


def _shared(split_of: dict[str, tuple[str, str, str]]) -> dict[str, str]:
    """Maps the id of a clip to the split before its own that has another clip of its YouTube video."""
    found = {}
    for ids in SAME_SOURCE:
        first = min((split_of[i][0] for i in ids), key=SPLITS.index)
        found |= {i: first for i in ids if split_of[i][0] != first}
    return found


def _groups(split_of: dict[str, tuple[str, str, str]], gone: Collection[str]) -> dict[str, str]:
    """Maps an id that is not gone to its group's name: pairs, joined where two clips come from one YouTube video."""
    links = [tuple(i for i in (a, b) if i not in gone) for _, a, b in split_of.values()]
    links += [tuple(i for i in ids if i not in gone) for ids in SAME_SOURCE]
    return splitting.components(ids for ids in links if ids)


def _classes(root: epath.Path, compression: str, methods: tuple[str, ...]):
    """(variant, method or '' -> folder, warnings) of the classes on disk at this compression."""
    inside = indexing.folders(root)
    if "original_sequences" in inside:
        wanted = {"": ("original_sequences", "youtube")} | {m: ("manipulated_sequences", m) for m in methods}
        at = {method: splitting.below(root, *names) for method, names in wanted.items()}
        levels = {method: indexing.folders(path) for method, path in at.items() if path is not None}
        found = {
            method: next((inside[name] for name in splitting.COMPRESSIONS[compression] if name in inside), None)
            for method, inside in levels.items()
        }
        if found.get("") is None:
            have = sorted(name for name in levels.get("", {}))
            raise InputError(f"{root}: no originals at {compression}; original_sequences/youtube has {have}")
        variant = "official"
    else:
        if compression != "c23":
            raise InputError(f"{root} is the flat copy, which is c23 only; got compression {compression!r}")
        found = {"": inside["original"]} | {m: inside.get(m.lower()) for m in methods}
        variant = "kaggle"
    classes = {method: path for method, path in found.items() if path is not None}
    missing = [method for method in methods if method not in classes]
    warnings = [f"no folder for {method}: left out" for method in missing]
    if variant == "kaggle" and "deepfakedetection" in inside:
        warnings.append(
            "DeepFakeDetection/ left out: actors at 1920x1080 without their originals, told from the YouTube "
            "clips by size and scene alone"
        )
    return variant, classes, warnings


def _item(stem, id_, root, method, split_of, groups, shared: dict[str, str], result: Index) -> Item | None:
    """The file as an item of its pair's split; None, with the reason noted, where it is none."""
    match = NAME.fullmatch(stem)
    if match is None or (match[2] is None) != (method == ""):
        pattern = "000" if method == "" else "000_003"
        return _leave(result.skipped, id_, f"name unlike {pattern}")
    ids = [i for i in match.groups() if i is not None]
    split, *pair = split_of.get(ids[0], ("", "", ""))
    if not split or not set(ids) <= set(pair):
        return _leave(result.skipped, id_, "its pair is in no list")
    gone = next((i for i in ids if i in shared), None)
    if gone is not None:
        return _leave(result.dropped, id_, f"{gone} shares its YouTube video with a clip of {shared[gone]}")
    label = REAL if method == "" else FAKE
    return Item(root, id_, label, split, group=groups[ids[0]], clip=id_, method=method)


def _leave(where: Skipped, id_: str, reason: str) -> None:
    where.append((id_, reason))


@dataclasses.dataclass(eq=False)
class Config(preparing.MediaConfig):
    """Which compression and which manipulations."""

    compression: str = "c23"
    methods: str = "all"


class Builder(preparing.MediaBuilder):
    """Face crops; of extracted frames, the pictures as they are."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for access with the form at github.com/ondyari/FaceForensics and run the script that is sent to "
        "you, or unpack xdxd003/ff-c23 from Kaggle. Expected "
        "are original_sequences/youtube/<compression>/videos/ and manipulated_sequences/<method>/..., or the "
        "flat original/, Deepfakes/, ... of the Kaggle copy."
    )
    BUILDER_CONFIGS = [
        Config(
            name=f"{protocol}-{compression}-{methods}{suffix}",
            protocol=protocol,
            modality=modality,
            compression=compression,
            methods=methods,
            description=f"{protocol}, {compression}, {methods}{splitting.WITHOUT_MEDIA[suffix]}",
        )
        for compression in ("c23", "raw", "c40")
        for protocol in PROTOCOLS
        for methods in METHOD_SETS
        for suffix, modality in (("", "image"), ("-index", "index"))
        if methods == "all" or modality != "index"
    ]
    HOMEPAGE = "https://github.com/ondyari/FaceForensics"
    PICTURES_AND_VIDEOS = True

    def index(self, root: epath.Path) -> Index:
        """The clips of this protocol, compression and set of methods."""
        config = self.builder_config
        return index(root, protocol=config.protocol, compression=config.compression, methods=config.methods)
