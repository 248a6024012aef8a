"""Maxima whose gradient is right in compiled programs, and pooling made of them.

jax finds the winner of a maximum again by testing for equality. A compiled program may compute both sides twice and
round them apart; no side is equal then, and the slope is lost without a word (jax issue 40564; a fifth of AASIST's
gradient was). Here it follows a comparison, which one side always wins. On CPU pooling by maxima of shifted pictures
has a gradient 4 to 20 times as fast as that of XLA's own pooling besides: it goes along rows, then along columns,
and remembers where each maximum was found.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def maximum(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The larger of two arrays, element by element; where both are equal the slope is that of the first."""
    return jnp.maximum(a, b)


@maximum.defjvp
def _(primals, tangents):
    a, b = primals
    return maximum(a, b), jnp.where(a >= b, *tangents)


def largest(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum over an axis; the slope is that of the first place where it is found."""
    return _largest(axis, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(axis, x):
    return x.max(axis=axis)


@_largest.defjvp
def _(axis, primals, tangents):
    (x,), (slope,) = primals, tangents
    found = jax.nn.one_hot(x.argmax(axis=axis), x.shape[axis], axis=axis, dtype=bool)
    return _largest(axis, x), jnp.where(found, slope, 0).sum(axis=axis)


def max_pool(
    x: Float[Array, "batch height width c"], window: int, stride: int, padding: int = 0
) -> Float[Array, "batch h w c"]:
    """The largest value in each `window` x `window` square, every `stride` pixels, `padding` pixels added around.

    Of equal pixels the first has the slope, row by row. `stride` is at most `window`.
    """
    around = (padding, padding)
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)), constant_values=-jnp.inf)
    down, across = ((size - window) // stride * stride + window for size in x.shape[1:3])
    return _pool(_pool(x[:, :down, :across], 2, window, stride), 1, window, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _pool(x, axis, window, stride):
    """The largest of each `window` neighbours along one axis, every `stride`; none is left over at the end."""
    return _pool_forward(x, axis, window, stride)[0]


def _pool_forward(x, axis, window, stride):
    end = x.shape[axis] - window + 1
    first, *others = (jax.lax.slice_in_dim(x, i, i + end, stride, axis) for i in range(window))
    best, found = first, jnp.zeros(first.shape, jnp.int8)
    for i, other in enumerate(others, 1):
        found = jnp.where(best >= other, found, i)
        best = jnp.maximum(best, other)
    return best, found


def _pool_backward(axis, window, stride, found, slope):
    more = (window - 1) // stride

    def placed(i: int) -> Array:
        """The slopes of maxima that were the `i`-th of their neighbours, among the pixels `stride` apart from there."""
        pads = [(0, 0)] * slope.ndim
        pads[axis] = (i // stride, more - i // stride)
        return jnp.pad(jnp.where(found == i, slope, 0), pads)

    phases = [functools.reduce(jnp.add, map(placed, range(r, window, stride))) for r in range(stride)]
    together = jnp.stack(phases, axis + 1)
    shape = (*slope.shape[:axis], -1, *slope.shape[axis + 1 :])
    size = (slope.shape[axis] - 1) * stride + window
    return (jax.lax.slice_in_dim(together.reshape(shape), 0, size, axis=axis),)


_pool.defvjp(_pool_forward, _pool_backward)


def over_three(x: Float[Array, "*b t channels"]) -> Float[Array, "*b third channels"]:
    """The maximum over each three frames; a rest of one or two frames is dropped."""
    third = x.shape[-2] // 3
    x = x[..., : 3 * third, :].reshape(*x.shape[:-2], third, 3, x.shape[-1])
    return functools.reduce(maximum, (x[..., i, :] for i in range(3)))
