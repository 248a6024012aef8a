"""Every file in experiments/ builds its config and names only what exists; its model takes what its input makes."""

import pathlib

import jax
import pytest
from flax import nnx

import data_builders
from data_builders import preparing
from dfjax import compare, models
from dfjax.decide import clip_score
from dfjax.models.streams import Rngs
from dfjax.run import main_job
from dfjax.training import recipe

ROOT = pathlib.Path(__file__).resolve().parent.parent / "experiments"
FILES = sorted(path.name for path in ROOT.glob("*.py") if path.name != "__init__.py")
CONFIGS = {name: make() for file in FILES for name, make in compare.load(str(ROOT / file))}
KINDS = list({(c.model.name, str(c.model.kwargs)): name for name, c in CONFIGS.items()}.values())  # one per network
PICTURES = [name for name in KINDS if models.model_class(CONFIGS[name].model.name).modality == "image"]


def test_all_files_are_experiments_and_lab_notes():
    assert len(CONFIGS) >= len(FILES) > 10
    for file in FILES:
        doc = (ROOT / file).read_text().removeprefix("r").removeprefix('"""')
        assert "?" in doc.split("\n")[0] or "published" in doc.split("\n")[0], file
        assert f"experiments/{file}" in doc, file


@pytest.mark.parametrize("name", CONFIGS)
def test_names_exist_and_values_are_possible(name, monkeypatch):
    config = CONFIGS[name]
    if config.balance.get("head"):
        config = config.copy_and_resolve_references()
        config.balance.head = ""  # the backbone's run
    if name not in KINDS or name in PICTURES:  # built for another experiment, or below
        monkeypatch.setattr(nnx, "eval_shape", lambda build: None)
    main_job.check(config)
    assert clip_score.check_rule(recipe.clip_rule(config))
    builder = data_builders.load(config.data.dataset)
    if config.data.config_name and issubclass(builder, preparing.MediaBuilder):
        assert config.data.config_name in builder.builder_configs
    recipe.make_input(config, models.input_of(config.model.name, config.model.kwargs).modality)
    assert config.train.eval_every <= config.train.steps and config.optim.get("warmup_steps", 0) < config.train.steps


@pytest.mark.parametrize("name", PICTURES)
def test_picture_detectors_take_what_the_input_step_makes(name):
    config = CONFIGS[name]
    takes = models.input_of(config.model.name, config.model.kwargs)
    batch = 8
    examples = {
        "image": jax.ShapeDtypeStruct((batch, takes.size, takes.size, 3), "uint8"),
        "label": jax.ShapeDtypeStruct((batch,), "int32"),
    }

    def logits(examples):
        config_small = config.copy_and_resolve_references()
        config_small.train.batch = batch
        x, labels = recipe.make_input(config_small, "image")(jax.random.key(0), examples)
        model = recipe.make_builder(config)(Rngs(0))
        model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
        return model(x), labels

    found, labels = jax.eval_shape(logits, examples)
    assert found.shape == labels.shape == (batch,) and found.dtype == "float32"


def test_the_same_experiment_of_another_dataset_takes_its_default_protocol():
    for file in FILES:
        (_, make), *_ = compare.load(str(ROOT / file) + ":folder_image")
        try:
            config = make()
        except ValueError:
            continue  # a study takes DATASET+ARM
        if "datasets" in config.data:  # of folders by name
            assert dict(config.data.datasets) == {"folder_audio/folder_image": 1}
            continue
        assert config.data.dataset == "folder_image" and not config.data.config_name, file


def test_clips_are_scored_in_more_than_one_way():
    assert {recipe.clip_rule(config) for config in CONFIGS.values()} >= {"mean", "median", "top8"}
