"""For every dataset: nothing straddles splits, leaks are caught, the index is reproducible, it builds."""

import contextlib
import copy
import dataclasses
import os
import pickle
import random
import tempfile

import pytest
import tensorflow_datasets as tfds

import data_builders
from data_builders import indexing
from dfjax.records import SourceNeeded
from tests.data_builders import fixtures, trees

TREES = {
    "asvspoof2019_la": (trees.asvspoof, "disjoint"),
    "celeb_df_v2": (trees.celeb_df, "disjoint"),
    "deepfake_image_detection": (trees.deepfake_pictures, "disjoint"),
    "dfd": (trees.dfd, "disjoint-c23"),
    "faceforensics": (trees.faceforensics, "disjoint-c23-all"),
    "faces_140k": (trees.faces_140k, "official"),
    "fake_or_real": (trees.fake_or_real, "norm"),
    "fakeavceleb": (trees.fakeavceleb, "people-visual"),
    "wavefake": (trees.wavefake, "disjoint"),
}
datasets = pytest.mark.parametrize("name", TREES)


def build(name, root, data_dir, suffix=""):
    tree, config = TREES[name]
    if not root.exists():
        tree(root)
    return data_builders.load(name)(source=root, data_dir=data_dir, config=config + suffix, jobs=0, progress=False)


@datasets
def test_no_group_in_two_splits_and_a_planted_leak_is_caught(name, tmp_path):
    index = build(name, tmp_path / "media", tmp_path).load_index()
    indexing.check_disjoint(index)
    assert indexing.straddling(index.items) == []
    victim = next(item for item in index.items if item.split == "train")
    leak = victim._replace(id=victim.id + "x", split="test")
    leaking = dataclasses.replace(index, items=[*index.items, leak])
    with pytest.raises(ValueError, match=f"group {victim.group!r} is in"):
        indexing.check_disjoint(leaking)


def test_a_builder_leaves_no_temporary_folder(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    build("dfd", tmp_path / "media", tmp_path)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["celeb_df_v2", "dfd", "fakeavceleb"])
def test_a_leaking_second_face_is_caught(name, tmp_path):
    index = build(name, tmp_path / "media", tmp_path).load_index()
    people = {split: index.people[item.id] for item in index.items for split in [item.split]}
    victim = next(item for item in index.items if item.split == "train" and item.label == 1)
    index.people[victim.id] = (*index.people[victim.id], people["test"][0])
    with pytest.raises(ValueError, match=f"person {people['test'][0]!r} is in"):
        indexing.check_disjoint(index)


@datasets
def test_the_order_of_the_file_system_does_not_matter(name, tmp_path, monkeypatch):
    first = build(name, tmp_path / "media", tmp_path).load_index()
    plain = type(indexing.epath.Path(tmp_path)).iterdir

    def shuffled(self):
        paths = list(plain(self))
        random.Random(1).shuffle(paths)
        return iter(paths)

    scan = os.scandir

    @contextlib.contextmanager
    def shuffled_scan(path):
        with scan(path) as entries:
            entries = list(entries)
        random.Random(2).shuffle(entries)
        yield iter(entries)

    monkeypatch.setattr(type(indexing.epath.Path(tmp_path)), "iterdir", shuffled)
    monkeypatch.setattr(indexing.os, "scandir", shuffled_scan)
    again = build(name, tmp_path / "media", tmp_path).load_index()
    assert again.items == first.items and sorted(again.dropped) == sorted(first.dropped)


@datasets
def test_ids_are_relative_unique_and_point_to_files(name, tmp_path):
    index = build(name, tmp_path / "media", tmp_path).load_index()
    assert len({item.id for item in index.items}) == len(index.items)
    for item in index.items:
        assert not item.id.startswith("/") and str(tmp_path) not in item.id + item.group + item.clip
        assert item.path.is_file() and str(item.path).endswith(item.id)
        assert item.label in (0, 1) and bool(item.method) == (item.label == 1)
        assert item.split in ("train", "validation", "test") and item.group and item.clip
    assert {item.split for item in index.items if item.label == 0} >= {"train", "validation", "test"}


@datasets
def test_paths_and_metadata_build_without_decoding(name, tmp_path):
    """The files hold no media at all, so any decoding would fail."""
    builder = build(name, tmp_path / "media", tmp_path / "data", "-index")
    builder.download_and_prepare()
    index = builder.load_index()
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        split: sum(item.split == split for item in index.items) for split in builder.info.splits
    }
    record = builder.as_data_source("train")[0]
    by_id = {item.id: item for item in index.items}
    item = by_id[record["id"].decode()]
    assert record["label"] == item.label and record["group"].decode() == item.group
    for field, value in item.subgroups:
        assert record[field].decode() == value


@pytest.mark.parametrize("below", ["", "dfd"])
def test_tfds_s_folder_of_manual_downloads_holds_the_dataset_or_is_it(below, tmp_path):
    """As `tfds build --manual_dir` and TFDS's own tests give it: of the dataset's own files it was refused."""
    trees.dfd(tmp_path / "manual" / below)
    builder = data_builders.load("dfd")(data_dir=tmp_path / "data", config="disjoint-c23-index", progress=False)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "manual"))
    assert builder.info.splits["train"].num_examples == 7


def test_another_datasets_manual_downloads_are_none_of_its_own(tmp_path):
    """Beside those of DEEP-VOICE a builder of Fake-or-Real made its dataset of them."""
    names = [f"{label}/{i}.wav" for label in ("REAL", "FAKE") for i in range(12)]
    fixtures.tree(tmp_path / "manual/deepfake_audio/KAGGLE/AUDIO", names)
    builder = data_builders.load("fake_or_real")(data_dir=tmp_path / "data", config="norm-index", progress=False)
    with pytest.raises(SourceNeeded, match="fake_or_real"):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "manual"))


@pytest.mark.parametrize("name", ["fake_or_real", "folder_audio"])
def test_a_builder_that_was_given_nothing_can_be_copied(name, tmp_path):
    builder = data_builders.load(name)(data_dir=tmp_path, progress=False)
    for copied in (copy.deepcopy(builder), pickle.loads(pickle.dumps(builder))):
        assert copied.builder_config.name == builder.builder_config.name


@datasets
def test_every_config_has_a_name_and_an_index(name):
    cls = data_builders.load(name)
    names = [config.name for config in cls.BUILDER_CONFIGS]
    assert len(set(names)) == len(names)
    assert any(config.modality == "index" for config in cls.BUILDER_CONFIGS)
    assert cls.MANUAL_DOWNLOAD_INSTRUCTIONS and cls.RELEASE_NOTES


def with_media(root):
    """Every file of the tree that is neither empty nor junk, made anew as a small sound or picture."""
    for seed, path in enumerate(sorted(root.rglob("*"))):
        if path.suffix in (".wav", ".flac", ".mp3", ".jpg", ".png") and path.stat().st_size and path.name[0] != ".":
            fixtures.write(path, seed=seed)


@pytest.mark.parametrize("name", ["asvspoof2019_la", "faces_140k", "fake_or_real", "wavefake"])
def test_media_become_records(name, tmp_path):
    TREES[name][0](tmp_path / "media")
    with_media(tmp_path / "media")
    builder = build(name, tmp_path / "media", tmp_path / "data")
    builder.download_and_prepare()
    items = {item.id: item for item in builder.load_index().items}
    seen = set()
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            item = items[record["id"].decode()]
            seen.add(item.id)
            assert (record["label"], split) == (item.label, item.split)
            assert record["method"].decode() == item.method and record["dataset"].decode() == name
            assert len(record["image"] if "image" in record else record["audio"]) > 100
    assert seen == items.keys()


def test_extracted_frames_become_records_of_one_clip(tmp_path):
    trees.faceforensics_kaggle(tmp_path / "media", frames=True)
    with_media(tmp_path / "media")
    builder = build("faceforensics", tmp_path / "media", tmp_path / "data")
    builder.download_and_prepare()
    records = list(builder.as_data_source("train"))
    assert len(records) == 2 * 6 * (1 + 5)  # two frames of six originals and thirty fakes
    assert len({record["clip"] for record in records}) == 36
