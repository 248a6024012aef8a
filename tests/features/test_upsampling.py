"""Lines of upsampling: found at the rate of frames, and neither in noise, voices and hum nor in what begins again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soxr

from dfjax.features import upsampling

LINES = jax.jit(upsampling.upsampling_lines)
STRONGEST = jax.jit(upsampling.strongest)
SAMPLES = 48_000
RATES = np.array(upsampling.rates())


def together(x, length=None):
    """Standard deviations of each rate, (batch, rates)."""
    x = jnp.asarray(x, jnp.float32)
    return np.asarray(LINES(x, jnp.full(len(x), x.shape[1]) if length is None else jnp.asarray(length)))


def logit(x, length):
    """What lines add, (batch,)."""
    return np.asarray(STRONGEST(jnp.asarray(x, jnp.float32), jnp.asarray(length)))[:, 2]


def noise(rows, samples=SAMPLES, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, samples)).astype(np.float32)


def voices(rows, samples=SAMPLES):
    """Harmonics of a moving pitch, loud and quiet by turns, in a little noise."""
    time, rng, found = np.arange(samples) / 16_000, np.random.default_rng(1), []
    for pitch in rng.uniform(80, 250, rows):
        turns = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))) / 16_000
        voice = sum(np.cos(k * turns + rng.uniform(0, 6)) / k for k in range(1, 40))
        found.append(voice * (1.1 + np.sin(2 * np.pi * 3 * time)) + 0.01 * rng.standard_normal(samples))
    return np.array(found, np.float32)


def upsampled(sample_rate, hop, rows=3, level=0.15):
    """White noise to which every frame of `hop` samples adds, and as much multiplies, the same; brought to 16 kHz."""
    rng = np.random.default_rng(hop)
    whole = 4 * sample_rate
    added, multiplied = (level * np.resize(rng.standard_normal(hop), whole) for _ in range(2))
    sounds = [rng.standard_normal(whole) * (1 + multiplied) + added for _ in range(rows)]
    return np.stack([soxr.resample(x, sample_rate, 16_000)[:SAMPLES] for x in sounds]).astype(np.float32)


def test_of_noise_and_voices_rates_are_nearly_normal_numbers_and_add_little():
    for sounds, little in (noise(64), 0.05), (voices(32), 0.3):
        found = together(sounds)
        assert abs(found.mean()) < 0.5 and 0.8 < found.std() < 1.25, (found.mean(), found.std())
        added = logit(sounds, np.full(len(sounds), SAMPLES))
        assert (added >= 0).all() and np.median(added) == 0
        assert added.mean() / upsampling.EACH < little  # standard deviations beyond NOISE


@pytest.mark.parametrize(
    ("sample_rate", "hop"), [(22_050, 256), (24_000, 256), (24_000, 300), (44_100, 512), (48_000, 512), (16_000, 256)]
)
def test_a_frame_rate_is_named_and_counts(sample_rate, hop):
    faint = together(upsampled(sample_rate, hop))  # half the rate, whose multiples hold those of it, may stand out more
    assert (faint[:, np.abs(RATES - sample_rate / hop).argmin()] > 5).all(), faint.max(axis=1)
    sounds = upsampled(sample_rate, hop, level=0.25)
    rates, deviations, added = np.asarray(STRONGEST(jnp.asarray(sounds), jnp.full(3, SAMPLES))).T
    np.testing.assert_allclose(rates, sample_rate / hop)
    np.testing.assert_allclose(deviations, together(sounds).max(axis=1), rtol=1e-4)
    np.testing.assert_allclose(added, np.clip(2 * (deviations - 3), 0, 8), rtol=1e-4)
    assert (deviations > 5).all()


def test_what_is_copied_a_multiple_of_the_rate_away_counts_where_no_band_beats_by_itself():
    rate, rng = 22_050 / 256, np.random.default_rng(0)
    spectrum = np.fft.rfft(noise(4), axis=1)
    copied = spectrum.copy()
    for multiple in 6, 11, 16:  # 517 to 1,378 Hz, 431 apart, beyond WITHIN
        away = round(multiple * rate * SAMPLES / 16_000)
        copied[:, away:] += 0.4 * spectrum[:, :-away] * np.exp(2j * np.pi * rng.uniform(size=(4, 1)))
    found = together(np.fft.irfft(copied, axis=1))
    assert (RATES[found.argmax(axis=1)] == rate).all() and (found.max(axis=1) > 4).all(), found.max(axis=1)


def test_level_filter_and_room_do_not_matter():
    sounds = upsampled(22_050, 256)
    rng = np.random.default_rng(3)
    room = rng.standard_normal(3_000) * np.exp(-np.arange(3_000) / 600)
    room[0] = 20  # the direct sound
    through = np.stack([np.convolve(np.convolve(x, [1, -0.9]), room)[:SAMPLES] for x in sounds]).astype(np.float32)
    plain, louder, heard = together(sounds), together(50 * sounds), together(through)
    np.testing.assert_allclose(louder, plain, atol=0.02)
    at = int(np.argmin(np.abs(RATES - 22_050 / 256)))
    assert (heard.argmax(axis=1) == at).all() and (heard[:, at] > 5).all()


def test_mains_and_bands_of_mp3_do_not_count():
    time = np.arange(SAMPLES) / 16_000
    for rate in upsampling.FOREIGN:
        hum = sum(np.cos(2 * np.pi * rate * k * time + k * k) for k in range(1, int(8000 / rate)))
        added = logit(noise(4) + 0.05 * hum, np.full(4, SAMPLES))
        assert added.max() < 1, (rate, added)
    assert not np.isin(RATES, [50.0, 60.0]).any() and len(RATES) == len(set(RATES.tolist()))


def test_what_begins_again_is_heard_once():
    length = 8_000  # 40 frames of 80 a second: the second round falls in step with the first
    once = noise(4, 16_000)
    again = once.copy()
    again[:, length:] = once[:, : 16_000 - length]
    heard = together(again, np.full(4, length))
    other = np.where(np.arange(16_000) < length, once, 7.0)
    np.testing.assert_allclose(heard, together(other, np.full(4, length)), atol=1e-3)
    at = RATES.tolist().index(80)
    assert (together(again)[:, at] > heard[:, at] + 1).all()


def test_silence_and_scraps_add_nothing():
    sounds = upsampled(22_050, 256, rows=4)
    sounds[0], sounds[1, :9_000] = 0, 0
    found = STRONGEST(jnp.asarray(sounds), jnp.array([SAMPLES, 9_000, 7_900, 300]))
    np.testing.assert_array_equal(found, 0)


def test_the_same_sound_has_the_same_bits_whatever_else_runs():
    """Of 11 transforms shared among threads a few calls in a hundred had others."""
    sound = jnp.asarray(noise(1))
    first = np.asarray(LINES(sound, jnp.array([SAMPLES])))
    for _ in range(100):
        np.testing.assert_array_equal(LINES(sound, jnp.array([SAMPLES])), first)
