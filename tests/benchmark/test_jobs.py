"""The plan is a function of its arguments; each job is done once, after what it needs; crashes leave no lock."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dfjax.benchmark import jobs, plan
from dfjax.benchmark.plan import Dataset, Job


def dataset(key, modality="audio", strategy="plain"):
    return Dataset(key, key, None, key, key, modality, f"/media/{key}", strategy)


def test_the_plan():
    datasets = [dataset("a", strategy="balanced_sampling"), dataset("b"), dataset("c", "av")]
    found = {job.id: job for job in plan.jobs_of(datasets, ["focal"], seeds=2)}
    trained = {(j.dataset, j.strategy, j.seed) for j in found.values() if j.kind == "train"}
    assert trained == {
        (d, s, k)
        for k in (0, 1)
        for d in "abc"
        for s in ("plain", "focal", *(["balanced_sampling"] if d == "a" else []))
    }
    assert found["evaluate/a/focal-seed1"].needs == ("train/a/focal-seed1",)
    assert found["evaluate/a/focal-seed1"].after == ("prepare/a", "prepare/b")  # those of its modality
    assert [j.id for j in found.values() if j.kind == "joint"] == [
        "joint/all_audio/plain-seed0",
        "joint/all_audio/plain-seed1",
    ]
    assert [j.id for j in found.values() if j.kind == "left_out"] == ["left_out/audio"]
    assert len(found) == len(plan.jobs_of(datasets, ["focal"], seeds=2))  # ids are unique
    seen = set()
    for job in found.values():  # one process alone never waits
        assert {*job.needs, *job.after} <= seen
        seen.add(job.id)


def test_a_joint_run_has_a_folder_of_its_own_for_each_set_of_datasets():
    job = Job("joint/all_audio/plain-seed0", "joint", "audio", "", "plain")
    both = plan.folder_of(job, [dataset("a"), dataset("b")])
    assert both != plan.folder_of(job, [dataset("a"), dataset("c")]) and both.startswith("runs/all_audio-")
    assert plan.folder_of(Job("x", "train", "audio", "a", "focal", 3), [dataset("a")]) == "runs/a/focal-seed3"


CHAIN = [
    Job("prepare/a", "prepare", "audio", "a"),
    Job("prepare/b", "prepare", "audio", "b"),
    Job("train/a", "train", "audio", "a", needs=("prepare/a",)),
    Job("train/b", "train", "audio", "b", needs=("prepare/b",)),
    Job("joint/audio", "joint", "audio", after=("prepare/a", "prepare/b")),
]


def test_jobs_come_after_what_they_need_and_a_failure_stops_only_what_needs_it(tmp_path):
    board = jobs.Board(tmp_path, CHAIN)
    order = []
    for job in board.open_jobs():
        order.append(job.id)
        board.end(job, {"seconds": 1.0}, "broken" if job.id == "prepare/b" else "")
    assert order == ["prepare/a", "prepare/b", "train/a", "joint/audio"]
    assert [board.state(job) for job in CHAIN] == ["done", "failed", "done", "failed", "done"]
    assert board.facts("train/b")["problem"] == "prepare/b failed" and board.facts("train/a") == {"seconds": 1.0}
    assert not list(board.open_jobs())
    time.sleep(0.02)
    again = jobs.Board(tmp_path, CHAIN)  # the command given anew tries what failed
    assert [job.id for job in iter_ended(again)] == ["prepare/b", "train/b"]


def iter_ended(board):
    for job in board.open_jobs():
        board.end(job, {})
        yield job


def test_a_new_dataset_opens_what_all_datasets_are_needed_for(tmp_path):
    board = jobs.Board(tmp_path, CHAIN)
    assert len(list(iter_ended(board))) == len(CHAIN)
    new = Job("prepare/c", "prepare", "audio", "c")
    joint = Job("joint/audio", "joint", "audio", after=("prepare/a", "prepare/b", "prepare/c"))
    board = jobs.Board(tmp_path, [*CHAIN[:4], new, joint])
    board.reopen()
    assert [job.id for job in iter_ended(board)] == ["prepare/c", "joint/audio"]
    board = jobs.Board(tmp_path, [*CHAIN[:4], new, joint])
    board.reopen()
    assert not list(board.open_jobs())


def test_what_is_not_there_any_more_is_done_again(tmp_path):
    board = jobs.Board(tmp_path, CHAIN)
    assert len(list(iter_ended(board))) == len(CHAIN)
    board = jobs.Board(tmp_path, CHAIN)
    board.reopen(lambda job: job.kind != "joint")
    assert [job.id for job in iter_ended(board)] == ["joint/audio"]
    board.reopen(lambda job: True)
    assert not list(board.open_jobs())


WORKER = """
import json, pathlib, sys, time
from dfjax.benchmark import jobs, plan
folder = pathlib.Path(sys.argv[1])
jobs.WAIT = 0.05
board = jobs.Board(folder, [plan.Job(f"train/{i}", "train", "audio", str(i)) for i in range(30)])
for job in board.open_jobs():
    with open(folder / "log", "a") as log:
        log.write(f"{job.dataset}\\n")
    print(job.id, flush=True)
    time.sleep(0.05 if len(sys.argv) < 3 else 60)
    board.end(job, {})
"""


def start(folder, *words):
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), *words], stdout=subprocess.PIPE, text=True)


def test_several_processes_share_the_jobs_and_a_killed_one_lets_go(tmp_path):
    stuck = start(tmp_path, "forever")
    assert stuck.stdout.readline() == "train/0\n"  # it holds the first
    others = [start(tmp_path) for _ in range(2)]
    time.sleep(0.2)
    os.kill(stuck.pid, signal.SIGKILL)
    stuck.communicate()
    shares = [other.communicate(timeout=60)[0].split() for other in others]
    assert all(other.returncode == 0 for other in others) and all(shares)
    log = (tmp_path / "log").read_text().split()
    assert sorted(map(int, log[1:])) == list(range(30)) and log[0] == "0"  # each once, the killed one's again
    assert json.loads((tmp_path / "jobs" / "train.0.done").read_text()) == {}


def test_a_job_that_was_begun_before_is_known(tmp_path):
    board = jobs.Board(tmp_path, CHAIN)
    assert not board.begun(CHAIN[0]) and board.begun(CHAIN[0])


def test_it_does_not_wait_for_what_others_have_done(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: pytest.fail("it waits"))
    board = jobs.Board(tmp_path, CHAIN)
    for job in CHAIN[:2]:
        board.end(job, {})
    assert [job.id for job in iter_ended(jobs.Board(tmp_path, CHAIN))] == ["train/a", "train/b", "joint/audio"]
