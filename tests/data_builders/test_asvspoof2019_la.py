"""ASVspoof 2019 LA: indexed from the protocols, never from the folders."""

import pytest

from data_builders import indexing, splitting
from data_builders.asvspoof2019_la import asvspoof2019_la_dataset_builder as asvspoof
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.fixture
def tree(tmp_path):
    trees.asvspoof(tmp_path / "LA/LA")
    return tmp_path


def protocol(tree, part):
    return next(tree.glob(f"LA/LA/ASVspoof2019_LA_cm_protocols/*.{part}.*"))


def test_protocols(tree):
    index = asvspoof.index(tree)
    counts = splitting.tally(index.items)
    for split in ("train", "validation", "test"):
        assert (counts[split, 0], counts[split, 1]) == (4, 8)
    assert {item.method for item in index.items if item.split == "test"} == {"", "A07", "A19"}
    assert {item.method for item in index.items if item.split != "test"} == {"", "A01", "A06"}
    assert [reason for _, reason in index.dropped] == ["in no countermeasure protocol (speaker enrolment)"] * 4
    item = next(item for item in index.items if item.id == "ASVspoof2019_LA_train/flac/LA_T_1000000.flac")
    assert (item.label, item.group, item.method) == (0, "LA_0000", "")
    indexing.check_disjoint(index)


def test_listed_but_absent(tree):
    (tree / "LA/LA/ASVspoof2019_LA_dev/flac/LA_D_1000003.flac").unlink()
    index = asvspoof.index(tree)
    assert any("LA_D_1000003" in id_ and "not on disk" in reason for id_, reason in index.skipped)
    assert "validation: 1 of 12 listed utterances are not on disk" in index.warnings


def test_another_asvspoofs_protocol_is_refused(tree):
    path = protocol(tree, "eval")
    path.write_text(path.read_text().replace("LA_E_", "DF_E_"))
    with pytest.raises(InputError, match="got 'LA_0020 DF_E_1000000 - - bonafide'; another ASVspoof"):
        asvspoof.index(tree)
    path.unlink()
    with pytest.raises(InputError, match="eval.trl.txt not found .*10283/3336"):
        asvspoof.index(tree)


def test_line_listed_twice(tree):
    path = protocol(tree, "train")
    path.write_text(path.read_text() + "\n" + path.read_text().splitlines()[0])
    with pytest.raises(InputError, match="LA_T_1000000 is listed twice"):
        asvspoof.index(tree)


def test_disjoint_drops_shared_speakers(tree):
    path = protocol(tree, "train")
    path.write_text(path.read_text().replace("LA_0001", "LA_0021"))  # a speaker of eval
    with pytest.raises(ValueError, match="group 'LA_0021' is in train and in test|is in test and in train"):
        indexing.check_disjoint(asvspoof.index(tree))
    index = asvspoof.index(tree, protocol="disjoint")
    indexing.check_disjoint(index)
    assert sum(reason == "its speaker is in test" for _, reason in index.dropped) == 6


def test_without_dev_validation_comes_from_train(tree):
    import shutil

    shutil.rmtree(tree / "LA/LA/ASVspoof2019_LA_dev")
    index = asvspoof.index(tree)
    assert {item.split for item in index.items} == {"train", "validation", "test"}
    indexing.check_disjoint(index)
