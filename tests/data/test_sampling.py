import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.data import audio, sampling
from dfjax.records import InputError

LABELS = np.array([0] * 100 + [1] * 10)


def batches(groups, batch, count):
    draw = jax.jit(sampling.draw, static_argnums=2)
    return np.stack([np.asarray(draw(jax.random.fold_in(jax.random.key(0), i), groups, batch)) for i in range(count)])


@pytest.mark.parametrize("share", [0.5, 10 / 110, 0.25])
def test_every_batch_holds_each_class_at_its_rate_to_within_one(share):
    groups = sampling.strata(LABELS, {0: 1 - share, 1: share})
    fakes = LABELS[batches(groups, 32, 200)].sum(axis=1)
    assert np.abs(fakes - 32 * share).max() < 1
    assert abs(fakes.mean() / 32 - share) < 0.005


@pytest.mark.parametrize("strata", [2, 7])
def test_numbers_drawn_together_are_those_of_each_key_alone(strata):
    """Runs of before continue to the same rows."""
    rates = {i: 1.0 + i for i in range(strata)}
    groups = jax.tree.map(jnp.asarray, sampling.strata(np.arange(110) % strata, rates))

    @jax.jit
    def alone(key):
        key_stratum, key_row = jax.random.split(key)
        position = (jnp.arange(64) + jax.random.uniform(key_stratum)) / 64
        stratum = jnp.minimum(jnp.searchsorted(groups.cumulative, position, side="right"), strata - 1)
        count = groups.count[stratum]
        offset = jnp.minimum((jax.random.uniform(key_row, (64,)) * count).astype(jnp.int32), count - 1)
        return groups.order[groups.start[stratum] + offset]

    found = batches(groups, 64, 50)
    assert np.array_equal(found, [alone(jax.random.fold_in(jax.random.key(0), i)) for i in range(50)])


def test_rows_of_a_class_are_drawn_alike():
    rows = batches(sampling.strata(LABELS, {0: 0.5, 1: 0.5}), 64, 500)
    counts = np.bincount(rows.ravel(), minlength=110)
    expected = np.where(LABELS == 1, 500 * 32 / 10, 500 * 32 / 100)
    # a chi-square of 110 cells stays below this with probability 0.9999
    assert ((counts - expected) ** 2 / expected).sum() < 170


def test_a_stratum_that_no_rate_names_is_never_drawn():
    rows = batches(sampling.strata(LABELS, {0: 0.0, 1: 1.0}), 16, 20)
    assert set(LABELS[rows].ravel()) == {1}


def test_a_rate_for_an_absent_stratum_says_which():
    with pytest.raises(InputError, match=r"without examples: \[2\]"):
        sampling.strata(LABELS, {0: 0.5, 2: 0.5})
    with pytest.raises(InputError, match="positive"):
        sampling.strata(LABELS, {0: 0.0})


@pytest.mark.parametrize("rates", [{0: 1e6, 1: 1e-3}, {0: 1e-3, 1: 1e6}])
def test_a_rate_is_drawn_or_refused(rates):
    """One too small for float32 was never drawn, and the streaming feed divided by it."""
    if min(rates, key=rates.get) == 1:
        with pytest.raises(InputError, match="sampling rate of 1 is 1e-09 of all, which is never drawn"):
            sampling.strata(LABELS, rates)
    else:  # the first of all is exact however small
        assert sampling.row_rates(sampling.strata(LABELS, rates), 110)[:100].sum() == pytest.approx(1e-9)
    assert (np.diff(sampling.strata(LABELS, {0: 1e6, 1: 1.0}).cumulative) > 0).all()


def test_cut_tiles_short_clips_and_stays_inside_long_ones():
    clip = np.arange(1, 101, dtype=np.int16)
    buffer = np.stack([clip, np.pad(clip[:30], (0, 70))])
    length = np.array([100, 30], np.int32)
    start = np.array([10, 5], np.int32)
    cut = np.asarray(audio.cut(*map(jnp.asarray, (buffer, length, start)), 64)) * 32768
    np.testing.assert_array_equal(cut[0], clip[10:74])
    np.testing.assert_array_equal(cut[1], np.tile(clip[:30], 4)[5:69])


def test_random_cut_reaches_both_ends_of_a_long_clip():
    buffer = np.tile(np.arange(1, 101, dtype=np.int16), (512, 1))
    length = np.full((512,), 100, np.int32)
    cuts = np.asarray(audio.random_cut(jax.random.key(0), jnp.asarray(buffer), jnp.asarray(length), 90)) * 32768
    starts = cuts[:, 0]
    assert starts.min() == 1 and starts.max() == 11
    np.testing.assert_array_equal(cuts[:, -1] - starts, 89)


def test_a_clip_as_long_as_the_cut_is_taken_as_it_is():
    """So are all windows of a longer recording in AASIST's own length; turned around they would have a click."""
    buffer = np.tile(np.arange(1, 101, dtype=np.int16), (8, 1))
    cuts = audio.random_cut(jax.random.key(0), jnp.asarray(buffer), jnp.full((8,), 100), 100)
    np.testing.assert_array_equal(cuts, audio.to_float(jnp.asarray(buffer)))


def test_augmentation_keeps_gain_and_noise_within_bounds():
    x = np.tile(np.sin(np.arange(8000) / 5).astype(np.float32), (256, 1))
    y = np.asarray(audio.augment(jax.random.key(1), jnp.asarray(x), gain_db=6.0, noise_db=(20.0, 40.0)))
    gain = (x * y).sum(axis=1) / (x * x).sum(axis=1)
    assert 10 ** (-6.2 / 20) < gain.min() and gain.max() < 10 ** (6.2 / 20)
    residual = y - gain[:, None] * x
    snr = 10 * np.log10((gain[:, None] * x).var(axis=1) / np.maximum(residual.var(axis=1), 1e-20))
    assert snr.min() > 19 and 0.35 < (snr < 45).mean() < 0.65
    same = np.asarray(audio.augment(jax.random.key(1), jnp.asarray(x), gain_db=0.0, noise_db=(300.0, 301.0)))
    np.testing.assert_allclose(same, x, atol=1e-12)
