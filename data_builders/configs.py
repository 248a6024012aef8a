"""What a prepared dataset is called and what goes into it."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath

from data_builders import contents, folders, indexing, splitting
from dfjax.records import InputError
from dfjax.runtime import files


@dataclasses.dataclass(eq=False)
class MediaConfig(tfds.core.BuilderConfig):
    """What is written: the protocol, the modality and how faces are cut out of videos."""

    name: str = "disjoint"
    protocol: str = "disjoint"  # no group in two splits; or 'official': the published split, unchanged
    modality: str = "audio"  # 'audio', 'image' (as they are), 'video' (face crops), 'av', 'index' (no media)
    frames: int = 32  # per video, evenly spread
    size: int = 256  # pixels, side of a face crop
    faces: str = "largest"  # or 'all' faces of a frame
    image_format: str = "jpeg"  # of crops: 'jpeg' (quality 95) or 'png'
    detector: str = "haar"  # 'yunet' needs a model file


def by_protocol(modality: str, **texts: str) -> list[MediaConfig]:
    """A config for each protocol, told by its text; and of each one more, `-index`, of paths and metadata only."""
    return [
        MediaConfig(name=protocol + suffix, protocol=protocol, modality=kind, description=text + more)
        for (suffix, more), kind in zip(splitting.WITHOUT_MEDIA.items(), (modality, "index"), strict=True)
        for protocol, text in texts.items()
    ]


RUNS = "runs"  # where every command puts its results unless told otherwise
WRITTEN = (("config.json", "environment.json"), (".config/metadata.json",))  # files that a run has; that TFDS writes
CROP_OPTIONS = ("frames", "size", "faces", "image_format", "detector")


def with_options(config: MediaConfig, **options) -> MediaConfig:
    """The config with some of CROP_OPTIONS changed and named after them: 'disjoint-frames16-yunet'."""
    changed = {name: value for name, value in options.items() if value not in (None, getattr(config, name))}
    if not changed:
        return config
    suffix = "".join(f"-{name if isinstance(value, int) else ''}{value}" for name, value in changed.items())
    return dataclasses.replace(config, name=config.name + suffix, **changed)


def folder_stem(source: epath.Path) -> str:
    """What a user's folder is called in names of configs, see `stem`."""
    return stem(source.resolve().name)


def stem(name: str) -> str:
    """A folder's name in lower case, letters, digits and underscores."""
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "folder"


def source_config(config: MediaConfig, source: epath.Path) -> MediaConfig:
    """The config named after the source folder and a digest of its files' names, sizes and metadata.csv.

    Raises:
      InputError: the source is not a folder.
    """
    if not source.is_dir():
        raise InputError(f"--source {source} is not a folder; give the folder that holds the media")
    suffix = config.name.removeprefix("folder")
    return dataclasses.replace(config, name=f"{folder_stem(source)}-{folder_digest(source)}{suffix}")


def folder_digest(source: epath.Path) -> str:
    """Eight hexadecimal digits that stand for the names and sizes of a folder's files and for its metadata.csv.

    Links to folders are followed where the index follows them.
    """
    tables: dict[str, bytes] = {}

    def sizes() -> Iterator[tuple[str, int]]:
        for parent, _, names in source.walk() if files.remote(source) else _walk(source):
            folder = epath.Path(parent)
            below = "" if folder == source else f"{folder.relative_to(source).as_posix()}/"
            for name in names:
                if indexing.junk(name):
                    continue
                if name.lower() == "metadata.csv":
                    tables[below + name] = (folder / name).read_bytes()
                yield below + name, contents.size(folder, name)

    listed = indexing.listing_digest(sizes()).encode()
    return hashlib.blake2b(b"".join([listed, *(tables[name] for name in sorted(tables))]), digest_size=4).hexdigest()


def _walk(source: epath.Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, and below the links that the index follows; each is walked once, so they may lead in circles.

    Not by walk of a path, which takes a link to a folder for a file from Python 3.12 on. What dfjax has written there
    is left out: a dataset prepared twice would be another.
    """
    way, labels = folders.looked_into(source)
    kept = {os.path.normpath(path) for path in (*way, *labels)}
    within = tuple(f"{os.path.normpath(label)}/" for label in labels)
    for top in (source, *filter(os.path.islink, (*way, *labels))):
        for parent, inside, names in os.walk(top):
            at = os.path.normpath(parent)  # "./real" is "real", as paths have it
            if not f"{at}/".startswith(within):
                paths = {name: os.path.normpath(os.path.join(parent, name)) for name in inside}
                inside[:] = [name for name in inside if paths[name] in kept or not _written(paths[name], source)]
            yield parent, inside, names


def _written(folder: str, source: epath.Path) -> bool:
    """Whether a folder holds runs or prepared datasets, not media."""
    usual = os.path.normpath(os.path.join(source, RUNS))
    return folder == usual or any(all(os.path.exists(f"{folder}/{name}") for name in names) for names in WRITTEN)
