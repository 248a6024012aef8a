"""The mean of the best snapshots: what joins it, its statistics, and that a resumed run has the same one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import functional
from dfjax.records import InputError
from dfjax.runtime import checkpoint, devices
from dfjax.training import recipe, snapshots, train, train_step
from tests import job, prepared

PARTS = ("params", "model_state", "opt_state", "snapshots")


def test_only_the_best_so_far_join():
    rng = np.random.default_rng(0)
    values = [None, 0.5, 0.4, 0.5, 0.7, None, 0.6]
    params = [{"a": jnp.asarray(rng.normal(size=3), jnp.float32)} for _ in values]
    found = snapshots.start(params[0])
    for p, value in zip(params, values, strict=True):
        found = snapshots.add(found, p, value)
    expected = np.mean([params[i]["a"] for i in (1, 3, 4)], axis=0)
    np.testing.assert_allclose(found["mean"]["a"], expected, rtol=1e-6)
    assert int(found["count"]) == 3 and found["best"] == np.float32(0.7)


class Normed(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(2, momentum=0.99, rngs=nnx.Rngs(0))
        self.out = nnx.Linear(2, 1, rngs=nnx.Rngs(0))

    def __call__(self, x, *, rngs=None):
        return self.out(self.norm(x))[:, 0]


def test_statistics_are_the_mean_over_batches():
    graphdef, params, seen = functional.split(Normed())
    batches = np.random.default_rng(0).normal(3, 2, (4, 8, 2)).astype(np.float32)
    for count, x in enumerate(batches):
        seen = snapshots.statistics(graphdef, params, seen, jnp.asarray(count), jnp.asarray(x), jax.random.key(0))
    np.testing.assert_allclose(seen["norm"]["mean"], batches.mean(1).mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen["norm"]["var"], batches.var(1).mean(0), rtol=1e-5)


def settings(**optim):
    config = job.config()
    config.optim.update({"ema": 0.0, "swa": True, **optim})
    return config


def trained(folder, directory):
    """(best step, every part of the newest checkpoint, the log) after training."""
    summary = train.train(settings(), folder, directory, progress=False)
    config = settings()
    tx, _ = recipe.make_optimizer(config)
    everywhere = devices.replicated(devices.make_mesh())
    _, like = train_step.create(
        recipe.make_builder(config),
        tx,
        jax.random.key(0),
        ema=False,
        swa=True,
        sharding=everywhere,
        shapes_only=True,
    )
    with checkpoint.manager(folder) as checkpoints:
        step = checkpoint.latest_step(checkpoints)
        state = checkpoint.restore(checkpoints, step, like)
    return (summary, step, {part: getattr(state, part) for part in PARTS}, (folder / "metrics.jsonl").read_bytes())


def test_a_run_ends_with_the_mean_and_a_resumed_one_with_the_same(tmp_path, monkeypatch):
    directory = prepared.make(tmp_path / "data")
    summary, step, whole, log = trained(tmp_path / "whole", directory)
    assert summary["steps"] == 12 and step == 13 and summary["best_step"] in (4, 8, 12, 13)
    assert [row["step"] for row in map(json.loads, log.splitlines()) if "validation" in row] == [4, 8, 12, 13]
    jax.tree.map(np.testing.assert_array_equal, whole["params"], whole["snapshots"]["mean"])
    assert 1 <= int(whole["snapshots"]["count"]) <= 3

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        job.interrupt(patch, 6)
        train.train(settings(), tmp_path / "again", directory, progress=False)
    _, _, again, log_again = trained(tmp_path / "again", directory)
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    assert log == log_again
    summary = train.train(settings(), tmp_path / "again", directory, progress=False)  # nothing left to do
    assert (summary["examples"], summary["resumed_from"]) == (0, 13)
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == log


def test_two_averages_are_refused():
    with pytest.raises(InputError, match="expected one of them"):
        recipe.make_optimizer(settings(ema=0.9))
