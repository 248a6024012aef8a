"""Properties of sound and pictures: known ones come out right, and tell speech from what is none."""

import cv2
import numpy as np
import pytest
import soxr

from dfjax.media import images
from dfjax.media.properties import audio_features, picture_properties, sound_properties
from dfjax.records import InputError

RATE = 16_000
SECONDS = np.arange(3 * RATE) / RATE
RNG = np.random.default_rng(0)


def syllables():
    """Harmonics of a gliding pitch under an envelope of four syllables a second, and a little noise."""
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * SECONDS)) / RATE
    envelope = np.clip(np.sin(2 * np.pi * 4 * SECONDS), 0, 1) ** 2
    voice = sum(np.sin(k * phase) / k for k in range(1, 40))
    return 0.2 * envelope * voice + 1e-3 * RNG.standard_normal(len(SECONDS))


def noise(level=0.1):
    return level * RNG.standard_normal(len(SECONDS))


def integers(x):
    return np.clip(np.rint(32768 * x), -32768, 32767).astype(np.int16)


def test_levels_are_those_of_a_known_tone():
    found = sound_properties(integers(0.5 * np.sin(2 * np.pi * 200 * SECONDS)))
    assert found["loudness"] == pytest.approx(-9.03, abs=0.02) and found["crest"] == pytest.approx(3.01, abs=0.02)
    assert found["level_range"] < 0.1 and found["silence"] == 0 and found["clipped"] == 0
    assert found["bass"] > -0.1 and found["treble"] < -60 and found["flatness"] < -40
    assert found["voiced"] == 1 and found["pitch_spread"] < 0.5
    assert sound_properties(integers(2 * np.sin(2 * np.pi * 200 * SECONDS)))["clipped"] > 0.5


def test_noise_is_flat_and_no_voice_and_speech_has_the_rhythm_of_syllables():
    hiss, speech = sound_properties(integers(noise())), sound_properties(integers(syllables()))
    assert hiss["flatness"] > -4 and speech["flatness"] < -8
    assert hiss["voiced"] < 0.1 and speech["voiced"] > 0.8
    assert speech["rhythm"] > hiss["rhythm"] + 0.2
    assert speech["level_range"] > 20 and 1 < speech["pitch_spread"] < 6


def test_a_telephone_shows_in_bandwidth_and_treble():
    wide = integers(syllables() + noise(0.01))
    narrow = integers(soxr.resample(soxr.resample(wide / 32768, RATE, 8000), 8000, RATE))
    a, b = sound_properties(wide), sound_properties(narrow)
    assert a["bandwidth"] > 7900 and 3500 < b["bandwidth"] < 4200
    assert b["treble"] < a["treble"] - 20


def test_int16_and_float_and_the_audits_words_agree():
    x = integers(syllables())
    found, as_float, audit = sound_properties(x), sound_properties(x / np.float32(32768)), audio_features(x)
    for name, value in found.items():
        np.testing.assert_allclose(as_float[name], value, rtol=1e-5, err_msg=name)
    for name in ("bandwidth", "loudness", "noise_floor", "clipped"):
        np.testing.assert_allclose(found[name], audit[name], atol=0.01, err_msg=name)


@pytest.mark.parametrize("samples", [np.zeros(16000, np.int16), np.ones(1, np.int16), np.zeros(0, np.int16)])
def test_nothing_to_hear_gives_numbers_all_the_same(samples):
    found = sound_properties(samples)
    assert {name for name, value in found.items() if not np.isfinite(value)} <= {"pitch_spread", "bandwidth"}


def picture(side=256, grain=0.0):
    x = cv2.resize(RNG.uniform(60, 200, (side // 4, side // 4, 3)).astype(np.float32), (side, side))
    return np.clip(x + grain * RNG.standard_normal(x.shape), 0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def test_compression_blur_noise_and_grey_show():
    x = picture()
    plain = picture_properties(images.encode(x, "png"))
    assert plain["size"] == 256 and np.isnan(plain["quantization"])
    crushed, fine = picture_properties(jpeg(x, 15)), picture_properties(jpeg(x, 95))
    assert crushed["blockiness"] > fine["blockiness"] + 0.3 and crushed["quantization"] > 5 * fine["quantization"]
    sharp = picture(grain=8.0)
    plain = picture_properties(images.encode(sharp, "png"))
    blurred = picture_properties(images.encode(cv2.GaussianBlur(sharp, (0, 0), 3), "png"))
    assert blurred["sharpness"] < plain["sharpness"] - 10 and blurred["falloff"] < plain["falloff"] - 3
    noisy = picture_properties(images.encode(np.full((256, 256, 3), 128, np.uint8) + grainy(5.0), "png"))
    assert noisy["grain"] == pytest.approx(5.0, rel=0.15)
    grey = picture_properties(images.encode(np.repeat(x[..., :1], 3, axis=2), "png"))
    assert grey["colour"] == 0 < plain["colour"]
    assert grey["brightness"] == pytest.approx(x[..., 0].mean() / 255, abs=0.01)


def grainy(deviation):
    """The same noise in all colours, as uint8 that wraps around below zero."""
    return np.rint(deviation * RNG.standard_normal((256, 256, 1))).astype(np.int8).astype(np.uint8)


def test_a_crops_size_is_that_in_the_picture_it_came_from():
    encoded = images.encode(picture(64), "jpeg")
    assert picture_properties(encoded, np.array([10, 20, 110, 150], np.float32))["size"] == 130
    with pytest.raises(InputError, match="cannot be decoded"):
        picture_properties(b"no picture")


def test_a_picture_of_a_few_pixels_gives_numbers_all_the_same():
    for shape in ((1, 1), (3, 20), (16, 16)):
        found = picture_properties(images.encode(np.full((*shape, 3), 9, np.uint8), "png"))
        assert all(np.isfinite(value) for name, value in found.items() if name != "quantization")
