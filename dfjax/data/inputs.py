"""From raw examples on the device to the model's training input, inside the jitted step: cut, made fakes, augmentation.

A share of the batch can be fakes made from real training examples (`config.augment.self_fakes`): vocoded clips,
self-blended faces. The strata are then drawn with as many real examples more and stored fakes fewer, so that the
classes keep the rates of the plan and its log-odds stay true. What is made goes through the same augmentation as
everything else, but for lossy codecs (`config.augment.codec_rate`): those run on the host, before a fake is made, and
so alter its source and not the fake.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dfjax.data import audio, augment_image, self_blend, vocode
from dfjax.records import FAKE, REAL, SAMPLE_RATE, InputError


def made(share: float, batch: int) -> int:
    """How many fakes of a batch are made from real examples, where `config.augment.self_fakes` asks for this share.

    Raises:
      InputError: the share is too small for the batch.
    """
    count = round(share * batch)
    if share and not count:
        raise InputError(
            f"config.augment.self_fakes={share} of batches of {batch}: expected 0 or a share from {1 / batch:.2g} "
            "to below 1"
        )
    return count


def strata_rates(asked: float, batch: int, rates: tuple[float, float]) -> dict[int, float]:
    """Label -> rate of stored real and fake examples under which, with the made fakes, the classes come at `rates`.

    Args:
      asked: share of the batch that is made into fakes, `config.augment.self_fakes`.
      batch: examples.
      rates: (real, fake) shares of the batch that the plan of balance asks for.

    Raises:
      InputError: more fakes are to be made than the plan has room for; see also `made`.
    """
    share = made(asked, batch) / batch
    if share > rates[FAKE] + 1e-9:
        raise InputError(
            f"config.augment.self_fakes={asked} is more than the share of fakes in a batch, "
            f"{rates[FAKE]:.3g}; lower it or raise that share (config.balance.sampling='balanced')"
        )
    stored = rates[FAKE] - share
    return {REAL: rates[REAL] + share, FAKE: stored if stored > 1e-9 else 0.0}


def make(
    augment: Mapping[str, Any], modality: str, fakes: int, *, seconds: float | None = None, mixed: bool = False
) -> Callable:
    """(key, examples) -> (the model's input, labels).

    Of sounds it takes a third argument: whether they are altered as `augment` says, or cut and made fakes alone.

    Args:
      augment: the options of `config.augment`.
      modality: of the detector.
      fakes: how many of the examples are made into fakes.
      seconds: of a cut, where the detector hears sound alone.
      mixed: whether real examples are of several strata, see `with_fakes`.

    Raises:
      InputError: fakes are to be made of pictures with sound.
    """
    options = dict(augment)
    options.pop("self_fakes")
    if modality == "image":
        return _images(options, fakes, mixed)
    if modality == "av":
        return _both(options, fakes)
    samples = round(seconds * SAMPLE_RATE)

    cutting = _keywords(audio.take)
    options.pop("codec_rate", None)  # the streaming feed's
    taking = {name: options.pop(name) for name in cutting & options.keys()}

    def waveforms(key: jax.Array, examples: dict, altered: bool | Bool[Array, ""] = True):
        key_cut, key_augment, key_fakes = jax.random.split(key, 3)
        cut = functools.partial(audio.take, key_cut, examples["audio"], examples["length"], samples)
        x = jnp.where(altered, cut(**taking), cut())
        x, labels = with_fakes(key_fakes, x, examples["label"], fakes, vocode.resynthesise, mixed=mixed)
        return jnp.where(altered, audio.augment(key_augment, x, **options), x), labels

    return waveforms


def _keywords(function: Callable) -> set[str]:
    return {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _images(options: dict, count: int, mixed: bool) -> Callable:
    blending = _keywords(self_blend.blend)
    blend = functools.partial(_blend, **{name: options.pop(name) for name in blending & options.keys()})

    def images(key: jax.Array, examples: dict):
        x = augment_image.to_float(examples["image"])
        x, labels = with_fakes(jax.random.fold_in(key, 1), x, examples["label"], count, blend, mixed=mixed)
        return augment_image.augment(key, x, **options), labels

    return images


def _both(options: dict, count: int) -> Callable:
    """Face crops and their seconds of sound; an option that both augmentations know (noise_rate) holds for both."""
    if count:
        raise InputError("config.augment.self_fakes makes pictures or sounds, not both; set it to 0")
    looks, sounds = _keywords(augment_image.augment), _keywords(audio.augment)
    looking = {name: options[name] for name in looks & options.keys()}
    sounding = {name: options[name] for name in sounds & options.keys()}

    def both(key: jax.Array, examples: dict):
        key_picture, key_sound = jax.random.split(key)
        picture = augment_image.augment(key_picture, augment_image.to_float(examples["image"]), **looking)
        sound = audio.augment(key_sound, audio.to_float(examples["audio"]), **sounding)
        return {"image": picture, "audio": sound}, examples["label"]

    return both


def _blend(key: jax.Array, x: Float[Array, "batch size size 3"], **options: float) -> Float[Array, "batch size size 3"]:
    return self_blend.blend(key, x, **options)[0]


def with_fakes(
    key: Key[Array, ""],
    x: Float[Array, "batch ..."],
    labels: Int[Array, " batch"],
    count: int,
    fake: Callable,
    *,
    mixed: bool = False,
) -> tuple[Float[Array, "batch ..."], Int[Array, " batch"]]:
    """The batch with `count` of its real examples made into fakes.

    Args:
      key: of the fakes.
      x: a batch with at least `count` real examples; where rounding leaves one fewer, a fake is remade, and stays one.
      labels: its labels.
      count: how many, known when compiling.
      fake: (key, real examples) -> fakes.
      mixed: whether the real examples are of several strata, by which a batch comes sorted: those that are made into
        fakes are then drawn from all of them. Otherwise they are the first, which is as good.
    """
    if not count:
        return x, labels
    turn = labels
    if mixed and count < len(labels):  # made of the first, all would be of one domain, and that domain's fakes
        turn = labels + jax.random.uniform(jax.random.fold_in(key, len(labels)), labels.shape)
    rows = jnp.argsort(turn, stable=True)[:count]  # real ones first, whatever the order of the feed
    return x.at[rows].set(fake(key, x[rows])), labels.at[rows].set(FAKE)
