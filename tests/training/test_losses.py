import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.test_util import check_grads

from dfjax.records import InputError
from dfjax.training import losses

RTOL = 1e-6 if jax.default_backend() == "cpu" else 2e-5  # accelerators approximate exp and log1p
TINY = float(np.finfo(np.float32).tiny)  # below it float32 keeps no relative accuracy, and XLA rounds to 0

rng = np.random.default_rng(0)
Z = np.concatenate(
    [
        rng.uniform(-20, 20, 300),
        rng.uniform(-120, 120, 300),
        rng.choice([-1, 1], 300) * 10 ** rng.uniform(-30, 4, 300),
        [0.0, 1e4, -1e4, 16.6, 17.0, -16.6, 88.0, -88.0, 0.5, 709.0],
    ]
).astype(np.float32)
Y = (np.arange(len(Z)) % 2).astype(np.int32)
MODERATE = np.linspace(-8, 8, 65, dtype=np.float32)

KWARGS = {  # something valid for each entry of the table
    "weighted": {"weights": (0.55, 5.5)},
    "focal": {"gamma": 2.0},
    "class_balanced": {"weights": (0.26, 1.74), "gamma": 1.5},
    "logit_adjusted": {"prior": 0.1},
    "balanced_softmax": {"prior": 0.1},
    "ldam": {"margins": (0.28, 0.5), "weights": (0.55, 5.5)},
}


def exact(u, gamma):
    """The focal loss of the margin u and its derivative, in 80 digits."""
    mpmath.mp.dps = 80
    u, gamma = mpmath.mpf(float(u)), mpmath.mpf(gamma)
    p, q = 1 / (1 + mpmath.exp(-u)), 1 / (1 + mpmath.exp(u))
    log_p = -mpmath.log1p(mpmath.exp(-u)) if u > 0 else u - mpmath.log1p(mpmath.exp(u))
    return -(q**gamma) * log_p, (q**gamma) * (gamma * p * log_p - q)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 3.7, 5.0])
def test_focal_is_right_to_1e_5_at_any_logit(gamma):
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda z, y: losses.focal(z, y, gamma=gamma))))(Z, Y)
    for z, y, v, g in zip(Z, Y, np.asarray(value), np.asarray(gradient), strict=True):
        sign = 2 * int(y) - 1
        for got, want in zip((v, sign * g), exact(sign * z, gamma), strict=True):
            if abs(want) >= TINY:
                assert abs(float(got) / want - 1) <= 1e-5, (z, y, got)
            else:
                assert abs(float(got)) <= TINY, (z, y, got)


def test_gamma_zero_is_cross_entropy():
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=0.0), losses.binary_cross_entropy(Z, Y))
    expected = np.logaddexp(0, np.where(Y == 1, -Z, Z).astype(np.float64))
    np.testing.assert_allclose(losses.binary_cross_entropy(Z, Y), np.where(expected < TINY, 0, expected), RTOL)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_focal_over_cross_entropy_is_the_closed_form(gamma, p):
    z = np.float32([np.log(p / (1 - p))])
    ratio = losses.focal(z, np.ones(1), gamma=gamma) / losses.binary_cross_entropy(z, np.ones(1))
    np.testing.assert_allclose(ratio, (1 - p) ** gamma, 5e-6)


def test_alpha_weighs_fakes_and_its_complement_reals():
    plain = losses.focal(Z, Y, gamma=2.0)
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=2.0, alpha=0)[Y == 1], 0)
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=2.0, alpha=0)[Y == 0], plain[Y == 0])
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=2.0, alpha=1)[Y == 0], 0)
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=2.0, alpha=1)[Y == 1], plain[Y == 1])
    np.testing.assert_array_equal(losses.focal(Z, Y, gamma=2.0, alpha=0.5), 0.5 * plain)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_infinite_logits(gamma):
    step = jax.vmap(jax.value_and_grad(lambda z, y: losses.focal(z, y, gamma=gamma)))
    value, gradient = step(jnp.array([np.inf, -np.inf, -np.inf, np.inf]), jnp.array([1, 0, 1, 0]))
    np.testing.assert_array_equal(value, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(gradient, [0, 0, -1, 1])


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_loss_has_finite_values_and_right_gradients(name):
    loss = losses.build(name, **KWARGS.get(name, {}))
    value, gradient = jax.vmap(jax.value_and_grad(loss))(jnp.asarray(Z), jnp.asarray(Y))
    assert value.shape == Z.shape and value.dtype == jnp.float32
    assert np.isfinite(value).all() and np.isfinite(gradient).all() and (np.asarray(value) >= 0).all()
    for y in (0, 1):  # the loss falls towards the label's side
        assert (np.sign(gradient[y == Y]) * (2 * y - 1) <= 0).all()
    z = jnp.linspace(-2.03, 2.01, 9)
    check_grads(lambda z: loss(z, jnp.arange(9) % 2), (z,), order=2, modes=["fwd", "rev"], atol=0.05, rtol=0.05)
    np.testing.assert_allclose(jax.jit(loss)(Z, Y), loss(Z, Y), 2e-6)


@pytest.mark.parametrize("y", [0, 1])
def test_derivatives_at_zero_have_no_kink(y):
    loss = functools.partial(losses.focal, labels=np.int32(y), gamma=1.0)
    sign = 2 * y - 1
    np.testing.assert_allclose(jax.grad(loss)(0.0), -sign * (0.25 + np.log(2) / 4), 1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(functools.partial(losses.binary_cross_entropy, labels=y)))(0.0), 0.25)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_logits_are_widened_first(dtype):
    z = jnp.asarray(MODERATE, dtype)
    y = jnp.ones(len(z), jnp.int8)
    np.testing.assert_array_equal(losses.focal(z, y, gamma=2.0), losses.focal(z.astype(jnp.float32), y, gamma=2.0))
    gradient = jax.grad(lambda z: losses.focal(z, y, gamma=2.0).sum())(z)
    assert gradient.dtype == dtype and np.isfinite(gradient.astype(jnp.float32)).all()


def test_labels_of_any_type_mean_the_same():
    for labels in (Y.astype(bool), Y.astype(np.float32), Y.astype(np.uint8), jnp.asarray(Y)):
        np.testing.assert_array_equal(losses.focal(Z, labels, gamma=2.0), losses.focal(Z, Y, gamma=2.0))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(3, 1\) and \(3,\)"):
        losses.focal(np.zeros((3, 1), np.float32), np.zeros(3), gamma=2.0)
    with pytest.raises(TypeError, match="floating point, got int32"):
        losses.focal(np.zeros(3, np.int32), np.zeros(3), gamma=2.0)
    for labels, wrong in ((np.float32([0, 0.5]), "0.5"), (np.array([0, -1]), "-1"), (np.array([2, 1]), "2")):
        with pytest.raises(ValueError, match=f"must be 0 .* got {wrong}"):
            losses.focal(np.zeros(2, np.float32), labels, gamma=2.0)
    for kwargs in ({"gamma": -1}, {"gamma": np.nan}, {"gamma": 2, "alpha": -1}, {"gamma": 2, "alpha": 1.5}):
        with pytest.raises(ValueError, match="gamma|alpha"):
            losses.focal(np.zeros(2, np.float32), np.zeros(2), **kwargs)
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.binary_cross_entropy(np.zeros(2, np.float32), np.zeros(2), label_smoothing=1.0)


def test_a_label_that_cannot_be_seen_stops_training_instead():
    value = jax.jit(lambda y: losses.focal(jnp.zeros(3), y, gamma=2.0))(jnp.array([0, 1, -1]))
    np.testing.assert_array_equal(np.isnan(value), [False, False, True])


def test_build_names_what_it_knows():
    with pytest.raises(InputError, match=r"Unknown loss 'hinge'; expected one of \['am_softmax'"):
        losses.build("hinge")
    with pytest.raises(InputError, match="loss 'focal': .*gama"):
        losses.build("focal", gama=2.0)
    with pytest.raises(InputError, match="loss 'focal': .*gamma"):
        losses.build("focal")


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_smoothing_is_the_expectation_over_labels(gamma):
    smooth = losses.focal(MODERATE, np.ones(65), gamma=gamma, label_smoothing=0.2)
    fake, real = (losses.focal(MODERATE, np.full(65, y), gamma=gamma) for y in (1, 0))
    np.testing.assert_allclose(smooth, 0.9 * fake + 0.1 * real, RTOL)


def test_smoothed_focal_loss_has_the_documented_minimiser():
    z = np.linspace(-6, 6, 120_001, dtype=np.float32)
    loss = losses.focal(z, np.ones(len(z)), gamma=2.0, label_smoothing=0.2)
    assert abs(1 / (1 + np.exp(-z[np.argmin(loss)])) - 0.694) < 1e-3


def test_weights_scale_the_classes():
    weights = (0.55, 5.5)
    plain, weighted = losses.binary_cross_entropy(Z, Y), losses.weighted(Z, Y, weights=weights)
    np.testing.assert_allclose(weighted, np.where(Y == 1, 5.5, 0.55) * plain, RTOL)
    alpha = losses.focal(Z, Y, gamma=2.0, alpha=0.25)
    np.testing.assert_array_equal(losses.weighted(Z, Y, weights=(0.75, 0.25), gamma=2.0), alpha)


def test_logit_adjustment_shifts_by_the_prior():
    shifted = losses.binary_cross_entropy(MODERATE + np.float32(0.5 * np.log(0.1 / 0.9)), np.ones(65))
    np.testing.assert_allclose(losses.logit_adjusted(MODERATE, np.ones(65), prior=0.1, tau=0.5), shifted, 1e-6)
    np.testing.assert_array_equal(
        losses.balanced_softmax(MODERATE, np.ones(65), prior=0.1),
        losses.logit_adjusted(MODERATE, np.ones(65), prior=0.1, tau=1.0),
    )
    even = losses.logit_adjusted(MODERATE, np.ones(65), prior=0.5)
    np.testing.assert_array_equal(even, losses.binary_cross_entropy(MODERATE, np.ones(65)))


def test_ldam_without_margins_is_cross_entropy_and_margins_cost():
    plain = losses.binary_cross_entropy(Z, Y)
    np.testing.assert_allclose(losses.ldam(Z, Y, margins=(0.0, 0.0)), plain, RTOL)
    assert (
        losses.ldam(MODERATE, np.ones(65), margins=(0.2, 0.5)) > losses.ldam(MODERATE, np.ones(65), margins=(0.2, 0.3))
    ).all()


def test_deferred_weights_may_be_traced():
    @jax.jit
    def at(step):
        weights = jnp.where(step < 10, 1.0, jnp.array([0.55, 5.5]))
        return losses.ldam(MODERATE, jnp.ones(65), margins=(0.2, 0.5), weights=weights)

    np.testing.assert_allclose(at(10), 5.5 * at(9), RTOL)


def test_one_class_softmax_is_the_papers_formula():
    cosine = np.linspace(-1, 1, 21, dtype=np.float32)
    real, fake = (losses.oc_softmax(-cosine, np.full(21, y)) for y in (0, 1))
    c = cosine.astype(np.float64)
    np.testing.assert_allclose(real, np.log1p(np.exp(20 * (0.9 - c))), 3e-5)
    np.testing.assert_allclose(fake, np.log1p(np.exp(20 * (c - 0.2))), 3e-5)


def test_additive_margin_softmax_is_the_papers_formula():
    c_fake, c_real = rng.uniform(-1, 1, (2, 50))
    s, m = 20, 0.9
    numerator = np.exp(s * (c_fake - m))
    expected = -np.log(numerator / (numerator + np.exp(s * c_real)))
    got = losses.am_softmax((c_fake - c_real).astype(np.float32), np.ones(50))
    np.testing.assert_allclose(got, expected, 1e-4, 1e-6)


def test_how_alike_embeddings_are_is_exact_on_any_device():
    """A GPU or TPU multiplies with few digits unless told; 2 - 2 of alike ones would be noise."""
    program = jax.make_jaxpr(losses.uniformity_alignment)(jnp.ones((4, 8)), jnp.array([0, 0, 1, 1]))
    assert "precision=(Precision.HIGHEST, Precision.HIGHEST)" in str(program)
