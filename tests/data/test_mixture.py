"""The mixture of strata is grain's, position for position."""

import grain
import numpy as np
import pytest
from grain.experimental import index_shuffle

from dfjax.data import mixture, sampling


@pytest.mark.parametrize("seed", [0, 1, 77, 2**31 + 5, 2**32 - 1])
@pytest.mark.parametrize("count", [1, 2, 3, 17, 255, 256, 257, 1800, 40_000, 2**16 - 1, 2**16])
def test_an_order_is_a_permutation_and_that_of_grain(count, seed):
    order = mixture.order(count, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    for place in {0, count // 3, count // 2, count - 1}:
        assert order[place] == index_shuffle(place, max_index=count - 1, seed=seed, rounds=mixture.ROUNDS)


def test_orders_of_other_seeds_differ():
    orders = [mixture.order(500, seed) for seed in range(20)]
    same = [np.mean(a == b) for i, a in enumerate(orders) for b in orders[:i]]
    assert max(same) < 0.05


@pytest.mark.parametrize("share", [0.5, 0.17, 0.01])
@pytest.mark.parametrize("counts", [(40, 10), (1, 3), (70_000, 300)])
@pytest.mark.parametrize("start", [0, 123, 10_000_019])
def test_every_position_holds_the_row_that_grain_puts_there(counts, share, start):
    keys = np.repeat([0, 1], counts)
    strata = sampling.strata(keys, {0: 1 - share, 1: share})
    parts = []
    for i in range(2):
        rows = strata.order[strata.start[i] : strata.start[i] + strata.count[i]]
        parts.append(grain.MapDataset.source(rows).seed(5 + i).shuffle().repeat())
    theirs = grain.MapDataset.mix(parts, np.diff(strata.cumulative, prepend=0).tolist())
    positions = range(start, start + 60)
    np.testing.assert_array_equal(mixture.make(strata, 5)(positions), [theirs[position] for position in positions])


def test_many_strata_have_their_rates_and_their_own_orders():
    keys = np.arange(700) % 7
    rates = {key: key + 1 for key in range(7)}
    rows = mixture.make(sampling.strata(keys, rates), 3)(range(2800))
    counts = np.bincount(keys[rows])
    assert np.abs(counts - np.arange(1, 8) * 100).max() <= 7
    assert len(set(rows[keys[rows] == 6])) == 100
    starts = [rows[keys[rows] == key][:10] // 7 for key in range(7)]
    assert len({tuple(start) for start in starts}) == 7
