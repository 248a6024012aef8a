"""DFD: both layouts, both actors in one split, names outside the pattern."""

import pytest

from data_builders import indexing, splitting
from data_builders.dfd import dfd_dataset_builder as dfd
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.mark.parametrize("kaggle", [True, False])
def test_both_actors_in_one_split(tmp_path, kaggle):
    trees.dfd(tmp_path / "archive (2)", kaggle)
    index = dfd.index(tmp_path)
    assert index.variant == ("kaggle" if kaggle else "official")
    indexing.check_disjoint(index)
    assert [reason for _, reason in index.dropped] == ["its people are in train and validation"]
    assert [id_.rpartition("/")[2] for id_, _ in index.skipped] == ["Park.mp4"]
    counts = splitting.tally(index.items)
    assert [counts[split, 1] for split in ("train", "validation", "test")] == [3, 1, 2]
    assert [counts[split, 0] for split in ("train", "validation", "test")] == [4, 4, 4]
    assert not any("youtube" in item.id for item in index.items)


def test_other_spellings(tmp_path):
    trees.dfd(tmp_path)
    before = [item.id.rpartition("/")[2] for item in dfd.index(tmp_path).items]
    inner = tmp_path / "DFD_manipulated_sequences"
    (inner / "DFD_manipulated_sequences").rename(tmp_path / "DFD_manipulated sequences")  # flat, typed by hand
    inner.rmdir()
    for path in sorted((tmp_path / "DFD_original sequences").iterdir()):
        path.rename(tmp_path / path.name)  # unpacked into the parent
    (tmp_path / "DFD_original sequences").rmdir()
    assert sorted(item.id.rpartition("/")[2] for item in dfd.index(tmp_path).items) == sorted(before)


def test_missing_parts(tmp_path):
    trees.dfd(tmp_path, kaggle=False)
    with pytest.raises(InputError, match=r"has no raw; it has \['c23'\]"):
        dfd.index(tmp_path, compression="raw")
    for path in sorted((tmp_path / "original_sequences/actors/c23/videos").iterdir()):
        path.unlink()
    with pytest.raises(InputError, match="holds no originals"):
        dfd.index(tmp_path)
    with pytest.raises(InputError, match="no DFD"):
        dfd.index(tmp_path / "original_sequences")


def test_published_names(tmp_path):
    """All 363 names fit the pattern; the actors' parts hold 247, 57 and 59 of them."""
    if not trees.LISTS.is_dir():
        pytest.skip("the published names are not beside the checkout")
    names = (trees.LISTS / "dfd_original_clip_names.txt").read_text().split()
    trees.put(tmp_path, *(f"DFD_original sequences/{name}.mp4" for name in names))
    trees.put(tmp_path, "DFD_manipulated_sequences/01_02__exit_phone_room__YVGY8LOK.mp4")
    counts = splitting.tally(dfd.index(tmp_path).items)
    assert [counts[split, 0] for split in ("train", "validation", "test")] == [247, 57, 59]
