"""Fakes made inside the step: how many, from which examples, with which label, and nothing at all when off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.data import audio, augment_image, inputs, sampling
from dfjax.imbalance import rates
from dfjax.records import FAKE, REAL, Input, InputError
from dfjax.training import recipe
from experiments import audio_robust, audio_self_vocoded, audio_texture, image_focal

KEY = jax.random.key(3)


def experiment(module, share, batch=8):
    config = module.get_config()
    config.train.batch, config.augment.self_fakes = batch, share
    if "seconds" in config.data:
        config.data.seconds = 0.2
    if "size" in config.augment:
        config.augment.size = 16
    return config


def clips(labels, samples=4000):
    x = np.random.default_rng(0).normal(0, 3000, (len(labels), samples)).astype(np.int16)
    lengths = np.full(len(labels), samples, np.int32)
    return {"audio": jnp.array(x), "length": jnp.array(lengths), "label": jnp.array(labels, jnp.int32)}


def pictures(labels, size=32):
    x = np.random.default_rng(0).integers(0, 255, (len(labels), size, size, 3)).astype(np.uint8)
    return {"image": jnp.array(x), "label": jnp.array(labels, jnp.int32)}


def test_off_the_input_is_cut_and_augmentation_alone():
    config, examples = experiment(audio_texture, 0.0), clips([0, 1, 0, 1])
    x, labels = jax.jit(recipe.make_input(config, "audio"))(KEY, examples)
    key_cut, key_augment = jax.random.split(KEY)
    expected = audio.random_cut(key_cut, examples["audio"], examples["length"], 3200)
    expected = audio.augment(key_augment, expected, gain_db=6.0, noise_db=(-5.0, 30.0))
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, examples["label"])

    config.augment.speed_rate = 1.0
    plain, altered = (
        jax.jit(recipe.make_input(config, "audio"))(KEY, examples, jnp.array(on))[0] for on in (False, True)
    )
    np.testing.assert_array_equal(plain, audio.random_cut(key_cut, examples["audio"], examples["length"], 3200))
    assert (np.abs(altered - plain).max(axis=1) > 0.01).all()

    config, examples = experiment(image_focal, 0.0), pictures([0, 1, 0, 1])
    x, labels = jax.jit(recipe.make_input(config, "image"))(KEY, examples)
    options = {name: value for name, value in config.augment.to_dict().items() if name != "self_fakes"}
    expected = augment_image.augment(KEY, examples["image"].astype(jnp.float32) / 255, **options)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(labels, examples["label"])


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 0, 1, 1], [1, 0, 0, 1, 0, 0, 0, 0]])
def test_real_examples_become_fakes_in_any_order_of_the_feed_and_the_others_stay(labels):
    x = jnp.arange(8.0)
    new, made = inputs.with_fakes(KEY, x, jnp.array(labels), 2, lambda key, x: x + 100)
    changed = np.asarray(new) != np.asarray(x)
    assert changed.sum() == 2 and not np.asarray(labels)[changed].any()
    np.testing.assert_array_equal(made, np.asarray(labels) | changed)
    np.testing.assert_array_equal(new, np.where(changed, x + 100, x))


def test_fakes_are_made_of_all_domains_as_often_as_those_are_drawn():
    """They were made of the first domain in the alphabet alone, and took its real examples out of the batch."""
    labels, domains = np.array([REAL] * 30 + [FAKE] * 3), np.array((["a"] * 4 + ["b"] * 26) + ["a", "b", "b"])
    config = experiment(audio_texture, 0.25, batch=32)
    config.balance.sampling = "balanced_domains"
    keys, by, rows = rates.draws(
        labels, np.full(33, ""), "balanced_domains", inputs.strata_rates(0.25, 32, (0.5, 0.5)), domains=domains
    )
    strata = sampling.strata(keys, by, rows)
    assert recipe._has_several_reals(config)

    @jax.jit
    def batch(strata, key):
        rows = sampling.draw(key, strata, 32)
        before = jnp.array(labels)[rows]
        _, after = inputs.with_fakes(key, jnp.zeros(32), before, 8, lambda key, x: x, mixed=True)
        of_a = jnp.array(domains == "a")[rows]
        return (of_a & (after != before)).sum(), (of_a & (after == REAL)).sum(), (after != before).sum()

    made, real, count = (
        np.array(each) for each in zip(*(batch(strata, jax.random.fold_in(KEY, i)) for i in range(60)), strict=True)
    )
    assert (count == 8).all()
    assert abs(made.mean() - 4) < 0.6 and abs(real.mean() - 8) < 0.6  # half of the 8 made, half of the 16 real


def test_where_real_examples_are_of_one_stratum_the_first_are_taken():
    for name in ("natural", "balanced", "sqrt", "undersample", "oversample", "auto"):
        config = experiment(audio_texture, 0.25)
        config.balance.sampling = name
        assert not recipe._has_several_reals(config)


@pytest.mark.parametrize(
    ("module", "modality", "raw"), [(audio_texture, "audio", clips), (image_focal, "image", pictures)]
)
def test_made_fakes_differ_from_their_source_and_are_labelled_so(module, modality, raw):
    examples = raw([0, 0, 0, 0, 0, 0, 1, 1])
    config = experiment(module, 0.25)
    still = {"gain_db": 0.0, "noise_db": (300.0, 301.0)} if modality == "audio" else {"flip_rate": 0.0}
    for name in config.augment:
        if name not in ("self_fakes", *still):
            del config.augment[name]
    config.augment.update(still)
    x, labels = jax.jit(recipe.make_input(config, modality))(KEY, examples)
    config.augment.self_fakes = 0.0
    before, _ = jax.jit(recipe.make_input(config, modality))(KEY, examples)
    changed = np.abs(np.asarray(x - before)).reshape(8, -1).max(axis=1) > 1e-3
    np.testing.assert_array_equal(changed, [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(labels, [1, 1, 0, 0, 0, 0, 1, 1])
    assert np.isfinite(np.asarray(x)).all()


@pytest.mark.parametrize(("share", "fake_rate"), [(0.0, 0.5), (0.25, 0.5), (0.5, 0.5), (0.125, 0.25)])
def test_the_classes_come_at_the_rates_of_the_plan(share, fake_rate):
    stored = np.array([REAL] * 50 + [FAKE] * 5)
    draw = jax.jit(sampling.draw, static_argnums=2)
    strata = sampling.strata(stored, inputs.strata_rates(share, 32, (1 - fake_rate, fake_rate)))
    for i in range(20):
        labels = jnp.array(stored)[draw(jax.random.fold_in(KEY, i), strata, 32)]
        _, labels = inputs.with_fakes(KEY, jnp.zeros(32), labels, inputs.made(share, 32), lambda key, x: x)
        assert abs(int(labels.sum()) - 32 * fake_rate) < 1


def test_a_share_without_room_in_the_batch_is_refused():
    with pytest.raises(InputError, match="more than the share of fakes"):
        inputs.strata_rates(0.25, 8, (0.9, 0.1))
    with pytest.raises(InputError, match="expected 0 or a share"):
        inputs.made(0.01, 8)


def test_a_window_larger_than_the_pictures_is_refused():
    recipe.check_input(experiment(image_focal, 0.0), Input("image", 16, None))
    with pytest.raises(InputError, match="config.augment.size=16: expected at most the side of the pictures, 15"):
        recipe.check_input(experiment(image_focal, 0.0), Input("image", 15, None))


def test_the_robust_experiment_turns_on_all_there_is_and_differs_in_that_alone():
    ours, theirs = audio_robust.get_config().to_dict(), audio_texture.get_config().to_dict()
    names = inputs._keywords(audio.take) | inputs._keywords(audio.augment)
    assert set(ours.pop("augment")) == names | {"codec_rate", "self_fakes"}
    theirs.pop("augment")
    assert ours == theirs

    config, examples = experiment(audio_robust, 0.0), clips([0, 0, 0, 0, 0, 0, 1, 1], samples=8000)
    x, labels = jax.jit(recipe.make_input(config, "audio"))(KEY, examples)
    assert x.shape == (8, 3200) and np.isfinite(np.asarray(x)).all()
    np.testing.assert_array_equal(labels, examples["label"])


def test_the_experiment_with_made_fakes_differs_in_them_alone():
    ours, theirs = audio_self_vocoded.get_config().to_dict(), audio_texture.get_config().to_dict()
    assert ours["augment"].pop("self_fakes") == 0.25 and theirs["augment"].pop("self_fakes") == 0.0
    assert ours == theirs
