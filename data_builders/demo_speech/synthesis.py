"""Voices made from nothing: a source-filter stand-in for real speech and vocoder copies of it as fakes.

Nothing here is speech, and nothing measured on it says anything about real deepfakes: it exists so that the
whole pipeline can be run and checked in minutes, without a download. A voice is a train of glottal pulses
(Klatt and Klatt, 1990, with jitter and shimmer) and noise through moving formants. A fake is such a voice
analysed and synthesised again by one of four classical vocoders, and mixed into the original. Both classes then pass
through one recording chain: room, noise, band limit, level, length.

The same seed gives the same samples, bit for bit, on one platform: every clip has its own generator.
"""

import dataclasses

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float32, Int16
from scipy.ndimage import convolve1d

from data_builders.demo_speech import vocoders
from data_builders.demo_speech.frames import (
    FFT,
    FRAMES,
    FREQUENCY,
    HOP,
    SAMPLES,
    istft,
    overlap_add,
    per_sample,
    pieces,
    stft,
)
from dfjax.records import FAKE, REAL, SAMPLE_RATE

# Difficulty: the share of the vocoder's copy in a fake clip, 1 being the copy alone. Coarser vocoders are easier, too.
STRENGTH = {"griffin_lim": (0.15, 0.45), "lpc": (0.15, 0.45), "sinusoidal": (0.4, 0.7), "phase_random": (0.25, 0.55)}
SNR_DB = (30.0, 45.0)  # voice to background noise, which hides the traces of both classes alike

SEED = 20_260_101
SPEAKERS = {"train": 40, "validation": 20, "test": 60}  # no speaker is in two splits
REAL_PER_SPEAKER, FAKE_PER_SPEAKER = 20, 2
METHODS = ("griffin_lim", "lpc", "sinusoidal")
UNSEEN_METHOD = "phase_random"  # in test only
SECONDS = (1.5, 2.0)
TOGETHER = 2  # clips uttered at once: their spectra stay in the processor's cache

VOWELS = np.array(  # first three formants in Hz of a vocal tract of 17 cm
    [
        [310, 2020, 2960],
        [430, 1850, 2550],
        [610, 1900, 2500],
        [860, 1550, 2500],
        [850, 1220, 2810],
        [590, 920, 2710],
        [470, 1160, 2680],
        [370, 950, 2670],
        [500, 1500, 2500],
        [300, 1300, 2300],
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One synthetic recording."""

    id: str
    label: int
    speaker: str
    method: str
    audio: Int16[np.ndarray, " time"]


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """What a speaker keeps from clip to clip."""

    f0: float  # Hz, the middle of the range
    tract: float  # factor on all formants: a short tract is above 1
    jitter: float  # relative deviation of the length of a period
    shimmer: float  # relative deviation of the height of a pulse
    open_quotient: float  # share of the period in which the glottis is open
    breath: float  # aspiration noise relative to the pulses
    rate: float  # factor on the length of the sounds


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What is said, frame by frame, by `clips` clips of one speaker."""

    f0: Float32[np.ndarray, "clips frames"]  # Hz
    voiced: Float32[np.ndarray, "clips frames"]  # amplitude of the pulses
    hiss: Float32[np.ndarray, "clips frames"]  # amplitude of the frication
    hiss_centre: Float32[np.ndarray, "clips frames"]  # Hz
    formants: Float32[np.ndarray, "clips frames 5"]  # Hz


def speaker_ids(split: str) -> list[int]:
    """Numbers of the split's speakers; splits follow one another, so no number occurs twice."""
    names = list(SPEAKERS)
    first = sum(SPEAKERS[name] for name in names[: names.index(split)])
    return list(range(first, first + SPEAKERS[split]))


def speaker_clips(split: str, speaker: int) -> list[Clip]:
    """All clips of one speaker, the fakes last."""
    labels = [REAL] * REAL_PER_SPEAKER + [FAKE] * FAKE_PER_SPEAKER
    seeds = np.random.SeedSequence([SEED, speaker]).spawn(len(labels) + 1)
    rngs = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]  # the fastest of NumPy's
    voice = _draw_voice(rngs.pop())

    scores = [_draw_score(rng, voice) for rng in rngs]
    turns = [slice(k, k + TOGETHER) for k in range(0, len(rngs), TOGETHER)]
    dry = np.concatenate([_utter(_stack(scores[turn]), voice, rngs[turn]) for turn in turns])
    methods = [_method(split, speaker, k - REAL_PER_SPEAKER) if label else "" for k, label in enumerate(labels)]
    for k, method in enumerate(methods):
        if method:
            dry[k] = _copy_synthesis(dry[k], scores[k].f0, scores[k].voiced, method, rngs[k])
    recordings = _record(dry, rngs)

    clips = []
    for k, (label, method, rng) in enumerate(zip(labels, methods, rngs, strict=True)):
        name = f"{split}/{'fake' if label else 'real'}/spk{speaker:03d}_{k:04d}"
        length = int(rng.uniform(*SECONDS) * SAMPLE_RATE)
        clips.append(Clip(name, label, f"spk{speaker:03d}", method, recordings[k, :length]))
    return clips


def _method(split: str, speaker: int, k: int) -> str:
    """Methods in turn, so that every split has about as many fakes of each."""
    methods = (*METHODS, UNSEEN_METHOD) if split == "test" else METHODS
    return methods[(speaker * FAKE_PER_SPEAKER + k) % len(methods)]


# ---- what is said ------------------------------------------------------------------------------------------


def _draw_voice(rng: np.random.Generator) -> Voice:
    size = rng.uniform(0, 1)  # 0: long vocal tract and low pitch; 1: short and high
    return Voice(
        f0=90 * 2 ** (1.3 * size + rng.normal(0, 0.12)),
        tract=0.88 + 0.28 * size + rng.normal(0, 0.02),
        jitter=rng.uniform(0.002, 0.005),
        shimmer=rng.uniform(0.02, 0.06),
        open_quotient=rng.uniform(0.5, 0.75),
        breath=10 ** rng.uniform(-2.0, -1.6),
        rate=rng.uniform(0.85, 1.2),
    )


def _draw_score(rng: np.random.Generator, voice: Voice) -> Score:
    """A babble of syllables: an optional pause, an optional fricative, a vowel with a pitch of its own."""
    sounds = []  # (frames, f0, voiced, hiss, hiss centre, vowel)
    while sum(sound[0] for sound in sounds) < FRAMES:
        vowel, centre = rng.integers(len(VOWELS)), rng.uniform(2500, 6500)
        pitch = voice.f0 * np.exp(rng.normal(0, 0.06))
        if rng.uniform() < 0.2:
            sounds.append((rng.integers(4, 20), pitch, 0.0, 0.0, centre, vowel))
        if rng.uniform() < 0.5:
            voicing = 0.3 if rng.uniform() < 0.3 else 0.0
            sounds.append((rng.integers(6, 16), pitch, voicing, rng.uniform(0.01, 0.06), centre, vowel))
        loudness = rng.uniform(0.5, 1.0)
        sounds.append((int(voice.rate * rng.integers(12, 36)), pitch, loudness, 0.0, centre, vowel))
    frames, f0, voiced, hiss, centre, vowel = (np.array(column) for column in zip(*sounds, strict=True))
    formants = np.empty((len(sounds), 5))
    formants[:, :3] = VOWELS[vowel] * np.exp(rng.normal(0, 0.05, (len(sounds), 3)))
    formants[:, 3:] = 3500, 4500
    tracks = np.column_stack([f0, voiced, hiss, centre, formants * voice.tract])
    tracks = np.repeat(tracks, frames, axis=0)[:FRAMES]
    tracks[:, 0] *= np.linspace(1.08, 0.92, FRAMES)  # declination
    for columns, width in ((slice(0, 1), 25), (slice(1, 3), 5), (slice(3, None), 11)):
        kernel = np.hanning(width + 2)[1:-1]
        tracks[:, columns] = convolve1d(tracks[:, columns], kernel / kernel.sum(), axis=0, mode="nearest")
    tracks = tracks.astype(np.float32)
    return Score(tracks[:, 0], tracks[:, 1], tracks[:, 2], tracks[:, 3], tracks[:, 4:])


def _stack(scores: list[Score]) -> Score:
    return Score(*(np.stack([getattr(s, f.name) for s in scores]) for f in dataclasses.fields(Score)))


# ---- how it sounds -----------------------------------------------------------------------------------------


def _utter(score: Score, voice: Voice, rngs: list[np.random.Generator]) -> Float32[np.ndarray, "clips {SAMPLES}"]:
    """Pulses and noise through the vocal tract; each clip's mean square is one."""
    wobble = np.stack([rng.standard_normal((2, SAMPLES // 32), dtype=np.float32) for rng in rngs])
    noise = np.stack([rng.standard_normal(SAMPLES, dtype=np.float32) for rng in rngs])
    f0 = per_sample(np.minimum(score.f0, 400)) / SAMPLE_RATE  # at most a period every 40 samples
    period = np.cumsum(f0, axis=1).astype(np.int64)
    f0 = f0 * (1 + voice.jitter * np.take_along_axis(wobble[:, 0], period, axis=1))
    phase = np.cumsum(f0, axis=1, dtype=np.float64)
    height = 1 + voice.shimmer * np.take_along_axis(wobble[:, 1], phase.astype(np.int64), axis=1)

    # Glottal flow u^2 (1 - u) while open, u = t / open time; its difference is the radiated source.
    # Differencing the flow rather than sampling its derivative averages over a sample: less aliasing.
    u = np.minimum((phase % 1).astype(np.float32) / np.float32(voice.open_quotient), 1)
    flow = height * u * u * (1 - u)
    pulses = np.diff(flow, axis=1, prepend=0) * 20
    source = per_sample(score.voiced) * (pulses + voice.breath * noise * (0.2 + 5 * flow))
    tract = _all_pole(score.formants, 50 + 0.04 * score.formants)
    constriction = _all_pole(score.hiss_centre[..., None], np.full((*score.f0.shape, 1), 1500, np.float32))
    constriction *= np.float32(0.5) * (1 - np.exp(-1j * np.pi * FREQUENCY / FREQUENCY[-1])).astype(np.complex64)
    spectrum = pieces(source) * tract + pieces(per_sample(score.hiss) * noise) * constriction
    dry = overlap_add(scipy.fft.irfft(spectrum, FFT))[:, HOP : HOP + SAMPLES]
    return dry / np.sqrt(np.mean(dry * dry, axis=1, keepdims=True))


def _all_pole(
    centres: Float32[np.ndarray, "clips frames poles"], widths: Float32[np.ndarray, "clips frames poles"]
) -> Complex64[np.ndarray, "clips frames bins"]:
    """Frequency response of a cascade of resonators with gain one at 0 Hz (Klatt, 1980); Hz."""
    radius = np.exp(-np.pi * widths / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * np.minimum(centres, 7600) / SAMPLE_RATE)
    second = radius * radius
    polynomial = np.zeros((*centres.shape[:2], FFT), np.float32)
    polynomial[..., 0] = 1
    for k in range(centres.shape[2]):
        n = 2 * k + 3
        grown = polynomial[..., :n].copy()
        grown[..., 1:] += first[..., k, None] * polynomial[..., : n - 1]
        grown[..., 2:] += second[..., k, None] * polynomial[..., : n - 2]
        polynomial[..., :n] = grown
    gain = (1 + first + second).prod(axis=2, keepdims=True)
    return gain / scipy.fft.rfft(polynomial)


# ---- copy-synthesis ----------------------------------------------------------------------------------------


def _copy_synthesis(signal, f0, voiced, method: str, rng: np.random.Generator):
    """Mixes a vocoder's copy into the clip. The mean square stays one."""
    spectrum = stft(signal)
    copy = vocoders.VOCODERS[method](spectrum, f0, voiced, rng)
    share = np.float32(rng.uniform(*STRENGTH[method]))
    mixed = istft((1 - share) * spectrum + share * copy)
    return mixed / np.sqrt(np.mean(mixed * mixed))


# ---- the recording -----------------------------------------------------------------------------------------


def _record(dry, rngs: list[np.random.Generator]) -> Int16[np.ndarray, "clips {SAMPLES}"]:
    """Room, background noise, band limit and level: the same chain for both classes."""
    size = scipy.fft.next_fast_len(SAMPLES + SAMPLE_RATE // 4, real=True)
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    recordings = np.empty(dry.shape, np.int16)
    for k, rng in enumerate(rngs):
        room = rng.standard_normal(len(time)) * np.exp(-6.9 * time / rng.uniform(0.1, 0.3))  # -60 dB at T60
        room *= 10 ** (rng.uniform(-30, -12) / 20) / np.sqrt(np.sum(room * room))
        room[0] = 1
        slope = (np.maximum(hertz, 50) / 1000) ** np.float32(-rng.uniform(0, 1))  # white to pink in amplitude
        cut, steep = rng.uniform(6000, 9000), 200
        band = 1 / (1 + np.exp(np.clip((hertz - cut) / steep, -30, 30)))
        voice = scipy.fft.irfft(
            scipy.fft.rfft(dry[k], size) * scipy.fft.rfft(room.astype(np.float32), size) * band, size
        )[:SAMPLES]
        noise = rng.standard_normal(size, dtype=np.float32)
        noise = scipy.fft.irfft(scipy.fft.rfft(noise) * slope * band, size)[:SAMPLES]
        noise *= 10 ** (-rng.uniform(*SNR_DB) / 20) * np.sqrt(np.mean(voice**2) / np.mean(noise**2))
        wave = voice + noise
        wave *= 10 ** (rng.uniform(-28, -20) / 20) / np.sqrt(np.mean(wave**2))  # dB re full scale
        recordings[k] = np.rint(np.clip(wave, -1, 1) * 32767)
    return recordings
