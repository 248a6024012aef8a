import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from flax import nnx

from dfjax.data import vocode
from dfjax.features import spectrum, texture, turns
from dfjax.models import build
from dfjax.models.streams import Rngs
from dfjax.records import InputError


@pytest.fixture(scope="module")
def speech_like():
    rng = np.random.default_rng(0)
    t = np.arange(16000) / 16000
    voice = sum(np.sin(2 * np.pi * k * (120 * t + 8 * np.sin(2 * np.pi * 3 * t))) / k for k in range(1, 30))
    return (0.1 * voice[None] + 0.01 * rng.standard_normal((3, 16000))).astype(np.float32)


@pytest.mark.parametrize(("size", "hop"), [(512, 128), (2048, 256), (1024, 1024)])
def test_stft_is_librosas(speech_like, size, hop):
    real, imaginary = spectrum.stft(jnp.asarray(speech_like), size, hop)
    reference = librosa.stft(speech_like.astype(np.float64), n_fft=size, hop_length=hop).transpose(0, 2, 1)
    np.testing.assert_allclose(np.asarray(real) + 1j * np.asarray(imaginary), reference, atol=2e-4)


@pytest.mark.parametrize("batch", [1, 4, 6, 8])
def test_few_at_a_time_is_the_function_of_the_whole_batch(batch):
    x = jax.random.normal(jax.random.key(0), (batch, 3200))
    for function in (lambda few: jnp.abs(spectrum.power(few)), lambda few: few.sum(axis=1, keepdims=True)):
        one_by_one = jnp.concatenate([function(x[i : i + 1]) for i in range(batch)])
        np.testing.assert_allclose(
            turns.few_at_a_time(function, x, each=spectrum.CLIPS), one_by_one, rtol=1e-4, atol=1e-4
        )


def test_transform_has_librosas_magnitude_and_the_phase_at_the_centre(speech_like):
    real, imaginary = spectrum.transform(jnp.asarray(speech_like))
    reference = librosa.stft(speech_like.astype(np.float64), n_fft=512, hop_length=160, win_length=400).transpose(
        0, 2, 1
    )
    turned = reference * np.exp(2j * np.pi * np.arange(257) * 256 / 512)  # from the frame's start to its centre
    np.testing.assert_allclose(np.asarray(real) + 1j * np.asarray(imaginary), turned, atol=2e-4)


def test_curvature_is_the_cosine_of_the_second_difference_of_the_unwrapped_phase(speech_like):
    z = librosa.stft(speech_like.astype(np.float64), n_fft=512, hop_length=160).transpose(0, 2, 1)
    statistics = np.asarray(texture.texture(jnp.asarray(z.real, jnp.float32), jnp.asarray(z.imag, jnp.float32)))
    phase = np.angle(z)
    in_time = np.cos(np.diff(phase, 2, axis=1)).mean(axis=1)[:, 1:-1]
    in_frequency = np.cos(np.diff(phase, 2, axis=2)).mean(axis=1)
    log_power = np.log(np.abs(z) ** 2)
    np.testing.assert_allclose(statistics[..., 4], in_time, atol=2e-3)
    np.testing.assert_allclose(statistics[..., 5], in_frequency, atol=2e-3)
    np.testing.assert_allclose(statistics[..., 2], np.diff(log_power, axis=1).std(axis=1)[:, 1:-1], rtol=1e-3)


def test_loudness_moves_the_mean_and_nothing_else(speech_like):
    model = build("texture", rngs=Rngs(0))
    statistics = jax.jit(lambda x: model.statistics(x).reshape(3, -1, 6))
    soft, loud = (np.asarray(statistics(jnp.asarray(speech_like * gain))) for gain in (0.5, 1.0))
    np.testing.assert_allclose(loud[..., 0] - soft[..., 0], np.log(4), atol=1e-3)
    np.testing.assert_allclose(loud[..., 1:], soft[..., 1:], atol=5e-3)


def test_texture_has_half_a_million_parameters_and_digital_silence_is_finite():
    model = build("texture", rngs=Rngs(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert 100_000 <= count <= 500_000
    model = nnx.view(model, deterministic=True, use_running_average=True)
    assert np.isfinite(jax.jit(lambda x: model(x))(jnp.zeros((2, 16000)))).all()


def test_resynthesis_keeps_length_loudness_and_sense(speech_like):
    x, resynthesise = jnp.asarray(speech_like), jax.jit(vocode.resynthesise)
    y = np.asarray(resynthesise(jax.random.key(0), x))
    assert y.shape == x.shape and np.isfinite(y).all()
    np.testing.assert_allclose(y.std(axis=1), speech_like.std(axis=1), rtol=0.1)  # raised by a factor of 4 at most
    assert np.abs(y - speech_like).max() > 0.01
    again = np.asarray(resynthesise(jax.random.key(0), x))
    np.testing.assert_array_equal(y, again)
    bank = spectrum.mel_filters(40)
    own, new = (np.asarray(spectrum.power(jnp.asarray(v)) @ bank) for v in (speech_like, y))
    loud = own > 1e-3 * own.max()
    assert np.median(np.abs(np.log(new[loud] / own[loud]))) < 1.0  # nepers: the same sounds are said


def test_the_logit_is_the_mean_of_the_members_who_answer_alone_in_training():
    x = 0.1 * jax.random.normal(jax.random.key(0), (4, 8000))
    model = build("texture", rngs=Rngs(0), embedding=12, members=3, dropout=0.0)
    training = nnx.view(model, deterministic=False, use_running_average=True)
    alone = jax.jit(lambda x: training(x, rngs=Rngs(dropout=1)))(x).reshape(4, 3)
    assert alone.std(axis=1).min() > 1e-3  # they do differ
    evaluation = nnx.view(model, deterministic=True, use_running_average=True)
    np.testing.assert_allclose(alone.mean(axis=1), jax.jit(lambda x: evaluation(x))(x), atol=1e-5)


def test_members_see_their_own_choice_of_the_statistics():
    x = 0.1 * jax.random.normal(jax.random.key(0), (2, 8000))
    model = build("texture", rngs=Rngs(0), embedding=4, members=2, dropout=0.5)
    kernel = model.embedding.kernel[...]
    model.embedding.kernel[...] = jnp.concatenate([kernel[:, :2], kernel[:, :2]], axis=1)  # the same network twice
    training = nnx.view(model, deterministic=False, use_running_average=True)
    parts = jax.jit(lambda x: training.embed(x, rngs=Rngs(dropout=1)))(x).reshape(2, 2, 2, 2)
    assert jnp.abs(parts[:, 0, 0] - parts[:, 1, 1]).min() > 0
    assert (parts[:, 0, 1] == 0).all() and (parts[:, 1, 0] == 0).all()


def test_an_embedding_that_members_cannot_share_is_refused():
    with pytest.raises(InputError, match="embedding=64; expected a multiple of members=7"):
        build("texture", rngs=Rngs(0), members=7)
