"""WaveFake: suffixes, the second copy, real corpora beside the archive."""

import shutil

import pytest

from data_builders import indexing
from data_builders.wavefake import wavefake_dataset_builder as wavefake
from dfjax.records import InputError
from tests.data_builders import trees


def test_groups_are_utterances(tmp_path):
    trees.wavefake(tmp_path)
    index = wavefake.index(tmp_path)
    indexing.check_disjoint(index)
    of_one = sorted(item.id for item in index.items if item.group == "LJ001-0001")
    assert of_one == [
        "LJSpeech-1.1/wavs/LJ001-0001.wav",
        "generated_audio/ljspeech_hifiGAN/LJ001-0001_generated.wav",
        "generated_audio/ljspeech_melgan/LJ001-0001_gen.wav",
        "generated_audio/ljspeech_waveglow/LJ001-0001.wav",
    ]
    assert {item.split for item in index.items} == {"train", "validation", "test"}
    assert {item.label for item in index.items if item.split == "test"} == {0, 1}
    assert len(index.items) == 12 * 4 + 2 * 2 + 2  # without the second copy in generated/
    assert any("left out generated/" in line for line in index.warnings)
    japanese = {item.id.split("/")[-2] for item in index.items if dict(item.subgroups)["language"] == "ja"}
    assert japanese == {"wav", "jsut_parallel_wavegan"}


def test_without_the_wrapper(tmp_path):
    trees.wavefake(tmp_path)
    for folder in sorted((tmp_path / "generated_audio").iterdir()):
        folder.rename(tmp_path / folder.name)
    (tmp_path / "generated_audio").rmdir()
    index = wavefake.index(tmp_path)
    assert index.variant == "plain" and len(index.items) == 54


def test_generators_that_were_not_published_are_said(tmp_path):
    """Files of a vocoder that somebody had added were left out without a word."""
    trees.wavefake(tmp_path)
    trees.put(tmp_path, "generated_audio/ljspeech_bigvgan/LJ001-0001_gen.wav")
    warnings = wavefake.index(tmp_path).warnings
    assert [line for line in warnings if "none of the published" in line] == [
        "ljspeech_bigvgan/ is none of the published generators: left out"
    ]


def test_real_corpora_are_needed(tmp_path):
    trees.wavefake(tmp_path)
    shutil.rmtree(tmp_path / "jsut_ver1.1")
    index = wavefake.index(tmp_path)
    assert any("no real speech in language 'ja'" in line for line in index.warnings)
    shutil.rmtree(tmp_path / "LJSpeech-1.1")
    with pytest.raises(InputError, match="holds fakes only.*LJSpeech-1.1/"):
        wavefake.index(tmp_path)
    with pytest.raises(InputError, match="no WaveFake"):
        wavefake.index(tmp_path / "generated_audio/ljspeech_melgan")
