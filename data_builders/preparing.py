"""From an index to a prepared dataset: the expensive map over media, resumable and parallel; then records.

Every dataset's folder holds a function `index(source, ...) -> Index` and a thin

    class Builder(preparing.MediaBuilder):
        VERSION, RELEASE_NOTES, MANUAL_DOWNLOAD_INSTRUCTIONS = ...
        BUILDER_CONFIGS = [MediaConfig(name="disjoint", modality="video"), ...]  # or a dataclass made from it
        SUBGROUPS = ("gender",)  # out of records.SUBGROUPS
        HOMEPAGE = "https://..."

        def index(self, root):
            return index(root, protocol=self.builder_config.protocol)

The media stage decodes every item in worker processes and stores what comes out beside the target, in
`<version>.partial/`, one file per item, renamed into place when complete: a killed run continues there.
Then TFDS writes the records, shuffled by key, into a folder that gets its name only when complete. Beside
the records lie `index.<split>.npz` (labels, ids, groups, clips, methods, domains and subgroups in record order) and
`preparation.json` (what was found, counted, skipped and dropped).
"""

import functools
import json
import os
import re
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from etils import epath

import data_builders
from data_builders import configs, contents, decoding, indexing, locking
from data_builders.configs import MediaConfig as MediaConfig
from dfjax.media import faces
from dfjax.media.decoding import decode_item, safely
from dfjax.records import LABEL_NAMES, SPLITS, TEXT_FIELDS, InputError, SourceNeeded, features
from dfjax.runtime import files, workers

MODALITIES = ("audio", "image", "video", "av", "index")
SECONDS = 60.0  # an item may take this long ...
BYTES_PER_SECOND = 1e6  # ... and its size over this on top


class _Info(tfds.core.DatasetInfo):
    """A dataset's facts, not looked for in TFDS's bucket: none of ours lies there."""

    def initialize_from_bucket(self) -> None:
        """Does nothing: TFDS's own leaves an empty temporary folder behind for every builder that is made."""


class QuietBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder that writes array_record and prints no line of TFDS's own: stdout belongs to the command."""

    def dataset_info_from_configs(self, **kwargs) -> tfds.core.DatasetInfo:
        """As TFDS's, from the README and CITATIONS beside the builder."""
        texts = self.get_metadata()
        found = {"description": texts.description, "citation": texts.citation}
        return _Info(builder=self, **kwargs | {name: text for name, text in found.items() if text})

    def _log_download_bytes(self) -> None:
        pass

    _log_download_done = _log_download_bytes

    def download_and_prepare(self, **kwargs) -> bool:
        """As TFDS's, as array_record unless told otherwise, and by one process at a time.

        Returns:
          False where another process has prepared it in the meantime.

        Raises:
          InputError: nothing can be written to `data_dir`.
          OSError: the disk is full.
        """
        directory, kwargs = epath.Path(self.data_dir), {"file_format": "array_record"} | kwargs
        if directory.exists():
            super().download_and_prepare(**kwargs)
            return True
        with locking.alone(directory):
            if directory.exists():
                self.info.read_from_directory(directory)
                return False
            try:
                super().download_and_prepare(**kwargs)
            except workers.WorkerError:
                raise
            except RuntimeError as error:  # what array_record says of a full disk
                full = [number for number in files.FULL if os.strerror(number) in str(error)]
                if not full:
                    raise
                raise OSError(full[0], os.strerror(full[0]), str(directory)) from error
            self._clean()
        return True

    def _clean(self) -> None:
        """Removes what preparing leaves beside the dataset."""


class MediaBuilder(QuietBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder over the user's media; the module's docstring says what a dataset adds."""

    BUILDER_CONFIGS = [MediaConfig()]
    SUBGROUPS: tuple[str, ...] = ()
    HOMEPAGE: str | None = None
    CONFIG_PER_SOURCE = False  # whether the config is named after the source and its content
    PICTURES_AND_VIDEOS = False  # whether pictures also get the fields `frame` and `box`

    def __init__(self, *, source=None, face_model=None, jobs=None, progress=True, **kwargs):
        """As DatasetBuilder, with the user's folder and how to work through it.

        Args:
          source: the folder with the media; needed to prepare, not to read.
          face_model: path of a YuNet ONNX file, for the detector 'yunet'.
          jobs: worker processes; None for one per core, 0 to decode in this process, unprotected.
          progress: whether to show progress bars.
          **kwargs: data_dir, config, version.
        """
        self.source = None if source is None else epath.Path(source)
        self.face_model = face_model
        self.jobs = workers.cores() if jobs is None else jobs
        self.progress = progress
        self._index: indexing.Index | None = None
        self._beam = False
        self._skipped: dict[str, str] = {}  # id -> reason, found by the media stage
        self._faceless: dict[str, int] = {}  # clip -> frames in which no face was found
        self._content: dict[str, str] = {}  # of a sample of the files, see `changed`
        self._pictures: dict[str, int] = {}  # id -> pictures in a file, where there are several; the first is taken
        given = kwargs.get("config")
        config = given or self.BUILDER_CONFIGS[0]
        if isinstance(config, str):  # an unknown one is TFDS's to refuse
            config = self.builder_configs.get(config, config)
        if self.CONFIG_PER_SOURCE and self.source is not None and not isinstance(config, str):
            config = configs.source_config(config, self.source)
        super().__init__(**kwargs | {"config": config})
        self._original_state |= {"config": given, "source": source, "face_model": face_model}  # what a copy is made of
        self._original_state |= {"jobs": jobs, "progress": progress}

    def index(self, root: epath.Path) -> indexing.Index:
        """What is in the folder under this builder's config; reads names, lists and headers only.

        Each dataset has its own: a folder that is not of its layout raises InputError.
        """
        raise NotImplementedError

    def load_index(self, manual_dir: epath.Path | None = None) -> indexing.Index:
        """The checked index of `source`, or of `<manual_dir>/<name>` where no source was given; read once.

        Raises:
          InputError: there is nothing to prepare (SourceNeeded: nor said where it lies), or labels contradict each
            other.
        """
        if self._index is None:
            root = self.source
            if root is None and manual_dir is not None:
                root = manual_dir / self.name
            if root is None or (self.source is None and not root.is_dir()):
                raise SourceNeeded(f"{self.name} needs --source. {self.MANUAL_DOWNLOAD_INSTRUCTIONS or ''}")
            if not root.is_dir():
                raise InputError(f"--source {root} is not a folder; give the folder that holds the media")
            self._index = indexing.check(self.index(root))
        return self._index

    def restrict(self, index: indexing.Index) -> None:
        """Makes these items all that is prepared, whatever else `source` holds."""
        self._index = index

    def changed(self, known: dict[str, str]) -> str | None:
        """The first file of `source` whose content differs from what was noted when names and sizes were the same.

        Args:
          known: 'content' of preparation.json; earlier versions noted none.
        """
        if self.CONFIG_PER_SOURCE and self.source is not None:
            paths = {name: self.source / name for name in known}  # without an index, as all names are the same
        else:
            paths = {item.id: item.path for item in self.load_index().items if item.id in known} if known else {}
        found = contents.sample(paths)
        return next((name for name, content in found.items() if content and known[name] not in ("", content)), None)

    def _noted(self, index: indexing.Index) -> dict[str, str]:
        """The content of a sample of the files, for `changed`; where no media are read, of none."""
        if self.builder_config.modality == "index":
            return {}
        count = min(len(index.items), indexing.SAMPLED)
        items = [index.items[k * len(index.items) // count] for k in range(count)]
        if self.CONFIG_PER_SOURCE and self.source is not None:
            return contents.sample({item.path.relative_to(self.source).as_posix(): item.path for item in items})
        return contents.sample({item.id: item.path for item in items})

    @property
    def partial_dir(self) -> epath.Path:
        """Where finished items wait for the others."""
        return epath.Path(self.data_dir_root, self.name, self.builder_config.name, f"{self.version}.partial")

    def _info(self) -> tfds.core.DatasetInfo:
        modality = self.builder_config.modality
        if modality not in MODALITIES:
            raise ValueError(f"Unknown modality {modality!r}; expected one of {list(MODALITIES)}")
        fields = features(
            {"index": "audio", "video": "image"}.get(modality, modality),
            subgroups=self.SUBGROUPS,
            video=modality == "video" or (modality == "image" and self.PICTURES_AND_VIDEOS),
        )
        if modality == "index":
            names = (*TEXT_FIELDS, *self.SUBGROUPS, "label")
            fields = tfds.features.FeaturesDict({name: fields[name] for name in names})
        return self.dataset_info_from_configs(features=fields, homepage=self.HOMEPAGE)

    @functools.cached_property
    def _face_digest(self) -> str | None:
        return None if self.face_model is None else faces.model_digest(self.face_model)

    def _options(self) -> dict[str, Any]:
        config = self.builder_config
        return {name: getattr(config, name) for name in configs.CROP_OPTIONS} | {"face_model": self.face_model}

    def _split_generators(self, dl_manager):
        manual_dir = None if self.source is not None or self._index else epath.Path(dl_manager.manual_dir)
        if manual_dir is not None and not self.CONFIG_PER_SOURCE:
            if not any((manual_dir / name).is_dir() for name in data_builders.DATASETS):
                self.source = manual_dir  # of this dataset alone
        index = self.load_index(manual_dir)
        self._content = self._noted(index)
        parts = {split: [item for item in index.items if item.split == split] for split in SPLITS}
        if self._beam:
            return {split: self._beam_examples(items) for split, items in parts.items() if items}
        if self.builder_config.modality != "index":
            usable = self._media_stage(index.items)
            parts = {split: [item for item in items if item.id in usable] for split, items in parts.items()}
        if not any(parts.values()):
            raise InputError(f"{self.name}: no usable media; {indexing.reasons(list(self._skipped.items()))}")
        return {split: self._generate_examples(items) for split, items in parts.items() if items}

    def _media_stage(self, items: list[indexing.Item]) -> set[str]:
        """Decodes what the cache does not hold yet; returns the ids of the items that gave records."""
        modality, options = self.builder_config.modality, self._options()
        cached = {item.id: self._cached(item) for item in items}
        for folder in sorted({path.parent for path in cached.values()}):
            folder.mkdir(parents=True, exist_ok=True)
        todo = []
        for item in items:
            if (reason := decoding.reason_file(cached[item.id])).exists():
                self._skipped[item.id] = reason.read_text()
            elif not cached[item.id].exists():
                todo.append(item)
        tasks = (
            (
                item.id,
                (str(item.path), modality, options, str(cached[item.id])),
                SECONDS + item.path.stat().length / BYTES_PER_SECOND,
            )
            for item in todo
        )
        with tqdm.tqdm(
            total=len(items),
            initial=len(items) - len(todo),
            desc="decoding",
            unit=" files",
            disable=not self.progress,
            smoothing=0.05,
        ) as bar:
            for key, reason, death in workers.run(
                "data_builders.decoding:decode_to_cache", tasks, min(self.jobs, len(todo))
            ):
                if reason or death:  # a death leaves nothing behind: the next run tries again
                    self._skipped[key] = reason or death
                bar.update()
        return {item.id for item in items} - self._skipped.keys()

    def _cached(self, item: indexing.Item) -> epath.Path:
        options = self._options() | {"face_model": self._face_digest}  # the same file, wherever it lies
        return self.partial_dir / decoding.cache_name(item, self.builder_config.modality, options)

    def _generate_examples(self, items: list[indexing.Item]):
        fields = tuple(self.info.features)
        for item in items:
            if self.builder_config.modality == "index":
                result = decoding.NO_MEDIA
            else:
                result = decoding.read_cached(self._cached(item)) or decode_item(
                    item.path, self.builder_config.modality, self._options()
                )
            if faceless := result.get("faceless"):
                self._faceless[item.clip] = faceless
            if (held := result.get("pictures", 1)) > 1:
                self._pictures[item.id] = held
            yield from decoding.examples(item, result, self.name, fields)

    def _beam_examples(self, items: list[indexing.Item]):
        """The same map as a Beam transform, which counts the skipped files in Beam's metrics by reason."""
        import apache_beam as beam

        decode = functools.partial(
            _beam_decode,
            modality=self.builder_config.modality,
            options=self._options(),
            dataset=self.name,
            fields=tuple(self.info.features),
        )
        return beam.Create(items) | beam.Reshuffle() | beam.FlatMap(decode)

    def _download_and_prepare(self, dl_manager, download_config):
        self._beam = bool(download_config.beam_runner or download_config.beam_options)
        try:
            super()._download_and_prepare(dl_manager, download_config)
        except (ValueError, RuntimeError) as error:  # what TFDS's pipeline says is in the text of any runner's error
            if not (empty := re.search(r"number of generated examples is 0 for split (\w+)", str(error))):
                raise
            raise InputError(
                f"{self.name}: nothing in {empty[1]} could be used, and Beam leaves out no split; prepare it without "
                "--beam_runner, which says why of each file"
            ) from error
        counts = {split: write_index(self, split) for split in self.info.splits}
        if self._beam:
            self._find_reasons()
        epath.Path(self.data_dir, "preparation.json").write_text(
            json.dumps(self._preparation(counts), indent=1, allow_nan=False)
        )

    def _find_reasons(self) -> None:
        """Why items gave no records under Beam, which passes on records only: those few are decoded again."""
        ids: set[str] = set()
        for split in self.info.splits:
            with epath.Path(self.data_dir, f"index.{split}.npz").open("rb") as file:
                found = np.load(file)["ids"].tolist()
            ids |= {*found, *(id_.rpartition("#")[0] for id_ in found)}
        modality, options = self.builder_config.modality, self._options()
        tasks = (
            (item.id, (str(item.path), modality, options), SECONDS)
            for item in self.load_index().items
            if item.id not in ids
        )
        for key, reason, death in workers.run("data_builders.decoding:reason", tasks, self.jobs):
            self._skipped[key] = reason or death or "gave no record under Beam"

    def _clean(self) -> None:
        """The cache and what killed runs left go."""
        self.partial_dir.rmtree(missing_ok=True)
        for path in self.partial_dir.parent.glob(f"incomplete.*_{self.version}"):
            path.rmtree()

    def _preparation(self, counts: dict[str, Any]) -> dict[str, Any]:
        """What preparation.json says."""
        index, config = self.load_index(), self.builder_config
        crops = config.modality in ("video", "av") or self.PICTURES_AND_VIDEOS
        return {
            "dataset": self.name,
            "config": config.name,
            "version": str(self.version),
            "variant": index.variant,
            "protocol": config.protocol,
            "modality": config.modality,
            "crops": {name: getattr(config, name) for name in configs.CROP_OPTIONS} if crops else None,
            "face_detector": config.detector if crops else None,
            "face_model": self._face_digest if crops else None,
            "source_digest": indexing.source_digest(index),
            "content": self._content,
            "counts": counts,
            "skipped": sorted([*index.skipped, *self._skipped.items()]),
            "dropped": sorted(index.dropped),
            "warnings": index.warnings,
            "frames_without_face": None if self._beam else dict(sorted(self._faceless.items())),
            "pictures_in_file": None if self._beam else dict(sorted(self._pictures.items())),
        }


def _beam_decode(item, *, modality, options, dataset, fields):
    import apache_beam as beam

    if modality == "index":
        result, reason = decoding.NO_MEDIA, ""
    else:
        result, reason = safely(item.path, modality, options)
    if reason:
        beam.metrics.Metrics.counter("skipped", reason).inc()
        return []
    return list(decoding.examples(item, result, dataset, fields))


def write_index(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, dict[str, int]]:
    """Writes `index.<split>.npz` beside the records by reading them; returns files and records per class."""
    names = [name for name in builder.info.features if name not in ("audio", "image", "box", "frame", "duration")]
    columns: dict[str, list] = {name: [] for name in names if name != "dataset"}
    for record in builder.as_data_source(split):
        for name, column in columns.items():
            column.append(record[name].decode() if isinstance(record[name], bytes) else int(record[name]))
    labels = np.array(columns.pop("label"), np.int8)
    plural = {"id": "ids", "group": "groups", "clip": "clips", "method": "methods", "domain": "domains"}
    arrays: dict[str, Any] = {plural.get(name, name): np.array(column, np.str_) for name, column in columns.items()}
    with epath.Path(builder.data_dir, f"index.{split}.npz").open("wb") as file:
        np.savez_compressed(file, labels=labels, **arrays)
    return {
        class_name: {"files": len(np.unique(arrays["clips"][labels == label])), "records": int((labels == label).sum())}
        for label, class_name in enumerate(LABEL_NAMES)
    }
