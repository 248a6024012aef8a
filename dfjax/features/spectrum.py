"""Short-time power spectrum, log-mel and LFCC, on accelerators as matrix products.

One frame of a symmetric window needs only half of the DFT's products: with the phase taken at the window's
centre, the real part sees the even half of the frame, x[c+k] + x[c-k], and the imaginary part the odd half,
x[c+k] - x[c-k]. The power does not depend on the phase. On CPU this is twice as fast as a DFT over the whole
frame, and on an accelerator it is one batched product.

Shapes: time in samples at 16 kHz, frames every HOP samples, centred, zero padded at both ends, as librosa
does.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from dfjax.features import turns
from dfjax.records import SAMPLE_RATE

FFT = 512  # points of the DFT
WINDOW = 400  # 25 ms, periodic Hann: w[0] = 0 and symmetric about WINDOW / 2
HOP = 160  # 10 ms
BINS = FFT // 2 + 1
# a spectrogram of the whole batch is written to memory and read again by all that follows; that of two clips stays in
# the cache, which is up to 3 times as fast
CLIPS = 2
FLOOR = 1e-10  # power below this counts as silence, librosa's `amin`


def n_frames(samples: int) -> int:
    """How many frames a waveform of so many samples has."""
    return 1 + samples // HOP


@functools.cache
def _half_bases() -> tuple[np.ndarray, np.ndarray]:
    """The windowed cosine and sine bases over half a frame, (WINDOW / 2, BINS) each."""
    half = WINDOW // 2
    window = hann(WINDOW).astype(np.float64)
    k = np.arange(half)
    phase = 2 * np.pi * k[:, None] * np.arange(BINS) / FFT
    weight = window[half + k, None]
    return (weight * np.cos(phase)).astype(np.float32), (weight * np.sin(phase)).astype(np.float32)


@functools.cache
def mel_filters(bins: int, low: float = 0.0, high: float = SAMPLE_RATE / 2) -> np.ndarray:
    """Librosa's Slaney-style triangular mel filters between `low` and `high` Hz, (BINS, bins)."""
    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT, n_mels=bins, fmin=low, fmax=high).T.astype(np.float32)


@functools.cache
def linear_filters(bins: int, low: float = 0.0, high: float = SAMPLE_RATE / 2) -> np.ndarray:
    """Triangular filters with unit peak and centres linearly spaced between `low` and `high` Hz, (BINS, bins)."""
    edges = np.linspace(low, high, bins + 2)
    frequency = np.linspace(0, SAMPLE_RATE / 2, BINS)[:, None]
    rise = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


@functools.cache
def dct(inputs: int, outputs: int) -> np.ndarray:
    """The orthonormal DCT-II as a matrix, (inputs, outputs)."""
    from scipy import fft  # 0.1 s, wanted by LFCC alone

    return fft.dct(np.eye(inputs), type=2, norm="ortho", axis=1)[:, :outputs].astype(np.float32)


def frames(x: Float[Array, "batch time"]) -> Float[Array, "batch frames window"]:
    """Overlapping frames of WINDOW samples, centred on every HOP-th; the waveform is zero padded at both ends."""
    count = n_frames(x.shape[1])
    blocks = -(-(WINDOW + (count - 1) * HOP) // HOP) + 1
    x = jnp.pad(x, ((0, 0), (WINDOW // 2, blocks * HOP - WINDOW // 2 - x.shape[1])))
    x = x.reshape(x.shape[0], blocks, HOP)
    rest = WINDOW - 2 * HOP
    return jnp.concatenate([x[:, :count], x[:, 1 : 1 + count], x[:, 2 : 2 + count, :rest]], axis=-1)


def transform(
    x: Float[Array, "batch time"],
) -> tuple[Float[Array, "batch frames bins"], Float[Array, "batch frames bins"]]:
    """Real and imaginary part of the short-time Fourier transform, the phase referred to the window's centre.

    FFT points, periodic Hann window of WINDOW samples, HOP; float32 throughout.
    """
    half = WINDOW // 2
    frame = frames(x.astype(jnp.float32))
    right = frame[..., half:]
    left = jnp.concatenate([jnp.zeros_like(frame[..., :1]), frame[..., half - 1 : 0 : -1]], axis=-1)
    cosine, sine = _half_bases()
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return product(right + left, cosine), -product(right - left, sine)


def rfft(x: Float[Array, "batch ... samples"], n: int | None = None) -> Complex[Array, "batch ... bins"]:
    """`jnp.fft.rfft` along the last axis; of devices that share the batch each transforms its part."""
    return turns.alone(functools.partial(jnp.fft.rfft, n=n), x)


def irfft(z: Inexact[Array, "batch ... bins"], n: int | None = None) -> Float[Array, "batch ... samples"]:
    """`jnp.fft.irfft` along the last axis; of devices that share the batch each transforms its part."""
    return turns.alone(functools.partial(jnp.fft.irfft, n=n), z)


def stft(
    x: Float[Array, "batch time"], size: int, hop: int
) -> tuple[Float[Array, "batch frames bins"], Float[Array, "batch frames bins"]]:
    """Real and imaginary part of a short-time Fourier transform with a Hann window of any even size, by FFT.

    They are (batch, 1 + time // hop, size / 2 + 1). Frames are centred on every hop-th sample, zero padded at both
    ends; `hop` divides `size`.
    """
    overlap, count = size // hop, 1 + x.shape[1] // hop
    blocks = count + overlap - 1
    silence = jnp.zeros((x.shape[0], size // 2), x.dtype)
    x = jnp.concatenate([silence, x, silence], axis=1)[:, : blocks * hop].reshape(x.shape[0], blocks, hop)
    window = hann(size).reshape(overlap, 1, 1, hop)
    frame = jnp.concatenate([x[:, i : i + count] * window[i] for i in range(overlap)], axis=-1)
    spectrum = rfft(frame)
    return spectrum.real, spectrum.imag


def istft(z: Complex[Array, "batch frames bins"], size: int, samples: int) -> Float[Array, "batch time"]:
    """The least-squares inverse of `stft` with a hop of size / 4 (Griffin and Lim 1984), `samples` long."""
    hop = size // 4
    frames = irfft(z, n=size) * hann(size)[None, None]
    batch, count, _ = frames.shape
    parts = frames.reshape(batch, count, 4, hop)
    total = sum(jnp.pad(parts[:, :, i], ((0, 0), (i, 3 - i), (0, 0))) for i in range(4))
    weight = (hann(size) ** 2).reshape(4, 1, hop)
    since = jnp.arange(count + 3)[:, None]  # hops since the first; made here, so that no program holds it
    cover = sum(jnp.where((since >= i) & (since < i + count), weight[i], 0.0) for i in range(4))
    x = (total / jnp.maximum(cover, 1e-3)[None]).reshape(batch, -1)
    return x[:, size // 2 : size // 2 + samples]


@functools.cache
def hann(size: int) -> np.ndarray:
    """The periodic Hann window, (size,) float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def power(x: Float[Array, "batch time"]) -> Float[Array, "batch frames bins"]:
    """The short-time power spectrum |STFT|^2, of BINS bins; see `transform`."""
    if jax.default_backend() == "cpu":  # where the products of `transform` take 1.3 times as long
        spectrum = rfft(frames(x.astype(jnp.float32)) * hann(WINDOW)[None, None], n=FFT)
        return spectrum.real**2 + spectrum.imag**2
    real, imaginary = transform(x)
    return real**2 + imaginary**2


def log_filtered(power: Float[Array, "batch frames bins"], filters: np.ndarray) -> Float[Array, "batch frames out"]:
    """Natural logarithm of a filter bank's output, floored at FLOOR."""
    return jnp.log(jnp.maximum(jnp.matmul(power, filters, precision=jax.lax.Precision.HIGHEST), FLOOR))


def log_mel(x: Float[Array, "batch time"], *, bins: int = 80) -> Float[Array, "batch frames bins"]:
    """Natural logarithm of the mel power spectrum, floored at FLOOR.

    Equal to np.log(np.maximum(librosa.feature.melspectrogram(y, sr=16000, n_fft=512, win_length=400,
    hop_length=160, n_mels=bins), 1e-10)) within float32 rounding.
    """
    return turns.few_at_a_time(lambda few: log_filtered(power(few), mel_filters(bins)), x, each=CLIPS)


def lfcc(
    x: Float[Array, "batch time"], *, filters: int = 70, coefficients: int = 20
) -> Float[Array, "batch frames coefficients"]:
    """Linear-frequency cepstral coefficients (Sahidullah et al. 2015): log of linear filters, orthonormal DCT-II."""
    return log_filtered(power(x), linear_filters(filters)) @ dct(filters, coefficients)


def deltas(x: Float[Array, "batch frames bins"]) -> Float[Array, "batch frames bins"]:
    """Central differences x[t+1] - x[t-1] with the edges repeated."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return padded[:, 2:] - padded[:, :-2]
