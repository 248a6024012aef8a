"""Real and fake, counted before and after preparation: splits, methods, ratio, independent groups, shortcuts.

python -m dfjax.stats asvspoof2019_la --source ~/LA
python -m dfjax.stats ~/tensorflow_datasets --plot counts.png

The unit is a clip: one file of the user. Frames and windows are counted as records, which are more of the
same.
"""

import argparse
import collections
import json
from collections.abc import Iterator
from typing import Any

import absl.logging
import numpy as np
from etils import epath
from tensorflow_datasets.core.constants import DATA_DIR

import data_builders
from data_builders import indexing, preparing
from dfjax.data import sources
from dfjax.imbalance import balance
from dfjax.records import FAKE, LABEL_NAMES, MEDIA, REAL, SPLITS, InputError
from dfjax.reporting import audit, stats_view
from dfjax.runtime import cli

AUDITED = 1000  # clips whose headers or records the shortcut audit reads
OF_SOURCE, PREPARED = "source", "prepared"
LEVELS = 4  # of folders between the one given and a prepared dataset: name/config/version


# ---- Counting -------------------------------------------------------------------------------------------


def count(labels, splits, groups, clips, methods) -> dict[str, Any]:
    """Counts per split and over all, out of one row per clip.

    Args:
      labels: 1 fake, 0 real; others are left out.
      splits: names.
      groups: what must not straddle splits.
      clips: names; of rows with the same one, the first counts.
      methods: generator or manipulation of the fakes.

    Returns:
      split (or 'all') -> {'real', 'fake', 'total' (clips), 'fake_to_real', 'imbalance' (larger over smaller
      class; both None without both classes), 'minority', 'minority_groups', 'groups', 'methods': {method:
      clips}}.
    """
    labels, splits, groups, clips, methods = map(np.asarray, (labels, splits, groups, clips, methods))
    rows = np.unique(clips, return_index=True)[1]
    rows = rows[np.isin(labels[rows], (REAL, FAKE))]
    found = [name for name in SPLITS if name in set(splits[rows].tolist())]
    return {
        name: _count_one(*(x[rows if name == "all" else rows[splits[rows] == name]] for x in (labels, groups, methods)))
        for name in [*found, "all"]
    }


def _count_one(labels, groups, methods) -> dict[str, Any]:
    real, fake = int((labels == REAL).sum()), int((labels == FAKE).sum())
    minority = FAKE if fake <= real else REAL
    by_method = collections.Counter(methods[labels == FAKE].tolist())
    return {
        "real": real,
        "fake": fake,
        "total": real + fake,
        "fake_to_real": fake / real if real else None,
        "imbalance": max(real, fake) / min(real, fake) if real and fake else None,
        "minority": LABEL_NAMES[minority],
        "minority_groups": len(np.unique(groups[labels == minority])),
        "groups": len(np.unique(groups)),
        "methods": {method or "fake": n for method, n in sorted(by_method.items())},
    }


def _recommend(splits: dict[str, Any], modality: str) -> dict[str, Any] | None:
    """What balance advises for the training split."""
    if "train" not in splits:
        return None
    train = splits["train"]
    return balance.recommend(train["real"], train["fake"], train["minority_groups"], modality=modality)


# ---- Before preparation ---------------------------------------------------------------------------------


def of_source(
    name: str, source: epath.PathLike, config_name: str | None = None, audited: int = AUDITED
) -> dict[str, Any]:
    """What a folder of the user's media holds; reads names, lists and the headers of `audited` clips.

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
    splits = count(*zip(*((i.label, i.split, i.group, i.clip, i.method) for i in items), strict=True))
    modality = _modality(builder.builder_config, items[0])
    return {
        "dataset": name,
        "config": builder.builder_config.name,
        "stage": OF_SOURCE,
        "path": str(source),
        "variant": index.variant,
        "splits": splits,
        "records": None,
        "skipped": _reasons(index.skipped),
        "dropped": _reasons(index.dropped),
        "warnings": index.warnings,
        "recommendation": _recommend(splits, modality),
        "audit": _audit_headers(items, audited) if audited else None,
    }


def _modality(config, item: indexing.Item) -> str:
    if config.modality in MEDIA:
        return config.modality
    return "audio" if item.path.name.lower().endswith(indexing.AUDIO_SUFFIXES) else "image"


def _audit_headers(items: list[indexing.Item], audited: int) -> dict[str, Any]:
    first = list({item.clip: item for item in reversed(items)}.values())  # one file stands for a clip
    labels = np.array([item.label for item in first])
    drawn = [first[i] for i in audit.sample_rows(labels, audited)]
    rows = []
    for item in drawn:
        if item.path.name.lower().endswith(indexing.IMAGE_SUFFIXES):
            rows.append(audit.image_features(item.path.read_bytes()))
        else:
            rows.append(audit.header_features(item.path))
    groups = np.array([item.group for item in drawn])
    result = audit.audit(audit.table(rows), np.array([item.label for item in drawn]), groups)
    result["clips"] = int(np.isin(labels, (REAL, FAKE)).sum())
    if len(drawn) < result["clips"]:
        result["notes"].insert(0, f"{len(drawn)} of {result['clips']} clips were drawn at random")
    return result


# ---- After preparation ----------------------------------------------------------------------------------


def of_prepared(directory: epath.PathLike, audited: int = AUDITED) -> dict[str, Any]:
    """What a prepared dataset holds; reads its index and `audited` records of the training split.

    Raises:
      InputError: the folder is no complete prepared dataset.
    """
    directory = epath.Path(directory)
    parts = {name: sources.open_split(directory, name) for name in SPLITS if name in sources.split_names(directory)}
    if not parts:
        raise InputError(f"{directory} has none of the splits {list(SPLITS)}; prepare it again")
    fields = ("label", "group", "clip", "method")
    label, group, clip, method = (np.concatenate([getattr(p, f) for p in parts.values()]) for f in fields)
    name_of = np.repeat(list(parts), [len(part) for part in parts.values()])
    # the same clip may lie in two splits only if the split cuts through clips, which must show
    splits = count(label, name_of, group, np.char.add(np.char.add(name_of, "/"), clip), method)
    facts = {}
    if (directory / "preparation.json").exists():
        facts = json.loads((directory / "preparation.json").read_text())
    train = parts.get("train", next(iter(parts.values())))
    fields_of = set(train.records[0]) if len(train) else set()
    modality = next((name for name in ("av", *MEDIA) if fields_of >= set(MEDIA[name])), "")
    audited_train = None
    if audited and modality:
        audited_train = audit.audit_records(train.records, train.label, train.clip, train.group, sample=audited)
    return {
        "dataset": next(iter(parts.values())).dataset,
        "config": directory.parent.name,
        "stage": PREPARED,
        "path": str(directory),
        "variant": facts.get("variant"),
        "splits": splits,
        "records": {split: len(part) for split, part in parts.items()},
        "skipped": _reasons(facts.get("skipped", [])),
        "dropped": _reasons(facts.get("dropped", [])),
        "warnings": facts.get("warnings", []),
        "recommendation": _recommend(splits, modality),
        "audit": audited_train,
    }


def _reasons(pairs) -> dict[str, int]:
    """Reason -> files, most frequent first."""
    return dict(collections.Counter(reason for _, reason in pairs).most_common())


def prepared_below(folder: epath.Path, levels: int = LEVELS) -> Iterator[epath.Path]:
    """The complete prepared datasets at or below a folder, sorted."""
    if (folder / "dataset_info.json").exists():
        yield folder
    elif levels:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and path.name != "downloads":
                yield from prepared_below(path, levels - 1)


# ---- What to look at ------------------------------------------------------------------------------------


def collect(
    what: str,
    source: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    config_name: str | None = None,
    audited: int = AUDITED,
) -> list[dict[str, Any]]:
    """The statistics of one dataset by name, or of all datasets in a folder.

    Args:
      what: a key of DATASETS; or a folder with prepared datasets, or with media in folders named like
        DATASETS.
      source: the media of the dataset `what`, counted before preparation.
      data_dir: where prepared datasets lie; default TFDS_DATA_DIR or ~/tensorflow_datasets.
      config_name: of the dataset `what`; without it, its first config before and all configs after
        preparation.
      audited: clips that the shortcut audit reads; 0 leaves it out.

    Raises:
      InputError: there is nothing to count.
    """
    if what not in data_builders.DATASETS:
        folder = epath.Path(what).expanduser()
        if not folder.is_dir():
            raise InputError(f"Unknown dataset or folder {what!r}; expected one of {sorted(data_builders.DATASETS)}")
        return _collect_folder(folder, audited)
    data_dir = epath.Path(data_dir or DATA_DIR).expanduser()
    found = [] if source is None else [of_source(what, source, config_name, audited)]
    prepared = prepared_below(data_dir / what) if (data_dir / what).is_dir() else []
    found += [of_prepared(path, audited) for path in prepared if config_name in (None, path.parent.name)]
    if not found:
        raise InputError(f"{what} is not prepared in {data_dir}; give --source with the media, or another --data_dir")
    return found


def _collect_folder(folder: epath.Path, audited: int) -> list[dict[str, Any]]:
    found = [of_prepared(path, audited) for path in prepared_below(folder)]
    inside = {} if found else indexing.folders(folder)
    found += [of_source(name, path, None, audited) for name, path in inside.items() if name in data_builders.DATASETS]
    if not found:
        raise InputError(
            f"{folder} holds no prepared dataset and no folder named like one of "
            f"{sorted(data_builders.DATASETS)}; for media elsewhere give NAME --source DIR"
        )
    return found


# ---- Command line ---------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m dfjax.stats", description="Count real and fake.")
    result.add_argument("what", help=f"a folder with datasets, or one of {', '.join(sorted(data_builders.DATASETS))}")
    result.add_argument("--source", help="folder with the media, to count before preparation")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument("--config_name", help="protocol or variant")
    result.add_argument(
        "--audit", type=int, default=AUDITED, help="clips read by the shortcut audit (default 1000; 0: none)"
    )
    result.add_argument("--plot", help="write a bar chart to this PNG file")
    result.add_argument("--json", action="store_true", help="print one JSON object per dataset")
    return result


def main() -> None:
    """Counts and prints."""
    flags = parser().parse_args()
    absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS's own lines; ours say what is going on
    found = collect(flags.what, flags.source, flags.data_dir, flags.config_name, flags.audit)
    for facts in found:
        print(json.dumps(facts, allow_nan=False) if flags.json else stats_view.describe(facts) + "\n")
    if flags.plot:
        stats_view.write(found, flags.plot)


if __name__ == "__main__":
    cli.main(main)
