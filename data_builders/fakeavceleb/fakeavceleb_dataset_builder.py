"""FakeAVCeleb v1.2: 500 VoxCeleb2 clips and 21,044 fakes of face, voice or both."""

import collections
import csv
import dataclasses
import io
import os
import re

import tensorflow_datasets as tfds
from etils import epath

from data_builders import indexing, preparing, splitting
from data_builders.indexing import Index, Item, Items
from dfjax.records import FAKE, LABEL_NAMES, REAL, InputError

PROTOCOLS = ("disjoint", "people", "cells")
LABELS = ("any", "visual", "audio")
TEXTS = {
    "disjoint": "People split, fakes with their scene",
    "people": "Nobody in two splits, fakes across dropped",
    "cells": "Whole cells of race and gender held out",
}
CATEGORIES = {  # folder -> (is the picture fake, is the sound fake)
    "realvideo-realaudio": (False, False),
    "realvideo-fakeaudio": (False, True),
    "fakevideo-realaudio": (True, False),
    "fakevideo-fakeaudio": (True, True),
}
METADATA = "meta_data.csv"
COLUMNS = 10  # source,target1,target2,method,category,type,race,gender,path,(no name): read by position
SHARES = {"train": 0.7, "validation": 0.14, "test": 0.16}  # 35, 7 and 8 of the 50 people of a cell
CELL_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
PUBLISHED = {"any": (500, 21044), "visual": (1000, 20544), "audio": (10209, 11335)}
PERSON = re.compile(r"id\d{5}")
AMBIGUOUS = "ambiguous"
NEEDS_FACE_DONOR = ("faceswap", "fsgan")


def index(source: epath.PathLike, *, protocol: str = "disjoint", label: str = "any") -> Index:
    """Finds the clips; the unit is a video, the group the person (VoxCeleb2 id) whose scene it shows.

    Args:
      source: a folder that holds RealVideo-RealAudio/ and its three siblings.
      protocol: 'disjoint' splits the people of every race and gender 35:7:8, all fakes follow their scene, so
        that the second person of a fake (the donor) may be in another split; 'people' drops the fakes whose
        donor is, or is not named; 'cells' holds out whole cells of race and gender and drops nothing.
      label: what counts as fake: 'any' of picture and sound, 'visual' or 'audio' only.

    Raises:
      InputError: no such layout; no meta_data.csv under 'people'.
    """
    splitting.check_one_of("protocol", protocol, PROTOCOLS)
    splitting.check_one_of("label", label, LABELS)
    root = indexing.find_root(source, lambda inside: "realvideo-realaudio" in inside)
    if root is None:
        raise InputError(f"no FakeAVCeleb in {source}: expected RealVideo-RealAudio/ and its three siblings")
    result = Index("fakeavceleb", "v1.2")
    inside = indexing.folders(root)
    result.warnings += [f"no folder {name}: left out" for name in CATEGORIES if name not in inside]
    rows = _metadata(root, epath.Path(source), result)
    if not rows and protocol == "people":
        raise InputError(
            f"{METADATA} not found, or without its rows, in {root}: protocol 'people' needs it; use the download's"
        )
    seen = set()
    for name, (visual, audio) in CATEGORIES.items():
        fake = {"any": visual or audio, "visual": visual, "audio": audio}[label]
        for id_ in (
            indexing.media_files(inside[name], root, indexing.VIDEO_SUFFIXES, result.skipped) if name in inside else []
        ):
            key = _key(id_)
            seen.add(key)
            parts = LABEL_NAMES[visual], LABEL_NAMES[audio]
            _add(id_, root, FAKE if fake else REAL, parts, name, rows.get(key), result)
    result.skipped += [(rows[key].id, f"in {METADATA} but not on disk") for key in sorted(set(rows) - seen)]
    result.items.sort()
    _split(protocol, rows, result)
    if protocol != "people":
        result.warnings += splitting.compare_counts(result.items, {"all": PUBLISHED[label]})
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What the metadata say of one file."""

    id: str
    method: str
    people: tuple[str, ...]  # source, then donors that are named by an id


def _key(id_: str) -> tuple[str, str]:
    """Folders and endings whatever their case, the name as written: it holds YouTube ids, where case counts."""
    stem, ending = os.path.splitext(id_)
    folder, _, file = stem.rpartition("/")
    return folder.lower(), file + ending.lower()


def _metadata(root, source, result: Index) -> dict[tuple[str, str], Row]:
    """The rows of meta_data.csv by file; files listed twice with two methods become ambiguous."""
    path = splitting.find_file(METADATA, [root, root.parent, source])
    if path is None:
        result.warnings.append(f"no {METADATA}: methods unknown, only their category is")
        return {}
    rows: dict[tuple[str, str], Row] = {}
    twice = set()
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    for cells in csv.reader(io.StringIO(text, newline="")):
        # headers, merge-conflict marks and the like do not start with a person
        if len(cells) < COLUMNS or not PERSON.fullmatch(cells[0]):
            continue
        folder = cells[9].strip("/").partition("/")[2]  # without its first part, which is not on disk
        people = [cells[0], *(cell for cell in cells[1:3] if PERSON.fullmatch(cell))]
        row = Row(f"{folder}/{cells[8]}", cells[3], tuple(dict.fromkeys(people)))
        other = rows.setdefault(_key(row.id), row)
        if other.method != row.method:
            twice.add(row.id)
            people = dict.fromkeys((*other.people, *row.people))
            rows[_key(row.id)] = dataclasses.replace(other, method=AMBIGUOUS, people=tuple(people))
    if not rows:
        result.warnings.append(
            f"{path} has no rows like those of the download: methods unknown, only their category is"
        )
    if twice:
        result.warnings.append(f"{METADATA} lists {len(twice)} files with two methods; their method is '{AMBIGUOUS}'")
    return rows


def _add(id_: str, root, label: int, parts: tuple[str, str], category: str, row: Row | None, result: Index) -> None:
    folders = id_.split("/")
    if len(folders) != 5 or not PERSON.fullmatch(folders[3]):
        result.skipped.append((id_, "not in <category>/<race>/<gender>/<id>/"))
        return
    race, gender, person = folders[1:4]
    method = "" if label == REAL else row.method if row else category
    subgroups = (("gender", gender.lower()), ("ethnicity", race))
    result.items.append(Item(root, id_, label, "train", person, id_, method, subgroups, *parts))
    # The people of the path and those of the metadata: the person on disk is the scene's.
    result.people[id_] = tuple(dict.fromkeys((person, *(row.people if row else ()))))


def _split(protocol: str, rows: dict, result: Index) -> None:
    if protocol == "disjoint":  # donors may be anywhere
        result.people = {item.id: (item.group,) for item in result.items}
    # A donor whose own scenes are not on disk is of the cell of those that have his face or voice.
    cell_of = {person: _cell(item) for item in result.items for person in result.people[item.id]}
    cell_of |= {item.group: _cell(item) for item in result.items}
    if protocol == "cells":
        home_of_cell = splitting.assign(cell_of.values(), CELL_SHARES)
        home = {person: home_of_cell[cell] for person, cell in cell_of.items()}
    else:
        home = _home(cell_of)
    if protocol == "people":
        unnamed = {item.id for item in result.items if _donor_unknown(item, rows)}
        result.dropped += [(id_, "the donor of its face is not named") for id_ in sorted(unnamed)]
        result.items = Items(item for item in result.items if item.id not in unnamed)
    result.items, dropped = splitting.place(result.items, result.people, home)
    result.dropped += dropped


def _home(cell_of: dict[str, str]) -> dict[str, str]:
    """Person -> split, in the same shares in every cell of race and gender."""
    cells = collections.defaultdict(set)
    for person, cell in cell_of.items():
        cells[cell].add(person)
    home: dict[str, str] = {}
    for seed, cell in enumerate(sorted(cells)):
        home |= splitting.assign(cells[cell], SHARES, seed)
    return home


def _cell(item: Item) -> str:
    return "/".join(value for _, value in item.subgroups)


def _donor_unknown(item: Item, rows: dict) -> bool:
    row = rows.get(_key(item.id))
    if item.label == REAL and not item.id.lower().startswith("fakevideo"):
        return False
    if row is None:
        return True
    swaps = row.method == AMBIGUOUS or any(name in row.method for name in NEEDS_FACE_DONOR)
    return swaps and len(row.people) < 2


@dataclasses.dataclass(eq=False)
class Config(preparing.MediaConfig):
    """What counts as fake."""

    label: str = "any"


class Builder(preparing.MediaBuilder):
    """Face crops, the sound of the same clips, or both."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for access with the form at github.com/DASH-Lab/FakeAVCeleb; expected are RealVideo-RealAudio/, "
        "RealVideo-FakeAudio/, FakeVideo-RealAudio/, FakeVideo-FakeAudio/ and meta_data.csv."
    )
    BUILDER_CONFIGS = [
        Config(
            name=f"{protocol}-{name}{suffix}",
            protocol=protocol,
            modality=modality,
            label=label,
            description=f"{TEXTS[protocol]}; fake is {label}{splitting.WITHOUT_MEDIA[suffix]}",
        )
        for protocol in PROTOCOLS
        for name, label, suffix, modality in (
            ("visual", "visual", "", "video"),
            ("any", "any", "", "video"),
            ("audio", "audio", "", "audio"),
            ("av", "any", "", "av"),
            ("any", "any", "-index", "index"),
            ("visual", "visual", "-index", "index"),
            ("audio", "audio", "-index", "index"),
        )
    ]
    SUBGROUPS = ("gender", "ethnicity")
    HOMEPAGE = "https://github.com/DASH-Lab/FakeAVCeleb"

    def index(self, root: epath.Path) -> Index:
        """The clips under this protocol and meaning of fake."""
        return index(root, protocol=self.builder_config.protocol, label=self.builder_config.label)
