"""ASVspoof 2019 logical access: VCTK speakers, 19 speech synthesis and voice conversion systems."""

import bisect

import tensorflow_datasets as tfds
from etils import epath

from data_builders import configs, indexing, preparing, splitting
from data_builders.indexing import Index, Item, Items
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("official", "disjoint")
PARTS = {  # split -> (folder, protocol file, what its clips' names start with)
    "train": ("ASVspoof2019_LA_train", "ASVspoof2019.LA.cm.train.trn.txt", "LA_T_"),
    "validation": ("ASVspoof2019_LA_dev", "ASVspoof2019.LA.cm.dev.trl.txt", "LA_D_"),
    "test": ("ASVspoof2019_LA_eval", "ASVspoof2019.LA.cm.eval.trl.txt", "LA_E_"),
}
PROTOCOL_FOLDER = "ASVspoof2019_LA_cm_protocols"
LISTS_FROM = "LA.zip of datashare.ed.ac.uk/handle/10283/3336"
KEYS = {"bonafide": REAL, "spoof": FAKE}  # most baselines use 1 for bonafide
PUBLISHED = {"train": (2580, 22800), "validation": (2548, 22296), "test": (7355, 63882)}


def index(source: epath.PathLike, *, protocol: str = "official") -> Index:
    """Finds the clips named by the countermeasure protocols; the unit is an utterance, the group its speaker.

    The folders also hold enrolment utterances for speaker verification, which are in no such protocol and
    left out.

    Args:
      source: a folder that holds ASVspoof2019_LA_cm_protocols/ and the audio folders.
      protocol: 'official', or 'disjoint', which drops from the earlier split what shares a speaker with a
        later one (nothing, if the published split is disjoint as said).

    Raises:
      InputError: no such layout, a missing protocol, or one of another ASVspoof.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    names = {folder.lower() for folder, _, _ in PARTS.values()}
    root = indexing.find_root(source, lambda inside: bool(names & set(inside)))
    if root is None:
        raise InputError(f"no ASVspoof 2019 LA in {source}: expected ASVspoof2019_LA_train/ and its siblings")
    inside = indexing.folders(root)
    result = Index("asvspoof2019_la", "protocols")
    for split, (folder, file, prefix) in PARTS.items():
        lists = [inside[PROTOCOL_FOLDER.lower()]] if PROTOCOL_FOLDER.lower() in inside else []
        path = splitting.find_file(file, [*lists, root])
        if path is None:
            raise InputError(f"{file} not found in {root}/{PROTOCOL_FOLDER}; it comes with {LISTS_FROM}")
        if folder.lower() in inside:
            _add_split(split, inside[folder.lower()], path, prefix, root, result)
        else:
            result.warnings.append(f"no folder {folder}: no {split} split")
    if protocol == "disjoint":
        _drop_shared_speakers(result)
    if "validation" not in {item.split for item in result.items}:
        result.items = splitting.carve_validation(result.items)
    result.items.sort()
    result.warnings += splitting.compare_counts(result.items, PUBLISHED)
    return result


def _add_split(split: str, folder, path, prefix: str, root, result: Index) -> None:
    audio = indexing.folders(folder).get("flac", folder)
    files = indexing.media_files(audio, root, indexing.AUDIO_SUFFIXES, result.skipped, recursive=False)
    place = f"{audio.relative_to(root).as_posix()}/"
    taken = bytearray(len(files))  # 1 where a file is listed
    absent, listed = set(), 0
    for line in splitting.read_lines(path):
        fields = line.split()
        if len(fields) != 5 or fields[4] not in KEYS or not fields[1].startswith(prefix):
            raise InputError(
                f"{path}: expected lines like 'LA_0069 {prefix}1047731 - - bonafide', got {line[:60]!r}; "
                f"another ASVspoof has files of the same name; use {LISTS_FROM}"
            )
        speaker, name, _, system, key = fields  # the system is the fourth field, not the third
        row = bisect.bisect_left(files, f"{place}{name}.")
        there = row < len(files) and files[row].rpartition(".")[0] == place + name
        if (there and taken[row]) or name in absent:
            raise InputError(f"{path}: {name} is listed twice; use {LISTS_FROM}")
        listed += 1
        if not there:
            absent.add(name)
            result.skipped.append((f"{folder.name}/flac/{name}.flac", f"in {path.name} but not on disk"))
            continue
        taken[row] = True
        id_, label = files[row], KEYS[key]
        result.items.append(Item(root, id_, label, split, speaker, id_, system if label == FAKE else ""))
    if absent:
        result.warnings.append(f"{split}: {len(absent)} of {listed} listed utterances are not on disk")
    extra = (id_ for id_, used in zip(files, taken, strict=True) if not used)
    result.dropped += [(id_, "in no countermeasure protocol (speaker enrolment)") for id_ in extra]


def _drop_shared_speakers(result: Index) -> None:
    later: dict[str, str] = {}  # speaker -> last split it is in
    for split in PARTS:
        later |= {item.group: split for item in result.items if item.split == split}
    shared = (item for item in result.items if later[item.group] != item.split)
    result.dropped += [(item.id, f"its speaker is in {later[item.group]}") for item in shared]
    result.items = Items(item for item in result.items if later[item.group] == item.split)


class Builder(preparing.MediaBuilder):
    """Windows of 4.0375 s at 16 kHz; a clip is an utterance."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download LA.zip from datashare.ed.ac.uk/handle/10283/3336 and unpack it; expected are "
        "ASVspoof2019_LA_cm_protocols/ and ASVspoof2019_LA_{train,dev,eval}/flac/."
    )
    BUILDER_CONFIGS = configs.by_protocol(
        "audio", official="The published protocols.", disjoint="The same without speakers of a later split."
    )
    HOMEPAGE = "https://datashare.ed.ac.uk/handle/10283/3336"

    def index(self, root: epath.Path) -> Index:
        """The utterances under this protocol."""
        return index(root, protocol=self.builder_config.protocol)
