"""wav2vec 2.0 equals transformers at weights drawn by formula; what is frozen stays; sizes are published."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import nnx

from dfjax import models
from dfjax.models import wav2vec2, weights
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from dfjax.training import pretrained, train_step
from tests.models import seeded

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/wav2vec2.json").read_text())
PARITY = 1e-4
TINY = wav2vec2.Size(
    32, 2, 4, 48, group_norm=False, conv_bias=True, pre_norm=True, conv_dim=16, position_kernel=8, position_groups=4
)


def count(module):
    return sum(p.size for p in jax.tree.leaves(nnx.state(module, nnx.Param)))


def evaluating(model):
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def folder(path, kind, **changes):
    """A folder as Hugging Face stores it, with weights drawn by formula."""
    golden = GOLDEN["models"][kind]
    (path / "config.json").write_text(json.dumps(golden["config"] | changes))
    safetensors.numpy.save_file(seeded.weights(golden["shapes"]), path / "model.safetensors")
    return path


# published counts include the 1024 or 768 numbers that stand for masked frames in pre-training
@pytest.mark.parametrize(("size", "published"), [("base", 94_371_712 - 768), ("xlsr_300m", 315_438_720 - 1024)])
def test_parameter_count(size, published):
    model = nnx.eval_shape(lambda: wav2vec2.Wav2Vec2(rngs=Rngs(0), size=size))
    assert count(model.encoder) == published


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_equals_transformers(kind, tmp_path):
    model = evaluating(wav2vec2.load(folder(tmp_path, kind)))
    x = seeded.waveforms(GOLDEN["samples"])
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-7)
    states = jax.jit(lambda x: model.encoder(x))(jnp.asarray(x))
    golden = GOLDEN["models"][kind]
    np.testing.assert_allclose(states[0][:, 5], golden["first_state_frame5"], atol=PARITY)
    np.testing.assert_allclose(states[-1][:, 5], golden["last_frame5"], atol=PARITY)
    np.testing.assert_allclose(jnp.sqrt((states[-1] ** 2).sum((1, 2))), golden["last_l2"], rtol=PARITY)
    louder = jax.jit(lambda x: model.embed(3 * x + 0.1))(jnp.asarray(x))
    np.testing.assert_allclose(louder, states[-1].mean(axis=1), atol=PARITY)


@pytest.mark.parametrize(
    ("name", "more"),
    [pytest.param("wav2vec2", {"back_end": "aasist"}, marks=pytest.mark.slow), ("wav2vec2_frozen", {})],
)
def test_a_run_of_either_kind_starts_from_released_weights_and_may_mix_their_layers(name, more, tmp_path):
    """The frozen kind was in no table of released weights, and a mix of layers was taken for another network."""
    path = folder(tmp_path, "layer")
    words = {"size": wav2vec2._size(path / "config.json"), "weighted": True, **more}
    build = lambda rngs: models.build(name, rngs=rngs, **words)
    state = train_step.create(build, optax.sgd(0.1), jax.random.key(0), ema=False)[1]
    pretrained.check(name, str(path))
    begun = pretrained.start(state, name, str(path))
    released = nnx.to_pure_dict(nnx.state(wav2vec2.load(path).encoder, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, begun.params["encoder"], released)
    assert {"layer_weights", "head"} <= state.params.keys() - {"encoder"}
    for part in state.params.keys() - {"encoder"}:
        jax.tree.map(np.testing.assert_array_equal, begun.params[part], state.params[part])


def test_older_names_of_the_positional_convolution_are_read():
    shapes = GOLDEN["models"]["layer"]["shapes"]
    new = seeded.weights(shapes)
    stem = "encoder.pos_conv_embed.conv."
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in new.items()
    }
    assert stem + "weight_g" in old
    ours, again = (wav2vec2.from_hugging_face({f"wav2vec2.{k}": v for k, v in w.items()}) for w in (old, new))
    assert ours.keys() == again.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], again[name])


def gradient(cls, **kwargs):
    model = seeded.model(lambda: cls(rngs=Rngs(0), size=TINY, **kwargs))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    x = jnp.asarray(seeded.waveforms(6_400))

    @jax.jit
    def of(params):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            model = nnx.view(model, deterministic=False, use_running_average=False, raise_if_not_found=False)
            return (model(x, rngs=Rngs(dropout=0)) ** 2).sum()

        return jax.grad(loss)(params)

    return {path: np.abs(value[...]).max() for path, value in nnx.to_flat_state(of(params))}


@pytest.mark.parametrize("cls", [wav2vec2.Wav2Vec2, wav2vec2.Wav2Vec2Frozen])
def test_what_is_trainable_has_a_gradient_and_nothing_else(cls):
    for path, largest in gradient(cls, weighted=True).items():
        k_bias = path[-2:] == ("k_proj", "bias")  # moves all of a query's logits alike
        assert (largest > 0) == cls.trainable(path) or k_bias, path


@pytest.mark.slow  # compiles both
def test_graph_back_end_trains_on_a_frozen_encoder():
    largest = gradient(wav2vec2.Wav2Vec2Frozen, back_end="aasist")
    assert all(np.isfinite(value) for value in largest.values())
    trained = [value for path, value in largest.items() if path[0] == "head" or path[:2] == ("back_end", "projection")]
    frozen = [value for path, value in largest.items() if path[0] == "encoder"]
    assert len(trained) == 4 and min(trained) > 0 and max(frozen) == 0


def test_equal_layer_weights_are_the_mean_of_the_layers():
    model = evaluating(jax.jit(lambda: wav2vec2.Wav2Vec2(rngs=Rngs(0), size=TINY, weighted=True))())
    x = jnp.asarray(seeded.waveforms(1_600))
    x = (x - x.mean(axis=1, keepdims=True)) / jnp.sqrt(x.var(axis=1, keepdims=True) + 1e-7)
    states, embedding = jax.jit(lambda x: (model.encoder(x), model.embed(x)))(x)
    np.testing.assert_allclose(embedding, jnp.stack(states).mean(axis=(0, 2)), atol=1e-4)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="config.json"):
        wav2vec2.load(tmp_path)
    with pytest.raises(InputError, match="hidden_act"):
        wav2vec2.load(folder(tmp_path, "layer", hidden_act="relu"))
    with pytest.raises(InputError, match="shapes"):
        wav2vec2.load(folder(tmp_path, "layer", intermediate_size=64))
    with pytest.raises(InputError, match="expected one of"):
        wav2vec2.Wav2Vec2(rngs=Rngs(0), size="huge")
    with pytest.raises(InputError, match="expected one of"):
        wav2vec2.Wav2Vec2(rngs=Rngs(0), size=TINY, back_end="lstm")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "holds a list"),
        (b"{}", "hidden_size is missing, expected a number"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_attention_heads": 5}, "num_attention_heads is 5, expected a divisor of 32"),
        ({"num_conv_pos_embedding_groups": 0}, "num_conv_pos_embedding_groups is 0, expected a divisor of 32"),
        ({"feat_extract_norm": []}, "feat_extract_norm is .*, expected 'group' or 'layer'"),
        ({"conv_bias": "no"}, "conv_bias is 'no', expected true or false"),
        ({"conv_dim": []}, r"conv_dim is \[\], expected the same number seven times"),
        ({"conv_dim": [16] * 6 + [[]]}, "conv_dim is"),
    ],
)
def test_a_config_that_is_none_is_named(content, message, tmp_path):
    words = content if isinstance(content, dict) else {}
    folder(tmp_path, "layer", **words)
    if not words:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"^{tmp_path}/config.json:? {message}"):
        wav2vec2.load(tmp_path)


def test_what_is_no_factor_of_the_positions_is_left_over():
    """It took the kernel's place."""
    tensors = seeded.weights(GOLDEN["models"]["layer"]["shapes"])
    stem = "encoder.pos_conv_embed.conv"
    tensors[f"{stem}.extra"] = tensors[f"{stem}.parametrizations.weight.original1"]
    assert "positions.extra" in wav2vec2.from_hugging_face(tensors)


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_equals_transformers_where_installed(kind):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(**GOLDEN["models"][kind]["config"])
    reference = transformers.Wav2Vec2Model(config).eval()
    tensors = {name: value.numpy() for name, value in reference.state_dict().items()}
    size = (
        TINY
        if kind == "layer"
        else wav2vec2.dataclasses.replace(TINY, group_norm=True, conv_bias=False, pre_norm=False)
    )
    arrays = wav2vec2.from_hugging_face(tensors)
    encoder = weights.fill(lambda: wav2vec2.Encoder(size, rngs=Rngs(0)), arrays, "transformers")
    x = seeded.waveforms(5_000)
    with torch.no_grad():
        expected = reference(torch.tensor(x), output_hidden_states=True).hidden_states
    states = evaluating(encoder)(jnp.asarray(x))
    for ours, theirs in zip(states[:-1], expected, strict=False):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=PARITY)
    with torch.no_grad():
        np.testing.assert_allclose(states[-1], reference(torch.tensor(x)).last_hidden_state.numpy(), atol=PARITY)
