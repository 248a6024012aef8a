"""AASIST's residual block in training on CPU, by Winograd's fast convolutions: five products for three outputs.

XLA's CPU backend runs narrow two-dimensional convolutions below the speed of its matrix products, their gradients
far below. Here a signal is three arrays, its phases: samples 3i, 3i + 1 and 3i + 2, so that

* three neighbouring outputs of a convolution of width three are formed from five products instead of nine
  (Winograd's F(3, 3); Lavin and Gray, CVPR 2016), each a plain matrix product over the channels of both rows of
  the kernel;
* the maximum over three frames, which ends the block, is a maximum of whole arrays: the block's output is never
  stored at full rate.

The first block, 21,490 frames of 32 channels from one, is run in tiles of time that fit the cache, and run again
for the gradient, so neither its activations nor their transforms are ever stored.

Layout: (batch, bands, n, channels) for each of the three; what lies beyond the last sample is zero.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dfjax.features import turns
from dfjax.models import pooling

# Evaluation at 0, 1, -1, 2 and infinity. For outputs o, taps k, inputs d:
# sum_p OUTPUT[o, p] TAP[p, k] INPUT[p, d] = [d = o + k].
INPUT = np.array([[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]], float)
TAP = np.array([[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]) / 6
OUTPUT = np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]], float)
TILE = 32  # triples of frames in a tile of the first block


def of(axes: str):
    """The type of three arrays of these axes."""
    return tuple[Float[Array, axes], Float[Array, axes], Float[Array, axes]]


Phases = of("b f n c")


def split(x: Float[Array, "b f t c"]) -> Phases:
    """Samples 3i, 3i + 1 and 3i + 2, with zeros beyond the end."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % 3), (0, 0)))
    x = x.reshape(*x.shape[:2], -1, 3, x.shape[3])
    return x[:, :, :, 0], x[:, :, :, 1], x[:, :, :, 2]


def _weighted(weights: np.ndarray, terms) -> Array:
    """The sum of weights times terms; zeros are left out and ones not multiplied."""
    used = [t if w == 1 else -t if w == -1 else w * t for w, t in zip(weights.tolist(), terms, strict=True) if w]
    return functools.reduce(jnp.add, used)


def _neighbours(x: Phases) -> tuple[Array, ...]:
    """Samples 3i - 1 to 3i + 3, zero beyond either end."""
    before = jnp.pad(x[2], ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    after = jnp.pad(x[0], ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :, 1:]
    return (before, *x, after)


def conv(x: Phases, kernel: Float[Array, "height 3 c d"]) -> of("b rows n d"):
    """Convolution of width three over time, zero padded, and of the kernel's height over bands."""
    height, _, inputs, outputs = kernel.shape
    five = _neighbours(x)
    rows = x[0].shape[1] - height + 1
    if inputs == 1:  # a product with so few inputs is slower than adding up the taps
        taps = [(i, k) for i in range(height) for k in range(3)]
        return tuple(
            functools.reduce(
                jnp.add, [five[o + k][:, i : i + rows] * kernel[i, k, 0][None, None, None] for i, k in taps]
            )
            for o in range(3)
        )
    # The rows of the kernel stand side by side as outputs; adding them up, one band apart, is left to what follows.
    factors = jnp.einsum("pk,hkcd->pchd", TAP.astype(np.float32), kernel).reshape(5, inputs, height * outputs)
    products = []
    for p in range(5):
        v = _weighted(INPUT[p], five)
        wide = (v.reshape(-1, inputs) @ factors[p].astype(v.dtype)).reshape(*v.shape[:3], height, outputs)
        products.append(functools.reduce(jnp.add, [wide[:, i : i + rows, :, i] for i in range(height)]))
    return tuple(_weighted(OUTPUT[o], products) for o in range(3))


def stored(x: Array) -> Array:
    """`x`, divided by a one that the compiler cannot see.

    XLA's CPU compiler computes a cheap producer again in each of its consumers, here a SELU of a sum in each
    of five transforms; behind a division, which counts as expensive, it stores the result instead.
    """
    return x / jax.lax.optimization_barrier(jnp.ones((), x.dtype))


def moments(x: Phases, length: int) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and variance of each channel over batch, bands and the first `length` samples."""
    x = zero_beyond(x, 0, length)
    count = x[0].shape[0] * x[0].shape[1] * length
    mean = sum(part.sum((0, 1, 2)) for part in x) / count
    return mean, jax.nn.relu(sum((part**2).sum((0, 1, 2)) for part in x) / count - mean**2)


def moments_of_conv(
    x: Phases, kernel: Float[Array, "height 3 1 d"], length: int
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """The `moments` of `conv(x, kernel)`, for one input channel, from the moments of its taps: it is not computed."""
    height = kernel.shape[0]
    five = _neighbours(x)
    rows = x[0].shape[1] - height + 1
    count = x[0].shape[0] * rows * length
    first, second = 0.0, 0.0
    for o in range(3):
        taps = [five[o + k][:, i : i + rows, :, 0] for i in range(height) for k in range(3)]
        n = -(-(length - o) // 3)  # outputs 3i + o below `length`
        taps = jnp.stack([tap[:, :, :n] for tap in taps]).reshape(3 * height, -1)
        first, second = first + taps.sum(axis=1), second + taps @ taps.T
    mean, w = first / count, kernel.reshape(3 * height, -1)
    covariance = second / count - mean[:, None] * mean[None]
    return mean @ w, jax.nn.relu(jnp.einsum("kd,kl,ld->d", w, covariance, w))


def zero_beyond(x: Phases, start: int | Int[Array, ""], length: int) -> Phases:
    """Zeroes samples before 0 and from `length` on, where the arrays begin at sample 3 x start."""
    index = 3 * (start + jnp.arange(x[0].shape[2])[None, None, :, None])
    return tuple(jnp.where((index + r >= 0) & (index + r < length), part, 0) for r, part in enumerate(x))


def selu(x: Array) -> Array:
    """SELU (Klambauer et al. 2017) by exp, not expm1, which XLA's CPU backend computes at half the speed; to 1e-7."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * jnp.where(x > 0, x, alpha * (jnp.exp(jnp.where(x > 0, 0, x)) - 1))


def second_half(
    h: of("b above n d"), x: Phases, start: int | Int[Array, ""], length: int, weights: dict
) -> Float[Array, "b f n d"]:
    """What follows the first convolution: affine map, SELU, second convolution, skip, maximum over three.

    Args:
      h: the first convolution's output, one band more than `x`.
      x: the block's input.
      start: the arrays begin at sample 3 x start.
      length: samples of the whole signal.
      weights: scale and shift (channels) of the batch norm, conv2 kernel and bias, skip kernel and bias or
        None.
    """
    scale, shift = weights["scale"][None, None, None], weights["shift"][None, None, None]
    h = zero_beyond(tuple(selu(part * scale + shift) for part in h), start, length)
    y = conv(tuple(stored(part) for part in h), weights["conv2"])
    if weights["skip"] is not None:
        x = conv(x, weights["skip"])
    return (
        functools.reduce(pooling.maximum, [a + b for a, b in zip(y, x, strict=True)])
        + weights["bias"][None, None, None]
    )


def in_tiles(x: Phases, conv1: Float[Array, "2 3 1 d"], length: int, weights: dict) -> Float[Array, "b bands n d"]:
    """Both halves of the first block, tile by tile; `x` has a row of zeros below and above its bands.

    `conv1` is the kernel of the first convolution; `length` and `weights` are those of `second_half`. Each device takes
    the tiles of its own clips: left to the compiler they would add up the gradient to the weights after every tile.
    """
    return turns.alone(functools.partial(_in_tiles, length), x, conv1, weights)


def _in_tiles(length: int, x: Phases, conv1: Float[Array, "2 3 1 d"], weights: dict) -> Float[Array, "b bands n d"]:
    count = -(-x[0].shape[2] // TILE)
    padded = tuple(jnp.pad(p, ((0, 0), (0, 0), (1, count * TILE + 1 - p.shape[2]), (0, 0))) for p in x)

    @jax.checkpoint
    def tile(weights, conv1, part, start):
        h = conv(part, conv1)
        y = second_half(h, tuple(p[:, 1:-1] for p in part), start - 1, length, weights)
        return y[:, :, 1:-1]  # one triple on either side is there for the convolutions to see

    def body(_, start):
        part = tuple(jax.lax.dynamic_slice_in_dim(p, start, TILE + 2, axis=2) for p in padded)
        return None, tile(weights, conv1, part, start)

    _, y = jax.lax.scan(body, None, TILE * jnp.arange(count))
    return jnp.moveaxis(y, 0, 2).reshape(*y.shape[1:3], -1, y.shape[4])[:, :, : x[0].shape[2]]
