"""Lines that upsampling leaves: power at multiples of the rate at which a vocoder makes its frames.

A neural vocoder turns frames into samples by layers that insert samples, transposed convolutions above all. What they
put between is not quite the same at each place, so something repeats with every frame: the spectrum has lines at
multiples of the frame rate (Pons et al., ICASSP 2021; Afchar et al., ISMIR 2025). What is there is also copied to
frequencies that lie multiples of that rate away, so the product of two bands has such lines, and so has the power of
one (spectral correlation; Gardner, IEEE Signal Processing Magazine 8(2), 1991).
Neither voice nor microphone keeps such a rate to a millionth, and nothing has to be learnt: a rate's lines are compared
with what lies around them in the same sound. So this says the same of a source that nobody has heard before, and room,
microphone and language do not matter to it. A vocoder without such layers (WORLD, Griffin-Lim, WaveRNN) leaves none.

    sound -> whitened -> its spectrum, and those of products of its bands, over the background around -> the sum over
    the multiples of each rate, in standard deviations of what the same sound has at rates of nothing -> the largest
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from dfjax.features import spectrum, turns
from dfjax.records import SAMPLE_RATE

# frames a second are a sample rate over a hop; 44.1 and 48 kHz with twice the hop are the same rates
SAMPLE_RATES = (16_000, 22_050, 24_000)
HOPS = (200, 240, 256, 275, 300, 320, 512, 600)
RATES = (40.0, 100.0)  # Hz, between which they lie
OTHERS = np.geomspace(41, 97, 64)  # Hz, rates of nothing, but for those that lie within
BESIDE = 0.3  # Hz of one of them
# lines of other things: mains (and so the frames of USB, 1 kHz), and the 32 bands of MP3 at 44.1 kHz, upsampled by 32
FOREIGN = (50.0, 60.0, 44_100 / 32)
APART = 0.7  # Hz; a multiple of a frame rate that lies as near to a foreign line does not count
LINES = (1_000.0, 7_700.0)  # Hz, where lines of the sound itself are looked for
BAND = 500.0  # Hz, width of a band
FIRST_BAND = 1_700.0  # Hz, where the lowest begins
BANDS = 12
FARTHEST = 2  # a band is multiplied with itself and with those up to so many above
FIRST_ALONE = 2  # the lowest that is multiplied with itself: power below beats as the voice does, most of all
# of a band's width: lines of a product are looked for so far from the bands' distance; with BLOCK, too, within a band
WITHIN = 0.85
SLOWEST = 60.0  # Hz, from which on lines of products are looked for
SIZE = 256  # points of the transform that whitens, 16 ms; the hop is a quarter
AROUND = (9, 5)  # bins and frames whose mean power is brought to 1
BLOCK = 40.0  # Hz, over which the background is one number
CAP = 8.0  # times the background: a single line counts for no more
EULER = 0.5772157  # the mean log of a bin's power is that much below the log of its mean
TINY = 1e-16
NOISE = 3.0  # standard deviations: so many the largest of all rates hardly ever has of noise
EACH = 2.0  # what one beyond NOISE adds to the logit
MOST = 8.0  # what all of them add at most
SHORTEST = SAMPLE_RATE // 2  # samples of a sound whose lines are looked for: in less, those of many rates are one


def upsampling_lines(x: Float[Array, "batch time"], length: Int[Array, " batch"]) -> Float[Array, "batch rates"]:
    """How far the lines of each rate stand out of a sound's spectrum and those of products of its bands.

    In standard deviations of what other rates have in the same sound, or of noise where that is more: tones that stand
    still have lines everywhere, and bands have the voice in common. The spectrum weighs as much as all products.

    Args:
      x: waveforms at 16 kHz, any level.
      length: samples of each that are heard.
    """
    samples = x.shape[1]
    inside = jnp.arange(samples)[None] < length[:, None]
    y = jnp.where(inside, _whitened(jnp.where(inside, x, 0.0)), 0.0)
    step = SAMPLE_RATE / samples
    windowed = spectrum.rfft(y * _hann(samples, length / samples), n=2 * samples)
    reached = round((LINES[1] + BLOCK) / (step / 2))
    own = _at_multiples(_over(_power(windowed)[:, :reached], step / 2)[:, None], step / 2, [(0.0, *LINES)])

    width, first = int(BAND / step), int(FIRST_BAND / step)
    bands = spectrum.rfft(y)[:, first : first + BANDS * width].reshape(-1, BANDS, width)
    of_products = _of_products(bands, step, length / samples)
    both = _standard(_normal(*own)) + _standard(_normal(*of_products))
    return _standard(both / np.sqrt(2))[:, : len(rates())]


def strongest(audio: Float[Array, "batch time"], length: Int[Array, " batch"]) -> Float[Array, "batch 3"]:
    """The lines that stand out most: their rate in Hz, by how many standard deviations, what they add to the log-odds.

    They add from 0, as nearly all lines of noise do, to MOST. Of silence and scraps all three are 0.

    Args:
      audio: waveforms at 16 kHz, any level.
      length: samples of each that are heard.
    """
    lines = upsampling_lines(audio, length)
    inside = jnp.arange(audio.shape[1])[None] < length[:, None]
    heard = ((audio != 0) & inside).any(axis=1) & (length >= SHORTEST)
    most = lines.max(axis=1)
    rate = jnp.array(rates())[lines.argmax(axis=1)]
    found = jnp.stack([rate, most, jnp.clip(EACH * (most - NOISE), 0.0, MOST)], axis=1)
    return jnp.where(heard[:, None], found, 0.0)


@functools.cache
def rates() -> tuple[float, ...]:
    """The frame rates that are looked for, in Hz: those of which the foreign lines leave something."""
    every = {rate for rate in np.divide.outer(SAMPLE_RATES, HOPS).flat if RATES[0] <= rate < RATES[1]}
    return tuple(sorted(rate for rate in every if len(_multiples(rate, LINES))))


def _others() -> tuple[float, ...]:
    """Rates of nothing, in Hz."""
    return tuple(rate for rate in OTHERS.tolist() if np.abs(np.subtract(rates(), rate)).min() > BESIDE)


def _multiples(rate: float, between: tuple[float, float]) -> Float[np.ndarray, " m"]:
    """The multiples of a rate, in Hz, that are no foreign lines."""
    low, high = between
    found = rate * np.arange(np.ceil(low / rate), np.floor(high / rate) + 1)
    apart = [np.abs(found - foreign * np.rint(found / foreign)) for foreign in FOREIGN]
    return found[np.min(apart, axis=0) >= APART]


def _of_products(
    bands: Complex[Array, "batch bands bins"], step: float, share: Float[Array, " batch"]
) -> tuple[Float[Array, "batch every"], Float[np.ndarray, " every"]]:
    """What `_at_multiples` says of the products of bands with those 0, 1, ... FARTHEST above them, all together.

    Args:
      bands: of a sound's spectrum, one above the other.
      step: between bins, in Hz.
      share: of the sound's time that is heard.
    """
    size, width, half = _fast(2 * bands.shape[2]), step * bands.shape[2], step / 2  # samples of a product; Hz; Hz
    window = _hann(size, share)[:, None]
    heard = (jnp.arange(size)[None] < size * share[:, None])[:, None]
    sounds = _transform(jnp.fft.ifft, bands, size)
    pairs = [
        [(low, low + above) for low in range(0 if above else FIRST_ALONE, BANDS - above)]
        for above in range(FARTHEST + 1)
    ]
    lower, upper = np.concatenate(pairs).T
    product = sounds[:, upper] * sounds[:, lower].conj()
    mean = jnp.where(heard, product, 0.0).sum(axis=2, keepdims=True) / jnp.maximum(heard.sum(axis=2), 1)[..., None]
    power = _power(_transform(jnp.fft.fft, (product - mean) * window, 2 * size))

    reach = round((WITHIN * width + BLOCK) / half)  # a block more, so that the last multiple lies in a whole one
    offsets = half * np.arange(-reach, reach)  # from the bands' distance
    falls = (1 - abs(offsets) / width)[None, None]  # two bands have less and less in common
    over = _over(jnp.concatenate([power[..., -reach:], power[..., :reach]], axis=-1) / falls, half)
    counts = [len(each) for each in pairs]
    sums = [part.sum(axis=1) for part in jnp.split(over, np.cumsum(counts)[:-1], axis=1)]
    ranges = [
        (above * width + offsets[0], max(SLOWEST, (above - WITHIN) * width), (above + WITHIN) * width)
        for above in range(FARTHEST + 1)
    ]
    return _at_multiples(jnp.stack(sums, axis=1), half, ranges, counts)


def _over(power: Float[Array, "*batch bins"], step: float) -> Float[Array, "*batch whole"]:
    """A power spectrum over its background, of as many bins as are in whole blocks; `step` lies between them, in Hz."""
    block = round(BLOCK / step)
    blocks = power.shape[-1] // block
    used = power[..., : block * blocks].reshape(*power.shape[:-1], blocks, block)
    background = jnp.exp(jnp.log(used + TINY).mean(axis=-1, keepdims=True) + EULER)
    return jnp.minimum(used / background, CAP).reshape(*power.shape[:-1], block * blocks)


def _at_multiples(
    over: Float[Array, "batch ranges bins"],
    step: float,
    ranges: Sequence[tuple[float, float, float]],
    spectra: Sequence[int] = (1,),
) -> tuple[Float[Array, "batch every"], Float[np.ndarray, " every"]]:
    """Of each rate, and of others, the sum at its multiples, and of how many numbers of a spectrum it is one.

    Args:
      over: spectra over their background, of each range of frequencies the sum of so many as `spectra` says.
      step: between bins, in Hz.
      ranges: of each the frequency of the first bin, and between which frequencies multiples count, in Hz.
      spectra: see `over`.
    """
    bins, places, counts = over.shape[2], [], []
    for rate in (*rates(), *_others()):
        found = [_multiples(rate, (low, high)) - start for start, low, high in ranges]
        places.append(np.concatenate([np.rint(each / step).astype(int) + k * bins for k, each in enumerate(found)]))
        counts.append(sum(many * len(each) for many, each in zip(spectra, found, strict=True)))
    flat = jnp.pad(over.reshape(over.shape[0], -1), ((0, 0), (0, 1)))  # 0, which fills up rates of few multiples
    longest, last = max(map(len, places)), len(ranges) * bins
    at = np.stack([np.pad(each, (0, longest - len(each)), constant_values=last) for each in places])
    return flat[:, at].sum(axis=2), np.array(counts, np.float32)


def _normal(total: Float[Array, "batch every"], counts: Float[np.ndarray, " every"]) -> Float[Array, "batch every"]:
    """Sums of so many exponential numbers as normal ones (Wilson and Hilferty 1931)."""
    return (jnp.cbrt(total / counts[None]) - (1 - 1 / (9 * counts))[None]) * np.sqrt(9 * counts)[None]


def _standard(normal: Float[Array, "batch every"]) -> Float[Array, "batch every"]:
    """Numbers of all rates, less the mean of those of nothing, over their standard deviation where that is above 1."""
    others = normal[:, len(rates()) :]
    mean = others.mean(axis=1, keepdims=True)
    spread = jnp.sqrt(((others - mean) ** 2).mean(axis=1, keepdims=True))
    return (normal - mean) / jnp.maximum(spread, 1.0)


def _whitened(x: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """The sound with the same power everywhere in time and frequency, on the mean over some bins and frames."""
    real, imaginary = spectrum.stft(x, SIZE, SIZE // 4)
    power = real**2 + imaginary**2
    floor = 1e-9 * power.mean(axis=(1, 2), keepdims=True) + TINY
    for axis, count in ((2, AROUND[0]), (1, AROUND[1])):
        power = _running_mean(power, axis, count)
    scale = jax.lax.rsqrt(power + floor)
    return spectrum.istft(jax.lax.complex(real * scale, imaginary * scale), SIZE, x.shape[1])


def _running_mean(x: Float[Array, "batch frames bins"], axis: int, count: int) -> Float[Array, "batch frames bins"]:
    """The mean of `count` neighbours, an odd number, along an axis; the edge goes on beyond itself."""
    padding = [(0, 0)] * 3
    padding[axis] = (count // 2, count // 2)
    padded, size = jnp.pad(x, padding, mode="edge"), x.shape[axis]
    return sum(jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(count)) / count


def _hann(samples: int, share: Float[Array, " batch"]) -> Float[Array, "batch {samples}"]:
    """A Hann window over the first `share` of so many samples."""
    turn = jnp.arange(samples)[None] / (samples * share[:, None])
    return jnp.where(turn < 1, 0.5 - 0.5 * jnp.cos(2 * np.pi * turn), 0.0)


def _power(z: Complex[Array, "*batch bins"]) -> Float[Array, "*batch bins"]:
    return z.real**2 + z.imag**2


def _transform(transform: Callable, z: Array, n: int) -> Array:
    """A complex transform of n points along the last axis.

    On a CPU one by one: how several are shared among threads depends on what else runs, and so would their last bits.
    """
    rows = z.reshape(-1, z.shape[-1])
    return turns.few_at_a_time(functools.partial(transform, n=n), rows, each=1).reshape(*z.shape[:-1], n)


def _fast(least: int) -> int:
    """The smallest size from `least` on that transforms fast: a power of two, or three times one."""
    return min(size for k in range(20) for size in (1 << k, 3 << k) if size >= least)
