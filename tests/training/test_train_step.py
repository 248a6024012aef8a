import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dfjax import models
from dfjax.inference import scorers
from dfjax.models import functional, heads
from dfjax.records import InputError
from dfjax.runtime import checkpoint, devices, process
from dfjax.training import losses, recipe, train_step
from tests import job, prepared


class Toy(nnx.Module):
    """Batch normalisation, dropout and a head: every kind of state a detector has."""

    def __init__(self, *, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.3)
        self.head = heads.Linear(8, rngs=rngs)

    def embed(self, x, *, rngs=None):
        return self.dropout(jax.nn.relu(self.norm(self.hidden(x))), rngs=rngs)

    def __call__(self, x, *, rngs=None):
        return self.head(self.embed(x, rngs=rngs))


def bce(logits, labels, step):
    return losses.binary_cross_entropy(logits, labels)


@pytest.fixture(scope="module")
def made():
    tx = optax.adam(1e-2)
    graphdef, state = train_step.create(lambda rngs: Toy(rngs=rngs), tx, jax.random.key(0), ema=True)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((16, 4)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 2, 16), jnp.int32)
    step = lambda state, data, key: train_step.update(state, *data, key, graphdef=graphdef, tx=tx, loss=bce, ema=0.9)  # noqa: E731
    return graphdef, state, (x, y), step


@pytest.fixture
def problem(made):
    """Of a copy of the state, which a compiled step takes for its own."""
    graphdef, state, data, step = made
    return graphdef, jax.tree.map(jnp.copy, state), data, step


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_several_steps_per_dispatch_equal_the_same_steps_one_by_one(problem):
    _, state, data, step = problem
    key = jax.random.key(1)
    together, metrics = train_step.compile_steps(step, 6)(jax.tree.map(jnp.copy, state), data, key)
    one = train_step.compile_steps(step, 1)
    for _ in range(6):
        state, _ = one(state, data, key)
    assert metrics["loss"].shape == (6,)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), state, together)


def test_a_single_step_is_no_loop(problem):
    """In a loop, even one of a single turn, XLA's CPU backend takes ten times as long for convolutions."""
    _, state, data, step = problem

    def loops(steps):  # the random numbers of dropout have some of their own
        program = train_step.compile_steps(step, steps).lower(state, data, jax.random.key(1))
        return program.as_text().count("stablehlo.while")

    assert loops(1) < loops(2) == loops(3)


def test_the_step_compiles_once(problem):
    _, state, data, step = problem
    run = train_step.compile_steps(step, 1)
    for _ in range(4):
        state, _ = run(state, data, jax.random.key(0))
    assert run._cache_size() == 1


def test_a_run_is_a_function_of_its_seed(problem):
    _, state, data, step = problem
    run = train_step.compile_steps(step, 3)
    first, _ = run(jax.tree.map(jnp.copy, state), data, jax.random.key(7))
    again, _ = run(jax.tree.map(jnp.copy, state), data, jax.random.key(7))
    other, _ = run(jax.tree.map(jnp.copy, state), data, jax.random.key(8))
    equal(first, again)
    assert not np.array_equal(first.params["head"]["out"]["kernel"], other.params["head"]["out"]["kernel"])


def test_the_average_follows_the_parameters_by_its_warmed_up_decay(problem):
    _, state, data, step = problem
    new, _ = jax.jit(step)(state, data, jax.random.key(0))
    decay = min(0.9, 1 / 10)
    expected = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, new.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), new.average, expected)
    equal(checkpoint.eval_params(new), new.average)


def test_evaluation_is_deterministic_and_leaves_statistics_alone(problem):
    graphdef, state, (x, _), _ = problem
    model = functional.evaluation_model(graphdef, state.params, state.model_state)
    np.testing.assert_array_equal(model(x), model(x))
    equal(functional.split(model)[2], state.model_state)


def test_training_updates_running_statistics_and_counts_steps(problem):
    _, state, data, step = problem
    new, metrics = jax.jit(step)(state, data, jax.random.key(0))
    assert int(new.step) == int(state.step) + 1
    assert not np.array_equal(new.model_state["norm"]["mean"], state.model_state["norm"]["mean"])
    assert np.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0


def test_a_state_compiled_for_one_call_has_the_numbers_of_one_compiled_for_many(monkeypatch):
    build = functools.partial(models.build, "texture")
    make = lambda: train_step.create(lambda rngs: build(rngs=rngs), optax.adam(1e-2), jax.random.key(0), ema=True)[1]  # noqa: E731
    once = make()
    monkeypatch.setattr(process, "compiled_once", lambda: {"xla_backend_optimization_level": 3})
    equal(once, make())


def test_the_head_can_start_at_the_log_odds():
    def build(rngs):
        model = Toy(rngs=rngs)
        heads.start_at(model.head, -2.3)
        return model

    _, state = train_step.create(build, optax.sgd(1.0), jax.random.key(0), ema=False)
    np.testing.assert_allclose(state.params["head"]["out"]["bias"], [-2.3])
    assert state.average is None


def test_shapes_are_those_of_the_state_and_name_its_place():
    place = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    words = {"ema": True, "sharding": place}
    tx, key = optax.adam(1e-2), jax.random.key(0)
    graphdef, shapes = train_step.create(lambda rngs: Toy(rngs=rngs), tx, key, shapes_only=True, **words)
    same, state = train_step.create(lambda rngs: Toy(rngs=rngs), tx, key, **words)
    assert graphdef == same
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(shapes), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding)


class Plain(nnx.Module):
    """Nothing that depends on the other examples of a batch."""

    def __init__(self, *, rngs, dropout=0.0):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = heads.Linear(8, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        return self.head(self.dropout(jnp.tanh(self.norm(self.hidden(x["a"]))), rngs=rngs))


def after(build, parts, data, steps=3):
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))
    graphdef, state = train_step.create(build, tx, jax.random.key(0), ema=True)
    step = lambda state, data, key: train_step.update(
        state, *data, key, graphdef=graphdef, tx=tx, loss=bce, ema=0.9, accumulate=parts
    )  # noqa: E731
    return train_step.compile_steps(step, steps)(state, data, jax.random.key(1))


@pytest.fixture
def large():
    rng = np.random.default_rng(1)
    x = {"a": jnp.asarray(rng.standard_normal((24, 4)), jnp.float32)}
    return x, jnp.asarray(np.sort(rng.integers(0, 2, 24)), jnp.int32)


@pytest.mark.parametrize("parts", [2, 3, 24])
def test_a_batch_in_parts_is_the_batch(large, parts):
    build = lambda rngs: Plain(rngs=rngs)  # noqa: E731
    (state, values), (same, again) = after(build, 1, large), after(build, parts, large)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)  # noqa: E731
    jax.tree.map(close, (state, values), (same, again))
    assert int(same.step) == 3


def once(build, data, key, **words):
    """The values of one step."""
    tx = optax.sgd(0.1)
    graphdef, state = train_step.create(build, tx, jax.random.key(0), ema=False)
    step = functools.partial(train_step.update, graphdef=graphdef, tx=tx, loss=bce, **words)
    return jax.jit(step)(state, *data, key)[1]


def test_each_part_draws_its_own_dropout(large):
    same = jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), large)
    half = jax.tree.map(lambda a: a[:12], same)
    key = jax.random.key(3)
    build = lambda rngs: Plain(rngs=rngs, dropout=0.5)  # noqa: E731
    whole = once(build, same, key, accumulate=2)["loss"]
    each = [once(build, half, jax.random.fold_in(key, i))["loss"] for i in (0, 1)]
    assert each[0] != each[1]
    np.testing.assert_allclose(whole, np.mean(each), rtol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_hold_every_example_once_and_hand_on_the_statistics(parts):
    def note(params, model_state, x, labels, key):  # what it is given, as if it were a gradient
        seen, i = model_state
        return (jnp.zeros(()), (seen.at[i].set(x), i + 1)), params

    start = jnp.zeros((parts, 24 // parts), jnp.int32), 0
    rows = jnp.arange(24)
    (_, (seen, count)), _ = train_step.in_parts(note, parts)(jnp.ones(3), start, rows, rows, jax.random.key(0))
    assert count == parts
    np.testing.assert_array_equal(np.sort(seen.ravel()), rows)
    # one of each `parts` neighbours, which need not be the same one of all
    np.testing.assert_array_equal(np.sort(seen // parts, axis=1), np.tile(np.arange(24 // parts), (parts, 1)))
    assert len(set((seen[0] % parts).tolist())) > 1


def test_parts_stay_on_the_devices_that_hold_the_batch(large):
    mesh = devices.make_mesh(12)
    data = jax.device_put(large, devices.split_batch(mesh))
    tx = optax.sgd(0.1)
    graphdef, state = train_step.create(
        lambda rngs: Plain(rngs=rngs), tx, jax.random.key(0), ema=False, sharding=devices.replicated(mesh)
    )
    step = lambda state, data, key: train_step.update(
        state, *data, key, graphdef=graphdef, tx=tx, loss=bce, accumulate=2
    )  # noqa: E731
    run = train_step.compile_steps(step, 1, devices.replicated(mesh))
    text = run.lower(state, data, jax.random.key(0)).compile().as_text()
    assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text


@pytest.mark.parametrize("parts", [0, -2, 3, 16])
def test_parts_that_do_not_divide_the_batch_are_refused(parts):
    with pytest.raises(InputError, match=f"config.train.accumulate={parts} must divide config.train.batch=8"):
        recipe.part_size(job.config(**{"train.accumulate": parts}))
    assert recipe.part_size(job.config()) == 8
    assert recipe.part_size(job.config(**{"train.accumulate": 4})) == 2


def test_a_whole_run_compiles_its_step_once_and_its_scorer_once(tmp_path, caplog):
    """Two evaluations and the scoring of two splits included; all clips of one length."""
    directory = prepared.make(tmp_path / "prepared")
    scorers.make_scorer.cache_clear()  # of the runs of other tests
    with jax.log_compiles():
        job.job(tmp_path / "run", directory, **{"train.steps": 4, "train.eval_every": 2})
    said = [record.getMessage() for record in caplog.records]
    compiled = [re.search(r"Finished XLA compilation of (\S+)", line) for line in said]
    names = [found[1] for found in compiled if found]
    assert names.count("jit(run)") == names.count("jit(score)") == 1
