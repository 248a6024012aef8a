"""DEEP-VOICE: both speakers of a conversion in one part."""

import itertools

import pytest
from etils import epath

from data_builders import indexing
from data_builders.deepfake_audio import deepfake_audio_dataset_builder as deepfake_audio
from dfjax.records import FAKE, InputError
from tests.data_builders import fixtures

SPEAKERS = ("biden", "linus", "margot", "musk", "obama", "ryan", "taylor", "trump")


def deep_voice(root, speakers, prefix="KAGGLE/AUDIO/"):
    for k, name in enumerate(speakers):
        rate, channels = ((44_100, 2), (48_000, 1))[k % 2]
        fixtures.audio(root / f"{prefix}REAL/{name}-original.wav", 0.2, rate, channels, seed=k)
    for k, (a, b) in enumerate(itertools.permutations(speakers, 2)):
        fixtures.audio(root / f"{prefix}FAKE/{a.title() if k % 3 else a}-to-{b}.wav", 0.2, seed=100 + k)
    fixtures.audio(root / "DEMONSTRATION/DEMONSTRATION/linus-original-DEMO.mp3", 0.5)
    fixtures.text(root / "KAGGLE/DATASET-balanced.csv", "chroma_stft,LABEL\n0.1,REAL\n0.2,FAKE\n0.3,FAKE\n")
    return epath.Path(root)


def index(root, protocol="disjoint"):
    config = next(c for c in deepfake_audio.Builder.BUILDER_CONFIGS if c.name == protocol)
    return deepfake_audio.index(root, config)


@pytest.mark.parametrize("prefix", ["KAGGLE/AUDIO/", "AUDIO/", "", "archive/KAGGLE/AUDIO/"])
def test_eight_speakers_are_dealt_out_and_nobody_is_in_two_parts(tmp_path, prefix):
    found = index(deep_voice(tmp_path, SPEAKERS, prefix))
    indexing.check_disjoint(found)
    counts = {
        (s, y): sum(i.split == s and i.label == y for i in found.items)
        for s in ("train", "validation", "test")
        for y in (0, 1)
    }
    assert counts == {
        ("train", 0): 4,
        ("train", 1): 12,
        ("validation", 0): 2,
        ("validation", 1): 2,
        ("test", 0): 2,
        ("test", 1): 2,
    }
    assert len(found.dropped) == 40 and found.warnings == [] and found.skipped == []
    assert {item.method for item in found.items if item.label == FAKE} == {"voice-conversion"}


def test_as_an_external_test_set_nothing_is_dropped(tmp_path):
    found = index(deep_voice(tmp_path, SPEAKERS), "external")
    assert {item.split for item in found.items} == {"test"} and len(found.items) == 64 and not found.dropped


def test_three_speakers_leave_one_conversion_pair_in_train(tmp_path):
    found = index(deep_voice(tmp_path, SPEAKERS[:3]))
    indexing.check_disjoint(found)
    assert sum(item.label == FAKE for item in found.items) == 2
    assert any("3 real and 6 fake, published 8 and 56" in warning for warning in found.warnings)
    assert any("too few" in warning for warning in found.warnings)


def test_strange_names_are_skipped_and_another_tree_is_an_error(tmp_path):
    root = deep_voice(tmp_path / "a", SPEAKERS[:3])
    fixtures.audio(tmp_path / "a/KAGGLE/AUDIO/FAKE/unknown.wav", 0.2)
    assert dict(index(root).skipped)["FAKE/unknown.wav"] == "its name is not <source>-to-<target>"
    with pytest.raises(InputError, match="KAGGLE/AUDIO/REAL"):
        index(epath.Path(fixtures.tree(tmp_path / "b", ["x/a.wav"])))
