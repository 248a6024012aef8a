"""A sound built again from its magnitudes alone: what the sound itself is compared with.

Its phases are made up, as a vocoder makes them. Of a recording much is lost that way; of a sound whose phases were made
up before, less. The microphone, the line and the speaker are those of the sound itself, so that what they do to
statistics is the same in both and falls out of the difference.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dfjax.features import spectrum, turns

SIZE = 1024  # points of the transform, 64 ms; the hop is a quarter
MOMENTUM = 0.99  # Perraudin et al. 2013
ROUNDS = 2


def rebuilt(x: Float[Array, "batch time"], *, rounds: int = ROUNDS) -> Float[Array, "batch time"]:
    """The sounds with their magnitudes and phases of another kind, the same way every time.

    Phases are random, the same for all sounds, and then brought together by fast Griffin-Lim (Griffin and Lim 1984;
    Perraudin et al. 2013).

    Args:
      x: waveforms, any level; longer than SIZE / 2.
      rounds: of Griffin-Lim.
    """
    return turns.few_at_a_time(functools.partial(_rebuilt, rounds=rounds), x, each=spectrum.CLIPS)


def _rebuilt(x: Array, *, rounds: int) -> Array:
    def transform(x: Array) -> Array:
        return jax.lax.complex(*spectrum.stft(x, SIZE, SIZE // 4))

    magnitude = jnp.abs(transform(x))
    phase = jax.random.uniform(jax.random.key(0), (1, *magnitude.shape[1:]), minval=-np.pi, maxval=np.pi)
    guess = last = magnitude * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
    for _ in range(rounds):
        consistent = transform(spectrum.istft(guess, SIZE, x.shape[1]))
        pushed = consistent + MOMENTUM * (consistent - last)
        guess, last = magnitude * pushed / jnp.maximum(jnp.abs(pushed), 1e-9), consistent
    return spectrum.istft(guess, SIZE, x.shape[1])
