"""FakeAVCeleb: what is fake, the metadata read by position, three protocols."""

import pytest

from data_builders import indexing
from data_builders.fakeavceleb import fakeavceleb_dataset_builder as fakeav
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.fixture
def tree(tmp_path):
    trees.fakeavceleb(tmp_path / "FakeAVCeleb_v1.2/FakeAVCeleb_v1.2")
    return tmp_path


def categories(index, label):
    return {item.id.split("/")[0] for item in index.items if item.label == label}


def test_labels_come_from_the_category(tree):
    av = {"FakeVideo-RealAudio", "FakeVideo-FakeAudio"}
    assert categories(fakeav.index(tree), 1) == av | {"RealVideo-FakeAudio"}
    assert categories(fakeav.index(tree, label="visual"), 1) == av
    assert categories(fakeav.index(tree, label="audio"), 1) == {"RealVideo-FakeAudio", "FakeVideo-FakeAudio"}


def test_methods_come_from_the_metadata(tree):
    index = fakeav.index(tree)
    items = {item.id: item for item in index.items}
    assert len(items) == len(index.items) == 2 * 4 * 5  # equal base names in several categories all count
    folder = "African/men/id00000"
    assert items[f"RealVideo-RealAudio/{folder}/00027.mp4"].method == ""
    assert items[f"FakeVideo-RealAudio/{folder}/00027.mp4"].method == "faceswap"  # not in its name
    assert items[f"RealVideo-FakeAudio/{folder}/00027_fake.mp4"].method == "rtvc"
    assert items[f"FakeVideo-FakeAudio/{folder}/00027_id00001_wavtolip.mp4"].method == "ambiguous"  # listed twice
    assert any("lists 1 files with two methods" in line for line in index.warnings)
    assert (f"RealVideo-RealAudio/{folder}/00099.mp4", "in meta_data.csv but not on disk") in index.skipped
    woman = next(item for item in index.items if "women" in item.id)
    assert woman.subgroups == (("gender", "women"), ("ethnicity", "Caucasian (American)"))


def test_edited_metadata_reads_the_same(tree):
    """Other headers and prefix, CRLF, a byte order mark, every row twice."""
    before = fakeav.index(tree)
    path = next(tree.glob("*/*/meta_data.csv"))
    rows = path.read_text().splitlines()[2:]
    rows = [row.replace("FakeAVCeleb/", "FakeAVCeleb_v1.2/") for row in rows]
    header = "source,target1,target2,method,category,type,race,gender,filename,path"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([header, *rows, *rows]).encode() + b"\r\n")
    after = fakeav.index(tree)
    assert (before.items, before.skipped, before.warnings) == (after.items, after.skipped, after.warnings)


def test_files_with_endings_in_capitals_are_those_of_the_metadata(tree):
    for path in sorted(tree.rglob("*.mp4")):
        path.rename(path.with_suffix(".MP4"))
    index = fakeav.index(tree)
    assert {item.method for item in index.items} == {"", "rtvc", "faceswap", "fsgan", "wav2lip", "ambiguous"}
    assert len(index.skipped) == 1


def test_disjoint_by_scene(tree):
    index = fakeav.index(tree)
    indexing.check_disjoint(index)
    assert index.dropped == []
    for cell in ("African/men", "Caucasian (American)/women"):  # every cell in every split
        assert {i.split for i in index.items if cell in i.id} == {"train", "validation", "test"}


def test_people_drops_fakes_across(tree):
    index = fakeav.index(tree, protocol="people")
    indexing.check_disjoint(index)
    reasons = [reason for _, reason in index.dropped]
    assert reasons.count("the donor of its face is not named") == 8  # fsgan with the donor '1.mp4'
    assert any("its people are in" in reason for reason in reasons)
    assert len(index.items) + len(index.dropped) == 40
    next(tree.glob("*/*/meta_data.csv")).unlink()
    with pytest.raises(InputError, match="meta_data.csv not found"):
        fakeav.index(tree, protocol="people")


def test_a_donor_without_scenes_on_disk_is_in_one_split_only(tree):
    """Of half a download: the face of one who has no folder was in train and in test."""
    root = next(tree.glob("*/*"))
    rows = (root / "meta_data.csv").read_text().splitlines()[:2]
    for i in range(20):
        path = f"FakeVideo-RealAudio/African/men/id{i:05d}/1_swap.mp4"
        trees.put(root, path.replace("FakeVideo-", "RealVideo-"), path)
        rows.append(f"id{i:05d},id99999,-,fsgan,C,X,African,men,1_swap.mp4,FakeAVCeleb/{path.rpartition('/')[0]}")
    (root / "meta_data.csv").write_text("\n".join(rows))
    index = fakeav.index(tree, protocol="people", label="visual")
    indexing.check_disjoint(index)
    swaps = [item for item in index.items if item.id.endswith("1_swap.mp4") and item.label == 1]
    assert len({item.split for item in swaps}) == 1 and "id99999" in index.people[swaps[0].id]
    assert len({item.split for item in fakeav.index(tree, label="visual").items if item.label == 1}) == 3


def test_cells_hold_out_whole_cells(tmp_path):
    cells = [(race, gender) for race in ("African", "Asian (East)", "Asian (South)") for gender in ("men", "women")]
    for i, (race, gender) in enumerate(cells):
        trees.put(tmp_path, *(f"RealVideo-RealAudio/{race}/{gender}/id{i}000{k}/1.mp4" for k in range(2)))
    index = fakeav.index(tmp_path, protocol="cells")
    splits = {}
    for item in index.items:
        assert splits.setdefault(tuple(item.id.split("/")[1:3]), item.split) == item.split
    assert sorted(splits.values()) == ["test"] + ["train"] * 4 + ["validation"]


def test_without_metadata_the_category_is_the_method(tree):
    next(tree.glob("*/*/meta_data.csv")).unlink()
    index = fakeav.index(tree)
    assert {item.method for item in index.items} == {"", *list(fakeav.CATEGORIES)[1:]}
    assert "methods unknown" in " ".join(index.warnings)


def test_metadata_of_which_no_row_can_be_read_are_said(tree):
    """As saved again with numbers in front: all methods were unknown without a word."""
    path = next(tree.glob("*/*/meta_data.csv"))
    path.write_text("\n".join(f"{i},{row}" for i, row in enumerate(path.read_text().splitlines())))
    assert any("meta_data.csv has no rows like those of the download" in line for line in fakeav.index(tree).warnings)
    with pytest.raises(InputError, match="meta_data.csv not found, or without its rows"):
        fakeav.index(tree, protocol="people")


def test_no_such_protocol_or_tree(tree):
    with pytest.raises(InputError, match=r"Unknown protocol 'official'; expected one of \['disjoint'"):
        fakeav.index(tree, protocol="official")
    with pytest.raises(InputError, match="no FakeAVCeleb"):
        fakeav.index(next(tree.glob("*/*/RealVideo-RealAudio")))
