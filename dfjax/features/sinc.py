"""Fixed band-pass filter banks on the raw waveform (after Ravanelli and Bengio, SLT 2018; not learnt)."""

import functools

import numpy as np

from dfjax.records import SAMPLE_RATE


@functools.cache
def bank(filters: int, taps: int) -> np.ndarray:
    """Windowed-sinc band-pass filters with edges equally spaced in mel up to half the rate, (filters, taps).

    Band i passes from edge i to edge i + 1. Each filter is the difference of two ideal low-pass responses,
    times a Hamming window; `taps` is odd, so every filter is symmetric about its centre. Computed in
    float32, as the taps were that released weights were trained with: in float64 their logits move by 1e-4.
    """
    mel_top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, mel_top, filters + 1) / 2595) - 1)  # Hz
    edges = (2 * edges[:, None]).astype(np.float32)
    n = (np.arange(taps) - taps // 2).astype(np.float32)
    low_pass = edges / SAMPLE_RATE * np.sinc(edges * n / np.float32(SAMPLE_RATE))
    return np.hamming(taps).astype(np.float32) * np.diff(low_pass, axis=0)
