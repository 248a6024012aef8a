"""LFCC-LCNN-BLSTM, the strongest baseline of ASVspoof 2021 on its LA track: 269,729 trainable parameters.

Wang and Yamagishi, "A comparative study on recent neural spoofing countermeasures for synthetic speech
detection", Interspeech 2021. Light convolutions whose activation is the maximum of two halves of the
channels, then two recurrent layers with a skip around both, then the mean over time.

Layout: activations are (batch, frames, bins, channels).
"""

import pathlib

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import lfcc_asvspoof
from dfjax.models import heads, pooling, recurrent, torch_file, weights
from dfjax.models.streams import Rngs
from dfjax.records import InputError

WIDTH = 96  # of the recurrent layers: 32 channels x the 3 bins that four poolings leave of 60
SHORTEST = 15 * lfcc_asvspoof.HOP  # samples that leave one frame after four poolings by two
LAYERS = (  # (kernel, channels before the maximum, pool by two, batch norm), in the published order
    (5, 64, True, False),
    (1, 64, False, True),
    (3, 96, True, True),
    (1, 96, False, True),
    (3, 128, True, False),
    (1, 128, False, True),
    (3, 64, False, True),
    (1, 64, False, True),
    (3, 64, True, False),
)


class Light(nnx.Module):
    """Convolution, maximum of the two halves of its channels, pooling by two, plain batch norm."""

    def __init__(self, inputs: int, kernel: int, channels: int, pool: bool, norm: bool, *, dtype, rngs: nnx.Rngs):
        self.pool = pool
        self.conv = nnx.Conv(inputs, channels, (kernel, kernel), dtype=dtype, rngs=rngs)
        kwargs = {"momentum": 0.9, "use_bias": False, "use_scale": False}
        self.norm = nnx.BatchNorm(channels // 2, **kwargs, rngs=rngs) if norm else None

    def __call__(self, x: Float[Array, "b t f inputs"]) -> Float[Array, "b t2 f2 half"]:
        x = pooling.maximum(*jnp.split(self.conv(x), 2, axis=-1))
        if self.pool:
            x = pooling.max_pool(x, 2, 2)
        return x if self.norm is None else self.norm(x)


class LCNN(nnx.Module):
    """LFCC -> light convolutions -> two BLSTMs -> mean over time, 96 numbers -> logit."""

    modality = "audio"

    def __init__(self, *, rngs: nnx.Rngs, dtype=jnp.float32):
        inputs = (1, *(channels // 2 for _, channels, _, _ in LAYERS))
        self.layers = nnx.List(
            Light(i, *layer, dtype=dtype, rngs=rngs) for i, layer in zip(inputs, LAYERS, strict=False)
        )
        self.dropout = nnx.Dropout(0.7)
        self.blstm = nnx.List(recurrent.BLSTM(WIDTH, WIDTH, dtype=dtype, rngs=rngs) for _ in range(2))
        self.head = heads.Linear(WIDTH, rngs=rngs)

    def embed(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, "b dim"]:
        """The embedding; fewer than SHORTEST samples raise InputError."""
        if x.shape[1] < SHORTEST:
            raise InputError(f"LCNN needs clips of at least {SHORTEST} samples, got {x.shape[1]}; repeat the clip")
        h = lfcc_asvspoof.lfcc(x)[..., None]
        for layer in self.layers:
            h = layer(h)
        h = self.dropout(h, rngs=rngs)
        h = jnp.swapaxes(h, 2, 3).reshape(*h.shape[:2], WIDTH)  # channel by channel, as released weights expect
        deep = h
        for layer in self.blstm:
            deep = layer(deep)
        return (deep + h).mean(axis=1).astype(jnp.float32)

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, " b"]:
        return self.head(self.embed(x, rngs=rngs))


def load(path: str | pathlib.Path) -> LCNN:
    """Weights released with the ASVspoof 2021 baseline, whose score means bona fide: negated here.

    Raises InputError where the file is missing or holds other weights.
    """
    return weights.fill(lambda: LCNN(rngs=Rngs(0)), from_torch(torch_file.state_dict(path)), path)


def from_torch(published: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The published names and layouts to ours; its front end's constants are dropped, a foreign name stays."""
    renamed, sequence = {}, _sequence()
    for name, value in published.items():
        match name.split("."):
            case ["m_transform", "0", number, last] if number in sequence:
                layer, kind = sequence[number]
                renamed[f"layers.{layer}.{kind}.{last}"] = value
            case ["m_before_pooling", "0", layer, "l_blstm", last]:
                direction = "backward" if last.endswith("_reverse") else "forward"
                names = recurrent.torch_names(f"blstm.{layer}.{direction}", "l0", reverse=direction == "backward")
                renamed[names.get(last, name)] = value.T
            case ["m_output_act", "0", last]:
                renamed[f"head.out.{last}"] = -value
            case [first, *_] if first not in ("m_frontend", "input_mean", "input_std", "output_mean", "output_std"):
                renamed[name] = value
    return weights.to_flax(renamed)


def _sequence() -> dict[str, tuple[int, str]]:
    """Positions in the published sequence of modules -> (our layer, 'conv' or 'norm')."""
    positions, at = {}, 0
    for i, (_, _, pool, norm) in enumerate(LAYERS):
        positions[str(at)] = (i, "conv")
        at += 2 + pool  # the maximum, and the pooling, have no weights
        if norm:
            positions[str(at)] = (i, "norm")
            at += 1
    return positions
