"""The streaming feed: rates, order, resume, damage."""

import itertools
import pathlib
import shutil

import jax
import numpy as np
import pytest

from dfjax.data import feeds, resident, sampling, sources, streaming
from dfjax.records import MAX_SAMPLES, InputError
from dfjax.runtime import devices
from tests import prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared.make(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def split(folder):
    return sources.open_split(folder, "train")


class Ears:
    modality = "audio"


def batches(split, rates, batch, count, **words):
    groups = sampling.strata(split.label, rates)
    words = {"size": None, "seed": 0} | words
    return list(itertools.islice(streaming.batches(split, groups, batch, **words), count))


def same(a, b):
    for x, y in zip(a, b, strict=True):
        jax.tree.map(np.testing.assert_array_equal, x, y)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.25])
def test_both_feeds_hold_every_class_at_its_rate_to_within_one(split, share):
    mesh, strata = devices.make_mesh(16), sampling.strata(split.label, {0: 1 - share, 1: share})
    for kind in ("resident", "streaming"):
        feed = feeds.make(kind, split, strata, 16, model=Ears, mesh=mesh, seed=0, first=0)
        take = jax.jit(feed.examples)
        fakes = [
            int(take(jax.random.fold_in(jax.random.key(0), step), feed.take(step))["label"].sum()) for step in range(25)
        ]
        assert np.abs(np.array(fakes) - 16 * share).max() <= 1, kind
        assert abs(np.mean(fakes) / 16 - share) < 0.01, kind


def test_a_pass_over_a_class_takes_each_record_once(split):
    rows = [tuple(clip) for batch in batches(split, {0: 0.8, 1: 0.2}, 10, 5) for clip in batch["audio"][:, :50]]
    assert len(rows) == len(split) == len(set(rows))


def test_examples_are_those_of_the_resident_feed(split):
    whole = resident.load(split, "audio")
    where = {clip[:n].tobytes(): row for row, (clip, n) in enumerate(zip(whole["audio"], whole["length"], strict=True))}
    for batch in batches(split, {0: 0.5, 1: 0.5}, 8, 3):
        assert batch["audio"].shape == (8, MAX_SAMPLES) and batch["audio"].dtype == np.int16
        for clip, length, label in zip(batch["audio"], batch["length"], batch["label"], strict=True):
            assert split.label[where[clip[:length].tobytes()]] == label and not clip[length:].any()


def test_a_stream_from_a_step_on_equals_the_uninterrupted_one(split):
    whole = batches(split, {0: 0.5, 1: 0.5}, 8, 20)
    same(whole[13:], batches(split, {0: 0.5, 1: 0.5}, 8, 7, first=13))


@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_all_processes_are_the_batch(split, processes):
    whole = batches(split, {0: 0.5, 1: 0.5}, 8, 3)
    parts = [batches(split, {0: 0.5, 1: 0.5}, 8, 3, process=p, processes=processes) for p in range(processes)]
    joined = [jax.tree.map(lambda *x: np.concatenate(x), *step) for step in zip(*parts, strict=True)]
    same(whole, joined)
    assert all(abs(int(part["label"].sum()) - 4 // processes) <= 1 for step in parts for part in step)


def test_seeds_differ(split):
    one, other = (batches(split, {0: 0.5, 1: 0.5}, 8, 1, seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(one["audio"], other["audio"])


def test_pictures_stream_in_the_model_size(tmp_path):
    split = sources.open_split(prepared.make(tmp_path, modality="image", counts={"train": (6, 2)}), "train")
    (batch,) = batches(split, {0: 0.5, 1: 0.5}, 4, 1, size=24)
    assert batch["image"].shape == (4, 24, 24, 3) and batch["image"].dtype == np.uint8


# ---------------------------------------------------------------------- the choice


def test_the_feed_is_chosen_by_size():
    small, large = 10**6, 10**12
    assert feeds.choose("auto", 1000, 100, 8, small) == "resident"
    assert feeds.choose("auto", 10**6, 100, 8, small) == "streaming"
    assert feeds.choose("streaming", 1000, 100, 8, small) == "streaming"
    assert feeds.choose("resident", 10**6, 100, 8, large) == "resident"


@pytest.mark.parametrize(
    ("wanted", "rows", "batch", "message"),
    [
        ("resident", 10**8, 8, "use 'streaming'"),
        ("auto", 10**8, 10**6, "lower config.train.batch"),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_read(wanted, rows, batch, message):
    with pytest.raises(InputError, match=message):
        feeds.choose(wanted, rows, 1000, batch, 10**8)


# ---------------------------------------------------------------------- damage


def shard(folder):
    return next(p for p in pathlib.Path(folder).iterdir() if "array_record" in p.name and "-train." in p.name)


def read_all(folder):
    split = sources.open_split(folder, "train")
    resident.load(split, "audio")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_shard_is_named(folder, tmp_path, keep):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    data = shard(copy).read_bytes()
    shard(copy).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError, match="array_record.*prepare it again"):
        read_all(copy)
    with pytest.raises(InputError, match="array_record.*prepare it again"):
        batches(sources.open_split(copy, "train"), {0: 0.5, 1: 0.5}, 10, 10)


def test_fuzzed_shards_are_read_as_they_were_or_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    data = shard(copy).read_bytes()
    whole = resident.load(sources.open_split(folder, "train"), "audio")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(30):
        fuzzed = bytearray(data)
        start = int(rng.integers(len(data)))
        fuzzed[start : start + 64] = rng.bytes(len(fuzzed[start : start + 64]))
        shard(copy).write_bytes(fuzzed)
        try:
            found = resident.load(sources.open_split(copy, "train"), "audio")
        except InputError as error:
            refused += "array_record" in str(error)
        else:
            same([whole], [found])
    assert refused > 20


def test_shards_are_read_as_one_in_the_order_asked_for(folder, split):
    count = len(split)
    one = sources.Shards([str(shard(folder))], [count])
    two = sources.Shards([str(shard(folder))] * 3, [count, 0, count])
    alone = [one.read([row])[0] for row in (3, 0, count - 1)]
    assert len(set(alone)) == 3 and one.read([3, 0, count - 1]) == alone
    assert two.read([count + 3, 0, 2 * count - 1, 3]) == [*alone, alone[0]] and two.read([]) == []
    assert two.where(count + 3) == f"{shard(folder)}, record 3"


def test_a_missing_shard_is_named(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shard(copy).unlink()
    with pytest.raises(InputError, match="array_record.* is missing"):
        sources.open_split(copy, "train")


def test_a_record_that_contradicts_the_index_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with np.load(copy / "index.train.npz") as index:
        arrays = dict(index)
    arrays["labels"][3] = 1 - arrays["labels"][3]
    np.savez(copy / "index.train.npz", **arrays)
    with pytest.raises(InputError, match=r"record 3 has label \d, the index says \d"):
        read_all(copy)
