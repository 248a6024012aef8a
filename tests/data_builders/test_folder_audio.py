"""Folders of the user: what is understood, what is left out, what stops."""

import collections
import os
import pickle
import shutil
import unicodedata

import pytest
import tensorflow_datasets as tfds
from etils import epath

from data_builders import configs, folders, indexing
from data_builders.folder_audio.folder_audio_dataset_builder import SOUND_SUFFIXES
from dfjax import prepare
from dfjax.records import FAKE, REAL, SPLITS, InputError
from tests.data_builders import fixtures


def index(root):
    return folders.index(epath.Path(root), "folder_audio", SOUND_SUFFIXES)


def splits(found):
    return collections.Counter((item.split, item.label) for item in found.items)


@pytest.mark.parametrize(
    ("train", "validation", "test", "real", "fake"),
    [
        ("train", "val", "test", "real", "fake"),
        ("training", "validation", "testing", "REAL", "FAKE"),
        ("Train", "Valid", "Eval", "Bonafide", "Spoof"),
        ("TRAIN", "dev", "TEST", "genuine", "generated"),
    ],
)
def test_names_of_folders(tmp_path, train, validation, test, real, fake):
    paths = [f"{s}/{c}/{k}.wav" for s in (train, validation, test) for c in (real, fake) for k in range(2)]
    found = index(fixtures.tree(tmp_path, paths))
    assert splits(found) == {(s, label): 2 for s in ("train", "validation", "test") for label in (REAL, FAKE)}
    assert {item.id for item in found.items} == set(paths)
    assert all((item.label == FAKE) == (f"/{fake}/" in f"/{item.id}") for item in found.items)
    assert found.variant == "{split}/{label}"


def test_a_nested_folder_is_found_and_ids_are_relative_to_it(tmp_path):
    paths = ["archive (1)/my data/train/real/a/b.wav", "archive (1)/my data/train/fake/c.wav"]
    found = index(fixtures.tree(tmp_path, paths))
    assert {item.id for item in found.items} == {"train/real/a/b.wav", "train/fake/c.wav"}


def test_several_folders_that_could_be_the_one_are_said(tmp_path):
    """The first by name was taken, and of the files of the others nobody heard."""
    paths = [
        f"data/{voice}/{label}/{k}.wav" for voice in ("ann", "ben", "cat") for label in ("real", "fake") for k in "ab"
    ]
    found = index(fixtures.tree(tmp_path, [*paths, "data/notes/a.wav"], seconds=0.2))
    assert len(found.items) == 4 and found.items[0].root == epath.Path(tmp_path / "data/ann")
    (warning,) = [line for line in found.warnings if "took no part" in line]
    assert warning.startswith(
        "2 other folders with real and fake inside took no part, first 'data/ben'; only 'data/ann'"
    )
    assert not any("took no part" in line for line in index(tmp_path / "data/ann").warnings)


def test_without_splits_a_grouped_stratified_one_is_made(tmp_path):
    paths = [f"real/s{k % 20}_{k}.wav" for k in range(60)] + [f"fake/s{k % 20}_{k}.wav" for k in range(40)]
    root = fixtures.tree(tmp_path, paths, seconds=0.2)
    rows = [f"{path},{path.split('/')[1].split('_')[0]},g{k % 2}" for k, path in enumerate(paths)]
    fixtures.text(root / "metadata.csv", "file,speaker,generator\r\n" + "\r\n".join(rows))
    found = index(root)
    assert indexing.straddling(found.items) == []
    counts = splits(found)
    for label, total in ((REAL, 60), (FAKE, 40)):
        assert counts["train", label] == pytest.approx(0.7 * total, abs=0.1 * total)
        assert min(counts["validation", label], counts["test", label]) >= 0.05 * total
    assert found.items == index(root).items  # the same every time
    assert {item.method for item in found.items} == {"", "g0", "g1"}
    assert any("70" in w or "0.7" in w for w in found.warnings)


def test_validation_is_taken_from_train_by_group(tmp_path):
    paths = [f"train/{c}/s{k}_{j}.wav" for c in ("real", "fake") for k in range(10) for j in range(2)]
    root = fixtures.tree(tmp_path, [*paths, "test/real/x.wav", "test/fake/y.wav"], seconds=0.2)
    rows = [f"./{path},{path.split('/')[2].split('_')[0]}" for path in paths]
    fixtures.text(root / "metadata.csv", "file,speaker\n" + "\n".join(rows))
    found = index(root)
    counts = splits(found)
    assert indexing.straddling(found.items) == []
    assert counts["validation", REAL] >= 2 and counts["validation", FAKE] >= 2
    assert counts["train", REAL] + counts["validation", REAL] == 20
    assert (counts["test", REAL], counts["test", FAKE]) == (1, 1)


def test_metadata_fills_fields_and_empty_ones_do_not(tmp_path):
    root = fixtures.tree(tmp_path, ["real/a b.wav", "real/c.wav", "fake/d.wav"], seconds=0.2)
    fixtures.text(
        root / "metadata.csv",
        "\ufefffile,Speaker,generator,gender,notes\n"
        '"real/a b.wav",ann,studio,women,"x, y"\nreal/c.wav,,,,\nfake\\d.wav,bob,world,men,\ngone.wav,x,,,\n',
    )
    found = {item.id: item for item in index(root).items}
    assert found["real/a b.wav"].group == "ann" and found["real/a b.wav"].subgroups == (("gender", "women"),)
    assert found["real/a b.wav"].method == ""  # real has no method
    assert found["real/c.wav"].group == "real/c.wav"
    assert (found["fake/d.wav"].group, found["fake/d.wav"].method) == ("bob", "world")
    assert any("1 rows" in w and "gone.wav" in w for w in index(root).warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,speaker\nreal/a.wav,ann\n./real/a.wav,bob\n",
            "two rows of ./real/a.wav that say speaker 'ann' and 'bob'",
        ),
        (
            "file,label\nreal/a.wav,genuine\nreal/a.wav,real\nreal/a.wav,fake\n",
            "two rows of real/a.wav that say label 'genuine' and 'fake'",
        ),
        ("file,Source,source\nreal/a.wav,x,\n", "has the column source twice; keep one"),
        ("file,label\nreal/a.wav,FAKE\n", "says label='FAKE' of real/a.wav, a real one by its folder"),
        ("file;source\nreal/a.wav;x\n", "expected one named file; columns are separated by commas"),
        ("file,source\nreal/a.wav,Zürich\n".encode("latin-1"), "no UTF-8 text, see its byte 24; save it as UTF-8"),
        ("file,source\nreal/a.wav,x\n".encode("utf-16"), "no UTF-8 text, see its byte 0"),
        (f"file,source\nreal/a.wav,{'x' * 200_000}\n", "cannot be read as a CSV file: field larger than"),
    ],
)
def test_metadata_that_contradict_or_cannot_be_read_are_one_line(tmp_path, text, message):
    """A speaker taken from the wrong row, or two towns that become one, would be in two splits without a word."""
    root = fixtures.tree(tmp_path, ["real/a.wav", "fake/b.wav"], seconds=0.2)
    (root / "metadata.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as failed:
        index(root)
    assert "\n" not in str(failed.value)


def test_metadata_that_say_a_thing_twice_alike_are_taken(tmp_path):
    root = fixtures.tree(tmp_path, ["real/a.wav", "fake/b.wav"], seconds=0.2)
    fixtures.text(root / "metadata.csv", "file,label,speaker,n,n\nreal/a.wav,REAL,ann,1,2\nreal/a.wav,real,ann,3,4\n")
    assert {item.id: item.group for item in index(root).items} == {"real/a.wav": "ann", "fake/b.wav": "fake/b.wav"}


def test_a_column_that_is_nearly_one_of_ours_is_said(tmp_path):
    """Speakers that are not known as such would be on two sides."""
    root = fixtures.tree(tmp_path, ["real/a.wav", "fake/b.wav"], seconds=0.2)
    fixtures.text(root / "metadata.csv", "file,Speakers,seconds,licence,note\nreal/a.wav,ann,3,CC0,x\n")
    warnings = [warning for warning in index(root).warnings if "not used" in warning]
    assert warnings == ["metadata.csv: the column 'speakers' is not used; is 'speaker' meant?"]


def test_a_name_with_accents_is_found_however_they_are_written(tmp_path):
    """Archives made on a Mac hold names whose accents are letters of their own."""
    root = fixtures.tree(tmp_path, ["real/a.wav", unicodedata.normalize("NFD", "fake/köln.wav")], seconds=0.2)
    fixtures.text(root / "metadata.csv", "file,source\n" + unicodedata.normalize("NFC", "fake/köln.wav") + ",dom\n")
    found = index(root)
    assert [item.domain for item in found.items if item.label == FAKE] == ["dom"]
    assert not any("not used" in warning for warning in found.warnings)


def test_leftovers_are_skipped_with_their_reason(tmp_path):
    root = fixtures.tree(tmp_path, ["real/a.wav", "fake/b.wav"])
    fixtures.junk(root / "real")
    fixtures.text(root / "real/zero.wav", "")
    fixtures.text(root / "fake/notes.txt", "x")
    found = index(root)
    assert sorted(item.id for item in found.items) == ["fake/b.wav", "real/a.wav"]
    reasons = dict(found.skipped)
    assert reasons["real/zero.wav"] == "empty file" and reasons["fake/notes.txt"] == "unknown ending"
    assert reasons["real/__MACOSX/"] == reasons["real/.DS_Store"] == "operating system leftover"


def test_what_is_hidden_or_behind_a_link_is_left_out_and_said(tmp_path):
    """A folder of thrown away files is no data, and a linked folder of data is not left out without a word."""
    root = fixtures.tree(tmp_path, ["real/a.wav", "real/.Trash-0/b.wav", "fake/c.wav", "fake/.d.wav"], seconds=0.2)
    (root / "fake/more").symlink_to(root / "real", target_is_directory=True)
    (root / "fake/up").symlink_to(root, target_is_directory=True)
    (root / "fake/e.wav").symlink_to(root / "fake/c.wav")
    found = index(root)
    assert sorted(item.id for item in found.items) == ["fake/c.wav", "fake/e.wav", "real/a.wav"]
    assert dict(found.skipped) == {
        "real/.Trash-0/": "hidden",
        "fake/.d.wav": "hidden",
        "fake/more/": "link to a folder",
        "fake/up/": "link to a folder",
    }


@pytest.mark.parametrize("name", ["metadata.csv", "Metadata.CSV"])
@pytest.mark.parametrize("where", ["", "corpus", "corpus/audio"])
def test_metadata_are_found_beside_the_media_or_above_them_in_the_folder_given(tmp_path, name, where):
    """Speakers that nobody reads would be on two sides without a word."""
    files = ["corpus/audio/Real/a.wav", "corpus/audio/Fake/b.wav"]
    root = fixtures.tree(tmp_path / "given", files, seconds=0.2)
    before = configs.source_config(configs.MediaConfig(name="folder"), epath.Path(root)).name
    rows = [f"{os.path.relpath(file, where or '.')},ann" for file in files]
    fixtures.text(root / where / name, "\n".join(["file,speaker", *rows]))
    fixtures.text(root.parent / "metadata.csv", "file,speaker\n")  # outside
    found = index(root)
    assert {item.group for item in found.items} == {"ann"}
    assert not any("metadata.csv" in warning for warning in found.warnings)
    told = configs.source_config(configs.MediaConfig(name="folder"), epath.Path(root)).name
    fixtures.text(root / where / name, "\n".join(["file,speaker", *rows]).replace("ann", "bob"))
    now = configs.source_config(configs.MediaConfig(name="folder"), epath.Path(root)).name
    assert len({before, told, now}) == 3


@pytest.mark.parametrize(
    ("above", "linked"),
    [
        ("", ["real", "fake"]),
        ("", ["real"]),
        ("", ["test"]),
        ("", ["train/real", "train/fake", "test"]),
        ("corpus", ["corpus"]),
        ("corpus/audio", ["corpus", "corpus/audio", "corpus/audio/real"]),
    ],
)
def test_the_config_changes_with_what_is_behind_the_links_that_are_followed(tmp_path, above, linked):
    """Another folder of the same name was taken for the one that had been prepared."""
    splits = ("train/", "test/") if any(name.startswith("t") for name in linked) else ("",)
    for store in ("one", "two", "three"):
        paths = [f"{above}/{s}{c}/deep/{k}.wav".lstrip("/") for s in splits for c in ("real", "fake") for k in range(2)]
        fixtures.tree(tmp_path / store / "plain", paths, seconds=0.2 if store != "two" else 0.3)
    fixtures.text(tmp_path / "three/plain" / above / "metadata.csv", "file,speaker\n")

    def linked_to(store):
        root, way = tmp_path / store / "voices", tmp_path / store / "plain"
        shutil.copytree(way, root)
        for name in sorted(linked, key=len, reverse=True):
            target = tmp_path / store / "behind" / name.replace("/", "-")
            target.parent.mkdir(exist_ok=True)
            (root / name).rename(target)
            (root / name).symlink_to(target, target_is_directory=True)
        return root, way

    found = {}
    for store in ("one", "two", "three"):
        root, way = linked_to(store)
        assert {item.id for item in index(root).items} == {item.id for item in index(way).items}
        found[store] = configs.folder_digest(epath.Path(root))
        assert found[store] == configs.folder_digest(epath.Path(way))  # links or not: the same files
    assert len(set(found.values())) == 3


def test_a_link_that_leads_in_a_circle_ends_a_digest(tmp_path):
    root = fixtures.tree(tmp_path / "voices", ["real/a.wav", "more/b.wav"], seconds=0.2)
    (root / "fake").symlink_to(root, target_is_directory=True)
    (root / "real/up").symlink_to(root, target_is_directory=True)
    before = configs.folder_digest(epath.Path(root))
    fixtures.audio(root / "more/c.wav", seconds=0.2)
    assert configs.folder_digest(epath.Path(root)) != before


def test_what_is_written_into_the_folder_does_not_make_it_another(tmp_path, monkeypatch):
    """Of `--source .` with the usual --workdir the same command prepared again, and refused to go on with its run."""
    root = fixtures.tree(tmp_path / "voices", ["real/a.wav", "fake/b.wav"], seconds=0.2)
    monkeypatch.chdir(root)
    prepared = [prepare.prepare("folder_audio", ".", "data", jobs=0, progress=False)]
    fixtures.text(root / "runs/audio_focal/report.html", "")
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        fixtures.text(root / "mine/seed0" / name, "{}")
    prepared += [prepare.prepare("folder_audio", root, "data", jobs=0, progress=False)]
    assert prepared[0] == prepared[1] and len(list(root.glob("data/folder_audio/voices-*"))) == 1
    before = configs.folder_digest(epath.Path(root))
    for read in ("notes/config.json", "real/config.json", "real/environment.json", "real/x/b.wav"):
        fixtures.text(root / read, "{}")  # of somebody else, or looked into
        before, now = configs.folder_digest(epath.Path(root)), before
        assert now != before
    inside = fixtures.tree(tmp_path / "runs of mine", ["runs/real/a.wav", "runs/fake/b.wav"], seconds=0.2)
    monkeypatch.chdir(inside)
    before = configs.folder_digest(epath.Path("."))
    assert before == configs.folder_digest(epath.Path(inside))
    fixtures.audio(inside / "runs/fake/c.wav", seconds=0.2)
    assert configs.folder_digest(epath.Path(".")) == configs.folder_digest(epath.Path(inside)) != before


def test_a_folder_called_like_a_split_without_label_folders_is_none(tmp_path):
    """All that was beside it was said to be empty."""
    paths = [f"{c}/{k}.wav" for c in ("real", "fake") for k in range(9)]
    root = fixtures.tree(tmp_path / "flat", [*paths, "test/talk.wav"], seconds=0.2)
    found = index(root)
    assert {item.id for item in found.items} == set(paths) and found.variant == "{label}"
    assert "folders without real and fake inside are no split and were left out: test" in found.warnings
    root = fixtures.tree(tmp_path / "split", [f"train/{path}" for path in paths] + ["test/talk.wav"], seconds=0.2)
    found = index(root)
    assert {item.split for item in found.items} == {"train", "validation"} and found.variant == "{split}/{label}"
    assert "folders that are no split were left out: test" in found.warnings


def test_a_group_in_two_given_splits_is_said(tmp_path):
    root = fixtures.tree(tmp_path, [f"{s}/{c}/a.wav" for s in ("train", "val", "test") for c in ("real", "fake")])
    fixtures.text(root / "metadata.csv", "file,speaker\ntrain/real/a.wav,ann\ntest/real/a.wav,ann\n")
    assert any("'ann'" in warning for warning in index(root).warnings)


def test_files_of_one_folder_in_several_splits_are_said(tmp_path):
    """Frames of one video, or recordings of one speaker, which nobody named."""
    paths = [f"{c}/video {v}/{k}.wav" for c in ("real", "fake") for v in range(2) for k in range(8)]
    root = fixtures.tree(tmp_path / "a", paths, seconds=0.2)
    said = "the files of 4 folders, first 'fake/video 0', are in several splits; if a folder is one video"
    assert any(warning.startswith(said) for warning in index(root).warnings)
    rows = [f"{path},{path.rpartition('/')[0]}" for path in paths]
    fixtures.text(root / "metadata.csv", "file,group\n" + "\n".join(rows))
    assert not any("folders, first" in warning for warning in index(root).warnings)
    flat = fixtures.tree(tmp_path / "b", [f"{c}/{k}.wav" for c in ("real", "fake") for k in range(8)], seconds=0.2)
    assert not any("folders, first" in warning for warning in index(flat).warnings)
    (tmp_path / "c/train").mkdir(parents=True)
    for name in ("real", "fake"):
        (root / name).rename(tmp_path / "c/train" / name)
    assert any("first 'train/fake/video 0'" in warning for warning in index(tmp_path / "c").warnings)


def test_copies_in_two_splits_are_said(tmp_path):
    root = fixtures.tree(tmp_path, [f"{s}/{c}/a.wav" for s in ("train", "val", "test") for c in ("real", "fake")])
    assert not any("copies" in warning for warning in indexing.check(index(root)).warnings)
    for copy in ("train/real/b.wav", "test/real/c.wav", "test/real/d.wav"):
        (root / copy).write_bytes((root / "train/real/a.wav").read_bytes())
    (root / "val/fake/b.wav").write_bytes((root / "val/fake/a.wav").read_bytes())  # within a split: no matter
    (said,) = (warning for warning in indexing.check(index(root)).warnings if "copies" in warning)
    assert said == (
        "copies of 1 file lie in another split, first train/real/a.wav in train and test/real/c.wav in test; remove "
        "one of each"
    )


@pytest.mark.parametrize("where", ["", "train/"])
def test_a_split_that_is_made_here_has_no_file_twice(where, tmp_path):
    """Copies were groups of their own, so that training held files of validation and test."""
    names = [f"{where}{c}/{k}.wav" for c in ("real", "fake") for k in range(12)]
    root = fixtures.tree(tmp_path, names + ["test/real/a.wav", "test/fake/a.wav"] * bool(where))
    assert not any("copies" in warning for warning in index(root).warnings)
    for k in range(8):
        (root / f"{where}real/copy {k}.wav").write_bytes((root / f"{where}real/{k}.wav").read_bytes())
    found = indexing.check(index(root))
    content = {item.id: (item.group, item.split) for item in found.items}
    for k in range(8):
        assert content[f"{where}real/copy {k}.wav"] == content[f"{where}real/{k}.wav"]
    assert len({split for _, split in content.values()}) > 1
    (said,) = (warning for warning in found.warnings if "copies" in warning)
    assert said.startswith(f"8 files had copies in other groups, first {where}real/0.wav; copies are one group now")


def test_a_way_with_dots_in_it_is_the_same_folder(tmp_path):
    """Media in runs/ were left out of what a folder is known by, so that a changed one was taken for the old."""
    root = fixtures.tree(tmp_path / "own", [f"runs/{c}/1.wav" for c in ("real", "fake")])
    before = configs.folder_digest(epath.Path(root))
    assert configs.folder_digest(epath.Path(f"{root}/../own")) == before
    (root / "runs/real/2.wav").write_bytes(b"x")
    after = configs.folder_digest(epath.Path(root))
    assert configs.folder_digest(epath.Path(f"{root}/../own")) == after != before


def test_one_clip_that_everybody_has_does_not_make_one_group_of_all(tmp_path):
    """Of a clip of silence in each speaker's folder all became training; that copies lie apart is said then."""
    rows = [f"{c}/{s}_{k}.wav" for c in ("real", "fake") for s in range(10) for k in range(3)]
    root = fixtures.tree(tmp_path, rows)
    for s in range(10):
        (root / f"real/{s}_0.wav").write_bytes((root / "real/0_0.wav").read_bytes())
    lines = ["file,speaker", *(f"{name},{name.split('/')[1].split('_')[0]}" for name in rows)]
    fixtures.text(root / "metadata.csv", "\n".join(lines))
    found = indexing.check(index(root))
    assert {(item.split, item.label) for item in found.items} == {(s, y) for s in SPLITS for y in (0, 1)}
    assert any(warning.startswith("copies of 1 file lie in another split") for warning in found.warnings)


def test_groups_that_copies_join_are_joined_in_test_too(tmp_path):
    """Renamed in train alone, a speaker in train and in test was no longer told."""
    rows = [f"{s}/{c}/{k}.wav" for s in ("train", "test") for c in ("real", "fake") for k in range(15)]
    root = fixtures.tree(tmp_path, rows)
    (root / "train/real/copy.wav").write_bytes((root / "train/real/0.wav").read_bytes())
    lines = ["file,group", *(f"{name},w{int(name.rpartition('/')[2][:-4]) // 3}" for name in rows)]
    fixtures.text(root / "metadata.csv", "\n".join(lines))
    (said,) = (warning for warning in index(root).warnings if "more than one split" in warning)
    assert said.startswith("5 groups are in more than one split")


def test_one_line_errors(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        index(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected {train,val,test}/{real,fake}"):
        index(tmp_path / "empty")
    (tmp_path / "hollow/real").mkdir(parents=True)
    (tmp_path / "hollow/fake").mkdir()
    with pytest.raises(InputError, match="is empty"):
        index(tmp_path / "hollow")
    with pytest.raises(InputError, match="all 2 files are real; fake files are needed"):
        indexing.check(index(fixtures.tree(tmp_path / "one", ["real/a.wav", "real/b.wav"])))
    twins = fixtures.tree(tmp_path / "twins", ["real/a.wav", "fake/b.wav", "real/c.wav"])
    (twins / "fake/copy.wav").write_bytes((twins / "real/c.wav").read_bytes())
    with pytest.raises(InputError, match=r"real/c\.wav and fake/copy\.wav have the same content"):
        indexing.check(index(twins))
    with pytest.raises(InputError, match="both train and training"):
        index(fixtures.tree(tmp_path / "both", ["train/real/a.wav", "training/fake/b.wav"]))
    with pytest.raises(InputError, match="only by case"):
        index(fixtures.tree(tmp_path / "case", ["real/a.wav", "Real/b.wav"]))
    bad = fixtures.tree(tmp_path / "bad", ["real/a.wav", "fake/b.wav"])
    fixtures.text(bad / "metadata.csv", "name,speaker\nreal/a.wav,ann\n")
    with pytest.raises(InputError, match="expected one named file"):
        index(bad)


def test_the_config_changes_with_the_folder(tmp_path):
    root = fixtures.tree(tmp_path / "My Voices", ["real/a.wav", "fake/b.wav"])

    def name():
        return configs.source_config(configs.MediaConfig(name="folder"), epath.Path(root)).name

    first = name()
    assert first.startswith("my_voices-") and name() == first
    fixtures.audio(root / "real/c.wav")
    second = name()
    fixtures.text(root / "metadata.csv", "file,speaker\nreal/a.wav,ann\n")
    third = name()
    fixtures.text(root / "metadata.csv", "file,speaker\nreal/a.wav,bob\n")
    assert len({first, second, third, name()}) == 4


def test_a_builder_takes_the_name_of_a_config_and_a_copy_of_it_is_the_same(tmp_path):
    """As TFDS gives it, tfds.builder("folder_audio/folder-whole", source=...): that was an AttributeError."""
    fixtures.tree(tmp_path / "a", ["real/a.wav", "fake/b.wav"])
    words = {"source": tmp_path / "a", "data_dir": tmp_path / "data", "jobs": 0}
    whole = tfds.builder("folder_audio/folder-whole", **words)
    assert whole.builder_config.name.endswith("-whole") and whole.builder_config.protocol == "whole"
    for builder in (whole, tfds.builder("folder_audio", **words)):
        assert pickle.loads(pickle.dumps(builder)).data_dir == builder.data_dir
    with pytest.raises(ValueError, match="BuilderConfig nothing not found"):
        tfds.builder("folder_audio/nothing", **words)


def test_links_to_nothing_and_names_that_are_no_text_are_files_left_out(tmp_path):
    """One such link, or one such name once it came to writing records, cost the whole dataset."""
    for label in ("real", "fake"):
        fixtures.audio(tmp_path / label / "a.wav", seconds=0.2, seed=len(label))
    (tmp_path / "real" / "gone.wav").symlink_to(tmp_path / "absent.wav")
    (tmp_path / "real" / "nothing.wav").touch()
    for name in (b"caf\xe9.wav", b"d\xe9/b.wav"):
        path = os.path.join(os.fsencode(tmp_path / "real"), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
    found = index(tmp_path)
    assert {item.id for item in found.items} == {"real/a.wav", "fake/a.wav"}
    assert sorted(found.skipped) == [
        ("real/caf\udce9.wav", "name is not UTF-8; rename it"),
        ("real/d\udce9/", "name is not UTF-8; rename it"),
        ("real/gone.wav", "link to nothing"),
        ("real/nothing.wav", "empty file"),
    ]
    assert configs.source_config(configs.MediaConfig(name="folder"), epath.Path(tmp_path)).name.rpartition("-")[2]
