"""AASIST: graph attention over spectral and temporal nodes of a raw-waveform encoder.

Jung, Heo, Tak, Shim, Chung, Lee, Yu, Evans, "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal
Graph Attention Networks", ICASSP 2022. 297,866 parameters, AASIST-L 85,306. The published code computes, in
each block but the first, a batch norm whose result it does not use; its parameters are held here too, so
that the released weights fit, and nothing is computed.

Layout: activations are (batch, frequency, time, channel).
"""

import pathlib

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import sinc
from dfjax.models import heads, normalisation, torch_file, weights
from dfjax.models.graph_attention import HIDDEN, Block, Graphs
from dfjax.models.streams import Rngs
from dfjax.records import MAX_SAMPLES, InputError

FILTERS, TAPS = 70, 129
BANDS = FILTERS // 3  # after pooling over three filters
POOLINGS = 7  # by three over time: one after the filter bank, one per residual block
SHORTEST = TAPS - 1 + 3**POOLINGS  # samples that leave one temporal node
CHANNELS = {  # of the six residual blocks
    "full": (32, 32, 64, 64, 64, 64),
    "light": (32, 32, 24, 24, 24, 24),
}
GRAPH = {"full": 64, "light": 24}  # width of the two graph attention layers
KEEP = {  # share of nodes kept by pooling: spectral, temporal, and in the heterogeneous layers
    "full": (0.5, 0.7, 0.5),
    "light": (0.4, 0.5, 0.7),
}


class AASIST(nnx.Module):
    """Fixed sinc bank -> six residual blocks -> spectral and temporal graphs -> 160 numbers -> logit.

    An unknown variant raises InputError.
    """

    modality = "audio"
    samples = MAX_SAMPLES  # length of the published training and test clips; others work

    def __init__(self, *, rngs: nnx.Rngs, dtype=jnp.float32, variant: str = "full"):
        if variant not in CHANNELS:
            raise InputError(f"Unknown variant {variant!r} of AASIST; expected one of {sorted(CHANNELS)}")
        channels = CHANNELS[variant]
        self.variant, self.dtype = variant, dtype
        self.first_bn = normalisation.like_pytorch(1, rngs)
        self.encoder = nnx.List(
            Block(inputs, outputs, i == 0, dtype=dtype, rngs=rngs)
            for i, (inputs, outputs) in enumerate(zip((1, *channels), channels, strict=False))
        )
        self.graphs = Graphs(channels[-1], GRAPH[variant], KEEP[variant], BANDS, rngs=rngs)
        self.head = heads.TwoLogits(5 * HIDDEN, rngs=rngs)

    def embed(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, "b dim"]:
        """The embedding; fewer than SHORTEST samples raise InputError."""
        if x.shape[1] < SHORTEST:
            raise InputError(f"AASIST needs clips of at least {SHORTEST} samples, got {x.shape[1]}; repeat the clip")
        bank = sinc.pooled(x, filters=FILTERS, taps=TAPS, over=3)
        h = jax.nn.selu(self.first_bn(jnp.swapaxes(bank, 1, 2)[..., None]))
        for block in self.encoder:
            h = block(h)
        return self.graphs(h.astype(jnp.float32), rngs=rngs)

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, " b"]:
        return self.head(self.embed(x, rngs=rngs))


def load(path: str | pathlib.Path) -> AASIST:
    """The released AASIST or AASIST-L (github.com/clovaai/aasist); the shapes say which.

    Raises InputError where the file is missing or holds other weights.
    """
    renamed = {_rename(name): value for name, value in weights.to_flax(torch_file.state_dict(path)).items()}
    embedded = renamed.get("graphs.pos_S")
    light = embedded is not None and embedded.shape[-1:] == CHANNELS["light"][-1:]
    return weights.fill(lambda: AASIST(rngs=Rngs(0), variant="light" if light else "full"), renamed, path)


def _rename(name: str) -> str:
    """The released name of a variable to ours; a released block sits in a list of one. A foreign name fits nothing."""
    match name.split("."):
        case ["encoder", number, "0", layer, last]:
            return f"encoder.{number}.{'skip' if layer == 'conv_downsample' else layer}.{last}"
        case ["out_layer", *rest]:
            return ".".join(["head", "out", *rest])
        case ["first_bn", *_]:
            return name
    return f"graphs.{name}"
