"""Convolutions of pictures in the form that a CPU computes fastest, chosen by shape when a program is built.

XLA's CPU backend computes the gradient of a convolution to its kernel as a convolution whose window is the whole
picture and whose channels are the batch, and that without a matrix product. Written as products the same sums run at
the speed of one:

* a kernel of one pixel is one product, and so are its two gradients;
* a kernel that is moved by its own size cuts the picture into patches, and is one product of patches;
* a kernel that is moved by one pixel is a product of overlapping patches, of a few rows at a time so that they stay in
  the cache, and so are its two gradients;
* of any other kernel, and where channels are too few for that, only the gradient to it is changed: one product for each
  position in the kernel.

Other devices keep the convolution.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]

ROWS = 4  # of outputs whose patches lie in the cache together
FEW = 16  # channels; with fewer, a product of patches gains nothing


def _plain(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _product(x: Float[Array, "b h w c"], kernel: Float[Array, "c d"]) -> Float[Array, "b h w d"]:
    return (x.reshape(-1, len(kernel)) @ kernel).reshape(*x.shape[:3], -1)


def _patches(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b h2 w2 c2"]:
    """Squares beside each other, each as one pixel; what is left over at the right and below is dropped."""
    rows, columns = x.shape[1] // height, x.shape[2] // width
    x = x[:, : rows * height, : columns * width].reshape(x.shape[0], rows, height, columns, width, -1)
    return x.swapaxes(2, 3).reshape(x.shape[0], rows, columns, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_position(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    return _plain(x, kernel, strides, pads)


def _by_position_forward(x, kernel, strides, pads):
    return _plain(x, kernel, strides, pads), (x, kernel)


def _by_position_backward(strides, pads, saved, dy):
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: _plain(x, kernel, strides, pads), x)(dy)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    (rows, columns), (down, across) = dy.shape[1:3], strides
    slopes = [
        jnp.einsum(
            "bhwc,bhwd->cd", x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across], dy
        )
        for i in range(len(kernel))
        for j in range(kernel.shape[1])
    ]
    return dx, jnp.stack(slopes).reshape(kernel.shape)


_by_position.defvjp(_by_position_forward, _by_position_backward)


def _rows_of_patches(x: Float[Array, "b h w c"], row: Array, shape: tuple[int, ...]) -> Float[Array, "b rows w2 c2"]:
    """ROWS rows of overlapping squares, each as one pixel, for a kernel of this shape."""
    height, width = shape[:2]
    x = jax.lax.dynamic_slice_in_dim(x, row * ROWS, ROWS + height - 1, axis=1)
    across = x.shape[2] - width + 1
    return jnp.concatenate([x[:, i : i + ROWS, j : j + across] for i in range(height) for j in range(width)], axis=-1)


def _filled_up(x: Float[Array, "b h w c"], rows: int) -> Float[Array, "b h2 w c"]:
    """With zeros below, so that `rows` rows of outputs become whole multiples of ROWS."""
    return jnp.pad(x, ((0, 0), (0, -rows % ROWS), (0, 0), (0, 0)))


def _correlated(x: Float[Array, "b h w c"], kernel: Float[Array, "k l c d"]) -> Float[Array, "b h2 w2 d"]:
    rows, columns = (n - k + 1 for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True))
    x, flat = _filled_up(x, rows), kernel.reshape(-1, kernel.shape[-1])

    def add(row: Array, y: Array) -> Array:
        some = _rows_of_patches(x, row, kernel.shape)
        return jax.lax.dynamic_update_slice_in_dim(y, some @ flat, row * ROWS, axis=1)

    steps = -(-rows // ROWS)
    y = jnp.zeros((x.shape[0], steps * ROWS, columns, flat.shape[1]), x.dtype)
    return jax.lax.fori_loop(0, steps, add, y)[:, :rows]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_rows(x: Array, kernel: Array, pads: Pads) -> Array:
    return _correlated(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel)


def _by_rows_forward(x, kernel, pads):
    return _by_rows(x, kernel, pads), (x, kernel)


def _by_rows_backward(pads, saved, dy):
    x, kernel = saved
    # to the picture: slopes with zeros around them, correlated with the kernel turned around
    around = [
        (k - 1 - before, n + before - m)
        for n, k, m, (before, _) in zip(x.shape[1:3], kernel.shape[:2], dy.shape[1:3], pads, strict=True)
    ]
    dx = _correlated(jnp.pad(dy, ((0, 0), *around, (0, 0))), kernel[::-1, ::-1].swapaxes(2, 3))
    # to the kernel: what each few rows of slopes add, for each picture alone: devices would wait for each other's sums
    rows = dy.shape[1]
    padded, slopes = (_filled_up(part, rows) for part in (jnp.pad(x, ((0, 0), *pads, (0, 0))), dy))

    def add(row: Array, total: Array) -> Array:
        some = jax.lax.dynamic_slice_in_dim(slopes, row * ROWS, ROWS, axis=1)
        return total + jnp.einsum("bhwc,bhwd->bcd", _rows_of_patches(padded, row, kernel.shape), some)

    total = jnp.zeros((dy.shape[0], kernel[..., 0].size, dy.shape[3]), dy.dtype)
    dkernel = jax.lax.fori_loop(0, -(-rows // ROWS), add, total)
    return dx, dkernel.sum(axis=0).reshape(kernel.shape)


_by_rows.defvjp(_by_rows_forward, _by_rows_backward)


def _fast(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    size, unpadded = kernel.shape[:2], pads == ((0, 0), (0, 0))
    if size == (1, 1) and unpadded:
        return _product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    if size == strides and unpadded:
        return _product(_patches(x, *size), kernel.reshape(-1, kernel.shape[-1]))
    if strides == (1, 1) and min(kernel.shape[2:]) >= FEW and max(*pads[0], *pads[1]) < min(size):
        return _by_rows(x, kernel, pads)
    return _by_position(x, kernel, strides, pads)


def convolution(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k l c d"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] = (1, 1),
    rhs_dilation: Sequence[int] = (1, 1),
    feature_group_count: int = 1,
    **words,
) -> Float[Array, "b h2 w2 d"]:
    """`jax.lax.conv_general_dilated` as `nnx.Conv` calls it: no dilation, no groups, channels last."""
    assert (*lhs_dilation, *rhs_dilation, feature_group_count) == (1,) * 5, "dilated or in groups: take nnx.Conv"
    strides = tuple(strides)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple((int(before), int(after)) for before, after in padding)
    forms = (functools.partial(form, strides=strides, pads=pads) for form in (_fast, _plain))
    return jax.lax.platform_dependent(x, kernel, **dict(zip(("cpu", "default"), forms, strict=True)))


Conv = functools.partial(nnx.Conv, conv_general_dilated=convolution)  # the same variables
