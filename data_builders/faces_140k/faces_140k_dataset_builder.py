"""140k Real and Fake Faces: Flickr portraits against StyleGAN, 256 pixels, balanced everywhere."""

import csv
import io

import tensorflow_datasets as tfds
from etils import epath

from data_builders import configs, indexing, preparing, splitting
from data_builders.indexing import Index, Item
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("official",)
SPLIT_FOLDERS = {"train": "train", "valid": "validation", "test": "test"}
LABELS = {"real": REAL, "fake": FAKE}
CSV_REAL = "1"  # in the CSVs 1 is real and 0 is fake, the reverse of ours
PUBLISHED = {"train": (50_000, 50_000), "validation": (10_000, 10_000), "test": (10_000, 10_000)}
METHOD = "stylegan"


def index(source: epath.PathLike, *, protocol: str = "official") -> Index:
    """Finds the pictures; the unit is a picture, and each is its own group (names tell no identity).

    The label is the folder. The CSVs, where present, are compared with the folders and not needed.

    Args:
      source: a folder with train/, valid/ and test/, at most 3 folders down (real_vs_fake/real-vs-fake/).
      protocol: 'official', the folders.

    Raises:
      InputError: no such layout.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    source = epath.Path(source)
    root = indexing.find_root(source, lambda inside: {"train", "valid", "test"} <= set(inside))
    if root is None:
        raise InputError(f"no 140k faces in {source}: expected train/, valid/ and test/ with real/ and fake/")
    result = Index("faces_140k", "folders")
    inside = indexing.folders(root)
    for name, split in SPLIT_FOLDERS.items():
        classes = indexing.folders(inside[name])
        for label_name, label in LABELS.items():
            if label_name not in classes:
                result.warnings.append(f"{split}: no folder {label_name}/")
                continue
            for id_ in indexing.media_files(
                classes[label_name], root, indexing.IMAGE_SUFFIXES, result.skipped, recursive=False
            ):
                method = METHOD if label == FAKE else ""
                result.items.append(Item(root, id_, label, split, group=id_, clip=id_, method=method))
    result.items.sort()
    for name in SPLIT_FOLDERS:
        path = splitting.find_file(f"{name}.csv", [root, root.parent, root.parent.parent, source])
        if path is not None:
            _compare(path, name, result)
    result.warnings += splitting.compare_counts(result.items, PUBLISHED)
    return result


def _compare(path, folder: str, result: Index) -> None:
    """Notes where a CSV and the folders disagree."""
    here = sum(item.id.lower().startswith(f"{folder}/") for item in result.items)
    listed, wrong = bytearray(len(result.items)), bytearray(len(result.items))  # 1 where it is so of an item
    absent = set()
    with io.TextIOWrapper(path.open("rb"), "utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            id_ = row.get("path") or ""
            found = result.items.find(id_) if id_.lower().startswith(f"{folder}/") else None
            if found is not None:
                listed[found] = True
                said = row.get("label") or ""
                wrong[found] = said != "" and (said == CSV_REAL) != (result.items[found].label == REAL)
            elif id_:
                absent.add(id_)
    result.skipped += [(id_, f"in {path.name} but not on disk") for id_ in sorted(absent)]
    if unlisted := here - sum(listed):
        result.warnings.append(f"{unlisted} pictures of {folder}/ are not in {path.name}")
    if contradicted := sum(wrong):
        result.warnings.append(f"{path.name}: {contradicted} labels contradict the folder (1 is real); folders hold")


class Builder(preparing.MediaBuilder):
    """The pictures as they are."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download xhlulu/140k-real-and-fake-faces from Kaggle and unpack it; expected are train/, valid/ and "
        "test/ with real/ and fake/, in real_vs_fake/real-vs-fake/ or without these."
    )
    BUILDER_CONFIGS = configs.by_protocol("image", official="The published folders")
    HOMEPAGE = "https://www.kaggle.com/datasets/xhlulu/140k-real-and-fake-faces"

    def index(self, root: epath.Path) -> Index:
        """The pictures by folder."""
        return index(root, protocol="official")
