"""Heads: from an embedding (batch, dim) to one logit (batch,).

Their products are taken in float32 on every device. A GPU or TPU left to itself would round what goes in to 10 or 7
bits, and a kernel machine's logit is a small difference of large terms.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.records import FAKE, REAL, InputError

EXACT = jax.lax.Precision.HIGHEST
COSINE = {"oc_softmax": 1, "am_softmax": 2}  # losses that are defined on cosines -> class directions


class Linear(nnx.Module):
    """An affine map to one logit; its bias may start at the log-odds of the training prior, see `start_at`."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.out = nnx.Linear(dim, 1, precision=EXACT, rngs=rngs)

    def __call__(self, x: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        return self.out(x.astype(jnp.float32))[:, 0]


class TwoLogits(nnx.Module):
    """Logits of fake and real, as published networks have them; ours is their difference, the log-odds."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.out = nnx.Linear(dim, 2, precision=EXACT, rngs=rngs)

    def __call__(self, x: Float[Array, "b dim"]) -> Float[Array, " b"]:
        fake, real = jnp.moveaxis(self.out(x.astype(jnp.float32)), -1, 0)
        return fake - real


class AnyKind(nnx.Module):
    """A logit for each kind of fake against real, put together: a clip is fake if it is of any kind.

    log sum_k share_k exp(logit_k), which is the log-odds of fake where kind k is that share of the fakes and logit_k is
    its log-odds were all fakes of its kind.
    """

    def __init__(self, dim: int, kinds: int, *, rngs: nnx.Rngs):
        self.out = nnx.Linear(dim, kinds, precision=EXACT, rngs=rngs)
        self.log_share = nnx.Param(jnp.full(kinds, -jnp.log(kinds)))

    def __call__(self, x: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        return jax.nn.logsumexp(self.out(x.astype(jnp.float32)) + self.log_share[...][None], axis=1)


class Cosine(nnx.Module):
    """Cosines of the embedding to learnt directions; neither its length nor theirs counts, and there is no bias.

    With one direction, that of reals, the logit is minus the cosine, in [-1, 1] (one-class softmax, Zhang et
    al. 2021, https://arxiv.org/abs/2010.13995). With two, (real, fake), it is the cosine to the fake one minus
    the cosine to the real one, in [-2, 2] (additive-margin softmax, Wang et al. 2018,
    https://arxiv.org/abs/1801.05599).
    """

    def __init__(self, dim: int, directions: int, *, rngs: nnx.Rngs):
        self.direction = nnx.Param(nnx.initializers.normal(dim**-0.5)(rngs.params(), (directions, dim)))

    def __call__(self, x: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        cosine = jnp.matmul(_unit(x.astype(jnp.float32)), _unit(self.direction[...]).T, precision=EXACT)
        return -cosine[:, 0] if cosine.shape[1] == 1 else cosine[:, FAKE] - cosine[:, REAL]


def _unit(x: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    return x * jax.lax.rsqrt((x * x).sum(axis=1, keepdims=True) + 1e-12)  # 0 stays 0, and so does its slope


def for_loss(model: nnx.Module, loss: str, *, rngs: nnx.Rngs) -> nnx.Module:
    """The head that `loss` is defined on: the model's own, or a cosine head of its width in its place.

    Raises:
      InputError: the model's members answer alone in training, each on a part of the embedding, it has heads beside
        this one, or Newton steps train its head.
    """
    if loss not in COSINE:
        return model.head
    if model.modality == "av":
        raise InputError(f"loss {loss!r} takes the cosine of one embedding, this model has three; choose another")
    if hasattr(model, "newton"):
        raise InputError(
            f"loss {loss!r} takes the cosine of an embedding, this model is trained by Newton steps on a linear head; "
            "choose another"
        )
    if getattr(model, "members", 1) > 1:
        raise InputError(
            f"loss {loss!r} takes the cosine of a whole embedding, this model has {model.members} members; "
            "set config.model.kwargs.members=1"
        )
    return Cosine(model.head.out.in_features, COSINE[loss], rngs=rngs)


def shared_out(head: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a `Linear` head as those of a `TwoLogits` head with the same logits, where `like` are such."""
    if like["out"]["bias"].shape[0] == 1:
        return dict(head)
    return {"out": {name: jnp.concatenate([value / 2, -value / 2], axis=-1) for name, value in head["out"].items()}}


def start_at(head: nnx.Module, bias: float) -> None:
    """Sets the output bias to the log-odds that training will see; of two logits (fake, real) their difference."""
    if isinstance(head, Cosine):
        return
    if isinstance(head, AnyKind):
        head.out.bias[...] = jnp.full(head.out.out_features, bias, jnp.float32)
        return
    split = (bias,) if head.out.out_features == 1 else (bias / 2, -bias / 2)
    head.out.bias[...] = jnp.array(split, jnp.float32)
