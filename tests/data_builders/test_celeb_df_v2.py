"""Celeb-DF v2: the inverted list, the identities, the layouts."""

import hashlib
import pathlib

import pytest

from data_builders import indexing, splitting
from data_builders.celeb_df_v2 import celeb_df_v2_dataset_builder as celeb
from dfjax.records import InputError
from tests.data_builders import trees


@pytest.mark.parametrize(("videos", "youtube"), [("", "YouTube-real"), ("videos/", "Youtube-real")])
def test_official(tmp_path, videos, youtube):
    trees.celeb_df(tmp_path / "Celeb-DF-v2", videos, youtube)
    index = celeb.index(tmp_path)
    test = {item.id.rpartition("/")[2]: item.label for item in index.items if item.split == "test"}
    # 1 is real in the list; the last line, which has no newline, counts
    assert test == {"00001.mp4": 0, "id0_0000.mp4": 0, "id0_id1_0000.mp4": 1, "id7_id8_0000.mp4": 1, "id7_0001.mp4": 0}
    assert ("celeb-synthesis/id7_id8_0099", "in List_of_testing_videos.txt but not on disk") in index.skipped
    assert any("strange name" in id_ for id_, _ in index.skipped)
    (leak,) = (line for line in index.warnings if "1 of 2 test fakes are made from a clip outside test" in line)
    assert "--config_name disjoint" in leak
    held_out = [i for i in index.items if i.split == "validation"]
    assert {item.label for item in held_out} == {0, 1}
    assert not {i.group for i in held_out} & {i.group for i in index.items if i.split == "train"}
    assert {item.group for item in index.items if item.label == 1} == {n for c in trees.CIRCLES for n in c}


def test_without_a_list_the_published_one_is_named_and_a_leak_of_nothing_is_not(tmp_path):
    trees.celeb_df(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()
    (tmp_path / "Celeb-synthesis" / "id0_id1_0000.mp4").unlink()  # the one fake that is on the published list
    index = celeb.index(tmp_path)
    reasons = {reason for _, reason in index.skipped}
    assert "in the published List_of_testing_videos.txt but not on disk" in reasons
    assert not [item for item in index.items if item.split == "test" and item.label == 1]
    assert not any("made from a clip outside test" in line for line in index.warnings)  # it said "0 of 0"


def test_disjoint_deals_out_whole_circles(tmp_path):
    trees.celeb_df(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()  # not needed here
    index = celeb.index(tmp_path, protocol="disjoint")
    assert index.dropped == []
    indexing.check_disjoint(index)
    counts = splitting.tally(index.items)
    assert all(counts.get((split, label)) for split in ("train", "validation", "test") for label in (0, 1))


def test_one_circle_falls_back_to_dropping(tmp_path):
    people = [f"id{i}" for i in range(15)]
    for a in people:
        trees.put(
            tmp_path, f"Celeb-real/{a}_0000.mp4", *(f"Celeb-synthesis/{a}_{b}_0000.mp4" for b in people if b != a)
        )
    index = celeb.index(tmp_path, protocol="disjoint")
    indexing.check_disjoint(index)
    assert len(index.dropped) == 15 * 14 - (9 * 8 + 3 * 2 + 3 * 2)  # 9, 3 and 3 people
    assert "fakes across splits are dropped" in " ".join(index.warnings)


def test_lists_that_cannot_be_right(tmp_path):
    trees.celeb_df(tmp_path)
    path = tmp_path / "List_of_testing_videos.txt"
    content = path.read_text()
    path.write_text(content.replace("1 ", "x ").replace("0 ", "1 ").replace("x ", "0 "))
    with pytest.raises(InputError, match="6 labels contradict their folder"):
        celeb.index(tmp_path)
    path.write_text("id,label\n")
    with pytest.raises(InputError, match="expected lines like '1 YouTube-real/00170.mp4'"):
        celeb.index(tmp_path)
    with pytest.raises(InputError, match="no Celeb-DF v2"):
        celeb.index(tmp_path / "Celeb-real")
    (tmp_path / "celeb-real").mkdir()
    with pytest.raises(InputError, match="differ only by case"):
        celeb.index(tmp_path)


def test_published_list(tmp_path):
    """It comes with the builder: 178 real and 340 fake, the right way round; 234 fakes made from a clip outside it."""
    text = (pathlib.Path(celeb.__file__).parent / celeb.TEST_LIST).read_text()
    assert not text.endswith("\n")
    assert hashlib.sha256(text.encode()).hexdigest().startswith("07063d46206e011a")
    trees.put(tmp_path, *(line.split(" ", 1)[1] for line in text.splitlines()))
    trees.put(tmp_path, *(f"Celeb-real/id{i}_9999.mp4" for i in range(20)))
    index = celeb.index(tmp_path)
    counts = splitting.tally(index.items)
    assert (counts["test", 0], counts["test", 1]) == (178, 340)
    assert any("234 of 340 test fakes" in line for line in index.warnings)
    assert not any("differs from the published" in line for line in index.warnings)
    trees.put(tmp_path, celeb.TEST_LIST, data=text.rpartition("\n")[0].encode())  # as read with one line lost
    assert any("differs from the published list in 1 videos" in line for line in celeb.index(tmp_path).warnings)
    disjoint = celeb.index(tmp_path, protocol="disjoint")
    indexing.check_disjoint(disjoint)
    assert disjoint.dropped == []  # the listed fakes fall into four closed circles


def test_the_same_bytes_under_both_labels_are_dropped_with_all_their_copies(tmp_path):
    trees.celeb_df(tmp_path)
    fakes = sorted((tmp_path / "Celeb-synthesis").glob("id*.mp4"))
    content = (tmp_path / "YouTube-real/00000.mp4").read_bytes()
    for path in (tmp_path / "YouTube-real/00002.mp4", fakes[0]):
        path.write_bytes(content)
    index = indexing.check(celeb.index(tmp_path, protocol="disjoint"))
    gone = {"YouTube-real/00000.mp4", "YouTube-real/00002.mp4", f"Celeb-synthesis/{fakes[0].name}"}
    assert gone == {id_ for id_, reason in index.dropped if "both labels" in reason}
    assert not gone & {item.id for item in index.items}
    assert any("3 files have the same content under both labels" in line for line in index.warnings)
