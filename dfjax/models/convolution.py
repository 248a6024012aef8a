"""Convolutions of pictures in the form that a CPU computes fastest, chosen by shape when a program is built.

XLA's CPU backend computes the gradient of a convolution to its kernel as a convolution whose window is the whole
picture and whose channels are the batch, and that without a matrix product. Written as products the same sums run at
the speed of one:

* a kernel of one pixel is one product, and so are its two gradients;
* a kernel that is moved by its own size cuts the picture into patches, and is one product of patches;
* of any other kernel the gradient to it is changed: one product for each position in the kernel or, where it is moved
  by one pixel, for all positions of a few rows, which stay in the cache.

Other devices keep the convolution.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import turns
from dfjax.models import linear

Pads = tuple[tuple[int, int], tuple[int, int]]

ROWS = 4  # of outputs whose patches lie in the cache together
FEW = 16  # channels; with fewer, that gains nothing


def _plain(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _patches(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b h2 w2 c2"]:
    """Squares beside each other, each as one pixel; what is left over at the right and below is dropped."""
    rows, columns = x.shape[1] // height, x.shape[2] // width
    x = x[:, : rows * height, : columns * width].reshape(x.shape[0], rows, height, columns, width, -1)
    return x.swapaxes(2, 3).reshape(x.shape[0], rows, columns, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_position(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    """One convolution, below whose picture a row of zeros is added if nothing is, and what comes of it dropped.

    XLA (jaxlib 0.10.2) computes one without zeros around it in another way: 32 to 64 channels, 147 outputs across, in
    91 ms instead of 32, to the same bits.
    """
    rows = (x.shape[1] + sum(pads[0]) - len(kernel)) // strides[0] + 1
    if pads == ((0, 0), (0, 0)):
        pads = ((0, 1), (0, 0))
    return _plain(x, kernel, strides, pads)[:, :rows]


def _by_position_forward(x, kernel, strides, pads):
    return _by_position(x, kernel, strides, pads), (x, kernel)


def _by_position_backward(strides, pads, saved, dy):
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: _plain(x, kernel, strides, pads), x)(dy)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    to_kernel = _slopes_by_rows if strides == (1, 1) and min(kernel.shape[2:]) >= FEW else _slopes_at_once
    return dx, to_kernel(x, dy, kernel.shape[:2], strides).reshape(kernel.shape)


_by_position.defvjp(_by_position_forward, _by_position_backward)


def _beneath(x: Array, rows: int, columns: int, size: tuple[int, int], strides: tuple[int, int]) -> list[Array]:
    """What lies under each position of a kernel of this size, as it moves over so many rows and columns."""
    (down, across), (height, width) = strides, size
    return [
        x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across]
        for i in range(height)
        for j in range(width)
    ]


def _slopes_at_once(x: Array, dy: Array, size: tuple[int, int], strides: tuple[int, int]) -> Float[Array, "kl c d"]:
    return jnp.stack([jnp.einsum("bhwc,bhwd->cd", under, dy) for under in _beneath(x, *dy.shape[1:3], size, strides)])


def _slopes_by_rows(x: Array, dy: Array, size: tuple[int, int], strides: tuple[int, int]) -> Float[Array, "klc d"]:
    """The same, a few rows of one picture at a time, beside each other; the kernel moves by one pixel.

    Each device takes its own pictures: they would wait for each other's sums after every few rows.
    """
    rows, columns = dy.shape[1:3]
    below = ((0, -rows % ROWS), (0, 0), (0, 0))

    def of_picture(picture: tuple[Array, Array]) -> Float[Array, "klc d"]:
        x, dy = (jnp.pad(part, below) for part in picture)

        def add(step: Array, total: Array) -> Array:
            some = jax.lax.dynamic_slice_in_dim(x, step * ROWS, ROWS + size[0] - 1)[None]
            slopes = jax.lax.dynamic_slice_in_dim(dy, step * ROWS, ROWS).reshape(ROWS * columns, -1)
            patches = jnp.concatenate(_beneath(some, ROWS, columns, size, strides), axis=-1)
            return total + jnp.matmul(patches.reshape(len(slopes), -1).T, slopes, preferred_element_type=jnp.float32)

        none = jnp.zeros((size[0] * size[1] * x.shape[2], dy.shape[2]))  # float32, whatever the slopes are
        return jax.lax.fori_loop(0, len(dy) // ROWS, add, none)

    of_pictures = turns.alone(functools.partial(jax.lax.map, of_picture), (x, dy))
    return of_pictures.sum(axis=0).astype(dy.dtype)


def _fast(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    size, unpadded = kernel.shape[:2], pads == ((0, 0), (0, 0))
    if size == (1, 1) and unpadded:
        return linear.product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    if size == strides and unpadded:
        return linear.product(_patches(x, *size), kernel.reshape(-1, kernel.shape[-1]))
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
