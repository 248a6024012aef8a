"""Signals as frames: pieces around every control frame, spectra of them, and back."""

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float32

from dfjax.records import SAMPLE_RATE

HOP = 128  # samples between control frames: 8 ms
SAMPLES = 250 * HOP  # of every clip before it is cut to its length: 2 s
FRAMES = SAMPLES // HOP + 1
FFT = 512
PITCH_WINDOW = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)  # sums to one at a hop of HOP
STFT_WINDOW = np.hanning(FFT + 1)[:-1].astype(np.float32)
FREQUENCY = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)  # Hz


def per_sample(track: Float32[np.ndarray, "clips frames"]) -> Float32[np.ndarray, "clips samples"]:
    """Linear interpolation from frames, HOP samples apart, to samples."""
    ramp = np.arange(HOP, dtype=np.float32) / HOP
    start, end = track[:, :-1, None], track[:, 1:, None]
    return (start + (end - start) * ramp).reshape(len(track), -1)


def pieces(signal: Float32[np.ndarray, "clips samples"]) -> Complex64[np.ndarray, "clips frames bins"]:
    """Spectra of the 2 HOP samples around every frame, to be multiplied by a filter that changes with the frame."""
    padded = np.pad(signal, ((0, 0), (HOP, HOP)))
    return scipy.fft.rfft(
        np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP, axis=1)[:, ::HOP] * PITCH_WINDOW, FFT
    )


def overlap_add(pieces: Float32[np.ndarray, "clips frames width"]) -> Float32[np.ndarray, "clips samples"]:
    """Sums pieces that start HOP samples apart."""
    clips, frames, width = pieces.shape
    blocks = width // HOP
    total = np.zeros((clips, frames + blocks - 1, HOP), np.float32)
    for k in range(blocks):
        total[:, k : k + frames] += pieces[:, :, k * HOP : (k + 1) * HOP]
    return total.reshape(clips, -1)


def stft(signal: Float32[np.ndarray, " samples"]) -> Complex64[np.ndarray, "frames bins"]:
    """Spectra under a Hann window; the signal's ends are padded."""
    padded = np.pad(signal, FFT // 2)
    return scipy.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP] * STFT_WINDOW)


def istft(spectrum: Complex64[np.ndarray, "frames bins"]) -> Float32[np.ndarray, " samples"]:
    """The signal whose frames are nearest to the spectra (Griffin and Lim, 1984)."""
    pieces = scipy.fft.irfft(spectrum, FFT) * (STFT_WINDOW / np.float32(1.5))  # squared windows sum to 1.5
    return overlap_add(pieces[None])[0, FFT // 2 : FFT // 2 + SAMPLES]
