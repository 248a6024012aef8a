import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft

from data_builders.demo_speech import demo_speech_dataset_builder, frames, synthesis, vocoders
from dfjax.records import SAMPLE_RATE
from tests.data_builders import demo_contract


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    builder = demo_speech_dataset_builder.Builder(data_dir=tmp_path_factory.mktemp("data"), progress=False)
    builder.download_and_prepare(file_format="array_record")
    return builder, demo_contract.load(builder)


def trivial(record) -> dict[str, float]:
    """What can be measured without listening: level, length, silence, noise floor, bandwidth."""
    wave = record["audio"].astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(wave, 400)[::200]
    level = 10 * np.log10(np.mean(pieces**2, axis=1) + 1)
    power = np.abs(scipy.fft.rfft(wave)) ** 2
    share = np.cumsum(power) / power.sum()
    return {
        "level": level.mean(),
        "peak": np.abs(wave).max(),
        "crest": np.abs(wave).max() / wave.std(),
        "samples": len(wave),
        "silence": np.mean(level < level.max() - 30),
        "floor": np.percentile(level, 5) - level.max(),
        "spread of levels": level.std(),
        "edge of the band": np.searchsorted(share, 0.999) / len(power),
        "middle of the band": np.searchsorted(share, 0.5) / len(power),
        "zero crossings": np.mean(np.diff(np.signbit(wave))),
        "mean": wave.mean(),
    }


def test_counts_and_side_files(prepared):
    builder, data = prepared
    demo_contract.check_counts(data, builder.data_dir)


def test_speakers_are_disjoint(prepared):
    demo_contract.check_disjoint(prepared[1])


def test_one_method_is_kept_for_the_test(prepared):
    demo_contract.check_methods(prepared[1], synthesis.UNSEEN_METHOD)


def test_no_shortcut(prepared):
    demo_contract.check_no_shortcut(prepared[1], trivial)


def test_says_that_it_is_synthetic(prepared):
    assert "demo" in prepared[0].name
    assert "proves nothing about real deepfakes" in " ".join(prepared[0].info.description.split())


def test_records_are_16_khz_and_short(prepared):
    low, high = synthesis.SECONDS
    for record in prepared[1]["test"]:
        assert record["audio"].dtype == np.int16
        assert record["duration"] == np.float32(len(record["audio"]) / SAMPLE_RATE)
        assert low - 0.001 <= record["duration"] <= high
        assert record["clip"] == record["id"] and record["dataset"] == b"demo_speech"


@pytest.mark.slow
def test_two_builds_are_byte_identical(prepared, tmp_path):
    again = demo_speech_dataset_builder.Builder(data_dir=tmp_path, progress=False)
    again.download_and_prepare()
    assert demo_contract.digest(again.data_dir) == demo_contract.digest(prepared[0].data_dir)


def test_a_speaker_made_twice_is_the_same():
    first, second = (synthesis.speaker_clips("test", 66) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)


def test_made_in_time():
    units = [("train", speaker) for speaker in range(3)]
    seconds = demo_contract.seconds_of_processor(synthesis.speaker_clips, units)
    assert seconds * sum(synthesis.SPEAKERS.values()) / 2 < 30  # on two cores


def test_vocoder_of_strength_zero_leaves_the_voice_alone(monkeypatch):
    rng = np.random.default_rng(0)
    voice = rng.standard_normal(frames.SAMPLES).astype(np.float32)
    f0 = np.full(frames.FRAMES, 120, np.float32)
    monkeypatch.setattr(synthesis, "STRENGTH", dict.fromkeys(vocoders.VOCODERS, (0.0, 0.0)))
    for method in vocoders.VOCODERS:
        copy = synthesis._copy_synthesis(voice, f0, np.ones_like(f0), method, rng)
        inner = slice(frames.FFT, -frames.FFT)  # the ends lack overlapping windows
        np.testing.assert_allclose(copy[inner], voice[inner], rtol=0, atol=0.02)


def test_all_pole_peaks_at_the_formants():
    centres = np.array([500.0, 1500, 2500, 3500, 4500], np.float32).reshape(1, 1, 5)
    response = np.abs(synthesis._all_pole(centres, np.full_like(centres, 60)))[0, 0]
    np.testing.assert_allclose(response[0], 1, rtol=1e-3)
    peaks = np.flatnonzero((response[1:-1] > response[:-2]) & (response[1:-1] > response[2:])) + 1
    np.testing.assert_allclose(frames.FREQUENCY[peaks], centres[0, 0], atol=SAMPLE_RATE / frames.FFT)


def test_linear_prediction_recovers_an_all_pole_filter():
    centres = np.array([700.0, 1800, 3000], np.float32).reshape(1, 1, 3)
    response = synthesis._all_pole(centres, np.full_like(centres, 300))[0]
    found = vocoders.lpc_filter(np.abs(response) ** 2, 6)
    np.testing.assert_allclose(found / found[0, 0], response / response[0, 0], rtol=0.02)


def test_scores_name_every_field():
    voice = synthesis._draw_voice(np.random.default_rng(0))
    score = synthesis._draw_score(np.random.default_rng(1), voice)
    assert all(len(getattr(score, field.name)) == frames.FRAMES for field in dataclasses.fields(score))


def test_nothing_is_printed_that_is_not_the_command_s(tmp_path, monkeypatch, capsys):
    """`dfjax.run --json` prepares the demo and prints one line."""
    monkeypatch.setattr(synthesis, "SPEAKERS", dict.fromkeys(synthesis.SPEAKERS, 1))
    monkeypatch.setattr(synthesis, "REAL_PER_SPEAKER", 1)
    demo_speech_dataset_builder.Builder(data_dir=tmp_path, progress=False).download_and_prepare()
    assert capsys.readouterr().out == ""


def test_a_demo_that_is_prepared_needs_no_scipy():
    code = "import sys, data_builders; data_builders.load('demo_speech'); print('scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
