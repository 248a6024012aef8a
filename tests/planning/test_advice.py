"""No dataset is advised to add itself; what is advised exists."""

import pathlib
import shlex

import pytest

import data_builders
from dfjax import prepare
from dfjax.planning import advice, survey
from dfjax.run import command, main_job
from experiments import benchmark

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections, which loads experiments


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


def given(text):
    """What `dfjax.run` makes of a command: the experiment, the run's name, and its other words."""
    words = shlex.split(text)
    assert words[:4] == ["python", "-m", "dfjax.run", "--config"]
    config, name = command.parse(["dfjax.run", *words[3:5]], command)
    main_job.check(config)
    return config, name, dict(zip(words[5::2], words[6::2], strict=True))


def test_the_command_for_what_is_prepared_finds_it(prepared_recordings, monkeypatch):
    """It named neither the folder nor where it is prepared, and ended in 'folder_audio needs --source'."""
    (facts,) = survey.of_folder(prepared_recordings, 0, measured=False)["datasets"]
    config, name, words = given(facts["advice"]["command"])
    assert words == {"--data_dir": str(prepared_recordings)}
    assert (config.data.dataset, config.data.config_name) == ("folder_audio", facts["config"])
    assert name == f"benchmark-audio+folder_audio-{facts['config']}+{facts['advice']['strategy']}"
    found = prepare.prepare_data(config.data, None, words["--data_dir"], progress=False)
    assert {str(folder) for folder in found.values()} == {facts["path"]}
    main_job.check_splits(config.data, found)
    monkeypatch.setattr(advice, "DATA_DIR", str(prepared_recordings))  # where it is looked for anyway
    assert not given(advice.advise(facts)["command"])[2]
    assert advice.entry(facts | {"stage": "source"}) == "folder_audio"


def test_a_prepared_dataset_is_named_with_its_config_and_folder(tmp_path):
    for dataset, place, config, entry in (
        ("wavefake", "wavefake/disjoint/1.0.0", "disjoint", "wavefake"),
        ("asvspoof2019_la", "asvspoof2019_la/disjoint/1.0.0", "disjoint", "asvspoof2019_la/disjoint"),
        ("demo_speech", "demo_speech/3.0.0", "demo_speech", "demo_speech"),  # it has no configs, which was a traceback
    ):
        facts = counted(dataset, str(tmp_path / "a b" / place), config=config) | {"stage": "prepared"}
        told, name, words = given(advice.advise(facts)["command"])
        assert words == {"--data_dir": str(tmp_path / "a b")}
        assert f"{told.data.dataset}/{told.data.config_name}".strip("/") == entry
        assert name == f"benchmark-audio+{entry.replace('/', '-')}+plain"


def test_paths_without_media_have_no_experiment():
    """Its command ended in 'wavefake holds no audio'."""
    facts = counted("wavefake", "/data/wavefake/disjoint-index/1.0.0", config="disjoint-index") | {"stage": "prepared"}
    facts["recommendation"] = {"strategy": "natural", "text": "fine"}
    assert advice.advise(facts)["strategy"] is None and "without -index" in advice.advise(facts)["why"]
    assert advice.advise(facts | {"config": "disjoint"})["strategy"] == "plain"


def test_a_run_is_called_by_the_file_and_the_whole_word_after_the_colon():
    """NAME/CONFIG made runs/disjoint+plain, whatever the name."""
    path = str(pathlib.Path(benchmark.__file__))
    for argument, name in (
        (":audio+wavefake/disjoint+plain", "benchmark-audio+wavefake-disjoint+plain"),
        (":audio+wavefake/disjoint,fake_or_real+focal", "benchmark-audio+wavefake-disjoint,fake_or_real+focal"),
        (":audio+wavefake+plain", "benchmark-audio+wavefake+plain"),
        ("", "benchmark"),
    ):
        for file in (path, "experiments/benchmark.py", "benchmark"):
            assert command.parse(["dfjax.run", f"--config={file}{argument}"], command)[1] == name
