"""What a detector was trained on is described record by record, stored in the workdir, and judged when it is called."""

import concurrent.futures
import dataclasses
import pathlib
import sys

import numpy as np
import pytest
import soxr
from flax import nnx

from dfjax import models
from dfjax.data import corrupted, sources
from dfjax.decide import calibration, traces
from dfjax.inference import detector, reference, scorers, scoring
from dfjax.media import corruptions, properties
from dfjax.models import functional
from dfjax.records import SAMPLE_RATE, InputError
from dfjax.runtime import devices
from tests import prepared

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNTS = {"train": (60, 12), "validation": (40, 8), "test": (30, 6)}


@pytest.fixture(scope="module")
def experiment():
    sys.path.insert(0, str(ROOT))
    from experiments import audio_texture

    config = audio_texture.get_config("folder_audio")
    config.train.batch = 8
    config.model.update({"kwargs": {"embedding": 8}})
    return config


@pytest.fixture(scope="module")
def untrained(experiment):
    model = experiment.model
    built = functional.make_builder(model.name, model.kwargs.to_dict(), experiment.loss.name)(nnx.Rngs(0))
    takes = models.input_of(model.name, model.kwargs)
    return scorers.Network(*functional.split(built), takes=takes, batch=experiment.train.batch)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = prepared.make(tmp_path_factory.mktemp("prepared"), counts=COUNTS, seconds=1.0)
    return {name: sources.open_split(folder, name) for name in COUNTS}


@pytest.fixture(scope="module")
def learnt(untrained, splits):
    return reference.fit_typicality(untrained, splits)


@pytest.fixture(scope="module")
def judge(untrained, learnt):
    mesh = devices.make_mesh()
    run, sharding = scorers.make_judge(untrained.graphdef, mesh, embedding=True), devices.split_batch(mesh)

    def outputs(examples):
        batch = devices.put(scoring.stack(examples, 8), sharding)
        return run(untrained.params, untrained.model_state, batch)

    decision = {"threshold": 0.0, "calibration": {"method": "none", "slope": 1.0, "intercept": 0.0}}
    return detector.Detector("resnet_small", outputs, decision, untrained.takes, len, ("audio", {}), typicality=learnt)


@pytest.fixture(autouse=True)
def uncalibrated(monkeypatch):
    monkeypatch.setattr(calibration, "apply", lambda scores, _: 1 / (1 + np.exp(-scores)))


def test_records_are_described_in_the_order_asked_for(untrained, splits):
    split = splits["test"]
    embeddings, found = reference.describe(untrained, split)
    some, others = reference.describe(untrained, split, [7, 2, 30])
    assert embeddings.shape[0] == len(split) and set(found) >= {"bandwidth", "loudness", "voiced"}
    np.testing.assert_allclose(some, embeddings[[7, 2, 30]], rtol=1e-5, atol=1e-5)
    for name, column in others.items():
        np.testing.assert_array_equal(column, found[name][[7, 2, 30]])
        assert column[0] == pytest.approx(properties.measure(split.records[7])[name], nan_ok=True)


def test_clips_of_the_training_data_are_typical_and_of_the_test_data_too(untrained, splits, learnt):
    for name in COUNTS:
        assert learnt.atypical(*reference.describe(untrained, splits[name])).mean() <= 0.1
    again = reference.fit_typicality(untrained, splits)
    np.testing.assert_array_equal(again.held, learnt.held)
    assert again.ranges == learnt.ranges and len(learnt.held) == len(splits["validation"])


def test_traces_of_codecs_are_looked_for_where_three_domains_are_known(untrained, splits, learnt):
    known = [name for name in reference.CODECS if not corruptions.missing(corruptions.SOUND[name])]
    assert list(learnt.traces) == known
    two = {"train": sources.select(splits["train"], splits["train"].domain != "site2")}
    assert not reference.fit_typicality(untrained, two).traces
    embeddings, _ = reference.describe(untrained, splits["train"])
    for name, (strength, share, few) in reference.CODECS.items():
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            coded, _ = reference.describe(untrained, corrupted.view(splits["train"], name, strength, pool))
        same = traces.fit(embeddings, coded, splits["train"].domain, share, few)
        assert learnt.traces[name].bit_rate == few and learnt.traces[name].found == pytest.approx(same.found, abs=0.05)
        np.testing.assert_allclose(learnt.traces[name].weights, same.weights, rtol=1e-3, atol=1e-3)
        assert learnt.traces[name].cut == pytest.approx(same.cut, rel=1e-3, abs=1e-3)


def test_without_validation_records_training_groups_are_held_back_in_turn(untrained, splits):
    alone = reference.fit_typicality(untrained, {"train": splits["train"]})
    assert len(alone.held) == len(splits["train"]) and "in turn" in alone.basis


def test_what_the_detector_was_not_trained_on_is_uncertain_and_says_why(judge, splits):
    clip = splits["test"].records[0]["audio"]
    plain = judge(clip)
    assert plain["verdict"] == ("fake" if plain["score"] >= 0 else "real")
    assert plain["typicality"]["reasons"] == plain["reasons"] == []
    telephone = judge(soxr.resample(soxr.resample(clip / 32768, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE))
    assert telephone["verdict"] == "uncertain" and any("as of a telephone" in r for r in telephone["reasons"])
    assert {"score", "probability", "threshold"} <= telephone.keys()
    rng = np.random.default_rng(0)
    noise = judge(0.1 * rng.standard_normal(SAMPLE_RATE))
    assert noise["verdict"] == "uncertain" and any("as of noise" in r for r in noise["reasons"])
    quiet = judge(clip // 256)
    assert any("nearly silent" in reason for reason in quiet["reasons"])


def test_a_long_file_is_what_most_of_its_windows_are(judge, splits):
    rng = np.random.default_rng(0)
    speech = np.concatenate([splits["test"].records[k]["audio"] for k in range(20)])
    hiss = (3000 * rng.standard_normal(len(speech))).astype(np.int16)
    count = len(judge(speech)["windows"])
    assert count > 3
    mostly = np.concatenate([speech, hiss[: len(speech) // 6]])
    assert not any("flatness" in reason for reason in judge(mostly)["reasons"])
    assert any("flatness" in reason for reason in judge(np.concatenate([speech[: len(hiss) // 6], hiss]))["reasons"])


def test_a_detector_without_typicality_judges_as_before_and_a_band_gives_no_verdict(judge, splits):
    clip = splits["test"].records[0]["audio"]
    before = dataclasses.replace(judge, typicality=None)
    result = before(0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE))
    assert result["verdict"] in ("real", "fake") and result["typicality"] is None and result["reasons"] == []
    score = judge(clip)["score"]
    band = {"rate": 0.1, "real_below": score - 1, "fake_from": score + 1, "undecided": 0.5}
    undecided = dataclasses.replace(judge, decision=judge.decision | {"band": band})(clip)
    assert undecided["verdict"] == "uncertain" and "no verdict" in undecided["reasons"][0]
    assert undecided["typicality"]["reasons"] == []
    beyond = band | {"real_below": score + 1, "fake_from": score + 2}
    assert dataclasses.replace(judge, decision=judge.decision | {"band": beyond})(clip)["verdict"] != "uncertain"


@pytest.mark.parametrize("modality", ["image", "av"])
def test_pictures_and_sound_with_pictures_are_described_too(modality, tmp_path):
    split = sources.open_split(prepared.make(tmp_path, counts={"train": (4, 2)}, modality=modality), "train")
    found = properties.measure(split.records[0])
    assert {"size", "blockiness", "sharpness"} <= found.keys() and ("loudness" in found) == (modality == "av")


class Broken(list):
    """Records whose pictures are damaged."""

    def __getitems__(self, rows):
        return [self[row] | {"image": b"no picture"} for row in rows]


def test_a_picture_that_cannot_be_decoded_is_the_users_mistake(untrained, tmp_path):
    split = sources.open_split(prepared.make(tmp_path, counts={"train": (4, 2)}, modality="image"), "train")
    broken = dataclasses.replace(split, records=Broken(split.records[i] for i in range(len(split))))
    from experiments import image_focal

    model = image_focal.get_config("folder_image").model
    takes = models.input_of(model.name, model.kwargs)
    with pytest.raises(InputError, match="the picture cannot be decoded; check the file, or prepare the dataset again"):
        reference.describe(dataclasses.replace(untrained, takes=takes), broken)


def test_looks_are_spread_over_a_clip():
    assert properties.looks(1).tolist() == [0] and not len(properties.looks(0))
    assert properties.looks(5).tolist() == [0, 1, 2, 3, 4]
    many = properties.looks(100)
    assert len(many) == properties.LOOKS and (many[0], many[-1]) == (0, 99)
