"""The parts of re-synthesis, each by what it must do."""

import inspect

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.linalg

from dfjax.data import vocode
from dfjax.features import spectrum
from dfjax.runtime import devices

KEY = jax.random.key(1)
SIZE = 512


def compiled(function):
    """As one program: one by one, the operations take ten times as long to compile."""
    known = {"size", "samples", "order"} & inspect.signature(function).parameters.keys()
    return jax.jit(function, static_argnames=sorted(known))


STFT, ISTFT, PREDICTED, MIXED = map(compiled, (vocode.stft, spectrum.istft, vocode._predicted, vocode._mixed))
MAGNITUDES = {kind.__name__: compiled(kind) for kind in vocode.MAGNITUDES}
PHASES = {kind.__name__: compiled(kind) for kind in vocode.PHASES}


@pytest.fixture(scope="module")
def voice():
    rng = np.random.default_rng(0)
    t = np.arange(8000) / 16000
    buzz = sum(np.sin(2 * np.pi * k * 125 * t) / k for k in range(1, 40))
    return (0.1 * buzz[None] + 0.003 * rng.standard_normal((2, 8000))).astype(np.float32)


def test_the_inverse_of_the_transform_is_its_inverse(voice):
    for size in vocode.SIZES:
        y = ISTFT(STFT(jnp.asarray(voice), size=size), size, voice.shape[1])
        inside = slice(size, (voice.shape[1] // (size // 4) - 4) * size // 4)
        np.testing.assert_allclose(np.asarray(y)[:, inside], voice[:, inside], atol=1e-5)


def test_linear_prediction_solves_the_normal_equations(voice):
    lags = np.stack([np.correlate(v, v, "full")[7999 : 7999 + 19] for v in voice.astype(np.float64)])
    lags[:, 0] *= 1.001  # well conditioned
    taps, error = compiled(vocode.linear_prediction)(jnp.asarray(lags / lags[:, :1], jnp.float32), 18)
    for row, a, e in zip(lags / lags[:, :1], np.asarray(taps), np.asarray(error), strict=True):
        solved = scipy.linalg.solve_toeplitz(row[:-1], -row[1:])
        np.testing.assert_allclose(a, np.concatenate([[1], solved]), atol=5e-3)
        np.testing.assert_allclose(e, 1 + solved @ row[1:], rtol=2e-2)


def test_prediction_keeps_envelope_and_voice_and_moves_the_pitch(voice):
    z = STFT(jnp.asarray(voice), size=SIZE)
    y = np.asarray(ISTFT(PREDICTED(KEY, z, SIZE, voice.shape[1]), SIZE, voice.shape[1]))
    np.testing.assert_allclose(y.std(axis=1), voice.std(axis=1), rtol=0.3)
    for clip in y:
        pitch = np.median(librosa.yin(clip, fmin=60, fmax=400, sr=16000))
        assert 0.78 * 125 < pitch < 1.27 * 125
    assert not np.allclose(y[0], y[1], atol=0.01)


def test_mixed_excitation_keeps_pitch_envelope_and_the_share_of_noise_by_frequency(voice):
    x = np.tile(voice, (8, 2))  # sixteen clips of a second, each with a frequency of its own
    z = STFT(jnp.asarray(x), size=1024)
    made = MIXED(KEY, z, 1024, x.shape[1])
    y = np.asarray(ISTFT(made, 1024, x.shape[1]))
    for clip in y[:3]:
        assert np.median(librosa.yin(clip, fmin=60, fmax=400, sr=16000)) == pytest.approx(125, rel=0.03)
    inside = np.log(np.abs(np.stack([z, made])[:, :, 8:-8]) + 1e-6)
    bands = inside[..., :512].reshape(2, 16, inside.shape[2], 16, 32).mean(axis=(2, 4))
    apart = (bands[1] - bands[0]) - (bands[1] - bands[0]).mean(axis=1, keepdims=True)
    assert np.abs(apart).mean() < 0.5  # nepers: 4 dB

    def harmonic(of, low, high):  # power at multiples of the pitch beside that half way between them
        at = np.arange(low, high, 125)
        spectrum = np.abs(np.fft.rfft(of * np.hanning(of.shape[1])[None])) ** 2
        return spectrum[:, at].mean(axis=1) / spectrum[:, at + 62].mean(axis=1)

    assert (harmonic(y, 500, 1500) > 100).all() and np.median(harmonic(y, 7000, 7900)) < 50


def test_magnitudes_do_what_they_are_called(voice):
    m = jnp.abs(STFT(jnp.asarray(voice), size=SIZE))
    for name, kind in MAGNITUDES.items():
        made = np.asarray(kind(KEY, m, SIZE))
        assert made.shape == m.shape and np.isfinite(made).all() and made.min() >= 0
        assert np.array_equal(made, m) == (name == "_as_it_is")
    constant = jnp.ones_like(m)
    for kind in (MAGNITUDES["_through_mel"], MAGNITUDES["_smooth"]):
        np.testing.assert_allclose(np.asarray(kind(KEY, constant, SIZE))[..., 4:-4], 1, atol=1e-4)
    partials = np.asarray(MAGNITUDES["_partials"](KEY, m, SIZE))
    assert ((partials == 0) | (partials == np.asarray(m))).all() and 0.05 < (partials == 0).mean() < 0.6
    middle = np.asarray(m)[0, 30]
    loudest = middle.argmax()
    assert (partials[0, 30, loudest - 1 : loudest + 2] == middle[loudest - 1 : loudest + 2]).all()


def test_quantised_magnitudes_lie_on_steps_of_their_band(voice):
    m = jnp.abs(STFT(jnp.asarray(voice), size=SIZE))
    made = np.asarray(MAGNITUDES["_quantised"](KEY, m, SIZE))
    share = np.asarray(jax.random.uniform(KEY, (2, 1, 1), minval=0.5, maxval=2.0))
    assert (made == 0).mean() > 0.1
    for band in vocode._bands(SIZE).T.astype(bool):
        if band.any():
            level = np.sqrt((np.asarray(m)[..., band] ** 2).mean(axis=-1, keepdims=True))
            steps = made[..., band] / (share * level)
            np.testing.assert_allclose(steps, np.round(steps), atol=2e-2)


def test_a_regular_advance_of_a_steady_tone_is_its_own():
    tone = 0.3 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(8000)).astype(np.float32)[None]
    z = STFT(jnp.asarray(tone), size=SIZE)
    apart = np.asarray(PHASES["_regular"](KEY, z, SIZE) * z.conj() / jnp.abs(z))[0, 5:50, 32]
    np.testing.assert_allclose(apart / apart[0], 1, atol=1e-2)


def test_phases_are_finite_and_none_is_the_original(voice):
    z = STFT(jnp.asarray(voice), size=SIZE)
    for kind in PHASES.values():
        phasors = np.asarray(kind(KEY, z, SIZE))
        assert phasors.shape == z.shape
        np.testing.assert_allclose(np.abs(phasors), 1, atol=1e-4)
        assert np.abs(phasors - np.exp(1j * np.angle(z))).mean() > 0.05


def test_digital_silence_stays_finite():
    z = STFT(jnp.zeros((2, 4000)), size=SIZE)
    for source in (PREDICTED, MIXED):
        assert np.isfinite(np.asarray(source(KEY, z, SIZE, 4000))).all()
    for kind in MAGNITUDES.values():
        assert np.isfinite(np.asarray(kind(KEY, jnp.abs(z), SIZE))).all()
    for kind in PHASES.values():
        assert np.isfinite(np.asarray(kind(KEY, z, SIZE))).all()


def test_a_band_limited_clip_stays_finite():
    """Its prediction error is below what float32 resolves: recursion without noise gives filters of size 1e4."""
    noise = np.random.default_rng(0).standard_normal((16, 16000))
    spectrum = np.fft.rfft(noise)
    spectrum[:, 1500:] *= np.exp(-np.arange(spectrum.shape[1] - 1500) / 30)  # 1.5 kHz, then nothing
    x = jnp.asarray(np.round(3000 * np.fft.irfft(spectrum)) / 32768, jnp.float32)
    made = PREDICTED(KEY, STFT(x, size=1024), 1024, 16000)
    power = (jnp.abs(made) ** 2).mean(axis=(1, 2)) / (jnp.abs(STFT(x, size=1024)) ** 2).mean(axis=(1, 2))
    assert (0.9 < power).all() and (power < 1.1).all()  # the level is kept; of unstable filters it was 0.6 to 0.9


def test_what_is_made_is_what_a_file_can_hold(voice):
    """A quarter of the made clips went beyond full scale, as no stored one does, and none was on its steps."""
    loud = jnp.asarray(voice[:, :4000] / np.abs(voice).max())
    made = np.asarray(jax.jit(vocode.resynthesise)(KEY, jnp.tile(loud, (4, 1)))) * 2**15
    np.testing.assert_array_equal(made, np.round(made))
    assert made.min() >= -(2**15) and 2**14 < made.max() <= 2**15 - 1


@pytest.mark.slow
def test_a_clip_is_made_the_same_whatever_is_made_beside_it(voice):
    """By one device or by two, by a map over batches of one, or all ways at once as on an accelerator."""
    keys = jax.random.split(KEY, 4)
    x = jnp.tile(jnp.asarray(voice[:, :4000]), (2, 1))
    one = vocode._one_by_one
    together = np.asarray(jax.jit(jax.vmap(one))(keys, x))
    assert np.abs(together[0] - together[2]).max() > 0.01  # of one recording, each in its own way
    mesh = devices.make_mesh(4)
    batch = jax.device_put((keys, x), devices.split_batch(mesh))
    for form in (
        jax.vmap(one),
        jax.vmap(lambda key, clip: jax.vmap(one)(key[None], clip[None])[0]),
        jax.vmap(vocode._own_way),
    ):
        shared = devices.shared_by(mesh)(form)
        np.testing.assert_allclose(np.asarray(jax.jit(shared)(*batch)), together, atol=2e-3)


def test_one_device_needs_no_sharing():
    """As on a machine of one core: a map over batches of one, which a mesh of one device divides, too."""
    one = vocode._one_by_one
    keys, clips = jax.random.split(KEY, 4), jnp.zeros((4, 4000))

    def each(key, clip):
        return jax.vmap(one)(key[None], clip[None])[0]

    shared = devices.shared_by(devices.make_mesh(1))(jax.vmap(each))
    assert jax.eval_shape(jax.jit(shared), keys, clips).shape == clips.shape
