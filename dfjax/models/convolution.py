"""Convolutions of pictures in the form that a CPU computes fastest, chosen by shape when a program is built.

XLA's CPU backend computes the gradient of a convolution to its kernel as a convolution whose window is the whole
picture and whose channels are the batch, and that without a matrix product. Written as products the same sums run at
the speed of one:

* a kernel of one pixel is one product, and so are its two gradients;
* a kernel that is moved by its own size cuts the picture into patches, and is one product of patches;
* of any other kernel only the gradient to it is changed: one product for each position in the kernel.

Other devices keep the convolution.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]


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


def _fast(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    size, unpadded = kernel.shape[:2], pads == ((0, 0), (0, 0))
    if size == (1, 1) and unpadded:
        return _product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    if size == strides and unpadded:
        return _product(_patches(x, *size), kernel.reshape(-1, kernel.shape[-1]))
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
