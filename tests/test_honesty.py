"""Noise stays noise: nothing is resampled but training rows, and corrected scores are as honest as natural ones."""

import inspect
import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dfjax import rebalance
from dfjax.data import feeds, resident, sampling, sources
from dfjax.decide import metrics, score_file
from dfjax.imbalance import balance, rates, smote
from dfjax.inference import trained
from dfjax.models import functional, heads
from dfjax.reporting import comparison
from dfjax.runtime import checkpoint
from dfjax.training import losses, recipe, train_step
from tests import job, prepared

COUNTS = {"train": (150, 30), "validation": (20, 10), "test": (300, 60)}


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A prepared dataset in which real and fake sound alike."""
    patch = pytest.MonkeyPatch()
    clip = prepared._clip
    patch.setattr(prepared, "_clip", lambda rng, label, seconds: clip(rng, 0, seconds))
    yield prepared.make(tmp_path_factory.mktemp("noise"), counts=COUNTS, seconds=0.15)
    patch.undo()


def test_a_head_resampled_on_random_labels_finds_nothing_in_test(noise, tmp_path):
    """The head is fitted where no other split exists, so nothing of one can reach it."""
    alone = tmp_path / "alone"
    shutil.copytree(noise, alone)
    for path in list(alone.iterdir()):
        if "validation" in path.name or "test" in path.name:
            path.unlink()
    config = job.config(**{"data.seconds": 0.15, "balance.sampling": "natural", "loss.name": "binary_cross_entropy"})
    config.loss.kwargs, config.balance.head = {}, "smote"
    build = recipe.make_builder(config)
    tx, _ = recipe.make_optimizer(config)
    _, state = train_step.create(build, tx, jax.random.key(0), ema=True)
    for name in ("backbone", "head"):
        job.claim(tmp_path / name, config)
    with checkpoint.manager(tmp_path / "backbone") as checkpoints:
        checkpoint.save(checkpoints, state, {"average_precision": 0.5})
    resampled = rebalance.rebalance(config, tmp_path / "head", tmp_path / "backbone", alone)
    assert np.bincount(resampled.labels).tolist() == [150, 150]

    network = trained.restore(tmp_path / "head")
    model = functional.evaluation_model(network.graphdef, network.params, network.model_state)

    def auc(name):
        split = sources.open_split(noise, name)
        sound = resident.load(split, "audio")["audio"][:, :1600].astype(np.float32) / 32768
        return metrics.roc_auc(np.asarray(nnx.jit(lambda m, x: m(x))(model, jnp.asarray(sound))), split.label)

    assert np.abs(network.params["head"]["out"]["kernel"]).max() > 0.1  # it has learnt what there was: chance
    assert abs(auc("test") - 0.5) < 0.12  # three standard errors with 60 fakes


@pytest.mark.slow
def test_a_detector_trained_on_random_labels_finds_nothing_in_test(noise, tmp_path):
    job.job(tmp_path / "w", noise, **{"data.seconds": 0.15, "train.steps": 60, "train.eval_every": 30})
    test = score_file.read(tmp_path / "w/scores/made.test.csv")
    assert abs(metrics.roc_auc(test.score, test.label) - 0.5) < 0.12


def test_what_draws_or_resamples_is_handed_one_split():
    """Resampling before the split cannot be said: these take the training split, or its rows, and nothing else."""
    assert [*inspect.signature(recipe.make_strata).parameters] == ["config", "plan", "split"]
    assert [*inspect.signature(feeds.make).parameters][:3] == ["wanted", "split", "strata"]
    rows = ["labels", "methods", "mode", "class_rates", "domains", "weights", "seed"]
    assert [*inspect.signature(rates.draws).parameters] == rows
    assert [*inspect.signature(smote.resample).parameters][:3] == ["embeddings", "labels", "method"]


# ---------------------------------------------------------------------- log loss of real training steps


class Logistic(nnx.Module):
    """A head over two numbers: the true posterior is one of these."""

    def __init__(self, *, rngs):
        self.head = heads.Linear(2, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        return self.head(x)


def trained_on(x, y, mode, steps=600, batch=64):
    """A run of `steps` updates with batches drawn by `mode`: (scores of x, its ledger)."""
    methods = np.full(len(y), "")
    plan = balance.plan(rates.cell_counts(y, methods), sampling=mode)
    groups = sampling.strata(*rates.draws(y, methods, plan.sampling, dict(enumerate(plan.rates))))

    def build(rngs):
        model = Logistic(rngs=rngs)
        heads.start_at(model.head, plan.initial_bias)
        return model

    tx = optax.adam(optax.cosine_decay_schedule(0.05, steps))
    graphdef, state = train_step.create(build, tx, jax.random.key(0), ema=True)

    def one_step(state, data, key):
        rows = sampling.draw(key, data["groups"], batch)
        loss = lambda logits, labels, step: losses.build(plan.loss, **plan.loss_kwargs)(logits, labels)
        return train_step.update(
            state, data["x"][rows], data["y"][rows], key, graphdef=graphdef, tx=tx, loss=loss, ema=0.99
        )

    data = {"x": jnp.asarray(x), "y": jnp.asarray(y), "groups": jax.tree.map(jnp.asarray, groups)}
    state, _ = train_step.compile_steps(one_step, steps)(state, data, jax.random.key(1))
    model = functional.evaluation_model(graphdef, checkpoint.eval_params(state), state.model_state)
    return (lambda x: np.asarray(model(jnp.asarray(x)))), plan.ledger


def test_corrected_log_loss_of_a_balanced_run_is_within_its_interval_of_the_natural_run():
    rng = np.random.default_rng(0)
    y = (rng.random(8000) < 1 / 11).astype(np.int32)
    x = (rng.normal(size=(8000, 2)) + 1.2 * y[:, None]).astype(np.float32)
    train_rows, test = slice(0, 4000), slice(4000, None)
    names = np.arange(4000).astype(str)
    runs = {}
    for mode in ("natural", "balanced", "undersample"):
        score, ledger = trained_on(x[train_rows], y[train_rows], mode)
        clips = score_file.Scores(names, names, names, y[test], np.full(4000, ""), score(x[test]))
        runs[mode] = [comparison.Run(clips, 0.0, ledger, 1.0)]
    result = comparison.compare(runs)["experiments"]
    for mode in itertools.islice(runs, 1, None):
        change = result[mode]["difference"]
        assert not change["log_loss_corrected"]["exceeds"], (mode, change["log_loss_corrected"])
        assert abs(change["log_loss_corrected"]["value"]) < 0.01, mode
        assert change["log_loss"]["exceeds"] and not change["log_loss"]["better"], (
            mode
        )  # there was something to correct
