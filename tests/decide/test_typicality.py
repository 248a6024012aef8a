"""Typicality: p-values are uniform for what is like the training data, ranges hold, reasons name what is unlike it."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from dfjax.decide import embedding_space, traces, typicality
from dfjax.records import InputError

RNG = np.random.default_rng(0)


def training(n=600, dim=12, rng=RNG):
    """Embeddings of two domains whose directions differ in spread, and two properties."""
    domains = np.array(["studio", "street"])[np.arange(n) % 2]
    x = rng.normal(size=(n, dim)) * np.geomspace(10, 0.1, dim) + 3.0 * (domains == "street")[:, None]
    bandwidth, codec = rng.uniform(7000, 8000, n), np.array(["mp3", "aac"])[rng.integers(0, 2, n)]
    return x.astype(np.float32), {"bandwidth": bandwidth, "codec": codec}, domains


@pytest.mark.parametrize("held_back", [True, False])
def test_p_values_of_exchangeable_data_are_uniform(held_back):
    x, properties, domains = training(1200)
    other = training(500)[:2] if held_back else None
    found = typicality.fit(x, properties, domains, held_back=other)
    p = found.p_values(training(800)[0])
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
    assert abs((p < 0.05).mean() - 0.05) < 0.03
    assert found.p_values(training(100)[0] + 40.0).max() < 0.01


def test_a_clip_of_the_training_data_is_typical_in_nine_of_ten():
    x, properties, domains = training()
    found = typicality.fit(x, properties, domains)
    judged = [found.judge(x[i], {name: column[i] for name, column in properties.items()}) for i in range(len(x))]
    assert np.mean([each["typical"] for each in judged]) >= 0.9
    assert found.atypical(x, properties).tolist() == [not each["typical"] for each in judged]


def test_what_is_unlike_training_is_said_in_words():
    x, properties, domains = training()
    found = typicality.fit(x, properties, domains)
    telephone = found.judge(x[0], {"bandwidth": 3400.0, "codec": "mp3"})
    assert not telephone["typical"]
    assert telephone["reasons"][0].startswith("bandwidth of 3.4 kHz, as of a telephone; training had 7.0 to 8.0 kHz")
    assert (
        found.judge(x[0], {"bandwidth": 7500.0, "codec": "opus"})["reasons"][0] == "codec opus; training had aac, mp3"
    )
    assert found.judge(x[0], {"bandwidth": np.nan, "codec": "", "unheard": 1.0})["reasons"] == []
    far = found.judge(x[0] + 99, {})
    assert far["p_value"] < 0.05 and "unlike the training data" in far["reasons"][0]


def test_a_direction_in_which_training_hardly_varies_counts_as_much_as_one_in_which_it_does():
    x, properties, domains = training()
    found = typicality.fit(x, properties, domains)
    step = np.zeros(x.shape[1], np.float32)
    step[-1] = 6.0  # 60 of its standard deviations, half of one of the first direction
    assert found.p_value(x[0] + step) < 0.05


def test_ranges_are_widened_until_few_held_back_records_lie_outside():
    x, properties, domains = training()
    wide = (x, properties | {"bandwidth": properties["bandwidth"] - np.where(np.arange(len(x)) % 5, 0, 2500)})
    found = typicality.fit(x, properties, domains, held_back=wide)
    outside = [not found.judge(x[0], {"bandwidth": value})["typical"] for value in wide[1]["bandwidth"]]
    assert np.mean(outside) <= 0.02
    assert found.judge(x[0], {"bandwidth": 3000.0})["reasons"]


def test_a_file_brings_back_the_same_judgement_and_is_small(tmp_path):
    x, properties, domains = training(900, 200)
    found = typicality.fit(x, properties, domains, seed=3)
    found.save(tmp_path / "typicality.npz")
    again = typicality.load(tmp_path / "typicality.npz")
    new = training(50, 200)[0] + 0.5
    np.testing.assert_array_equal(found.p_values(new), again.p_values(new))
    for values in ({"bandwidth": 3400.0, "codec": "opus"}, {"bandwidth": 7500.0, "codec": "aac"}):
        assert found.judge(x[0], values) == again.judge(x[0], values)
    assert (tmp_path / "typicality.npz").stat().st_size < 1 << 20 and not again.traces
    typicality.fit(x, properties, domains, seed=3).save(tmp_path / "same.npz")
    assert (tmp_path / "same.npz").read_bytes() == (tmp_path / "typicality.npz").read_bytes()
    (tmp_path / "broken.npz").write_bytes((tmp_path / "same.npz").read_bytes()[:1000])
    with pytest.raises(InputError, match="broken.npz holds no typicality"):
        typicality.load(tmp_path / "broken.npz")


def test_traces_of_a_codec_are_a_reason_in_words_and_stay_in_the_file(tmp_path):
    x, properties, domains = training(900, 200)
    found = typicality.fit(x, properties, domains)
    direction = np.linalg.eigh(np.cov(x.T))[1][:, 0]  # hardly any distance
    trace = traces.Trace(direction.astype(np.float32), float(np.quantile(x @ direction, 0.99)))
    found = dataclasses.replace(found, traces={"opus": trace})
    coded = int(np.argmax(x @ direction))
    reasons = found.judge(x[coded], {})["reasons"]
    assert "traces of Opus at a low bit rate, where the detector is often wrong" in reasons
    column = {name: values for name, values in properties.items()}
    judged = [found.judge(row, {n: v[i] for n, v in column.items()})["typical"] for i, row in enumerate(x)]
    assert (~found.atypical(x, column)).tolist() == judged and not judged[coded]
    found.save(tmp_path / "typicality.npz")
    again = typicality.load(tmp_path / "typicality.npz")
    assert again.judge(x[coded], {}) == found.judge(x[coded], {})


def test_a_file_that_says_that_it_is_stored_with_few_bits_is_taken_at_its_word(tmp_path):
    """A message in Opus at 24 kbit/s was called fake without a doubt where its traces were not noticed."""
    x, properties, domains = training(900, 200)
    nothing, low = np.zeros(200, np.float32), {"codec": "opus", "bit_rate": 25_800}
    trace = traces.Trace(nothing, 1.0, bit_rate=24_000.0, found=0.5)
    found = dataclasses.replace(typicality.fit(x, properties, domains), traces={"opus": trace})
    plain = next(row for row in x if found.judge(row, {})["typical"])
    told = "stored as Opus of 26 kbit/s a channel, where the detector is often wrong"
    assert found.judge(plain, {}, low) == found.judge(plain, {}) | {"typical": False, "reasons": [told]}
    found.save(tmp_path / "typicality.npz")
    assert typicality.load(tmp_path / "typicality.npz").judge(plain, {}, low)["reasons"] == [told]
    for more in ({"bit_rate": 27_000}, {"codec": "aac"}):
        assert found.judge(plain, {}, low | more)["typical"]
    for other in ({"found": 0.15}, {"bit_rate": 0.0}):  # training had it, too; a file of an earlier version
        known = dataclasses.replace(found, traces={"opus": dataclasses.replace(trace, **other)})
        assert known.judge(plain, {}, low)["typical"]


def test_how_many_of_a_codecs_records_are_noticed_is_learnt_on_other_domains():
    rng = np.random.default_rng(0)
    plain, domains = rng.normal(size=(600, 5)), np.repeat(["a", "b", "c"], (400, 100, 100))
    found = traces.fit(plain, plain + [4, 0, 0, 0, 0], domains, 0.05, 24_000.0)
    assert found.bit_rate == 24_000 and 0.97 < found.found <= 1 and found.told(26_000) and not found.told(27_000)
    assert traces.fit(plain, plain, domains, 0.05, 24_000.0).found < 0.06  # it changes nothing: as if training had it


@pytest.mark.parametrize("n", [2, 3, 20])
def test_few_records_or_equal_ones_call_nothing_like_them_untypical(n):
    x = np.zeros((n, 4), np.float32)
    found = typicality.fit(x, {"size": np.full(n, 512.0)}, np.array(["a"] * n))
    assert found.judge(x[0], {"size": 512.0})["typical"]
    assert found.judge(x[0], {"size": 100.0})["reasons"] == ["picture or face of 100 pixels; training had 512 pixels"]
    with pytest.raises(InputError, match="two or more"):
        typicality.fit(x[:1], {}, np.array(["a"]))


def test_too_few_held_back_records_for_a_distance_to_count_are_told():
    """Nothing said that a file however far off stayed a verdict."""
    found = typicality.fit(*training())
    far = training(1)[0][0] + 1e6
    for count, told in ((19, True), (20, False)):
        few = dataclasses.replace(found, held=found.held[:count])
        assert few.judge(far, {})["typical"] == told == (few.too_few() is not None)
    assert "of 19 records held back in turn; with fewer than 20" in (
        dataclasses.replace(found, held=found.held[:19]).too_few() or ""
    )


def test_landmarks_are_drawn_evenly_over_domains():
    domains = np.array(["large"] * 900 + ["small"] * 50)
    rows = embedding_space.evenly(domains, 200)
    assert len(rows) == 200 == len(set(rows.tolist())) and (domains[rows] == "small").sum() == 50
    assert embedding_space.evenly(domains[:0], 5).tolist() == []
