"""Noise, rooms, telephone lines, gaps: their formulas and their identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from dfjax.data import channel

KEY = jax.random.key(3)
RNG = np.random.default_rng(1)
X = jnp.asarray(0.1 * RNG.standard_normal((4, 8000)).astype(np.float32))

# each one program: one by one, their operations take longer to compile
CONVOLVE = jax.jit(channel.convolve, static_argnames="lag")
MU_LAW = jax.jit(channel.mu_law, static_argnames="levels")
TELEPHONE = jax.jit(channel.telephone, static_argnames="rate")
REVERB = jax.jit(channel.reverb, static_argnames=("seconds", "direct_db", "rate"))
HIDE = jax.jit(channel.hide, static_argnames=("seconds", "hertz"))
LEAD = jax.jit(channel.lead, static_argnames=("seconds", "rate"))


@pytest.mark.parametrize(
    ("order", "time", "rows", "lag"),
    [(1, 100, 2, 0), (7, 100, 1, 3), (64, 1000, 2, 63), (511, 3000, 1, 0), (511, 6000, 2, 255), (200, 50, 2, 100)],
)
def test_convolution_is_scipys(order, time, rows, lag):
    x = RNG.standard_normal((2, time)).astype(np.float32)
    taps = RNG.standard_normal((rows, order)).astype(np.float32)
    expected = [scipy.signal.convolve(a, taps[i % rows])[lag : lag + time] for i, a in enumerate(x)]
    np.testing.assert_allclose(
        CONVOLVE(jnp.asarray(x), jnp.asarray(taps), lag=lag), expected, atol=1e-5 * order**0.5 + 1e-5
    )


def test_mu_law_is_its_formula():
    x = RNG.uniform(-1.2, 1.2, (2, 500))
    code = np.round(np.log(1 + 255 * np.minimum(np.abs(x), 1)) / np.log(256) * 127)
    expected = np.sign(x) * (256 ** (code / 127) - 1) / 255
    np.testing.assert_allclose(MU_LAW(jnp.asarray(x, jnp.float32)), expected, atol=2e-6)
    assert len(np.unique(np.round(np.asarray(MU_LAW(jnp.linspace(-1, 1, 9999)[None])), 6))) == 255
    np.testing.assert_allclose(MU_LAW(X, levels=1 << 20), X, atol=1e-5)
    assert not np.asarray(MU_LAW(jnp.zeros((1, 9)))).any()


def test_a_telephone_passes_its_band_and_nothing_above_it():
    t = np.arange(8000) / 16000
    tones = jnp.asarray(np.stack([0.5 * np.sin(2 * np.pi * f * t) for f in (20, 1000, 2000, 6000)]), jnp.float32)
    inside = np.asarray(TELEPHONE(KEY, tones))[:, 1000:-1000]
    level = inside.std(axis=1) / np.asarray(tones)[:, 1000:-1000].std(axis=1)
    np.testing.assert_allclose(level[1:3], 1, atol=0.02)
    assert level[0] < 0.02 and level[3] < 0.02
    y = np.asarray(TELEPHONE(KEY, X))
    power = (np.abs(np.fft.rfft(y * np.hanning(8000), axis=1)) ** 2).mean(axis=0)
    assert power[2050:].max() < 1e-6 * power[500:1500].mean()
    # in time: no delay
    lags = scipy.signal.correlate(y[0], np.asarray(X)[0]).argmax() - 7999
    assert lags == 0


def test_a_dry_room_is_no_room_and_a_wet_one_is_as_loud():
    np.testing.assert_allclose(REVERB(KEY, X, direct_db=(150.0, 150.0)), X, atol=1e-6)
    y = np.asarray(REVERB(KEY, X))
    np.testing.assert_allclose(y.std(axis=1), np.asarray(X).std(axis=1), rtol=0.02)
    assert scipy.signal.correlate(y[0], np.asarray(X)[0]).argmax() == 7999


def test_a_room_loses_60_db_in_its_time():
    click = jnp.zeros((1, 8192)).at[0, 0].set(1.0)
    tail = np.asarray(REVERB(KEY, click, seconds=(0.25, 0.25), direct_db=(0.0, 0.0)))[0] ** 2
    energy = tail.reshape(-1, 512)[1:8].sum(axis=1)  # 32 ms each
    slope = np.polyfit(np.arange(7) * 0.032, 10 * np.log10(energy), 1)[0]
    assert abs(-60 / slope - 0.25) < 0.03


def test_hidden_parts_are_zero_and_the_rest_stays():
    np.testing.assert_array_equal(HIDE(KEY, X), X)
    gap = np.asarray(HIDE(KEY, X, seconds=0.1)) == 0
    assert 0 < gap.sum(axis=1).max() <= 1600 and (np.diff(gap.astype(int), axis=1) == 1).sum(axis=1).max() <= 1
    np.testing.assert_array_equal(HIDE(KEY, X, seconds=0.1), np.where(gap, 0, X))

    x = jnp.asarray(RNG.standard_normal((8, 8192)), jnp.float32)
    ratio = np.abs(np.fft.rfft(np.asarray(HIDE(KEY, x, hertz=1000.0)))) / np.abs(np.fft.rfft(x))
    hidden = ratio < 1e-2
    assert 0 < hidden.sum(axis=1).max() <= 512
    np.testing.assert_allclose(ratio[~hidden], 1, atol=1e-2)


def test_a_pause_comes_first_and_the_clip_follows_it():
    np.testing.assert_array_equal(LEAD(KEY, X, seconds=0.0), X)
    y = np.asarray(LEAD(KEY, X, seconds=0.25))
    for before, after in zip(np.asarray(X), y, strict=True):
        start = next(p for p in range(4001) if np.array_equal(after[p:], before[: 8000 - p]))
        assert np.abs(after[:start]).max(initial=0) < 6 * 10 ** (-50 / 20)
        assert not start or np.abs(after[:start]).max() > 0


@pytest.mark.parametrize("step", [TELEPHONE, REVERB, lambda *a, **k: LEAD(*a, seconds=0.2, **k)])
def test_a_rate_is_the_share_that_changes_and_none_is_the_identity(step):
    x = jnp.tile(X[:1, :4000], (64, 1))
    np.testing.assert_array_equal(step(KEY, x, rate=0.0), x)
    changed = (np.asarray(step(KEY, x, rate=0.5)) != np.asarray(x)).any(axis=1)
    assert 16 <= changed.sum() <= 48
