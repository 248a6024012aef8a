"""How places differ and what known files of one are worth: closed forms, a family found again, errors that fall."""

import dataclasses
import functools

import numpy as np
import pytest

from dfjax.decide import decision, operating_points, places, score_file

OF_ALL = places.Family(mean=-2.0, between=1.5, within=1.0, freedom=6.0)


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 200)


def make(count=8, clips=120, *, between=2.0, gap=4.0, seed=0):
    """Left-out scores of sources whose clips, real and fake, lie off by a normal number each."""
    rng = np.random.default_rng(seed)
    domain = np.repeat([f"source_{k}" for k in range(count)], clips)
    label = np.arange(len(domain)) % 2
    score = gap * label + between * np.repeat(rng.normal(size=count), clips) + rng.normal(size=len(domain))
    names = np.array([f"{d}/{i}" for i, d in enumerate(domain)])
    header = {"split": "left_out", "dataset": "demo"}
    return score_file.Scores(names, names, names, label, np.where(label, "g", ""), score, header, domain)


@functools.cache
def decided(abstain=None, **words):
    return decision.decide(make(**words), "recall_at_fpr", max_fpr=0.1, abstain=abstain)


def test_a_mean_is_shrunken_to_the_posterior_mean_of_normal_numbers():
    scores = np.array([0.5, 1.0, -0.25])
    grid = np.linspace(-12, 12, 200_001)
    log = -((grid + 2) ** 2) / (2 * 1.5**2) - ((scores[:, None] - grid) ** 2).sum(0) / 2
    weight = np.exp(log - log.max())
    (centre,), _ = OF_ALL.places(scores[None])
    assert centre == pytest.approx((grid * weight).sum() / weight.sum(), abs=1e-6)


def test_a_spread_is_that_of_the_clips_as_if_the_usual_one_were_of_six_more():
    scores = np.random.default_rng(0).normal(0, 3, 5)
    _, (sd,) = OF_ALL.places(scores[None])
    assert sd**2 == pytest.approx((6 * 1.0 + ((scores - scores.mean()) ** 2).sum()) / (6 + 4))
    many = np.random.default_rng(1).normal(5, 0.5, 200_000)
    assert OF_ALL.places(many[None]) == (pytest.approx([5], abs=0.01), pytest.approx([0.5], abs=0.01))
    assert OF_ALL.places(np.array([[-2.0]])) == (pytest.approx([-2]), pytest.approx([1]))


def test_a_place_is_brought_to_the_mean_and_spread_of_all():
    scores = np.random.default_rng(2).normal(3, 2, (4, 7))
    centre, sd = OF_ALL.places(scores)
    scale, offset = OF_ALL.affine(scores)
    np.testing.assert_allclose(scale * centre + offset, -2)
    np.testing.assert_allclose(scale * (centre + sd) + offset, -1)
    for row, found in zip(scores, scale, strict=True):
        assert OF_ALL.affine(row[None])[0] == pytest.approx([found])


def test_a_family_is_found_again_from_scores_that_were_drawn_from_it():
    rng = np.random.default_rng(3)
    sds = np.sqrt(6 / rng.chisquare(6, 400))
    found = places.family([rng.normal(rng.normal(-2, 1.5), sd, 40) for sd in sds])
    assert found.mean == pytest.approx(-2, abs=0.2) and found.between == pytest.approx(1.5, rel=0.15)
    assert found.within == pytest.approx(1, rel=0.1) and found.freedom == pytest.approx(6, rel=0.4)


def test_a_family_without_differences_has_none():
    rng = np.random.default_rng(4)
    same = rng.normal(size=50)
    found = places.family([same, same, same])
    assert found.between == places.NARROWEST and found.freedom == places.ALIKE
    scale, offset = found.affine(np.array([[9.0]]))
    assert scale == pytest.approx(1, abs=1e-3) and offset == pytest.approx(0, abs=1e-3)


def test_scores_that_are_infinite_or_the_same_leave_finite_numbers():
    found = places.family([np.array([-np.inf, np.inf, 0.0]), np.zeros(3), np.ones(4)])
    assert np.isfinite(dataclasses.astuple(found)).all() and np.isfinite(found.affine(np.array([[np.inf]]))).all()


def test_clips_that_are_known_are_not_judged():
    scores = make()
    judged, drawn = places.draws(scores, "source_3", 5, np.random.default_rng(0))
    assert drawn.shape == (9 * (120 - 5), 5)
    for k in range(9):
        rows = slice(115 * k, 115 * (k + 1))
        own = scores.domain == "source_3"
        assert set(judged.clip[rows]) < set(scores.clip[own]) and len(set(judged.clip[rows])) == 115
        rest = set(scores.clip[own]) - set(judged.clip[rows])
        left = [scores.score[scores.clip == name][0] for name in rest]
        assert sorted(left) == sorted(drawn[rows][0].tolist()) and (drawn[rows] == drawn[rows][0]).all()
        assert (scores.label[np.isin(scores.clip, list(rest))] == 0).all()


def test_a_large_domain_is_drawn_from_as_often_and_judged_in_part():
    """One draw of 50,000 clips would leave its threshold to the luck of a single file."""
    scores = make(3, 50_000)
    judged, drawn = places.draws(scores, "source_1", 1, np.random.default_rng(0))
    assert len(judged) == places.REPEATS * places.MOST and len(np.unique(drawn)) == places.REPEATS
    assert abs(np.mean(judged.label) - 0.5) < 0.03


def test_where_places_differ_known_files_save_errors_and_where_they_do_not_they_cost_little():
    rows = {row["files"]: row for row in decided()["known_real"]["rows"]}
    assert list(rows) == list(places.COUNTS)
    for row in rows.values():
        assert row["misses"]["mean"] < 0.5 * row["without"]["misses"] and row["misses"]["domains"] == 8
        assert row["false_alarms"]["mean"] < 0.15
    assert rows[10]["misses"]["mean"] < rows[1]["misses"]["mean"]
    assert rows[10]["calibration"]["domain_sd"] < 0.5 * decided()["calibration"]["domain_sd"]
    for row in decided(between=0.0)["known_real"]["rows"]:
        assert row["misses"]["mean"] == pytest.approx(row["without"]["misses"], abs=0.02)


def test_a_domain_has_no_part_in_the_threshold_and_the_family_that_it_is_judged_by(monkeypatch):
    weighed, families = [], []
    weights, family = places.domains.equal_weights, places.family
    monkeypatch.setattr(places.domains, "equal_weights", lambda s: weighed.append(set(s.domain)) or weights(s))
    monkeypatch.setattr(places, "family", lambda s: families.append(len(s)) or family(s))
    scores = make(clips=40)
    names = np.unique(scores.domain).tolist()
    places.learn(scores, "recall_at_fpr", max_fpr=0.1, without=dict.fromkeys(names, 0.0))
    expected = [set(names) - {name} for name in names] + [set(names)]
    assert weighed == expected * len(places.COUNTS)
    assert families == ([7] * 8 + [8]) * len(places.COUNTS) + [8]
