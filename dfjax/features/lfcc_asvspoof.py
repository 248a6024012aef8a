"""The LFCC of the ASVspoof 2021 baseline: linear-frequency cepstra, energy, deltas and second deltas.

From github.com/asvspoof-challenge/2021, after Sahidullah et al., "A comparison of features for synthetic speech
detection", Interspeech 2015. Differs from `spectrum.lfcc` in the frame (20 ms, Hamming), the filters (20, up to half
the band), the logarithm (base 10) and in its first coefficient, which is the frame's energy; released weights expect
exactly this.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import spectrum
from dfjax.records import SAMPLE_RATE

FFT = 1024
WINDOW, HOP = 320, 160  # samples: 20 and 10 ms
FILTERS = 20
BINS = 256  # of the spectrum that are used, those below TOP, in the energy too
TOP = SAMPLE_RATE / 4  # Hz
EMPHASIS = 0.97
EPSILON = float(np.finfo(np.float32).eps)
DIM = 3 * FILTERS


@functools.cache
def _bases() -> tuple[np.ndarray, np.ndarray]:
    """The windowed cosine and sine bases, (WINDOW, BINS) each."""
    n = np.arange(WINDOW)[:, None]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / WINDOW)
    phase = 2 * np.pi * n * np.arange(BINS) / FFT
    return (window * np.cos(phase)).astype(np.float32), (window * np.sin(phase)).astype(np.float32)


@functools.cache
def _filters() -> np.ndarray:
    """Triangular filters with linearly spaced centres, (BINS, FILTERS).

    The published filters take the BINS to reach TOP, though the last lies one bin below it.
    """
    edges = np.linspace(0, TOP, FILTERS + 2)
    frequency = np.linspace(0, TOP, BINS)[:, None]
    rise = (frequency - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - frequency) / np.diff(edges)[1:]
    return np.clip(np.minimum(rise, fall), 0, None).astype(np.float32)


def lfcc(x: Float[Array, "b t"]) -> Float[Array, "b frames dim"]:
    """(batch, 1 + t // HOP, DIM): statics, deltas, second deltas; centred frames, zeros beyond the ends."""
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    x = jnp.concatenate([x[:, :1], x[:, 1:] - EMPHASIS * x[:, :-1]], axis=1)
    count = 1 + x.shape[1] // HOP
    x = jnp.pad(x, ((0, 0), (HOP, (count + 1) * HOP - HOP - x.shape[1]))).reshape(x.shape[0], count + 1, HOP)
    frames = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=-1)
    cosine, sine = _bases()
    power = product(frames, cosine) ** 2 + product(frames, sine) ** 2
    bank = jnp.log10(product(power, _filters()) + EPSILON)
    energy = jnp.log10(power.sum(axis=-1, keepdims=True) / FFT + EPSILON)
    static = jnp.concatenate([energy, product(bank, spectrum.dct(FILTERS, FILTERS))[..., 1:]], axis=-1)
    first = spectrum.deltas(static)
    return jnp.concatenate([static, first, spectrum.deltas(first)], axis=-1)
