"""DEEP-VOICE: eight public figures and every voice converted into every other (Bird and Lotfi, 2023)."""

import re

import tensorflow_datasets as tfds
from etils import epath

from data_builders import indexing, preparing, splitting
from data_builders.indexing import AUDIO_SUFFIXES, Index, Item, Items
from dfjax.records import FAKE, REAL, InputError

REAL_NAME = re.compile(r"(.+)-original\.\w+", re.IGNORECASE)
FAKE_NAME = re.compile(r"(.+)-to-(.+)\.\w+", re.IGNORECASE)
PUBLISHED = {"all": (8, 56)}  # real, fake
SEED = 0  # of the order in which speakers are dealt out


def index(root: epath.Path, config: preparing.MediaConfig) -> Index:
    """The recordings, in the part where both their speakers live; conversions between parts are dropped.

    Raises:
      InputError: no REAL and FAKE folders are found.
    """
    found = indexing.find_root(root, _is_root)
    if found is None:
        raise InputError(f"{root} does not hold DEEP-VOICE; expected KAGGLE/AUDIO/REAL and KAGGLE/AUDIO/FAKE")
    audio = found
    for name in ("kaggle", "audio"):
        inside = indexing.folders(audio)
        audio = inside[name] if name in inside and _is_root(indexing.folders(inside[name])) else audio
    folders = indexing.folders(audio)
    variant = "/".join([*audio.relative_to(found).parts, "{label}"])
    result = Index("deepfake_audio", variant)
    items = Items()
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        for id_ in indexing.media_files(folders[name], audio, AUDIO_SUFFIXES, result.skipped):
            match = (REAL_NAME, FAKE_NAME)[label].fullmatch(id_.rpartition("/")[2])
            if match is None:
                expected = "<source>-to-<target>" if label == FAKE else "<speaker>-original"
                result.skipped.append((id_, f"its name is not {expected}"))
                continue
            speakers = tuple(speaker.lower() for speaker in match.groups())
            method = "voice-conversion" if label == FAKE else ""
            result.people[id_] = speakers
            items.append(Item(audio, id_, label, "", group=speakers[0], clip=id_, method=method))
    result.warnings += splitting.compare_counts(items, PUBLISHED)
    home = _homes({speaker for speakers in result.people.values() for speaker in speakers})
    if config.protocol == "external":
        home = dict.fromkeys(home, "test")
    elif len(home) < 6:
        result.warnings.append(
            f"{len(home)} speakers: too few for conversions in all three parts; 6 are needed, 8 published"
        )
    result.items, result.dropped = splitting.place(items, result.people, home)
    return result


def _is_root(inside: dict[str, epath.Path]) -> bool:
    """REAL and FAKE, AUDIO with these inside, or KAGGLE with AUDIO inside."""
    for name in ("kaggle", "audio"):
        if name in inside and _is_root(indexing.folders(inside[name])):
            return True
    return {"real", "fake"} <= inside.keys()


def _homes(speakers: set[str]) -> dict[str, str]:
    """The part of every speaker: 4, 2 and 2 of 8. A part of n speakers keeps n (n - 1) conversions."""
    n = len(speakers)
    held_out = {"validation": min(2, max(n - 2, 0)), "test": 2 if n >= 6 else 0}
    shares = {"train": 1 - sum(held_out.values()) / max(n, 1)}
    shares |= {split: count / n for split, count in held_out.items() if count}
    return splitting.assign(speakers, shares, SEED)


class Builder(preparing.MediaBuilder):
    """Windows of 4.0375 s at 16 kHz; a clip is a whole file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download birdy654/deep-voice-deepfake-voice-recognition from Kaggle and unpack it; expected are "
        "KAGGLE/AUDIO/REAL and KAGGLE/AUDIO/FAKE."
    )
    BUILDER_CONFIGS = [
        preparing.MediaConfig(
            name="disjoint", protocol="disjoint", modality="audio", description="Both speakers in one part."
        ),
        preparing.MediaConfig(
            name="external", protocol="external", modality="audio", description="All files are test."
        ),
    ]
    HOMEPAGE = "https://www.kaggle.com/datasets/birdy654/deep-voice-deepfake-voice-recognition"

    def index(self, root: epath.Path) -> Index:
        """The recordings in the folder under this protocol."""
        return index(root, self.builder_config)
