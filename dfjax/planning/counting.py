"""What one dataset holds, counted before or after preparation: splits, methods, ratio, independent groups, shortcuts.

The unit is a clip: one file of the user. Frames and windows are counted as records, which are more of the same.
"""

import collections
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath

import data_builders
from data_builders import finding, indexing, preparing
from dfjax.data import sources
from dfjax.imbalance import balance
from dfjax.planning import advice, costs
from dfjax.records import FAKE, LABEL_NAMES, MEDIA, REAL, SPLITS, InputError
from dfjax.reporting import audit
from dfjax.reporting.audit import AUDITED

OF_SOURCE, PREPARED = "source", "prepared"


# ---- Counting -------------------------------------------------------------------------------------------


def count(rows: Iterable[tuple[int, str, str | None, str | None, str]]) -> dict[str, Any]:
    """Counts per split and over all, out of one row per clip; nothing is kept of a row but its clip and group.

    Args:
      rows: (label, split, group, clip, method) each: 1 fake, 0 real, others are left out; what must not straddle
        splits; of rows with the same clip, the first counts; generator or manipulation of the fakes. A group or clip
        of None has no other row, and nothing of it is kept.

    Returns:
      split (or 'all') -> {'real', 'fake', 'total' (clips), 'fake_to_real', 'imbalance' (larger over smaller
      class; both None without both classes), 'minority', 'minority_groups', 'groups', 'methods': {method:
      clips}}.
    """
    seen: set[str] = set()
    clips: collections.Counter[tuple[str, int, str]] = collections.Counter()  # split, label, method
    places: dict[str, frozenset[tuple[str, int]]] = {}  # group -> splits and labels of its clips
    alone: collections.Counter[frozenset[tuple[str, int]]] = collections.Counter()
    known: dict[frozenset[tuple[str, int]], frozenset[tuple[str, int]]] = {}  # one object for all that are equal
    for label, split, group, clip, method in rows:
        if clip is not None:
            if clip in seen:
                continue
            seen.add(clip)
        if label not in (REAL, FAKE):
            continue
        clips[split, label, method] += 1
        if group is None:
            alone[frozenset([(split, label)])] += 1
        else:
            place = places.get(group, frozenset()) | {(split, label)}
            places[group] = known.setdefault(place, place)
    groups = alone + collections.Counter(places.values())
    present = {split for split, _, _ in clips}
    return {
        name: _count_one(clips, groups, present if name == "all" else {name})
        for name in [*(split for split in SPLITS if split in present), "all"]
    }


def _count_one(clips: Mapping, groups: Mapping, splits: set[str]) -> dict[str, Any]:
    """What `count` returns of some splits; `clips` by split, label and method, `groups` by the places they are in."""

    def in_classes(*labels: int) -> int:
        return sum(n for place, n in groups.items() if any(s in splits and of in labels for s, of in place))

    methods: dict[int, collections.Counter[str]] = {REAL: collections.Counter(), FAKE: collections.Counter()}
    for (split, label, method), n in clips.items():
        if split in splits:
            methods[label][method] += n
    real, fake = (methods[label].total() for label in (REAL, FAKE))
    minority = FAKE if fake <= real else REAL
    return {
        "real": real,
        "fake": fake,
        "total": real + fake,
        "fake_to_real": fake / real if real else None,
        "imbalance": max(real, fake) / min(real, fake) if real and fake else None,
        "minority": LABEL_NAMES[minority],
        "minority_groups": in_classes(minority),
        "groups": in_classes(REAL, FAKE),
        "methods": {method or "fake": n for method, n in sorted(methods[FAKE].items())},
    }


def _recommend(splits: dict[str, Any], modality: str, dataset: str) -> dict[str, Any] | None:
    """What balance advises for the training split."""
    if "train" not in splits:
        return None
    train, without = splits["train"], advice.of_no_use(dataset)
    return balance.recommend(train["real"], train["fake"], train["minority_groups"], modality=modality, without=without)


def _kind(files_of: Iterable[str]) -> str:
    """What media are of which only the names are known: 'video', of which faces are cut out, or 'image'."""
    return "video" if all(name.lower().endswith(indexing.VIDEO_SUFFIXES) for name in files_of) else "image"


# ---- Before preparation ---------------------------------------------------------------------------------


def of_source(
    name: str,
    source: epath.PathLike,
    config_name: str | None = None,
    audited: int = AUDITED,
    *,
    measured: bool = False,
    identified: bool = False,
) -> dict[str, Any]:
    """What a folder of the user's media holds; reads names, lists and the headers of `audited` clips.

    If `measured`, it also prepares a few for `cost`, what preparation will take (see `planning.costs`). If
    `identified`, `digest` says which files these are, by their names and sizes.

    Returns:
      dataset, config, modality (see `advice.modality_of`), stage (OF_SOURCE), path, variant (the layout found), splits
      (see `count`), records (None),
      skipped and dropped (reason -> files), warnings, recommendation (see `balance.recommend`), audit (see
      `audit.audit`; None without one).

    Raises:
      InputError: unknown names, or a folder without this dataset.
    """
    cls = data_builders.load(name)
    if not issubclass(cls, preparing.MediaBuilder):
        raise InputError(f"{name} makes its own data; run `python -m dfjax.prepare {name}` and leave out --source")
    if config_name is not None and config_name not in cls.builder_configs:
        known = sorted(cls.builder_configs)
        raise InputError(f"Unknown config {config_name!r} of {name}; expected one of {known}")
    builder = cls(source=source, config=config_name or cls.BUILDER_CONFIGS[0])
    if not builder.source.is_dir():
        raise InputError(f"--source {source} is not a folder; give the folder that holds the media")
    index = builder.index(builder.source)
    if not index.items:
        raise InputError(f"{source} holds no usable media of {name}; {len(index.skipped)} files were skipped")
    items = index.items
    clips, groups = (all(getattr(item, of) == item.id for item in items) for of in ("clip", "group"))
    splits = count((i.label, i.split, None if groups else i.group, None if clips else i.clip, i.method) for i in items)
    modality = advice.modality_of(name, builder.builder_config.name, _kind(item.id for item in items))
    return {
        "dataset": name,
        "config": builder.builder_config.name,
        "modality": modality,
        "stage": OF_SOURCE,
        "path": str(source),
        "variant": index.variant,
        "splits": splits,
        "records": None,
        "skipped": _reasons(index.skipped),
        "dropped": _reasons(index.dropped),
        "warnings": index.warnings,
        "recommendation": _recommend(splits, modality, name),
        "audit": _audit_headers(items, audited) if audited else None,
        **({"cost": costs.preparation(builder, items)} if measured else {}),
        **({"digest": indexing.source_digest(index)} if identified else {}),
    }


def _audit_headers(items: indexing.Items, audited: int) -> dict[str, Any]:
    labels = np.fromiter((item.label for item in items), np.int64, len(items))
    first = np.arange(len(items))[::-1]
    if any(item.clip != item.id for item in items):  # one file stands for a clip
        clips = [item.clip for item in items]
        first = np.array(list({clips[i]: i for i in first}.values()))
    labels = labels[first]
    drawn = [items[first[i]] for i in audit.sample_rows(labels, audited)]
    rows = []
    for item in drawn:
        if item.id.lower().endswith(indexing.IMAGE_SUFFIXES):
            rows.append(_picture_features(item.path))
        else:
            rows.append(audit.header_features(item.path))
    groups = np.array([item.group for item in drawn])
    result = audit.audit(audit.table(rows), np.array([item.label for item in drawn]), groups)
    result["clips"] = int(np.isin(labels, (REAL, FAKE)).sum())
    if len(drawn) < result["clips"]:
        result["notes"].insert(0, f"{len(drawn)} of {result['clips']} clips were drawn at random")
    return result


def _picture_features(path: epath.Path) -> dict[str, float | str]:
    try:
        return audit.image_features(path.read_bytes())
    except OSError:  # one file without permission is one file
        return audit.image_features(b"") | {"file_size": float("nan")}


def of_found(
    one: finding.Found, audited: int, *, measured: bool, identified: bool = False
) -> tuple[dict[str | None, dict[str, Any]], list[str]]:
    """What a dataset that was found holds, as each of the datasets that it is used as, and what is wrong with any.

    Args:
      one: a usable one.
      audited: clips that the shortcut audit reads; 0 leaves it out.
      measured: whether some of its files are prepared, see `of_source`.
      identified: whether its digest is taken, see `of_source`.

    Returns:
      Those of `advice.configs_of` that could be counted, each with what `of_source` returns, those of one class too;
      and a line for each that cannot be used.
    """
    found: dict[str | None, dict[str, Any]] = {}
    problems: list[str] = []
    for config in advice.configs_of(one):
        try:
            facts = of_source(one.dataset, one.source, config, audited, measured=measured, identified=identified)
        except (InputError, OSError) as error:
            problems.append(f"{one.dataset} in {one.folder}: {finding.reason(error)}")
            break
        found[config], of = facts, facts["splits"]["all"]
        if not (of["real"] and of["fake"]):
            name = one.dataset if config == one.config else f"{one.dataset}/{config}"
            only = "real" if of["real"] else "fake"
            problems.append(f"{name} in {one.folder}: all clips are {only}; both classes are needed")
    return found, problems


# ---- After preparation ----------------------------------------------------------------------------------


def of_prepared(directory: epath.PathLike, audited: int = AUDITED) -> dict[str, Any]:
    """What a prepared dataset holds: what `of_source` returns, of stage PREPARED and with `records` by split.

    Reads its index and `audited` records of the training split.

    Raises:
      InputError: the folder is no complete prepared dataset.
    """
    try:
        return _of_prepared(epath.Path(directory), audited)
    except InputError:
        raise
    except Exception as error:  # whatever TFDS, protobuf and NumPy say of a damaged file
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{directory} is a prepared dataset that cannot be read ({what[:200]}); remove it and prepare it again"
        ) from error


def _of_prepared(directory: epath.Path, audited: int) -> dict[str, Any]:
    parts = {name: sources.open_split(directory, name) for name in SPLITS if name in sources.split_names(directory)}
    if not parts:
        raise InputError(f"{directory} has none of the splits {list(SPLITS)}; prepare it again")
    # the same clip may lie in two splits only if the split cuts through clips, which must show
    splits = count(
        (label, name, group, f"{name}/{clip}", method)
        for name, part in parts.items()
        for label, group, clip, method in zip(
            *(getattr(part, field).tolist() for field in ("label", "group", "clip", "method")), strict=True
        )
    )
    facts = {}
    if (directory / "preparation.json").exists():
        facts = json.loads((directory / "preparation.json").read_text())
    train = parts.get("train", next(iter(parts.values())))
    name, config = train.dataset, directory.parent.name
    modality = advice.modality_of(name, config, _kind(train.clip.tolist()))
    fields_of = set(train.records[0]) if len(train) else set()
    audited_train = None
    if audited and any(fields_of >= set(of) for of in MEDIA.values()):
        audited_train = audit.audit_records(train.records, train.label, train.clip, train.group, sample=audited)
    return {
        "dataset": name,
        "config": config,
        "modality": modality,
        "stage": PREPARED,
        "path": str(directory),
        "variant": facts.get("variant"),
        "splits": splits,
        "records": {split: len(part) for split, part in parts.items()},
        "skipped": _reasons(facts.get("skipped", [])),
        "dropped": _reasons(facts.get("dropped", [])),
        "warnings": facts.get("warnings", []),
        "recommendation": _recommend(splits, modality, name),
        "audit": audited_train,
    }


def _reasons(pairs) -> dict[str, int]:
    """Reason -> files, most frequent first."""
    return dict(collections.Counter(reason for _, reason in pairs).most_common())
