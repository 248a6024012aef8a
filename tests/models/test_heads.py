"""Heads: cosines as the papers have them, and where an untrained run starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dfjax.models import heads
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from dfjax.run import main_job
from dfjax.training import losses, recipe, train, train_step
from experiments import audio_focal, loss_study, sampling_study
from tests import prepared


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32) * 3


LABELS = np.arange(50) % 2


def test_one_class_softmax_trains_on_the_cosine_to_the_real_direction(embeddings):
    head = heads.Cosine(8, 1, rngs=Rngs(0))
    cosine = (unit(embeddings) @ unit(np.asarray(head.direction[...])).T)[:, 0]
    logits = head(jnp.asarray(embeddings))
    np.testing.assert_allclose(logits, -cosine, atol=1e-6)
    # Zhang et al. 2021, equation 4: reals inside a cone of 0.9, fakes outside one of 0.2
    distance = np.where(LABELS == 0, 0.9 - cosine, cosine - 0.2)
    np.testing.assert_allclose(losses.oc_softmax(logits, LABELS), np.logaddexp(0, 20 * distance), rtol=1e-4, atol=1e-5)


def test_additive_margin_softmax_is_softmax_with_a_margin_off_the_true_cosine(embeddings):
    head = heads.Cosine(8, 2, rngs=Rngs(0))
    cosine = unit(embeddings) @ unit(np.asarray(head.direction[...])).T
    logits = head(jnp.asarray(embeddings))
    own, other = cosine[np.arange(50), LABELS], cosine[np.arange(50), 1 - LABELS]
    # Wang et al. 2018, equation 6
    expected = -np.log(np.exp(20 * (own - 0.4)) / (np.exp(20 * (own - 0.4)) + np.exp(20 * other)))
    np.testing.assert_allclose(losses.am_softmax(logits, LABELS, margin=0.4), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("directions", [1, 2])
def test_lengths_do_not_count_and_nothing_is_nan_at_zero(embeddings, directions):
    head = heads.Cosine(8, directions, rngs=Rngs(0))
    logits = head(jnp.asarray(embeddings))
    np.testing.assert_allclose(head(jnp.asarray(7 * embeddings)), logits, atol=1e-6)
    head.direction[...] *= 5.0
    np.testing.assert_allclose(head(jnp.asarray(embeddings)), logits, atol=1e-6)
    assert np.abs(np.asarray(logits)).max() <= directions + 1e-6
    slope = jax.grad(lambda x: head(x).sum())(jnp.zeros((2, 8)))
    assert np.isfinite(np.asarray(slope)).all()


@pytest.mark.parametrize("made", [heads.Linear, heads.TwoLogits])
def test_the_bias_is_the_logit_of_an_empty_embedding(made):
    head = made(4, rngs=Rngs(0))
    heads.start_at(head, -2.3)
    np.testing.assert_allclose(head(jnp.zeros((1, 4))), [-2.3], rtol=1e-6)


@pytest.mark.parametrize("made", [heads.Linear, heads.TwoLogits])
def test_a_linear_head_is_shared_out_over_the_outputs_there_are(made, embeddings):
    plain, other = heads.Linear(8, rngs=Rngs(0)), made(8, rngs=Rngs(1))
    heads.start_at(plain, 0.7)
    parameters = [nnx.to_pure_dict(nnx.state(head, nnx.Param)) for head in (plain, other)]
    nnx.update(other, heads.shared_out(*parameters))
    x = jnp.asarray(embeddings)
    np.testing.assert_allclose(other(x), plain(x), rtol=1e-5, atol=1e-5)


def test_members_that_answer_alone_have_no_cosine():
    config = loss_study.get_config("oc_softmax")
    config.model.kwargs.members = 8
    with pytest.raises(InputError, match="has 8 members; set config.model.kwargs.members=1"):
        nnx.eval_shape(lambda: recipe.make_builder(config)(Rngs(0)))


@pytest.mark.parametrize("loss", heads.COSINE)
def test_newton_steps_train_no_cosine(loss):
    """It ended in a KeyError in the first step."""
    config = audio_focal.get_config()
    config.loss = {"name": loss, "kwargs": {}}
    with pytest.raises(InputError, match=f"loss '{loss}' takes the cosine .* Newton steps"):
        main_job.check(config)


@pytest.mark.parametrize(("arm", "directions"), [("cross_entropy", None), ("am_softmax", 2), ("oc_softmax", 1)])
def test_the_loss_brings_its_head(arm, directions):
    head = recipe.make_builder(loss_study.get_config(arm))(Rngs(0)).head
    if directions is None:
        assert isinstance(head, heads.Linear)
    else:
        assert head.direction.shape == (directions, 64)


class Seen(Exception):
    pass


@pytest.mark.parametrize(
    ("arm", "start"), [("natural", np.log(10 / 40)), ("undersample", 0.0), ("rates", np.log(1 / 3))]
)
def test_a_run_starts_at_the_log_odds_of_what_it_draws(arm, start, tmp_path, monkeypatch):
    def create(build, *_, **__):
        raise Seen(float(build(Rngs(0)).head.out.bias[0]))

    monkeypatch.setattr(train_step, "create", create)
    directory = prepared.make(tmp_path / "data", counts={"train": (40, 10), "validation": (2, 1)}, seconds=0.1)
    with pytest.raises(Seen) as seen:
        train.train(sampling_study.get_config(f"made+{arm}"), tmp_path / "w", directory, progress=False)
    np.testing.assert_allclose(seen.value.args[0], start, atol=1e-6)
