"""wav2vec 2.0 and XLS-R: a self-supervised speech encoder with a mean-pooling or an AASIST back end.

Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0", NeurIPS 2020; Babu et al., "XLS-R", Interspeech 2022; as a front
end against spoofing, Tak, Todisco, Wang, Jung, Yamagishi, Evans, Odyssey 2022. The encoder equals that of
Hugging Face's `transformers` and reads its safetensors. Of the published AASIST back end we keep the graphs,
and read the nodes as AASIST does, by the largest magnitude, not by attention.

Layout: activations are (batch, time, channel), one frame every 320 samples (20 ms).
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import attention, graph_attention, heads, normalisation, pooling, weights
from dfjax.models.gelu import gelu
from dfjax.models.linear import Linear
from dfjax.models.streams import Rngs
from dfjax.records import MAX_SAMPLES, InputError

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)  # of the feature encoder
SHORTEST = 400  # samples that leave one frame


@dataclasses.dataclass(frozen=True)
class Size:
    """What differs between published encoders."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    group_norm: bool  # the feature encoder: one group norm after its first layer, or a layer norm after each
    conv_bias: bool
    pre_norm: bool  # the transformer: norms before its layers and one at the end, or after each
    conv_dim: int = 512
    position_kernel: int = 128
    position_groups: int = 16


SIZES = {
    "base": Size(768, 12, 12, 3072, group_norm=True, conv_bias=False, pre_norm=False),
    "large": Size(1024, 24, 16, 4096, group_norm=True, conv_bias=False, pre_norm=False),
    "xlsr_300m": Size(1024, 24, 16, 4096, group_norm=False, conv_bias=True, pre_norm=True),  # XLSR-53 too
    "xlsr_1b": Size(1280, 48, 16, 5120, group_norm=False, conv_bias=True, pre_norm=True),
    "xlsr_2b": Size(1920, 48, 16, 7680, group_norm=False, conv_bias=True, pre_norm=True),
}


class FeatureLayer(nnx.Module):
    """One strided convolution of the feature encoder, its norm if it has one, GELU."""

    def __init__(self, i: int, size: Size, *, dtype, rngs: nnx.Rngs):
        words = {"padding": "VALID", "use_bias": size.conv_bias, "dtype": dtype, "rngs": rngs}
        self.conv = nnx.Conv(size.conv_dim if i else 1, size.conv_dim, KERNELS[i], STRIDES[i], **words)
        if size.group_norm:
            groups = {"num_groups": size.conv_dim, "epsilon": 1e-5, "dtype": dtype, "rngs": rngs}
            self.layer_norm = None if i else nnx.GroupNorm(size.conv_dim, **groups)
        else:
            self.layer_norm = nnx.LayerNorm(size.conv_dim, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b frames dim"]:
        x = self.conv(x)
        return gelu(x if self.layer_norm is None else self.layer_norm(x))


class Positions(nnx.Module):
    """Relative positions by a wide grouped convolution whose kernel is normalised per tap and rescaled."""

    def __init__(self, size: Size, *, dtype, rngs: nnx.Rngs):
        self.groups, self.dtype = size.position_groups, dtype
        width = size.position_kernel
        std = 2 * (width * size.hidden) ** -0.5
        shape = (width, size.hidden // self.groups, size.hidden)
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        self.scale = nnx.Param(jnp.full((width, 1, 1), std * (shape[1] * shape[2]) ** 0.5))
        self.bias = nnx.Param(jnp.zeros(size.hidden))

    def __call__(self, x: Float[Array, "b t dim"]) -> Float[Array, "b t dim"]:
        kernel = self.kernel[...]
        kernel = self.scale[...] * kernel / jnp.sqrt((kernel**2).sum((1, 2), keepdims=True))
        half, even = len(kernel) // 2, 1 - len(kernel) % 2
        layout = {"dimension_numbers": ("NWC", "WIO", "NWC"), "feature_group_count": self.groups}
        x, kernel, padding = x.astype(self.dtype), kernel.astype(self.dtype), [(half, half - even)]
        y = jax.lax.conv_general_dilated(x, kernel, (1,), padding, **layout)
        return gelu(y + self.bias[...].astype(self.dtype)[None, None])


class SelfAttention(nnx.Module):
    """Multi-head self-attention over all frames."""

    def __init__(self, dim: int, n_heads: int, *, dtype, rngs: nnx.Rngs):
        self.n_heads = n_heads
        self.q_proj = Linear(dim, dim, dtype=dtype, rngs=rngs)
        self.k_proj = Linear(dim, dim, dtype=dtype, rngs=rngs)
        self.v_proj = Linear(dim, dim, dtype=dtype, rngs=rngs)
        self.out_proj = Linear(dim, dim, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t dim"]) -> Float[Array, "b t dim"]:
        q, k, v = (f(x).reshape(*x.shape[:2], self.n_heads, -1) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attention.attend(q, k, v).reshape(x.shape))


class Layer(nnx.Module):
    """Transformer layer, norms before (pre_norm) or after each half."""

    def __init__(self, size: Size, dropout: float, *, dtype, rngs: nnx.Rngs):
        self.pre_norm = size.pre_norm
        self.attention = SelfAttention(size.hidden, size.heads, dtype=dtype, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(size.hidden, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.intermediate_dense = Linear(size.hidden, size.feed_forward, dtype=dtype, rngs=rngs)
        self.output_dense = Linear(size.feed_forward, size.hidden, dtype=dtype, rngs=rngs)
        self.final_layer_norm = nnx.LayerNorm(size.hidden, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: Float[Array, "b t dim"], *, rngs=None) -> Float[Array, "b t dim"]:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.layer_norm(x)), rngs=rngs)
            return x + self._feed_forward(self.final_layer_norm(x), rngs)
        x = self.layer_norm(x + self.dropout(self.attention(x), rngs=rngs))
        return self.final_layer_norm(x + self._feed_forward(x, rngs))

    def _feed_forward(self, x, rngs):
        hidden = gelu(self.intermediate_dense(x))
        return self.dropout(self.output_dense(hidden), rngs=rngs)


def _run(layer: Layer, x: Float[Array, "b t dim"], rngs) -> Float[Array, "b t dim"]:
    return layer(x, rngs=rngs)


class Encoder(nnx.Module):
    """Waveform -> feature encoder -> transformer."""

    def __init__(self, size: Size, *, dropout: float = 0.0, remat: bool = False, dtype=jnp.float32, rngs: nnx.Rngs):
        self.pre_norm, self.remat = size.pre_norm, remat
        self.conv_layers = nnx.List(FeatureLayer(i, size, dtype=dtype, rngs=rngs) for i in range(len(KERNELS)))
        self.projection_norm = nnx.LayerNorm(size.conv_dim, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.projection = Linear(size.conv_dim, size.hidden, dtype=dtype, rngs=rngs)
        self.positions = Positions(size, dtype=dtype, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(size.hidden, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.layers = nnx.List(Layer(size, dropout, dtype=dtype, rngs=rngs) for _ in range(size.layers))
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> list[Float[Array, "b frames dim"]]:
        """The input of every transformer layer, then the encoder's output; `x` has mean 0 and variance 1."""
        h = x[..., None]
        for layer in self.conv_layers:
            h = layer(h)
        h = self.projection(self.projection_norm(h))
        h = h + self.positions(h)
        h = self.dropout(h if self.pre_norm else self.layer_norm(h), rngs=rngs)
        states = [h]
        run = nnx.remat(_run) if self.remat else _run
        for layer in self.layers:
            states.append(run(layer, states[-1], rngs))
        if self.pre_norm:
            states[-1] = self.layer_norm(states[-1])
        return states


class GraphBackEnd(nnx.Module):
    """AASIST on the encoder's frames: a projection taken as a spectrum, six residual blocks, the graphs."""

    channels = (32, 32, 64, 64, 64, 64)
    bins = 128

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.projection = Linear(dim, self.bins, rngs=rngs)
        self.bn = normalisation.like_pytorch(1, rngs)
        self.blocks = nnx.List(
            graph_attention.Block(inputs, outputs, i == 0, pool=False, dtype=jnp.float32, rngs=rngs)
            for i, (inputs, outputs) in enumerate(zip((1, *self.channels), self.channels, strict=False))
        )
        self.graphs = graph_attention.Graphs(self.channels[-1], 64, (0.5, 0.5, 0.5), self.bins // 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b t dim"], *, rngs=None) -> Float[Array, "b out"]:
        h = jnp.swapaxes(self.projection(x), 1, 2)[..., None]
        h = jax.nn.selu(self.bn(pooling.max_pool(h, 3, 3)))
        for block in self.blocks:
            h = block(h)
        return self.graphs(h, rngs=rngs)


class Wav2Vec2(nnx.Module):
    """Encoder, fine-tuned as a whole -> mean over time, or the AASIST back end -> logit.

    Args:
      size: one of SIZES, or a Size.
      back_end: 'mean' or 'aasist'.
      weighted: whether to mix all layers by learnt weights (softmax) instead of taking the last.
      dropout: inside the transformer; only where it is trained.
      remat: whether training computes the transformer layers' inside again on the way back instead of keeping it.

    Raises:
      InputError: an unknown size or back end.
    """

    modality = "audio"
    samples = MAX_SAMPLES  # length of the published training and test clips; others work
    frozen = tuned = False  # tuned: only what `trainable` names is trained

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        size: str | Size = "xlsr_300m",
        back_end: str = "mean",
        weighted: bool = False,
        dropout: float = 0.0,
        remat: bool = False,
    ):
        if isinstance(size, str) and size not in SIZES:
            raise InputError(f"Unknown size {size!r} of wav2vec 2.0; expected one of {list(SIZES)}")
        if back_end not in ("mean", "aasist"):
            raise InputError(f"Unknown back end {back_end!r}; expected one of ['mean', 'aasist']")
        shape = SIZES[size] if isinstance(size, str) else size
        self.encoder = Encoder(shape, dropout=0.0 if self.frozen else dropout, remat=remat, dtype=dtype, rngs=rngs)
        self.layer_weights = nnx.Param(jnp.zeros(shape.layers + 1)) if weighted else None
        self.back_end = GraphBackEnd(shape.hidden, rngs=rngs) if back_end == "aasist" else None
        self.head = heads.TwoLogits(160, rngs=rngs) if back_end == "aasist" else heads.Linear(shape.hidden, rngs=rngs)

    def embed(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, "b dim"]:
        """The embedding; each clip is first brought to mean 0 and variance 1, as in pre-training.

        Fewer than SHORTEST samples raise InputError.
        """
        if x.shape[1] < SHORTEST:
            raise InputError(f"wav2vec 2.0 needs clips of at least {SHORTEST} samples, got {x.shape[1]}")
        x = (x - x.mean(axis=1, keepdims=True)) / jnp.sqrt(x.var(axis=1, keepdims=True) + 1e-7)
        states = self.encoder(x, rngs=rngs)
        if self.frozen:  # spares the backward pass through the encoder
            states = jax.lax.stop_gradient(states)
        if self.layer_weights is None:
            h = states[-1].astype(jnp.float32)
        else:
            share = jax.nn.softmax(self.layer_weights[...])
            h = sum(share[i] * state.astype(jnp.float32) for i, state in enumerate(states))
        return h.mean(axis=1) if self.back_end is None else self.back_end(h, rngs=rngs)

    def __call__(self, x: Float[Array, "b t"], *, rngs=None) -> Float[Array, " b"]:
        return self.head(self.embed(x, rngs=rngs))

    @classmethod
    def trainable(cls, path: tuple) -> bool:
        """Whether the parameter at `path` is trained: all, or in a frozen model all but the encoder's."""
        return not (cls.frozen and path[0] == "encoder")


class Wav2Vec2Frozen(Wav2Vec2):
    """The same with the encoder's parameters kept as published."""

    frozen = tuned = True


HUGGING_FACE = {  # first parts of our names -> theirs
    "conv_layers": "feature_extractor.conv_layers",
    "projection_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "positions": "encoder.pos_conv_embed.conv",
    "layer_norm": "encoder.layer_norm",
    "layers": "encoder.layers",
}
FACTORS = {  # of the kernel of positions: their names since PyTorch 2, and before
    **{"parametrizations.weight.original0": "scale", "parametrizations.weight.original1": "kernel"},
    **{"weight_g": "scale", "weight_v": "kernel"},
}
# not the encoder's
OTHER = ("quantizer.", "project_", "lm_head.", "masked_spec_embed", "classifier.", "projector.")


def load(path: str | pathlib.Path, *, frozen: bool = False, **kwargs) -> Wav2Vec2:
    """A published encoder, with a new back end and head.

    Args:
      path: a folder as Hugging Face stores it: config.json and model.safetensors (or pytorch_model.bin).
      frozen: whether the encoder keeps its weights in training.
      **kwargs: of the model: back_end, weighted, dropout, dtype.

    Raises:
      InputError: files are missing, do not belong together, or describe another kind of encoder.
    """
    path = pathlib.Path(path)
    size = _size(path / "config.json")
    tensors = weights.read(_weights_file(path), source="huggingface.co/facebook, wav2vec2-xls-r-300m and others")
    encoder = weights.fill(lambda: Encoder(size, rngs=Rngs(0)), from_hugging_face(tensors), path)
    cls = Wav2Vec2Frozen if frozen else Wav2Vec2

    def build():
        return cls(rngs=Rngs(0), size=size, **kwargs)

    def inside(where, _):
        return where[0] == "encoder"

    graph, _, _ = nnx.split(nnx.eval_shape(build), inside, ...)
    new = jax.jit(lambda: nnx.to_pure_dict(nnx.split(build(), inside, ...)[2]))()  # the encoder's draws are dead code
    return nnx.merge(graph, nnx.State({**new, "encoder": nnx.to_pure_dict(nnx.state(encoder))}))


def load_frozen(path: str | pathlib.Path, **kwargs) -> Wav2Vec2:
    """As `load`, with an encoder that keeps its weights in training."""
    return load(path, frozen=True, **kwargs)


def _weights_file(path: pathlib.Path) -> pathlib.Path:
    older = path / "pytorch_model.bin"
    return older if older.is_file() and not (path / "model.safetensors").is_file() else path


def _size(path: pathlib.Path) -> Size:
    """The Size that a config.json describes."""
    if not path.is_file():
        raise InputError(f"no such file: {path}; give the folder with config.json and model.safetensors")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); give the folder as it was published") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} holds a {type(config).__name__}, expected the names and values of an encoder")
    expected = {"model_type": "wav2vec2", "conv_kernel": list(KERNELS), "conv_stride": list(STRIDES)}
    for name, value in {**expected, "hidden_act": "gelu", "add_adapter": False}.items():
        if config.get(name, value) != value:
            raise InputError(f"{path}: {name} is {config[name]!r}, expected {value!r}")

    def take(name: str, fits: Callable[[Any], bool], words: str) -> Any:
        if name not in config or not fits(config[name]):
            found = f"is {config[name]!r}" if name in config else "is missing"
            raise InputError(f"{path}: {name} {found}, expected {words}")
        return config[name]

    def number(name: str, divides: int = 0) -> int:
        words = f"a divisor of {divides}" if divides else "a number from 1 on"
        return take(name, lambda x: type(x) is int and x > 0 and divides % x == 0, words)

    def flag(name: str) -> bool:
        return take(name, lambda x: isinstance(x, bool), "true or false")

    hidden = number("hidden_size")
    same = "the same number seven times"
    return Size(
        hidden=hidden,
        layers=number("num_hidden_layers"),
        heads=number("num_attention_heads", hidden),
        feed_forward=number("intermediate_size"),
        group_norm=take("feat_extract_norm", ("group", "layer").__contains__, "'group' or 'layer'") == "group",
        conv_bias=flag("conv_bias"),
        pre_norm=flag("do_stable_layer_norm"),
        conv_dim=take("conv_dim", lambda x: isinstance(x, list) and _alike(x), same)[0],
        position_kernel=number("num_conv_pos_embeddings"),
        position_groups=number("num_conv_pos_embedding_groups", hidden),
    )


def _alike(widths: list) -> bool:
    """Whether these are a width for each layer of the feature encoder, all the same."""
    return len(widths) == len(KERNELS) and all(type(x) is int and x == widths[0] > 0 for x in widths)


def from_hugging_face(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hugging Face's names and layouts to the Encoder's."""
    ours = {}
    for name, value in tensors.items():
        name = name.removeprefix("wav2vec2.")
        if name.startswith(OTHER):
            continue
        first = next((a for a, b in HUGGING_FACE.items() if name.startswith(b + ".")), None)
        rest = name.removeprefix(HUGGING_FACE[first])[1:].replace("feed_forward.", "") if first else name
        if first == "positions" and rest in FACTORS:
            ours[f"positions.{FACTORS[rest]}"] = np.transpose(value)
        else:
            ours[f"{first}.{rest}" if first else name] = value
    positions = {name: ours.pop(name) for name in list(ours) if name.startswith("positions.")}
    return weights.to_flax(ours) | positions
