"""A corrupted view of a split: same rows, corrupted each by itself; and the fixed choice of clips."""

import concurrent.futures

import numpy as np
import pytest

from dfjax.data import corrupted, sources
from dfjax.media import corruptions
from tests import prepared


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return sources.open_split(prepared.make(tmp_path_factory.mktemp("prepared")), "train")


def test_a_view_holds_every_record_corrupted_by_itself_in_any_order(split):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        view = corrupted.view(split, "noise", 4, pool)
        found = view.records.__getitems__([0, 1, 2, 3]) + view.records.__getitems__([4, 5, 6])
        for row, record in enumerate(found):
            alone = corruptions.corrupt(split.records[row], "noise", 4, str(split.id[row]))
            np.testing.assert_array_equal(record["audio"], alone["audio"])
            assert record["label"] == split.label[row]
        last = len(split) - 1
        np.testing.assert_array_equal(
            view.records[last]["audio"], corrupted.view(split, "noise", 4, pool).records[last]["audio"]
        )
        assert len(view) == len(split) and len(view.records) == len(split)


def test_a_view_of_many_holds_no_more_than_it_makes_ahead(split, monkeypatch):
    """Of a video's frames a few are looked at: those between were kept, up to the whole split."""
    monkeypatch.setattr(corrupted, "KEPT", 0)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        records = corrupted.view(split, "level", 1, pool).records
        for first in range(0, 18, 6):
            records.__getitems__([first, first + 3])
        assert len(records._started) <= 2


def test_scattered_records_of_many_are_made_once(split, monkeypatch):
    """As clips of a shuffled dataset are asked for: what was made ahead was let go of before its turn came."""
    monkeypatch.setattr(corrupted, "KEPT", 0)
    made, corrupt = [], corruptions.corrupt
    monkeypatch.setattr(corruptions, "corrupt", lambda record, *a: made.append(1) or corrupt(record, *a))
    rows = np.random.default_rng(0).permutation(18).reshape(9, 2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        records = corrupted.view(split, "level", 1, pool).records
        for first, second in np.sort(rows, axis=1).tolist():
            if second - first > 1:
                records.__getitems__([first, second])
    assert len(made) == 2 * sum(abs(int(a) - int(b)) > 1 for a, b in rows)


def test_the_choice_is_half_fake_while_there_are_and_nests(split):
    chosen = corrupted.choose(split, 16)
    assert chosen.sum() == 16 and (split.label[chosen] == 1).sum() == 8
    more = corrupted.choose(split, 30)
    assert more.sum() == 30 and (split.label[more] == 1).sum() == 10  # all there are
    assert more[chosen].all()
    assert corrupted.choose(split, 0).all() and corrupted.choose(split, 999).all()
    np.testing.assert_array_equal(chosen, corrupted.choose(split, 16))


def test_clips_are_chosen_whole_and_unknown_labels_never(split):
    clip = np.array([f"c{i // 2}" for i in range(len(split))])
    label = np.where(np.arange(len(split)) < 4, -1, split.label)
    two = sources.dataclasses.replace(split, clip=clip, label=label.astype(np.int32))
    chosen = corrupted.choose(two, 8)
    assert chosen.sum() == 16 and not chosen[:4].any()
    assert np.array_equal(chosen[::2], chosen[1::2])
