"""Pictures as they are, videos as face crops."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

import data_builders
from data_builders.folder_image.folder_image_dataset_builder import Builder
from dfjax import prepare
from dfjax.inference import trained
from dfjax.media import faces
from dfjax.records import InputError
from dfjax.run import main_job
from tests.data_builders import fixtures


@pytest.fixture
def found_face(monkeypatch):
    """A detector that finds one face at a fixed place in every frame but the dark ones."""

    def find(image):
        return [faces.Face(np.array([8, 8, 40, 40], np.float32), 1.0)] if image.mean() > 20 else []

    monkeypatch.setattr(faces, "find_with", lambda name, model=None: find)


def test_pictures_and_videos_become_records(tmp_path, found_face):
    paths = [f"{s}/{c}/{k}.jpg" for s in ("train", "val", "test") for c in ("real", "fake") for k in range(2)]
    root = fixtures.tree(tmp_path / "data", paths)
    dark, light = np.zeros((64, 64, 3), np.uint8), fixtures.picture((64, 64), 5)
    fixtures.video(root / "train/fake/v.mp4", pictures=[dark] * 4 + [light] * 4)
    fixtures.video(root / "train/real/dark.mp4", pictures=[dark] * 8)
    directory = prepare.prepare(
        "folder_image", root, tmp_path / "out", jobs=0, progress=False, frames=4, size=48, image_format="png"
    )
    assert directory.parent.name.endswith("-frames4-size48-png")
    records = {r["id"].decode(): r for r in tfds.builder_from_directory(directory).as_data_source("train")}
    picture = records["train/real/0.jpg"]
    assert picture["image"] == (root / "train/real/0.jpg").read_bytes() and picture["frame"] == 0
    np.testing.assert_array_equal(picture["box"], [0, 0, 64, 64])
    crops = [record for id_, record in records.items() if id_.startswith("train/fake/v.mp4#")]
    assert sorted(crop["frame"] for crop in crops) == [5, 7]
    assert {crop["clip"] for crop in crops} == {b"train/fake/v.mp4"}
    facts = json.loads((directory / "preparation.json").read_text())
    assert facts["frames_without_face"] == {"train/fake/v.mp4": 2}
    assert facts["skipped"] == [["train/real/dark.mp4", "no face found in 4 frames"]]
    assert facts["face_detector"] == "haar" and facts["crops"]["size"] == 48


def test_crops_of_pictures(tmp_path, found_face):
    root = fixtures.tree(tmp_path / "data", [f"train/{c}/{k}.png" for c in ("real", "fake") for k in range(9)])
    directory = prepare.prepare("folder_image", root, tmp_path / "out", "folder-crops", jobs=0, progress=False)
    record = tfds.builder_from_directory(directory).as_data_source("train")[0]
    np.testing.assert_array_equal(record["box"], [8, 8, 40, 40])
    assert "#" not in record["id"].decode()


def test_which_model_found_the_faces_is_known_to_a_run_and_what_is_made_of_it(tmp_path, found_face, monkeypatch):
    monkeypatch.setattr(faces, "check_model", lambda path: None)
    root = fixtures.tree(tmp_path / "data", [f"train/{c}/{k}.png" for c in ("real", "fake") for k in range(9)])
    words = {"jobs": 0, "progress": False, "config_name": "folder-crops"}
    files = [fixtures.text(tmp_path / name, name) for name in ("one.onnx", "other.onnx")]
    first, second = (
        prepare.prepare("folder_image", root, tmp_path / file.stem, face_model=file, **words) for file in files
    )
    (tmp_path / "environment.json").write_text(json.dumps(main_job.dataset_facts("x", {"x": first})))
    modality, options = trained._media(epath.Path(tmp_path))
    assert modality == "video" and options["detector"] == "yunet"
    assert options["face_model"] == faces.model_digest(files[0])
    with pytest.raises(InputError, match="faces cut out in another way"):
        main_job.dataset_facts("x", {"x": first, "y": second})
    for directory in (first, second):  # as of earlier versions, which did not note it
        facts = prepare.summary(directory)
        del facts["face_model"]
        (directory / "preparation.json").write_text(json.dumps(facts))
    (tmp_path / "environment.json").write_text(json.dumps(main_job.dataset_facts("x", {"x": first, "y": second})))
    assert "face_model" not in trained._media(epath.Path(tmp_path))[1]


def test_what_another_face_model_prepared_is_not_taken_for_the_one_given(tmp_path, found_face, monkeypatch):
    """It was reused without a word."""
    monkeypatch.setattr(faces, "check_model", lambda path: None)
    root = fixtures.tree(tmp_path / "data", [f"train/{c}/{k}.png" for c in ("real", "fake") for k in range(9)])
    one, moved, other = (fixtures.text(tmp_path / name, name[0]) for name in ("1.onnx", "1/moved.onnx", "2.onnx"))
    words = {"data_dir": tmp_path / "out", "config_name": "folder-crops", "jobs": 0, "progress": False}
    first = prepare.prepare("folder_image", root, face_model=one, **words)
    assert prepare.prepare("folder_image", root, face_model=moved, **words) == first
    digests = [faces.model_digest(file) for file in (one, other)]
    told = rf"prepared by another YuNet \(SHA-256 {digests[0]}\) than .*2.onnx \({digests[1]}\); give that one, delete"
    with pytest.raises(InputError, match=told):
        prepare.prepare("folder_image", root, face_model=other, **words)
    facts = prepare.summary(first)
    del facts["face_model"]  # as of earlier versions, which did not note it
    (first / "preparation.json").write_text(json.dumps(facts))
    assert prepare.prepare("folder_image", root, face_model=other, **words) == first


def test_nor_where_no_source_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "check_model", lambda path: None)
    one, other = (fixtures.text(tmp_path / name, name) for name in ("1.onnx", "2.onnx"))
    version = data_builders.load("celeb_df_v2").VERSION
    facts = json.dumps({"face_model": faces.model_digest(one)})
    folder = fixtures.text(tmp_path / f"celeb_df_v2/official-yunet/{version}/preparation.json", facts).parent
    assert prepare.prepare("celeb_df_v2", data_dir=tmp_path, face_model=one) == epath.Path(folder)
    with pytest.raises(InputError, match="prepared by another YuNet"):
        prepare.prepare("celeb_df_v2", data_dir=tmp_path, face_model=other)


def test_a_killed_preparation_continues_with_the_faces_of_the_same_model_only(tmp_path, found_face):
    """Another file at the same path went on with what the one before had found."""
    root = fixtures.tree(tmp_path / "data", [f"train/{c}/{k}.png" for c in ("real", "fake") for k in range(9)])
    file = tmp_path / "yunet.onnx"

    def cached(content):
        builder = Builder(source=root, data_dir=tmp_path / "out", face_model=fixtures.text(file, content), jobs=0)
        return builder._cached(builder.load_index().items[0])

    first = cached("one")
    assert cached("one") == first != cached("other")


@pytest.mark.parametrize("config", ["folder", "folder-crops"])
def test_that_a_file_holds_several_pictures_is_told(tmp_path, found_face, config):
    """The first was taken without a word."""
    root = fixtures.tree(tmp_path / "data", [f"train/{c}/{k}.png" for c in ("real", "fake") for k in range(9)])
    frames = [Image.fromarray(fixtures.picture((64, 64), seed)) for seed in range(30, 35)]
    kinds = {"a.webp": "WEBP", "b.png": "PNG", "c.tif": "TIFF", "d.png": "GIF", "e.jpg": "MPO", "f.webp": "WEBP"}
    for count, (name, kind) in zip((2, 3, 4, 5, 2, 1), kinds.items(), strict=True):
        frames[count - 1].save(root / f"train/real/{name}", kind, save_all=True, append_images=frames[: count - 1])
    frames[0].save(root / "train/fake/v.gif", save_all=True, append_images=frames[1:])  # a video: its frames are taken
    directory = prepare.prepare("folder_image", root, tmp_path / "out", config, jobs=0, progress=False)
    facts = prepare.summary(directory)
    names = [f"train/real/{name}" for name in kinds]
    assert facts["skipped"] == []
    assert facts["pictures_in_file"] == dict(zip(names[:4], (2, 3, 4, 5), strict=True))
    told = "only the first picture was taken of 4 files of several; first train/real/a.webp, of 2"
    assert told in prepare.describe(facts, directory)
    del facts["pictures_in_file"]  # as of earlier versions
    assert "only the first" not in prepare.describe(facts, directory)


def test_configs_have_names_and_descriptions():
    assert [config.name for config in Builder.BUILDER_CONFIGS] == ["folder", "folder-crops", "folder-whole"]
    assert all(config.description for config in Builder.BUILDER_CONFIGS)
