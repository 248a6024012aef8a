"""RawBoost: filters as SciPy designs them, bounds, ratios, and which algorithm is which."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from dfjax.data import channel, rawboost
from dfjax.records import InputError

KEY = jax.random.key(5)
X = jnp.asarray(0.1 * np.random.default_rng(2).standard_normal((4, 6000)).astype(np.float32))

# each one program: one by one, their operations take longer to compile
CONVOLUTIVE = jax.jit(rawboost.convolutive, static_argnames=("orders", "bands"))
IMPULSIVE = jax.jit(rawboost.impulsive, static_argnames=("percent", "strength"))
STATIONARY = jax.jit(rawboost.stationary, static_argnames="snr_db")
BOOST = jax.jit(rawboost.rawboost, static_argnames="algorithm")


@pytest.mark.parametrize(("centre", "width", "half"), [(3000, 500, 20), (30, 400, 49), (7990, 900, 5), (1000, 100, 33)])
def test_a_notch_is_scipys_band_stop(centre, width, half):
    edges = max(centre - width / 2, 1e-3), min(centre + width / 2, 8000 - 1e-3)
    expected = scipy.signal.firwin(2 * half + 1, edges, fs=16000, window="hamming")
    taps = np.asarray(rawboost.notch_taps(jnp.float32([centre]), jnp.float32([width]), jnp.int32([half])))[0]
    middle = len(taps) // 2
    # where the notch covers 0 Hz the taps are divided by a small sum and large
    np.testing.assert_allclose(taps[middle - half : middle + half + 1], expected, atol=5e-6 * np.abs(expected).max())
    assert not taps[: middle - half].any() and not taps[middle + half + 1 :].any()


def test_filters_are_symmetric_with_their_peak_where_it_should_be():
    gain = jnp.float32([[0.0, -10.0, -20.0]] * 4)
    filters = jax.jit(rawboost._filters, static_argnums=(1, 3))
    taps = np.asarray(filters(KEY, 4, gain, rawboost.BANDS), np.float64)
    np.testing.assert_allclose(taps, taps[..., ::-1], atol=1e-6)
    peak = np.abs(np.fft.rfft(taps, n=1024)).max(axis=-1)
    np.testing.assert_allclose(20 * np.log10(peak), gain, atol=1e-3)
    reach = rawboost.BANDS * rawboost.HALF_TAPS[1]
    assert np.abs(taps[..., : 255 - reach]).max() < 1e-6  # nothing has wrapped around


def test_no_strength_is_the_identity():
    np.testing.assert_array_equal(IMPULSIVE(KEY, X, strength=0.0), X)
    np.testing.assert_array_equal(IMPULSIVE(KEY, X, percent=0.0), X)
    np.testing.assert_allclose(STATIONARY(KEY, X, snr_db=(200.0, 200.0)), X, atol=1e-9)
    centred = X - X.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(CONVOLUTIVE(KEY, X, orders=1, bands=0), centred, atol=1e-6)


def test_higher_orders_add_powers_of_the_signal():
    y = CONVOLUTIVE(KEY, X, orders=2, bands=0)
    added = np.asarray(y - CONVOLUTIVE(KEY, X, orders=1, bands=0))
    square = np.asarray(X**2 - (X**2).mean(axis=1, keepdims=True))
    share = (added * square).sum(axis=1) / (square**2).sum(axis=1)
    np.testing.assert_allclose(added, share[:, None] * square, atol=1e-6)
    assert (-20.001 < 20 * np.log10(share)).all() and (20 * np.log10(share) < -4.999).all()


def test_impulses_hit_few_samples_and_at_most_double_strength():
    y = np.asarray(IMPULSIVE(KEY, X))
    hit = y != np.asarray(X)
    assert hit.mean(axis=1).max() <= 0.115 and hit.any()
    ratio = (y / np.asarray(X))[hit] - 1
    assert np.abs(ratio).max() <= 2 + 1e-4 and abs(ratio.mean()) < 0.1
    assert 0.55 < ratio.std() < 0.8  # 2 u v has the deviation 2/3


def test_stationary_noise_is_at_its_ratio():
    y = STATIONARY(KEY, X, snr_db=(17.0, 17.0))
    np.testing.assert_allclose(20 * np.log10(np.asarray(channel.rms(X) / channel.rms(y - X))), 17, atol=1e-3)


def test_series_and_parallel_are_made_of_the_three():
    first, second, third = (jax.random.fold_in(KEY, i) for i in range(3))
    both = IMPULSIVE(second, CONVOLUTIVE(first, X))
    np.testing.assert_allclose(BOOST(KEY, X, algorithm=5), both, atol=1e-6)
    np.testing.assert_allclose(BOOST(KEY, X, algorithm=4), STATIONARY(third, both), atol=1e-6)
    left, right = jax.random.split(KEY)
    side = CONVOLUTIVE(left, X) + IMPULSIVE(right, X)
    np.testing.assert_allclose(BOOST(KEY, X, algorithm=8), side, atol=1e-6)


@pytest.mark.parametrize(
    "algorithm", [n if n == 4 else pytest.param(n, marks=pytest.mark.slow) for n in rawboost.ALGORITHMS]
)
def test_every_algorithm_is_finite_reproducible_and_different_per_clip(algorithm):
    boost = functools.partial(BOOST, algorithm=algorithm)
    loud = jnp.tile(8 * X[:1], (4, 1))
    y = np.asarray(boost(KEY, loud))
    assert y.shape == loud.shape and np.isfinite(y).all()
    np.testing.assert_array_equal(y, boost(KEY, loud))
    assert np.abs(y[0] - y[1]).max() > 1e-3 and np.abs(y[1] - y[2]).max() > 1e-3
    assert np.isfinite(np.asarray(boost(KEY, jnp.zeros_like(loud)))).all()


def test_a_ninth_algorithm_is_refused():
    with pytest.raises(InputError, match="expected one of"):
        rawboost.rawboost(KEY, X, algorithm=9)
