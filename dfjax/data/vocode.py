"""Self-vocoded fakes: real training clips re-synthesised on the device, the audio counterpart of self-blended images.

A vocoder rebuilds a waveform from a magnitude spectrum, usually a smoothed one, and a phase of its own
making. So does this file, in many randomised ways, so that a detector learns what re-synthesis leaves behind
instead of one generator's habits. Per clip one of each is drawn:

  source      the recording; or pulses and noise through its linear-prediction filter (Atal and Hanauer 1971),
              at a pitch of their own; or both mixed, noisier towards the high bands, through its smooth envelope
              at its own pitch, as the vocoders of parametric speech synthesis do (Morise et al. 2016)
  magnitude   as it is; through a mel filter bank and back; smoothed over time; quantised in bands as a codec
              would; its peaks alone, a sum of sinusoids (McAulay and Quatieri 1986); with envelope and pitch moved
  phase       random; the original with noise; the same offset in all frames of a bin; without the minimum
              phase of the envelope; advancing more regularly than it did
  consistency 0 to ITERATIONS rounds of fast Griffin-Lim (Griffin and Lim 1984; Perraudin et al. 2013)

Every such clip keeps its source's group, so nothing leaks between splits; only training clips are
re-synthesised.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from dfjax.features import spectrum, turns
from dfjax.records import SAMPLE_RATE

SIZES = (512, 1024)  # points of the transform; hop is a quarter
ITERATIONS = 6  # of fast Griffin-Lim at most; their number is drawn
MOMENTUM = 0.99  # Perraudin et al. 2013
MELS = (32, 48, 80)  # bins of the filter banks that clips are inverted from
BANDS = 20  # in which a codec would quantise, equally wide on the mel scale
FLOOR = 1e-5  # of a magnitude whose logarithm is taken

ORDER = 18  # of linear prediction: 2 per formant and some for the glottis
PITCH = (60.0, 400.0)  # Hz
VOICED = 0.4  # a normalised autocorrelation above this is a voice's
PREDICTED = 0.25  # share of clips that are pulses or noise through a prediction filter
MIXED = 0.3  # share of clips that are pulses and noise through an envelope, and nothing else
LIFTERS = (36, 60, 100)  # samples of the cepstrum that are an envelope
NOISE_FROM = (2000.0, 8000.0)  # Hz from which on noise is louder than pulses


def stft(x: Float[Array, "batch time"], size: int) -> Complex[Array, "batch frames bins"]:
    """Short-time Fourier transform, Hann window of `size` samples, hop size / 4, centred, zero padded."""
    return jax.lax.complex(*spectrum.stft(x, size, size // 4))


# ---------------------------------------------------------------------- source


def linear_prediction(
    correlation: Float[Array, "*frames lags"], order: int
) -> tuple[Float[Array, "*frames taps"], Float[Array, "*frames 1"]]:
    """Prediction-error filter (1, a_1, ..., a_order) and the error's power, by Levinson's and Durbin's recursion.

    `correlation` is the autocorrelation of each frame at the lags 0 to `order` or more.
    """
    index = jnp.arange(order + 1).reshape((1,) * (correlation.ndim - 1) + (-1,))

    def longer(i, carry):
        taps, error = carry

        def mirrored(values):  # values[i - j] at j, zero beyond i
            return jnp.where(index <= i, jnp.roll(values[..., ::-1], i - order, axis=-1), 0)

        reflection = -(taps * mirrored(correlation)).sum(axis=-1, keepdims=True) / error
        return taps + reflection * mirrored(taps), error * (1 - reflection**2)

    correlation = correlation[..., : order + 1]
    first = jnp.where(index == 0, jnp.ones_like(correlation), 0)
    return jax.lax.fori_loop(1, order + 1, longer, (first, correlation[..., :1]))


def _autocorrelation(z: Array, size: int) -> Float[Array, "batch frames lags"]:
    """Of each frame, 1 at lag 0."""
    correlation = spectrum.irfft(jnp.abs(z) ** 2, n=size) + 1e-9 * (np.arange(size) == 0)[None, None]
    return correlation / correlation[..., :1]


def _pitch(correlation: Array, size: int) -> tuple[Float[Array, "batch frames"], Float[Array, "batch frames"]]:
    """(Hz, how much of a frame's power repeats at that pitch)."""
    lags = np.arange(int(SAMPLE_RATE / PITCH[1]), min(int(SAMPLE_RATE / PITCH[0]), size // 2))
    peak = correlation[..., lags]
    return SAMPLE_RATE / jnp.asarray(lags)[peak.argmax(axis=-1)], peak.max(axis=-1)


def _pulses(hertz: Float[Array, "batch samples"]) -> Float[Array, "batch samples"]:
    """One sample per period, of a mean power of 1."""
    turns = jnp.cumsum(hertz / SAMPLE_RATE, axis=1)
    return jnp.diff(jnp.floor(turns), axis=1, prepend=0) * jnp.sqrt(SAMPLE_RATE / hertz)


def _predicted(key: jax.Array, z: Array, size: int, samples: int) -> Array:
    """Pulses where there is a voice, noise elsewhere, through the prediction filter of each frame."""
    key_pitch, key_noise = jax.random.split(key)
    batch, frames, _ = z.shape
    correlation = _autocorrelation(z, size)
    hertz, periodic = _pitch(correlation, size)
    voiced = jnp.repeat(periodic > VOICED, size // 4, axis=1)
    moved = jax.random.uniform(key_pitch, (batch, 1), minval=0.8, maxval=1.25)
    pulses = _pulses(jnp.repeat(moved * hertz, size // 4, axis=1))
    noise = jax.random.normal(key_noise, pulses.shape)
    excitation = stft(jnp.where(voiced, pulses, noise)[:, :samples], size)[:, :frames]

    # broader lines and white noise at -40 dB, as speech coders do: without, float32 cannot predict a band-limited voice
    window = np.exp(-0.5 * (2 * np.pi * 40 / SAMPLE_RATE * np.arange(ORDER + 1)) ** 2).astype(np.float32)
    window[0] = 1.0001
    taps, error = linear_prediction(correlation[..., : ORDER + 1] * window[None, None], ORDER)
    power = (jnp.abs(z) ** 2).mean(axis=-1, keepdims=True)
    return excitation * jnp.sqrt(power * jnp.maximum(error, 0) / (0.375 * size)) / spectrum.rfft(taps, n=size)


def _which(key: jax.Array, clips: Array, kinds: int) -> Int[Array, " batch"]:
    """A kind for each clip."""
    return jax.random.randint(key, (len(clips),), 0, kinds)


def _mixed(key: jax.Array, z: Array, size: int, samples: int) -> Array:
    """Pulses below and noise above a frequency of the clip, noise alone where no voice is, through the envelope."""
    key_noise, key_from, key_lifter = jax.random.split(key, 3)
    batch, frames, bins = z.shape
    hertz, periodic = _pitch(_autocorrelation(z, size), size)
    padded = jnp.pad(hertz, ((0, 0), (2, 2)), mode="edge")
    hertz = jnp.median(jnp.stack([padded[:, i : i + frames] for i in range(5)]), axis=0)
    following, ramp = jnp.concatenate([hertz[:, 1:], hertz[:, -1:]], axis=1), np.arange(size // 4) / (size // 4)
    gliding = hertz[..., None] + (following - hertz)[..., None] * ramp[None, None]
    pulses = _pulses(gliding.reshape(batch, -1))
    noise = jax.random.normal(key_noise, pulses.shape)
    pulses, noise = (stft(part[:, :samples], size)[:, :frames] for part in (pulses, noise))
    start = jax.random.uniform(key_from, (batch, 1, 1), minval=NOISE_FROM[0], maxval=NOISE_FROM[1])
    frequency = np.linspace(0, SAMPLE_RATE / 2, bins, dtype=np.float32)[None, None]
    noisy = jnp.where((periodic > VOICED)[..., None], 0.02 + 0.9 * jax.nn.sigmoid((frequency - start) / 400), 1.0)
    lifter = jnp.array(LIFTERS)[_which(key_lifter, z, len(LIFTERS))]
    excitation = (pulses * jnp.sqrt(1 - noisy) + noise * jnp.sqrt(noisy)) / np.sqrt(0.375 * size)
    return excitation * jnp.exp(_envelope(jnp.abs(z), size, lifter[:, None, None]))


# ---------------------------------------------------------------------- magnitude: (key, magnitude, size) -> magnitude


def _as_it_is(key: jax.Array, magnitude: Array, size: int) -> Array:
    return magnitude


@functools.cache
def _through_filters(size: int, bins: int) -> np.ndarray:
    """Magnitude to mel and back by the transposed, normalised filters, (frequency, frequency)."""
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=size, n_mels=bins, norm=None).astype(np.float64)
    forward = filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-9)
    back = filters / np.maximum(filters.sum(axis=0, keepdims=True), 1e-9)
    return (forward.T @ back).astype(np.float32)


def _through_mel(key: jax.Array, magnitude: Array, size: int) -> Array:
    filters = jnp.stack([_through_filters(size, bins) for bins in MELS])
    return magnitude @ filters[_which(key, magnitude, len(MELS))]


def _smooth(key: jax.Array, magnitude: Array, size: int) -> Array:
    padded = jnp.pad(magnitude, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3


@functools.cache
def _bands(size: int) -> np.ndarray:
    """Which band each bin lies in, as (frequency, band) of 0 and 1."""
    mel = librosa.hz_to_mel(np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1), htk=True)
    return np.eye(BANDS, dtype=np.float32)[np.minimum(mel / mel[-1] * BANDS, BANDS - 1).astype(int)]


def _quantised(key: jax.Array, magnitude: Array, size: int) -> Array:
    """Rounded to steps of 0.5 to 2 times a band's root mean square in its frame; what is far below that is lost."""
    bands = _bands(size)
    count = np.maximum(bands.sum(axis=0), 1)
    level = jnp.sqrt(magnitude**2 @ (bands / count)) @ bands.T
    step = level * jax.random.uniform(key, (len(magnitude), 1, 1), minval=0.5, maxval=2.0) + 1e-9
    return jnp.round(magnitude / step) * step


def _partials(key: jax.Array, magnitude: Array, size: int) -> Array:
    """Peaks and their next neighbours: the main lobes of sinusoids."""
    padded = jnp.pad(magnitude, ((0, 0), (0, 0), (2, 2)))
    peak = (padded[..., 1:-1] >= padded[..., :-2]) & (padded[..., 1:-1] > padded[..., 2:])
    return jnp.where(peak[..., :-2] | peak[..., 1:-1] | peak[..., 2:], magnitude, 0)


def _moved(key: jax.Array, magnitude: Array, size: int) -> Array:
    """Envelope (a throat's length) and fine structure (its pitch) stretched along frequency, each by its own factor."""
    key_envelope, key_pitch = jax.random.split(key)
    envelope = _envelope(magnitude, size, size // 8).real
    fine = jnp.log(jnp.maximum(magnitude, FLOOR)) - envelope
    bins = magnitude.shape[-1]

    def stretched(key, values):
        factor = jax.random.uniform(key, (len(values), 1), minval=0.85, maxval=1.18)
        at = jnp.minimum(jnp.arange(bins)[None] / factor, bins - 1.001)
        low = at.astype(jnp.int32)
        share = (at - low)[:, None]
        pick = jax.vmap(lambda rows, where: rows[:, where])
        return (1 - share) * pick(values, low) + share * pick(values, low + 1)

    return jnp.exp(stretched(key_envelope, envelope) + stretched(key_pitch, fine))


MAGNITUDES = (_as_it_is, _through_mel, _smooth, _quantised, _partials, _moved)

# ------------------------------------------------- phase: (key, z, size) -> phasors, complex numbers of magnitude 1


def _phasors(z: Array) -> Array:
    return z * jax.lax.rsqrt(jnp.maximum(z.real**2 + z.imag**2, 1e-18))


def _turned(phase: Array) -> Array:
    return jax.lax.complex(jnp.cos(phase), jnp.sin(phase))


def _envelope(magnitude: Array, size: int, lifter: int | Int[Array, "batch 1 1"]) -> Array:
    """Logarithm of the minimum-phase filter with the envelope of this magnitude, by the folded cepstrum."""
    cepstrum = spectrum.irfft(jnp.log(jnp.maximum(magnitude, FLOOR)).astype(jnp.complex64), n=size)
    quefrency = np.arange(size)[None, None]
    fold = np.where(quefrency > 0, 2, 1) * (quefrency < lifter)  # liftered: the envelope alone
    return spectrum.rfft(cepstrum * fold)


def _random(key: jax.Array, z: Array, size: int) -> Array:
    return _turned(jax.random.uniform(key, z.shape, minval=-np.pi, maxval=np.pi))


def _noisy(key: jax.Array, z: Array, size: int) -> Array:
    key_noise, key_level = jax.random.split(key)
    level = jax.random.uniform(key_level, (len(z), 1, 1), minval=0.3, maxval=1.5)
    return _phasors(z) * _turned(level * jax.random.normal(key_noise, z.shape))


def _offset(key: jax.Array, z: Array, size: int) -> Array:
    batch, _, bins = z.shape
    return _phasors(z) * _turned(jax.random.uniform(key, (batch, 1, bins), minval=-np.pi, maxval=np.pi))


def _without_envelope(key: jax.Array, z: Array, size: int) -> Array:
    return _phasors(z) * _turned(-_envelope(jnp.abs(z), size, size // 8).imag)


def _regular(key: jax.Array, z: Array, size: int) -> Array:
    """The first frame's phase, then in each bin the advance from frame to frame, averaged over five of them."""
    turn = _phasors(z[:, 1:] * z[:, :-1].conj())
    padded = jnp.pad(turn, ((0, 0), (2, 2), (0, 0)), mode="edge")
    mean = sum(padded[:, i : i + turn.shape[1]] for i in range(5))
    return _turned(jnp.cumsum(jnp.concatenate([jnp.angle(z[:, :1]), jnp.angle(mean)], axis=1), axis=1))


PHASES = (_random, _noisy, _offset, _without_envelope, _regular)


def _drawn(key: jax.Array, kinds: tuple, value: Array, size: int) -> Array:
    """A clip through one of the kinds."""
    which = jax.random.randint(jax.random.fold_in(key, len(kinds)), (), 0, len(kinds))
    branches = [functools.partial(kind, size=size) for kind in kinds]
    return jax.lax.switch(which, branches, jax.random.fold_in(key, which), value)


# ---------------------------------------------------------------------- all of it


def _through(key: jax.Array, x: Float[Array, "1 time"], size: int) -> Float[Array, "1 time"]:
    """One clip, by transforms of this size."""
    key_source, key_made, key_magnitude, key_phase, key_rounds = jax.random.split(key, 5)
    samples = x.shape[1]
    z = stft(x, size)
    kind = jax.random.uniform(key_made)
    predicted, mixed = kind < PREDICTED, kind >= 1 - MIXED

    def of_envelope():
        return _mixed(key_source, z, size, samples)

    def of_parts():
        made = jax.lax.cond(predicted, lambda: _predicted(key_source, z, size, samples), lambda: z)
        # of pulses the phase is artificial already
        phasors = jax.lax.cond(predicted, lambda: _phasors(made), lambda: _drawn(key_phase, PHASES, z, size))
        return _drawn(key_magnitude, MAGNITUDES, jnp.abs(made), size) * phasors

    guess = jax.lax.cond(mixed, of_envelope, of_parts)
    magnitude = jnp.abs(guess)
    rounds = jnp.where(mixed, 0, jax.random.randint(key_rounds, (), 0, ITERATIONS + 1))

    def round_(i, carry):
        guess, previous = carry
        rebuilt = stft(spectrum.istft(guess, size, samples), size)
        pushed = rebuilt + jnp.where(i > 0, MOMENTUM, 0.0) * (rebuilt - previous)
        return magnitude * _phasors(pushed), rebuilt

    guess, _ = jax.lax.fori_loop(0, rounds, round_, (guess, jnp.zeros_like(guess)))
    y = spectrum.istft(guess, size, samples)
    loudness = jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True) / (jnp.mean(y**2, axis=1, keepdims=True) + 1e-12))
    return _as_stored(y * jnp.minimum(loudness, 4.0))


def _as_stored(y: Float[Array, "1 time"]) -> Float[Array, "1 time"]:
    """On the steps of 16 bits, quieter where it would not fit, as stored clips are: made ones are not told by that."""
    y = y / jnp.maximum(1.0, jnp.abs(y).max(axis=1, keepdims=True))
    return jnp.minimum(jnp.round(y * 2**15), 2**15 - 1) / 2**15


def _own_way(key: jax.Array, clip: Float[Array, " time"]) -> Float[Array, " time"]:
    key_size, key = jax.random.split(key)
    branches = [functools.partial(_through, size=size) for size in SIZES]
    return jax.lax.switch(jax.random.randint(key_size, (), 0, len(SIZES)), branches, key, clip[None])[0]


_one_by_one = jax.custom_batching.custom_vmap(_own_way)


@_one_by_one.def_vmap
def _of_many(count: int, mapped: list[bool], keys: jax.Array, clips: Array) -> tuple[Array, bool]:
    """`_own_way` of a batch under `jax.vmap`; the devices share the clips.

    A CPU takes clip after clip and computes the way drawn for it, no other. An accelerator takes all clips at once and
    computes all ways of each.
    """
    both = zip((keys, clips), mapped, strict=True)
    batch = tuple(each if along else jnp.broadcast_to(each, (count, *each.shape)) for each, along in both)

    def of_part(batch):
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda one: _one_by_one(*one), batch)
        return jax.vmap(_own_way)(*batch)

    return turns.alone(of_part, batch), True


def resynthesise(key: jax.Array, x: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """Vocoded versions of the clips, each in its own way, at the loudness of the original, but within full scale.

    Args:
      key: decides everything.
      x: real speech in [-1, 1] at 16 kHz.
    """
    return jax.vmap(_one_by_one)(jax.random.split(key, len(x)), x)
