"""Samples on few levels: found of classes of mu-law, loud or quiet, and not in what has few bits or was resampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import soxr

from dfjax.features import companding

COMPANDED = jax.jit(companding.companded)
SAMPLES = 48_000


def found(x, length=None):
    """Levels and logit of int16 samples, (2,)."""
    return np.asarray(COMPANDED(jnp.asarray(x, jnp.float32)[None] / 32_768, jnp.array([length or len(x)])))[0]


def voice(level=0.3):
    """A voice whose loudness changes, float in [-1, 1]."""
    rng, time = np.random.default_rng(0), np.arange(SAMPLES) / 16_000
    tones = sum(np.cos(2 * np.pi * 120 * k * time + k * k) / k for k in range(1, 30))
    sound = tones * np.abs(np.sin(2 * np.pi * 2 * time)) ** 2 + 0.02 * rng.standard_normal(SAMPLES)
    return level * sound / np.abs(sound).max()


def classes(x, mu):
    """Each sample as the nearest of mu + 1 classes (van den Oord et al. 2016, section 2.2)."""
    compressed = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    nearest = 2 * np.rint((compressed + 1) / 2 * mu) / mu - 1
    return np.sign(nearest) * np.expm1(np.abs(nearest) * np.log1p(mu)) / mu


def steps(x):
    return np.rint(32_767 * x).astype(np.int16)


@pytest.mark.parametrize("level", [0.9, 0.3])
@pytest.mark.parametrize("mu", [255, 511, 1_023])
def test_classes_of_mu_law_are_found_loud_and_quiet_and_made_louder(mu, level):
    wanted = mu * np.log(2) / np.log1p(mu) / 2  # classes of one sign in an octave, far from silence
    for gain in 1.0, 0.83:
        levels, logit = found(steps(gain * classes(voice(level), mu)))
        assert logit == companding.ADDED and levels == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize("law", ["ULAW", "ALAW"])
@pytest.mark.parametrize("gain", [1.0, 0.83, 0.4])
def test_recordings_that_telephony_stored_add_nothing(law, gain, tmp_path):
    for level in 0.9, 0.3:
        soundfile.write(tmp_path / "line.wav", steps(voice(level)), 16_000, law)
        assert found(steps(gain * soundfile.read(tmp_path / "line.wav")[0]))[1] == 0


def test_what_is_no_class_of_mu_law_adds_nothing():
    rng = np.random.default_rng(1)
    coded = classes(voice(0.9), 255)
    sounds = {
        "sixteen bits": voice(0.9),
        "twelve bits": np.rint(2**11 * voice(0.9)) / 2**11,
        "eight bits": np.rint(2**7 * voice(0.9)) / 2**7,
        "quiet and made louder": np.rint(300 * voice(0.9)) / 300,
        "noise": np.clip(0.2 * rng.standard_normal(SAMPLES), -1, 1),
        "two levels": np.where(rng.uniform(size=SAMPLES) < 0.5, 0.5, -0.5),
        "tone": 0.5 * np.cos(2 * np.pi * 500 * np.arange(SAMPLES) / 16_000),
        "silence": np.zeros(SAMPLES),
        "through bfloat16": np.asarray(jnp.asarray(voice(0.9), jnp.bfloat16), np.float32),
        "through float16": voice(0.9).astype(np.float16).astype(np.float32),
        "resampled": soxr.resample(coded, 22_050, 16_000),
        "in noise": coded + 0.003 * rng.standard_normal(SAMPLES),
        "too quiet to tell": classes(0.01 * voice(), 255),
    }
    assert {name: found(steps(x))[1] for name, x in sounds.items()} == dict.fromkeys(sounds, 0)


def test_what_is_not_heard_does_not_count():
    sound = steps(np.concatenate([classes(voice(0.9), 255), voice(0.9)]))
    assert found(sound)[1] == 0 and found(sound, SAMPLES)[1] == companding.ADDED
