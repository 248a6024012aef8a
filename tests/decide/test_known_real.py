"""What files known to be real tell of a place: closed forms, equivariance, and errors that fall where places differ."""

import copy
import dataclasses
import functools
import json

import numpy as np
import pytest

from dfjax.decide import calibration, decision, known_real, operating_points, score_file
from dfjax.records import InputError
from dfjax.reporting import report_text

OF_ALL = known_real.Family(mean=-2.0, between=1.5, within=1.0, freedom=6.0)


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
    found = known_real.family([rng.normal(rng.normal(-2, 1.5), sd, 40) for sd in sds])
    assert found.mean == pytest.approx(-2, abs=0.2) and found.between == pytest.approx(1.5, rel=0.15)
    assert found.within == pytest.approx(1, rel=0.1) and found.freedom == pytest.approx(6, rel=0.4)


def test_a_family_without_differences_has_none():
    rng = np.random.default_rng(4)
    same = rng.normal(size=50)
    found = known_real.family([same, same, same])
    assert found.between == known_real.NARROWEST and found.freedom == known_real.ALIKE
    scale, offset = found.affine(np.array([[9.0]]))
    assert scale == pytest.approx(1, abs=1e-3) and offset == pytest.approx(0, abs=1e-3)


def test_scores_that_are_infinite_or_the_same_leave_finite_numbers():
    found = known_real.family([np.array([-np.inf, np.inf, 0.0]), np.zeros(3), np.ones(4)])
    assert np.isfinite(dataclasses.astuple(found)).all() and np.isfinite(found.affine(np.array([[np.inf]]))).all()


def test_clips_that_are_known_are_not_judged():
    scores = make()
    judged, drawn = known_real.draws(scores, "source_3", 5, np.random.default_rng(0))
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
    judged, drawn = known_real.draws(scores, "source_1", 1, np.random.default_rng(0))
    assert len(judged) == known_real.REPEATS * known_real.MOST and len(np.unique(drawn)) == known_real.REPEATS
    assert abs(np.mean(judged.label) - 0.5) < 0.03


def test_where_places_differ_known_files_save_errors_and_where_they_do_not_they_cost_little():
    rows = {row["files"]: row for row in decided()["known_real"]["rows"]}
    assert list(rows) == list(known_real.COUNTS)
    for row in rows.values():
        assert row["misses"]["mean"] < 0.5 * row["without"]["misses"] and row["misses"]["domains"] == 8
        assert row["false_alarms"]["mean"] < 0.15
    assert rows[10]["misses"]["mean"] < rows[1]["misses"]["mean"]
    assert rows[10]["calibration"]["domain_sd"] < 0.5 * decided()["calibration"]["domain_sd"]
    for row in decided(between=0.0)["known_real"]["rows"]:
        assert row["misses"]["mean"] == pytest.approx(row["without"]["misses"], abs=0.02)


def test_a_domain_has_no_part_in_the_threshold_and_the_family_that_it_is_judged_by(monkeypatch):
    weighed, families = [], []
    weights, family = known_real.domains.equal_weights, known_real.family
    monkeypatch.setattr(known_real.domains, "equal_weights", lambda s: weighed.append(set(s.domain)) or weights(s))
    monkeypatch.setattr(known_real, "family", lambda s: families.append(len(s)) or family(s))
    scores = make(clips=40)
    names = np.unique(scores.domain).tolist()
    known_real.learn(scores, "recall_at_fpr", max_fpr=0.1, without=dict.fromkeys(names, 0.0))
    expected = [set(names) - {name} for name in names] + [set(names)]
    assert weighed == expected * len(known_real.COUNTS)
    assert families == ([7] * 8 + [8]) * len(known_real.COUNTS) + [8]


def test_a_decision_moves_as_its_scores_do():
    """Where sources differ much more than clips, a constant that all scores of a place have is taken off whole."""
    found = decided(between=200.0, gap=6.0)
    scores = np.random.default_rng(5).normal(0, 1, 10)
    here, there = (known_real.adapt(found, scores + shift) for shift in (0.0, 30.0))
    assert there["threshold"] - here["threshold"] == pytest.approx(30, abs=0.05)
    x = np.array([-1.0, 0.0, 2.0])
    p = [calibration.apply(x + shift, each["calibration"]) for shift, each in ((0.0, here), (30.0, there))]
    np.testing.assert_allclose(p[0], p[1], atol=0.02)


def test_threshold_band_and_calibration_move_together():
    found = decided(abstain=0.02)
    files = np.array([-3.0, -2.0, -2.5, 0.1, -1.0, -2.2])
    adapted = known_real.adapt(found, files)
    row = found["known_real"]["rows"][2]
    assert row["files"] == 5
    of_all = found["calibration"] | row["calibration"]
    for here, there in (
        (adapted["threshold"], row["threshold"]),
        (adapted["band"]["real_below"], row["band"]["real_below"]),
        (adapted["band"]["fake_from"], row["band"]["fake_from"]),
    ):
        p = calibration.apply(np.array([here]), adapted["calibration"])
        assert p == pytest.approx(calibration.apply(np.array([there]), of_all), abs=1e-6)
    assert adapted["domains"]["words"] == row["words"] and adapted["domains"]["certificate"] is None
    given = known_real.given(adapted)
    assert given == {"files": 6, "mean_score": pytest.approx(files.mean()), "without": found["threshold"]}
    assert "6 files known to be real" in known_real.told(adapted) and known_real.told(found) is None


def test_a_real_file_of_the_place_has_a_small_p_value_seldom():
    """Distribution-free: of 10 known scores and one more, drawn alike, the new one is the highest once in 11 times."""
    found, rng = decided(), np.random.default_rng(6)
    p = []
    for _ in range(400):
        scores = rng.standard_cauchy(11).astype(np.float32)
        p.append(known_real.p_value(known_real.adapt(found, scores[:10]), float(scores[10])))
    assert set(np.round(np.array(p) * 11, 9)) == set(range(1, 12))
    for level in (1 / 11, 3 / 11):
        assert np.mean(np.array(p) <= level + 1e-9) == pytest.approx(level, abs=0.05)
    same = known_real.adapt(found, np.zeros(4, np.float32))
    assert known_real.p_value(same, 0.0) == 1 and known_real.p_value(same, 0.1) == 0.2


def test_what_was_adapted_can_be_undone_and_is_plain_json():
    found = decided()
    adapted = known_real.adapt(found, np.zeros(3))
    assert adapted["threshold"] != found["threshold"]
    undone = known_real.plain(adapted)
    assert {key: undone[key] for key in found if key != "known_real"} == {
        key: found[key] for key in found if key != "known_real"
    }
    assert known_real.plain(found) is found
    assert json.loads(json.dumps(adapted, allow_nan=False)) == adapted


@pytest.mark.parametrize("words", [{"certified": 0.9, "max_fpr": 0.1}, {"criterion": "f1"}])
def test_a_decision_that_knows_nothing_of_places_is_refused(words):
    scores = make()
    if "certified" not in words:
        scores = dataclasses.replace(scores, header=scores.header | {"split": "validation"}, domain=None)
    with pytest.raises(InputError, match=r"three sources left out or more .* not be certified"):
        known_real.adapt(decision.decide(scores, **words), np.zeros(3))


def test_too_few_files_or_sources():
    found = decided()
    with pytest.raises(InputError, match="0 files known to be real are given; expected 1 or more"):
        known_real.adapt(found, np.zeros(0))
    assert decided(count=2)["known_real"] is None
    few = decided(clips=12)["known_real"]["rows"]  # six real clips of each
    assert [row["files"] for row in few] == [1, 2]


def test_it_is_told_in_a_sentence_for_each_number_of_files():
    told = known_real.summary(decided())
    assert len(told) == 4 and told[0].startswith("with one file of a source known to be real false alarms ")
    assert told[2].startswith("with 5 files") and told[2].endswith("without), on the mean")
    assert known_real.summary({}) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.pop("within"),
        lambda known: known.update(freedom=0),
        lambda known: known.update(rows=[]),
        lambda known: known.update(rows=3),
        lambda known: known["rows"][0].update(threshold="low"),
        lambda known: known["rows"][0].update(files=0),
        lambda known: known["rows"][1].update(calibration=None),
        lambda known: known["rows"][1]["calibration"].update(slope=True),
        lambda known: known["rows"][1].update(band={"real_below": 1.0}),
        lambda known: known["rows"][1]["calibration"].update(clips="all"),
        lambda known: known["rows"][0].pop("words"),
        lambda known: known["rows"][0].pop("without"),
        lambda known: known["rows"][0]["without"].pop("misses"),
        lambda known: known["rows"][0]["without"].update(misses=None),
        lambda known: known["rows"][2].update(false_alarms=0.1),
        lambda known: known["rows"][2]["misses"].update(mean="few"),
        lambda known: known["rows"][2]["misses"].pop("mean"),
        lambda known: known.update(given=True),
        lambda known: known.update(given={"files": 3, "mean_score": 0.5, "without": {"threshold": 1.0}}),
    ],
)
def test_a_damaged_one_is_no_usable_decision(change):
    found = copy.deepcopy(decided())
    assert decision.parse(json.dumps(found), "decision.json") == found
    change(found["known_real"])
    with pytest.raises(InputError, match="no usable decision: what it knows of real files"):
        decision.parse(json.dumps(found), "decision.json")


def test_a_decision_is_adapted_as_its_thresholds_were_chosen():
    """A source with too few real clips for ten is of the family all the same, which is one for every number."""
    scores = make(5)
    few = np.flatnonzero((scores.domain == "source_0") & (scores.label == 0))[3:]
    far = np.where(scores.domain == "source_0", 50, 0)
    scores = dataclasses.replace(scores, score=scores.score + far)
    scores = score_file.select(scores, np.setdiff1d(np.arange(len(scores)), few))
    found = decision.decide(scores, "recall_at_fpr", max_fpr=0.1)
    row = found["known_real"]["rows"][-1]
    assert row["files"] == 10 and row["false_alarms"]["domains"] == 4
    alarms, rng = [], np.random.default_rng([0, 10])  # the draws of which the threshold was chosen
    for name in np.unique(scores.domain)[1:]:
        judged, drawn = known_real.draws(scores, name, 10, rng)
        for known in np.unique(drawn, axis=0):
            real = judged.score[(judged.label == 0) & (drawn == known).all(axis=1)]
            alarms.append(float((real >= known_real.adapt(found, known)["threshold"]).mean()))
    assert 0.09 < np.mean(alarms) <= 0.1  # cuts lie at fakes


def test_one_that_was_adapted_and_kept_is_read_as_it_is():
    adapted = known_real.adapt(decided(), np.zeros(3))
    assert decision.parse(json.dumps(adapted), "decision.json") == adapted
    damaged = copy.deepcopy(adapted)
    del damaged["known_real"]["given"]["scores"]
    with pytest.raises(InputError, match="no usable decision: what it knows of real files lacks their scores"):
        decision.parse(json.dumps(damaged), "decision.json")
    for name in ("scale", "offset"):
        damaged = adapted | {"calibration": adapted["calibration"] | {name: "wide"}}
        with pytest.raises(InputError, match=f"its calibration has the {name} 'wide', expected a finite number"):
            decision.parse(json.dumps(damaged), "decision.json")


def test_rows_in_another_order_are_the_same():
    found = decided()
    turned = found | {"known_real": found["known_real"] | {"rows": found["known_real"]["rows"][::-1]}}
    assert known_real.adapt(turned, np.zeros(6))["threshold"] == known_real.adapt(found, np.zeros(6))["threshold"]


@pytest.mark.parametrize("name", ["calibration", "domains"])
def test_a_decision_that_lacks_what_it_is_adapted_by_is_refused(name):
    found = copy.deepcopy(decided()) | {name: None}
    with pytest.raises(
        InputError, match=r"three sources left out .* dfjax\.tune --split left_out, again if an earlier"
    ):
        known_real.adapt(decision.parse(json.dumps(found), "decision.json"), np.zeros(3))
    found["known_real"]["rows"] = []
    with pytest.raises(InputError, match="no usable decision: what it knows of real files has no rows"):
        decision.parse(json.dumps(found), "decision.json")


def test_errors_are_told_of_the_number_of_files_that_they_were_counted_with():
    found = decided()
    for count, words in ((1, "one file known"), (3, "2 files known"), (30, "10 files known")):
        adapted = known_real.adapt(found, np.linspace(-1, 1, count))
        assert known_real.such(adapted) == f"{words} to be real"
        assert (
            known_real.worth(adapted)
            == f"on sources left out, with {words} to be real: " + (adapted["domains"]["words"])
        )
    assert known_real.such(found) is None and known_real.worth(found) is None


def test_a_calibration_says_of_which_clips_it_is():
    """One source of six has too few real clips for five and for ten files, so those rows are of the five others."""
    scores = make(6, 40)
    few = np.flatnonzero((scores.domain == "source_0") & (scores.label == 0))[5:]
    scores = score_file.select(scores, np.setdiff1d(np.arange(len(scores)), few))
    found = decision.decide(scores, "recall_at_fpr", max_fpr=0.1)
    fitted = {row["files"]: row["calibration"] for row in found["known_real"]["rows"]}
    assert {count: (each["domains"], each["clips"]) for count, each in fitted.items()} == {
        1: (6, 225),
        2: (6, 225),
        5: (5, 200),
        10: (5, 200),
    }
    adapted = known_real.adapt(found, np.zeros(10))
    assert "on the 200 clips of the 5 sources with both classes" in report_text.formula(adapted["calibration"])
