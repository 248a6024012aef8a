"""Looking and listening: what each head sees and learns, the same examples from both feeds, a run from end to end."""

import csv
import functools
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from flax import nnx

from dfjax import models
from dfjax.data import feeds, resident, sampling, sources, streaming
from dfjax.decide import score_file
from dfjax.evaluate import table
from dfjax.inference import trained
from dfjax.models import heads
from dfjax.models.streams import Rngs
from dfjax.planning import counting
from dfjax.records import PARTS, UNKNOWN, InputError
from dfjax.reporting import file_figures
from dfjax.run import main_job
from dfjax.runtime import devices
from dfjax.training import losses, recipe, train_step
from experiments import fakeavceleb_av
from tests import job, prepared

TINY = {
    "picture": "cnn_small",
    "sound": "resnet_small",
    "size": 32,
    "picture_kwargs": {"size": 32, "width": 4},
    "sound_kwargs": {"bins": 20, "dims": (4, 8), "embedding": 8, "dropout": 0.0},
    "joint": 4,
    "dropout": 0.0,
}


def model(**changes):
    return models.build("two_stream", rngs=Rngs(0), **TINY | changes)


def batch(size=3):
    keys = jax.random.split(jax.random.key(1), 2)
    return {
        "image": jax.random.uniform(keys[0], (size, 32, 32, 3)),
        "audio": 0.1 * jax.random.normal(keys[1], (size, 16000)),
    }


def evaluating(module):
    return nnx.view(module, deterministic=True, use_running_average=True, raise_if_not_found=False)


# ---------------------------------------------------------------------- heads


def test_the_heads_of_the_parts_see_their_own_stream_and_the_third_sees_both():
    detector, x = evaluating(model()), batch(2)
    answers = nnx.jit(lambda detector, x: jnp.concatenate([detector.parts(x), detector(x)[:, None]], axis=1))
    before = answers(detector, x)
    for part, sees in (("image", [True, False, True]), ("audio", [False, True, True])):
        after = answers(detector, x | {part: x[part][::-1]})
        np.testing.assert_array_equal((np.asarray(after) != np.asarray(before)).any(axis=0), sees)


def test_no_slope_of_a_part_reaches_the_other_streams_parameters():
    detector = evaluating(model())
    graphdef, params, rest = nnx.split(detector, nnx.Param, ...)

    def slopes(part):
        answer = lambda params: nnx.merge(graphdef, params, rest).parts(batch())[:, part].sum()
        return nnx.to_pure_dict(jax.jit(jax.grad(answer))(params))

    for part, own in enumerate(PARTS):
        found = {
            name: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(g)) for name, g in slopes(part).items()
        }
        assert found.pop(own) > 0 and not any(found.values()), own


def test_training_gives_the_logits_that_evaluation_gives_one_by_one():
    detector, x = model(picture_kwargs={"size": 32, "width": 4, "dropout": 0.0}), batch()
    training = nnx.view(detector, deterministic=False, use_running_average=True, raise_if_not_found=False)
    logits = training(x, rngs=Rngs(dropout=0))
    judging = evaluating(detector)
    assert logits.shape == (3, 3) and judging(x).shape == (3,)
    np.testing.assert_allclose(logits[:, 0], judging(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits[:, 1:], judging.parts(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(judging.head(judging.embed(x)), judging(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 64}, "takes 32 pixels, size=64 is given"),
        ({"sound": "aasist", "sound_kwargs": {}}, "audio one of any length"),
        ({"picture": "texture", "picture_kwargs": {}}, "an image detector as picture"),
        ({"sound": "texture", "sound_kwargs": {}}, "has 8 members; set members=1"),
    ],
)
def test_streams_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        nnx.eval_shape(lambda: model(**changes))


def test_a_loss_on_cosines_has_no_three_heads():
    with pytest.raises(InputError, match="this model has three"):
        nnx.eval_shape(lambda: heads.for_loss(model(), "am_softmax", rngs=Rngs(0)))


# ---------------------------------------------------------------------- the loss


STEP = jnp.int32(0)


def bce(logits, labels, step):
    return losses.binary_cross_entropy(logits, labels)


def weighted(logits, labels, step):
    return losses.weighted(logits, labels, weights=(0.5, 3.0), gamma=2.0)


@pytest.mark.parametrize("loss", [bce, weighted])
def test_an_unknown_part_gives_the_loss_and_the_gradient_of_leaving_it_out(loss):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 2, (8, 3)), jnp.float32)
    labels = rng.integers(0, 2, (8, 3)).astype(np.int32)
    labels[[0, 3, 4], 1] = labels[[2, 3], 2] = UNKNOWN
    known = labels[:, 1:] != UNKNOWN

    def left_out(logits):
        parts = sum(losses.binary_cross_entropy(logits[:, 1:][known], jnp.asarray(labels[:, 1:][known])))
        return loss(logits[:, 0], jnp.asarray(labels[:, 0]), STEP).mean() + parts / 8

    masked = lambda logits: train_step.batch_loss(loss, logits, jnp.asarray(labels), STEP)
    for a, b in zip(jax.value_and_grad(masked)(logits), jax.value_and_grad(left_out)(logits), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    assert not np.asarray(jax.grad(masked)(logits))[:, 1:][~known].any()


def test_of_one_label_each_the_loss_is_the_mean_over_all_answers():
    logits, labels = jnp.array([1.0, -2.0, 0.5, 3.0]), jnp.array([1, 0])
    expected = losses.binary_cross_entropy(logits, jnp.array([1, 1, 0, 0])).mean()
    assert train_step.batch_loss(bce, logits, labels, STEP) == expected
    wrong = jax.jit(lambda labels: train_step.batch_loss(bce, jnp.zeros((1, 3)), labels, STEP))
    assert np.isnan(wrong(jnp.array([[0, 7, 1]]))) and np.isnan(wrong(jnp.array([[UNKNOWN, 0, 1]])))


class Three(nnx.Module):
    def __init__(self, *, rngs):
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        return self.out(x)


def test_a_batch_in_parts_is_the_batch():
    tx = optax.sgd(0.1)
    graphdef, state = train_step.create(lambda rngs: Three(rngs=rngs), tx, jax.random.key(0), ema=False)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(16, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, (16, 3)), jnp.int32).at[:5, 1].set(UNKNOWN)
    words = {"graphdef": graphdef, "tx": tx, "loss": bce}
    step = lambda n: jax.jit(functools.partial(train_step.update, accumulate=n, **words))
    whole, parts = (step(n)(state, x, labels, jax.random.key(1))[0].params for n in (1, 4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, parts)


# ---------------------------------------------------------------------- feeds


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepared.make(
        tmp_path_factory.mktemp("av"), modality="av", counts={"train": (8, 4), "validation": (6, 4), "test": (6, 4)}
    )


def test_labels_are_those_of_the_whole_the_picture_and_the_sound(made):
    split = sources.open_split(made, "train")
    labels = sources.labels(split, "av")
    assert labels.shape == (12, 3) and labels.dtype == np.int32
    np.testing.assert_array_equal(labels[:, 0], sources.labels(split, "image"))
    unknown = np.array([int(id_.rpartition("/")[2]) % 3 == 0 for id_ in split.id])
    for column in (1, 2):
        np.testing.assert_array_equal(labels[:, column], np.where(unknown, UNKNOWN, split.label))


def test_both_feeds_give_the_same_examples(made):
    split = sources.open_split(made, "train")
    whole = resident.load(split, "av", size=24) | {"label": sources.labels(split, "av")}
    assert whole["audio"].shape == (12, 16000) and whole["image"].shape == (12, 24, 24, 3)
    where = {image.tobytes(): row for row, image in enumerate(whole["image"])}
    strata = sampling.strata(split.label, {0: 0.5, 1: 0.5})
    stream = streaming.batches(split, strata, 4, size=24, modality="av", seed=0)
    for found in itertools.islice(stream, 4):
        rows = [where[image.tobytes()] for image in found["image"]]
        assert found.keys() == whole.keys()
        for name, values in found.items():
            assert values.dtype == whole[name].dtype
            np.testing.assert_array_equal(values, whole[name][rows])

    mesh, takes = devices.make_mesh(4), models.Input("av", 24, None)
    shapes = []
    for kind in ("resident", "streaming"):
        feed = feeds.make(kind, split, strata, 4, model=takes, mesh=mesh, seed=0, first=0)
        shapes.append(jax.tree.map(jnp.shape, jax.jit(feed.examples)(jax.random.key(0), feed.take(0))))
    assert shapes[0] == shapes[1] == {"image": (4, 24, 24, 3), "audio": (4, 16000), "label": (4, 3)}


def test_records_without_sound_are_refused(tmp_path):
    split = sources.open_split(prepared.make(tmp_path, modality="image", counts={"train": (3, 2)}), "train")
    strata, takes = sampling.strata(split.label, {0: 0.5, 1: 0.5}), models.Input("av", 32, None)
    with pytest.raises(InputError, match="made holds no audio, which is what this detector judges"):
        feeds.make("auto", split, strata, 4, model=takes, mesh=devices.make_mesh(4), seed=0, first=0)


def test_the_input_is_both_augmented_and_made_fakes_are_refused(made):
    config = fakeavceleb_av.get_config("folder_av")
    split = sources.open_split(made, "train")
    examples = resident.load(split, "av", size=32) | {"label": sources.labels(split, "av")}
    x, labels = jax.jit(recipe.make_input(config, "av"))(jax.random.key(0), examples)
    assert x["image"].shape == (12, 32, 32, 3) and x["audio"].shape == (12, 16000)
    np.testing.assert_array_equal(labels, examples["label"])
    config.augment.update({"flip_rate": 0.0, "zoom": 0.0, "shift": 0.0, "gain_db": 0.0, "noise_rate": 0.0})
    x, _ = jax.jit(recipe.make_input(config, "av"))(jax.random.key(0), examples)
    np.testing.assert_allclose(x["image"], examples["image"] / np.float32(255), atol=1e-5)
    np.testing.assert_allclose(x["audio"], examples["audio"] / np.float32(32768), atol=1e-6)
    config.augment.self_fakes = 0.25
    with pytest.raises(InputError, match="makes pictures or sounds, not both"):
        recipe.make_input(config, "av")


# ---------------------------------------------------------------------- runs


def small(config, steps):
    config.train.update({"batch": 8, "steps": steps, "eval_every": steps // 2, "log_every": 2})
    config.optim.warmup_steps = 1
    config.model.kwargs = dict(TINY)
    return config


def test_a_run_trains_saves_and_scores_the_whole(made, tmp_path):
    config = small(fakeavceleb_av.get_config("made"), steps=4)
    job.claim(tmp_path, config)
    summary = job.train.train(config, tmp_path, made, progress=False)
    assert summary["steps"] == 4 and all(np.isfinite(list(job.losses(tmp_path).values())))
    split = sources.open_split(made, "test")
    scores = trained.score(epath.Path(tmp_path), split, job.HEADER)
    assert len(scores) == 10 and np.isfinite(scores.score).all()
    assert set(sources.subgroups_of_clips(split)) == set(PARTS)


@pytest.mark.slow
def test_real_clips_from_preparation_to_prediction(shared, tmp_path):
    rows = list(csv.DictReader((shared / "clips/metadata.csv").read_text().splitlines()))
    media, kept = tmp_path / "media", []
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        for label in ("real", "fake"):
            kept += [row for row in rows if row["file"].startswith(f"{split}/{label}/")][:count]
    for row in kept:
        (media / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared / "clips" / row["file"], media / row["file"])
    with (media / "metadata.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)

    found = counting.of_source("folder_av", media)
    assert found["splits"]["train"]["real"] == found["splits"]["train"]["fake"] == 3
    config = small(fakeavceleb_av.get_config("folder_av"), steps=10)
    folder, data = tmp_path / "run", tmp_path / "data"
    report = main_job.run(config, folder, name="av", data_dir=data, source=media, progress=False)
    assert (report["counts"]["test"]["real"], report["counts"]["test"]["fake"]) == (1, 1)
    assert set(report["subgroups"]) == set(PARTS)
    clips = score_file.by_clip(score_file.read(folder / "scores" / "folder_av.test.csv"))

    prepared_name = next((data / "folder_av").glob("media-*/*/preparation.json")).parts[-3]
    (row,) = table.make(folder, [f"folder_av/{prepared_name}"], data_dir=data, progress=False)
    assert (row["real"], row["fake"]) == (1, 1)

    judge = trained.load(folder)
    path = media / clips.clip[0]
    result = judge(path)
    np.testing.assert_allclose(result["score"], clips.score[0], rtol=1e-4, atol=1e-4)
    assert result["parts"].keys() == set(PARTS) and np.isfinite(list(result["parts"].values())).all()
    assert len(file_figures.timeline_png(result)) > 1000 and len(file_figures.heat_png(judge, path, result)) > 1000
    assert json.loads((folder / "environment.json").read_text())["dataset"]["modality"] == "av"
