"""Fake-or-Real: versions, nesting, equal names, chains of suffixes."""

import pytest

from data_builders import indexing, splitting
from data_builders.fake_or_real import fake_or_real_dataset_builder as fake_or_real
from dfjax.records import InputError
from tests.data_builders import trees


def test_versions(tmp_path):
    trees.fake_or_real(tmp_path)
    index = fake_or_real.index(tmp_path)
    counts = splitting.tally(index.items)
    assert all(counts[split, label] == 3 for split in ("train", "validation", "test") for label in (0, 1))
    assert ("Training/fake/file9.wav", "empty file") in index.skipped
    assert any("published 26941 and 26927" in line for line in index.warnings)
    assert len({item.id for item in index.items}) == 18  # file0 is real and fake, in three splits
    assert {dict(item.subgroups)["codec"] for item in index.items if item.label == 1} == {"mp3"}
    assert {dict(item.subgroups)["codec"] for item in index.items if item.label == 0} == {"wav"}
    # the same recording has the same group in every version
    assert {i.group for i in index.items} == {i.group for i in fake_or_real.index(tmp_path, version="2sec").items}
    assert len(fake_or_real.index(tmp_path / "for-2sec", version="2sec").items) == 18
    with pytest.raises(InputError, match="holds version 2sec and norm and original .*got version 'rerec'"):
        fake_or_real.index(tmp_path, version="rerec")
    with pytest.raises(InputError, match="holds version 2sec"):
        fake_or_real.index(tmp_path / "for-2sec/for-2seconds", version="norm")


def test_no_validation_folder(tmp_path):
    trees.fake_or_real(tmp_path)
    index = fake_or_real.index(tmp_path, version="original")
    assert {item.split for item in index.items} == {"train", "validation", "test"}
    assert {item.path.suffix for item in index.items if item.label == 1} == {".mp3"}


@pytest.mark.parametrize("gone", ["training", "testing"])
def test_a_part_of_the_download_keeps_its_splits(tmp_path, gone):
    """Without testing/ the files of training/ were split at random, and those of validation/ took no part."""
    splits = [split for split in fake_or_real.SPLIT_FOLDERS if split != gone]
    for split in splits:
        trees.put(tmp_path, *(f"for-norm/{split}/{c}/file{i}.wav" for i in range(9) for c in ("real", "fake")))
    index = fake_or_real.index(tmp_path)
    assert index.variant == "splits" and len(index.items) == 36
    assert {item.split for item in index.items} == {fake_or_real.SPLIT_FOLDERS[split] for split in splits}
    assert all(item.split == fake_or_real.SPLIT_FOLDERS[item.id.split("/")[0]] for item in index.items)


def test_a_folder_that_is_called_like_a_split_is_none_without_classes(tmp_path):
    """Notes in `testing/` beside the download were taken for it, and no media were found."""
    trees.fake_or_real(tmp_path / "download")
    whole = fake_or_real.index(tmp_path).items
    (tmp_path / "testing").mkdir()
    (tmp_path / "testing/notes.txt").write_text("x")
    assert [item.id for item in fake_or_real.index(tmp_path).items] == [item.id for item in whole] and len(whole)


def test_no_split_folders(tmp_path):
    trees.put(tmp_path, *(f"for-2sec/{label}/file{i}.wav" for i in range(20) for label in ("real", "fake")))
    index = fake_or_real.index(tmp_path, version="2sec")
    assert index.variant == "no splits" and "split at random by file" in " ".join(index.warnings)
    counts = splitting.tally(index.items)
    assert [counts[split, 0] for split in ("train", "validation", "test")] == [16, 2, 2]
    indexing.check_disjoint(index)


def test_renamed_or_absent(tmp_path):
    trees.put(
        tmp_path, *(f"x/{split}/{label}/a.wav" for split in ("training", "testing") for label in ("real", "fake"))
    )
    assert len(fake_or_real.index(tmp_path).items) == 4
    with pytest.raises(InputError, match="no Fake-or-Real"):
        fake_or_real.index(tmp_path / "x/training/real")
