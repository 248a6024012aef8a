"""What large detectors need: a state spread over the devices, parts that are not trained, a penalty on embeddings."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dfjax import models
from dfjax.inference import trained
from dfjax.models import vit, wav2vec2
from dfjax.runtime import checkpoint, devices
from dfjax.training import losses, optim, recipe, train, train_step
from experiments import asvspoof2019_la_xlsr, faceforensics_clip
from tests import children, job, prepared
from tests.models.test_wav2vec2 import TINY

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = jax.random.key(2)


class Small(vit.CLIPBase):
    size, width, depth, n_heads, patch = 16, 16, 1, 2, 8


@pytest.mark.slow
def test_eight_devices_with_a_part_of_the_state_each_train_as_with_the_whole(tmp_path):
    words = sys.executable, "-m", "tests.sharded", tmp_path
    environment = children.quickly_compiling(JAX_NUM_CPU_DEVICES="8")
    said = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["devices"] == 8
    np.testing.assert_allclose(*found["losses"], rtol=1e-6)
    whole, part = found["bytes"]
    assert whole > 6 * part  # its many small arrays stay whole
    assert found["reloaded"] == [True, True]


@pytest.mark.parametrize("name", ["clip_large", "wav2vec2"])
def test_published_sizes_need_nearly_an_eighth_on_each_of_eight_devices(name):
    mesh = jax.sharding.AbstractMesh((8,), ("data",))
    build = lambda rngs: models.build(name, rngs=rngs)
    tx, key = optax.adam(1e-3), jax.random.key(0)
    _, state = train_step.create(build, tx, key, ema=True, shapes_only=True)
    leaves = jax.tree.leaves(state)
    whole = sum(leaf.size for leaf in leaves)
    part = sum(np.prod(devices.part_of(mesh, leaf).shard_shape(leaf.shape)) for leaf in leaves)
    assert 7.9 < whole / part <= 8


def tuned(weight_decay=0.1):
    tx, _ = optim.build(
        total_steps=3, learning_rate=0.1, weight_decay=weight_decay, clip_norm=1.0, trainable=Small.trainable
    )
    graphdef, state = train_step.create(lambda rngs: Small(rngs=rngs), tx, jax.random.key(0), ema=False)
    return graphdef, state, tx


def test_what_is_held_back_stays_to_the_bit_and_has_no_moments():
    graphdef, state, tx = tuned()
    paths = jax.tree_util.tree_leaves_with_path(state.params)
    trained = [Small.trainable(tuple(p.key for p in path)) for path, _ in paths]
    assert 0 < sum(trained) < len(trained)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(m.size for m in moments) == 2 * sum(
        leaf.size for (_, leaf), on in zip(paths, trained, strict=True) if on
    )

    x, labels = jax.random.uniform(jax.random.key(1), (4, 16, 16, 3)), jnp.array([0, 1, 0, 1])
    seen = lambda params: optim.held(Small.trainable, params)
    bce = lambda z, y, step: optax.sigmoid_binary_cross_entropy(z, y)
    words = {"graphdef": graphdef, "tx": tx, "loss": bce, "seen": seen}
    step = lambda **more: jax.jit(functools.partial(train_step.update, **words, **more))(state, x, labels, KEY)
    new, values = step()
    for (path, before), after, on in zip(paths, jax.tree.leaves(new.params), trained, strict=True):
        assert np.array_equal(before, after) != on, jax.tree_util.keystr(path)
    assert values["grad_norm"] > 0

    # a penalty on embeddings is added to the loss
    config = faceforensics_clip.get_config()
    more = recipe.make_penalty(config)
    _, both = step(penalty=more)
    model = nnx.merge(graphdef, state.params, state.model_state, copy=True)
    spread, close = losses.uniformity_alignment(model.embed(x), labels)
    np.testing.assert_allclose(both["loss"] - values["loss"], 0.5 * spread + 0.1 * close, rtol=1e-4)
    config.loss.update({"uniformity": 0.0, "alignment": 0.0})
    assert recipe.make_penalty(config) is None


def tiny_clip(monkeypatch):
    for name, value in {"width": 16, "depth": 2, "n_heads": 2, "patch": 8, "size": 32}.items():
        monkeypatch.setattr(vit.CLIPLarge, name, value)
    return faceforensics_clip.get_config("made"), "image"


def tiny_xlsr(monkeypatch):
    monkeypatch.setitem(wav2vec2.SIZES, "tiny", TINY)
    monkeypatch.setattr(wav2vec2.Wav2Vec2, "samples", 8000)
    config = asvspoof2019_la_xlsr.get_config("made")
    config.model.kwargs.update({"size": "tiny", "back_end": "mean"})
    config.data.seconds = 0.5
    return config, "audio"


@pytest.mark.parametrize("make", [tiny_clip, pytest.param(tiny_xlsr, marks=pytest.mark.slow)])
def test_the_experiments_train_save_and_restore_a_stand_in(make, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "LARGE", 256)
    config, modality = make(monkeypatch)
    config.train.update({"batch": 4, "steps": 1, "eval_every": 1})
    counts = {"train": (6, 4), "validation": (2, 2)}
    directory = prepared.make(tmp_path / "made", counts=counts, modality=modality)
    job.claim(tmp_path / "run", config)
    summary = train.train(config, tmp_path / "run", directory, progress=False)
    assert summary["steps"] == summary["best_step"] == 1
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert np.isfinite(row["loss"])
    network = trained.restore(tmp_path / "run")
    assert network.step == 1 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(network.params))
    with checkpoint.manager(tmp_path / "run") as checkpoints:
        assert checkpoint.latest_step(checkpoints) == 1
