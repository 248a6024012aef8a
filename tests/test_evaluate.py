"""The cross-dataset table: a small real run scored on another folder, and the refusals."""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from dfjax import prepare
from dfjax.data import sources
from dfjax.decide import metrics, score_file
from dfjax.decide.decision import read_decision
from dfjax.decide.score_file import Scores
from dfjax.evaluate import command, corrupted, prepared, subject, table
from dfjax.inference import bundle, trained
from dfjax.media import corruptions
from dfjax.records import InputError
from dfjax.reporting import cross_dataset
from dfjax.run import main_job
from dfjax.runtime import cli, workdir
from dfjax.runtime.strict_json import plain
from tests.commands import called

ROOT = pathlib.Path(__file__).resolve().parent.parent
DECISION = {"threshold": -1.5, "status": "ok", "criterion": "f1", "split": "validation", "dataset": "demo", "step": 4}


def make_scores(n=440, label=None, split="test"):
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 11 == 0).astype(np.int32) if label is None else label
    names = np.arange(n).astype(str)
    score = rng.normal(np.where(label == 1, -0.7, -3.0), 1.2)
    header = {"split": split, "dataset": "demo", "step": 4}
    return Scores(names, names, names, label, np.where(label == 1, "g", ""), score, header=header)


def test_row_states_what_the_threshold_does():
    scores = make_scores()
    found = cross_dataset.row("demo", scores, DECISION, trained=True)
    truth = metrics.at_threshold(scores.score, scores.label, -1.5)
    assert {k: found["tuned"][k] for k in ("tp", "fp", "fn", "tn")} == {k: truth[k] for k in ("tp", "fp", "fn", "tn")}
    assert found["tuned"]["false_alarms"]["value"] == truth["fpr"]
    assert found["eer"]["value"] == metrics.eer(scores.score, scores.label)[0]
    assert found["half"]["threshold"] == 0


def test_false_alarms_are_over_groups_of_clips_as_the_rest_of_the_row_is():
    scores = make_scores()
    rows = np.repeat(np.arange(440), 9)
    names = np.arange(len(rows)).astype(str)
    columns = scores.group[rows], scores.label[rows], scores.method[rows], scores.score[rows]
    copies = Scores(names, names, *columns, header=scores.header)
    once, many = (cross_dataset.row("x", each, DECISION, trained=False)["tuned"] for each in (scores, copies))
    for name in ("recall", "precision", "false_alarms"):
        width = [side[name]["high"] - side[name]["low"] for side in (once, many)]
        assert width[1] == pytest.approx(width[0], rel=0.25), name  # copies of a clip tell nothing new


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_cannot_be_ranked_but_counted(only):
    scores = make_scores(label=np.full(440, only, np.int32))
    found = cross_dataset.row("x", scores, DECISION, trained=False)
    assert np.isnan(found["auc"]["value"])
    assert (found["tuned"]["false_alarms"]["value"] is None) == (only == 1)
    assert "undefined" in cross_dataset.markdown([plain(found)], DECISION)


def test_the_split_of_the_threshold_is_refused():
    with pytest.raises(InputError, match="tuned on the split"):
        cross_dataset.row("demo", make_scores(split="validation"), DECISION, trained=True)


@pytest.mark.parametrize("judge", [table.make, corrupted.make])
def test_the_split_of_the_threshold_is_refused_before_anything_is_scored(judge, tmp_path, monkeypatch):
    config = {"model": {"name": "texture", "kwargs": {}}, "data": {"dataset": "demo"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION))
    monkeypatch.setattr(trained, "restore", lambda *_: pytest.fail("scores"))
    with pytest.raises(InputError, match="tuned on the split 'validation'"):
        judge(tmp_path, ["another", "demo/small"], split="validation", data_dir=tmp_path, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "decision.json"}


@pytest.mark.parametrize("judge", [table.make, corrupted.make])
def test_a_part_of_what_the_threshold_was_tuned_on_is_refused(judge, tmp_path, monkeypatch):
    """Several datasets trained on together are one split of another name, whose clips chose the threshold."""
    config = {"model": {"name": "texture", "kwargs": {}}, "data": {"dataset": "sources"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "environment.json").write_text(json.dumps({"datasets": [{"name": "own", "hash": "07"}]}))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION | {"dataset": "sources"}))
    monkeypatch.setattr(prepared, "content_hash", lambda name, *_: {"folder_audio/own-1": "07"}.get(name))
    monkeypatch.setattr(trained, "restore", lambda *_: pytest.fail("scores"))
    with pytest.raises(InputError, match="tuned on the split 'validation'"):
        judge(tmp_path, ["folder_audio/own-1"], split="validation", data_dir=tmp_path, progress=False)
    with pytest.raises(InputError, match="Unknown dataset|not prepared|needs"):
        judge(tmp_path, ["folder_audio/other-1"], split="validation", data_dir=tmp_path, progress=False)


@pytest.mark.parametrize(("tuned_on", "refused"), [(None, "mine-1"), ("07", "mine-1"), ("08", "yours-1")])
def test_a_folder_is_told_from_another_by_its_data(tuned_on, refused, tmp_path, monkeypatch):
    """All have the name of their builder: none but the run's own could be tuned on, or be evaluated on validation."""
    config = {"model": {"name": "texture", "kwargs": {}}, "data": {"dataset": "folder_audio"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "environment.json").write_text(json.dumps({"dataset": {"name": "folder_audio", "hash": "07"}}))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION | {"dataset": "folder_audio", "data": tuned_on}))
    data = {"folder_audio/mine-1": "07", "folder_audio/yours-1": "08"}
    monkeypatch.setattr(prepared, "content_hash", lambda name, *_: data[name])
    about = subject.read(tmp_path, None)
    for name in data:
        refuses = pytest.raises(InputError, match="tuned on the split") if refused in name else contextlib.nullcontext()
        with refuses:
            subject.check_splits(about, [name], "validation", None)
        with refuses:
            header = {"dataset": "folder_audio", "split": "validation", "data": data[name]}
            scores = dataclasses.replace(make_scores(), header=header)
            cross_dataset.row(name, scores, about.decision, trained=False)


def test_released_weights_are_known_to_be_trained_on_their_dataset(tmp_path):
    config = {"model": {"name": "aasist", "kwargs": {}}, "data": {"dataset": "asvspoof2019_la"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION))
    about = subject.read(tmp_path, None)
    assert subject.trained_on(about, "asvspoof2019_la", "07") and not subject.trained_on(about, "wavefake/a", "07")


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("wavefake/official", []),  # what it was trained on
        ("wavefake/disjoint", ["the same download"]),
        ("fake_or_real", ["LJSpeech"]),
        ("asvspoof2019_la", []),
        ("folder_audio/mine-1", []),
    ],
)
def test_what_training_and_evaluated_data_have_in_common_is_told(name, shared, tmp_path):
    """Another protocol's test split holds what was trained on: the table said nothing of it."""
    config = {"model": {"name": "texture", "kwargs": {}}, "data": {"dataset": "wavefake"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "environment.json").write_text(json.dumps({"dataset": {"name": "wavefake", "hash": "07"}}))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION))
    data = "07" if name == "wavefake/official" else "08"
    assert subject.in_common(subject.read(tmp_path, None), name, data) == shared
    row = plain(cross_dataset.row(name, make_scores(), DECISION, trained=False)) | {"shared": shared}
    assert ("in common with what the detector was trained on" in cross_dataset.markdown([row], DECISION)) == bool(
        shared
    )


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [[], ["--corruptions", "level"]])
def test_nothing_is_written_into_the_folder_of_a_bundle(words, tmp_path, monkeypatch, capsys):
    """Tables and scores lay beside the members of the detector that comes along."""
    for name in ("use_all_cores", "connect"):  # of a process that has not used jax
        monkeypatch.setattr(command.process, name, lambda: None)
    monkeypatch.setattr(trained, "restore", lambda *_: pytest.fail("scores"))
    sealed = pathlib.Path(shutil.copytree(bundle.SPEECH, tmp_path / "sealed"))
    before, given = contents(sealed), ["--workdir", sealed, "--datasets", "folder_audio/a", *words]
    assert called(monkeypatch, command.main, *given) == 2
    told = f"error: {sealed} is a bundle, which stays as it was sealed; give --out DIR for tables and scores\n"
    assert capsys.readouterr().err == told
    assert called(monkeypatch, command.main, *given, "--out", sealed) == 2
    assert capsys.readouterr().err == f"error: --out {sealed} holds a run or a bundle; give another folder\n"
    assert contents(sealed) == before


@pytest.mark.parametrize("judge", [table.make, corrupted.make])
def test_a_bundle_that_was_altered_is_not_evaluated(judge, tmp_path):
    """Its decision was taken from the file as it lay there."""
    sealed = pathlib.Path(shutil.copytree(bundle.SPEECH, tmp_path / "sealed"))
    (sealed / "decision.json").write_text((sealed / "decision.json").read_text() + "\n")
    with pytest.raises(InputError, match=r"altered: 'decision\.json'"):
        judge(sealed, ["folder_audio/a"], out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("judge", [table.make, corrupted.make])
def test_a_bundle_that_was_exported_is_told_from_a_folder_without_a_run(judge, tmp_path):
    """It holds no experiment; --help said that the folder of a bundle would do."""
    folder = pathlib.Path(shutil.copytree(bundle.SPEECH, tmp_path / "exported"))
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"a bundle of dfjax\.export, which holds no experiment; give the --workdir"):
        judge(folder, ["folder_audio/a"], out=tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="holds no run"):
        judge(tmp_path, ["folder_audio/a"], progress=False)


@pytest.mark.parametrize("judge", [table.make, corrupted.make])
def test_tables_of_a_run_go_into_it(judge, tmp_path):
    config = {"model": {"name": "texture", "kwargs": {}}, "data": {"dataset": "demo"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "decision.json").write_text(json.dumps(DECISION))
    with pytest.raises(InputError, match="--out is of a bundle"):
        judge(tmp_path, ["another"], out=tmp_path / "out", progress=False)


@pytest.mark.slow
def test_a_bundle_is_evaluated_beside_it_and_known_by_its_weights(tmp_path, monkeypatch):
    source, data_dir, out = make_folder(tmp_path / "own", 0), tmp_path / "data", tmp_path / "out"
    name = f"folder_audio/{prepare.prepare('folder_audio', source, data_dir, progress=False).parent.name}"
    before, words = contents(bundle.SPEECH), {"data_dir": data_dir, "progress": False, "out": out}
    grid = {"kinds": ["level"], "strengths": [5], "clips": 4}
    rows = table.make(bundle.SPEECH, [name], **words)
    grid_table = corrupted.make(bundle.SPEECH, [name], **grid, **words)
    assert json.loads((out / "evaluation.json").read_text()) == rows and rows[0]["fake"] == 5
    assert json.loads((out / "robustness.json").read_text()) == grid_table and (out / "robustness.md").exists()
    assert contents(bundle.SPEECH) == before
    # made once; the scores of another detector are not read back
    monkeypatch.setattr(trained, "restore", lambda *_: pytest.fail("scored"))
    assert table.make(bundle.SPEECH, [name], **words) == rows
    assert corrupted.make(bundle.SPEECH, [name], **grid, **words) == grid_table
    for path in (out / "scores").iterdir():
        path.write_text(re.sub("weights: [0-9a-f]{64}", f"weights: {64 * '0'}", path.read_text()))
    for judge, more in ((table.make, {}), (corrupted.make, grid)):
        with pytest.raises(pytest.fail.Exception):
            judge(bundle.SPEECH, [name], **more, **words)


def test_a_folder_that_is_not_prepared_is_told_by_the_names_that_can_be_given(tmp_path):
    """It asked for --source, which `evaluate` does not have."""
    ways = "prepare it: python -m dfjax.prepare folder_audio --source DIR, or the --data_dir where it lies"
    with pytest.raises(InputError) as told:
        prepared.open_split("audio", "folder_audio", "test", tmp_path)
    assert str(told.value) == f"folder_audio is not prepared in {tmp_path}; {ways}"
    for name in ("own-12345678", "other-9abcdef0"):
        path = tmp_path / "folder_audio" / name / "1.0.0" / "preparation.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    ways = "give one of folder_audio/other-9abcdef0, folder_audio/own-12345678 among --datasets"
    for name in ("folder_audio", "folder_audio/own"):
        with pytest.raises(InputError) as told:
            prepared.open_split("audio", name, "test", tmp_path)
        assert str(told.value) == f"{name} is not prepared in {tmp_path}; {ways}, or the --data_dir where it lies"


def test_table_without_a_threshold_falls_back_to_one_half():
    decision = DECISION | {"threshold": None, "status": "undefined"}
    found = plain(cross_dataset.row("demo", make_scores(), decision, trained=False))
    assert found["tuned"] is None and "threshold 0.5" in cross_dataset.markdown([found], decision)


@pytest.mark.parametrize("trained", [True, False])
def test_a_threshold_of_left_out_sources_is_told_beside_the_data_that_chose_it(trained):
    decision = DECISION | {"split": "left_out", "domains": {"noun": "source"}}
    found = plain(cross_dataset.row("demo", make_scores(), decision, trained=trained))
    assert (
        "chose the threshold, too, scored by trainings without" in cross_dataset.markdown([found], decision)
    ) == trained
    assert "chose the threshold, too" not in cross_dataset.markdown([found], DECISION)


@pytest.mark.parametrize("words", [["--strengths", "1"], ["--clips", "8"], ["--clips", "0"]])
def test_words_of_corruptions_without_any_are_refused(words, monkeypatch, capsys):
    """They changed nothing, without a word."""
    for name in ("use_all_cores", "connect"):  # of a process that has not used jax
        monkeypatch.setattr(command.process, name, lambda: None)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--workdir", "w", "--datasets", "d", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {words[0]} is of --corruptions; name some, or all\n"


def make_folder(root, seed):
    """Hum, and hum with a buzz on top as the fake."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", 8), ("val", 4), ("test", 5)):
        for label in ("real", "fake"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                t = np.arange(12_000) / 16_000
                x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * t) + 0.02 * rng.standard_normal(len(t))
                x += (label == "fake") * 0.1 * np.sign(np.sin(2 * np.pi * 1000 * t)) * rng.uniform(0.5, 1)
                soundfile.write(root / split / label / f"{i}.wav", x, 16_000)
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, data_dir, name/config of a second prepared folder)."""
    root = tmp_path_factory.mktemp("evaluate")
    sys.path.insert(0, str(ROOT))
    from experiments import audio_texture

    config = audio_texture.get_config("folder_audio")
    training = {"batch": 8, "steps": 4, "eval_every": 4, "log_every": 2}
    config.update({"data": {"seconds": 0.5}, "train": training})
    config.model.update({"kwargs": {"embedding": 16}})
    config.optim.warmup_steps = 2
    own, other = make_folder(root / "own", 0), make_folder(root / "other", 1)
    main_job.run(config, root / "run", name="small", data_dir=root / "data", source=own, progress=False)
    directory = prepare.prepare("folder_audio", other, root / "data", progress=False)
    return root / "run", root / "data", f"folder_audio/{directory.parent.name}"


@pytest.mark.slow
def test_another_dataset_is_scored_and_the_table_written(finished):
    folder, data_dir, other = finished
    rows = table.make(folder, ["folder_audio", other], data_dir=data_dir, progress=False)
    assert [r["dataset"] for r in rows] == ["folder_audio", other]
    assert all(r["real"] == r["fake"] == 5 for r in rows)
    assert json.loads((folder / "evaluation.json").read_text()) == rows
    assert other in (folder / "evaluation.md").read_text()
    scores = score_file.read(folder / "scores" / f"{other.replace('/', '-')}.test.csv")
    threshold = read_decision(folder / "decision.json")["threshold"]
    assert rows[1]["tuned"]["tp"] == int(((scores.score >= np.float32(threshold)) & (scores.label == 1)).sum())
    # a second call reads the scores back; the prepared data are not needed any more
    assert table.make(folder, ["folder_audio", other], data_dir="/nowhere", progress=False) == rows
    assert [r["trained"] for r in rows] == [True, False]


@pytest.mark.slow
def test_a_run_that_noted_its_data_by_the_sizes_of_files_still_knows_them(finished, tmp_path):
    folder, data_dir, other = finished
    old = pathlib.Path(shutil.copytree(folder, tmp_path / "old"))
    facts = json.loads((old / "environment.json").read_text())
    noted = facts["datasets"][0] if "datasets" in facts else facts["dataset"]
    (own,) = {path.name for path in (data_dir / "folder_audio").iterdir() if path.name.startswith("own-")}
    (directory,) = (data_dir / "folder_audio" / own).iterdir()
    assert noted["hash"] == sources.content_hash(directory)
    noted["hash"] = sources.content_hash(directory, sized=True)
    (old / "environment.json").write_text(json.dumps(facts))
    rows = table.make(old, [f"folder_audio/{own}", other], data_dir=data_dir, progress=False)
    assert [row["trained"] for row in rows] == [True, False]


@pytest.mark.slow
def test_scores_of_other_data_of_the_same_name_are_not_read_back(finished, tmp_path):
    folder, data_dir, other = finished
    (before,) = table.make(folder, [other], data_dir=data_dir, progress=False)
    path = folder / "scores" / f"{other.replace('/', '-')}.test.csv"
    made_of = score_file.read(path).header["data"]
    elsewhere = pathlib.Path(shutil.copytree(data_dir, tmp_path / "data"))
    (next((elsewhere / other).iterdir()) / "more.txt").write_text("prepared again")
    (again,) = table.make(folder, [other], data_dir=elsewhere, progress=False)
    assert again == before and score_file.read(path).header["data"] != made_of


@pytest.mark.slow
def test_what_is_wrong_with_any_dataset_comes_before_the_first_is_scored(finished, monkeypatch):
    """The second of two was refused after the first had been scored, and no table written."""
    folder, data_dir, other = finished
    monkeypatch.setattr(trained, "score_split", lambda *_: pytest.fail("scored"))
    monkeypatch.setattr(table, "_stored", lambda *_: None)  # as if nothing had been scored before
    names = [other, "folder_audio/none"]
    with pytest.raises(InputError, match=f"none is not prepared in .*; give one of {other}, folder_audio/own-"):
        table.make(folder, names, data_dir=data_dir, progress=False)
    with pytest.raises(InputError, match=f"none is not prepared in .*; give one of {other}, folder_audio/own-"):
        corrupted.make(folder, names, ["level"], strengths=[2], data_dir=data_dir, progress=False)


@pytest.mark.slow
def test_the_robustness_table_is_made_once_and_read_back(finished):
    folder, data_dir, other = finished
    words = {"strengths": [5, 1], "clips": 6, "data_dir": data_dir, "progress": False}
    found = corrupted.make(folder, [other], ["noise", "mp3"], **words)
    (one,) = found["datasets"]
    assert list(one["kinds"]) == ["noise", "mp3"] and list(one["kinds"]["mp3"]) == ["1", "5"]
    assert one["clean"]["real"] == one["clean"]["fake"] == one["kinds"]["mp3"]["5"]["fake"] == 3
    assert json.loads((folder / "robustness.json").read_text()) == found
    assert "| mp3 | 64 kbit/s | 16 kbit/s |" in (folder / "robustness.md").read_text()
    assert (folder / "figures" / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    paths = sorted((folder / "scores").glob("*.test.*-?.csv"))
    assert [path.name.split(".")[-2] for path in paths] == ["mp3-1", "mp3-5", "noise-1", "noise-5"]
    clean, noisy = (
        score_file.read(paths[0].with_name(f"{other.replace('/', '-')}.test.{case}.csv"))
        for case in ("clean", "noise-5")
    )
    whole = score_file.read(folder / "scores" / f"{other.replace('/', '-')}.test.csv")
    scores = dict(zip(whole.id.tolist(), whole.score.tolist(), strict=True))
    np.testing.assert_allclose(clean.score, [scores[name] for name in clean.id.tolist()], rtol=1e-6)
    assert not np.allclose(clean.score, noisy.score) and noisy.header["level"] == "SNR 0 dB"
    # what is there is read back; what is missing, or was made of another choice of clips, is made again
    assert corrupted.make(folder, [other], ["noise", "mp3"], **words | {"data_dir": "/nowhere"}) == found
    paths[0].unlink()
    assert corrupted.make(folder, [other], ["noise", "mp3"], **words) == found
    fewer = corrupted.make(folder, [other], ["noise"], **words | {"clips": 4})
    assert fewer["datasets"][0]["clean"]["real"] == 2


@pytest.mark.slow
def test_untypical_clips_are_told_as_the_detector_tells_them(finished):
    folder, data_dir, other = finished
    first = next((data_dir / "folder_audio").glob("own-*/*"))
    splits = {name: sources.open_split(first, name) for name in ("train", "validation")}
    trained.learn_typicality(folder, splits, seed=workdir.read_config(folder).seed)
    words = {"strengths": [5], "clips": 0, "data_dir": data_dir, "progress": False}
    (one,) = corrupted.make(folder, [other], ["resampling"], **words)["datasets"]
    judge = trained.load(folder)
    split = sources.open_split(next((data_dir / "folder_audio" / other.split("/")[1]).glob("*")), "test")
    for cell, strength in ((one["clean"], 0), (one["kinds"]["resampling"]["5"], 5)):
        verdicts = []
        for row, record in enumerate(split.records.__getitems__(list(range(len(split))))):
            if strength:
                record = corruptions.corrupt(record, "resampling", strength, str(split.id[row]))
            verdicts.append(judge(record["audio"])["verdict"])
        assert cell["uncertain"]["value"] == verdicts.count("uncertain") / len(verdicts)
    assert one["kinds"]["resampling"]["5"]["uncertain"]["value"] == 1


@pytest.mark.slow
def test_corruptions_that_do_not_fit_are_refused(finished):
    folder, data_dir, other = finished
    words = {"data_dir": data_dir, "progress": False}
    with pytest.raises(InputError, match="did you mean noise.*all, mp3"):
        corrupted.make(folder, [other], ["nois"], **words)
    with pytest.raises(InputError, match="h264 is no corruption of sound"):
        corrupted.make(folder, [other], ["mp3", "h264"], **words)
    with pytest.raises(InputError, match="strength 6"):
        corrupted.make(folder, [other], strengths=[6], **words)
    with pytest.raises(InputError, match="1 clips"):
        corrupted.make(folder, [other], clips=1, **words)
    path = folder / "decision.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"threshold": None, "status": "undefined"}))
    try:
        with pytest.raises(InputError, match="no usable threshold"):
            corrupted.make(folder, [other], **words)
    finally:
        path.write_text(kept)


@pytest.mark.slow
def test_mistakes_are_one_line(finished, tmp_path):
    folder, data_dir, _ = finished
    with pytest.raises(InputError, match="holds no run"):
        table.make(tmp_path, ["folder_audio"])
    with pytest.raises(InputError, match="expected one of"):
        table.make(folder, ["no_such_dataset"], data_dir=data_dir, progress=False)
    command = [sys.executable, "-m", "dfjax.evaluate", "--workdir", folder, "--datasets", " , "]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
