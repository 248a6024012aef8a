"""The shortcut audit finds planted shortcuts, stays silent without one, and reads headers right."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dfjax.reporting import audit

RNG = np.random.default_rng(0)


def clips(n=600, groups=60, fake=0.3):
    rng = np.random.default_rng(1)
    return (rng.random(n) < fake).astype(np.int64), np.array([f"g{i % groups}" for i in range(n)])


def test_auc_is_sklearns():
    y = RNG.integers(0, 2, 200)
    scores = RNG.integers(0, 9, 200).astype(float)  # many ties
    np.testing.assert_allclose(audit.auc(scores, y), roc_auc_score(y, scores), rtol=1e-12)


def test_nothing_planted_nothing_found():
    y, g = clips()
    noise = {f"f{i}": RNG.normal(size=len(y)) for i in range(6)} | {"codec": RNG.choice(["aac", "mp3"], len(y))}
    result = audit.audit(noise, y, g)
    assert not result["warnings"]
    assert abs(result["all"]["auc"] - 0.5) < 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_shift_is_found_in_either_direction(sign):
    y, g = clips()
    result = audit.audit({"duration": sign * y + RNG.normal(size=len(y)), "noise": RNG.normal(size=len(y))}, y, g)
    assert list(result["features"]) == ["duration", "noise"]
    assert abs(result["features"]["duration"]["auc"] - 0.76) < 0.04  # two unit normals one apart: Phi(1 / sqrt 2)
    assert any("duration" in text for text in result["warnings"])
    assert "all" not in result["warnings"] and result["all"]["auc"] > 0.7


def test_a_codec_of_one_class_is_found():
    y, g = clips()
    result = audit.audit({"codec": np.where(y == 1, "aac", RNG.choice(["aac", "opus"], len(y)))}, y, g)
    assert abs(result["features"]["codec"]["auc"] - 0.75) < 0.05  # half of the reals share the fakes' codec


def test_one_value_out_of_the_middle_is_found_together_though_not_alone():
    y, g = clips()
    width = np.where(y == 1, 1024.0, RNG.choice([512.0, 2048.0], len(y)))
    result = audit.audit({"width": width}, y, g)
    assert result["features"]["width"]["auc"] < 0.6 and result["all"]["auc"] > 0.95


def test_missing_values_are_a_shortcut_too():
    y, g = clips()
    result = audit.audit({"bit_rate": np.where(y == 1, np.nan, 1e5)}, y, g)
    assert result["features"]["bit_rate"]["auc"] == 1
    assert result["features"]["bit_rate"]["missing"] == pytest.approx(y.mean())


def test_a_feature_that_only_names_the_group_is_not_counted_together():
    """Every group has one label, so an ungrouped regression would read the label off the group's offset."""
    groups = np.repeat(np.arange(40), 20)
    y = (groups % 2).astype(np.int64)
    columns = {f"f{i}": np.random.default_rng(i).normal(size=40)[groups] for i in range(8)}
    assert audit.audit(columns, y, groups)["all"]["auc"] < 0.7


def test_degenerate_input_says_so():
    y, g = clips(50)
    one = audit.audit({"f": np.arange(50.0)}, np.ones(50, int), g[:50])
    assert one["all"] is None and one["features"] == {} and "one class" in one["notes"][0]
    few = audit.audit({"f": np.arange(4.0), "codec": np.array(list("abab"))}, np.array([0, 1, 0, 1]), np.zeros(4))
    assert few["all"] is None and few["features"]["codec"]["auc"] is None
    assert audit.audit({"f": np.arange(3.0)}, np.array([0, 1, -1]), np.arange(3))["clips"] == 2


def test_what_no_property_separates_is_not_put_down_to_few_groups():
    """Clips cut to one length, at one rate, were said to come of too few groups for an audit."""
    y, g = clips()
    same = audit.audit(audit.table([{"duration": 2.0, "codec": "pcm_s16le"} for _ in y]), y, g)
    assert same["all"] is None and same["notes"] == ["no property differs from clip to clip"]
    assert audit.together(same) == "no property differs from clip to clip"
    noise = {"f": RNG.normal(size=len(y))}
    whole = audit.audit(noise, y, g)
    assert audit.together(whole) == f"{whole['all']['auc']:.2f} together"
    assert audit.together(audit.audit(noise, y, np.zeros(len(y)))) == "not enough groups"
    assert audit.together(audit.audit(noise, np.ones(len(y), int), g)) == "one class only"


def test_many_clips_are_subsampled_and_fast():
    n = 50_000
    y = (np.random.default_rng(0).random(n) < 0.02).astype(np.int64)
    features = {f"f{i}": RNG.normal(size=n) for i in range(8)}
    start = time.perf_counter()
    result = audit.audit(features, y, np.arange(n) % 5000)
    assert time.perf_counter() - start < 10
    assert result["used"] == audit.SAMPLE and result["fake"] == y.sum()  # the smaller class stays whole
    assert "drawn at random" in result["notes"][0]


def test_silence_noise_floor_and_bandwidth_of_a_known_waveform():
    t = np.arange(16_000) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    quiet = 1e-4 * RNG.normal(size=8000)
    f = audit.audio_features(np.concatenate([quiet[:4000], tone, quiet]).astype(np.float32))
    assert f["duration"] == 1.75
    assert f["leading_silence"] == pytest.approx(0.25) and f["trailing_silence"] == pytest.approx(0.5)
    assert f["noise_floor"] == pytest.approx(-80, abs=2)  # 20 log10 1e-4
    spectrum = np.fft.rfft(RNG.normal(size=16_000))
    spectrum[3000:] = 0  # 1 Hz per bin
    assert audit.audio_features(np.fft.irfft(spectrum) / 10)["bandwidth"] == pytest.approx(3000, abs=200)
    int16 = audit.audio_features((tone * 32768).astype(np.int16))
    assert int16["loudness"] == pytest.approx(10 * np.log10(0.125), abs=0.01)


def test_silence_and_nothing_do_not_break():
    for x in (np.zeros(0, np.int16), np.zeros(16_000, np.int16), np.ones(3, np.float32)):
        f = audit.audio_features(x)
        assert f["duration"] == len(x) / 16_000 and all(isinstance(value, float) for value in f.values())


def test_image_headers():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20)).save(buffer, "JPEG", quality=50)
    f = audit.image_features(buffer.getvalue())
    assert (f["width"], f["height"], f["codec"], f["mode"]) == (40, 20, "JPEG", "RGB")
    better = io.BytesIO()
    Image.new("RGB", (40, 20)).save(better, "JPEG", quality=95)
    assert audit.image_features(better.getvalue())["quantization"] < f["quantization"]
    assert audit.image_features(b"no picture")["codec"] == ""


def test_media_headers(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros((8000, 2)), 16_000)
    f = audit.header_features(tmp_path / "a.wav")
    assert (f["duration"], f["sample_rate"], f["channels"], f["codec"]) == (0.5, 16_000, 2, "pcm_s16le")
    (tmp_path / "b.mp4").write_bytes(b"not a video")
    broken = audit.header_features(tmp_path / "b.mp4")
    assert broken["file_size"] == 11 and np.isnan(broken["duration"]) and broken["codec"] == ""
    assert np.isnan(audit.header_features(tmp_path / "absent.mp4")["file_size"])


def test_table_drops_what_is_constant():
    columns = audit.table([{"a": 1.0, "b": 2.0, "codec": "x"}, {"a": 2.0, "b": 2.0}])
    assert sorted(columns) == ["a", "codec"] and columns["codec"].tolist() == ["x", ""]
