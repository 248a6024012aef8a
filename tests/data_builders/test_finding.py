"""Every dataset is found by its layout under any name; what is wrong with one is a line and hides no other."""

import dataclasses
import json
import os
import shutil
import tarfile
import tracemalloc
import zipfile

import pytest

import data_builders
from data_builders import finding, layouts, sharing
from dfjax.records import InputError
from tests.data_builders import trees


def deep_voice(root):
    voices = ("ann", "ben", "cat")
    trees.put(root, *(f"KAGGLE/AUDIO/REAL/{a}-original.wav" for a in voices))
    trees.put(root, *(f"KAGGLE/AUDIO/FAKE/{a}-to-{b}.wav" for a in voices for b in voices if a != b))
    trees.put(root, "KAGGLE/DATASET-balanced.csv", "DEMONSTRATION/DEMONSTRATION/ann-original-DEMO.mp3")


TREES = {  # under a name that says nothing, at some depth
    "a": ("asvspoof2019_la", "LA/LA", trees.asvspoof),
    "b": ("celeb_df_v2", "", trees.celeb_df),
    "c": ("deepfake_audio", "archive (2)", deep_voice),
    "d": ("deepfake_image_detection", "Dataset-01", trees.deepfake_pictures),
    "e": ("dfd", "", trees.dfd),
    "f": ("faceforensics", "FaceForensics++_C23 2/x", trees.faceforensics_kaggle),
    "g": ("faces_140k", "", trees.faces_140k),
    "h": ("fake_or_real", "x/y/z", trees.fake_or_real),
    "i": ("fakeavceleb", "FakeAVCeleb_v1.2/FakeAVCeleb_v1.2", trees.fakeavceleb),
    "j": ("wavefake", "", trees.wavefake),
}


def by_name(found):
    return {one.dataset: one for one in found.found}


def test_all_are_found_whatever_they_are_called_and_the_builders_agree(tmp_path):
    for name, (_, below, tree) in TREES.items():
        tree(tmp_path / name / below)
    trees.put(tmp_path / "mine", "speech/real/a.wav", "speech/fake/b.wav", "pictures/val/real/a.png")
    found = finding.find(tmp_path)
    assert found.problems == ["folder_image in " + str(tmp_path / "mine/pictures") + ": incomplete, real files only"]
    assert {one.dataset for one in found.usable} == {name for name, _, _ in TREES.values()} | {"folder_audio"}
    for one in found.usable:
        cls = data_builders.load(one.dataset)
        builder = cls(source=one.source, config=one.config or cls.BUILDER_CONFIGS[0], data_dir=tmp_path, jobs=0)
        assert builder.index(builder.source).items, one.dataset


@pytest.mark.parametrize("tree", [trees.faceforensics, lambda root: trees.dfd(root, kaggle=False)])
def test_dfd_lies_within_the_official_tree(tree, tmp_path):
    tree(tmp_path / "x")
    trees.put(tmp_path / "x", "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__ABCDEFGH.mp4")
    found = by_name(finding.find(tmp_path))
    assert found["dfd"].config == "disjoint-c23" and not found["dfd"].problem
    assert (found["faceforensics"].problem == "") == (tree is trees.faceforensics)


def test_the_compression_that_is_there_is_taken(tmp_path):
    trees.put(tmp_path, "original_sequences/youtube/c40/videos/000.mp4")
    trees.put(tmp_path, "manipulated_sequences/Deepfakes/c40/videos/000_003.mp4")
    (one,) = finding.find(tmp_path).found
    assert one.config == "official-c40-all" and not one.problem and one.notes == ("only deepfakes",)


def test_published_folders_are_told_from_ones_own_by_their_files(tmp_path):
    splits = [f"{split}/{label}" for split in ("train", "valid", "test") for label in ("real", "fake")]
    trees.put(tmp_path / "own", *(f"{at}/{i}.jpg" for at in splits for i in range(3)))
    trees.put(
        tmp_path / "speech",
        *(f"{s}/{c}/{c}{i}.wav" for s in ("training", "testing") for c in ("real", "fake") for i in range(2)),
    )
    found = by_name(finding.find(tmp_path))
    assert found["folder_image"].either == ("faces_140k",) and found["folder_audio"].either == ("fake_or_real",)
    trees.put(tmp_path / "own", "valid.csv", data=b"x")
    assert "faces_140k" in by_name(finding.find(tmp_path))
    trees.put(tmp_path / "clips", "real/a.mp4", "fake/b.mp4")
    assert next(o for o in finding.find(tmp_path).found if o.folder.endswith("clips")).either == ("folder_av",)


def test_real_speech_may_lie_above(tmp_path):
    trees.wavefake(tmp_path / "WaveFake")
    os.rename(tmp_path / "WaveFake" / "LJSpeech-1.1", tmp_path / "LJSpeech-1.1")
    os.rename(tmp_path / "WaveFake" / "jsut_ver1.1", tmp_path / "elsewhere")
    (one,) = finding.find(tmp_path).found
    assert (one.source, one.folder, one.problem) == (str(tmp_path), str(tmp_path / "WaveFake"), "")
    os.rename(tmp_path / "LJSpeech-1.1", tmp_path / "gone")
    assert "no real speech" in finding.find(tmp_path).found[0].problem


def test_at_most_four_levels_down_and_links_once(tmp_path):
    trees.celeb_df(tmp_path / "1/2/3/4")
    trees.celeb_df(tmp_path / "1/2/3/x/5")
    os.symlink(tmp_path / "1/2/3/4", tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "1" / "loop")
    found = finding.find(tmp_path)
    assert [one.folder for one in found.found] == [str(tmp_path / "link")] and not found.problems


def test_a_copy_of_a_folder_of_ones_own_is_left_out(tmp_path):
    """Both took part: trained on the one, a detector was judged on the other, and one was advised to add the other."""
    for label in ("real", "fake"):
        for name in ("a.wav", "b.wav"):
            (tmp_path / "mine" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "mine" / label / name).write_bytes(label.encode())
    shutil.copytree(tmp_path / "mine", tmp_path / "mine (copy)")
    shutil.copytree(tmp_path / "mine", tmp_path / "other")
    (tmp_path / "other" / "real" / "a.wav").write_bytes(b"longer")
    found = finding.find(tmp_path)
    assert [one.folder for one in found.usable] == [str(tmp_path / "mine"), str(tmp_path / "other")]
    assert found.problems == [
        f"folder_audio in {tmp_path / 'mine (copy)'}: the same files as in {tmp_path / 'mine'}, by their names and "
        "sizes; those are used"
    ]


def test_two_copies_are_named_and_the_first_complete_one_is_used(tmp_path):
    for name in ("a", "b", "c"):
        trees.celeb_df(tmp_path / name)
    for path in (tmp_path / "a" / "Celeb-real").iterdir():
        path.unlink()
    (tmp_path / "a" / "Celeb-real").rmdir()
    found = finding.find(tmp_path)
    assert [one.folder for one in found.usable] == [str(tmp_path / "b")]
    assert found.problems == [
        f"celeb_df_v2 in {tmp_path / 'a'}: incomplete, no Celeb-real/",
        f"celeb_df_v2 in {tmp_path / 'c'}: another copy (videos); the one in {tmp_path / 'b'} (videos) is used",
    ]


def test_archives_are_named_with_the_command_and_a_half_unpacked_one_stops_its_dataset(tmp_path):
    trees.celeb_df(tmp_path / "made")
    names = sorted(path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*.*"))
    for name, upto in (("whole", None), ("half", 30), ("packed", 0)):
        folder = tmp_path / "zips" / name
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / "Celeb DF.zip", "w") as archive:
            for file in names:
                archive.write(tmp_path / "made" / file, f"Celeb-DF-v2/{file}")
            for file in names[:upto]:
                archive.extract(f"Celeb-DF-v2/{file}", folder)
    (tmp_path / "zips" / "damaged.zip").write_bytes(b"PK not to its end")
    (tmp_path / "zips" / "LA.tar.gz").write_bytes(b"")
    found = finding.find(tmp_path / "zips")
    state = {archive.path.removeprefix(str(tmp_path / "zips") + "/"): archive for archive in found.archives}
    assert {name: one.state for name, one in state.items()} == {
        "whole/Celeb DF.zip": "unpacked",
        "half/Celeb DF.zip": "half unpacked",
        "packed/Celeb DF.zip": "packed",
        "damaged.zip": "unreadable",
        "LA.tar.gz": "packed",
    }
    assert state["packed/Celeb DF.zip"].command == (
        f"unzip -n -q '{tmp_path}/zips/packed/Celeb DF.zip' -d {tmp_path}/zips/packed"
    )
    assert state["LA.tar.gz"].command.startswith(f"tar -xf {tmp_path}/zips/LA.tar.gz -C {tmp_path}/zips")
    assert [one.folder for one in found.usable] == [str(tmp_path / "zips/whole/Celeb-DF-v2")]
    assert sum("damaged.zip cannot be read" in line for line in found.problems) == 1
    assert sum("is unpacked by" in line and "go on with" in line for line in found.problems) == 1


@pytest.mark.parametrize("upto, state", [(None, "unpacked"), (30, "half unpacked"), (0, "packed")])
def test_a_tar_is_told_as_a_zip_is(tmp_path, upto, state):
    trees.celeb_df(tmp_path / "made")
    names = sorted(path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*.*"))
    folder = tmp_path / "downloads"
    folder.mkdir()
    with tarfile.open(folder / "Celeb-DF-v2.tar", "w") as archive:
        for file in names:
            archive.add(tmp_path / "made" / file, f"Celeb-DF-v2/{file}")
    with tarfile.open(folder / "Celeb-DF-v2.tar") as archive:
        for file in names[:upto]:
            archive.extract(f"Celeb-DF-v2/{file}", folder, filter="data")
    found = finding.find(folder)
    assert [one.state for one in found.archives] == [state]
    assert len(found.usable) == (state == "unpacked")
    whole = (folder / "Celeb-DF-v2.tar").read_bytes()
    (folder / "Celeb-DF-v2.tar").write_bytes(whole[: len(whole) // 2])
    assert [one.state for one in finding.find(folder).archives] == ["unreadable"]


def test_a_folder_without_permission_is_a_line(tmp_path, monkeypatch):
    trees.celeb_df(tmp_path / "good")
    (tmp_path / "closed").mkdir()
    plain = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return plain(path)

    monkeypatch.setattr(layouts.os, "scandir", scandir)
    found = finding.find(tmp_path)
    assert found.problems == [
        f"{tmp_path / 'closed'} cannot be read: Permission denied; what is in it was left out"
    ] and [one.dataset for one in found.usable] == ["celeb_df_v2"]
    with pytest.raises(InputError, match="closed cannot be read: Permission denied"):
        finding.find(tmp_path / "closed")
    with pytest.raises(InputError, match="is not a folder"):
        finding.find(tmp_path / "absent")
    assert finding.find(tmp_path / "good" / "Celeb-real").found == []


def test_the_user_overrules(tmp_path):
    trees.celeb_df(tmp_path / "a")
    trees.celeb_df(tmp_path / "b")
    trees.wavefake(tmp_path / "w")
    trees.put(tmp_path / "clips", "train/real/a.mp4", "train/fake/b.mp4")
    path = tmp_path / "datasets.json"
    words = {"celeb_df_v2/disjoint": "b", "wavefake": None, "folder_av": str(tmp_path / "clips")}
    path.write_text(json.dumps(words))
    found = finding.overrule(finding.find(tmp_path), path)
    assert {(one.dataset, one.folder, one.config) for one in found.usable} == {
        ("celeb_df_v2", str(tmp_path / "b"), "disjoint"),
        ("folder_av", str(tmp_path / "clips"), None),
    }
    assert not found.problems
    for words, message in (
        ("{", "is no JSON"),
        ("[]", "expected an object"),
        ('{"celeb": "a"}', "unknown dataset 'celeb'"),
        ('{"dfd": "absent"}', "'absent' is not a folder"),
        ('{"celeb_df_v2": "a", "celeb_df_v2/disjoint": "b"}', "celeb_df_v2 is named twice"),
        ('{"celeb_df_v2/physical": "a"}', "unknown config 'physical' of celeb_df_v2; expected one of"),
    ):
        path.write_text(words)
        with pytest.raises(InputError, match=message):
            finding.overrule(finding.find(tmp_path), path)


def test_the_users_word_that_cannot_be_read(tmp_path):
    (tmp_path / "datasets.json").mkdir()
    with pytest.raises(InputError, match=r"datasets.json cannot be read: .*; allow it, or remove the file"):
        finding.overrule(finding.find(tmp_path), tmp_path / "datasets.json")


def test_what_is_no_problem_is_noted(tmp_path):
    trees.put(tmp_path / "clips", "train/real/a.mp4", "train/fake/b.mp4")
    (tmp_path / "packed.7z").write_bytes(b"7z")
    found = finding.find(tmp_path)
    assert finding.notes_of(found) == [
        f"folder_image in {tmp_path / 'clips'} could be folder_av as well; WORKDIR/datasets.json overrules",
        f"{tmp_path / 'packed.7z'} is packed; unpack it: 7z x -aos -o{tmp_path} {tmp_path / 'packed.7z'}",
    ]
    assert not found.problems
    noted = dataclasses.replace(found.found[0], notes=("looks odd",))
    assert f"folder_image in {tmp_path / 'clips'}: looks odd" in finding.notes_of(
        dataclasses.replace(found, found=[noted])
    )


def test_memory_does_not_grow_with_the_files_of_a_folder(tmp_path):
    def peak(count):
        folder = tmp_path / str(count)
        trees.put(folder, *(f"{label}/{i}.wav" for label in ("real", "fake") for i in range(count)))
        finding.find(folder)
        tracemalloc.start()
        finding.find(folder)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(4000) < 1.3 * peak(400)


def test_shared_sources():
    assert sharing.shared("dfd", "faceforensics") and sharing.shared("wavefake", "fake_or_real") == ["LJSpeech"]
    assert not sharing.shared("wavefake", "faces_140k")
    assert sharing.shared("wavefake", "folder_audio", ((), {"univnet", "LJSpeech-diffusion"})) == ["LJSpeech"]
    assert not sharing.shared("folder_audio", "folder_audio", ({"LJSpeech"}, {"univnet"}))  # two folders, one name
