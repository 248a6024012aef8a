"""Builders of datasets that are made, not found: the demos. Their prepared folder looks like any other.

Records are made unit by unit (a speaker, an identity), each from its own seed, so that threads may make
them in any order and the prepared files are the same bytes every time.
"""

import concurrent.futures
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds
import tqdm
from etils import epath

from data_builders import preparing
from dfjax.records import SPLITS, TEXT_FIELDS, features
from dfjax.runtime import workers


class SyntheticBuilder(preparing.QuietBuilder, skip_registration=True):
    """A TFDS builder that needs no source. A dataset sets MODALITY and says which units a split has."""

    MODALITY = "audio"  # or 'image'
    HOMEPAGE: str | None = None

    def __init__(self, *, progress: bool = True, **kwargs):
        """As DatasetBuilder; `progress` shows a bar."""
        self.progress = progress
        self._digests: list[bytes] = []
        super().__init__(**kwargs)
        self._original_state |= {"progress": progress}

    def units(self, split: str) -> tuple[Callable[[str, int], list[dict[str, Any]]], list[int]]:
        """The function (split, unit) -> records without `dataset`, and the split's units."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=features(self.MODALITY), homepage=self.HOMEPAGE)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        make, units = self.units(split)
        # NumPy and SciPy release the interpreter on arrays of this size: threads scale, and start at once.
        with concurrent.futures.ThreadPoolExecutor(workers.cores()) as pool:
            made = pool.map(make, [split] * len(units), units)
            for records in tqdm.tqdm(made, desc=f"making {split}", total=len(units), disable=not self.progress):
                for record in records:
                    payload = record["audio"].tobytes() if self.MODALITY == "audio" else record["image"]
                    facts = repr([record[name] for name in TEXT_FIELDS if name not in ("dataset", "domain")]).encode()
                    self._digests.append(hashlib.blake2b(facts + payload, digest_size=16).digest())
                    yield record["id"], record | {"dataset": self.name, "domain": self.name}

    def _download_and_prepare(self, dl_manager, download_config):
        super()._download_and_prepare(dl_manager, download_config)
        facts = {
            "dataset": self.name,
            "config": "",
            "version": str(self.version),
            "variant": "synthetic",
            "protocol": "disjoint",
            "modality": self.MODALITY,
            "crops": None,
            "source_digest": hashlib.blake2b(b"".join(sorted(self._digests)), digest_size=4).hexdigest(),
            "counts": {split: preparing.write_index(self, split) for split in self.info.splits},
            "skipped": [],
            "dropped": [],
            "warnings": ["synthetic: proves nothing about real deepfakes"],
            "frames_without_face": {},
        }
        epath.Path(self.data_dir, "preparation.json").write_text(json.dumps(facts, indent=1))
