"""The head that is fitted again: the regression it says it is, weights of rows, constant features."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression

from dfjax.training import linear_head


def blobs(n_real=300, n_fake=30, dim=4, shift=1.0):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [n_real, n_fake])
    x = rng.normal(size=(len(labels), dim)) + shift * labels[:, None]
    return x.astype(np.float32), labels


def test_the_head_is_the_regression_it_says():
    x, y = blobs(n_real=400, n_fake=200, dim=8, shift=0.5)
    x = x * np.float32([1, 10, 0.1, 1, 1, 1, 1, 1]) + np.float32(3)
    head = linear_head.fit(x, y, l2=1e-2)["out"]
    mean, spread = x.mean(0), x.std(0)
    reference = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-10, max_iter=10_000).fit((x - mean) / spread, y)
    expected = reference.decision_function((x - mean) / spread)
    got = x @ head["kernel"][:, 0] + head["bias"]
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert head["kernel"].shape == (8, 1) and head["bias"].shape == (1,) and head["kernel"].dtype == np.float32
    np.testing.assert_array_equal(linear_head.fit(x, y, l2=1e-2)["out"]["kernel"], head["kernel"])


def test_row_weights_are_repeats():
    x, y = blobs(n_real=60, n_fake=20)
    repeats = np.where(y == 1, 3, 1)
    weighted = linear_head.fit(x, y, weights=repeats.astype(float))["out"]
    # the same examples, but standardised alike: repeat after the fact by giving both the same spread
    kernel, bias = weighted["kernel"][:, 0], weighted["bias"]
    z = x @ kernel + bias
    residual = repeats * (1 / (1 + np.exp(-z)) - y)
    assert abs(residual.sum() / repeats.sum()) < 1e-4  # stationary in the bias, which has no penalty


def test_a_constant_feature_gets_no_weight():
    x, y = blobs()
    x[:, 1] = 7.0
    kernel = linear_head.fit(x, y)["out"]["kernel"]
    assert kernel[1] == 0 and np.isfinite(kernel).all()


def test_its_products_are_exact_on_any_device():
    """A GPU or TPU multiplies with few digits unless told."""
    words = jnp.zeros(4), jnp.zeros((5, 3)), jnp.ones(5), jnp.ones(5), 0.1
    program = str(jax.make_jaxpr(linear_head._regression)(*words))
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
