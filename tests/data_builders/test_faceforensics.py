"""FaceForensics++: layouts, the published lists, and what 'disjoint' takes out of them."""

import collections
import hashlib
import json
import pathlib
import random

import pytest

from data_builders import indexing, splitting
from data_builders.faceforensics import faceforensics_dataset_builder as ff
from dfjax.records import InputError
from tests.data_builders import trees

PUBLISHED = pathlib.Path(ff.__file__).parent


def test_official_tree(tmp_path):
    trees.faceforensics(tmp_path / "FF++ raw mask")  # words that a careless path filter would trip over
    index = ff.index(tmp_path)
    assert index.variant == "official"
    counts = splitting.tally(index.items)
    assert (counts["train", 0], counts["train", 1]) == (6, 12)  # two of five methods are on disk
    assert (counts["validation", 0], counts["validation", 1]) == (2, 4)
    assert (counts["test", 0], counts["test", 1]) == (2, 4)
    reasons = dict(index.skipped)
    folder = "manipulated_sequences/Deepfakes/c23/videos"
    assert reasons[f"{folder}/071_081.mp4"] == "its pair is in no list"  # an error, never a training sample
    assert reasons[f"{folder}/notes.mp4"].startswith("name unlike")
    assert reasons[f"{folder}/._071_054.mp4"] == "operating system leftover"
    assert reasons["original_sequences/youtube/c23/videos/empty.mp4"] == "empty file"
    assert any("no folder for NeuralTextures" in line for line in index.warnings)
    assert not any("mask" in item.id or "actors" in item.id for item in index.items)
    by_id = {item.id: item for item in index.items}
    fake = by_id[f"{folder}/071_054.mp4"]
    assert (fake.label, fake.method, fake.split) == (1, "Deepfakes", "train")
    assert fake.group == by_id["original_sequences/youtube/c23/videos/054.mp4"].group


def test_compression_and_method_set(tmp_path):
    trees.faceforensics(tmp_path)
    (tmp_path / "original_sequences/youtube/c40").rename(tmp_path / "original_sequences/youtube/lq")
    items = ff.index(tmp_path, compression="c40", methods="deepfakes").items
    assert {item.method for item in items} == {"", "Deepfakes"}
    assert all("/c40/" in item.id or "/lq/" in item.id for item in items)
    with pytest.raises(InputError, match=r"no originals at raw; .*\['c23', 'lq'\]"):
        ff.index(tmp_path, compression="raw")
    with pytest.raises(InputError, match="Unknown methods 'x'; expected one of"):
        ff.index(tmp_path, methods="x")


def test_extracted_frames(tmp_path):
    trees.faceforensics(tmp_path)
    for videos in sorted(tmp_path.glob("*_sequences/*/c23/videos")):
        for video in sorted(videos.iterdir()):
            if video.stem in ("071", "054", "071_054"):
                trees.put(videos.parent / "frames" / video.stem, "000.png", "004.png")
            video.unlink()
    index = ff.index(tmp_path)
    assert index.variant == "official-frames"
    assert len(index.items) == 2 * 4  # two originals and a fake of two methods
    assert {item.clip.rpartition("/")[2] for item in index.items} == {"071", "054", "071_054"}
    assert splitting.tally(index.items)["all", 0] == 2  # clips, not frames


def test_videos_against_frames_are_refused(tmp_path):
    trees.faceforensics_kaggle(tmp_path)
    for path in sorted((tmp_path / "FaceSwap").iterdir()):
        trees.put(tmp_path / "FaceSwap" / path.stem, "0000.png")
        path.unlink()
    with pytest.raises(InputError, match="original holds videos but FaceSwap only frames"):
        ff.index(tmp_path)


@pytest.mark.parametrize("frames", [False, True])
def test_kaggle_copy(tmp_path, frames):
    trees.faceforensics_kaggle(tmp_path / "FaceForensics++/FaceForensics++_C23 2", frames)
    index = ff.index(tmp_path)
    assert index.variant == ("kaggle-frames" if frames else "kaggle")
    assert splitting.tally(index.items)["all", 1] == 5 * 10
    assert any("DeepFakeDetection/ left out" in line for line in index.warnings)
    assert not any("DeepFakeDetection" in item.id for item in index.items)
    with pytest.raises(InputError, match="c23 only"):
        ff.index(tmp_path, compression="raw")


def test_missing_and_broken_lists(tmp_path):
    trees.faceforensics(tmp_path)
    path = tmp_path / "splits/val.json"
    pairs = json.loads(path.read_text())
    path.write_text(json.dumps([[int(a), int(b)] for a, b in pairs]))  # 3 instead of "003"
    with pytest.raises(InputError, match=r'val.json: expected 70 pairs like \["071", "054"\]'):
        ff.index(tmp_path)
    path.write_text(json.dumps([*pairs[:-1], ["071", "055"]]))
    with pytest.raises(InputError, match="071 is in two pairs"):
        ff.index(tmp_path)
    with pytest.raises(InputError, match="no FaceForensics"):
        ff.index(tmp_path / "splits")


@pytest.fixture
def full(tmp_path):
    """All names of the official tree at c23; the published lists come with the builder."""
    videos = tmp_path / "original_sequences/youtube/c23/videos"
    trees.put(videos, *(f"{i:03d}.mp4" for i in range(1000)))
    for name in ff.LISTS:
        for a, b in json.loads((PUBLISHED / name).read_text()):
            trees.put(tmp_path / "manipulated_sequences/Deepfakes/c23/videos", f"{a}_{b}.mp4", f"{b}_{a}.mp4")
    return tmp_path


def test_the_lists_that_come_along_are_the_published_ones(tmp_path):
    digests = {"train.json": "e59386911255e6fb", "val.json": "b48cc511f66938e0", "test.json": "886f5a0da623c258"}
    for name, digest in digests.items():
        assert hashlib.sha256((PUBLISHED / name).read_bytes()).hexdigest().startswith(digest)
    pairs, warnings = ff.read_lists([tmp_path])
    assert sorted(pairs) == [f"{i:03d}" for i in range(1000)] and not warnings
    trees.ff_lists(tmp_path)  # the user's own hold, and are named
    assert any("train.json differs from the published list" in line for line in ff.read_lists([tmp_path])[1])


def test_published_lists_give_720_140_140(full):
    index = ff.index(full, methods="deepfakes")
    counts = splitting.tally(index.items)
    sizes = {split: (counts[split, 0], counts[split, 1]) for split in ("train", "validation", "test")}
    assert sizes == {"train": (720, 720), "validation": (140, 140), "test": (140, 140)}
    assert index.warnings == [] and index.skipped == []
    # crossing officially: the seven shared videos, each a group in two splits
    splits = collections.defaultdict(set)
    for item in index.items:
        splits[item.group].add(item.split)
    assert sum(len(names) > 1 for names in splits.values()) == 7


@pytest.fixture
def conversion(shared):
    """The published table: id of a video -> its YouTube video and more."""
    return json.loads((shared / "lists/conversion_dict.json").read_text())


def test_disjoint_shares_no_youtube_video(full, conversion):
    index = ff.index(full, methods="deepfakes", protocol="disjoint")
    source = {id_: text.split()[0] for id_, text in conversion.items()}
    splits = collections.defaultdict(set)
    for item in index.items:
        for id_ in pathlib.PurePath(item.id).stem.split("_"):
            splits[source[id_]].add(item.split)
    assert all(len(names) == 1 for names in splits.values())


def test_disjoint_keeps_the_published_counts_and_says_what_it_dropped(full):
    index = ff.index(full, methods="deepfakes", protocol="disjoint")
    counts = splitting.tally(index.items)
    published = ff.PUBLISHED["disjoint"]
    assert {split: (counts[split, 0], counts[split, 1]) for split in published} == published
    assert index.warnings == [] and len(index.dropped) == 7 + 10 + 4
    assert all("shares its YouTube video" in reason for _, reason in index.dropped)


def test_disjoint_shares_no_youtube_video_by_lists_of_ones_own_either(full):
    """What was dropped was that of the published lists, whatever the split was."""
    pairs = [pair for name in ff.LISTS for pair in json.loads((PUBLISHED / name).read_text())]
    random.Random(0).shuffle(pairs)
    for name, (_, count) in ff.LISTS.items():
        trees.put(full, name, data=json.dumps(pairs[:count]).encode())
        pairs = pairs[count:]
    index = ff.index(full, methods="deepfakes", protocol="disjoint")
    indexing.check_disjoint(index)
    split = {item.id[-7:-4]: item.split for item in index.items if item.label == 0}
    assert all(len({split[i] for i in ids if i in split}) == 1 for ids in ff.SAME_SOURCE)
    assert {reason.partition(" with ")[2] for _, reason in index.dropped} == {"a clip of train", "a clip of validation"}


def test_shared_sources_are_those_of_the_published_table(conversion):
    clips = collections.defaultdict(list)
    for id_, text in conversion.items():
        clips[text.split()[0]].append(id_)
    assert sorted(map(tuple, (ids for ids in clips.values() if len(ids) > 1))) == sorted(ff.SAME_SOURCE)
