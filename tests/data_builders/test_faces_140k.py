"""140k faces: the folders hold, the CSVs are inverted."""

import pytest

from data_builders import splitting
from data_builders.faces_140k import faces_140k_dataset_builder as faces
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.mark.parametrize("wrapper", ["real_vs_fake/real-vs-fake/", "real-vs-fake/", ""])
def test_folders(tmp_path, wrapper):
    trees.faces_140k(tmp_path, wrapper)
    index = faces.index(tmp_path)
    counts = splitting.tally(index.items)
    assert all(counts[split, label] == 3 for split in ("train", "validation", "test") for label in (0, 1))
    assert index.items[0].id == "test/fake/09ZTJ3621.jpg" and index.items[0].label == 1
    assert not any("contradict" in line or "not in" in line for line in index.warnings)  # 1 is real there
    assert index.skipped == []


def test_csv_and_folders_disagree(tmp_path):
    trees.faces_140k(tmp_path)
    (tmp_path / "real_vs_fake/real-vs-fake/train/real/00355.jpg").unlink()
    trees.put(tmp_path, "real_vs_fake/real-vs-fake/train/real/new.jpg")
    path = tmp_path / "valid.csv"
    path.write_text(path.read_text().replace(",1,real,", ",0,real,"))
    index = faces.index(tmp_path)
    assert ("train/real/00355.jpg", "in train.csv but not on disk") in index.skipped
    assert "1 pictures of train/ are not in train.csv" in index.warnings
    assert any("valid.csv: 3 labels contradict the folder" in line for line in index.warnings)
    assert all(item.label == 0 for item in index.items if "/real/" in item.id)


def test_a_csv_without_labels_contradicts_nothing(tmp_path):
    trees.faces_140k(tmp_path)
    trees.put(tmp_path, "test.csv", data=b"path\ntest/real/00355.jpg\ntest/fake/09ZTJ3621.jpg\n")
    index = faces.index(tmp_path)
    assert "4 pictures of test/ are not in test.csv" in index.warnings
    assert not any("contradict" in line for line in index.warnings)


def test_other_layouts_are_refused(tmp_path):
    trees.deepfake_faces(tmp_path)
    with pytest.raises(InputError, match="no 140k faces"):
        faces.index(tmp_path)
