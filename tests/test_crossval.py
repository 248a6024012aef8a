"""Leaving sources out, end to end on small folders: what is trained without what, the decision, continuing."""

import contextlib
import csv
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile

from dfjax import crossval, prepare, tune
from dfjax.data import precomputed, sources, vocode
from dfjax.decide import score_file
from dfjax.decide.decision import decide, read_decision, write_decision
from dfjax.inference import bundle, ship, trained
from dfjax.records import InputError
from experiments import audio_sources
from tests import commands

SITES = ("alpha", "beta", "gamma")
SAMPLES = 8_000  # of every clip


def clip(rng, fake):
    time = np.arange(SAMPLES) / 16_000
    x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * time) + 0.02 * rng.standard_normal(len(time))
    return x + 0.1 * np.sign(np.sin(2 * np.pi * 1000 * time)) * fake


def folder(root, splits):
    rng, rows = np.random.default_rng(len(splits)), []
    for split, count in splits.items():
        for label in ("real", "fake"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                file = f"{split}/{label}/{i}.wav".lstrip("/")
                soundfile.write(root / file, clip(rng, label == "fake"), 16_000)
                rows.append({"file": file, "source": SITES[i % 3] if not split else root.name, "generator": "buzz"})
    with open(root / "metadata.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    return f"{folder(root / 'sites', {'': 12})},{folder(root / 'own', {'train': 6, 'val': 4, 'test': 4})}"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


def experiment():
    config = audio_sources.get_config("sites-whole,own=2")
    config.data.seconds = SAMPLES / 16_000
    config.model.kwargs.update({"landmarks": 24, "speeds": (1.0,)})
    config.train.update({"steps": 4, "eval_every": 4, "batch": 8})
    config.augment.codec_rate = 0.0
    return config


@pytest.fixture(scope="module")
def done(media, data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "sources"
    words = {"name": "small", "data_dir": data_dir, "source": media, "progress": False}
    traced = []

    def resynthesise(key, x):  # what compiles at once
        traced.append(x.shape)
        return 0.5 * x + 0.02 * jax.random.normal(key, x.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocode, "resynthesise", resynthesise)
        patch.setattr(precomputed, "ROWS", 4)  # few clips: blocks are filled up
        result = crossval.crossval(experiment(), workdir, seeds=2, **words)
    assert set(traced) == {(1, SAMPLES)}  # each training makes fakes, of one clip at a time
    return workdir, result, words


def test_each_source_is_judged_by_a_training_without_it(done):
    workdir, result, _ = done
    scores = score_file.read(workdir / "scores" / "left_out.csv")
    assert set(scores.domain.tolist()) == {*SITES, "own"} and len(set(scores.id.tolist())) == len(scores) == 24 + 20
    for seed in (0, 1):
        for site in SITES:
            fold = workdir / "folds" / f"seed{seed}" / site
            assert json.loads((fold / "config.json").read_text())["data"]["leave_out"] == {
                "by": "domain",
                "value": site,
            }
            assert set(score_file.read(fold / "scores" / "left_out.csv").domain.tolist()) == {site}
            steps = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
            assert steps and not any("learning_rate" in row for row in steps)  # Newton steps have none; 1.0 was noted
    assert {row["domain"] for row in result["rows"]} == {*SITES, "own"}
    assert result == json.loads((workdir / "crossval.json").read_text()) and result["mean_auc"]["value"] > 0.9


def test_mean_over_seeds(done):
    workdir, _, _ = done
    whole = score_file.read(workdir / "scores" / "left_out.csv")
    each = [score_file.read(workdir / "scores" / f"left_out.seed{seed}.csv") for seed in (0, 1)]
    np.testing.assert_allclose(whole.score, np.mean([scores.score for scores in each], axis=0), rtol=1e-6)


def test_the_threshold_is_chosen_on_what_was_left_out_and_the_report_says_so(done):
    workdir, _, _ = done
    decision = read_decision(workdir / "decision.json")
    assert decision["split"] == "left_out" and decision["domains"]["count"] == 4
    assert (
        "never heard" in (workdir / "report.md").read_text() and "never heard" in (workdir / "report.html").read_text()
    )


def test_what_auto_means_for_all_data_it_means_for_every_fold(media, data_dir, tmp_path, monkeypatch):
    """A fold has fewer groups: drawn in another way its scores lay elsewhere than those of the detector of all."""
    config, seen = experiment(), []
    config.balance.sampling = "auto"
    counted = []

    def auto(real, fake, groups):
        counted.append(real)
        return "balanced_sampling" if real == max(counted) else "natural"

    monkeypatch.setattr("dfjax.imbalance.balance.auto", auto)

    def folds(fold, *_):
        seen.append(fold.balance.sampling)
        raise InterruptedError

    monkeypatch.setattr(crossval, "_left_out", folds)
    with pytest.raises(InterruptedError):
        crossval.crossval(config, tmp_path / "w", name="small", data_dir=data_dir, source=media, progress=False)
    assert seen == ["balanced"] and config.balance.sampling == "auto"


@pytest.mark.parametrize("same", [True, False])
def test_folds_begun_with_auto_go_on_where_it_meant_the_same(same, media, data_dir, tmp_path, monkeypatch):
    """As versions before began them."""
    config, seen, counted = experiment(), [], []
    config.balance.sampling = "auto"

    def auto(real, fake, groups):
        counted.append(real)
        return "balanced_sampling" if same or real == max(counted) else "natural"

    def folds(fold, *_):
        seen.append(fold.balance.sampling)
        raise InterruptedError

    monkeypatch.setattr("dfjax.imbalance.balance.auto", auto)
    monkeypatch.setattr(crossval, "_left_out", folds)
    begun = tmp_path / "w" / "folds" / "seed0" / "alpha"
    begun.mkdir(parents=True)
    (tmp_path / "w" / "config.json").write_text(config.to_json())
    (begun / "config.json").write_text(crossval.without(config, "domain", "alpha", 0).to_json())
    words = {"name": "small", "data_dir": data_dir, "source": media, "progress": False}
    refusal = pytest.raises(InputError, match=r"meant \['natural'\] in trainings without a domain and 'balanced' in")
    with pytest.raises(InterruptedError) if same else refusal:
        crossval.crossval(config, tmp_path / "w", **words)
    assert seen == (["auto"] if same else []) and (tmp_path / "w" / "environment.json").exists() == same


def test_folds_alone_need_validation_clips_and_no_test_clips(data_dir, tmp_path):
    folder(tmp_path / "mine", {"": 12})
    config = audio_sources.get_config("mine-whole")
    words = {"name": "small", "data_dir": data_dir, "source": str(tmp_path / "mine"), "progress": False}
    with pytest.raises(InputError, match="has no validation split; a run needs"):
        crossval.crossval(config, tmp_path / "w", whole=False, **words)
    assert not (tmp_path / "w").exists()


def test_the_same_call_trains_nothing_again(done, monkeypatch):
    workdir, result, words = done
    monkeypatch.setattr("dfjax.training.train.train", lambda *_, **__: pytest.fail("trained again"))
    assert crossval.crossval(experiment(), workdir, seeds=2, **words) == result


def test_more_seeds_later_decide_again(done, tmp_path):
    folder, _, words = done
    workdir = tmp_path / "again"
    shutil.copytree(folder, workdir)
    before = json.loads((workdir / "decision.json").read_text())
    assert before["seeds"] == [0, 1]
    crossval.crossval(experiment(), workdir, seeds=1, **words)  # as if the second had come later
    fewer = json.loads((workdir / "decision.json").read_text())
    assert fewer["seeds"] == [0] and fewer["threshold"] != before["threshold"]
    assert json.loads((workdir / "report.json").read_text())["threshold"]["value"] == fewer["threshold"]
    crossval.crossval(experiment(), workdir, seeds=2, **words)
    assert json.loads((workdir / "decision.json").read_text()) == before


def test_other_data_are_not_mixed_in(done, media, data_dir, tmp_path):
    """The folds that were there would be of the data before, the others of those now."""
    shutil.copy(done[0] / "config.json", tmp_path)
    facts = json.loads((done[0] / "environment.json").read_text())
    of = {one["name"]: one for one in facts["datasets"]}
    assert set(of) == {"sites-whole", "own"}
    of["own"]["hash"] = "0123456789abcdef"
    (tmp_path / "environment.json").write_text(json.dumps(facts))
    words = {"name": "small", "data_dir": data_dir, "source": media, "progress": False}
    with pytest.raises(InputError, match=r"began on own .*\(0123456789abcdef\), now it is"):
        crossval.crossval(experiment(), tmp_path, **words)
    assert not (tmp_path / "folds").exists()


@pytest.mark.slow
def test_a_detector_of_plain_files_gives_the_same_verdicts(done, media, tmp_path):
    workdir, _, _ = done
    ship.ship(workdir, tmp_path / "shipped")
    path = f"{media.partition(',')[0]}/fake/0.wav"
    wanted = trained.load(workdir)(path)
    assert trained.load(tmp_path / "shipped")(path) == wanted
    assert bundle.load(tmp_path / "shipped")(path) == wanted


def test_one_source_cannot_be_left_out(tmp_path, data_dir):
    source = folder(tmp_path / "lonely", {"train": 6, "val": 4, "test": 4})
    config = experiment()
    with config.unlocked():
        config.data.datasets = {"folder_audio/lonely": 1.0}
    words = {"name": "small", "data_dir": data_dir, "source": str(source), "progress": False}
    with pytest.raises(InputError, match="holds one domain .* so none can be left out"):
        crossval.crossval(config, tmp_path / "w", **words)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"real": "a", "fake": "b"},
            "without the domain 'a' training needs examples of both classes, got 0 real and 6",
        ),
        ({"real": "a", "fake": "a", "more": "b"}, "without the domain 'a' .*got 0 real and 0 fake.* that it has alone"),
    ],
)
def test_a_source_that_training_cannot_do_without_is_said_before_the_first(tmp_path, data_dir, rows, message):
    """It was said when its turn came, after the trainings before it."""
    source = folder(tmp_path / "".join(rows.values()), {"train": 6, "val": 4, "test": 4})
    names = [
        f"{split}/{label}/{i}.wav" for split in ("train", "val", "test") for label in ("real", "fake") for i in range(4)
    ]
    names += [f"train/{label}/{i}.wav" for label in ("real", "fake") for i in (4, 5)]
    where = lambda name: rows["more"] if "more" in rows and name.endswith("0.wav") else rows[name.split("/")[1]]  # noqa: E731
    speaker = "ann" if "more" in rows else ""
    (source / "metadata.csv").write_text(
        "file,source,speaker\n" + "".join(f"{n},{where(n)},{speaker}\n" for n in names)
    )
    config = experiment()
    with config.unlocked():
        config.data.datasets = {f"folder_audio/{source.name}": 1.0}
    words = {"name": "small", "data_dir": data_dir, "source": str(source), "progress": False}
    with pytest.raises(InputError, match=message):
        crossval.crossval(config, tmp_path / "w", **words)
    assert not (tmp_path / "w").exists()


def test_leaving_out_something_else_takes_another_folder(done):
    """Its scores lay in the files of the first, whose decision stood."""
    workdir, _, words = done
    with pytest.raises(InputError, match="leaves each domain out, not each method; give another --workdir"):
        crossval.crossval(experiment(), workdir, by="method", seeds=2, **words)


def test_test_clips_choose_nothing_and_have_a_file_of_their_own(done):
    """They were among the scores that the threshold was chosen on."""
    workdir, result, _ = done
    test = set(score_file.read(workdir / "scores" / "sources.test.csv").id.tolist())
    left_out, tested = (
        score_file.read(workdir / "scores" / f"{stem}.csv") for stem in (crossval.LEFT_OUT, crossval.TESTED)
    )
    assert test == set(tested.id.tolist()) and not test & set(left_out.id.tolist()) and len(test) == 8
    assert result["clips"] == len(left_out) and sum(row["real"] + row["fake"] for row in result["rows"]) == len(
        left_out
    )
    with pytest.raises(InputError, match="these are scores of the split 'test'"):
        decide(tested)
    assert tested.header["seeds"] == left_out.header["seeds"] == [0, 1] and set(tested.domain.tolist()) == {"own"}
    own = workdir / "folds" / "seed0" / "own" / "scores"
    assert set(score_file.read(own / "left_out_test.csv").id.tolist()) == test
    assert not (workdir / "folds" / "seed0" / "alpha" / "scores" / "left_out_test.csv").exists()
    assert "score is the mean of 2 trainings" in (workdir / "report.md").read_text()


@pytest.mark.slow
def test_what_earlier_versions_left_with_test_clips_among_it_chooses_nothing(done, tmp_path, monkeypatch, capsys):
    """The folds are scored again and the decision is made again; tune said that test was not used for the choice."""
    folder, result, words = done
    workdir = tmp_path / "before"
    shutil.copytree(folder, workdir)
    places = [workdir / "folds" / f"seed{seed}" / "own" / "scores" for seed in (0, 1)]
    for at in (workdir / "scores", *places):
        both = [score_file.read(at / f"{stem}.csv") for stem in (crossval.LEFT_OUT, crossval.TESTED)]
        score_file.write(at / "left_out.csv", crossval._together(both, both[0].header))
        (at / "left_out_test.csv").unlink()
    write_decision(workdir / "decision.json", decide(score_file.read(workdir / "scores" / "left_out.csv")))
    assert read_decision(workdir / "decision.json") != read_decision(folder / "decision.json")
    assert commands.called(monkeypatch, tune.main, "--workdir", workdir, "--split", "left_out") == 2
    assert "8 test clips are among the scores of what was left out" in capsys.readouterr().err
    assert crossval.crossval(experiment(), workdir, seeds=2, **words) == result
    assert read_decision(workdir / "decision.json") == read_decision(folder / "decision.json")
    assert commands.called(monkeypatch, tune.main, "--workdir", workdir, "--split", "left_out") == 0


def test_test_clips_beside_a_method_are_found_behind_its_name():
    text = lambda *names: np.array(names)  # noqa: E731
    columns = {name: text("buzz: a", "buzz: b") for name in ("id", "clip", "group")}
    left_out = score_file.Scores(
        **columns, label=np.array([0, 1]), method=text("", "buzz"), score=np.zeros(2), domain=text("buzz", "buzz")
    )
    for name, there in (("a", True), ("c", False)):
        test = score_file.Scores(
            **dict.fromkeys(("id", "clip", "group"), text(name)),
            label=np.array([0]),
            method=text(""),
            score=np.zeros(1),
        )
        with pytest.raises(InputError, match="1 test clips are among") if there else contextlib.nullcontext():
            tune.check_left_out(left_out, test)


def test_beside_a_method_stand_reals_that_choose_and_others_that_are_tested(done, data_dir, media):
    _, _, words = done
    config = experiment()
    directories = prepare.prepare_data(config.data, words["source"], data_dir, progress=False)
    splits = {name: sources.open_data(config.data, directories, name) for name in ("train", "validation", "test")}
    found = crossval._parts(splits, "method", "buzz")
    assert [part.name for part in found[crossval.LEFT_OUT]] == ["train", "validation"]
    assert [part.name for part in found[crossval.TESTED]] == ["test"]
    counts = {part.name: np.bincount(part.label).tolist() for parts in found.values() for part in parts}
    assert counts == {"train": [0, 18], "validation": [4, 4], "test": [4, 4]}  # none that was learnt from


def test_more_seeds_keep_what_tune_added_and_another_choice_is_told(done, tmp_path, capsys):
    """The share of fakes in use went back to that of the data, and the band, without a word."""
    folder, _, words = done
    workdir = tmp_path / "kept"
    shutil.copytree(folder, workdir)
    scores = score_file.read(workdir / "scores" / "left_out.seed0.csv")
    scores.header["seeds"] = [0]
    write_decision(workdir / "decision.json", decide(scores, "balanced_accuracy", abstain=0.1, deploy_prior=0.01))
    crossval.crossval(experiment(), workdir, seeds=2, **words)
    again = read_decision(workdir / "decision.json")
    assert again["seeds"] == [0, 1] and again["band"]["rate"] == 0.1 and again["calibration"]["deploy_prior"] == 0.01
    assert "is for 1 % fakes in use" in (workdir / "report.md").read_text()
    assert "is for 1 % fakes in use" in (workdir / "report.html").read_text()
    write_decision(workdir / "decision.json", decide(scores, "youden"))
    crossval.crossval(experiment(), workdir, seeds=2, **words)
    assert "is of youden on the scores of before; tune it again: python -m dfjax.tune" in capsys.readouterr().err
    validation = score_file.read(workdir / "scores" / "sources.validation.csv")
    write_decision(workdir / "decision.json", decide(validation, "f1"))
    crossval.crossval(experiment(), workdir, seeds=2, **words)
    told = capsys.readouterr()
    assert f"is of validation scores; for the left-out ones: python -m dfjax.tune --workdir {workdir}" in told.err
    assert not told.out and read_decision(workdir / "decision.json")["split"] == "validation"


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    words = [
        "--config",
        "experiments/audio_sources.py:none",
        "--workdir",
        str(tmp_path / "w"),
        "--data_dir",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dfjax", "crossval", *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--source none=FOLDER" in done.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", ["..", ".", "a/../b", ""])
def test_a_sources_folder_is_inside_the_workdir_whatever_its_name(name):
    slug = crossval._slug(name)
    assert slug.strip(".") and "/" not in slug
