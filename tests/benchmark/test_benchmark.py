"""The whole command on datasets in small: one report, the same bytes after kills, and a broken dataset stops nothing."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from dfjax.benchmark import command, forecast, jobs
from dfjax.benchmark import results as results_of
from dfjax.benchmark.plan import Job
from dfjax.records import InputError
from dfjax.reporting import benchmark_view, comparison
from tests import test_compare
from tests.benchmark import corpora
from tests.data_builders import trees

SMALL = {"train.steps": "4", "train.eval_every": "4", "train.batch": "8", "optim.warmup_steps": "1"}
SPEECH = SMALL | {"data.seconds": "0.5", "model.kwargs.embedding": "8", "model.kwargs.members": "1"}
TWO = ("LA", "WaveFake")


def run(root, workdir, changes, *words):
    flags = [f"--config.{name}={value}" for name, value in changes.items()]
    command = [sys.executable, "-m", "dfjax.benchmark", "--root", str(root), "--workdir", str(workdir), *flags, *words]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
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
    assert matrix["left_out"].keys() == {"asvspoof2019_la", "wavefake"}
    assert all(0 <= value["value"] <= 1 for value in matrix["left_out"].values())


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
    assert len(links) == 2 + 2 * 3 and all((workdir / link).exists() for link in links)
    assert (
        "://" not in page
        and "<script" not in page
        and "src=" not in page.replace("style-src", "").replace("img-src", "")
    )
    for word in ("Before and after", "What each remedy was worth", "DerSimonian", "Left out", "AUC, audio"):
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
    found = {"tested": ["b"], "rows": [row], "left_out": None, "shortcuts": {"b": 0.7}}
    (names, values, marks, _), (_, alone, *_) = benchmark_view.matrix(found, "auc")
    assert (names, values, marks, alone) == (["a", "plain"], [0.9], ["†"], [0.7])


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
    assert time.perf_counter() - began < 15 * 60
    expected = results(tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert len(found["datasets"]) == 12 and found["matrices"].keys() == {"audio", "image", "video", "av"}
    rng, kills = np.random.default_rng(0), 0
    while True:
        process = run(tmp_path / "user", tmp_path / "killed", SMALL, "--untimed")
        try:
            process.communicate(timeout=rng.uniform(10, 45) if kills < 10 else None)
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
