"""Domains of records: several datasets as one, what is left out, and how often each domain is drawn."""

import dataclasses

import ml_collections
import numpy as np
import pytest
from etils import epath

from dfjax import models
from dfjax.data import feeds, precomputed, resident, sampling, sources
from dfjax.imbalance import rates
from dfjax.records import FAKE, REAL, UNKNOWN, InputError
from dfjax.run import main_job
from dfjax.runtime import devices
from dfjax.training import recipe
from experiments import audio_sources
from tests import prepared


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("domains")
    counts = {"train": (12, 6), "validation": (6, 3), "test": (6, 3)}
    return {"a": prepared.make(root / "a", counts=counts), "b": prepared.make(root / "b", counts={"train": (9, 3)})}


def data(**words):
    return ml_collections.ConfigDict({"dataset": "joint", **words})


def test_several_datasets_are_one_split_and_say_where_each_record_is_from(two):
    split = sources.open_data(data(), two, "train")
    assert len(split) == 30 and split.dataset == "joint"
    assert dict(zip(*np.unique(split.of, return_counts=True), strict=True)) == {"a": 18, "b": 12}
    assert len(set(split.id.tolist())) == 30 and all(name[:2] in ("a/", "b/") for name in split.group.tolist())
    assert set(split.domain.tolist()) == {"site0", "site1", "site2"}
    rows = [29, 3, 17, 18]
    for row, record in zip(rows, split.records.__getitems__(rows), strict=True):
        assert record["id"].decode() == split.id[row].partition("/")[2] and record["label"] == split.label[row]
    assert len(sources.open_data(data(), two, "test")) == 9  # b has none


def test_a_single_dataset_keeps_its_names_and_is_called_as_several_would_be(two):
    """Its scores lay in files that nobody looked for: those of the experiment's dataset."""
    opened = sources.open_split(two["a"], "train")
    for directory in (two["a"], {"a": two["a"]}):
        alone = sources.open_data(data(), directory, "train")
        assert alone.dataset == "joint" and alone.id.tolist() == opened.id.tolist()
        assert alone.domain.tolist() == opened.domain.tolist() and set(alone.of.tolist()) == {"made"}


@pytest.mark.parametrize(("by", "value"), [("domain", "site1"), ("method", "buzz"), ("dataset", "b")])
def test_what_is_left_out_and_what_is_kept_are_the_whole(two, by, value):
    whole = sources.open_data(data(), two, "train")
    kept = sources.open_data(data(leave_out={"by": by, "value": value}), two, "train")
    left = sources.select(whole, sources.values_of(whole, by) == value)
    assert value not in sources.values_of(kept, by) and set(sources.values_of(left, by).tolist()) == {value}
    assert sorted([*kept.id.tolist(), *left.id.tolist()]) == sorted(whole.id.tolist())
    assert [record["id"].decode() for record in left.records.__getitems__([0, 1])] == [
        name.partition("/")[2] for name in left.id[:2].tolist()
    ]


def test_with_a_domain_go_its_speakers_in_others_but_not_with_a_method(two, tmp_path):
    import shutil

    shared = tmp_path / "made" / "1.0.0"
    shutil.copytree(two["a"], shared)
    with np.load(shared / "index.train.npz") as file:
        columns = {name: file[name] for name in file.files}
    rows = [int(np.flatnonzero(columns["domains"] == f"site{k}")[0]) for k in range(3)]
    columns["groups"][rows] = "somebody"
    np.savez(shared / "index.train.npz", **columns)
    without = {"domain": {"by": "domain", "value": "site1"}, "method": {"by": "method", "value": "buzz"}}
    kept = {by: sources.open_data(data(leave_out=out), shared, "train") for by, out in without.items()}
    plain = sources.open_data(data(leave_out=without["domain"]), two["a"], "train")
    assert set(plain.id) - set(kept["domain"].id) == {columns["ids"][rows[0]], columns["ids"][rows[2]]}
    assert set(kept["method"].id) == set(columns["ids"][columns["labels"] == REAL])


@pytest.mark.parametrize(("by", "value"), [("domain", "site9"), ("method", ""), ("dataset", "c")])
def test_what_is_not_there_cannot_be_left_out(two, by, value):
    """A run trained on everything, and its report did not say so; without a method's name no real clip was left."""
    folders = {name: epath.Path(folder) for name, folder in two.items()}
    main_job.check_splits(data(leave_out={"by": "dataset", "value": "b"}), folders)
    with pytest.raises(InputError, match=f"leave_out.value='{value}' is no {by} of joint; expected one, such as "):
        main_job.check_splits(data(leave_out={"by": by, "value": value}), folders)


def test_an_unknown_word_names_the_known_ones(two):
    with pytest.raises(InputError, match="expected one of .*'domain', 'method', 'dataset'"):
        sources.values_of(sources.open_data(data(), two, "train"), "speaker")


def test_records_prepared_without_a_domain_have_that_of_their_dataset(two, tmp_path):
    import shutil

    old = tmp_path / "made" / "1.0.0"
    shutil.copytree(two["a"], old)
    with np.load(old / "index.train.npz") as file:
        columns = {name: file[name] for name in file.files if name != "domains"}
    np.savez(old / "index.train.npz", **columns)
    assert set(sources.open_split(old, "train").domain.tolist()) == {"made"}


def test_domains_of_a_class_are_drawn_alike_and_classes_at_their_rates():
    labels = np.array([REAL] * 90 + [FAKE] * 10 + [-1])
    domains = np.array(["x"] * 80 + ["y"] * 10 + ["x"] * 2 + ["z"] * 8 + ["x"])
    keys, found, rows = rates.draws(
        labels, np.full(101, ""), "balanced_domains", {REAL: 0.5, FAKE: 0.5}, domains=domains
    )
    assert found == {"real/x": 0.25, "real/y": 0.25, "fake/x": 0.25, "fake/z": 0.25}
    assert len(rows) == 100 and set(keys.tolist()) == set(found)
    sampling.strata(keys, found, rows)
    assert rates.sampling_rates((90, 10), "balanced_domains") == (0.5, 0.5)


def test_a_dataset_of_twice_the_weight_gives_twice_as_often():
    labels, domains = np.array([REAL, REAL, FAKE, FAKE]), np.array(["x", "y", "x", "y"])
    weights, none = np.array([2.0, 1.0, 2.0, 1.0]), np.full(4, "")
    of_class = {REAL: 0.4, FAKE: 0.6}
    _, found, _ = rates.draws(labels, none, "balanced_domains", of_class, domains=domains, weights=weights)
    assert found == pytest.approx({"real/x": 0.8 / 3, "real/y": 0.4 / 3, "fake/x": 0.4, "fake/y": 0.2})
    with pytest.raises(InputError, match="balanced_domains"):
        rates.draws(labels, none, "balanced", of_class, domains=domains, weights=weights)


def test_several_datasets_are_known_by_names_that_tell_them_apart():
    entries = ("folder_audio/Mine-whole", "wavefake", "faceforensics/c23", "faceforensics/c40", "dfd/c23")
    assert list(sources.names_of(entries).values()) == [
        "Mine-whole",
        "wavefake",
        "faceforensics/c23",
        "faceforensics/c40",
        "dfd",
    ]
    assert sources.names_of(["dfd/c23", "folder_image/c23"]) == {"dfd/c23": "dfd", "folder_image/c23": "c23"}


def test_a_dataset_keeps_its_own_weight_where_another_is_left_out_whole(two):
    config = audio_sources.get_config("a=5,b=2,c=1")
    config.augment.self_fakes = 0.0
    whole = sources.open_data(data(), two | {"c": two["a"]}, "train")
    whole = dataclasses.replace(whole, domain=whole.of)
    plan = recipe.make_plan(config, *recipe.tally(whole))
    for kept in (("a", "b", "c"), ("b", "c")):
        split = sources.select(whole, np.isin(whole.of, kept))
        rate = sampling.row_rates(recipe.make_strata(config, plan, split), len(split))
        drawn = {name: rate[(split.of == name) & (split.label == REAL)].sum() for name in kept}
        assert drawn["b"] / drawn["c"] == pytest.approx(2), kept


def test_precomputed_statistics_depend_on_the_clip_the_copy_and_the_seed_alone(two):
    import jax
    import jax.numpy as jnp

    split = sources.open_data(data(), two, "train")
    mesh = devices.make_mesh()

    def make_x(key, examples, altered):
        x = examples["audio"][:, :100].astype(jnp.float32) + jax.random.normal(key, (1, 1))
        return jnp.where(altered, -x, x), examples["label"]

    def made(split, **words):
        arrays = resident.load(split, "audio") | {"label": split.label}
        arrays["audio"] = arrays["audio"][:, :6000]
        return precomputed.statistics(arrays, split.id, make_x, lambda x: x[:, :5], mesh=mesh, **words)

    whole = made(split, copies=2, seed=0)
    assert whole.shape == (2, 30, 5) and not np.array_equal(-whole[0], whole[1])
    sign = np.sign(resident.load(split, "audio")["audio"][:, :5])
    as_stored = [(np.sign(copy) == sign)[sign != 0].mean() for copy in whole]
    assert as_stored[0] < 0.1 and as_stored[1] > 0.9  # the last is not altered
    assert (made(split, copies=1, seed=0) == whole[:1]).all()  # one alone is altered
    part = sources.select(split, np.arange(30) % 3 == 0)
    np.testing.assert_array_equal(made(part, copies=2, seed=0), whole[:, ::3])
    memory = precomputed.Memory()
    made(part, copies=2, seed=0, memory=memory)
    np.testing.assert_array_equal(made(split, copies=2, seed=0, memory=memory), whole)
    other = made(part, copies=1, seed=1)
    assert not np.array_equal(other[0], whole[0, ::3])
    np.testing.assert_array_equal(made(part, copies=1, seed=1, memory=memory), other)  # by the program of seed 0
    assert len(memory.programs) == 1
    memory.forget(0)
    assert set(memory.found) == {(1, 0, False)}


def test_fakes_made_of_real_clips_stand_beside_them_and_the_classes_keep_their_rates(two):
    import jax
    import jax.numpy as jnp

    split, mesh = sources.open_data(data(), two, "train"), devices.make_mesh()

    def make_x(key, examples, altered):
        return examples["audio"][:, :100].astype(jnp.float32) + jax.random.normal(key, (1, 1)), examples["label"]

    def negated(key, examples, altered):
        return -make_x(key, examples, altered)[0], jnp.full_like(examples["label"], FAKE)

    share, batch = 0.2, 40
    strata = sampling.strata(np.where(split.label == FAKE, "fake", "real"), {"real": 0.5 + share, "fake": 0.5 - share})
    words = {"model": models.input_of("band_kernel", {}), "mesh": mesh, "seed": 0, "first": 0, "copies": 2}
    front = make_x, lambda x: x[:, :5]
    feed = feeds.make("auto", split, strata, batch, front=front, fakes=(share, negated), **words)
    data_of = jax.tree.map(np.asarray, feed.take(0))
    real = np.flatnonzero(split.label == REAL)
    np.testing.assert_array_equal(data_of["statistics"][:, 30:], -data_of["statistics"][:, real])
    np.testing.assert_array_equal(data_of["label"], [*split.label, *[FAKE] * len(real)])
    assert data_of["weight"][data_of["label"] == FAKE].sum() == pytest.approx(0.5)
    assert data_of["weight"][30:].sum() == pytest.approx(share) and data_of["weight"].sum() == pytest.approx(1)


def test_no_step_sees_a_clip_of_unknown_label(two):
    """Its loss is not a number, which no weight of 0 takes out of a sum: the first step diverged."""
    split, mesh = sources.open_data(data(), two, "train"), devices.make_mesh()
    unknown = np.arange(30) % 7 == 3
    split = dataclasses.replace(split, label=np.where(unknown, UNKNOWN, split.label))

    def make_x(key, examples, altered):
        return examples["audio"][:, :100].astype(np.float32), examples["label"]

    strata = sampling.strata(split.label, {REAL: 0.7, FAKE: 0.3})
    words = {"model": models.input_of("band_kernel", {}), "mesh": mesh, "seed": 0, "first": 0, "copies": 1}
    front, fakes = (make_x, lambda x: x[:, :5]), (0.2, make_x)
    found = feeds.make("auto", split, strata, 40, front=front, fakes=fakes, **words).take(0)
    known = np.flatnonzero(~unknown)
    kept = split.label[known]
    np.testing.assert_array_equal(found["label"], [*kept, *[FAKE] * (kept == REAL).sum()])
    np.testing.assert_array_equal(found["kind"], np.arange(len(found["label"])) >= len(kept))
    sounds = resident.load(split, "audio")["audio"][:, :5].astype(np.float32)
    np.testing.assert_array_equal(found["statistics"][0], sounds[[*known, *known[kept == REAL]]])
    assert float(found["weight"].sum()) == pytest.approx(1)
