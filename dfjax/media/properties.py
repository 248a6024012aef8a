"""Properties of media files that say nothing of their content: the raw material of the shortcut audit.

NumPy and header readers only; nothing is decoded but the waveform it is given.
"""

import io
import os
import pathlib

import av
import numpy as np
from jaxtyping import Num
from PIL import Image, UnidentifiedImageError

from dfjax.records import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100  # 10 ms
SILENT_BELOW = -40.0  # dB under the loudest frame
BAND_BELOW = -60.0  # dB under the strongest frequency
FLOOR = -100.0  # dB of full scale: below 16-bit resolution, so nothing quieter is told apart
N_FFT = 512  # samples, 31.25 Hz per bin


def audio_features(waveform: Num[np.ndarray, " time"]) -> dict[str, float]:
    """What a waveform shows without its content.

    Args:
      waveform: int16, or float in [-1, 1]; 16 kHz mono.

    Returns:
      duration (s), leading_silence and trailing_silence (s; 10 ms frames 40 dB under the loudest),
      noise_floor (dB of full scale, 5th percentile of frame levels), loudness (dB of full scale, root mean
      square), bandwidth (Hz, highest frequency within 60 dB of the strongest), clipped (share of samples at
      the extremes), offset (mean, full scale 1).
    """
    x = np.asarray(waveform)
    x = x.astype(np.float32) / np.float32(32768.0 if x.dtype == np.int16 else 1.0)
    if not len(x):
        names = "leading_silence trailing_silence noise_floor loudness bandwidth clipped offset"
        return {"duration": 0.0} | dict.fromkeys(names.split(), float("nan"))
    frames = np.pad(x, (0, -len(x) % FRAME)).reshape(-1, FRAME)
    power = np.einsum("ft,ft->f", frames, frames) / FRAME
    level = np.maximum(10 * np.log10(power + 1e-12), FLOOR)
    loud = np.flatnonzero(level > max(level.max() + SILENT_BELOW, FLOOR))
    first, last = (loud[0], loud[-1]) if len(loud) else (len(level), -1)
    hop = FRAME / SAMPLE_RATE
    return {
        "duration": len(x) / SAMPLE_RATE,
        "leading_silence": float(first) * hop,
        "trailing_silence": float(len(level) - 1 - last) * hop,
        "noise_floor": float(np.percentile(level, 5)),
        "loudness": float(max(10 * np.log10(np.mean(power) + 1e-12), FLOOR)),
        "bandwidth": _bandwidth(x),
        "clipped": float(np.mean(np.abs(x) >= 0.999)),
        "offset": float(np.mean(x)),
    }


def _bandwidth(x) -> float:
    """Highest frequency (Hz) within 60 dB of the strongest in the long term: a low-pass or MP3's edge."""
    x = np.pad(x, (0, max(0, N_FFT - len(x))))
    frames = x[: len(x) // N_FFT * N_FFT].reshape(-1, N_FFT)  # a padded last frame would end in a click
    spectrum = np.fft.rfft(frames * np.hanning(N_FFT).astype(np.float32), axis=1)
    power = np.mean(spectrum.real**2 + spectrum.imag**2, axis=0)
    if power.max() <= 0:
        return float("nan")
    return float(np.flatnonzero(power >= power.max() * 10 ** (BAND_BELOW / 10))[-1]) * SAMPLE_RATE / N_FFT


def image_features(encoded: bytes) -> dict[str, float | str]:
    """What an encoded picture's header shows; pixels are not decoded.

    Returns:
      file_size (bytes), width and height (pixels), bits_per_pixel, quantization (mean of the JPEG luminance
      table: low is high quality; NaN for other formats), codec ('JPEG', 'PNG', ...; '' if unreadable), mode
      ('RGB', 'L', 'P', ...).
    """
    nothing = {"file_size": float(len(encoded)), "codec": "", "mode": ""}
    numbers = ("width", "height", "bits_per_pixel", "quantization")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            table = getattr(image, "quantization", None) or {}
            return {
                "file_size": float(len(encoded)), "width": float(width), "height": float(height),
                "bits_per_pixel": 8.0 * len(encoded) / max(1, width * height),
                "quantization": float(np.mean(table[0])) if table else float("nan"),
                "codec": image.format or "", "mode": image.mode,
            }  # fmt: skip
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return nothing | dict.fromkeys(numbers, float("nan"))


def header_features(path: str | pathlib.PurePath) -> dict[str, float | str]:
    """What the header of an audio or video file shows.

    duration (s), file_size (bytes), bit_rate (bit/s), codec, container, and as far as there are such
    streams sample_rate (Hz), channels, width, height (pixels), frame_rate (1/s), pixel_format.

    Missing values are NaN or ''. An unreadable file gives file_size and nothing else.
    """
    texts = dict.fromkeys(("codec", "container", "pixel_format"), "")
    numbers = ("duration", "bit_rate", "sample_rate", "channels", "width", "height", "frame_rate")
    result: dict[str, float | str] = {**dict.fromkeys(numbers, float("nan")), **texts}
    try:
        result["file_size"] = float(os.stat(path).st_size)
        with av.open(os.fspath(path), metadata_errors="ignore") as media:
            _read_streams(media, result)
    except (OSError, ValueError, av.FFmpegError):
        result.setdefault("file_size", float("nan"))
    if not np.isnan(result["duration"]) and result["duration"] > 0 and np.isnan(result["bit_rate"]):
        result["bit_rate"] = 8 * result["file_size"] / result["duration"]
    return result


def _read_streams(media, result: dict) -> None:
    result["container"] = media.format.name
    result["duration"] = media.duration / 1e6 if media.duration else float("nan")
    result["bit_rate"] = float(media.bit_rate) if media.bit_rate else float("nan")
    codecs = []
    for stream in media.streams:
        if stream.type == "audio":
            result.update(sample_rate=float(stream.rate or 0), channels=float(stream.channels or 0))
        elif stream.type == "video":
            rate = float(stream.average_rate) if stream.average_rate else float("nan")
            result.update(width=float(stream.width), height=float(stream.height), frame_rate=rate)
            result["pixel_format"] = stream.codec_context.pix_fmt or ""
        if stream.type in ("audio", "video"):
            codecs.append(stream.codec_context.name)
    result["codec"] = "+".join(sorted(codecs))
