"""How the root folder of every dataset looks on disk: by the names inside it, whatever it is called itself.

A layout is a function `(folder) -> Match or None`. It reads names only, and few: the folders of a `Folder`, the files
whose names sort first, and the same of folders below it. What makes sure that two datasets are told apart stands here;
what a dataset's files mean stands with its builder.
"""

import dataclasses
import heapq
import os
import re
from collections.abc import Callable, Iterator

from data_builders import splitting
from data_builders.folders import LABEL_FOLDERS, SPLIT_FOLDERS
from data_builders.indexing import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, junk
from dfjax.records import FAKE, REAL

NAMES = 50  # files of a folder whose names are kept, the first in order
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
KINDS = {"audio": AUDIO_SUFFIXES, "image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}


@dataclasses.dataclass(frozen=True)
class Folder:
    """The names in a folder; two that differ only by case count once here."""

    path: str
    inside: dict[str, str]  # lower-case name -> name, of the folders
    files: tuple[str, ...]  # the first NAMES
    archives: tuple[str, ...]
    count: int  # of all files but leftovers
    parent: "Folder | None" = None

    def below(self, *names: str) -> "Folder | None":
        """The folder at the end of a chain of lower-case names; None if one is absent or may not be read."""
        at: Folder | None = self
        for name in names:
            if at is None or name not in at.inside:
                return None
            try:
                at = listing(os.path.join(at.path, at.inside[name]), at)
            except OSError:
                return None
        return at

    def above(self, levels: int) -> Iterator["Folder"]:
        """The folders above, nearest first, within the tree that is searched."""
        at = self.parent
        for _ in range(levels):
            if at is None:
                return
            yield at
            at = at.parent


def listing(path: str, parent: Folder | None = None) -> Folder:
    """The names in a folder, in memory that does not grow with its files.

    Raises:
      OSError: it may not be read.
    """
    inside: dict[str, str] = {}
    archives: list[str] = []
    count = 0

    def files() -> Iterator[str]:
        nonlocal count
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or junk(name):
                    continue
                if entry.is_dir():
                    inside[name.lower()] = min(name, inside.get(name.lower(), name))
                elif name.lower().endswith(ARCHIVES):
                    archives.append(name)
                else:
                    count += 1
                    yield name

    first = heapq.nsmallest(NAMES, files())
    return Folder(path, dict(sorted(inside.items())), tuple(first), tuple(sorted(archives)), count, parent)


@dataclasses.dataclass(frozen=True)
class Match:
    """What a folder is."""

    dataset: str
    layout: str  # in words, such as 'official' or 'kaggle'
    takes: frozenset[str] = frozenset()  # its folders, lower-case, that belong to the dataset
    config: str | None = None  # of the builder; None for its first
    missing: str = ""  # what a usable copy has and this one has not
    notes: tuple[str, ...] = ()
    either: tuple[str, ...] = ()  # datasets that look the same
    source: str | None = None  # the folder to give to the builder where it is not the root itself


def _names(folder: Folder | None, pattern: str) -> bool:
    """Whether there are files, and most of the first are called so."""
    if folder is None or not folder.files:
        return False
    return sum(bool(re.fullmatch(pattern, name, re.IGNORECASE)) for name in folder.files) > 0.8 * len(folder.files)


def _take(folder: Folder, names) -> frozenset[str]:
    return frozenset(set(names) & folder.inside.keys())


def _classes(folder: Folder | None) -> bool:
    return folder is not None and {"real", "fake"} <= folder.inside.keys()


# ---- Videos of faces --------------------------------------------------------------------------------------

FF_METHODS = ("deepfakes", "face2face", "faceswap", "neuraltextures", "faceshifter")


def _level(*folders: Folder | None) -> str | None:
    """The first compression that all of the folders have."""
    there = [folder.inside.keys() for folder in folders if folder is not None]
    return next(
        (level for level, names in splitting.COMPRESSIONS.items() if all(set(names) & inside for inside in there)), None
    )


def faceforensics(folder: Folder) -> Match | None:
    """The official tree, or the flat copy of Kaggle."""
    if {"original_sequences", "manipulated_sequences"} & folder.inside.keys():
        youtube = folder.below("original_sequences", "youtube")
        methods = [m for m in FF_METHODS if folder.below("manipulated_sequences", m)]
        if youtube is None and not methods:
            return None  # actors only: DFD
        takes = _take(folder, ("original_sequences", "manipulated_sequences", "downloaded_videos", "splits", "dataset"))
        level = _level(youtube, *(folder.below("manipulated_sequences", m) for m in methods[:1]))
        missing = "" if youtube else "no original_sequences/youtube/"
        missing = missing if methods else "no manipulated_sequences/ of any method"
        missing = missing or ("" if level else "no compression that originals and fakes both have")
        notes = (f"only {', '.join(methods)}",) if 0 < len(methods) < 4 else ()
        return Match("faceforensics", "official", takes, f"official-{level or 'c23'}-all", missing, notes)
    methods = [m for m in FF_METHODS if m in folder.inside]
    if len(methods) < 2 and not (methods and "original" in folder.inside):
        return None
    takes = _take(folder, ("original", "csv", "deepfakedetection", *FF_METHODS))
    missing = "" if "original" in folder.inside else "no original/"
    notes = (f"only {', '.join(methods)}",) if len(methods) < 4 else ()
    return Match("faceforensics", "kaggle", takes, None, missing, notes)


def dfd(folder: Folder) -> Match | None:
    """Beside FaceForensics++ in the official tree, or the two folders of the Kaggle copy."""
    actors = folder.below("original_sequences", "actors")
    fakes = folder.below("manipulated_sequences", "deepfakedetection")
    if actors or fakes:
        takes = _take(folder, ("original_sequences", "manipulated_sequences"))
        missing = "" if actors else "no original_sequences/actors/"
        missing = missing if fakes else "no manipulated_sequences/DeepFakeDetection/"
        level = _level(actors, fakes)
        missing = missing or ("" if level else "no compression that originals and fakes both have")
        return Match("dfd", "official", takes, f"disjoint-{level or 'c23'}", missing)
    by_name = {splitting.plain(name): name for name in folder.inside}
    wanted = ("dfdmanipulatedsequences", "dfdoriginalsequences")
    if not set(wanted) & by_name.keys():
        return None
    real = "dfdoriginalsequences" in by_name or _names(folder, r"\d\d__[a-z_]+\.mp4")
    missing = "" if real else "no 'DFD_original sequences'/"
    missing = missing if "dfdmanipulatedsequences" in by_name else "no DFD_manipulated_sequences/"
    return Match("dfd", "kaggle", _take(folder, (by_name.get(w) for w in wanted)), None, missing)


def celeb_df_v2(folder: Folder) -> Match | None:
    """The three class folders."""
    takes = _take(folder, ("celeb-real", "celeb-synthesis", "youtube-real"))
    if not {"celeb-real", "celeb-synthesis"} & takes:
        return None
    absent = [name for name in ("Celeb-real", "Celeb-synthesis") if name.lower() not in takes]
    notes = () if "youtube-real" in takes else ("no YouTube-real/",)
    return Match("celeb_df_v2", "videos", takes, None, f"no {absent[0]}/" if absent else "", notes)


def fakeavceleb(folder: Folder) -> Match | None:
    """The four categories."""
    names = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")
    takes = _take(folder, map(str.lower, names))
    if not takes:
        return None
    absent = [name for name in names if name.lower() not in takes]
    missing = "no RealVideo-RealAudio/" if names[0] in absent else "no FakeVideo-...Audio/" if len(takes) < 2 else ""
    notes = (f"no {', '.join(absent)}",) if absent else ()
    return Match("fakeavceleb", "v1.2", takes, None, missing, notes)


# ---- Pictures ---------------------------------------------------------------------------------------------


def faces_140k(folder: Folder) -> Match | None:
    """train, valid and test of portraits; told from a user's own folders by the lists or the names of the files."""
    if not {"train", "valid", "test"} <= folder.inside.keys() or not _classes(folder.below("train")):
        return None
    lists = any("valid.csv" in map(str.lower, place.files) for place in (folder, *folder.above(2)))
    named = _names(folder.below("train", "real"), r"\d{5}\.jpg") and _names(
        folder.below("train", "fake"), r"[0-9A-Z]{10}\.jpg"
    )
    if not (lists or named) or _kind(folder.below("train", "real")) != {"image"}:
        return None
    return Match("faces_140k", "folders", _take(folder, ("train", "valid", "test")))


PICTURES = {("train", "real"): 326, ("train", "fake"): 153, ("test", "real"): 110, ("test", "fake"): 389}


def deepfake_image_detection(folder: Folder) -> Match | None:
    """Kaggle's saurabhbagchi (folders of a Drive export) or manjilkarki (Train, Validation and Test of face crops)."""
    exported = [name for name in folder.inside if re.fullmatch(r"(train|test)-\d{8}t\d{6}z.*", name)]
    parts = {name.partition("-")[0] for name in exported if folder.below(name, name.partition("-")[0])}
    if parts:
        absent = {"train", "test"} - parts - folder.inside.keys()
        takes = _take(folder, (*exported, "train", "test", *(n for n in folder.inside if n.startswith("sample"))))
        missing = f"no {min(absent)}-<time>/{min(absent)}/" if absent else ""
        return Match("deepfake_image_detection", "pictures", takes, None, missing)
    if {"train", "test"} <= folder.inside.keys() and _classes(folder.below("train")):
        counts = {names: getattr(folder.below(*names), "count", 0) for names in PICTURES}
        near = all(abs(counts[names] - n) <= 0.05 * n for names, n in PICTURES.items())
        sample = any(name.startswith("sample_fake") for name in folder.inside)
        if (near or sample) and not {"valid", "validation", "val"} & folder.inside.keys():
            return Match("deepfake_image_detection", "pictures", _take(folder, ("train", "test")))
    faces = {"train", "validation", "test"}
    if faces <= folder.inside.keys():
        classes = (("real", r"real_\d+\.\w+"), ("fake", r"fake_\d+\.\w+"))
        if all(_names(folder.below("train", label), pattern) for label, pattern in classes):
            return Match("deepfake_image_detection", "faces", _take(folder, faces))
    return None


# ---- Speech -----------------------------------------------------------------------------------------------


def asvspoof2019_la(folder: Folder) -> Match | None:
    """The protocols and the three audio folders."""
    names = ("ASVspoof2019_LA_cm_protocols", "ASVspoof2019_LA_train", "ASVspoof2019_LA_dev", "ASVspoof2019_LA_eval")
    takes = frozenset(name for name in folder.inside if name.startswith("asvspoof2019_la_"))
    if not set(map(str.lower, names[1:])) & takes:
        return None
    protocols = any(name.lower().startswith("asvspoof2019.la.cm.") for name in folder.files)
    absent = [n for n in names if n.lower() not in takes and not (protocols and n == names[0])]
    return Match("asvspoof2019_la", "protocols", takes, None, f"no {absent[0]}/" if absent else "")


VOCODER = re.compile(r"(ljspeech|jsut)_(\w+_)?(melgan|wavegan|hifigan|waveglow)(_large)?|common_voices_prompts_\w+")


def wavefake(folder: Folder) -> Match | None:
    """The generated audio and, beside it or up to three levels above, the real corpora."""
    generated = folder.below("generated_audio")
    inner = generated and (generated.below("generated_audio") or generated)
    plain = [name for name in folder.inside if VOCODER.fullmatch(name)]
    if not plain and not (inner and any(VOCODER.fullmatch(name) for name in inner.inside)):
        return None

    def corpora(place: Folder) -> list[str]:
        return [n for n in place.inside if n.startswith(("ljspeech-1", "jsut")) and not VOCODER.fullmatch(n)]

    takes = frozenset([*plain, *(["generated_audio"] if generated else []), *corpora(folder)])
    layout = "generated_audio" if generated else "plain"
    if corpora(folder):
        return Match("wavefake", layout, takes)
    source = next((place.path for place in folder.above(3) if corpora(place)), None)
    missing = "" if source else "no real speech: LJSpeech-1.1/ beside it (keithito.com/LJ-Speech-Dataset)"
    return Match("wavefake", layout, takes, None, missing, source=source)


FOR_VERSIONS = {  # version, the usual one first -> names of its folder
    "norm": ("for-norm",),
    "2sec": ("for-2sec", "for-2seconds"),
    "rerec": ("for-rerec", "for-rerecorded"),
    "original": ("for-original",),
}


def fake_or_real(folder: Folder) -> Match | None:
    """One or several of the four versions, packed in themselves or not."""
    here = {v: names for v, names in FOR_VERSIONS.items() if set(names) & folder.inside.keys()}
    if here:
        config = next(iter(here))
        takes = _take(folder, (name for names in here.values() for name in names))
        notes = (f"versions {', '.join(here)} are derived from each other; {config} is used",) if len(here) > 1 else ()
        return Match("fake_or_real", "versions", takes, config, notes=notes)
    if {"training", "testing"} <= folder.inside.keys() and _classes(folder.below("training")):
        name = os.path.basename(folder.path).lower()
        version = next((v for v, names in FOR_VERSIONS.items() if name in names), None)
        named = _names(folder.below("training", "fake"), r"file\d+\..*")
        if version or named:
            takes = _take(folder, ("training", "validation", "testing"))
            return Match("fake_or_real", "splits", takes, version or "norm")
    return None


def deepfake_audio(folder: Folder) -> Match | None:
    """DEEP-VOICE: its two classes, told by the names of the recordings, below KAGGLE/AUDIO or not."""
    for chain in (("kaggle", "audio"), ("audio",), ()):
        real, fake = folder.below(*chain, "real"), folder.below(*chain, "fake")
        if _names(real, r".+-original\.\w+") or _names(fake, r".+-to-.+\.\w+"):
            takes = _take(folder, (chain or ("real", "fake"))) | _take(folder, ("demonstration",))
            absent = "REAL" if real is None else "FAKE" if fake is None else ""
            return Match(
                "deepfake_audio", "/".join([*chain, "{label}"]), takes, None, f"no {absent}/" if absent else ""
            )
    return None


# ---- The user's own ---------------------------------------------------------------------------------------


def _kind(folder: Folder | None, levels: int = 2) -> set[str]:
    """The kinds of media in a folder, by the endings of a few names there or below."""
    if folder is None:
        return set()
    found = {kind for kind, suffixes in KINDS.items() if any(f.lower().endswith(suffixes) for f in folder.files)}
    for name in list(folder.inside)[:3] if levels and not found else ():
        found |= _kind(folder.below(name), levels - 1)
    return found


def own_folders(folder: Folder) -> list[Match]:
    """`{real,fake}` or `{train,val,test}/{real,fake}` that is none of the others: a dataset per kind of media."""
    labels = {name: label for label, names in LABEL_FOLDERS.items() for name in names}
    splits = {name for names in SPLIT_FOLDERS.values() for name in names}
    parts = [part for name in folder.inside if name in splits and (part := folder.below(name))]
    parts = [part for part in parts if labels.keys() & part.inside.keys()]
    own = labels.keys() & folder.inside.keys()
    classes = [(place, name) for place in (parts or [folder]) for name in place.inside if name in labels]
    there = {labels[name] for _, name in classes}
    kinds = {kind for place, name in classes for kind in _kind(place.below(name))}
    if not kinds or (there != {REAL, FAKE} and not {"real", "fake"} & {name for _, name in classes}):
        return []
    takes = frozenset(own if not parts else _take(folder, splits))
    layout = "{split}/{label}" if parts else "{label}"
    missing = "" if there == {REAL, FAKE} else f"{'real' if REAL in there else 'fake'} files only"
    alike = _alike(folder, parts, kinds)
    words = (takes, None, missing, (), alike)
    found = [Match("folder_audio", layout, *words)] if "audio" in kinds else []
    if kinds & {"image", "video"}:
        either = (*alike, *(["folder_av"] if kinds == {"video"} else []))
        found.append(Match("folder_image", layout, takes, None, missing, (), either))
    return found


def _alike(folder: Folder, parts: list[Folder], kinds: set[str]) -> tuple[str, ...]:
    """The published datasets whose folders are called the same, where names of files do not tell."""
    inside = folder.inside.keys()
    if not parts:
        return ()
    if kinds == {"audio"}:
        return ("fake_or_real",) if {"training", "testing"} <= inside else ()
    if kinds != {"image"}:
        return ()
    if {"train", "valid", "test"} <= inside:
        return ("faces_140k",)
    return ("deepfake_image_detection",) if {"train", "test"} <= inside and "val" not in inside else ()


LAYOUTS: tuple[Callable[[Folder], Match | None], ...] = (
    faceforensics,
    dfd,
    celeb_df_v2,
    fakeavceleb,
    asvspoof2019_la,
    wavefake,
    fake_or_real,
    deepfake_audio,
    faces_140k,
    deepfake_image_detection,
)


def matches(folder: Folder) -> list[Match]:
    """Everything that a folder is the root of: of the known datasets, else of the user's own."""
    known = [match for layout in LAYOUTS if (match := layout(folder))]
    return known or own_folders(folder)
