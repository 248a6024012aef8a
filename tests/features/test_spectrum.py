import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.fft

from dfjax.features import masking, spectrum


@pytest.fixture
def waveforms():
    rng = np.random.default_rng(0)
    t = np.arange(16000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.01 * rng.standard_normal(16000)
    chirp = 0.5 * np.sin(2 * np.pi * (100 * t + 3500 * t**2))
    return np.stack([0.1 * rng.standard_normal(16000), tone, chirp]).astype(np.float32)


def librosa_power(x):
    return np.abs(librosa.stft(x.astype(np.float64), n_fft=512, win_length=400, hop_length=160)) ** 2


@pytest.mark.parametrize("samples", [16000, 15999, 64600, 513])
def test_power_is_librosas(waveforms, samples):
    x = np.tile(waveforms, (1, 5))[:, :samples]
    ours = np.asarray(jax.jit(spectrum.power)(jnp.asarray(x)))
    reference = librosa_power(x).transpose(0, 2, 1)
    assert ours.shape == reference.shape == (3, spectrum.n_frames(samples), spectrum.BINS)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-6 * reference.max())


def test_log_mel_is_librosas_within_1e_4_relative(waveforms):
    ours = np.exp(np.asarray(jax.jit(spectrum.log_mel)(jnp.asarray(waveforms)), np.float64))
    mel = librosa.feature.melspectrogram(
        y=waveforms.astype(np.float64), sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=80
    )
    reference = np.maximum(mel, spectrum.FLOOR).transpose(0, 2, 1)
    loud = reference > 1e-6 * reference.max()  # below lies the rounding of float32 next to the loudest bin
    assert loud.mean() > 0.4
    np.testing.assert_allclose(ours[loud], reference[loud], rtol=1e-4)


def test_lfcc_is_the_cosine_transform_of_the_linear_filter_bank(waveforms):
    bank = np.maximum(librosa_power(waveforms).transpose(0, 2, 1) @ spectrum.linear_filters(70), spectrum.FLOOR)
    reference = scipy.fft.dct(np.log(bank), type=2, norm="ortho", axis=-1)[..., :20]
    ours = np.asarray(spectrum.lfcc(jnp.asarray(waveforms)))
    loud = (bank > 1e-7 * bank.max()).all(axis=-1)
    np.testing.assert_allclose(ours[loud], reference[loud], atol=2e-3)
    assert loud.any()


def test_linear_filters_sum_to_one_between_the_outer_centres():
    filters = spectrum.linear_filters(30)
    frequency = np.linspace(0, 8000, spectrum.BINS)
    inner = (frequency >= 8000 / 31) & (frequency <= 8000 * 30 / 31)
    np.testing.assert_allclose(filters.sum(axis=1)[inner], 1, atol=1e-6)


def test_deltas_of_a_ramp_are_constant():
    ramp = np.arange(10, dtype=np.float32)[None, :, None] * np.ones((2, 1, 3), np.float32)
    deltas = np.asarray(spectrum.deltas(jnp.asarray(ramp)))
    np.testing.assert_array_equal(deltas[:, 1:-1], 2)
    np.testing.assert_array_equal(deltas[:, [0, -1]], 1)


def test_masking_hides_at_most_its_width_and_nothing_when_deterministic():
    from flax import nnx

    x = jnp.ones((64, 50, 20))
    mask = masking.Masking(time=10, frequency=5)
    np.testing.assert_array_equal(mask(x), x)
    active = masking.Masking(time=10, frequency=5, deterministic=False)
    y = np.asarray(active(x, rngs=nnx.Rngs(dropout=1)))
    frames, bins = (y == 0).all(axis=2).sum(axis=1), (y == 0).all(axis=1).sum(axis=1)
    assert frames.max() <= 10 and bins.max() <= 5 and frames.mean() > 2 and bins.mean() > 1
    np.testing.assert_array_equal(np.unique(y), [0, 1])
