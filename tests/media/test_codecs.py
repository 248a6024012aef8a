"""Lossy codecs on the host: as long as before, not delayed, the same each time; and in the streaming feed alone."""

import itertools

import numpy as np
import pytest

from dfjax.data import feeds, sampling, sources, streaming
from dfjax.media import codecs
from dfjax.records import InputError
from dfjax.runtime import devices
from dfjax.training import recipe
from experiments import audio_focal
from tests import prepared

TWO = [(name, rates[i]) for name, (*_, rates) in codecs.CODECS.items() for i in (0, -1)]


def clip(seconds=1.0, low=300, high=3000):
    """Noise in the band that all codecs keep, louder and softer in turn."""
    rng = np.random.default_rng(0)
    n = round(16000 * seconds)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1 / 16000)
    x = np.fft.irfft(np.where((hertz > low) & (hertz < high), spectrum, 0), n)
    return np.rint(4000 * x / x.std() * (0.6 + 0.4 * np.sin(np.arange(n) / 1500))).astype(np.int16)


@pytest.mark.parametrize(("name", "bit_rate"), TWO)
def test_a_codec_keeps_length_and_place_and_changes_the_rest(name, bit_rate):
    if name not in codecs.available():
        pytest.skip(f"this FFmpeg has no {name} encoder")
    x = clip()
    y = codecs.recode(x, name, bit_rate)
    assert y.shape == x.shape and y.dtype == np.int16 and not np.array_equal(x, y)
    product = np.fft.rfft(y.astype(float), 2 * len(x)) * np.fft.rfft(x.astype(float), 2 * len(x)).conj()
    peak = int(np.fft.irfft(product).argmax())
    assert min(peak, 2 * len(x) - peak) <= (1 if name == "amr" else 0)  # AMR shifts phases by up to a sample
    np.testing.assert_array_equal(y, codecs.recode(x, name, bit_rate))


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_clips_shorter_than_a_frame_keep_their_length(samples):
    for name in codecs.available():
        assert codecs.recode(clip()[:samples], name, codecs.CODECS[name][-1][0]).shape == (samples,)


def test_every_encoder_is_in_the_wheel():
    assert codecs.available() == tuple(codecs.CODECS)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return sources.open_split(prepared.make(tmp_path_factory.mktemp("prepared")), "train")


def batches(split, count, **words):
    strata = sampling.strata(split.label, {0: 0.5, 1: 0.5})
    words = {"size": None, "seed": 0, "codec_rate": 0.5} | words
    return list(itertools.islice(streaming.batches(split, strata, 8, **words), count))


def test_the_stream_recodes_a_share_and_is_decided_by_seed_step_and_place(split):
    plain, coded = batches(split, 4, codec_rate=0.0), batches(split, 4)
    changed = np.array([(a["audio"] != b["audio"]).any(axis=1) for a, b in zip(plain, coded, strict=True)])
    assert 8 <= changed.sum() <= 24
    for a, b in zip(plain, coded, strict=True):
        np.testing.assert_array_equal(a["length"], b["length"])
        np.testing.assert_array_equal(a["label"], b["label"])
    (resumed,) = batches(split, 1, first=3)
    np.testing.assert_array_equal(resumed["audio"], coded[3]["audio"])
    parts = [batches(split, 1, process=p, processes=2)[0]["audio"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), coded[0]["audio"])
    other = batches(split, 4, seed=1)
    assert not np.array_equal(other[0]["audio"], coded[0]["audio"])


def test_codecs_need_the_streaming_feed_and_auto_takes_it(split):
    class Ears:
        modality = "audio"

    strata = sampling.strata(split.label, {0: 0.5, 1: 0.5})
    words = {"model": Ears, "mesh": devices.make_mesh(8), "seed": 0, "first": 0, "codec_rate": 0.5}
    assert feeds.make("auto", split, strata, 8, **words).kind == "streaming"
    with pytest.raises(InputError, match="use config.data.feed='streaming'"):
        feeds.make("resident", split, strata, 8, **words)
    config = audio_focal.get_config()
    assert recipe.codec_rate(config) == 0
    config.augment.codec_rate = 0.25
    assert recipe.codec_rate(config) == 0.25
