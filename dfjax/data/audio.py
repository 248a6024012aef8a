"""Waveforms on the device: int16 rows of one length, random or first cuts, augmentation in the step.

Augmentation follows the sound: silence trimmed and speed changed while cutting; then a pause before the voice, the
room, gain and noise, RawBoost, the telephone, gaps. What is not named in the experiment is off and costs nothing, but
for noise, which half of the clips get unless `noise_rate` says otherwise.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int16

from dfjax.data import channel
from dfjax.data.rawboost import rawboost
from dfjax.features import speed
from dfjax.records import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100  # samples of a frame whose energy says whether anything is heard in it
SILENT_DB = 40  # a frame that far below the loudest one is silent
MARGIN = 256  # samples beyond either end of a clip that changes its speed: the filter rings there


def to_float(audio: Int16[Array, "*b time"]) -> Float[Array, "*b time"]:
    """Samples in [-1, 1)."""
    return audio.astype(jnp.float32) / 32768


def cut(
    audio: Int16[Array, "batch buffer"],
    length: Int[Array, " batch"],
    start: Int[Array, " batch"],
    samples: int,
    first: Int[Array, " batch"] | int = 0,
) -> Float[Array, "batch {samples}"]:
    """A piece of each clip in [-1, 1); a clip that is shorter is tiled.

    Args:
      audio: a buffer for each clip.
      length: samples of the clip.
      start: where the piece starts in the clip.
      samples: length of the piece.
      first: where the clip begins in its buffer.
    """
    index = (start[:, None] + jnp.arange(samples)[None]) % length[:, None]
    index += jnp.reshape(jnp.asarray(first), (-1, 1))
    return to_float(jnp.take_along_axis(audio, index, axis=1))


def random_cut(
    key: jax.Array,
    audio: Int16[Array, "batch buffer"],
    length: Int[Array, " batch"],
    samples: int,
    first: Int[Array, " batch"] | int = 0,
):
    """`cut`, from anywhere that it fits; where the clip is shorter, at a random phase of the tiling."""
    span = jnp.where(length >= samples, length - samples + 1, length)
    start = jnp.minimum((jax.random.uniform(key, length.shape) * span).astype(jnp.int32), span - 1)
    return cut(audio, length, start, samples, first)


def voiced(
    audio: Int16[Array, "batch buffer"], length: Int[Array, " batch"]
) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
    """(first, length) of the clips without the silence at both ends, in samples.

    What is left goes from the first to the last frame that is at most SILENT_DB below the loudest.
    """
    batch, buffer = audio.shape
    count = -(-buffer // FRAME)
    x = jnp.pad(audio, ((0, 0), (0, count * FRAME - buffer))).reshape(batch, count, FRAME)
    inside = jnp.arange(count * FRAME).reshape(1, count, FRAME) < length[:, None, None]
    energy = jnp.where(inside, jnp.square(x.astype(jnp.float32)), 0).sum(axis=-1)
    loud = energy >= 10 ** (-SILENT_DB / 10) * energy.max(axis=1, keepdims=True)
    first = jnp.argmax(loud, axis=1) * FRAME
    last = (count - jnp.argmax(loud[:, ::-1], axis=1)) * FRAME
    return first, jnp.minimum(last, length) - first


def change_speed(
    key: jax.Array,
    x: Float[Array, "batch samples"],
    longer: Float[Array, "batch time"],
    *,
    speeds: tuple[float | int, ...],
    rate: float | int = 1.0,
) -> Float[Array, "batch samples"]:
    """A share `rate` of the clips played at one of `speeds`, pitch and all (Ko et al. 2015).

    Band-limited: each speed is a transform of one size and its inverse of another.

    Args:
      key: of the choices.
      x: the clips as they are.
      longer: cuts of them of at least `source_samples(samples, speeds)`, of which the others are made.
      speeds: factors; 1.1 is faster and higher.
      rate: share of the clips.
    """
    key_speed, key_on = jax.random.split(key)
    whole = _whole(x.shape[1])
    versions = []
    for factor in speeds:
        y = speed.stretched(longer[:, : round(whole * factor)], whole)
        versions.append(y[:, MARGIN : MARGIN + x.shape[1]])
    kind = jax.random.randint(key_speed, (len(x),), 0, len(speeds))
    return channel.choose(key_on, rate, jnp.stack(versions)[kind, jnp.arange(len(x))], x)


def _whole(samples: int) -> int:
    """Samples with both margins, rounded up to a size that transforms fast at speeds of two decimals."""
    return -(-(samples + 2 * MARGIN) // 800) * 800


def source_samples(samples: int, speeds: tuple[float | int, ...]) -> int:
    """How long a cut must be to become `samples` at any of `speeds`."""
    return round(_whole(samples) * max(1.0, *speeds))


def take(
    key: jax.Array,
    audio: Int16[Array, "batch buffer"],
    length: Int[Array, " batch"],
    samples: int,
    *,
    trim_rate: float | int = 0.0,
    speeds: tuple[float | int, ...] = (0.9, 1.1),
    speed_rate: float | int = 0.0,
) -> Float[Array, "batch {samples}"]:
    """A random cut of each clip, in [-1, 1).

    Args:
      key: decides everything.
      audio: a buffer for each clip.
      length: samples of the clip.
      samples: length of the cut.
      trim_rate: share of the clips that are cut without the silence at both ends.
      speeds: factors of speed; 1.1 is faster and higher.
      speed_rate: share of the clips that are played at one of them.
    """
    first = 0
    if trim_rate:
        trimmed = jax.random.bernoulli(jax.random.fold_in(key, 1), trim_rate, length.shape)
        first, inner = voiced(audio, length)
        first, length = jnp.where(trimmed, first, 0), jnp.where(trimmed, inner, length)
    x = random_cut(key, audio, length, samples, first)
    if not speed_rate:
        return x
    # the others are not cut out of it: one that is long enough for x alone would begin again within it
    longer = random_cut(key, audio, length, source_samples(samples, speeds), first)
    return change_speed(jax.random.fold_in(key, 2), x, longer, speeds=speeds, rate=speed_rate)


def augment(
    key: jax.Array,
    x: Float[Array, "batch time"],
    *,
    gain_db: float | int = 0.0,
    noise_db: channel.Range = (0.0, 30.0),
    noise_rate: float | int = 0.5,
    silence_seconds: float | int = 0.0,
    silence_rate: float | int = 0.5,
    reverb_rate: float | int = 0.0,
    rawboost_algorithm: int = 0,
    rawboost_rate: float | int = 1.0,
    telephone_rate: float | int = 0.0,
    mask_seconds: float | int = 0.0,
    mask_hertz: float | int = 0.0,
) -> Float[Array, "batch time"]:
    """What lies between a voice and a file: silence, room, gain and noise, RawBoost, telephone, gaps, in this order.

    See `channel` and `rawboost` for where each is from.

    Args:
      key: decides everything.
      x: clips in [-1, 1].
      gain_db: the gain is drawn within +- this.
      noise_db: range of the signal-to-noise ratio of added white noise.
      noise_rate: share of clips that get noise.
      silence_seconds: longest near silence put before a clip.
      silence_rate: share of clips that get it.
      reverb_rate: share of clips in a room.
      rawboost_algorithm: 1 to 8, see `rawboost`; 0 is off.
      rawboost_rate: share of clips that it changes.
      telephone_rate: share of clips over a telephone line.
      mask_seconds: longest stretch that is silenced in each clip.
      mask_hertz: widest band that is silenced in each clip.

    Raises:
      InputError: there is no such RawBoost algorithm.
    """
    # split(key, 5) of gain_and_noise are fold_in 0 to 4
    key_silence, key_reverb, key_boost, key_boosted, key_line, key_mask = (
        jax.random.fold_in(key, i) for i in range(5, 11)
    )
    x = channel.lead(key_silence, x, seconds=silence_seconds, rate=silence_rate)
    x = channel.reverb(key_reverb, x, rate=reverb_rate)
    x = gain_and_noise(key, x, gain_db=gain_db, noise_db=noise_db, rate=noise_rate)
    if rawboost_algorithm:
        boosted = rawboost(key_boost, x, algorithm=rawboost_algorithm)
        x = channel.choose(key_boosted, rawboost_rate, boosted, x)
    x = channel.telephone(key_line, x, rate=telephone_rate)
    return channel.hide(key_mask, x, seconds=mask_seconds, hertz=mask_hertz)


def gain_and_noise(
    key: jax.Array, x: Float[Array, "batch time"], *, gain_db: float | int, noise_db: channel.Range, rate: float | int
) -> Float[Array, "batch time"]:
    """Random gain within +-gain_db; then for a share `rate` of the clips white noise at a ratio from `noise_db`.

    `noise_db` is the range of the signal-to-noise ratio; both are in dB.
    """
    key_gain, key_noise, key_level, key_on, key_start = jax.random.split(key, 5)
    batch, time = x.shape
    keys = jnp.stack([key_gain, key_level, key_on])
    gain, level, on = channel.uniforms(keys, batch, [(-gain_db, gain_db), noise_db, (0, 1)])
    noise = channel.white(key_noise, key_start, batch, time)
    return 10 ** (gain / 20) * (x + (on < rate) * channel.rms(x) * 10 ** (-level / 20) * noise)
