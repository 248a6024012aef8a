"""Vision transformers: ViT-B/16, and the image towers of CLIP tuned through their LayerNorms.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; Radford et al., "Learning transferable visual
models from natural language supervision", ICML 2021.

CLIP trained through its LayerNorms alone, with embeddings on the unit sphere, is the detector GenD (Yermakov
et al., "Deepfake detection that generalizes across benchmarks", arXiv 2508.06248): AdamW, rate 3e-4 with
cosine decay to 1e-5, no weight decay, batches of 128, cross-entropy + 0.1 alignment + 0.5 uniformity.
"""

import functools
import pathlib

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.models import attention, heads, weights
from dfjax.models.convolution import Conv
from dfjax.models.gelu import gelu
from dfjax.models.linear import Linear
from dfjax.models.streams import Rngs

SOURCE = "https://huggingface.co/{} (model.safetensors)"


def quick_gelu(x: Array) -> Array:
    """CLIP's approximation of GELU, x sigmoid(1.702 x) (Hendrycks and Gimpel 2016)."""
    return x * nnx.sigmoid(1.702 * x)


class Block(nnx.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, n_heads: int, activation, epsilon: float, *, dtype, rngs: nnx.Rngs):
        linear = functools.partial(Linear, dtype=dtype, rngs=rngs)
        norm = functools.partial(nnx.LayerNorm, width, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.n_heads, self.activation = n_heads, activation
        self.norm1, self.norm2 = norm(), norm()
        self.query, self.key, self.value, self.out = (linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = linear(width, 4 * width), linear(4 * width, width)

    def _split(self, x):
        return x.reshape(*x.shape[:2], self.n_heads, -1)

    def attention(self, x: Float[Array, "batch n width"]) -> Float[Array, "batch heads n n"]:
        """How much each token (third axis) looks at each other token."""
        x = self.norm1(x)
        return attention.probabilities(self._split(self.query(x)), self._split(self.key(x)))

    def __call__(self, x: Float[Array, "batch n width"]) -> Float[Array, "batch n width"]:
        y = self.norm1(x)
        y = attention.attend(*(self._split(linear(y)) for linear in (self.query, self.key, self.value)))
        x = x + self.out(y.reshape(x.shape))
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class ViTBase(nnx.Module):
    """ViT-B/16: patches, class token, position embeddings, blocks; the class token is the embedding.

    Args:
      size: of the pictures, in pixels.
      dropout: of the embedding.
      remat: whether training computes the blocks' inside again on the way back instead of keeping it.
    """

    modality = "image"
    size = 224
    width, depth, n_heads, patch = 768, 12, 12, 16
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    activation = staticmethod(gelu)
    epsilon = 1e-12  # of the LayerNorms
    pre_norm = False  # a LayerNorm before the first block, and patches without bias
    tuned = False  # whether only what `trainable` names is trained
    normalise = False  # whether embeddings are scaled to unit length

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        size: int | None = None,
        dropout: float = 0.0,
        remat: bool = False,
        dtype=jnp.float32,
    ):
        self.size = size = self.size if size is None else size
        width, patch = self.width, self.patch
        norm = functools.partial(nnx.LayerNorm, width, epsilon=self.epsilon, rngs=rngs)
        self.patches = Conv(
            3, width, (patch, patch), patch, padding="VALID", use_bias=not self.pre_norm, dtype=dtype, rngs=rngs
        )
        normal = nnx.initializers.normal(0.02)
        self.class_token = nnx.Param(normal(rngs.params(), (width,)))
        self.positions = nnx.Param(normal(rngs.params(), ((size // patch) ** 2 + 1, width)))
        if self.pre_norm:
            self.norm_pre = norm(dtype=dtype)
        self.remat = remat
        self.blocks = nnx.List(
            [
                Block(width, self.n_heads, self.activation, self.epsilon, dtype=dtype, rngs=rngs)
                for _ in range(self.depth)
            ]
        )
        self.norm_post = norm()
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(width, rngs=rngs)

    def tokens(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch n dim"]:
        """What the first block sees: the class token, then patches row by row."""
        x = (x - jnp.array([[[self.mean]]])) / jnp.array([[[self.std]]])
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        first = jnp.broadcast_to(self.class_token[...][None, None].astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([first, x], axis=1) + self.positions[...][None].astype(x.dtype)
        return self.norm_pre(x) if self.pre_norm else x

    def pooled(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """The class token after the last LayerNorm, as published."""
        x = self.tokens(x)
        run = nnx.remat(Block.__call__) if self.remat else Block.__call__
        for block in self.blocks:
            x = run(block, x)
        return self.norm_post(x[:, 0].astype(jnp.float32))

    def attentions(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "depth batch heads n n"]:
        """The attention of every block; for pictures, not for training."""
        x, maps = self.tokens(x), []
        for block in self.blocks:
            maps.append(block.attention(x))
            x = block(x)
        return jnp.stack(maps)

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding of images in [0, 1]."""
        x = self.pooled(x)
        if self.normalise:
            x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        return self.dropout(x, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))

    @classmethod
    def trainable(cls, path: tuple) -> bool:
        """Whether the parameter at `path` is trained: all of them."""
        return True


class CLIPBase(ViTBase):
    """The image tower of CLIP ViT-B/16, to be tuned through its LayerNorms; embeddings of unit length."""

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    activation = staticmethod(quick_gelu)
    epsilon = 1e-5
    pre_norm = True
    tuned = True
    normalise = True

    @classmethod
    def trainable(cls, path: tuple) -> bool:
        """LayerNorms and the head only: 0.03 % of the parameters."""
        return path[0] == "head" or any(str(part).startswith("norm") for part in path)


class CLIPLarge(CLIPBase):
    """The image tower of CLIP ViT-L/14."""

    width, depth, n_heads, patch = 1024, 24, 16, 14


VIT_LAYERS = {
    "patches": "embeddings.patch_embeddings.projection",
    "norm_post": "layernorm",
    "blocks": "encoder.layer",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "class_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
}
CLIP_LAYERS = {
    "patches": "embeddings.patch_embedding",
    "norm_pre": "pre_layrnorm",  # sic
    "norm_post": "post_layernorm",
    "blocks": "encoder.layers",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "class_token": "embeddings.class_embedding",
    "positions": "embeddings.position_embedding.weight",
}


def load(cls: type[ViTBase], repository: str, layers: dict[str, str], path: str | pathlib.Path, **kwargs) -> ViTBase:
    """A vision transformer with the weights that Hugging Face publishes; the head is new.

    Args:
      cls: the class of the network.
      repository: where they are published, for the message about a missing file.
      layers: name of a layer here -> its name there.
      path: of the file or folder.
      **kwargs: of the class.

    Raises:
      InputError: the file is missing or holds other weights.
    """
    tensors = {}
    for name, tensor in weights.read(path, source=SOURCE.format(repository)).items():
        # Published with and without the tower's name in front, and with axes of length one.
        name = name.removeprefix("vision_model.").removeprefix("vit.")
        if name == "embeddings.cls_token":
            tensor = tensor[0, 0]
        elif name == "embeddings.position_embeddings":
            tensor = tensor[0]
        tensors[name] = tensor
    other = ("text_model.", "text_projection", "visual_projection", "logit_scale", "pooler.", "classifier.")
    return weights.fill_by_name(
        lambda: cls(rngs=Rngs(0), **kwargs),
        tensors,
        path,
        name=lambda path: weights.torch_name([layers.get(part, part) for part in path]),
        unused=lambda name: name.startswith(other) or name.endswith("position_ids"),
    )


load_vit_base = functools.partial(load, ViTBase, "google/vit-base-patch16-224-in21k", VIT_LAYERS)
load_clip_base = functools.partial(load, CLIPBase, "openai/clip-vit-base-patch16", CLIP_LAYERS)
load_clip_large = functools.partial(load, CLIPLarge, "openai/clip-vit-large-patch14", CLIP_LAYERS)
