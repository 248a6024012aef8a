"""Properties of media files that say nothing of what is fake: material of the shortcut audit and of typicality.

`audio_features`, `image_features` and `header_features` are the audit's. `sound_properties` and `picture_properties`
say how a recording or a picture was made, for `decide.typicality`: they see what the detector sees, the samples at
16 kHz or the picture as it is stored, so that records of the training data and new files are measured alike.
NumPy, OpenCV's decoder and header readers only.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import UnidentifiedImageError

from dfjax.media import MediaError, containers, images
from dfjax.records import SAMPLE_RATE, InputError

FRAME = SAMPLE_RATE // 100  # 10 ms
SILENT_BELOW = -40.0  # dB under the loudest frame
BAND_BELOW = -60.0  # dB under the strongest frequency
FLOOR = -100.0  # dB of full scale: below 16-bit resolution, so nothing quieter is told apart
N_FFT = 512  # samples, 31.25 Hz per bin
TINY = 1e-12  # power, -120 dB: added before logarithms

TREBLE_FROM = 4_000  # Hz: a telephone ends here
BASS_BELOW = 300  # Hz: a telephone begins here
SYLLABLES = (2.0, 8.0)  # Hz, the rhythm of speech in any language (Houtgast and Steeneken 1985)
ENVELOPE = (0.5, 25.0)  # Hz, what that is measured against
ENVELOPE_FFT = 512  # frames, at least
SLOW = 4  # samples that are averaged to one before pitch is looked for
PITCH_FRAME, PITCH_HOP = 256, 64  # samples at that rate: 64 ms, 16 ms
PITCH_LAGS = (10, 67)  # samples at that rate: 400 Hz to 60 Hz
SHORTER = 0.05  # correlation by which a period must win over one of half its length, which repeats as well
VOICED_FROM = 0.6  # correlation of a frame with itself one period later

LOOKS = 8  # windows or frames of a clip that stand for it, at most, evenly spread

BLOCK = 8  # pixels, side of a JPEG block
PATCH = 16  # pixels, side of a patch whose noise is measured
EVERY = 4  # th line of a picture is looked at for its sharpness
STRIPS = 128  # pixels, length of the lines whose spectrum tells sharpness


def _fft():
    """The module; 0.1 s to import, and training starts without it."""
    from scipy import fft

    return fft


def measure(record: Mapping[str, Any]) -> dict[str, float]:
    """The properties of one record, or of what `decoding.decode_item` makes of a new file: the same for both.

    Those of `picture_properties` and `sound_properties`, by name. A picture that cannot be decoded raises InputError.
    """
    found = picture_properties(record["image"], record.get("box")) if "image" in record else {}
    return found | (sound_properties(record["audio"]) if "audio" in record else {})


def looks(count: int) -> Int[np.ndarray, " k"]:
    """Which of so many windows or frames stand for a clip: at most LOOKS, evenly spread."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, LOOKS)).round().astype(int))


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
    return _edge(_power(frames * np.hanning(N_FFT).astype(np.float32), N_FFT))


def _edge(spectra) -> float:
    """The same of power spectra, (frames, bins)."""
    power = np.mean(spectra, axis=0)
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
        with images.opened(encoded) as image:
            width, height = image.size
            table = getattr(image, "quantization", None) or {}
            bits, coarse = 8.0 * len(encoded) / max(1, width * height), np.mean(table[0]) if table else np.nan
            found = dict(zip(numbers, map(float, (width, height, bits, coarse)), strict=True))
            return {"file_size": nothing["file_size"], **found, "codec": image.format or "", "mode": image.mode}
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
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
        with containers.opened(os.path.abspath(path)) as media:
            _read_streams(media, result)
    except (OSError, ValueError, MediaError, av.FFmpegError):
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
        if stream.codec_context is None:
            continue  # FFmpeg has no decoder for it
        if stream.type == "audio":
            result.update(sample_rate=float(stream.rate or 0), channels=float(stream.channels or 0))
        elif stream.type == "video":
            rate = float(stream.average_rate) if stream.average_rate else float("nan")
            result.update(width=float(stream.width), height=float(stream.height), frame_rate=rate)
            result["pixel_format"] = stream.codec_context.pix_fmt or ""
        if stream.type in ("audio", "video"):
            codecs.append(stream.codec_context.name)
    result["codec"] = "+".join(sorted(codecs))


def sound_properties(samples: Num[np.ndarray, " time"]) -> dict[str, float]:
    """How a recording sounds, whatever is said in it.

    Args:
      samples: int16, or float in [-1, 1]; 16 kHz mono. Some seconds; of less than 64 ms the end is padded.

    Returns:
      bandwidth (Hz, highest frequency within 60 dB of the strongest), loudness, noise_floor (dB of full scale: root
      mean square, 5th percentile of 10 ms frames), level_range (dB, from the 5th to the 95th percentile of frames),
      crest (dB, peak over root mean square), clipped (share of samples at the extremes), silence (share of frames
      40 dB under the loudest), bass and treble (dB, power below 300 Hz and from 4 kHz over all power), flatness (dB,
      median over loud frames of the geometric over the arithmetic mean of the spectrum: 0 is white noise, deep is
      tones), change (mean step of the log10 power of a bin between loud frames 16 ms apart), rhythm (share of the
      envelope's modulation at 2 to 8 Hz in that at 0.5 to 25 Hz: high of syllables), voiced (share of frames that
      repeat with a period between 60 and 400 Hz), pitch_spread (semitones, standard deviation over voiced frames;
      NaN without two of them).
    """
    x = np.asarray(samples)
    x = x.astype(np.float32) / np.float32(32768.0 if x.dtype == np.int16 else 1.0)
    x = np.pad(x, (0, max(0, 2 * N_FFT - len(x))))
    frames = x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)
    level = np.maximum(_decibel(np.einsum("ft,ft->f", frames, frames) / FRAME), FLOOR)
    loudness = max(float(_decibel(np.mean(np.square(x)))), FLOOR)
    low, high = np.percentile(level, (5, 95))
    hops = np.lib.stride_tricks.sliding_window_view(x, N_FFT)[:: N_FFT // 2]
    spectra = _power(hops * np.hanning(N_FFT).astype(np.float32), N_FFT)
    power = spectra[:, 1:]
    total = power.sum(axis=1)
    loud = power[total >= total.max() * 10 ** (SILENT_BELOW / 10)]
    edges = [round(hertz * N_FFT / SAMPLE_RATE) for hertz in (BASS_BELOW, TREBLE_FROM)]
    every = np.maximum(total.sum(), TINY)
    logarithm = np.log(loud + np.float32(TINY)) * np.float32(1 / np.log(10))  # NumPy's log10 takes three times as long
    change = float(np.mean(np.abs(np.diff(logarithm, axis=0)))) if len(loud) > 1 else 0.0
    return {
        "bandwidth": _edge(spectra[::2]),  # every other frame: those do not overlap
        "loudness": loudness,
        "noise_floor": float(low),
        "level_range": float(high - low),
        "crest": float(_decibel(np.square(x).max())) - loudness,
        "clipped": float(np.mean(np.abs(x) >= 0.999)),
        "silence": float(np.mean(level <= max(level.max() + SILENT_BELOW, FLOOR))),
        "bass": float(_decibel(power[:, : edges[0]].sum() / every)),
        "treble": float(_decibel(power[:, edges[1] :].sum() / every)),
        "flatness": float(np.median(10 * logarithm.mean(axis=1) - _decibel(loud.mean(axis=1)))),
        "change": change,
        "rhythm": _rhythm(level),
        **_pitch(x),
    }


def _power(frames, size):
    """Power spectra of rows, by SciPy: NumPy's transform of float32 takes five times as long."""
    spectrum = _fft().rfft(frames, size, axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return power


def _decibel(power):
    return 10 * np.log10(power + TINY)


def _rhythm(level) -> float:
    """Share of the modulation of frame levels (dB, every 10 ms) that is at the rhythm of syllables."""
    envelope = np.maximum(level, level.max() + SILENT_BELOW)  # how deep a pause is says nothing of rhythm
    envelope = (envelope - envelope.mean()) * np.hanning(len(envelope))
    count = max(ENVELOPE_FFT, len(envelope))
    power = np.abs(_fft().rfft(envelope, count)) ** 2
    hertz = np.fft.rfftfreq(count, FRAME / SAMPLE_RATE)
    syllables, all_of_it = (power[(hertz >= low) & (hertz < high)].sum() for low, high in (SYLLABLES, ENVELOPE))
    return float(syllables / (all_of_it + TINY))


def _pitch(x) -> dict[str, float]:
    """Share of voiced frames and spread of their pitch, by autocorrelation of frames within 40 dB of the loudest."""
    slow = x[: len(x) // SLOW * SLOW].reshape(-1, SLOW) @ np.full(SLOW, 1 / SLOW, np.float32)
    slow = np.pad(slow - slow.mean(), (0, max(0, PITCH_FRAME - len(slow))))
    window = np.hanning(PITCH_FRAME).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(slow, PITCH_FRAME)[::PITCH_HOP] * window
    energy = np.einsum("ft,ft->f", frames, frames)
    frames = frames[energy >= energy.max() * 10 ** (SILENT_BELOW / 10)]
    own, rise = (_autocorrelation(each) for each in (frames, window[None]))
    lags = slice(*PITCH_LAGS)
    ratio = own[:, lags] / (own[:, :1] + TINY) / (rise[:, lags] / rise[:, :1])  # the window's own fall is taken out
    octaves = np.log2(np.arange(*PITCH_LAGS) / PITCH_LAGS[0])
    best = (ratio - SHORTER * octaves).argmax(axis=1)
    voiced = ratio[np.arange(len(best)), best] > VOICED_FROM
    semitones = -12 * np.log2(best[voiced] + PITCH_LAGS[0])
    return {
        "voiced": float(voiced.mean()),
        "pitch_spread": float(np.std(semitones)) if len(semitones) > 1 else float("nan"),
    }


def _autocorrelation(frames):
    return _fft().irfft(_power(frames, 2 * PITCH_FRAME), axis=1)


def picture_properties(encoded: bytes, box: Float[np.ndarray, " 4"] | None = None) -> dict[str, float]:
    """How a picture or face crop was made, whoever is in it.

    Args:
      encoded: bytes of the picture or crop as records hold them; a crop has been scaled to its stored size.
      box: x0, y0, x1, y1 of what is shown, in pixels of the picture or video that it was cut from; None: the picture
        as it is.

    Returns:
      size (pixels, longer side before any scaling), quantization (mean of the JPEG luminance table: low is high
      quality; NaN without), blockiness (mean step between pixels across the borders of 8 x 8 blocks over that within
      them; 1 without blocks), sharpness (dB, power of the finer half of spatial frequencies over all but the mean),
      falloff (dB per octave, how fast that power falls), grain (grey levels, standard deviation of noise in the
      flatter quarter of the picture, after Immerkaer 1996), colour (mean saturation, 0 is grey), brightness and
      contrast (mean and standard deviation of grey, full scale 1).

    Raises:
      InputError: OpenCV cannot decode it.
    """
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError("the picture cannot be decoded; check the file, or prepare the dataset again")
    header = image_features(encoded)
    sides = pixels.shape[:2] if box is None else (box[3] - box[1], box[2] - box[0])
    grey, saturation = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)[..., 1]
    brightness, contrast = cv2.meanStdDev(grey)
    return {
        "size": float(max(sides)),
        "quantization": float(header["quantization"]),
        "blockiness": max(_blockiness(grey), _blockiness(np.ascontiguousarray(grey.T))),
        **_sharpness(grey.astype(np.float32)),
        "grain": _grain(grey),
        "colour": cv2.mean(saturation)[0] / 255,
        "brightness": float(brightness[0, 0]) / 255,
        "contrast": float(contrast[0, 0]) / 255,
    }


def _blockiness(grey: UInt8[np.ndarray, "height width"]) -> float:
    """Mean step between columns at the strongest of the 8 places of a block's border over that at the others."""
    if grey.shape[1] <= 2 * BLOCK:
        return 1.0
    steps = cv2.absdiff(grey[:, 1:], grey[:, :-1]).mean(axis=0, dtype=np.float32)
    places = np.array([steps[k::BLOCK].mean() for k in range(BLOCK)])
    strongest = places.max()
    return float((strongest + 1e-3) / ((places.sum() - strongest) / (BLOCK - 1) + 1e-3))


def _sharpness(grey: Num[np.ndarray, "height width"]) -> dict[str, float]:
    """Of the mean power spectrum of lines of STRIPS pixels, along both axes."""
    power = np.zeros(STRIPS // 2)
    window = np.hanning(STRIPS).astype(np.float32)
    for lines in (grey[::EVERY], grey.T[::EVERY]):
        lines = np.pad(lines, ((0, 0), (0, max(0, STRIPS - lines.shape[1]))), mode="symmetric")
        strips = lines[:, : lines.shape[1] // STRIPS * STRIPS].reshape(-1, STRIPS)
        spectrum = _fft().rfft((strips - strips.mean(axis=1, keepdims=True)) * window)
        power += np.mean(spectrum.real**2 + spectrum.imag**2, axis=0)[1:]
    octaves = np.log2(np.arange(4, STRIPS // 2 + 1))
    slope = np.polyfit(octaves, 10 * np.log10(power[3:] + 1e-3), 1)[0]
    fine = 10 * np.log10((power[STRIPS // 4 :].sum() + 1e-3) / (power.sum() + 1e-3))
    return {"sharpness": float(fine), "falloff": float(slope)}


def _grain(grey: UInt8[np.ndarray, "height width"]) -> float:
    """Noise by a filter that leaves planes out (Immerkaer 1996), in the quarter of patches with the least of it."""
    plane = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    detail = np.abs(cv2.filter2D(grey, cv2.CV_32F, plane))
    height, width = (max(1, side // PATCH) for side in grey.shape)
    patches = cv2.resize(detail, (width, height), interpolation=cv2.INTER_AREA)
    return float(np.sqrt(np.pi / 2) / 6 * np.percentile(patches, 25))
