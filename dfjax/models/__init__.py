"""Detectors: a literal table from name to class, one architecture per file.

Every detector is an `nnx.Module` with `modality`, `embed(x, rngs=) -> (batch, dim)`, `head: (batch, dim) ->
(batch,)` and `__call__(x, rngs=) -> (batch,)`, the logit of "fake". Inputs: audio float32 (batch, time) in
[-1, 1] at 16 kHz; images float32 (batch, height, width, 3) in [0, 1]; of modality 'av' {'image', 'audio'},
where training gives (batch, 3): the logits of the whole, the picture and the sound. Front ends and
normalisation live inside the model.

Modules are imported on first use, so that naming a small model does not pay for importing a large one.
"""

import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
from flax import nnx

from dfjax.records import Input, InputError

MODELS = {  # name -> "module:Class"; add a line per detector
    "band_kernel": "band_kernel:BandKernel",
    "texture": "texture:Texture",
    "resnet_small": "resnet_small:ResNetSmall",
    "cnn_small": "cnn_small:CNNSmall",
    "two_stream": "two_stream:TwoStream",
    "xception": "xception:Xception",
    "efficientnet_b0": "efficientnet:EfficientNetB0",
    "efficientnet_b4": "efficientnet:EfficientNetB4",
    "convnext_tiny": "convnext:ConvNeXt",
    "vit_base": "vit:ViTBase",
    "clip_base": "vit:CLIPBase",
    "clip_large": "vit:CLIPLarge",
    "aasist": "aasist:AASIST",
    "rawnet2": "rawnet2:RawNet2",
    "lcnn": "lcnn:LCNN",
    "resnet18_mel": "resnet18_mel:ResNet18Mel",
    "wav2vec2": "wav2vec2:Wav2Vec2",
    "wav2vec2_frozen": "wav2vec2:Wav2Vec2Frozen",
}
PUBLISHED = {  # name -> "module:function"; loaders of released weights: load(path) -> model
    "aasist": "aasist:load",
    "rawnet2": "rawnet2:load",
    "lcnn": "lcnn:load",
    "wav2vec2": "wav2vec2:load",
    "wav2vec2_frozen": "wav2vec2:load_frozen",
    "xception": "xception:load",
    "efficientnet_b0": "efficientnet:load_b0",
    "efficientnet_b4": "efficientnet:load_b4",
    "convnext_tiny": "convnext:load",
    "vit_base": "vit:load_vit_base",
    "clip_base": "vit:load_clip_base",
    "clip_large": "vit:load_clip_large",
}


def _lookup(table: dict[str, str], kind: str, name: str):
    if name not in table:
        raise InputError(f"Unknown {kind} {name!r}; expected one of {sorted(table)}")
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(f"dfjax.models.{module}"), attribute)


def model_class(name: str) -> type[nnx.Module]:
    """The class of a detector; an unknown name raises InputError with the valid ones."""
    return _lookup(MODELS, "model", name)


def input_of(name: str, kwargs: Mapping[str, Any] | ml_collections.ConfigDict) -> Input:
    """What a detector is to be given when built with `kwargs`; pictures have the size of its class unless those say."""
    cls = model_class(name)
    size = getattr(cls, "size", None)  # absent from a detector of sound, whose `size` means something else
    size = size and (kwargs.get("size") or size)
    return Input(cls.modality, size, getattr(cls, "samples", None))


def build(name: str, *, rngs: nnx.Rngs | None = None, **kwargs) -> nnx.Module:
    """A freshly initialised detector, by seed 0 unless told; unknown keyword arguments raise InputError."""
    cls = model_class(name)
    # JSON has no tuples
    kwargs = {key: tuple(value) if isinstance(value, list) else value for key, value in kwargs.items()}
    try:
        return cls(rngs=nnx.Rngs(0) if rngs is None else rngs, **kwargs)
    except TypeError as error:
        raise InputError(f"model {name!r}: {error}") from error


def load_published(name: str, path: str | pathlib.Path) -> nnx.Module:
    """A detector with released weights, ready to be called: without dropout, with its running statistics.

    Args:
      name: a key of PUBLISHED.
      path: of the released file or folder.

    Raises:
      InputError: an unknown name, a missing file, or weights of another shape.
    """
    model = _lookup(PUBLISHED, "published model", name)(pathlib.Path(path))
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
