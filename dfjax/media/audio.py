"""Sound: any audio file, or the sound of a video, as int16 mono at 16 kHz, and its windows.

libsndfile reads what it can (WAV, FLAC, Ogg, MP3, AIFF, ...), FFmpeg the rest (M4A, the sound of MP4, ...).
Channels are averaged, then the signal is resampled by soxr in its high-quality setting (linear phase,
anti-aliased), block by block, so only the 16 kHz result is ever held whole.
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from typing import IO

import av
import numpy as np
import soundfile
import soxr
from etils import epath
from jaxtyping import Float32, Int16, Num

from dfjax.media import MediaError, containers, facts
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, InputError

MIN_SECONDS = 0.1  # shorter than a syllable: nothing to judge
MAX_SECONDS = 4 * 3600.0  # the 16 kHz result of a longer file would not fit beside others in memory
SILENT_PEAK = 10  # of 32768, -70 dBFS: digital silence and dither lie below, quiet speech well above
MAX_PEAK = 16.0  # float files may exceed 1.0 a little and are clipped; far beyond they are no sound
RATES = (4_000, 384_000)  # Hz, lowest and highest sampling rate of a real recording
MAX_CHANNELS = 64
UNKNOWN = 1 << 62  # samples; a header of unknown length says the largest integer
BLOCK = 1 << 16  # samples per channel read at a time
GUESSED = ("MP3", "OGG")  # of libsndfile's formats, those whose length it may not know
SLACK = 0.25  # seconds that an encoder puts before and behind a recording, at most
LOSSY = {"MPEG_LAYER_III": "mp3", "mp3": "mp3", "mp3float": "mp3", "aac": "aac", "OPUS": "opus", "opus": "opus"}


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """What the file was before decoding."""

    rate: int  # Hz
    channels: int
    codec: str  # 'PCM_16', 'FLAC', 'aac', ...
    seconds: float  # length of the decoded sound


def decode(path: epath.PathLike, longest: float = MAX_SECONDS) -> tuple[Int16[np.ndarray, " samples"], AudioInfo]:
    """The whole sound of a file as int16 mono at 16 kHz.

    A file that is already so comes back unchanged, bit for bit.

    Args:
      path: of the file.
      longest: seconds; of a longer file no more is decoded.

    Raises:
      MediaError: unreadable or truncated, no audio stream, empty, shorter than MIN_SECONDS, longer than
        `longest`, silent (peak below SILENT_PEAK), or with samples, rate or channels no recording has.
    """
    with local(epath.Path(path)) as source:
        return _decode(source, longest)


@contextlib.contextmanager
def local(path: epath.Path) -> Iterator[str | IO[bytes]]:
    """What libsndfile and FFmpeg read: the name of a local file, an open remote one."""
    if "://" not in str(path):
        yield os.path.abspath(path)
    else:
        with path.open("rb") as file:
            yield file


def _decode(source: str | IO[bytes], longest: float) -> tuple[Int16[np.ndarray, " samples"], AudioInfo]:
    info, blocks = _open(source, longest)
    stream = None
    if info.rate != SAMPLE_RATE:
        stream = soxr.ResampleStream(info.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    pieces, length, peak = [], 0, 0.0
    for block in blocks:
        length += len(block)
        _check(length <= longest * info.rate, f"longer than {longest / 60:g} minutes")
        _check(bool(np.isfinite(block).all()), "samples that are not finite")
        peak = max(peak, float(np.abs(block).max(initial=0)))
        _check(peak <= MAX_PEAK, "samples far outside [-1, 1]")
        pieces.append(_int16(stream.resample_chunk(block) if stream else block))
    if stream:
        pieces.append(_int16(stream.resample_chunk(np.zeros(0, np.float32), last=True)))
    _check(length > 0, "empty")
    samples = _usable(np.concatenate(pieces), peak, info.channels)
    return samples, dataclasses.replace(info, seconds=length / info.rate)


def coding(path: epath.PathLike, info: AudioInfo) -> dict[str, str | int] | None:
    """`codec` and `bit_rate` (bit/s of a channel) of a file whose codec is one of LOSSY; None of others.

    The rate is that of the packets of its sound, without what container and pictures take; None if they cannot be read.

    Args:
      path: of the file.
      info: what `decode` said of it.
    """
    if info.codec not in LOSSY:
        return None
    with local(epath.Path(path)) as source:
        packets = _packets(source)
    return packets and {"codec": LOSSY[info.codec], "bit_rate": round(8 * packets[1] / (info.seconds * info.channels))}


def _packets(source: str | IO[bytes], enough: float = math.inf) -> tuple[float, int] | None:
    """Seconds and bytes of the packets of the first sound, without what container and pictures take.

    They are counted until there are more than `enough` seconds. None if they cannot be read.
    """
    try:
        with containers.opened(source) as container:
            stream, duration, size = container.streams.audio[0], 0, 0
            for packet in container.demux(stream):
                duration, size = duration + (packet.duration or 0), size + packet.size
                if duration * stream.time_base > enough:
                    break
            return float(duration * stream.time_base), size
    except (av.FFmpegError, MediaError, OSError, ValueError, IndexError, MemoryError):
        return None


def from_array(samples: Num[np.ndarray, "..."]) -> Int16[np.ndarray, " samples"]:
    """A recording in memory, mono at 16 kHz, checked like a decoded file.

    Args:
      samples: (samples,) int16, or float in [-1, 1].

    Raises:
      InputError: another shape or type.
      MediaError: it holds nothing to judge: too short, silent, not finite, far outside [-1, 1].
    """
    if samples.ndim != 1 or not (samples.dtype == np.int16 or np.issubdtype(samples.dtype, np.floating)):
        raise InputError(
            f"sound of shape {samples.shape} and type {samples.dtype}; expected (samples,) at 16 kHz, "
            "int16 or float in [-1, 1]"
        )
    if samples.dtype == np.int16:
        return _usable(samples, float(np.abs(samples.astype(np.float32)).max(initial=0)) / 32768)
    _check(bool(np.isfinite(samples).all()), "samples that are not finite")
    peak = float(np.abs(samples).max(initial=0))
    _check(peak <= MAX_PEAK, "samples far outside [-1, 1]")
    return _usable(_int16(samples.astype(np.float32)), peak)


def _usable(samples: Int16[np.ndarray, " samples"], peak: float, channels: int = 1) -> Int16[np.ndarray, " samples"]:
    _check(len(samples) >= MIN_SECONDS * SAMPLE_RATE, f"shorter than {MIN_SECONDS} s")
    silent = "silent" if channels == 1 else f"silent: its {channels} channels hold nothing, or cancel each other out"
    _check(peak * 32768 >= SILENT_PEAK, silent)
    return samples


def windows(
    samples: Int16[np.ndarray, " samples"], overlap: float = 0.0
) -> list[tuple[int, Int16[np.ndarray, " window"]]]:
    """(start, samples) of the fewest windows of MAX_SAMPLES that cover the clip, their starts evenly spread.

    A clip of at most MAX_SAMPLES is one window, as short as it is.

    Args:
      samples: the clip.
      overlap: share of a window that the next one has in common with it, at least; below 1.
    """
    if len(samples) <= MAX_SAMPLES:
        return [(0, samples)]
    count = 1 + math.ceil((len(samples) - MAX_SAMPLES) / (MAX_SAMPLES * (1 - overlap)))
    starts = np.linspace(0, len(samples) - MAX_SAMPLES, count).round().astype(int)
    return [(int(start), samples[start : start + MAX_SAMPLES]) for start in starts]


def around(samples: Int16[np.ndarray, " samples"], seconds: float) -> Int16[np.ndarray, " second"]:
    """The second of sound with `seconds` in its middle; near an end the clip's first or last, a shorter clip tiled."""
    start = round(seconds * SAMPLE_RATE) - SAMPLE_RATE // 2
    start = max(0, min(start, len(samples) - SAMPLE_RATE))
    return np.resize(samples[start : start + SAMPLE_RATE], SAMPLE_RATE)


def _check(condition: bool, reason: str) -> None:
    if not condition:
        raise MediaError(reason)


def _int16(block: Float32[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    return np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16)


def _open(source: str | IO[bytes], longest: float) -> tuple[AudioInfo, Iterator[Float32[np.ndarray, " n"]]]:
    """What the file is, and its sound as float32 mono blocks at its own rate."""
    try:
        file = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError, ValueError):
        return _open_av(source)
    if file.format == "FLAC" and file.frames > UNKNOWN:  # streamed: libsndfile fails at its end
        file.close()
        return _open_av(source)
    info = AudioInfo(file.samplerate, file.channels, file.subtype, file.frames / max(file.samplerate, 1))
    _check_header(info)
    seconds = info.seconds if file.frames < UNKNOWN else math.inf
    looked_at = file.format in GUESSED and (seconds <= longest or seconds == math.inf)
    if looked_at and not _ends_there(source, file.format, seconds):
        file.close()
        return _open_av(source)
    return info, _soundfile_blocks(file)


def _ends_there(source: str | IO[bytes], kind: str, seconds: float) -> bool:
    """Whether a file's packets say so, too, or nothing; or say less where its header knows: then it was cut short.

    Where a header does not tell the length of an MP3, libsndfile takes the rate of its first frames for that of all,
    and of two files in one, MP3 or Ogg, it reads the first alone.
    """
    at = 0 if isinstance(source, str) else source.tell()  # libsndfile reads on from there
    packets, known = _packets(source, seconds + SLACK), seconds < math.inf
    if packets and kind == "MP3":
        with epath.Path(source).open("rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
            file.seek(0)
            known = facts.notes_length(file)
    if not isinstance(source, str):
        source.seek(at)
    if packets is None or seconds < packets[0] - SLACK:
        return packets is None
    return known or seconds <= 1.05 * packets[0] + SLACK


def _check_header(info: AudioInfo) -> None:
    _check(info.rate > 0 and info.channels > 0, "unreadable: no sound could be found in it")
    _check(RATES[0] <= info.rate <= RATES[1], f"a sampling rate of {info.rate} Hz")
    _check(info.channels <= MAX_CHANNELS, f"{info.channels} channels")


def _soundfile_blocks(file: soundfile.SoundFile) -> Iterator[Float32[np.ndarray, " n"]]:
    with file:
        expected, read = file.frames, 0
        try:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                read += len(block)
                yield block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
        except (soundfile.LibsndfileError, ValueError, MemoryError) as error:
            raise MediaError(f"corrupt or cut short: {error}") from error
        # formats that estimate it may be a frame off
        _check(expected > UNKNOWN or read >= 0.95 * expected, f"truncated: {read} of {expected} samples")


def _open_av(source: str | IO[bytes]) -> tuple[AudioInfo, Iterator[Float32[np.ndarray, " n"]]]:
    try:
        container = containers.opened(source)
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise MediaError(f"unreadable: {av_reason(error)}") from error
    if not container.streams.audio:
        container.close()
        raise MediaError("no audio stream")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    _check(codec is not None, "no decoder for its sound")
    info = AudioInfo(codec.sample_rate or 0, codec.channels or 0, codec.name, 0.0)
    _check_header(info)
    return info, _av_blocks(container, stream, info)


def _av_blocks(container, stream, info: AudioInfo) -> Iterator[Float32[np.ndarray, " n"]]:
    heard = False
    with container:
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    if heard and LOSSY.get(info.codec) == "mp3":
                        continue  # tags, as where files were joined; players pass over them, too
                    raise
                for frame in frames:
                    heard = True
                    _check(frame.sample_rate == info.rate, "the sampling rate changes within the file")
                    yield _mono(frame)
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise MediaError(f"corrupt: {av_reason(error)}") from error


def _mono(frame: av.AudioFrame) -> Float32[np.ndarray, " n"]:
    """The mean of the channels of one frame, in [-1, 1]."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, n * channels), interleaved
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values / np.float32(2 ** (8 * values.dtype.itemsize - 1))
    return values.mean(axis=0, dtype=np.float32)


def av_reason(error: Exception) -> str:
    """An FFmpeg error without the file's name and number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
