"""AASIST: the released weights give the released numbers; parts obey their definitions; one compilation."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.features import sinc
from dfjax.models import aasist, graph_attention, torch_file
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from tests.models import seeded

RELEASED = pathlib.Path(__file__).resolve().parents[2] / "../shared/data/aasist"
PARITY = 1e-4  # of logits near 5: float32 rounding through 20 layers
SAMPLES = 64_600
T = np.arange(SAMPLES) / 16_000


def golden_inputs():
    rate = 3800 / (2 * SAMPLES / 16_000)
    tone = 0.1 * np.sin(2 * np.pi * 440 * T)
    chirp = 0.3 * np.sin(2 * np.pi * (100 * T + rate * T**2))
    square = 0.2 * np.sign(np.sin(2 * np.pi * 150 * T)) * np.exp(-T)
    return np.stack([tone, np.zeros_like(T), chirp, square]).astype(np.float32)


def evaluating(model):
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def training(model):
    return nnx.view(model, deterministic=False, use_running_average=False)


def light():
    """A small AASIST-L: (graph, params, statistics)."""
    return nnx.split(seeded.model(lambda: aasist.AASIST(rngs=Rngs(0), variant="light")), nnx.Param, ...)


@pytest.fixture(scope="module")
def released():
    if not RELEASED.exists():
        pytest.skip("needs ../shared/data/aasist")
    return evaluating(aasist.load(RELEASED / "AASIST.pth"))


@pytest.mark.parametrize(("variant", "count"), [("full", 297_866), ("light", 85_306)])
def test_parameter_count(variant, count):
    model = nnx.eval_shape(lambda: aasist.AASIST(rngs=Rngs(0), variant=variant))
    assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == count


def test_released_weights_give_the_golden_numbers(released):
    golden = json.loads((RELEASED / "golden.json").read_text())["AASIST"]
    embedding = jax.jit(lambda x: released.embed(x))(jnp.asarray(golden_inputs()))
    logits = released.head.out(embedding)
    np.testing.assert_allclose(logits, golden["logits"], atol=PARITY)
    np.testing.assert_allclose(embedding[:, :5], golden["hidden_first5"], atol=PARITY)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), golden["hidden_l2"], atol=PARITY)
    np.testing.assert_allclose(released.head(embedding), logits[:, 0] - logits[:, 1], atol=1e-6)


def test_one_compilation_over_batches_and_top_k(released):
    score = jax.jit(lambda x: released(x))
    for seed in range(3):
        score(jnp.asarray(np.random.default_rng(seed).normal(0, 0.1, (1, 8_000)), jnp.float32))
    assert score._cache_size() == 1


@pytest.mark.parametrize(("filters", "taps", "over"), [(70, 129, 3), (20, 1025, 1)])
def test_pooled_bank_is_the_maximum_of_the_convolution(filters, taps, over):
    x = np.random.default_rng(0).normal(size=taps + 610).astype(np.float32)
    y = np.abs([np.convolve(x, h, "valid") for h in sinc.bank(filters, taps)])
    bands, thirds = filters // over, y.shape[1] // 3
    expected = y[: bands * over, : 3 * thirds].reshape(bands, over, thirds, 3).max((1, 3)).T
    pooled = sinc.pooled(jnp.asarray(x)[None], filters=filters, taps=taps, over=over)[0]
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_bank_is_symmetric_and_passes_its_band():
    bank = sinc.bank(70, 129)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-7)
    response = np.abs(np.fft.rfft(bank, 4096))
    centre = response.argmax(axis=1) * 16_000 / 4096
    assert np.all(np.diff(centre[20:]) > 0)  # below that, bands are narrower than the window resolves
    np.testing.assert_allclose(response[-1].max(), 1, atol=0.05)


def test_pool_keeps_the_best_in_falling_order():
    pool = evaluating(graph_attention.Pool(1, 0.5, rngs=Rngs(0)))
    pool.proj.kernel.set_value(jnp.ones((1, 1)))
    x = jnp.array([[[-1.0], [3.0], [0.5], [2.0], [1.0]]])
    expected = np.array([3.0, 2.0]) / (1 + np.exp([-3.0, -2.0]))
    np.testing.assert_allclose(pool(x)[0, :, 0], expected, rtol=1e-6)


@pytest.mark.slow
def test_training_drops_updates_statistics_and_reaches_every_used_parameter():
    graph, params, rest = light()
    x = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (2, 5_000)), jnp.float32)

    @jax.jit
    def step(params, key):
        def loss(params):
            model = training(nnx.merge(graph, params, rest, copy=True))
            logits = model(x, rngs=Rngs(dropout=key))
            return (logits**2).sum(), (logits, model.first_bn.mean[...])

        return jax.grad(loss, has_aux=True)(params)

    gradient, (logits, mean) = step(params, jax.random.key(1))
    np.testing.assert_array_equal(logits, step(params, jax.random.key(1))[1][0])
    assert not np.allclose(logits, step(params, jax.random.key(2))[1][0])
    assert mean[0] != 0
    for path, value in nnx.to_flat_state(gradient):
        name = ".".join(map(str, path))
        assert np.all(np.isfinite(value[...]))
        if not name.endswith("conv1.bias"):  # batch norm takes it out again: no slope but rounding
            assert (np.abs(value[...]).max() > 0) == (".bn1." not in name), name


@pytest.mark.parametrize("change", ["missing", "left over", "shape"])
def test_a_checkpoint_that_does_not_fit_is_refused(change, tmp_path, monkeypatch):
    if not RELEASED.exists():
        pytest.skip("needs ../shared/data/aasist")
    weights = dict(torch_file.state_dict(RELEASED / "AASIST.pth"))
    if change == "missing":
        del weights["out_layer.bias"]
    elif change == "left over":
        weights["extra.bias"] = np.zeros(3, np.float32)
    else:
        weights["out_layer.bias"] = np.zeros(3, np.float32)
    monkeypatch.setattr(torch_file, "state_dict", lambda path: weights)
    with pytest.raises(InputError, match=r"head\.out\.bias|extra\.bias"):
        aasist.load(tmp_path / "changed.pth")


def test_too_short_a_clip_is_named():
    def shape(samples):
        model = evaluating(aasist.AASIST(rngs=Rngs(0), variant="light"))
        return model(jnp.zeros((1, samples)))

    assert jax.eval_shape(lambda: shape(aasist.SHORTEST)).shape == (1,)
    with pytest.raises(InputError, match=str(aasist.SHORTEST)):
        jax.eval_shape(lambda: shape(aasist.SHORTEST - 1))
    with pytest.raises(InputError, match="expected one of"):
        aasist.AASIST(rngs=Rngs(0), variant="huge")


def graph_slopes(x, **options):
    """The gradient of the graphs of an AASIST with dropout, compiled with XLA's `options`."""
    channels, width, keep = aasist.CHANNELS["full"][-1], aasist.GRAPH["full"], aasist.KEEP["full"]
    model = graph_attention.Graphs(channels, width, keep, aasist.BANDS, rngs=Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        model = nnx.view(nnx.merge(graph, params, rest, copy=True), deterministic=False)
        logits = nnx.view(model, use_running_average=False)(x, rngs=Rngs(dropout=1)).mean(axis=1)
        return jax.nn.softplus(logits).mean()

    slopes = jax.jit(jax.grad(loss), compiler_options=options)(params)
    return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slopes)])


def test_the_gradient_does_not_depend_on_what_the_compiler_merges():
    """With jnp.maximum and jnp.max it was off by 19 % here, and not a number without optimisation; see `pooling`."""
    x = jax.random.normal(jax.random.key(0), (4, aasist.BANDS, 29, aasist.CHANNELS["full"][-1]))
    exact, found = graph_slopes(x, xla_backend_optimization_level=0), graph_slopes(x)
    assert np.linalg.norm(found - exact) < 1e-5 * np.linalg.norm(exact)
