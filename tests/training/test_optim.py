import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dfjax.records import InputError
from dfjax.training import optim

PARAMS = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2), "scale": jnp.ones(3)}


def test_the_cosine_at_its_corners():
    rate = optim.build_schedule("cosine", 100, learning_rate=1e-3, final=1e-5, warmup_steps=9)
    warm = [float(rate(step)) for step in range(10)]
    np.testing.assert_allclose(warm, 1e-3 * np.arange(1, 11) / 10, 1e-6)
    np.testing.assert_allclose(rate(9 + 91 / 2), (1e-3 + 1e-5) / 2, 1e-5)
    np.testing.assert_allclose([rate(100), rate(150)], 1e-5, 1e-5)
    assert np.all(np.diff([float(rate(step)) for step in range(9, 101)]) < 0)


def test_without_warm_up_the_first_rate_is_the_peak():
    for name in ("cosine", "constant"):
        assert float(optim.build_schedule(name, 50, learning_rate=0.25)(0)) == 0.25
    constant = optim.build_schedule("constant", 50, learning_rate=0.25, warmup_steps=4)
    np.testing.assert_allclose([constant(step) for step in (0, 3, 4, 49)], [0.05, 0.2, 0.25, 0.25], 1e-6)


def test_decay_spares_biases_and_norms():
    assert optim.decayed(PARAMS) == {"kernel": True, "bias": False, "scale": False}
    tx, _ = optim.build(total_steps=10, learning_rate=0.1, schedule="constant", weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["kernel"], -0.05, 1e-6)  # decoupled: rate times decay times weight
    assert not updates["bias"].any() and not updates["scale"].any()


def test_coupled_decay_goes_through_the_moments():
    tx, _ = optim.build(total_steps=10, learning_rate=0.1, optimizer="adam", weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    for leaf in jax.tree.leaves(updates):  # Adam's first step has the size of the rate, whatever the gradient
        np.testing.assert_allclose(leaf, -0.1, 1e-5)


def test_clipping_bounds_the_gradient_not_the_direction():
    gradient = {"w": jnp.array([[3.0, 4.0]])}
    sizes = []
    for clip_norm in (1.0, None):
        tx, _ = optim.build(total_steps=10, learning_rate=1.0, clip_norm=clip_norm)
        _, state = tx.update(gradient, tx.init(gradient), gradient)
        moment = optax.tree_utils.tree_get(state, "mu")["w"]
        np.testing.assert_allclose(moment[0, 1] / moment[0, 0], 4 / 3, 1e-6)
        sizes.append(float(jnp.linalg.norm(moment)))
    np.testing.assert_allclose(sizes, [0.1, 0.5], 1e-5)


def test_it_descends():
    tx, _ = optim.build(total_steps=200, learning_rate=0.1, warmup_steps=10, clip_norm=1.0)

    @jax.jit
    def step(carry):
        w, state = carry
        updates, state = tx.update(2 * (w - 3), state, w)
        return optax.apply_updates(w, updates), state

    carry = jnp.zeros(2), tx.init(jnp.zeros(2))
    for _ in range(200):
        carry = step(carry)
    np.testing.assert_allclose(carry[0], 3, 1e-2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"warmup_steps": 10}, "warmup_steps must be in .* got 10 of 10"),
        ({"final_learning_rate": 1.0}, "got 1.0 and 0.1"),
    ],
)
def test_what_makes_no_schedule_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        optim.build(total_steps=10, learning_rate=0.1, **words)


def test_running_mean_is_the_mean():
    snapshots = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    mean = jnp.asarray(snapshots[0])
    for count, snapshot in enumerate(snapshots[1:], start=1):
        mean = optim.running_mean(mean, jnp.asarray(snapshot), count)
    np.testing.assert_allclose(mean, snapshots.mean(0), 1e-5, 1e-6)
