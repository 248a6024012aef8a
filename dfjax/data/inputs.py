"""From raw examples on the device to the model's training input: cut, augment, normalise, all inside the jitted step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections

from dfjax.data import audio
from dfjax.records import SAMPLE_RATE


def make(config: ml_collections.ConfigDict, modality: str) -> Callable:
    """(key, examples) -> the model's input, as `config.data` and `config.augment` say."""
    if modality == "image":
        from dfjax.data import augment_image

        return lambda key, examples: augment_image.augment(
            key, examples["image"].astype(jnp.float32) / 255, **config.augment.to_dict()
        )
    samples = round(config.data.seconds * SAMPLE_RATE)
    options = config.augment.to_dict()

    def waveforms(key: jax.Array, examples: dict):
        key_cut, key_augment = jax.random.split(key)
        x = audio.random_cut(key_cut, examples["audio"], examples["length"], samples)
        return audio.augment(key_augment, x, **options)

    return waveforms
