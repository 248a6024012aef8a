"""The pooled mean is the published one, and the cases that can be worked out by hand come out as they must."""

import numpy as np
import pytest
from scipy import stats

from dfjax.decide import random_effects

# log risk ratios of 13 trials of the BCG vaccine and their variances (Colditz et al. 1994)
BCG = (
    (-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173),
    (0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714),
)


def test_the_published_example():
    found = random_effects.pool(BCG[0], np.sqrt(BCG[1]).tolist())
    assert found["value"] == pytest.approx(-0.7141, abs=5e-4) and found["tau"] ** 2 == pytest.approx(0.3088, abs=5e-4)
    assert found["i2"] == pytest.approx(0.9212, abs=5e-4) and found["datasets"] == 13
    assert found["low"] < -0.7141 - 1.96 * 0.17 and found["high"] < 0


def test_equal_errors_give_the_plain_mean_and_students_interval():
    y = np.array([0.1, 0.5, -0.2, 0.9])
    found = random_effects.pool(y.tolist(), [0.01] * 4)
    assert found["value"] == pytest.approx(y.mean())
    half = stats.t.ppf(0.975, 3) * y.std(ddof=1) / 2
    assert (found["low"], found["high"]) == pytest.approx((y.mean() - half, y.mean() + half))
    assert found["tau"] ** 2 == pytest.approx(y.var(ddof=1) - 0.01**2)


def test_effects_that_agree_have_no_spread_and_weigh_by_precision():
    found = random_effects.pool([0.2, 0.21], [0.1, 0.2])
    assert found["tau"] == 0 and found["i2"] == 0
    assert found["value"] == pytest.approx((0.2 / 0.01 + 0.21 / 0.04) / (1 / 0.01 + 1 / 0.04))
    assert found["high"] - found["value"] == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(1 / 125))


def test_one_dataset_that_is_known_far_better_than_others_does_not_hide_how_these_differ():
    effects, variances = [0.0, 8.0, -9.0], [1e-15, 4.5, 4.5]
    one, *others = (1 / v for v in variances)
    whole, mean = one + sum(others), sum(y / v for y, v in zip(effects, variances, strict=True)) * variances[0]
    q = sum((y - mean) ** 2 / v for y, v in zip(effects, variances, strict=True))
    pairs = one * sum(others) + others[0] * others[1]  # each of two datasets
    found = random_effects.pool(effects, np.sqrt(variances).tolist())
    assert found["tau"] ** 2 == pytest.approx((q - 2) * whole / (2 * pairs), rel=1e-6)


def test_one_none_and_impossible_ones():
    one = random_effects.pool([0.3], [0.1])
    assert (one["value"], one["low"], one["tau"]) == (0.3, None, 0)
    assert random_effects.pool([0.003], [0.013])["i2"] == 0  # by rounding all of the variance was between datasets
    assert random_effects.pool([], [])["value"] is None
    for effects, errors in (([0.1], [0.0]), ([np.nan], [0.1])):
        with pytest.raises(ValueError, match="errors above 0"):
            random_effects.pool(effects, errors)
