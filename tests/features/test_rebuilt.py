"""A sound built again from its magnitudes: as loud and as long, the same every time, and noise hardly changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.features import band_statistics, rebuilt, spectrum

REBUILT, STATISTICS = jax.jit(rebuilt.rebuilt), jax.jit(band_statistics.band_statistics)
TIME = np.arange(16_000) / 16_000


@pytest.fixture(scope="module")
def sounds():
    """Noise, a voice of many harmonics, two tones, (3, 16000)."""
    noise = np.random.default_rng(0).standard_normal(16_000)
    turns = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 3 * TIME)) / 16_000
    voice = sum(np.cos(k * turns) / k for k in range(1, 40)) + 0.01 * noise
    tones = np.sin(2 * np.pi * 440 * TIME) + np.sin(2 * np.pi * 3000 * TIME)
    return jnp.asarray(np.stack([noise, voice, tones]), jnp.float32)


def test_length_and_bands_stay_and_the_course_does_not(sounds):
    found = np.asarray(REBUILT(sounds))
    assert found.shape == sounds.shape and np.isfinite(found).all()
    assert np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(found, np.asarray(sounds), strict=True)]).max() < 0.3
    before, after = (np.asarray(spectrum.power(x)).mean(axis=1) for x in (sounds, jnp.asarray(found)))
    bands = np.arange(256) // 16
    for own, other in zip(before, after, strict=True):
        own, other = (np.bincount(bands, x[:256]) for x in (own, other))
        loud = own > 1e-3 * own.max()
        quieter = 10 * np.log10(own[loud] / other[loud])
        assert np.abs(quieter - 10 * np.log10(4)).max() < 4  # four frames overlap, and their powers add up alone


def test_the_same_every_time_whatever_is_beside_it_and_however_loud(sounds):
    found = np.asarray(REBUILT(sounds))
    for k in range(3):
        np.testing.assert_allclose(REBUILT(sounds[k : k + 1])[0], found[k], atol=2e-5)
    np.testing.assert_allclose(REBUILT(8 * sounds), 8 * found, rtol=1e-5, atol=1e-4)


def test_of_a_sound_without_phases_of_its_own_little_is_lost(sounds):
    once = REBUILT(sounds)
    lost, again = (np.abs(np.asarray(STATISTICS(x) - STATISTICS(REBUILT(x)))).mean(axis=1) for x in (sounds, once))
    assert lost[1] > 2 * lost[0]  # of a voice more than of noise
    assert again[1] < 0.6 * lost[1]  # and less where phases were made up before
