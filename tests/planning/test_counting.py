"""Counts before preparation equal counts after it; memory is little; ratios and groups are what they say."""

import tracemalloc

import numpy as np
import pytest

from dfjax.planning import costs, counting, survey
from dfjax.records import LABEL_NAMES
from dfjax.reporting import audit
from tests.benchmarks import indexing as benchmark_trees
from tests.data_builders import fixtures, trees


def test_count_by_hand():
    facts = counting.count(
        [
            (0, "train", "a", "1", ""),
            (0, "train", "b", "2", ""),
            (1, "train", "a", "3", "x"),
            (1, "train", "a", "3", "x"),  # another window of clip 3
            (1, "train", "c", "4", "y"),
            (-1, "train", "d", "5", ""),
            (1, "test", "e", "6", "x"),
        ]
    )
    assert list(facts) == ["train", "test", "all"]
    train = facts["train"]
    assert (train["real"], train["fake"], train["total"]) == (2, 2, 4)
    assert train["fake_to_real"] == train["imbalance"] == 1
    assert (train["minority"], train["minority_groups"], train["groups"]) == ("fake", 2, 3)
    assert train["methods"] == {"x": 1, "y": 1}
    assert facts["test"]["fake_to_real"] is None and facts["test"]["imbalance"] is None
    assert facts["all"]["total"] == 5


def test_counting_takes_less_than_the_rows():
    """Columns of text of one width took 637 bytes a row here, as much as an index."""
    rows = [(i % 2, "train", f"speaker {i}", f"generated/audio/clip {i:06d}.wav", "x" * (i % 2)) for i in range(20_000)]
    tracemalloc.start()
    facts = counting.count(row for row in rows)
    taken = tracemalloc.get_traced_memory()[1] / len(rows)
    tracemalloc.stop()
    assert facts["all"]["total"] == facts["all"]["groups"] == len(rows)
    assert taken < 400  # bytes; what is kept is two sets of texts that are there already


def test_rows_of_which_nothing_is_kept_count_the_same():
    """A clip or group that has no other row may be None."""
    rows = [(i % 2, ("train", "test")[i % 3 > 1], f"group {i}", f"clip {i}", "x" * (i % 2)) for i in range(30_000)]
    rows += [(1, "train", None, "clip 1", "x"), (0, "test", "group 0", None, "")]  # not another clip, not another group
    expected = counting.count((*row[:2], row[2] or "group 1", row[3] or "clip 30000", row[4]) for row in rows)
    assert counting.count(rows) == expected
    tracemalloc.start()
    alone = counting.count((label, split, None, None, method) for label, split, _, _, method in rows[:30_000])
    taken = tracemalloc.get_traced_memory()[1] / 30_000
    tracemalloc.stop()
    assert alone == counting.count(rows[:30_000]) and taken < 20  # bytes


def own_folders(root):
    """Recordings of the user's in two folders."""
    names = (f"{label}/{i:06d}.wav" for label in ("real", "fake") for i in range(benchmark_trees.FILES // 2))
    trees.put(root, *names)


@pytest.mark.parametrize("name", ["faces_140k", "asvspoof2019_la", "wavefake", "folder_audio"])
def test_a_file_takes_little_memory(name, tmp_path, monkeypatch):
    """A tuple for each item and lists of paths took 220 to 310 bytes, of the user's own folders 700."""
    peaks = []
    for files in (1000, 4000):
        monkeypatch.setattr(benchmark_trees, "FILES", files)
        benchmark_trees.TREES.get(name, own_folders)(tmp_path / str(files))
        tracemalloc.start()
        counting.of_source(name, tmp_path / str(files), audited=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 3000 < 150


def test_before_and_after_preparation_agree(recordings, prepared_recordings):
    before = counting.of_source("folder_audio", recordings)
    (after,) = survey.collect("folder_audio", data_dir=prepared_recordings)
    assert before["splits"] == after["splits"]
    assert before["splits"]["train"]["imbalance"] == 3
    assert (before["stage"], after["stage"]) == ("source", "prepared")
    assert after["records"] == {"train": 24, "validation": 8, "test": 8}
    assert before["recommendation"]["ratio"] == pytest.approx(3)
    # the planted shortcut, from headers and from waveforms
    assert before["audit"]["features"]["duration"]["auc"] == 1
    assert after["audit"]["features"]["duration"]["auc"] == 1
    assert before["audit"]["features"]["codec"]["auc"] == 1  # wav against flac shows in headers only
    assert any("duration alone" in text for text in after["audit"]["warnings"])


def test_a_preparation_is_told_by_preparing_some_of_the_files(recordings, monkeypatch):
    """What only decoding them took was .4 s for 1,600 sounds, of which every record is kept, written and read again."""
    clock, counts, made = [0.0], [], costs._prepared

    def prepared(builder, items, folder):
        counts.append(len(items))
        clock[0] += 0.25 + 0.01 * len(items)
        return made(builder, items, folder)

    monkeypatch.setattr(costs, "_prepared", prepared)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])
    cost = counting.of_source("folder_audio", recordings, audited=0, measured=True)["cost"]
    assert counts == [2, 8, 32, 40] and (cost["files"], cost["sampled"], cost["unreadable"]) == (40, 40, 0)
    assert cost["seconds"] == pytest.approx(0.25 + 0.4) and cost["records"] == 40
    assert cost["lengths"] == {"test": {"1": 8}, "train": {"1": 24}, "validation": {"1": 8}}  # seconds, rounded up
    assert cost["domains"] == [""] and 40 * 16_000 < cost["disk"] < 40 * 33_000
    counts.clear()
    monkeypatch.setattr(costs, "SECONDS", 0.5)
    cost = counting.of_source("folder_audio", recordings, audited=0, measured=True)["cost"]
    assert counts == [2, 8] and cost["seconds"] == pytest.approx(0.25 + 0.4)  # the same of fewer


@pytest.mark.parametrize("starts", [(6.0, 1.2, 1.2, 1.2), (2.5, 2.4, 2.4, 2.4)])
def test_a_first_preparation_that_pays_for_the_next_hides_no_file(starts, recordings, monkeypatch):
    """A second sample that took less than the first told that files cost nothing: 100,000 as long as eight."""
    clock, counts, made = [0.0], [], costs._prepared

    def prepared(builder, items, folder):
        clock[0] += starts[len(counts)] + 0.05 * len(items)
        counts.append(len(items))
        return made(builder, items, folder)

    monkeypatch.setattr(costs, "_prepared", prepared)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])
    cost = counting.of_source("folder_audio", recordings, audited=0, measured=True)["cost"]
    assert cost["seconds"] == pytest.approx(starts[-1] + 0.05 * 40, rel=0.3) and counts[:2] == [2, 8]


def test_what_a_preparation_pays_once_is_not_counted_for_every_file(recordings, monkeypatch):
    """Where starting took over 2 s, as on a busy machine, it was told for every second file: 43 s for 24 sounds."""
    clock, counts, made = [0.0], [], costs._prepared

    def prepared(builder, items, folder):
        counts.append(len(items))
        clock[0] += 3.0 + each * len(items)
        return made(builder, items, folder)

    monkeypatch.setattr(costs, "_prepared", prepared)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])
    for each, expected in ((0.01, [2, 8]), (20.0, [2])):  # of files that take so long two say enough
        counts.clear()
        cost = counting.of_source("folder_audio", recordings, audited=0, measured=True)["cost"]
        assert counts == expected and cost["seconds"] == pytest.approx(3 + each * 40, rel=0.08)


def test_files_that_cannot_be_decoded_tell_no_time(tmp_path):
    trees.put(
        tmp_path, *(f"{split}/{label}/{i}.wav" for split in ("train", "test") for label in LABEL_NAMES for i in "ab")
    )
    cost = counting.of_source("folder_audio", tmp_path, audited=0, measured=True)["cost"]
    assert (cost["files"], cost["sampled"], cost["seconds"], cost["records"]) == (8, 8, None, None)
    fixtures.audio(tmp_path / "train/real/c.wav", 5.0)  # two windows
    cost = counting.of_source("folder_audio", tmp_path, audited=0, measured=True)["cost"]
    assert (cost["sampled"], cost["unreadable"], cost["records"]) == (9, 8, 2)
    assert cost["lengths"] == {"train": {"5": 2}}


def test_audio_is_told_from_pictures_by_an_index_only_config(tmp_path):
    trees.wavefake(tmp_path)
    facts = counting.of_source("wavefake", tmp_path, "disjoint-index")
    assert "faces" not in facts["recommendation"]["text"]


def test_one_record_per_clip_is_audited():
    """Ten windows of each clip: the records of one clip count once."""
    rng = np.random.default_rng(0)
    records = [{"audio": rng.integers(-99, 99, 1600).astype(np.int16), "duration": i // 10} for i in range(400)]
    labels, clips = np.arange(400) // 10 % 2, np.array([f"c{i // 10}" for i in range(400)])
    result = audit.audit_records(records, labels, clips, clips)
    assert result["clips"] == result["used"] == result["groups"] == 40
    few = audit.audit_records(records, labels, clips, clips, sample=20)
    assert (few["used"], few["real"], few["fake"]) == (20, 10, 10)
    assert few["notes"][0] == "20 of 40 clips were drawn at random"
