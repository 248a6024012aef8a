"""Counts before preparation equal counts after it; ratios, groups and exit codes are what they say."""

import html
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from etils import epath

import data_builders
from data_builders import indexing
from dfjax import prepare, stats
from dfjax.planning import advice, costs
from dfjax.records import InputError
from dfjax.reporting import audit, stats_view, survey_view
from experiments import benchmark
from tests.benchmarks import indexing as benchmark_trees
from tests.data_builders import fixtures, trees


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's recordings: 3 fake to 1 real, fakes twice as long."""
    root = tmp_path_factory.mktemp("recordings")
    for split, n in (("train", 6), ("val", 2), ("test", 2)):
        for i in range(n):
            fixtures.audio(root / split / "real" / f"{split}{i}.wav", 0.5, seed=i)
            for k in range(3):
                fixtures.audio(root / split / "fake" / f"{split}{i}-{k}.flac", 1.0, seed=100 * k + i)
    return root


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    prepare.prepare("folder_audio", folder, data_dir, progress=False, jobs=0)
    return data_dir


def test_count_by_hand():
    facts = stats.count(
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
    facts = stats.count(row for row in rows)
    taken = tracemalloc.get_traced_memory()[1] / len(rows)
    tracemalloc.stop()
    assert facts["all"]["total"] == facts["all"]["groups"] == len(rows)
    assert taken < 400  # bytes; what is kept is two sets of texts that are there already


def test_rows_of_which_nothing_is_kept_count_the_same():
    """A clip or group that has no other row may be None."""
    rows = [(i % 2, ("train", "test")[i % 3 > 1], f"group {i}", f"clip {i}", "x" * (i % 2)) for i in range(30_000)]
    rows += [(1, "train", None, "clip 1", "x"), (0, "test", "group 0", None, "")]  # not another clip, not another group
    expected = stats.count((*row[:2], row[2] or "group 1", row[3] or "clip 30000", row[4]) for row in rows)
    assert stats.count(rows) == expected
    tracemalloc.start()
    alone = stats.count((label, split, None, None, method) for label, split, _, _, method in rows[:30_000])
    taken = tracemalloc.get_traced_memory()[1] / 30_000
    tracemalloc.stop()
    assert alone == stats.count(rows[:30_000]) and taken < 20  # bytes


@pytest.mark.parametrize("name", ["faces_140k", "asvspoof2019_la", "wavefake"])
def test_a_file_takes_little_memory(name, tmp_path, monkeypatch):
    """A path of its own in each item, and clips and groups noted where they are its id, took 620 to 870 bytes."""
    peaks = []
    for files in (2000, 8000):
        monkeypatch.setattr(benchmark_trees, "FILES", files)
        benchmark_trees.TREES[name](tmp_path / str(files))
        tracemalloc.start()
        stats.of_source(name, tmp_path / str(files), audited=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 6000 < 400


def test_before_and_after_preparation_agree(folder, prepared):
    before = stats.of_source("folder_audio", folder)
    (after,) = stats.collect("folder_audio", data_dir=prepared)
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


def test_the_sample_is_decoded_as_workers_do(folder, monkeypatch):
    """Each of them has one core; OpenCV's threads in this process made videos look faster than they are."""
    threads, seen, decode = cv2.getNumThreads(), [], costs.safely
    monkeypatch.setattr(costs, "safely", lambda *of: seen.append(cv2.getNumThreads()) or decode(*of))
    cv2.setNumThreads(3)
    try:
        cost = stats.of_source("folder_audio", folder, audited=0, measured=True)["cost"]
        assert set(seen) == {1} and cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(threads)
    assert cost["lengths"] == {"test": {"1": 8}, "train": {"1": 24}, "validation": {"1": 8}}  # seconds, rounded up
    slow = iter(range(0, 10_000, 4))  # seconds
    monkeypatch.setattr(costs.time, "perf_counter", lambda: float(next(slow)))
    cost = stats.of_source("folder_audio", folder, audited=0, measured=True)["cost"]
    assert cost["sampled"] == 1 and cost["each"] == 4


def test_names_folders_and_config(folder, prepared, tmp_path):
    assert [f["dataset"] for f in stats.collect(str(prepared))] == ["folder_audio"]
    both = stats.collect("folder_audio", source=folder, data_dir=prepared, audited=0)
    assert [f["stage"] for f in both] == ["source", "prepared"] and both[0]["audit"] is None
    trees.asvspoof(tmp_path / "asvspoof2019_la")
    trees.wavefake(tmp_path / "wavefake")
    found = stats.collect(str(tmp_path))
    assert [(f["dataset"], f["config"]) for f in found] == [("asvspoof2019_la", "official"), ("wavefake", "disjoint")]
    (disjoint,) = stats.collect("asvspoof2019_la", tmp_path, tmp_path, "disjoint")
    assert disjoint["config"] == "disjoint"


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="Unknown dataset or folder 'nothing'; expected one of"):
        stats.collect("nothing")
    with pytest.raises(InputError, match="holds no prepared dataset"):
        stats.collect(str(tmp_path))
    with pytest.raises(InputError, match="wavefake is not prepared in .*; give --source"):
        stats.collect("wavefake", data_dir=tmp_path)
    with pytest.raises(InputError, match="Unknown config 'x' of wavefake; expected one of"):
        stats.collect("wavefake", tmp_path, tmp_path, "x")
    with pytest.raises(InputError, match="is not a folder"):
        stats.collect("wavefake", tmp_path / "absent", tmp_path)
    with pytest.raises(InputError, match="makes its own data"):
        stats.collect("demo_speech", tmp_path, tmp_path)


def test_audio_is_told_from_pictures_by_an_index_only_config(tmp_path):
    trees.wavefake(tmp_path)
    facts = stats.of_source("wavefake", tmp_path, "disjoint-index")
    assert "faces" not in facts["recommendation"]["text"]


def test_text_and_chart(folder, tmp_path):
    facts = stats.of_source("folder_audio", folder)
    text = stats_view.describe(facts)
    assert "train" in text and "3.00" in text and "6 (real)" in text and "Imbalance 3.0:1" in text
    more = stats_view.describe(facts | {"skipped": dict.fromkeys("abcdefg", 1)})
    assert "skipped 1: e\n  more reasons for which files were skipped: 2\n" in more
    stats_view.write([facts, facts], tmp_path / "counts.png")
    assert (tmp_path / "counts.png").read_bytes().startswith(b"\x89PNG")


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


def test_a_folder_of_datasets_is_counted_and_what_is_wrong_is_a_line(folder, tmp_path, capsys, monkeypatch):
    root = tmp_path / "user"
    trees.asvspoof(root / "some name" / "LA")
    trees.wavefake(root / "other")
    shutil.copytree(folder, root / "mine")
    trees.put(root / "closed", "Celeb-real/id0_0000.mp4")
    found = stats.survey(root)
    assert [(f["dataset"], f["advice"]["modality"]) for f in found["datasets"]] == [
        ("folder_audio", "audio"),
        ("wavefake", "audio"),
        ("asvspoof2019_la", "audio"),
    ]
    assert found["problems"] == [f"celeb_df_v2 in {root / 'closed'}: incomplete, no Celeb-synthesis/"]
    mine = found["datasets"][0]
    assert mine["splits"]["train"]["real"] == 6 and mine["cost"]["records"] == 40 == mine["cost"]["files"]
    assert mine["cost"]["seconds"] > 0 and mine["cost"]["disk"] > 40 * 16_000
    assert mine["advice"]["another"] and "10 independent" not in str(mine["advice"]["reasons"])
    assert mine["advice"]["which"] == "wavefake, which is here"
    assert mine["advice"]["command"].endswith(f"benchmark.py:audio+folder_audio+plain --source {root / 'mine'}")
    survey_view.write(found, tmp_path / "out")
    text, page = ((tmp_path / "out" / f"stats.{end}").read_text() for end in ("md", "html"))
    assert json.loads((tmp_path / "out" / "stats.json").read_text()) == found
    for word in ("wavefake", "strategy: plain", "Left out", "no Celeb-synthesis/", "benchmark.py:audio+wavefake+plain"):
        assert word in text and word in page, word
    assert page.count("<svg") == sum(len(f["splits"]) for f in found["datasets"]) and "://" not in page
    monkeypatch.setattr(sys, "argv", ["dfjax.stats", str(root), "--json"])
    with pytest.raises(SystemExit) as ended:
        stats.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1 and len(lines) == 3 and json.loads(last)["problems"] == found["problems"]


def test_one_class_is_a_line(tmp_path):
    trees.put(tmp_path / "x", "DFD_original sequences/01__kitchen_pan.mp4", "DFD_manipulated_sequences/notes.mp4")
    found = stats.survey(tmp_path, 0)
    assert found["problems"] == [f"dfd in {tmp_path / 'x'}: all clips are real; both classes are needed"]
    assert found["datasets"][0]["advice"]["reasons"] == ["no fake to train on"]
    assert "strategy: none" in survey_view.markdown(found) and "experiment:" not in survey_view.markdown(found)


def test_what_may_not_be_read_is_a_line_and_the_rest_is_counted(tmp_path, monkeypatch):
    trees.faces_140k(tmp_path / "faces")
    trees.put(tmp_path / "faces/real_vs_fake/real-vs-fake", "train/fake/same.jpg", data=b"as train00355"[3:])
    trees.asvspoof(tmp_path / "LA")
    closed, plain, kind = tmp_path / "LA/ASVspoof2019_LA_eval/flac", os.scandir, type(epath.Path())

    def unless(wrong, of):
        def call(path, *words, **more):
            if wrong(pathlib.Path(path)):
                raise PermissionError(13, "Permission denied", str(path))
            return of(path, *words, **more)

        return call

    monkeypatch.setattr(indexing.os, "scandir", unless(lambda path: path == closed, plain))
    for name in ("open", "read_bytes"):
        monkeypatch.setattr(kind, name, unless(lambda path: path.name == "00355.jpg", getattr(kind, name)))
    found = stats.survey(tmp_path, 100, measured=False)
    assert found["problems"] == [f"asvspoof2019_la in {tmp_path / 'LA'}: {closed} cannot be read: Permission denied"]
    (faces,) = found["datasets"]
    assert faces["splits"]["all"]["total"] == 19 and faces["audit"]["clips"] == 19
    index = data_builders.load("faces_140k")(source=tmp_path / "faces", data_dir=tmp_path).load_index()
    assert len(index.items) == 19  # 00355.jpg is not compared with same.jpg, which is as long


def test_an_empty_folder_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dfjax.stats", str(tmp_path)])
    with pytest.raises(InputError, match="holds no dataset at most 4 levels down"):
        stats.main()
    assert capsys.readouterr().out == ""


def counted(dataset, path="/media", *, groups=50, methods=("a", "b"), modality="audio", config="disjoint"):
    """Facts of a dataset that advice needs, with so many groups of the smaller class and these methods."""
    of = {"real": 60, "fake": 60, "minority": "real", "minority_groups": groups, "methods": dict.fromkeys(methods, 9)}
    splits = dict.fromkeys(("train", "test", "all"), of)
    facts = {"dataset": dataset, "path": path, "config": config, "modality": modality, "stage": "source"}
    return facts | {"splits": splits, "recommendation": None}


def test_a_dataset_is_not_advised_to_add_itself_nor_what_it_was_made_from():
    def which(dataset, modality, *others):
        return advice.advise(counted(dataset, groups=5, modality=modality), others)["which"]

    assert which("celeb_df_v2", "video") == "faceforensics (1,000 real and 5,000 fake videos)"
    assert which("faceforensics", "video").startswith("celeb_df_v2 (890") and "faceforensics" not in which(
        "faceforensics", "video"
    )
    assert "faceforensics" not in which("dfd", "video")  # its real videos are from there
    assert which("fakeavceleb", "av") == "clips of other people, places and generators"
    assert which("wavefake", "audio", counted("fake_or_real", "/b")).startswith("asvspoof2019_la (")  # share LJSpeech
    assert which("wavefake", "audio", counted("wavefake", "/b")).startswith("asvspoof2019_la (")  # prepared, the same


def test_the_users_own_folders_are_other_datasets_for_each_other(tmp_path):
    for name, count in (("mine", 5), ("yours", 9)):
        for i in range(count):
            for label in ("real", "fake"):
                fixtures.audio(tmp_path / name / "train" / label / f"{i}.wav", 0.3, seed=i)
    mine, yours = stats.survey(tmp_path, 0, measured=False)["datasets"]
    assert mine["advice"]["which"] == f"folder_audio in {tmp_path / 'yours'}, which is here"
    assert yours["advice"]["which"] == f"folder_audio in {tmp_path / 'mine'}, which is here"
    reasons = "; ".join(mine["advice"]["reasons"])
    assert "generators of its fakes are not named" in reasons and "one generator" not in reasons
    again = mine | {"path": "/prepared/elsewhere", "stage": "prepared"}
    assert "which is here" not in advice.advise(mine, [mine, again])["which"]
    assert "one generator" in "; ".join(advice.advise(counted("dfd", methods=("x",)))["reasons"])
    text = survey_view.markdown(stats.survey(tmp_path, 0, measured=False))
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads[:2] == [f"## folder_audio/{of['config']}" for of in (mine, yours)]  # both were "## folder_audio"


def test_a_folder_of_videos_alone_is_one_of_faces(tmp_path):
    fixtures.image(tmp_path / "mixed" / "real" / "a.png")
    for folder in ("mixed", "videos"):
        for label in ("real", "fake"):
            trees.put(tmp_path / folder, *(f"{label}/{i}.mp4" for i in range(8)))
    found = {pathlib.Path(of["path"]).name: of for of in stats.survey(tmp_path, 0, measured=False)["datasets"]}
    assert {name: of["modality"] for name, of in found.items()} == {"mixed": "image", "videos": "video"}
    assert ":video+folder_image+" in found["videos"]["advice"]["command"]


def test_fakeavceleb_is_three_datasets_as_in_the_benchmark(tmp_path):
    trees.fakeavceleb(tmp_path / "any name", 3)
    found = stats.survey(tmp_path, 0, measured=False)
    assert [(of["config"], of["modality"]) for of in found["datasets"]] == [
        ("disjoint-visual", "video"),
        ("disjoint-audio", "audio"),
        ("disjoint-av", "av"),
    ]
    assert not found["problems"]


def test_names_are_shown_as_they_are_and_commands_can_be_copied(folder, tmp_path):
    root = tmp_path / "a`b <x> & c*d |[q]" / "w\\back"
    shutil.copytree(folder, root / "clips")
    found = stats.survey(root, 0, measured=False)
    text, page = survey_view.markdown(found), html.unescape(survey_view.page(found))
    whole = f"python -m dfjax.benchmark --root {shlex.quote(str(root))} --workdir runs/benchmark --dry_run"
    for command in (found["datasets"][0]["advice"]["command"], whole):
        assert f"`` {command} ``" in text and f"<code>{command}</code>" in page
    assert f"in {root / 'clips'}" in page and "&amp;lt;" not in survey_view.page(found)


def test_what_is_not_told_is_counted():
    facts = counted("dfd", modality="video") | {"variant": "", "warnings": list("abcde"), "dropped": {}, "audit": None}
    facts |= {"skipped": {reason: 1 for reason in "vwxyz"}, "advice": advice.advise(counted("dfd", modality="video"))}
    facts["cost"] = {"seconds": 1.0, "sampled": 52, "files": 52, "unreadable": 4, "disk": 1, "memory": 1}
    told = [text for text, _ in survey_view.lines(facts)]
    assert told[1:5] == ["a", "b", "c", "more warnings: 2"]
    assert "more reasons for which files were skipped: 2" in told
    assert any("by 52 of 52 files, 4 of them could not be decoded" in line for line in told)


@pytest.mark.parametrize("name", data_builders.DATASETS)
def test_every_dataset_has_a_modality_and_its_experiment_exists(name):
    """The experiment that is advised can be loaded, and takes what the builder makes."""
    for config in data_builders.load(name).BUILDER_CONFIGS or [None]:
        if config is not None and getattr(config, "modality", "") == "index":
            continue
        kind = advice.modality_of(name, config and config.name)
        made = getattr(config, "modality", None) or data_builders.load(name).MODALITY
        assert {"video": "image"}.get(kind, kind) == {"video": "image"}.get(made, made), config and config.name
    assert benchmark.get_config(f"{kind}+{name}+plain").data.dataset == name


def test_command_line(folder, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "dfjax.stats", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("folder_audio", "--source", str(folder), "--data_dir", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["splits"]["all"] == stats.of_source("folder_audio", folder)["splits"]["all"]
    for words in (("folder_audio", "--out", "counts"), (str(folder), "--source", str(folder))):
        refused = run(*words)
        assert refused.returncode == 2 and words[1] in refused.stderr and len(refused.stderr.splitlines()) == 1
    refused = run(str(folder), "--audit", "-5")
    assert refused.returncode == 2
    assert refused.stderr == "error: --audit -5 is no number of clips; give 0 for no audit, or more\n"
    wrong = run("folder_audio", "--source", str(folder / "absent"))
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith("error: --source") and len(wrong.stderr.splitlines()) == 1
