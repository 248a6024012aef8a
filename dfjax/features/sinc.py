"""Fixed band-pass filter banks on the raw waveform (after Ravanelli and Bengio, SLT 2018; not learnt)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.records import SAMPLE_RATE


@functools.cache
def bank(filters: int, taps: int) -> np.ndarray:
    """Windowed-sinc band-pass filters with edges equally spaced in mel up to half the rate, (filters, taps).

    Band i passes from edge i to edge i + 1. Each filter is the difference of two ideal low-pass responses,
    times a Hamming window; `taps` is odd, so every filter is symmetric about its centre. Computed in
    float32, as the taps were that released weights were trained with: in float64 their logits move by 1e-4.
    """
    mel_top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, mel_top, filters + 1) / 2595) - 1)  # Hz
    edges = (2 * edges[:, None]).astype(np.float32)
    n = (np.arange(taps) - taps // 2).astype(np.float32)
    low_pass = edges / SAMPLE_RATE * np.sinc(edges * n / np.float32(SAMPLE_RATE))
    return np.hamming(taps).astype(np.float32) * np.diff(low_pass, axis=0)


def pooled(x: Float[Array, "b t"], *, filters: int, taps: int, over: int) -> Float[Array, "b third bands"]:
    """Magnitudes of the outputs of `bank(filters, taps)`, the maximum over each `over` filters and each three samples.

    The result is (batch, (t - taps + 1) // 3, filters // over).

    A block of `step` outputs is a matrix times step + taps - 1 inputs. The filters are symmetric, so the
    matrix does not change when outputs and inputs are both reversed, and it splits in two of a quarter of
    its size: one maps the sum of the inputs and their mirror image to the sum of the outputs and theirs, one
    the difference to the difference. This is fewer products than the convolution, and on CPU they run at the
    speed of a matrix product.
    """
    even, odd, step = _halves(filters, taps, over)
    third = (x.shape[1] - taps + 1) // 3
    blocks, reach = -(-3 * third // step), -(-(step + taps - 1) // step)
    x = jnp.pad(x, ((0, 0), (0, max(0, (blocks + reach) * step - x.shape[1]))))
    x = x[:, : (blocks + reach) * step].reshape(x.shape[0], -1, step)
    x = jnp.concatenate([x[:, i : i + blocks] for i in range(reach)], axis=-1)[..., : step + taps - 1]
    half = x.shape[-1] // 2
    near, mirrored = x[..., :half], x[..., : half - 1 : -1]
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    total, difference = product(near + mirrored, even), product(near - mirrored, odd)

    def maxima(y):  # (b, blocks, 3 samples x `over` filters, thirds, bands) -> (b, blocks, thirds, bands)
        y = jnp.abs(y).reshape(*y.shape[:2], 3 * over, step // 6, filters // over)
        return functools.reduce(jnp.maximum, [y[:, :, i] for i in range(3 * over)])

    y = jnp.concatenate([maxima(total + difference), maxima(total - difference)[:, :, ::-1]], axis=2)
    return y.reshape(x.shape[0], -1, filters // over)[:, :third]


@functools.cache
def _halves(filters: int, taps: int, over: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The two half-size matrices of `pooled`, (inputs / 2, outputs), and the outputs per block.

    Columns are ordered (sample within its three, filter within its group, third, group), so that pooling is
    a maximum over whole contiguous slabs.
    """
    step = 6 * -(-taps // 36)
    bands = filters // over
    matrix = np.zeros((step + taps - 1, step // 2, over * bands), np.float32)
    for t in range(step // 2):
        matrix[t : t + taps, t] = bank(filters, taps)[: over * bands].T
    half = matrix.shape[0] // 2
    near, mirrored = matrix[:half] / 2, matrix[: half - 1 : -1] / 2

    def ordered(m):
        m = m.reshape(half, step // 6, 3, bands, over)
        return np.ascontiguousarray(m.transpose(0, 2, 4, 1, 3).reshape(half, -1))

    return ordered(near + mirrored), ordered(near - mirrored), step
