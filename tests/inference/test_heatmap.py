import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.inference import heatmap
from dfjax.models.cnn_small import CNNSmall
from dfjax.records import InputError


class Bright(nnx.Module):
    """A detector whose logit is the mean of the red channel."""

    def features(self, x):
        return nnx.avg_pool(x, (4, 4), (4, 4))

    def pool(self, maps, rngs=None):
        return maps.mean(axis=(1, 2))

    def head(self, x):
        return x[:, 0]


class Looks(nnx.Module):
    """A transformer whose first block looks at patch `k` alone; in the others all tokens look at themselves."""

    def __init__(self, k, depth=2, side=4):
        self.k, self.depth, self.n = k, depth, side**2 + 1

    def attentions(self, x):
        eye = jnp.broadcast_to(jnp.eye(self.n), (self.depth, len(x), 3, self.n, self.n))
        return eye.at[0, :, :, 0].set(jax.nn.one_hot(self.k + 1, self.n)[None, None])


def test_grad_cam_finds_what_raises_the_logit():
    x = jnp.zeros((2, 16, 16, 3)).at[0, 4:8, 8:12, 0].set(1.0).at[1, 4:8, 8:12, 2].set(1.0)
    maps = jax.jit(lambda x: heatmap.grad_cam(Bright(), x))(x)
    assert maps.shape == (2, 16, 16)
    row, column = np.unravel_index(maps[0].argmax(), (16, 16))
    assert 4 <= row < 8 and 8 <= column < 12 and maps[0].max() == 1
    np.testing.assert_array_equal(maps[1], 0)  # the blue patch does not raise it


class Contrast(Bright):
    """A detector whose logit is the red of the left half less that of the right."""

    def pool(self, maps, rngs=None):
        half = maps.shape[2] // 2
        return (maps[:, :, :half] - maps[:, :, half:]).mean(axis=(1, 2))


def test_a_network_that_weighs_places_gets_a_map_of_the_places_that_raise_the_logit():
    maps = heatmap.grad_cam(Contrast(), jnp.ones((1, 16, 16, 3)))
    assert maps[:, :, :6].min() == 1 and maps[:, :, 10:].max() == 0


def test_the_map_of_a_window_lies_in_the_centre():
    model = nnx.view(CNNSmall(rngs=nnx.Rngs(0), window=32), deterministic=True, use_running_average=True)
    x = jax.random.uniform(jax.random.key(0), (1, 41, 50, 3))
    maps = heatmap.grad_cam(model, x)
    assert maps.shape == (1, 41, 50)
    np.testing.assert_allclose(maps[:, 4:36, 9:41], heatmap.grad_cam(model, x[:, 4:36, 9:41]), atol=1e-5)
    assert maps[:, :4].max() == maps[:, 36:].max() == maps[..., :9].max() == maps[..., 41:].max() == 0


def test_rollout_finds_the_patch_that_is_looked_at():
    maps = heatmap.attention_rollout(Looks(6), jnp.zeros((1, 16, 16, 3)))
    row, column = np.unravel_index(maps[0].argmax(), (16, 16))
    assert (row // 4, column // 4) == (1, 2) and maps.min() == 0 and maps.max() == 1


@pytest.mark.parametrize("depth", [1, 5])
def test_rollout_is_a_flow_that_sums_to_one(depth):
    """Before it is scaled: rows of each factor sum to one, so do those of the product."""
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (depth, 1, 1, 17, 17)))

    class Model(nnx.Module):
        def attentions(self, x):
            return attention

    expected = np.eye(17)
    for a in attention[:, 0, 0]:
        expected = (np.asarray(a) + np.eye(17)) / 2 @ expected
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    patches = expected[0, 1:].reshape(4, 4)
    maps = heatmap.attention_rollout(Model(), jnp.zeros((1, 4, 4, 3)))
    np.testing.assert_allclose(maps[0], (patches - patches.min()) / np.ptp(patches), atol=1e-4)


def test_the_kind_follows_from_the_detector():
    x = jnp.ones((1, 16, 16, 3))
    np.testing.assert_array_equal(heatmap.heat_map(Bright(), x), heatmap.grad_cam(Bright(), x))
    np.testing.assert_array_equal(heatmap.heat_map(Looks(3), x), heatmap.attention_rollout(Looks(3), x))
    with pytest.raises(InputError, match="has no heat map"):
        heatmap.heat_map(nnx.Dropout(0.5), x)
