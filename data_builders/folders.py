"""The user's own folders: `{train,val,test}/{real,fake}` or `{real,fake}`, with an optional metadata.csv."""

import collections
import csv
import difflib
import io
import itertools
import pathlib
import unicodedata
from collections.abc import Iterable

from etils import epath

from data_builders import contents, indexing, splitting
from data_builders.indexing import Index, Item, Items
from dfjax.records import FAKE, LABEL_NAMES, PARTS, REAL, SUBGROUPS, InputError

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
LABEL_FOLDERS = {
    REAL: ("real", "bonafide", "bona_fide", "bona-fide", "genuine", "original", "authentic", "0_real"),
    FAKE: ("fake", "spoof", "spoofed", "generated", "synthetic", "deepfake", "manipulated", "1_fake"),
}
SPLIT_WORDS = frozenset(name for names in SPLIT_FOLDERS.values() for name in names)
LABEL_WORDS = frozenset(name for names in LABEL_FOLDERS.values() for name in names)
GROUP_COLUMNS = ("group", "speaker", "identity", "source_video")  # the first that is filled in
METHOD_COLUMNS = ("method", "generator", "manipulation")
DOMAIN_COLUMNS = ("domain", "source", "corpus")
METADATA = "metadata.csv"  # in any case
COLUMNS = ("file", "label", *GROUP_COLUMNS, *METHOD_COLUMNS, *DOMAIN_COLUMNS, *SUBGROUPS, *PARTS)  # of metadata.csv
PART_WORDS = {  # a fake whose method has words of one part alone in its name is fake in this part
    "picture": ("face", "video", "visual"),
    "sound": ("audio", "speech", "voice"),
}
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
SEED = 0  # of the split that is made where the folders give none


def index(root: epath.Path, dataset: str, suffixes: tuple[str, ...], *, whole: bool = False) -> Index:
    """The files of the tree, in the split of their folders or else in a grouped, stratified one.

    Args:
      root: the user's folder; the split or label folders may lie up to three levels further down.
      dataset: name of the builder.
      suffixes: endings of its media.
      whole: whether all of a tree without split folders is there to train on, since it is judged by leaving its
        domains out.

    Raises:
      InputError: no label folders, a label or split given by two folders, a metadata.csv that cannot be read or
        contradicts the folders or itself.
    """
    found = indexing.find_root(root, _is_root)
    if found is None:
        raise InputError(
            f"{root} holds no folders named real and fake, nor train, val and test with these inside; "
            f"expected {{train,val,test}}/{{real,fake}} or {{real,fake}}"
        )
    given, root = epath.Path(root), found
    skipped: list[tuple[str, str]] = []
    warnings: list[str] = []
    inside = indexing.folders(root)
    split_folders = _split_folders(inside, root)
    parts = split_folders or {"": root}
    items = Items()
    for split, folder in parts.items():
        for label, label_folder in _match(indexing.folders(folder), LABEL_FOLDERS, folder).items():
            for id_ in indexing.media_files(label_folder, root, suffixes, skipped):
                items.append(Item(root, id_, label, split, group=id_, clip=id_))
    items = Items(_with_parts(item) for item in _with_metadata(given, root, items, warnings))
    if others := _others(given, root):
        warnings.append(
            f"{len(others)} other folder{'s' * (len(others) != 1)} with real and fake inside took no part, first "
            f"{others[0]!r}; only {root.relative_to(given).as_posix()!r} did: put the files of all into one real and "
            "one fake, or give them one by one"
        )
    used = {path.name for path in parts.values()} if split_folders else set()
    if ignored := sorted(path.name for key, path in inside.items() if split_folders and path.name not in used):
        warnings.append(f"folders that are no split were left out: {', '.join(ignored)}")
    if hollow := sorted(path.name for key, path in inside.items() if not split_folders and key in SPLIT_WORDS):
        warnings.append(f"folders without real and fake inside are no split and were left out: {', '.join(hollow)}")
    if not split_folders and whole:
        items = Items(indexing.moved(item, "train") for item in items)
    elif not split_folders:
        items = indexing.grouped_split(_copies_together(items, warnings), FRACTIONS, SEED)
        warnings.append(f"no split folders: a grouped, stratified split was made ({FRACTIONS}, seed {SEED})")
    elif any(item.split == "train" for item in items) and not any(item.split == "validation" for item in items):
        items = _with_validation(items, warnings)
        warnings.append("no validation folder: 15 % of train, by group, became validation")
    if torn := _torn(items, 2 if split_folders else 1):
        many = f"{len(torn)} folder{'s' * (len(torn) != 1)}, first {torn[0]!r},"
        warnings.append(
            f"the files of {many} are in several splits; if a folder is one video or one person, name it for each of "
            "its files in metadata.csv (columns file and group)"
        )
    if straddling := indexing.straddling(items):
        warnings.append(f"{len(straddling)} groups are in more than one split, first {straddling[0]!r}")
    if not items and not skipped:
        raise InputError(f"{root} is empty; put media files into its folders real and fake")
    variant = "/".join(filter(None, ["{split}" if split_folders else "", "{label}"]))
    return Index(dataset, variant, items, skipped, warnings=warnings)


def _others(given: epath.Path, root: epath.Path) -> list[str]:
    """The folders as far below `given` as `root` that could be the root as well, by name, relative to it; sorted."""
    level = [given]
    try:
        for _ in root.relative_to(given).parts:
            level = [inside for path in level for inside in indexing.folders(path).values()]
        found = [path for path in level if path != root and _is_root(indexing.folders(path))]
    except (InputError, OSError):  # of a folder that is not used
        return []
    return sorted(path.relative_to(given).as_posix() for path in found)


def _torn(items: Items, depth: int) -> list[str]:
    """The folders deeper than this whose files, each a group of its own, are in more than one split; sorted."""
    first: dict[str, str] = {}
    alone = ((item.id.rpartition("/")[0], item.split) for item in items if item.group == item.id)
    return sorted({at for at, split in alone if at.count("/") >= depth and first.setdefault(at, split) != split})


def looked_into(source: epath.Path) -> tuple[list[epath.Path], list[epath.Path]]:
    """The folders that `index` looks into below `source`: those on the way to the labels', and the labels'.

    Links among them are followed.
    """
    try:
        root = indexing.find_root(source, _is_root)
        if root is None:
            return [], []
        between = root.relative_to(source).parts
        way = [source.joinpath(*between[: count + 1]) for count in range(len(between))]
        splits = list(_split_folders(indexing.folders(root), root).values())
        labels: list[epath.Path] = []
        for folder in splits or [root]:
            labels += _match(indexing.folders(folder), LABEL_FOLDERS, folder).values()
    except (InputError, OSError):  # told by the index, which looks into none then
        return [], []
    return way + splits, labels


def _is_root(inside: dict[str, epath.Path]) -> bool:
    """Whether label folders, or split folders with label folders inside, are among these folders."""
    return bool(LABEL_WORDS & inside.keys()) or any(name in SPLIT_WORDS and _labelled(inside[name]) for name in inside)


def _labelled(folder: epath.Path) -> bool:
    """Whether label folders are inside."""
    return bool(LABEL_WORDS & indexing.folders(folder).keys())


def _split_folders(inside: dict[str, epath.Path], root: epath.Path) -> dict[str, epath.Path]:
    """The folder of each split: one of its name without label folders inside is something else."""
    with_labels = {key: path for key, path in inside.items() if key in SPLIT_WORDS and _labelled(path)}
    return _match(with_labels, SPLIT_FOLDERS, root)


def _match(inside: dict[str, epath.Path], table: dict, parent: epath.Path) -> dict:
    """The folder that each key of the table names; two folders for one key are an error."""
    found = {}
    for key, names in table.items():
        paths = [inside[name] for name in names if name in inside]
        if len(paths) > 1:
            raise InputError(f"{parent} holds both {paths[0].name} and {paths[1].name}; keep one of them")
        if paths:
            found[key] = paths[0]
    return found


def _with_validation(items: Items, warnings: list[str]) -> Items:
    items = _copies_together(items, warnings, "train")
    train = Items(item for item in items if item.split == "train")
    share = FRACTIONS["validation"]
    parts = indexing.grouped_split(train, {"train": 1 - share, "validation": share}, SEED)
    return Items(itertools.chain(parts, (item for item in items if item.split != "train")))


def _copies_together(items: Items, warnings: list[str], split: str = "") -> Items:
    """The items, groups of a split that hold the same bytes as one, so that no split made of it here shares them.

    Not where what is left cannot be split: one clip of silence that every speaker has would make one group of all.
    """
    given = Items(item for item in items if item.split == split) if split else items
    same = contents.same_content(given, lambda item: item.group)
    if not same:
        return items
    joined = splitting.components(sorted({item.group for item in copies}) for copies in same)
    left = {(item.label, joined.get(item.group, item.group)) for item in given}
    if min(collections.Counter(label for label, _ in left).values()) < len(FRACTIONS):
        return items
    warnings.append(
        f"{len(same)} file{'s' * (len(same) != 1)} had copies in other groups, first {same[0][0].id}; copies are one "
        "group now, so that no two splits have them"
    )
    return Items(item._replace(group=joined.get(item.group, item.group)) for item in items)


def _with_metadata(given: epath.Path, root: epath.Path, items: Items, warnings: list[str]) -> Iterable[Item]:
    """The items with group, method and subgroups from `metadata.csv`; its `file` is relative to the folder it is in.

    That is the root or, where there is none, the nearest folder above it, up to the one that the user gave.
    """
    between = root.relative_to(given).parts
    places = [given.joinpath(*between[:count]) for count in range(len(between), -1, -1)]
    path = splitting.find_file(METADATA, places)
    if path is None:
        return items
    by_file = _metadata(path, warnings)
    above = root.relative_to(path.parent).as_posix()
    prefix = "" if above == "." else f"{above}/"

    def row(item: Item) -> dict[str, str]:
        return by_file.get(_plain(prefix + item.id), {})

    names = {_plain(prefix + item.id) for item in items}
    if absent := sorted(by_file.keys() - names):
        warnings.append(f"metadata.csv: {len(absent)} rows name files that are not used, first {absent[0]!r}")
    if unknown := len(names - by_file.keys()):
        warnings.append(f"metadata.csv: {unknown} files have no row")
    for item in items:
        said, other = row(item).get("label", ""), FAKE if item.label == REAL else REAL
        if said.lower() in LABEL_FOLDERS[other]:
            raise InputError(f"{path} says label={said!r} of {item.id}, a {LABEL_NAMES[item.label]} one by its folder")
    return (_described(item, row(item)) for item in items)


def _metadata(path: epath.Path, warnings: list[str]) -> dict[str, dict[str, str]]:
    """File -> column -> text, without the spaces around it."""
    try:
        rows = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
        given = [(name or "").strip().lower() for name in rows.fieldnames or ()]
        columns = dict(zip(given, rows.fieldnames or (), strict=True))
        if "file" not in columns:
            hint = "; columns are separated by commas" if len(given) == 1 else ""
            raise InputError(f"{path} has the columns {sorted(columns)}; expected one named file{hint}")
        if twice := [name for name in COLUMNS if given.count(name) > 1]:
            raise InputError(f"{path} has the column {twice[0]} twice; keep one of them")
        by_file: dict[str, dict[str, str]] = {}
        for row in rows:
            fields = {key: (row[name] or "").strip() for key, name in columns.items()}
            name = _plain(pathlib.PurePosixPath(fields["file"].replace("\\", "/")).as_posix())
            for part in PARTS:
                if fields.get(part, "").lower() not in ("", *LABEL_NAMES):
                    raise InputError(
                        f"{path} says {part}={fields[part]!r} of {fields['file']}; expected real, fake or nothing"
                    )
            before = by_file.setdefault(name, fields)
            if differ := [key for key in COLUMNS[1:] if _meant(key, before) != _meant(key, fields)]:
                of = f"{before[differ[0]]!r} and {fields[differ[0]]!r}"
                raise InputError(f"{path} has two rows of {fields['file']} that say {differ[0]} {of}; keep one of them")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text, see its byte {error.start}; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    for name in given:
        if name not in COLUMNS and (near := difflib.get_close_matches(name, COLUMNS, 1, cutoff=0.8)):
            warnings.append(f"metadata.csv: the column {name!r} is not used; is {near[0]!r} meant?")
    return by_file


def _meant(column: str, fields: dict[str, str]) -> str | None:
    """What a row says in a column; of a label the class, whatever it is called."""
    text = fields.get(column)
    if column == "label" and text:
        return next((LABEL_NAMES[label] for label, names in LABEL_FOLDERS.items() if text.lower() in names), text)
    return text


def _plain(name: str) -> str:
    """A file's name in the one way to write its accents: archives of another system may hold the other one."""
    return unicodedata.normalize("NFC", name)


def _described(item: Item, fields: dict[str, str]) -> Item:
    group = next((fields[name] for name in GROUP_COLUMNS if fields.get(name)), item.group)
    method = next((fields[name] for name in METHOD_COLUMNS if fields.get(name)), "")
    return item._replace(
        group=group,
        method=method if item.label == FAKE else "",
        domain=next((fields[name] for name in DOMAIN_COLUMNS if fields.get(name)), ""),
        subgroups=tuple((name, fields[name]) for name in SUBGROUPS if fields.get(name)),
        **{part: fields.get(part, "").lower() for part in PARTS},
    )


def _with_parts(item: Item) -> Item:
    """The item with `picture` and `sound` filled in where its metadata leave them open.

    Both are real in a real clip; in a fake what the method's name says is fake is.
    """
    method = item.method.lower()
    named = {part: "fake" for part, words in PART_WORDS.items() if any(word in method for word in words)}
    if len(named) > 1:  # 'face driven by audio' does not say that the sound is fake
        named = {}
    open_parts = dict.fromkeys(PARTS, "real") if item.label == REAL else named
    return item._replace(**{p: v for p, v in open_parts.items() if not getattr(item, p)})
