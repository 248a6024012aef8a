"""Which rows are drawn how often: modes, methods, subsets, and that both feeds hold them."""

import dataclasses

import jax
import ml_collections
import numpy as np
import pytest

from dfjax.data import feeds, sources
from dfjax.imbalance import balance, rates
from dfjax.imbalance.rates import cell_rates
from dfjax.records import InputError
from dfjax.runtime import devices
from dfjax.training import recipe
from experiments import audio_focal
from tests import prepared

COUNTS = {(0, ""): 1000, (1, "griffin-lim"): 75, (1, "wavenet"): 25}
LABELS = np.repeat([0, 1, 1, -1], [1000, 75, 25, 7])
METHODS = np.repeat(["", "griffin-lim", "wavenet", "griffin-lim"], [1000, 75, 25, 7])
NAMED = {"real": 3, "fake": 1, "fake/wavenet": 1}
MODES = [*rates.MODES, NAMED]


def row_rates(labels, methods, mode, **words):
    """The probability of drawing each row."""
    real, fake = balance.sampling_rates(rates.cell_counts(labels, methods), mode)
    names, rate, rows = rates.draws(labels, methods, mode, {0: real, 1: fake}, **words)
    found = np.zeros(len(labels))
    for name, share in rate.items():
        np.add.at(found, rows[names == name], share / np.sum(names == name))
    return found


def test_rates_by_mode():
    np.testing.assert_allclose(balance.sampling_rates(COUNTS, "natural"), [10 / 11, 1 / 11])
    np.testing.assert_allclose(balance.sampling_rates((1000, 100), "balanced"), [0.5, 0.5])
    np.testing.assert_allclose(balance.sampling_rates((900, 100), "sqrt"), [0.75, 0.25])
    cells = cell_rates(COUNTS, "balanced")
    np.testing.assert_allclose(list(cells.values()), [0.5, 0.375, 0.125])
    np.testing.assert_allclose(list(cell_rates(COUNTS, "balanced_methods").values()), [0.5, 0.25, 0.25])
    named = cell_rates(COUNTS, {"real": 3, "fake": 1, "fake/wavenet": 1})
    assert named == {(0, ""): 0.6, (1, "griffin-lim"): 0.2, (1, "wavenet"): 0.2}


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("evenly", "Unknown sampling mode 'evenly'; expected one of"),
        ({"real": 1, "faker": 1}, "Unknown sampling rate 'faker'; expected one of"),
        ({"real": 1, "fake": -1}, "not negative"),
        ({"real": 1, "fake": 0}, "never draw 'fake'"),
        ({"real": 1, "fake/wavenet": 1}, "no sampling rate for 'fake', needed by its method 'griffin-lim'"),
        ({"real": 1, "fake": 1, "fake/wavenet": 1, "fake/griffin-lim": 1}, "covers nothing"),
    ],
)
def test_rates_that_make_no_sense_are_refused(mode, message):
    with pytest.raises(InputError, match=message):
        cell_rates(COUNTS, mode)


def test_oversampling_keeps_every_row_and_repeats_evenly():
    labels = np.repeat([0, 1], [95, 10])
    times = np.bincount(rates.oversample(labels), minlength=105)
    assert (times[:95] == 1).all() and set(times[95:]) == {9, 10} and times[95:].sum() == 95


# ---------------------------------------------------------------------- rows


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_method_is_drawn_at_its_rate_and_the_unknown_never(mode):
    found = row_rates(LABELS, METHODS, mode)
    assert abs(found.sum() - 1) < 1e-12 and (found[LABELS == -1] == 0).all()
    if mode in ("undersample", "oversample"):
        assert abs(found[LABELS == 1].sum() - 0.5) < 1e-12
        return
    for (label, method), rate in cell_rates(COUNTS, mode).items():
        of = found[(LABELS == label) & (METHODS == method)]
        np.testing.assert_allclose(of, rate / len(of))


def test_undersampling_keeps_a_subset_that_the_seed_chooses():
    found = row_rates(LABELS, METHODS, "undersample", seed=3)
    np.testing.assert_allclose(found[found > 0], 1 / 200)
    assert (found[LABELS == 1] > 0).all() and np.count_nonzero(found[LABELS == 0]) == 100
    np.testing.assert_array_equal(found, row_rates(LABELS, METHODS, "undersample", seed=3))
    assert not np.array_equal(found, row_rates(LABELS, METHODS, "undersample", seed=4))
    kept = rates.undersample(LABELS, ratio=3.0)
    assert np.bincount(LABELS[kept]).tolist() == [300, 100] and len(set(kept)) == 400


def test_undersampling_works_whichever_class_is_larger():
    found = row_rates(1 - LABELS[LABELS >= 0], METHODS[LABELS >= 0], "undersample")
    assert np.count_nonzero(found) == 200


def test_room_for_made_fakes_scales_the_methods_alike():
    _, before, _ = rates.draws(LABELS, METHODS, NAMED, {0: 0.6, 1: 0.4})
    _, after, _ = rates.draws(LABELS, METHODS, NAMED, {0: 0.8, 1: 0.2})
    assert list(before) == ["real/", "fake/griffin-lim", "fake/wavenet"]
    np.testing.assert_allclose(list(before.values()), [0.6, 0.2, 0.2])
    np.testing.assert_allclose(list(after.values()), [0.8, 0.1, 0.1])


def test_words_about_rates_can_be_checked_before_there_are_data():
    for mode in ("natural", "auto", NAMED, {"real": 1, "fake/a": 1, "fake/b": 2}):
        balance.plan(rates.stand_in(mode), sampling=mode, minority_groups=30)
    for mode, message in (({"real": 1, "faker": 1}, "'faker'"), ({"real": 1}, "no sampling rate for 'fake'")):
        with pytest.raises(InputError, match=message):
            balance.plan(rates.stand_in(mode), sampling=mode)


def test_groups_of_the_smaller_class_are_counted():
    labels, groups = np.array([0, 0, 0, 0, 1, 1, -1]), np.array(list("abcdeef"))
    assert rates.minority_groups(labels, groups) == 1
    assert rates.minority_groups(1 - labels[:-1], groups[:-1]) == 1


# ---------------------------------------------------------------------- both feeds


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    found = sources.open_split(prepared.make(tmp_path_factory.mktemp("prepared")), "train")  # 40 real, 10 fake
    methods = np.where(found.label == 1, np.array(["saw", "buzz"])[(np.cumsum(found.label) > 8).astype(int)], "")
    return dataclasses.replace(found, method=methods)


class Ears:
    modality = "audio"


def taken(split, kind, mode, steps, batch=32):
    """Rows of `steps` batches: (steps, batch) row numbers, and (steps, batch) labels."""
    config = audio_focal.get_config()
    config.balance = ml_collections.ConfigDict({"sampling": mode, "allow_stacking": False})
    plan = recipe.make_plan(config, *recipe.tally(split))
    marked = dataclasses.replace(split, label=split.label + 2 * np.arange(len(split), dtype=np.int32))
    strata = recipe.make_strata(config, plan, split)  # of the true labels; the feed hands over marked ones
    mesh = devices.make_mesh(batch)
    feed = feeds.make(kind, marked, strata, batch, model=Ears, mesh=mesh, seed=0, first=0)
    take = jax.jit(lambda key, data: feed.examples(key, data)["label"])
    found = np.stack([take(jax.random.fold_in(jax.random.key(0), step), feed.take(step)) for step in range(steps)])
    return found // 2, found % 2


@pytest.mark.parametrize("kind", ["resident", "streaming"])
@pytest.mark.parametrize("mode", [*rates.MODES, {"real": 2, "fake/saw": 1, "fake/buzz": 1}], ids=str)
def test_both_feeds_draw_classes_and_methods_at_the_rates_of_the_plan(split, kind, mode):
    rows, labels = taken(split, kind, mode, 30 if kind == "resident" else 6)
    counts = rates.cell_counts(split.label, split.method)
    assert counts == {(0, ""): 40, (1, "buzz"): 2, (1, "saw"): 8}
    real, fake = balance.sampling_rates(counts, mode)
    assert np.abs(labels.sum(axis=1) - 32 * fake).max() <= 1 and abs(labels.mean() - fake) < 0.01
    if mode == "balanced_methods" or isinstance(mode, dict):
        for (label, method), rate in cell_rates(counts, mode).items():
            share = np.mean((split.label[rows] == label) & (split.method[rows] == method))
            assert abs(share - rate) < 0.01, (label, method)
    drawn = len(np.unique(rows[labels == 0]))
    assert drawn == (10 if mode == "undersample" else 40), "rows of the larger class"


def test_both_feeds_undersample_to_the_same_rows(split):
    kept = [
        set(taken(split, kind, "undersample", 12 if kind == "resident" else 3)[0].ravel().tolist())
        for kind in feeds.FEEDS[1:]
    ]
    assert kept[0] == kept[1] and len(kept[0]) == 20
