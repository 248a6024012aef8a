"""Videos with their sound: face crops, each with the second around it, and what picture and sound are by themselves."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data_builders
from data_builders import folders
from data_builders.fakeavceleb import fakeavceleb_dataset_builder as fakeav
from data_builders.indexing import Item
from dfjax import prepare
from dfjax.data import sources
from dfjax.media import MediaError, audio, faces
from dfjax.media.decoding import decode_item
from dfjax.records import SAMPLE_RATE, InputError
from tests.data_builders import fixtures, trees


@pytest.fixture(autouse=True)
def found_face(monkeypatch):
    face = faces.Face(np.array([8, 8, 40, 40], np.float32), 1.0)
    monkeypatch.setattr(faces, "find_with", lambda name, model=None: lambda image: [face])


def test_the_sound_of_a_frame_is_that_of_its_second(tmp_path):
    path = fixtures.video(tmp_path / "a.mp4", frames=75, sound=True)
    whole, info = audio.decode(path)
    parts = decode_item(path, "av", {"frames": 16})["records"]
    crops = faces.crop_records(path, frames=16)["records"]
    assert [part["image"] for part in parts] == [crop["image"] for crop in crops]
    assert len({part["audio"].tobytes() for part in parts}) > 10  # not all the same second
    for part in parts:
        assert part["audio"].dtype == np.int16 and part["duration"] == np.float32(info.seconds)
        middle = part["frame"] / 25 * SAMPLE_RATE  # in samples; the second stays inside the clip
        start = min(max(round(middle) - 8000, 0), len(whole) - SAMPLE_RATE)
        np.testing.assert_array_equal(part["audio"], whole[start : start + SAMPLE_RATE])


def test_a_short_sound_is_repeated_to_a_second():
    sound = np.arange(5000, dtype=np.int16)
    for seconds in (0.0, 0.1, 9.0):
        np.testing.assert_array_equal(audio.around(sound, seconds), np.arange(SAMPLE_RATE) % 5000)


def test_a_video_without_sound_is_no_audio_visual_record(tmp_path):
    with pytest.raises(MediaError, match="no audio stream"):
        decode_item(fixtures.video(tmp_path / "a.mp4"), "av", {})


@pytest.fixture
def folder(tmp_path):
    rows = ["file,generator,picture,sound"]
    for split in ("train", "val", "test"):
        for k in range(2):
            fixtures.video(tmp_path / f"media/{split}/real/{k}.mp4", sound=True, seed=k + len(split) * 20)
        for k, words in enumerate(("FaceSwap,,", "voice-clone,real,", "sadtalker,,", "sadtalker,Fake,real")):
            rows.append(f"{split}/fake/{k}.mp4,{words}")
            fixtures.video(tmp_path / f"media/{split}/fake/{k}.mp4", sound=True, seed=k + len(split) * 10)
    fixtures.video(tmp_path / "media/train/fake/mute.mp4")
    fixtures.text(tmp_path / "media/metadata.csv", "\n".join(rows))
    return tmp_path


def test_a_folder_becomes_records_that_say_what_picture_and_sound_are(folder):
    directory = prepare.prepare("folder_av", folder / "media", folder / "out", jobs=0, progress=False, frames=4)
    assert directory.parent.name.endswith("-frames4")
    facts = json.loads((directory / "preparation.json").read_text())
    assert facts["skipped"] == [["train/fake/mute.mp4", "no audio stream"]]
    assert facts["modality"] == "av" and facts["crops"]["frames"] == 4

    split = sources.open_split(directory, "train")
    parts = dict(zip(split.clip, zip(split.subgroups["picture"], split.subgroups["sound"], strict=True), strict=True))
    assert parts == {
        "train/real/0.mp4": ("real", "real"),
        "train/real/1.mp4": ("real", "real"),
        "train/fake/0.mp4": ("fake", ""),
        "train/fake/1.mp4": ("real", "fake"),
        "train/fake/2.mp4": ("", ""),
        "train/fake/3.mp4": ("fake", "real"),
    }
    for row, record in enumerate(tfds.builder_from_directory(directory).as_data_source("train")):
        assert len(record["audio"]) == SAMPLE_RATE and len(record["image"]) > 100
        assert (record["picture"].decode(), record["sound"].decode()) == parts[split.clip[row]]


def test_a_word_that_is_no_label_is_refused(folder):
    path = folder / "media/metadata.csv"
    path.write_text(path.read_text().replace("Fake,real", "maybe,real"))
    with pytest.raises(InputError, match="picture='maybe' of .*; expected real, fake or nothing"):
        prepare.prepare("folder_av", folder / "media", folder / "out", jobs=0, progress=False)


def test_the_four_folders_of_fakeavceleb_say_what_picture_and_sound_are(tmp_path):
    trees.fakeavceleb(tmp_path)
    items = fakeav.Builder(source=tmp_path, config="disjoint-av", data_dir=tmp_path / "out").load_index().items
    assert len(items) == 40
    for item in items:
        picture, sound = item.id.split("/")[0].split("-")
        assert (item.picture, item.sound) == (picture[:4].lower(), sound[:4].lower())
        assert item.label == ("fake" in (item.picture, item.sound))


@pytest.mark.parametrize("name", ["fakeavceleb", "folder_av"])
def test_audio_visual_records_hold_both_media(name, tmp_path):
    config = "disjoint-av" if name == "fakeavceleb" else "folder"
    features = data_builders.load(name)(data_dir=tmp_path, config=config).info.features
    assert {"image", "audio", "duration", "frame", "box", "picture", "sound"} <= set(features)


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("FaceSwap", ("fake", "")),
        ("audio-swap", ("", "fake")),
        ("Wav2Lip", ("", "")),
        ("face driven by audio", ("", "")),
    ],
)
def test_a_part_is_fake_only_where_the_method_names_it_alone(method, parts):
    item = folders._with_parts(Item("a.mp4", "a.mp4", 1, "train", "a", "a.mp4", method))
    assert (item.picture, item.sound) == parts
