"""A detector that looks and listens: two detectors of this project side by side, their embeddings fused.

A video is fake if its picture or its sound is, and each of the two streams learns its own part: it is a whole
detector, and its own head answers for its part alone, of which an audio-visual data set knows the label. A
third head sees both embeddings and answers for the whole. It also sees products of the two, in which sound and
picture can agree or disagree as no sum of them can (low-rank bilinear pooling, Kim et al., ICLR 2017,
https://arxiv.org/abs/1610.04325).
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dfjax import models
from dfjax.models import heads
from dfjax.records import InputError

Both = Mapping[str, Array]  # 'image' float32 (batch, height, width, 3), 'audio' float32 (batch, time)


class TwoStream(nnx.Module):
    """A detector of pictures and one of sounds -> both embeddings and their products -> logit.

    Args:
      size: side of the pictures in pixels, which must be what the picture stream takes.
      picture: name of a detector of images.
      sound: name of a detector of sounds of any length, whose members do not answer alone.
      picture_kwargs: its arguments.
      sound_kwargs: its arguments.
      joint: products of the two embeddings.
      dropout: share of the fused embedding that is hidden while training.

    Raises:
      InputError: a stream is of another modality, the picture's of another size, the sound's takes one length only, or
        its members answer alone.
    """

    modality = "av"
    size = 128

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        size: int = 128,
        picture: str = "cnn_small",
        sound: str = "resnet_small",
        picture_kwargs: Mapping[str, Any] | None = None,
        sound_kwargs: Mapping[str, Any] | None = None,
        joint: int = 32,
        dropout: float = 0.2,
        dtype=jnp.float32,
    ):
        picture_kwargs, sound_kwargs = dict(picture_kwargs or {}), dict(sound_kwargs or {})
        _check_streams(size, models.input_of(picture, picture_kwargs), models.input_of(sound, sound_kwargs))
        self.size = size
        self.picture = models.build(picture, rngs=rngs, dtype=dtype, **picture_kwargs)
        self.sound = models.build(sound, rngs=rngs, dtype=dtype, **sound_kwargs)
        if getattr(self.sound, "members", 1) > 1:
            raise InputError(f"the sound stream {sound!r} has {self.sound.members} members; set members=1")
        widths = [stream.head.out.in_features for stream in (self.picture, self.sound)]
        self.of_picture, self.of_sound = (nnx.Linear(width, joint, rngs=rngs) for width in widths)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(sum(widths) + joint, rngs=rngs)

    def fuse(
        self, picture: Float[Array, "batch p"], sound: Float[Array, "batch s"], *, rngs=None
    ) -> Float[Array, "batch dim"]:
        """The embedding of the whole, of those of `picture` and `sound`: both, and the products of their maps."""
        products = jnp.tanh(self.of_picture(picture)) * jnp.tanh(self.of_sound(sound))
        return self.dropout(jnp.concatenate([picture, sound, products], axis=1), rngs=rngs)

    def streams(self, x: Both, *, rngs=None) -> tuple[Float[Array, "batch p"], Float[Array, "batch s"]]:
        """The embedding of the picture and that of the sound; neither sees the other."""
        return self.picture.embed(x["image"], rngs=rngs), self.sound.embed(x["audio"], rngs=rngs)

    def parts(self, x: Both) -> Float[Array, "batch 2"]:
        """The logits of a fake picture and of a fake sound, each from its own stream."""
        return self._parts(*self.streams(x))

    def _parts(self, picture: Array, sound: Array) -> Float[Array, "batch 2"]:
        return jnp.stack([self.picture.head(picture), self.sound.head(sound)], axis=1)

    def embed(self, x: Both, *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding that the head of the whole sees."""
        return self.fuse(*self.streams(x, rngs=rngs), rngs=rngs)

    def __call__(self, x: Both, *, rngs=None) -> Float[Array, "batch ..."]:
        """The logit of the whole (batch,); in training (batch, 3), with those of the picture and the sound."""
        picture, sound = self.streams(x, rngs=rngs)
        whole = self.head(self.fuse(picture, sound, rngs=rngs))
        if self.dropout.deterministic:
            return whole
        return jnp.concatenate([whole[:, None], self._parts(picture, sound)], axis=1)


def _check_streams(size: int, picture: models.Input, sound: models.Input) -> None:
    if (picture.modality, sound.modality) != ("image", "audio") or sound.samples:
        raise InputError("a two_stream needs an image detector as picture and as sound an audio one of any length")
    if picture.size != size:
        raise InputError(
            f"the picture stream takes {picture.size} pixels, size={size} is given; "
            "set config.model.kwargs.size to what it takes"
        )
