"""Compare and the decoupled head on a small folder of real files."""

import json
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
import soundfile

from dfjax import compare, prepare, rebalance
from dfjax.data import sources
from dfjax.decide import score_file
from dfjax.decide.decision import read_decision
from dfjax.decide.typicality import TYPICALITY
from dfjax.imbalance import smote
from dfjax.imbalance.ledger import Ledger
from dfjax.inference import bundle, trained
from dfjax.records import Input, InputError
from dfjax.training import linear_head, train

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUDY = str(ROOT / "experiments" / "imbalance_study.py")
CLIPS = {"train": (14, 6), "val": (8, 4), "test": (8, 4)}


def experiment(arm):
    sys.path.insert(0, str(ROOT))
    from experiments import imbalance_study

    config = imbalance_study.get_config(f"folder_audio+{arm}")
    words = {"batch": 8, "steps": 4, "eval_every": 4, "log_every": 2}
    config.update({"data": {"seconds": 0.5}, "train": words, "optim": {"warmup_steps": 2}})
    config.model.update({"name": "texture", "kwargs": {"embedding": 8, "dropout": 0.5}})
    return config


def recordings(root, clips=CLIPS):
    """Reals hum, fakes buzz; each its own speaker."""
    rng = np.random.default_rng(0)
    for split, counts in clips.items():
        for label, count in zip(("real", "fake"), counts, strict=True):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                t = np.arange(16000) / 16000
                x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * t) + 0.02 * rng.standard_normal(len(t))
                x += 0.1 * (label == "fake") * np.sign(np.sin(2 * np.pi * 1000 * t)) * rng.uniform(0.5, 1)
                soundfile.write(root / split / label / f"clip {i}.wav", x, 16000)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("media") / "recordings"
    recordings(root)
    return {"source": root, "data_dir": tmp_path_factory.mktemp("prepared"), "progress": False}


@pytest.mark.slow
def test_compare_shares_the_backbone_continues_and_resamples_training_data_only(words, tmp_path, monkeypatch):
    seen = []
    original = smote.resample

    def watched(embeddings, labels, *arguments, **keywords):
        seen.append(np.bincount(labels).tolist())
        return original(embeddings, labels, *arguments, **keywords)

    monkeypatch.setattr(smote, "resample", watched)
    configs = {arm: experiment(arm) for arm in ("plain", "balanced_sampling", "smote_head")}
    result = compare.compare(configs, 1, tmp_path, **words)
    assert seen == [list(CLIPS["train"])]
    assert list(result["experiments"]) == list(configs) and result["clips"] == sum(CLIPS["test"])
    assert json.loads((tmp_path / "compare.json").read_text()) == result
    assert (tmp_path / "compare.md").read_text().startswith("# 3 experiments, 1 seed, 12 test clips, 4 of")

    plain, head = (tmp_path / f"{name}-seed0" for name in ("plain", "smote_head"))
    states = {}
    for folder in (plain, head):
        states[folder] = dict(trained.restore(folder).params)
    assert not np.array_equal(states[plain].pop("head")["out"]["kernel"], states[head].pop("head")["out"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, states[plain], states[head])
    scores = score_file.read(head / "scores" / "folder_audio.test.csv")
    assert np.bincount(scores.label).tolist() == list(CLIPS["test"])
    ledger = Ledger.from_json(scores.header["ledger"])
    assert abs(ledger.sampling - np.log(14 / 6)) < 1e-6
    assert read_decision(head / "decision.json")["calibration"]["ledger"]["sampling"] == ledger.sampling

    known = (plain / TYPICALITY).read_bytes()
    assert (head / TYPICALITY).read_bytes() == known and trained.load(head).typicality is not None
    directory = prepare.prepare_data(experiment("plain").data, words["source"], words["data_dir"], progress=False)
    splits = {split: sources.open_data(experiment("plain").data, directory, split) for split in ("train", "validation")}
    seed = experiment("smote_head").seed
    trained.learn_typicality(head, splits, seed=seed)  # the new checkpoint would have learnt the same
    assert (head / TYPICALITY).read_bytes() == known

    def never(*_, **__):
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(train, "train", never)
    monkeypatch.setattr(rebalance, "rebalance", never)
    assert compare.compare(configs, 1, tmp_path, **words) == result


def test_what_is_typical_is_the_backbones_and_learnt_where_that_has_none(tmp_path, monkeypatch):
    learnt = []
    monkeypatch.setattr(trained, "learn_typicality", lambda folder, splits, seed: learnt.append(folder))
    for name in ("backbone", "result"):
        (tmp_path / name).mkdir()
    words = tmp_path / "result", tmp_path / "backbone", {}
    rebalance.keep_typicality(*words, seed=0)
    assert learnt == [tmp_path / "result"]
    (tmp_path / "backbone" / TYPICALITY).write_bytes(b"known")
    rebalance.keep_typicality(*words, seed=0)
    assert (tmp_path / "result" / TYPICALITY).read_bytes() == b"known" and len(learnt) == 1


def test_arms_of_a_study_are_expanded_unless_one_is_named():
    found = compare.experiments([f"{STUDY}:folder_audio"])
    assert list(found)[:2] == ["plain", "class_weights"] and len(found) == 10
    assert {config.data.dataset for config in found.values()} == {"folder_audio"}
    one = compare.experiments([f"{STUDY}:folder_audio+focal", f"{STUDY}:both"])
    assert list(one) == ["imbalance_study-focal", "imbalance_study-both"]
    assert one["imbalance_study-focal"].loss.kwargs.gamma == 2.0


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["no_such_file.py"], "there is no experiment no_such_file.py"),
        ([__file__], "is no experiment file .*no get_config"),
        ([f"{STUDY}:folder_audio+foca"], "Unknown arm 'foca'; expected one of"),
        ([f"{STUDY}:focal", f"{STUDY}:folder_audio+focal"], "names 'imbalance_study-focal' twice"),
    ],
)
def test_what_is_no_experiment_is_one_line(specs, message):
    with pytest.raises(InputError, match=message):
        compare.experiments(specs)


def test_a_run_on_ones_own_folder_is_given_that_folder_again(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(rebalance, "finish", lambda config, folder, **words: seen.update(words, folder=folder) or {})
    for name in ("use_all_cores", "connect"):  # of a process that has not used jax
        monkeypatch.setattr(rebalance.process, name, lambda: None)
    (tmp_path / "config.json").write_text(experiment("plain").to_json())
    words = ["--workdir", str(tmp_path), "--method", "smote", "--source", "RECORDINGS", "--data_dir", "prepared"]
    monkeypatch.setattr(sys, "argv", ["rebalance", *words, "--json"])
    rebalance.main()
    assert (seen["source"], seen["data_dir"], seen["backbone"]) == ("RECORDINGS", "prepared", tmp_path)


@pytest.mark.parametrize("given", [".", "scores/..", "../run/", "../run"])
def test_from_inside_a_runs_folder_the_result_goes_beside_it(given, tmp_path, monkeypatch):
    """`--workdir .` ended in a traceback, and of `..` the result went into ..-smote."""
    seen = {}
    monkeypatch.setattr(rebalance, "finish", lambda config, folder, **words: seen.update(words, folder=folder) or {})
    for name in ("use_all_cores", "connect"):  # of a process that has not used jax
        monkeypatch.setattr(rebalance.process, name, lambda: None)
    (tmp_path / "run" / "scores").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(experiment("plain").to_json())
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["rebalance", "--workdir", given, "--method", "smote", "--json"])
    rebalance.main()
    assert seen["name"] == "run-smote" and seen["folder"].resolve() == tmp_path / "run-smote"
    assert seen["backbone"] == pathlib.Path(given)


def test_an_unknown_head_is_refused_before_anything_is_written(tmp_path):
    config = experiment("smote_head")
    config.balance.head = "smot"
    with pytest.raises(InputError, match="config.balance.head='smot': expected one of '', 'random_over'"):
        rebalance.finish(config, tmp_path / "new", name="x")
    assert not (tmp_path / "new").exists()


def test_the_head_of_a_network_with_two_logits_is_fitted_again(tmp_path, monkeypatch):
    """Its checkpoint had one logit and could not be read: an error that named shapes, after all was trained."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 30 + [1] * 10)
    embeddings = rng.normal(size=(40, 4)).astype(np.float32) + labels[:, None]
    head = {"out": {"kernel": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)}}
    network = types.SimpleNamespace(
        params={"body": np.ones(3), "head": head}, graphdef=None, model_state={}, step=3, takes=Input("audio", None, 4)
    )
    saved = []
    monkeypatch.setattr(trained, "restore", lambda _: network)
    names = dict.fromkeys(("id", "clip", "group", "method", "domain", "of"), np.arange(40).astype(str))
    split = sources.Split("train", "made", [], labels, **names, subgroups={})
    monkeypatch.setattr(sources, "open_data", lambda *_: split)
    monkeypatch.setattr(rebalance.scorers, "make_embedder", lambda *_: None)
    monkeypatch.setattr(rebalance.scorers, "score_split", lambda *_: embeddings)
    monkeypatch.setattr(rebalance.checkpoint, "save", lambda _, state, metrics: saved.append(state))
    found = rebalance.rebalance(experiment("smote_head"), tmp_path, tmp_path, {})
    (state,) = saved
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, network.params)
    fake, real = (embeddings @ np.asarray(state.params["head"]["out"]["kernel"])).T
    fitted = linear_head.fit(found.embeddings, found.labels)["out"]
    np.testing.assert_allclose(fake - real, (embeddings @ fitted["kernel"])[:, 0], rtol=1e-4, atol=1e-5)
    bias = np.asarray(state.params["head"]["out"]["bias"])
    np.testing.assert_allclose(bias[0] - bias[1], fitted["bias"][0], rtol=1e-5)


@pytest.mark.parametrize("loss", ["am_softmax", "oc_softmax"])
def test_a_head_that_is_not_linear_is_refused_before_its_backbone_is_trained(loss, tmp_path):
    config = experiment("smote_head")
    config.model.kwargs.members = 1
    config.loss = {"name": loss, "kwargs": {}}
    for call in (
        lambda: rebalance.finish(config, tmp_path / "new", name="x"),
        lambda: compare.compare({"x": config}, 1, tmp_path / "new"),
    ):
        with pytest.raises(InputError, match=f"head of texture with loss '{loss}' is not linear"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"train": (4, 4), "val": (2, 2), "test": (2, 2)}, "4 real and 4 fake rows are balanced already; smote has"),
        ({"train": (4, 1), "val": (2, 2), "test": (2, 2)}, "smaller class, which has one; use random_over"),
        ({"train": (4, 2), "val": (2, 2), "test": (2, 0)}, "has 2 real and 0 fake test clips"),
    ],
)
def test_data_that_cannot_be_resampled_leave_no_folder(tmp_path, clips, message):
    """A folder was left that every other method refused as another run's."""
    recordings(tmp_path / "recordings", clips)
    words = {"source": tmp_path / "recordings", "data_dir": tmp_path / "prepared", "progress": False}
    with pytest.raises(InputError, match=message):
        rebalance.finish(experiment("smote_head"), tmp_path / "new", name="x", **words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("which", ["new", "backbone"])
def test_other_data_than_a_run_began_on_are_refused(words, tmp_path, which):
    """A finished one gave its report whatever folder was named."""
    workdir = tmp_path / which
    workdir.mkdir()
    config = experiment("smote_head")
    (workdir / "config.json").write_text((config if which == "new" else rebalance.without_head(config)).to_json())
    (workdir / "report.json").write_text("{}")
    facts = {"dataset": {"name": "folder_audio", "version": "1.0.0", "hash": "0123456789abcdef"}}
    (workdir / "environment.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"began on folder_audio 1.0.0 \(0123456789abcdef\), now it is"):
        rebalance.finish(config, tmp_path / "new", name="x", backbone=tmp_path / "backbone", **words)
    assert which == "new" or not (tmp_path / "new").exists()


def test_the_arms_have_network_data_and_steps_of_the_experiment_that_the_study_names():
    sys.path.insert(0, str(ROOT))
    from experiments import audio_texture, imbalance_study

    plain, texture = imbalance_study.get_config().to_dict(), audio_texture.get_config().to_dict()
    for config in (plain, texture):
        del config["balance"], config["loss"]
    assert plain == texture


def test_the_baseline_differs_from_the_focal_experiment_in_loss_and_sampling_alone():
    sys.path.insert(0, str(ROOT))
    from experiments import audio_baseline, audio_focal

    plain, focal = audio_baseline.get_config().to_dict(), audio_focal.get_config().to_dict()
    assert plain.pop("loss") == {"name": "binary_cross_entropy", "kwargs": {}}
    assert plain.pop("balance") == {"sampling": "natural", "allow_stacking": False}
    assert focal.pop("loss") == {"name": "focal", "kwargs": {"gamma": 2.0}}
    assert focal.pop("balance") == {"sampling": "balanced", "allow_stacking": False}
    assert plain == focal


def test_a_bundle_is_no_backbone(monkeypatch, tmp_path):
    """It would have been trained on, in the folder that its manifest seals."""
    (tmp_path / bundle.MANIFEST).write_text("{}")
    monkeypatch.setattr(sys, "argv", ["rebalance", "--workdir", str(tmp_path), "--method", "smote"])
    with pytest.raises(InputError, match="is a bundle, which stays as it was sealed; give the run"):
        rebalance.main()
    assert [path.name for path in tmp_path.iterdir()] == [bundle.MANIFEST]
