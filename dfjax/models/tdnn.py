"""The default audio detector: a filter bank, dilated context over time, attentive statistics pooling.

After ECAPA-TDNN (Desplanques, Thienpondt, Demuynck, Interspeech 2020). It is made of matrix products alone: a dilated convolution of width
three is one product into three outputs per frame, which are then shifted and added. XLA's CPU backend runs matrix products near the
machine's peak, narrow two-dimensional convolutions at a quarter of it, and convolutions inside a loop far slower still, so this is the
detector that trains fast where most people start.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import masking, spectrum
from dfjax.models import heads

EPSILON = 1e-5


class Context(nnx.Module):
    """A convolution over time of width three and dilation d: y[t] = a(x[t-d]) + b(x[t]) + c(x[t+d])."""

    def __init__(self, dim: int, out: int, dilation: int, *, dtype, rngs: nnx.Rngs):
        self.dilation = dilation
        init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "truncated_normal")
        self.taps = nnx.Linear(dim, 3 * out, use_bias=False, kernel_init=init, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch frames dim"]) -> Float[Array, "batch frames out"]:
        d = self.dilation
        past, here, future = jnp.split(self.taps(x), 3, axis=-1)
        past = jnp.pad(past, ((0, 0), (d, 0), (0, 0)))[:, :-d]
        future = jnp.pad(future, ((0, 0), (0, d), (0, 0)))[:, d:]
        return past + here + future


class Block(nnx.Module):
    """Pre-normalised residual block: context, GELU, pointwise map, dropout."""

    def __init__(self, dim: int, dilation: int, dropout: float, *, dtype, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(dim, dtype=dtype, rngs=rngs)
        self.context = Context(dim, dim, dilation, dtype=dtype, rngs=rngs)
        self.mix = nnx.Linear(dim, dim, dtype=dtype, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1,))  # whole channels: fewer random numbers to draw

    def __call__(self, x, *, rngs=None):
        return x + self.dropout(self.mix(jax.nn.gelu(self.context(self.norm(x)))), rngs=rngs)


class AttentivePooling(nnx.Module):
    """Weighted mean and standard deviation over time; one softmax weight per frame and channel (Okabe et al. 2018)."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs, bottleneck: int = 32):
        self.hidden = nnx.Linear(dim, bottleneck, rngs=rngs)
        self.weight = nnx.Linear(bottleneck, dim, rngs=rngs)

    def __call__(self, x: Float[Array, "batch frames dim"]) -> Float[Array, "batch twice"]:
        x = x.astype(jnp.float32)
        weight = jax.nn.softmax(self.weight(jnp.tanh(self.hidden(x))), axis=1)
        mean = (weight * x).sum(axis=1)
        variance = (weight * x**2).sum(axis=1) - mean**2
        return jnp.concatenate([mean, jnp.sqrt(jnp.maximum(variance, EPSILON))], axis=-1)


class TDNN(nnx.Module):
    """Log-mel (or LFCC with deltas) -> context blocks -> attentive statistics -> embedding -> logit."""

    modality = "audio"

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        front_end: str = "log_mel",
        bins: int = 80,
        dim: int = 128,
        dilations: tuple[int, ...] = (1, 2, 3, 4),
        embedding: int = 128,
        stride: int = 2,
        dropout: float = 0.1,
        masks: tuple[int, int] = (0, 0),
    ):
        self.front_end, self.bins, self.stride = front_end, bins, stride
        width = 3 * bins if front_end == "lfcc" else bins
        self.mask = masking.Masking(time=masks[0], frequency=masks[1])
        self.norm = nnx.BatchNorm(width, use_bias=False, use_scale=False, rngs=rngs)
        self.stem = Context(stride * width, dim, 1, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(dim, d, dropout, dtype=dtype, rngs=rngs) for d in dilations])
        self.out_norm = nnx.LayerNorm(dim, dtype=dtype, rngs=rngs)
        self.pool = AttentivePooling(dim, rngs=rngs)
        self.embedding = nnx.Linear(2 * dim, embedding, rngs=rngs)
        self.embedding_norm = nnx.LayerNorm(embedding, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(embedding, rngs=rngs)

    def features(self, x: Float[Array, "batch time"]) -> Float[Array, "batch frames bins"]:
        """The front end's output, before normalisation and masking."""
        if self.front_end == "lfcc":
            static = spectrum.lfcc(x, coefficients=self.bins)
            first = spectrum.deltas(static)
            return jnp.concatenate([static, first, spectrum.deltas(first)], axis=-1)
        if self.front_end == "log_linear":
            return spectrum.log_linear(x, bins=self.bins)
        return spectrum.log_mel(x, bins=self.bins)

    def embed(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding that the head sees."""
        h = self.features(x)
        h = self.mask(self.norm(h), rngs=rngs)
        h = h[:, : h.shape[1] // self.stride * self.stride]
        h = self.stem(h.reshape(h.shape[0], -1, self.stride * h.shape[2]))
        for block in self.blocks:
            h = block(h, rngs=rngs)
        pooled = self.pool(jax.nn.gelu(self.out_norm(h)))
        return self.dropout(jax.nn.gelu(self.embedding_norm(self.embedding(pooled))), rngs=rngs)

    def __call__(self, x: Float[Array, "batch time"], *, rngs=None) -> Float[Array, " batch"]:
        return self.head(self.embed(x, rngs=rngs))
