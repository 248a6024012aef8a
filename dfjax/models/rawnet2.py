"""RawNet2 for anti-spoofing, the raw-waveform baseline of ASVspoof 2021: 17,621,410 parameters.

Tak, Patino, Todisco, Nautsch, Evans, Larcher, "End-to-end anti-spoofing with RawNet2", ICASSP 2021, in the
sizes of the ASVspoof 2021 baseline. As in AASIST, every block but the first holds a batch norm that the
published code computes and does not use; its parameters are kept so that released weights fit.

Layout: activations are (batch, time, channel).
"""

import pathlib

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import sinc
from dfjax.models import heads, pooling, recurrent, torch_file, weights
from dfjax.models.normalisation import like_pytorch
from dfjax.models.streams import Rngs
from dfjax.records import MAX_SAMPLES, InputError

FILTERS, TAPS = 20, 1025
CHANNELS = (20, 20, 128, 128, 128, 128)  # of the six residual blocks
HIDDEN, LAYERS = 1024, 3  # of the GRU
SLOPE = 0.3  # of the leaky ReLU
SHORTEST = TAPS - 1 + 3 ** (len(CHANNELS) + 1)  # samples that leave one step for the GRU


class Block(nnx.Module):
    """Two convolutions with a skip, the maximum over 3 frames, then each channel scaled and shifted.

    The scale, which is the shift too, is a sigmoid of the channels' means over time (filter-wise feature map
    scaling).
    """

    def __init__(self, inputs: int, outputs: int, first: bool, *, dtype, rngs: nnx.Rngs):
        self.bn1 = None if first else like_pytorch(inputs, rngs)  # unused, see the top
        self.conv1 = nnx.Conv(inputs, outputs, 3, padding=1, dtype=dtype, rngs=rngs)
        self.bn2 = like_pytorch(outputs, rngs)
        self.conv2 = nnx.Conv(outputs, outputs, 3, padding=1, dtype=dtype, rngs=rngs)
        self.skip = nnx.Linear(inputs, outputs, dtype=dtype, rngs=rngs) if inputs != outputs else None
        self.scale = nnx.Linear(outputs, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b third outputs"]:
        h = self.conv2(jax.nn.leaky_relu(self.bn2(self.conv1(x)), SLOPE))
        h = h + (x if self.skip is None else self.skip(x))
        h = pooling.over_three(h)
        scale = jax.nn.sigmoid(self.scale(h.mean(axis=1, keepdims=True)))
        return h * scale + scale


class RawNet2(nnx.Module):
    """Fixed sinc bank -> six residual blocks -> GRU, last state -> 1024 numbers -> logit."""

    modality = "audio"
    samples = MAX_SAMPLES  # length of the published training and test clips; others work

    def __init__(self, *, rngs: nnx.Rngs, dtype=jnp.float32):
        self.first_bn = like_pytorch(FILTERS, rngs)
        self.blocks = nnx.List(
            Block(inputs, outputs, i == 0, dtype=dtype, rngs=rngs)
            for i, (inputs, outputs) in enumerate(zip((FILTERS, *CHANNELS), CHANNELS, strict=False))
        )
        self.bn_before_gru = like_pytorch(CHANNELS[-1], rngs)
        self.gru = nnx.List(
            recurrent.GRU(HIDDEN if i else CHANNELS[-1], HIDDEN, dtype=dtype, rngs=rngs) for i in range(LAYERS)
        )
        self.embedding = nnx.Linear(HIDDEN, HIDDEN, rngs=rngs)
        self.head = heads.TwoLogits(HIDDEN, rngs=rngs)

    def embed(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, "b dim"]:
        """The embedding; fewer than SHORTEST samples raise InputError."""
        if x.shape[1] < SHORTEST:
            raise InputError(f"RawNet2 needs clips of at least {SHORTEST} samples, got {x.shape[1]}; repeat the clip")
        h = jax.nn.selu(self.first_bn(sinc.pooled(x, filters=FILTERS, taps=TAPS, over=1)))
        for block in self.blocks:
            h = block(h)
        h = jax.nn.selu(self.bn_before_gru(h))
        for layer in self.gru:
            h = layer(h)
        return self.embedding(h[:, -1].astype(jnp.float32))

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, " b"]:
        return self.head(self.embed(x, rngs=rngs))


def load(path: str | pathlib.Path) -> RawNet2:
    """The weights released with the ASVspoof 2021 baseline (LA or DF): a state dict.

    Raises InputError where the file is missing or holds other weights.
    """
    return weights.fill(lambda: RawNet2(rngs=Rngs(0)), from_torch(torch_file.state_dict(path)), path)


def from_torch(published: dict) -> dict:
    """The published names and layouts to ours; a foreign name stays."""
    gru = {}
    for i in range(LAYERS):
        gru |= {f"gru.{old}": new for old, new in recurrent.torch_names(f"gru.{i}", f"l{i}").items()}
    ours = {gru[name]: value.T for name, value in published.items() if name in gru}
    rest = {name: value for name, value in published.items() if name not in gru}
    skip = rest.get("block2.0.conv_downsample.weight")
    if skip is not None and skip.shape[2:] == (1,):  # a convolution of width one is a linear map
        rest["block2.0.conv_downsample.weight"] = skip[..., 0]
    return ours | {_rename(name): value for name, value in weights.to_flax(rest).items()}


def _rename(name: str) -> str:
    tops = {"fc1_gru": "embedding", "fc2_gru": "head.out"}
    match name.split("."):
        case [first, "0", last] if first.startswith("fc_attention"):
            return f"blocks.{first.removeprefix('fc_attention')}.scale.{last}"
        case [first, "0", layer, last] if first.startswith("block"):
            return f"blocks.{first.removeprefix('block')}.{'skip' if layer == 'conv_downsample' else layer}.{last}"
    first, dot, rest = name.partition(".")
    return tops.get(first, first) + dot + rest
