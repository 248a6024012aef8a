"""Four classical vocoders: (spectrum, f0 in Hz, amplitude of voicing, generator) -> spectrum of the copy.

A spectrum is (frames, bins), as `frames.stft` gives it; f0 and voicing are (frames,).
"""

import numpy as np
import scipy.fft

from data_builders.demo_speech.frames import FFT, FRAMES, FREQUENCY, HOP, SAMPLES, STFT_WINDOW, istft, per_sample, stft
from dfjax.records import SAMPLE_RATE

# Coarser copies are easier to tell.
GRIFFIN_LIM_ITERATIONS, MEL_BANDS, LPC_ORDER = 2, 32, 8
PITCH_FRAMES, PITCH_STEPS = 3, 20  # of the predictor's pitch: frames that one value stands for, steps an octave


def griffin_lim(spectrum, f0, voiced, rng):
    """Phase found again from the magnitude by a few alternating projections (Griffin and Lim, 1984)."""
    magnitude = pooled(np.abs(spectrum))
    copy = phase_random(magnitude, f0, voiced, rng)
    for _ in range(GRIFFIN_LIM_ITERATIONS):
        rough = stft(istft(copy))
        copy = magnitude * (rough / np.maximum(np.abs(rough), 1e-12))
    return stft(istft(copy))


def pooled(magnitude):
    """The magnitude as a mel spectrogram keeps it: averaged over bands that widen with frequency."""
    mel = 2595 * np.log10(1 + FREQUENCY / 700)
    band = np.minimum(mel / mel[-1] * MEL_BANDS, MEL_BANDS - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(band, prepend=-1))
    widths = np.diff(starts, append=len(band))
    return np.repeat(np.add.reduceat(magnitude, starts, axis=1) / widths, widths, axis=1).astype(np.float32)


def phase_random(spectrum, f0, voiced, rng):
    """The magnitude with phases drawn anew."""
    turn = rng.uniform(0, 2 * np.pi, spectrum.shape)
    return (np.abs(spectrum) * np.exp(1j * turn)).astype(np.complex64)


def lpc(spectrum, f0, voiced, rng):
    """A linear predictor excited by even pulses or by noise (Atal and Hanauer, 1971), its pitch in steps."""
    phase = np.cumsum(np.repeat(coarse(f0)[:-1], HOP) / SAMPLE_RATE, dtype=np.float64)
    pulses = np.diff(np.floor(phase), prepend=0) * np.sqrt(SAMPLE_RATE / f0.mean())
    noise = rng.standard_normal(SAMPLES)
    excitation = np.where(per_sample(voiced[None])[0] > 0.1, pulses, noise).astype(np.float32)
    power = np.square(np.abs(spectrum))
    copy = lpc_filter(power, LPC_ORDER) * stft(excitation)
    return copy * np.sqrt(
        power.sum(1, keepdims=True) / np.maximum(np.square(np.abs(copy)).sum(1, keepdims=True), 1e-12)
    )


def coarse(f0):
    """Pitch as a coder of 2.4 kbit/s sends it: a value for some frames, rounded to a step."""
    held = np.repeat(f0[::PITCH_FRAMES], PITCH_FRAMES)[: len(f0)]
    return 2 ** (np.rint(np.log2(held) * PITCH_STEPS) / PITCH_STEPS)


def lpc_filter(power, order: int):
    """1 / A of every frame, by the Levinson-Durbin recursion over all frames at once."""
    r = scipy.fft.irfft(power.astype(np.float64))[:, : order + 1]
    r[:, 0] = r[:, 0] * (1 + 1e-7) + 1e-12  # a floor under the spectrum: silence has a predictor too
    a = np.zeros((len(r), order + 1))
    a[:, 0], error = 1, r[:, 0].copy()
    for k in range(1, order + 1):
        reflection = -(a[:, :k] * r[:, k:0:-1]).sum(1) / error
        a[:, 1 : k + 1] += reflection[:, None] * a[:, k - 1 :: -1][:, :k]
        error *= 1 - reflection**2
    return (1 / scipy.fft.rfft(a, FFT)).astype(np.complex64)


def sinusoidal(spectrum, f0, voiced, rng, partials: int = 100):
    """Harmonics of the pitch with the measured amplitudes and no noise (McAulay and Quatieri, 1986)."""
    phase = 2 * np.pi * np.cumsum(per_sample(f0[None])[0] / SAMPLE_RATE, dtype=np.float64)
    magnitude = np.abs(spectrum) * (2 / STFT_WINDOW.sum())
    frames = np.arange(FRAMES)
    total = np.zeros(SAMPLES, np.float32)
    for k in range(1, min(partials, int(SAMPLE_RATE / 2 / f0.min())) + 1):
        bins = np.rint(k * f0 * FFT / SAMPLE_RATE).astype(np.int64)
        amplitude = np.where(bins <= FFT // 2, magnitude[frames, np.minimum(bins, FFT // 2)], 0)
        total += per_sample(amplitude[None].astype(np.float32))[0] * np.cos(k * phase + rng.uniform(0, 2 * np.pi))
    return stft(total)


VOCODERS = {"griffin_lim": griffin_lim, "lpc": lpc, "phase_random": phase_random, "sinusoidal": sinusoidal}
