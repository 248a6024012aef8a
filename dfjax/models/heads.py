"""Heads: from an embedding (batch, dim) to one logit (batch,)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Linear(nnx.Module):
    """An affine map to one logit; its bias may start at the log-odds of the training prior."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs, bias: float = 0.0):
        self.out = nnx.Linear(dim, 1, bias_init=nnx.initializers.constant(bias), rngs=rngs)

    def __call__(self, x: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        return self.out(x.astype(jnp.float32))[:, 0]


def start_at(head: nnx.Module, bias: float) -> None:
    """Sets the output bias of a Linear head to the log-odds that training will see; other heads have none."""
    if isinstance(head, Linear):
        head.out.bias[...] = jnp.full((1,), bias, jnp.float32)
