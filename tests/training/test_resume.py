"""What ends a run early loses nothing: SIGTERM, kill -9, a full disk, a second process."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import absl.logging
import jax
import numpy as np
import pytest

from dfjax.inference import trained
from dfjax.records import InputError
from dfjax.run import main_job
from dfjax.runtime import checkpoint, cli, process, progress, workdir
from dfjax.training import recipe, train, train_step
from tests import children, job, prepared

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return prepared.make(tmp_path_factory.mktemp("prepared"))


SETTINGS = [
    {"data.feed": "streaming"},
    pytest.param({"data.feed": "resident"}, marks=pytest.mark.slow),
    pytest.param({"data.feed": "resident", "train.accumulate": 2}, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def whole(request, directory, tmp_path_factory):
    """An uninterrupted run: its settings, its results."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    summary = job.job(folder, directory, **request.param)
    assert summary["feed"] == request.param["data.feed"] and summary["steps"] == 12
    assert summary["waiting"] < 1 and summary["peak_memory"] > 2**20
    return request.param, job.results(folder)


def test_sigterm_saves_ends_with_zero_and_the_rest_is_the_same_to_the_bit(
    whole, directory, tmp_path, monkeypatch, capsys
):
    settings, expected = whole
    update = tmp_path / "w"
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        job.interrupt(patch, 6)
        job.job(update, directory, **settings)
    assert ended.value.code == 0 and "after step 7" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    with checkpoint.manager(update) as checkpoints:
        assert checkpoint.latest_step(checkpoints) == 7
        assert checkpoint.best_step(checkpoints) == 4  # step 7 was saved but not evaluated
        spent = checkpoint.seconds_spent(checkpoints)
    summary = job.job(update, directory, **settings)
    assert summary["resumed_from"] == 7 and summary["seconds_before"] == round(spent, 2) > 0
    with checkpoint.manager(update) as checkpoints:  # the end knows of both
        assert checkpoint.seconds_spent(checkpoints) > spent
    assert job.results(update) == expected


def test_sigterm_after_the_last_step_ends_the_run_too_and_before_the_first_nobody_listens(
    whole, directory, tmp_path, monkeypatch, capsys
):
    """It was swallowed: a crossval that was told to end while it made statistics went on."""
    settings, expected = whole
    judge, make, listening = train.judge, train.feeds.make, []

    def judged(state, step, *args, **words):
        if step == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return judge(state, step, *args, **words)

    def made(*args, **words):
        listening.append(signal.getsignal(signal.SIGTERM))
        return make(*args, **words)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(train, "judge", judged)
        patch.setattr(train.feeds, "make", made)
        job.job(tmp_path / "w", directory, **settings)
    assert ended.value.code == 0 and "after step 12" in capsys.readouterr().err
    assert listening == [before] and signal.getsignal(signal.SIGTERM) is before
    job.job(tmp_path / "w", directory, **settings)
    assert job.results(tmp_path / "w") == expected


def test_reading_makes_and_removes_nothing(whole, directory, tmp_path):
    """A command that read left an empty checkpoints/, and took away what a training was just saving."""
    (tmp_path / "none").mkdir()
    with (
        pytest.raises(InputError, match="none has no complete checkpoint"),
        checkpoint.manager(tmp_path / "none", reading=True),
    ):
        pytest.fail("there is nothing to read")
    assert not list((tmp_path / "none").iterdir())
    job.job(tmp_path / "w", directory, **whole[0])
    saving = tmp_path / "w" / "checkpoints" / "99.orbax-checkpoint-tmp"
    saving.mkdir()
    assert trained.restore(tmp_path / "w").step == 12 and saving.exists()
    with checkpoint.manager(tmp_path / "w"):
        assert not saving.exists()


def test_a_run_goes_on_with_the_feed_that_it_began_with(directory, tmp_path, monkeypatch):
    """'auto' asked again how much memory is free, and the other feed draws other batches."""
    wanted = []

    def make(asked, *_, **__):
        wanted.append(asked)
        raise SystemExit

    monkeypatch.setattr(train.feeds, "make", make)
    for saved, asked in ((None, "auto"), ("resident", "resident"), ("streaming", "streaming"), ("precomputed", "auto")):
        settings = job.config(**{"data.feed": "auto"})
        folder = tmp_path / str(saved)
        job.claim(folder, settings)
        if saved:
            build = recipe.make_builder(settings, training=True)
            tx, _ = recipe.make_optimizer(settings)
            state = train_step.create(build, tx, jax.random.key(0), ema=True)[1]
            with checkpoint.manager(folder) as checkpoints:
                checkpoint.save(checkpoints, dataclasses.replace(state, step=np.int32(4)), train._about(0.0, saved))
        with pytest.raises(SystemExit):
            train.train(settings, folder, directory, progress=False)
        assert wanted.pop() == asked


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_exit_code_2(directory, tmp_path, monkeypatch, capsys):
    def full(*args, **words):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "w" / "checkpoints"))

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(lambda: job.job(tmp_path / "w", directory))
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2 and "No space left" in lines[-1] and "the same command continues" in lines[-1]
    assert not list((tmp_path / "w").rglob("*tmp*"))
    monkeypatch.undo()
    assert job.job(tmp_path / "w", directory)["resumed_from"] == 0


@pytest.mark.slow
def test_a_disk_that_really_is_full(directory, tmp_path):
    (tmp_path / "w").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path / "w")]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    script = (
        "from dfjax.runtime import cli; from tests import job; import sys; cli.main(lambda: job.job(*sys.argv[1:]))"
    )
    try:
        words = [sys.executable, "-c", script, str(tmp_path / "w"), str(directory)]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    finally:
        subprocess.run(["umount", str(tmp_path / "w")], check=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: No space left") and len(ended.stderr.splitlines()) == 1


def test_a_full_disk_met_by_a_thread_of_orbax_is_left_out_of_the_log_and_nothing_else_is(tmp_path, caplog):
    logger = absl.logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    try:
        with checkpoint.manager(tmp_path):
            full = "RESOURCE_EXHAUSTED: No space left on device [os_error_code='28']"
            for reason in (full, "out of order", "cannot schedule new futures after shutdown"):
                try:
                    raise RuntimeError(reason)
                except RuntimeError as error:
                    absl.logging.exception("a thread met %s", error)
            absl.logging.error("No space left for manners")  # no exception: not what is said elsewhere
    finally:
        logger.removeHandler(caplog.handler)
    messages = [record.getMessage() for record in caplog.records if record.name == "absl"]
    told = [message for message in messages if "met" in message or "manners" in message]
    assert set(told) == {"a thread met out of order", "No space left for manners"}


def test_a_second_process_is_refused_while_the_first_holds_the_folder(tmp_path):
    script = (
        "import sys, time; from etils import epath; from dfjax.runtime import workdir\n"
        "with workdir.lock(epath.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "w")]
    holder = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is running in .*; wait for it or give another"):
            with workdir.lock(workdir.epath.Path(tmp_path / "w")):
                pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with workdir.lock(workdir.epath.Path(tmp_path / "w")):  # the kernel has let go
        pass


def test_a_half_written_last_line_of_the_log_is_cut(tmp_path):
    path = train.epath.Path(tmp_path / "metrics.jsonl")
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.9}\n{"step": 3, "lo')
    with progress.cut_log(path, 3) as log:
        print(json.dumps({"step": 3, "loss": 0.8}), file=log)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_what_was_logged_is_on_the_disk_before_validation_and_before_a_checkpoint(tmp_path):
    """It waited in memory: nobody could watch it, and a kill after SIGTERM's checkpoint lost lines for good."""
    folder = workdir.epath.Path(tmp_path)
    with progress.journal(folder, first=0, total=4, hidden=True, tensorboard=False) as notes:
        notes.took(0, 2, {"loss": np.array([0.5, 0.25])})
        notes.write_steps()
        assert job.losses(tmp_path) == {1: 0.5, 2: 0.25}


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "first_process", lambda: False)
    folder = workdir.epath.Path(tmp_path)
    workdir.write_json(folder / "config.json", {})
    with progress.cut_log(folder / "metrics.jsonl", 0) as log:
        print("{}", file=log)
    assert not list(folder.iterdir())


def test_an_unknown_feed_is_refused_before_anything_is_written():
    with pytest.raises(InputError, match="config.data.feed='tape': expected one of 'auto', 'resident', 'streaming'"):
        settings = job.config(**{"data.feed": "tape"})
        settings.data.dataset = "demo_speech"
        main_job.check(settings)


def test_a_bar_in_a_log_is_lines(capsys):
    bar = progress.progress_bar(3, 0, hidden=False)
    for _ in range(3):
        bar.update()
    bar.close()
    err = capsys.readouterr().err
    assert "\r" not in err and 1 <= len(err.strip().splitlines()) <= 3 and "3/3" in err


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(whole, directory, tmp_path):
    settings, expected = whole
    words = [sys.executable, "-m", "tests.job", str(tmp_path / "w"), str(directory)]
    words += [f"{name}={value}" for name, value in settings.items()]
    environment = children.quickly_compiling(JAX_NUM_CPU_DEVICES="2")
    rng = np.random.default_rng(3)
    for _ in range(3):
        one = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(3, 14))
        one.kill()
        one.wait()
    subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    assert job.results(tmp_path / "w") == expected
