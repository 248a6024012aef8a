"""Few levels, as many in every octave: what models leave that draw each sample from classes spaced by mu-law.

WaveNet, WaveRNN and their kin choose a sample among 256 to 1,024 classes, nearer to each other where it is quiet (van
den Oord et al., arXiv:1609.03499, section 2.2). So their samples take about as many magnitudes between a half and a
whole of the peak as between a quarter and a half. A recording takes nearly all there are, one of few bits twice as
many in each higher octave. Such classes lie ever further apart; the levels of telephony (ITU-T G.711, mu-law and
A-law), which a recording may once have had, lie equally far apart within a segment and do not count. As with lines of
upsampling nothing has to be learnt. Any resampling, lossy coding or noise hides it, so it says something of files
alone that are as the model wrote them, at 16 kHz.

    sound -> how often each magnitude is taken -> of each octave below the peak, how many are -> few, and as many each
             and how much further each is from the next than from the last -> as of classes, not of segments
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FULL = 32_768  # steps of 16 bits
OCTAVES = 6  # below the peak that are looked at
ENOUGH = 300  # samples in an octave, and
WIDE = 512  # steps, with which it tells something
NEEDED = 3  # octaves that must tell
FEW = 0.3  # of the magnitudes that so many samples take in an octave, were they spread evenly
CLASSES = 100  # levels that an octave has at most; 1,024 classes have 51 of either sign, bfloat16 has 128
EVEN = 1.7  # the most levels of an octave over the fewest; samples of few bits have 4 in three octaves
ALIKE = 1.25  # the most a gap between levels is over the one before; more: a level is not taken, or a segment ends
GROWTH = 0.75  # of gaps, in that of classes; classes have .99 or more, 7,509 recordings stored as G.711 .49 at most
ADDED = 6.0  # to the log-odds: of some 2,000 other clips none had them, so at most 3 in 2,000 do, with 95 % confidence


def companded(x: Float[Array, "batch time"], length: Int[Array, " batch"]) -> Float[Array, "batch 2"]:
    """Levels an octave, and what they add to the log-odds: ADDED where samples are classes of mu-law, else both are 0.

    Args:
      x: waveforms, 16 bits over 32,768.
      length: samples of each that are heard.
    """
    steps, inside = jnp.arange(FULL + 1)[None], jnp.arange(x.shape[1])[None] < length[:, None]
    magnitude = jnp.where(inside, jnp.rint(jnp.abs(x) * FULL), 0).astype(jnp.int32)
    taken = jax.vmap(lambda levels: jnp.zeros(FULL + 1, jnp.int32).at[levels].add(1))(magnitude)
    edges = magnitude.max(axis=1)[:, None] >> jnp.arange(OCTAVES + 1)[None]
    high, low = edges[:, :-1], edges[:, 1:]
    within = (low[..., None] < steps[:, None]) & (steps[:, None] <= high[..., None])
    samples, levels = (jnp.where(within, of[:, None], 0).sum(axis=2) for of in (taken, (taken > 0).astype(jnp.int32)))

    wide = high - low
    tells = (samples >= ENOUGH) & (wide >= WIDE)
    possible = wide * (1 - jnp.exp(-samples / jnp.maximum(wide, 1)))
    few = jnp.where(tells, levels < FEW * possible, True).all(axis=1)
    most, fewest = (jnp.where(tells, levels, other) for other in (0, FULL))
    most, fewest = most.max(axis=1), fewest.min(axis=1)

    loudest = -jnp.sort(jnp.where(taken > 0, -steps, 0), axis=1)[:, : OCTAVES * CLASSES]
    after, before = loudest[:, :-2] - loudest[:, 1:-1], loudest[:, 1:-1] - loudest[:, 2:]
    here = loudest[:, None, 1:-1]
    told = ((low[..., None] < here) & (here <= high[..., None]) & tells[..., None]).any(axis=1)
    told &= (after <= ALIKE * before) & (before <= ALIKE * after)
    growth, gaps = (jnp.where(told, of, 0).sum(axis=1) for of in (after - before, before))
    apart = growth * most > GROWTH * jnp.log(2) * gaps  # of n classes an octave gaps grow by the n-th root of 2 each

    found = (tells.sum(axis=1) >= NEEDED) & few & (most <= CLASSES) & (most <= EVEN * fewest) & apart
    return jnp.where(found[:, None], jnp.stack([most, jnp.full_like(most, ADDED)], axis=1), 0).astype(jnp.float32)
