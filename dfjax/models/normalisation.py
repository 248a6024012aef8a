"""Batch norms: one whose slopes take less time and memory, and the constants that a place needs."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalise(
    epsilon: float, x: Float[Array, "*batch c"], scale: Float[Array, "*ones c"], bias: Float[Array, "*ones c"]
) -> tuple[Float[Array, "*batch c"], Float[Array, "*ones c"], Float[Array, "*ones c"]]:
    """What Flax computes, to the bit, and the mean and variance that it is computed by, in float32 at least."""
    axes, precise = tuple(range(x.ndim - 1)), x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, square = (each.mean(axes, keepdims=True) for each in (precise, jnp.square(precise)))
    variance = jax.nn.relu(square - jnp.square(mean))
    y = (x - mean) * (jax.lax.rsqrt(variance + epsilon) * scale) + bias
    return y.astype(x.dtype), mean, variance


def _normalise_forward(epsilon, x, scale, bias):
    y, mean, variance = _normalise(epsilon, x, scale, bias)
    return (y, mean, variance), (x, mean, variance, scale, bias)


def _normalise_backward(epsilon, saved, slopes):
    (x, mean, variance, scale, bias), (dy, *_) = saved, slopes  # nothing is learnt through running statistics
    dy, rate = dy.astype(mean.dtype), jax.lax.rsqrt(variance + epsilon)
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    dbias = dy.sum(axes, keepdims=True)
    # not of x - mean: the compiler would store that from the forward pass on
    dscale = rate * ((dy * x).sum(axes, keepdims=True) - mean * dbias)
    dx = scale * rate * (dy - dbias / count - (x - mean) * (rate * dscale / count))
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


_normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` with scale and bias over all axes but the last, to the same bits; slopes have another rounding.

    Only its input is kept for them. What JAX derives keeps beside it how far that is from the mean, as large again, and
    goes over it once more.
    """

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        """In training by the batch's mean and variance, towards which it moves the running ones; else by these."""
        if self.use_running_average:
            return super().__call__(x)
        x, scale, bias = self.promote_dtype((x, self.scale[...], self.bias[...]), dtype=self.dtype)
        axes = tuple(range(x.ndim - 1))
        y, *moments = _normalise(self.epsilon, x, *(jnp.expand_dims(each, axes) for each in (scale, bias)))
        for running, seen in zip((self.mean, self.var), moments, strict=True):
            running[...] = self.momentum * running[...] + (1 - self.momentum) * seen.reshape(-1)
        return y


def standardise(features: int, *, momentum: float, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """(..., features) -> zero mean and unit variance over all leading axes; running statistics in evaluation.

    For statistics of a front end, whose levels are far above their spread. The variance is the mean square of
    deviations, in two passes. Flax's default is the mean of squares less the square of the mean: where the level is
    ten times the spread that loses two digits of a float32, and which ones depends on the order of the sum, so that
    a batch on one device and on eight would train apart.
    """
    return nnx.BatchNorm(
        features, momentum=momentum, use_bias=False, use_scale=False, use_fast_variance=False, rngs=rngs
    )


def like_pytorch(features: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch norm with PyTorch's constants, for networks whose weights were released from there."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)
