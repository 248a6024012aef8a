"""GELU (Hendrycks and Gimpel 2016) by the error function, whose slope takes one pass over memory.

The gradient of `jax.nn.gelu` keeps three arrays; here only the input is kept, and all between reading and writing is in
float32. On a GPU XLA splits the value, too, in two kernels in bfloat16, one of which only scales; there it is one here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _normal_below(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The share of a normal distribution below x."""
    return 0.5 + 0.5 * jax.lax.erf(np.sqrt(0.5).astype(np.float32) * x)


@jax.custom_vjp
def in_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU of any float type; it and its slope are computed in float32 and rounded once."""
    wide = x.astype(jnp.float32)
    return (wide * _normal_below(wide)).astype(x.dtype)


def _backward(x: Array, dy: Array) -> tuple[Array]:
    wide = x.astype(jnp.float32)
    slope = _normal_below(wide) + wide * jnp.exp(-0.5 * wide**2) / np.sqrt(2 * np.pi).astype(np.float32)
    return ((dy.astype(jnp.float32) * slope).astype(x.dtype),)


in_float32.defvjp(lambda x: (in_float32(x), x), _backward)


@jax.custom_vjp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The input times the share of a normal distribution below it; on CPU and in float32 it is `jax.nn.gelu`."""

    def usual(x: Array) -> Array:
        return jax.nn.gelu(x, approximate=False)

    if x.dtype == jnp.float32:
        return usual(x)
    return jax.lax.platform_dependent(x, cpu=usual, default=in_float32)


gelu.defvjp(lambda x: (gelu(x), x), _backward)
