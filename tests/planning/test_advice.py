"""No dataset is advised to add itself; what is advised exists."""

import pytest

import data_builders
from dfjax.planning import advice
from experiments import benchmark


def counted(dataset, path="/media", *, groups=50, methods=("a", "b"), modality="audio", config="disjoint"):
    """Facts of a dataset that advice needs, with so many groups of the smaller class and these methods."""
    of = {"real": 60, "fake": 60, "minority": "real", "minority_groups": groups, "methods": dict.fromkeys(methods, 9)}
    splits = dict.fromkeys(("train", "test", "all"), of)
    facts = {"dataset": dataset, "path": path, "config": config, "modality": modality, "stage": "source"}
    return facts | {"splits": splits, "recommendation": None}


def test_a_dataset_is_not_advised_to_add_itself_nor_what_it_was_made_from():
    def which(dataset, modality, *others):
        return advice.advise(counted(dataset, groups=5, modality=modality), others)["which"]

    assert which("celeb_df_v2", "video") == "faceforensics (1,000 real and 5,000 fake videos)"
    assert which("faceforensics", "video").startswith("celeb_df_v2 (890") and "faceforensics" not in which(
        "faceforensics", "video"
    )
    assert "faceforensics" not in which("dfd", "video")  # its real videos are from there
    assert which("fakeavceleb", "av") == "clips of other people, places and generators"
    assert which("wavefake", "audio", counted("fake_or_real", "/b")).startswith("asvspoof2019_la (")  # share LJSpeech
    assert which("wavefake", "audio", counted("wavefake", "/b")).startswith("asvspoof2019_la (")  # prepared, the same


@pytest.mark.parametrize("name", data_builders.DATASETS)
def test_every_dataset_has_a_modality_and_its_experiment_exists(name):
    """The experiment that is advised can be loaded, and takes what the builder makes."""
    for config in data_builders.load(name).BUILDER_CONFIGS or [None]:
        if config is not None and getattr(config, "modality", "") == "index":
            continue
        kind = advice.modality_of(name, config and config.name)
        made = getattr(config, "modality", None) or data_builders.load(name).MODALITY
        assert {"video": "image"}.get(kind, kind) == {"video": "image"}.get(made, made), config and config.name
    assert benchmark.get_config(f"{kind}+{name}+plain").data.dataset == name
