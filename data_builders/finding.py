"""Finds every dataset below a folder by its layout, whatever its folders are called, and says what is wrong with any.

Reads names only, and sizes where a root holds several folders of one's own. `find(root)` is what `dfjax.stats ROOT` and
`dfjax.benchmark --root ROOT` start from.
"""

import collections
import dataclasses
import json
import os
import shlex
import tarfile
import zipfile
from typing import Any

from etils import epath

import data_builders
from data_builders import configs, layouts
from data_builders.indexing import junk
from data_builders.layouts import Folder
from dfjax.records import InputError

DEPTH = 4  # levels below the folder given at which the root of a dataset may lie
BUNDLE = ("manifest.json", "detector.json")  # the first file of a bundle of dfjax.export, and another
TRIED = 2000  # entries of a zip archive that are looked for on the disk


@dataclasses.dataclass(frozen=True)
class Found:
    """A dataset on disk."""

    dataset: str  # a key of data_builders.DATASETS
    folder: str  # its root
    source: str  # what the builder takes: the root, or a folder above it that holds a part of it
    layout: str
    config: str | None = None  # of the builder; None for its first
    problem: str = ""  # why it cannot be used, in words; '' where it can
    notes: tuple[str, ...] = ()
    either: tuple[str, ...] = ()  # what it could be as well


@dataclasses.dataclass(frozen=True)
class Archive:
    """A packed file."""

    path: str
    command: str  # that unpacks it
    state: str  # 'packed', 'unpacked', 'half unpacked', 'unreadable'


@dataclasses.dataclass
class Finding:
    """What lies below a folder; everything in the order of depth, then of names."""

    root: str
    found: list[Found] = dataclasses.field(default_factory=list)
    prepared: list[str] = dataclasses.field(default_factory=list)  # folders of prepared datasets
    archives: list[Archive] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)  # a line each

    @property
    def usable(self) -> list[Found]:
        """The datasets that can be prepared."""
        return [one for one in self.found if not one.problem]


def find(root: epath.PathLike) -> Finding:
    """Every dataset, prepared or not, and every archive at most DEPTH levels below a folder.

    A folder that cannot be read, a dataset that is incomplete or there twice, an archive that is half unpacked: a line
    in `problems` each, and the rest is found all the same. Links are followed, each folder once.

    Args:
      root: a local folder.

    Raises:
      InputError: it is not a folder, or not to be read.
    """
    root = os.path.abspath(os.path.expanduser(os.fspath(root)))
    if not os.path.isdir(root):
        raise InputError(f"{root} is not a folder; give the folder that holds your datasets")
    result, seen = Finding(root), set()
    level: list[tuple[str, Folder | None]] = [(root, None)]
    for d in range(DEPTH + 1):
        below: list[tuple[str, Folder | None]] = []
        for path, parent in level:
            try:
                stat = os.stat(path)
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
                folder = layouts.listing(path, parent)
            except OSError as error:
                if d == 0:
                    raise InputError(reason(error)) from error
                result.problems.append(f"{reason(error)}; what is in it was left out")
                continue
            if os.path.exists(os.path.join(path, "dataset_info.json")):
                result.prepared.append(path)
                continue
            found = layouts.matches(folder)
            result.found += [_found(folder, match) for match in found]
            result.archives += [
                _archive(path, name) for name in folder.archives if not _is_detector(os.path.join(path, name))
            ]
            taken = {name for match in found for name in match.takes}
            for key, name in folder.inside.items():
                if key not in taken and not (d == 0 and key == "downloads"):
                    below.append((os.path.join(path, name), folder))
        level = below
    _mark_half_unpacked(result)
    _mark_copies(result)
    result.problems += [f"{one.dataset} in {one.folder}: {one.problem}" for one in result.found if one.problem]
    return result


def reason(error: InputError | OSError) -> str:
    """Why something cannot be used, in words; of a file or folder that cannot be read, which it is."""
    return f"{error.filename} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def notes_of(found: Finding) -> list[str]:
    """A line for everything that is no problem and yet worth knowing: what else a dataset could be, packed archives."""
    lines = []
    for one in found.usable:
        of = f"{one.dataset} in {one.folder}"
        lines += [f"{of}: {note}" for note in one.notes]
        if one.either:
            lines.append(f"{of} could be {' or '.join(one.either)} as well; WORKDIR/datasets.json overrules")
    return lines + [f"{path} is packed; unpack it: {command}" for path, command in packed(found)]


def packed(found: Finding) -> list[tuple[str, str]]:
    """The archives of which nothing is unpacked, each with the command that unpacks it."""
    return [(archive.path, archive.command) for archive in found.archives if archive.state == "packed"]


def _found(folder: Folder, match: layouts.Match) -> Found:
    return Found(
        dataset=match.dataset,
        folder=folder.path,
        source=match.source or folder.path,
        layout=match.layout,
        config=match.config,
        problem=f"incomplete, {match.missing}" if match.missing else "",
        notes=match.notes,
        either=match.either,
    )


def _mark_copies(result: Finding) -> None:
    """Of a published dataset the first complete copy is used, and of folders of one's own with the same files."""
    first: dict[str, Found] = {}
    for one in result.found:
        if not one.problem and not one.dataset.startswith("folder_"):
            first.setdefault(one.dataset, one)
    for i, one in enumerate(result.found):
        chosen = first.get(one.dataset)
        if chosen and chosen is not one and not one.problem:
            problem = f"another copy ({one.layout}); the one in {chosen.folder} ({chosen.layout}) is used"
            result.found[i] = dataclasses.replace(one, problem=problem)
    own = [(i, one) for i, one in enumerate(result.found) if one.dataset.startswith("folder_") and not one.problem]
    several = collections.Counter(one.dataset for _, one in own)
    same: dict[tuple[str, str], Found] = {}
    for i, one in ((i, one) for i, one in own if several[one.dataset] > 1):
        try:
            chosen = same.setdefault((one.dataset, configs.folder_digest(epath.Path(one.source))), one)
        except OSError:  # what may not be read is told when it is
            continue
        if chosen is not one:
            problem = f"the same files as in {chosen.folder}, by their names and sizes; those are used"
            result.found[i] = dataclasses.replace(one, problem=problem)


# ---- Archives ---------------------------------------------------------------------------------------------


def _is_detector(path: str) -> bool:
    """Whether a file is a bundle of dfjax.export, which is a ZIP without data."""
    first, another = BUNDLE
    try:
        with open(path, "rb") as file:
            if not file.read(30 + len(first)).endswith(first.encode()):  # the name follows 30 bytes of its header
                return False
        with zipfile.ZipFile(path) as archive:
            return another in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _archive(folder: str, name: str) -> Archive:
    """An archive, and whether what is in it lies beside it. Of .zip and .tar this can be told without unpacking."""
    path = os.path.join(folder, name)
    words = {".zip": ("unzip", "-n", "-q", path, "-d", folder), ".7z": ("7z", "x", "-aos", f"-o{folder}", path)}
    words[".rar"] = ("unrar", "x", "-o-", path, folder + os.sep)
    command = words.get(os.path.splitext(name.lower())[1], ("tar", "-xf", path, "-C", folder, "--skip-old-files"))
    state = "packed"
    if name.lower().endswith((".zip", ".tar")):
        there, tried = _unpacked(path)
        state = "unreadable" if tried < 0 else "half unpacked" if 0 < len(there) < tried else state
        state = "unpacked" if there and len(there) == tried else state
    return Archive(path, shlex.join(command), state)


def _unpacked(path: str) -> tuple[list[str], int]:
    """The files of an archive that lie beside it or in a folder of its name, and of how many; a sample of many.

    Of an archive that cannot be read -1.
    """
    try:
        if path.lower().endswith(".tar"):
            with tarfile.open(path, "r:") as archive:
                names = [member.name for member in archive if member.isfile()]
        else:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name[-1] != "/"]
    except (OSError, zipfile.BadZipFile, tarfile.TarError):
        return [], -1
    names = [name for name in names if not any(map(junk, name.split("/")))]
    names = names[:: -(-len(names) // TRIED) or 1]
    folder, stem = os.path.split(os.path.splitext(path)[0])
    there = [[p for n in names if os.path.exists(p := os.path.join(at, n))] for at in (folder, f"{folder}/{stem}")]
    return max(there, key=len), len(names)


def _mark_half_unpacked(result: Finding) -> None:
    for archive in result.archives:
        if archive.state == "unreadable":
            result.problems.append(f"{archive.path} cannot be read, maybe not downloaded to its end; download it again")
        if archive.state != "half unpacked":
            continue
        there, tried = _unpacked(archive.path)
        share = f"{100 * len(there) // tried} %"
        result.problems.append(f"{archive.path} is unpacked by {share}; go on with: {archive.command}")
        for i, one in enumerate(result.found):
            if not one.problem and any(path.startswith(one.folder + os.sep) for path in there):
                problem = f"incomplete, {os.path.basename(archive.path)} is unpacked by {share}"
                result.found[i] = dataclasses.replace(one, problem=problem)


# ---- The user's word --------------------------------------------------------------------------------------


def overrule(result: Finding, path: epath.PathLike) -> Finding:
    """What was found, changed by a file `datasets.json`: {"NAME" or "NAME/CONFIG": FOLDER, or null to leave it out}.

    A name takes the place of all that was found under it; of the user's own folders that of the same folder only. A
    folder is absolute or relative to the root.

    Raises:
      InputError: the file cannot be read or is no such object, a name or config is unknown, or a folder is none.
    """
    path = epath.Path(path)
    try:
        given: Any = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error})") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; allow it, or remove the file") from error
    if not isinstance(given, dict):
        raise InputError(f'{path}: expected an object such as {{"dfd": "FOLDER", "wavefake": null}}')
    found, named, dropped = list(result.found), [], set()
    for key, folder in given.items():
        name, _, config = key.partition("/")
        if name not in data_builders.DATASETS:
            raise InputError(f"{path}: unknown dataset {name!r}; expected one of {sorted(data_builders.DATASETS)}")
        if folder is not None and not (isinstance(folder, str) and os.path.isdir(os.path.join(result.root, folder))):
            raise InputError(f"{path}: {key}: {folder!r} is not a folder; give a folder, or null to leave {name} out")
        if config and config not in (known_configs := data_builders.load(name).builder_configs):
            raise InputError(f"{path}: unknown config {config!r} of {name}; expected one of {sorted(known_configs)}")
        place = None if folder is None else os.path.normpath(os.path.join(result.root, folder))
        own = name.startswith("folder_")
        gone = [one for one in found if one.dataset == name or (own and one.folder == place)]
        if own:
            gone = [one for one in gone if place is None or one.folder == place]
        elif place is not None:  # what the user names is not also one of his own folders
            gone += [one for one in found if one.folder == place and one.dataset.startswith("folder_")]
        dropped |= {f"{one.dataset} in {one.folder}: {one.problem}" for one in gone}
        found = [one for one in found if one not in gone]
        if place is not None:
            known = next((one for one in gone if one.folder == place and one.dataset == name), None)
            layout, guessed = (known.layout, known.config) if known else ("as named", None)
            named.append(Found(name, place, known.source if known else place, layout, config or guessed))
    for name, count in collections.Counter(one.dataset for one in named).items():
        if count > 1 and not name.startswith("folder_"):
            raise InputError(f"{path}: {name} is named twice; keep one of them")
    problems = [line for line in result.problems if line not in dropped]
    return dataclasses.replace(result, found=[*found, *named], problems=problems)
