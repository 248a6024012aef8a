"""Fake-or-Real (FoR): read speech and seven speech synthesisers, in four versions of one recording set."""

import dataclasses
import re

import tensorflow_datasets as tfds
from etils import epath

from data_builders import indexing, preparing, splitting
from data_builders.indexing import Index, Item
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("official",)
VERSIONS = {  # version -> names of its folder, outer and inner
    "norm": ("for-norm",),
    "2sec": ("for-2sec", "for-2seconds"),
    "rerec": ("for-rerec", "for-rerecorded"),
    "original": ("for-original",),
}
SPLIT_FOLDERS = {"training": "train", "validation": "validation", "testing": "test"}
LABELS = {"real": REAL, "fake": FAKE}
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
# real and fake clips; those of the other versions are not certain
PUBLISHED = {"norm": {"train": (26941, 26927), "validation": (5400, 5398), "test": (2264, 2370)}}
CODECS = {codec: (("codec", codec),) for codec in ("mp3", "wav")}
METHOD = "tts"


def index(source: epath.PathLike, *, protocol: str = "official", version: str = "norm") -> Index:
    """Finds the clips of one version; the unit is an audio file, and each is its own group.

    The names hold neither speaker nor synthesiser, so there is nothing to group by; a clip's group is its
    name without the suffixes of later processing, the same in every version. Never train on one version and
    test on another.

    Args:
      source: a folder with one or several of the versions, packed the Kaggle way (for-norm/for-norm/) or
        plain.
      protocol: 'official': the split folders. A copy without them is split at random, with a warning.
      version: 'norm', '2sec', 'rerec' or 'original'.

    Raises:
      InputError: the version is not there.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    splitting.check_one_of("version", version, tuple(VERSIONS))
    root = _root(epath.Path(source), version)
    inside = indexing.folders(root)
    split_here = bool(set(SPLIT_FOLDERS) & set(inside))
    result = Index("fake_or_real", "splits" if split_here else "no splits")
    parts = {split: inside.get(name) for name, split in SPLIT_FOLDERS.items()} if split_here else {"train": root}
    for split, part in parts.items():
        classes = indexing.folders(part) if part is not None else {}
        for name, label in LABELS.items():
            if name not in classes:
                result.warnings.append(f"{split}: no folder {name}/")
                continue
            for id_ in indexing.media_files(
                classes[name], root, indexing.AUDIO_SUFFIXES, result.skipped, recursive=False
            ):
                result.items.append(_item(id_, root, label, split))
    if not split_here:
        result.warnings.append("no split folders: split at random by file, for want of speakers in the names")
        result.items = indexing.grouped_split(result.items, SHARES)
    elif not any(item.split == "validation" for item in result.items):
        result.items = splitting.carve_validation(result.items)
    result.items.sort()
    if split_here:
        result.warnings += splitting.compare_counts(result.items, PUBLISHED.get(version, {}))
    return result


def _root(source: epath.Path, version: str) -> epath.Path:
    """The folder that holds the splits (or classes) of this version."""

    def is_data(inside) -> bool:
        parts = [inside[name] for name in ("training", "testing") if name in inside]
        return any(LABELS.keys() & indexing.folders(part).keys() for part in parts) or LABELS.keys() <= inside.keys()

    known = {name: key for key, names in VERSIONS.items() for name in names}
    holder = indexing.find_root(source, lambda inside: is_data(inside) or bool(set(inside) & set(known)))
    if holder is None:
        raise InputError(f"no Fake-or-Real in {source}: expected for-norm/ or the like, or training/ and testing/")
    inside = indexing.folders(holder)
    here = {known[name]: path for name, path in inside.items() if name in known}
    if not here:  # the user pointed into one version, maybe renamed
        named = [known[part.lower()] for part in holder.parts if part.lower() in known]
        here = {named[-1] if named else version: holder}
    if version not in here:
        raise InputError(
            f"{source} holds version {' and '.join(sorted(here))} of Fake-or-Real; got version {version!r}"
        )
    root = indexing.find_root(here[version], is_data)
    if root is None:
        raise InputError(f"{here[version]}: expected training/, validation/ and testing/ with real/ and fake/")
    return root


def _item(id_: str, root, label: int, split: str) -> Item:
    folder, _, name = id_.rpartition("/")
    base = name.partition(".")[0]  # names of derived versions carry chains: file12.mp3.wav_16k.wav_norm.wav
    # What a clip was compressed with once: a known shortcut, so it is a subgroup to report by.
    codec = "mp3" if re.search(r"\.mp3(\.|_|$)", name.lower()) else "wav"
    group = f"{folder}/{base}".lower()
    return Item(root, id_, label, split, group, id_, METHOD if label == FAKE else "", CODECS[codec])


@dataclasses.dataclass(eq=False)
class Config(preparing.MediaConfig):
    """Which version."""

    version_name: str = "norm"


class Builder(preparing.MediaBuilder):
    """Windows of 4.0375 s at 16 kHz; a clip is a file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download from bil.eecs.yorku.ca/datasets, or the-fake-or-real-dataset from Kaggle, and unpack "
        "it; expected are for-norm/, for-2sec/, for-rerec/ or for-original/ with training/ and so on."
    )
    BUILDER_CONFIGS = [
        Config(
            name=f"{version}{suffix}",
            protocol="official",
            modality=modality,
            version_name=version,
            description=f"for-{version}, the published folders{splitting.WITHOUT_MEDIA[suffix]}",
        )
        for version in VERSIONS
        for suffix, modality in (("", "audio"), ("-index", "index"))
    ]
    SUBGROUPS = ("codec",)
    HOMEPAGE = "https://bil.eecs.yorku.ca/datasets"

    def index(self, root: epath.Path) -> Index:
        """The clips of this version."""
        return index(root, protocol="official", version=self.builder_config.version_name)
