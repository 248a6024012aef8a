"""Cutting, trimming, speed and the chain of augmentation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dfjax.data import audio, channel
from dfjax.runtime import devices

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
X = jnp.asarray(0.1 * RNG.standard_normal((4, 8000)).astype(np.float32))
EVERYTHING = {
    "gain_db": 6.0,
    "silence_seconds": 0.1,
    "reverb_rate": 0.5,
    "rawboost_algorithm": 4,
    "rawboost_rate": 0.5,
    "telephone_rate": 0.5,
    "mask_seconds": 0.1,
    "mask_hertz": 500.0,
}


def test_what_is_not_named_is_off_but_for_noise_on_half_of_the_clips():
    np.testing.assert_array_equal(audio.augment(KEY, X, noise_rate=0.0), X)
    many = jnp.tile(X[:, :400], (100, 1))
    assert 0.4 < (audio.augment(KEY, many) != many).any(axis=1).mean() < 0.6


def test_everything_at_once_is_finite_per_clip_and_decided_by_the_key():
    augment = jax.jit(functools.partial(audio.augment, **EVERYTHING))
    y = np.asarray(augment(KEY, X))
    assert y.shape == X.shape and y.dtype == np.float32 and np.isfinite(y).all()
    np.testing.assert_array_equal(y, augment(KEY, X))
    assert not np.array_equal(y, augment(jax.random.key(8), X))
    same = np.asarray(augment(KEY, jnp.tile(X[:1], (4, 1))))
    for i in range(3):
        assert np.abs(same[i] - same[i + 1]).max() > 1e-3
    assert np.isfinite(np.asarray(augment(KEY, jnp.zeros_like(X)))).all()


def test_the_batch_may_lie_on_any_number_of_devices():
    # without mu-law, where the last bit of a sum over frequencies decides between two steps
    augment = functools.partial(audio.augment, **EVERYTHING | {"telephone_rate": 0.0})
    spread = NamedSharding(devices.make_mesh(4), PartitionSpec("data"))
    one, two = jax.jit(augment)(KEY, X), jax.jit(augment)(KEY, jax.device_put(X, spread))
    np.testing.assert_allclose(one, two, atol=2e-6)


def test_voiced_leaves_the_silence_at_both_ends_and_nothing_else():
    sound = (3000 * np.sin(np.arange(1600))).astype(np.int16)
    clips = np.zeros((3, 5000), np.int16)
    clips[0, 800:2400] = sound
    clips[1, :1600] = sound  # the buffer beyond the clip's end is not silence to be trimmed: it is not there
    first, length = audio.voiced(jnp.asarray(clips), jnp.asarray([4000, 1600, 3000], jnp.int32))
    np.testing.assert_array_equal(first, [800, 0, 0])
    np.testing.assert_array_equal(length, [1600, 1600, 3000])  # a silent clip stays whole


def test_trimmed_cuts_hold_no_silence_and_untrimmed_ones_are_random_cuts():
    clips = np.zeros((64, 6400), np.int16)
    clips[:, 1600:3200] = 1000
    length = jnp.full((64,), 6400, jnp.int32)
    cuts = audio.take(KEY, jnp.asarray(clips), length, 800, trim_rate=1.0)
    assert (np.asarray(cuts) == np.float32(1000 / 32768)).all()
    np.testing.assert_array_equal(
        audio.take(KEY, jnp.asarray(clips), length, 800), audio.random_cut(KEY, jnp.asarray(clips), length, 800)
    )


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_moves_a_tone_and_keeps_its_level(speed):
    samples, hertz = 16000, 7000.0
    long = audio.source_samples(samples, (speed,))
    x = jnp.asarray(np.sin(2 * np.pi * hertz / 16000 * np.arange(long)), jnp.float32)[None]
    inside = slice(audio.MARGIN, audio.MARGIN + samples)
    y = np.asarray(audio.change_speed(KEY, x[:, inside], x, speeds=(speed,)))[0, 1000:-1000]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    found = spectrum.argmax() * 16000 / len(y)
    if speed * hertz < 8000:
        assert abs(found - speed * hertz) < 2 and abs(y.std() - np.sqrt(0.5)) < 1e-3
    still = audio.change_speed(KEY, x[:, inside], x, speeds=(1.0,))
    np.testing.assert_allclose(still[0], x[0, inside], atol=1e-5)
    np.testing.assert_array_equal(audio.change_speed(KEY, x[:, inside], x, speeds=(speed,), rate=0.0)[0], x[0, inside])


def test_a_share_of_the_cuts_changes_speed():
    clip = (8000 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(40000))).astype(np.int16)
    cuts = np.asarray(
        audio.take(KEY, jnp.asarray(np.tile(clip, (64, 1))), jnp.full((64,), 40000, jnp.int32), 16000, speed_rate=0.5)
    )
    peaks = np.abs(np.fft.rfft(cuts * np.hanning(16000), axis=1)).argmax(axis=1)
    assert set(peaks) == {900, 1000, 1100} and 20 <= (peaks == 1000).sum() <= 44


@pytest.mark.parametrize("length", [16000, 16200])
def test_clips_that_keep_their_speed_are_cut_as_if_none_changed_it(length):
    """They were cut out of what the others are made of, which is longer than most clips: nearly all had a click."""
    ramp = np.linspace(-30000, 30000, length).astype(np.int16)  # its only jump is where it begins again
    clips, lengths = jnp.asarray(np.tile(ramp, (64, 1))), jnp.full((64,), length, jnp.int32)
    cuts = audio.take(KEY, clips, lengths, 16000, speed_rate=0.25)
    same = np.all(np.asarray(cuts) == np.asarray(audio.random_cut(KEY, clips, lengths, 16000)), axis=1)
    assert 40 <= same.sum() < 60 and np.abs(np.diff(cuts, axis=1))[same].max() < 1e-3


def test_gain_and_noise_drawn_together_are_those_of_each_key_alone():
    """Runs of before continue to the same bits."""

    @jax.jit
    def alone(key, x):
        key_gain, key_noise, key_level, key_on, key_start = jax.random.split(key, 5)
        gain = 10 ** (channel.uniform(key_gain, len(x), (-6.0, 6.0)) / 20)
        level = 10 ** (-channel.uniform(key_level, len(x), (-5.0, 30.0)) / 20)
        on = jax.random.bernoulli(key_on, 0.3, (len(x), 1))
        noise = channel.white(key_noise, key_start, *x.shape)
        return gain * (x + on * channel.rms(x) * level * noise)

    words = {"gain_db": 6.0, "noise_db": (-5.0, 30.0), "rate": 0.3}
    together = jax.jit(lambda key, x: audio.gain_and_noise(key, x, **words))
    for key in jax.random.split(KEY, 8):
        assert np.array_equal(together(key, X), alone(key, X))


def test_noise_is_at_the_ratio_that_was_drawn():
    y = audio.gain_and_noise(KEY, X, gain_db=0.0, noise_db=(10.0, 10.0), rate=1.0)
    ratio = 20 * np.log10(np.asarray(channel.rms(X) / channel.rms(y - X)))
    np.testing.assert_allclose(ratio, 10, atol=0.2)  # the noise has unit variance in the mean only
