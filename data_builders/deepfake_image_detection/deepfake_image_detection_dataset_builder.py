"""Two Kaggle sets of this name: general pictures (saurabhbagchi), and face crops (manjilkarki)."""

import collections

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image, UnidentifiedImageError

from data_builders import configs, indexing, preparing, splitting
from data_builders.indexing import Index, Item, Items
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("official", "disjoint")
LABELS = {"real": REAL, "fake": FAKE}
FACES = {"train": "train", "validation": "validation", "test": "test"}  # folders of the face crops -> split
PUBLISHED = {
    "pictures": {"train": (326, 153), "test": (110, 389)},
    "faces": {"train": (70001, 70001), "validation": (19787, 19641), "test": (5413, 5492)},
}
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
NEAR = 4  # bits of 64 in which near-duplicates' hashes may differ
ASPECT = 0.02  # and their aspect ratios, relatively


def index(source: epath.PathLike, *, protocol: str = "official") -> Index:
    """Finds the pictures; the unit is a picture. Which of the two sets it is shows in the folders.

    Of the general pictures ('pictures': train-<time>/train/ and test-<time>/test/, or train/ and test/) the
    group is all near-duplicates, found by a perceptual hash. Of the face crops ('faces': Train/,
    Validation/, Test/) each is its own group.

    Args:
      source: a folder with one of the two layouts, at most 3 folders down.
      protocol: 'official' keeps the test folder; near-duplicates and opposite priors in train and test make
        its scores worth little. 'disjoint' splits groups afresh. Both drop groups that hold both labels. The
        face crops name no source, so both protocols give their folders.

    Raises:
      InputError: no such layout.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    root = indexing.find_root(source, lambda inside: _is_faces(inside) or _is_pictures(inside))
    if root is None:
        raise InputError(
            f"no Deepfake Image Detection in {source}: expected train/ and test/ (maybe in train-.../ and "
            "test-.../), or Train/, Validation/ and Test/, each with real/ and fake/"
        )
    inside = indexing.folders(root)
    if "valid" in inside:
        raise InputError(f"{root} looks like the 140k faces (train/, valid/, test/); use faces_140k")
    if _is_faces(inside):
        return _index_faces(root, inside)
    return _index_pictures(root, inside, protocol)


def _is_faces(inside) -> bool:
    return set(FACES) <= set(inside)


def _is_pictures(inside) -> bool:
    return any(name in inside or any(key.startswith(name + "-") for key in inside) for name in ("train", "test"))


def _add_classes(folder: epath.Path, split: str, root, result: Index) -> None:
    classes = indexing.folders(folder)
    for name, label in LABELS.items():
        if name not in classes:
            result.warnings.append(f"{split}: no folder {name}/")
            continue
        for id_ in indexing.media_files(classes[name], root, indexing.IMAGE_SUFFIXES, result.skipped, recursive=False):
            method = "unknown" if label == FAKE else ""
            result.items.append(Item(root, id_, label, split, group=id_, clip=id_, method=method))


def _index_faces(root, inside) -> Index:
    result = Index("deepfake_image_detection", "faces")
    for name, split in FACES.items():
        _add_classes(inside[name], split, root, result)
    result.items.sort()
    result.warnings += splitting.compare_counts(result.items, PUBLISHED["faces"])
    return result


def _index_pictures(root, inside, protocol: str) -> Index:
    result = Index("deepfake_image_detection", "pictures")
    for split in ("train", "test"):
        parts = [path for name, path in inside.items() if name.startswith(split + "-")]  # names of a Drive export
        parts = [splitting.below(path, split) for path in parts] + [inside.get(split)]
        for part in parts:
            if part is not None:
                _add_classes(part, split, root, result)
    for name, path in inside.items():
        if name.startswith("sample"):
            files = indexing.media_files(path, root, indexing.IMAGE_SUFFIXES, result.skipped)
            result.dropped += [(id_, "a sample, in neither train nor test") for id_ in files]
    result.warnings += splitting.compare_counts(result.items, PUBLISHED["pictures"])
    _group_near_duplicates(result)
    labels = collections.defaultdict(set)
    for item in result.items:
        labels[item.group].add(item.label)
    both = {group for group, found in labels.items() if len(found) > 1}
    reason = "near-duplicates of {} have both labels"
    result.dropped += [(i.id, reason.format(i.group)) for i in result.items if i.group in both]
    result.items = Items(item for item in result.items if item.group not in both)
    if protocol == "disjoint":
        result.items = indexing.grouped_split(result.items, SHARES)
    else:
        across = len(indexing.straddling(result.items))
        if across:
            text = f"{across} groups of near-duplicates are in train and in test; {splitting.CHOOSE_DISJOINT}"
            result.warnings.append(text)
        result.items = splitting.carve_validation(result.items, share=0.15)
    result.items.sort()
    return result


# ---- Near-duplicates --------------------------------------------------------------------------------------


def difference_hash(path: epath.Path) -> tuple[int, float]:
    """64 bits that say where brightness rises from left to right in a 9 x 8 thumbnail, and width / height."""
    with path.open("rb") as file, Image.open(file) as image:
        width, height = image.size
        image.draft("L", (64, 64))  # lets a JPEG be decoded at an eighth of its size
        image = image.convert("RGBA").convert("L") if image.mode == "P" else image.convert("L")
        small = np.asarray(image.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0]), width / height


def near_duplicates(hashes: np.ndarray, aspects: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, whose hashes differ in at most NEAR bits and whose aspect ratios agree."""
    pairs = []
    for i in range(len(hashes) - 1):
        close = np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= NEAR
        close &= np.abs(np.log(aspects[i + 1 :] / aspects[i])) <= ASPECT
        pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(close)]
    return pairs


def _group_near_duplicates(result: Index) -> None:
    kept, hashes, aspects = Items(), [], []
    result.items.sort()
    for item in result.items:
        try:
            value, aspect = difference_hash(item.path)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            result.skipped.append((item.id, "not a readable picture"))
            continue
        kept.append(item)
        hashes.append(value)
        aspects.append(aspect)
    pairs = near_duplicates(np.array(hashes, np.uint64), np.array(aspects))
    group = splitting.components((kept[i].id, kept[j].id) for i, j in pairs)
    result.items = Items(item._replace(group=group.get(item.id, item.id)) for item in kept)


class Builder(preparing.MediaBuilder):
    """The pictures as they are."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download saurabhbagchi/deepfake-image-detection or manjilkarki/deepfake-and-real-images from Kaggle "
        "and unpack it; expected are train/ and test/ (maybe in train-.../ and test-.../), or Train/, "
        "Validation/ and Test/, each with real/ and fake/."
    )
    BUILDER_CONFIGS = configs.by_protocol(
        "image", disjoint="Near-duplicates in one split; split afresh.", official="The published test folder."
    )
    HOMEPAGE = "https://www.kaggle.com/datasets/saurabhbagchi/deepfake-image-detection"

    def index(self, root: epath.Path) -> Index:
        """The pictures under this protocol."""
        return index(root, protocol=self.builder_config.protocol)
