"""What happens to sound and pictures between a recording and a file: one table of kinds, each at five strengths.

Everything runs on the host, one record at a time; length, size and type stay. Codecs are FFmpeg's own encoders and
decoders, through PyAV. A record meets the same noise, room and cut at every strength, so that strengths can be
compared, and in every call.
"""

import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import av
import cv2
import numpy as np
import soxr
from jaxtyping import Float, Int16, Shaped, UInt8

from dfjax.media import codecs, images
from dfjax.records import MEDIA, SAMPLE_RATE, InputError

STRENGTHS = (1, 2, 3, 4, 5)
Samples = Int16[np.ndarray, " samples"]  # 16 kHz mono
Picture = UInt8[np.ndarray, "height width 3"]  # RGB
Number = float | int


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind: `change(x, level, rng)` at five levels, from barely noticeable to ruinous."""

    change: Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
    levels: tuple[Any, ...]  # one per strength; a number, or a tuple of them
    unit: str  # how a level is written, such as '{} kbit/s'
    encoder: str = ""  # of FFmpeg, if it needs one

    def __call__(
        self, x: Shaped[np.ndarray, "..."], strength: int, rng: np.random.Generator
    ) -> Shaped[np.ndarray, "..."]:
        """The corrupted record, of the same shape and type.

        Args:
          x: (samples,) int16 at 16 kHz, or (height, width, 3) uint8 RGB.
          strength: 1 to 5.
          rng: from `generator`; the same state gives the same result.
        """
        return self.change(x, self.levels[strength - 1], rng)

    def level(self, strength: int) -> str:
        """The level of a strength with its unit, such as '64 kbit/s'."""
        level = self.levels[strength - 1]
        return self.unit.format(*(level if isinstance(level, tuple) else (level,)))


def generator(kind: str, record: str) -> np.random.Generator:
    """The random numbers with which a kind meets the record of this id, whatever the strength."""
    digest = hashlib.blake2b(f"{kind} {record}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def kinds(modality: str) -> dict[str, Corruption]:
    """The kinds that change what a detector of this modality takes: 'audio', 'image' or 'av'."""
    found: dict[str, Corruption] = {}
    for medium in MEDIA[modality]:
        for kind, one in TABLES[medium].items():
            found[kind] = _both(found[kind], one) if kind in found else one
    return found


def _both(picture: Corruption, sound: Corruption) -> Corruption:
    """A kind that pictures and sound share, whose levels are one number each."""

    def change(x: np.ndarray, levels: tuple[Number, Number], rng: np.random.Generator) -> np.ndarray:
        return picture.change(x, levels[0], rng) if x.ndim > 1 else sound.change(x, levels[1], rng)

    return Corruption(
        change, tuple(zip(picture.levels, sound.levels, strict=True)), f"{picture.unit}; sound {sound.unit}"
    )


def missing(kind: Corruption) -> bool:
    """Whether the kind needs an encoder that this FFmpeg lacks."""
    return bool(kind.encoder) and not codecs.has(kind.encoder, "w")


def corrupt(record: dict[str, Any], kind: str, strength: int, name: str) -> dict[str, Any]:
    """A copy of a prepared record whose sound, or picture, or both have passed through `kind`.

    Args:
      record: with `audio` (int16) or `image` (encoded bytes) or both; a picture comes back as PNG, which loses nothing.
      kind: a name in TABLES; what it does not apply to stays.
      strength: 1 to 5.
      name: the record's id.

    Raises:
      MediaError: the picture cannot be decoded.
    """
    result = dict(record)
    if "audio" in record and kind in SOUND:
        result["audio"] = SOUND[kind](record["audio"], strength, generator(kind, name))
    if "image" in record and kind in PICTURE:
        pixels = PICTURE[kind](images.decode(record["image"]), strength, generator(kind, name))
        result["image"] = images.encode(pixels, "png")
    return result


# sound


def _coded(samples: Samples, kilobits: Number, rng: np.random.Generator, *, codec: str) -> Samples:
    return codecs.recode(samples, codec, round(1000 * kilobits))


def _telephone(samples: Samples, line: tuple[int, int, int], rng: np.random.Generator) -> Samples:
    """Band-pass with Butterworth slopes of order 8, the line's rate, 8 bits of mu-law (G.711's curve), back."""
    low, high, kilohertz = line
    hertz = np.fft.rfftfreq(2 * len(samples), 1 / SAMPLE_RATE)
    response = 1 / np.sqrt((1 + (hertz / high) ** 16) * (1 + (low / np.maximum(hertz, 1.0)) ** 16))
    x = np.fft.irfft(np.fft.rfft(samples / 32768, 2 * len(samples)) * response, 2 * len(samples))[: len(samples)]
    x = _resampled(x, SAMPLE_RATE, 1000 * kilohertz)
    code = np.round(np.log1p(255 * np.minimum(np.abs(x), 1)) / np.log(256) * 127) / 127
    x = np.sign(x) * np.expm1(code * np.log(256)) / 255
    return _int16(_fitted(_resampled(x, 1000 * kilohertz, SAMPLE_RATE), len(samples)) * 32768)


def _white(samples: Samples, decibels: Number, rng: np.random.Generator) -> Samples:
    """White noise; `decibels`: the clip's mean square over the noise's."""
    x = samples.astype(np.float64)
    return _int16(x + rng.standard_normal(len(x)) * np.sqrt(np.mean(x**2)) * 10 ** (-decibels / 20))


def _room(samples: Samples, room: tuple[Number, Number], rng: np.random.Generator) -> Samples:
    """The direct sound and a tail of exponentially decaying noise (Polack 1988), as loud as before.

    `room`: seconds after which the tail has lost 60 dB, and dB of the direct sound's energy over the tail's.
    """
    from scipy import signal  # .5 s, wanted by few runs

    seconds, direct = room
    time = np.arange(1, 2 * SAMPLE_RATE) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * np.exp(-np.log(1000) / seconds * time)
    tail *= 10 ** (-direct / 20) / np.linalg.norm(tail)
    x = samples.astype(np.float64)
    y = x + signal.fftconvolve(x, np.r_[0, tail])[: len(x)]
    return _int16(y * np.sqrt(np.mean(x**2) / max(float(np.mean(y**2)), 1e-12)))


def _narrow(samples: Samples, kilohertz: Number, rng: np.random.Generator) -> Samples:
    """To a lower sampling rate and back, without aliasing."""
    x = _resampled(samples / 32768, SAMPLE_RATE, 1000 * kilohertz)
    return _int16(_fitted(_resampled(x, 1000 * kilohertz, SAMPLE_RATE), len(samples)) * 32768)


def _quiet(samples: Samples, decibels: Number, rng: np.random.Generator) -> Samples:
    return _int16(samples * 10 ** (decibels / 20))


def _clipped(samples: Samples, percent: Number, rng: np.random.Generator) -> Samples:
    """The loudest `percent` of the samples cut to the level where they begin."""
    top = np.quantile(np.abs(samples.astype(np.int32)), 1 - percent / 100)
    return _int16(np.clip(samples.astype(np.float64), -top, top))


def _trimmed(samples: Samples, percent: Number, rng: np.random.Generator) -> Samples:
    """`percent` of the clip, from a random place, repeated to the old length: as detectors see a shorter clip."""
    kept = max(1, round(len(samples) * percent / 100))
    start = int(rng.random() * (len(samples) - kept + 1))
    return samples[start + (np.arange(len(samples)) - start) % kept]


def _resampled(x: Float[np.ndarray, " n"], old: int, new: int) -> Float[np.ndarray, " m"]:
    return x if old == new else soxr.resample(x, old, new)


def _fitted(x: Float[np.ndarray, " n"], length: int) -> Float[np.ndarray, " length"]:
    return np.pad(x[:length], (0, max(length - len(x), 0)))


def _int16(x: Float[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    return np.clip(np.rint(x), -32768, 32767).astype(np.int16)


# pictures


def jpeg(image: Picture, quality: int) -> bytes:
    """A JPEG file of this quality, 1 to 100, with colour at half resolution, as most programs write it."""
    factor = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, *factor])
    assert done
    return data.tobytes()


def h264(image: Picture, crf: int) -> list[av.Packet]:
    """One key frame of H.264 by x264 at this constant rate factor, 0 to 51; odd sides are filled up to even ones."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.framerate, encoder.thread_count = 25, 1
    encoder.options = {"crf": str(crf), "x264-params": "log-level=none"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(format="yuv420p")
    return [packet for one in (frame, None) for packet in encoder.encode(one)]


def _jpeg(image: Picture, quality: int, rng: np.random.Generator) -> Picture:
    return images.decode(jpeg(image, quality))


def _h264(image: Picture, crf: int, rng: np.random.Generator) -> Picture:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    (frame,) = [frame for packet in [*h264(image, crf), None] for frame in decoder.decode(packet)]
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24")[: image.shape[0], : image.shape[1]])


def _small(image: Picture, percent: Number, rng: np.random.Generator) -> Picture:
    """To `percent` of each side by area averaging, and back by cubic interpolation."""
    height, width = image.shape[:2]
    size = [max(1, round(side * percent / 100)) for side in (width, height)]
    return cv2.resize(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
    )


def _blurred(image: Picture, pixels: Number, rng: np.random.Generator) -> Picture:
    """Gaussian blur; `pixels`: its standard deviation."""
    return cv2.GaussianBlur(image, (0, 0), pixels, borderType=cv2.BORDER_REFLECT_101)


def _grainy(image: Picture, deviation: Number, rng: np.random.Generator) -> Picture:
    """Gaussian noise on every channel of every pixel, of this standard deviation on the scale from 0 to 255."""
    noise = deviation * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


# Levels of strengths 1 to 5. Bit rates are of mono sound at 16 kHz (AMR: 8 kHz).
SOUND = {
    "mp3": Corruption(functools.partial(_coded, codec="mp3"), (64, 48, 32, 24, 16), "{} kbit/s", "libmp3lame"),
    "aac": Corruption(functools.partial(_coded, codec="aac"), (64, 40, 24, 16, 12), "{} kbit/s", "aac"),
    "opus": Corruption(functools.partial(_coded, codec="opus"), (32, 24, 16, 12, 6), "{} kbit/s", "libopus"),
    "amr": Corruption(  # mobile telephony
        functools.partial(_coded, codec="amr"), (12.2, 10.2, 7.95, 6.7, 4.75), "{} kbit/s", "libopencore_amrnb"
    ),
    "telephone": Corruption(
        _telephone,
        ((50, 7000, 16), (200, 3800, 8), (300, 3400, 8), (300, 2800, 8), (400, 2400, 8)),
        "{} to {} Hz, mu-law at {} kHz",
    ),
    "noise": Corruption(_white, (30, 20, 10, 5, 0), "SNR {} dB"),
    "reverberation": Corruption(
        _room, ((0.2, 10), (0.4, 6), (0.6, 3), (0.9, 0), (1.3, -6)), "T60 {} s, direct sound {} dB"
    ),
    "resampling": Corruption(_narrow, (12, 8, 6, 4, 3), "{} kHz"),
    "level": Corruption(_quiet, (-6, -12, -20, -30, -40), "{} dB"),
    "clipping": Corruption(_clipped, (1, 2, 5, 10, 25), "{} % of samples"),
    "trimming": Corruption(_trimmed, (80, 60, 40, 20, 10), "{} % kept"),
}
PICTURE = {
    "jpeg": Corruption(_jpeg, (90, 70, 50, 30, 10), "quality {}"),
    "h264": Corruption(_h264, (18, 24, 30, 36, 42), "CRF {}", "libx264"),
    "resizing": Corruption(_small, (75, 50, 35, 20, 10), "{} % of each side"),
    "blur": Corruption(_blurred, (0.5, 1, 2, 3, 5), "deviation {} pixels"),
    "noise": Corruption(_grainy, (4, 8, 16, 32, 64), "deviation {} of 255"),
}
TABLES = {"audio": SOUND, "image": PICTURE}
MEDIUM_NAMES = {"audio": "sound", "image": "pictures"}


def named(words: Sequence[str], modality: str) -> tuple[dict[str, Corruption], list[str]]:
    """Name -> kind of those asked for, and what is left out because this FFmpeg cannot encode it, a line each.

    Args:
      words: names of kinds; or 'all', for which a kind without encoder is left out.
      modality: of the detector: 'audio', 'image' or 'av'.

    Raises:
      InputError: an unknown kind, one of the other modality, or one without encoder.
    """
    known = kinds(modality)
    absent = {kind: found.encoder for kind, found in known.items() if missing(found)}
    if list(words) == ["all"]:
        lines = [f"{kind} is left out: this PyAV has no encoder {encoder}" for kind, encoder in absent.items()]
        return {kind: found for kind, found in known.items() if kind not in absent}, lines
    names = ", ".join(["all", *known])
    for word in words:
        if word in known and word not in absent:
            continue
        if word in absent:
            raise InputError(f"{word} needs the encoder {absent[word]}, which this PyAV lacks; expected one of {names}")
        if any(word in table for table in TABLES.values()):
            takes = " and ".join(MEDIUM_NAMES[medium] for medium in MEDIA[modality])
            raise InputError(f"{word} is no corruption of {takes}, which this detector judges; expected one of {names}")
        near = difflib.get_close_matches(word, known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"Unknown corruption {word!r}{hint}; expected one of {names}")
    if not words:
        raise InputError(f"no corruption is named; expected some of {names}")
    return {word: known[word] for word in words}, []
