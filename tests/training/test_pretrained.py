"""Starting from released weights: all but the head is theirs, in the parameters and in their average."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from dfjax import models
from dfjax.inference import trained
from dfjax.models import functional
from dfjax.records import InputError
from dfjax.run import main_job
from dfjax.runtime import checkpoint
from dfjax.training import pretrained, train, train_step
from experiments import audio_texture, faceforensics_xception
from tests import job, prepared

SMALL = {"bins": 40, "dims": (4, 8), "embedding": 16}


def state_of(seed, **kwargs):
    build = lambda rngs: models.build("resnet_small", rngs=rngs, **(SMALL | kwargs))
    return train_step.create(build, optax.adam(1e-3), jax.random.key(seed), ema=True)[1]


@pytest.fixture
def released(monkeypatch):
    """(params, model_state) of what `load_published` returns, whatever the path."""
    model = models.build("resnet_small", rngs=nnx.Rngs(7), **SMALL)
    monkeypatch.setattr(models, "load_published", lambda name, path: model)
    return jax.tree.map(np.array, functional.split(model)[1:])  # copies: a training step takes its state's buffers


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b)))


def without_head(params):
    return {name: leaf for name, leaf in params.items() if name != "head"}


def test_all_but_the_head_is_what_was_released(released):
    fresh = state_of(0)
    assert not equal(without_head(fresh.params), without_head(released[0]))
    begun = pretrained.start(fresh, "resnet_small", "weights.safetensors")
    assert equal(without_head(begun.params), without_head(released[0])) and equal(begun.model_state, released[1])
    assert equal(begun.params["head"], fresh.params["head"]) and equal(begun.average, begun.params)
    assert equal(begun.opt_state, fresh.opt_state) and begun.step == 0


def test_another_network_is_refused_by_the_name_of_what_differs(released):
    with pytest.raises(InputError, match="build another resnet_small than the one in x: they differ in "):
        pretrained.start(state_of(0, embedding=8), "resnet_small", "x")


def test_missing_weights_are_an_error_before_anything_is_prepared(tmp_path):
    config = faceforensics_xception.get_config()
    config.model.weights = str(tmp_path / "xception.safetensors")
    with pytest.raises(InputError, match="no such file: .* download the weights from https://"):
        main_job.check(config)
    config = audio_texture.get_config()
    config.model.weights = str(tmp_path)
    with pytest.raises(InputError, match="Unknown published model 'texture'"):
        main_job.check(config)


@pytest.mark.slow
def test_a_run_starts_from_them_and_continues_from_its_own(released, tmp_path):
    directory = prepared.make(tmp_path, counts={split: (4, 4) for split in ("train", "validation")})
    config = audio_texture.get_config("made")
    config.model = {"name": "resnet_small", "kwargs": SMALL, "weights": "x"}
    config.data.seconds = 0.5
    config.optim.update({"learning_rate": 0.0, "warmup_steps": 0, "ema": 0.0})
    config.train.update({"batch": 4, "steps": 1, "eval_every": 1, "log_every": 1})
    job.claim(tmp_path / "run", config)
    train.train(config, tmp_path / "run", directory, progress=False)
    network = trained.restore(tmp_path / "run")
    assert network.step == 1 and equal(without_head(network.params), without_head(released[0]))
    with checkpoint.manager(tmp_path / "run") as checkpoints:
        assert checkpoint.latest_step(checkpoints) == 1
    models.load_published = lambda name, path: pytest.fail("read again")  # the fixture restores it
    config.train.steps = 2
    assert train.train(config, tmp_path / "run", directory, progress=False)["resumed_from"] == 1
