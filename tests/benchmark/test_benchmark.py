"""The whole command on datasets in small: one report, the same bytes after kills; a broken dataset stops nothing."""

import dataclasses
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from dfjax import prepare
from dfjax.benchmark import command, forecast, jobs, work
from dfjax.benchmark import results as results_of
from dfjax.benchmark.plan import Dataset, Job, jobs_of
from dfjax.benchmark.work import Workshop
from dfjax.data import sources
from dfjax.decide import score_file
from dfjax.planning import costs
from dfjax.records import SPLITS, InputError
from dfjax.reporting import audit, benchmark_view, comparison
from tests import children, test_compare
from tests.benchmark import corpora
from tests.data_builders import fixtures, trees

SMALL = {"train.steps": "4", "train.eval_every": "4", "train.batch": "8", "optim.warmup_steps": "1"}
SPEECH = SMALL | {"data.seconds": "0.5", "model.kwargs.embedding": "8", "model.kwargs.members": "1"}
TWO = ("LA", "WaveFake")


def run(root, workdir, changes, *words):
    flags = [f"--config.{name}={value}" for name, value in changes.items()]
    command = [sys.executable, "-m", "dfjax.benchmark", "--root", str(root), "--workdir", str(workdir), *flags, *words]
    environment = children.quickly_compiling(JAX_NUM_CPU_DEVICES="2")
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(workdir):
    """What must be the same bytes: the report, and every run's scores and decision."""
    workdir = pathlib.Path(workdir)
    names = [*workdir.glob("report.*"), *workdir.rglob("scores/*.csv"), *workdir.rglob("decision.json")]
    names += workdir.rglob("evaluation.json")
    return {path.relative_to(workdir).as_posix(): path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    corpora.make(folder, TWO)
    trees.put(folder / "celeb", "Celeb-real/id0_0000.mp4")
    (folder / "more.7z").write_bytes(b"7z")
    trees.put(folder / "clips", *(f"{c}/{i}.wav" for c in ("real", "fake") for i in range(9)))  # no media in them
    return folder


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("work")
    found = command.benchmark(str(root), workdir, changes=SPEECH, progress=False)
    return workdir, found


def test_every_figure_is_there(done, root):
    workdir, found = done
    assert [d["key"] for d in found["datasets"]] == ["asvspoof2019_la", "folder_audio-clips", "wavefake"]
    assert found["before_after"].keys() == {"asvspoof2019_la", "wavefake"}
    for of in found["before_after"].values():
        assert of["after"]["experiments"].keys() == {"plain"} and of["before"]["baseline"] == "plain at 0.5"
        assert of["before"]["experiments"]["plain"]["difference"]["f1_tuned"]["low"] is not None
    (tuned,) = found["remedies"]
    assert (tuned["remedy"], tuned["metric"], tuned["datasets"]) == ("threshold tuned", "f1_tuned", 2)
    assert tuned["low"] <= tuned["value"] <= tuned["high"]
    matrix = found["matrices"]["audio"]
    assert matrix["tested"] == ["asvspoof2019_la", "wavefake"]
    assert [(r["trained"], r["strategy"]) for r in matrix["rows"]] == [
        ("asvspoof2019_la", "plain"),
        ("wavefake", "plain"),
        ("all of audio", "plain"),
    ]
    for row in matrix["rows"]:
        for key, cell in row["cells"].items():
            assert 0 <= cell["auc"] <= 1 and cell["seen"] == (row["trained"] in (key, "all of audio"))
    alone = matrix["left_out"]
    assert alone["trained"] == "all but the one tested on" and alone["cells"].keys() == {"asvspoof2019_la", "wavefake"}
    assert found["notes"] == [f"{root / 'more.7z'} is packed; unpack it: 7z x -aos -o{root} {root / 'more.7z'}"]


def test_a_dataset_left_out_is_judged_on_its_test_clips_as_in_the_other_rows(done):
    """All of its clips were, and there was no figure at a threshold."""
    workdir, found = done
    (page,) = found["matrices"]["audio"]["left_out"]["pages"]
    scores = [score_file.read((workdir / page).parent / "scores" / f"left_out{more}.csv") for more in ("", "_test")]
    others, clips = map(score_file.by_clip, scores)
    for key, cell in found["matrices"]["audio"]["left_out"]["cells"].items():
        (directory,) = (path.parent for path in workdir.glob(f"prepared/{key}/*/*/dataset_info.json"))
        names = {split: {f"{key}/{clip}" for clip in sources.open_split(directory, split).clip} for split in SPLITS}
        own = score_file.select(clips, np.array([clip in names["test"] for clip in clips.clip]))
        assert 0 < len(own) == sum(clips.domain == key) < sum(others.domain == key)
        assert cell["auc"] == pytest.approx(audit.auc(own.score, own.label))
        assert 0 <= cell["balanced_accuracy"] <= 1 and cell["low"] <= cell["auc"] <= cell["high"]
        assert cell["seen"] is False and cell["shares"] == []


def test_a_dataset_left_out_bears_the_mark_of_what_it_shares_with_the_others():
    shares = {"a": {"b": ["LJSpeech"]}, "b": {"a": ["LJSpeech"]}, "c": {}}
    assert [results_of._common(["a", "b", "c"], key, shares) for key in "abc"] == [["LJSpeech"], ["LJSpeech"], []]


def test_one_figure_says_what_properties_of_the_files_reach():
    """Where groups were too few for all of them together, one table had the best of them and another had nothing."""
    features = {"duration": {"auc": 0.8}, "size": {"auc": None}}
    assert results_of._shortcut({"all": {"auc": 0.7}, "features": features}) == 0.7
    assert results_of._shortcut({"all": None, "features": features}) == 0.8
    assert results_of._shortcut({"all": None, "features": {}}) is None


def test_what_is_wrong_is_named_and_the_rest_is_done(done, root):
    _, found = done
    assert found["problems"][0] == f"celeb_df_v2 in {root / 'celeb'}: incomplete, no Celeb-synthesis/"
    assert [line.partition(": ")[0] for line in found["problems"][1:]] == [
        "prepare/folder_audio-clips",
        "train/folder_audio-clips/plain-seed0",
        "evaluate/folder_audio-clips/plain-seed0",
    ]
    assert "no usable media" in found["problems"][1] and found["problems"][2].endswith(
        "prepare/folder_audio-clips failed"
    )


def test_the_page_stands_alone_and_its_links_lead_somewhere(done):
    workdir, found = done
    page, text = (workdir / "report.html").read_text(), (workdir / "report.md").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 2 + 2 * 4 and all((workdir / link).exists() for link in links)
    assert (
        "://" not in page
        and "<script" not in page
        and "src=" not in page.replace("style-src", "").replace("img-src", "")
    )
    for word in (
        "Before and after",
        "What each remedy was worth",
        "DerSimonian",
        "Left out",
        "AUC, audio",
        "more.7z is packed",
    ):
        assert word in page and word in text, word
    assert page.count("background:rgb(") >= 2 * 2 * 3 + 2
    assert json.loads((workdir / "report.json").read_text()) == found


def test_again_it_does_nothing_and_writes_the_same_bytes(done, root):
    workdir, _ = done
    before = results(workdir)
    began = time.perf_counter()
    process = run(root, workdir, SPEECH, "--untimed", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err  # two things were left out
    assert json.loads(out)["problems"] and results(workdir) == before
    assert time.perf_counter() - began < 60


def test_a_workdir_takes_no_other_options_and_no_other_files(done, root, tmp_path):
    workdir, _ = done
    before = results(workdir)
    with pytest.raises(InputError, match="other options .config.train.steps 4 there, 8 here.; give another --workdir"):
        command.benchmark(str(root), workdir, changes=SPEECH | {"train.steps": "8"}, progress=False)
    more = tmp_path / "more"
    shutil.copytree(root, more)
    wave = next((more / "WaveFake").rglob("*.wav"))
    wave.write_bytes(wave.read_bytes() + b"\0\0")
    with pytest.raises(InputError, match="other files of wavefake; give another --workdir"):
        command.benchmark(str(more), workdir, changes=SPEECH, progress=False)
    assert results(workdir) == before


def test_only_a_dataset_that_is_prepared_must_stay_as_it_was(tmp_path):
    """One that could not be prepared, and was then mended, asked for another workdir."""
    datasets = [
        Dataset("wavefake", "wavefake", None, "wavefake", "wavefake", "audio", "/media", "plain"),
        Dataset("folder_audio-a", "folder_audio", None, "folder_audio/a-1", "folder_audio/a", "audio", "/a", "plain"),
    ]
    shop = Workshop(tmp_path / "w", tmp_path / "data", datasets, {})
    board = jobs.Board(tmp_path / "w", jobs_of(datasets))
    command.same_plan(shop, board, {"wavefake": "1", "folder_audio-a": "1"})
    board.end(board.jobs[0], {}, "no usable media")
    command.same_plan(shop, board, {"wavefake": "2", "folder_audio-a": "2"})
    board.end(board.jobs[0], {})
    command.same_plan(shop, board, {"wavefake": "2", "folder_audio-a": "3"})
    expected = (
        f"other files of wavefake; give another --workdir, which has to prepare only these again with --data_dir "
        f"{tmp_path / 'data'} after deleting {tmp_path / 'data' / 'wavefake'}; or the files of before"
    )
    with pytest.raises(InputError, match=f"{re.escape(expected)}$"):
        command.same_plan(shop, board, {"wavefake": "3", "folder_audio-a": "3"})
    kept = json.loads((tmp_path / "w" / "plan.json").read_text())
    assert kept == {"changes": {}, "data": {"wavefake": "2", "folder_audio-a": "3"}}
    board.end(board.jobs[1], {})
    with pytest.raises(InputError, match=rf"again with --data_dir {tmp_path / 'data'}; or the files of before$"):
        command.same_plan(shop, board, {"wavefake": "2", "folder_audio-a": "4"})


def leave(job, shop, board):
    """The files by which what a job has made is known."""
    if job.kind == "prepare":
        trees.put(shop.data_dir / shop.datasets[job.dataset].entry / "1.0.0", "preparation.json")
        return
    folder = shop.folder(job, board)
    folder.mkdir(parents=True, exist_ok=True)
    judged = [{"dataset": d.entry} for d in shop.members(job, board)] if job.kind == "evaluate" else []
    name = {"left_out": "crossval.md", "evaluate": "evaluation.json"}.get(job.kind, "report.json")
    (folder / name).write_text(json.dumps(judged))


def test_what_all_datasets_are_needed_for_is_done_again_where_one_is_gone(tmp_path, monkeypatch):
    """The jobs were done, but in a folder of other datasets: the report ended in FileNotFoundError, time and again."""
    workdir, told = tmp_path / "w", []
    monkeypatch.setattr(work, "do", lambda job, shop, board: told.append(job.id) or leave(job, shop, board))
    monkeypatch.setattr(command, "report", lambda *_: {})

    def done(names):
        datasets = [
            Dataset(f"folder_audio-{n}", "folder_audio", None, f"folder_audio/{n}-1", f"folder_audio/{n}", *rest)
            for n in names
            for rest in [("audio", f"/media/{n}", "plain")]
        ]
        planned = command.Planned(
            Workshop(workdir, tmp_path / "data", datasets, {}), [], [], {d.key: {"digest": "1"} for d in datasets}
        )
        monkeypatch.setattr(command, "prepare_plan", lambda *_, **__: planned)
        told.clear()
        command.benchmark(str(tmp_path), workdir, progress=False)
        return list(told)

    together = ["joint/all_audio/plain-seed0", "evaluate/all_audio/plain-seed0", "left_out/audio"]
    judged = [f"evaluate/folder_audio-{n}/plain-seed0" for n in "abcd"]
    assert len(done("abc")) == 3 * 3 + 3 and not done("abc")
    assert done("ab") == together and not done("ab")
    assert not done("abc")  # what was made before is there
    new = ["prepare/folder_audio-d", "train/folder_audio-d/plain-seed0"]
    assert set(done("abd")) == {*new, *together, *(judged[k] for k in (0, 1, 3))} and not done("abd")
    assert set(done("abcd")) == {*together, *judged}  # none was judged on both the third and the fourth
    for path in (workdir / "jobs").glob("*.done"):  # of earlier versions, too, nothing else is to be done again
        path.write_text("{}")
    assert not done("abcd")
    shutil.rmtree(workdir / "runs" / "folder_audio-b")
    assert done("abcd") == ["train/folder_audio-b/plain-seed0", judged[1]]
    shutil.rmtree(tmp_path / "data" / "folder_audio" / "c-1")  # or in another --data_dir
    assert set(done("abcd")) == {"prepare/folder_audio-c", *together, *judged} and not done("abcd")


def test_options_that_are_wrong_or_not_of_every_experiment_are_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    """They were kept in plan.json, so that the right ones were refused as others than those it was begun with."""
    root, workdir = tmp_path / "user", tmp_path / "w"
    trees.put(root, *(f"mine/{c}/{i}.wav" for c in ("real", "fake") for i in range(9)))
    trees.put(root, *(f"drawn/{c}/{i}.png" for c in ("real", "fake") for i in range(9)))
    monkeypatch.setattr(work, "work", lambda *_: None)
    monkeypatch.setattr(command, "report", lambda *_: {})
    for changes, told in (
        ({"train.steps": "0"}, r"^config.train.steps=0: expected .* \(train/folder_audio-mine/plain-seed0; every"),
        ({"data.seconds": "0.5"}, r"^config.data.seconds is an option of .* \(train/folder_image-drawn/plain-seed0; "),
        (
            {"loss.kwargs.gamma": "1"},
            r"^config.loss.kwargs.gamma is an option of .*; this experiment has binary",
        ),
        ({"loss.kwargs": "{}"}, r"^config.loss.kwargs.gamma is missing: .* \(train/folder_audio-mine/focal-seed0; "),
    ):
        with pytest.raises(InputError, match=told):
            command.benchmark(str(root), workdir, changes=changes, strategies=["focal"], progress=False)
        with pytest.raises(InputError, match=told):
            words = {"data_dir": None, "strategies": ["focal"], "seeds": 1, "changes": changes, "timed": False}
            command.dry_run(str(root), workdir, **words)
        assert not workdir.exists()
    command.benchmark(str(root), workdir, changes={"train.steps": "80"}, progress=False)
    assert json.loads((workdir / "plan.json").read_text())["changes"] == {"train.steps": "80"}


def test_a_dataset_that_loses_a_class_in_decoding_takes_no_part(tmp_path):
    corpora.make(tmp_path / "user", ("WaveFake",))
    for path in (tmp_path / "user").rglob("*.wav"):
        if "LJSpeech" in str(path):
            path.write_bytes(b"no sound")
    shop, *_ = command.prepare_plan(str(tmp_path / "user"), tmp_path / "w")
    board = jobs.Board(tmp_path / "w", jobs_of(list(shop.datasets.values())))
    with pytest.raises(InputError, match="wavefake has no real files in its .* split that could be decoded"):
        work.do(board.jobs[0], shop, board)


def test_two_folders_of_one_name_stand_beside_each_other(tmp_path):
    for place in ("p", "q"):
        for seed, (split, label, i) in enumerate(itertools.product(("train", "val", "test"), ("real", "fake"), "01")):
            path = tmp_path / place / "clips" / split / label / f"{place}{i}.wav"
            fixtures.audio(path, seconds=0.3, seed=seed + 100 * ord(place))
    shop, problems, *_ = command.prepare_plan(str(tmp_path), tmp_path / "w")
    assert not problems and len(shop.datasets) == 2 and len({d.joint for d in shop.datasets.values()}) == 2
    config = work.experiment("audio", [d.joint for d in shop.datasets.values()], "plain", 0, {})
    source = {d.joint: d.source for d in shop.datasets.values()}
    found = prepare.prepare_data(config.data, source, tmp_path / "data", progress=False)
    first = {
        name: {id_.rpartition("/")[2][0] for id_ in sources.open_split(folder, "train").id}
        for name, folder in found.items()
    }
    assert sorted(map(sorted, first.values())) == [["p"], ["q"]]


def test_what_a_remedy_is_worth_is_pooled_over_datasets():
    def runs(shift, n):
        return {"plain": [test_compare.run(n=n)], "focal": [test_compare.run(shift=1 + shift, n=n)]}

    compared = {}
    for key, shift, n in (("a", 0.5, 400), ("b", 0.9, 300), ("c", 0.7, 200)):
        after = comparison.compare(runs(shift, n))
        half = [dataclasses.replace(run, threshold=0.0) for run in runs(shift, n)["plain"]]
        compared[key] = {"after": after, "before": comparison.compare({results_of.BEFORE: half} | runs(shift, n))}
    rows = {(row["remedy"], row["metric"]): row for row in results_of._remedies(compared)}
    assert rows.keys() == {("threshold tuned", "f1_tuned"), *(("focal", metric) for metric in results_of.WORTH)}
    for row in rows.values():
        values = [each["value"] for each in row["each"].values()]
        assert row["datasets"] == 3 and min(values) <= row["value"] <= max(values)
        assert row["low"] <= row["value"] <= row["high"]
    assert rows["focal", "auc"]["low"] > 0  # all three are better by it


def test_shared_sources_are_marked():
    shares = {"datasets": [{"key": "a", "shares": {"b": ["LJSpeech"]}}, {"key": "b", "shares": {"a": ["LJSpeech"]}}]}
    assert benchmark_view.shared(shares) == ["a and b share LJSpeech"]
    cell = {"auc": 0.9, "balanced_accuracy": 0.8, "seen": False, "shares": ["LJSpeech"]}
    row = {"trained": "a", "strategy": "plain", "cells": {"b": cell}, "pages": []}
    left_out = row | {"trained": "all but", "pages": ["crossval.md"]}
    found = {"tested": ["b"], "rows": [row], "left_out": left_out, "shortcuts": {"b": 0.7}}
    (names, values, marks, _), (other, *_, pages), (_, alone, *_) = benchmark_view.matrix(found, "auc")
    assert (names, values, marks, alone) == (["a", "plain"], [0.9], ["†"], [0.7])
    assert other == ["all but", "plain"] and pages == ["crossval.md"]
    assert [row for row, *_ in benchmark_view.matrix(found, "balanced_accuracy")] == [names, other]
    assert "validation clips of the other" in benchmark_view.key(found)


def test_files_that_preparation_did_not_use_are_told():
    of = {"skipped": {f"reason {i}": 9 - i for i in range(7)}, "dropped": {"twins": 1200}}
    told = benchmark_view.not_used({"datasets": [{"key": "a", **of}]})
    assert told[0] == "a: 9 skipped: reason 0" and len(told) == 7
    assert told[5:] == ["a: 7 skipped: for 2 other reasons", "a: 1,200 dropped: twins"]


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="holds no dataset that can be used"):
        command.benchmark(str(tmp_path), tmp_path / "w")
    with pytest.raises(InputError, match="is not a folder"):
        command.benchmark(str(tmp_path / "absent"), tmp_path / "w")
    with pytest.raises(InputError, match="unknown 'magic'; expected some of"):
        command.benchmark(str(tmp_path), tmp_path / "w", strategies=["magic"])
    trees.put(tmp_path / "x", "real/a.wav")
    with pytest.raises(InputError, match="folder_audio in .*x: incomplete, real files only"):
        command.benchmark(str(tmp_path), tmp_path / "w")
    for name in "abcdefg":
        (tmp_path / f"{name}.7z").write_bytes(b"7z")
    with pytest.raises(InputError, match=r"unpack first: 7z x -aos -o\S+ \S+a.7z; .*e.7z; and 2 more$"):
        command.benchmark(str(tmp_path), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_prepared_datasets_are_named_but_its_own_are_not(tmp_path):
    """They were passed over without a word."""
    trees.put(tmp_path / "user", *(f"mine/{c}/{i}.wav" for c in ("real", "fake") for i in range(4)))
    workdir = tmp_path / "user" / "w"
    theirs, own = tmp_path / "user/tfds/wavefake/disjoint/1.0.0", workdir / "prepared/folder_audio/mine/1.0.0"
    for folder in (theirs, own):
        trees.put(folder, "dataset_info.json", data=b"{}")
    (note,) = command.prepare_plan(str(tmp_path / "user"), workdir).notes
    assert note.startswith(f"prepared datasets take no part, as all begins with media: {theirs}; put their media below")
    assert "python -m dfjax.evaluate --workdir RUN --datasets NAME --data_dir DIR" in note
    shutil.rmtree(tmp_path / "user" / "mine")
    with pytest.raises(InputError, match="no dataset that can be used.*; prepared datasets take no part"):
        command.prepare_plan(str(tmp_path / "user"), workdir)
    shutil.rmtree(theirs)
    with pytest.raises(InputError, match="at most 4 levels down$"):
        command.prepare_plan(str(tmp_path / "user"), workdir)


def test_folders_that_cannot_be_written_to_are_told_at_once(tmp_path, monkeypatch):
    """They ended in NotADirectoryError and PermissionError."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"--workdir \S+: \S+file is a file; give a folder"):
            command.benchmark(str(tmp_path), folder)
    with pytest.raises(InputError, match=r"--data_dir \S+: \S+file is a file"):
        command.benchmark(str(tmp_path), tmp_path / "w", data_dir=tmp_path / "file")
    monkeypatch.setattr(command.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match=r"--workdir \S+: \S+ may not be written to; give a folder that may"):
        command.benchmark(str(tmp_path), tmp_path / "w")


def test_what_is_wrong_with_a_dataset_that_the_user_named_comes_first(tmp_path):
    trees.put(tmp_path, *(f"{name}/real/a.wav" for name in "abcdef"), "empty/notes.txt")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "datasets.json").write_text('{"wavefake": "empty"}')
    with pytest.raises(InputError, match=r"levels down; wavefake in \S+empty: .*; and 2 more$"):
        command.prepare_plan(str(tmp_path), tmp_path / "w")


def test_a_plan_without_times_measures_nothing_and_notes_are_no_problems(tmp_path, monkeypatch, capsys):
    trees.fakeavceleb(tmp_path / "any name", 3)
    (tmp_path / "more.7z").write_bytes(b"7z")
    words = {"data_dir": None, "strategies": [], "seeds": 1, "changes": {}}
    monkeypatch.setattr(forecast, "measure", None)
    monkeypatch.setattr(costs, "preparation", None)
    text, problems = command.dry_run(str(tmp_path), tmp_path / "w", **words, timed=False)
    assert text.startswith("# 3 datasets, 9 jobs: no times, nothing was measured\n") and not problems
    assert not (tmp_path / "w").exists()
    assert f"Notes:\n\n* {tmp_path / 'more.7z'} is packed; unpack it: 7z x" in text
    monkeypatch.setattr(costs, "preparation", lambda *_: {})
    monkeypatch.setattr(command, "foretold", lambda *of: of[-1]("measuring this machine: audio") or {})
    command.dry_run(str(tmp_path), tmp_path / "w", **words)
    said = capsys.readouterr()
    assert said.err == "measuring this machine: audio\n" and not said.out  # which is the plan's


def test_the_end_says_where_the_report_is(done, root, monkeypatch, capsys):
    workdir, found = done
    monkeypatch.setattr(command, "benchmark", lambda *_, **__: found)
    for name in ("check_alone", "use_all_cores", "keep_compilations"):
        monkeypatch.setattr(command.process, name, lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["dfjax.benchmark", "--root", str(root), "--workdir", str(workdir)])
    with pytest.raises(SystemExit, match="1"):
        command.main()
    assert capsys.readouterr().out.endswith(f"written to {workdir}: report.html, report.md, report.json, times.md\n")


PARTS = {"train": 30.0, "report": 8.0, "evaluate": 3.0, "table": 0.5}  # what is paid once
PARTS |= {"first": 4.0, "step": 0.5, "judge": 1.0, "batch": 0.25, "size": 10, "coded": 0.125}


def foretold(folder, records, parts=PARTS, steps=6, lengths=(), changes=(), cost=()):
    """Job -> seconds, of datasets with so many (train, validation, test) records each; `lengths` as `costs` says."""
    names = {"a": "wavefake", "b": "asvspoof2019_la", "own": "folder_audio"}
    datasets, facts = [], {}
    for key, counts in records.items():
        entry = f"{names[key]}/abc" if key == "own" else names[key]
        datasets.append(Dataset(key, names[key], None, entry, entry, "audio", "/media", "plain"))
        splits = {split: {"total": n} for split, n in zip(("train", "validation", "test"), counts, strict=True)}
        of = {"seconds": 7.0, "records": sum(counts), "memory": 1, "disk": 1000, "lengths": dict(lengths)}
        of |= {"read": 0.0, "described": 0.0, "domains": [""], **dict(cost)}
        facts[key] = {"cost": of, "splits": splits | {"all": {"total": sum(counts)}}}
    shop = Workshop(folder, folder, datasets, {"train.steps": str(steps), "train.eval_every": "3", **dict(changes)})
    found = forecast.forecast(shop, jobs_of(datasets), facts, {"audio": parts})
    return {name.removesuffix("/plain-seed0"): of["seconds"] for name, of in found.items()}


def test_the_forecast_counts_once_what_is_done_once_and_the_rest_so_often(tmp_path):
    few = {"a": (8, 8, 8), "b": (8, 8, 8)}
    base = foretold(tmp_path, few)
    assert base["train/a"] == PARTS["train"] + PARTS["report"]  # the miniature itself
    assert base["prepare/a"] == 7.0  # as some of its files took
    assert foretold(tmp_path, few, steps=9)["train/a"] - base["train/a"] == 3 * 0.5 + 1.0 + 0.25  # and a judgement
    more = foretold(tmp_path, few | {"a": (8, 18, 8)})  # a batch more at two judgements, after them, and described
    assert more["train/a"] - base["train/a"] == pytest.approx(4 * 0.25)
    pure = PARTS | dict.fromkeys(("report", "batch"), 0.0)
    alone = foretold(tmp_path, few, pure)
    assert alone["left_out/audio"] == alone["train/a"] + alone["train/b"] - PARTS["first"]  # compiled by its first


def test_the_forecast_of_an_evaluation_leaves_out_what_the_run_has_scored(tmp_path):
    few = {"a": (8, 8, 10), "b": (8, 8, 10), "own": (8, 8, 10)}
    base, rows = foretold(tmp_path, few), ("evaluate/a", "evaluate/b", "evaluate/own", "evaluate/all_audio")
    for key, more in (("a", (0, 5, 5, 5)), ("own", (5, 5, 5, 5))):  # one of the user's own is called otherwise
        found = foretold(tmp_path, few | {key: (8, 8, 60)})
        assert [found[row] - base[row] for row in rows] == [0.25 * batches for batches in more]
    assert foretold(tmp_path, {"a": (8, 8, 10)})["evaluate/a"] == PARTS["table"]  # it has no other


def test_sounds_of_other_lengths_compile_their_own_programs(tmp_path):
    few = {"a": (8, 8, 8), "b": (8, 8, 8)}
    pure = PARTS | {"batch": 0.0}
    alike = foretold(tmp_path, few, pure)
    mixed = {split: {"1": 2, "2": 2, "3": 1, "5": 3} for split in ("train", "validation", "test")}
    more = {name: seconds - alike[name] for name, seconds in foretold(tmp_path, few, pure, lengths=mixed).items()}
    once = 3 * pure["first"]  # four lengths for one
    for job in ("train/a", "train/b", "joint/all_audio"):
        assert more[job] == pytest.approx(2 * once)  # scores and embeddings
    for job in ("left_out/audio", "evaluate/a", "evaluate/all_audio"):
        assert more[job] == pytest.approx(once)
    assert more["prepare/a"] == 0
    in_test = foretold(
        tmp_path, few, pure, lengths={"train": {"2": 9}, "validation": {"2": 9}, "test": {"1": 1, "2": 1}}
    )
    assert in_test["evaluate/a"] - alike["evaluate/a"] == pytest.approx(pure["first"])
    fixed = {"model.name": "aasist", "model.kwargs": "{}"}  # hears one length alone
    assert foretold(tmp_path, few, lengths=mixed, changes=fixed) == foretold(tmp_path, few, changes=fixed)


def test_a_batch_takes_as_long_as_its_sounds(tmp_path):
    few, parts = {"a": (8, 8, 8), "b": (8, 8, 8)}, PARTS | {"first": 0.0}
    alike = foretold(tmp_path, few, parts)
    short = foretold(tmp_path, few, parts, lengths={split: {"1": 8} for split in ("train", "validation", "test")})
    assert short["evaluate/a"] - alike["evaluate/a"] == pytest.approx(-0.25 / 2)  # a batch of half the length
    assert short["left_out/audio"] < alike["left_out/audio"]


def test_records_of_other_sizes_take_longer_to_read_and_to_describe(tmp_path):
    """Pictures of a thousand pixels; in miniature they are small."""
    few = {"a": (8, 10, 20), "b": (8, 10, 20)}
    base = foretold(tmp_path, few)
    more = foretold(tmp_path, few, cost={"read": 0.5, "described": 0.25})
    each = {name: more[name] - seconds for name, seconds in base.items()}
    read = 8 + 2 * 10 + (10 + 20) + (8 + 10)  # by the feed, two judgements, the scores and the embeddings
    assert each["train/a"] == pytest.approx(0.5 * read + 0.25 * (8 + 10))
    assert each["joint/all_audio"] == pytest.approx(2 * each["train/a"])
    assert each["evaluate/a"] == pytest.approx(0.5 * 20) and each["evaluate/all_audio"] == pytest.approx(0.5 * 40)
    assert each["left_out/audio"] == pytest.approx(2 * 0.5 * (8 + 2 * 10 + 38))


def test_sounds_of_three_domains_pass_through_codecs(tmp_path):
    """It took 17 of a training's 49 s and was not foretold."""
    few, parts = {"a": (80, 8, 8), "b": (80, 8, 8)}, PARTS | {"size": 100}
    base = foretold(tmp_path, few, parts)
    for domains, alone, together in (([""], 0, 0), (["x", "y"], 0, 0), (["", "y"], 0, 1), (["x", "y", "z"], 1, 1)):
        found = foretold(tmp_path, few, parts, cost={"domains": domains})
        each = 80 * 0.125 + 3 * 0.25  # and a batch of embeddings after each codec
        assert found["train/a"] - base["train/a"] == pytest.approx(alone * each)
        both = 160 * 0.125 + 3 * 2 * 0.25
        assert found["joint/all_audio"] - base["joint/all_audio"] == pytest.approx(together * both)
        assert found["left_out/audio"] == base["left_out/audio"] and found["evaluate/a"] == base["evaluate/a"]
    many = foretold(tmp_path, {"a": (8000, 8, 8)}, parts, cost={"domains": ["x", "y", "z"]})
    assert many["train/a"] - foretold(tmp_path, {"a": (8000, 8, 8)}, parts)["train/a"] == 400 * 0.125 + 3 * 4 * 0.25


def test_videos_are_measured_as_pictures(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(forecast, "measure", lambda kind, _: asked.append(kind) or PARTS)
    datasets = [
        Dataset(name, name, None, name, name, kind, "/media", "plain")
        for name, kind in (("faces_140k", "image"), ("dfd", "video"))
    ]
    shop, board = Workshop(tmp_path, tmp_path, datasets, {}), jobs.Board(tmp_path, jobs_of(datasets))
    cost = {"seconds": 7.0, "records": 24, "memory": 1, "disk": 1000, "lengths": {}}
    cost |= {"read": 0.0, "described": 0.0, "domains": [""]}
    splits = dict.fromkeys(SPLITS, {"total": 8}) | {"all": {"total": 24}}
    facts = {d.key: {"cost": cost, "splits": splits} for d in datasets}
    told = command.foretold(shop, board, facts, asked.append)
    assert told["train/dfd/plain-seed0"] == told["train/faces_140k/plain-seed0"]
    assert asked == ["measuring this machine: image", "image"]
    assert command.foretold(shop, board, facts, asked.append) == told and len(asked) == 2


def test_each_part_of_a_dataset_is_counted_and_measured_by_itself(tmp_path, monkeypatch):
    """FakeAVCeleb's sound was foretold, and its strategy chosen, by what its pictures are."""
    trees.fakeavceleb(tmp_path / "any name", 3)
    seen, sample = [], costs.preparation
    monkeypatch.setattr(
        costs, "preparation", lambda of, items: seen.append(of.builder_config.name) or sample(of, items)
    )
    shop, problems, _, facts = command.prepare_plan(str(tmp_path), tmp_path / "w", measured=True)
    configs = {"audio": "disjoint-audio", "video": "disjoint-visual", "av": "disjoint-av"}
    assert {key: of["config"] for key, of in facts.items()} == {f"fakeavceleb-{k}": name for k, name in configs.items()}
    assert sorted(seen) == sorted(configs.values()) and not problems
    fakes = {key: of["splits"]["all"]["fake"] for key, of in facts.items()}
    assert fakes["fakeavceleb-audio"] < fakes["fakeavceleb-video"] < fakes["fakeavceleb-av"]
    assert {d.key: d.entry for d in shop.datasets.values()} == {
        f"fakeavceleb-{kind}": f"fakeavceleb/{name}" for kind, name in configs.items()
    }
    for path in tmp_path.glob("any name/*Video-FakeAudio/**/*.mp4"):
        path.unlink()
    shop, problems, *_ = command.prepare_plan(str(tmp_path), tmp_path / "w")
    assert list(shop.datasets) == ["fakeavceleb-video", "fakeavceleb-av"]
    assert problems == [
        f"fakeavceleb/disjoint-audio in {tmp_path / 'any name'}: all clips are real; both classes are needed"
    ]


def test_times_say_how_far_the_forecast_was_off(tmp_path):
    board = jobs.Board(tmp_path, [Job(f"train/{name}", "train", "audio", name) for name in "abc"])
    for job, again in zip(board.jobs[:2], (False, True), strict=True):
        board.end(job, {"seconds": 12.0, "memory": 1, "continued": again})
    rows = forecast.times(board, {f"train/{name}": {"seconds": 10.0} for name in "abc"})
    assert [row["factor"] for row in rows] == [1.2, None, None] and rows[2]["taken"] is None


@pytest.mark.slow
def test_all_datasets_in_one_go_killed_at_random_the_same_bytes(tmp_path):
    corpora.make(tmp_path / "user")
    began = time.perf_counter()
    first = run(tmp_path / "user", tmp_path / "whole", SMALL)
    out, err = first.communicate()
    assert first.returncode == 0, out + err
    whole = time.perf_counter() - began
    assert whole < 15 * 60
    expected = results(tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert len(found["datasets"]) == 12 and found["matrices"].keys() == {"audio", "image", "video", "av"}
    rng, kills = np.random.default_rng(0), 0
    while True:
        process = run(tmp_path / "user", tmp_path / "killed", SMALL, "--untimed")
        try:
            process.communicate(timeout=rng.uniform(0.03, 0.08) * whole if kills < 10 else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0 and kills == 10
        break
    killed = results(tmp_path / "killed")
    assert killed.keys() == expected.keys()
    assert [name for name in expected if killed[name] != expected[name]] == []
