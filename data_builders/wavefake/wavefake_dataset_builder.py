"""WaveFake: LJSpeech and JSUT re-synthesised by vocoders; the real recordings are downloaded apart."""

import re

import tensorflow_datasets as tfds
from etils import epath

from data_builders import configs, indexing, preparing, splitting
from data_builders.indexing import Index, Item
from dfjax.records import FAKE, REAL, InputError

PROTOCOLS = ("disjoint",)
GENERATED = {  # folder, lower-case -> published number of files
    "ljspeech_melgan": 13100,
    "ljspeech_melgan_large": 13100,
    "ljspeech_full_band_melgan": 13100,
    "ljspeech_multi_band_melgan": 13100,
    "ljspeech_parallel_wavegan": 13100,
    "ljspeech_hifigan": 13100,
    "ljspeech_waveglow": 13100,
    "jsut_multi_band_melgan": 5000,
    "jsut_parallel_wavegan": 5000,
    "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech": 16283,
}
REAL_CORPORA = {  # what the folder's name starts with -> (folders below it, files, language)
    "ljspeech-1": (("wavs",), 13100, "en"),
    "jsut": (("basic5000", "wav"), 5000, "ja"),
}
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
# The longer suffix first: without "_gen" alone, LJ043-0122_generated would become LJ043-0122erated.
SUFFIX = re.compile(r"(_generated|_gen)$")


def index(source: epath.PathLike, *, protocol: str = "disjoint") -> Index:
    """Finds generated and real clips; the unit is an audio file, the group the utterance.

    The real clip and all its re-syntheses share a group. The one LJSpeech speaker is in every split.

    Args:
      source: a folder with generated_audio/ (or the folders in it) and beside it LJSpeech-1.1/, jsut_ver1.1/.
      protocol: 'disjoint', the only one: utterances 8:1:1. There is no published split.

    Raises:
      InputError: no such layout, or no real corpus.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    source = epath.Path(source)
    root = indexing.find_root(source, lambda inside: "generated_audio" in inside or _vocoders(inside))
    if root is None:
        raise InputError(f"no WaveFake in {source}: expected generated_audio/ with ljspeech_melgan/ and the like")
    inside = indexing.folders(root)
    variant = "generated_audio" if "generated_audio" in inside else "plain"
    generated = splitting.below(root, "generated_audio", "generated_audio") or inside.get("generated_audio", root)
    result = Index("wavefake", variant)
    for name, folder in indexing.folders(generated).items():
        if name in GENERATED:
            _add_generated(name, folder, root, result)
        elif generated != root:  # beside the real corpora lies what it may
            result.warnings.append(f"{folder.name}/ is none of the published generators: left out")
    places = dict.fromkeys([root, source])  # an ordered set
    for start, (chain, count, language) in REAL_CORPORA.items():
        _add_real(start, chain, count, language, places, root, result)
    if not any(item.label == REAL for item in result.items):
        raise InputError(
            f"{root} holds fakes only, as the archive does; put LJSpeech-1.1/ beside generated_audio/ "
            "(from keithito.com/LJ-Speech-Dataset)"
        )
    _warn_of_lone_fakes(result)
    result.items = indexing.grouped_split(result.items, SHARES)
    result.items.sort()
    return result


def _vocoders(inside) -> bool:
    return len(set(inside) & set(GENERATED)) > 0


def _add_generated(name: str, folder, root, result: Index) -> None:
    """The files of one generator. Not of the folders below: one holds a second copy of all its files."""
    again = [inner.name for inner in indexing.folders(folder).values()]
    if again:
        result.warnings.append(f"{folder.name}: left out {', '.join(again)}/ (a second copy of its files)")
    files = indexing.media_files(folder, root, indexing.AUDIO_SUFFIXES, result.skipped, recursive=False)
    if len(files) != GENERATED[name]:
        result.warnings.append(f"{folder.name}: found {len(files)} files, published {GENERATED[name]}")
    subgroups = (("language", "ja" if name.startswith("jsut") else "en"),)
    for id_ in files:
        utterance = SUFFIX.sub("", splitting.name_of(id_))
        group = f"tts/{utterance}" if name.startswith("common_voices") else utterance  # has no real clip
        result.items.append(Item(root, id_, FAKE, "train", group, id_, name, subgroups))


def _add_real(start: str, chain, count: int, language: str, places, root, result: Index) -> None:
    for place in places:
        for name, folder in indexing.folders(place).items():
            if not name.startswith(start) or name in GENERATED:
                continue
            clips = splitting.below(folder, *chain) or splitting.below(folder, name, *chain)
            if clips is None:
                continue
            base = root if clips.is_relative_to(root) else place
            files = indexing.media_files(clips, base, indexing.AUDIO_SUFFIXES, result.skipped, recursive=False)
            if len(files) != count:
                result.warnings.append(f"{folder.name}: found {len(files)} files, published {count}")
            subgroups = (("language", language),)
            for id_ in files:
                result.items.append(Item(base, id_, REAL, "train", splitting.name_of(id_), id_, "", subgroups))
            return


def _warn_of_lone_fakes(result: Index) -> None:
    found = {(item.label, item.subgroups[0][1]) for item in result.items}
    for language in sorted(language for label, language in found if label == FAKE and (REAL, language) not in found):
        result.warnings.append(f"no real speech in language {language!r}: there the language gives the label away")


class Builder(preparing.MediaBuilder):
    """Windows of 4.0375 s at 16 kHz; a clip is a file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download generated_audio.zip from zenodo.org/record/5642694, LJSpeech-1.1 from "
        "keithito.com/LJ-Speech-Dataset and JSUT (basic5000), and unpack them side by side; expected are "
        "generated_audio/ljspeech_melgan/ and so on, LJSpeech-1.1/wavs/ and jsut_ver1.1/basic5000/wav/."
    )
    BUILDER_CONFIGS = configs.by_protocol("audio", disjoint="No utterance in two splits")
    SUBGROUPS = ("language",)
    HOMEPAGE = "https://github.com/RUB-SysSec/WaveFake"

    def index(self, root: epath.Path) -> Index:
        """Generated and real clips."""
        return index(root, protocol="disjoint")
