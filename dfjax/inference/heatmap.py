"""Where in an image a detector sees a fake: Grad-CAM for CNNs, attention rollout for transformers.

Both give one map per image in [0, 1], of the image's size, scaled so that its largest value is 1. A map shows
what moved the score, not which pixels are fake.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax.records import InputError


def _finish(
    maps: Float[Array, "batch h w"], height: int, width: int, window: int = 0
) -> Float[Array, "batch height width"]:
    """Enlarged to the image or its central `window`, negative values to 0, the largest to 1; zeros stay."""
    inner = (window, window) if 0 < window < min(height, width) else (height, width)
    maps = jnp.maximum(jax.image.resize(maps, (len(maps), *inner), "linear"), 0)
    maps = maps / jnp.maximum(maps.max(axis=(1, 2), keepdims=True), jnp.finfo(maps.dtype).tiny)
    before = [(outer - side) // 2 for outer, side in zip((height, width), inner, strict=True)]
    after = [outer - side - b for outer, side, b in zip((height, width), inner, before, strict=True)]
    return jnp.pad(maps, ((0, 0), *zip(before, after, strict=True)))


def grad_cam(model: nnx.Module, images: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width"]:
    """Feature maps weighted by how much each raises the logit of "fake", place by place.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", 2020. For networks that take the mean over space it is Grad-CAM (Selvaraju et al., ICCV 2017,
    equations 1 and 2); for those that weigh places differently, Grad-CAM's mean slope would point anywhere.

    Args:
      model: a detector with `features`, `pool` and `head`, in evaluation mode.
      images: RGB in [0, 1].
    """
    maps = model.features(images).astype(jnp.float32)
    slopes = jax.grad(lambda maps: model.head(model.pool(maps)).sum())(maps)
    maps = nnx.relu((slopes * maps).sum(axis=-1))
    return _finish(maps, *images.shape[1:3], window=getattr(model, "window", 0))


def attention_rollout(
    model: nnx.Module, images: Float[Array, "batch height width 3"]
) -> Float[Array, "batch height width"]:
    """How much of each patch flows into the class token, attention and shortcuts alike.

    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020: the product over the blocks of
    (attention + identity) / 2, heads averaged. It shows what the token draws on, whatever the verdict.

    Args:
      model: a detector with `attentions`, in evaluation mode.
      images: RGB in [0, 1].
    """
    attention = model.attentions(images).mean(axis=2).astype(jnp.float32)  # (depth, batch, n, n)
    flow = (attention + jnp.eye(attention.shape[-1])[None, None]) / 2

    def through(total, block):
        return block @ total, None

    total, _ = jax.lax.scan(through, flow[0], flow[1:])
    side = round((total.shape[-1] - 1) ** 0.5)
    maps = total[:, 0, 1:].reshape(-1, side, side)
    maps -= maps.min(axis=(1, 2), keepdims=True)  # every patch flows a little through the shortcuts
    return _finish(maps, *images.shape[1:3])


def heat_map(model: nnx.Module, images: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width"]:
    """The map that suits the detector, in [0, 1]; a detector that has none raises InputError."""
    if hasattr(model, "attentions"):
        return attention_rollout(model, images)
    if hasattr(model, "features") and hasattr(model, "pool"):
        return grad_cam(model, images)
    raise InputError(f"{type(model).__name__} has no heat map; expected a convolutional network or a transformer")
