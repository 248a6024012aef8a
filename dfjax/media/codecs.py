"""Lossy codecs: a clip encoded and decoded again in memory, as it would come from a download, a call or a messenger.

FFmpeg does both, through PyAV. Every codec delays sound by some hundred samples, and not by what its header says in
all of them: the delay of each is measured once, on noise, and taken off.
"""

import functools

import av
import numpy as np
import soxr
from jaxtyping import Int16

from dfjax.records import SAMPLE_RATE

# name: encoder and the format of its samples, decoder, Hz of the encoder's input and of the decoder's output, bits
# per second
CODECS = {
    "mp3": ("libmp3lame", "fltp", "mp3float", 16_000, 16_000, (24_000, 32_000, 48_000, 64_000)),
    "aac": ("aac", "fltp", "aac", 16_000, 16_000, (24_000, 32_000, 48_000, 64_000)),
    "opus": ("libopus", "flt", "opus", 16_000, 48_000, (8_000, 12_000, 16_000, 24_000)),
    # mobile telephony: GSM, 3GPP
    "amr": ("libopencore_amrnb", "s16", "amrnb", 8_000, 8_000, (4_750, 7_400, 12_200)),
}
TAIL = SAMPLE_RATE // 4  # silence behind a clip that pushes its end out of the codec
LONGEST_DELAY = TAIL // 2


@functools.cache
def available() -> tuple[str, ...]:
    """The names in CODECS that this FFmpeg can encode and decode."""
    return tuple(name for name, (encoder, _, decoder, *_) in CODECS.items() if has(encoder, "w") and has(decoder, "r"))


def has(codec: str, mode: str) -> bool:
    """Whether this FFmpeg has an encoder (mode 'w') or decoder ('r') of this name."""
    try:
        av.codec.Codec(codec, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def recode(samples: Int16[np.ndarray, " n"], codec: str, bit_rate: int) -> Int16[np.ndarray, " n"]:
    """The clip after one pass through a codec, as long as it was and not delayed; the same input gives the same output.

    Args:
      samples: 16 kHz mono.
      codec: a name in `available()`.
      bit_rate: bits per second; AMR knows those in CODECS and takes the nearest.
    """
    decoded = _through(samples, codec, bit_rate)[_delay(codec, bit_rate) :]
    return np.pad(decoded[: len(samples)], (0, max(len(samples) - len(decoded), 0)))


def random_recode(rng: np.random.Generator, samples: Int16[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    """The clip after one of the available codecs, drawn, at one of its bit rates, drawn."""
    codec = available()[rng.integers(len(available()))]
    rates = CODECS[codec][-1]
    return recode(samples, codec, rates[rng.integers(len(rates))])


@functools.cache
def _delay(codec: str, bit_rate: int) -> int:
    """Samples by which a codec is late: where decoded noise correlates best with what it was."""
    noise = np.random.default_rng(0).normal(0, 3000, SAMPLE_RATE)
    noise = soxr.resample(soxr.resample(noise, SAMPLE_RATE, 4000), 4000, SAMPLE_RATE)  # what every codec keeps
    decoded = _through(np.rint(noise).astype(np.int16), codec, bit_rate)[: SAMPLE_RATE + LONGEST_DELAY]
    size = 2 * (SAMPLE_RATE + LONGEST_DELAY)
    product = np.fft.rfft(decoded, size) * np.fft.rfft(noise, size).conj()
    return int(np.fft.irfft(product, size)[:LONGEST_DELAY].argmax())


def encode(samples: Int16[np.ndarray, " n"], codec: str, bit_rate: int) -> tuple[list[av.Packet], bytes | None]:
    """The packets of a clip with some silence behind it, and what the decoder must know beforehand; see `recode`."""
    encoder_name, sample_format, _, rate_in, _, _ = CODECS[codec]
    padded = np.pad(samples, (0, TAIL))
    if rate_in != SAMPLE_RATE:
        padded = soxr.resample(padded, SAMPLE_RATE, rate_in)
    encoder = av.CodecContext.create(encoder_name, "w")
    encoder.sample_rate, encoder.layout, encoder.bit_rate = rate_in, "mono", bit_rate
    encoder.format, encoder.thread_count = sample_format, 1
    encoder.open()
    packets = [packet for frame in [*_frames(padded, encoder), None] for packet in encoder.encode(frame)]
    return packets, encoder.extradata


def _through(samples: np.ndarray, codec: str, bit_rate: int) -> np.ndarray:
    """Encoded and decoded, late by the codec's delay, with some of the TAIL behind it; int16 at 16 kHz."""
    _, _, decoder_name, _, rate_out, _ = CODECS[codec]
    packets, extradata = encode(samples, codec, bit_rate)
    decoder = av.CodecContext.create(decoder_name, "r")
    decoder.sample_rate, decoder.layout, decoder.thread_count = rate_out, "mono", 1
    decoder.extradata = extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded = np.concatenate([_float(frame) for frame in frames])
    if rate_out != SAMPLE_RATE:
        decoded = soxr.resample(decoded, rate_out, SAMPLE_RATE)
    return np.clip(np.rint(decoded * 32768), -32768, 32767).astype(np.int16)


def _frames(samples: np.ndarray, encoder: av.CodecContext):
    """The samples in the encoder's format and frame size, the last frame filled up with zeros."""
    size = encoder.frame_size or 1024
    samples = np.pad(samples, (0, -len(samples) % size))
    values = samples if encoder.format.name == "s16" else (samples / 32768).astype(np.float32)
    for start in range(0, len(values), size):
        frame = av.AudioFrame.from_ndarray(values[None, start : start + size], encoder.format.name, "mono")
        frame.sample_rate, frame.pts = encoder.sample_rate, start
        yield frame


def _float(frame: av.AudioFrame) -> np.ndarray:
    values = frame.to_ndarray().reshape(-1)
    return values / np.float32(32768) if values.dtype == np.int16 else values
