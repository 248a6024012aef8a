"""What a detector takes from Python: the same verdict on what is the same, one line on what is nothing to judge."""

import dataclasses
import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.inference.detector import MAX_OVERLAP, Detector, with_face_model
from dfjax.media import faces
from dfjax.records import Input, InputError
from tests.data_builders import fixtures

DECISION = {"threshold": 0.1, "calibration": {"method": "none", "slope": 1.0, "intercept": 0.0}}
SAMPLES = np.random.default_rng(0).integers(-8192, 8192, 150_000).astype(np.int16)


def loud(examples):
    return {"score": np.array([np.abs(example["audio"]).mean() / 8192 for example in examples], np.float32)}


def bright(examples):
    return {"score": np.array([example["image"].mean() / 32 - 4 for example in examples], np.float32)}


LISTENING = Detector("loudness", loud, DECISION, Input("audio", None, None), len, ("audio", {}))
WATCHING = Detector("brightness", bright, DECISION, Input("image", 32, None), len, ("image", {}))


@pytest.mark.parametrize(
    "given",
    [
        SAMPLES.astype(">i2"),
        (SAMPLES / 32768).astype(">f4"),
        (SAMPLES / 32768).tolist(),
        jnp.asarray(SAMPLES),
        jnp.asarray(SAMPLES / np.float32(32768)),
        memoryview(SAMPLES),
    ],
    ids=["big-endian integers", "big-endian floats", "list", "JAX integers", "JAX floats", "buffer"],
)
def test_the_same_sound_in_any_array_has_the_same_verdict(given):
    assert LISTENING(given) == LISTENING(SAMPLES)


def test_a_picture_of_jax_is_judged_as_numpys():
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    assert WATCHING(jnp.asarray(picture)) == WATCHING(picture)


@pytest.mark.parametrize(("deviations", "told"), [((3.9, 3.2), False), ((4.5, 3.6), True)])
def test_plain_lines_of_upsampling_are_told_with_their_rate(deviations, told):
    """Three standard deviations are noise; what is beyond them adds to a window's logit."""
    lines = np.array([[rate, d, 2 * (d - 3)] for rate, d in zip((80.0, 86.1328125), deviations, strict=True)])
    outputs = lambda examples: loud(examples) | {"lines": lines[: len(examples)]}  # noqa: E731
    found = dataclasses.replace(LISTENING, outputs=outputs)(SAMPLES[:120_000])
    assert len(found["windows"]) == 2 and ("lines" in found) == told == ("notes" in found)
    if told:
        assert found["lines"] == {"rate": 80.0, "deviations": 4.5, "logit": pytest.approx(2.1)}
        words = "lines at multiples of 80.00 Hz, as the frames of a vocoder leave them"
        assert found["notes"] == [f"{words}, 4.5 standard deviations out of noise"]


def test_few_levels_of_samples_are_told():
    levels = np.array([[28.0, 6.0], [28.0, 6.0]])
    outputs = lambda examples: {"score": loud(examples)["score"] + 6, "levels": levels[: len(examples)]}  # noqa: E731
    given = SAMPLES[:120_000]
    found, plain = dataclasses.replace(LISTENING, outputs=outputs)(given), LISTENING(given)
    assert found["levels"] == {"per_octave": 28.0, "logit": 6.0} and "levels" not in plain
    assert found["score"] == pytest.approx(plain["score"] + 6)
    words = "samples on 28 levels an octave, ever further apart"
    assert found["notes"] == [f"{words}, as of a model that draws them from classes of mu-law"]


@pytest.mark.parametrize("given", [SAMPLES, np.zeros((40, 40, 3), np.uint8)], ids=["sound", "picture"])
def test_half_of_what_an_audio_visual_detector_takes_is_refused(given):
    both = Detector("both", bright, DECISION, Input("av", 32, None), len, ("av", {}))
    with pytest.raises(InputError, match="^an array given to a detector that looks and listens; expected the path of"):
        both(given)


@pytest.mark.parametrize(
    "given",
    [(SAMPLES, 16_000), b"bytes", 5, np.ma.masked_less(SAMPLES, 0), SAMPLES.astype(object), np.array(["a"])],
    ids=["with its rate", "bytes", "number", "masked", "objects", "words"],
)
def test_what_is_nothing_to_judge_is_refused_in_a_line_that_says_what_is_expected(given):
    for judge in (LISTENING, WATCHING):
        with pytest.raises(InputError, match="given; expected a path, or an array: sound at 16 kHz") as caught:
            judge(given)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("overlap", [-0.1, 0.91, 1.0, 1.5, float("nan"), 0.99999])
def test_an_overlap_that_is_none_is_refused_before_anything_is_decoded(overlap):
    with pytest.raises(InputError, match=r"overlap .*: expected a share from 0 to 0\.9"):
        LISTENING(SAMPLES, overlap=overlap)
    with pytest.raises(InputError, match=r"overlap .*: expected a share from 0 to 0\.9"):
        list(LISTENING.many(["nowhere.wav"], overlap=overlap))


def test_the_largest_overlap_is_taken():
    assert len(LISTENING(SAMPLES, overlap=MAX_OVERLAP)["windows"]) > 10


def test_fewer_processes_than_none_would_lose_all_files():
    with pytest.raises(InputError, match="jobs -1: expected 0 or more processes, or None"):
        list(LISTENING.many(["a.wav"], jobs=-1))


def test_one_path_where_many_are_expected_is_not_read_letter_by_letter(tmp_path):
    path = fixtures.audio(tmp_path / "a.wav", 1.0)
    with pytest.raises(InputError, match="is one path; call the detector with it, or give a list of paths"):
        list(LISTENING.many(str(path)))
    assert [each["file"] for each in LISTENING.many([str(path), path])] == [str(path)] * 2


@pytest.mark.parametrize(("given", "kind"), [(None, "NoneType"), (SAMPLES, "ndarray"), (b"a.wav", "bytes")])
def test_what_is_no_path_among_many_is_refused(given, kind):
    with pytest.raises(InputError, match=f"{kind} among the paths; expected a str or a Path"):
        list(LISTENING.many((each for each in [given]), jobs=0))  # a list's types are checked here


def test_a_decoder_that_is_not_installed_skips_no_file(monkeypatch, tmp_path):
    path = fixtures.audio(tmp_path / "a.wav", 1.0)

    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'soxr'", name="soxr")

    monkeypatch.setattr("dfjax.media.audio.decode", missing)
    with pytest.raises(ModuleNotFoundError, match="soxr"):
        list(LISTENING.many([path], jobs=0))


@pytest.mark.parametrize(
    ("media", "face_model", "message"),
    [
        (("audio", {}), "yunet.onnx", "faces were found by YuNet; leave it out"),
        (
            ("video", {"detector": "haar"}),
            "yunet.onnx",
            "is for detectors whose faces were found by YuNet; leave it out",
        ),
        (("image", {}), "yunet.onnx", "faces were found by YuNet; leave it out"),
        (("video", {"detector": "yunet"}), None, "give its .onnx file as --face_model"),
        (("video", {"detector": "yunet"}), "gone.onnx", "gone.onnx is not a file; give the path"),
    ],
)
def test_a_face_model_that_finds_no_face_is_refused(media, face_model, message):
    with pytest.raises(InputError, match=message):
        with_face_model(media, face_model)


def test_a_file_that_is_no_face_model_is_refused_before_any_picture_is_skipped_for_its_sake(tmp_path):
    file = fixtures.text(tmp_path / "yunet.onnx", "version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="yunet.onnx is not a YuNet model that OpenCV reads; give its .onnx file"):
        with_face_model(("video", {"detector": "yunet"}), str(file))


def test_verdicts_depend_on_the_face_model_and_not_on_where_it_lies(tmp_path):
    files = {name: fixtures.text(tmp_path / name, text) for name, text in (("a", "1"), ("b", "1"), ("c", "2"))}
    first, moved, other = (
        dataclasses.replace(WATCHING, media=("video", {"detector": "yunet", "face_model": str(file)})).name()
        for file in files.values()
    )
    assert first == moved != other


def test_another_face_model_than_that_of_the_training_data_is_refused(tmp_path, monkeypatch):
    """Faces were cut out otherwise than those that the threshold was chosen on, without a word."""
    monkeypatch.setattr("dfjax.media.faces.check_model", lambda path: None)
    known = hashlib.sha256(b"model").hexdigest()
    file = fixtures.text(tmp_path / "yunet.onnx", "another")
    with pytest.raises(
        InputError, match=rf"yunet.onnx is another YuNet than .*give that one, whose SHA-256 is {known}"
    ):
        with_face_model(("video", {"detector": "yunet", "face_model": known}), str(file))


def test_the_face_model_of_a_detector_that_takes_one_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr("dfjax.media.faces.check_model", lambda path: None)
    file = fixtures.text(tmp_path / "yunet.onnx", "model")
    options = {"detector": "yunet", "frames": 4}
    assert with_face_model(("video", options), str(file)) == ("video", options | {"face_model": str(file)})
    noted = options | {"face_model": faces.model_digest(file)}  # as data prepared by it say
    assert with_face_model(("video", noted), str(file)) == ("video", options | {"face_model": str(file)})
    assert with_face_model(("audio", {}), None) == ("audio", {})
    assert with_face_model(("video", {"detector": "haar"}), None)[1]["face_model"] is None
