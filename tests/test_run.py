"""The main job on a small folder of real files: media to report, resume to the bit, errors in one line."""

import importlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from dfjax import crossval, predict
from dfjax.data import sources
from dfjax.decide import score_file
from dfjax.decide.decision import read_decision
from dfjax.inference import trained
from dfjax.records import InputError
from dfjax.run import main_job
from dfjax.runtime import checkpoint
from tests import children

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARTEFACTS = [
    "config.json",
    "environment.json",
    "metrics.jsonl",
    "decision.json",
    "typicality.npz",
    "report.json",
    "report.md",
    "report.html",
]


def experiment(steps=12, **changes):
    sys.path.insert(0, str(ROOT))
    from experiments import audio_texture

    config = audio_texture.get_config("folder_audio")
    config.update({"data": {"seconds": 0.5}, "train": {"batch": 8, "steps": steps, "eval_every": 4, "log_every": 2}})
    config.model.update({"kwargs": {"embedding": 8}})
    config.optim.warmup_steps = 2
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """30 real clips of harmonic hum and 10 fakes with a buzz on top, each its own speaker; some 6 s long."""
    root = tmp_path_factory.mktemp("media") / "recordings"
    rng = np.random.default_rng(0)
    for split, reals, fakes in (("train", 14, 6), ("val", 8, 4), ("test", 8, 4)):
        for label, count in (("real", reals), ("fake", fakes)):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                t = np.arange(16000 * (6 if i == 0 else 1)) / 16000
                x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * t) + 0.02 * rng.standard_normal(len(t))
                if label == "fake":
                    x += 0.1 * np.sign(np.sin(2 * np.pi * 1000 * t)) * rng.uniform(0.5, 1)
                soundfile.write(root / split / label / f"clip {i}.wav", x, 16000)
    return root


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def finished(recordings, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    report = main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=recordings, progress=False)
    return folder, report


def test_datasets_of_the_same_recordings_are_named_and_others_are_not():
    """Nothing was said where one dataset's test clips are made of another's training clips."""

    def of(*names, domains=None):
        columns = dict.fromkeys(("label", "id", "clip", "group", "method"), np.array([""] * len(names)))
        domain = np.array(domains or names)
        return sources.Split("train", "joint", [], of=np.array(names), domain=domain, subgroups={}, **columns)

    (told,) = main_job.in_common(of("wavefake", "demo_speech", "fake_or_real/norm-official"))
    assert told.startswith(
        "fake_or_real/norm-official and wavefake are both made of LJSpeech: what one has for training"
    )
    assert not main_job.in_common(of("wavefake", "asvspoof2019_la")) and not main_job.in_common(of("wavefake"))
    (told,) = main_job.in_common(of("mine", "wavefake", domains=("LJSpeech-1.1", "x")))
    assert told.startswith("mine and wavefake are both made of LJSpeech")


def test_a_run_leaves_everything_the_contract_names(finished):
    folder, report = finished
    for name in ARTEFACTS:
        assert (folder / name).stat().st_size > 0, name
    assert {p.name for p in (folder / "scores").iterdir()} == {"folder_audio.validation.csv", "folder_audio.test.csv"}
    assert list((folder / "figures").glob("*.png"))
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 13))
    for name in ("decision.json", "report.json", "config.json", "environment.json"):
        json.loads((folder / name).read_text(), parse_constant=lambda text: pytest.fail(f"{name} holds {text}"))
    assert report["counts"]["test"]["fake"] == 4 and report["counts"]["train"]["real"] == 14


def test_a_run_that_began_on_other_data_is_not_gone_on_with(finished, recordings, data_dir, tmp_path):
    """A demo's next version was trained on from the middle of a run, without a word."""
    folder = tmp_path / "begun"
    shutil.copytree(finished[0], folder)
    (folder / "report.json").unlink()
    facts = json.loads((folder / "environment.json").read_text())
    facts["dataset"] |= {"version": "0.9.0", "hash": "0123456789abcdef"}
    (folder / "environment.json").write_text(json.dumps(facts))
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=r"began on folder_audio 0\.9\.0 .*, now it is .*; give another --workdir"):
        main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=recordings, progress=False)
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_long_files_become_windows_of_one_clip_and_the_report_counts_clips(finished):
    folder, report = finished
    scores = score_file.read(folder / "scores" / "folder_audio.test.csv")
    assert len(scores) == 12 + 2  # two 6 s files of two windows each
    assert len(score_file.by_clip(scores)) == 12 == report["counts"]["test"]["real"] + report["counts"]["test"]["fake"]
    assert scores.header["split"] == "test" and scores.header["step"] in (4, 8, 12)


def test_the_threshold_was_chosen_on_validation_and_reproduces_its_counts(finished):
    folder, _ = finished
    decision = read_decision(folder / "decision.json")
    clips = score_file.by_clip(score_file.read(folder / "scores" / "folder_audio.validation.csv"))
    assert decision["split"] == "validation"
    called = clips.score >= np.float32(decision["threshold"])
    assert int((called & (clips.label == 1)).sum()) == decision["counts"]["tp"]
    assert int((called & (clips.label == 0)).sum()) == decision["counts"]["fp"]


def test_a_finished_run_says_so_and_changes_nothing(finished, data_dir, recordings, capsys):
    folder, report = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    again = main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=recordings)
    assert "finished run" in capsys.readouterr().out
    assert again == report
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_an_interrupted_run_ends_bit_identical(finished, recordings, data_dir, tmp_path, monkeypatch, capsys):
    whole, _ = finished
    folder = tmp_path / "cut"
    save = checkpoint.save

    def dies(checkpointer, state, metrics):
        if int(state.step) == 8:
            raise KeyboardInterrupt
        save(checkpointer, state, metrics)

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=recordings, progress=False)
    monkeypatch.setattr(checkpoint, "save", save)
    report = main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=recordings)
    told = capsys.readouterr().out
    assert "12 steps, 8 of them now, 64 examples in" in told
    took = json.loads((folder / "timing.json").read_text())["training"]  # the time of a stopped call counts
    assert f"({took['examples_per_second']} per second" in told  # a slow step's is below 1
    assert took["seconds_before"] > 0 and report["run"]["seconds"] > took["seconds_before"] + took["seconds"] - 0.1
    for name in (
        "scores/folder_audio.validation.csv",
        "scores/folder_audio.test.csv",
        "metrics.jsonl",
        "decision.json",
    ):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_another_experiment_in_the_same_workdir_is_refused_with_the_difference(finished, data_dir):
    folder, _ = finished
    with pytest.raises(InputError, match=r"config\.train\.steps is 12 there and 20 here"):
        main_job.run(experiment(steps=20), folder, name="small", data_dir=data_dir, progress=False)


def test_predict_agrees_with_the_score_file(finished, recordings):
    folder, _ = finished
    judge = trained.load(folder)
    scores = score_file.by_clip(score_file.read(folder / "scores" / "folder_audio.test.csv"))
    for name in ("test/fake/clip 0.wav", "test/real/clip 1.wav"):
        result = judge(recordings / name)
        expected = scores.score[scores.clip == name][0]
        np.testing.assert_allclose(result["score"], expected, rtol=1e-5, atol=1e-5)
        assert result["verdict"] == ("fake" if expected >= np.float32(judge.threshold) else "real")
        assert 0 <= result["probability"] <= 1
    assert len(judge(recordings / "test/fake/clip 0.wav")["windows"]) == 2


def test_a_run_knows_what_it_was_trained_on(finished, recordings, tmp_path, monkeypatch, capsys):
    folder, _ = finished
    judge = trained.load(folder)
    typical = [judge(path)["typicality"]["reasons"] == [] for path in sorted((recordings / "train").rglob("*.wav"))]
    assert np.mean(typical) >= 0.9
    noise, known = tmp_path / "noise.wav", recordings / "test/real/clip 1.wav"
    soundfile.write(noise, 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    statuses = {}
    for workdir, path in ((folder, known), (folder, noise)):
        monkeypatch.setattr(sys, "argv", ["predict", "--workdir", str(workdir), "--json", str(path)])
        statuses[path] = 0
        try:
            predict.main()
        except SystemExit as end:
            statuses[path] = end.code
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert statuses == {known: 0, noise: 3} and told[0]["verdict"] in ("real", "fake")
    assert told[1]["verdict"] == "uncertain" and told[1]["typicality"]["p_value"] <= 1
    assert any("as of noise" in reason for reason in told[1]["reasons"])
    assert "uncertain" in predict.line(told[1]) and "as of noise" in predict.line(told[1])

    old = shutil.copytree(folder, tmp_path / "old")
    (old / "typicality.npz").unlink()
    before = trained.load(old)(noise)
    assert before["verdict"] in ("real", "fake") and before["typicality"] is None
    assert before["score"] == told[1]["score"]


def test_divergence_stops_the_run_and_names_the_step(recordings, data_dir, tmp_path):
    config = experiment()
    config.optim.update({"learning_rate": 1000.0, "weight_decay": 1000.0})  # takes a million times a weight of it
    with pytest.raises(FloatingPointError, match=r"diverged at step \d+"):
        main_job.run(config, tmp_path / "w", name="small", data_dir=data_dir, source=recordings, progress=False)


def test_an_altered_checkpoint_is_refused_in_one_line(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(b"\0" * 50)
    with pytest.raises(InputError, match="checkpoint .* cannot be read"):
        trained.restore(folder)


def command(*words, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


FOCAL = ["dfjax.run", "--config", "experiments/audio_focal.py"]
FOLDER = ["dfjax.run", "--config", "experiments/audio_focal.py:folder_audio"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dfjax.run"], "--config is missing"),
        (["dfjax.run", "--config", "experiments/none.py"], "experiments/none.py"),
        (["dfjax.run", "--config", "experiments/audio_focal.py:nowhere"], "Unknown dataset 'nowhere'; expected one of"),
        ([*FOCAL, "--config.model.name=resnet_big"], "config.model.name='resnet_big': expected one of"),
        ([*FOCAL, "--config.decision.criterion=f3"], "f3"),
        ([*FOCAL, "--config.loss.name=hinge"], "hinge"),
        ([*FOCAL, "--config.train.batch=many"], "config.train.batch='many': expected a whole number"),
        ([*FOCAL, "--config.train.stepz=3"], "config.train.stepz is no option; did you mean config.train.steps?"),
        (FOLDER, "needs --source"),
        ([*FOLDER, "--source", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
        (["dfjax.predict", "--workdir", "/nowhere/at/all", "pyproject.toml"], "/nowhere/at/all does not exist; give"),
        (["dfjax.tune", "--scores", "/nowhere.csv", "--criterion", "f1"], "/nowhere.csv"),
        (["dfjax.prepare", "no_such_dataset"], "Unknown dataset 'no_such_dataset'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(words, expected, tmp_path):
    if words[0] == "dfjax.run" and len(words) > 1:
        words = [*words, "--workdir", tmp_path / "w", "--data_dir", tmp_path / "d"]
    result = command(*words)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2, result.stderr
    assert expected in lines[-1] and "Traceback" not in result.stderr
    assert not (tmp_path / "w").exists() and not (tmp_path / "d").exists(), "something half-written was left behind"


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "w").write_text("mine")
    result = command("dfjax.run", "--config", "experiments/audio_focal.py", "--workdir", tmp_path / "w")
    assert result.returncode == 2 and "is a file" in result.stderr and (tmp_path / "w").read_text() == "mine"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [("empty", "holds no folders named real and fake"), ("one class", "fake files are needed too")],
)
def test_a_source_that_cannot_be_trained_on_leaves_nothing(tree, expected, recordings, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    if tree == "one class":
        (source / "real").mkdir()
        (source / "real" / "a.wav").write_bytes((recordings / "test/real/clip 1.wav").read_bytes())
    result = command(*FOLDER, "--source", source, "--workdir", tmp_path / "w", "--data_dir", tmp_path / "d")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert expected in result.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("test", "folder_audio has no test split; a run needs real and fake clips in its test split; add some, or put"),
        ("test/fake", "folder_audio has 8 real and 0 fake test clips; a run needs"),
        ("val/real", "folder_audio has 0 real and 4 fake validation clips; a run needs"),
    ],
)
def test_a_split_that_cannot_be_judged_is_refused_before_training(gone, expected, recordings, data_dir, tmp_path):
    """All of it was trained first, and then the report failed, or advised to prepare the dataset again."""
    source, folder = tmp_path / "source", tmp_path / "w"
    shutil.copytree(recordings, source)
    shutil.rmtree(source / gone)
    with pytest.raises(InputError, match=expected):
        main_job.run(experiment(), folder, name="small", data_dir=data_dir, source=source, progress=False)
    assert not folder.exists()
    with pytest.raises(InputError, match=expected):
        words = {"name": "x", "by": "domain", "data_dir": data_dir, "source": with_domains(source), "progress": False}
        crossval.crossval(experiment(), folder, **words)
    assert not folder.exists()


def test_media_of_another_kind_are_refused_before_the_workdir_is_made(recordings, data_dir, tmp_path):
    """The workdir was made first, and then held an experiment that refused the right data."""
    from experiments import image_focal

    folder, config = tmp_path / "w", image_focal.get_config("folder_audio")
    with pytest.raises(InputError, match="folder_audio holds no image, which is what this detector judges"):
        main_job.run(config, folder, name="small", data_dir=data_dir, source=recordings, progress=False)
    assert not folder.exists()


def test_nothing_left_to_train_on_is_said_in_one_line(recordings, tmp_path):
    source = tmp_path / "recordings"
    shutil.copytree(recordings, source)
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.wav"))
    rows = [f"{name},{'a' if name.startswith('train') or i % 2 else 'b'}" for i, name in enumerate(files)]
    (source / "metadata.csv").write_text("\n".join(["file,domain", *rows]) + "\n")
    config = experiment()
    config.data.leave_out = {"by": "domain", "value": "a"}
    with pytest.raises(InputError, match="training needs examples of both classes, got 0 real and 0 fake"):
        main_job.run(config, tmp_path / "w", name="x", data_dir=tmp_path / "data", source=source, progress=False)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("experiment", "dataset", "missing"),
    [
        ("image_focal", "folder_audio", "image"),
        ("audio_focal", "faceforensics", "audio"),
        ("fakeavceleb_av", "folder_image", "audio"),
    ],
)
def test_media_of_another_kind_are_refused_before_they_are_prepared(experiment, dataset, missing):
    """Of a large download that took hours, and then was told."""
    config = importlib.import_module(f"experiments.{experiment}").get_config()
    main_job.check(config)
    config.data.dataset = dataset
    with pytest.raises(InputError, match=f"{dataset} holds no {missing}, which is what this detector judges"):
        main_job.check(config)


def with_domains(source):
    """The folder, its files of two domains by turns."""
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.wav"))
    rows = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(files)]
    (source / "metadata.csv").write_text("\n".join(["file,domain", *rows]) + "\n")
    return source


@pytest.mark.slow
def test_kill_9_and_the_same_command_end_bit_identical(finished, recordings, data_dir, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/tests']\n"
        "from dfjax.runtime import process; process.use_all_cores()\n"
        "import jax; jax.config.update('jax_num_cpu_devices', 2)\n"
        "import test_run\n"
        "words = {'data_dir': sys.argv[3], 'source': sys.argv[4], 'progress': False}\n"
        "test_run.main_job.run(test_run.experiment(), sys.argv[2], name='small', **words)\n"
    )
    words = [sys.executable, script, ROOT, tmp_path / "w", data_dir, recordings]
    rng, environment = np.random.default_rng(1), children.quickly_compiling()
    for _ in range(3):
        job = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(3, 14))
        job.send_signal(signal.SIGKILL)
        job.wait()
    subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=200)
    for name in (
        "scores/folder_audio.validation.csv",
        "scores/folder_audio.test.csv",
        "metrics.jsonl",
        "decision.json",
    ):
        assert (tmp_path / "w" / name).read_bytes() == (finished[0] / name).read_bytes(), name


def test_a_relative_workdir_holds_checkpoints(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder.parent)
    with checkpoint.manager(folder.name) as found, checkpoint.manager(folder) as same:
        assert checkpoint.latest_step(found) == checkpoint.latest_step(same) == 12
        assert found.directory.is_absolute()


def test_subgroups_that_nobody_filled_in_are_not_reported():
    ids = np.array(["a", "b"])
    filled = {"gender": np.array(["", ""]), "language": np.array(["", "en"])}
    split = sources.Split("test", "x", None, np.array([0, 1]), ids, ids, ids, ids, ids, ids, filled)
    assert sources.subgroups_of_clips(split) == {"language": {"a": "", "b": "en"}}
