"""What every made dataset promises, stated once for both demos."""

import collections
import hashlib
import json
import pathlib
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from dfjax.records import FAKE, REAL, SPLITS


def digest(directory) -> dict[str, str]:
    """The content of every record file."""
    files = sorted(pathlib.Path(directory).glob("*.array_record-*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def load(builder) -> dict[str, list[dict]]:
    return {split: list(builder.as_data_source(split)) for split in SPLITS}


def check_counts(data, directory):
    facts = json.loads(pathlib.Path(directory, "preparation.json").read_text())
    for split, records in data.items():
        count = collections.Counter(int(record["label"]) for record in records)
        assert count[REAL] == 10 * count[FAKE]
        assert facts["counts"][split]["fake"] == {"files": count[FAKE], "records": count[FAKE]}
        if split != "train":
            assert count[FAKE] >= 40  # fewer say nothing about a threshold
        index = np.load(pathlib.Path(directory, f"index.{split}.npz"))
        np.testing.assert_array_equal(index["labels"], [record["label"] for record in records])
        np.testing.assert_array_equal(index["ids"], [record["id"].decode() for record in records])


def check_disjoint(data):
    groups = {split: {record["group"] for record in records} for split, records in data.items()}
    assert not groups["train"] & groups["validation"]
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    ids = [record["id"] for records in data.values() for record in records]
    assert len(set(ids)) == len(ids)


def check_methods(data, unseen: str):
    methods = {split: collections.Counter(r["method"].decode() for r in data[split]) for split in SPLITS}
    assert unseen in methods["test"]
    assert unseen not in methods["train"] | methods["validation"]
    for count in methods.values():
        fakes = [n for method, n in count.items() if method]
        assert max(fakes) <= min(fakes) + 2
    for records in data.values():
        assert all((record["method"] == b"") == (record["label"] == REAL) for record in records)


def check_no_shortcut(data, features, limit: float = 0.7):
    """No single trivial number tells the classes apart."""
    records = [record for split in SPLITS for record in data[split]]
    labels = np.array([record["label"] for record in records])
    measured = [features(record) for record in records]
    for name in measured[0]:
        area = roc_auc_score(labels, [m[name] for m in measured])
        assert 1 - limit < area < limit, f"{name} alone: AUC {area:.2f}"


def seconds_of_processor(make, units) -> float:
    """Processor seconds per unit: unlike the clock, it does not see what else the machine does."""
    make(*units[0])  # first call: imports, FFT plans
    start = time.process_time()
    for unit in units:
        make(*unit)
    return (time.process_time() - start) / len(units)
