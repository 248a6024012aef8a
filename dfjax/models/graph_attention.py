"""AASIST's parts: residual blocks over bands and time, and graph attention over spectral and temporal nodes.

Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022.
AASIST itself and the back end of XLS-R are made of them. Layout: activations are (batch, frequency, time, channel).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import pooling, winograd
from dfjax.models.normalisation import like_pytorch

HIDDEN = 32  # width of the heterogeneous layers
TEMPERATURE, TEMPERATURE_HETEROGENEOUS = 2.0, 100.0
normal = nnx.initializers.normal(1.0)
xavier = nnx.initializers.xavier_normal()


class Block(nnx.Module):
    """Residual block of two 2x3 convolutions; then, with `pool`, the maximum over each three frames."""

    by_winograd = True  # when training on CPU, see `winograd`

    def __init__(self, inputs: int, outputs: int, first: bool, *, pool: bool = True, dtype, rngs: nnx.Rngs):
        self.pool, self.dtype = pool, dtype
        both, after = ((1, 1), (1, 1)), ((0, 0), (1, 1))  # zero padding of (frequency, time)
        self.bn1 = None if first else like_pytorch(inputs, rngs)  # unused, see `aasist`
        self.conv1 = nnx.Conv(inputs, outputs, (2, 3), padding=both, dtype=dtype, rngs=rngs)
        self.bn2 = like_pytorch(outputs, rngs)
        self.conv2 = nnx.Conv(outputs, outputs, (2, 3), padding=after, dtype=dtype, rngs=rngs)
        widens = inputs != outputs
        self.skip = nnx.Conv(inputs, outputs, (1, 3), padding=after, dtype=dtype, rngs=rngs) if widens else None

    def __call__(self, x: Float[Array, "b bands t inputs"]) -> Float[Array, "b bands frames outputs"]:
        """A third of the frames with pooling, else as many."""
        training = not self.bn2.use_running_average
        on_cpu = jax.default_backend() == "cpu" and self.dtype == jnp.float32
        if self.by_winograd and self.pool and training and on_cpu:
            return self._by_winograd(x)
        h = self.conv2(jax.nn.selu(self.bn2(self.conv1(x))))
        h = h + (x if self.skip is None else self.skip(x))
        return pooling.over_three(h) if self.pool else h

    def _by_winograd(self, x: Float[Array, "b bands t inputs"]) -> Float[Array, "b bands third outputs"]:
        """The same in training, with the sums in another order. Batch norm cancels the first bias: it has no slope."""
        length = x.shape[2]
        x = winograd.split(x)
        rows = tuple(jnp.pad(part, ((0, 0), (1, 1), (0, 0), (0, 0))) for part in x)
        kernel, norm, bias = self.conv1.kernel[...], self.bn2, self.conv2.bias[...]
        tiled = kernel.shape[2] == 1
        h = None if tiled else winograd.conv(rows, kernel)
        mean, var = winograd.moments_of_conv(rows, kernel, length) if tiled else winograd.moments(h, length)
        update_statistics(norm, mean + self.conv1.bias[...], var)
        scale = norm.scale[...] * jax.lax.rsqrt(var + norm.epsilon)
        weights = {
            "scale": scale,
            "shift": norm.bias[...] - scale * mean,
            "conv2": self.conv2.kernel[...],
            "skip": None if self.skip is None else self.skip.kernel[...],
            "bias": bias if self.skip is None else bias + self.skip.bias[...],
        }
        if tiled:
            y = winograd.in_tiles(rows, kernel, length, weights)
        else:
            y = winograd.second_half(h, x, 0, length, weights)
        return y[:, :, : length // 3]


def update_statistics(norm: nnx.BatchNorm, mean: Float[Array, " c"], var: Float[Array, " c"]) -> None:
    """Moves running statistics a step towards those of a batch, as nnx.BatchNorm does in training."""
    keep = norm.momentum
    norm.mean[...] = keep * norm.mean[...] + (1 - keep) * jax.lax.stop_gradient(mean)
    norm.var[...] = keep * norm.var[...] + (1 - keep) * jax.lax.stop_gradient(var)


class Attention(nnx.Module):
    """Graph attention over all pairs of nodes, whose affinity is a projection of their product."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.input_drop = nnx.Dropout(0.2)
        self.att_proj = nnx.Linear(inputs, outputs, rngs=rngs)
        self.att_weight = nnx.Param(xavier(rngs.params(), (outputs, 1)))
        self.proj_with_att = nnx.Linear(inputs, outputs, rngs=rngs)
        self.proj_without_att = nnx.Linear(inputs, outputs, rngs=rngs)
        self.bn = like_pytorch(outputs, rngs)

    def __call__(self, x: Float[Array, "b n inputs"], *, rngs=None) -> Float[Array, "b n outputs"]:
        x = self.input_drop(x, rngs=rngs)
        affinity = jnp.tanh(self.att_proj(x[:, :, None] * x[:, None]))
        attention = jax.nn.softmax((affinity @ self.att_weight[...])[..., 0] / TEMPERATURE, axis=-1)
        return jax.nn.selu(self.bn(self.proj_with_att(attention @ x) + self.proj_without_att(x)))


class HeterogeneousAttention(nnx.Module):
    """Attention over temporal and spectral nodes together, with a master node that reads from all of them."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.proj_type1 = nnx.Linear(inputs, inputs, rngs=rngs)  # type 1: temporal nodes
        self.proj_type2 = nnx.Linear(inputs, inputs, rngs=rngs)  # type 2: spectral nodes
        self.input_drop = nnx.Dropout(0.2)
        self.att_proj = nnx.Linear(inputs, outputs, rngs=rngs)
        self.att_projM = nnx.Linear(inputs, outputs, rngs=rngs)
        self.att_weight11 = nnx.Param(xavier(rngs.params(), (outputs, 1)))
        self.att_weight22 = nnx.Param(xavier(rngs.params(), (outputs, 1)))
        self.att_weight12 = nnx.Param(xavier(rngs.params(), (outputs, 1)))
        self.att_weightM = nnx.Param(xavier(rngs.params(), (outputs, 1)))
        self.proj_with_att = nnx.Linear(inputs, outputs, rngs=rngs)
        self.proj_without_att = nnx.Linear(inputs, outputs, rngs=rngs)
        self.proj_with_attM = nnx.Linear(inputs, outputs, rngs=rngs)
        self.proj_without_attM = nnx.Linear(inputs, outputs, rngs=rngs)
        self.bn = like_pytorch(outputs, rngs)

    def __call__(self, temporal, spectral, master, *, rngs=None):
        """Nodes (b, n, inputs) of each type and the master (1 or b, 1, inputs), all to `outputs` wide."""
        x = jnp.concatenate([self.proj_type1(temporal), self.proj_type2(spectral)], axis=1)
        x = self.input_drop(x, rngs=rngs)
        master = self._master(x, master)
        x = self.proj_with_att(self._attention(x, temporal.shape[1]) @ x) + self.proj_without_att(x)
        x = jax.nn.selu(self.bn(x))
        return x[:, : temporal.shape[1]], x[:, temporal.shape[1] :], master

    def _attention(self, x: Float[Array, "b n inputs"], temporal: int) -> Float[Array, "b n n"]:
        affinity = jnp.tanh(self.att_proj(x[:, :, None] * x[:, None]))
        weights = jnp.concatenate([self.att_weight11[...], self.att_weight22[...], self.att_weight12[...]], axis=1)
        within_temporal, within_spectral, across = jnp.moveaxis(affinity @ weights, -1, 0)
        is_temporal = np.arange(x.shape[1]) < temporal
        row, column = is_temporal[None, :, None], is_temporal[None, None, :]
        board = jnp.where(row != column, across, jnp.where(row, within_temporal, within_spectral))
        return jax.nn.softmax(board / TEMPERATURE_HETEROGENEOUS, axis=-1)

    def _master(self, x: Float[Array, "b n inputs"], master) -> Float[Array, "b 1 outputs"]:
        affinity = jnp.tanh(self.att_projM(x * master)) @ self.att_weightM[...]
        attention = jax.nn.softmax(affinity / TEMPERATURE_HETEROGENEOUS, axis=1)
        return self.proj_with_attM(jnp.swapaxes(attention, 1, 2) @ x) + self.proj_without_attM(master)


class Pool(nnx.Module):
    """Keeps the share `keep` of the nodes: those of highest score, in falling order, each times its score."""

    def __init__(self, inputs: int, keep: float, *, rngs: nnx.Rngs):
        self.keep = keep
        self.drop = nnx.Dropout(0.3)
        self.proj = nnx.Linear(inputs, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "b n dim"], *, rngs=None) -> Float[Array, "b kept dim"]:
        score = jax.nn.sigmoid(self.proj(self.drop(x, rngs=rngs)))
        _, best = jax.lax.top_k(score[..., 0], max(int(x.shape[1] * self.keep), 1))
        return jnp.take_along_axis(x * score, best[..., None], axis=1)


class Graphs(nnx.Module):
    """From an encoder's map (batch, bands, frames, channels) to the embedding of 5 x HIDDEN numbers."""

    def __init__(self, channels: int, width: int, keep: tuple[float, float, float], bands: int, *, rngs: nnx.Rngs):
        self.pos_S = nnx.Param(normal(rngs.params(), (1, bands, channels)))
        self.master1 = nnx.Param(normal(rngs.params(), (1, 1, width)))
        self.master2 = nnx.Param(normal(rngs.params(), (1, 1, width)))
        self.GAT_layer_S = Attention(channels, width, rngs=rngs)
        self.GAT_layer_T = Attention(channels, width, rngs=rngs)
        self.pool_S = Pool(width, keep[0], rngs=rngs)
        self.pool_T = Pool(width, keep[1], rngs=rngs)
        self.HtrgGAT_layer_ST11 = HeterogeneousAttention(width, HIDDEN, rngs=rngs)
        self.HtrgGAT_layer_ST12 = HeterogeneousAttention(HIDDEN, HIDDEN, rngs=rngs)
        self.HtrgGAT_layer_ST21 = HeterogeneousAttention(width, HIDDEN, rngs=rngs)
        self.HtrgGAT_layer_ST22 = HeterogeneousAttention(HIDDEN, HIDDEN, rngs=rngs)
        self.pool_hS1 = Pool(HIDDEN, keep[2], rngs=rngs)
        self.pool_hT1 = Pool(HIDDEN, keep[2], rngs=rngs)
        self.pool_hS2 = Pool(HIDDEN, keep[2], rngs=rngs)
        self.pool_hT2 = Pool(HIDDEN, keep[2], rngs=rngs)
        self.drop_way = nnx.Dropout(0.2)
        self.drop = nnx.Dropout(0.5)

    def __call__(self, x: Float[Array, "b bands t channels"], *, rngs=None) -> Float[Array, "b dim"]:
        x = jnp.abs(x)
        bands, frames = pooling.largest(x, axis=2) + self.pos_S[...], pooling.largest(x, axis=1)
        spectral = self.pool_S(self.GAT_layer_S(bands, rngs=rngs), rngs=rngs)
        temporal = self.pool_T(self.GAT_layer_T(frames, rngs=rngs), rngs=rngs)
        layers = (self.HtrgGAT_layer_ST11, self.HtrgGAT_layer_ST12, self.pool_hT1, self.pool_hS1)
        one = self._branch(temporal, spectral, self.master1[...], layers, rngs)
        layers = (self.HtrgGAT_layer_ST21, self.HtrgGAT_layer_ST22, self.pool_hT2, self.pool_hS2)
        two = self._branch(temporal, spectral, self.master2[...], layers, rngs)
        temporal, spectral, master = (pooling.maximum(a, b) for a, b in zip(one, two, strict=True))
        read = [(pooling.largest(jnp.abs(nodes), axis=1), nodes.mean(1)) for nodes in (temporal, spectral)]
        return self.drop(jnp.concatenate([*read[0], *read[1], master[:, 0]], axis=-1), rngs=rngs)

    def _branch(self, temporal, spectral, master, layers, rngs):
        first, second, pool_temporal, pool_spectral = layers
        temporal, spectral, master = first(temporal, spectral, master, rngs=rngs)
        nodes = pool_temporal(temporal, rngs=rngs), pool_spectral(spectral, rngs=rngs), master
        added = second(*nodes, rngs=rngs)
        return tuple(self.drop_way(a + b, rngs=rngs) for a, b in zip(nodes, added, strict=True))
