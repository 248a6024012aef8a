"""Depthwise convolution of stride 1 on a GPU, as two kernels in Pallas.

Within a network XLA gives many depthwise convolutions in bfloat16 to a kernel of cuDNN that takes 1.7 ms where another
takes .3 (experiments/README.md, "Speed"). Here a program of the GPU has a tile of positions and channels, adds up its
taps in registers and rounds once. The same kernel, its taps turned around, is the gradient to the image; the gradient
to the taps is summed in parts, in the same order every time.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

CHANNELS = 32  # of a tile
POSITIONS = 128  # of a tile of the image
SUMMED = 32  # of a tile that goes into the gradient to the taps
PARTS = 128  # of that gradient at most, and at least TILES tiles in each
TILES = 4
WARPS = 4


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], interpret: bool = False) -> Array:
    """Each channel correlated with its own k x k kernel, k odd; padded with zeros to the same size.

    Args:
      x: images, in any precision; sums are in float32.
      kernel: the taps.
      interpret: whether to compute without a GPU, slowly.
    """
    k = len(kernel)
    (_, height, width, channels), positions = x.shape, x.size // x.shape[-1]
    return pl.pallas_call(
        functools.partial(_image, k=k, height=height, width=width, channels=channels, positions=positions),
        out_shape=jax.ShapeDtypeStruct((positions, channels), x.dtype),
        grid=(pl.cdiv(channels, CHANNELS), pl.cdiv(positions, POSITIONS)),
        compiler_params=triton.CompilerParams(num_warps=WARPS),
        interpret=interpret,
        name="depthwise",
    )(x.reshape(positions, channels), kernel.reshape(k * k, channels)).reshape(x.shape)


def _forward(x: Array, kernel: Array, interpret: bool):
    return depthwise(x, kernel, interpret), (x, kernel)


def _backward(interpret: bool, saved: tuple[Array, Array], dy: Array):
    x, kernel = saved
    return depthwise(dy, kernel[::-1, ::-1], interpret), _to_kernel(x, kernel, dy, interpret)


depthwise.defvjp(_forward, _backward)


def _to_kernel(x: Array, kernel: Array, dy: Array, interpret: bool) -> Array:
    k, channels = len(kernel), x.shape[-1]
    _, height, width, _ = x.shape
    positions = x.size // channels
    parts = max(1, min(PARTS, positions // (TILES * SUMMED)))
    sums = pl.pallas_call(
        functools.partial(_taps, k=k, height=height, width=width, channels=channels, positions=positions, parts=parts),
        out_shape=jax.ShapeDtypeStruct((parts, k * k, channels), jnp.float32),
        grid=(pl.cdiv(channels, CHANNELS), k, parts),
        compiler_params=triton.CompilerParams(num_warps=WARPS),
        interpret=interpret,
        name="depthwise_taps",
    )(x.reshape(positions, channels), dy.reshape(positions, channels))
    return sums.sum(axis=0).reshape(kernel.shape).astype(kernel.dtype)


def _image(x_ref, kernel_ref, y_ref, *, k: int, height: int, width: int, channels: int, positions: int):
    """A tile of the output: every tap times the image under it."""
    channel = pl.program_id(0) * CHANNELS + jnp.arange(CHANNELS)
    position = pl.program_id(1) * POSITIONS + jnp.arange(POSITIONS)
    used = channel < channels
    total = jnp.zeros((POSITIONS, CHANNELS), jnp.float32)
    for tap in range(k * k):
        under = _under(x_ref, position, channel, tap // k, tap % k, k, height, width, channels, positions)
        weight = triton.load(kernel_ref.at[tap, channel], mask=used, other=0.0)
        total += under * weight.astype(jnp.float32)[None]
    inside = (position < positions)[:, None] & used[None]
    triton.store(y_ref.at[position[:, None], channel[None]], total.astype(y_ref.dtype), mask=inside)


def _taps(x_ref, dy_ref, sums_ref, *, k: int, height: int, width: int, channels: int, positions: int, parts: int):
    """A part of the gradient to one row of taps: the slopes of some positions times the image under each tap."""
    channel = pl.program_id(0) * CHANNELS + jnp.arange(CHANNELS)
    row, part = pl.program_id(1), pl.program_id(2)
    tiles = pl.cdiv(pl.cdiv(positions, SUMMED), parts)

    def add_tile(tile, sums):
        position = (part * tiles + tile) * SUMMED + jnp.arange(SUMMED)
        inside = (position < positions)[:, None] & (channel < channels)[None]
        slopes = triton.load(dy_ref.at[position[:, None], channel[None]], mask=inside, other=0.0).astype(jnp.float32)
        return [
            each + slopes * _under(x_ref, position, channel, row, column, k, height, width, channels, positions)
            for column, each in enumerate(sums)
        ]

    sums = jax.lax.fori_loop(0, tiles, add_tile, [jnp.zeros((SUMMED, CHANNELS), jnp.float32)] * k)
    for column, each in enumerate(sums):
        triton.store(sums_ref.at[part, row * k + column, channel], each.sum(axis=0), mask=channel < channels)


def _under(x_ref, position, channel, row, column, k: int, height: int, width: int, channels: int, positions: int):
    """The image under one tap at some positions, float32; 0 beside it."""
    down, right = row - k // 2, column - k // 2
    line = jax.lax.div(position, width)
    y, x = jax.lax.rem(line, height) + down, position - line * width + right
    inside = (position < positions) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    at = position + down * width + right
    mask = inside[:, None] & (channel < channels)[None]
    return triton.load(x_ref.at[at[:, None], channel[None]], mask=mask, other=0.0).astype(jnp.float32)
