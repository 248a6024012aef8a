"""The two Kaggle sets called Deepfake Image Detection: told apart by structure; near-duplicates found."""

import pytest

from data_builders import indexing, splitting
from data_builders.deepfake_image_detection import deepfake_image_detection_dataset_builder as pictures
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.mark.parametrize("wrapped", [True, False])
def test_official_pictures(tmp_path, wrapped):
    trees.deepfake_pictures(tmp_path / "archive (2)", wrapped)
    index = pictures.index(tmp_path)
    assert index.variant == "pictures"
    name = {item.id.rpartition("/")[2]: item for item in index.items}
    assert name["t1.jpg"].group == name["same as t1.jpg"].group  # another size, another split
    assert name["t1.jpg"].split != "test" and name["same as t1.jpg"].split == "test"
    assert f"1 groups of near-duplicates are in train and in test; {splitting.CHOOSE_DISJOINT}" in index.warnings
    assert len({item.group for item in index.items}) == len(index.items) - 1  # no others are alike
    dropped = {id_.rpartition("/")[2]: reason for id_, reason in index.dropped}
    assert dropped.keys() == {"both.jpg", "both, smaller.png", "s.jpg"}
    assert "both labels" in dropped["both.jpg"]
    reasons = {id_.rpartition("/")[2]: reason for id_, reason in index.skipped}
    assert reasons == {"._t1.jpg": "operating system leftover", "truncated.jpg": "not a readable picture"}
    assert {"palette.png", "alpha.png", "grey.jpg"} <= name.keys()
    assert {item.label for item in index.items if item.split == "validation"} == {0, 1}


def test_disjoint_pictures(tmp_path):
    trees.deepfake_pictures(tmp_path)
    index = pictures.index(tmp_path, protocol="disjoint")
    indexing.check_disjoint(index)
    counts = splitting.tally(index.items)
    assert all(counts.get((split, label)) for split in ("train", "validation", "test") for label in (0, 1))


def test_faces(tmp_path):
    trees.deepfake_faces(tmp_path / "archive (2)")
    index = pictures.index(tmp_path, protocol="disjoint")
    assert index.variant == "faces"
    assert len({item.id for item in index.items}) == 12  # base names occur in every split
    counts = splitting.tally(index.items)
    assert all(counts[split, label] == 2 for split in ("train", "validation", "test") for label in (0, 1))
    indexing.check_disjoint(index)


def test_other_layouts(tmp_path):
    trees.faces_140k(tmp_path)
    with pytest.raises(InputError, match="use faces_140k"):
        pictures.index(tmp_path)
    with pytest.raises(InputError, match="no Deepfake Image Detection"):
        pictures.index(tmp_path / "real_vs_fake/real-vs-fake/train/real")
